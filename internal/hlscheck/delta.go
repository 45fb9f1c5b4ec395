package hlscheck

import (
	"maps"
	"slices"
	"time"
)

// patience is how far times of receipt may be off what the server counted.
const patience = time.Second

// checkDelta checks what must be the same in a delta update and in the full
// playlist, and what may be missing: L53, L67 to L69. Merged with the version
// before, such a delta gives the full playlist, since what was listed before is
// the same in it (L35).
func checkDelta(p, d playlist, fault faultFunc) {
	checkHeader(d, fault)
	checkDeltaHeader(p, d, fault)
	if d.skipped+len(d.segments) != len(p.segments) {
		fault("L68", "%d skipped + %d listed segments, the full playlist has %d", d.skipped, len(d.segments), len(p.segments))
		return
	}
	for i, s := range p.segments[d.skipped:] {
		if !slices.Equal(s.lines, d.segments[i].lines) {
			fault("L68", "segment %d: %q in the delta, %q in the full playlist", s.msn, d.segments[i].lines, s.lines)
		}
	}
	if d.open.msn != p.open.msn || !slices.Equal(d.open.lines, p.open.lines) {
		fault("L68", "the open segment differs")
	}
	checkSkipBoundary(p, d, fault)
}

// checkDeltaHeader checks all of a delta update but its segments.
func checkDeltaHeader(p, d playlist, fault faultFunc) {
	if d.skipped == 0 && !d.skipsRanges {
		fault("L67", "delta update that skips nothing")
	}
	if p.ended {
		fault("L67", "delta update of a playlist with EXT-X-ENDLIST")
	}
	if d.target != p.target || d.partTarget != p.partTarget || d.controlLine != p.controlLine || d.ended != p.ended {
		fault("L68", "the header of the delta is not the full playlist's")
	}
	if d.sequence != p.sequence || d.discSeq != p.discSeq {
		fault("L68", "delta counts from %d/%d, the full playlist from %d/%d", d.sequence, d.discSeq, p.sequence, p.discSeq)
	}
	if !slices.EqualFunc(d.hints, p.hints, maps.Equal) || !slices.EqualFunc(d.reports, p.reports, maps.Equal) {
		fault("L68", "hints or reports of the delta are not the full playlist's")
	}
}

// checkSkipBoundary checks that the segments beyond the skip boundary were
// skipped, and no others.
func checkSkipBoundary(p, d playlist, fault faultFunc) {
	until := skipUntil(d)
	listed := 0.0
	for _, s := range p.segments[d.skipped:] {
		listed += s.duration
	}
	if d.skipped > 0 && listed < until-1e-6 {
		fault("L68", "only the last %.3f s are listed, CAN-SKIP-UNTIL is %v", listed, until)
	}
	if d.skipped < len(p.segments) && listed-p.segments[d.skipped].duration > until+1e-6 {
		fault("L68", "the last %.3f s are listed, though CAN-SKIP-UNTIL is %v", listed, until)
	}
}

func skipUntil(p playlist) float64 {
	return (&parser{fault: func(string, string, ...any) {}}).float("", p.control["CAN-SKIP-UNTIL"])
}

// checkDeltaRanges checks which date ranges a delta update has: all of them, or
// in version 2 those that are new (L69).
func (c *Checker) checkDeltaRanges(h *history, p, d playlist, fault faultFunc) {
	full, delta := consolidate(p.ranges), consolidate(d.ranges)
	if !d.skipsRanges {
		if !maps.EqualFunc(full, delta, maps.Equal) {
			fault("L68", "date ranges %v in the delta, %v in the full playlist",
				slices.Sorted(maps.Keys(delta)), slices.Sorted(maps.Keys(full)))
		}
		return
	}
	if p.control["CAN-SKIP-DATERANGES"] != "YES" {
		fault("L69", "RECENTLY-REMOVED-DATERANGES without CAN-SKIP-DATERANGES=YES")
	}
	for id := range delta {
		if full[id] == nil {
			fault("L69", "the delta has date range %s, the full playlist has not", id)
		}
	}
	until := time.Duration(skipUntil(d) * float64(time.Second))
	slack := patience + c.Lag
	for id := range full {
		age := h.at.Sub(h.ranges[id].added)
		_, there := delta[id]
		if !there && age < until-slack {
			fault("L69", "the delta skips date range %s, which is %v old", id, age)
		}
		if there && age > until+slack {
			fault("L69", "the delta has date range %s, which is %v old", id, age)
		}
	}
	checkRemovedRanges(h, d, until-slack, fault)
}

// checkRemovedRanges checks RECENTLY-REMOVED-DATERANGES.
func checkRemovedRanges(h *history, d playlist, until time.Duration, fault faultFunc) {
	for id, r := range h.ranges {
		named := slices.Contains(d.removed, id)
		if r.listed && named {
			fault("L69", "date range %s is listed and named as removed", id)
		}
		if age := h.at.Sub(r.removed); !r.listed && !named && age < until {
			fault("L69", "date range %s was removed %v ago and is not named", id, age)
		}
	}
}
