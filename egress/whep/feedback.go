package whep

import (
	"math/bits"
	"time"

	"github.com/pion/rtcp"
)

// handle acts on one RTCP datagram of the viewer: repeats what is asked for
// again, passes keyframe requests on. What it cannot parse is counted. Call it
// from one goroutine; w is that goroutine's wire.
func (t *track) handle(b []byte, now time.Time, w *wire) {
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		t.metrics.Malformed.Add(1)
		return
	}
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.TransportLayerNack:
			if p.MediaSSRC == t.bound() {
				t.answer(p.Nacks, now, w)
			}
		case *rtcp.PictureLossIndication:
			if p.MediaSSRC == t.bound() {
				t.requestKeyframe()
			}
		case *rtcp.FullIntraRequest:
			for _, entry := range p.FIR {
				if entry.SSRC == t.bound() {
					t.requestKeyframe()
				}
			}
		}
	}
}

// bound returns the SSRC that Bind gave.
func (t *track) bound() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ssrc
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
	t.mu.Lock()
	t.asked++
	allowed := t.repeats.allow(sequence, now)
	exhausted := t.repeats.left < 1
	original, known := t.rewriter.source(sequence)
	source, ring := t.source, t.ring
	t.mu.Unlock()
	if !allowed || !known || ring == nil {
		return !exhausted
	}
	p, ok := ring.Lookup(original)
	if !ok || p.Source != source {
		return true
	}
	t.mu.Lock()
	current := t.source == source
	timestamp := t.rewriter.outTimestamp(p.Timestamp)
	t.mu.Unlock()
	if !current {
		return true
	}
	train := [1]outgoing{{sequence, timestamp, p.Marker, p.Payload}}
	if _, err := w.send(train[:]); err != nil {
		return false // the feeding goroutine sees it, too
	}
	t.mu.Lock()
	t.packets++
	t.octets += uint64(len(p.Payload))
	t.repeated++
	t.mu.Unlock()
	t.metrics.Retransmits.Add(1)
	return true
}
