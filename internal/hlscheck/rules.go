package hlscheck

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

type faultFunc = func(item, format string, args ...any)

// checkHeader checks L6, L15 and L20.
func checkHeader(p playlist, fault faultFunc) {
	if p.target < 1 {
		fault("L15", "no EXT-X-TARGETDURATION")
	}
	if p.kind != "" && !p.ended {
		fault("L20", "live playlist with EXT-X-PLAYLIST-TYPE")
	}
	if p.independent {
		fault("L6", "EXT-X-INDEPENDENT-SEGMENTS belongs in the multivariant playlist")
	}
	want := 3
	if slices.ContainsFunc(p.segments, func(s segment) bool { return s.mapURI != "" }) || p.open.mapURI != "" {
		want = 6
	}
	switch {
	case p.skipsRanges:
		want = 10
	case p.skipped >= 0:
		want = 9
	}
	if p.version != want {
		fault("L14", "EXT-X-VERSION is %d, the least that fits is %d", p.version, want)
	}
	if p.start != "" && !p.ended {
		if offset, err := strconv.ParseFloat(p.start, 64); err != nil || offset > -3*float64(p.target) && offset < 0 {
			fault("L109", "EXT-X-START at %s, less than 3 × %d from the end", p.start, p.target)
		}
	}
	checkControl(p, fault)
}

// checkControl checks EXT-X-SERVER-CONTROL: L51 to L54.
func checkControl(p playlist, fault faultFunc) {
	number := func(item, name string) float64 { return (&parser{fault: fault}).float(item, p.control[name]) }
	if p.partTarget > 0 && p.control["CAN-BLOCK-RELOAD"] != "YES" {
		fault("L54", "parts without CAN-BLOCK-RELOAD=YES")
	}
	if p.partTarget > 0 && (p.control["PART-HOLD-BACK"] == "" || number("L51", "PART-HOLD-BACK") < 3*p.partTarget-1e-9) {
		fault("L51", "PART-HOLD-BACK %q is not 3 × %v or more", p.control["PART-HOLD-BACK"], p.partTarget)
	}
	if p.control["CAN-SKIP-UNTIL"] != "" && number("L53", "CAN-SKIP-UNTIL") < 6*float64(p.target) {
		fault("L53", "CAN-SKIP-UNTIL %s is below 6 × %d", p.control["CAN-SKIP-UNTIL"], p.target)
	}
	if p.control["CAN-SKIP-DATERANGES"] != "" && p.control["CAN-SKIP-UNTIL"] == "" {
		fault("L53", "CAN-SKIP-DATERANGES without CAN-SKIP-UNTIL")
	}
	if p.control["HOLD-BACK"] != "" && number("L52", "HOLD-BACK") < 3*float64(p.target) {
		fault("L52", "HOLD-BACK %s is below 3 × %d", p.control["HOLD-BACK"], p.target)
	}
}

// checkStatic checks S7 and S9: nothing that needs an origin that can wait.
func checkStatic(p playlist, fault faultFunc) {
	if p.partTarget > 0 || len(p.hints) > 0 || len(p.reports) > 0 || len(p.open.parts) > 0 {
		fault("S7", "parts, hints or reports in a static playlist")
	}
	for _, name := range []string{"PART-HOLD-BACK", "CAN-BLOCK-RELOAD", "CAN-SKIP-UNTIL"} {
		if p.control[name] != "" {
			fault("S7", "%s in a static playlist", name)
		}
	}
}

// checkSegments checks L2, L15, L17, L22 and L41 within one version.
func checkSegments(p playlist, fault faultFunc) {
	uris := make(map[string]bool)
	for _, s := range p.segments {
		if math.Round(s.duration) > float64(p.target) {
			fault("L15", "segment %d lasts %s, target is %d", s.msn, s.printed, p.target)
		}
		if _, decimals, _ := strings.Cut(s.printed, "."); len(decimals) < 3 || s.duration <= 0 {
			fault("L17", "EXTINF %s: not above 0 with 3 decimals", s.printed)
		}
		if s.mapURI == "" && !s.gap {
			fault("L2", "segment %d is not covered by EXT-X-MAP", s.msn)
		}
		if uris[s.uri] {
			fault("L41", "URI %s twice", s.uri)
		}
		uris[s.uri] = true
	}
	checkMaps(p, fault)
	checkDates(p, fault)
}

