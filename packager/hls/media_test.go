package hls

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gohlslib/v2/pkg/playlist"
)

// live is a playlist in the middle of its life: the window is full, with 200 ms
// parts in 2 s segments.
type live struct {
	media   *Media
	at      time.Time
	counter int
}

func newLive(tb testing.TB, window time.Duration) *live {
	tb.Helper()
	l := &live{
		media: NewMedia(Config{Target: 2 * time.Second, Part: 200 * time.Millisecond, Window: window, Skip: true}),
		at:    time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC),
	}
	if err := l.media.SetInit("init-a1b2c3d4.mp4"); err != nil {
		tb.Fatal(err)
	}
	for range int(window/(2*time.Second)) + 10 {
		l.segment(tb)
	}
	return l
}

// part adds one and what comes with it.
func (l *live) part(tb testing.TB) {
	m := l.media
	if m.Position().Parts == 0 {
		m.SetTime(l.at)
	}
	err := m.AddPart(Part{
		URI: fmt.Sprintf("p%010d.m4s", l.counter), Duration: 200 * time.Millisecond, Independent: l.counter%10 == 0,
	})
	if err != nil {
		tb.Fatal(err)
	}
	l.counter++
	l.at = l.at.Add(200 * time.Millisecond)
	msn, part := m.Position().Last()
	if err := m.SetHint(fmt.Sprintf("p%010d.m4s", l.counter), ""); err != nil {
		tb.Fatal(err)
	}
	if err := m.SetReports([]Report{{URI: "../audio/index.m3u8", MSN: msn, Part: part}}); err != nil {
		tb.Fatal(err)
	}
}

func (l *live) close(tb testing.TB) {
	uri := fmt.Sprintf("s%08d.m4s", l.media.Position().MSN)
	if _, err := l.media.CloseSegment(Segment{URI: uri, Duration: 2 * time.Second}); err != nil {
		tb.Fatal(err)
	}
}

// dateRanges lists some that have not begun, and lets them get old.
func (l *live) dateRanges(tb testing.TB, n int) {
	tb.Helper()
	for i := range n {
		d := Marker(fmt.Sprintf("splice-%08X", i), "com.example.marker", l.at.Add(24*time.Hour), Attribute{Name: "X-NAME", Text: fmt.Sprint("marker ", i)})
		if err := l.media.SetDateRange(d); err != nil {
			tb.Fatal(err)
		}
	}
	for range 10 {
		l.segment(tb)
	}
}

func (l *live) segment(tb testing.TB) {
	for range 10 {
		l.part(tb)
	}
	l.close(tb)
}

// Handlers read old versions while new ones are made. The race detector sees
// every byte that is written twice.
func TestVersionsAreReadWhileOthersAreMade(t *testing.T) {
	l := newLive(t, time.Minute)
	l.dateRanges(t, 3)
	var wg sync.WaitGroup
	for range 40 {
		for range 10 {
			l.part(t)
			full, delta, dates := l.media.LowLatency()
			plain := l.media.Plain()
			if l.counter%10 == 0 {
				if err := l.media.SetDateRange(Marker(fmt.Sprintf("m%d", l.counter), "", l.at)); err != nil {
					t.Fatal(err)
				}
			}
			wg.Go(func() {
				for _, pieces := range [][][]byte{full, delta, dates, plain} {
					if text := bytes.Join(pieces, nil); !bytes.HasPrefix(text, []byte("#EXTM3U\n")) {
						t.Errorf("begins with %.20q", text)
					}
				}
			})
		}
		l.close(t)
	}
	wg.Wait()
}

// A reader that appends to a piece cannot reach the history's memory.
func TestPiecesHaveNoRoom(t *testing.T) {
	l := newLive(t, time.Minute)
	l.dateRanges(t, 3)
	if err := l.media.SetDateRange(Marker("new", "", l.at)); err != nil {
		t.Fatal(err)
	}
	full, delta, dates := l.media.LowLatency()
	for _, pieces := range [][][]byte{full, delta, dates, l.media.Plain()} {
		if len(pieces) < 3 {
			t.Errorf("%d pieces, want header, history and tail", len(pieces))
		}
		for i, p := range pieces {
			if cap(p) != len(p) {
				t.Errorf("piece %d: length %d, capacity %d", i, len(p), cap(p))
			}
		}
	}
}

