package rtc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// outlet is a track that gives its Sending away, and the RTCP that it hears.
type outlet struct {
	sendings    chan *rtc.Sending
	heard       chan []byte
	payloadType uint8
}

// Hear fails when an RTCP BYE comes.
func (o *outlet) Hear(packet []byte) {
	if packet[1] == uint8(rtcp.TypeGoodbye) {
		panic("fault while hearing") //nolint:forbidigo // the fault that is tested
	}
	select {
	case o.heard <- bytes.Clone(packet):
	default: // reports, which nobody waits for
	}
}

func (o *outlet) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	o.payloadType = uint8(c.CodecParameters()[0].PayloadType)
	o.sendings <- c.WriteStream().(*rtc.Sending)
	return c.CodecParameters()[0], nil
}

func (*outlet) Unbind(webrtc.TrackLocalContext) error { return nil }
func (*outlet) ID() string                            { return "video" }
func (*outlet) RID() string                           { return "" }
func (*outlet) StreamID() string                      { return "stream" }
func (*outlet) Kind() webrtc.RTPCodecType             { return webrtc.RTPCodecTypeVideo }

// show is a Session that sends video to a Remote.
type show struct {
	remote   *rtctest.Remote
	session  *rtc.Session
	sending  *rtc.Sending
	header   rtp.Header
	received chan rtp.Packet
	heard    chan []byte
	sequence uint16
	count    uint32 // packets sent
	expected uint32 // packets received
}

func watch(t *testing.T, o rtctest.Options, edit func(offer string) string) *show {
	t.Helper()
	h := open(t, rtc.Config{}, rtc.RegistryConfig{})
	w := &show{received: make(chan rtp.Packet, 1000)}
	out := &outlet{sendings: make(chan *rtc.Sending, 1), heard: make(chan []byte, 100)}
	w.heard = out.heard
	h.mux.Handle("/whep/", h.registry.Endpoint(rtc.EndpointConfig{
		Direction: rtc.Send, Prefix: "/whep/",
		Accept: func(ctx context.Context, q rtc.Request) (*rtc.Session, error) {
			codec := rtc.Codec{Name: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1;profile-level-id=42001f"}
			offer, err := rtc.CheckOffer(q.Body, rtc.Rules{Direction: rtc.Send, Codecs: []rtc.Codec{codec}})
			if err != nil {
				return nil, err
			}
			x, err := h.registry.Open(ctx, rtc.Opening{Caller: q.Caller, Direction: rtc.Send, Stream: q.Stream, Offer: offer, Tracks: []webrtc.TrackLocal{out}})
			if err != nil {
				return nil, err
			}
			x.Start(func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
			h.sessions <- x
			return x, nil
		},
	}))
	w.remote = rtctest.New(t, o, func(pc *webrtc.PeerConnection) error {
		pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
			for {
				p, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				w.received <- *p
			}
		})
		_, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		return err
	})
	if edit != nil {
		w.remote.Offer = edit(w.remote.Offer)
	}
	w.remote.Connect(t, h.server.URL+"/whep/live")
	w.session = <-h.sessions
	rtctest.Wait(t, w.session.Connected(), "connection")
	w.sending = <-out.sendings
	w.header = rtp.Header{Version: 2, PayloadType: out.payloadType, SSRC: w.sending.SSRC()}
	return w
}

// payload of the n-th packet: of 1,000 bytes, or a few less.
func payload(n uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, n)
	return append(b, bytes.Repeat([]byte{byte(n)}, 996-int(n%3)*int(n%5))...)
}

// send sends trains of packets and waits for all of them.
func (w *show) send(t *testing.T, trains, packets int) {
	t.Helper()
	for range trains {
		train := w.sending.Begin()
		for range packets {
			if err := train.Add(w.next()); err != nil {
				t.Fatal(err)
			}
		}
		if err := train.End(); err != nil {
			t.Fatal(err)
		}
		w.expect(t)
	}
}

// next returns the next packet.
func (w *show) next() (*rtp.Header, []byte) {
	w.header.SequenceNumber, w.header.Timestamp, w.header.Marker = w.sequence, w.count, w.count%7 == 0
	w.sequence, w.count = w.sequence+1, w.count+1
	return &w.header, payload(w.count - 1)
}

