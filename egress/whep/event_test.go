package whep

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// TestParseEvents: E25 no body is all events, E26 a name that is not listed is refused.
func TestParseEvents(t *testing.T) {
	for _, tt := range []struct {
		body string
		want eventSet
		code int
	}{
		{"", allEvents, 200},
		{" \r\n", allEvents, 200},
		{`["active"]`, 1 << eventActive, 200},
		{`["viewercount","active","active"]`, 1<<eventViewerCount | 1<<eventActive, 200},
		{`["active","inactive","layers","reconnect","viewercount","warning"]`, allEvents, 200},
		{`["active","scte35"]`, 0, 400},
		{`["Active"]`, 0, 400},
		{`["active",null]`, 0, 400},
		{`["active",1]`, 0, 400},
		{`[]`, 0, 400},
		{`{}`, 0, 400},
		{`null`, 0, 400},
		{`"active"`, 0, 400},
		{`["active"`, 0, 400},
		{`["active"` + strings.Repeat(`,"active"`, maxEventNames) + `]`, 0, 400},
	} {
		got, err := parseEvents([]byte(tt.body))
		if got != tt.want || code(err) != tt.code {
			t.Errorf("%.40q: %b, %v; want %b, %d", tt.body, got, err, tt.want, tt.code)
		}
	}
	if names := strings.Split(eventNames(), ","); len(names) != int(eventKinds) {
		t.Errorf("%v", names)
	}
}

// FuzzEvents: whatever the body is, it is refused or names only what there is.
func FuzzEvents(f *testing.F) {
	for _, seed := range []string{"", `["active","layers"]`, `[null]`, `["x"]`, `[["active"]]`, `{"0":"active"}`, "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		set, err := parseEvents(body)
		if (err == nil) != (set != 0) || set&^allEvents != 0 || err != nil && code(err) != 400 {
			t.Fatalf("%q: %b, %v", body, set, err)
		}
	})
}

// TestEventData: E27 one line of JSON whatever the strings hold, E30 and E31 the forms.
func TestEventData(t *testing.T) {
	layers := []Layer{{RID: "h\n", Width: 640, Height: 360, Bitrate: 557112}, {RID: "q"}}
	for _, tt := range []struct{ got, want string }{
		{layersData(1, layers), `{"1":[{"rid":"h\n","bitrate":557112,"width":640,"height":360},{"rid":"q"}]}`},
		{layersData(0, []Layer{{Bitrate: 5}}), `{"0":[{"spatialLayerId":0,"bitrate":5}]}`},
		{layersData(0, nil), `{"0":[]}`},
		{layersData(-1, layers), `{}`},
		{reconnectData(""), `{}`},
		{reconnectData("https://b.example/whep/a"), `{"url":"https://b.example/whep/a"}`},
		{viewerCountData(3), `{"viewercount":3}`},
	} {
		if tt.got != tt.want {
			t.Errorf("%s, want %s", tt.got, tt.want)
		}
		if strings.ContainsAny(tt.got, "\r\n") || !json.Valid([]byte(tt.got)) {
			t.Errorf("%q is not one line of JSON", tt.got)
		}
		event := string(render(eventLayers, tt.got))
		if want := "event: layers\ndata: " + tt.got + "\n\n"; event != want {
			t.Errorf("%q, want %q", event, want)
		}
	}
}

func TestDiffer(t *testing.T) {
	told := []Layer{{RID: "f", Bitrate: 1000}, {RID: "h", Width: 640}}
	for _, tt := range []struct {
		now  []Layer
		want bool
	}{
		{[]Layer{{RID: "f", Bitrate: 1000}, {RID: "h", Width: 640}}, false},
		{[]Layer{{RID: "f", Bitrate: 1250}, {RID: "h", Width: 640}}, false},
		{[]Layer{{RID: "f", Bitrate: 1251}, {RID: "h", Width: 640}}, true},
		{[]Layer{{RID: "f", Bitrate: 740}, {RID: "h", Width: 640}}, true},
		{[]Layer{{RID: "f"}, {RID: "h", Width: 640}}, true},
		{[]Layer{{RID: "f", Bitrate: 1000}, {RID: "h", Width: 320}}, true},
		{[]Layer{{RID: "f", Bitrate: 1000}, {RID: "h", Width: 640, Bitrate: 1}}, true},
		{told[:1], true},
	} {
		if got := differ(told, tt.now); got != tt.want {
			t.Errorf("%v: %v", tt.now, got)
		}
	}
}

