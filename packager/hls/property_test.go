package hls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gohlslib/v2/pkg/playlist"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// version is one rendering, and what its bytes were when it was made.
type version struct {
	pieces [][]byte
	text   []byte
	at     time.Duration // media time at its end
	parsed parsed
}

// run drives a Media as a packager does and checks every version.
type run struct {
	t          *rapid.T
	cfg        Config
	media      *Media
	versions   []version // of LowLatency
	kept       []version // of everything, for immutability
	counter    int
	inits      int
	now        time.Duration
	jumps      time.Duration // time without media
	parts      time.Duration // of the open segment
	named      map[string]bool
	deltas     int
	deltaDates int
	ended      bool
	log        State
	ranges     int
	since      map[string]time.Duration // when a date range was listed
	gone       map[string]bool          // IDs of date ranges
}

func (r *run) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *run) step() {
	t := r.t
	limit := r.cfg.Target + 499*time.Millisecond
	switch rapid.SampledFrom([]string{"part", "part", "part", "close", "close", "break", "init", "lost", "same init", "range", "range", "restart"}).Draw(t, "step") {
	case "part":
		r.part(limit)
	case "close":
		r.close(limit)
	case "break":
		r.media.Discontinuity()
		jump := rapid.SampledFrom([]time.Duration{0, time.Second}).Draw(t, "jump")
		r.now += jump
		r.jumps += jump
	case "init":
		r.inits++
		r.media.Discontinuity()
		r.ok(r.media.SetInit(fmt.Sprintf("init-%d.mp4", r.inits)))
	case "same init":
		r.ok(r.media.SetInit(fmt.Sprintf("init-%d.mp4", max(r.inits-rapid.IntRange(0, 1).Draw(t, "back"), 0))))
	case "restart":
		r.restart(limit)
	case "range":
		r.dateRange()
	case "lost":
		if r.parts == 0 {
			r.media.SetTime(time.Unix(1_800_000_000, 0).Add(r.now))
			r.closeAs(Segment{Duration: r.cfg.Target, Gap: true})
		}
	}
}

// dateRange lists one, says more about one, or takes one back.
func (r *run) dateRange() {
	t := r.t
	at := time.Unix(1_800_000_000, 0).Add(r.now + time.Duration(rapid.IntRange(-5, 10).Draw(t, "start"))*time.Second)
	id := fmt.Sprintf("r%d", r.ranges)
	var d DateRange
	switch rapid.SampledFrom([]string{"marker", "out", "in", "remove"}).Draw(t, "range") {
	case "marker":
		r.ranges++
		d = Marker(fmt.Sprintf("r%d", r.ranges), "", at, Attribute{Name: "X-TEST", Text: "a"})
	case "out":
		r.ranges++
		d = SpliceOut(fmt.Sprintf("r%d", r.ranges), at, time.Minute, []byte{0xfc, 1})
	case "in":
		d = SpliceIn(id, at.Add(10*time.Second), []byte{0xfc, 2})
	case "remove":
		if err := r.media.RemoveDateRange(id); err != nil && !errors.Is(err, ErrDateRange) && !errors.Is(err, ErrDateRangeConflict) {
			t.Fatal(err)
		}
		return
	}
	if err := r.media.SetDateRange(d); err != nil && !errors.Is(err, ErrDateRange) && !errors.Is(err, ErrDateRangeConflict) {
		t.Fatal(err)
	}
}

