package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/api/webhook"
	"github.com/whipcast/whipcast/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret   = "0123456789abcdef"
	receiver = "https://hooks.example.org/in?key=hunter2"
)

// got is what a receiver was told.
type got struct {
	id, kind, stream string
	at               time.Time
}

// server is a receiver without network: answer says what comes back, by the type of
// the event, 0 for nobody there.
type server struct {
	t      *testing.T
	mu     sync.Mutex
	all    []got                  // calls, below mu
	taken  []got                  // that were answered by 2xx, below mu
	answer func(g got) int        // below mu
	more   func(h http.Header)    // of the answer, below mu
	slow   func() <-chan struct{} // nil: at once
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var said struct {
		Type, Stream string
		Timestamp    time.Time
	}
	if err := json.Unmarshal(body, &said); err != nil || said.Timestamp.IsZero() {
		s.t.Errorf("body %s: %v", body, err)
	}
	id, at := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age < 0 || age >= 2*time.Second {
		s.t.Errorf("timestamp %q, %v old: %v", at, age, err)
	}
	if want := "v1," + outbound.Signature([]byte(secret), id, at, body); r.Header.Get("webhook-signature") != want || r.Method != http.MethodPost || r.URL.String() != receiver {
		s.t.Errorf("%s %s with %v", r.Method, r.URL, r.Header)
	}
	g := got{id, said.Type, said.Stream, said.Timestamp}
	s.mu.Lock()
	s.all = append(s.all, g)
	status, slow, more := http.StatusNoContent, s.slow, s.more
	if s.answer != nil {
		status = s.answer(g)
	}
	if status/100 == 2 {
		s.taken = append(s.taken, g)
	}
	s.mu.Unlock()
	if slow != nil {
		select {
		case <-slow():
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	response := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("thanks")), Request: r}
	if more != nil {
		more(response.Header)
	}
	return response, nil
}

func (s *server) set(answer func(g got) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *server) later(more func(h http.Header)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more = more
}

func (s *server) heard() []got {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func (s *server) took() []got {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

func (s *server) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// order returns the types that were taken of a stream.
func (s *server) order(stream string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var words []string
	for _, g := range s.taken {
		if g.stream == stream {
			words = append(words, g.kind)
		}
	}
	return strings.Join(words, " ")
}

// bench is a Sender that runs.
type bench struct {
	*webhook.Sender
	logs bytes.Buffer
	stop func()
}

func begin(t *testing.T, s *server, cfg webhook.Config, hook webhook.Hook) *bench {
	t.Helper()
	b := &bench{}
	hook.Name, hook.URL, hook.Secret = "webhook-1", receiver, secret
	cfg.Hooks, cfg.Transport = []webhook.Hook{hook}, s
	cfg.Logger = slog.New(slog.NewTextHandler(&b.logs, nil))
	var err error
	if b.Sender, err = webhook.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if strings.Contains(b.logs.String(), "hunter2") || strings.Contains(b.logs.String(), secret) {
			t.Errorf("a secret is in the log (X4):\n%s", &b.logs)
		}
	})
	return b
}

func (b *bench) post(kinds, stream string) {
	for kind := range strings.FieldsSeq(kinds) {
		b.Post(webhook.Event{Type: kind, Stream: stream, Time: time.Now()})
	}
}

func status(code int) func(got) int { return func(got) int { return code } }

// TestOrder: events of one stream arrive in their order while the receiver fails now
// and then, each with one ID however often it is sent.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := &server{t: t}, 0
		s.answer = func(got) int { // below the server's lock
			n++
			return []int{204, 500, 0, 200, 429, 302, 404}[n%7]
		}
		b := begin(t, s, webhook.Config{Folder: t.TempDir()}, webhook.Hook{})
		defer b.stop()
		want := map[string][]string{}
		for i := range 200 {
			stream, kind := fmt.Sprint("s", i%7), fmt.Sprint("e", i)
			b.post(kind, stream)
			want[stream] = append(want[stream], kind)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(20 * time.Hour)
		ids := map[string]string{}
		for stream, kinds := range want {
			if s.order(stream) != strings.Join(kinds, " ") {
				t.Errorf("%s got %s\nwant %v", stream, s.order(stream), kinds)
			}
		}
		for _, g := range s.heard() {
			if old, ok := ids[g.kind]; ok && old != g.id {
				t.Errorf("%s came as %s and %s", g.kind, old, g.id)
			}
			ids[g.kind] = g.id
		}
		h, m := b.Health()[0], b.Metrics()[0]
		if h.Waiting != 0 || h.State != webhook.Working || m.Delivered.Load() != 200 || m.Dropped.Load() != 0 || m.Failures.Load() == 0 {
			t.Errorf("%+v, %d delivered", h, m.Delivered.Load())
		}
	})
}

