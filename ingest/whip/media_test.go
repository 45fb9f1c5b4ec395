package whip

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/stream"
)

// TestConnections publishes over every kind of connection; a packet that arrives
// proves it.
func TestConnections(t *testing.T) {
	for _, tt := range []struct {
		name    string
		media   rtc.Config
		options rtctest.Options
		edit    *strings.Replacer // of the offer
	}{
		{name: "W34 no candidates in the offer, no trickle", options: rtctest.Options{Bare: true}},
		{name: "W28 setup:passive, as FFmpeg", options: rtctest.Options{Setting: func(s *webrtc.SettingEngine) {}}, edit: strings.NewReplacer("a=setup:actpass", "a=setup:passive")},
		{name: "W28 setup:active", edit: strings.NewReplacer("a=setup:actpass", "a=setup:active")},
		{name: "R56 AES-128-GCM alone", options: rtctest.Options{Setting: func(s *webrtc.SettingEngine) {
			s.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM)
		}}},
		{name: "R56 AES-CM-80 alone", options: rtctest.Options{Setting: func(s *webrtc.SettingEngine) {
			s.SetSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80)
		}}},
		{name: "ICE-TCP alone", options: rtctest.Options{Setting: func(s *webrtc.SettingEngine) {
			s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
		}}},
		{name: "UDP alone", media: rtc.Config{DisableTCP: true}},
		{name: "IPv6", media: rtc.Config{Address: "[::1]:0"}, options: rtctest.Options{Setting: func(s *webrtc.SettingEngine) {
			s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP6})
			s.SetICEUDPMux(loopback6(t)) // Pion gathers ::1 only so
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, rtc.RegistryConfig{}, tt.media)
			x := newSending(t, tt.options)
			if tt.edit != nil {
				x.Offer = tt.edit.Replace(x.Offer)
			}
			x.Connect(t, g.endpoint("live"))
			if strings.Contains(tt.name, "UDP alone") && strings.Contains(x.Answer, " tcp ") {
				t.Error("a TCP candidate although TCP is off")
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { play(ctx, x.audio, recorded(t, "audio.rtpdump")) })
			g.expect(t, "live", stream.LayerID{Kind: stream.Audio}, 5)
			cancel()
			wg.Wait()
		})
	}
}

// loopback6 is a socket on ::1 for the publisher's side.
func loopback6(t *testing.T) ice.UDPMux {
	t.Helper()
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn})
	t.Cleanup(func() { _ = mux.Close() })
	return mux
}

// feedback counts what the publisher's side hears.
type feedback struct {
	mu                   sync.Mutex
	pli, fir, nack, twcc int // below mu
	report               bool
}

func (f *feedback) listen(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		f.mu.Lock()
		for _, p := range packets {
			switch p := p.(type) {
			case *rtcp.PictureLossIndication:
				f.pli++
			case *rtcp.FullIntraRequest:
				f.fir++
			case *rtcp.TransportLayerNack:
				f.nack++
			case *rtcp.TransportLayerCC:
				f.twcc++
			case *rtcp.ReceiverReport:
				f.report = f.report || len(p.Reports) > 0
			}
		}
		f.mu.Unlock()
	}
}

func (f *feedback) eventually(t *testing.T, what string, ok func(*feedback) bool) {
	t.Helper()
	for range 500 {
		f.mu.Lock()
		done := ok(f)
		f.mu.Unlock()
		if done {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("no %s within 5 s", what)
}

func TestFeedback(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	x := newSending(t, rtctest.Options{})
	x.Connect(t, g.endpoint("live"))
	var f feedback
	var wg sync.WaitGroup
	for _, s := range x.PC.GetSenders() {
		wg.Go(func() { f.listen(s) })
	}
	defer wg.Wait()
	defer func() { _ = x.PC.Close() }()
	send := func(seq uint16, payload []byte) {
		p := &rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, SequenceNumber: seq, Timestamp: uint32(seq) * 3000}, Payload: payload}
		if err := x.video.WriteRTP(p); err != nil {
			t.Fatal(err)
		}
	}
	for seq := range uint16(40) {
		if seq == 20 {
			continue // lost
		}
		send(seq, []byte{0x41, 0, byte(seq)}) // no keyframe
		time.Sleep(5 * time.Millisecond)
	}
	f.eventually(t, "PLI at connect (R21)", func(f *feedback) bool { return f.pli >= 1 })
	f.eventually(t, "second PLI after 1 s without keyframe (R21)", func(f *feedback) bool { return f.pli >= 2 })
	f.eventually(t, "NACK (R26)", func(f *feedback) bool { return f.nack >= 1 })
	f.eventually(t, "transport-cc feedback (R53)", func(f *feedback) bool { return f.twcc >= 1 })
	f.eventually(t, "receiver report (R53)", func(f *feedback) bool { return f.report })
	send(40, []byte{0x65, 0, 0}) // a keyframe
	g.expect(t, "live", stream.LayerID{Kind: stream.Video}, 1)
	f.mu.Lock()
	before := f.pli
	f.mu.Unlock()
	s, _ := g.hub.Lookup("live")
	b, err := s.Subscribe(stream.LayerID{Kind: stream.Video})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.RequestKeyframe()
	f.eventually(t, "PLI for a reader", func(f *feedback) bool { return f.pli > before })
}

