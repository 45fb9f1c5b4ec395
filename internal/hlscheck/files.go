package hlscheck

import (
	"bytes"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"
)

// File takes a media file (init segment, part or segment) by its path, or by its
// URL if the playlist has that, to
// compare segments with the parts they were listed with (L3).
func (c *Checker) File(uri string, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil {
		c.files = make(map[string][]byte)
	}
	if old, ok := c.files[uri]; ok && !bytes.Equal(old, body) {
		c.fault(uri, 0)("L41", "the file changed: %d bytes, before %d", len(body), len(old))
	}
	c.files[uri] = body
}

// resolve returns what a URI in a playlist of a directory stands for: a path, or
// the URI itself if it is absolute.
func resolve(dir, uri string) string {
	if strings.Contains(uri, "://") {
		return uri
	}
	return path.Join(dir, uri)
}

// CheckFiles compares all complete segments with their parts, with their printed
// durations and with one another, as far as they were given to File; the
// renditions with each other, and the multivariant playlist with what it
// promises. It returns how many segments were compared with their parts. Call it
// once, at the end. Nothing is asked of segments and parts that are gaps.
func (c *Checker) CheckFiles() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	compared := 0
	for _, uri := range slices.Sorted(maps.Keys(c.media)) {
		h := c.media[uri]
		fault := c.fault(uri, h.count)
		for _, msn := range slices.Sorted(maps.Keys(h.segments)) {
			parts, s := h.parts[msn], h.segments[msn]
			whole, ok := c.files[resolve(path.Dir(uri), s.uri)]
			if s.uri == "" || s.gap || !ok || len(parts) == 0 {
				continue
			}
			if joined, ok := c.join(path.Dir(uri), parts); ok {
				compared++
				if !bytes.Equal(joined, whole) {
					fault("L3", "segment %d is %d bytes, its parts are %d", msn, len(whole), len(joined))
				}
			}
		}
		c.readMedia(uri, h, fault)
		c.checkInits(uri, h, fault)
		checkMedia(h, fault)
		c.checkGone(uri, h, fault)
	}
	c.checkTogetherness()
	c.checkPromises()
	return compared
}

// checkTogetherness compares the renditions over all their versions.
func (c *Checker) checkTogetherness() {
	for _, uri := range slices.Sorted(maps.Keys(c.media)) {
		h := c.media[uri]
		if len(h.moments) == 0 {
			continue
		}
		c.checkReported(uri, h)
		c.checkSteps(uri, h)
		c.checkPace(uri, h)
		c.checkSameRanges(uri, h)
		for _, other := range c.others(uri) {
			if uri < other {
				checkBoundaries(h, c.media[other], other, c.fault(uri, h.count))
			}
		}
	}
}

func (c *Checker) join(dir string, parts []part) ([]byte, bool) {
	var joined []byte
	for _, p := range parts {
		if p.gap {
			continue
		}
		b, ok := c.files[resolve(dir, p.uri)]
		if !ok {
			return nil, false
		}
		joined = append(joined, b...)
	}
	return joined, true
}

// media is a segment as its bytes say.
type media struct {
	samples
	init *initialization
	name string // of the init segment
}

// seconds returns a number of ticks in seconds.
func (m media) seconds(ticks uint64) float64 { return float64(ticks) / float64(m.init.timescale) }

// start returns when the first sample is decoded, and when it is presented.
func (m media) start() (decode, shown time.Duration) {
	at := m.seconds(m.decode)
	shift := float64(m.shift) / float64(m.init.timescale)
	return time.Duration(at * 1e9), time.Duration((at + shift) * 1e9)
}

// frame returns how long a sample is on the average.
func (m media) frame() time.Duration {
	return time.Duration(m.seconds(m.duration) / float64(m.count) * 1e9)
}

// readMedia reads the segments of a playlist: L1, L2, L6 to L8, L10 and L47.
func (c *Checker) readMedia(uri string, h *history, fault faultFunc) {
	dir := path.Dir(uri)
	h.read = make(map[uint64]media)
	h.inits = make(map[string]*initialization)
	for _, msn := range slices.Sorted(maps.Keys(h.segments)) {
		s := h.segments[msn]
		body, ok := c.files[resolve(dir, s.uri)]
		init, have := c.files[resolve(dir, s.mapURI)]
		if s.uri == "" || !ok || !have || s.gap {
			continue
		}
		i, seen := h.inits[s.mapURI]
		if !seen {
			var err error
			i, err = readInit(init, func(item, format string, args ...any) {
				fault(item, s.mapURI+": "+format, args...)
			})
			if err != nil {
				fault("L1", "%s: %v", s.mapURI, err)
			}
			h.inits[s.mapURI] = i
		}
		if i == nil {
			continue
		}
		m, err := i.readSamples(body, func(item, text string) { fault(item, "segment %d: %s", msn, text) })
		if err != nil {
			fault("L2", "segment %d: %v", msn, err)
			continue
		}
		if !m.sync {
			fault("L6", "segment %d does not begin with a sync sample", msn)
		}
		h.read[msn] = media{samples: m, init: i, name: s.mapURI}
		c.checkIndependent(dir, i, h.parts[msn], fault)
	}
}

// checkIndependent checks that parts say whether they have a sync sample: L47.
func (c *Checker) checkIndependent(dir string, i *initialization, parts []part, fault faultFunc) {
	for _, p := range parts {
		body, ok := c.files[resolve(dir, p.uri)]
		if !ok || p.gap {
			continue
		}
		m, err := i.readSamples(body, func(string, string) {})
		if err != nil {
			fault("L2", "part %s: %v", p.uri, err)
		} else if m.anySync != p.independent {
			fault("L47", "part %s: INDEPENDENT is %v, it has a sync sample: %v", p.uri, p.independent, m.anySync)
		}
	}
}