// TestWarnings: E23 what browsers cannot show is said in words, and under a code.
func TestWarnings(t *testing.T) {
	hub := stream.NewHub(stream.Config{})
	s, err := hub.Stream("a")
	if err != nil {
		t.Fatal(err)
	}
	x, err := s.Publish(stream.Offer{Layers: []stream.Layer{
		{ID: stream.LayerID{Kind: stream.Video}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}},
		{ID: stream.LayerID{Kind: stream.Audio}, Codec: stream.Codec{Name: "AAC", ClockRate: 48000}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := warnings(s.State().Sources); len(got) != 1 || got[0].Code != "aac" {
		t.Errorf("of AAC: %v", got)
	}
	for i, shown := range []uint32{0, 3, 1, 2, 6, 4, 5} {
		x.Write(stream.LayerID{Kind: stream.Video}, stream.Packet{Arrival: time.Now(), Sequence: uint16(i), Timestamp: shown * 3000, Marker: true, Payload: []byte{0x65, 1}})
	}
	if got := warnings(s.State().Sources); len(got) != 2 || got[0].Code != "b-frames" {
		t.Errorf("of B-frames and AAC: %v", got)
	}
}

// An outbox is bounded: of what many readers would want the newest is kept, the oldest
// dropped and counted.
func TestOutboxIsBounded(t *testing.T) {
	var m Metrics
	o := newOutbox(allEvents, &m)
	reader, again := o.attach()
	if again {
		t.Error("nobody read before")
	}
	for i := range 100 {
		o.push(eventLayers, fmt.Sprint(i))
	}
	text, last := o.take(reader)
	if string(text) != "event: layers\ndata: 99\n\n" || last || m.EventsDropped.Load() != 99 {
		t.Errorf("%q, %v; %d dropped", text, last, m.EventsDropped.Load())
	}
	for range 10 {
		o.push(eventActive, "{}")
		o.push(eventInactive, "{}")
	}
	o.push(eventReconnect, "{}")
	o.push(eventReconnect, `{"url":"x"}`) // once
	text, _ = o.take(reader)
	if n := strings.Count(string(text), "event: "); n != maxQueued || !strings.HasSuffix(string(text), "event: inactive\ndata: {}\n\nevent: reconnect\ndata: {}\n\n") {
		t.Errorf("%d events wait: %q", n, text)
	}
	if n := m.EventsDropped.Load(); n != 99+5 {
		t.Errorf("%d events dropped", n)
	}
	some := newOutbox(1<<eventReconnect, &m)
	mine, _ := some.attach()
	some.push(eventActive, "{}")
	some.push(eventReconnect, "{}")
	if text, _ := some.take(mine); string(text) != "event: reconnect\ndata: {}\n\n" {
		t.Errorf("of reconnect alone: %q", text)
	}
	some.finish()
	some.finish()
	o.discard()
	if n := m.EventStreams.Load(); n != 0 {
		t.Errorf("%d streams are open", n)
	}
}

// recorder keeps what is written, and when.
type recorder struct {
	*httptest.ResponseRecorder
	mu    sync.Mutex
	lines []string
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(b))
	return len(b), nil
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

// TestHeartbeat: E34 a comment every 15 s, E32 counts at most every 5 s, and E28 after
// the end only what waits.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Metrics
		o := newOutbox(allEvents, &m)
		w := &recorder{ResponseRecorder: httptest.NewRecorder()}
		reader, _ := o.attach()
		done := make(chan struct{})
		go func() {
			defer close(done)
			o.serve(t.Context(), w, reader)
		}()
		synctest.Wait()
		time.Sleep(31 * time.Second)
		if got := w.seen(); len(got) != 3 || got[0] != "retry: 1000\n\n" || got[1] != got[2] || !strings.HasPrefix(got[1], ":") || !strings.HasSuffix(got[1], "\n\n") {
			t.Errorf("after 31 s: %q", got)
		}
		before := len(w.seen())
		for i := range 20 {
			o.push(eventViewerCount, viewerCountData(i))
			synctest.Wait()
			time.Sleep(time.Second)
		}
		counts := 0
		for _, line := range w.seen()[before:] {
			counts += strings.Count(line, "event: viewercount")
		}
		if counts != 4 {
			t.Errorf("%d counts in 20 s", counts)
		}
		o.push(eventReconnect, "{}")
		o.finish()
		<-done
		if got := w.seen(); got[len(got)-1] != "event: reconnect\ndata: {}\n\n" {
			t.Errorf("the last is %q", got[len(got)-1])
		}
	})
}

// Who reads last gets the events; the one before ends, though its connection hangs.
func TestReaderIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Metrics
		o := newOutbox(allEvents, &m)
		first, second := &recorder{ResponseRecorder: httptest.NewRecorder()}, &recorder{ResponseRecorder: httptest.NewRecorder()}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		before, _ := o.attach()
		wg.Go(func() { o.serve(ctx, first, before) })
		synctest.Wait()
		reader, again := o.attach()
		if !again {
			t.Error("there was a reader before")
		}
		wg.Go(func() { o.serve(ctx, second, reader) })
		o.push(eventActive, "{}")
		synctest.Wait()
		if got := first.seen(); len(got) != 1 {
			t.Errorf("the first reader got %q", got)
		}
		if got := strings.Join(second.seen(), ""); !strings.Contains(got, "event: active") {
			t.Errorf("the second reader got %q", got)
		}
		cancel()
		wg.Wait()
	})
}

func TestSchedule(t *testing.T) {
	var s schedule
	now := time.Now()
	at := func(n int) later {
		return later{stream: fmt.Sprint(n), message: Message{At: now.Add(time.Duration(n) * time.Second)}}
	}
	for _, n := range []int{3, 1, 2, 1} {
		if !s.add(at(n)) {
			t.Fatal("no room")
		}
	}
	if d := s.wait(now); d != time.Second {
		t.Errorf("the next is due in %v", d)
	}
	order := ""
	for _, l := range append(s.due(now.Add(2*time.Second)), s.due(now.Add(time.Minute))...) {
		order += l.stream
	}
	if order != "1123" || len(s) != 0 {
		t.Errorf("due in the order %s, %d left", order, len(s))
	}
	for range maxLater {
		s.add(at(1))
	}
	if s.add(at(0)) {
		t.Error("it holds more than it may")
	}
}
