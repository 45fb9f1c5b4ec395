package packager

import "time"

// verb says what a step does to the leading rendition.
type verb uint8

const (
	keep         verb = iota + 1 // the waiting frame joins the open part and lasts so many ticks
	stretch                      // the last frame of the open part lasts so many ticks longer
	extend                       // that frame lasts so many ticks beyond its part: parts without media follow
	closePart                    // the open part is complete
	skip                         // a part without media of so many ticks, GAP=YES (specs L108)
	show                         // a part of so many ticks without frames: the last key frame stands still
	closeSegment                 // the open segment is complete; its last part was closed before
	openEmpty                    // a segment begins that has no frames, or none yet
)

// step is one thing to do. Steps are done in order.
type step struct {
	verb  verb
	ticks int64 // with keep, stretch, extend and skip; with openEmpty the start
	cut   *cut  // with openEmpty, of a segmenter that follows
}

// limits are the durations that a segmenter keeps to, in ticks of the leading
// rendition's timescale. They are constant for the life of a presentation.
type limits struct {
	part  int64 // PART-TARGET: no part is longer (specs L43)
	floor int64 // 85 % of it: no part is shorter, but for the exceptions of specs L44
	least int64 // a key frame closes a segment that is as long as this (specs R37)
	want  int64 // how long segments should be
	stop  int64 // TARGETDURATION: a segment for which nothing comes ends here
	limit int64 // a segment for which no key frame comes ends before this (specs L15)
	brief int64 // no frame is shorter
	grain int64 // no part without media is shorter
	usual int64 // how long a frame is before there were two
}

// slack is how much shorter than TARGETDURATION+0.5 s the longest segment is.
// The audio's segment ends with a whole frame, of 120 ms at most, and must round
// to TARGETDURATION too (specs L15, L94).
const slack = 130 * time.Millisecond

// newLimits returns the limits for a timescale. least is how long a segment is
// before a key frame may close it.
func newLimits(timescale int64, least, segment, part, target time.Duration) limits {
	ticks := func(d time.Duration) int64 { return toTicks(d, timescale) }
	return limits{
		part:  ticks(part),
		floor: (ticks(part)*85+99)/100 + timescale/50000, // printed with five decimals
		least: ticks(least),
		want:  ticks(segment),
		stop:  ticks(target),
		limit: ticks(target + time.Second/2 - slack),
		brief: 1,
		grain: timescale / 1000,
		usual: timescale / 30,
	}
}

// frame is what a segmenter must know of an access unit.
type frame struct {
	at    int64 // start, in ticks
	key   bool
	fresh bool // begins with new parameters: a segment must begin with it
	lone  bool // another layer has no key frame at this instant (specs R41)
}

// segmenter decides where the parts and segments of a rendition end; those of
// the leading one are everybody's, see led.go for the others. It is pure: it
// knows times and key frames; no bytes, no clock.
//
//	frame ──▶ add ──▶ steps that concern the frame before, which waited
//
// A frame's duration is known only when the next one is there (specs R14), so
// one frame always waits. Frames may start a little beside their true time so
// that parts have legal lengths; the sum of all durations never drifts. Time
// without frames is covered by segments without frames (specs L27, R28).
type segmenter struct {
	limits

	open      bool  // a segment is open
	dry       bool  // it takes no frames: it had no key frame to begin with
	lapsed    bool  // none is open, and the time since end must be covered
	hurry     bool  // a layer waits for the next segment: any common key frame will do
	segmentAt int64 // its start
	partAt    int64 // start of the open part
	end       int64 // of what is in the open part; where the waiting frame starts
	free      bool  // the open part has a key frame: it may be short (specs L44)

	waiting bool // a frame waits for its duration
	key     bool // it is a key frame

	last  int64 // duration of the last frame: the prediction for the next one
	keyed bool  // there was a key frame
	keyAt int64 // start of the newest one
	gop   int64 // distance of the two newest ones; 0 before there were two

	// Of one that leads after another did: the others have media up to here, so that
	// no boundary may come before.
	told int64

	// Of one that follows:
	cuts   []*cut // boundaries that are given and not yet passed
	begun  *cut   // the newest one that began a segment
	misses int    // how many of them in a row passed without a key frame
}

