package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/stream"
)

// listening reads events of a server as they come.
type listening struct {
	events chan map[string]string // fields of each
	cancel context.CancelFunc
}

func listen(t *testing.T, base, query, credential, last string) *listening {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/events"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+credential)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %v", response.Status, response.Header)
	}
	l := &listening{make(chan map[string]string, 1000), cancel}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(l.events)
		defer response.Body.Close()
		fields := map[string]string{}
		for s := bufio.NewScanner(response.Body); s.Scan(); {
			name, value, _ := strings.Cut(s.Text(), ": ")
			switch {
			case s.Text() == "" && len(fields) > 0:
				l.events <- fields
				fields = map[string]string{}
			case s.Text() != "":
				fields[name] = value
			}
		}
	})
	t.Cleanup(func() { cancel(); reading.Wait() })
	return l
}

func (l *listening) next(t *testing.T) (event.Event, string) {
	t.Helper()
	select {
	case fields, ok := <-l.events:
		var e event.Event
		if !ok {
			t.Fatal("no more events")
		}
		if err := json.Unmarshal([]byte(fields["data"]), &e); err != nil || e.Type != fields["event"] {
			t.Fatalf("%v: %v", fields, err)
		}
		return e, fields["id"]
	case <-time.After(20 * time.Second):
		t.Fatal("no event in 20 s")
	}
	return event.Event{}, ""
}

// TestListen: events come in order, only those that are asked for and permitted; after
// an ID; the end of the token, and of the server, ends them.
func TestListen(t *testing.T) {
	events := event.New(16)
	c := newContract(t, func(cfg *api.Config) { cfg.Events = events })
	server := httptest.NewServer(c.handler)
	t.Cleanup(server.Close)
	whole, some := listen(t, server.URL, "", token, ""), listen(t, server.URL, "", "key-admin", "")
	starts := listen(t, server.URL, "?type=stream.started&stream=live", token, "")
	ready := func(l *listening) {
		if f := <-l.events; f[""] != "events follow" {
			t.Fatalf("first: %v", f)
		}
	}
	ready(whole)
	ready(some)
	ready(starts)
	events.Publish(event.StorageState, "", event.Storage{Name: "s3 1", State: "down"})
	events.Publish(event.StreamStopped, "live", event.Stop{Epoch: 1})
	events.Publish(event.StreamStarted, "live", event.Start{Epoch: 2})
	events.Publish(event.StreamStarted, "three", event.Start{Epoch: 2})
	var first string
	for i, want := range []string{event.StorageState, event.StreamStopped, event.StreamStarted, event.StreamStarted} {
		e, id := whole.next(t)
		if e.Type != want {
			t.Errorf("event %d: %+v, want %s", i, e, want)
		}
		if i == 0 {
			first = id
		}
	}
	if e, _ := some.next(t); e.Stream != "three" {
		t.Errorf("an admin of t* hears %+v", e)
	}
	if e, _ := starts.next(t); e.Stream != "live" || e.Type != event.StreamStarted {
		t.Errorf("%+v", e)
	}
	again := listen(t, server.URL, "", token, first)
	ready(again)
	if e, _ := again.next(t); e.Type != event.StreamStopped {
		t.Errorf("after the first: %+v", e)
	}
	long := listen(t, server.URL, "", token, "1")
	ready(long)
	if f := <-long.events; f["event"] != "missed" {
		t.Errorf("after a long time: %v", f)
	}
	// A token that is taken back hears nothing more.
	made := c.do(t, exchange{id: "makeToken", path: "/v1/tokens", token: token, body: `{"actions":["admin"],"streams":["*"]}`, status: 201})
	var short api.Token
	if err := json.Unmarshal(made.Body.Bytes(), &short); err != nil {
		t.Fatal(err)
	}
	revoked := listen(t, server.URL, "", short.Token, "")
	ready(revoked)
	c.do(t, exchange{id: "revoke", path: "/v1/revocations", token: token, body: `{"token":"` + short.ID + `"}`, status: 201})
	events.Publish(event.StreamStarted, "live", nil)
	if f, ok := <-revoked.events; ok {
		t.Errorf("a revoked token hears %v", f)
	}
	// The end of Run lets all go.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.server.Run(ctx); err != nil {
		t.Error(err)
	}
	for _, l := range []*listening{whole, some, starts, again, long} {
		for range l.events { // until it is closed
			continue
		}
	}
}

// changing are parts whose state a test changes.
type changing struct {
	mu       sync.Mutex
	sessions []api.Session
	storage  string
	findings []api.Finding
}

func (c *changing) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *changing) All() []api.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions
}
func (c *changing) One(string) (api.Session, bool) { return api.Session{}, false }
func (c *changing) End(string) bool                { return false }
func (c *changing) Reason(id string) string        { return "ended by the test: " + id }

