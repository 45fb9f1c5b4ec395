package packager

import "time"

// Limits of a soundtrack, in samples at 48 kHz.
const (
	opusRate = 48000
	// grainTicks is the shortest Opus frame: holes are filled in steps of it.
	grainTicks = opusRate / 400
	// usualTicks is how long frames are that nothing else asks for.
	usualTicks = opusRate / 50
	// slewTicks is by how much a frame may be lengthened or shortened to correct
	// the offset to the video (specs R3).
	slewTicks = opusRate * 5 / 1000
	// stepTicks is beyond which silence is inserted or frames are dropped instead.
	stepTicks = opusRate / 10
	// ignoreTicks is how much an offset may be off: sender reports jitter.
	ignoreTicks = opusRate * 5 / 1000
	// fillTicks is the longest hole that is filled with silence. The segment of a
	// longer one was closed long ago, and a discontinuity follows.
	fillTicks = opusRate * 10
)

// sound is one audio frame on the presentation's timeline, in 48 kHz samples.
type sound struct {
	at, ticks int64
	data      []byte
	made      bool // silence: there was nothing
}

// soundtrack makes audio contiguous: every frame starts where the one before it
// ended, whatever the source does (specs R47, R48). Holes up to 10 s are filled
// with silence; only longer ones, and skip, leave a hole. It is pure.
//
// The offset between the source's clock and the timeline is corrected by slewing
// up to 100 ms, 5 ms a frame, and by a step of silence or dropped frames beyond.
type soundtrack struct {
	cursor int64 // end of what was placed
	offset int64 // added to the source's times
	target int64 // what offset should be
	late   uint64
	silent uint64 // frames of silence that were inserted
	// still is the frame of silence where the audio is not Opus; ticks of zero: it is.
	still sound
}

// begin starts an Epoch at the given time.
func (s *soundtrack) begin(at, offset int64) {
	s.cursor, s.offset, s.target = at, offset, offset
}

// skip leaves out the time up to at: a discontinuity is there.
func (s *soundtrack) skip(at int64) { s.cursor = max(s.cursor, at) }

// aim sets the right offset, learned from sender reports.
func (s *soundtrack) aim(target int64) {
	if d := target - s.target; d > ignoreTicks || d < -ignoreTicks {
		s.target = target
	}
}

// add places a frame of the source, with the silence before it, and appends
// both to out. A frame whose time has passed is dropped and counted.
func (s *soundtrack) add(pts, ticks int64, data []byte, out []sound) []sound {
	if e := s.target - s.offset; e > stepTicks || e < -stepTicks {
		s.offset = s.target
	}
	gap := pts + s.offset - s.cursor
	if gap < -ticks/2 {
		s.late++
		return out
	}
	if gap > fillTicks {
		s.cursor += gap
		gap = 0
	}
	if gap >= s.grain() {
		out = s.fill(s.cursor+gap, out)
	}
	// The rest, less than half a frame, is slewed away.
	s.offset = s.cursor - pts
	most := min(slewTicks, ticks/2)
	slew := max(min(s.target-s.offset, most), -most)
	s.offset += slew
	out = append(out, sound{at: s.cursor, ticks: ticks + slew, data: data})
	s.cursor += ticks + slew
	return out
}

// grain is the shortest frame of silence.
func (s *soundtrack) grain() int64 {
	if s.still.ticks > 0 {
		return s.still.ticks
	}
	return grainTicks
}

// fill places silence until less than the shortest frame is missing.
func (s *soundtrack) fill(until int64, out []sound) []sound {
	for n := until - s.cursor; n >= s.grain(); n = until - s.cursor {
		frame := s.still
		if frame.ticks == 0 {
			frame = silence(n)
		}
		frame.at = s.cursor
		out = append(out, frame)
		s.cursor += frame.ticks
		s.silent++
	}
	return out
}

// silence returns the longest silent Opus frame that fits in n samples: a CELT
// fullband stereo frame of 20, 10, 5 or 2.5 ms without coded content (RFC 6716
// §3.1, specs R47).
func silence(n int64) sound {
	const celtFullband, stereo = 28, 4
	config, ticks := byte(celtFullband), int64(grainTicks)
	for config < celtFullband+3 && 2*ticks <= n {
		config++
		ticks *= 2
	}
	return sound{ticks: ticks, data: []byte{config<<3 | stereo, 0xff, 0xfe}, made: true}
}

// behind reports whether the soundtrack ends so long before the given time that
// it should be filled.
func (s *soundtrack) behind(now int64, most time.Duration) bool {
	return now-s.cursor > toTicks(most, opusRate)
}
