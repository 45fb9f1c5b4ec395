package hls

import (
	"errors"
	"fmt"
	"time"
)

// Errors of calls that would make a playlist break its own promises.
var (
	// ErrDuration says that a part or a segment has no duration, or that a part
	// is longer than PART-TARGET or a segment than EXT-X-TARGETDURATION. Both are
	// fixed for the life of the playlist.
	ErrDuration = errors.New("duration is out of range")
	// ErrOpen says that the open segment has parts, so the playlist cannot end.
	ErrOpen = errors.New("open segment has parts")
	// ErrEnded says that nothing can follow EXT-X-ENDLIST.
	ErrEnded = errors.New("playlist has ended")
	// ErrNoInit says that a segment has no initialization segment.
	ErrNoInit = errors.New("no initialization segment")
)

// Config is what a media playlist promises. It never changes (specs L15, L42)
// and is the same in all renditions of a presentation (specs L50).
type Config struct {
	// Target is EXT-X-TARGETDURATION; it is rounded up to whole seconds.
	Target time.Duration
	// Part is PART-TARGET. 0: there are no parts and LowLatency returns nothing.
	Part time.Duration
	// Window is how much is kept listed, at least 3 × Target (specs L39).
	Window time.Duration
	// Skip offers delta updates of segments and of date ranges (CAN-SKIP-UNTIL,
	// CAN-SKIP-DATERANGES, specs L53). It has no effect unless Window is longer
	// than 6 × Target: nothing could be skipped.
	Skip bool
	// First is the media sequence number of the first segment.
	First uint64
}

// Part is one partial segment.
type Part struct {
	URI         string
	Duration    time.Duration
	Independent bool // it contains an independent frame (specs L47)
	Gap         bool // it is not available
}

// Segment is one complete media segment.
type Segment struct {
	URI      string        `json:"uri,omitempty"`
	Duration time.Duration `json:"duration,omitempty"`
	Gap      bool          `json:"gap,omitempty"` // its media was lost (specs L27)
}

// Removed is what a playlist no longer names. The files must stay for a while:
// parts 3 × Target (specs L49), segments as specs L40 says, an initialization
// segment as long as the last segment that needed it (specs L22).
type Removed struct {
	Parts    []string
	Segments []Segment
	Inits    []string // a later SetInit may name one of them again
}

// Report says where another rendition's playlist ends (specs L58).
type Report struct {
	URI  string
	MSN  uint64 // of the last part
	Part int    // index of the last part in it; negative: it has none
}

// Position says where a playlist ends.
type Position struct {
	MSN       uint64 // media sequence number of the open segment
	Parts     int    // parts of the open segment
	LastParts int    // parts that segment MSN-1 had when it was closed
}

// Last returns the media sequence number and the index of the last part, as a
// rendition report names them. The index is -1 if there is no part there.
func (p Position) Last() (msn uint64, part int) {
	if p.Parts > 0 || p.MSN == 0 {
		return p.MSN, p.Parts - 1
	}
	return p.MSN - 1, p.LastParts - 1
}

// moment is when a segment begins.
type moment struct {
	at    time.Time // program date-time; zero if nothing is known of it
	dated bool      // the text has it; else it follows from the segment before
}

// printed returns the time that the text has, if any.
func (m moment) printed() time.Time {
	if m.dated {
		return printedTime(m.at)
	}
	return time.Time{}
}

// record is one listed, complete segment.
type record struct {
	Segment
	moment
	init          string
	end           time.Duration // since the first segment that this Media had
	discontinuity bool
	ownMap        bool // its text has an EXT-X-MAP
	place         place
	// While the segment still shows its parts its text is here; afterwards it is
	// in the history and these are nil.
	head, parts, tail []byte
	partURIs          []string
}

// opened is the segment that parts are added to.
type opened struct {
	moment
	head          []byte // DISCONTINUITY, MAP, PROGRAM-DATE-TIME: before the first part (specs L23)
	parts         []byte
	partURIs      []string
	length        time.Duration
	started       bool
	discontinuity bool
	ownMap        bool
}

// Media makes the versions of one media playlist. It is not safe for concurrent
// use; what LowLatency and Plain return may be read by anyone, for ever.
type Media struct {
	target int64 // seconds
	cfg    Config
	header headers

	records []record // listed and complete, oldest first
	old     int      // how many of them are in the history, without parts
	skip    int      // how many of them lie beyond the skip boundary
	history history

	first         uint64 // media sequence number of the first listed segment
	discontinuity uint64 // EXT-X-DISCONTINUITY-SEQUENCE
	prior         prior
	end           time.Duration

	open      opened
	lastParts int
	lost      int // parts that the open segment had before a restart
	// What the next segment to open begins with.
	nextBreak bool
	nextTime  time.Time
	nextInit  string

	init    string         // of the last segment that was opened
	inits   map[string]int // how many listed segments need an init
	removed Removed

	dates dates
	dated int // listed segments, the open one included, with a program date-time

	hint, hintMap string
	reports       []Report
	ended         bool
}

