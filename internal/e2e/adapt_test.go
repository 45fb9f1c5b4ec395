package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

const (
	downDelay = 40 * time.Millisecond // each way between viewer and gateway
	downQueue = 400 * time.Millisecond
)

// downlink is the slow way from the gateway to one viewer: a queue with a rate
// in front of a delay, and loss by chance. The way back has the delay alone.
type downlink struct {
	front   net.PacketConn
	rate    atomic.Int64 // bits a second
	loss    float64
	dropped atomic.Int64 // by the queue
	lost    atomic.Int64

	mu   sync.Mutex
	free time.Time // when the link is; below mu
	luck *rand.Rand
}

// datagram is one on its way, and who writes it in the end.
type datagram struct {
	at    time.Time
	b     []byte
	write func(b []byte)
}

// newDownlink begins to forward to a gateway's media address.
func newDownlink(t *testing.T, media string, rate int64, loss float64) *downlink {
	t.Helper()
	d := &downlink{loss: loss, luck: rand.New(rand.NewPCG(1, 2))}
	d.rate.Store(rate)
	var err error
	if d.front, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = d.front.Close()
		wg.Wait()
	})
	wg.Go(func() { d.forward(media) })
	return d
}

// forward passes datagrams between the sockets of a viewer and the gateway.
func (d *downlink) forward(media string) {
	up, down := make(chan datagram, 4096), make(chan datagram, 4096)
	var delivering, reading sync.WaitGroup
	delivering.Go(func() { deliver(up) })
	delivering.Go(func() { deliver(down) })
	backs := make(map[string]net.Conn) // by a viewer's address
	read(func(b []byte) (int, net.Addr, error) { return d.front.ReadFrom(b) }, func(b []byte, from net.Addr) {
		back, ok := backs[from.String()]
		if !ok {
			var err error
			if back, err = net.Dial("udp", media); err != nil {
				return
			}
			backs[from.String()] = back
			reading.Go(func() { d.slow(back, down, func(b []byte) { _, _ = d.front.WriteTo(b, from) }) })
		}
		queue(up, datagram{time.Now().Add(downDelay), b, func(b []byte) { _, _ = back.Write(b) }})
	})
	for _, back := range backs {
		_ = back.Close()
	}
	reading.Wait()
	close(up)
	close(down)
	delivering.Wait()
}

// slow queues what the gateway sends to one socket of the viewer.
func (d *downlink) slow(back net.Conn, down chan<- datagram, write func(b []byte)) {
	read(func(b []byte) (int, net.Addr, error) { n, err := back.Read(b); return n, nil, err }, func(b []byte, _ net.Addr) {
		d.mu.Lock()
		defer d.mu.Unlock()
		now := time.Now()
		if d.free.Before(now) {
			d.free = now
		}
		switch media := b[0]&0xc0 == 0x80; { // RTP or RTCP; STUN and DTLS pass
		case media && d.luck.Float64() < d.loss:
			d.lost.Add(1)
		case d.free.Sub(now) > downQueue:
			d.dropped.Add(1)
		default:
			d.free = d.free.Add(time.Duration(len(b)+28) * 8 * time.Second / time.Duration(d.rate.Load()))
			queue(down, datagram{d.free.Add(downDelay), b, write})
		}
	})
}

// read takes datagrams until the socket is closed.
func read(from func(b []byte) (int, net.Addr, error), take func(b []byte, from net.Addr)) {
	buf := make([]byte, 2048)
	for {
		n, address, err := from(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n > 0 {
			take(bytes.Clone(buf[:n]), address)
		}
	}
}

func queue(to chan<- datagram, d datagram) {
	select {
	case to <- d:
	default:
	}
}

// deliver hands datagrams over when they are due, until the channel is closed.
func deliver(from <-chan datagram) {
	for d := range from {
		time.Sleep(time.Until(d.at))
		d.write(d.b)
	}
}

// adaptation is what the API tells of the only viewer.
type adaptation struct {
	Layer              string
	Automatic          bool
	Estimate           int
	Ups, Downs, Probes int
}

func (g *gateway) adaptation(t *testing.T) (a adaptation) {
	t.Helper()
	ask := func(path string, into any) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url(path), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatalf("GET %s: %v: %.200s", path, err, b)
		}
	}
	var list struct {
		Sessions []struct{ ID, Protocol string }
	}
	ask("/v1/sessions", &list)
	for _, s := range list.Sessions {
		if s.Protocol != "whep" {
			continue
		}
		var one struct {
			Statistics struct{ Adaptation adaptation }
		}
		ask("/v1/sessions/"+s.ID, &one)
		return one.Statistics.Adaptation
	}
	return a
}