// TestFIR: R33 only ccm fir was offered.
func TestFIR(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	x := newSending(t, rtctest.Options{})
	var lines []string
	for line := range strings.SplitSeq(x.Offer, "\r\n") {
		if !strings.HasSuffix(line, "nack pli") {
			lines = append(lines, line)
		}
	}
	x.Offer = strings.Join(lines, "\r\n")
	x.Connect(t, g.endpoint("live"))
	var f feedback
	var wg sync.WaitGroup
	for _, s := range x.PC.GetSenders() {
		wg.Go(func() { f.listen(s) })
	}
	defer wg.Wait()
	defer func() { _ = x.PC.Close() }()
	for seq := range uint16(10) {
		if err := x.video.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: seq}, Payload: []byte{0x41, 0}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	f.eventually(t, "FIR", func(f *feedback) bool { return f.fir >= 1 && f.pli == 0 })
}

// TestReport: R1 a sender report reaches the Source.
func TestReport(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	x := newSending(t, rtctest.Options{})
	x.Connect(t, g.endpoint("live"))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { play(ctx, x.audio, recorded(t, "audio.rtpdump")) }) // Pion's side reports each second
	defer wg.Wait()
	defer cancel()
	s, _ := g.hub.Lookup("live")
	for range 500 {
		for _, source := range s.State().Sources {
			if _, ok := source.Report(); ok {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no sender report within 5 s")
}

// TestReaping: W66, X23 a session that never connects loses its slot.
func TestReaping(t *testing.T) {
	g := start(t, rtc.RegistryConfig{PendingTimeout: 100 * time.Millisecond}, rtc.Config{})
	res, _ := rtctest.Token("secret").Do(t, http.MethodPost, g.endpoint("live"), recordedOffer(t, "obs"), "Content-Type", sdpType)
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("POST: %s", res.Status)
	}
	s, _ := g.hub.Lookup("live")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for state := s.State(); state.Live; {
		var err error
		if state, err = s.Wait(ctx, state.Version); err != nil {
			t.Fatal("the stream stays live")
		}
	}
	for range 300 {
		if all, _ := g.registry.Counts(); all == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if res, _ = rtctest.Token("secret").Do(t, http.MethodDelete, g.server.URL+res.Header.Get("Location"), ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("DELETE: %s", res.Status)
	}
	if !strings.Contains(g.log.String(), "never connected") {
		t.Errorf("log: %s", g.log)
	}
}

// TestShutdown: the end of the registry ends the publisher with a goodbye, and
// no new one is let in.
func TestShutdown(t *testing.T) {
	engine, err := rtc.New(rtc.Config{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	registry := rtc.NewRegistry(engine, rtc.RegistryConfig{})
	hub := stream.NewHub(stream.Config{})
	handler := New(Config{}, hub, registry)
	server := newServer(t, handler, registry)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = registry.Run(ctx) }()
	x := newSending(t, rtctest.Options{})
	x.Connect(t, server+"/whip/live")
	play1(t, x)
	cancel()
	rtctest.Wait(t, done, "end of Run")
	rtctest.Wait(t, x.Closed(), "close_notify")
	res, _ := rtctest.Token("").Do(t, http.MethodPost, server+"/whip/live", recordedOffer(t, "obs"), "Content-Type", sdpType)
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("POST after the end: %s", res.Status)
	}
}

func newServer(t *testing.T, whip, sessions http.Handler) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/whip/", whip)
	mux.Handle("/session/", sessions)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return "http://" + listener.Addr().String()
}

// play1 sends for a moment, so that both sides are connected.
func play1(t *testing.T, x sending) {
	t.Helper()
	for seq := range uint16(20) {
		if err := x.audio.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: seq}, Payload: []byte{0xfc}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestParse(t *testing.T) {
	header := rtp.Header{
		Version: 2, Marker: true, PayloadType: 96, SequenceNumber: 65535, Timestamp: 7, SSRC: 9,
		CSRC: []uint32{1, 2}, Extension: true, ExtensionProfile: rtp.ExtensionProfileOneByte,
	}
	if err := header.SetExtension(1, []byte("0")); err != nil {
		t.Fatal(err)
	}
	packet := func(p rtp.Packet) []byte {
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	padded := header
	padded.Padding = true
	for _, tt := range []struct {
		name string
		data []byte
		want []byte
		ok   bool
	}{
		{"plain", packet(rtp.Packet{Header: header, Payload: []byte("abc")}), []byte("abc"), true},
		{"padding", packet(rtp.Packet{Header: padded, Payload: []byte("abc"), PaddingSize: 5}), []byte("abc"), true},
		{"padding only", packet(rtp.Packet{Header: padded, PaddingSize: 200}), nil, true},
		{"padding longer than the payload", append(packet(rtp.Packet{Header: header, Payload: []byte("a")})[:0:0], 0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 9), nil, false},
		{"padding of zero", []byte{0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0}, nil, false},
		{"padding without payload", []byte{0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9}, nil, false},
		{"version 1", []byte{0x40, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0}, nil, false},
		{"short", []byte{0x80, 96, 0}, nil, false},
		{"empty", nil, nil, false},
		{"CSRCs cut", []byte{0x8f, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9}, nil, false},
		{"extension cut", []byte{0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0xbe, 0xde, 0, 9}, nil, false},
	} {
		var h rtp.Header
		p, ok := parse(&h, tt.data)
		if ok != tt.ok || !bytes.Equal(p.Payload, tt.want) {
			t.Errorf("%s: got %q, %v, want %q, %v", tt.name, p.Payload, ok, tt.want, tt.ok)
		}
		if ok && (p.Sequence != 65535 || p.Timestamp != 7 || !p.Marker) {
			t.Errorf("%s: got %+v", tt.name, p)
		}
	}
}

func TestSlab(t *testing.T) {
	var s slab
	var taken [][]byte
	for i := range 300 { // more than one block
		b := s.space()
		if len(b) != packetSize || cap(b) != packetSize {
			t.Fatalf("space of %d, capacity %d", len(b), cap(b))
		}
		n := copy(b, strings.Repeat(strconv.Itoa(i%10), 1+i*3))
		s.take(n)
		taken = append(taken, b[:n])
	}
	for i, b := range taken {
		if want := strings.Repeat(strconv.Itoa(i%10), 1+i*3); string(b) != want {
			t.Fatalf("buffer %d was reused: %q", i, b)
		}
	}
}

func TestLosses(t *testing.T) {
	var l losses
	if l.count(0) != 0 {
		t.Error("losses before the first packet")
	}
	received := uint64(0)
	for i := range 100_000 {
		if i%10 == 3 {
			continue
		}
		l.seen(uint16(65_000 + i)) // wraps
		received++
	}
	if got := l.count(received); got != 10_000 {
		t.Errorf("%d lost, want 10,000", got)
	}
	late := 65_000 + 99_990 // changes nothing
	l.seen(uint16(late))
	if got := l.count(received + 20_000); got != 0 {
		t.Errorf("%d lost although more came, want 0", got)
	}
}

// BenchmarkParse: no allocation a packet.
func BenchmarkParse(b *testing.B) {
	data, err := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96}, Payload: make([]byte, 1200)}).Marshal()
	if err != nil {
		b.Fatal(err)
	}
	var h rtp.Header
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := parse(&h, data); !ok {
			b.Fatal("not parsed")
		}
	}
}
