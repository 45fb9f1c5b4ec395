package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/stream"
)

// parts are a gateway's, without one: names of what is asked for say what comes of it.
type parts struct {
	mu    sync.Mutex
	ended []string
	drain error
	cast  cast
}

// outcome refuses what is called like a code.
func outcome(name string) error {
	if slices.ContainsFunc(api.Problems(), func(m api.Meaning) bool { return string(m.Code) == name }) {
		return api.Refuse(api.Code(name), "")
	}
	return nil
}

func (p *parts) All() []api.Session {
	return []api.Session{
		{ID: "pAAAAAAAAA", Kind: api.Publishing, Protocol: api.WHIP, Stream: "live", Principal: "key:studio", Since: time.Now(), Connected: true},
		{ID: "wBBBBBBBBB", Kind: api.Watching, Protocol: api.WHEP, Stream: "live", Since: time.Now(), Connected: true},
		{ID: "wCCCCCCCCC", Kind: api.Watching, Protocol: api.RTSP, Stream: "three", Since: time.Now()},
	}
}

func (p *parts) One(id string) (api.Session, bool) {
	for _, one := range p.All() {
		if one.ID == id {
			one.Statistics = &api.Statistics{BytesSent: 7, Transport: "udp", Local: "host", Remote: "srflx", RoundTrip: 0.02, Adaptation: &api.Adaptation{Layer: "h", Automatic: true, Estimate: 900_000, Downs: 1}}
			return one, true
		}
	}
	return api.Session{}, false
}

func (p *parts) End(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = append(p.ended, id)
	return true
}

func (p *parts) Drainage() api.Drainage {
	now := time.Now()
	return api.Drainage{Draining: true, To: "https://b.example.org", Since: &now, Deadline: &now, Published: []string{"live"}, Viewers: 1}
}

func (p *parts) Drain(_ context.Context, wanted api.DrainRequest) error {
	if wanted.To != nil {
		return outcome(*wanted.To)
	}
	return p.drain
}

func (p *parts) Resume(context.Context) error { return p.drain }

func (p *parts) Reason(string) string { return "ended by DELETE" }

func (p *parts) Mark(_ context.Context, _ string, m api.Marker) error { return outcome(m.ID) }
func (p *parts) Remove(_ context.Context, _, id string) error         { return outcome(id) }
func (p *parts) Send(_ context.Context, _ string, m api.Message) error {
	return outcome(m.Label)
}

func (p *parts) Replays(string) []api.Replay {
	until := time.Now()
	return []api.Replay{
		{Presentation: "m2", Place: "s3 1", Begin: time.Unix(2000, 0)},
		{Presentation: "m1", Place: "s3 1", Begin: time.Unix(1000, 0), Until: &until},
	}
}
func (p *parts) DeleteReplay(_ context.Context, _, id string) error { return outcome(id) }
func (p *parts) Clips(string) []api.Clip {
	return []api.Clip{{Name: "goal", Place: "s3 1"}, {Name: "save", Place: "directory 2"}}
}

func (p *parts) Clip(_ context.Context, _ string, wanted api.ClipRequest) ([]api.Clip, error) {
	return []api.Clip{{Name: wanted.Name, Place: "s3 1"}}, outcome(wanted.Name)
}
func (p *parts) DeleteClip(_ context.Context, _, name string) error { return outcome(name) }

func (p *parts) Sources() []api.Source {
	return []api.Source{{Stream: "door", State: "waiting"}, {Stream: "three", State: "failing", Error: "gone", Failed: 3}}
}

func (p *parts) SetSource(ctx context.Context, name string, s api.SourceSettings) error {
	if s.URL == "http://example.org" {
		return api.ErrSourceURL
	}
	return p.RemoveSource(ctx, name)
}

func (p *parts) RemoveSource(_ context.Context, name string) error {
	switch name {
	case "door":
		return api.ErrSourceFixed
	case "nobody":
		return api.ErrNoSource
	case "full":
		return api.ErrSourcesFull
	}
	return nil
}

// contract is a Server with all parts, and what was exercised of its description.
type contract struct {
	server  *api.Server
	hub     *stream.Hub
	handler http.Handler
	parts   *parts
	auth    *auth.Authority
	tokens  map[api.Code]string // that are refused so

	mu   sync.Mutex
	seen map[string]map[string]bool // operation ID: status or code
}