func (w *show) expect(t *testing.T) {
	t.Helper()
	for ; w.expected < w.count; w.expected++ {
		select {
		case p := <-w.received:
			n := w.expected
			if p.Timestamp != n || p.SequenceNumber != w.sequence-uint16(w.count-n) || p.Marker != (n%7 == 0) || !bytes.Equal(p.Payload, payload(n)) {
				t.Fatalf("packet %d arrived as %v", n, p)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("packet %d of %d did not arrive", w.expected, w.count)
		}
	}
}

// TestSending: what we seal is what Pion opens, over a wrap of the sequence
// numbers (RFC 3711 §3.3.1), beside Pion's own sending and instead of it.
func TestSending(t *testing.T) {
	w := watch(t, rtctest.Options{}, nil)
	until(t, "keys and a pair", w.session.Own)
	w.sequence = 65000
	w.send(t, 20, 1)
	w.send(t, 300, 33) // past two of the packets that keep Pion in step
	for range 10 {
		w.session.Detour()
		if w.session.Own() {
			t.Fatal("detour is none")
		}
		w.send(t, 3, 5)
		w.session.Reroute()
		if !w.session.Own() {
			t.Fatal("detour has no end")
		}
		w.send(t, 3, 12)
	}
	if _, err := w.sending.WriteRTP(w.next()); err != nil {
		t.Fatal(err)
	}
	w.expect(t)
	w.padding(t)
	w.session.Detour()
	w.padding(t)
}

// padding sends a packet of nothing but padding (RFC 3550 §5.1), whose header
// does not say how much.
func (w *show) padding(t *testing.T) {
	t.Helper()
	header, _ := w.next()
	header.Padding = true
	if _, err := w.sending.WriteRTP(header, append(make([]byte, 223), 224)); err != nil {
		t.Fatal(err)
	}
	header.Padding = false
	w.expected++
	select {
	case p := <-w.received:
		if p.SequenceNumber != header.SequenceNumber || len(p.Payload) != 0 || p.Header.PaddingSize != 224 {
			t.Errorf("padding arrived as %v with %d bytes of payload", p.Header, len(p.Payload))
		}
	case <-time.After(10 * time.Second):
		t.Fatal("padding did not arrive")
	}
}

// TestSendingFollows: an ICE restart changes the pair, and its end is the end.
func TestSendingFollows(t *testing.T) {
	w := watch(t, rtctest.Options{}, nil)
	until(t, "keys and a pair", w.session.Own)
	w.send(t, 5, 8)
	w.remote.Restart(t, w.remote.ETag)
	until(t, "a new pair", w.session.Own)
	w.send(t, 20, 8)
	w.session.End(rtc.ErrDeleted)
	rtctest.Wait(t, w.session.Done(), "end of the session")
	if w.session.Own() {
		t.Error("sends on after its end")
	}
}

// TestSettle: a connection by UDP gives back what waits for TCP, and is as before; an ICE
// restart, which may lead to TCP, has it again. One by TCP keeps it.
func TestSettle(t *testing.T) {
	waiting := func() int {
		var stacks strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			t.Fatal(err)
		}
		return strings.Count(stacks.String(), "created by github.com/pion/ice/v4.(*TCPMuxDefault).createConn")
	}
	t.Run("UDP", func(t *testing.T) {
		w := watch(t, rtctest.Options{}, nil)
		until(t, "keys and a pair", w.session.Own)
		if n := waiting(); n != 1 {
			t.Fatalf("%d wait for TCP before", n)
		}
		for range 2 { // the second time there is nothing to do
			w.session.Settle()
			until(t, "end of who waits for TCP", func() bool { return waiting() == 0 })
			w.send(t, 5, 8)
		}
		w.remote.Restart(t, w.remote.ETag)
		until(t, "who waits for TCP again", func() bool { return waiting() == 1 })
		until(t, "a new pair", w.session.Own)
		w.send(t, 5, 8)
	})
	t.Run("TCP", func(t *testing.T) {
		w := watch(t, rtctest.Options{Setting: func(s *webrtc.SettingEngine) {
			s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
		}}, nil)
		w.session.Settle()
		w.send(t, 5, 8)
		if n := waiting(); n != 1 {
			t.Errorf("%d wait for TCP, which is used", n)
		}
	})
	t.Run("ended", func(t *testing.T) {
		w := watch(t, rtctest.Options{}, nil)
		w.session.End(rtc.ErrDeleted)
		rtctest.Wait(t, w.session.Done(), "end of the session")
		w.session.Settle()
	})
}

// TestSendingLeft: what we cannot send ourselves is sent by Pion.
func TestSendingLeft(t *testing.T) {
	tests := []struct {
		name string
		o    rtctest.Options
		edit func(string) string
	}{
		{"ICE-TCP", rtctest.Options{Setting: func(s *webrtc.SettingEngine) {
			s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
		}}, nil},
		{"AES-CM", rtctest.Options{Setting: func(s *webrtc.SettingEngine) {
			s.SetSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80)
		}}, nil},
		{"DTLS server", rtctest.Options{}, func(offer string) string {
			return strings.ReplaceAll(offer, "a=setup:actpass", "a=setup:passive")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := watch(t, tt.o, tt.edit)
			w.send(t, 20, 8)
			if w.session.Own() {
				t.Error("sent by ourselves")
			}
		})
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 10 s", what)
		}
	}
}

// TestTrains: a train and single packets are the same to who receives them.
func TestTrains(t *testing.T) {
	listen := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	from, to := listen(), listen()
	for _, last := range []int{1, 700, 1000} {
		for _, refused := range []bool{false, true} {
			train := make([]byte, 4*1000+last)
			for i := range train {
				train[i] = byte(i / 1000)
			}
			if err := rtc.SendTrain(from, to.LocalAddr().(*net.UDPAddr).AddrPort(), train, 1000, refused); err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				b := make([]byte, 2000)
				if err := to.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
					t.Fatal(err)
				}
				n, err := to.Read(b)
				if want := min(1000, len(train)-i*1000); err != nil || n != want || b[0] != byte(i) {
					t.Errorf("packet %d has %d bytes of %d, %v", i, n, b[0], err)
				}
			}
		}
	}
}
