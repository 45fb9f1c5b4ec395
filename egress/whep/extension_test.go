package whep_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

const (
	relEvents = "urn:ietf:params:whep:ext:core:server-sent-events"
	relLayer  = "urn:ietf:params:whep:ext:core:layer"
	names     = "active,inactive,layers,reconnect,viewercount,warning"
)

// sse is one event.
type sse struct{ name, data string }

// reading is a GET of an event stream that goes on.
type reading struct {
	code   int
	header http.Header
	ended  chan struct{} // closed when the gateway ends the stream

	mu  sync.Mutex
	all []sse
	bad []string // lines that are none of an event stream's
}

// listen reads an event stream until the test ends.
func (g *gateway) listen(path string, header ...string) *reading {
	g.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r) //nolint:bodyclose // read closes it
	if err != nil {
		cancel()
		g.t.Fatal(err)
	}
	l := &reading{code: res.StatusCode, header: res.Header, ended: make(chan struct{})}
	go l.read(res)
	g.t.Cleanup(func() {
		cancel()
		<-l.ended
	})
	return l
}

func (l *reading) read(res *http.Response) {
	defer close(l.ended)
	defer res.Body.Close()
	var next sse
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		l.mu.Lock()
		switch {
		case lines.Text() == "":
			if next != (sse{}) {
				l.all = append(l.all, next)
			}
			next = sse{}
		case field == "event" && next.name == "":
			next.name = value
		case field == "data" && next.data == "" && json.Valid([]byte(value)):
			next.data = value
		case field == "retry", field == "":
		default:
			l.bad = append(l.bad, lines.Text())
		}
		l.mu.Unlock()
	}
}

func (l *reading) events(name string) []sse {
	l.mu.Lock()
	defer l.mu.Unlock()
	var some []sse
	for _, e := range l.all {
		if name == "" || e.name == name {
			some = append(some, e)
		}
	}
	return some
}

// names lists the events but for those that come with time.
func (l *reading) names() string {
	var all []string
	for _, e := range l.events("") {
		if e.name != "layers" && e.name != "viewercount" {
			all = append(all, e.name)
		}
	}
	return strings.Join(all, " ")
}

// link returns the target and the parameters of a Link header by its relation.
func link(h http.Header, rel string) (target string, parameters string) {
	for _, value := range h.Values("Link") {
		before, after, _ := strings.Cut(value, ">; ")
		if strings.Contains(after, `rel="`+rel+`"`) {
			return strings.TrimPrefix(before, "<"), after
		}
	}
	return "", ""
}

// post makes a session that never connects, and returns its URL.
func (g *gateway) post(name string, header ...string) (location string, res response) {
	g.t.Helper()
	res = g.do(http.MethodPost, whep.Prefix+name, "application/sdp", read(g.t, "gst/01-POST.sdp"), header...)
	if res.code != http.StatusCreated {
		g.t.Fatalf("POST: %d: %s", res.code, res.body)
	}
	return res.header.Get("Location"), res
}

// TestExtensionsAreLinked: E24 and E35 the 201 links both extensions, E21 which nobody
// need use, and links that come are no matter.
func TestExtensionsAreLinked(t *testing.T) {
	g := newGatewayWith(t, whep.Config{}, rtc.RegistryConfig{ICEServers: func(*http.Request, string) []rtc.ICEServer { return []rtc.ICEServer{{URL: "stun:stun.example.net"}} }})
	g.publish("live", video, audio)
	location, res := g.post("live", "Link", `<https://elsewhere.example/>; rel="urn:ietf:params:whep:ext:example:unknown"`)
	events, parameters := link(res.header, relEvents)
	if events != location+"/events" || !strings.HasSuffix(parameters, `; events="`+names+`"`) {
		t.Errorf("events: %s; %s", events, parameters)
	}
	if layer, _ := link(res.header, relLayer); layer != location+"/layer" {
		t.Errorf("layer: %s", layer)
	}
	if server, _ := link(res.header, "ice-server"); server != "stun:stun.example.net" {
		t.Errorf("ice-server: %s", server)
	}
	if exposed := res.header.Get("Access-Control-Expose-Headers"); !strings.Contains(exposed, "Link") || !strings.Contains(exposed, "Location") {
		t.Errorf("pages see %s", exposed)
	}
	if res := g.do(http.MethodDelete, location, "", ""); res.code != http.StatusOK { // without any use of them
		t.Errorf("DELETE: %d", res.code)
	}
}

