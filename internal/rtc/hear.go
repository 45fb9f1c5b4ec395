package rtc

import (
	"io"
	"sync"

	"github.com/pion/transport/v4/packetio"
)

// Hearer is a track of Opening.Tracks that takes the RTCP about it. Without a
// goroutine of its own, that is: viewers are many, and their reports come all the
// time.
type Hearer interface {
	// Hear takes one RTCP packet about the track's SSRC, unsealed. It is called by one
	// goroutine at a time, on which the connection's other RTCP waits: it must not
	// block, nor close anything, and it keeps nothing of the packet. If it panics, the
	// Session ends with ErrFault.
	Hear(packet []byte)
}

// Bounds of what waits for a reader, as Pion has them.
const (
	rtcpWaiting = 100_000   // bytes
	rtpWaiting  = 1_000_000 // bytes
)

// hearers are the tracks that take RTCP, by SSRC.
type hearers struct {
	mu  sync.Mutex
	all map[uint32]Hearer // below mu
}

func (h *hearers) add(ssrc uint32, track Hearer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = make(map[uint32]Hearer)
	}
	h.all[ssrc] = track
}

func (h *hearers) get(ssrc uint32) Hearer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[ssrc]
}

// buffer returns where Pion puts the packets of one SSRC: a track that hears them,
// else a buffer until somebody reads.
func (x *Session) buffer(kind packetio.BufferPacketType, ssrc uint32) io.ReadWriteCloser {
	if kind == packetio.RTCPBufferPacket {
		if track := x.hearers.get(ssrc); track != nil {
			return &ear{x, track}
		}
	}
	b := packetio.NewBuffer()
	b.SetLimitSize(rtcpWaiting)
	if kind == packetio.RTPBufferPacket {
		b.SetLimitSize(rtpWaiting)
	}
	return b
}

// ear hands what is written to it to a track.
type ear struct {
	session *Session
	track   Hearer
}

func (e *ear) Write(b []byte) (int, error) {
	defer e.session.rescue()
	e.track.Hear(b)
	return len(b), nil
}

// Read finds nothing.
func (*ear) Read([]byte) (int, error) { return 0, io.EOF }

// Close closes nothing.
func (*ear) Close() error { return nil }
