package whep

import (
	"math/bits"
	"time"

	"github.com/pion/rtcp"
)

// handle acts on one RTCP datagram of the viewer: repeats what is asked for
// again, passes keyframe requests on, and tells the viewer's pilot what became
// of its packets. What it cannot parse is counted. Call it from one goroutine; w
// is that goroutine's wire.
func (t *track) handle(b []byte, now time.Time, w *wire) {
	for len(b) > 0 {
		h, ok := readHeader(b)
		if !ok {
			t.metrics.Malformed.Add(1)
			return
		}
		one := b[:h.size]
		b = b[h.size:]
		if h.kind == rtpFeedback && h.format == formatTWCC {
			ok = t.pilot.feedback(one, now)
		} else if bitrate, remb := readREMB(one); remb && h.kind == payloadFeedback && h.format == formatREMB {
			t.pilot.estimated(bitrate, now)
		} else if h.kind == receiverReport {
			mine := t.bound()
			ok = readReceiverReport(one, int(h.format), func(r rtcp.ReceptionReport) {
				if r.SSRC == mine {
					t.pilot.received(r, now)
				}
			})
		} else {
			ok = t.act(one, now, w)
		}
		if !ok {
			t.metrics.Malformed.Add(1)
			return
		}
	}
}

// act acts on one RTCP packet. False says that it is malformed.
func (t *track) act(b []byte, now time.Time, w *wire) bool {
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		return false
	}
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.TransportLayerNack:
			if p.MediaSSRC == t.bound() {
				t.answer(p.Nacks, now, w)
			}
		case *rtcp.PictureLossIndication:
			if p.MediaSSRC == t.bound() {
				t.plead(now)
			}
		case *rtcp.FullIntraRequest:
			for _, entry := range p.FIR {
				if entry.SSRC == t.bound() {
					t.plead(now)
				}
			}
		}
	}
	return true
}

// bound returns the SSRC that Bind gave.
func (t *track) bound() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ssrc
}

// plead takes the viewer's request for a keyframe, which may have to wait.
func (t *track) plead(now time.Time) {
	t.mu.Lock()
	ok := t.pleas.ask(now)
	t.mu.Unlock()
	if ok {
		t.requestKeyframe()
	}
}

// requestKeyframe asks the publisher, coalesced with everybody else's wishes.
func (t *track) requestKeyframe() {
	t.mu.Lock()
	ring := t.ring
	t.mu.Unlock()
	if ring != nil {
		ring.RequestKeyframe()
		t.metrics.KeyframeRequests.Add(1)
	}
}

// answer repeats the packets of a NACK (RFC 4585 §6.2.1), within the bounds.
func (t *track) answer(pairs []rtcp.NackPair, now time.Time, w *wire) {
	for _, pair := range pairs {
		mask := uint32(pair.LostPackets)<<1 | 1
		for ; mask != 0; mask &= mask - 1 {
			if !t.repeat(pair.PacketID+uint16(bits.TrailingZeros32(mask)), now, w) {
				return
			}
		}
	}
}

// repeat sends one packet again. False says that the connection is closed or
// the viewer has asked for too much.
func (t *track) repeat(sequence uint16, now time.Time, w *wire) bool {
	t.metrics.NACKs.Add(1)
	verdict, nth, timestamp := t.judge(sequence, now)
	var p outgoing
	switch verdict {
	case tooMuch:
		return false
	case leave:
		return true
	case repeatPadding:
		p = paddingPacket(sequence, timestamp)
	case repeatMedia:
		var ok bool
		if p, ok = t.former(sequence); !ok {
			return true
		}
	}
	copies := t.pilot.again(&p, nth, now)
	if copies == 0 {
		return true
	}
	train := [mostCopies]outgoing{p, p, p}
	if _, err := w.send(train[:copies]); err != nil {
		return false // the feeding goroutine sees it, too
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.packets += uint64(copies)
	if verdict == repeatMedia {
		t.octets += uint64(copies * len(p.payload))
	}
	t.repeated++
	t.metrics.Retransmits.Add(1)
	return true
}

// verdict is what becomes of a number that the viewer asked for again.
type verdict uint8

const (
	leave         verdict = iota // it is of no use, or was repeated just now
	tooMuch                      // the viewer has asked for too much
	repeatPadding                // it was a packet of padding
	repeatMedia
)

// judge says whether a packet is to be repeated, which repetition that is, and the
// timestamp of padding.
func (t *track) judge(sequence uint16, now time.Time) (v verdict, nth int, timestamp uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	if t.repeats == nil {
		t.repeats = new(repeats)
	}
	timestamp, empty := t.rewriter.padding(sequence)
	_, known := t.rewriter.source(sequence)
	if !empty && !known || t.silent.Load() { // of the Layer before, or while the network is to be free
		return leave, 0, 0
	}
	nth = t.repeats.allow(sequence, now)
	switch {
	case nth == 0 && t.repeats.left < 1:
		return tooMuch, 0, 0
	case nth == 0:
		return leave, 0, 0
	case empty:
		return repeatPadding, nth, timestamp
	default:
		return repeatMedia, nth, 0
	}
}

// former returns a packet as it was sent before, if the present source still
// has it.
func (t *track) former(sequence uint16) (outgoing, bool) {
	t.mu.Lock()
	original, known := t.rewriter.source(sequence)
	source, ring := t.source, t.ring
	t.mu.Unlock()
	if !known || ring == nil {
		return outgoing{}, false
	}
	p, ok := ring.Lookup(original)
	if !ok || p.Source != source {
		return outgoing{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.source != source {
		return outgoing{}, false
	}
	return outgoing{
		sequence: sequence, timestamp: t.rewriter.outTimestamp(p.Timestamp), marker: p.Marker, payload: p.Payload,
	}, true
}