// checkInits checks that an init segment has one name, and that another one
// comes with a discontinuity: L21, L22.
func (c *Checker) checkInits(uri string, h *history, fault faultFunc) {
	names := make(map[string]string)
	body := func(name string) string { return string(c.files[resolve(path.Dir(uri), name)]) }
	for _, name := range slices.Sorted(maps.Keys(h.inits)) {
		if first, ok := names[body(name)]; ok {
			fault("L22", "%s and %s are the same init segment", first, name)
		}
		names[body(name)] = name
	}
	last, disc := "", uint64(0)
	for _, msn := range slices.Sorted(maps.Keys(h.read)) {
		name := h.read[msn].name
		if last != "" && body(name) != body(last) && disc == h.discs[msn] {
			fault("L21", "segment %d has another init segment without a discontinuity", msn)
		}
		last, disc = name, h.discs[msn]
	}
}

// checkMedia reads the segments of a playlist in order and checks L5, L17 and L27
// in their times.
func checkMedia(h *history, fault faultFunc) {
	var clock clock
	next, timescale := uint64(0), uint32(0) // of the segment before; timescale 0: unknown
	before, missing := uint64(0), int64(0)  // of the segment before: its number, ticks of its parts without media
	for _, msn := range slices.Sorted(maps.Keys(h.segments)) {
		s := h.segments[msn]
		m, ok := h.read[msn]
		if s.uri == "" {
			continue
		}
		clock.check(h, msn, fault)
		if !ok {
			timescale = 0
			continue
		}
		late := int64(m.decode - next) //nolint:gosec // a difference, which may be negative
		hole := timescale == m.init.timescale && before+1 == msn && !s.disc && late > 1+missing
		if timescale == m.init.timescale && late < -1 || hole {
			fault("L5", "segment %d begins at %d, the one before ends at %d", msn, m.decode, next)
		}
		// A frame may last over parts that have no media, or end before them.
		gap := gaps(h.parts[msn])
		lasts := m.seconds(m.duration)
		if lasts > s.duration+0.05 || lasts+gap < s.duration-0.05 {
			fault("L17", "segment %d is listed with %s s and lasts %.5f s", msn, s.printed, lasts)
		}
		next, timescale, before = m.decode+m.duration, m.init.timescale, msn
		missing = int64(gap * float64(timescale))
	}
}

// clock adds the printed durations up, to compare them with the media's times.
type clock struct {
	msn, disc uint64
	origin    float64 // time of the media where sum was 0
	sum       float64
	running   bool
	gaps      bool // segments without media went by
}

// check takes the next segment: L17, L27.
func (k *clock) check(h *history, msn uint64, fault faultFunc) {
	s, disc := h.segments[msn], h.discs[msn]
	if msn != k.msn+1 || disc != k.disc {
		k.running = false
	}
	m, ok := h.read[msn]
	switch at := 0.0; {
	case ok:
		at = m.seconds(m.decode)
		if off := at - k.origin - k.sum; k.running && math.Abs(off) > 0.05 {
			item := "L17"
			if k.gaps {
				item = "L27"
			}
			fault(item, "segment %d begins %.3f s off the sum of durations before it", msn, off)
			k.running = false
		}
		if !k.running {
			k.origin, k.sum, k.running = at, 0, true
		}
		k.gaps = false
	case s.gap:
		k.gaps = true
	}
	k.sum += s.duration
	k.msn, k.disc = msn, disc
}

// gaps returns how long the parts are that have no media.
func gaps(parts []part) float64 {
	sum := 0.0
	for _, p := range parts {
		if p.gap {
			sum += p.duration
		}
	}
	return sum
}

// usualFrame is the length of an Opus frame of WebRTC: short ones may be among
// them, so that the mean is less.
const usualFrame = 20 * time.Millisecond

// checkBoundaries checks in the media that two renditions are cut at the same
// instants (L91, L94) and that dates stand for the same times in both (L5).
func checkBoundaries(h, other *history, otherURI string, fault faultFunc) {
	for _, msn := range slices.Sorted(maps.Keys(h.read)) {
		a := h.read[msn]
		b, ok := other.read[msn]
		if !ok {
			continue
		}
		decodeA, shownA := a.start()
		decodeB, shownB := b.start()
		item, tolerance := "L91", min(a.frame(), b.frame())
		switch {
		case a.init.audio && b.init.audio:
			item, tolerance = "L94", max(a.frame(), b.frame())
		case a.init.audio:
			item, tolerance = "L94", a.frame()
		case b.init.audio:
			item, tolerance = "L94", b.frame()
		}
		if item == "L94" {
			tolerance = max(tolerance, h.frame, usualFrame)
		}
		off := min((shownA - shownB).Abs(), (decodeA - decodeB).Abs())
		if off > tolerance+time.Millisecond {
			fault(item, "segment %d begins %v off the same one in %s", msn, off, otherURI)
		}
		dateA, dateB := h.segments[msn].time, other.segments[msn].time
		if dateA.IsZero() || dateB.IsZero() {
			continue
		}
		apart := dateA.Sub(dateB)
		if min((apart-(shownA-shownB)).Abs(), (apart-(decodeA-decodeB)).Abs()) > 5*time.Millisecond {
			fault("L5", "segment %d: dates are %v apart from %s, media times %v", msn, apart, otherURI, shownA-shownB)
		}
	}
}
