// Package latency measures how long media takes on its way from the camera to the
// viewer, hop by hop.
//
//	captured ──Capture──▶ received ──Package──▶ listed ──Fetch──▶ fetched
//	                      received ─────────────Player──────────▶ shown
//
// A Book has the sums over all streams, for metrics, and each stream's latest
// minutes, for the API. Numbers are told apart by hop only, never by stream: a
// stream's name can be a secret (specs X35).
//
// Invariant: observing is a few atomic operations. It takes no lock, allocates
// nothing, and memory does not grow with what is observed.
package latency

import (
	"sync"
	"sync/atomic"
	"time"
)

// Hop is one stretch of the way.
type Hop uint8

// The hops. All but Capture are measured by the gateway's clock alone.
const (
	// Capture is from the publisher's capture of a picture, as its sender reports
	// tell, to the reception of its first packet. It is only known of publishers
	// whose clock is comparable, see Sender.
	Capture Hop = iota
	// Package is from the reception of the first picture of a part to the playlist
	// that lists the part. So it has the length of a part in it.
	Package
	// FirstFetch is from then until the first answer that has that playlist.
	FirstFetch
	// Fetch is the same for every answer that has it: the age of the newest part.
	Fetch
	// Player is from reception to the screen, as players report it.
	Player
	hops
)

// Hops returns all hops, in the order of the way.
func Hops() []Hop { return []Hop{Capture, Package, FirstFetch, Fetch, Player} }

// String returns the hop's name in metrics and in the API.
func (h Hop) String() string {
	switch h {
	case Capture:
		return "capture"
	case Package:
		return "package"
	case FirstFetch:
		return "first_fetch"
	case Fetch:
		return "fetch"
	case Player:
		return "player"
	}
	return "unknown"
}

// Longest is the longest latency that is told: what is longer counts as this.
const Longest = 120 * time.Second

// Origin says how a player's report came.
type Origin uint8

// The origins of reports.
const (
	Beacon Origin = iota // a request of its own
	CMCD                 // with a request for media (CTA-5004)
	origins
)

// Report is what a player tells of itself. Everything is clamped: it comes from
// outside.
type Report struct {
	Origin Origin
	// Latency is from reception to the screen; negative if it is not told.
	Latency time.Duration
	// Stalls is how often the picture stood still since the report before.
	Stalls int
	// Buffer is how much media is loaded ahead; negative if it is not told.
	Buffer time.Duration
	// Bitrate is that of the media asked for, in bits a second; 0 if it is not told.
	Bitrate int64
}

// What counts of a report at most.
const (
	mostStalls  = 100
	mostBitrate = 1_000_000_000
)

// Book has the figures of all streams. All methods may be called from any
// goroutine.
type Book struct {
	totals  [hops]*Histogram
	buffer  *Histogram
	bitrate *Histogram
	stalls  atomic.Uint64
	reports [origins]atomic.Uint64

	mu      sync.RWMutex
	streams map[string]*Stream // below mu
}

// NewBook returns an empty Book.
func NewBook() *Book {
	b := &Book{
		buffer:  NewHistogram(0.1, 0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 10, 20, 60),
		bitrate: NewHistogram(8e3, 16e3, 32e3, 64e3, 125e3, 250e3, 375e3, 500e3, 750e3, 1e6, 1.5e6, 3e6, 6e6),
		streams: map[string]*Stream{},
	}
	for h := range b.totals {
		b.totals[h] = NewHistogram(bounds()...)
	}
	return b
}

// bounds are those of latencies, in seconds.
func bounds() []float64 {
	return []float64{
		0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 10, 15, 30, 60,
	}
}

// Total returns the histogram of a hop over all streams.
func (b *Book) Total(h Hop) Snapshot { return b.totals[h].Snapshot() }

// Buffer returns how much players have loaded ahead, in seconds.
func (b *Book) Buffer() Snapshot { return b.buffer.Snapshot() }

// Bitrate returns the rates that players ask for, in bytes a second.
func (b *Book) Bitrate() Snapshot { return b.bitrate.Snapshot() }

// Stalls returns how many stalls players have reported.
func (b *Book) Stalls() uint64 { return b.stalls.Load() }

// Reports returns how many reports came in a way.
func (b *Book) Reports(o Origin) uint64 { return b.reports[o].Load() }

// Open begins the figures of a stream, which last until the returned function is
// called. The caller bounds how many there are.
func (b *Book) Open(name string) (*Stream, func()) {
	if b == nil {
		return nil, func() {}
	}
	own := &Stream{book: b}
	for h := range own.recent {
		own.recent[h] = newRecent(len(bounds()) + 1)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streams[name] = own
	return own, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.streams[name] == own { // and not that of a new stream with the name
			delete(b.streams, name)
		}
	}
}

// Find returns the figures of a stream; nil if there are none. It allocates
// nothing.
func (b *Book) Find(name string) *Stream {
	if b == nil {
		return nil
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.streams[name]
}

// Stream has the figures of one stream. A nil Stream takes observations and
// forgets them. All methods may be called from any goroutine.
type Stream struct {
	book   *Book
	recent [hops]*recent
}

// Observe notes that media took d for a hop. now is the present.
func (s *Stream) Observe(h Hop, d time.Duration, now time.Time) {
	if s == nil {
		return
	}
	i := s.book.totals[h].Observe(min(max(d, 0), Longest).Seconds())
	s.recent[h].add(i, era(now))
}

// Report takes what a player reports.
func (s *Stream) Report(r Report, now time.Time) {
	if s == nil {
		return
	}
	s.book.reports[r.Origin].Add(1)
	if r.Stalls > 0 {
		s.book.stalls.Add(uint64(min(r.Stalls, mostStalls)))
	}
	if r.Buffer >= 0 {
		s.book.buffer.Observe(min(r.Buffer, Longest).Seconds())
	}
	if r.Bitrate > 0 {
		s.book.bitrate.Observe(float64(min(r.Bitrate, mostBitrate)) / 8)
	}
	if r.Latency >= 0 {
		s.Observe(Player, r.Latency, now)
	}
}

// Recent returns the figures of the last one to two minutes.
func (s *Stream) Recent(h Hop, now time.Time) Snapshot {
	if s == nil {
		return Snapshot{}
	}
	return Snapshot{Bounds: s.book.totals[h].bounds, Counts: s.recent[h].counts(era(now))}
}

// recentFor is how long figures are recent, at least: as long again at most.
const recentFor = time.Minute

func era(now time.Time) int64 { return now.Unix() / int64(recentFor/time.Second) }
