package hlscheck

import (
	"bytes"
	"maps"
	"path"
	"slices"

	"github.com/Eyevinn/mp4ff/mp4"
)

// File takes a media file (init segment, part or segment) by its path, to
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

// CheckFiles compares all complete segments with their parts, with their printed
// durations and with one another, as far as they were given to File, and all
// rendition reports with what was listed. It returns how many segments were
// compared with their parts. Call it once, at the end.
func (c *Checker) CheckFiles() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	compared := 0
	for uri, h := range c.media {
		fault := c.fault(uri, h.count)
		for msn, name := range h.uris {
			parts := h.parts[msn]
			whole, ok := c.files[path.Join(path.Dir(uri), name)]
			if !ok || len(parts) == 0 {
				continue
			}
			if joined, ok := c.join(path.Dir(uri), parts); ok {
				compared++
				if !bytes.Equal(joined, whole) {
					fault("L3", "segment %d is %d bytes, its parts are %d", msn, len(whole), len(joined))
				}
			}
		}
		c.checkMedia(uri, h, fault)
		c.checkReported(h, fault)
	}
	return compared
}

func (c *Checker) join(dir string, parts []part) ([]byte, bool) {
	var joined []byte
	for _, p := range parts {
		if p.gap {
			continue
		}
		b, ok := c.files[path.Join(dir, p.uri)]
		if !ok {
			return nil, false
		}
		joined = append(joined, b...)
	}
	return joined, true
}

// checkMedia reads the segments of a playlist in order and checks L1, L2, L5,
// L6 and L17 in their bytes.
func (c *Checker) checkMedia(uri string, h *history, fault faultFunc) {
	dir := path.Dir(uri)
	next, timescale := uint64(0), uint32(0) // of the segment before; timescale 0: unknown
	before, missing := uint64(0), int64(0)  // of the segment before: its number, ticks of its parts without media
	for _, msn := range slices.Sorted(maps.Keys(h.segments)) {
		s := h.segments[msn]
		body, ok := c.files[path.Join(dir, s.uri)]
		init, have := c.files[path.Join(dir, s.mapURI)]
		if !ok || !have || s.gap {
			timescale = 0
			continue
		}
		m, err := readSegment(init, body)
		if err != nil {
			fault("L2", "segment %d: %v", msn, err)
			continue
		}
		if !m.sync {
			fault("L6", "segment %d does not begin with a sync sample", msn)
		}
		late := int64(m.decode - next) //nolint:gosec // a difference, which may be negative
		hole := timescale == m.timescale && before+1 == msn && !s.disc && late > 1+missing
		if timescale == m.timescale && late < -1 || hole {
			fault("L5", "segment %d begins at %d, the one before ends at %d", msn, m.decode, next)
		}
		// A frame may last over parts that have no media, or end before them.
		gap := gaps(h.parts[msn])
		lasts := float64(m.duration) / float64(m.timescale)
		if lasts > s.duration+0.05 || lasts+gap < s.duration-0.05 {
			fault("L17", "segment %d is listed with %s s and lasts %.5f s", msn, s.printed, lasts)
		}
		next, timescale, before = m.decode+m.duration, m.timescale, msn
		missing = int64(gap * float64(m.timescale))
	}
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

// samples is what a segment's fragments say.
type samples struct {
	timescale        uint32
	decode, duration uint64
	sync             bool // the first sample is one
}

func readSegment(init, body []byte) (samples, error) {
	file, err := mp4.DecodeFile(bytes.NewReader(slices.Concat(init, body)))
	if err != nil {
		return samples{}, err
	}
	moov := file.Init.Moov
	m := samples{timescale: moov.Trak.Mdia.Mdhd.Timescale}
	first := true
	for _, segment := range file.Segments {
		for _, fragment := range segment.Fragments {
			full, err := fragment.GetFullSamples(moov.Mvex.Trex)
			if err != nil {
				return samples{}, err
			}
			for _, sample := range full {
				if first {
					m.decode, m.sync, first = sample.DecodeTime, sample.IsSync(), false
				}
				m.duration += uint64(sample.Dur)
			}
		}
	}
	return m, nil
}

// reported is one EXT-X-RENDITION-REPORT as it was seen.
type reported struct {
	other     string
	msn, part uint64
}

// checkReported checks L58: what a report names is listed in the other playlist,
// and reports never go back.
func (c *Checker) checkReported(h *history, fault faultFunc) {
	newest := make(map[string]reported)
	for _, r := range h.reports {
		old, ok := newest[r.other]
		if ok && (r.msn < old.msn || r.msn == old.msn && r.part < old.part) {
			fault("L58", "report of %s goes back from %d/%d to %d/%d", r.other, old.msn, old.part, r.msn, r.part)
		}
		newest[r.other] = r
		other := c.media[r.other]
		if other == nil {
			continue
		}
		if parts, known := other.parts[r.msn]; known && r.part >= uint64(len(parts)) {
			fault("L58", "report of %s names part %d of segment %d, which has %d", r.other, r.part, r.msn, len(parts))
		}
	}
}
