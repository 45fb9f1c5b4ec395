package hls

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// After a restart the plain playlist goes on with the segments of before, the one
// with parts begins with the segment that opens: each is, at all times, what a
// playlist is that knows of no other (specs S17, L18, L19, L35, L41).
func TestPriorSegmentsAreInPlainOnly(t *testing.T) {
	breaks, gone, deltas := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{Target: 2 * time.Second, Part: time.Second, Window: time.Duration(rapid.IntRange(6, 60).Draw(t, "window")) * time.Second, Skip: true}
		ok := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		at, counter := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), 0
		// segment adds one to all, and returns what they removed.
		segment := func(all ...*Media) []Removed {
			parts := rapid.IntRange(1, 2).Draw(t, "parts")
			if rapid.IntRange(0, 5).Draw(t, "break") == 0 {
				for _, m := range all {
					m.Discontinuity()
					ok(m.SetInit(fmt.Sprintf("init-%d.mp4", counter%3)))
				}
				breaks++
			}
			for _, m := range all {
				m.SetTime(at)
				for p := range parts {
					ok(m.AddPart(Part{URI: fmt.Sprintf("p%d-%d.m4s", counter, p), Duration: time.Second, Independent: p == 0}))
				}
			}
			if len(all) == 3 { // with the open segment, too
				want, _, _ := all[2].LowLatency()
				full, _, _ := all[0].LowLatency()
				same(t, "low latency with an open segment", want, full)
			}
			removed := make([]Removed, len(all))
			for i, m := range all {
				var err error
				removed[i], err = m.CloseSegment(Segment{URI: fmt.Sprintf("s%d.m4s", counter), Duration: time.Duration(parts) * time.Second})
				ok(err)
			}
			counter++
			at = at.Add(time.Duration(parts) * time.Second)
			return removed
		}
		first := NewMedia(cfg)
		ok(first.SetInit("init-0.mp4"))
		for range rapid.IntRange(0, 40).Draw(t, "before") {
			segment(first)
		}
		state := first.State()
		state.Prior = len(state.Segments)
		resumed, err := Restore(cfg, state)
		ok(err)
		state.Prior = 0
		whole, err := Restore(cfg, state)
		ok(err)
		bare := State{Target: state.Target, Part: state.Part, First: state.Next, Next: state.Next, Discontinuities: state.Discontinuities}
		for _, s := range state.Segments {
			if s.Discontinuity {
				bare.Discontinuities++
			}
		}
		fresh, err := Restore(cfg, bare)
		ok(err)
		broken := rapid.Bool().Draw(t, "broken")
		for _, m := range []*Media{resumed, whole, fresh} {
			if broken {
				m.Discontinuity()
				ok(m.SetInit("init-0.mp4"))
			} else {
				ok(m.SetInit(first.nextInit))
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "after") {
			removed := segment(resumed, whole, fresh)
			if diff := cmp.Diff(removed[1].Segments, removed[0].Segments); diff != "" {
				t.Fatalf("L40: other segments leave (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(removed[1].Inits, removed[0].Inits); diff != "" {
				t.Fatalf("L22: other initialization segments leave (-want +got):\n%s", diff)
			}
			gone += len(removed[0].Segments)
			same(t, "plain", whole.Plain(), resumed.Plain())
			full, delta, dates := resumed.LowLatency()
			wantFull, wantDelta, wantDates := fresh.LowLatency()
			same(t, "low latency", wantFull, full)
			same(t, "delta", wantDelta, delta)
			same(t, "delta of dates", wantDates, dates)
			if delta != nil {
				deltas++
			}
			again := resumed.State()
			again.Prior = 0
			if diff := cmp.Diff(whole.State(), again); diff != "" {
				t.Fatalf("state (-want +got):\n%s", diff)
			}
		}
	})
	if breaks < 50 || gone < 50 || deltas < 50 {
		t.Errorf("%d discontinuities, %d segments that left and %d delta updates were tried", breaks, gone, deltas)
	}
}

func same(t *rapid.T, kind string, want, got [][]byte) {
	if diff := cmp.Diff(string(bytes.Join(want, nil)), string(bytes.Join(got, nil))); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", kind, diff)
	}
}