// TestEventStreamStatus: E25–E28, E33, E34 and the CORS of the events' resources.
func TestEventStreamStatus(t *testing.T) {
	g := newGateway(t, whep.Config{})
	g.publish("live", video)
	location, _ := g.post("live")
	events := location + "/events"
	open := func(body string) response { return g.do(http.MethodPost, events, "application/json", body) }
	made := open(`["active"]`)
	for _, tt := range []struct {
		name, method, path, body string
		want                     int
		header, value            string
	}{
		{"preflight", "OPTIONS", events, "", 200, "Allow", "DELETE, GET, HEAD, OPTIONS, POST"},
		{"preflight says what to POST", "OPTIONS", events, "", 200, "Accept-Post", "application/json"},
		{"preflight of an unknown session", "OPTIONS", "/session/wAAAAAAAAAAAAAAAAAAAAAA/events", "", 200, "Allow", "DELETE, GET, HEAD, OPTIONS, POST"},
		{"E26 unknown name", "POST", events, `["active","scte35"]`, 400, "Content-Type", "application/problem+json"},
		{"no JSON", "POST", events, `active`, 400, "", ""},
		{"70 KB", "POST", events, "[" + strings.Repeat(`"active",`, 8000) + `"active"]`, 413, "", ""},
		{"PUT", "PUT", events, "", 405, "Allow", "DELETE, GET, HEAD, OPTIONS, POST"},
		{"DELETE of no stream", "DELETE", events, "", 405, "Allow", "GET, HEAD, OPTIONS, POST"},
		{"POST to a stream", "POST", made.header.Get("Location"), "", 405, "Allow", "DELETE, GET, HEAD, OPTIONS"},
		{"HEAD", "HEAD", made.header.Get("Location"), "", 200, "Content-Type", "text/event-stream"},
		{"HEAD of all", "HEAD", events, "", 200, "Content-Type", "text/event-stream"},
		{"unknown stream", "GET", events + "/x", "", 404, "Content-Type", "application/problem+json"},
		{"unknown extension", "GET", location + "/eventz", "", 404, "", ""},
		{"a WHIP session has none", "GET", "/session/pAAAAAAAAAAAAAAAAAAAAAA/events", "", 404, "", ""},
		{"E28 DELETE", "DELETE", made.header.Get("Location"), "", 200, "", ""},
		{"E28 GET after it", "GET", made.header.Get("Location"), "", 404, "", ""},
		{"E28 DELETE after it", "DELETE", made.header.Get("Location"), "", 404, "", ""},
	} {
		res := g.do(tt.method, tt.path, "", tt.body)
		if res.code != tt.want || tt.header != "" && res.header.Get(tt.header) != tt.value {
			t.Errorf("%s: %d, %s %q; want %d, %q: %s", tt.name, res.code, tt.header, res.header.Get(tt.header), tt.want, tt.value, res.body)
		}
		if res.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(res.header.Get("Access-Control-Expose-Headers"), "Location") {
			t.Errorf("%s: no CORS headers (W84, W85)", tt.name)
		}
	}
	if made.code != http.StatusCreated || !strings.HasPrefix(made.header.Get("Location"), events+"/") || len(made.header.Get("Location")) < len(events)+20 || made.body != "" {
		t.Errorf("E25 POST: %d, Location %s, %q", made.code, made.header.Get("Location"), made.body)
	}
	if res := g.do(http.MethodGet, events, "", "", "Accept", "application/json"); res.code != http.StatusNotAcceptable {
		t.Errorf("GET of JSON: %d", res.code)
	}
	if res := g.do(http.MethodOptions, events, "", ""); !strings.Contains(res.header.Get("Access-Control-Allow-Headers"), "Authorization") || !strings.Contains(res.header.Get("Access-Control-Allow-Headers"), "Last-Event-ID") {
		t.Errorf("preflight allows %s", res.header.Get("Access-Control-Allow-Headers"))
	}
	for range 4 {
		made = open("")
	}
	if res := open(""); made.code != http.StatusCreated || res.code != http.StatusTooManyRequests {
		t.Errorf("four streams, and a fifth: %d, %d", made.code, res.code)
	}
	l := g.listen(made.header.Get("Location"))
	if l.code != http.StatusOK || l.header.Get("Content-Type") != "text/event-stream" || l.header.Get("Cache-Control") != "no-store" || l.header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("E34 GET: %d, %v", l.code, l.header)
	}
	until(t, "the first events", func() bool { return len(l.events("")) >= 3 })
	g.do(http.MethodDelete, location, "", "")
	until(t, "all streams end with the session (E28)", func() bool {
		select {
		case <-l.ended:
			return g.metrics.EventStreams.Load() == 0
		default:
			return false
		}
	})
	if res := g.do(http.MethodGet, made.header.Get("Location"), "", ""); res.code != http.StatusNotFound {
		t.Errorf("E28 GET after the session's end: %d", res.code)
	}
}

