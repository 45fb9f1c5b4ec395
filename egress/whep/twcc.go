package whep

import (
	"encoding/binary"
	"time"
)

// What this file parses is draft-holmer-rmcat-transport-wide-cc-extensions-01
// and draft-alvestrand-rmcat-remb-03. It is pure and allocates nothing: feedback
// comes ten times a second from each viewer.

const (
	rtpFeedback     = 205 // RTCP packet types (RFC 4585 §6.1)
	payloadFeedback = 206
	formatTWCC      = 15
	formatREMB      = 15
	// maxReported is how many packets one feedback may tell of: more than are remembered.
	maxReported = 2048
	deltaUnit   = 250 * time.Microsecond
	timeUnit    = 64 * time.Millisecond // of a feedback's reference time
	timeBits    = 24
)

// rtcpHeader is the beginning of one RTCP packet (RFC 3550 §6.4.1).
type rtcpHeader struct {
	format, kind uint8
	size         int // of the whole packet in bytes
}

// readHeader reads it; false says that the packet is not whole.
func readHeader(b []byte) (rtcpHeader, bool) {
	if len(b) < 4 || b[0]>>6 != 2 {
		return rtcpHeader{}, false
	}
	h := rtcpHeader{format: b[0] & 31, kind: b[1], size: 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)}
	return h, h.size <= len(b)
}

// readTWCC reads one transport-wide feedback packet, whole with its header. It
// calls take for each packet that it tells of; at is the time of arrival on the
// receiver's clock, which wraps after 12 days, and -1 for what has not arrived.
// False says that the feedback is malformed; what came before was taken.
func readTWCC(b []byte, take func(number uint16, at time.Duration)) bool {
	if len(b) < 20 {
		return false
	}
	number := binary.BigEndian.Uint16(b[12:])
	left := int(binary.BigEndian.Uint16(b[14:]))
	at := time.Duration(binary.BigEndian.Uint32(b[16:])>>8) * timeUnit
	if left > maxReported {
		return false
	}
	statuses := b[20:]
	deltas, ok := skipStatuses(statuses, left)
	if !ok {
		return false
	}
	for left > 0 {
		chunk := binary.BigEndian.Uint16(statuses)
		statuses = statuses[2:]
		n, _ := chunkLength(chunk)
		n = min(n, left)
		left -= n
		for i := range n {
			switch chunkStatus(chunk, i) {
			case 1:
				if len(deltas) < 1 {
					return false
				}
				at += time.Duration(deltas[0]) * deltaUnit
				deltas = deltas[1:]
				take(number, at)
			case 2:
				if len(deltas) < 2 {
					return false
				}
				at += time.Duration(int16(binary.BigEndian.Uint16(deltas))) * deltaUnit
				deltas = deltas[2:]
				take(number, at)
			default:
				take(number, -1)
			}
			number++
		}
	}
	return true
}

// skipStatuses returns what follows the chunks of so many statuses.
func skipStatuses(b []byte, left int) ([]byte, bool) {
	for left > 0 {
		if len(b) < 2 {
			return nil, false
		}
		n, ok := chunkLength(binary.BigEndian.Uint16(b))
		if !ok {
			return nil, false
		}
		left -= n
		b = b[2:]
	}
	return b, true
}

// chunkLength returns how many statuses a chunk has.
func chunkLength(chunk uint16) (int, bool) {
	switch {
	case chunk&0x8000 == 0: // a run
		n := int(chunk & 0x1fff)
		return n, n > 0
	case chunk&0x4000 == 0: // one bit each
		return 14, true
	default: // two bits each
		return 7, true
	}
}

// chunkStatus returns the i-th status of a chunk: 0 not arrived, 1 a short
// difference of time, 2 a long one.
func chunkStatus(chunk uint16, i int) uint16 {
	switch {
	case chunk&0x8000 == 0:
		return chunk >> 13 & 3
	case chunk&0x4000 == 0:
		return chunk >> (13 - i) & 1
	default:
		return chunk >> (12 - 2*i) & 3
	}
}

// readREMB returns the bit rate of a receiver's estimate; false if the packet is
// none.
func readREMB(b []byte) (int, bool) {
	if len(b) < 20 || string(b[12:16]) != "REMB" {
		return 0, false
	}
	exponent := b[17] >> 2
	mantissa := int(b[17]&3)<<16 | int(binary.BigEndian.Uint16(b[18:]))
	if exponent > 40 { // no network is that fast
		exponent = 40
	}
	return mantissa << exponent, true
}