// add takes the next frame, appends the steps for what came before it, and
// reports whether it was accepted: only a key frame begins a segment.
func (s *segmenter) add(f frame, out []step) ([]step, bool) {
	if s.open && !s.dry {
		out = s.reach(f, out)
	}
	if !s.open || s.dry {
		if !f.key {
			return out, false
		}
		out = s.resume(f.at, out)
	}
	s.note(f)
	s.waiting, s.key = true, f.key
	return out, true
}

// note remembers the distance of key frames.
func (s *segmenter) note(f frame) {
	if !f.key {
		return
	}
	if s.keyed && f.at > s.keyAt {
		s.gop = f.at - s.keyAt
	}
	s.keyed, s.keyAt = true, f.at
}

func (s *segmenter) begin(at int64) {
	s.open, s.dry, s.lapsed, s.hurry = true, false, false, false
	s.segmentAt, s.partAt, s.end, s.free = at, at, at, false
}

// resume begins a segment with a key frame after there was none.
func (s *segmenter) resume(at int64, out []step) []step {
	if s.dry || s.lapsed {
		s.keyed = false // the pause is no distance of key frames
		out = s.cover(at, out)
		if at-s.end < s.grain { // what is left is not worth a part
			at = s.end
		}
	}
	s.begin(max(at, s.end)) // parts that were skipped may reach beyond
	return out
}

// cover fills the time until the given tick with segments that have no frames.
func (s *segmenter) cover(until int64, out []step) []step {
	for until-s.end >= s.grain {
		out = s.skipSome(min(until-s.end, s.part), out)
	}
	if s.dry {
		out = s.closeAll(out)
		s.open, s.dry, s.lapsed = false, false, true
	}
	return out
}

// skipSome adds a part of at most so many ticks to a segment without frames; that
// ends at TARGETDURATION.
func (s *segmenter) skipSome(ticks int64, out []step) []step {
	if !s.open {
		s.begin(s.end)
		s.dry = true
		out = append(out, step{verb: openEmpty, ticks: s.end})
	}
	ticks = min(ticks, s.segmentAt+s.stop-s.end)
	out = append(out, step{verb: show, ticks: ticks})
	s.end += ticks
	s.partAt = s.end
	if s.end-s.segmentAt >= s.stop {
		out = s.closeAll(out)
		s.open, s.dry, s.lapsed = false, false, true
	}
	return out
}

// reach brings the open segment up to the start of f, and closes it if f begins
// the next one.
func (s *segmenter) reach(f frame, out []step) []step {
	if max(f.at, s.end)-s.segmentAt >= s.limit {
		return s.abandon(f.at, out)
	}
	closing := f.fresh || f.key && f.at >= s.told && s.due(f)
	if s.waiting {
		out = s.settle(max(f.at-s.end, s.brief), out)
	} else {
		out = s.hole(f.at, out)
	}
	if closing {
		out = s.closeAll(out)
		s.begin(s.end)
	}
	return out
}

// due reports whether this key frame closes the segment: it is long enough and
// all layers have one (specs R41), or the next one would come too late (specs
// R37).
func (s *segmenter) due(f frame) bool {
	length := f.at - s.segmentAt
	if s.keyed && length+max(s.gop, f.at-s.keyAt) >= s.limit {
		return true
	}
	return !f.lone && (s.hurry || length >= s.least)
}

// abandon ends a segment for which no key frame came. The waiting frame lasts
// until the given time at most.
func (s *segmenter) abandon(until int64, out []step) []step {
	if s.waiting {
		if d := min(until, s.segmentAt+s.limit) - s.end; d >= s.brief {
			out = s.settle(d, out)
		}
	}
	out = s.closeAll(out)
	s.open, s.waiting, s.lapsed = false, false, true
	return out
}

// settle gives the waiting frame its duration d and closes the part if the next
// frame would make it too long.
func (s *segmenter) settle(d int64, out []step) []step {
	s.last = d
	length := s.end - s.partAt // of the part without the waiting frame
	if length > 0 && length+d > s.part {
		late, early := s.floor-length, length+d-s.part
		switch {
		case late <= 0 || s.free:
			out = s.endPart(out)
		case d > s.part: // no part can hold it: see below
		case early < late:
			// The part is full; the next frame will start a little early.
			return s.endPart(s.keepWaiting(d-early, out))
		default:
			// The part is made long enough; the waiting frame starts a little late.
			out = append(out, step{verb: stretch, ticks: late})
			s.end += late
			d -= late
			out = s.endPart(out)
		}
	}
	if room := s.partAt + s.part - s.end; d > room {
		until := s.end + d
		out = s.keepWaiting(room, out)
		if rest := s.uncovered(until - s.end); rest > 0 {
			out = append(out, step{verb: extend, ticks: rest})
		}
		return s.hole(until, s.endPart(out))
	}
	out = s.keepWaiting(d, out)
	length = s.end - s.partAt
	if length+d > s.part && (length >= s.floor || s.free) {
		out = s.endPart(out)
	}
	return out
}

