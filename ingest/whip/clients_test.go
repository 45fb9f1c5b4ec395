package whip

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/stream"
)

// recordedOffer returns the offer of a recorded client.
func recordedOffer(t testing.TB, name string) string {
	t.Helper()
	files, err := filepath.Glob("testdata/http/" + name + "/*-POST.sdp")
	if err != nil || len(files) != 1 {
		t.Fatalf("offers of %s: %v %v", name, files, err)
	}
	offer, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(offer)
}

type recordedRequest struct {
	N       int               `json:"n"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
}

// TestClients replays each recorded client, request by request, and looks at
// the answers with that client's eyes.
func TestClients(t *testing.T) {
	g := start(t, rtc.RegistryConfig{Publish: func(r *http.Request, _ string) (rtc.Caller, error) {
		return rtc.Caller{Principal: r.Header.Get("Authorization")}, nil
	}}, rtc.Config{})
	for _, tt := range []struct {
		name, video string
		layers      []string // RIDs, best first
		onRequest   bool
		refused     string
	}{
		{name: "obs", video: "H264", layers: []string{""}},
		{name: "obs-sim", video: "H264", layers: []string{"0", "1", "2"}},
		{name: "ffmpeg", video: "H264", layers: []string{""}},
		{name: "gst", video: "H264", layers: []string{""}, onRequest: true},
		{name: "simple-whip-client", video: "H264", layers: []string{""}, onRequest: true},
		{name: "chromium", video: "H264", layers: []string{""}, onRequest: true},
		{name: "chromium-av1", video: "AV1", layers: []string{""}, onRequest: true},
		{name: "chromium-vp9", video: "VP9", layers: []string{""}, onRequest: true},
		{name: "chromium-sim-h264", video: "H264", layers: []string{"f", "h", "q"}, onRequest: true},
		{name: "chromium-sim-vp8", refused: "VP8 cannot be put into HLS"},
		{name: "chromium-trickle", video: "H264", layers: []string{""}, onRequest: true},
		{name: "eyevinn", video: "H264", layers: []string{""}, onRequest: true},
		{name: "medooze", video: "H264", layers: []string{""}, onRequest: true},
		{name: "firefox", video: "AV1", layers: []string{""}, onRequest: true},
		{name: "firefox-sim", refused: "VP8 cannot be put into HLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var requests []recordedRequest
			text, err := os.ReadFile("testdata/http/" + tt.name + "/requests.json")
			if err == nil {
				err = json.Unmarshal(text, &requests)
			}
			if err != nil {
				t.Fatal(err)
			}
			location, etag, used := "", "", map[string]bool{}
			for _, q := range requests {
				target := g.endpoint(tt.name)
				if strings.Contains(q.Path, "/session/") {
					target = g.server.URL + location
				}
				body := ""
				if q.Method == http.MethodPost || q.Method == http.MethodPatch {
					body = nextBody(t, tt.name, q.Method, used)
				}
				var headers []string
				for name, value := range q.Headers {
					if name == "if-match" {
						value = etag
					}
					if name != "content-length" && name != "authorization" {
						headers = append(headers, name, value)
					}
				}
				res, answer := rtctest.Token(strings.TrimPrefix(q.Headers["authorization"], "Bearer ")).Do(t, q.Method, target, body, headers...)
				if tt.refused != "" && q.Method == http.MethodPost {
					if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(answer, tt.refused) {
						t.Errorf("POST: %s %s", res.Status, answer)
					}
					return
				}
				want := map[string]int{"OPTIONS": 200, "POST": 201, "PATCH": 204, "DELETE": 200}[q.Method]
				if res.StatusCode != want {
					t.Fatalf("request %d, %s: got %s, want %d\n%s", q.N, q.Method, res.Status, want, answer)
				}
				if q.Method != http.MethodPost {
					continue
				}
				location, etag = res.Header.Get("Location"), res.Header.Get("ETag")
				checkAnswer(t, body, answer, tt.layers)
				s, _ := g.hub.Lookup(tt.name)
				checkLayers(t, s.State(), tt.video, tt.layers)
				for _, source := range s.State().Sources {
					if l := source.Layer; l.OnRequest != (tt.onRequest && l.ID.Kind == stream.Video) {
						t.Errorf("%v on request: %v (R34)", l.ID, l.OnRequest)
					}
				}
			}
			if s, _ := g.hub.Lookup(tt.name); s.State().Live {
				t.Error("the stream is live after DELETE")
			}
		})
	}
}

// nextBody returns the bodies of a method in the order of their files.
func nextBody(t *testing.T, name, method string, used map[string]bool) string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("testdata/http/%s/*-%s.*", name, method))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !used[file] {
			used[file] = true
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			return string(body)
		}
	}
	t.Fatalf("no body for %s of %s", method, name)
	return ""
}

func checkLayers(t *testing.T, state stream.State, video string, layers []string) {
	t.Helper()
	var rids []string
	for _, source := range state.Sources {
		l := source.Layer
		if l.ID.Kind == stream.Audio {
			if l.Codec.Name != "Opus" || l.Codec.ClockRate != 48000 || l.Codec.Channels != 2 {
				t.Errorf("audio is %+v", l)
			}
			continue
		}
		if l.Codec.Name != video || l.Codec.ClockRate != 90000 {
			t.Errorf("video is %+v, want %s", l, video)
		}
		rids = append(rids, l.ID.RID)
	}
	if !slices.Equal(rids, layers) {
		t.Errorf("layers %q, want %q", rids, layers)
	}
}

// checkAnswer applies the rules of specs A3 to an answer.
func checkAnswer(t *testing.T, offer, answer string, layers []string) {
	t.Helper()
	if !strings.HasPrefix(answer, "v=0\r\n") || strings.Count(answer, "\n") != strings.Count(answer, "\r\n") {
		t.Error("W33 the answer does not begin with v=0, or has a bare LF")
	}
	var o, a sdp.SessionDescription
	if err := o.UnmarshalString(offer); err != nil {
		t.Fatal(err)
	}
	if err := a.UnmarshalString(answer); err != nil {
		t.Fatalf("answer: %v\n%s", err, answer)
	}
	if len(a.MediaDescriptions) != len(o.MediaDescriptions) {
		t.Fatalf("W27 %d sections answered, %d offered", len(a.MediaDescriptions), len(o.MediaDescriptions))
	}
	if strings.Count(answer, "a=ice-options:trickle\r\n") != 1 {
		t.Error("W35 no a=ice-options:trickle")
	}
	group := "BUNDLE"
	for i, media := range a.MediaDescriptions {
		offered := o.MediaDescriptions[i]
		value := func(m *sdp.MediaDescription, key string) string { v, _ := m.Attribute(key); return v }
		has := func(key string) bool { _, ok := media.Attribute(key); return ok }
		group += " " + value(media, "mid")
		if media.MediaName.Port.Value == 0 {
			t.Error("W27 a section was refused")
		}
		if media.MediaName.Media != offered.MediaName.Media || value(media, "mid") != value(offered, "mid") {
			t.Error("sections are in another order")
		}
		if !has("recvonly") || has("sendrecv") || has("sendonly") {
			t.Error("W15 the answer is not recvonly")
		}
		if !has("rtcp-mux") || !has("rtcp-mux-only") {
			t.Error("W25 no rtcp-mux, rtcp-mux-only")
		}
		if want := map[string]string{"actpass": "active", "passive": "active", "active": "passive"}[value(offered, "setup")]; value(media, "setup") != want {
			t.Errorf("W28 setup %q to %q", value(media, "setup"), value(offered, "setup"))
		}
		if !slices.Contains(offered.MediaName.Formats, media.MediaName.Formats[0]) {
			t.Error("W31 a payload type that was not offered")
		}
		if media.MediaName.Media == "audio" && !strings.Contains(answer, "stereo=1") {
			t.Error("R46 no stereo=1")
		}
		for _, codec := range []string{"red/", "multiopus/", "usedtx"} {
			if strings.Contains(answer, codec) {
				t.Errorf("R47, R49 %s was accepted", codec)
			}
		}
		if i == 0 {
			checkCandidates(t, media)
		} else if has("candidate") {
			t.Error("W32 candidates in a bundled section")
		}
		if media.MediaName.Media == "video" {
			checkSimulcast(t, offered, media, layers)
		}
	}
	if strings.Count(answer, "a=group:"+group+"\r\n") != 1 {
		t.Errorf("W24 no a=group:%s\n%s", group, answer)
	}
	if strings.Contains(answer, "urn:3gpp:video-orientation") {
		t.Error("R24 video orientation was accepted")
	}
	if strings.Contains(offer, "transport-cc") && strings.Count(answer, "transport-cc") != strings.Count(answer, "m=") {
		t.Error("R53 transport-cc is not in all sections")
	}
}

func checkCandidates(t *testing.T, media *sdp.MediaDescription) {
	t.Helper()
	var candidates []string
	end := -1
	for i, a := range media.Attributes {
		switch a.Key {
		case "candidate":
			candidates = append(candidates, a.Value)
		case "end-of-candidates":
			end = i
		}
	}
	if end != len(media.Attributes)-1 {
		t.Error("W16 a=end-of-candidates does not end the list")
	}
	if len(candidates) < 2 {
		t.Fatalf("W16 candidates %q, want UDP and TCP", candidates)
	}
	if f := strings.Fields(candidates[0]); f[2] != "udp" || f[4] != "127.0.0.1" || f[7] != "host" {
		t.Errorf("W32 the first candidate is %q", candidates[0])
	}
	for _, c := range candidates {
		if f := strings.Fields(c); strings.Contains(c, "ufrag") || f[1] != "1" {
			t.Errorf("libnice fails on candidate %q", c)
		}
	}
}

func checkSimulcast(t *testing.T, offered, media *sdp.MediaDescription, layers []string) {
	t.Helper()
	value, ok := media.Attribute("simulcast")
	if len(layers) == 1 && layers[0] == "" {
		if ok {
			t.Error("simulcast in an answer to an offer without")
		}
		return
	}
	sent, _ := offered.Attribute("simulcast")
	if value != strings.Replace(sent, "send", "recv", 1) { // OBS counts the semicolons
		t.Errorf("W78, W79 a=simulcast:%s to a=simulcast:%s", value, sent)
	}
	rids := 0
	for _, a := range media.Attributes {
		if a.Key == "rid" && strings.HasSuffix(a.Value, " recv") {
			rids++
		}
	}
	if rids != len(layers) {
		t.Errorf("W78 %d rid lines, want %d", rids, len(layers))
	}
	for _, uri := range []string{sdp.SDESMidURI, sdp.SDESRTPStreamIDURI} {
		if !slices.ContainsFunc(media.Attributes, func(a sdp.Attribute) bool { return a.Key == "extmap" && strings.HasSuffix(a.Value, uri) }) {
			t.Errorf("W80 no %s", uri)
		}
	}
}