// checkMaps checks L22: EXT-X-MAP stands again between a discontinuity and the
// first media after it; gaps need none.
func checkMaps(p playlist, fault faultFunc) {
	missing := false
	for i, s := range append(slices.Clone(p.segments), p.open) {
		missing = (missing || s.disc && i > 0) && !s.mapTag
		media := s.uri != "" && !s.gap || slices.ContainsFunc(s.parts, part.available)
		if missing && media {
			fault("L22", "no EXT-X-MAP after the discontinuity at segment %d", s.msn)
			return
		}
	}
}

// checkDates checks L25 and L26 within one version.
func checkDates(p playlist, fault faultFunc) {
	var expect time.Time
	for i, s := range p.segments {
		if s.time.IsZero() && (i == 0 || s.disc) {
			fault("L25", "segment %d has no EXT-X-PROGRAM-DATE-TIME", s.msn)
		}
		if !s.time.IsZero() {
			if off := s.time.Sub(expect); !expect.IsZero() && !s.disc && off.Abs() >= time.Second {
				fault("L26", "segment %d is dated %v off the sum of durations", s.msn, off)
			}
			expect = s.time
		}
		expect = expect.Add(time.Duration(s.duration * float64(time.Second)))
	}
}

// checkParts checks L43, L44, L47, L49 and the sums of L3 within one version.
func checkParts(p playlist, fault faultFunc) {
	all := append(slices.Clone(p.segments), p.open)
	fromEnd := 0.0
	for _, part := range p.open.parts {
		fromEnd += part.duration
	}
	for i, s := range slices.Backward(all) {
		if len(s.parts) > 0 && p.partTarget == 0 {
			fault("L42", "parts without EXT-X-PART-INF")
		}
		complete := i < len(p.segments)
		sum := 0.0
		for j, part := range s.parts {
			sum += part.duration
			checkPart(p, s, j, fault)
		}
		if complete && !s.gap && len(s.parts) > 0 && !slices.ContainsFunc(s.parts, part.available) {
			fault("L27", "segment %d has only parts with GAP=YES and no EXT-X-GAP", s.msn)
		}
		if complete && len(s.parts) > 0 {
			if !near(sum, s.duration) {
				fault("L3", "segment %d lasts %s, its parts %.5f", s.msn, s.printed, sum)
			}
			if fromEnd > 3*float64(p.target)+1e-6 {
				fault("L49", "segment %d still has parts, it ends %.3f s before the end", s.msn, fromEnd)
			}
		}
		if complete {
			fromEnd += s.duration
		}
	}
}

func (p part) available() bool { return !p.gap }

func checkPart(p playlist, s segment, j int, fault faultFunc) {
	part := s.parts[j]
	if part.duration > p.partTarget {
		fault("L43", "part %s lasts %s, PART-TARGET is %v", part.uri, part.printed, p.partTarget)
	}
	last := j == len(s.parts)-1
	// The last part of an open segment is followed by another one or closes its
	// parent; which, the next version tells.
	exempt := part.independent || part.gap || last || s.parts[j+1].gap
	if part.duration < 0.85*p.partTarget-1e-9 && !exempt {
		fault("L44", "part %s lasts %s, less than 85 %% of %v", part.uri, part.printed, p.partTarget)
	}
	if j == 0 && !part.independent && !part.gap {
		fault("L47", "the first part of segment %d is not INDEPENDENT", s.msn)
	}
}

// checkAudio checks L47: every part of an audio rendition is independent.
func checkAudio(p playlist, fault faultFunc) {
	for _, s := range append(slices.Clone(p.segments), p.open) {
		for _, part := range s.parts {
			if !part.independent && !part.gap {
				fault("L47", "audio part %s is not INDEPENDENT", part.uri)
			}
		}
	}
}

// checkEdge checks what must stand at the end: L27, L32, L55 and L58.
func checkEdge(p playlist, fault faultFunc) {
	kinds := make(map[string]int)
	for _, h := range p.hints {
		kinds[h["TYPE"]]++
		if kinds[h["TYPE"]] > 1 {
			fault("L55", "two preload hints of TYPE=%s", h["TYPE"])
		}
	}
	if p.ended {
		if len(p.hints) > 0 {
			fault("L32", "EXT-X-PRELOAD-HINT in a playlist with EXT-X-ENDLIST")
		}
		if len(p.open.parts) > 0 {
			fault("L32", "open segment in a playlist with EXT-X-ENDLIST")
		}
		return
	}
	if p.partTarget == 0 {
		return
	}
	for _, r := range p.reports {
		if strings.Contains(r["URI"], "://") || strings.HasPrefix(r["URI"], "/") {
			fault("L58", "report URI %s is not relative", r["URI"])
		}
		if r["LAST-MSN"] == "" {
			fault("L58", "report without LAST-MSN")
		}
	}
}

