package hls

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Errors of State.
var (
	// ErrState says that a State cannot be that of a playlist, or not of one with
	// this Config. It is from outside: a file may be old, cut off or damaged.
	ErrState = errors.New("playlist state is not valid")
	// ErrLost says that the open segment had parts before a restart. Players may
	// have them, so it cannot get others: close it, with Gap if its media is gone.
	ErrLost = errors.New("parts of the open segment are gone")
)

// State is what a playlist must remember over a restart, so that no media
// sequence number goes back and nothing listed changes (specs L18, L35, L41).
// It is plain and suits encoding/json.
//
// It may be whole, with all listed segments, or hold only the newest ones: see
// [Media.Since]. A stream's file is then a log: State once, Since(next) after
// each segment, some 300 bytes. Reading it back is Append for each line, onto a
// zero State, the whole ones included; a last line that was cut off is simply
// left out. From time to time the log is begun anew with State.
type State struct {
	// Config that cannot change: EXT-X-TARGETDURATION and PART-TARGET (specs L15, L42).
	Target time.Duration `json:"target"`
	Part   time.Duration `json:"part,omitempty"`

	First           uint64 `json:"first"`           // media sequence number of the first listed segment
	Next            uint64 `json:"next"`            // … and of the open segment
	Discontinuities uint64 `json:"discontinuities"` // EXT-X-DISCONTINUITY-SEQUENCE
	LastParts       int    `json:"lastParts,omitempty"`
	Ended           bool   `json:"ended,omitempty"`

	// Parts is how many parts the open segment has. Open says how it begins; it
	// has no URI yet, and the duration of the parts.
	Parts int    `json:"parts,omitempty"`
	Open  Listed `json:"open,omitzero"`

	// Prior is how many of the segments, from First on, Plain alone lists: they are
	// of before a restart, and where Plain goes they still are. LowLatency begins
	// behind them.
	Prior int `json:"prior,omitempty"`

	// Segments are those before Next, oldest first.
	Segments []Listed `json:"segments,omitempty"`

	// DateRanges are what SetDateRange was given and is still listed, in that
	// order. RemovedRanges are IDs that must not be used again (specs L31).
	DateRanges    []StatedRange  `json:"dateRanges,omitempty"`
	RemovedRanges []RemovedRange `json:"removedRanges,omitempty"`
}

// StatedRange is what SetDateRange was given while segment MSN was open.
type StatedRange struct {
	MSN   uint64        `json:"msn"`
	After time.Duration `json:"after,omitempty"` // so much of the segment
	DateRange
}

// RemovedRange is a date range that went while segment MSN was open.
type RemovedRange struct {
	MSN   uint64        `json:"msn"`
	After time.Duration `json:"after,omitempty"` // so much of the segment
	ID    string        `json:"id"`
}

// Listed is a segment as the playlist lists it, without parts.
type Listed struct {
	Segment
	Init          string    `json:"init,omitempty"`
	Discontinuity bool      `json:"discontinuity,omitempty"` // before the segment
	Time          time.Time `json:"time,omitzero"`           // program date-time, in whole milliseconds as printed
}

// State returns the whole state. It copies what is listed: about a megabyte for
// six hours. For every segment use Since.
func (m *Media) State() State { return m.Since(0) }

// Since returns the state with only those segments whose number is msn or
// greater. With the Position().MSN of the last call it is what has changed.
func (m *Media) Since(msn uint64) State {
	p := m.Position()
	s := State{
		Target: m.cfg.Target, Part: m.cfg.Part, First: m.first, Next: p.MSN,
		Discontinuities: m.discontinuity, LastParts: p.LastParts, Ended: m.ended,
		Parts: max(p.Parts, m.lost), Prior: m.prior.segments,
	}
	if s.Parts > 0 {
		s.Open = m.opening()
	}
	from := min(max(msn, m.first), p.MSN) - m.first
	m.dates.save(&s, msn, from == 0)
	if from == uint64(len(m.records)) {
		return s
	}
	s.Segments = make([]Listed, 0, uint64(len(m.records))-from)
	for i := range m.records[from:] {
		r := &m.records[from:][i]
		s.Segments = append(s.Segments, Listed{
			Segment: r.Segment, Init: r.init, Discontinuity: r.discontinuity, Time: r.printed(),
		})
	}
	return s
}