// TestRun: what changes is told once, with what was before; bit rates are measured.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, events, parts := stream.NewHub(stream.Config{}), event.New(0), &changing{storage: "working"}
		a, err := auth.New(auth.Config{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		server := api.New(api.Config{
			Events: events, Sessions: parts,
			Storage: func() []api.Storage {
				parts.mu.Lock()
				defer parts.mu.Unlock()
				return []api.Storage{{Name: "s3 1", State: parts.storage}}
			},
			Findings: func(string, stream.LayerID) []api.Finding {
				parts.mu.Lock()
				defer parts.mu.Unlock()
				return parts.findings
			},
		}, hub, a)
		heard := events.Subscribe(0)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = server.Run(ctx) })
		time.Sleep(time.Millisecond) // what changes does so between two looks
		later := func() { time.Sleep(time.Second); synctest.Wait() }
		var last event.Event
		expect := func(want ...string) {
			t.Helper()
			later()
			for _, kind := range want {
				e, err := heard.Next(t.Context())
				if err != nil || e.Type != kind {
					t.Fatalf("%+v, %v; want %s", e, err, kind)
				}
				last = e
			}
			short, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			if e, err := heard.Next(short); err == nil {
				t.Fatalf("%+v as well", e)
			}
		}
		expect()
		session := publish(t, hub, "one")
		parts.set(func() {
			parts.sessions = []api.Session{{ID: "p1", Kind: api.Publishing, Protocol: api.RTSP, Stream: "one"}}
		})
		expect(event.StreamStarted, event.SessionBegun)
		parts.set(func() { parts.findings = []api.Finding{{Code: "b-frames", Severity: "warning", Words: "1"}} })
		expect(event.StreamFindings)
		parts.set(func() { parts.findings = []api.Finding{{Code: "b-frames", Severity: "warning", Words: "2"}} })
		expect() // the same with another number
		parts.set(func() { parts.findings, parts.storage = nil, "down" })
		expect(event.StreamFindings, event.StorageState)

		video := stream.LayerID{Kind: stream.Video, RID: "h"}
		for i := range 100 { // 10 kB/s
			session.Write(video, stream.Packet{Sequence: uint16(i), Payload: make([]byte, 1000)})
			time.Sleep(100 * time.Millisecond)
		}
		shown := call(server.Public(api.Routes{}), "GET", "/v1/streams/one", "Bearer "+token)
		var one api.Stream
		if err := json.Unmarshal([]byte(shown.body), &one); err != nil {
			t.Fatal(err)
		}
		if rate := one.Layers[0].Bitrate; rate < 72_000 || rate > 88_000 {
			t.Errorf("bit rate %d, want about 80,000", rate)
		}
		session.Close(nil)
		parts.set(func() { parts.sessions = nil })
		expect(event.StreamStopped, event.SessionEnded)
		if want := (event.Session{ID: "p1", Kind: api.Publishing, Protocol: api.RTSP, Reason: "ended by the test: p1"}); last.Data != want {
			t.Errorf("%+v, want %+v", last.Data, want)
		}
		publish(t, hub, "one").Close(nil) // between two looks
		expect(event.StreamStarted, event.StreamStopped)
		if want := (event.Stop{Epoch: 2, Reason: stream.ErrClosed.Error()}); last.Data != want {
			t.Errorf("%+v, want %+v", last.Data, want)
		}
		cancel()
		running.Wait()
	})
}

// TestListenersByHTTP2: what says nothing for a while is not ended, though HTTP/2 ends a
// stream at its write deadline also when nothing is written.
func TestListenersByHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContract(t, nil)
		here, there := net.Pipe()
		var both http.Protocols
		both.SetUnencryptedHTTP2(true)
		server := &http.Server{Handler: c.handler, Protocols: &both, ReadHeaderTimeout: time.Minute}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(&single{conn: there}) })
		transport := &http.Transport{Protocols: &both, DialContext: func(context.Context, string, string) (net.Conn, error) { return here, nil }}
		defer serving.Wait()
		defer server.Close()
		defer transport.CloseIdleConnections()

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, path := range []string{"/v1/events", "/v1/stages/show/events"} {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://example.com"+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			response, err := transport.RoundTrip(r)
			if err != nil || response.ProtoMajor != 2 || response.StatusCode != http.StatusOK {
				t.Fatalf("%s: %v %v", path, response, err)
			}
			defer response.Body.Close()
			beats := 0
			for lines := bufio.NewScanner(response.Body); beats < 3 && lines.Scan(); {
				if lines.Text() == ": still here" {
					beats++
				}
			}
			if beats < 3 {
				t.Errorf("%s ended after %d heartbeats", path, beats)
			}
		}
	})
}

// single is a listener of one connection.
type single struct {
	conn net.Conn
	done atomic.Bool
}

func (s *single) Accept() (net.Conn, error) {
	if s.done.Swap(true) {
		return nil, net.ErrClosed
	}
	return s.conn, nil
}
func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }
