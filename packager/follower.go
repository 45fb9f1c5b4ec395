package packager

import "slices"

// Further verbs, of a follower.
const (
	discard     verb = iota + breakOff + 1 // the oldest queued frame belongs to no segment
	openSegment                            // a segment begins
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

	queue []sound // frames not yet in a part
	cuts  []cut   // boundaries not yet reached
	known int64   // no boundary before this can come any more

	final bool // nothing is pushed any more

	open      bool
	breaks    bool // the open segment begins with a discontinuity
	segmentAt int64
	partAt    int64
	end       int64
	last      int64 // length of the last frame
	cutAt     int64 // where the leading segment of the one that was closed last ended
}

// cut is a boundary of the leading rendition.
type cut struct {
	at     int64
	breaks bool // of a segment's begin: there is a discontinuity
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

// ends says that the leading rendition's segment ends here.
func (f *follower) ends(at int64) {
	f.cuts = append(f.cuts, cut{at: at})
	f.reaches(at)
}

// begins says that the leading rendition's next segment begins here.
func (f *follower) begins(c cut) {
	f.cuts = append(f.cuts, c)
	f.reaches(c.at)
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
	if len(f.cuts) == 0 || len(f.queue) == 0 && !f.final {
		return 0
	}
	at := f.cuts[0].at
	if len(f.queue) > 0 {
		if f.queue[0].at+f.queue[0].ticks/2 < at {
			return discard
		}
		at = f.queue[0].at
	}
	f.open, f.breaks, f.segmentAt, f.partAt, f.end = true, f.cuts[0].breaks, at, at, at
	f.cuts = f.cuts[1:]
	return openSegment
}

func (f *follower) nextOpen() verb {
	if len(f.cuts) > 0 {
		limit := f.cuts[0].at
		if f.end >= limit || len(f.queue) > 0 && f.queue[0].at >= limit || len(f.queue) == 0 && f.final {
			if f.end > f.partAt {
				f.partAt = f.end
				return closePart
			}
			f.cuts = f.cuts[1:]
			f.open, f.cutAt = false, limit
			return closeSegment
		}
	}
	if length := f.end - f.partAt; length > 0 {
		following := f.last // as soon as another frame like the last would not fit
		if len(f.queue) > 0 {
			following = max(following, f.queue[0].at+f.queue[0].ticks-f.end)
		}
		if length+following > f.part {
			f.partAt = f.end
			return closePart
		}
	}
	if len(f.queue) == 0 || len(f.cuts) == 0 && f.queue[0].at >= f.known {
		return 0
	}
	return keep
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