// checkRanges: specs L30, L31, L35. Lines stay as they are and in order; only
// ranges whose time has passed go, or those that had not begun.
func (r *run) checkRanges(old, cur parsed) {
	t := r.t
	if slices.ContainsFunc(cur.body, func(line string) bool { return strings.HasPrefix(line, "#EXT-X-PROGRAM") }) != (len(cur.body) > 0) {
		t.Fatalf("L25: some segments have no date")
	}
	gone := slices.DeleteFunc(slices.Clone(old.ranges), func(line string) bool { return slices.Contains(cur.ranges, line) })
	kept := slices.DeleteFunc(slices.Clone(old.ranges), func(line string) bool { return slices.Contains(gone, line) })
	if len(cur.ranges) < len(kept) || !slices.Equal(kept, cur.ranges[:len(kept)]) {
		t.Fatalf("L35: date ranges changed from %q to %q", old.ranges, cur.ranges)
	}
	for _, line := range gone {
		id := attribute(line, "ID")
		if slices.ContainsFunc(cur.ranges, func(l string) bool { return attribute(l, "ID") == id }) {
			t.Fatalf("L31: one line of %s went, others stay", id)
		}
		r.gone[id] = true
		begin, end := span(t, old.ranges, id)
		first, last := listedDates(cur)
		if !end.Before(first) && begin.Before(last) {
			t.Fatalf("L31: %s from %v to %v went, but segments from %v to %v are listed", id, begin, end, first, last)
		}
	}
	for _, line := range cur.ranges[len(kept):] {
		r.since[line] = r.now + r.parts - r.jumps
		if r.gone[attribute(line, "ID")] {
			t.Fatalf("L31: ID used again: %s", line)
		}
	}
	first, _ := listedDates(cur)
	for _, line := range cur.ranges {
		id := attribute(line, "ID")
		if _, end := span(t, cur.ranges, id); end.Before(first) && cur.first > 0 {
			t.Fatalf("L31: %s has ended at %v, the first segment begins at %v", id, end, first)
		}
	}
}

// attribute returns a value of a tag, without quotes.
func attribute(line, name string) string {
	_, rest, found := strings.Cut(line, ":"+name+"=")
	if !found {
		_, rest, _ = strings.Cut(line, ","+name+"=")
	}
	value, _, _ := strings.Cut(rest, ",")
	return strings.Trim(value, `"`)
}

