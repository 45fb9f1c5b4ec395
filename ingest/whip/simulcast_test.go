package whip

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/stream"
)

// layer is one simulcast layer whose packets a test writes byte by byte.
type layer struct {
	rid   string
	bound chan struct{}

	ssrc uint32 // valid once bound, as write
	out  webrtc.TrackLocalWriter
	all  *layers
}

func (l *layer) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, codec := range c.CodecParameters() {
		if codec.MimeType == webrtc.MimeTypeH264 {
			l.ssrc, l.out = uint32(c.SSRC()), c.WriteStream()
			close(l.bound)
			return codec, nil
		}
	}
	return webrtc.RTPCodecParameters{}, errors.New("no H.264")
}

func (l *layer) Unbind(webrtc.TrackLocalContext) error { return nil }
func (l *layer) ID() string                            { return "video" }
func (l *layer) RID() string                           { return l.rid }
func (l *layer) StreamID() string                      { return "stream" }
func (l *layer) Kind() webrtc.RTPCodecType             { return webrtc.RTPCodecTypeVideo }

// layers are a Remote that publishes simulcast, and what its packets need.
type layers struct {
	*rtctest.Remote
	t        *testing.T
	list     []*layer
	sender   *webrtc.RTPSender
	pt, rtx  uint8
	mid, rid uint8 // header extensions
	rrid     uint8
}