// checkHinted checks L55: the next part is hinted at.
func checkHinted(p playlist, fault faultFunc) {
	if p.ended || p.partTarget == 0 {
		return
	}
	if !slices.ContainsFunc(p.hints, func(h map[string]string) bool { return h["TYPE"] == "PART" }) {
		fault("L55", "no EXT-X-PRELOAD-HINT:TYPE=PART")
	}
}

// checkUnhinted checks L56 where parts are listed with other URIs than those that
// block: none is hinted at.
func checkUnhinted(p playlist, fault faultFunc) {
	if len(p.hints) > 0 {
		fault("L56", "%d hints at what is listed elsewhere", len(p.hints))
	}
}

// checkMutation checks what may change between two versions: L15, L18, L19,
// L32, L35, L40 to L42, L50 and L56.
func checkMutation(h *history, p playlist, fault faultFunc) {
	old := h.last
	if p.target != old.target || p.partTarget != old.partTarget {
		fault("L42", "EXT-X-TARGETDURATION %d → %d, PART-TARGET %v → %v", old.target, p.target, old.partTarget, p.partTarget)
	}
	if p.controlLine != old.controlLine {
		fault("L50", "EXT-X-SERVER-CONTROL changed from %s to %s", old.controlLine, p.controlLine)
	}
	if p.sequence < old.sequence || p.discSeq < old.discSeq {
		fault("L18", "media sequence %d → %d, discontinuity sequence %d → %d", old.sequence, p.sequence, old.discSeq, p.discSeq)
	}
	if old.ended && (!p.ended || len(p.segments) != len(old.segments)) {
		fault("L32", "the playlist changed after EXT-X-ENDLIST")
	}
	if p.sequence < old.sequence {
		return
	}
	if h.restarted {
		h.checkRestart(p, fault)
	} else {
		if p.sequence > old.open.msn && !h.watched { // who only watches may miss versions
			fault("L18", "media sequence jumps from %d to %d, the last segment was %d", old.sequence, p.sequence, old.open.msn)
		}
		checkRemoved(old, p, fault)
		checkAppend(old, p, fault)
		checkHint(h, p, fault)
	}
	h.restarted = false
	checkListed(h, p, fault)
}

// checkListed checks that what was listed before is what it was: L35, L41.
func checkListed(h *history, p playlist, fault faultFunc) {
	for _, s := range append(slices.Clone(p.segments), p.open) {
		if before, ok := h.segments[s.msn]; ok && before.uri != "" && s.uri != "" {
			checkSame(before, s, fault)
		}
		for _, part := range s.parts {
			if msn, ok := h.partOf[part.uri]; ok && msn != s.msn {
				fault("L41", "part %s was of segment %d and is of %d", part.uri, msn, s.msn)
			}
		}
	}
}

// checkRestart checks the first version after a restart: L18, L19, L21.
func (h *history) checkRestart(p playlist, fault faultFunc) {
	old := h.last
	if p.open.msn < old.open.msn {
		fault("L18", "the next segment was %d and is %d", old.open.msn, p.open.msn)
	}
	if p.sequence < old.open.msn {
		checkRemoved(old, p, fault)
	}
	if len(old.segments) == 0 {
		return
	}
	last := old.segments[len(old.segments)-1].msn
	disc := p.discSeq
	for _, s := range append(slices.Clone(p.segments), p.open) {
		if s.disc {
			disc++
		}
		if s.msn > last && !s.gap && (s.uri != "" || len(s.parts) > 0) {
			if disc <= h.discs[last] {
				fault("L21", "segment %d follows a restart without a discontinuity", s.msn)
			}
			return
		}
	}
}

// checkRemoved checks what left the playlist: L19, L39.
func checkRemoved(old, p playlist, fault faultFunc) {
	removed := int(min(p.sequence-old.sequence, uint64(len(old.segments)))) // versions may have been missed
	discs := uint64(0)
	for _, s := range old.segments[:removed] {
		if s.disc {
			discs++
		}
	}
	if removed < len(old.segments) && p.discSeq != old.discSeq+discs {
		fault("L19", "discontinuity sequence %d, want %d after %d segments left", p.discSeq, old.discSeq+discs, removed)
	}
	if removed > 0 {
		checkWindow(p, fault)
	}
}

