package hlscheck

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dateRange is one EXT-X-DATERANGE tag, or all of one ID.
type dateRange map[string]string // attributes as printed

// listing says when a playlist had a date range.
type listing struct {
	all            dateRange // all attributes it ever had
	added, removed time.Time // its newest tag; removed is zero while it is listed
	listed         bool
}

// dateRange checks what can be told from one tag: L30, L110.
func (s *parser) dateRange(a map[string]string) dateRange {
	id := strings.Trim(a["ID"], `"`)
	for name, value := range a {
		s.rangeAttribute(id, name, value)
	}
	if id == "" {
		s.fault("L30", "date range without ID")
	}
	if cue := a["CUE"]; strings.Contains(cue, "PRE") && strings.Contains(cue, "POST") {
		s.fault("L30", "date range %s: CUE=%s", id, cue)
	}
	return a
}

func (s *parser) rangeAttribute(id, name, value string) {
	quoted := strings.HasPrefix(value, `"`)
	switch name {
	case "ID", "CLASS", "START-DATE", "END-DATE", "CUE":
		if !quoted {
			s.fault("L30", "date range %s: %s=%s is not a quoted string", id, name, value)
		}
	case "DURATION", "PLANNED-DURATION":
		s.float("L30", value)
	case "END-ON-NEXT":
		if value != "YES" {
			s.fault("L30", "date range %s: END-ON-NEXT=%s", id, value)
		}
	case "SCTE35-CMD", "SCTE35-OUT", "SCTE35-IN":
		if !hexadecimal(value) {
			s.fault("L110", "date range %s: %s=%s is not a hexadecimal sequence", id, name, value)
		}
	default:
		if !strings.HasPrefix(name, "X-") {
			s.fault("L30", "date range %s: unknown attribute %s", id, name)
		} else if _, err := strconv.ParseFloat(value, 64); err != nil && !quoted && !hexadecimal(value) {
			s.fault("L30", "date range %s: %s=%s is neither string, sequence nor number", id, name, value)
		}
	}
}

// hexadecimal reports whether a value is a hexadecimal sequence (§4.2).
func hexadecimal(value string) bool {
	digits, ok := strings.CutPrefix(value, "0x")
	if !ok {
		digits, ok = strings.CutPrefix(value, "0X")
	}
	return ok && digits != "" && strings.Trim(digits, "0123456789ABCDEF") == ""
}

// consolidate returns the attributes of each ID; the first value counts.
func consolidate(tags []dateRange) map[string]dateRange {
	all := make(map[string]dateRange)
	for _, tag := range tags {
		id := strings.Trim(tag["ID"], `"`)
		if all[id] == nil {
			all[id] = make(dateRange)
		}
		for name, value := range tag {
			if _, ok := all[id][name]; !ok {
				all[id][name] = value
			}
		}
	}
	return all
}

// date reads an attribute that is a date: L30.
func (r dateRange) date(name string, fault faultFunc) time.Time {
	value, ok := r[name]
	if !ok {
		return time.Time{}
	}
	at, err := time.Parse("2006-01-02T15:04:05.000Z07:00", strings.Trim(value, `"`))
	if err != nil {
		fault("L30", "date range %s: %s=%s is no date with milliseconds and zone", r["ID"], name, value)
	}
	return at
}

// number reads an attribute that is a number of seconds; negative without it.
func (r dateRange) number(name string) time.Duration {
	f, err := strconv.ParseFloat(r[name], 64)
	if err != nil || f < 0 || f > 1e9 || math.IsNaN(f) {
		return -1
	}
	return time.Duration(f * float64(time.Second))
}

// span returns when a range begins and ends. Without an end it is known says no.
func (r dateRange) span() (start, end time.Time, known bool) {
	ignore := func(string, string, ...any) {}
	start, end = r.date("START-DATE", ignore), r.date("END-DATE", ignore)
	if !end.IsZero() {
		return start, end, true
	}
	if d := r.number("DURATION"); d >= 0 {
		return start, start.Add(d), true
	}
	return start, start, false
}

