package au

import (
	"bytes"

	mch265 "github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"
)

// NAL unit types of H.265 (table 7-1) and of RFC 7798 (§4.4).
const (
	h265RASLN     = 8
	h265RASLR     = 9
	h265BLA       = 16 // the first of three
	h265IDR       = 19 // the first of two
	h265CRA       = 21
	h265MaxIRAP   = 23
	h265MaxSlice  = 31
	h265VPS       = 32
	h265SPS       = 33
	h265PPS       = 34
	h265PrefixSEI = 39
	h265SuffixSEI = 40
	h265MaxSingle = 47
	h265AP        = 48
	h265FU        = 49
)

// formatH265 is RFC 7798 without decoding order numbers.
type formatH265 struct {
	sets  paramSets
	stats *Stats
	order order // of the active SPS

	keyHadSets, setsSeen bool // as in formatH264
	// orphans says that the last keyframe was one whose leading pictures refer to
	// something before it that no decoder has (RASL, H.265 3.111).
	orphans bool
}

func newH265(fmtp string, stats *Stats) *formatH265 {
	h := &formatH265{stats: stats}
	for _, name := range []string{"sprop-vps", "sprop-sps", "sprop-pps"} {
		for _, nal := range sprop(fmtp, name) {
			if len(nal) > 2 {
				h.put(set{nal: nal})
			}
		}
	}
	return h
}

func kindH265(head byte) byte { return head >> 1 & 0x3f }

func (h *formatH265) push(f *frame, payload []byte) verdict {
	if len(payload) < 3 {
		return malformed
	}
	switch kind := kindH265(payload[0]); {
	case kind <= h265MaxSingle:
		if f.open {
			return torn
		}
		h.nal(f, payload)
		return taken
	case kind == h265AP:
		return aggregated(f, payload[2:], func(nal []byte) { h.nal(f, nal) })
	case kind == h265FU && len(payload) > 3:
		head := payload[0]&0x81 | payload[2]&0x3f<<1
		return fragment(f, payload[2], chunk{bytes: payload[3:], head: head, head2: payload[1], prefix: 2})
	default: // PACI is never negotiated
		return malformed
	}
}

// nal takes a whole NAL unit. Those of higher layers are left out.
func (h *formatH265) nal(f *frame, nal []byte) {
	if len(nal) < 3 || nal[0]&1 != 0 || nal[1]>>3 != 0 {
		return
	}
	switch kindH265(nal[0]) {
	case h265VPS, h265SPS, h265PPS:
		h.put(set{nal: nal, stream: true})
	default:
		f.add(chunk{bytes: nal, first: true})
	}
}

// put stores a parameter set.
func (h *formatH265) put(s set) {
	if len(s.nal) > maxSet {
		h.stats.BadParams++
		return
	}
	s.fresh = true
	r := bitReader{buf: s.nal[2:], escaped: true}
	switch kindH265(s.nal[0]) {
	case h265VPS:
		s.id = r.bits(4)
		h.sets.vps.put(s)
	case h265SPS:
		h.setsSeen = h.setsSeen || s.stream
		h.putSPS(s)
	case h265PPS:
		s.id, s.parent = r.golomb(), r.golomb()
		if r.short || s.id > 63 || s.parent > 15 {
			h.stats.BadParams++
			return
		}
		h.sets.pps.put(s)
	}
}

func (h *formatH265) putSPS(s set) {
	for i := range h.sets.sps {
		if old := h.sets.sps[i]; bytes.Equal(old.nal, s.nal) {
			s.id, s.parent = old.id, old.parent
			h.sets.sps.put(s)
			return
		}
	}
	var sps mch265.SPS
	if sps.Unmarshal(s.nal) != nil || sps.ID > 15 || !saneH265(&sps) {
		h.stats.BadParams++
		return
	}
	s.id, s.parent = uint32(sps.ID), uint32(sps.VPSID)
	if h.sets.sps.put(s) {
		h.sets.pps.stale(s.id)
	}
}

func saneH265(s *mch265.SPS) bool {
	return s.PicWidthInLumaSamples <= maxSide && s.PicHeightInLumaSamples <= maxSide && sane(s.Width(), s.Height()) &&
		s.BitDepthLumaMinus8 <= 8 && s.BitDepthChromaMinus8 <= 8 && len(s.MaxNumReorderPics) > 0
}

