package au

import (
	"bytes"

	mcav1 "github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
)

// OBU types (AV1 6.2.2).
const (
	obuSequence = 1
	obuHeader   = 3
	obuTiles    = 4
	obuMetadata = 5
	obuFrame    = 6
)

// obuHead is how many bytes of an OBU are enough to see what it is.
const obuHead = 16

// formatAV1 is the RTP payload format for AV1, with one spatial layer.
type formatAV1 struct {
	stats    *Stats
	params   *Params
	refused  []byte // the last sequence header that was no good
	sequence []byte // reused
}

// push takes the elements behind an aggregation header (§4.4).
func (a *formatAV1) push(f *frame, payload []byte) verdict {
	continues, more := payload[0]&0x80 != 0, payload[0]&0x40 != 0
	count := int(payload[0] >> 4 & 3) // 0: each element has a length
	rest := payload[1:]
	if len(rest) == 0 {
		return malformed
	}
	if continues != f.open {
		return torn
	}
	f.open = false
	for i := 0; len(rest) > 0; i++ {
		last := i == count-1
		size := len(rest)
		if !last {
			n, length := leb128(rest)
			if n == 0 || length > len(rest)-n {
				return malformed
			}
			rest, size = rest[n:], length
		}
		if size == 0 || !last && count > 0 && size == len(rest) {
			return malformed
		}
		f.add(chunk{bytes: rest[:size], first: i > 0 || !continues})
		rest = rest[size:]
	}
	f.open = more && !f.damaged
	return taken
}

// leb128 reads a length. It returns how many bytes that took; 0 if none is there.
func leb128(b []byte) (n, value int) {
	for n < len(b) && n < 5 {
		value |= int(b[n]&0x7f) << (7 * n)
		n++
		if b[n-1]&0x80 == 0 {
			return n, value
		}
	}
	return 0, 0
}