// NewMedia returns an empty playlist.
func NewMedia(cfg Config) *Media {
	seconds := max(int64((cfg.Target+time.Second-1)/time.Second), 1)
	cfg.Target = time.Duration(seconds) * time.Second
	cfg.Window = max(cfg.Window, 3*cfg.Target)
	cfg.Skip = cfg.Skip && cfg.Window > skipTargets*cfg.Target
	return &Media{target: seconds, cfg: cfg, first: cfg.First, header: newHeaders(cfg), inits: map[string]int{}}
}

// SetInit names the initialization segment of the segments that open from now
// on. Naming the same one again changes nothing (specs L22).
func (m *Media) SetInit(uri string) error {
	if err := checkURI(uri); err != nil {
		return err
	}
	m.nextInit = uri
	return nil
}

// Discontinuity puts EXT-X-DISCONTINUITY before the next segment that opens
// (specs L21). Calling it twice before that is calling it once.
func (m *Media) Discontinuity() { m.nextBreak = true }

// SetTime sets the program date-time of the next segment that opens. Each
// segment needs its own, before its first part (specs L23, L25).
func (m *Media) SetTime(t time.Time) { m.nextTime = t }

// AddPart appends p to the open segment; the first part opens it.
func (m *Media) AddPart(p Part) error {
	if err := checkURI(p.URI); err != nil {
		return err
	}
	// The printed values must compare right (specs L43).
	if d := grains(p.Duration); d <= 0 || d > grainsUp(m.cfg.Part) {
		return fmt.Errorf("add part %s of %v: %w", p.URI, p.Duration, ErrDuration)
	}
	if m.lost > 0 {
		return fmt.Errorf("add part %s: %w", p.URI, ErrLost)
	}
	if err := m.start(); err != nil {
		return fmt.Errorf("add part %s: %w", p.URI, err)
	}
	b := append(m.open.parts, "#EXT-X-PART:DURATION="...)
	b = appendSeconds(b, grains(p.Duration))
	b = appendQuoted(b, "URI", p.URI)
	if p.Independent {
		b = append(b, ",INDEPENDENT=YES"...)
	}
	if p.Gap {
		b = append(b, ",GAP=YES"...)
	}
	m.open.parts = append(b, '\n')
	m.open.partURIs = append(m.open.partURIs, p.URI)
	m.open.length += p.Duration
	if m.hint == p.URI { // what is there is no longer hinted at
		m.hint, m.hintMap = "", ""
	}
	m.age()
	return nil
}

// start opens the next segment unless one is open.
func (m *Media) start() error {
	switch {
	case m.ended:
		return ErrEnded
	case m.open.started:
		return nil
	case m.nextInit == "":
		return ErrNoInit
	}
	o := opened{started: true, discontinuity: m.nextBreak, moment: m.next()}
	// The MAP is repeated after a discontinuity (specs L22).
	o.ownMap = o.discontinuity || m.nextInit != m.init
	if o.discontinuity {
		o.head = append(o.head, "#EXT-X-DISCONTINUITY\n"...)
	}
	m.init = m.nextInit
	m.inits[m.init]++
	if o.ownMap {
		o.head = appendMap(o.head, m.init)
	}
	if o.dated {
		m.dated++
		o.head = appendTime(o.head, o.at)
	}
	m.open = o
	m.nextBreak, m.nextTime = false, time.Time{}
	return nil
}

// next says when the next segment to open begins.
func (m *Media) next() moment {
	if !m.nextTime.IsZero() {
		return moment{at: m.nextTime, dated: true}
	}
	if len(m.records) == 0 {
		return moment{}
	}
	last := &m.records[len(m.records)-1]
	if last.at.IsZero() {
		return moment{}
	}
	return moment{at: last.at.Add(last.Duration)}
}

// CloseSegment completes the open segment, or adds a segment that had no parts.
// It returns what the playlist does not name any more since the last call.
func (m *Media) CloseSegment(s Segment) (Removed, error) {
	if err := m.complete(s); err != nil {
		return Removed{}, err
	}
	m.age()
	m.roll()
	m.expire()
	removed := m.removed
	m.removed = Removed{}
	return removed, nil
}

