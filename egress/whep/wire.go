package whep

import (
	"encoding/binary"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc"
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

// wire sends one track's packets. It is not safe for concurrent use; make one for
// each goroutine that sends.
type wire struct {
	writer  webrtc.TrackLocalWriter
	sending *rtc.Sending // the same, if it is the session's own; else packets go one by one
	header  rtp.Header   // reused: nobody keeps anything of it
	number  [2]byte      // the header extension of transport-wide feedback, if there is one
}

// newWire returns a wire. Packets carry their sequence number in the header
// extension with the ID number, if that is not 0: so one that is repeated is the
// same in all bytes.
func newWire(w webrtc.TrackLocalWriter, ssrc uint32, payloadType, number uint8) *wire {
	sending, _ := w.(*rtc.Sending)
	wire := &wire{writer: w, sending: sending, header: rtp.Header{Version: 2, PayloadType: payloadType, SSRC: ssrc}}
	if number != 0 {
		_ = wire.header.SetExtension(number, wire.number[:]) // two bytes fit
	}
	return wire
}

// send writes a train of packets and returns how many bytes of payload went
// out. It stops at the first error.
func (w *wire) send(train []outgoing) (sent int, err error) {
	if w.sending == nil {
		return w.sendEach(train)
	}
	t := w.sending.Begin()
	for i := range train {
		w.set(&train[i])
		if err = t.Add(&w.header, train[i].payload); err != nil {
			break
		}
		sent += len(train[i].payload)
	}
	if last := t.End(); err == nil {
		err = last
	}
	return sent, err
}

func (w *wire) sendEach(train []outgoing) (sent int, err error) {
	for i := range train {
		w.set(&train[i])
		if _, err := w.writer.WriteRTP(&w.header, train[i].payload); err != nil {
			return sent, err
		}
		sent += len(train[i].payload)
	}
	return sent, nil
}

// set makes the header that of a packet.
func (w *wire) set(p *outgoing) {
	w.header.SequenceNumber, w.header.Timestamp, w.header.Marker, w.header.Padding = p.sequence, p.timestamp, p.marker, p.padding
	binary.BigEndian.PutUint16(w.number[:], p.sequence)
}

// emptiness returns the content of a padding packet.
func emptiness() []byte { return padding[:] }

// padding is never written to.
var padding = [paddingSize]byte{paddingSize - 1: paddingSize} //nolint:gochecknoglobals // a constant