// TestEventStreamCredentials: E33 the stream's URL is enough to read it, because
// EventSource cannot send credentials; those that are sent must be right, and what
// changes anything needs them (W75).
func TestEventStreamCredentials(t *testing.T) {
	g := newGatewayWith(t, whep.Config{}, rtc.RegistryConfig{Watch: func(r *http.Request, _ string) (rtc.Caller, error) {
		switch token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); token {
		case "alice", "bob":
			return rtc.Caller{Principal: token}, nil
		default:
			return rtc.Caller{}, problem.Problem{Status: http.StatusUnauthorized, Title: "No access", Detail: "send a token"}
		}
	}})
	g.publish("live", video)
	location, _ := g.post("live", "Authorization", "Bearer alice")
	made := g.do(http.MethodPost, location+"/events", "", "", "Authorization", "Bearer alice")
	at := made.header.Get("Location")
	for _, tt := range []struct {
		name, method, path, token string
		want                      int
	}{
		{"POST without", "POST", location + "/events", "", 401},
		{"POST of another", "POST", location + "/events", "bob", 404},
		{"POST to an unknown session without", "POST", "/session/wAAAAAAAAAAAAAAAAAAAAAA/events", "", 401},
		{"layer without", "POST", location + "/layer", "", 401},
		{"layer of another", "POST", location + "/layer", "bob", 404},
		{"HEAD without", "HEAD", at, "", 200},
		{"HEAD with", "HEAD", at, "alice", 200},
		{"HEAD with wrong ones", "HEAD", at, "wrong", 401},
		{"HEAD with another's", "HEAD", at, "bob", 404},
		{"DELETE without", "DELETE", at, "", 401},
		{"DELETE of another", "DELETE", at, "bob", 404},
		{"layer", "POST", location + "/layer", "alice", 200},
		{"DELETE", "DELETE", at, "alice", 200},
	} {
		var header []string
		if tt.token != "" {
			header = []string{"Authorization", "Bearer " + tt.token}
		}
		body := ""
		if strings.HasSuffix(tt.path, "/layer") {
			body = "{}"
		}
		if res := g.do(tt.method, tt.path, "", body, header...); res.code != tt.want {
			t.Errorf("%s: %d, want %d: %s", tt.name, res.code, tt.want, res.body)
		}
	}
	for _, header := range [][]string{nil, {"Authorization", "Bearer alice"}} {
		l := g.listen(location+"/events", header...)
		until(t, "the first event", func() bool { return len(l.events("active")) == 1 })
	}
}

// TestEvents: E27, E29, E30, E32 a viewer is told of publishers that come and go, of
// layers and of how many watch; never first that nobody publishes.
func TestEvents(t *testing.T) {
	g := newGateway(t, whep.Config{Size: func(name, rid string) (int, int) { return len(name), len(rid) }})
	x := g.publish("live", audio, video)
	f := &film{}
	stop := f.run(x, 0, 0)
	v := g.watch("live", recvAudio, recvVideo)
	until(t, "the viewer is there", func() bool { return g.metrics.Viewers.Load() == 1 })
	made := g.do(http.MethodPost, v.resource+"/events", "application/json", "")
	l := g.listen(made.header.Get("Location"))
	until(t, "how things are", func() bool { return len(l.events("")) >= 3 })
	first := l.events("")
	if first[0] != (sse{"active", "{}"}) || first[1].name != "layers" || first[2] != (sse{"viewercount", `{"viewercount":1}`}) {
		t.Errorf("at first: %v", first)
	}
	var layers map[string][]map[string]any
	until(t, "the layer's bit rate", func() bool {
		all := l.events("layers")
		if err := json.Unmarshal([]byte(all[len(all)-1].data), &layers); err != nil {
			t.Fatal(err)
		}
		return len(layers["1"]) == 1 && layers["1"][0]["bitrate"] != nil
	})
	if one := layers["1"][0]; one["spatialLayerId"] != 0.0 || one["width"] != 4.0 || one["rid"] != nil {
		t.Errorf("E30 the layer is %v", one)
	}
	stop()
	x.Close(nil)
	until(t, "inactive", func() bool { return len(l.events("inactive")) == 1 })
	second := g.do(http.MethodPost, v.resource+"/events", "application/json", `["active","inactive"]`)
	late := g.listen(second.header.Get("Location"))
	g.publish("live", audio, video)
	until(t, "active again", func() bool { return len(l.events("active")) == 2 && len(late.events("active")) == 1 })
	if got := l.names(); got != "active inactive active" {
		t.Errorf("E29 events %s", got)
	}
	if got := late.events(""); len(got) != 1 {
		t.Errorf("E29, E25 who wanted two kinds, and came when nobody published, got %v", got)
	}
	again := g.listen(second.header.Get("Location")) // the reader before may hang
	until(t, "a new reader knows how things are", func() bool { return again.names() == "active" })
	select {
	case <-late.ended:
	case <-time.After(10 * time.Second):
		t.Error("the reader before is served on")
	}
	for _, r := range []*reading{l, late, again} {
		if len(r.bad) > 0 {
			t.Errorf("E27 lines %q", r.bad)
		}
	}
}