// opening says how the open segment begins.
func (m *Media) opening() Listed {
	if m.open.started {
		return Listed{
			Segment: Segment{Duration: m.open.length},
			Init:    m.init, Discontinuity: m.open.discontinuity, Time: m.open.printed(),
		}
	}
	return Listed{Init: m.nextInit, Discontinuity: m.nextBreak, Time: printedTime(m.nextTime)}
}

// Append brings s up to date with a newer State of the same playlist. If newer is
// not whole, it must begin where s ends, or before.
func (s *State) Append(newer State) error {
	start, err := newer.start()
	if err != nil {
		return err
	}
	if s.Target == 0 { // nothing yet
		*s = newer
		return nil
	}
	begin, err := s.start()
	switch {
	case err != nil:
		return err
	case newer.Target != s.Target || newer.Part != s.Part:
		return fmt.Errorf("%w: target duration %v and part target %v follow %v and %v", ErrState, newer.Target, newer.Part, s.Target, s.Part)
	case newer.First < s.First || newer.Next < s.Next || newer.Discontinuities < s.Discontinuities:
		return fmt.Errorf("%w: segments %d to %d follow %d to %d", ErrState, newer.First, newer.Next, s.First, s.Next)
	case start > s.Next && start > newer.First: // what is before First has left the playlist
		return fmt.Errorf("%w: segments %d to %d are missing", ErrState, s.Next, start-1)
	}
	kept := s.Segments
	if start <= begin || start > s.Next { // nothing of it is listed any more
		kept, begin = nil, start
	} else {
		kept = kept[:start-begin]
	}
	dates, removed := s.joinDates(&newer, start)
	kept = append(kept, newer.Segments...)
	if newer.First > begin {
		gone := min(newer.First-begin, uint64(len(kept)))
		clear(kept[:gone])
		kept = kept[gone:]
	}
	*s = newer
	s.Segments, s.DateRanges, s.RemovedRanges = kept, dates, removed
	return nil
}

// joinDates returns the date ranges of s and newer together. Those of newer are
// all that came since its first segment was open.
func (s *State) joinDates(newer *State, start uint64) ([]StatedRange, []RemovedRange) {
	if start == newer.First { // it is whole
		return newer.DateRanges, newer.RemovedRanges
	}
	gone := map[string]bool{}
	for _, r := range newer.RemovedRanges {
		gone[r.ID] = true
	}
	dates := slices.DeleteFunc(slices.Clone(s.DateRanges), func(r StatedRange) bool { return r.MSN >= start || gone[r.ID] })
	removed := slices.DeleteFunc(slices.Clone(s.RemovedRanges), func(r RemovedRange) bool { return r.MSN >= start })
	removed = append(removed, newer.RemovedRanges...)
	return append(dates, newer.DateRanges...), removed[max(len(removed)-maxUsedIDs, 0):]
}

// start returns the number of the first segment in s.
func (s *State) start() (uint64, error) {
	n := uint64(len(s.Segments))
	if s.Next < s.First || s.Next-s.First < n || s.Target <= 0 {
		return 0, fmt.Errorf("%w: %d segments between %d and %d, target duration %v", ErrState, n, s.First, s.Next, s.Target)
	}
	return s.Next - n, nil
}

// most is the greatest media sequence number that is taken from a State: some
// must be left to go on with (specs L12).
const most = math.MaxUint64 >> 1

// maxParts is how many parts of a segment are believed.
const maxParts = 1 << 20

