package packager

import (
	"math"
	"time"
)

// rates measures the bit rate of a rendition, for BANDWIDTH and
// AVERAGE-BANDWIDTH (specs L74): of about what is listed, since a stage's program
// has another publisher now and then. It is pure.
type rates struct {
	window   time.Duration // that is listed; 0: everything counts
	spans    [8]tally      // ring; all but the newest last the window together
	count    int           // of spans that were begun before the newest
	segments int
}

// tally is a part of the window.
type tally struct {
	bytes  int64 // of all parts
	length time.Duration
	peak   float64 // of the segments, bit/s
}

func (r *rates) newest() *tally { return &r.spans[r.count%len(r.spans)] }

func (r *rates) part(bytes int, d time.Duration) {
	s := r.newest()
	s.bytes += int64(bytes)
	s.length += d
}

func (r *rates) segment(bytes int, d time.Duration) {
	r.segments++
	s := r.newest()
	if d >= time.Second/4 { // what is shorter says nothing
		s.peak = max(s.peak, float64(bytes)*8/d.Seconds())
	}
	if r.window > 0 && s.length*time.Duration(len(r.spans)-1) >= r.window {
		r.count++
		*r.newest() = tally{}
	}
}

// sum returns all spans as one.
func (r *rates) sum() tally {
	var all tally
	for _, s := range r.spans {
		all.bytes += s.bytes
		all.length += s.length
		all.peak = max(all.peak, s.peak)
	}
	return all
}

func (s tally) average() float64 {
	if s.length <= 0 {
		return 0
	}
	return float64(s.bytes) * 8 / s.length.Seconds()
}

// average returns the mean bit rate. The oldest span is listed in part only: the
// higher mean counts, with it or without.
func (r *rates) average() float64 {
	all := r.sum()
	rest := all
	if r.count >= len(r.spans)-1 {
		oldest := r.spans[(r.count+1)%len(r.spans)]
		rest.bytes -= oldest.bytes
		rest.length -= oldest.length
	}
	return max(all.average(), rest.average())
}

// highest returns the highest bit rate of a segment, or what there is of it.
func (r *rates) highest() float64 { return max(r.sum().peak, r.average()) }

// bandwidth rounds a bit rate up to two digits, so that small changes do not
// change the playlist.
func bandwidth(rate float64) int {
	if rate < 1 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(rate))-1)
	return int(math.Ceil(rate/unit) * unit)
}

// frameRate returns frames per second with three decimals; what is close to a
// whole number is one, since real clocks jitter.
func frameRate(frames int, d time.Duration) float64 {
	if d <= 0 || frames == 0 {
		return 0
	}
	rate := float64(frames) / d.Seconds()
	if whole := math.Round(rate); math.Abs(rate-whole) < 0.02*rate {
		return whole
	}
	return math.Round(rate*1000) / 1000
}
