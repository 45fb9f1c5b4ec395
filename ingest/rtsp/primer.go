package rtsp

import "github.com/bluenviron/gortsplib/v5/pkg/format"

// maxSets bounds the packet that is made of parameter sets.
const maxSets = 1200

// primer finds the key frames that come without parameter sets, and has a packet
// with the sets for them. FFmpeg and many cameras tell them in the description
// only, and whoever joins later would have none. It is pure; one goroutine calls
// it. The zero primer does nothing.
type primer struct {
	kinds    kinds
	sets     [][]byte // that were told last
	fresh    [][]byte // that came since the last picture
	at       uint32   // timestamp of the last picture
	begun    bool     // there was a picture
	inserted uint16   // packets so far
}

// kinds tells NAL units apart.
type kinds struct {
	header int // bytes of a NAL unit's header; 0: no such codec
	typeOf func(header []byte) byte
	join   byte // the type of a packet of several units
	split  byte // the type of a packet with a part of one
	set    func(kind byte) bool
	slice  func(kind byte) bool
	key    func(kind byte) bool
	head   []byte // before the units of a packet of several
}

func kindsH264() kinds { // RFC 6184 §5.2
	return kinds{
		header: 1, join: 24, split: 28, head: []byte{24 | 3<<5},
		typeOf: func(h []byte) byte { return h[0] & 0x1f },
		set:    func(k byte) bool { return k == 7 || k == 8 },
		slice:  func(k byte) bool { return k >= 1 && k <= 5 },
		key:    func(k byte) bool { return k == 5 },
	}
}

func kindsH265() kinds { // RFC 7798 §4.4
	return kinds{
		header: 2, join: 48, split: 49, head: []byte{48 << 1, 1},
		typeOf: func(h []byte) byte { return h[0] >> 1 & 0x3f },
		set:    func(k byte) bool { return k >= 32 && k <= 34 },
		slice:  func(k byte) bool { return k < 32 },
		key:    func(k byte) bool { return k >= 16 && k <= 21 },
	}
}

// newPrimer returns the primer of a format.
func newPrimer(f format.Format) primer {
	var p primer
	switch f := f.(type) {
	case *format.H264:
		p.kinds, p.sets = kindsH264(), known(f.SPS, f.PPS)
	case *format.H265:
		p.kinds, p.sets = kindsH265(), known(f.VPS, f.SPS, f.PPS)
	}
	return p
}

// known returns the sets of a description, nil unless it has all.
func known(sets ...[]byte) [][]byte {
	for _, set := range sets {
		if len(set) == 0 {
			return nil
		}
	}
	return sets
}

// before returns the payload of a packet to send before this one, with the same
// timestamp; nil if none is needed.
func (p *primer) before(payload []byte, timestamp uint32) []byte {
	k := &p.kinds
	if k.header == 0 || len(payload) <= k.header {
		return nil
	}
	first, key := false, false
	visit := func(kind byte, unit []byte) {
		switch {
		case k.set(kind):
			if unit != nil && len(p.fresh) < 16 {
				p.fresh = append(p.fresh, unit)
			}
		case k.slice(kind):
			first, key = true, k.key(kind)
		}
	}
	switch kind := k.typeOf(payload); kind {
	case k.join:
		p.units(payload[k.header:], visit)
	case k.split:
		const begin = 0x80
		if payload[k.header]&begin == 0 {
			return nil
		}
		visit(p.splitType(payload[k.header]), nil)
	default:
		visit(kind, payload)
	}
	if !first {
		return nil
	}
	return p.picture(key, timestamp)
}

// splitType returns the type of the unit that a part is of.
func (p *primer) splitType(b byte) byte {
	if p.kinds.header == 1 {
		return b & 0x1f
	}
	return b & 0x3f
}

// picture is told of each slice.
func (p *primer) picture(key bool, timestamp uint32) []byte {
	fresh, same := p.fresh, p.begun && timestamp == p.at
	p.fresh, p.at, p.begun = nil, timestamp, true
	switch {
	case len(fresh) > 0:
		p.sets = fresh
		return nil
	case same || !key || len(p.sets) == 0:
		return nil
	}
	return p.packet()
}

// packet joins the sets in one payload; nil if they are too large for one.
func (p *primer) packet() []byte {
	b := append(make([]byte, 0, 128), p.kinds.head...)
	for _, set := range p.sets {
		b = append(b, byte(len(set)>>8), byte(len(set)))
		b = append(b, set...)
	}
	if len(b) > maxSets {
		return nil
	}
	return b
}

// units visits those of a packet of several: a 16-bit length before each.
func (p *primer) units(b []byte, visit func(kind byte, unit []byte)) {
	for len(b) > 2 {
		n := int(b[0])<<8 | int(b[1])
		b = b[2:]
		if n < p.kinds.header || n > len(b) {
			return
		}
		visit(p.kinds.typeOf(b), b[:n:n])
		b = b[n:]
	}
}
