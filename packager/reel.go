package packager

import (
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/fmp4"
)

// reel is a rendition that a segmenter cuts: that of a video layer, or of the
// audio where there is no video. One of them leads.
type reel struct {
	*rendition
	cut   segmenter
	track int // of the Epoch; -1: it has none for this reel

	offset  int64       // added to the track's times
	exact   bool        // offset is right to the frame
	misfit  bool        // its key frames do not fit the others' (specs R42)
	queue   []au.Unit   // not yet taken
	newest  int64       // start of the newest unit
	area    int         // of its picture, in pixels
	seen    bool        // there was one in this Epoch
	waiting fmp4.Sample // the frame that the segmenter waits with
	came    time.Time   // when that was received; zero for one that stands still
	still   fmp4.Sample // the last key frame
	taken   int64       // start of the newest frame that was taken
	arrival time.Time   // and when it arrived
	starved bool        // frames were dropped for want of a key frame
	lost    bool        // packets were lost since the last key frame

	frames   int   // of the segment with the most of them a second, for FRAME-RATE
	framesIn int64 // and how long they last
	shown    int   // of the open segment
}

// queued is how many units of a reel may wait for the leading one.
const queuedUnits = 600

// enter begins an Epoch at the given tick: nothing of it was taken so far.
func (r *reel) enter(track int, a alignment, at int64) {
	r.track, r.offset, r.exact, r.taken = track, a.offset, a.sure, at-2*pairTicks
	r.misfit, r.seen, r.starved, r.lost = false, false, false, false
	clear(r.queue)
	r.queue = r.queue[:0]
	r.cut.misses = 0
}

// push queues a unit. It returns false if the oldest one was dropped for it.
func (r *reel) push(u *au.Unit) bool {
	full := len(r.queue) >= queuedUnits
	if full {
		r.take()
	}
	r.queue = append(r.queue, *u)
	r.newest, r.seen = u.DTS+r.offset, true
	if u.Params != nil {
		r.area = u.Params.Width * u.Params.Height
	}
	return !full
}

// take removes and returns the oldest unit.
func (r *reel) take() au.Unit {
	u := r.queue[0]
	n := copy(r.queue, r.queue[1:]) // there are few, and the memory stays
	r.queue[n] = au.Unit{}
	r.queue = r.queue[:n]
	return u
}

// next is when the oldest queued unit starts.
func (r *reel) next() int64 { return r.queue[0].DTS + r.offset }

// active reports whether the layer's media goes on at this time.
func (r *reel) active(at int64) bool {
	return r.track >= 0 && !r.misfit && r.seen && r.newest >= at-toTicks(time.Second, r.rate)
}

// keyAt reports whether a key frame of this instant, or close to it, is queued or
// waits for its duration.
func (r *reel) keyAt(at int64) bool {
	if r.cut.waiting && r.cut.key && at-r.cut.end <= pairTicks {
		return true
	}
	for i := range r.queue {
		if u := &r.queue[i]; u.Key && abs(u.DTS+r.offset-at) <= pairTicks {
			return true
		}
	}
	return false
}

// hasKey reports whether a key frame is queued.
func (r *reel) hasKey() bool {
	for i := range r.queue {
		if r.queue[i].Key {
			return true
		}
	}
	return false
}

// within is how far from an instant this layer's frame of it may be.
func (r *reel) within() int64 {
	if !r.exact {
		return pairTicks
	}
	return r.cut.tolerance()
}

// frame describes a unit to the segmenter.
func (r *reel) frame(u *au.Unit) frame {
	return frame{at: u.DTS + r.offset, key: u.Key, fresh: u.Key && r.changes(u.Params)}
}

// hold keeps a unit until its duration is known.
func (r *reel) hold(u *au.Unit) {
	r.waiting = fmp4.Sample{Composition: int32(u.PTS - u.DTS), Key: u.Key, Data: u.Data} //nolint:gosec // a few frames
	r.starved, r.came = false, u.Arrival
	if u.Key {
		r.still = r.waiting
	}
}

// settle moves the waiting frame into the open part.
func (r *reel) settle(ticks int64) {
	r.waiting.Duration = uint32(ticks) //nolint:gosec // less than a part
	if r.first.IsZero() {
		r.first = r.came
	}
	r.add(r.waiting)
	r.waiting, r.came = fmp4.Sample{}, time.Time{}
	r.shown++
}

// span is how long the open segment is so far.
func (r *reel) span() int64 { return r.at + r.length - r.start }

// clock measures the frame rate of a segment that ends: what counts is the highest
// (specs L76). Short ones say little.
func (r *reel) clock() {
	n, in := r.shown, r.span()
	if n > 0 && (r.frames == 0 || in >= r.cut.least && int64(n)*r.framesIn > int64(r.frames)*in) {
		r.frames, r.framesIn = n, in
	}
	r.shown = 0
}

// frameRate is that of the fastest segment, or of what there is of the first one.
func (r *reel) frameRate() float64 {
	if r.frames == 0 {
		return frameRate(r.shown, fromTicks(r.span(), r.rate))
	}
	return frameRate(r.frames, fromTicks(r.framesIn, r.rate))
}
