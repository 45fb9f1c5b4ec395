package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/packager"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

func TestVariants(t *testing.T) {
	got := variants("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=2100000,AVERAGE-BANDWIDTH=1100000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO=\"aac\"\nvideo/index.m3u8\n" +
		"#EXT-X-STREAM-INF:BANDWIDTH=x,CODECS=\"a\n#EXT-X-ENDLIST\n\n")
	want := []api.Rendition{{URI: "video/index.m3u8", Codecs: "avc1.64001f,mp4a.40.2", Resolution: "1280x720", FrameRate: 30, Peak: 2100000, Average: 1100000}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestMessagesToSeats: those who watch a seat in real time are told what the API says to
// its stream, from its beginning on, though nothing of it is packaged for an audience.
func TestMessagesToSeats(t *testing.T) {
	hub := stream.NewHub(stream.Config{})
	quiet := slog.New(slog.DiscardHandler)
	made := func() *packager.Packager {
		return packager.New(packager.Config{Audio: packager.Opus, Grace: time.Second}, storage.Tee(), quiet)
	}
	p := packaging{hub: hub, packager: made(), seats: made(), private: func(name string) bool { return name == "show.ann" }, log: quiet}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = p.run(ctx) })
	defer running.Wait()
	defer cancel()
	var told []string
	m := marks{p, func(name string, m whep.Message) { told = append(told, name+" "+m.Label+" "+string(m.Payload)) }}
	send := func(name string, message api.Message) string {
		var refused problem.Problem
		if err := m.Send(ctx, name, message); err != nil && !errors.As(err, &refused) {
			t.Error(err)
		}
		return refused.Code
	}
	says := func(name string) string { return send(name, api.Message{Label: "note", Text: "two minutes"}) }
	for _, name := range []string{"show.ann", "other"} {
		s, err := hub.Stream(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := says(name); got != string(api.NotLive) {
			t.Errorf("%s before its publisher: %q", name, got)
		}
		x, err := s.Publish(stream.Offer{Layers: []stream.Layer{{ID: stream.LayerID{Kind: stream.Audio}, Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2}}}})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close(nil)
	}
	if got := says("show.ann"); got != "" {
		t.Errorf("to a seat: %q", got)
	}
	// What is too long for a data channel is not sent to some of the audience alone.
	for _, message := range []api.Message{{Label: "note", Bytes: make([]byte, 16<<10+1)}, {Label: "note", Text: strings.Repeat("ö", 8<<10+1)}} {
		if got := send("show.ann", message); got != string(api.MessageRefused) {
			t.Errorf("a long message: %q", got)
		}
	}
	if got := says("other"); got != string(api.NotLive) {
		t.Errorf("to a stream of which nothing has come: %q", got)
	}
	if diff := cmp.Diff([]string{"show.ann note two minutes"}, told); diff != "" {
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
		"/v1/sessions":     `"kind":"publish","protocol":"whip","stream":"test","principal":"owner"`,
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

// TestClipsByAPI: clips of a running stream are made in a real place, listed and
// deleted by the API. What is wrong with a request is said; what is wrong with the
// place is in the log.
func TestClipsByAPI(t *testing.T) {
	var files sync.Map
	var full atomic.Bool
	place := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, known := files.Load(r.URL.Path)
		switch {
		case r.Method == http.MethodPut && full.Load() && strings.Contains(r.URL.Path, "/clips/"):
			http.Error(w, "full", http.StatusInsufficientStorage)
		case r.Method == http.MethodPut:
			_, _ = io.Copy(io.Discard, r.Body)
			files.Store(r.URL.Path, true)
			w.WriteHeader(http.StatusCreated)
		case r.Method == http.MethodDelete:
			files.Delete(r.URL.Path)
			w.WriteHeader(http.StatusNoContent)
		case !known:
			http.NotFound(w, r)
		}
	}))
	defer place.Close()
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token,
		"WHIPCAST_STORAGE=[{type: httpput, url: '"+place.URL+"', keep: forever}]"), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	c := client(t, nil)
	start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	ask := func(method, path, body string) reply {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		answer, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return reply{status: answer.StatusCode, body: string(text), err: err}
	}
	const clips = "/v1/streams/test/clips"
	eventually(t, c, base+clips, func(reply) bool { // as soon as there is a segment
		r := ask(http.MethodPost, clips, `{"from":"-1m","to":"now","name":"first"}`)
		return r.status == http.StatusCreated && strings.Contains(r.body, `"name":"first"`)
	})
	if _, ok := files.Load("/test/clips/first/index.m3u8"); !ok {
		t.Error("the place has no clip")
	}
	full.Store(true)
	for _, row := range []struct {
		method, path, body, want string
		status                   int
	}{
		{http.MethodGet, clips, "", `"name":"first"`, http.StatusOK},
		{http.MethodPost, clips, `{"from":"-1m","to":"now","name":"first"}`, "clip-exists", http.StatusConflict},
		{http.MethodPost, clips, `{"from":"-1m","to":"now","name":"second","place":"s3-7"}`, "no place that keeps media has this name", http.StatusUnprocessableEntity},
		{http.MethodPost, clips, `{"from":"-1m","to":"now","name":"second"}`, "storage-failed", http.StatusBadGateway},
		{http.MethodPost, clips, `{"from":"-9h","to":"-8h"}`, "no-media", http.StatusNotFound},
		{http.MethodDelete, clips + "/second", "", "no-such-clip", http.StatusNotFound},
		{http.MethodDelete, clips + "/first", "", "", http.StatusNoContent},
		{http.MethodGet, clips, "", `"clips":[]`, http.StatusOK},
	} {
		if r := ask(row.method, row.path, row.body); r.status != row.status || !strings.Contains(r.body, row.want) {
			t.Errorf("%s %s %s: %d %s", row.method, row.path, row.body, r.status, r.body)
		}
	}
	if log := gateway.err.String(); !strings.Contains(log, "API operation failed") || !strings.Contains(log, "operation=makeClip") || !strings.Contains(log, "507") {
		t.Errorf("the cause is not in the log:\n%s", log)
	}
}
