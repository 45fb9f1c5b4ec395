package hlscheck

import (
	"path"
	"strconv"
	"strings"
	"time"
)

// boundary is how far the same segment's begin may differ between renditions: an
// audio frame, and the rounding of dates.
const boundary = 30 * time.Millisecond

// checkRenditions checks what must be the same in all media playlists: L15,
// L24, L25, L50, L58, L90 and L94.
func (c *Checker) checkRenditions(uri string, h *history, fault faultFunc) {
	for otherURI, other := range c.media {
		if otherURI == uri || other.count == 0 || path.Dir(path.Dir(otherURI)) != path.Dir(path.Dir(uri)) {
			continue
		}
		if other.last.target != h.last.target || other.last.partTarget != h.last.partTarget {
			fault("L15", "TARGETDURATION %d and PART-TARGET %v differ from %s", h.last.target, h.last.partTarget, otherURI)
		}
		if other.last.controlLine != h.last.controlLine {
			fault("L50", "EXT-X-SERVER-CONTROL differs from %s", otherURI)
		}
		checkTogether(h, other, otherURI, fault)
		c.checkReport(uri, otherURI, h, fault)
	}
}

// checkTogether checks that the segments of two playlists are cut together.
func checkTogether(h, other *history, otherURI string, fault faultFunc) {
	for _, s := range h.last.segments {
		disc, ok := other.discs[s.msn]
		if ok && disc != h.discs[s.msn] {
			fault("L24", "segment %d has discontinuity number %d, in %s it is %d", s.msn, h.discs[s.msn], otherURI, disc)
		}
		same, ok := other.segments[s.msn]
		if ok && same.time.IsZero() != s.time.IsZero() {
			fault("L25", "segment %d is dated here or in %s only", s.msn, otherURI)
		}
		if off := s.time.Sub(same.time); ok && !same.time.IsZero() && !s.time.IsZero() && off.Abs() > boundary {
			fault("L94", "segment %d begins %v off the same one in %s", s.msn, off, otherURI)
		}
	}
}

// checkReport checks L58 and L59: a report of every other playlist, by its URL.
func (c *Checker) checkReport(uri, other string, h *history, fault faultFunc) {
	if h.last.partTarget == 0 || h.last.ended {
		return
	}
	for _, r := range h.last.reports {
		if path.Join(path.Dir(uri), strings.SplitN(r["URI"], "?", 2)[0]) != other {
			continue
		}
		msn, err1 := strconv.ParseUint(r["LAST-MSN"], 10, 64)
		part, err2 := strconv.ParseUint(r["LAST-PART"], 10, 64)
		if err1 != nil || err2 != nil {
			fault("L58", "LAST-MSN=%s,LAST-PART=%s", r["LAST-MSN"], r["LAST-PART"])
			return
		}
		h.reports = append(h.reports, reported{other, msn, part})
		return
	}
	fault("L58", "no EXT-X-RENDITION-REPORT for %s", other)
}
