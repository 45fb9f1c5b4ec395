package whep

import (
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// outgoing is one packet as a viewer gets it.
type outgoing struct {
	sequence  uint16
	timestamp uint32
	marker    bool
	payload   []byte // the ring's; never written to
}

// wire sends one track's packets. It is the only place that knows how: today
// packet by packet through Pion, which seals and sends each. It is not safe for
// concurrent use; make one for each goroutine that sends.
type wire struct {
	writer webrtc.TrackLocalWriter
	header rtp.Header // reused: Pion keeps nothing of it
}

func newWire(w webrtc.TrackLocalWriter, ssrc uint32, payloadType uint8) *wire {
	return &wire{writer: w, header: rtp.Header{Version: 2, PayloadType: payloadType, SSRC: ssrc}}
}

// send writes a train of packets and returns how many bytes of payload went
// out. It stops at the first error.
func (w *wire) send(train []outgoing) (int, error) {
	sent := 0
	for i := range train {
		p := &train[i]
		w.header.SequenceNumber, w.header.Timestamp, w.header.Marker = p.sequence, p.timestamp, p.marker
		if _, err := w.writer.WriteRTP(&w.header, p.payload); err != nil {
			return sent, err
		}
		sent += len(p.payload)
	}
	return sent, nil
}
