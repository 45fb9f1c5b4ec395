package hls

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// dates are the date ranges of a playlist. Their text stands between the header
// and the first segment: it is made when one comes or goes, not for every
// version, and versions share it.
type dates struct {
	ranges []*dateRange
	lines  []dateLine // in the order they came
	text   []byte     // of all lines; never written again
	used   []usedID   // of ranges that have gone, oldest first

	// What lies beyond the skip boundary: so many lines, so much of text.
	old, oldText int
}

// dateRange is what all lines with one ID say.
type dateRange struct {
	DateRange
	stays bool // until it is removed: its dates do not say when it applies
}

// dateLine is one EXT-X-DATERANGE. What is known later is another line with the
// same ID: lines that are listed do not change (specs L35).
type dateLine struct {
	instant
	id   string
	text []byte
	set  DateRange
}

// usedID is the ID of a range that has gone.
type usedID struct {
	instant
	id string
}

// instant is where a playlist ended when something came or went.
type instant struct {
	at    time.Duration // since the first segment that this Media had
	msn   uint64        // the open segment
	after time.Duration // and how much there was of it
}

func (m *Media) now() instant {
	return instant{at: m.end + m.open.length, msn: m.Position().MSN, after: m.open.length}
}

func (d *dates) find(id string) *dateRange {
	for _, r := range d.ranges {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// end returns when r ends; ok is false while that is not known.
func (d *dates) end(r *dateRange) (end time.Time, ok bool) {
	switch {
	case r.Duration != nil:
		return printedTime(r.Start).Add(*r.Duration), true
	case !r.End.IsZero():
		return printedTime(r.End), true
	case r.EndOnNext:
		next := d.following(r)
		if next == nil {
			return time.Time{}, false
		}
		return printedTime(next.Start), true
	case r.Class == InterstitialClass:
		// It is due at its start, however long it takes.
		return printedTime(r.Start), true
	}
	return time.Time{}, false
}

// following returns the range of the same class with the next start (§4.4.5.1).
func (d *dates) following(r *dateRange) *dateRange {
	var next *dateRange
	for _, o := range d.ranges {
		if o.Class == r.Class && o.Start.After(r.Start) && (next == nil || o.Start.Before(next.Start)) {
			next = o
		}
	}
	return next
}

// SetDateRange lists a date range, or adds attributes to the one with that ID:
// what was said once cannot be changed, as specs L30 wants; an attribute that is
// missing stays. Saying the same again does nothing. All renditions must get the
// same date ranges (specs L90).
//
// It is listed as long as a date of it may belong to a listed segment (specs
// L31), and only while the playlist has program date-times. One whose end is not
// known stays until that is told; one with CuePre or CuePost until RemoveDateRange.
//
// Errors are ErrDateRange, ErrDateRangeConflict, ErrDateRangesFull or ErrEnded.
func (m *Media) SetDateRange(d DateRange) error {
	if err := m.CheckDateRange(d); err != nil {
		return err
	}
	return m.dates.set(d.clone(), m.now())
}

// CheckDateRange returns the error that SetDateRange would, and changes nothing:
// a range is set in all renditions or in none (specs L90).
func (m *Media) CheckDateRange(d DateRange) error {
	if m.ended {
		return fmt.Errorf("set date range %s: %w", d.ID, ErrEnded)
	}
	if !d.Start.IsZero() && m.dates.find(d.ID) == nil {
		fresh := dateRange{DateRange: d}
		first, known := m.firstDate()
		if end, ends := m.dates.end(&fresh); known && ends && end.Before(first) && !d.stays() {
			return fmt.Errorf("set date range %s: %w: it ends before the first listed segment, %v", d.ID, ErrDateRange, first)
		}
	}
	if _, err := m.dates.plan(d); err != nil {
		return fmt.Errorf("set date range %s: %w", d.ID, err)
	}
	return nil
}

// DateRange returns what is said of the listed range with that ID. It shares
// nothing with the playlist.
func (m *Media) DateRange(id string) (DateRange, bool) {
	r := m.dates.find(id)
	if r == nil {
		return DateRange{}, false
	}
	return r.clone(), true
}

// DateRanges returns all listed ranges, in the order they came. They share
// nothing with the playlist.
func (m *Media) DateRanges() []DateRange {
	all := make([]DateRange, 0, len(m.dates.ranges))
	for _, r := range m.dates.ranges {
		all = append(all, r.clone())
	}
	return all
}

func (d *DateRange) stays() bool {
	return slices.Contains(d.Cue, CuePre) || slices.Contains(d.Cue, CuePost)
}

// change is what set does.
type change struct {
	old    *dateRange // nil: the ID is new
	merged DateRange
	line   []byte // nil: nothing is new
}

// plan says what set would do with a range.
func (d *dates) plan(set DateRange) (change, error) {
	said, err := set.pairs()
	if err != nil {
		return change{}, err
	}
	c := change{old: d.find(set.ID)}
	if c.old == nil {
		if slices.ContainsFunc(d.used, func(u usedID) bool { return u.id == set.ID }) {
			return c, fmt.Errorf("%w: the ID was that of another range: use a new one", ErrDateRangeConflict)
		}
		c.merged = set
	} else {
		if said, err = c.old.news(said); err != nil || len(said) == 0 {
			return c, err
		}
		c.merged = c.old.merge(&set)
	}
	if err := c.merged.check(); err != nil {
		return c, err
	}
	if err := d.fits(&c.merged); err != nil {
		return c, err
	}
	c.line = c.merged.line(said)
	switch {
	case len(c.line) > maxDateLine:
		err = fmt.Errorf("%w: its tag has %d bytes, the most is %d", ErrDateRange, len(c.line), maxDateLine)
	case c.old == nil && len(d.ranges) >= MaxDateRanges || len(d.text)+len(c.line) > maxDateText:
		err = fmt.Errorf("%w: %d ranges with %d bytes are listed. Ranges go when they have ended: set the end of those that have none",
			ErrDateRangesFull, len(d.ranges), len(d.text))
	}
	return c, err
}

// set adds d, which belongs to it from now on.
func (d *dates) set(set DateRange, now instant) error {
	c, err := d.plan(set)
	if err != nil || c.line == nil {
		return err
	}
	r := c.old
	if r == nil {
		r = new(dateRange)
		d.ranges = append(d.ranges, r)
	}
	r.DateRange, r.stays = c.merged, c.merged.stays()
	d.lines = append(d.lines, dateLine{instant: now, id: set.ID, text: c.line, set: set})
	d.print()
	return nil
}

// news returns which of the attributes that were said now are new.
func (r *dateRange) news(said []pair) ([]pair, error) {
	before, err := r.pairs()
	if err != nil {
		return nil, err
	}
	var added []pair
	for _, p := range said {
		i := slices.IndexFunc(before, func(b pair) bool { return b.name == p.name })
		switch {
		case i < 0:
			added = append(added, p)
		case before[i].value != p.value:
			return nil, fmt.Errorf("%w: %s was %s and cannot become %s: use a new ID", ErrDateRangeConflict, p.name, before[i].value, p.value)
		}
	}
	return added, nil
}

// line returns the tag with some attributes. Those that say which range it is
// are repeated: older players want them in every tag.
func (d *DateRange) line(said []pair) []byte {
	all, err := d.pairs()
	if err != nil {
		return nil // they were printed before
	}
	b := []byte("#EXT-X-DATERANGE:")
	for _, p := range all {
		switch p.name {
		case "ID", "CLASS", "START-DATE":
		default:
			if !slices.Contains(said, p) {
				continue
			}
		}
		if b[len(b)-1] != ':' {
			b = append(b, ',')
		}
		b = append(append(append(b, p.name...), '='), p.value...)
	}
	return append(b, '\n')
}

// fits checks what holds among ranges of one class when one of them ends where
// the next starts: none overlap (§4.4.5.1), and none comes between two (§6.2.1).
func (d *dates) fits(n *DateRange) error {
	if n.Class == "" {
		return nil
	}
	fresh := &dateRange{DateRange: *n}
	class := dates{ranges: make([]*dateRange, 0, len(d.ranges)+1)}
	chained := n.EndOnNext
	for _, r := range d.ranges {
		if r.Class == n.Class && r.ID != n.ID {
			class.ranges = append(class.ranges, r)
			chained = chained || r.EndOnNext
		}
	}
	if !chained {
		return nil
	}
	others := class.ranges
	for _, r := range others {
		next := class.following(r)
		if r.EndOnNext && next != nil && n.Start.After(r.Start) && n.Start.Before(next.Start) {
			return fmt.Errorf("%w: %s ends where %s starts, nothing of class %s may start between them", ErrDateRangeConflict, r.ID, next.ID, n.Class)
		}
	}
	class.ranges = append(class.ranges, fresh)
	for _, r := range others {
		if class.overlap(r, fresh) {
			return fmt.Errorf("%w: it overlaps %s, of the same class %s with END-ON-NEXT", ErrDateRangeConflict, r.ID, n.Class)
		}
	}
	return nil
}

// overlap reports whether two ranges have a time in common.
func (d *dates) overlap(first, second *dateRange) bool {
	if second.Start.Before(first.Start) {
		first, second = second, first
	}
	end, known := d.end(first)
	return second.Start.Equal(first.Start) || known && end.After(printedTime(second.Start))
}

// print makes the text anew, in memory of its own: versions keep the old one.
func (d *dates) print() {
	size := 0
	for i := range d.lines {
		size += len(d.lines[i].text)
	}
	d.text = make([]byte, 0, size)
	for i := range d.lines {
		d.text = append(d.text, d.lines[i].text...)
	}
	d.old, d.oldText = 0, 0
}

// drop removes a range with all its lines. Its ID cannot be used again.
func (d *dates) drop(r *dateRange, now instant) {
	d.ranges = slices.DeleteFunc(d.ranges, func(o *dateRange) bool { return o == r })
	d.lines = slices.DeleteFunc(d.lines, func(l dateLine) bool { return l.id == r.ID })
	d.use(usedID{instant: now, id: r.ID})
}

func (d *dates) use(u usedID) {
	if len(d.used) == maxUsedIDs {
		d.used = slices.Delete(d.used, 0, 1)
	}
	d.used = append(d.used, u)
}

// save adds to s what came and went since segment msn was open, or everything.
func (d *dates) save(s *State, msn uint64, all bool) { //nolint:revive // a fact, not a mode
	for i := range d.lines {
		if l := &d.lines[i]; all || l.msn >= msn {
			s.DateRanges = append(s.DateRanges, StatedRange{MSN: l.msn, After: l.after, DateRange: l.set})
		}
	}
	for _, u := range d.used {
		if all || u.msn >= msn {
			s.RemovedRanges = append(s.RemovedRanges, RemovedRange{MSN: u.msn, After: u.after, ID: u.id})
		}
	}
}

// restoreDates lists what s says, and forgets none of the IDs.
func (m *Media) restoreDates(s *State) error {
	var last instant
	for _, r := range s.DateRanges {
		now, err := m.instant(s, last, r.MSN, r.After)
		if err == nil {
			err = m.dates.set(r.clone(), now)
		}
		if err != nil {
			return fmt.Errorf("restore date range %s: %w", r.ID, err)
		}
		last = now
	}
	last = instant{}
	for _, r := range s.RemovedRanges {
		now, err := m.instant(s, last, r.MSN, r.After)
		if err == nil && (len(r.ID) > maxDateID || m.dates.find(r.ID) != nil) {
			err = ErrState
		}
		if err = errors.Join(err, checkQuoted("ID", r.ID)); err != nil {
			return fmt.Errorf("restore removed date range %s: %w", r.ID, err)
		}
		m.dates.use(usedID{instant: now, id: r.ID})
		last = now
	}
	return nil
}

// instant returns when something came or went that comes after last in s. What
// is older than all segments is as old as they are.
func (m *Media) instant(s *State, last instant, msn uint64, after time.Duration) (instant, error) {
	if msn > s.Next || msn < last.msn || after < 0 || after > 2*m.cfg.Target {
		return instant{}, fmt.Errorf("%w: %v in segment %d follow segment %d, the next is %d", ErrState, after, msn, last.msn, s.Next)
	}
	now := instant{at: m.end + after, msn: msn, after: after}
	switch {
	case msn < s.First:
		now.at = 0
	case msn < s.Next:
		r := &m.records[msn-s.First]
		now.at = r.end - r.Duration + after
	}
	now.at = max(now.at, last.at)
	return now, nil
}

// expire removes the ranges that have ended before the first listed segment
// (specs L31).
func (m *Media) expire() {
	first, ok := m.firstDate()
	if !ok || len(m.dates.ranges) == 0 {
		return
	}
	var over []*dateRange
	for _, r := range m.dates.ranges {
		if end, known := m.dates.end(r); known && !r.stays && end.Before(first) {
			over = append(over, r)
		}
	}
	if len(over) == 0 {
		return
	}
	for _, r := range over {
		m.dates.drop(r, m.now())
	}
	m.dates.print()
}

// RemoveDateRange takes back a date range that has not begun, or one that stays
// for its CuePre or CuePost. It cannot be removed while a date of it belongs to a
// listed segment (specs L31): the error is ErrDateRangeConflict, and
// ErrDateRange if there is none with this ID.
func (m *Media) RemoveDateRange(id string) error {
	if err := m.CheckRemoval(id); err != nil {
		return err
	}
	m.dates.drop(m.dates.find(id), m.now())
	m.dates.print()
	return nil
}

// CheckRemoval returns the error that RemoveDateRange would, and changes nothing.
func (m *Media) CheckRemoval(id string) error {
	r := m.dates.find(id)
	switch {
	case m.ended:
		return fmt.Errorf("remove date range %s: %w", id, ErrEnded)
	case r == nil:
		return fmt.Errorf("remove date range %s: %w: there is none", id, ErrDateRange)
	}
	first, known := m.firstDate()
	end, ends := m.dates.end(r)
	over := known && ends && end.Before(first)
	if known && !over && printedTime(r.Start).Before(m.lastDate()) {
		return fmt.Errorf("remove date range %s: %w: segments of its time are listed: set its end, or wait until they have left", id, ErrDateRangeConflict)
	}
	return nil
}

// firstDate returns the date of the first listed segment, if it is known.
func (m *Media) firstDate() (time.Time, bool) {
	at := m.open.at
	if len(m.records) > 0 {
		at = m.records[0].at
	}
	return printedTime(at), !at.IsZero()
}

// lastDate returns the date of the playlist's end. Some segment has one.
func (m *Media) lastDate() time.Time {
	if m.open.started {
		return m.open.at.Add(m.open.length)
	}
	last := &m.records[len(m.records)-1]
	return last.at.Add(last.Duration)
}

// dateText returns the date ranges as they are listed, in a playlist without some
// segments. There must be a program date-time (specs L30).
func (m *Media) dateText(but prior) []byte {
	if m.dated == but.dated {
		return nil
	}
	return m.dates.text
}

// oldDates returns how much of dateText came before the skip boundary (specs L69).
// Time is that of the media: while none comes, nothing grows old.
func (m *Media) oldDates() int {
	if m.dated == 0 {
		return 0
	}
	d := &m.dates
	boundary := m.end + m.open.length - skipTargets*m.cfg.Target
	for d.old < len(d.lines) && d.lines[d.old].at < boundary {
		d.oldText += len(d.lines[d.old].text)
		d.old++
	}
	return d.oldText
}

// goneDates returns the ranges that went since the skip boundary.
func (m *Media) goneDates() []usedID {
	boundary := m.end + m.open.length - skipTargets*m.cfg.Target
	i := len(m.dates.used)
	for i > 0 && m.dates.used[i-1].at >= boundary {
		i--
	}
	return m.dates.used[i:]
}
