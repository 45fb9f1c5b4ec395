package whip

const (
	blockSize = 64 << 10
	// The most that one packet may take: more than any datagram that gets through.
	packetSize = 1600
)

// slab hands out buffers from blocks of 64 KiB. What was taken is never reused:
// the Stream's ring keeps it. The zero slab works; it belongs to one goroutine.
type slab struct {
	block []byte // not taken yet
}

// space returns a buffer for one packet.
func (s *slab) space() []byte {
	if len(s.block) < packetSize {
		s.block = make([]byte, blockSize)
	}
	return s.block[:packetSize:packetSize]
}

// take keeps the first n bytes of the last space for whoever has them now.
func (s *slab) take(n int) { s.block = s.block[n:] }

// losses counts the sequence numbers that a sender used (RFC 3550 §A.1).
type losses struct {
	first, last uint64 // extended sequence numbers
	begun       bool
}

func (l *losses) seen(seq uint16) {
	if !l.begun {
		l.first, l.last, l.begun = 1<<16|uint64(seq), 1<<16|uint64(seq), true
		return
	}
	if diff := int16(seq - uint16(l.last)); diff > 0 {
		l.last += uint64(diff)
	}
}

// count returns how many packets are missing of those up to the newest, when
// received of them came.
func (l *losses) count(received uint64) uint64 {
	if !l.begun {
		return 0
	}
	if used := l.last - l.first + 1; used > received {
		return used - received
	}
	return 0
}
