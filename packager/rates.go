package packager

import (
	"math"
	"time"
)

// rates measures the bit rate of a rendition, for BANDWIDTH and
// AVERAGE-BANDWIDTH (specs L74). It is pure.
type rates struct {
	bytes    int64 // of all parts
	length   time.Duration
	peak     float64 // of the segments, bit/s
	segments int
}

func (r *rates) part(bytes int, d time.Duration) {
	r.bytes += int64(bytes)
	r.length += d
}

func (r *rates) segment(bytes int, d time.Duration) {
	r.segments++
	if d >= time.Second/4 { // what is shorter says nothing
		r.peak = max(r.peak, float64(bytes)*8/d.Seconds())
	}
}

// average returns the mean bit rate so far.
func (r *rates) average() float64 {
	if r.length <= 0 {
		return 0
	}
	return float64(r.bytes) * 8 / r.length.Seconds()
}

// highest returns the highest bit rate of a segment, or what there is of it.
func (r *rates) highest() float64 { return max(r.peak, r.average()) }

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
