package hls_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/whipcast/whipcast/egress/hls"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/memory"
)

// discard is a viewer that keeps only what a test counts.
type discard struct {
	header http.Header
	status int
	bytes  int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(s int)   { d.status = s }
func (d *discard) Write(b []byte) (int, error) {
	if d.status == 0 {
		d.status = http.StatusOK
	}
	d.bytes += len(b)
	return len(b), nil
}

func (d *discard) reset() {
	clear(d.header)
	d.status, d.bytes = 0, 0
}

func request(t testing.TB, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://origin.example"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = "127.0.0.1:40000"
	r.Header.Set("Accept-Encoding", "gzip, deflate, br")
	return r
}

func waiting(t testing.TB, store *memory.Store, n int) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); store.Stats().Waiting != n; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%d wait, want %d", store.Stats().Waiting, n)
		}
	}
}

func put(t testing.TB, store *memory.Store, o storage.Object) {
	t.Helper()
	if err := store.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// L72: ten thousand blocked readers cost one rendering, and one Put wakes them
// all; what it costs a reader is in BenchmarkBlocked.
func TestL72OneRenderingForAll(t *testing.T) {
	const readers = 10_000
	store := memory.New(memory.Config{})
	handler := hls.New(hls.Config{}, store)
	long := func(p storage.Position) storage.Object { // nobody gives up on a busy machine
		p.Target = 20 * time.Second
		return playlist(p)
	}
	put(t, store, long(position(10, 2, 5)))
	var wg sync.WaitGroup
	var answered atomic.Int64
	bodies := make([]int, readers)
	for i := range readers {
		wg.Go(func() {
			w := &discard{header: http.Header{}}
			handler.ServeHTTP(w, request(t, live+"?_HLS_msn=10&_HLS_part=2"))
			if bodies[i] = w.bytes; w.status == http.StatusOK {
				answered.Add(1)
			}
		})
	}
	waiting(t, store, readers)
	if n := handler.Stats().Prepared; n != 0 {
		t.Errorf("%d renderings before anyone was answered", n)
	}
	put(t, store, long(position(10, 3, 5)))
	wg.Wait()
	if n := handler.Stats(); n.Prepared != 1 || n.Held != 0 {
		t.Errorf("L72: %d renderings, want 1; %d still held", n.Prepared, n.Held)
	}
	if n := answered.Load(); n != readers {
		t.Errorf("%d of %d answered", n, readers)
	}
	for _, n := range bodies {
		if n != bodies[0] || n == 0 {
			t.Fatalf("bodies of %d and %d bytes", n, bodies[0])
		}
	}
}

// L72: a thousand viewers who come together, while the stream is live, read the
// multivariant playlist and the media playlist and wait for the next part: each of the
// three texts is made ready once.
func TestL72LateJoinersCostOneRendering(t *testing.T) {
	const viewers = 1000
	store := memory.New(memory.Config{})
	handler := hls.New(hls.Config{}, store)
	now, next := minute(100, 2), minute(100, 3)
	for _, o := range []*storage.Object{&now, &next} {
		o.Position.Target = 20 * time.Second // nobody gives up on a busy machine
	}
	put(t, store, multivariant())
	put(t, store, now)
	var wg sync.WaitGroup
	var answered atomic.Int64
	for range viewers {
		wg.Go(func() {
			w := &discard{header: http.Header{}}
			for _, path := range []string{"/hls/show/index.m3u8", live, live + "?_HLS_msn=100&_HLS_part=2"} {
				w.reset()
				handler.ServeHTTP(w, request(t, path))
				if w.status == http.StatusOK && w.bytes > 0 {
					answered.Add(1)
				}
			}
		})
	}
	waiting(t, store, viewers)
	if n := handler.Stats().Prepared; n != 2 {
		t.Errorf("L72: %d renderings for all who joined, want 2: a multivariant and a media playlist", n)
	}
	put(t, store, next)
	wg.Wait()
	if n := handler.Stats().Prepared; n != 3 {
		t.Errorf("L72: %d renderings when the part came, want 3", n)
	}
	if n := answered.Load(); n != 3*viewers {
		t.Errorf("%d of %d requests answered", n, 3*viewers)
	}
}

// Pages of playlists that were deleted must not pile up.
func TestPagesOfDeletedPlaylistsAreForgotten(t *testing.T) {
	store := memory.New(memory.Config{})
	handler := hls.New(hls.Config{}, store)
	w := &discard{header: http.Header{}}
	for i := range 1000 {
		o := playlist(position(10, 2, 5))
		o.Key = fmt.Sprintf("show/m%d/video/index.m3u8", i)
		put(t, store, o)
		w.reset()
		handler.ServeHTTP(w, request(t, "/hls/"+o.Key))
		if w.status != http.StatusOK {
			t.Fatalf("status %d", w.status)
		}
		if err := store.Delete(t.Context(), o.Key); err != nil {
			t.Fatal(err)
		}
	}
	if n := hls.Pages(handler); n > 64 {
		t.Errorf("%d pages are kept, and no playlist", n)
	}
}

// minute is a playlist of 60 s with 2 s segments and parts of 500 ms, and its
// delta update.
func minute(msn uint64, parts int) storage.Object {
	o := playlist(position(msn, parts, 4))
	var b strings.Builder
	b.WriteString("#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.50000\n" +
		"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.50000,CAN-SKIP-UNTIL=12.00000\n")
	for s := msn - 30; s < msn; s++ {
		fmt.Fprintf(&b, "#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:%02d:%02d.000Z\n", s/30%60, s*2%60)
		if s+3 >= msn {
			for p := range uint64(4) {
				fmt.Fprintf(&b, "#EXT-X-PART:DURATION=0.50000,URI=\"p%010d.m4s\"\n", s*4+p)
			}
		}
		fmt.Fprintf(&b, "#EXTINF:2.00000,\ns%08d.m4s\n", s)
	}
	fmt.Fprintf(&b, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p%010d.m4s\"\n", msn*4+uint64(parts))
	o.Body = storage.Body{[]byte(b.String())}
	return o
}

func BenchmarkPlaylist(b *testing.B) {
	for name, path := range map[string]string{
		"plain": live, "answer": live + "?_HLS_msn=99&_HLS_part=1", "delta": live + "?_HLS_msn=99&_HLS_part=1&_HLS_skip=YES",
	} {
		b.Run(name, func(b *testing.B) {
			store := memory.New(memory.Config{})
			handler := hls.New(hls.Config{}, store)
			put(b, store, minute(100, 2))
			serve(b, handler, path)
		})
	}
}

func BenchmarkPart(b *testing.B) {
	store := memory.New(memory.Config{})
	handler := hls.New(hls.Config{}, store)
	put(b, store, media("p0000000500.m4s", storage.Part, strings.Repeat("m", 300), strings.Repeat("x", 62_500)))
	serve(b, handler, "/hls/"+directory+"p0000000500.m4s")
}

func serve(b *testing.B, handler http.Handler, path string) {
	w, r := &discard{header: make(http.Header, 16)}, request(b, path)
	b.ReportAllocs()
	for b.Loop() {
		w.reset()
		handler.ServeHTTP(w, r)
	}
	if w.status != http.StatusOK || w.bytes == 0 {
		b.Fatalf("status %d, %d bytes", w.status, w.bytes)
	}
}

// BenchmarkVersion is what the first reader of a playlist version pays for all.
func BenchmarkVersion(b *testing.B) {
	store := memory.New(memory.Config{})
	handler := hls.New(hls.Config{}, store)
	w, r := &discard{header: make(http.Header, 16)}, request(b, live)
	versions := []storage.Object{minute(100, 2), minute(100, 3)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		put(b, store, versions[i%2])
		w.reset()
		handler.ServeHTTP(w, r)
	}
	b.ReportMetric(float64(versions[0].Body.Len()), "B/text")
	b.ReportMetric(float64(w.bytes), "B/gzip")
}

// BenchmarkBlocked1000 is one part for 1,000 blocked viewers: all that happens
// from the request on, and the time from the Put to the last answer.
func BenchmarkBlocked1000(b *testing.B) {
	const readers = 1000
	store := memory.New(memory.Config{})
	handler := hls.New(hls.Config{}, store)
	msn := uint64(100)
	put(b, store, minute(msn, 0))
	var wake time.Duration
	writers := make([]discard, readers)
	for i := range writers {
		writers[i].header = make(http.Header, 16)
	}
	rounds := 0
	b.ReportAllocs()
	for b.Loop() {
		rounds++
		r := request(b, fmt.Sprintf("%s?_HLS_msn=%d", live, msn))
		var wg sync.WaitGroup
		for i := range writers {
			writers[i].reset()
			wg.Go(func() { handler.ServeHTTP(&writers[i], r) })
		}
		waiting(b, store, readers)
		msn++
		next := minute(msn, 0)
		begin := time.Now()
		put(b, store, next)
		wg.Wait()
		wake += time.Since(begin)
	}
	b.ReportMetric(float64(wake.Microseconds())/float64(rounds*readers), "µs/wake-to-answer")
	if n := handler.Stats().Prepared; n != int64(rounds) {
		b.Fatalf("%d renderings in %d rounds", n, rounds)
	}
}
