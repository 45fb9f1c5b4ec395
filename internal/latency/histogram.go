package latency

import (
	"math"
	"sync/atomic"
	"time"
)

// Histogram counts values by fixed bounds. All methods may be called from any
// goroutine; none takes a lock.
type Histogram struct {
	bounds []float64 // rising; immutable
	counts []atomic.Uint64
	sum    atomic.Uint64 // bits of a float64
}

// NewHistogram returns an empty Histogram with the given bounds, which rise. A
// value counts for the first bound that it is not above; one above all has a
// bucket of its own.
func NewHistogram(bounds ...float64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts a value and returns its bucket. It allocates nothing.
func (h *Histogram) Observe(value float64) int {
	i := 0
	for i < len(h.bounds) && value > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+value)) {
			return i
		}
	}
}

// Snapshot returns what was counted so far.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Bounds: h.bounds, Counts: make([]uint64, len(h.counts)), Sum: math.Float64frombits(h.sum.Load())}
	for i := range h.counts {
		s.Counts[i] = h.counts[i].Load()
	}
	return s
}

// Snapshot is what a Histogram has counted. It is a value: nobody changes it.
type Snapshot struct {
	Bounds []float64
	Counts []uint64 // of each bound alone, and of what is above all
	Sum    float64  // 0 in the figures of one stream
}

// Count returns how many values there are.
func (s Snapshot) Count() uint64 {
	var n uint64
	for _, c := range s.Counts {
		n += c
	}
	return n
}

// Quantile returns the value that a share of all values, 0 to 1, is not above,
// taking values to be spread evenly between two bounds. False: there are none.
// What is above all bounds counts as the highest.
func (s Snapshot) Quantile(share float64) (float64, bool) {
	all := s.Count()
	if all == 0 {
		return 0, false
	}
	rank, below, low := share*float64(all), 0.0, 0.0
	for i, bound := range s.Bounds {
		n := float64(s.Counts[i])
		if n > 0 && below+n >= rank {
			return low + (bound-low)*max(rank-below, 0)/n, true
		}
		below, low = below+n, bound
	}
	return low, true
}

// recent counts by bucket in two halves that take turns: that of the present era,
// and that of the one before. A value that comes in the instant in which a half is
// cleared may be lost.
type recent struct{ halves [2]half }

type half struct {
	era    atomic.Int64
	counts []atomic.Uint64
}

func newRecent(buckets int) *recent {
	r := &recent{}
	for i := range r.halves {
		r.halves[i].era.Store(-1)
		r.halves[i].counts = make([]atomic.Uint64, buckets)
	}
	return r
}

func (r *recent) add(bucket int, era int64) {
	h := &r.halves[era&1]
	for old := h.era.Load(); old != era; old = h.era.Load() {
		if h.era.CompareAndSwap(old, era) {
			for i := range h.counts {
				h.counts[i].Store(0)
			}
			break
		}
	}
	h.counts[bucket].Add(1)
}

// counts returns what was counted in an era and the one before.
func (r *recent) counts(era int64) []uint64 {
	sums := make([]uint64, len(r.halves[0].counts))
	for i := range r.halves {
		h := &r.halves[i]
		if age := era - h.era.Load(); age < 0 || age > 1 {
			continue
		}
		for k := range sums {
			sums[k] += h.counts[k].Load()
		}
	}
	return sums
}

// Sender judges whether a publisher's clock can be compared with ours. It is pure.
//
// Sender reports tell when a picture was captured by the publisher's clock. Only
// if both machines are synchronised is the difference to its reception a
// latency; else it is latency and error in one, which nobody can tell apart. So
// it counts as a latency only while it is believable: never below zero, apart
// from what synchronised clocks differ by, and at best no more than what a live
// publisher takes. A clock that is late by less than that is not found out.
type Sender struct {
	known       bool
	begun       time.Time
	window      time.Time // begin of the present window
	best, older time.Duration
	rounds      int
}

const (
	senderWindow    = 30 * time.Second        // how long the least delay is remembered, at least: twice as long at most
	senderProof     = 2 * time.Second         // how long it is watched before it is believed
	senderError     = 20 * time.Millisecond   // by how much synchronised clocks differ
	senderSlow      = 1500 * time.Millisecond // what a live publisher takes, at best
	ntpToUnix       = 2_208_988_800           // seconds from 1900 to 1970
	ntpEra          = 1 << 32                 // seconds
	nanosecondsEach = int64(time.Second)
)

// Judge takes the time from capture to reception of a picture that was received
// at an instant, by the two clocks. It returns the latency of the hop, or false
// if it is not known.
func (c *Sender) Judge(delay time.Duration, at time.Time) (time.Duration, bool) {
	if !c.known {
		c.begun, c.window, c.best, c.known = at, at, delay, true
	}
	if at.Sub(c.window) >= senderWindow {
		c.older, c.best, c.window = c.best, delay, at
		c.rounds++
	}
	c.best = min(c.best, delay)
	least := c.best
	if c.rounds > 0 {
		least = min(least, c.older)
	}
	if at.Sub(c.begun) < senderProof || least < -senderError || least > senderSlow {
		return 0, false
	}
	return max(delay, 0), true
}

// Since1900 returns an instant as sender reports count: since the beginning of
// the present NTP era (RFC 5905 §6).
func Since1900(t time.Time) time.Duration {
	seconds := (t.Unix() + ntpToUnix) % ntpEra
	return time.Duration(seconds*nanosecondsEach + int64(t.Nanosecond()))
}
