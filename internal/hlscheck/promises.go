package hlscheck

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkPromises compares the newest multivariant playlist of each presentation
// with the media: L74 to L76, L78, L82, L90.
func (c *Checker) checkPromises() {
	done := make(map[*show]bool)
	for _, dir := range slices.Sorted(maps.Keys(c.shows)) {
		s := c.shows[dir]
		if done[s] {
			continue
		}
		done[s] = true
		fault := c.fault(s.uri, s.version)
		for _, uri := range s.renditions {
			if h := c.media[uri]; c.Lag == 0 && (h == nil || len(h.moments) == 0) {
				fault("L82", "%s is named and was never published", uri)
			}
		}
		for _, v := range s.variants {
			c.checkFormats(s, v, fault)
			if c.Lag == 0 { // a player may have seen an early version only
				c.checkBandwidth(s, v, fault)
			}
			c.checkVariantRanges(s, v, fault)
		}
		for _, group := range s.order {
			for _, a := range s.groups[group] {
				c.checkChannels(a, fault)
			}
		}
	}
}

// initsOf returns the init segments of all that was seen of a playlist.
func (c *Checker) initsOf(uri string) []*initialization {
	var all []*initialization
	if h := c.media[uri]; h != nil {
		for _, name := range slices.Sorted(maps.Keys(h.inits)) {
			if i := h.inits[name]; i != nil {
				all = append(all, i)
			}
		}
	}
	return all
}

// newest returns the init segment of the newest segment that was read, or nil.
func (h *history) newest() *initialization {
	if len(h.read) == 0 {
		return nil
	}
	return h.read[slices.Max(slices.Collect(maps.Keys(h.read)))].init
}

// checkFormats checks CODECS and RESOLUTION with the init segments: L75, L76.
// What plays now has to be named, up to its level, and what is named has to be of
// an init segment. What was before the last discontinuity need not be named: a
// player that is told of two video formats at once asks for both.
func (c *Checker) checkFormats(s *show, v attributes, fault faultFunc) {
	listed := strings.Split(v["CODECS"], ",")
	var exact []string
	size, pictures := false, false
	for _, uri := range append([]string{v["URI"]}, s.audioOf(v)...) {
		inits := c.initsOf(uri)
		if len(inits) == 0 {
			return
		}
		for _, i := range inits {
			if i.codec == "" {
				return
			}
			exact = append(exact, strings.ToLower(i.codec))
			if i == c.media[uri].newest() && !slices.ContainsFunc(listed, func(l string) bool { return family(l) == family(i.codec) }) {
				fault("L75", "CODECS=%q without %s of %s", v["CODECS"], i.codec, uri)
			}
			if w, h := resolution(v); !i.audio {
				pictures = true
				size = size || w == i.width && h == i.height || [2]int{w, h} == i.shown
			}
		}
	}
	for _, l := range listed {
		if !slices.Contains(exact, strings.ToLower(l)) {
			fault("L75", "CODECS=%q, the init segments have %v", v["CODECS"], exact)
		}
	}
	if pictures && !size {
		fault("L76", "RESOLUTION=%s is of no init segment of %s", v["RESOLUTION"], v["URI"])
	}
}

// checkChannels checks CHANNELS with the init segments: L78.
func (c *Checker) checkChannels(a attributes, fault faultFunc) {
	first, _, _ := strings.Cut(strings.Trim(a["CHANNELS"], `"`), "/")
	channels, err := strconv.Atoi(first)
	most := 0
	for _, i := range c.initsOf(a["URI"]) {
		most = max(most, i.channels)
	}
	if err == nil && most > 0 && most != channels {
		fault("L78", "CHANNELS=%s, %s has %d", a["CHANNELS"], a["URI"], most)
	}
}

// checkBandwidth compares what was promised with what came: L74. A peak of a
// variant is the sum of the peaks of its renditions.
func (c *Checker) checkBandwidth(s *show, v attributes, fault faultFunc) {
	video := c.media[v["URI"]]
	if video == nil {
		return
	}
	peak, average := video.rates()
	var audioPeak, audioAverage float64
	for _, uri := range s.audioOf(v) {
		if h := c.media[uri]; h != nil {
			p, a := h.rates()
			audioPeak, audioAverage = max(audioPeak, p), max(audioAverage, a)
		}
	}
	peak, average = peak+audioPeak, average+audioAverage
	// Both are text already.
	bandwidth, err1 := strconv.ParseFloat(v["BANDWIDTH"], 64)
	mean, err2 := strconv.ParseFloat(v["AVERAGE-BANDWIDTH"], 64)
	if err1 == nil && peak > bandwidth {
		fault("L74", "%s: BANDWIDTH=%s, the peak is %.0f", v["URI"], v["BANDWIDTH"], peak)
	}
	if err2 == nil && average > 1.1*mean {
		fault("L74", "%s: AVERAGE-BANDWIDTH=%s, it is %.0f", v["URI"], v["AVERAGE-BANDWIDTH"], average)
	}
}

// rates returns the peak segment bit rate, over all runs of listed segments that last
// half a target duration to one and a half and half a second, and the mean
// (§4.1).
func (h *history) rates() (peak, average float64) {
	target := float64(h.last.target)
	bits, length := 0.0, 0.0
	for msn, m := range h.read {
		if msn < h.last.sequence { // the multivariant playlist may have told of it while it was there
			continue
		}
		bits += float64(8 * m.bytes)
		length += h.segments[msn].duration
		run, lasts := 0.0, 0.0
		for next := msn; ; next++ {
			following, ok := h.read[next]
			lasts += h.segments[next].duration
			if !ok || lasts > 1.5*target+0.5 {
				break
			}
			run += float64(8 * following.bytes)
			if lasts >= target/2 {
				peak = max(peak, run/lasts)
			}
		}
	}
	if length == 0 {
		return 0, 0
	}
	return math.Floor(peak), math.Floor(bits / length)
}

// checkVariantRanges checks that date ranges are in one rendition of everything
// that can be played together: L90.
func (c *Checker) checkVariantRanges(s *show, v attributes, fault faultFunc) {
	has := func(uri string) bool {
		h := c.media[uri]
		return h != nil && len(h.ranges) > 0
	}
	settled := func(uri string) bool { // one of them was there for long
		h := c.media[uri]
		for _, r := range h.ranges {
			if h.at.Sub(r.added) > time.Duration(h.last.target)*time.Second+c.Lag {
				return true
			}
		}
		return false
	}
	if !slices.ContainsFunc(s.renditions, func(uri string) bool { return has(uri) && settled(uri) }) || has(v["URI"]) {
		return
	}
	if !slices.ContainsFunc(s.audioOf(v), has) {
		fault("L90", "variant %s has no date ranges, others have", v["URI"])
	}
}
