package replay

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
)

// maxSegments bounds a playlist: the newest are in it. 200,000 of two seconds are
// four and a half days.
const maxSegments = 200_000

// describes returns the rendition that a line describes.
func describes(line string) (string, bool) {
	b := []byte(strings.TrimSuffix(line, "\n"))
	if !hls.IsDescription(b) {
		return "", false
	}
	d, err := hls.ParseDescription(b)
	return d.Rendition, err == nil
}

// contents is what a record says: all segments of all renditions. It is pure once
// it is loaded, and some 85 bytes a segment.
type contents struct {
	renditions []*rendition
	slots      []slot // by media sequence number, rising; what any rendition has
	target     time.Duration
}

// rendition is one with its segments.
type rendition struct {
	hls.Description
	segments []segment // by media sequence number, rising
	inits    []string
}

// segment is one entry of a record.
type segment struct {
	msn      uint64
	at       int64 // program date-time in Unix milliseconds; 0: not known
	duration time.Duration
	size     int64
	uri      string
	init     uint16 // of the rendition's
	breaks   bool   // a discontinuity precedes it
	gap      bool
}

// slot is a media sequence number: all renditions have the same.
type slot struct {
	msn      uint64
	at       int64
	duration time.Duration
	breaks   bool
}

func (s *slot) begin() time.Time { return time.UnixMilli(s.at) }
func (s *slot) end() time.Time   { return s.begin().Add(s.duration) }

// end returns when the last segment ended.
func (c *contents) end() time.Time { return c.slots[len(c.slots)-1].end() }

