package hls

import (
	"fmt"
	"testing"
	"time"

	"github.com/whipcast/whipcast/storage"
)

// The two rules, beside a model that has the list of all parts.
func TestReadyAgreesWithAListOfParts(t *testing.T) {
	type place struct{ msn, part uint64 }
	closed := []int{3, 1, 4, 2, 3} // parts of segments 0 … 4
	for open := range len(closed) {
		for parts := 0; parts <= closed[open]; parts++ {
			p := storage.Position{MSN: uint64(open), Parts: parts, Part: time.Second}
			var listed []place
			for msn := range open {
				for part := range closed[msn] {
					listed = append(listed, place{uint64(msn), uint64(part)})
				}
			}
			if open > 0 {
				p.LastParts = closed[open-1]
			}
			for part := range parts {
				listed = append(listed, place{uint64(open), uint64(part)})
			}
			for msn := range uint64(len(closed) + 2) {
				if got, want := readySegment(p, msn), msn < uint64(open); got != want {
					t.Errorf("L60: %+v, msn %d: %t", p, msn, got)
				}
				for part := range uint64(8) {
					from := place{msn, part}
					if msn < uint64(open) && part >= uint64(closed[msn]) {
						from = place{msn + 1, 0} // specs L61
					}
					want := false
					for _, l := range listed {
						want = want || l.msn > from.msn || l.msn == from.msn && l.part >= from.part
					}
					if got := readyPart(p, msn, part); got != want {
						t.Errorf("L60, L61: %+v, msn %d, part %d: %t, want %t", p, msn, part, got, want)
					}
				}
			}
		}
	}
}

func TestAnEndedPlaylistIsReadyForEverything(t *testing.T) {
	p := storage.Position{MSN: 3, Ended: true}
	if !readySegment(p, 1<<64-1) || !readyPart(p, 1<<64-1, 1<<64-1) {
		t.Error("L63: held after ENDLIST")
	}
	if (directives{hasMSN: true, msn: 1<<64 - 1}).tooFar(p) {
		t.Error("L63: refused after ENDLIST")
	}
}

func TestTooFar(t *testing.T) {
	second, short := time.Second, 200*time.Millisecond // limits of 3 and 15 parts
	for _, test := range []struct {
		p         storage.Position
		msn, part int // part -1: none
		want      bool
	}{
		{storage.Position{MSN: 10, Parts: 2, Part: second}, 10, -1, false},
		{storage.Position{MSN: 10, Parts: 2, Part: second}, 11, -1, false}, // last complete 9, plus two
		{storage.Position{MSN: 10, Parts: 2, Part: second}, 12, -1, true},
		{storage.Position{MSN: 10, Parts: 2, Part: second}, 12, 0, true},
		{storage.Position{MSN: 0, Parts: 0, Part: second}, 1, -1, false},
		{storage.Position{MSN: 0, Parts: 0, Part: second}, 2, -1, true},
		{storage.Position{MSN: 10, Parts: 2, Part: second}, 10, 4, false}, // last is 1, plus three
		{storage.Position{MSN: 10, Parts: 2, Part: second}, 10, 5, true},
		{storage.Position{MSN: 10, Parts: 0, Part: second}, 10, 2, false},
		{storage.Position{MSN: 10, Parts: 0, Part: second}, 10, 3, true},
		{storage.Position{MSN: 10, Parts: 2, Part: short}, 10, 16, false},
		{storage.Position{MSN: 10, Parts: 2, Part: short}, 10, 17, true},
		{storage.Position{MSN: 10, Parts: 2, Part: second}, 11, 2, false},
		{storage.Position{MSN: 10, Parts: 2, Part: second}, 11, 3, true},
		{storage.Position{MSN: 10, Parts: 2, LastParts: 4, Part: second}, 9, 1_000_000, false}, // specs L61
		{storage.Position{MSN: 10, Parts: 2, Part: second}, 1, 1_000_000, false},
		{storage.Position{MSN: 10}, 10, 1_000_000, false}, // no parts: _HLS_part means nothing
	} {
		d := directives{hasMSN: true, msn: uint64(test.msn), hasPart: test.part >= 0, part: uint64(max(test.part, 0))}
		if got := d.tooFar(test.p); got != test.want {
			t.Errorf("L65: %+v at %+v: %t", d, test.p, got)
		}
	}
}

func FuzzReady(f *testing.F) {
	f.Add(uint64(10), 2, 3, uint64(10), uint64(2), int64(200))
	f.Add(uint64(0), 0, 0, uint64(1<<64-1), uint64(1<<64-1), int64(1))
	f.Fuzz(func(t *testing.T, open uint64, parts, last int, msn, part uint64, milliseconds int64) {
		p := storage.Position{MSN: open, Parts: parts, LastParts: last, Part: time.Duration(milliseconds%10_000) * time.Millisecond}
		for _, d := range []directives{{}, {hasMSN: true, msn: msn}, {hasMSN: true, hasPart: true, msn: msn, part: part}} {
			at := fmt.Sprintf("%+v at %+v", d, p)
			if d.ready(p) && d.tooFar(p) {
				t.Fatalf("%s: there, and too far", at)
			}
			if !d.ready(p) && !d.hasMSN {
				t.Fatalf("%s: held without _HLS_msn", at)
			}
			next := p // one more part never takes anything back
			next.Parts = max(p.Parts, 0) + 1
			if p.Parts < 1<<30 && d.ready(p) && !d.ready(next) {
				t.Fatalf("%s: ready, but not with one part more", at)
			}
			// Nor does closing the segment and opening the next with one part.
			next = storage.Position{MSN: open + 1, Parts: 1, LastParts: max(parts, 0), Part: p.Part}
			if open < 1<<63 && d.ready(p) && !d.ready(next) {
				t.Fatalf("%s: ready, but not in the next segment", at)
			}
			// What may be held is there after three more segments.
			next = storage.Position{MSN: open + 3, Part: p.Part}
			if open < 1<<63 && !d.tooFar(p) && !d.ready(next) {
				t.Fatalf("%s: held for too long", at)
			}
		}
	})
}
