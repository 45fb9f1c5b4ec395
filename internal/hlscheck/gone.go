package hlscheck

import (
	"maps"
	"path"
	"slices"
	"time"
)

// Gone says when a file or a media playlist was removed. CheckFiles then tells
// what went too early.
func (c *Checker) Gone(uri string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone == nil {
		c.gone = make(map[string]time.Time)
	}
	c.gone[uri] = at
}

// life says how long something has to be there.
type life struct {
	first   time.Time     // when it was listed first
	removed time.Time     // since when it is not listed; zero while it is
	longest time.Duration // the longest playlist that listed it
}

// live remembers what a version lists, and what it does not list any more.
func (h *history) live(p playlist, at time.Time) {
	length := time.Duration(0)
	listed := append(slices.Clone(p.segments), p.open)
	for _, s := range p.segments {
		length += time.Duration(min(s.duration, 1e6) * float64(time.Second))
	}
	now := make(map[string]bool)
	see := func(uri string) {
		l, ok := h.lives[uri]
		if !ok {
			l.first = at
		}
		l.removed, l.longest = time.Time{}, max(l.longest, length)
		h.lives[uri] = l
		now[uri] = true
	}
	for _, s := range listed {
		if s.uri != "" && !s.gap {
			see(s.uri)
		}
		for _, part := range s.parts {
			if !part.gap {
				see(part.uri)
			}
		}
	}
	for uri := range h.shown {
		if l := h.lives[uri]; !now[uri] {
			l.removed = at
			h.lives[uri] = l
		}
	}
	h.shown = now
}

// checkGone checks L22, L40, L49 and L102.
func (c *Checker) checkGone(uri string, h *history, fault faultFunc) {
	dir, target := path.Dir(uri), time.Duration(h.last.target)*time.Second
	early := func(item, name string, until time.Time) {
		if at, ok := c.gone[resolve(dir, name)]; ok && at.Before(until) {
			fault(item, "%s went %v too early", name, until.Sub(at))
		}
	}
	ended, over := c.gone[uri]
	needed := make(map[string]time.Time) // init segments
	for _, msn := range slices.Sorted(maps.Keys(h.segments)) {
		s := h.segments[msn]
		for _, part := range h.parts[msn] {
			l, listed := h.lives[part.uri]
			switch {
			case !listed:
			case !l.removed.IsZero():
				early("L49", part.uri, l.removed.Add(3*target))
			case !over:
				early("L37", part.uri, h.at.Add(1))
			}
		}
		l, listed := h.lives[s.uri]
		if !listed {
			continue
		}
		// The clock by which media is counted may differ from the one that counts here.
		drift := l.longest / 1000
		item, until := "L40", l.first.Add(time.Duration(s.duration*float64(time.Second))+l.longest-drift)
		switch {
		case l.removed.IsZero() && over: // the whole presentation went
			item, until = "L102", ended.Add(l.longest)
		case l.removed.IsZero():
			item, until = "L37", h.at.Add(1)
		}
		early(item, s.uri, until)
		if s.mapURI != "" && until.After(needed[s.mapURI]) {
			needed[s.mapURI] = until
		}
	}
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		early("L22", name, needed[name])
	}
}