// checkRanges checks L30 and L110 within one version. A delta update has
// only some of the tags and is not checked so.
func checkRanges(p playlist, fault faultFunc) {
	if len(p.ranges) == 0 {
		return
	}
	if p.first.IsZero() {
		fault("L30", "EXT-X-DATERANGE without EXT-X-PROGRAM-DATE-TIME")
	}
	all := consolidate(p.ranges)
	seen := make(map[string]bool)
	for _, tag := range p.ranges {
		id := strings.Trim(tag["ID"], `"`)
		if !seen[id] && tag["START-DATE"] == "" {
			fault("L30", "date range %s begins without START-DATE", id)
		}
		seen[id] = true
		for name, value := range tag {
			if all[id][name] != value {
				fault("L30", "date range %s: %s is %s and %s", id, name, all[id][name], value)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		checkRange(id, all[id], fault)
	}
	checkFollowing(all, fault)
}

// checkRange checks one range with all its attributes.
func checkRange(id string, r dateRange, fault faultFunc) {
	start, end := r.date("START-DATE", fault), r.date("END-DATE", fault)
	if !end.IsZero() && end.Before(start) {
		fault("L30", "date range %s ends before it begins", id)
	}
	if d := r.number("DURATION"); d >= 0 && !end.IsZero() && end.Sub(start.Add(d)).Abs() > time.Millisecond {
		fault("L30", "date range %s: END-DATE is not START-DATE + DURATION", id)
	}
	ends := r["DURATION"] != "" || r["END-DATE"] != ""
	if r["END-ON-NEXT"] != "" && (r["CLASS"] == "" || ends) {
		fault("L30", "date range %s: END-ON-NEXT without CLASS, or with DURATION or END-DATE", id)
	}
	if r["SCTE35-IN"] != "" && (r["SCTE35-OUT"] == "" || !ends) {
		fault("L110", "date range %s: SCTE35-IN without SCTE35-OUT, or without the end", id)
	}
	if r["CLASS"] == `"com.apple.hls.interstitial"` && (r["X-ASSET-URI"] == "") == (r["X-ASSET-LIST"] == "") {
		fault("L110", "interstitial %s: not exactly one of X-ASSET-URI and X-ASSET-LIST", id)
	}
}

// checkFollowing checks that ranges of a class that has END-ON-NEXT do not
// overlap: L30.
func checkFollowing(all map[string]dateRange, fault faultFunc) {
	classes := make(map[string][]dateRange)
	follow := make(map[string]bool)
	for _, r := range all {
		classes[r["CLASS"]] = append(classes[r["CLASS"]], r)
		follow[r["CLASS"]] = follow[r["CLASS"]] || r["END-ON-NEXT"] != ""
	}
	for class, ranges := range classes {
		if class == "" || !follow[class] {
			continue
		}
		slices.SortFunc(ranges, func(a, b dateRange) int { return strings.Compare(a["START-DATE"], b["START-DATE"]) })
		for i := range ranges[1:] {
			_, end, known := ranges[i].span()
			if next, _, _ := ranges[i+1].span(); known && end.After(next) {
				fault("L30", "date ranges %s and %s of class %s overlap", ranges[i]["ID"], ranges[i+1]["ID"], class)
			}
		}
	}
}

// checkRangeMutation checks what became of the date ranges since the version
// before (L30, L31) and remembers them.
func (h *history) checkRangeMutation(p playlist, at time.Time, fault faultFunc) {
	all := consolidate(p.ranges)
	for id, r := range all {
		old, ok := h.ranges[id]
		if !ok {
			h.ranges[id] = listing{all: maps.Clone(r), added: at, listed: true}
			continue
		}
		if !old.listed {
			fault("L31", "date range %s was removed and is back", id)
		}
		for name, value := range r {
			if before, had := old.all[name]; had && before != value {
				fault("L31", "date range %s: %s was %s and is %s", id, name, before, value)
			}
		}
		for name := range old.all {
			if _, has := r[name]; !has {
				fault("L31", "date range %s has lost %s", id, name)
			}
		}
		if len(r) > len(old.all) {
			old.added = at // by another tag, which is not skipped with the first (L69)
		}
		maps.Copy(old.all, r)
		old.listed, old.removed = true, time.Time{}
		h.ranges[id] = old
	}
	for id, old := range h.ranges {
		if _, ok := all[id]; ok || !old.listed {
			continue
		}
		if old.in(p, h.ranges) {
			fault("L31", "date range %s was removed while its segments are listed", id)
		}
		old.listed, old.removed = false, at
		h.ranges[id] = old
	}
}

// in reports whether a date of the range falls into what is listed.
func (l listing) in(p playlist, others map[string]listing) bool {
	start, end, known := l.all.span()
	open := !known && l.all["SCTE35-OUT"] != "" // the break goes on
	if l.all["END-ON-NEXT"] != "" {
		open = true
		for _, other := range others {
			next, _, _ := other.all.span()
			if other.all["CLASS"] == l.all["CLASS"] && next.After(start) && (open || next.Before(end)) {
				open, end = false, next
			}
		}
	}
	return !start.IsZero() && start.Before(p.end) && (open || end.After(p.first) || start.Equal(end) && !start.Before(p.first))
}
