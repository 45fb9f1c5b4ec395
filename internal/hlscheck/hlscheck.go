// Package hlscheck checks recorded HLS playlists against the specification.
//
// It is the project's own conformance suite for draft-pantos-hls-rfc8216bis:
// written from the text, knowing nothing of the packager that made the
// playlists. Feed it every version that was seen, in order, and the media it
// names; it collects violations named by the items of the conformance list
// (L…, S…).
//
//	Multivariant, Media, Delta ─▶ one version, and what changed since the last one ─┐
//	Answer ─────────────────────▶ how a version came, next to the others ───────────┤
//	File, Gone, Restart ────────▶ CheckFiles: the bytes, and all renditions together ┴▶ Violations
//	                                        └▶ Ladder: what was listed, for tests that ask for more
//
// What is checked, by the items of the conformance list: L1 to L3, L5 to L8, L10
// to L15, L17 to L27, L30 to L32, L35, L37 to L44, L47, L49 to L56, L58, L59, L67 to
// L69, L74 to L79, L82, L84 to L92, L94, L109, L110; S7 and S9 in playlists from a store
// that cannot hold requests. With Answer also what caches do to playlists: L60, L93, L97,
// S35. Not to be seen from here are the rest of delivery (L57, L61 to L66, L70 to L73, L95
// to L103) and policy (the others).
package hlscheck

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Violation is one broken rule.
type Violation struct {
	Item    string // of the conformance list, as L43
	URI     string // of the playlist or file
	Version int    // which version of that playlist, from 1
	Text    string
}

// String returns the violation in one line.
func (v Violation) String() string {
	return fmt.Sprintf("%s: %s (version %d): %s", v.Item, v.URI, v.Version, v.Text)
}

// maxViolations bounds what a Checker keeps.
const maxViolations = 1000

// Checker checks the playlists of one presentation. All methods may be called
// from any goroutine; versions of one playlist must come in order. The zero
// Checker is ready.
type Checker struct {
	// Static says that the playlists come from a store that cannot hold
	// requests: then they must not have any low-latency tag (S7).
	Static bool
	// Unhinted says that media is read from another place, which cannot hold a
	// request: then there must be no hint (L56), and the profile that asks for one
	// (L55) is not met.
	Unhinted bool
	// Lag is how long after its publication a version may reach the Checker. 0
	// says that it is fed by the publisher: all versions of all playlists, in the
	// order in which they were published. A player that reloads sets it; then
	// renditions are compared with that much room, and what only a publisher can
	// know is not checked.
	Lag time.Duration
	// Pace asks for parts and segments in time (L38), with that much room. 0: they
	// may stop, as they do while nobody publishes.
	Pace time.Duration
	// Frame is how long the audio's frames are, if that is more than 30 ms: so far
	// may the same segment's begin differ between renditions (L94).
	Frame time.Duration

	mu         sync.Mutex
	media      map[string]*history  // below mu, by URI
	files      map[string][]byte    // below mu
	shows      map[string]*show     // below mu; by directory
	gone       map[string]time.Time // below mu
	versions   map[string]int       // below mu; of multivariant playlists
	audio      map[string]bool      // below mu; media playlists that are audio renditions
	edges      map[string][]edge    // below mu; how far answers reached, by URI
	violations []Violation          // below mu
}

// history is what was seen of one media playlist.
type history struct {
	count     int
	last      playlist
	at        time.Time
	uris      map[uint64]string  // MSN → URI
	starts    map[uint64]float64 // MSN → sum of durations before it, from the first seen segment
	parts     map[uint64][]part  // MSN → the parts it was listed with
	hinted    string             // of the last version
	hintedMap string             // also of it
	hintMSN   uint64
	hintCount int               // parts of the open segment then
	discs     map[uint64]uint64 // MSN → discontinuity sequence number
	segments  map[uint64]segment
	moments   []moment
	read      map[uint64]media           // by MSN, once CheckFiles has read them
	inits     map[string]*initialization // by URI in the playlist; nil if it cannot be read
	lives     map[string]life            // of segments and parts, by URI in the playlist
	shown     map[string]bool            // those of the last version
	compared  uint64                     // the first MSN that was not compared with other playlists
	partOf    map[string]uint64          // part URI → MSN
	restarted bool                       // since the last version
	watched   bool                       // versions may have been missed: there is a Lag
	ranges    map[string]listing         // by ID
	frame     time.Duration              // Checker.Frame
}

