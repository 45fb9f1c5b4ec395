package packager

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// audit keeps the books of what a segmenter says and checks every rule.
type audit struct {
	l        limits
	parts    []int64
	shorts   []bool // parts under the floor that have no exemption of their own
	open     int64  // ticks of the open part
	key      bool   // it has a key frame
	segment  int64
	segments []int64
	total    int64
	next     bool // the key flag of the waiting frame
	frames   int
}

func (a *audit) apply(t interface{ Fatalf(string, ...any) }, steps []step) {
	for _, s := range steps {
		switch s.verb {
		case keep:
			if s.ticks <= 0 {
				t.Fatalf("a frame lasts %d ticks, want more than 0", s.ticks)
			}
			a.open += s.ticks
			a.key = a.key || a.next
			a.frames++
		case stretch:
			if a.open == 0 || s.ticks <= 0 {
				t.Fatalf("stretch by %d in a part of %d ticks", s.ticks, a.open)
			}
			a.open += s.ticks
		case closePart:
			a.part(t, a.open, a.key)
			a.open, a.key = 0, false
		case skip, show:
			if a.open != 0 {
				t.Fatalf("a skipped part inside an open one")
			}
			if n := len(a.shorts); n > 0 {
				a.shorts[n-1] = false // specs L44: the next part is a gap
			}
			a.part(t, s.ticks, true)
		case closeSegment:
			if a.open != 0 {
				t.Fatalf("segment closed with an open part")
			}
			if n := len(a.shorts); n > 0 {
				a.shorts[n-1] = false // specs L44: the last part of its parent
			}
			for i, short := range a.shorts {
				if short {
					t.Fatalf("specs L44: part %d of %v is shorter than %d", i, a.parts, a.l.floor)
				}
			}
			// specs L15: rounded to the nearest second, not above TARGETDURATION.
			if a.segment >= a.l.stop+45000 {
				t.Fatalf("specs L15: segment of %d ticks, TARGETDURATION is %d", a.segment, a.l.stop)
			}
			a.segments = append(a.segments, a.segment)
			a.segment, a.parts, a.shorts = 0, nil, nil
		}
	}
}

func (a *audit) part(t interface{ Fatalf(string, ...any) }, ticks int64, free bool) {
	if ticks > a.l.part {
		t.Fatalf("specs L43: part of %d ticks, PART-TARGET is %d", ticks, a.l.part)
	}
	a.parts = append(a.parts, ticks)
	a.shorts = append(a.shorts, ticks < a.l.floor && !free)
	a.segment += ticks
	a.total += ticks
}

// TestPartRulesAlwaysHold feeds random frame rates, key frames, stalls and
// changes of parameters (specs L15, L43, L44, R31; VFR of R14).
func TestPartRulesAlwaysHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := time.Duration(rapid.IntRange(200, 1000).Draw(t, "part")) * time.Millisecond
		target := time.Duration(rapid.IntRange(1, 8).Draw(t, "target")) * time.Second
		l := newLimits(90000, target*8/10, target, part, target)
		s := segmenter{limits: l}
		a := &audit{l: l}
		at := int64(rapid.IntRange(0, 1<<40).Draw(t, "base"))
		slowest := rapid.SampledFrom([]int{3000, 9000, 18000, 90000, 200000}).Draw(t, "slowest")
		gop := rapid.IntRange(1, 300).Draw(t, "gop")
		begun, begin := false, at
		var steps []step
		for i := range rapid.IntRange(1, 150).Draw(t, "frames") {
			f := frame{at: at, key: i%gop == 0}
			f.fresh = f.key && rapid.IntRange(0, 9).Draw(t, "fresh") == 0
			if rapid.IntRange(0, 30).Draw(t, "stall") == 0 {
				now := s.end + int64(rapid.IntRange(0, 400000).Draw(t, "idle"))
				steps = s.idle(now, steps[:0])
				a.apply(t, steps)
				at = max(at, now-45000) // the watchdog may have been too quick
				f.at = at
			}
			var ok bool
			steps, ok = s.add(f, steps[:0])
			a.apply(t, steps)
			if ok {
				if !begun {
					begin, begun = s.segmentAt, true
				}
				a.next = f.key
				// Nothing drifts: what was given out ends where the next frame
				// starts, and that is close to its true start.
				if got := begin + a.total + a.open; got != s.end {
					t.Fatalf("durations add up to %d, the next frame starts at %d", got, s.end)
				}
				if s.end < f.at-l.part/2 {
					t.Fatalf("frame of %d starts at %d: more than half a part early", f.at, s.end)
				}
			}
			at += int64(rapid.IntRange(1500, slowest).Draw(t, "duration"))
		}
		a.apply(t, s.finish(nil))
	})
}

// TestRetimingIsBounded says by how much a frame may start beside its time.
func TestRetimingIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLimits(90000, 1600*time.Millisecond, 2*time.Second, 500*time.Millisecond, 2*time.Second)
		s := segmenter{limits: l}
		at := int64(0)
		longest := int64(rapid.IntRange(1500, int(l.part)).Draw(t, "longest"))
		var steps []step
		for i := range 120 {
			var ok bool
			steps, ok = s.add(frame{at: at, key: i%7 == 0}, steps[:0])
			if off := at - s.end; ok && (off > max(longest, l.part*15/100) || -off > longest) {
				t.Fatalf("frame %d of at most %d ticks starts %d ticks early", i, longest, off)
			}
			at += int64(rapid.IntRange(1500, int(longest)).Draw(t, "duration"))
		}
	})
}

func (v verb) String() string {
	names := map[verb]string{
		keep: "keep", stretch: "stretch", extend: "extend", closePart: "part", skip: "gap", closeSegment: "segment", openEmpty: "empty",
	}
	return names[v]
}

func (s step) String() string {
	if s.ticks == 0 {
		return s.verb.String()
	}
	return fmt.Sprintf("%s %dms", s.verb, s.ticks/90)
}