// numbers is what a viewer's video shows of its RTP: one sequence without
// jumps, whatever layer it carries.
type numbers struct {
	packets, padding, jumps, back atomic.Int64
	tracks                        atomic.Int64
}

func (n *numbers) read(track *webrtc.TrackRemote) {
	n.tracks.Add(1)
	var number uint16
	var timestamp uint32
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		ahead := int16(p.SequenceNumber - number)
		switch {
		case n.packets.Add(1) == 1:
		case ahead > 1000 || ahead < -1000:
			n.jumps.Add(1)
		case ahead > 0 && int32(p.Timestamp-timestamp) < 0:
			n.back.Add(1)
		}
		if ahead > 0 || n.packets.Load() == 1 {
			number, timestamp = p.SequenceNumber, p.Timestamp
		}
		if len(p.Payload) == 0 {
			n.padding.Add(1)
		}
	}
}

// TestAdaptsToNetwork: a Pion viewer of three layers gets the best one over
// 4 Mb/s, a lesser one over 400 kb/s, and the best one again: one sequence of RTP
// throughout.
func TestAdaptsToNetwork(t *testing.T) {
	g := serveWith(t, plainBinary)
	threeLayers(t, g)
	d := newDownlink(t, g.media, 4_000_000, 0)
	n := &numbers{}
	watchBehind(t, g, d, n, nil)
	settle := func(what string, ok func(a adaptation) bool) {
		t.Helper()
		began, since := time.Now(), time.Time{}
		until(t, 30*time.Second, what, func() bool {
			if !ok(g.adaptation(t)) {
				since = time.Time{}
				return false
			}
			if since.IsZero() {
				since = time.Now()
			}
			return time.Since(since) > 2*time.Second // and stays there
		})
		t.Logf("%s: after %v: %+v; %d packets, %d of padding, %d dropped on the way",
			what, since.Sub(began).Round(100*time.Millisecond), g.adaptation(t), n.packets.Load(), n.padding.Load(), d.dropped.Load())
	}
	settle("the best layer", func(a adaptation) bool { return a.Layer == "f" && n.packets.Load() > 300 })
	d.rate.Store(400_000)
	settle("a lesser layer on a slow network", func(a adaptation) bool { return a.Layer == "q" || a.Layer == "h" })
	before := n.packets.Load()
	until(t, 10*time.Second, "pictures on the slow network", func() bool { return n.packets.Load() > before+60 })
	d.rate.Store(6_000_000)
	settle("the best layer on a fast network", func(a adaptation) bool { return a.Layer == "f" })
	a := g.adaptation(t)
	if a.Ups < 1 || a.Downs < 1 || a.Probes < 1 || !a.Automatic || a.Estimate == 0 {
		t.Errorf("the viewer's session tells %+v", a)
	}
	if n.tracks.Load() != 1 || n.jumps.Load() > 0 || n.back.Load() > 0 || n.padding.Load() == 0 {
		t.Errorf("%d sequences, %d jumps, %d times back, %d packets of padding", n.tracks.Load(), n.jumps.Load(), n.back.Load(), n.padding.Load())
	}
}

// watchBehind makes a viewer whose media comes through a downlink. feedback is what it
// offers for its video; nil: all that Pion knows.
func watchBehind(t *testing.T, g *gateway, d *downlink, n *numbers, feedback []webrtc.RTCPFeedback) *webrtc.PeerConnection {
	t.Helper()
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	options := []func(*webrtc.API){webrtc.WithSettingEngine(s)}
	if feedback != nil {
		options = append(options, plainly(t, feedback)...)
	}
	pc, err := webrtc.NewAPI(options...).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() }) // the test is over
	receive := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, receive); err != nil {
		t.Fatal(err)
	}
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { n.read(track) })
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url("/whep/three"), strings.NewReader(offer.SDP))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/sdp")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusCreated {
		t.Fatalf("status %d: %v: %s", response.StatusCode, err, body)
	}
	_, from, _ := net.SplitHostPort(g.media)
	_, to, _ := net.SplitHostPort(d.front.LocalAddr().String())
	var lines []string
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "a=candidate:") {
			if !strings.Contains(strings.ToLower(line), " udp ") {
				continue // all of it goes through the downlink
			}
			line = strings.Replace(line, " 127.0.0.1 "+from+" typ", " 127.0.0.1 "+to+" typ", 1)
		}
		lines = append(lines, line)
	}
	err = pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: strings.Join(lines, "")})
	if err != nil {
		t.Fatal(err)
	}
	return pc
}