// keepWaiting moves the waiting frame into the open part.
func (s *segmenter) keepWaiting(d int64, out []step) []step {
	s.end += d
	s.free = s.free || s.key
	s.waiting = false
	return append(out, step{verb: keep, ticks: d})
}

// endPart closes the open part if there is anything in it.
func (s *segmenter) endPart(out []step) []step {
	if s.end > s.partAt {
		out = append(out, step{verb: closePart})
	}
	s.partAt, s.free = s.end, false
	return out
}

// hole covers the time until the given tick with parts that have no media: the
// frame before lasts longer than a part may (specs L108). A rest that is too
// short to matter is left: the next frame starts a little early.
func (s *segmenter) hole(until int64, out []step) []step {
	for until-s.end > s.part-s.floor {
		d := min(until-s.end, s.part)
		out = append(out, step{verb: skip, ticks: d})
		s.end += d
		s.partAt = s.end
	}
	return out
}

// uncovered returns how much of so many ticks hole covers.
func (s *segmenter) uncovered(ticks int64) int64 {
	if rest := ticks % s.part; rest <= s.part-s.floor {
		return ticks - rest
	}
	return ticks
}

// idle is told that no frame starts before the given tick. It ends the open part
// at PART-TARGET, skips further parts, and ends the segment before it is longer
// than TARGETDURATION; segments without frames follow (specs R31, L38).
func (s *segmenter) idle(now int64, out []step) []step {
	for s.open && !s.dry && now-s.partAt >= s.part {
		full := s.partAt + s.part
		switch {
		case full-s.segmentAt > s.stop:
			out = s.abandon(s.end+s.expected(), out)
		case s.waiting:
			out = s.endPart(s.keepWaiting(full-s.end, out))
		default:
			out = s.hole(full, out)
		}
	}
	for (s.dry || s.lapsed) && now-s.end >= s.part {
		out = s.skipSome(s.part, out)
	}
	return out
}

// close ends the leading rendition's Epoch, whose media ends at the given tick in
// some layer: a segment without media lasts until then.
func (s *segmenter) close(until int64, out []step) []step {
	if s.dry {
		out = s.cover(max(until, s.segmentAt+s.grain), out)
	}
	return s.finish(out)
}

// finish closes everything: the Epoch ends. The waiting frame lasts as long as
// the one before it.
func (s *segmenter) finish(out []step) []step {
	if s.open {
		if s.waiting {
			out = s.settle(max(min(s.expected(), s.segmentAt+s.limit-s.end), s.brief), out)
		}
		out = s.closeAll(out)
	}
	*s = segmenter{limits: s.limits, cuts: s.cuts[:0]}
	return out
}

// expected is the predicted duration of the waiting frame.
func (s *segmenter) expected() int64 {
	if s.last == 0 {
		return s.usual
	}
	return min(s.last, s.part)
}

func (s *segmenter) closeAll(out []step) []step {
	out = s.blank(s.told, s.grain, out)
	return append(s.endPart(out), step{verb: closeSegment})
}

// wants reports whether a key frame should be asked for at this time so that
// it arrives when the segment is due: lead is how long it takes.
func (s *segmenter) wants(at, lead int64) bool {
	return !s.open || at-s.segmentAt >= s.want-lead
}

// toTicks converts a duration to ticks of a timescale.
func toTicks(d time.Duration, timescale int64) int64 {
	second := int64(time.Second)
	return int64(d)/second*timescale + int64(d)%second*timescale/second
}

// fromTicks converts ticks of a timescale to a duration.
func fromTicks(ticks, timescale int64) time.Duration {
	second := int64(time.Second)
	return time.Duration(ticks/timescale*second + ticks%timescale*second/timescale)
}
