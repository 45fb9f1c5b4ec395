package hls_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/whipcast/whipcast/egress/hls"
	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/storage"
)

// TestTally: every answer is counted once, by what was asked for and how it went.
func TestTally(t *testing.T) {
	w := newWorld(t, hls.Config{})
	w.put(multivariant(), playlist(position(9, 2, 5)), media("init-1.mp4", storage.Init, "init"),
		media("p0000000046.m4s", storage.Part, "part"), media("s00000008.m4s", storage.Segment, "a", "segment"))
	base := "/hls/" + directory
	for path, status := range map[string]int{
		"/hls/show/index.m3u8":     200,
		live:                       200,
		live + "?_HLS_msn=99":      400,
		base + "init-1.mp4":        200,
		base + "p0000000046.m4s":   200,
		base + "p0000000099.m4s":   404,
		base + "s00000008.m4s":     200,
		base + "s00000001.m4s":     404,
		"/hls/gone/index.m3u8":     404,
		"/hls/a/b/c/d":             404,
		"/hls/gone/a/b/index.m3u8": 404,
	} {
		if a := w.get(path); a.status != status {
			t.Errorf("%s: %d, want %d", path, a.status, status)
		}
	}
	w.get(base+"s00000008.m4s", "Range: bytes=1-2")
	w.get(base+"s00000008.m4s", "Range: bytes=100-")
	w.ask(t.Context(), http.MethodHead, base+"s00000008.m4s")
	w.ask(t.Context(), http.MethodOptions, live)
	w.ask(t.Context(), http.MethodPost, live)
	want := map[[2]string]uint64{
		{"multivariant", "2xx"}: 1, {"multivariant", "4xx"}: 1,
		{"playlist", "2xx"}: 1, {"playlist", "4xx"}: 2,
		{"init", "2xx"}: 1, {"part", "2xx"}: 1, {"part", "4xx"}: 1,
		{"segment", "2xx"}: 3, {"segment", "4xx"}: 2,
		{"other", "2xx"}: 1, {"other", "4xx"}: 2,
	}
	for _, c := range w.handler.Answers() {
		if n := want[[2]string{c.Kind, c.Class}]; c.N != n {
			t.Errorf("%s %s: %d, want %d", c.Kind, c.Class, c.N, n)
		}
	}
	sent := w.handler.Sent()
	if sent["init"] != 4 || sent["part"] != 4 || sent["segment"] != 10 || sent["playlist"] == 0 || sent["other"] != 0 {
		t.Errorf("bytes: %v", sent)
	}
}

// TestHoldsAreCounted: a request that waits counts as held once, with the time of
// its wait.
func TestHoldsAreCounted(t *testing.T) {
	w := newWorld(t, hls.Config{MaxHeld: 1})
	w.put(playlist(position(9, 2, 5)))
	first := w.later(live + "?_HLS_msn=9&_HLS_part=2")
	w.held(1)
	if a := w.get(live + "?_HLS_msn=9&_HLS_part=2"); a.status != http.StatusServiceUnavailable {
		t.Errorf("status %d", a.status)
	}
	w.put(playlist(position(9, 3, 5)))
	<-first
	if s := w.handler.Stats(); s.Holds != 1 || s.Refused != 1 || s.Held != 0 {
		t.Errorf("stats %+v", s)
	}
	if n := w.handler.Waits().Count(); n != 1 {
		t.Errorf("%d waits", n)
	}
}

// TestFetches: how old the newest part is counts for each answer that has it, and
// once for the first of them. The time is the gateway's.
func TestFetches(t *testing.T) {
	book := latency.NewBook()
	figures, end := book.Open("show")
	defer end()
	w := newWorld(t, hls.Config{Latency: book})
	for i := range 3 {
		o := playlist(position(9, 2+i, 5))
		o.Modified = time.Now().Add(-300 * time.Millisecond)
		w.put(o)
		for range 4 {
			w.get(live)
		}
		w.ask(t.Context(), http.MethodHead, live)
	}
	w.put(multivariant())
	w.get("/hls/show/index.m3u8") // it has no parts
	w.put(playlist(ended(position(9, 4, 5))))
	w.get(live) // nothing is new any more
	now := time.Now()
	for hop, want := range map[latency.Hop]uint64{latency.FirstFetch: 3, latency.Fetch: 12} {
		s := figures.Recent(hop, now)
		p50, _ := s.Quantile(0.5)
		if s.Count() != want || p50 < 0.2 {
			t.Errorf("%v: %d of %v s, want %d", hop, s.Count(), p50, want)
		}
	}
}

// TestPlayersTell: what players tell with requests for media counts, of streams
// that there are.
func TestPlayersTell(t *testing.T) {
	book := latency.NewBook()
	figures, end := book.Open("show")
	defer end()
	w := newWorld(t, hls.Config{Latency: book})
	w.put(playlist(position(9, 2, 5)), media("p0000000046.m4s", storage.Part, "part"))
	tell := "CMCD-Request: ltc=2500,bl=1500"
	w.get("/hls/"+directory+"p0000000046.m4s", tell, "CMCD-Status: bs")
	w.get("/hls/"+directory+"p0000000046.m4s?CMCD=ltc%3D2500", "CMCD-Status: x")
	w.get(live, tell) // told with media
	w.get("/hls/nobody/m1abc/video/p0000000046.m4s", tell)
	if n := figures.Recent(latency.Player, time.Now()).Count(); n != 2 {
		t.Errorf("%d latencies, want 2", n)
	}
	if book.Reports(latency.CMCD) != 2 || book.Stalls() != 1 || book.Buffer().Count() != 1 || book.Find("nobody") != nil {
		t.Errorf("%d reports, %d stalls, %d buffers", book.Reports(latency.CMCD), book.Stalls(), book.Buffer().Count())
	}
}