// checkWindow checks L39: what is left is long enough.
func checkWindow(p playlist, fault faultFunc) {
	total := 0.0
	for _, s := range p.segments {
		total += s.duration
	}
	if total < 3*float64(p.target)-1e-6 {
		fault("L39", "%.3f s are listed, less than 3 × %d, though segments were removed", total, p.target)
	}
}

// checkSame checks that a segment listed before has not changed but for parts
// that were removed: L35, L41.
func checkSame(before, now segment, fault faultFunc) {
	if before.uri != now.uri {
		fault("L41", "segment %d was %s and is %s", now.msn, before.uri, now.uri)
		return
	}
	if len(now.parts) > 0 && !slices.Equal(before.parts, now.parts) {
		fault("L35", "the parts of segment %d changed", now.msn)
	}
	strip := func(s segment) []string {
		return slices.DeleteFunc(slices.Clone(s.lines), func(l string) bool { return strings.HasPrefix(l, "#EXT-X-PART:") })
	}
	a, b := strip(before), strip(now)
	if now.mapTag != before.mapTag { // the first segment of a version repeats the MAP in force
		drop := func(l string) bool { return strings.HasPrefix(l, "#EXT-X-MAP:") }
		a, b = slices.DeleteFunc(a, drop), slices.DeleteFunc(b, drop)
	}
	if !slices.Equal(a, b) {
		fault("L35", "segment %d was %q and is %q", now.msn, a, b)
	}
	if before.mapURI != now.mapURI {
		fault("L35", "segment %d was covered by %s and is by %s", now.msn, before.mapURI, now.mapURI)
	}
}

// checkAppend checks that the open segment only grew, or was closed with what
// it had: L35.
func checkAppend(old, p playlist, fault faultFunc) {
	if p.open.msn < old.open.msn {
		fault("L35", "the open segment was %d and is %d", old.open.msn, p.open.msn)
		return
	}
	now := p.open
	if i := slices.IndexFunc(p.segments, func(s segment) bool { return s.msn == old.open.msn }); i >= 0 {
		now = p.segments[i]
	} else if p.open.msn != old.open.msn {
		return
	}
	if a, b := old.open.head(), now.head(); len(old.open.parts) > 0 && !slices.Equal(a, b) {
		fault("L35", "the open segment %d began with %q and begins with %q", old.open.msn, a, b)
	}
	if now.uri != "" && now.parts == nil {
		return // its parts have left the playlist already
	}
	if len(now.parts) < len(old.open.parts) || !slices.Equal(now.parts[:len(old.open.parts)], old.open.parts) {
		fault("L35", "parts of the open segment %d changed: %v → %v", old.open.msn, old.open.parts, now.parts)
	}
}

// head returns the tags that stand before the first part. EXT-X-MAP may come and
// go: the first segment of a version repeats the one in force (checkSame).
func (s segment) head() []string {
	var tags []string
	for _, l := range s.lines {
		switch name, _, _ := strings.Cut(l, ":"); name {
		case "#EXT-X-DISCONTINUITY", "#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-KEY", "#EXT-X-BITRATE":
			tags = append(tags, l)
		}
	}
	return tags
}

// checkHint checks L56: the part that came next has the hinted URI.
func checkHint(h *history, p playlist, fault faultFunc) {
	if h.hinted == "" || p.ended {
		return
	}
	for _, s := range append(slices.Clone(p.segments), p.open) {
		parts := s.parts
		switch {
		case s.msn < h.hintMSN:
			continue
		case s.msn == h.hintMSN && h.hintCount <= len(parts):
			parts = parts[h.hintCount:]
		case s.msn == h.hintMSN:
			continue
		}
		if len(parts) > 0 {
			if parts[0].uri != h.hinted {
				fault("L56", "%s was hinted, %s came", h.hinted, parts[0].uri)
			}
			if h.hintedMap != "" && s.mapURI != h.hintedMap {
				fault("L56", "%s was hinted, %s came", h.hintedMap, s.mapURI)
			}
			return
		}
		if s.uri != "" && s.msn > h.hintMSN {
			return // too many versions were missed: its parts are gone
		}
	}
}