// load reads the record of a presentation. Lines that are damaged are left out.
func load(folder string) (*contents, error) {
	var c contents
	err := readJournal(filepath.Join(folder, recordName), func(line []byte) error {
		c.line(line)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	c.finish()
	return &c, nil
}

// line takes a line of a record.
func (c *contents) line(line []byte) {
	if hls.IsDescription(line) {
		if d, err := hls.ParseDescription(line); err == nil {
			c.describe(d)
		}
		return
	}
	e, err := hls.ParseEntry(line)
	if err != nil {
		return
	}
	r := c.rendition(e.Rendition)
	if r == nil { // a line that says what it is was lost
		return
	}
	r.add(&e)
}

// describe takes what a rendition is. The largest picture counts, and of that
// size what was said last (specs R20).
func (c *contents) describe(d hls.Description) {
	c.target = max(c.target, d.Target)
	r := c.rendition(d.Rendition)
	switch {
	case r == nil:
		c.renditions = append(c.renditions, &rendition{Description: d})
	case d.Width*d.Height >= r.Width*r.Height:
		r.Description = d
	}
}

func (c *contents) rendition(name string) *rendition {
	for _, r := range c.renditions {
		if r.Rendition == name {
			return r
		}
	}
	return nil
}

// add takes a segment. One whose number was there replaces that: what followed
// goes on from it.
func (r *rendition) add(e *hls.Entry) {
	init := slices.Index(r.inits, e.Init)
	if init < 0 {
		if len(r.inits) > 1<<15 {
			return
		}
		init = len(r.inits)
		r.inits = append(r.inits, e.Init)
	}
	s := segment{
		msn: e.MSN, duration: e.Duration, size: e.Bytes, uri: e.URI, init: uint16(init), //nolint:gosec // bounded above
		breaks: e.Discontinuity, gap: e.Gap,
	}
	if !e.Time.IsZero() {
		s.at = e.Time.UnixMilli()
	}
	at, found := slices.BinarySearchFunc(r.segments, s.msn, func(s segment, msn uint64) int { return cmp.Compare(s.msn, msn) })
	switch {
	case found:
		r.segments[at] = s
	default: // nearly always at the end
		r.segments = slices.Insert(r.segments, at, s)
	}
}

// finish makes the slots: of each number what the first rendition says that has
// media there.
func (c *contents) finish() {
	c.renditions = slices.DeleteFunc(c.renditions, func(r *rendition) bool { return len(r.segments) == 0 })
	next := make([]int, len(c.renditions))
	for here := c.lowest(next); here != nil; here = c.lowest(next) {
		c.slots = append(c.slots, slot{here.msn, here.at, here.duration, here.breaks})
		for i, r := range c.renditions {
			if next[i] < len(r.segments) && r.segments[next[i]].msn == here.msn {
				next[i]++
			}
		}
	}
	if n := len(c.slots) - maxSegments; n > 0 {
		c.slots = c.slots[n:]
	}
	for i := 1; i < len(c.slots); i++ {
		s, before := &c.slots[i], &c.slots[i-1]
		if s.at == 0 {
			s.at = before.at + before.duration.Milliseconds()
		}
		s.breaks = s.breaks || s.msn != before.msn+1 // lines were lost
	}
}

// lowest returns the segment with the least number of those that come next, with
// media if one has; nil if there is none.
func (c *contents) lowest(next []int) *segment {
	var here *segment
	for i, r := range c.renditions {
		if next[i] == len(r.segments) {
			continue
		}
		s := &r.segments[next[i]]
		if here == nil || s.msn < here.msn || s.msn == here.msn && here.gap && !s.gap {
			here = s
		}
	}
	return here
}

// view is a part of contents as one place has it.
type view struct {
	contents *contents
	slots    []slot
	there    [][]bool // by rendition and slot: the media is there
}

// see returns the view of these slots, where what look returns says what a place
// has of a rendition.
func (c *contents) see(slots []slot, look func(r *rendition) (func(s *segment) bool, error)) (*view, error) {
	v := &view{contents: c, slots: slots}
	for _, r := range c.renditions {
		there, err := look(r)
		if err != nil {
			return nil, err
		}
		have := make([]bool, len(slots))
		r.each(slots, func(i int, s *segment) {
			have[i] = s != nil && !s.gap && there(s)
		})
		v.there = append(v.there, have)
	}
	v.trim()
	return v, nil
}

// each calls visit for each slot with the segment that r has there, nil if none.
func (r *rendition) each(slots []slot, visit func(i int, s *segment)) {
	if len(slots) == 0 {
		return
	}
	at, _ := slices.BinarySearchFunc(r.segments, slots[0].msn, func(s segment, msn uint64) int { return cmp.Compare(s.msn, msn) })
	for i := range slots {
		for at < len(r.segments) && r.segments[at].msn < slots[i].msn {
			at++
		}
		if at < len(r.segments) && r.segments[at].msn == slots[i].msn {
			visit(i, &r.segments[at])
		} else {
			visit(i, nil)
		}
	}
}

// trim leaves out what is missing in all renditions at the begin and at the end.
func (v *view) trim() {
	some := func(i int) bool {
		return slices.ContainsFunc(v.there, func(have []bool) bool { return have[i] })
	}
	from, to := 0, len(v.slots)
	for from < to && !some(from) {
		from++
	}
	for to > from && !some(to-1) {
		to--
	}
	v.slots = v.slots[from:to]
	for i := range v.there {
		v.there[i] = v.there[i][from:to]
	}
}

// has says whether a rendition has any media.
func (v *view) has(rendition int) bool { return slices.Contains(v.there[rendition], true) }

// duration returns the sum of all slots.
func (v *view) duration() time.Duration {
	var sum time.Duration
	for i := range v.slots {
		sum += v.slots[i].duration
	}
	return sum
}

// gaps returns how many segments are missing, of the renditions that have media.
func (v *view) gaps() int {
	n := 0
	for i, have := range v.there {
		if !v.has(i) {
			continue
		}
		for _, ok := range have {
			if !ok {
				n++
			}
		}
	}
	return n
}

// media returns the playlist of a rendition and its bit rates.
func (v *view) media(rendition int, how hls.Replay) ([]byte, hls.Measure, error) {
	r, have := v.contents.renditions[rendition], v.there[rendition]
	list := make([]hls.Listed, 0, len(v.slots))
	var rates hls.Measure
	r.each(v.slots, func(i int, s *segment) {
		one := hls.Listed{Discontinuity: v.slots[i].breaks, Time: v.slots[i].begin().UTC()}
		if s == nil {
			one.Segment = hls.Segment{URI: fmt.Sprintf("s%08d.m4s", v.slots[i].msn), Duration: v.slots[i].duration, Gap: true}
		} else {
			one.Segment = hls.Segment{URI: s.uri, Duration: s.duration, Gap: !have[i]}
			one.Init = r.inits[s.init]
			if s.at != 0 {
				one.Time = time.UnixMilli(s.at).UTC()
			}
			if have[i] {
				rates.Add(s.size, s.duration)
			}
		}
		if v.slots[i].at == 0 {
			one.Time = time.Time{}
		}
		list = append(list, one)
	})
	how.Target = v.contents.target
	if len(v.slots) > 0 {
		how.First = v.slots[0].msn
	}
	text, err := how.Media(list)
	return text, rates, err
}