// TestRetry: how long is waited, and that a receiver is heard.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, answer: status(503)}
		b := begin(t, s, webhook.Config{Folder: t.TempDir()}, webhook.Hook{})
		defer b.stop()
		b.post("a", "show")
		for _, tt := range []struct {
			after time.Duration
			calls int
		}{{0, 1}, {499 * time.Millisecond, 1}, {502 * time.Millisecond, 2}, {2 * time.Second, 3}, {4 * time.Second, 4}} {
			time.Sleep(tt.after)
			synctest.Wait()
			if s.calls() != tt.calls {
				t.Fatalf("%d calls after %v more, want %d", s.calls(), tt.after, tt.calls)
			}
		}
		s.later(func(h http.Header) { h.Set("Retry-After", "1800") })
		time.Sleep(8 * time.Second)
		synctest.Wait()
		before := s.calls()
		time.Sleep(1790 * time.Second)
		if s.calls() != before || before != 5 {
			t.Errorf("%d calls, then %d in the time that the receiver asked for", before, s.calls())
		}
		s.set(status(200))
		time.Sleep(11 * time.Second)
		if s.order("show") != "a" || b.Health()[0].State != webhook.Working {
			t.Errorf("took %q, %+v", s.order("show"), b.Health()[0])
		}
		b.stop()
		if n := strings.Count(b.logs.String(), "\n"); n != 2 {
			t.Errorf("%d lines, want one that it fails and one that it works:\n%s", n, &b.logs)
		}
	})
}

// TestSilence: a receiver that does not answer is left after a while.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, slow: func() <-chan struct{} { return nil }}
		b := begin(t, s, webhook.Config{Folder: t.TempDir()}, webhook.Hook{})
		defer b.stop()
		b.post("a", "show")
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if h := b.Health()[0]; h.State != webhook.Failing || h.Error != "no answer within 10s" || h.Waiting != 1 {
			t.Errorf("%+v", h)
		}
	})
}

// TestRestart: what was not delivered is delivered by the next start, in order, with
// the same IDs; what was delivered is not.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		s := &server{t: t}
		b := begin(t, s, webhook.Config{Folder: folder}, webhook.Hook{})
		b.post("a b", "show")
		b.post("x", "")
		synctest.Wait()
		s.set(status(0))
		b.post("c d", "show")
		synctest.Wait()
		b.post("e", "show") // perhaps not seen before the end
		b.stop()
		if h := b.Health()[0]; h.Waiting != 3 {
			t.Errorf("%+v, want 3 to wait", h)
		}
		first := s.heard()[len(s.heard())-1].id
		s.set(nil)
		b = begin(t, s, webhook.Config{Folder: folder}, webhook.Hook{})
		defer b.stop()
		b.post("f", "show")
		synctest.Wait()
		if s.order("show") != "a b c d e f" || s.order("") != "x" {
			t.Errorf("took %q and %q", s.order("show"), s.order(""))
		}
		if i := slices.IndexFunc(s.took(), func(g got) bool { return g.kind == "c" }); s.took()[i].id != first {
			t.Errorf("came as %s, then as %s", first, s.took()[i].id)
		}
	})
}

// TestStopWaits: a call under way at the end is waited for, a second at most.
func TestStopWaits(t *testing.T) {
	for after, want := range map[time.Duration]int{500 * time.Millisecond: 0, time.Minute: 1} {
		synctest.Test(t, func(t *testing.T) {
			folder := t.TempDir()
			s := &server{t: t}
			s.slow = func() <-chan struct{} {
				done := make(chan struct{})
				time.AfterFunc(after, func() { close(done) })
				return done
			}
			b := begin(t, s, webhook.Config{Folder: folder}, webhook.Hook{})
			b.post("a", "show")
			synctest.Wait()
			began := time.Now()
			b.stop()
			if took := time.Since(began); took > time.Second {
				t.Errorf("stopped after %v", took)
			}
			if left := b.Health()[0].Waiting; left != want {
				t.Errorf("answered after %v: %d wait", after, left)
			}
			time.Sleep(time.Minute) // the answer that comes too late
		})
	}
}