// check says whether a playlist with cfg can have this state.
func (s *State) check(cfg Config) error {
	start, err := s.start()
	switch {
	case err != nil:
		return err
	case start != s.First:
		return fmt.Errorf("%w: segments %d to %d are missing", ErrState, s.First, start-1)
	case s.Next > most || s.Discontinuities > most:
		return fmt.Errorf("%w: numbers %d and %d leave no room", ErrState, s.Next, s.Discontinuities)
	case s.Target != cfg.Target || s.Part != cfg.Part:
		return fmt.Errorf("%w: target duration %v and part target %v cannot become %v and %v: begin another presentation",
			ErrState, s.Target, s.Part, cfg.Target, cfg.Part)
	case s.Parts < 0 || s.Parts > maxParts || s.LastParts < 0 || s.LastParts > maxParts:
		return fmt.Errorf("%w: %d and %d parts", ErrState, s.Parts, s.LastParts)
	case s.Prior < 0 || s.Prior > len(s.Segments):
		return fmt.Errorf("%w: %d of %d segments are of before", ErrState, s.Prior, len(s.Segments))
	case s.Ended && s.Parts > 0:
		return fmt.Errorf("%w: it has ended and an open segment", ErrState)
	}
	return nil
}

// checkTime says whether t can stand in a playlist as it is.
func checkTime(t time.Time) error {
	if !t.IsZero() && (t.Year() < 1 || t.Year() > 9999 || !printedTime(t).Equal(t)) {
		return fmt.Errorf("%w: time %v is out of range or finer than a millisecond", ErrState, t)
	}
	return nil
}

// printedTime returns t as a playlist prints it.
func printedTime(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

// Restore returns the playlist with state s, which must be whole. All its
// segments are listed without their parts, and what comes next gets the next
// media sequence numbers. Their media must be there; set Gap on those whose media
// is gone (specs L27).
//
// If the open segment had parts, AddPart returns ErrLost until CloseSegment has
// completed it. A file that is written once a segment does not know of parts:
// then close that segment with Gap, too. Afterwards a Discontinuity is due. The
// initialization segment is the last one until SetInit.
func Restore(cfg Config, s State) (*Media, error) {
	m := NewMedia(cfg)
	if err := s.check(m.cfg); err != nil {
		return nil, fmt.Errorf("restore playlist: %w", err)
	}
	m.first, m.discontinuity = s.First, s.Discontinuities
	if len(s.Segments) > 0 {
		// Its EXT-X-MAP need not have been its own (specs L22).
		m.init = s.Segments[0].Init
	}
	for i := range s.Segments {
		if err := m.relist(&s.Segments[i]); err != nil {
			return nil, fmt.Errorf("restore segment %d: %w", s.First+uint64(i), err) //nolint:gosec // an index
		}
	}
	m.age()
	for i := range m.records[:s.Prior] {
		m.prior.add(&m.records[i])
	}
	if err := m.restoreDates(&s); err != nil {
		return nil, err
	}
	m.lastParts, m.ended = s.LastParts, s.Ended
	if s.Prior > 0 && s.Prior == len(s.Segments) { // LowLatency begins with the next one
		m.lastParts = 0
	}
	if s.Parts == 0 {
		return m, nil
	}
	if err := errors.Join(checkURI(s.Open.Init), checkTime(s.Open.Time)); err != nil {
		return nil, fmt.Errorf("restore open segment: %w", err)
	}
	m.lost = s.Parts
	m.nextInit, m.nextBreak, m.nextTime = s.Open.Init, s.Open.Discontinuity, s.Open.Time
	return m, nil
}

// relist adds a segment to the history.
func (m *Media) relist(l *Listed) error {
	if err := errors.Join(checkURI(l.Init), checkTime(l.Time)); err != nil {
		return err
	}
	m.nextInit, m.nextBreak, m.nextTime = l.Init, l.Discontinuity, l.Time
	if err := m.complete(l.Segment); err != nil {
		return err
	}
	m.retire()
	return nil
}

// prior are the segments that only Plain lists.
type prior struct {
	segments int    // they are the first ones
	breaks   uint64 // discontinuities before them
	dated    int    // those with a program date-time
}

func (p *prior) add(r *record) {
	p.segments++
	if r.discontinuity {
		p.breaks++
	}
	if r.dated {
		p.dated++
	}
}

// drop takes note that the first segment has left the playlist.
func (p *prior) drop(r *record) {
	if p.segments == 0 {
		return
	}
	p.segments--
	if r.discontinuity {
		p.breaks--
	}
	if r.dated {
		p.dated--
	}
}
