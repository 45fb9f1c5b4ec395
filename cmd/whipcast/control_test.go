package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whipcast/whipcast/api"
)

func TestVariants(t *testing.T) {
	got := variants("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=2100000,AVERAGE-BANDWIDTH=1100000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO=\"aac\"\nvideo/index.m3u8\n" +
		"#EXT-X-STREAM-INF:BANDWIDTH=x,CODECS=\"a\n#EXT-X-ENDLIST\n\n")
	want := []api.Rendition{{URI: "video/index.m3u8", Codecs: "avc1.64001f,mp4a.40.2", Resolution: "1280x720", FrameRate: 30, Peak: 2100000, Average: 1100000}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestControlOfARealGateway: the API knows what the parts do.
func TestControlOfARealGateway(t *testing.T) {
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	c := client(t, nil)
	start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	playlistURL(t, c, base, "test")
	for path, want := range map[string]string{
		"/v1/streams/test": `"renditions":[{"uri":"`,
		"/v1/sessions":     `"kind":"publish","stream":"test","principal":"owner"`,
		"/v1/config":       `"key":"auth.publish_token","value":"(not shown)","secret":true`,
		"/v1/storage":      `{"storage":[]}`,
		"/openapi.json":    `"openapi": "3.1.0"`,
		"/docs":            "/docs/page.js",
	} {
		if r := get(t.Context(), c, base+path, token); r.status != http.StatusOK || !strings.Contains(r.body, want) {
			t.Errorf("%s: %d, want %s in %s", path, r.status, want, r.body)
		}
	}
	for path, body := range map[string]string{
		"/v1/streams/test/markers":  `{"id":"goal","class":"org.example.goal","duration":0,"attributes":{"X-BY":"7"}}`,
		"/v1/streams/test/messages": `{"label":"score","text":"1:0"}`,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		answer, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusNoContent {
			t.Errorf("POST %s: %s", path, answer.Status)
		}
	}
	eventually(t, c, playlistURL(t, c, base, "test"), func(r reply) bool { return strings.Contains(r.body, `ID="goal"`) })
}
