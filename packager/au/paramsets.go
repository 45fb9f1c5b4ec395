package au

import (
	"bytes"
	"encoding/base64"
	"math/bits"
	"slices"
	"strings"
)

const (
	maxSet  = 4096 // bytes of one parameter set
	maxSets = 64   // of one kind
)

// set is one parameter set of H.264 or H.265, as it came.
type set struct {
	id     uint32
	parent uint32 // of a PPS: the SPS it refers to; of an SPS: the VPS
	nal    []byte
	stream bool // it came with the media, not in the SDP
	// fresh says that it came after the present version of its parent. An older
	// one may make no sense any more.
	fresh bool
	// used says that a picture refers to it.
	used bool
}

// sets are the parameter sets of one kind, by rising id.
type sets []set

func (s sets) find(id uint32) *set {
	for i := range s {
		if s[i].id == id {
			return &s[i]
		}
	}
	return nil
}

// put stores a set and reports whether that changed anything. In-band sets
// replace all those of the SDP (specs R22).
func (s *sets) put(n set) bool {
	if n.stream {
		*s = slices.DeleteFunc(*s, func(o set) bool { return !o.stream && o.id != n.id })
	}
	old := s.find(n.id)
	switch {
	case old != nil && bytes.Equal(old.nal, n.nal):
		old.stream = old.stream || n.stream
		old.fresh = true
		return false
	case old != nil && old.stream && !n.stream:
		return false
	case old != nil:
		n.used = old.used
		n.nal = bytes.Clone(n.nal)
		*old = n
		return true
	case len(*s) >= maxSets:
		return false
	}
	n.nal = bytes.Clone(n.nal)
	at, _ := slices.BinarySearchFunc(*s, n.id, func(o set, id uint32) int { return int(o.id) - int(id) })
	*s = slices.Insert(*s, at, n)
	return true
}

// stale marks the sets that refer to parent, which has changed.
func (s sets) stale(parent uint32) {
	for i := range s {
		if s[i].parent == parent {
			s[i].fresh = false
		}
	}
}

// paramSets are the parameter sets of a stream and those in force.
type paramSets struct {
	vps, sps, pps sets
	params        *Params // in force
	active        uint32  // id of the SPS in force
	inForce       sets    // the PPS in params
}

// idSet is a set of ids of PPS.
type idSet [4]uint64

func (s *idSet) add(id uint32)      { s[id/64%4] |= 1 << (id % 64) }
func (s *idSet) has(id uint32) bool { return s[id/64%4]>>(id%64)&1 != 0 }

func (s *idSet) len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// refer notes that a picture refers to these PPS. It returns the SPS that all of
// them belong to, or nil if something is missing.
func (p *paramSets) refer(refs *idSet) *set {
	var sps *set
	found := 0
	for i := range p.pps {
		s := &p.pps[i]
		if !refs.has(s.id) {
			continue
		}
		s.used = true
		found++
		parent := p.sps.find(s.parent)
		if parent == nil || sps != nil && sps != parent {
			return nil
		}
		sps = parent
	}
	if found != refs.len() {
		return nil
	}
	return sps
}

// covers reports whether a picture that refers to these PPS can be decoded with
// the Params in force, although no keyframe is there to change them.
func (p *paramSets) covers(refs *idSet) bool {
	if p.params == nil || p.refer(refs) == nil {
		return false
	}
	for i := range p.pps {
		s := &p.pps[i]
		if !refs.has(s.id) {
			continue
		}
		if has := p.inForce.find(s.id); has == nil || !bytes.Equal(has.nal, s.nal) {
			return false
		}
	}
	return true
}

// choose returns the SPS and the PPS that a keyframe which refers to these PPS
// needs. Changed says that they are not those in force. A PPS that no picture
// has referred to is no change, but comes with the next one (specs R18).
func (p *paramSets) choose(refs *idSet) (sps *set, pps sets, changed bool) {
	sps = p.refer(refs)
	if sps == nil {
		return nil, nil, false
	}
	if p.params != nil && p.active == sps.id && bytes.Equal(p.params.SPS[0], sps.nal) && p.inForceHolds(sps.id) {
		return sps, p.inForce, false
	}
	for _, s := range p.pps {
		if s.parent == sps.id && (s.fresh || refs.has(s.id)) {
			pps = append(pps, s)
		}
	}
	return sps, pps, true
}

// inForceHolds reports whether each PPS in force is still as it was, and no
// other one of the SPS is in use.
func (p *paramSets) inForceHolds(sps uint32) bool {
	for _, s := range p.inForce {
		if now := p.pps.find(s.id); now == nil || !bytes.Equal(now.nal, s.nal) {
			return false
		}
	}
	for i := range p.pps {
		s := &p.pps[i]
		if s.used && s.fresh && s.parent == sps && p.inForce.find(s.id) == nil {
			return false
		}
	}
	return true
}

// enact puts new Params in force.
func (p *paramSets) enact(params *Params, sps *set, pps sets) {
	p.params = params
	p.active = sps.id
	p.inForce = pps
	params.SPS = [][]byte{sps.nal}
	for _, s := range pps {
		params.PPS = append(params.PPS, s.nal)
	}
}

// sprop returns the NAL units in a format parameter of the SDP, base64 with
// commas between.
func sprop(fmtp, name string) [][]byte {
	var nals [][]byte
	for field := range strings.SplitSeq(fmtp, ";") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok || !strings.EqualFold(key, name) {
			continue
		}
		for text := range strings.SplitSeq(value, ",") {
			nal, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
			if err == nil && len(nal) > 0 && len(nal) <= maxSet {
				nals = append(nals, nal)
			}
		}
	}
	return nals
}

// pixelAspect returns the sample aspect ratio of an aspect_ratio_idc, ITU-T
// H.264 table E-1; 255 is written out.
func pixelAspect(idc uint8, width, height uint16) (int, int) {
	table := [...][2]int{
		{1, 1},
		{1, 1},
		{12, 11},
		{10, 11},
		{16, 11},
		{40, 33},
		{24, 11},
		{20, 11},
		{32, 11},
		{80, 33},
		{18, 11},
		{15, 11},
		{64, 33},
		{160, 99},
		{4, 3},
		{3, 2},
		{2, 1},
	}
	switch {
	case idc == 255 && width > 0 && height > 0:
		return int(width), int(height)
	case int(idc) < len(table):
		return table[idc][0], table[idc][1]
	default:
		return 1, 1
	}
}

// sane reports whether a picture may have this size.
func sane(width, height int) bool {
	return width > 0 && height > 0 && width <= maxSide && height <= maxSide
}
