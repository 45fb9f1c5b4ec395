package stream

import "strings"

// Keyframe reports whether payload, an RTP payload of this codec, holds the
// beginning of a keyframe. It is pure and safe for arbitrary bytes. Audio has no
// keyframes.
func (c Codec) Keyframe(payload []byte) bool {
	switch strings.ToUpper(c.Name) {
	case "H264":
		return keyframeH264(payload)
	case "H265":
		return keyframeH265(payload)
	case "AV1":
		return keyframeAV1(payload)
	case "VP9":
		return keyframeVP9(payload)
	default:
		return false
	}
}

// keyframeH264 looks for an IDR slice (NAL unit type 5), RFC 6184 §5.
func keyframeH264(payload []byte) bool {
	const idr, stapA, fuA = 5, 24, 28
	if len(payload) < 2 {
		return false
	}
	switch payload[0] & 0x1f {
	case idr:
		return true
	case stapA:
		return aggregated(payload[1:], func(nal []byte) bool { return nal[0]&0x1f == idr })
	case fuA:
		return payload[1]&0x80 != 0 && payload[1]&0x1f == idr
	default:
		return false
	}
}

// keyframeH265 looks for an IRAP picture (NAL unit types 16 to 21), RFC 7798 §4.4.
func keyframeH265(payload []byte) bool {
	const ap, fu = 48, 49
	irap := func(kind byte) bool { return kind >= 16 && kind <= 21 }
	if len(payload) < 3 {
		return false
	}
	switch kind := payload[0] >> 1 & 0x3f; kind {
	case ap:
		return aggregated(payload[2:], func(nal []byte) bool { return irap(nal[0] >> 1 & 0x3f) })
	case fu:
		return payload[2]&0x80 != 0 && irap(payload[2]&0x3f)
	default:
		return irap(kind)
	}
}

// aggregated reports whether match accepts one of the NAL units of an
// aggregation packet: a 16-bit length before each.
func aggregated(b []byte, match func(nal []byte) bool) bool {
	for len(b) > 2 {
		n := int(b[0])<<8 | int(b[1])
		b = b[2:]
		if n == 0 || n > len(b) {
			return false
		}
		if match(b[:n]) {
			return true
		}
		b = b[n:]
	}
	return false
}

// keyframeAV1 looks for the first packet of a coded video sequence: the N bit
// of the aggregation header, or a sequence header OBU among the first elements
// (RTP payload format for AV1 §4.4).
func keyframeAV1(payload []byte) bool {
	const continued, starts, sequenceHeader, temporalDelimiter = 0x80, 0x08, 1, 2
	if len(payload) < 2 || payload[0]&continued != 0 {
		return false
	}
	if payload[0]&starts != 0 {
		return true
	}
	count := int(payload[0] >> 4 & 3)
	b := payload[1:]
	for i := 1; len(b) > 0; i++ {
		element := b
		if count == 0 || i < count { // an element with its length before it
			n, size := leb128(b)
			if size == 0 || n == 0 || n > uint64(len(b)-size) {
				return false
			}
			element, b = b[size:size+int(n)], b[size+int(n):]
		} else {
			b = nil
		}
		switch element[0] >> 3 & 0xf {
		case sequenceHeader:
			return true
		case temporalDelimiter:
		default:
			return false
		}
	}
	return false
}

// leb128 reads a little-endian base 128 number and returns it with its length
// in bytes; length 0 says that there is none.
func leb128(b []byte) (value uint64, size int) {
	for i := 0; i < len(b) && i < 8; i++ {
		value |= uint64(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			return value, i + 1
		}
	}
	return 0, 0
}

// keyframeVP9 looks for the first packet of a picture that is not predicted
// from another, in the lowest spatial layer (RFC 9628 §4.2).
func keyframeVP9(payload []byte) bool {
	const pictureID, predicted, layers, begin = 0x80, 0x40, 0x20, 0x08
	if len(payload) < 2 || payload[0]&predicted != 0 || payload[0]&begin == 0 {
		return false
	}
	if payload[0]&layers == 0 {
		return true
	}
	at := 1
	if payload[0]&pictureID != 0 {
		at++
		if payload[1]&0x80 != 0 { // 15-bit picture ID
			at++
		}
	}
	return at < len(payload) && payload[at]>>1&7 == 0 // spatial layer 0
}
