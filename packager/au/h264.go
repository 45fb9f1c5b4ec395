package au

import (
	"bytes"
	"encoding/binary"

	mch264 "github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
)

// NAL unit types of H.264 (table 7-1) and of RFC 6184 (table 1).
const (
	h264Slice     = 1
	h264DataA     = 2
	h264IDR       = 5
	h264SEI       = 6
	h264SPS       = 7
	h264PPS       = 8
	h264MaxSingle = 23
	h264STAPA     = 24
	h264FUA       = 28
)

// sliceHead is how many bytes of a slice are enough to find the picture order
// count: eight Exp-Golomb codes of usual size and two numbers of up to 16 bits.
const sliceHead = 40

// formatH264 is RFC 6184 in packetization modes 0 and 1.
type formatH264 struct {
	sets  paramSets
	stats *Stats
	// sps is the active SPS, decoded.
	sps mch264.SPS

	// keyHadSets says that the last keyframe brought its own SPS, and setsSeen
	// that one came since. If packets are missing, a keyframe without may have
	// lost a new SPS.
	keyHadSets, setsSeen bool
}

func newH264(fmtp string, stats *Stats) *formatH264 {
	h := &formatH264{stats: stats}
	for _, nal := range sprop(fmtp, "sprop-parameter-sets") {
		switch nal[0] & 0x1f {
		case h264SPS:
			h.putSPS(set{nal: nal})
		case h264PPS:
			h.putPPS(set{nal: nal})
		}
	}
	return h
}

func (h *formatH264) push(f *frame, payload []byte) verdict {
	switch kind := payload[0] & 0x1f; {
	case kind >= 1 && kind <= h264MaxSingle:
		if f.open {
			return torn
		}
		h.nal(f, payload)
		return taken
	case kind == h264STAPA:
		return aggregated(f, payload[1:], func(nal []byte) { h.nal(f, nal) })
	case kind == h264FUA && len(payload) > 2:
		head := payload[0]&0xe0 | payload[1]&0x1f
		return fragment(f, payload[1], chunk{bytes: payload[2:], head: head, prefix: 1})
	default: // interleaved modes are never negotiated
		return malformed
	}
}

// aggregated calls visit with each NAL unit of an aggregation packet: a 16-bit
// length before each.
func aggregated(f *frame, b []byte, visit func(nal []byte)) verdict {
	if f.open {
		return torn
	}
	for len(b) > 0 {
		if len(b) < 2 {
			return malformed
		}
		n := int(binary.BigEndian.Uint16(b))
		b = b[2:]
		if n > len(b) {
			return malformed
		}
		if n > 0 {
			visit(b[:n])
		}
		b = b[n:]
	}
	return taken
}

// fragment adds a piece of a NAL unit. Its FU header holds start and end bits.
func fragment(f *frame, header byte, c chunk) verdict {
	start, end := header&0x80 != 0, header&0x40 != 0
	if start == f.open {
		return torn
	}
	f.open = !end
	if !start {
		c.prefix = 0
	}
	c.first = start
	f.add(c)
	return taken
}

// nal takes a whole NAL unit. Parameter sets are kept even if the rest of the
// access unit gets lost.
func (h *formatH264) nal(f *frame, nal []byte) {
	switch nal[0] & 0x1f {
	case h264SPS:
		h.putSPS(set{nal: nal, stream: true})
	case h264PPS:
		h.putPPS(set{nal: nal, stream: true})
	default:
		f.add(chunk{bytes: nal, first: true})
	}
}

func (h *formatH264) putSPS(s set) {
	h.setsSeen = h.setsSeen || s.stream
	r := bitReader{buf: s.nal[1:], escaped: true}
	r.bits(24) // profile, constraints, level
	s.id, s.fresh = r.golomb(), true
	if old := h.sets.sps.find(s.id); old == nil || !bytes.Equal(old.nal, s.nal) {
		var sps mch264.SPS
		if r.short || s.id > 31 || len(s.nal) > maxSet || sps.Unmarshal(s.nal) != nil || !saneH264(&sps) {
			h.stats.BadParams++
			return
		}
	}
	if h.sets.sps.put(s) {
		h.sets.pps.stale(s.id)
	}
}

func saneH264(s *mch264.SPS) bool {
	const most = maxSide / 16
	return s.PicWidthInMbsMinus1 < most && s.PicHeightInMapUnitsMinus1 < most && sane(s.Width(), s.Height()) &&
		s.Log2MaxFrameNumMinus4 <= 12 && s.Log2MaxPicOrderCntLsbMinus4 <= 12 &&
		s.BitDepthLumaMinus8 <= 6 && s.BitDepthChromaMinus8 <= 6 && s.ChromaFormatIdc <= 3
}

func (h *formatH264) putPPS(s set) {
	r := bitReader{buf: s.nal[1:], escaped: true}
	s.id, s.parent, s.fresh = r.golomb(), r.golomb(), true
	if r.short || s.id > 255 || s.parent > 31 || len(s.nal) > maxSet {
		h.stats.BadParams++
		return
	}
	h.sets.pps.put(s)
}

