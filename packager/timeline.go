package packager

import "time"

// timeline is the presentation's time: the time since its first sample arrived.
// Program date-time is the same thing on another scale, so it is constant for
// every media time, never steps with the wall clock and never goes back
// (specs R7, L26). It is pure.
type timeline struct {
	zero time.Time     // arrival of the first sample: presentation time 0
	end  time.Duration // of all media that was published
}

// begin returns the presentation time at which an Epoch starts whose first
// sample arrived at the given instant: now, but not before the end of what was
// published. It is a whole millisecond, which is exact in every timescale.
func (t *timeline) begin(arrival time.Time) time.Duration {
	if t.zero.IsZero() {
		t.zero = arrival
	}
	at := max(t.end, arrival.Sub(t.zero), 0)
	return (at + time.Millisecond - 1).Truncate(time.Millisecond)
}

// reach notes that media was published up to this presentation time.
func (t *timeline) reach(at time.Duration) { t.end = max(t.end, at) }

// date returns the program date-time of a presentation time.
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

// arrivals finds the packet of a track that was delayed least: where its media
// time stands on our clock.
type arrivals struct {
	known bool
	best  mark
	zero  time.Time
}

// add takes the arrival of a unit.
func (a *arrivals) add(ticks, rate int64, arrival time.Time) {
	if !a.known {
		a.zero = arrival
	}
	m := mark{ticks: ticks, rate: rate, at: arrival.Sub(a.zero)}
	if !a.known || m.at-fromTicks(m.ticks-a.best.ticks, rate) < a.best.at {
		a.best = m
	}
	a.known = true
}

// since returns the mark on a clock whose zero is the given instant.
func (a *arrivals) since(zero time.Time) mark {
	m := a.best
	m.at += a.zero.Sub(zero)
	return m
}
