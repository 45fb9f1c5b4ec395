package packager

import "time"

const (
	// maxTarget caps EXT-X-TARGETDURATION (specs R35).
	maxTarget = 10 * time.Second
	// observeFor is how long the second key frame is waited for.
	observeFor = 10 * time.Second
	// spare is by how much the distance of key frames may exceed
	// EXT-X-TARGETDURATION: less than half a second, see slack.
	spare = 250 * time.Millisecond
)

// observer finds the EXT-X-TARGETDURATION of a presentation before its first
// segment exists, since it can never change (specs L15, L16, R35). It is pure.
//
// A publisher that sends key frames on request keeps to any target. Others are
// observed until their second key frame.
type observer struct {
	segment   time.Duration
	onRequest bool          // or there is no video
	gop       time.Duration // distance of key frames; 0 while unknown

	keyed   bool
	first   time.Duration // time of the first key frame
	elapsed time.Duration // since then
}

// observe takes a frame at a time of the source's clock.
func (o *observer) observe(at time.Duration, key bool) {
	switch {
	case !o.keyed && key:
		o.keyed, o.first = true, at
	case o.keyed && key && o.gop == 0 && at > o.first:
		o.gop = at - o.first
	}
	if o.keyed {
		o.elapsed = max(o.elapsed, at-o.first)
	}
}

// found returns the target duration if it is known.
func (o *observer) found() (time.Duration, bool) {
	switch {
	case o.onRequest:
		return roundUp(o.segment), true
	case o.gop > 0:
		return min(max(roundUp(o.segment), roundUp(o.gop-spare)), maxTarget), true
	case o.elapsed >= observeFor:
		return maxTarget, true
	}
	return 0, false
}

// give ends the observation with what is known, because too much is held.
func (o *observer) give() time.Duration {
	return min(max(roundUp(o.segment), roundUp(o.elapsed)), maxTarget)
}

// roundUp rounds up to whole seconds, 1 s at least.
func roundUp(d time.Duration) time.Duration {
	return max((d + time.Second - 1).Truncate(time.Second), time.Second)
}
