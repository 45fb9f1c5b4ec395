package hlscheck

import (
	"maps"
	"path"
	"slices"
	"time"
)

// Rung is one segment of a rendition, as it was listed and as its bytes say.
type Rung struct {
	MSN      uint64
	Date     time.Time     // EXT-X-PROGRAM-DATE-TIME; zero without it
	Start    time.Duration // tfdt of its first sample; only if Read
	Duration time.Duration // of its samples if Read, else EXTINF
	Frame    time.Duration // its mean sample duration; only if Read
	Read     bool          // its bytes were given to File and could be read
	Gap      bool          // EXT-X-GAP
	Break    bool          // EXT-X-DISCONTINUITY stands before it
	Sequence uint64        // its discontinuity sequence number
	Map      string        // path of the init segment in force; "" without one
	NewMap   bool          // that is not the one of the segment before
}

// Rungs are the complete segments of one rendition that were ever listed, in
// order.
type Rungs []Rung

// Ladder is what was seen of the media playlists of one presentation, by their
// paths.
type Ladder map[string]Rungs

// Ladder returns all complete segments that were listed in the presentation of
// which uri is a media playlist. Call it after CheckFiles, which reads the media.
func (c *Checker) Ladder(uri string) Ladder {
	c.mu.Lock()
	defer c.mu.Unlock()
	ladder := make(Ladder)
	for _, name := range append(c.others(uri), uri) {
		if h := c.media[name]; h != nil && len(h.moments) > 0 {
			ladder[name] = h.rungs(path.Dir(name))
		}
	}
	return ladder
}

// Ladders returns the ladders of all presentations, in the order of their
// directories. Call it after CheckFiles.
func (c *Checker) Ladders() []Ladder {
	c.mu.Lock()
	first := make(map[string]string)
	for uri, h := range c.media {
		if len(h.moments) > 0 {
			first[presentation(uri)] = uri
		}
	}
	c.mu.Unlock()
	var ladders []Ladder
	for _, dir := range slices.Sorted(maps.Keys(first)) {
		ladders = append(ladders, c.Ladder(first[dir]))
	}
	return ladders
}

func (h *history) rungs(dir string) Rungs {
	var rungs Rungs
	for _, msn := range slices.Sorted(maps.Keys(h.segments)) {
		s := h.segments[msn]
		if s.uri == "" {
			continue
		}
		r := Rung{
			MSN: msn, Date: s.time, Duration: time.Duration(s.duration * float64(time.Second)),
			Gap: s.gap, Break: s.disc, Sequence: h.discs[msn],
		}
		if s.mapURI != "" {
			r.Map = resolve(dir, s.mapURI)
		}
		if n := len(rungs); n > 0 {
			r.NewMap = r.Map != rungs[n-1].Map
		}
		if m, ok := h.read[msn]; ok {
			r.Read, r.Frame = true, m.frame()
			r.Start, _ = m.start()
			r.Duration = time.Duration(m.seconds(m.duration) * float64(time.Second))
		}
		rungs = append(rungs, r)
	}
	return rungs
}

// Breaks returns the numbers of the segments that a discontinuity stands before.
func (r Rungs) Breaks() []uint64 {
	return r.where(func(s Rung) bool { return s.Break })
}

// Gaps returns the numbers of the segments that are gaps.
func (r Rungs) Gaps() []uint64 {
	return r.where(func(s Rung) bool { return s.Gap })
}

// NewMaps returns the numbers of the segments from which another init segment is
// in force.
func (r Rungs) NewMaps() []uint64 {
	return r.where(func(s Rung) bool { return s.NewMap })
}

func (r Rungs) where(is func(Rung) bool) []uint64 {
	var found []uint64
	for _, s := range r {
		if is(s) {
			found = append(found, s.MSN)
		}
	}
	return found
}

// At returns the segment of a number.
func (r Rungs) At(msn uint64) (Rung, bool) {
	i, ok := slices.BinarySearchFunc(r, msn, func(s Rung, msn uint64) int {
		switch {
		case s.MSN < msn:
			return -1
		case s.MSN > msn:
			return 1
		}
		return 0
	})
	if !ok {
		return Rung{}, false
	}
	return r[i], true
}

// Holes returns the numbers that are missing between the first and the last
// segment.
func (r Rungs) Holes() []uint64 {
	var missing []uint64
	for i := 1; i < len(r); i++ {
		for msn := r[i-1].MSN + 1; msn < r[i].MSN && len(missing) < 1000; msn++ {
			missing = append(missing, msn)
		}
	}
	return missing
}

// Breaks returns the numbers of the segments that a discontinuity stands before,
// and whether they are the same in all renditions that have these segments.
func (l Ladder) Breaks() (breaks []uint64, same bool) {
	for _, r := range l {
		breaks = append(breaks, r.Breaks()...)
	}
	slices.Sort(breaks)
	breaks = slices.Compact(breaks)
	for _, msn := range breaks {
		for _, r := range l {
			if s, ok := r.At(msn); ok && !s.Break {
				return breaks, false
			}
		}
	}
	return breaks, true
}

// Apart returns how far the begins of a segment are apart in the media of the
// renditions at most, and of which segment.
func (l Ladder) Apart() (apart time.Duration, msn uint64) {
	earliest, latest := make(map[uint64]time.Duration), make(map[uint64]time.Duration)
	for _, r := range l {
		for _, s := range r {
			if !s.Read {
				continue
			}
			if first, ok := earliest[s.MSN]; !ok || s.Start < first {
				earliest[s.MSN] = s.Start
			}
			latest[s.MSN] = max(latest[s.MSN], s.Start)
		}
	}
	for n := range earliest {
		if d := latest[n] - earliest[n]; d > apart || d == apart && n < msn {
			apart, msn = d, n
		}
	}
	return apart, msn
}
