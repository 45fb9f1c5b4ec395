package whep

import (
	"encoding/binary"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// outgoing is one packet as a viewer gets it.
type outgoing struct {
	sequence  uint16
	timestamp uint32
	marker    bool
	payload   []byte // the ring's; never written to
	padding   bool   // the payload is padding, its length in the last byte (RFC 3550 §5.1)
	scout     bool   // it belongs to a scout
}

// wire sends one track's packets. It is the only place that knows how: today
// packet by packet through Pion, which seals and sends each. It is not safe for
// concurrent use; make one for each goroutine that sends.
type wire struct {
	writer webrtc.TrackLocalWriter
	header rtp.Header // reused: Pion keeps nothing of it
	number [2]byte    // the header extension of transport-wide feedback, if there is one
}

// newWire returns a wire. Packets carry their sequence number in the header
// extension with the ID number, if that is not 0: so one that is repeated is the
// same in all bytes.
func newWire(w webrtc.TrackLocalWriter, ssrc uint32, payloadType, number uint8) *wire {
	wire := &wire{writer: w, header: rtp.Header{Version: 2, PayloadType: payloadType, SSRC: ssrc}}
	if number != 0 {
		_ = wire.header.SetExtension(number, wire.number[:]) // two bytes fit
	}
	return wire
}

// send writes a train of packets and returns how many bytes of payload went
// out. It stops at the first error.
func (w *wire) send(train []outgoing) (int, error) {
	sent := 0
	for i := range train {
		p := &train[i]
		w.header.SequenceNumber, w.header.Timestamp, w.header.Marker, w.header.Padding = p.sequence, p.timestamp, p.marker, p.padding
		binary.BigEndian.PutUint16(w.number[:], p.sequence)
		if _, err := w.writer.WriteRTP(&w.header, p.payload); err != nil {
			return sent, err
		}
		sent += len(p.payload)
	}
	return sent, nil
}

// emptiness returns the content of a padding packet.
func emptiness() []byte { return padding[:] }

// padding is never written to.
var padding = [paddingSize]byte{paddingSize - 1: paddingSize} //nolint:gochecknoglobals // a constant
