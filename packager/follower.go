package packager

import "slices"

// Further verbs, of a follower.
const (
	discard     verb = iota + openEmpty + 1 // the oldest queued frame belongs to no segment
	openSegment                             // a segment begins
)

// follower cuts a rendition into the same segments as the leading one: at the
// first frame that starts at or after the leading one's boundary (specs L94),
// with the same count and discontinuities (specs L24). All its frames are
// independent, and parts are whole frames (specs L46). It is pure.
//
//	push(frame) ──▶ queue ──▶ next ──▶ keep, discard, close, open
//
// Times are ticks of the follower's timescale.
type follower struct {
	part int64 // PART-TARGET

	queue []sound  // frames not yet in a part
	cuts  []mirror // boundaries not yet reached
	known int64    // no boundary before this can come any more

	final bool // nothing is pushed any more
	mute  bool // nothing is pushed for now: parts without media cover the time

	open      bool
	begun     *cut // what the open segment begins with
	segmentAt int64
	partAt    int64
	end       int64
	last      int64 // length of the last frame
	blank     int64 // length of the part to skip
	cutAt     int64 // where the leading segment of the one that was closed last ended
}

// mirror is a boundary of the leading rendition in the follower's time.
type mirror struct {
	at int64
	of *cut
}

// queueTicks is how much may wait for the leading rendition: more than that comes
// together only when its media has stopped.
const queueTicks = 15 * opusRate

// push queues a frame. It returns false if a frame was dropped for it: the oldest
// while no segment is open, since it will belong to none, else this one.
func (f *follower) push(s sound) bool {
	f.queue = append(f.queue, s)
	if s.at-f.queue[0].at <= queueTicks {
		return true
	}
	if f.open {
		f.queue = f.queue[:len(f.queue)-1]
	} else {
		f.take(discard)
	}
	return false
}

// turns says that the leading rendition's segment ends or begins here.
func (f *follower) turns(at int64, c *cut) {
	f.cuts = append(f.cuts, mirror{at: at, of: c})
	f.reaches(at)
}

// finish says that nothing more is pushed: next goes on until all is closed, and
// drops what is left. restart makes it ready for the next Epoch.
func (f *follower) finish() { f.final = true }

func (f *follower) restart() { *f = follower{part: f.part} }

// reaches says that the leading rendition has media up to here.
func (f *follower) reaches(at int64) { f.known = max(f.known, at) }

// next returns what to do next; 0 means: wait. keep and discard concern the
// first frame of the queue, which the caller takes with take.
func (f *follower) next() verb {
	if f.open {
		return f.nextOpen()
	}
	if len(f.cuts) == 0 {
		return 0
	}
	at := f.cuts[0].at
	switch empty := len(f.queue) == 0; {
	case empty && !f.final && !f.mute:
		return 0
	case empty:
	case f.queue[0].at+f.queue[0].ticks/2 < at:
		return discard
	case f.queue[0].at-at <= longestTicks+slewTicks: // a long one, slewed
		at = f.queue[0].at
	}
	f.open, f.begun, f.segmentAt, f.partAt, f.end = true, f.cuts[0].of, at, at, at
	f.cuts = f.cuts[1:]
	return openSegment
}

// longestTicks is the longest frame: of AAC with 8 kHz. The longest Opus packet has
// 120 ms.
const longestTicks = opusRate * 128 / 1000

func (f *follower) nextOpen() verb {
	empty := len(f.queue) == 0
	if len(f.cuts) > 0 {
		limit := f.cuts[0].at
		if f.end >= limit || !empty && f.queue[0].at >= limit || empty && (f.final || f.mute) {
			return f.finishSegment(limit)
		}
	}
	if f.full() {
		f.partAt = f.end
		return closePart
	}
	switch {
	case !empty && (len(f.cuts) > 0 || f.queue[0].at < f.known):
		return keep
	case empty && f.mute && f.known-f.end >= f.part:
		return f.skipTo(f.end + f.part)
	}
	return 0
}

// full reports whether the open part must end: another frame like the last, or
// the next one, does not fit, or none comes.
func (f *follower) full() bool {
	length := f.end - f.partAt
	if length == 0 {
		return false
	}
	if len(f.queue) == 0 {
		return f.mute || length+f.last > f.part
	}
	return length+max(f.last, f.queue[0].at+f.queue[0].ticks-f.end) > f.part
}

// finishSegment ends the open part, covers what has no sound, and ends the
// segment.
func (f *follower) finishSegment(limit int64) verb {
	switch {
	case f.end > f.partAt:
		f.partAt = f.end
		return closePart
	case limit-f.end > longestTicks:
		return f.skipTo(min(limit, f.end+f.part))
	}
	f.cuts = f.cuts[1:]
	f.open, f.cutAt = false, limit
	return closeSegment
}

// skipTo covers the time up to at: the caller lists a part of blank ticks.
func (f *follower) skipTo(at int64) verb {
	f.blank = at - f.end
	f.end, f.partAt = at, at
	return skip
}

// take removes and returns the first frame of the queue, after keep or discard.
func (f *follower) take(v verb) sound {
	s := f.queue[0]
	f.queue = slices.Delete(f.queue, 0, 1) // there are few, and the memory stays
	if v == keep {
		f.end, f.last = s.at+s.ticks, s.ticks
	}
	return s
}
