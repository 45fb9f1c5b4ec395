package hlscheck

import (
	"maps"
	"math"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// boundary is how far the same segment's begin may differ between renditions: an
// audio frame, and the rounding of dates.
const boundary = 30 * time.Millisecond

// presentation returns the directory that the renditions of a presentation
// share.
func presentation(uri string) string { return path.Dir(path.Dir(uri)) }

// others returns the other playlists of the same presentation that have a
// version, in order.
func (c *Checker) others(uri string) []string {
	var found []string
	for other, h := range c.media {
		if other != uri && len(h.moments) > 0 && presentation(other) == presentation(uri) {
			found = append(found, other)
		}
	}
	slices.Sort(found)
	return found
}

// checkRenditions checks what must be the same in all media playlists: L15,
// L24, L25, L50, L58, L90 and L94.
func (c *Checker) checkRenditions(uri string, h *history, fault faultFunc) {
	listed := h.fresh()
	for _, otherURI := range c.others(uri) {
		other := c.media[otherURI]
		if other.last.target != h.last.target || other.last.partTarget != h.last.partTarget {
			fault("L15", "TARGETDURATION %d and PART-TARGET %v differ from %s", h.last.target, h.last.partTarget, otherURI)
		}
		if other.last.controlLine != h.last.controlLine {
			fault("L50", "EXT-X-SERVER-CONTROL differs from %s", otherURI)
		}
		pictures := c.shows[presentation(uri)] != nil && !c.audio[uri] && !c.audio[otherURI]
		checkTogether(h, listed, other, func(item, format string, args ...any) {
			if item == "L94" && pictures {
				item = "L91"
			}
			fault(item, otherURI+": "+format, args...)
		})
	}
}

// checkTogether checks that the segments that are new in a version are cut as
// those of another playlist. What that has not listed yet it will compare itself.
func checkTogether(h *history, listed []segment, other *history, fault faultFunc) {
	for _, s := range listed {
		if theirs, ok := other.discs[s.msn]; ok && h.discs[s.msn] != theirs {
			fault("L24", "segment %d has discontinuity number %d, here it is %d", s.msn, theirs, h.discs[s.msn])
		}
		same, ok := other.segments[s.msn]
		if !ok {
			continue
		}
		if same.time.IsZero() != s.time.IsZero() {
			fault("L25", "segment %d is dated in one of them only", s.msn)
		}
		if off := s.time.Sub(same.time); !same.time.IsZero() && !s.time.IsZero() && off.Abs() > max(boundary, h.frame) {
			fault("L94", "segment %d begins %v off the same one here", s.msn, off)
		}
	}
}

// fresh returns the segments that were not compared yet, the open one included
// as soon as it has parts.
func (h *history) fresh() []segment {
	var listed []segment
	for _, s := range append(slices.Clone(h.last.segments), h.last.open) {
		if s.msn >= h.compared && (s.uri != "" || len(s.parts) > 0) {
			listed = append(listed, s)
		}
	}
	if n := len(listed); n > 0 {
		h.compared = listed[n-1].msn + 1
	}
	return listed
}

// reported is one EXT-X-RENDITION-REPORT.
type reported struct {
	other string
	msn   uint64
	part  int // -1: there is none
}

// moment says what one version of a playlist listed, and when it came.
type moment struct {
	at        time.Time
	version   int
	msn       uint64 // of the last part; without parts of the last segment
	part      int    // its index; -1 without parts
	sequence  uint64 // of the first segment
	next      uint64 // of the segment that is not complete
	restarted bool   // a restart came before it
	end       time.Time
	ended     bool
	reports   []reported
}

// moment describes the version that was remembered last.
func (h *history) moment(reports []reported) moment {
	p := h.last
	m := moment{at: h.at, version: h.count, part: -1, sequence: p.sequence, next: p.open.msn, end: p.end, ended: p.ended, reports: reports}
	switch n := len(p.segments); {
	case len(p.open.parts) > 0:
		m.msn, m.part = p.open.msn, len(p.open.parts)-1
	case n > 0:
		m.msn, m.part = p.segments[n-1].msn, len(p.segments[n-1].parts)-1
	default:
		m.msn = p.sequence
	}
	return m
}

// before reports whether a playlist has grown since it ended as r says.
func (r reported) before(m moment) bool { return r.msn < m.msn || r.msn == m.msn && r.part < m.part }

// by returns the last version that had come at a time, or nil.
func (h *history) by(at time.Time) *moment {
	n := sort.Search(len(h.moments), func(i int) bool { return h.moments[i].at.After(at) })
	if n == 0 {
		return nil
	}
	return &h.moments[n-1]
}

// before returns the last version that had come before a time, or nil.
func (h *history) before(at time.Time) *moment {
	n := sort.Search(len(h.moments), func(i int) bool { return !h.moments[i].at.Before(at) })
	if n == 0 {
		return nil
	}
	return &h.moments[n-1]
}

// goesOn reports whether it is known what the playlist was at a time.
func (h *history) goesOn(at time.Time, lag time.Duration) bool {
	return lag == 0 || h.moments[len(h.moments)-1].at.After(at)
}

// readReports checks L58 and L59 in one version: one report of every other
// playlist, by its URL.
func (c *Checker) readReports(uri string, h *history, fault faultFunc) []reported {
	if h.last.partTarget == 0 || h.last.ended {
		return nil
	}
	var found []reported
	seen := make(map[string]bool)
	for _, r := range h.last.reports {
		other := path.Join(path.Dir(uri), strings.SplitN(r["URI"], "?", 2)[0])
		if seen[other] || other == uri {
			fault("L58", "report of %s twice, or of itself", other)
		}
		seen[other] = true
		msn, err1 := strconv.ParseUint(r["LAST-MSN"], 10, 64)
		part, err2 := uint64(0), error(nil)
		if r["LAST-PART"] != "" {
			part, err2 = strconv.ParseUint(r["LAST-PART"], 10, 31)
			part++
		}
		if err1 != nil || err2 != nil {
			fault("L58", "LAST-MSN=%s,LAST-PART=%s", r["LAST-MSN"], r["LAST-PART"])
			continue
		}
		found = append(found, reported{other, msn, int(part) - 1})
	}
	named := c.shows[presentation(uri)]
	for _, other := range c.others(uri) {
		theirs := c.media[other]
		known := !theirs.last.ended && !theirs.moments[0].at.After(h.at.Add(-c.Lag))
		if !seen[other] && known && (named == nil || named.names(other)) {
			fault("L58", "no EXT-X-RENDITION-REPORT for %s", other)
		}
	}
	return found
}

// checkReported checks all reports of a playlist with what was listed: L58, L59.
func (c *Checker) checkReported(uri string, h *history) {
	newest := make(map[string]reported)
	named := c.shows[presentation(uri)]
	for _, m := range h.moments {
		fault := c.fault(uri, m.version)
		for _, r := range m.reports {
			old, ok := newest[r.other]
			if ok && (r.msn < old.msn || r.msn == old.msn && r.part < old.part) {
				fault("L58", "report of %s goes back from %d/%d to %d/%d", r.other, old.msn, old.part, r.msn, r.part)
			}
			newest[r.other] = r
			if other := c.media[r.other]; other != nil && len(other.moments) > 0 {
				c.checkReportTime(m, r, other, fault)
			} else if named != nil && c.Lag == 0 && !named.names(r.other) {
				fault("L59", "report of %s, which is no rendition", r.other)
			}
		}
	}
}

// checkReportTime checks that a report was true when it was published.
func (c *Checker) checkReportTime(m moment, r reported, other *history, fault faultFunc) {
	parts, known := other.parts[r.msn]
	// Of a segment that was still open in the last version seen, more parts may have
	// followed: then the time alone tells.
	_, closed := other.uris[r.msn]
	if known && r.part >= len(parts) && (closed || c.Lag == 0) {
		fault("L58", "report of %s names part %d of segment %d, which has %d", r.other, r.part, r.msn, len(parts))
		return
	}
	if known && r.part < 0 {
		fault("L58", "report of %s names no part of segment %d", r.other, r.msn)
		return
	}
	late := m.at.Add(c.Lag)
	if then := other.by(late); then != nil && other.goesOn(late, c.Lag) && (moment{msn: r.msn, part: r.part}).after(*then) {
		fault("L58", "report of %s says %d/%d, it has come to %d/%d", r.other, r.msn, r.part, then.msn, then.part)
	}
	if then := other.before(m.at.Add(-c.Lag)); then != nil && !then.ended {
		if n := other.between(r, *then); n > 1 {
			fault("L58", "report of %s says %d/%d, %d parts behind %d/%d", r.other, r.msn, r.part, n, then.msn, then.part)
		}
	}
}

func (m moment) after(o moment) bool { return m.msn > o.msn || m.msn == o.msn && m.part > o.part }

// between counts the parts after a reported one up to where a version ended.
func (h *history) between(r reported, m moment) int {
	if !r.before(m) {
		return 0
	}
	if m.msn-r.msn > 100 {
		return math.MaxInt
	}
	n := m.part - r.part
	for msn := r.msn; msn < m.msn; msn++ {
		n += len(h.parts[msn])
	}
	return n
}

// checkPace checks L38: something new is listed in time.
func (c *Checker) checkPace(uri string, h *history) {
	if c.Pace == 0 {
		return
	}
	part := time.Duration(h.last.partTarget*float64(time.Second)) + c.Pace
	segment := time.Duration(h.last.target)*time.Second*3/2 + c.Pace
	grown, closed := h.moments[0], h.moments[0]
	for _, m := range h.moments[1:] {
		fault := c.fault(uri, m.version)
		if since := m.at.Sub(closed.at); m.next > closed.next {
			if since > segment && !m.restarted {
				fault("L38", "segment %d came %v after the one before", m.next-1, since)
			}
			closed = m
		}
		if since := m.at.Sub(grown.at); m.after(grown) {
			if part > c.Pace && since > part && !m.restarted {
				fault("L38", "part %d/%d came %v after the one before", m.msn, m.part, since)
			}
			grown = m
		}
	}
}

// checkSteps checks how far renditions are apart, version by version: L32, L90
// and L92. Of each kind the first is told.
func (c *Checker) checkSteps(uri string, h *history) {
	for _, otherURI := range c.others(uri) {
		other := c.media[otherURI]
		told := make(map[string]bool)
		for _, m := range h.moments {
			c.checkStep(m, h, other, func(item, format string, args ...any) {
				if !told[item] {
					c.fault(uri, m.version)(item, "%s: "+format, append([]any{otherURI}, args...)...)
				}
				told[item] = true
			})
		}
		ends := h.moments[len(h.moments)-1]
		if last := other.moments[len(other.moments)-1]; ends.ended && !last.ended && c.Lag == 0 {
			c.fault(uri, ends.version)("L32", "it has ended, %s has not", otherURI)
		}
	}
}

// checkStep compares one version with what another rendition was then.
func (c *Checker) checkStep(m moment, h, other *history, fault faultFunc) {
	p := h.last
	target := time.Duration(p.target)*time.Second + time.Second/2 // as far as it may be exceeded
	if then := other.by(m.at); then != nil && then.msn >= then.sequence {
		from, to := min(m.sequence, then.sequence), max(m.sequence, then.sequence)
		off := 0.0
		for msn := from; msn < to && msn-from < 1000; msn++ {
			off += max(h.length(msn, math.MaxInt), other.length(msn, math.MaxInt))
		}
		if off > target.Seconds()+c.Lag.Seconds() {
			fault("L90", "it lists from %d on, this from %d: %.3f s", then.sequence, m.sequence, off)
		}
	}
	late := m.at.Add(c.Lag)
	then := other.by(late)
	if then == nil || m.end.IsZero() || then.end.IsZero() || !other.goesOn(late, c.Lag) && !then.ended {
		return
	}
	ahead := h.ahead(m, other, *then)
	switch part := time.Duration(p.partTarget * float64(time.Second)); {
	case then.ended || part == 0:
		if ahead > target {
			fault("L90", "it ends %v earlier", ahead)
		}
	case ahead > part+part/4: // renditions are cut at whole frames
		fault("L92", "this ends %v later, PART-TARGET is %v", ahead, part)
	}
}

// ahead returns how much media a version lists that another rendition's version
// does not. Time that passed at a discontinuity is no media.
func (h *history) ahead(m moment, other *history, then moment) time.Duration {
	if m.msn < then.msn || m.msn-then.msn > 1000 {
		return m.end.Sub(then.end)
	}
	sum := h.length(m.msn, m.part) - other.length(then.msn, then.part)
	for msn := then.msn; msn < m.msn; msn++ {
		sum += h.length(msn, math.MaxInt)
	}
	return time.Duration(sum * float64(time.Second))
}

// length returns how long a segment is up to a part.
func (h *history) length(msn uint64, part int) float64 {
	parts := h.parts[msn]
	if part < 0 || part >= len(parts)-1 && h.segments[msn].duration > 0 {
		return h.segments[msn].duration
	}
	sum := 0.0
	for _, p := range parts[:min(part, len(parts)-1)+1] {
		sum += p.duration
	}
	return sum
}

// checkSameRanges checks that playlists with date ranges have the same ones, and
// those whose rendition can be played without any are none: L90.
func (c *Checker) checkSameRanges(uri string, h *history) {
	if len(h.ranges) == 0 {
		return
	}
	fault := c.fault(uri, h.count)
	slack := time.Duration(h.last.target)*time.Second + c.Lag
	for _, otherURI := range c.others(uri) {
		other := c.media[otherURI]
		if len(other.ranges) == 0 {
			continue
		}
		for id, r := range h.ranges {
			if !r.listed && r.removed.Before(other.moments[0].at) {
				continue // it has not lived to see it
			}
			other.checkSameRange(id, r, slack, func(format string, args ...any) {
				fault("L90", "%s: date range %s "+format, append([]any{otherURI, id}, args...)...)
			})
		}
	}
}

// checkSameRange compares a date range of another playlist.
func (h *history) checkSameRange(id string, r listing, slack time.Duration, fault func(format string, args ...any)) {
	begin, end := h.moments[0].at, h.moments[len(h.moments)-1].at
	mine, ok := h.ranges[id]
	settled := end.Sub(r.added) > slack
	switch {
	case !ok && settled:
		fault("is not there")
	case !ok:
	case settled && !maps.Equal(r.all, mine.all):
		fault("is %v, not %v", mine.all, r.all)
	case mine.added.Sub(r.added) > slack && mine.added.After(begin):
		fault("came %v later", mine.added.Sub(r.added))
	case !r.listed && mine.listed && end.Sub(r.removed) > slack:
		fault("is still there")
	}
}