// complete makes a record of the open segment.
func (m *Media) complete(s Segment) error {
	if err := checkURI(s.URI); err != nil {
		return err
	}
	// §4.4.3.1: the printed value counts, rounded to the nearest integer.
	const half = int64(time.Second / grain / 2)
	if d := grains(s.Duration); d <= 0 || (d+half)/(2*half) > m.target {
		return fmt.Errorf("close segment %s of %v: %w", s.URI, s.Duration, ErrDuration)
	}
	if err := m.start(); err != nil {
		return fmt.Errorf("close segment %s: %w", s.URI, err)
	}
	var tail []byte
	if s.Gap {
		tail = append(tail, "#EXT-X-GAP\n"...)
	}
	tail = append(tail, "#EXTINF:"...)
	tail = appendSeconds(tail, grains(s.Duration))
	tail = append(tail, ",\n"...)
	tail = append(tail, s.URI...)
	tail = append(tail, '\n')

	m.end += s.Duration
	m.records = append(m.records, record{
		Segment: s, moment: m.open.moment, init: m.init, end: m.end,
		discontinuity: m.open.discontinuity, ownMap: m.open.ownMap,
		head: m.open.head, parts: m.open.parts, tail: tail, partURIs: m.open.partURIs,
	})
	m.lastParts = max(len(m.open.partURIs), m.lost)
	m.open, m.lost = opened{}, 0
	return nil
}

// age moves segments that end more than 3 × Target before the playlist's end
// into the history, without their parts (specs L49), and counts those beyond
// the skip boundary.
func (m *Media) age() {
	boundary := m.end + m.open.length - 3*m.cfg.Target
	for m.old < len(m.records) && m.records[m.old].end < boundary {
		m.retire()
	}
	// §4.4.5.2: measured from the end of the last complete segment.
	boundary = m.end - skipTargets*m.cfg.Target
	for m.skip < m.old && m.records[m.skip].end < boundary {
		m.skip++
	}
}

// retire takes the parts from the oldest segment that has some.
func (m *Media) retire() {
	r := &m.records[m.old]
	r.place = m.history.add(r.head, r.tail)
	m.removed.Parts = append(m.removed.Parts, r.partURIs...)
	r.head, r.parts, r.tail, r.partURIs = nil, nil, nil, nil
	m.old++
}

// roll removes segments from the front while what stays fills the window.
func (m *Media) roll() {
	for m.end-m.records[0].end >= m.cfg.Window {
		if m.old == 0 {
			m.retire()
		}
		r := m.records[0]
		m.records[0] = record{}
		m.records = m.records[1:]
		m.old--
		m.skip = max(m.skip-1, 0)
		m.first++
		if r.dated {
			m.dated--
		}
		if r.discontinuity {
			m.discontinuity++
		}
		m.prior.drop(&r)
		m.removed.Segments = append(m.removed.Segments, r.Segment)
		m.inits[r.init]--
		if m.inits[r.init] == 0 {
			delete(m.inits, r.init)
			if r.init != m.nextInit {
				m.removed.Inits = append(m.removed.Inits, r.init)
			}
		}
	}
	if m.old > 0 {
		m.history.trim(m.records[0].place)
	}
}

// SetHint names the part that comes next, whichever segment it will belong to
// (specs L55, L56), and the initialization segment if that changes before it;
// each may be empty.
func (m *Media) SetHint(part, init string) error {
	for _, uri := range []string{part, init} {
		if uri == "" {
			continue
		}
		if err := checkURI(uri); err != nil {
			return err
		}
	}
	m.hint, m.hintMap = part, init
	return nil
}

// SetReports says where the other renditions end.
func (m *Media) SetReports(reports []Report) error {
	for _, r := range reports {
		if err := checkURI(r.URI); err != nil {
			return err
		}
	}
	m.reports = append(m.reports[:0], reports...)
	return nil
}

// End adds EXT-X-ENDLIST; nothing can follow (specs L32). The open segment must
// have been closed.
func (m *Media) End() error {
	if m.open.started || m.lost > 0 {
		return fmt.Errorf("end playlist: %w", ErrOpen)
	}
	m.ended = true
	m.hint, m.hintMap, m.reports = "", "", nil
	return nil
}

// Position returns where the playlist ends.
func (m *Media) Position() Position {
	return Position{
		MSN:       m.first + uint64(len(m.records)),
		Parts:     len(m.open.partURIs),
		LastParts: m.lastParts,
	}
}
