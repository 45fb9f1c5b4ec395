package hls_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/egress/hls"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	mpegURL   = "application/vnd.apple.mpegurl"
	directory = "show/m1abc/video/"
	live      = "/hls/" + directory + "index.m3u8"
)

// counted is a store that counts what reaches it.
type counted struct {
	*memory.Store
	gets *int
}

func (c counted) Get(ctx context.Context, key string, ready func(storage.Object) bool) (storage.Object, error) {
	*c.gets++
	return c.Store.Get(ctx, key, ready)
}

// world is an origin behind a real server, and the one who fills its store.
type world struct {
	t       testing.TB
	store   *memory.Store
	handler *hls.Handler
	server  *httptest.Server
	client  *http.Client
}

func newWorld(t *testing.T, cfg hls.Config) *world {
	return startWorld(t, cfg, func(s *httptest.Server) { s.Start() })
}

func startWorld(t *testing.T, cfg hls.Config, start func(*httptest.Server)) *world {
	t.Helper()
	w := &world{t: t, store: memory.New(memory.Config{})}
	w.handler = hls.New(cfg, w.store)
	w.server = httptest.NewUnstartedServer(w.handler)
	start(w.server)
	t.Cleanup(w.server.Close)
	w.client = w.server.Client()
	w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	w.client.Transport.(*http.Transport).DisableCompression = true
	t.Cleanup(w.client.CloseIdleConnections)
	return w
}

// position is where the scripted playlist ends: target 1 s, parts of 200 ms.
func position(msn uint64, parts, last int) storage.Position {
	return storage.Position{
		MSN: msn, Parts: parts, LastParts: last, Target: time.Second, Part: 200 * time.Millisecond,
		Hint: fmt.Sprintf("%sp%010d.m4s", directory, 5*msn+uint64(parts)),
	}
}

// text is the playlist at p. It is long enough to be worth compressing.
func text(p storage.Position) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:%d\n", p.MSN-min(p.MSN, 6))
	for msn := p.MSN - min(p.MSN, 6); msn < p.MSN; msn++ {
		fmt.Fprintf(&b, "#EXTINF:1.00000,\ns%08d.m4s\n", msn)
	}
	fmt.Fprintf(&b, "#parts %d\n", p.Parts)
	if p.Ended {
		b.WriteString("#EXT-X-ENDLIST\n")
	}
	return b.String()
}

func deltaText(p storage.Position) string {
	return "#EXTM3U\n#EXT-X-SKIP:SKIPPED-SEGMENTS=4\n" + text(p)[8:]
}

func playlist(p storage.Position) storage.Object {
	full := text(p)
	o := storage.Object{
		Key: directory + "index.m3u8", Kind: storage.LowLatency, Type: mpegURL, Position: p,
		Body:     storage.Body{[]byte(full[:8]), []byte(full[8:])},
		Modified: time.Unix(1_800_000_000, 0),
	}
	if !p.Ended && p.MSN > 6 {
		o.Delta = storage.Body{[]byte(deltaText(p))}
	}
	return o
}

func ended(p storage.Position) storage.Position {
	p.Ended, p.Hint, p.Parts = true, "", 0
	return p
}

func media(name string, kind storage.Kind, content ...string) storage.Object {
	o := storage.Object{Key: directory + name, Kind: kind, Type: "video/mp4"}
	for _, piece := range content {
		o.Body = append(o.Body, []byte(piece))
	}
	return o
}

func multivariant() storage.Object {
	body := "#EXTM3U\n" + strings.Repeat("#EXT-X-STREAM-INF:BANDWIDTH=1\nm1abc/video/index.m3u8\n", 3)
	return storage.Object{
		Key: "show/index.m3u8", Kind: storage.Multivariant, Type: mpegURL, Body: storage.Body{[]byte(body)},
	}
}

func (w *world) put(objects ...storage.Object) {
	w.t.Helper()
	for _, o := range objects {
		if err := w.store.Put(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) remove(key string) {
	w.t.Helper()
	if err := w.store.Delete(w.t.Context(), key); err != nil {
		w.t.Fatal(err)
	}
}

// answer is a response that was read to its end.
type answer struct {
	status int
	proto  int
	header http.Header
	body   string // decoded
	length int64  // Content-Length
	err    error
}

// ask sends a request with header fields given as "Name: value".
func (w *world) ask(ctx context.Context, method, path string, fields ...string) answer {
	r, err := http.NewRequestWithContext(ctx, method, w.server.URL+path, http.NoBody)
	if err != nil {
		return answer{err: err}
	}
	r.Header.Set("Accept-Encoding", "gzip")
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		r.Header.Set(name, value)
	}
	response, err := w.client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	a := answer{response.StatusCode, response.ProtoMajor, response.Header, string(raw), response.ContentLength, err}
	if response.Header.Get("Content-Encoding") == "gzip" && method == http.MethodGet {
		unzip, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return answer{err: err}
		}
		plain, err := io.ReadAll(unzip)
		a.body, a.err = string(plain), err
	}
	return a
}

func (w *world) get(path string, fields ...string) answer {
	w.t.Helper()
	a := w.ask(w.t.Context(), http.MethodGet, path, fields...)
	if a.err != nil {
		w.t.Fatalf("get %s: %v", path, a.err)
	}
	return a
}

// later sends a request and returns where its answer will be.
func (w *world) later(path string, fields ...string) <-chan answer {
	answers := make(chan answer, 1)
	go func() { answers <- w.ask(w.t.Context(), http.MethodGet, path, fields...) }()
	return answers
}

// held waits until exactly n requests are held and wait in the store.
func (w *world) held(n int) {
	w.t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if w.handler.Stats().Held == n && w.store.Stats().Waiting == n {
			return
		}
		if time.Now().After(limit) {
			w.t.Fatalf("%d requests are held, want %d", w.handler.Stats().Held, n)
		}
	}
}

func (w *world) want(a answer, status int, body string) {
	w.t.Helper()
	switch {
	case a.err != nil:
		w.t.Errorf("error %v", a.err)
	case a.status != status:
		w.t.Errorf("status %d, want %d: %s", a.status, status, a.body)
	case status < 300 && a.body != body:
		w.t.Errorf("body %q, want %q", a.body, body)
	}
}

// problem checks that an answer is a problem document that no cache keeps.
func (w *world) problem(a answer, status int) {
	w.t.Helper()
	w.want(a, status, "")
	var document struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal([]byte(a.body), &document); err != nil || document.Status != status ||
		document.Title == "" || document.Detail == "" || a.header.Get("Content-Type") != "application/problem+json" {
		w.t.Errorf("no problem document: %v, %q", err, a.body)
	}
	if age := a.header.Get("Cache-Control"); age != "public, max-age=1" && age != "private, max-age=1" && age != "no-store" {
		w.t.Errorf("X28: an error with Cache-Control %q", age)
	}
	if a.header.Get("X-Content-Type-Options") != "nosniff" {
		w.t.Error("X12: no nosniff")
	}
}