// TestCodecChange: E15 a publisher who comes back with another codec or profile ends the
// session, after the viewer was told to come anew.
func TestCodecChange(t *testing.T) {
	vp9 := func(profile string) stream.Codec {
		return stream.Codec{Name: "VP9", ClockRate: 90000, Fmtp: "profile-id=" + profile}
	}
	for _, tt := range []struct {
		name          string
		before, after stream.Codec
		first         []byte // bytes of each picture: a keyframe
	}{
		{"codec", video.Codec, stream.Codec{Name: "H265", ClockRate: 90000}, []byte{19 << 1, 1, 0}},
		{"profile", vp9("0"), vp9("2"), []byte{0x88, 1, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, whep.Config{})
			x := g.publish("live", stream.Layer{ID: video.ID, Codec: tt.before})
			v := g.watch("live", recvVideo)
			until(t, "the viewer is there", func() bool { return g.metrics.Viewers.Load() == 1 })
			l := g.listen(v.resource + "/events")
			x.Close(nil)
			y := g.publish("live", stream.Layer{ID: video.ID, Codec: tt.after})
			for i := range 20 {
				payload := append(slices.Clone(tt.first), byte(i))
				y.Write(video.ID, stream.Packet{Arrival: time.Now(), Sequence: uint16(i), Timestamp: uint32(i) * 3000, Marker: true, Payload: payload})
				time.Sleep(5 * time.Millisecond)
			}
			select {
			case <-l.ended:
			case <-time.After(10 * time.Second):
				t.Fatal("the session goes on")
			}
			if all := l.events("reconnect"); len(all) != 1 || all[0].data != "{}" || l.events("")[len(l.events(""))-1] != all[0] {
				t.Errorf("events %v", l.events(""))
			}
			if res := g.do(http.MethodGet, v.resource, "", ""); res.code != http.StatusNotFound {
				t.Errorf("the session: %d", res.code)
			}
			if n := len(v.seen("video")); n != 0 {
				t.Errorf("%d packets of the other codec were sent", n)
			}
		})
	}
}

// TestDrainSendsViewersAway: E31 viewers of a gateway that drains are told where to
// go, as soon as there is nothing to see here any more; and all at the end.
func TestDrainSendsViewersAway(t *testing.T) {
	g := newGateway(t, whep.Config{})
	x, y, z := g.publish("live", video), g.publish("other", video), g.publish("show", video)
	_, res := g.post("live?token=a%20b")
	first, _ := link(res.header, relEvents)
	_, res = g.post("other")
	second, _ := link(res.header, relEvents)
	_, res = g.post("show")
	third, _ := link(res.header, relEvents)
	here, there, stays := g.listen(first), g.listen(second), g.listen(third)
	until(t, "all listen", func() bool { return here.names() == "active" && there.names() == "active" && stays.names() == "active" })
	g.rtc.Drain(rtc.Draining{To: "https://b.example.org/", Stay: func(stream string) bool { return stream == "show" }})
	z.Close(nil)
	x.Close(nil)
	until(t, "the third viewer hears that nobody publishes", func() bool { return stays.names() != "active" })
	until(t, "the first viewer is sent away", func() bool { return len(here.events("reconnect")) == 1 })
	if got := here.names(); got != "active inactive reconnect" || here.events("reconnect")[0].data != `{"url":"https://b.example.org/whep/live?token=a%20b"}` {
		t.Errorf("the first viewer got %s, %v", got, here.events("reconnect"))
	}
	late := g.listen(first)
	until(t, "who listens later is sent away, too", func() bool { return len(late.events("reconnect")) == 1 })
	if got := stays.names(); got != "active inactive" {
		t.Errorf("the viewer of a stream that stays got %s", got)
	}
	if got := there.names(); got != "active" {
		t.Errorf("the viewer of a live stream got %s", got)
	}
	g.rtc.EndAll(rtc.Send, rtc.ErrDrained)
	for _, l := range []*reading{here, there} {
		select {
		case <-l.ended:
		case <-time.After(10 * time.Second):
			t.Fatal("an event stream does not end")
		}
		if n := len(l.events("reconnect")); n != 1 {
			t.Errorf("%d times sent away", n)
		}
	}
	if data := there.events("reconnect")[0].data; data != `{"url":"https://b.example.org/whep/other"}` {
		t.Errorf("the second viewer is sent to %s", data)
	}
	y.Close(nil)
}