func newContract(t testing.TB, change func(*api.Config)) *contract {
	t.Helper()
	folder := auth.Folder(t.TempDir())
	keys, err := folder.SigningKeyring()
	if err != nil {
		t.Fatal(err)
	}
	sign := func(at, expires time.Time) (string, auth.Grant) {
		token, g, err := keys.Sign(auth.Grant{Actions: auth.Admin, Streams: []auth.Pattern{"*"}, Expires: expires}, at)
		if err != nil {
			t.Fatal(err)
		}
		return token, g
	}
	now := time.Now()
	expired, _ := sign(now.Add(-2*time.Hour), now.Add(-time.Hour))
	good, _ := sign(now, now.Add(time.Hour))
	revoked, grant := sign(now, now.Add(time.Hour))
	if err := folder.Append(auth.Revocation{Token: grant.ID, At: now, Until: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	a, err := auth.New(auth.Config{
		Token: token, Watch: auth.Closed, Folder: folder,
		Webhook: &auth.Webhook{URL: "http://127.0.0.1:1/", Secret: "secret-secret-secret"}, // nobody is there
		Keys: []auth.Key{
			{Name: "play", Hash: auth.Hash("key-play"), Actions: auth.Play, Streams: []auth.Pattern{"other"}},
			{Name: "publish", Hash: auth.Hash("key-publish"), Actions: auth.Publish, Streams: []auth.Pattern{"t*"}},
			{Name: "admin", Hash: auth.Hash("key-admin"), Actions: auth.Admin, Streams: []auth.Pattern{"t*"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{hub: stream.NewHub(stream.Config{}), parts: &parts{}, auth: a, seen: map[string]map[string]bool{}, tokens: map[api.Code]string{
		api.WrongToken: good[:len(good)-6] + "AAAAAA", api.TokenExpired: expired, api.TokenRevoked: revoked,
		api.NotPermitted: "key-play", api.TokenUnchecked: "of-somebody-else", api.TokenNeeded: "",
	}}
	book := latency.NewBook()
	book.Open("live")
	cfg := api.Config{
		Findings: func(string, stream.LayerID) []api.Finding {
			return []api.Finding{{Code: "b-frames", Severity: "warning", Words: "w", Remedy: "r", Measure: &api.Measure{Value: 1, Unit: "s"}}}
		},
		Renditions: func(string) []api.Rendition {
			return []api.Rendition{{URI: "video/index.m3u8", Codecs: "avc1", Peak: 1}}
		},
		Sessions: c.parts, Marks: c.parts, Archive: c.parts, Sources: c.parts, Stages: c.parts, Drainer: c.parts, Latency: book,
		HLSViewers: func(string) int { return 7 },
		Storage: func() []api.Storage {
			return []api.Storage{{Name: "s3 1", State: "working", Fenced: []string{}}, {Name: "directory 2", State: "down", Fenced: []string{}}}
		},
		Settings: func() []api.Setting {
			return []api.Setting{{Key: "hls.part", Value: "500ms"}, {Key: "storage", Value: []any{map[string]any{"type": "s3"}}, Secret: true}}
		},
		Watch: func(r *http.Request, name string) error {
			_, err := a.Decide(r.Context(), auth.Ask(r, auth.Play, "hls", name))
			return err
		},
	}
	if change != nil {
		change(&cfg)
	}
	c.server = api.New(cfg, c.hub, a)
	c.handler = c.server.Public(api.Routes{WHIP: named(""), WHEP: named(""), Session: named(""), HLS: named(""), Pages: named("pages")})
	for _, name := range []string{"live", "three"} {
		s, err := c.hub.Stream(name)
		if err != nil {
			t.Fatal(err)
		}
		session, err := s.Publish(stream.Offer{Principal: "p", Layers: []stream.Layer{
			{ID: stream.LayerID{Kind: stream.Video, RID: "h"}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { session.Close(nil) })
	}
	return c
}

// exchange is one request, with what is to come of it.
type exchange struct {
	id      string // of the operation
	path    string // with values, and the query
	body    string
	token   string
	header  string // another one, "Name: value"
	status  int    // 0: that of the code
	code    api.Code
	has, no string // of the answer's body
}

// operationOf finds an operation by its ID.
func (c *contract) operationOf(id string) (method string, op *huma.Operation) {
	for _, item := range c.server.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
			if op != nil && op.OperationID == id {
				return method, op
			}
		}
	}
	return "", nil
}

// do makes a request, and checks the answer by the description.
func (c *contract) do(t testing.TB, x exchange) *httptest.ResponseRecorder {
	t.Helper()
	method, op := c.operationOf(x.id)
	if op == nil {
		t.Fatalf("no operation %s", x.id)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, x.path, strings.NewReader(x.body))
	if x.body == "" {
		r = httptest.NewRequestWithContext(t.Context(), method, x.path, http.NoBody)
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	if x.token != "" {
		r.Header.Set("Authorization", "Bearer "+x.token)
	}
	if name, value, ok := strings.Cut(x.header, ": "); ok {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	c.check(t, x, op, w)
	return w
}

func (c *contract) check(t testing.TB, x exchange, op *huma.Operation, w *httptest.ResponseRecorder) {
	t.Helper()
	text := w.Body.String()
	where := x.id + " " + x.path + " " + string(x.code)
	described := op.Responses[strconv.Itoa(w.Code)]
	if described == nil {
		t.Errorf("%s: status %d is not described: %s", where, w.Code, text)
		return
	}
	key := strconv.Itoa(w.Code)
	if w.Code >= 400 {
		var p struct {
			Title, Detail, Code string
			Status              int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Title == "" || p.Detail == "" {
			t.Errorf("%s: %v: %s", where, err, text)
		}
		if !slices.Contains(c.server.Codes()[x.id], api.Code(p.Code)) {
			t.Errorf("%s: code %s is not described: %s", where, p.Code, text)
		}
		if x.code != "" && p.Code != string(x.code) {
			t.Errorf("%s: code %s, want %s: %s", where, p.Code, x.code, text)
		}
		key = p.Code
	} else if x.code != "" {
		t.Errorf("%s: status %d, want %s", where, w.Code, x.code)
	}
	if x.status != 0 && w.Code != x.status {
		t.Errorf("%s: status %d, want %d: %s", where, w.Code, x.status, text)
	}
	if x.has != "" && !strings.Contains(text, x.has) || x.no != "" && strings.Contains(text, x.no) {
		t.Errorf("%s: want %q and not %q in %s", where, x.has, x.no, text)
	}
	c.valid(t, where, described, w)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[x.id] == nil {
		c.seen[x.id] = map[string]bool{}
	}
	c.seen[x.id][key] = true
}

// valid checks a body by its schema.
func (c *contract) valid(t testing.TB, where string, described *huma.Response, w *httptest.ResponseRecorder) {
	t.Helper()
	if len(described.Content) == 0 {
		if w.Body.Len() > 0 {
			t.Errorf("%s: a body where none is described: %s", where, w.Body)
		}
		return
	}
	kind := described.Content[w.Header().Get("Content-Type")]
	if kind == nil {
		t.Errorf("%s: content type %q is not described", where, w.Header().Get("Content-Type"))
		return
	}
	var value any
	if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
		t.Errorf("%s: %v: %s", where, err, w.Body)
		return
	}
	var result huma.ValidateResult
	huma.Validate(c.server.OpenAPI().Components.Schemas, kind.Schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, value, &result)
	for _, err := range result.Errors {
		t.Errorf("%s: not as described: %v: %s", where, err, w.Body)
	}
}

// example fills in the path of an operation.
func example(path string) string {
	return strings.NewReplacer("{stream}", "live", "{session}", "pAAAAAAAAA", "{marker}", "m", "{presentation}", "m1", "{clip}", "goal", "{stage}", "show", "{seat}", "host").Replace(path)
}

// good has a body that each operation takes.
func good(id string) string {
	return map[string]string{
		"setMarker": `{"id":"a","class":"x","start":"2026-11-21T12:00:00Z","duration":0,"scte35Out":"AAAA","attributes":{"X-A":"b"}}`, "sendMessage": `{"label":"a","text":"b"}`,
		"makeClip": `{"from":"-5m","to":"now","name":"goal"}`, "makeToken": `{"actions":["play"],"streams":["live"]}`,
		"revoke": `{"stream":"live"}`, "setSource": `{"url":"rtsp://example.org"}`, "report": `{"latency":1}`,
		"drain":    `{"to":"https://b.example.org","deadline":60}`,
		"setStage": `{"admit":"auto","auto_cut":"speaker","hold":3}`, "cut": `{"seat":"host"}`,
		"addSeat": `{"seat":"guest","role":"guest","ttl":600}`, "changeSeat": `{"state":"on_air","muted":true,"label":"Ann","role":"host"}`,
	}[id]
}

// TestContract: every operation of the description works, and every problem that it
// names comes. Answers are as their schemas say.
func TestContract(t *testing.T) {
	c := newContract(t, nil)
	for path, item := range c.server.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil || op.OperationID == "listen" || op.OperationID == "watchStage" {
				continue
			}
			c.do(t, exchange{id: op.OperationID, path: example(path), body: good(op.OperationID), token: token})
			c.usual(t, op, example(path))
		}
	}
	c.usual(t, c.server.OpenAPI().Paths["/v1/events"].Get, "/v1/events")
	c.usual(t, c.server.OpenAPI().Paths["/v1/stages/{stage}/events"].Get, "/v1/stages/show/events")
	for _, x := range []exchange{
		{id: "getStream", path: "/v1/streams/nobody", code: api.NoStream},
		{id: "getStream", path: "/v1/streams/a..b", code: api.NoStream},
		{id: "getSession", path: "/v1/sessions/x", code: api.NoSession},
		{id: "endSession", path: "/v1/sessions/x", code: api.NoSession},
		{id: "setMarker", path: "/v1/streams/nobody/markers", body: `{"id":"a"}`, code: api.NoStream},
		{id: "setMarker", path: "/v1/streams/live/markers", body: `{"id":"not-live"}`, code: api.NotLive},
		{id: "setMarker", path: "/v1/streams/live/markers", body: `{"id":"marker-refused"}`, code: api.MarkerRefused},
		{id: "setMarker", path: "/v1/streams/live/markers", body: `{"id":"marker-conflict"}`, code: api.MarkerConflict},
		{id: "setMarker", path: "/v1/streams/live/markers", body: `{"id":"too-many-markers"}`, code: api.MarkersFull, header: "Accept: */*"},
		{id: "removeMarker", path: "/v1/streams/nobody/markers/a", code: api.NoStream},
		{id: "removeMarker", path: "/v1/streams/live/markers/not-live", code: api.NotLive},
		{id: "removeMarker", path: "/v1/streams/live/markers/marker-refused", code: api.MarkerRefused},
		{id: "removeMarker", path: "/v1/streams/live/markers/marker-conflict", code: api.MarkerConflict},
		{id: "sendMessage", path: "/v1/streams/nobody/messages", body: `{"label":"a"}`, code: api.NoStream},
		{id: "sendMessage", path: "/v1/streams/live/messages", body: `{"label":"not-live"}`, code: api.NotLive},
		{id: "sendMessage", path: "/v1/streams/live/messages", body: `{"label":"message-refused"}`, code: api.MessageRefused},
		{id: "listReplays", path: "/v1/streams/a..b/replays", code: api.NoStream},
		{id: "deleteReplay", path: "/v1/streams/a..b/replays/m1", code: api.NoStream},
		{id: "deleteReplay", path: "/v1/streams/live/replays/no-such-replay", code: api.NoReplay},
		{id: "deleteReplay", path: "/v1/streams/live/replays/replay-not-ended", code: api.ReplayLive},
		{id: "deleteReplay", path: "/v1/streams/live/replays/storage-failed", code: api.StorageFailed},
		{id: "listClips", path: "/v1/streams/a..b/clips", code: api.NoStream},
		{id: "makeClip", path: "/v1/streams/a..b/clips", body: good("makeClip"), code: api.NoStream},
		{id: "makeClip", path: "/v1/streams/live/clips", body: `{"from":"-5m","to":"now","name":"no-media"}`, code: api.NoMedia},
		{id: "makeClip", path: "/v1/streams/live/clips", body: `{"from":"-5m","to":"now","name":"clip-exists"}`, code: api.ClipExists},
		{id: "makeClip", path: "/v1/streams/live/clips", body: `{"from":"-5m","to":"now","name":"storage-failed"}`, code: api.StorageFailed},
		{id: "makeClip", path: "/v1/streams/live/clips", body: `{"from":"-5m","to":"now","name":"../x"}`, code: api.Invalid},
		{id: "deleteClip", path: "/v1/streams/a..b/clips/goal", code: api.NoStream},
		{id: "deleteClip", path: "/v1/streams/live/clips/no-such-clip", code: api.NoClip},
		{id: "deleteClip", path: "/v1/streams/live/clips/storage-failed", code: api.StorageFailed},
		{id: "setSource", path: "/v1/sources/a..b", body: good("setSource"), code: api.NoStream},
		{id: "setSource", path: "/v1/sources/nobody", body: good("setSource"), code: api.NoSource},
		{id: "setSource", path: "/v1/sources/door", body: good("setSource"), code: api.SourceFixed},
		{id: "setSource", path: "/v1/sources/full", body: good("setSource"), code: api.SourcesFull},
		{id: "setSource", path: "/v1/sources/live", body: `{"url":"http://example.org"}`, code: api.SourceURL},
		{id: "removeSource", path: "/v1/sources/a..b", code: api.NoStream},
		{id: "removeSource", path: "/v1/sources/nobody", code: api.NoSource},
		{id: "removeSource", path: "/v1/sources/door", code: api.SourceFixed},
		{id: "revoke", path: "/v1/revocations", body: `{}`, code: api.NotRevocable},
		{id: "revoke", path: "/v1/revocations", body: `{"principal":"owner"}`, code: api.NotRevocable},
		{id: "revoke", path: "/v1/revocations", body: `{"stream":"a..b"}`, code: api.Invalid},
		{id: "makeToken", path: "/v1/tokens", body: `{"actions":["play"],"streams":["*"]}`, token: "key-admin", code: api.TooMuch},
		{id: "makeToken", path: "/v1/tokens", body: `{"actions":["play"],"streams":["ta"],"principal":"me"}`, token: "key-admin", code: api.TooMuch},
		{id: "makeToken", path: "/v1/tokens", body: `{"actions":["play"],"streams":["a/b"]}`, code: api.Invalid},
		{id: "drain", path: "/v1/drain", status: 202, has: `"published":["live"]`},
		{id: "drain", path: "/v1/drain", body: `{"to":"drain-over"}`, code: api.DrainOver},
		{id: "drain", path: "/v1/drain", body: `{"deadline":-1}`, code: api.Invalid},
		{id: "listen", path: "/v1/events?type=nothing", code: api.Invalid},
		{id: "getStage", path: "/v1/stages/nothing", code: api.NoStage},
		{id: "getStage", path: "/v1/stages/a..b", code: api.NoStage},
		{id: "setStage", path: "/v1/stages/a.b", body: good("setStage"), code: api.NoStage},
		{id: "setStage", path: "/v1/stages/too-many-stages", body: good("setStage"), code: api.StagesFull},
		{id: "setStage", path: "/v1/stages/seats-are-live", body: good("setStage"), code: api.SeatsLive},
		{id: "removeStage", path: "/v1/stages/no-such-stage", code: api.NoStage},
		{id: "cut", path: "/v1/stages/no-such-stage/cut", body: good("cut"), code: api.NoStage},
		{id: "cut", path: "/v1/stages/show/cut", body: `{"seat":"no-such-seat"}`, code: api.NoSeat},
		{id: "cut", path: "/v1/stages/show/cut", body: `{"seat":"seat-not-there"}`, code: api.SeatAbsent},
		{id: "addSeat", path: "/v1/stages/no-such-stage/seats", body: good("addSeat"), code: api.NoStage},
		{id: "addSeat", path: "/v1/stages/show/seats", body: `{"seat":"seat-exists"}`, code: api.SeatExists},
		{id: "addSeat", path: "/v1/stages/show/seats", body: `{"seat":"too-many-seats"}`, code: api.SeatsFull},
		{id: "invite", path: "/v1/stages/no-such-stage/seats/host/invitation", code: api.NoStage},
		{id: "invite", path: "/v1/stages/show/seats/no-such-seat/invitation", code: api.NoSeat},
		{id: "changeSeat", path: "/v1/stages/no-such-stage/seats/host", body: good("changeSeat"), code: api.NoStage},
		{id: "changeSeat", path: "/v1/stages/show/seats/no-such-seat", body: good("changeSeat"), code: api.NoSeat},
		{id: "removeSeat", path: "/v1/stages/no-such-stage/seats/host", code: api.NoStage},
		{id: "removeSeat", path: "/v1/stages/show/seats/no-such-seat", code: api.NoSeat},
		{id: "viewStage", path: "/v1/stages/nothing/view", code: api.NoStage},
		{id: "watchStage", path: "/v1/stages/nothing/events", code: api.NoStage},
		{id: "report", path: "/v1/streams/nobody/latency", body: good("report"), code: api.NoStream},
	} {
		if x.token == "" {
			x.token = token
		}
		c.do(t, x)
	}
	for _, code := range []api.Code{api.NotDraining, api.DrainOver} {
		c.parts.drain = api.Refuse(code, "")
		c.do(t, exchange{id: "resume", path: "/v1/drain", token: token, code: code})
	}
	c.without(t)
	c.listeners(t)
	c.watchers(t)
	c.reports(t)
	for id, codes := range c.server.Codes() {
		for _, code := range codes {
			// What no request can bring about in a test is shown elsewhere.
			if !c.seen[id][string(code)] {
				t.Errorf("%s: %s was not exercised", id, code)
			}
		}
	}
}

// usual exercises what many operations have: tokens, bodies, lists.
func (c *contract) usual(t *testing.T, op *huma.Operation, path string) {
	for code, wrong := range c.tokens {
		if op.OperationID == "report" && code == api.NotPermitted {
			wrong = "key-publish"
		}
		c.do(t, exchange{id: op.OperationID, path: path, body: good(op.OperationID), token: wrong, code: code})
	}
	if body := good(op.OperationID); body != "" {
		c.do(t, exchange{id: op.OperationID, path: path, body: "{", token: token, code: api.Malformed})
		c.do(t, exchange{id: op.OperationID, path: path, body: `{"text":"` + strings.Repeat("a", 70<<10) + `"}`, token: token, code: api.TooLarge})
		if op.OperationID != "report" {
			c.do(t, exchange{id: op.OperationID, path: path, body: body, token: token, header: "Content-Type: text/plain", code: api.NotJSON})
			c.do(t, exchange{id: op.OperationID, path: path, body: `{"secretword":1}`, token: token, code: api.Invalid})
			c.do(t, exchange{id: op.OperationID, path: path, body: `[]`, token: token, code: api.Invalid})
		}
		return
	}
	for _, p := range op.Parameters {
		if p.Name == "limit" {
			c.do(t, exchange{id: op.OperationID, path: path + "?limit=0", token: token, code: api.Invalid})
			c.do(t, exchange{id: op.OperationID, path: path + "?cursor=" + url.QueryEscape("!"), token: token, code: api.Malformed})
		}
		if p.Name == "Last-Event-ID" {
			c.do(t, exchange{id: op.OperationID, path: path, token: token, header: "Last-Event-ID: x", code: api.Malformed})
		}
	}
}

// without exercises a gateway that has no parts.
func (c *contract) without(t *testing.T) {
	bare := newContract(t, func(cfg *api.Config) { *cfg = api.Config{Watch: cfg.Watch} })
	bare.seen = c.seen
	for _, x := range []exchange{
		{id: "deleteReplay", path: "/v1/streams/live/replays/m1", code: api.NoArchive},
		{id: "makeClip", path: "/v1/streams/live/clips", body: good("makeClip"), code: api.NoArchive},
		{id: "deleteClip", path: "/v1/streams/live/clips/goal", code: api.NoArchive},
		{id: "setMarker", path: "/v1/streams/live/markers", body: good("setMarker"), code: api.NotLive},
		{id: "setSource", path: "/v1/sources/live", body: good("setSource"), code: api.NoSource},
		{id: "getSession", path: "/v1/sessions/pAAAAAAAAA", code: api.NoSession},
		{id: "drain", path: "/v1/drain", body: good("drain"), code: api.NoResource},
		{id: "resume", path: "/v1/drain", code: api.NotDraining},
		{id: "getDrain", path: "/v1/drain", status: 200, has: `"draining":false`},
		{id: "listReplays", path: "/v1/streams/live/replays", status: 200, has: `{"replays":[]}`},
		{id: "listClips", path: "/v1/streams/live/clips", status: 200, has: `{"clips":[]}`},
		{id: "listSessions", path: "/v1/sessions", status: 200, has: `{"sessions":[]}`},
		{id: "listSources", path: "/v1/sources", status: 200, has: `{"sources":[]}`},
		{id: "listStorage", path: "/v1/storage", status: 200, has: `{"storage":[]}`},
		{id: "listConfig", path: "/v1/config", status: 200, has: `{"config":[]}`},
		{id: "listStages", path: "/v1/stages", status: 200, has: `{"stages":[]}`},
		{id: "setStage", path: "/v1/stages/show", body: good("setStage"), code: api.NoStage},
		{id: "viewStage", path: "/v1/stages/show/view", code: api.NoStage},
	} {
		x.token = token
		bare.do(t, x)
	}
}

// listeners exercises the bound of who listens to events.
func (c *contract) listeners(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 100 {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/events", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		all.Go(func() { c.handler.ServeHTTP(httptest.NewRecorder(), r) })
	}
	for c.server.ListenersNow() < 100 {
		time.Sleep(time.Millisecond)
	}
	w := c.do(t, exchange{id: "listen", path: "/v1/events", token: token, code: api.Listeners})
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	cancel()
	all.Wait()
	if n := c.server.ListenersNow(); n != 0 {
		t.Errorf("%d listeners are left", n)
	}
}

// watchers exercises the bound of who watches stages: in all, and by one seat's token.
func (c *contract) watchers(t *testing.T) {
	seat, _, err := c.auth.Issue(auth.Grant{Actions: auth.Seat, Streams: []auth.Pattern{"show.ann"}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	watch := func(n int, credential string) {
		for range n {
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/stages/show/events", http.NoBody)
			r.Header.Set("Authorization", "Bearer "+credential)
			all.Go(func() { c.handler.ServeHTTP(httptest.NewRecorder(), r) })
		}
	}
	reach := func(n int) {
		for c.server.WatchersNow() < n {
			time.Sleep(time.Millisecond)
		}
	}
	watch(8, seat)
	reach(8)
	c.do(t, exchange{id: "watchStage", path: "/v1/stages/show/events", token: seat, code: api.Listeners})
	watch(992, token)
	reach(1000)
	c.do(t, exchange{id: "watchStage", path: "/v1/stages/show/events", token: token, code: api.Listeners})
	cancel()
	all.Wait()
	if n := c.server.WatchersNow(); n != 0 {
		t.Errorf("%d watchers are left", n)
	}
}

// reports exercises the rate limit of players' reports.
func (c *contract) reports(t *testing.T) {
	for range 200 {
		if c.do(t, exchange{id: "report", path: "/v1/streams/live/latency", body: good("report"), token: token}).Code == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("200 reports at once are taken")
}

// TestProblems: each code is there once, and refuses with its row.
func TestProblems(t *testing.T) {
	seen := map[api.Code]bool{}
	for _, m := range api.Problems() {
		if seen[m.Code] || m.Title == "" || m.Detail == "" || http.StatusText(m.Status) == "" {
			t.Errorf("%+v", m)
		}
		seen[m.Code] = true
	}
	used := map[api.Code]bool{api.NoResource: true, api.MethodNotAllowed: true, api.Internal: true, api.TooSlow: true} // of no operation alone
	for _, codes := range newContract(t, nil).server.Codes() {
		for _, code := range codes {
			used[code] = true
			if !seen[code] {
				t.Errorf("%s is in no row", code)
			}
		}
	}
	for code := range seen {
		if !used[code] {
			t.Errorf("%s is of no operation", code)
		}
	}
}

// TestNothingEchoed: X37 what was wrong in a body is not sent back.
func TestNothingEchoed(t *testing.T) {
	c := newContract(t, nil)
	for _, body := range []string{`{"url":7,"hunter2":"hunter2"}`, `"hunter2"`, `{"url":["hunter2"]}`, `{"hunter2`} {
		w := c.do(t, exchange{id: "setSource", path: "/v1/sources/live", body: body, token: token})
		if w.Code < 400 || strings.Contains(w.Body.String(), `"hunter2"`) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
}

// TestPages: filters, and cursors that neither lose nor repeat a row.
func TestPages(t *testing.T) {
	c := newContract(t, nil)
	for _, name := range []string{"a1", "a2", "a3", "b1"} {
		if _, err := c.hub.Stream(name); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	next := ""
	for range 10 {
		var page api.StreamList
		w := c.do(t, exchange{id: "listStreams", path: "/v1/streams?prefix=a&limit=2&cursor=" + next, token: token, status: 200})
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Streams {
			got = append(got, s.Name)
		}
		if next = page.Next; next == "" {
			break
		}
	}
	if !reflect.DeepEqual(got, []string{"a1", "a2", "a3"}) {
		t.Errorf("got %v", got)
	}
	for _, x := range []exchange{
		{id: "listStreams", path: "/v1/streams?live=true", has: `"name":"live"`, no: `"name":"a1"`},
		{id: "listStreams", path: "/v1/streams?live=false", has: `"name":"a1"`, no: `"name":"live"`},
		{id: "listStreams", path: "/v1/streams?live=maybe", code: api.Invalid},
		{id: "listStreams", path: "/v1/streams", token: "key-admin", has: `"name":"three"`, no: `"name":"live"`},
		{id: "listSessions", path: "/v1/sessions?kind=watch&stream=live", has: "wBBBBBBBBB", no: "pAAAAAAAAA"},
		{id: "listSessions", path: "/v1/sessions?kind=both", code: api.Invalid},
		{id: "listSessions", path: "/v1/sessions?protocol=rtsp", has: "wCCCCCCCCC", no: "wBBBBBBBBB"},
		{id: "listSessions", path: "/v1/sessions?protocol=http", code: api.Invalid},
		{id: "getStream", path: "/v1/streams/live", has: `"viewers":{"total":8,"whep":1,"rtsp":0,"hls":7}`},
		{id: "listSessions", path: "/v1/sessions", token: "key-admin", has: "wCCCCCCCCC", no: "pAAAAAAAAA"},
		{id: "getSession", path: "/v1/sessions/pAAAAAAAAA", token: "key-admin", code: api.NoSession}, // X1
		{id: "endSession", path: "/v1/sessions/pAAAAAAAAA", token: "key-admin", code: api.NoSession},
		{id: "getSession", path: "/v1/sessions/wCCCCCCCCC", token: "key-admin", has: `"transport":"udp"`},
		{id: "listReplays", path: "/v1/streams/live/replays?limit=1", has: `"m1"`, no: `"m2"`}, // oldest first
		{id: "listClips", path: "/v1/streams/live/clips?place=directory%202", has: "save", no: "goal"},
		{id: "listSources", path: "/v1/sources?state=failing", has: "three", no: "door"},
		{id: "listStorage", path: "/v1/storage?state=down", has: "directory 2", no: "s3 1"},
		{id: "listStorage", path: "/v1/storage", token: "key-admin", code: api.NotPermitted},
		{id: "listConfig", path: "/v1/config?prefix=hls", has: "hls.part", no: "storage"},
		{id: "listConfig", path: "/v1/config", token: "key-admin", code: api.NotPermitted},
		{id: "drain", path: "/v1/drain", token: "key-admin", code: api.NotPermitted},
		// Who publishes a stream marks it, and no more.
		{id: "setMarker", path: "/v1/streams/three/markers", body: good("setMarker"), token: "key-publish", status: 204},
		{id: "removeMarker", path: "/v1/streams/three/markers/m", token: "key-publish", status: 204},
		{id: "sendMessage", path: "/v1/streams/three/messages", body: good("sendMessage"), token: "key-publish", status: 204},
		{id: "setMarker", path: "/v1/streams/live/markers", body: good("setMarker"), token: "key-publish", code: api.NotPermitted},
		{id: "makeClip", path: "/v1/streams/three/clips", body: good("makeClip"), token: "key-publish", code: api.NotPermitted},
		{id: "setSource", path: "/v1/sources/three", body: good("setSource"), token: "key-publish", code: api.NotPermitted},
		{id: "setSource", path: "/v1/sources/three", body: good("setSource"), token: "key-admin", status: 204},
		{id: "setSource", path: "/v1/sources/live", body: good("setSource"), token: "key-admin", code: api.NotPermitted},
	} {
		if x.token == "" {
			x.token = token
		}
		c.do(t, x)
	}
	if !slices.Equal(c.parts.ended, nil) {
		t.Errorf("ended %v", c.parts.ended)
	}
	c.do(t, exchange{id: "endSession", path: "/v1/sessions/wCCCCCCCCC", token: "key-admin", status: 204})
	if !slices.Equal(c.parts.ended, []string{"wCCCCCCCCC"}) {
		t.Errorf("ended %v", c.parts.ended)
	}
}

// TestTokens: a token that was made works, and its revocation is listed and works.
func TestTokens(t *testing.T) {
	c := newContract(t, nil)
	var made api.Token
	w := c.do(t, exchange{id: "makeToken", path: "/v1/tokens", token: "key-admin", body: `{"actions":["admin"],"streams":["t*"],"lifetime":60}`, status: 201})
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || time.Until(made.Expires) > time.Minute || made.ID == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	c.do(t, exchange{id: "getStream", path: "/v1/streams/three", token: made.Token, status: 200})
	// It cannot make one that lives longer.
	c.do(t, exchange{id: "makeToken", path: "/v1/tokens", token: made.Token, body: `{"actions":["play"],"streams":["ta"],"lifetime":3600}`, code: api.TooMuch})
	// An admin of some streams revokes theirs only.
	c.do(t, exchange{id: "revoke", path: "/v1/revocations", token: "key-admin", body: `{"token":"` + made.ID + `"}`, code: api.NotPermitted})
	c.do(t, exchange{id: "revoke", path: "/v1/revocations", token: token, body: `{"token":"` + made.Token + `"}`, status: 201, has: made.ID, no: made.Token})
	c.do(t, exchange{id: "getStream", path: "/v1/streams/three", token: made.Token, code: api.TokenRevoked})
	c.do(t, exchange{id: "revoke", path: "/v1/revocations", token: "key-admin", body: `{"stream":"three"}`, status: 201})
	c.do(t, exchange{id: "revoke", path: "/v1/revocations", token: token, body: `{"principal":"me"}`, status: 201, has: `"user:me"`})
	c.do(t, exchange{id: "listRevocations", path: "/v1/revocations", token: token, has: made.ID})
	c.do(t, exchange{id: "listRevocations", path: "/v1/revocations?stream=three", token: "key-admin", has: `"stream":"three"`, no: made.ID})
}

// FuzzBodies: no body makes an operation answer other than it is described to.
func FuzzBodies(f *testing.F) {
	c := newContract(f, nil)
	ids := []string{
		"setMarker", "sendMessage", "makeClip", "makeToken", "revoke", "setSource", "drain", "setStage", "addSeat", "changeSeat", "cut",
	}
	paths := []string{
		"/v1/streams/live/markers", "/v1/streams/live/messages", "/v1/streams/live/clips", "/v1/tokens", "/v1/revocations", "/v1/sources/live", "/v1/drain",
		"/v1/stages/show", "/v1/stages/show/seats", "/v1/stages/show/seats/host", "/v1/stages/show/cut",
	}
	for i, id := range ids {
		f.Add(uint8(i), good(id))
		f.Add(uint8(i), `{"id":null,"actions":[null],"streams":[""],"lifetime":1e308,"duration":-1,"start":"x","scte35Out":"*"}`)
	}
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		i := int(which) % len(ids)
		if ids[i] == "revoke" { // each would stay in the folder
			body = strings.ReplaceAll(body, `"`, `'`)
		}
		w := c.do(t, exchange{id: ids[i], path: paths[i], body: body, token: token})
		if w.Code >= 500 && !strings.Contains(body, string(api.StorageFailed)) && !strings.Contains(body, "token-unchecked") && !strings.Contains(body, "listeners") {
			t.Errorf("%s %q: %d %s", ids[i], body, w.Code, w.Body)
		}
	})
}

// TestLists: every operation that lists something comes in pages, and has a filter; no
// list has neither.
func TestLists(t *testing.T) {
	lists := 0
	for path, item := range newContract(t, nil).server.OpenAPI().Paths {
		if item.Get == nil || !strings.HasPrefix(item.Get.OperationID, "list") || item.Get.OperationID == "listen" {
			continue
		}
		lists++
		has := map[string]bool{}
		for _, p := range item.Get.Parameters {
			if p.In == "query" {
				has[p.Name] = true
			}
		}
		if !has["limit"] || !has["cursor"] || len(has) < 3 {
			t.Errorf("%s has the parameters %v: it needs limit, cursor and a filter", path, has)
		}
	}
	if lists < 8 {
		t.Errorf("%d lists were found", lists)
	}
}