func (h *formatH264) inspect(f *frame, at situation) picture {
	h.fragmentedSets(f)
	var (
		pic       picture
		refs      idSet
		first     [sliceHead]byte // of the first slice
		head      [sliceHead]byte
		recovery  bool
		bad       bool
		firstKind byte
		slice     bitReader // of the first slice, behind the PPS id
	)
	f.elements(func(e element) {
		head := head[:e.peek(head[:])]
		switch kind := head[0] & 0x1f; kind {
		case h264SEI:
			recovery = recovery || recoveryPoint(head[1:])
		case h264Slice, h264DataA, h264IDR:
			r := bitReader{buf: head[1:], escaped: true}
			firstMB := r.golomb()
			r.golomb() // slice type
			pps := r.golomb()
			bad = bad || r.short || pps > 255
			refs.add(pps)
			if !pic.coded {
				pic.coded, pic.whole, pic.key = true, firstMB == 0, kind == h264IDR
				firstKind = kind
				slice = r
				slice.buf = first[:copy(first[:], r.buf)]
			}
		}
	})
	if bad || pic.key && at.broken && h.keyHadSets && !h.setsSeen {
		pic.whole = false
	}
	if !pic.whole {
		return pic
	}
	if pic.key {
		h.keyHadSets, h.setsSeen = h.setsSeen, false
		pic.usable = h.enact(&refs)
	} else {
		pic.recovery = recovery
		pic.usable = h.sets.covers(&refs)
	}
	if pic.usable {
		pic.params = h.sets.params
		pic.order = h.order(slice, firstKind)
	}
	return pic
}

// fragmentedSets takes parameter sets that came in fragments.
func (h *formatH264) fragmentedSets(f *frame) {
	f.elements(func(e element) {
		if e[0].prefix == 0 {
			return
		}
		switch e[0].head & 0x1f {
		case h264SPS:
			h.putSPS(set{nal: e.append(nil, 0, e.size()), stream: true})
		case h264PPS:
			h.putPPS(set{nal: e.append(nil, 0, e.size()), stream: true})
		}
	})
}

// enact puts the parameter sets of a keyframe in force.
func (h *formatH264) enact(refs *idSet) bool {
	sps, pps, changed := h.sets.choose(refs)
	if sps == nil {
		return false
	}
	if !changed {
		return true
	}
	var parsed mch264.SPS
	if parsed.Unmarshal(sps.nal) != nil {
		return false
	}
	h.sps = parsed
	h.sets.enact(paramsH264(&parsed), sps, pps)
	return true
}

func paramsH264(s *mch264.SPS) *Params {
	p := &Params{
		Codec: "H264", Profile: int(s.ProfileIdc), Level: int(s.LevelIdc), Depth: int(s.BitDepthLumaMinus8) + 8,
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

// order reads the picture order count, with r behind the PPS id.
func (h *formatH264) order(r bitReader, kind byte) order {
	const baseline = 66
	s := &h.sps
	o := order{depth: 0, ordered: s.PicOrderCntType == 2 || s.ProfileIdc == baseline}
	if s.VUI != nil && s.VUI.BitstreamRestriction != nil {
		o.depth = int(min(s.VUI.BitstreamRestriction.MaxNumReorderFrames, maxDepth))
		o.ordered = o.ordered || o.depth == 0
	}
	if o.ordered || s.PicOrderCntType != 0 || !s.FrameMbsOnlyFlag {
		return o
	}
	if s.SeparateColourPlaneFlag {
		r.bits(2)
	}
	r.bits(s.Log2MaxFrameNumMinus4 + 4)
	if kind == h264IDR {
		r.golomb() // idr_pic_id
	}
	o.bits = s.Log2MaxPicOrderCntLsbMinus4 + 4
	o.count = r.bits(o.bits)
	o.known = !r.short
	return o
}

// recoveryPoint reports whether an SEI message is a recovery point (H.264 D.1.8).
func recoveryPoint(sei []byte) bool {
	const payloadType = 6
	for len(sei) > 2 {
		kind, size := 0, 0
		for len(sei) > 0 && sei[0] == 255 {
			kind, sei = kind+255, sei[1:]
		}
		if len(sei) > 0 {
			kind, sei = kind+int(sei[0]), sei[1:]
		}
		for len(sei) > 0 && sei[0] == 255 {
			size, sei = size+255, sei[1:]
		}
		if len(sei) > 0 {
			size, sei = size+int(sei[0]), sei[1:]
		}
		if kind == payloadType {
			return true
		}
		if size >= len(sei) {
			return false
		}
		sei = sei[size:]
	}
	return false
}

// build returns the NAL units with their lengths before them. Parameter sets,
// delimiters and filler are left out, SEI messages stay (specs R17).
func (h *formatH264) build(f *frame) []byte {
	return lengthPrefixed(f, func(e element) bool {
		var head [1]byte
		e.peek(head[:])
		kind := head[0] & 0x1f
		return kind >= h264Slice && kind <= h264SEI
	})
}

// lengthPrefixed returns the elements that keep accepts, each after a length of
// four bytes.
func lengthPrefixed(f *frame, keep func(e element) bool) []byte {
	size := 0
	f.elements(func(e element) {
		if keep(e) {
			size += 4 + e.size()
		}
	})
	sample := make([]byte, 0, size)
	f.elements(func(e element) {
		if keep(e) {
			sample = binary.BigEndian.AppendUint32(sample, uint32(e.size())) //nolint:gosec // at most Config.MaxUnit
			sample = e.append(sample, 0, e.size())
		}
	})
	return sample
}
