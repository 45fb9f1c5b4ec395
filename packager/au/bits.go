package au

// bitReader reads the head of a NAL unit or OBU. After the end it gives zeros
// and sets short. Emulation prevention bytes are skipped if escaped.
type bitReader struct {
	buf     []byte
	pos     int // bits
	zeros   int // zero bytes before the present one
	escaped bool
	short   bool
}

func (r *bitReader) bit() uint32 {
	at := r.pos / 8
	if r.pos%8 == 0 && at < len(r.buf) && r.escaped {
		if r.zeros >= 2 && r.buf[at] == 3 {
			r.pos += 8
			r.zeros = 0
			at++
		}
		if at < len(r.buf) && r.buf[at] == 0 {
			r.zeros++
		} else {
			r.zeros = 0
		}
	}
	if at >= len(r.buf) {
		r.short = true
		return 0
	}
	b := r.buf[at] >> (7 - r.pos%8) & 1
	r.pos++
	return uint32(b)
}

func (r *bitReader) flag() bool { return r.bit() != 0 }

func (r *bitReader) bits(n uint32) uint32 {
	var v uint32
	for range n {
		v = v<<1 | r.bit()
	}
	return v
}

// golomb reads an unsigned Exp-Golomb code, ue(v) in H.264 and H.265.
func (r *bitReader) golomb() uint32 {
	var zeros uint32
	for r.bit() == 0 {
		if zeros++; zeros > 31 || r.short {
			r.short = true
			return 0
		}
	}
	return 1<<zeros - 1 + r.bits(zeros)
}
