package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/stream"
)

const token = "correct-horse-battery"

// named answers with its own name.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
}

// authority knows a key for each action on streams that begin with t.
func authority(t *testing.T, watch string) *auth.Authority {
	t.Helper()
	a, err := auth.New(auth.Config{Token: token, Watch: auth.Watch(watch), Keys: []auth.Key{
		{Name: "publish", Hash: auth.Hash("key-publish"), Actions: auth.Publish, Streams: []auth.Pattern{"t*"}},
		{Name: "play", Hash: auth.Hash("key-play"), Actions: auth.Play, Streams: []auth.Pattern{"t*"}},
		{Name: "admin", Hash: auth.Hash("key-admin"), Actions: auth.Admin, Streams: []auth.Pattern{"t*"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newServer(t *testing.T, watch string) (*api.Server, *stream.Hub, http.Handler) {
	t.Helper()
	hub := stream.NewHub(stream.Config{})
	server := api.New(api.Config{}, hub, authority(t, watch))
	return server, hub, server.Public(api.Routes{
		WHIP: named("whip"), WHEP: named("whep"), Session: named("session"), HLS: named("hls"), Pages: named("pages"),
	})
}

// answer is what a handler sent.
type answer struct {
	status int
	header http.Header
	body   string
}

func call(h http.Handler, method, path, authorization string) answer {
	r := httptest.NewRequest(method, "http://example.com/", nil)
	r.URL.Path = path
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func TestRoutes(t *testing.T) {
	_, _, public := newServer(t, "open")
	for path, want := range map[string]string{
		"/whip/a":               "whip",
		"/whip/":                "whip",
		"/whip/../../etc":       "whip", // no router may answer a POST by a redirect (W68)
		"/whep/a":               "whep",
		"/session/x":            "session",
		"/hls/a/index.m3u8":     "hls",
		"/hls/a//b":             "hls",
		"/":                     "pages",
		"/watch/a":              "pages",
		"/assets/x.js":          "pages",
		"/metrics":              "pages", // not on the public address (X35)
		"/debug/pprof/":         "pages",
		"/whipx":                "pages",
		"//whip/a":              "pages",
		"/v1":                   "pages",
		"/healthz":              "ok\n",
		"/healthz/":             "pages",
		"/v1x/streams":          "pages",
		"/session":              "pages",
		"/publish/a/../../whip": "pages",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			if path == "/healthz" && method != http.MethodGet {
				continue
			}
			response := call(public, method, path, "")
			if response.status != http.StatusOK || response.body != want {
				t.Errorf("%s %s: %d %q, want 200 %q", method, path, response.status, response.body, want)
			}
		}
	}
}

// slow is a ResponseWriter whose connection has deadlines.
type slow struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (s *slow) SetReadDeadline(t time.Time) error { s.deadline = t; return nil }

// TestBodyTime: a body must come within 10 s (X25), also one that nobody reads;
// what has none, and may be held for long, has no limit.
func TestBodyTime(t *testing.T) {
	_, _, public := newServer(t, "open")
	for _, tt := range []struct {
		method, path, body string
		limited            bool
	}{
		{"POST", "/whip/a", "v=0", true},
		{"POST", "/whep/a", "v=0", true},
		{"PATCH", "/session/a", "v=0", true},
		{"DELETE", "/session/a", "", false},
		{"GET", "/hls/a/index.m3u8", "", false},
		{"GET", "/hls/a/index.m3u8", "a body that nobody reads", true},
		{"GET", "/v1/streams", "another", true},
		{"POST", "/", "another", true},
	} {
		w := &slow{ResponseRecorder: httptest.NewRecorder()}
		public.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body)))
		if in := time.Until(w.deadline); tt.limited && (in < 5*time.Second || in > 10*time.Second) || !tt.limited && !w.deadline.IsZero() {
			t.Errorf("%s %s: read deadline in %v, want one: %v", tt.method, tt.path, in, tt.limited)
		}
	}
}

func TestHealth(t *testing.T) {
	server, hub, public := newServer(t, "open")
	metrics, err := api.NewMetrics("v1", hub, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]http.Handler{"public": public, "admin": server.Admin(metrics)} {
		for _, tt := range []struct {
			method, path string
			ready        bool
			status       int
		}{
			{"GET", "/healthz", false, 200},
			{"HEAD", "/healthz", true, 200},
			{"GET", "/readyz", false, 503},
			{"GET", "/readyz", true, 200},
			{"POST", "/readyz", true, 405},
		} {
			server.Ready(tt.ready)
			response := call(h, tt.method, tt.path, "")
			if response.status != tt.status {
				t.Errorf("%s: %s %s while ready is %v: %d, want %d", name, tt.method, tt.path, tt.ready, response.status, tt.status)
			}
			if tt.status == 405 && response.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s: Allow %q", name, response.header.Get("Allow"))
			}
			if tt.status != 405 && response.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %s may be cached", name, tt.path)
			}
		}
	}
}

func publish(t *testing.T, hub *stream.Hub, name string) *stream.Session {
	t.Helper()
	s, err := hub.Stream(name)
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Publish(stream.Offer{Principal: "p", Layers: []stream.Layer{
		{ID: stream.LayerID{Kind: stream.Video, RID: "h"}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}},
		{ID: stream.LayerID{Kind: stream.Audio}, Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func TestStreams(t *testing.T) {
	_, hub, public := newServer(t, "open")
	if got, want := call(public, "GET", "/v1/streams", "Bearer "+token).body, `{"streams":[]}`; got != want {
		t.Errorf("without streams: %s, want %s", got, want)
	}
	one := publish(t, hub, "one")
	video := stream.LayerID{Kind: stream.Video, RID: "h"}
	for _, seq := range []uint16{1, 2, 2, 3} { // one of them twice
		one.Write(video, stream.Packet{Sequence: seq, Payload: []byte{0x41, 0}})
	}
	one.Close(nil)
	defer publish(t, hub, "two").Close(nil)

	response := call(public, "GET", "/v1/streams", "Bearer "+token)
	var got struct {
		Streams []map[string]any `json:"streams"`
	}
	if err := json.Unmarshal([]byte(response.body), &got); err != nil {
		t.Fatal(err)
	}
	layers := func(packets, bytes float64) []any {
		return []any{
			map[string]any{"kind": "video", "rid": "h", "codec": "H264", "packets": packets, "bytes": bytes},
			map[string]any{"kind": "audio", "codec": "Opus", "packets": 0.0, "bytes": 0.0},
		}
	}
	for i, want := range []map[string]any{
		{"name": "one", "live": false, "epoch": 1.0, "layers": layers(3, 6), "watch": "/watch/one", "seat": "/seat/one"},
		{"name": "two", "live": true, "epoch": 1.0, "layers": layers(0, 0), "watch": "/watch/two", "seat": "/seat/two"},
	} {
		since, err := time.Parse(time.RFC3339, got.Streams[i]["since"].(string))
		if err != nil || time.Since(since) > time.Minute {
			t.Errorf("since %v: %v", got.Streams[i]["since"], err)
		}
		delete(got.Streams[i], "since")
		if diff := cmp.Diff(want, got.Streams[i]); diff != "" {
			t.Errorf("stream (-want +got):\n%s", diff)
		}
	}
}

// TestFindings: one stream is shown with what is wrong with each of its layers;
// none is an empty list, and without a doctor there is no list.
func TestFindings(t *testing.T) {
	hub := stream.NewHub(stream.Config{})
	defer publish(t, hub, "one").Close(nil)
	since := time.Date(2026, 11, 20, 13, 0, 0, 0, time.FixedZone("CET", 3600))
	wrong := map[stream.LayerID][]api.Finding{
		{Kind: stream.Video, RID: "h"}: {
			{
				Code: "keyframe-interval", Severity: "warning", Words: "Key frames come up to 8.3 s apart.", Remedy: "Set it to 2 s.",
				Since: since, Measure: &api.Measure{Value: 8.333, Unit: "s"},
			},
			{Code: "b-frames", Severity: "warning", Words: "B-frames.", Remedy: "Set B-frames to 0.", Since: since},
		},
	}
	serve := func(cfg api.Config) http.Handler {
		none := named("")
		return api.New(cfg, hub, authority(t, "open")).Public(api.Routes{WHIP: none, WHEP: none, Session: none, HLS: none, Pages: none})
	}
	with := serve(api.Config{Findings: func(name string, layer stream.LayerID) []api.Finding {
		if name != "one" {
			t.Errorf("asked for %q", name)
		}
		return wrong[layer]
	}})
	for _, tt := range []struct {
		name, path string
		handler    http.Handler
		want       string
	}{
		{"of one stream", "/v1/streams/one", with, `[{"kind":"video","rid":"h","codec":"H264","packets":0,"bytes":0,"findings":[` +
			`{"code":"keyframe-interval","severity":"warning","words":"Key frames come up to 8.3 s apart.","remedy":"Set it to 2 s.",` +
			`"since":"2026-11-20T12:00:00Z","measure":{"value":8.333,"unit":"s"}},` +
			`{"code":"b-frames","severity":"warning","words":"B-frames.","remedy":"Set B-frames to 0.","since":"2026-11-20T12:00:00Z"}]},` +
			`{"kind":"audio","codec":"Opus","packets":0,"bytes":0,"findings":[]}]`},
		{"not of all", "/v1/streams", with, `[{"kind":"video","rid":"h","codec":"H264","packets":0,"bytes":0},{"kind":"audio","codec":"Opus","packets":0,"bytes":0}]`},
		{"without a doctor", "/v1/streams/one", serve(api.Config{}), `[{"kind":"video","rid":"h","codec":"H264","packets":0,"bytes":0},{"kind":"audio","codec":"Opus","packets":0,"bytes":0}]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := call(tt.handler, "GET", tt.path, "Bearer "+token).body; !strings.Contains(got, `"layers":`+tt.want+`,`) {
				t.Errorf("got %s, want layers %s", got, tt.want)
			}
			if got := call(tt.handler, "GET", tt.path, ""); got.status != 401 || strings.Contains(got.body, "B-frames") {
				t.Errorf("without a token: %d %s", got.status, got.body)
			}
		})
	}
}

func TestControl(t *testing.T) {
	_, hub, public := newServer(t, "open")
	defer publish(t, hub, "one").Close(nil)
	defer publish(t, hub, "three").Close(nil)
	if listed := call(public, "GET", "/v1/streams", "Bearer key-admin").body; strings.Contains(listed, `"one"`) || !strings.Contains(listed, `"three"`) {
		t.Errorf("an admin of streams that begin with t sees %s", listed)
	}
	for _, tt := range []struct {
		method, path, auth string
		status             int
		header, value      string
	}{
		{"GET", "/v1/streams", "", 401, "WWW-Authenticate", "Bearer"},
		{"GET", "/v1/streams", "Bearer wrong-token", 401, "WWW-Authenticate", `Bearer error="invalid_token"`},
		{"GET", "/v1/nothing", "", 401, "Content-Type", "application/problem+json"},
		{"GET", "/v1/streams", "Bearer " + token, 200, "Content-Type", "application/json"},
		{"HEAD", "/v1/streams", "Bearer " + token, 200, "Cache-Control", "no-store"},
		{"POST", "/v1/streams", "Bearer " + token, 405, "Allow", "GET, HEAD"},
		{"GET", "/v1/streams/one", "Bearer " + token, 200, "X-Content-Type-Options", "nosniff"},
		{"GET", "/v1/streams/two", "Bearer " + token, 404, "Content-Type", "application/problem+json"},
		{"GET", "/v1/streams/..", "Bearer " + token, 404, "Content-Type", "application/problem+json"},
		{"GET", "/v1/streams/a\r\nb", "Bearer " + token, 404, "Content-Type", "application/problem+json"},
		{"GET", "/v1/", "Bearer " + token, 404, "Content-Type", "application/problem+json"},
		// W73, X5: a token of other actions, or for other streams.
		{"GET", "/v1/streams", "Bearer key-admin", 200, "Content-Type", "application/json"},
		{"GET", "/v1/streams", "Bearer key-publish", 403, "Content-Type", "application/problem+json"},
		{"GET", "/v1/streams", "Bearer key-play", 403, "Content-Type", "application/problem+json"},
		{"GET", "/v1/streams/one", "Bearer key-admin", 403, "Content-Type", "application/problem+json"},
		{"GET", "/v1/streams/one", "Bearer key-publish", 403, "Content-Type", "application/problem+json"},
		{"GET", "/v1/streams/other", "Bearer key-publish", 403, "Content-Type", "application/problem+json"}, // X1: as for one that exists
		{"GET", "/v1/streams/three", "Bearer key-publish", 200, "Content-Type", "application/json"},         // its own one
		{"GET", "/v1/streams/three", "Bearer key-admin", 200, "Content-Type", "application/json"},
		{"GET", "/v1/streams/three", "Bearer key-play", 403, "Content-Type", "application/problem+json"},
		{"OPTIONS", "/v1/streams", "", 204, "Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID"}, // X8, X10
	} {
		response := call(public, tt.method, tt.path, tt.auth)
		if response.status != tt.status || response.header.Get(tt.header) != tt.value {
			t.Errorf("%s %q: %d, %s: %q; want %d, %q", tt.method, tt.path, response.status, tt.header, response.header.Get(tt.header), tt.status, tt.value)
		}
		if response.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %q: no CORS header", tt.method, tt.path)
		}
		if text := response.body; tt.status >= 400 && strings.Contains(text, token) {
			t.Errorf("%s %q tells the token (X37): %s", tt.method, tt.path, text)
		}
	}
}

func TestAdmin(t *testing.T) {
	server, hub, _ := newServer(t, "open")
	publish(t, hub, "secret-name").Close(nil)
	defer publish(t, hub, "two").Close(nil)
	metrics, err := api.NewMetrics("v1.2.3", hub, []api.Metric{
		{Name: "whipcast_test_things", Help: "Things.", Read: func() float64 { return 7 }},
		{Name: "whipcast_test_things_total", Help: "All things.", Total: true, Read: func() float64 { return 8 }},
	})
	if err != nil {
		t.Fatal(err)
	}
	admin := server.Admin(metrics)
	text := call(admin, "GET", "/metrics", "").body
	for _, want := range []string{
		`whipcast_build_info{version="v1.2.3"} 1`, "whipcast_stream_streams 2", "whipcast_stream_live 1",
		"whipcast_test_things 7", "# TYPE whipcast_test_things_total counter\nwhipcast_test_things_total 8", "go_goroutines ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	if strings.Contains(text, "secret-name") {
		t.Error("metrics tell a stream's name (X35)")
	}
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/cmdline": 200, "/debug/pprof/symbol": 200, "/debug/pprof/goroutine": 200,
		"/debug/pprof/nothing": 404, "/": 404, "/v1/streams": 404, "/whip/a": 404,
	} {
		if got := call(admin, "GET", path, "").status; got != want {
			t.Errorf("admin %s: %d, want %d", path, got, want)
		}
	}
	if _, err := api.NewMetrics("v1", hub, []api.Metric{{Name: "whipcast_stream_live", Read: func() float64 { return 0 }}}); err == nil {
		t.Error("a name given twice is no error")
	}
}
