package packager

import "time"

// timeline is the presentation's time: the time since its first sample arrived,
// as the publisher's clock counts it. Program date-time is the same thing on
// another scale, and so follows from it without any step (specs R7). Only when
// the publisher's clock has drifted off ours, the scale is moved a little, where
// a segment begins (specs R8, L26); the media's own times stay as they are. It is
// pure.
type timeline struct {
	zero time.Time     // program date-time of presentation time 0: the arrival of the first sample
	end  time.Duration // of all media that was published

	lag    arrivals      // of the frames that lead; their times are nanoseconds
	turned time.Duration // where the newest segment began
}

const (
	// mostDrift is how far program date-time may be off our clock.
	mostDrift = 200 * time.Millisecond
	// mostShift is by how much it is corrected at once; specs L26 allow a second.
	mostShift = 500 * time.Millisecond
)

// begin returns the presentation time at which an Epoch starts whose first
// sample arrived at the given instant: now, but not before the end of what was
// published. It is a whole millisecond, which is exact in every timescale.
func (t *timeline) begin(arrival time.Time) time.Duration {
	if t.zero.IsZero() {
		t.zero = arrival
	}
	at := max(t.end, arrival.Sub(t.zero), 0)
	t.turned = (at + time.Millisecond - 1).Truncate(time.Millisecond)
	t.lag = arrivals{}
	return t.turned
}

// saw notes when a frame of the leading rendition arrived.
func (t *timeline) saw(at time.Duration, arrival time.Time) {
	t.lag.add(int64(at), int64(time.Second), arrival)
}

// turn is told that a segment begins. It corrects the scale if it has to, and
// returns by how much: never so much that dates go back.
func (t *timeline) turn(at time.Duration) time.Duration {
	most := min(mostShift, (at-t.turned)/2)
	t.turned = at
	if !t.lag.settled() {
		return 0
	}
	m := t.lag.since(t.zero)
	off := m.at - time.Duration(m.ticks)
	if off.Abs() <= mostDrift {
		return 0
	}
	shift := max(min(off, most), -most).Truncate(time.Millisecond)
	t.zero = t.zero.Add(shift)
	return shift
}

// reach notes that media was published up to this presentation time.
func (t *timeline) reach(at time.Duration) { t.end = max(t.end, at) }

// date returns the program date-time of a presentation time from now on.
func (t *timeline) date(at time.Duration) time.Time { return t.zero.Add(at) }

// mark ties a track's own time to a clock that all tracks of a Source share:
// the sender's, if every track has a sender report (specs R1), else ours
// (specs R3).
type mark struct {
	ticks int64         // of the track's clock, unwrapped
	rate  int64         // of these ticks
	at    time.Duration // on the shared clock
}

// align returns what to add to a track's ticks so that it plays in time with a
// leading track to whose ticks offset is added.
func align(lead mark, offset int64, other mark) int64 {
	at := fromTicks(lead.ticks+offset, lead.rate) + other.at - lead.at
	return toTicks(at, other.rate) - other.ticks
}

// lagWindow is how long arrivals remembers, at least: as long again at most. What
// clocks drift apart meanwhile is nothing, and in most networks some packet is not
// delayed.
const lagWindow = 30 * time.Second

// arrivals finds the packet of a track that was lately delayed least: where its
// media time stands on our clock.
type arrivals struct {
	known  bool
	zero   time.Time
	best   mark // of the present window
	older  mark // of the one before, if there was one
	begun  time.Duration
	rounds int
}

// add takes the arrival of a unit.
func (a *arrivals) add(ticks, rate int64, arrival time.Time) {
	if !a.known {
		a.zero = arrival
	}
	m := mark{ticks: ticks, rate: rate, at: arrival.Sub(a.zero)}
	if a.known && m.at-a.begun >= lagWindow {
		a.older, a.best, a.begun = a.best, m, m.at
		a.rounds++
	}
	if !a.known || m.before(a.best) {
		a.best = m
	}
	a.known = true
}

// settled reports whether a whole window has passed.
func (a *arrivals) settled() bool { return a.rounds > 0 }

// since returns the mark on a clock whose zero is the given instant.
func (a *arrivals) since(zero time.Time) mark {
	m := a.best
	if a.settled() && a.older.before(m) {
		m = a.older
	}
	m.at += a.zero.Sub(zero)
	return m
}

// before reports whether the media of m was less delayed than that of o, which is
// on the same clock.
func (m mark) before(o mark) bool { return m.at-fromTicks(m.ticks-o.ticks, m.rate) < o.at }