// TestDead: a receiver that is dead for long costs bounded memory and a bounded file;
// the newest events are kept, what is dropped is counted and said once.
func TestDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		s := &server{t: t, answer: status(0)}
		b := begin(t, s, webhook.Config{Folder: folder, MaxEvents: 50, MaxAge: 6 * time.Hour}, webhook.Hook{})
		defer b.stop()
		for i := range 2000 {
			b.post(fmt.Sprint("e", i), fmt.Sprint("s", i%3))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		h, m := b.Health()[0], b.Metrics()[0]
		if h.Waiting != 50 || h.Dropped != 1950 || m.Dropped.Load() != 1950 || h.State != webhook.Failing || h.Error != "connection refused" {
			t.Errorf("%+v", h)
		}
		if s.calls() > 40 { // every 150 to 300 s, after the first
			t.Errorf("%d calls in %d s", s.calls(), 2000)
		}
		files, err := filepath.Glob(folder + "/*")
		if err != nil || len(files) != 1 {
			t.Fatalf("files %v, %v", files, err)
		}
		if info, err := os.Stat(files[0]); err != nil || info.Size() > 130<<10 {
			t.Errorf("a file of %d bytes, %v", info.Size(), err)
		}
		s.set(nil)
		time.Sleep(10 * time.Minute)
		for i := 1950; i < 2000; i++ {
			if !slices.ContainsFunc(s.took(), func(g got) bool { return g.kind == fmt.Sprint("e", i) }) {
				t.Errorf("e%d, one of the newest, was not taken", i)
			}
		}
		if len(s.took()) != 50 {
			t.Errorf("%d were taken", len(s.took()))
		}
		s.set(status(0))
		b.post("late", "s1")
		time.Sleep(8 * time.Hour)
		if h := b.Health()[0]; h.Waiting != 0 || h.Dropped != 1951 {
			t.Errorf("too old: %+v", h)
		}
		b.stop()
		if n := strings.Count(b.logs.String(), "are dropped"); n != 2 {
			t.Errorf("said %d times, want once for each outage:\n%s", n, &b.logs)
		}
		if !strings.Contains(b.logs.String(), "dropped=1950") {
			t.Errorf("no count:\n%s", &b.logs)
		}
	})
}

// TestRefused: an event that a receiver does not take is given up, and holds up its
// own stream only.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, answer: func(g got) int {
			if g.kind == "poison" {
				return http.StatusUnprocessableEntity
			}
			return http.StatusOK
		}}
		b := begin(t, s, webhook.Config{Folder: t.TempDir()}, webhook.Hook{})
		defer b.stop()
		b.post("poison b", "one")
		b.post("c d", "two")
		synctest.Wait()
		if s.order("one") != "" || s.order("two") != "c d" {
			t.Errorf("took %q and %q", s.order("one"), s.order("two"))
		}
		time.Sleep(time.Minute)
		if h := b.Health()[0]; s.order("one") != "b" || h.Dropped != 1 || h.State != webhook.Working {
			t.Errorf("took %q, %+v", s.order("one"), h)
		}
	})
}

// TestGone: 410 ends it, until a restart.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		s := &server{t: t, answer: status(http.StatusGone)}
		b := begin(t, s, webhook.Config{Folder: folder}, webhook.Hook{})
		b.post("a b c", "show")
		b.post("d", "other")
		time.Sleep(time.Hour)
		b.post("e", "show")
		time.Sleep(time.Hour)
		if h := b.Health()[0]; h.State != webhook.Gone || h.Waiting != 0 || h.Dropped != 5 || s.calls() > 2 {
			t.Errorf("%+v after %d calls", h, s.calls())
		}
		b.stop()
		s.set(nil)
		b = begin(t, s, webhook.Config{Folder: folder}, webhook.Hook{})
		defer b.stop()
		b.post("f", "show")
		synctest.Wait()
		if s.order("show") != "f" {
			t.Errorf("took %q", s.order("show"))
		}
	})
}

// TestFilter: a receiver is told what it wants.
func TestFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t}
		b := begin(t, s, webhook.Config{Folder: t.TempDir()}, webhook.Hook{
			Events: []string{webhook.StreamStarted, webhook.StorageFailing}, Streams: []string{"tour-*", "studio"},
		})
		defer b.stop()
		for _, stream := range []string{"tour-1", "studio", "studio2", ""} {
			b.post(strings.Join(webhook.Types(), " "), stream)
		}
		b.Post(webhook.Event{Type: webhook.StreamStarted, Stream: "studio", Time: time.Now(), Data: make(chan int)})
		b.Post(webhook.Event{Type: webhook.StreamStarted, Stream: "studio", Time: time.Now(), Data: strings.Repeat("x", 65<<10)})
		synctest.Wait()
		var all []string
		for _, g := range s.took() {
			all = append(all, g.stream+":"+g.kind)
		}
		slices.Sort(all)
		want := ":storage.failing :stream.started studio:storage.failing studio:stream.started tour-1:storage.failing tour-1:stream.started"
		if strings.Join(all, " ") != want {
			t.Errorf("took %v\nwant %s", all, want)
		}
		if h := b.Health()[0]; h.Dropped != 2 {
			t.Errorf("%+v, want two dropped that cannot be written", h)
		}
	})
}

// TestForgotten: the journal of a receiver that is not configured any more goes.
func TestForgotten(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"0123.log", "0123.log.new", "state.json"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := webhook.New(webhook.Config{Folder: folder}); err != nil {
		t.Fatal(err)
	}
	if files, err := filepath.Glob(folder + "/*"); err != nil || len(files) != 1 || filepath.Base(files[0]) != "state.json" {
		t.Errorf("files %v, %v", files, err)
	}
	if _, err := webhook.New(webhook.Config{Folder: folder, Hooks: []webhook.Hook{{Name: "webhook-1", URL: "://hunter2"}}}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}