// TestShutdownTellsViewers: E31 without another gateway they come back to this one.
func TestShutdownTellsViewers(t *testing.T) {
	g := newGateway(t, whep.Config{})
	g.publish("live", video)
	_, res := g.post("live")
	events, _ := link(res.header, relEvents)
	l := g.listen(events)
	until(t, "active", func() bool { return l.names() == "active" })
	g.quit()
	<-l.ended
	if got := l.events("reconnect"); len(got) != 1 || got[0].data != "{}" {
		t.Errorf("events %v", l.events(""))
	}
}

// TestLayerChoice: E36, E37 over HTTP.
func TestLayerChoice(t *testing.T) {
	g := newGateway(t, whep.Config{})
	layer := func(rid string) stream.Layer {
		return stream.Layer{ID: stream.LayerID{Kind: stream.Video, RID: rid}, Codec: video.Codec}
	}
	g.publish("live", audio, layer("f"), layer("h"), layer("q"))
	location, _ := g.post("live")
	l := g.listen(location + "/events")
	until(t, "the layers", func() bool { return len(l.events("layers")) > 0 })
	var layers map[string][]struct{ Rid string }
	if err := json.Unmarshal([]byte(l.events("layers")[0].data), &layers); err != nil {
		t.Fatal(err)
	}
	var rids []string
	index := ""
	for key, all := range layers {
		index = key
		for _, one := range all {
			rids = append(rids, one.Rid)
		}
	}
	if !slices.Equal(rids, []string{"f", "h", "q"}) {
		t.Fatalf("E30 layers %v", layers)
	}
	for _, tt := range []struct {
		kind, body string
		want       int
		choice     whep.Choice
	}{
		{"application/json", fmt.Sprintf(`{"mediaId":%q,"rid":"h"}`, index), 200, whep.Choice{MediaID: index, RID: "h"}},
		{"application/sjon", `{"rid":"q","unknown":1}`, 200, whep.Choice{RID: "q"}},
		{"application/json", `{"rid":"x"}`, 404, whep.Choice{RID: "q"}},
		{"application/json", `{"maxWidth":-1}`, 422, whep.Choice{RID: "q"}},
		{"application/json", `{"rid"`, 400, whep.Choice{RID: "q"}},
		{"", `{"maxWidth":640}`, 200, whep.Choice{MaxWidth: 640}},
		{"text/plain", `{}`, 200, whep.Choice{}},
		{"application/json", `{"rid":"h"}`, 200, whep.Choice{RID: "h"}},
		{"", "DELETE", 200, whep.Choice{}},
	} {
		method := http.MethodPost
		if tt.body == http.MethodDelete { // whip-whep takes its choice back so
			method = tt.body
		}
		res := g.do(method, location+"/layer", tt.kind, tt.body)
		if res.code != tt.want || res.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d, want %d: %s", tt.body, res.code, tt.want, res.body)
		}
		if got := g.server.Choices(); len(got) != 1 || got[0] != tt.choice {
			t.Errorf("after %s the choice is %+v, want %+v", tt.body, got, tt.choice)
		}
	}
	if res := g.do(http.MethodGet, location+"/layer", "", ""); res.code != http.StatusMethodNotAllowed || res.header.Get("Allow") != "DELETE, OPTIONS, POST" {
		t.Errorf("GET: %d, Allow %s", res.code, res.header.Get("Allow"))
	}
	if res := g.do(http.MethodPost, location+"/layer/x", "", "{}"); res.code != http.StatusNotFound {
		t.Errorf("below it: %d", res.code)
	}
	res := g.do(http.MethodOptions, location+"/layer", "", "", "Origin", "https://a.test", "Access-Control-Request-Method", "POST")
	if res.code != http.StatusOK || !strings.Contains(res.header.Get("Access-Control-Allow-Methods"), "POST") || res.header.Get("Accept-Post") != "application/json" {
		t.Errorf("preflight: %d, %v", res.code, res.header)
	}
}