func (h *formatH265) inspect(f *frame, at situation) picture {
	h.fragmentedSets(f)
	var (
		pic      picture
		refs     idSet
		buf      [sliceHead]byte
		kind     byte // of the first slice
		recovery bool
		bad      bool
	)
	f.elements(func(e element) {
		head := buf[:e.peek(buf[:])]
		k := kindH265(head[0])
		if k == h265PrefixSEI {
			recovery = recovery || recoveryPoint(head[2:])
		}
		if k > h265MaxSlice {
			return
		}
		first, pps, ok := sliceH265(head)
		bad = bad || !ok
		refs.add(pps)
		if !pic.coded {
			pic.coded, pic.whole, kind = true, first, k
		}
	})
	pic.key = kind >= h265BLA && kind <= h265CRA
	if bad || pic.key && at.broken && h.keyHadSets && !h.setsSeen {
		pic.whole = false
	}
	if !pic.whole {
		return pic
	}
	pic.recovery = recovery && !pic.key
	h.decide(&pic, &refs, kind, at)
	return pic
}

// sliceH265 reads the beginning of a slice segment header (H.265 7.3.6.1).
func sliceH265(head []byte) (first bool, pps uint32, ok bool) {
	r := bitReader{buf: head[2:], escaped: true}
	first = r.flag()
	if k := kindH265(head[0]); k >= h265BLA && k <= h265MaxIRAP {
		r.bit() // no_output_of_prior_pics_flag
	}
	pps = r.golomb()
	return first, pps, !r.short && pps <= 63
}

// decide finds out whether a decoder can show the picture.
func (h *formatH265) decide(pic *picture, refs *idSet, kind byte, at situation) {
	if pic.key {
		h.keyHadSets, h.setsSeen = h.setsSeen, false
		h.orphans = kind < h265IDR || kind == h265CRA && at.waiting
		pic.usable = h.enact(refs)
	} else {
		pic.leading = h.orphans && (kind == h265RASLN || kind == h265RASLR)
		pic.usable = h.sets.covers(refs)
	}
	if pic.usable {
		pic.params = h.sets.params
		pic.order = h.order
	}
}

// fragmentedSets takes parameter sets that came in fragments.
func (h *formatH265) fragmentedSets(f *frame) {
	f.elements(func(e element) {
		if k := kindH265(e[0].head); e[0].prefix == 2 && k >= h265VPS && k <= h265PPS {
			h.put(set{nal: e.append(nil, 0, e.size()), stream: true})
		}
	})
}

// enact puts the parameter sets of a keyframe in force.
func (h *formatH265) enact(refs *idSet) bool {
	sps, pps, changed := h.sets.choose(refs)
	if sps == nil {
		return false
	}
	vps := h.sets.vps.find(sps.parent)
	if vps == nil {
		return false
	}
	if !changed && bytes.Equal(vps.nal, h.sets.params.VPS[0]) {
		return true
	}
	var parsed mch265.SPS
	if parsed.Unmarshal(sps.nal) != nil {
		return false
	}
	reordered := parsed.MaxNumReorderPics[len(parsed.MaxNumReorderPics)-1]
	h.order = order{depth: int(min(reordered, maxDepth)), ordered: reordered == 0}
	params := paramsH265(&parsed)
	params.VPS = [][]byte{vps.nal}
	h.sets.enact(params, sps, pps)
	return true
}

func paramsH265(s *mch265.SPS) *Params {
	p := &Params{
		Codec: "H265", Profile: int(s.ProfileTierLevel.GeneralProfileIdc), Level: int(s.ProfileTierLevel.GeneralLevelIdc),
		Tier: int(s.ProfileTierLevel.GeneralTierFlag), Depth: int(s.BitDepthLumaMinus8) + 8,
		Subsampling: int(s.ChromaFormatIdc), Width: s.Width(), Height: s.Height(),
		SARWidth: 1, SARHeight: 1, Primaries: 2, Transfer: 2, Matrix: 2,
	}
	if v := s.VUI; v != nil {
		if v.AspectRatioInfoPresentFlag {
			p.SARWidth, p.SARHeight = pixelAspect(v.AspectRatioIdc, v.SarWidth, v.SarHeight)
		}
		if v.VideoSignalTypePresentFlag {
			p.FullRange = v.VideoFullRangeFlag
		}
		if v.ColourDescriptionPresentFlag {
			p.Primaries, p.Transfer, p.Matrix = int(v.ColourPrimaries), int(v.TransferCharacteristics), int(v.MatrixCoefficients)
		}
	}
	return p
}

// build returns the NAL units with their lengths before them: slices and SEI
// messages.
func (h *formatH265) build(f *frame) []byte {
	return lengthPrefixed(f, func(e element) bool {
		var head [1]byte
		e.peek(head[:])
		k := kindH265(head[0])
		return k <= h265MaxSlice || k == h265PrefixSEI || k == h265SuffixSEI
	})
}