// plainly makes a Pion viewer without transport-wide feedback: it repairs by NACK and
// sends receiver reports.
func plainly(t *testing.T, feedback []webrtc.RTCPFeedback) []func(*webrtc.API) {
	t.Helper()
	var m webrtc.MediaEngine
	err := m.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeH264, ClockRate: 90000, RTCPFeedback: feedback,
			SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
		},
		PayloadType: 102,
	}, webrtc.RTPCodecTypeVideo)
	var all interceptor.Registry
	if err == nil {
		err = webrtc.ConfigureNack(&m, &all)
	}
	if err == nil {
		err = webrtc.ConfigureRTCPReports(&all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return []func(*webrtc.API){webrtc.WithMediaEngine(&m), webrtc.WithInterceptorRegistry(&all)}
}

// TestAdaptsToReports: viewers without transport-wide feedback go down and up, too: one
// says what it can receive (REMB), the other has nothing but receiver reports.
func TestAdaptsToReports(t *testing.T) {
	nack := []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}}
	remb := append(slices.Clone(nack), webrtc.RTCPFeedback{Type: "goog-remb"})
	for name, feedback := range map[string][]webrtc.RTCPFeedback{"receiver reports": nack, "REMB": remb} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // nothing here needs much of the processor
			g := serveWith(t, plainBinary)
			threeLayers(t, g)
			d := newDownlink(t, g.media, 4_000_000, 0.01)
			n := &numbers{}
			pc := watchBehind(t, g, d, n, feedback)
			if name == "REMB" {
				tell(t, pc, d)
			}
			reach := func(what string, ok func(a adaptation) bool) {
				t.Helper()
				began := time.Now()
				until(t, 60*time.Second, what, func() bool { return ok(g.adaptation(t)) })
				t.Logf("%s after %v: %+v", what, time.Since(began).Round(100*time.Millisecond), g.adaptation(t))
			}
			reach("the best layer", func(a adaptation) bool { return a.Layer == "f" && n.packets.Load() > 300 })
			d.rate.Store(400_000)
			reach("the least layer on a slow network", func(a adaptation) bool { return a.Layer == "q" })
			before := n.packets.Load()
			until(t, 20*time.Second, "pictures on the slow network", func() bool { return n.packets.Load() > before+30 })
			d.rate.Store(6_000_000)
			reach("a better layer on a fast network", func(a adaptation) bool { return a.Layer != "q" && a.Ups > 0 && a.Probes > 0 })
			if n.tracks.Load() != 1 || n.jumps.Load() > 0 || n.back.Load() > 0 {
				t.Errorf("%d sequences, %d jumps, %d times back", n.tracks.Load(), n.jumps.Load(), n.back.Load())
			}
		})
	}
}

// tell makes a viewer say twice a second what its link carries, until the test ends.
func tell(t *testing.T, pc *webrtc.PeerConnection, d *downlink) {
	t.Helper()
	end := make(chan struct{})
	var telling sync.WaitGroup
	t.Cleanup(func() { close(end); telling.Wait() })
	telling.Go(func() {
		for {
			select {
			case <-time.After(500 * time.Millisecond):
			case <-end:
				return
			}
			bitrate := min(float64(d.rate.Load())*0.9, 5_000_000)
			for _, receiver := range pc.GetReceivers() {
				if track := receiver.Track(); track != nil && track.SSRC() != 0 { // what is not connected yet cannot be written to
					_ = pc.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: float32(bitrate), SSRCs: []uint32{uint32(track.SSRC())}}})
				}
			}
		}
	})
}
