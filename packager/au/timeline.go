package au

import "time"

const (
	maxForward = 10 // seconds that a timestamp may jump ahead (specs R11)
	maxBack    = 1  // seconds that it may jump back; B-frames do
	maxDepth   = 16 // pictures that may be reordered, the limit of H.264 and H.265
)

// timeline unwraps RTP timestamps and derives decoding times.
type timeline struct {
	rate    int64
	started bool
	last    int64 // of the previous access unit, in decoding order
	arrival time.Time
	// missing says that packets were lost since the previous access unit.
	missing bool

	dts     int64 // of the previous Unit
	emitted bool
	// depth is how many pictures may overtake another one.
	depth int
	// ordered says that the source promised to reorder nothing.
	ordered bool
	// latest are the latest presentation times, falling.
	latest [maxDepth + 1]int64
}

// unwrap returns the presentation time of an access unit, and whether the
// source's clock jumped before it (specs R9, R11). Presentation times equal the
// RTP timestamp modulo 2^32, and rise over a jump. If packets are missing, a jump
// as long as the time that passed is none.
func (t *timeline) unwrap(timestamp uint32, arrival time.Time) (pts int64, jumped bool) {
	missing := t.missing
	t.missing = false
	if !t.started {
		t.started = true
		t.last = int64(timestamp)
		t.arrival = arrival
		return t.last, false
	}
	delta := int64(int32(timestamp - uint32(t.last))) //nolint:gosec // wraps on purpose
	limit := maxForward * t.rate
	jumped = delta < -maxBack*t.rate || delta > limit
	if jumped && missing && delta > 0 {
		passed := int64(arrival.Sub(t.arrival).Seconds() * float64(t.rate))
		jumped = delta-passed > limit || passed-delta > limit
	}
	if jumped && delta < 0 {
		delta += 1 << 32
	}
	t.last += delta
	t.arrival = arrival
	return t.last, jumped
}

// reorder sets how many pictures may overtake another one, as the source's
// parameter sets say. Ordered says that there will never be any.
func (t *timeline) reorder(depth int, ordered bool) {
	t.depth, t.ordered = min(depth, maxDepth), ordered
}

// decode returns the decoding time of the next Unit: strictly rising, and not
// after pts but where a source reorders more than it said. With a depth of n, it
// is the presentation time before which n are known, so that no later picture
// can come before it (the inverse of H.264 C.4.5.3). That needs no picture order
// counts and so survives lost pictures. Gap says that the source paused.
func (t *timeline) decode(pts int64, gap bool) int64 {
	switch {
	case !t.emitted:
		t.fill(pts)
	case gap: // do not let the time that was missed become a delay
		for i := range t.latest {
			t.latest[i] = max(t.latest[i], pts-t.rate/2-int64(i))
		}
	}
	at := 0
	for at < len(t.latest) && t.latest[at] > pts {
		at++
	}
	if at < len(t.latest) {
		copy(t.latest[at+1:], t.latest[at:])
		t.latest[at] = pts
	}
	if at > t.depth && !t.ordered {
		t.depth = min(at, maxDepth)
	}
	dts := t.latest[t.depth]
	if t.emitted && dts <= t.dts {
		dts = t.dts + 1
	}
	t.dts = dts
	t.emitted = true
	return dts
}

// fill invents presentation times before pts.
func (t *timeline) fill(pts int64) {
	step := t.rate / 30 // nothing is known of the frame rate yet
	for i := range t.latest {
		t.latest[i] = pts - int64(i+1)*step
	}
}