func appendLEB128(b []byte, v int) []byte {
	for v > 0x7f {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// obu is the head of an OBU.
type obu struct {
	kind    byte
	head    byte
	skip    int // bytes of its header and size field
	size    int // of its payload
	spatial byte
	payload []byte // the first bytes
	ok      bool
}

// readOBU reads an OBU header (AV1 5.3), with or without a size field.
func readOBU(e element, buf []byte) obu {
	b := buf[:e.peek(buf)]
	o := obu{head: b[0], kind: b[0] >> 3 & 15, skip: 1}
	if b[0]&0x04 != 0 {
		o.skip = 2
		if len(b) < 2 {
			return o
		}
		o.spatial = b[1] >> 3 & 3
	}
	o.size = e.size() - o.skip
	if b[0]&0x02 != 0 {
		n, size := leb128(b[o.skip:])
		if n == 0 || size > o.size-n {
			return o
		}
		o.skip += n
		o.size = size
	}
	o.payload = b[o.skip:]
	o.payload = o.payload[:min(len(o.payload), o.size)]
	o.ok = b[0]&0x80 == 0
	return o
}

// kept reports whether the OBU belongs in a sample: delimiters, padding, tile
// lists and higher spatial layers do not.
func (o *obu) kept() bool {
	switch o.kind {
	case obuSequence, obuHeader, obuTiles, obuMetadata, obuFrame:
		return o.spatial == 0
	default:
		return false
	}
}

// unitAV1 is what the OBUs of a temporal unit say.
type unitAV1 struct {
	kept   bool // there is any that is kept
	begins bool // with something that a temporal unit begins with
	coded  bool // there is a frame
	key    bool // the first frame is a keyframe that is shown
	bad    bool
}

func (u *unitAV1) take(o *obu) {
	if !u.kept {
		u.kept, u.begins = true, o.kind != obuTiles
	}
	switch o.kind {
	case obuHeader, obuFrame:
		if !u.coded {
			u.coded = true
			u.key = len(o.payload) > 0 && o.payload[0]&0xf0 == 0x10 // new, key, shown
		}
	case obuTiles:
		u.bad = u.bad || !u.coded
	}
}

func (a *formatAV1) inspect(f *frame, _ situation) picture {
	var (
		buf [obuHead]byte
		u   unitAV1
	)
	a.sequence = a.sequence[:0]
	f.elements(func(e element) {
		o := readOBU(e, buf[:])
		u.bad = u.bad || !o.ok
		if u.bad || !o.kept() {
			return
		}
		u.take(&o)
		if o.kind == obuSequence {
			a.sequence = appendOBU(a.sequence[:0], e, &o)
		}
	})
	has := len(a.sequence) > 0
	pic := picture{
		coded: u.coded || u.bad, whole: u.begins && !u.bad, key: u.key && has,
		order: order{ordered: true}, // hidden frames share the unit of the one that is shown
	}
	if !pic.whole || !pic.coded {
		return pic
	}
	if pic.key {
		pic.usable = a.enact()
	} else {
		pic.usable = a.params != nil && (!has || bytes.Equal(a.sequence, a.params.SequenceHeader))
	}
	pic.params = a.params
	return pic
}

// enact puts the sequence header of a keyframe in force.
func (a *formatAV1) enact() bool {
	if a.params != nil && bytes.Equal(a.sequence, a.params.SequenceHeader) {
		return true
	}
	if bytes.Equal(a.sequence, a.refused) {
		return false
	}
	var s mcav1.SequenceHeader
	if len(a.sequence) > maxSet || s.Unmarshal(a.sequence) != nil || !sane(s.Width(), s.Height()) || len(s.SeqLevelIdx) == 0 {
		a.stats.BadParams++
		a.refused = append(a.refused[:0], a.sequence[:min(len(a.sequence), maxSet)]...)
		return false
	}
	a.params = paramsAV1(&s)
	a.params.SequenceHeader = bytes.Clone(a.sequence)
	return true
}

func paramsAV1(s *mcav1.SequenceHeader) *Params {
	c := &s.ColorConfig
	p := &Params{
		Codec: "AV1", Profile: int(s.SeqProfile), Level: int(s.SeqLevelIdx[0]), Depth: c.BitDepth,
		Width: s.Width(), Height: s.Height(), SARWidth: 1, SARHeight: 1,
		Primaries: 2, Transfer: 2, Matrix: 2, FullRange: c.ColorRange,
	}
	if len(s.SeqTier) > 0 && s.SeqTier[0] {
		p.Tier = 1
	}
	if c.ColorDescriptionPresentFlag {
		p.Primaries, p.Transfer, p.Matrix = int(c.ColorPrimaries), int(c.TransferCharacteristics), int(c.MatrixCoefficients)
	}
	switch {
	case c.SubsamplingX && c.SubsamplingY:
		p.Subsampling = 1
	case c.SubsamplingX:
		p.Subsampling = 2
	default:
		p.Subsampling = 3
	}
	return p
}

// build returns the OBUs with size fields.
func (a *formatAV1) build(f *frame) []byte {
	var buf [obuHead]byte
	size := 0
	f.elements(func(e element) {
		if o := readOBU(e, buf[:]); o.kept() {
			size += 1 + int(o.head>>2&1) + lenLEB128(o.size) + o.size
		}
	})
	sample := make([]byte, 0, size)
	f.elements(func(e element) {
		if o := readOBU(e, buf[:]); o.kept() {
			sample = appendOBU(sample, e, &o)
		}
	})
	return sample
}

func lenLEB128(v int) int {
	n := 1
	for ; v > 0x7f; v >>= 7 {
		n++
	}
	return n
}

// appendOBU writes an OBU with a size field.
func appendOBU(dst []byte, e element, o *obu) []byte {
	dst = append(dst, o.head|0x02)
	if o.head&0x04 != 0 {
		var head [2]byte
		e.peek(head[:])
		dst = append(dst, head[1])
	}
	return e.append(appendLEB128(dst, o.size), o.skip, o.size)
}