// Violations returns all that was found so far.
func (c *Checker) Violations() []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.violations)
}

// Versions returns how many versions of a media playlist were checked.
func (c *Checker) Versions(uri string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.media[uri]; h != nil {
		return h.count
	}
	return 0
}

func (c *Checker) fault(uri string, version int) func(item, format string, args ...any) {
	return func(item, format string, args ...any) {
		if len(c.violations) < maxViolations {
			c.violations = append(c.violations, Violation{item, uri, version, fmt.Sprintf(format, args...)})
		}
	}
}

// Media takes one version of a full media playlist, fetched from uri (a path)
// and received at a time.
func (c *Checker) Media(uri string, at time.Time, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.history(uri)
	h.count++
	fault := c.fault(uri, h.count)
	p := parseMedia(body, fault)
	if p.skipped >= 0 {
		fault("L67", "EXT-X-SKIP in a playlist that was not asked for as a delta update")
		return
	}
	checkHeader(p, fault)
	if c.Static {
		checkStatic(p, fault)
	}
	checkSegments(p, fault)
	checkParts(p, fault)
	if c.audio[uri] {
		checkAudio(p, fault)
	}
	checkEdge(p, fault)
	if c.Unhinted {
		checkUnhinted(p, fault)
	} else {
		checkHinted(p, fault)
	}
	checkRanges(p, fault)
	h.checkRangeMutation(p, at, fault)
	restarted := h.restarted
	h.watched = c.Lag > 0
	if len(h.moments) > 0 {
		checkMutation(h, p, fault)
	}
	h.remember(p, at)
	h.live(p, at)
	c.checkRenditions(uri, h, fault)
	m := h.moment(c.readReports(uri, h, fault))
	m.restarted = restarted
	h.moments = append(h.moments, m)
}

// Delta takes a delta update of the version that was given to Media last, or of
// an older one that had listed the same. Merged with what is known it must give
// the full playlist (L68).
func (c *Checker) Delta(uri string, full, delta []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.history(uri)
	fault := c.fault(uri, h.count)
	p, d := parseMedia(full, fault), parseMedia(delta, fault)
	if d.skipped < 0 {
		return // nothing was to be skipped
	}
	checkDelta(p, d, fault)
	c.checkDeltaRanges(h, p, d, fault)
}

// Restart says that the publisher's process was started anew. The version that
// comes next of each playlist may go on at a higher number, may list what is left
// as gaps, and need not go on with the open segment; what is new in it begins
// after a discontinuity.
func (c *Checker) Restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.media {
		h.restarted = len(h.moments) > 0
	}
}

func (c *Checker) history(uri string) *history {
	if c.media == nil {
		c.media = make(map[string]*history)
	}
	h, ok := c.media[uri]
	if !ok {
		h = &history{
			uris: make(map[uint64]string), starts: make(map[uint64]float64), parts: make(map[uint64][]part),
			discs: make(map[uint64]uint64), segments: make(map[uint64]segment), ranges: make(map[string]listing),
			partOf: make(map[string]uint64), lives: make(map[string]life), frame: c.Frame,
		}
		c.media[uri] = h
	}
	return h
}

// remember keeps what later versions are compared with.
func (h *history) remember(p playlist, at time.Time) {
	disc := p.discSeq
	for _, s := range append(slices.Clone(p.segments), p.open) {
		if s.disc {
			disc++
		}
		if s.uri != "" || len(s.parts) > 0 {
			h.discs[s.msn] = disc
			h.segments[s.msn] = s
		}
		for _, part := range s.parts {
			h.partOf[part.uri] = s.msn
		}
		if len(s.parts) > 0 {
			h.parts[s.msn] = s.parts
		}
	}
	for _, s := range p.segments {
		h.uris[s.msn] = s.uri
		if start, ok := h.starts[s.msn]; ok {
			h.starts[s.msn+1] = start + s.duration
		} else {
			h.starts[s.msn], h.starts[s.msn+1] = 0, s.duration
		}
	}
	h.hinted, h.hintedMap = "", ""
	for _, hint := range p.hints {
		if hint["TYPE"] == "MAP" {
			h.hintedMap = hint["URI"]
		}
		if hint["TYPE"] == "PART" {
			h.hinted, h.hintMSN, h.hintCount = hint["URI"], p.open.msn, len(p.open.parts)
		}
	}
	h.last, h.at = p, at
}

// near reports whether two sums of printed durations are the same.
func near(a, b float64) bool { return math.Abs(a-b) < 0.0015 }
