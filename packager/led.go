package packager

import "time"

// cut is where a segment of the leading rendition begins or ends: all others do
// the same. They share it, so that one of them may ask for a discontinuity as long
// as no playlist has shown the segment.
type cut struct {
	at     int64 // ticks of the leading rendition
	begins bool
	breaks bool      // a discontinuity comes before the segment (specs L24)
	sealed bool      // a playlist shows the segment
	zero   time.Time // program date-time of presentation time 0, in the segment (specs L25, R8)
}

// date returns the program date-time of an instant of the segment.
func (c *cut) date(ticks, rate int64) time.Time { return c.zero.Add(fromTicks(ticks, rate)) }

const (
	// pairTicks is how far apart key frames of two layers may be that begin the
	// same segment: browsers answer requests for several layers now and then one
	// picture apart. It is shown that much too early or too late.
	pairTicks = videoRate / 10
	// stray is how far apart frames of the same instant are at most (specs R41).
	stray = videoRate / 60
)

// follow takes the next frame of a rendition that does not lead, the leading
// one being as far as this frame. A segment begins with a key frame at the given
// boundary, or it stays without media (specs R41). within is how far from its
// instant a frame may be.
func (s *segmenter) follow(f frame, within int64, out []step) ([]step, bool) {
	s.note(f)
	for len(s.cuts) > 0 && f.at >= s.cuts[0].at-within {
		out = s.turn(out)
	}
	if c := s.begun; s.dry && s.end == s.segmentAt && f.key && abs(f.at-c.at) <= pairTicks && c.permits(f.fresh) {
		s.dry, s.misses = false, 0
		s.waiting, s.key = true, true
		return out, true
	}
	if !s.open || s.dry {
		return out, false
	}
	if s.waiting {
		out = s.settle(max(f.at-s.end, s.brief), out)
	} else {
		out = s.hole(f.at, out)
	}
	s.waiting, s.key = true, f.key
	return out, true
}

// permits reports whether a rendition may begin here with new parameters: that is
// a discontinuity in all of them.
func (c *cut) permits(fresh bool) bool { //nolint:revive // a fact, not a mode
	if fresh && !c.breaks {
		if c.sealed {
			return false
		}
		c.breaks = true
	}
	return true
}

// turn passes the next given boundary.
func (s *segmenter) turn(out []step) []step {
	c := s.cuts[0]
	s.cuts = append(s.cuts[:0], s.cuts[1:]...)
	at := c.at
	if s.open {
		if s.carries(c) {
			return s.carry(c, out)
		}
		least := s.grain
		if s.waiting { // a rest is what settle moved
			out = s.settle(max(c.at-s.end, s.brief), out)
			least = s.part - s.floor
		}
		out = s.blank(c.at, least, out)
		out = s.closeAll(out)
		s.open, s.dry = false, false
	}
	if d := at - s.end; d < s.part-s.floor && -d < s.part-s.floor {
		at = s.end // it goes on where it ended, a little beside
	}
	if c.begins {
		s.begin(at)
		s.dry, s.begun = true, c
		s.misses++
		out = append(out, step{verb: openEmpty, ticks: at, cut: c})
	}
	return out
}

// carries reports whether the waiting frame is a key frame that came a picture too
// early and can begin the next segment.
func (s *segmenter) carries(c *cut) bool {
	return s.waiting && s.key && !c.begins && len(s.cuts) > 0 && s.cuts[0].begins && s.cuts[0].at == c.at &&
		c.at-s.end <= pairTicks && s.end > s.partAt && c.at-s.partAt <= s.part
}

// carry ends a segment before the waiting frame, and begins the next one with it.
func (s *segmenter) carry(c *cut, out []step) []step {
	if d := c.at - s.end; d > 0 {
		out = append(out, step{verb: stretch, ticks: d})
		s.end += d
	}
	out = s.closeAll(out)
	begun := s.cuts[0]
	s.cuts = append(s.cuts[:0], s.cuts[1:]...)
	s.begin(s.end)
	s.begun, s.misses = begun, 0
	return append(out, step{verb: openEmpty, ticks: s.end, cut: begun})
}

// blank covers the rest of a segment with parts without frames, unless it is
// shorter than least.
func (s *segmenter) blank(until, least int64, out []step) []step {
	verb := skip
	if s.dry {
		verb = show
	}
	for until-s.end >= least {
		d := min(until-s.end, s.part)
		out = append(s.endPart(out), step{verb: verb, ticks: d})
		s.end += d
		s.partAt = s.end
	}
	return out
}

// lag is told that the leading rendition has media up to now, and that no frame
// of this one starts before the given tick any more: what is missing is covered.
func (s *segmenter) lag(now int64, out []step) []step {
	for {
		if len(s.cuts) > 0 && s.cuts[0].at <= now {
			out = s.turn(out)
			continue
		}
		if !s.open || now-s.partAt < s.part {
			return out
		}
		full := s.partAt + s.part
		if s.waiting {
			out = s.endPart(s.keepWaiting(full-s.end, out))
			continue
		}
		out = s.blank(full, s.grain, out)
	}
}

func abs(ticks int64) int64 { return max(ticks, -ticks) }

// conclude passes all boundaries that are left: the Epoch ends.
func (s *segmenter) conclude(out []step) []step {
	for len(s.cuts) > 0 {
		out = s.turn(out)
	}
	return s.finish(out)
}

// tolerance is how far a frame may be from the instant it stands for.
func (s *segmenter) tolerance() int64 {
	if s.last > 0 {
		return min(s.last/2, stray)
	}
	return stray
}

// leadPatience is for how long the leading layer's next frame may be missing while
// others go on.
const leadPatience = 400 * time.Millisecond