// simulcast publishes layers to the stream "live" and waits until they can be sent.
func (g *gateway) simulcast(t *testing.T, o rtctest.Options, rids ...string) *layers {
	t.Helper()
	s := &layers{t: t}
	o.Token = "secret"
	s.Remote = rtctest.New(t, o, func(pc *webrtc.PeerConnection) error {
		for i, rid := range rids {
			l := &layer{rid: rid, bound: make(chan struct{}), all: s}
			s.list = append(s.list, l)
			if i > 0 {
				if err := s.sender.AddEncoding(l); err != nil {
					return err
				}
				continue
			}
			transceiver, err := pc.AddTransceiverFromTrack(l, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
			if err != nil {
				return err
			}
			s.sender = transceiver.Sender()
		}
		return nil
	})
	s.Offer = regexp.MustCompile(`a=ssrc[^\r]*\r\n`).ReplaceAllString(s.Offer, "") // as Chromium
	s.Connect(t, g.endpoint("live"))
	for _, l := range s.list {
		rtctest.Wait(t, l.bound, "sender of layer "+l.rid)
	}
	match := regexp.MustCompile(`a=fmtp:(\d+) apt=(\d+)\r\n`).FindStringSubmatch(s.Answer)
	if match == nil {
		t.Fatalf("no RTX in the answer:\n%s", s.Answer)
	}
	rtx, _ := strconv.ParseUint(match[1], 10, 7)
	pt, _ := strconv.ParseUint(match[2], 10, 7)
	s.rtx, s.pt = uint8(rtx), uint8(pt)
	for _, e := range s.sender.GetParameters().HeaderExtensions {
		switch e.URI {
		case sdp.SDESMidURI:
			s.mid = uint8(e.ID)
		case sdp.SDESRTPStreamIDURI:
			s.rid = uint8(e.ID)
		case sdp.SDESRepairRTPStreamIDURI:
			s.rrid = uint8(e.ID)
		}
	}
	return s
}

// header returns the header of a packet that says its layer.
func (l *layer) header(seq uint16) rtp.Header {
	h := l.bare(seq)
	l.all.extend(&h, l.all.mid, "0")
	l.all.extend(&h, l.all.rid, l.rid)
	return h
}

// bare returns the header of a packet that does not.
func (l *layer) bare(seq uint16) rtp.Header {
	return rtp.Header{Version: 2, Marker: true, PayloadType: l.all.pt, SSRC: l.ssrc, SequenceNumber: seq, Timestamp: uint32(seq) * 3000}
}

func (s *layers) extend(h *rtp.Header, id uint8, value string) {
	s.t.Helper()
	if err := h.SetExtension(id, []byte(value)); err != nil {
		s.t.Fatal(err)
	}
}

func (l *layer) write(h rtp.Header, payload ...byte) {
	l.all.t.Helper()
	if _, err := l.out.WriteRTP(&h, payload); err != nil {
		l.all.t.Errorf("write to layer %s: %v", l.rid, err)
	}
}

// picture writes a picture of one packet; number 0 is a keyframe.
func (l *layer) picture(seq uint16) { l.write(l.header(seq), l.payload(seq)...) }

func (l *layer) payload(seq uint16) []byte {
	if seq == 0 {
		return []byte{0x65, l.rid[0], 0}
	}
	return []byte{0x41, l.rid[0], byte(seq)}
}

// again writes a packet once more by RTX (RFC 4588 §4): an SSRC, numbers and a
// payload type of its own, the original number before the payload.
func (l *layer) again(number, seq uint16) {
	h := l.header(number)
	h.SSRC, h.PayloadType = l.ssrc+1, l.all.rtx
	h.Timestamp = uint32(seq) * 3000
	h.Extension, h.Extensions = false, nil
	l.all.extend(&h, l.all.mid, "0")
	l.all.extend(&h, l.all.rrid, l.rid)
	l.write(h, append([]byte{byte(seq >> 8), byte(seq)}, l.payload(seq)...)...)
}

// padding writes a packet of nothing but padding, as one that probes the bandwidth.
func (l *layer) padding(h rtp.Header) {
	h.Padding = true
	all := make([]byte, 99)
	all[len(all)-1] = byte(len(all)) // RFC 3550 §5.1
	l.write(h, all...)
}

// heard is what the gateway says about the layers by RTCP.
type heard struct {
	mu       sync.Mutex
	pli      map[string]int      // below mu, as all: of each layer
	nacked   map[string][]uint16 // the numbers
	received map[uint16]bool     // transport-wide numbers that arrived, by transport-cc
}

// listen collects RTCP until the test's end.
func (s *layers) listen() *heard {
	h := &heard{pli: map[string]int{}, nacked: map[string][]uint16{}, received: map[uint16]bool{}}
	var all sync.WaitGroup
	for _, l := range s.list {
		all.Go(func() {
			for {
				packets, _, err := s.sender.ReadSimulcastRTCP(l.rid)
				if err != nil {
					return
				}
				h.mu.Lock()
				for _, p := range packets {
					h.note(l, p)
				}
				h.mu.Unlock()
			}
		})
	}
	s.t.Cleanup(func() {
		_ = s.PC.Close()
		all.Wait()
	})
	return h
}

func (h *heard) note(l *layer, p rtcp.Packet) {
	switch p := p.(type) {
	case *rtcp.PictureLossIndication:
		if p.MediaSSRC == l.ssrc {
			h.pli[l.rid]++
		}
	case *rtcp.TransportLayerNack:
		if p.MediaSSRC == l.ssrc {
			for _, pair := range p.Nacks {
				h.nacked[l.rid] = append(h.nacked[l.rid], pair.PacketList()...)
			}
		}
	case *rtcp.TransportLayerCC:
		number := p.BaseSequenceNumber
		for _, status := range statuses(p) {
			if status != rtcp.TypeTCCPacketNotReceived {
				h.received[number] = true
			}
			number++
		}
	}
}

// statuses returns what transport-cc feedback says of each packet.
func statuses(p *rtcp.TransportLayerCC) []uint16 {
	var all []uint16
	for _, chunk := range p.PacketChunks {
		switch c := chunk.(type) {
		case *rtcp.RunLengthChunk:
			all = append(all, slices.Repeat([]uint16{c.PacketStatusSymbol}, int(c.RunLength))...)
		case *rtcp.StatusVectorChunk:
			all = append(all, c.SymbolList...)
		}
	}
	return all[:min(len(all), int(p.PacketStatusCount))]
}

// wait polls until ok says so.
func (h *heard) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		h.mu.Lock()
		done := ok()
		h.mu.Unlock()
		if done {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("no %s within 10 s", what)
}

// sequences waits for n packets of a layer and returns their numbers.
func (g *gateway) sequences(t *testing.T, rid string, n int) []uint16 {
	t.Helper()
	var all []uint16
	for _, p := range g.expect(t, "live", stream.LayerID{Kind: stream.Video, RID: rid}, n) {
		all = append(all, p.Sequence)
		if len(p.Payload) > 1 && p.Payload[1] != rid[0] {
			t.Errorf("layer %s got a packet of %c", rid, p.Payload[1])
		}
	}
	slices.Sort(all)
	return all
}

// counters returns a layer's totals once they say so.
func (g *gateway) counters(t *testing.T, rid string, ok func(c stream.Counters) bool) {
	t.Helper()
	s, _ := g.hub.Lookup("live")
	var c stream.Counters
	for range 1000 {
		for _, source := range s.State().Sources {
			if source.Layer.ID.RID == rid {
				c = source.Counters()
			}
		}
		if ok(c) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("layer %s has counted %+v", rid, c)
}

func numbers(n uint16) []uint16 {
	var all []uint16
	for seq := range n {
		all = append(all, seq)
	}
	return all
}

// TestSimulcast: W78, R39 three RIDs become three Layers, whichever begins first.
func TestSimulcast(t *testing.T) {
	for _, begins := range [][]int{{0, 1, 2}, {2, 0, 1}} {
		g := start(t, rtc.RegistryConfig{}, rtc.Config{})
		s := g.simulcast(t, rtctest.Options{}, "q", "h", "f")
		if !strings.Contains(s.Answer, "a=simulcast:recv q;h;f\r\n") {
			t.Errorf("W78 answer:\n%s", s.Answer)
		}
		for _, i := range begins {
			for seq := range uint16(10) {
				s.list[i].picture(seq)
			}
			if got := g.sequences(t, s.list[i].rid, 10); !slices.Equal(got, numbers(10)) {
				t.Errorf("layer %s: numbers %d", s.list[i].rid, got)
			}
		}
		x, _ := g.hub.Lookup("live")
		if best := x.State().Sources[0].Layer.ID.RID; best != "f" {
			t.Errorf("the best layer is %q, want f", best)
		}
	}
}

// TestLateNames: R39 the packets before the first one that says its layer are
// not lost, and layers may take turns.
func TestLateNames(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	s := g.simulcast(t, rtctest.Options{}, "0", "1", "2")
	const unnamed, sent = 5, 20
	for seq := range uint16(sent) {
		for _, l := range s.list {
			if seq < unnamed {
				l.write(l.bare(seq), l.payload(seq)...)
			} else {
				l.picture(seq)
			}
		}
	}
	for _, l := range s.list {
		if got := g.sequences(t, l.rid, sent); !slices.Equal(got, numbers(sent)) {
			t.Errorf("layer %s: numbers %d", l.rid, got)
		}
	}
}

// TestSilentLayer: R43, W82 a layer that never sends holds nothing up, nobody
// asks it for keyframes, and it may begin whenever it likes.
func TestSilentLayer(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	s := g.simulcast(t, rtctest.Options{}, "q", "h", "f")
	q, h, f := s.list[0], s.list[1], s.list[2]
	rtcp := s.listen()
	for seq := range uint16(20) {
		q.write(q.header(seq), 0x41, 'q', byte(seq)) // without a keyframe
		h.picture(seq)
	}
	if got := g.sequences(t, "h", 20); !slices.Equal(got, numbers(20)) {
		t.Errorf("layer h: numbers %d", got)
	}
	rtcp.wait(t, "second PLI for q (R21)", func() bool { return rtcp.pli["q"] >= 2 })
	rtcp.wait(t, "PLI for h, the one at its begin (R21)", func() bool { return rtcp.pli["h"] == 1 })
	rtcp.wait(t, "silence about f", func() bool { return rtcp.pli["f"] == 0 })
	f.picture(0)
	if got := g.sequences(t, "f", 1); !slices.Equal(got, numbers(1)) {
		t.Errorf("layer f: numbers %d", got)
	}
	rtcp.wait(t, "PLI for f (R21)", func() bool { return rtcp.pli["f"] >= 1 })
	x, _ := g.hub.Lookup("live")
	if !x.State().Live {
		t.Error("the stream is not live")
	}
}

// TestRepair: R26 a lost packet is asked for in its layer's name and comes by
// RTX, which says its layer by repaired-rtp-stream-id, even as its first word.
func TestRepair(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	s := g.simulcast(t, rtctest.Options{}, "q", "h", "f")
	rtcp := s.listen()
	const lost, sent = 7, 20
	h, f := s.list[1], s.list[2]
	f.again(30000, 3) // of a layer that has not begun
	for seq := range uint16(sent) {
		for _, l := range s.list {
			if l != h || seq != lost {
				l.picture(seq)
			}
		}
	}
	rtcp.wait(t, "NACK (R26)", func() bool { return slices.Contains(rtcp.nacked["h"], lost) })
	rtcp.wait(t, "silence about the other layers", func() bool { return len(rtcp.nacked["q"])+len(rtcp.nacked["f"]) == 0 })
	h.again(30000, lost)
	next := uint16(sent)
	g.counters(t, "h", func(c stream.Counters) bool { // Pion gives it out with a later packet
		if c.Packets == uint64(next-1) { // all of them but the lost one
			h.picture(next)
			next++
			return false
		}
		return c.Packets == uint64(next)
	})
	if got := g.sequences(t, "h", int(next)); !slices.Equal(got, numbers(next)) {
		t.Errorf("layer h: numbers %d", got)
	}
	f.picture(sent)
	if got := g.sequences(t, "f", sent+1); !slices.Equal(got, numbers(sent+1)) {
		t.Errorf("layer f: numbers %d", got)
	}
}

// TestProbes: what browsers send only to measure the bandwidth does no harm:
// packets once more by RTX, and padding on either SSRC.
func TestProbes(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	s := g.simulcast(t, rtctest.Options{}, "q", "h", "f")
	q := s.list[0]
	const sent, probes = 20, 30
	for seq := range uint16(sent) {
		q.picture(seq)
	}
	g.counters(t, "q", func(c stream.Counters) bool { return c.Packets == sent })
	for i := range uint16(probes) {
		q.again(30000+2*i, i%sent)
		empty := q.header(30001 + 2*i)
		empty.SSRC, empty.PayloadType, empty.Extensions = q.ssrc+1, s.rtx, nil
		s.extend(&empty, s.rrid, "q")
		q.padding(empty)
		q.padding(q.header(sent + 2*i)) // takes a number of the layer's
		q.picture(sent + 2*i + 1)
	}
	const last = sent + 2*probes
	if got := g.sequences(t, "q", last); !slices.Equal(got, numbers(last)) {
		t.Errorf("layer q: numbers %d", got)
	}
	next := uint16(last)
	g.counters(t, "q", func(c stream.Counters) bool { // Pion gives repeats out with a later packet
		if c.Packets == uint64(next) && c.Duplicates == 0 {
			q.picture(next)
			next++
			return false
		}
		return c.Packets == uint64(next) && c.Duplicates > 0 && c.Dropped == 0
	})
	s.list[1].picture(0)
	g.sequences(t, "h", 1)
}

// TestTransportCC: R53 each packet is told to have arrived, from the very first
// one on, of all layers, before they say their names and by RTX. Chromium sends
// the smallest layer alone while it cannot see that more gets through.
func TestTransportCC(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	s := g.simulcast(t, rtctest.Options{}, "q", "h", "f")
	rtcp := s.listen()
	count := uint16(0)
	for seq := range uint16(60) {
		for i, l := range s.list {
			switch {
			case i == 1 && seq < 5:
				l.write(l.bare(seq), l.payload(seq)...)
			case i == 2 && seq < 10: // begins later
				continue
			default:
				l.picture(seq)
			}
			count++
		}
		if seq%3 == 0 {
			s.list[0].again(30000+seq, seq)
			count++
		}
	}
	rtcp.wait(t, fmt.Sprintf("transport-cc for all %d packets", count), func() bool {
		s.list[0].picture(60 + count) // so that some feedback names an SSRC that is listened to
		count++
		for number := range count - 50 {
			if !rtcp.received[number] {
				return false
			}
		}
		return true
	})
}