// Specs L18, L19: both numbers are 64 bits wide.
func TestNumbersAreWide(t *testing.T) {
	l := newLive(t, time.Minute)
	l.media.first, l.media.discontinuity = math.MaxUint64-100, math.MaxUint64-200
	l.media.Discontinuity()
	for range 40 {
		l.segment(t)
	}
	text := string(bytes.Join(l.media.Plain(), nil))
	for _, want := range []string{
		"#EXT-X-MEDIA-SEQUENCE:18446744073709551555\n",
		"#EXT-X-DISCONTINUITY-SEQUENCE:18446744073709551416\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%.200s", want, text)
		}
	}
}

// The history lets go of what rolled off.
func TestHistoryIsBounded(t *testing.T) {
	l := newLive(t, time.Minute)
	for range 10_000 {
		l.segment(t)
	}
	var held int
	for _, c := range l.media.history.chunks {
		held += cap(c)
	}
	listed := len(bytes.Join(l.media.Plain(), nil))
	if limit := listed + 2*minChunk; held > limit {
		t.Errorf("%d bytes held for a playlist of %d", held, listed)
	}
	if h := l.media.history; h.first != l.media.records[0].place.chunk {
		t.Errorf("first chunk held is %d, first needed %d", h.first, l.media.records[0].place.chunk)
	}
	if n := cap(l.media.records); n > 200 {
		t.Errorf("%d records held for %d segments", n, len(l.media.records))
	}
}

// The multivariant playlist as a library that is not ours reads it.
func TestMultivariantReadsBack(t *testing.T) {
	text, err := Multivariant(
		[]Variant{{
			URI: "1a/video/index.m3u8", Bandwidth: 3_200_000, AverageBandwidth: 2_600_000,
			Codecs: "avc1.64001f,Opus", Width: 1280, Height: 720, FrameRate: 30, Audio: "audio",
		}},
		[]Rendition{{Group: "audio", Name: "Audio", URI: "1a/audio/index.m3u8", Channels: 2, Default: true}},
	)
	if err != nil {
		t.Fatal(err)
	}
	var m playlist.Multivariant
	if err := m.Unmarshal(text); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !m.IndependentSegments {
		t.Error("L6: no EXT-X-INDEPENDENT-SEGMENTS")
	}
	v, r := m.Variants[0], m.Renditions[0]
	if v.Bandwidth != 3_200_000 || *v.AverageBandwidth != 2_600_000 || len(v.Codecs) != 2 ||
		v.Resolution != "1280x720" || *v.FrameRate != 30 || v.Audio != r.GroupID || v.URI != "1a/video/index.m3u8" {
		t.Errorf("L74 to L76: %+v", v)
	}
	if r.Name != "Audio" || !r.Default || !r.Autoselect || *r.URI != "1a/audio/index.m3u8" || *r.Channels != "2" {
		t.Errorf("L78: %+v", r)
	}
}

// One part and both kinds of playlist, in a live window of 15 segments and in
// six hours.
func BenchmarkVersion(b *testing.B) {
	for _, window := range []time.Duration{30 * time.Second, 6 * time.Hour} {
		b.Run(window.String(), func(b *testing.B) {
			l := newLive(b, window)
			b.ReportAllocs()
			var size, n int
			for b.Loop() {
				l.part(b)
				full, _, _ := l.media.LowLatency()
				l.media.Plain()
				if n++; n%10 == 0 {
					l.close(b)
				}
				size = 0
				for _, p := range full {
					size += len(p)
				}
			}
			b.ReportMetric(float64(size), "bytes/playlist")
		})
	}
}

// Rendering alone, without date ranges and with all that can be listed.
func BenchmarkLowLatency(b *testing.B) {
	for _, window := range []time.Duration{30 * time.Second, 6 * time.Hour} {
		l := newLive(b, window)
		run := func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.media.LowLatency()
			}
		}
		b.Run(window.String(), run)
		l.dateRanges(b, MaxDateRanges)
		b.Run(window.String()+"-dates", run)
	}
}