// span returns when a range begins and ends; it ends in the far future if its
// lines do not say when.
func span(t failer, lines []string, id string) (begin, end time.Time) {
	t.Helper()
	end = time.Unix(1<<40, 0)
	for _, line := range lines {
		if attribute(line, "ID") != id {
			continue
		}
		var err error
		if begin, err = time.Parse(time.RFC3339, attribute(line, "START-DATE")); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if s := attribute(line, "END-DATE"); s != "" {
			if end, err = time.Parse(time.RFC3339, s); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		if s := attribute(line, "DURATION"); s != "" {
			end = begin.Add(time.Duration(seconds(t, s) * float64(time.Second)))
		}
	}
	return begin, end
}

// quiet is for texts that were parsed before.
type quiet struct{}

func (quiet) Helper()               {}
func (quiet) Fatalf(string, ...any) {}

// listedDates returns when the first segment begins and the last one ends.
func listedDates(p parsed) (first, last time.Time) {
	if len(p.segments) == 0 {
		return first, last
	}
	date := func(s listed) time.Time {
		at, _ := time.Parse(time.RFC3339, strings.TrimPrefix(s.head[len(s.head)-1], "#EXT-X-PROGRAM-DATE-TIME:"))
		return at
	}
	end := p.segments[len(p.segments)-1]
	return date(p.segments[0]), date(end).Add(time.Duration(end.seconds(quiet{}) * float64(time.Second)))
}

// restart goes on with what was saved: a log, or all at once. The last part may
// not have been saved, but its time.
func (r *run) restart(limit time.Duration) {
	t := r.t
	if rapid.Bool().Draw(t, "log") {
		r.save(r.log.Next)
	} else {
		r.log = State{}
		r.save(0)
	}
	init := r.media.nextInit
	m, err := Restore(r.cfg, r.log)
	r.ok(err)
	before := r.media
	r.media = m
	if got, want := m.Position(), before.Position(); got.MSN != want.MSN || got.LastParts != want.LastParts {
		t.Fatalf("L18: position %+v after a restart, before it %+v", got, want)
	}
	full, _, _ := m.LowLatency()
	p := parse(t, full)
	if !bytes.Equal(m.dates.text, before.dates.text) {
		t.Fatalf("L35: date ranges changed by a restart: %s%s", before.dates.text, m.dates.text)
	}
	for _, s := range p.segments {
		if len(s.parts) > 0 {
			t.Fatalf("segment %d has parts after a restart", s.msn)
		}
	}
	if r.parts > 0 {
		if err := m.AddPart(Part{URI: "p", Duration: grain}); !errors.Is(err, ErrLost) {
			t.Fatalf("a part after those that are gone: %v", err)
		}
		r.closeAs(Segment{Duration: min(r.parts, limit), Gap: true})
	}
	was, kept := parse(t, before.Plain()).segments, parse(t, m.Plain()).segments
	gone := int(m.first - before.first)
	if diff := cmp.Diff(was[gone:], kept[:len(was)-gone], cmp.AllowUnexported(listed{}), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("L35: changed by a restart (-was +is):\n%s", diff)
	}
	m.Discontinuity()
	r.ok(m.SetInit(init))
}

// save appends to the log what came since.
func (r *run) save(since uint64) {
	text, err := json.Marshal(r.media.Since(since))
	r.ok(err)
	var read State
	r.ok(json.Unmarshal(text, &read))
	r.ok(r.log.Append(read))
}

func (r *run) part(limit time.Duration) {
	d := time.Duration(rapid.Int64Range(1, int64(r.cfg.Part/time.Microsecond)).Draw(r.t, "duration")) * time.Microsecond
	d = max(d, grain)
	if r.parts+d > limit {
		r.close(limit)
		return
	}
	if r.parts == 0 {
		r.media.SetTime(time.Unix(1_800_000_000, 0).Add(r.now))
	}
	r.counter++
	uri := fmt.Sprintf("p%010d.m4s", r.counter)
	gap := rapid.IntRange(0, 9).Draw(r.t, "gap") == 0
	r.ok(r.media.AddPart(Part{URI: uri, Duration: d, Independent: r.parts == 0, Gap: gap}))
	r.parts += d
	r.ok(r.media.SetHint(fmt.Sprintf("p%010d.m4s", r.counter+1), ""))
}

func (r *run) close(limit time.Duration) {
	if r.parts == 0 {
		r.media.SetTime(time.Unix(1_800_000_000, 0).Add(r.now))
		r.closeAs(Segment{Duration: limit})
		return
	}
	r.closeAs(Segment{Duration: r.parts})
}

func (r *run) closeAs(s Segment) {
	s.URI = fmt.Sprintf("s%08d.m4s", r.media.Position().MSN)
	removed, err := r.media.CloseSegment(s)
	r.ok(err)
	r.now += s.Duration
	r.parts = 0
	full, _, _ := r.media.LowLatency()
	text := string(bytes.Join(full, nil))
	for _, uri := range removed.Parts {
		if strings.Contains(text, uri) {
			r.t.Fatalf("part %s was removed and is named", uri)
		}
		r.named[uri] = true
	}
	for _, uri := range removed.Inits {
		if strings.Contains(text, `"`+uri+`"`) {
			r.t.Fatalf("init %s was removed and is named", uri)
		}
	}
	for _, seg := range removed.Segments {
		if strings.Contains(text, seg.URI) || r.named[seg.URI] {
			r.t.Fatalf("segment %s was removed and is named, or was removed twice", seg.URI)
		}
		r.named[seg.URI] = true
	}
}

// look renders all kinds and compares them with what was before.
func (r *run) look() {
	t := r.t
	full, delta, dates := r.media.LowLatency()
	plain := r.media.Plain()
	v := version{pieces: full, text: bytes.Join(full, nil), at: r.now + r.parts, parsed: parse(t, full)}
	r.kept = append(r.kept, v, version{pieces: delta, text: bytes.Join(delta, nil)}, version{pieces: plain, text: bytes.Join(plain, nil)})
	r.checkParts(v.parsed)
	r.checkPlain(v.parsed, plain)
	r.checkPosition(v.parsed)
	r.kept = append(r.kept, version{pieces: dates, text: bytes.Join(dates, nil)})
	checkGohlslib(t, v)
	if len(r.versions) > 0 {
		checkChange(t, r.versions[len(r.versions)-1].parsed, v.parsed)
		r.checkRanges(r.versions[len(r.versions)-1].parsed, v.parsed)
		r.checkDelta(v, delta, "9")
		r.checkDates(v, delta, dates)
	}
	r.versions = append(r.versions, v)
}

// checkDelta: specs L67, L68.
func (r *run) checkDelta(v version, delta [][]byte, number string) {
	t := r.t
	least, most := r.skippable(v.parsed, 0.002), r.skippable(v.parsed, -0.002)
	if delta == nil {
		if least > 0 && !r.ended {
			t.Fatalf("L67: no delta update, but %d segments lie beyond the boundary", least)
		}
		return
	}
	d := parse(t, delta)
	if r.ended || d.skipped == 0 || d.skipped < least || d.skipped > most {
		t.Fatalf("L68: %d segments skipped, want %d to %d (ended %v)", d.skipped, least, most, r.ended)
	}
	if d.header[1] != "#EXT-X-VERSION:"+number || v.parsed.header[1] != "#EXT-X-VERSION:6" {
		t.Fatalf("L14: %s with SKIP, %s without", d.header[1], v.parsed.header[1])
	}
	d.header = slices.Clone(d.header)
	d.header[1] = v.parsed.header[1]
	full := v.parsed
	full.body = nil
	// A client may ask for one while its version is younger than half the
	// boundary: try the newest and the oldest such.
	oldest := len(r.versions) - 1
	for oldest > 0 && v.at-r.versions[oldest-1].at < 3*r.cfg.Target-time.Second {
		oldest--
	}
	for _, old := range []version{r.versions[len(r.versions)-1], r.versions[oldest]} {
		merged := merge(t, old.parsed, d)
		if number == "9" {
			merged.ranges = d.ranges // all of them
		}
		for j := range d.skipped {
			merged.segments[j].parts = nil
		}
		if !reflect.DeepEqual(full, merged) {
			t.Fatalf("L68: merged with the version at %v (-full +merged):\n%s", old.at,
				cmp.Diff(full, merged, cmp.AllowUnexported(parsed{}, listed{})))
		}
	}
	r.deltas++
}

// checkDates: specs L69.
func (r *run) checkDates(v version, delta, dates [][]byte) {
	t := r.t
	if (dates == nil) != (delta == nil) {
		t.Fatal("L69: only one kind of delta update")
	}
	if dates == nil {
		return
	}
	r.checkDelta(v, dates, "10")
	one, two := parse(t, delta), parse(t, dates)
	if one.removed != nil || two.removed == nil {
		t.Fatalf("L69: %q are named as removed with YES, %q with v2", one.removed, two.removed)
	}
	if len(two.ranges) > len(one.ranges) || !slices.Equal(two.ranges, one.ranges[len(one.ranges)-len(two.ranges):]) {
		t.Fatalf("L69: %q with v2, %q with YES", two.ranges, one.ranges)
	}
	for _, line := range two.ranges {
		if r.since[line] < v.at-r.jumps-6*r.cfg.Target {
			t.Fatalf("L69: listed at %v, still there at %v: %s", r.since[line], v.at, line)
		}
	}
	if len(two.ranges) < len(one.ranges) {
		r.deltaDates++
	}
	two.header, two.ranges, two.removed = one.header, one.ranges, nil
	if !reflect.DeepEqual(one, two) {
		t.Fatalf("L69: more than the date ranges differs: %s", cmp.Diff(one, two, cmp.AllowUnexported(parsed{}, listed{})))
	}
}

// skippable counts the segments that end more than the skip boundary, and margin
// seconds, before the end of the last complete one. Printed durations are
// rounded, so the count is only certain with a margin.
func (r *run) skippable(p parsed, margin float64) int {
	var ends []float64
	var end float64
	for _, s := range p.segments {
		if s.complete() {
			end += s.seconds(r.t)
			ends = append(ends, end)
		}
	}
	n := 0
	for _, e := range ends {
		if end-e > 6*r.cfg.Target.Seconds()+margin {
			n++
		}
	}
	return n
}

// checkChange: specs L35. Surviving lines are the same; only the oldest
// segments, old parts and hints go; only at the end something comes.
func checkChange(t failer, old, cur parsed) {
	t.Helper()
	if !slices.Equal(old.header, cur.header) {
		t.Fatalf("L35: header changed from %q to %q", old.header, cur.header)
	}
	gone := int(cur.first - old.first)
	if cur.first < old.first || gone > len(old.segments) {
		t.Fatalf("L18: media sequence went from %d to %d", old.first, cur.first)
	}
	breaks := uint64(0)
	for _, s := range old.segments[:gone] {
		if s.broken() {
			breaks++
		}
	}
	if cur.discontinuity != old.discontinuity+breaks {
		t.Fatalf("L19: discontinuity sequence went from %d to %d; %d rolled off", old.discontinuity, cur.discontinuity, breaks)
	}
	if len(cur.segments) < len(old.segments)-gone {
		t.Fatalf("L35: segments at the end went away")
	}
	for i, was := range old.segments[gone:] {
		is := cur.segments[i]
		if was.msn != is.msn || was.init != is.init || !slices.Equal(was.head, is.head) {
			t.Fatalf("L35, L41: segment changed from %+v to %+v", was, is)
		}
		if was.complete() && !slices.Equal(was.tail, is.tail) {
			t.Fatalf("L35: complete segment changed from %+v to %+v", was, is)
		}
		switch {
		case slices.Equal(was.parts, is.parts):
		case is.complete() && len(is.parts) == 0:
		case !was.complete() && len(is.parts) > len(was.parts) && slices.Equal(was.parts, is.parts[:len(was.parts)]):
		default:
			t.Fatalf("L35: parts changed from %q to %q", was.parts, is.parts)
		}
	}
	// The same as text: what is there now is some of what was, then new lines.
	i := 0
	for n, line := range cur.body {
		at := slices.Index(old.body[i:], line)
		if at < 0 {
			for _, line := range cur.body[n:] {
				if slices.Contains(old.body, line) && strings.Contains(line, ".m4s") {
					t.Fatalf("L35: %q moved behind %q", line, cur.body[n])
				}
			}
			break
		}
		i += at + 1
	}
}

// checkParts: specs L39, L43, L47, L49, L15.
func (r *run) checkParts(p parsed) {
	t := r.t
	var end float64
	for _, s := range p.segments {
		end += s.seconds(t)
	}
	if complete := end - r.parts.Seconds(); p.first > 0 && complete < 3*r.cfg.Target.Seconds()-0.001 {
		t.Fatalf("L39: %f s are left", complete)
	}
	var at float64
	for _, s := range p.segments {
		at += s.seconds(t)
		if s.complete() && s.seconds(t) >= r.cfg.Target.Seconds()+0.5 {
			t.Fatalf("L15: EXTINF %f", s.seconds(t))
		}
		if len(s.parts) > 0 && end-at > 3*r.cfg.Target.Seconds()+0.001 {
			t.Fatalf("L49: segment %d ends %f s before the end and has parts", s.msn, end-at)
		}
		for i, part := range s.parts {
			_, rest, _ := strings.Cut(part, "DURATION=")
			value, _, _ := strings.Cut(rest, ",")
			if seconds(t, value) > seconds(t, strings.TrimPrefix(p.header[4], "#EXT-X-PART-INF:PART-TARGET=")) {
				t.Fatalf("L43: %s with %s", part, p.header[4])
			}
			if (i == 0) != strings.Contains(part, "INDEPENDENT=YES") {
				t.Fatalf("L47: part %d: %s", i, part)
			}
		}
		if len(s.head) == 0 || !strings.HasPrefix(s.head[len(s.head)-1], "#EXT-X-PROGRAM-DATE-TIME:20") {
			t.Fatalf("L25: segment %d has %q", s.msn, s.head)
		}
		if s.init == "" {
			t.Fatalf("L2: segment %d has no EXT-X-MAP", s.msn)
		}
	}
}

// checkPlain: specs S7, and that both kinds list the same.
func (r *run) checkPlain(full parsed, pieces [][]byte) {
	t := r.t
	text := string(bytes.Join(pieces, nil))
	for _, tag := range []string{"PART", "SERVER-CONTROL", "PRELOAD", "REPORT", "SKIP"} {
		if strings.Contains(text, "EXT-X-"+tag) {
			t.Fatalf("S7: %s in a plain playlist:\n%s", tag, text)
		}
	}
	plain := parse(t, pieces)
	var want []listed
	for _, s := range full.segments {
		if s.complete() {
			s.parts = nil
			want = append(want, s)
		}
	}
	if !reflect.DeepEqual(want, plain.segments) {
		t.Fatalf("S7: the kinds differ (-low latency +plain):\n%s", cmp.Diff(want, plain.segments, cmp.AllowUnexported(listed{})))
	}
	if !slices.Equal(plain.ranges, full.ranges) {
		t.Fatalf("L90: date ranges %q, want %q", plain.ranges, full.ranges)
	}
	if plain.first != full.first || plain.discontinuity != full.discontinuity {
		t.Fatalf("L18, L19: counters %d %d, want %d %d", plain.first, plain.discontinuity, full.first, full.discontinuity)
	}
}

func (r *run) checkPosition(p parsed) {
	pos := r.media.Position()
	last := parsed{}.segments
	next := p.first
	for _, s := range p.segments {
		if s.complete() {
			next = s.msn + 1
		} else {
			last = append(last, s)
		}
	}
	if pos.MSN != next || len(last) > 1 || (len(last) == 1) != (pos.Parts > 0) || len(last) == 1 && len(last[0].parts) != pos.Parts {
		r.t.Fatalf("position %+v, want segment %d open, %+v", pos, next, last)
	}
}

// checkGohlslib parses with a library that is not ours. It knows one EXT-X-MAP.
func checkGohlslib(t failer, v version) {
	t.Helper()
	if len(v.parsed.segments) == 0 || !v.parsed.segments[0].complete() {
		return // the library refuses playlists without complete segments
	}
	var m playlist.Media
	if err := m.Unmarshal(v.text); err != nil {
		t.Fatalf("gohlslib: %v\n%s", err, v.text)
	}
	segments := v.parsed.segments
	if last := segments[len(segments)-1]; !last.complete() {
		if len(m.Parts) != len(last.parts) {
			t.Fatalf("gohlslib sees %d parts, want %d", len(m.Parts), len(last.parts))
		}
		segments = segments[:len(segments)-1]
	}
	if m.MediaSequence != int(v.parsed.first) || *m.DiscontinuitySequence != int(v.parsed.discontinuity) || len(m.Segments) != len(segments) {
		t.Fatalf("gohlslib sees %d segments from %d", len(m.Segments), m.MediaSequence)
	}
	for i, s := range m.Segments {
		w := segments[i]
		if s.URI != w.tail[len(w.tail)-1] || len(s.Parts) != len(w.parts) || s.Discontinuity != w.broken() || s.Gap != (len(w.tail) == 3) || s.DateTime == nil {
			t.Fatalf("gohlslib sees %+v, want %+v", s, w)
		}
	}
}

// Whatever a packager does, each version follows from the one before by the
// allowed edits, deltas merge, and what was handed out stays as it was.
func TestVersions(t *testing.T) {
	deltas, dates, gone := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := &run{t: t, named: map[string]bool{}, gone: map[string]bool{}, since: map[string]time.Duration{}}
		r.cfg = Config{
			Target: time.Duration(rapid.IntRange(1, 4).Draw(t, "target")) * time.Second,
			Part:   rapid.SampledFrom([]time.Duration{200 * time.Millisecond, 333_333_333, time.Second}).Draw(t, "part target"),
			Skip:   true,
		}
		r.cfg.Window = r.cfg.Target * time.Duration(rapid.IntRange(0, 20).Draw(t, "window"))
		r.media = NewMedia(r.cfg)
		r.cfg.Skip = r.media.cfg.Skip
		r.ok(r.media.SetInit("init-0.mp4"))
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			r.step()
			r.look()
		}
		if err := r.media.End(); (err != nil) != (r.parts > 0) || err != nil && !errors.Is(err, ErrOpen) {
			t.Fatalf("L32: end with %v of parts open: %v", r.parts, err)
		}
		if r.parts > 0 {
			r.close(0)
			r.look()
			r.ok(r.media.End())
		}
		r.ended = true
		r.look()
		if err := r.media.AddPart(Part{URI: "p", Duration: grain}); !errors.Is(err, ErrEnded) {
			t.Fatalf("L32: a part after the end: %v", err)
		}
		for _, v := range r.kept {
			if !bytes.Equal(bytes.Join(v.pieces, nil), v.text) {
				t.Fatal("bytes that were handed out changed")
			}
		}
		deltas += r.deltas
		dates += r.deltaDates
		gone += len(r.gone)
	})
	if dates < 20 {
		t.Errorf("only %d delta updates without date ranges were tried", dates)
	}
	if gone < 20 {
		t.Errorf("only %d date ranges came and went", gone)
	}
	if deltas < 100 {
		t.Errorf("only %d delta updates were tried", deltas)
	}
}
