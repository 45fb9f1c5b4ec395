package rtsp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	video = stream.Layer{ID: stream.LayerID{Kind: stream.Video}, Codec: stream.Codec{Name: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1"}}
	audio = stream.Layer{ID: stream.LayerID{Kind: stream.Audio}, Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2}}
)

func layer(rid, codec string) stream.Layer {
	l := video
	l.ID.RID, l.Codec.Name = rid, codec
	return l
}

// nobody publishes by RTSP here.
type nobody struct{}

func (nobody) Announce(*description.Session) error { return errors.New("not here") }
func (nobody) Record(rtsp.Request, *description.Session, rtsp.Recording) (rtsp.Run, error) {
	return nil, errors.New("not here")
}

// house is a hub with a server before it.
type house struct {
	t      *testing.T
	hub    *stream.Hub
	egress *Egress
	server *rtsp.Server
	counts Metrics
}

func open(t *testing.T, cfg Config) *house {
	t.Helper()
	h := &house{t: t, hub: stream.NewHub(stream.Config{})}
	cfg.Metrics = &h.counts
	h.egress = New(cfg, h.hub)
	var err error
	if h.server, err = rtsp.New(t.Context(), rtsp.Config{Address: "127.0.0.1:0", ValidName: stream.ValidName}, nobody{}, h.egress); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) publish(name string, layers ...stream.Layer) *stream.Session {
	h.t.Helper()
	s, err := h.hub.Stream(name)
	if err != nil {
		h.t.Fatal(err)
	}
	x, err := s.Publish(stream.Offer{Principal: "host", Layers: layers})
	if err != nil {
		h.t.Fatal(err)
	}
	return x
}

// picture writes one packet of video.
func picture(x *stream.Session, id stream.LayerID, n int, first byte) {
	x.Write(id, stream.Packet{
		Arrival: time.Now(), Sequence: uint16(65530 + n), Timestamp: uint32(n * 3000), Marker: true, Payload: []byte{first, byte(n >> 8), byte(n)},
	})
}

// viewer plays and keeps what comes.
type watcher struct {
	c *gortsplib.Client

	mu      sync.Mutex
	packets map[description.MediaType][]*rtp.Packet
	reports map[description.MediaType][]*rtcp.SenderReport
	first   map[description.MediaType]string // what came first
}

func (h *house) dial(protocol gortsplib.Protocol, name string) (*watcher, *base.URL) {
	h.t.Helper()
	u, err := base.ParseURL(fmt.Sprintf("rtsp://127.0.0.1:%d/%s", h.server.Port(), name))
	if err != nil {
		h.t.Fatal(err)
	}
	w := &watcher{packets: map[description.MediaType][]*rtp.Packet{}, reports: map[description.MediaType][]*rtcp.SenderReport{}, first: map[description.MediaType]string{}}
	w.c = &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Protocol: &protocol, OnPacketsLost: func(uint64) {}, OnDecodeError: func(error) {}}
	if err := w.c.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(w.c.Close)
	return w, u
}

// play begins to play and returns what was described.
func (h *house) play(protocol gortsplib.Protocol, name string) (*watcher, *description.Session, error) {
	h.t.Helper()
	w, u := h.dial(protocol, name)
	d, _, err := w.c.Describe(u)
	if err != nil {
		return nil, nil, err
	}
	if err := w.c.SetupAll(d.BaseURL, d.Medias); err != nil {
		return nil, nil, err
	}
	w.c.OnPacketRTPAny(func(m *description.Media, _ format.Format, p *rtp.Packet) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.packets[m.Type] = append(w.packets[m.Type], p)
		if w.first[m.Type] == "" {
			w.first[m.Type] = "packet"
		}
	})
	w.c.OnPacketRTCPAny(func(m *description.Media, p rtcp.Packet) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if sr, ok := p.(*rtcp.SenderReport); ok {
			w.reports[m.Type] = append(w.reports[m.Type], sr)
		}
		if w.first[m.Type] == "" {
			w.first[m.Type] = "report"
		}
	})
	_, err = w.c.Play(nil)
	return w, d, err
}

func (w *watcher) seen(kind description.MediaType) []*rtp.Packet {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*rtp.Packet(nil), w.packets[kind]...)
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestJoin: a viewer begins at the newest key frame, with sender reports of one
// clock before the first packets, and gets the best layer.
func TestJoin(t *testing.T) {
	for _, protocol := range []gortsplib.Protocol{gortsplib.ProtocolTCP, gortsplib.ProtocolUDP} {
		h := open(t, Config{})
		big, small := layer("h", "H264"), layer("q", "H264")
		x := h.publish("live", big, small, audio)
		picture(x, big.ID, 0, 0x65)
		picture(x, big.ID, 1, 0x41)
		picture(x, big.ID, 2, 0x65)
		picture(x, big.ID, 3, 0x41)
		picture(x, small.ID, 0, 0x65)
		x.Report(big.ID, 1000<<32, 6000, time.Now())
		x.Report(audio.ID, 1001<<32, 96000, time.Now())
		x.Write(audio.ID, stream.Packet{Arrival: time.Now(), Sequence: 7, Timestamp: 48000, Payload: []byte{0xfc, 1}})
		w, d, err := h.play(protocol, "live")
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Medias) != 2 {
			t.Fatalf("described %d medias", len(d.Medias))
		}
		until(t, "the key frame and what follows it", func() bool { return len(w.seen("video")) == 2 && len(w.seen("audio")) == 1 })
		got := w.seen("video")
		if got[0].Payload[0] != 0x65 || got[0].Payload[2] != 2 || got[1].SequenceNumber != got[0].SequenceNumber+1 || got[1].Timestamp-got[0].Timestamp != 3000 {
			t.Errorf("got %v and %v", got[0], got[1])
		}
		until(t, "reports of both", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.reports["video"]) > 0 && len(w.reports["audio"]) > 0
		})
		w.mu.Lock()
		// UDP has a port for each, and the network's own order.
		if protocol == gortsplib.ProtocolTCP && (w.first["video"] != "report" || w.first["audio"] != "report") {
			t.Errorf("first came %v", w.first)
		}
		v, a := w.reports["video"][0], w.reports["audio"][0]
		w.mu.Unlock()
		// Both are of the sender's second 1000: the picture at 6000, the sound at 48000.
		apart := time.Duration(int64(v.NTPTime-a.NTPTime)*int64(time.Second)>>32) - time.Duration(int32(v.RTPTime-got[0].Timestamp))*time.Second/90000
		if apart.Abs() > time.Millisecond {
			t.Errorf("video and audio are reported %v apart", apart)
		}
		if h.egress.Viewers("live") != 1 || h.counts.Viewers.Load() != 1 {
			t.Error("the viewer is not counted")
		}
		w.c.Close()
		until(t, "the viewer is gone", func() bool { return h.egress.Viewers("live") == 0 && h.counts.Viewers.Load() == 0 })
	}
}

// TestPublisherReturns: numbers and times go on when the publisher comes back, also
// with other layers; another codec ends the viewer.
func TestPublisherReturns(t *testing.T) {
	h := open(t, Config{})
	x := h.publish("live", video)
	w, _, err := h.play(gortsplib.ProtocolTCP, "live")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		picture(x, video.ID, i, map[bool]byte{true: 0x65, false: 0x41}[i == 0])
	}
	until(t, "the first publisher's pictures", func() bool { return len(w.seen("video")) == 5 })
	x.Close(nil)
	time.Sleep(300 * time.Millisecond)
	other := layer("h", "H264")
	x = h.publish("live", other)
	for i := range 5 {
		picture(x, other.ID, 100+i, map[bool]byte{true: 0x65, false: 0x41}[i == 0])
	}
	until(t, "the second publisher's pictures", func() bool { return len(w.seen("video")) == 10 })
	got := w.seen("video")
	for i, p := range got[1:] {
		step := p.Timestamp - got[i].Timestamp
		if p.SequenceNumber != got[i].SequenceNumber+1 || i != 4 && step != 3000 || i == 4 && (step < 4000 || step > 90000*10) {
			t.Errorf("packet %d: number +%d, time +%d", i+1, p.SequenceNumber-got[i].SequenceNumber, step)
		}
	}
	h.publish("live", layer("", "VP9"))
	x = h.publish("live", layer("", "VP9"))
	picture(x, video.ID, 200, 0x08)
	until(t, "the viewer is ended", func() bool { return h.egress.Viewers("live") == 0 })
}

// TestGrace: viewers wait for a publisher for the grace time.
func TestGrace(t *testing.T) {
	h := open(t, Config{Grace: 300 * time.Millisecond})
	x := h.publish("live", video, audio)
	if _, _, err := h.play(gortsplib.ProtocolTCP, "live"); err != nil {
		t.Fatal(err)
	}
	until(t, "the viewer is there", func() bool { return h.egress.Viewers("live") == 1 })
	x.Close(nil)
	until(t, "the viewer is ended", func() bool { return h.egress.Viewers("live") == 0 })
}

// TestSlowViewer: one that reads nothing loses its own pictures only, and the
// publisher and another viewer do not notice.
func TestSlowViewer(t *testing.T) {
	h := open(t, Config{})
	x := h.publish("live", video)
	fast, _, err := h.play(gortsplib.ProtocolTCP, "live")
	if err != nil {
		t.Fatal(err)
	}
	slow, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", h.server.Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	url, session := fmt.Sprintf("rtsp://127.0.0.1:%d/live", h.server.Port()), ""
	for i, request := range []string{
		"SETUP " + url + "/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
		"PLAY " + url + "/ RTSP/1.0\r\nCSeq: 2\r\n",
	} {
		if _, err := slow.Write([]byte(request + session + "\r\n")); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 4096)
		n, err := slow.Read(answer)
		if err != nil || !bytes.HasPrefix(answer, []byte("RTSP/1.0 200")) {
			t.Fatalf("request %d: %v %s", i, err, answer[:n])
		}
		_, id, _ := strings.Cut(string(answer[:n]), "Session: ")
		id, _, _ = strings.Cut(id, ";")
		session = "Session: " + id + "\r\n"
	}
	until(t, "both are there", func() bool { return h.egress.Viewers("live") == 2 })
	const pictures = 12000 // of 1,400 bytes: more than a connection and the queue hold
	for i := range pictures {
		first := byte(0x41)
		if i%500 == 0 {
			first = 0x65
		}
		payload := make([]byte, 1400)
		payload[0], payload[1], payload[2] = first, byte(i>>8), byte(i)
		x.Write(video.ID, stream.Packet{Arrival: time.Now(), Sequence: uint16(i), Timestamp: uint32(i * 3000), Marker: true, Payload: payload})
		if i%50 == 0 {
			n := i
			until(t, "the fast viewer follows", func() bool { return len(fast.seen("video")) > n-1000 && len(fast.seen("video")) > 0 })
		}
	}
	until(t, "the slow viewer skips", func() bool { return h.counts.Skips.Load() > 0 })
	until(t, "the fast viewer has all", func() bool { return len(fast.seen("video")) == pictures })
}

// TestRefusals: what cannot be played is told in words.
func TestRefusals(t *testing.T) {
	h := open(t, Config{MaxViewers: 1})
	h.publish("offline", video).Close(nil)
	h.publish("live", video)
	h.publish("odd", stream.Layer{ID: audio.ID, Codec: stream.Codec{Name: "AAC", ClockRate: 44100, Channels: 2}})
	for name, want := range map[string]string{"nowhere": "No such stream", "offline": "offline", "odd": "cannot be played"} {
		if _, _, err := h.play(gortsplib.ProtocolTCP, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if _, _, err := h.play(gortsplib.ProtocolTCP, "live"); err != nil {
		t.Fatal(err)
	}
	until(t, "the viewer is there", func() bool { return h.egress.Viewers("live") == 1 })
	if _, _, err := h.play(gortsplib.ProtocolTCP, "live"); err == nil || !strings.Contains(err.Error(), "Too many viewers") {
		t.Errorf("a viewer too many: %v", err)
	}
	if _, ok := h.hub.Lookup("nowhere"); ok {
		t.Error("watching created a stream")
	}
	if p, _ := errors.AsType[problem.Problem](func() error { _, err := h.egress.Describe(rtsp.Request{Stream: "nowhere"}); return err }()); p.Status != http.StatusNotFound {
		t.Errorf("status %d", p.Status)
	}
}

// TestDescriptions: every codec that a Stream has can be described.
func TestDescriptions(t *testing.T) {
	for _, c := range []stream.Codec{
		{Name: "H264", ClockRate: 90000},
		{Name: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1;profile-level-id=42e01f;level-asymmetry-allowed=1"},
		{Name: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1;sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg=="},
		{Name: "H265", ClockRate: 90000, Fmtp: "profile-id=1"},
		{Name: "AV1", ClockRate: 90000, Fmtp: "profile=0"},
		{Name: "VP9", ClockRate: 90000, Fmtp: "profile-id=0"},
		{Name: "Opus", ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1;stereo=1"},
		{Name: "AAC", ClockRate: 44100, Channels: 2, Fmtp: "config=1210;indexdeltalength=3;indexlength=3;mode=AAC-hbr;sizelength=13"},
	} {
		l := stream.Layer{ID: video.ID, Codec: c}
		if c.Channels > 0 {
			l.ID = audio.ID
		}
		m, err := mediaOf(l)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if f := m.Formats[0]; f.ClockRate() != int(c.ClockRate) || f.RTPMap() == "" {
			t.Errorf("%+v becomes %s", c, f.RTPMap())
		}
	}
}

// TestNumbers: sequence numbers follow each other over skips, losses stay, and
// times advance with what passed.
func TestNumbers(t *testing.T) {
	var n numbers
	at := time.Unix(1000, 0)
	n.begin(65530, 5000, at, 90000)
	var got []uint16
	for _, s := range []uint16{65530, 65531, 65533, 65532, 0} {
		got = append(got, n.sequence(s)-n.sequence(65530))
	}
	if fmt.Sprint(got) != "[0 1 3 2 6]" {
		t.Errorf("numbers %v", got)
	}
	last := n.sequence(0)
	n.cut()
	if s := n.sequence(400); s != last+1 {
		t.Errorf("after a skip %d, want %d", s, last+1)
	}
	n.leave()
	if s := n.sequence(402); s != last+2 {
		t.Errorf("after one that is left out %d, want %d", s, last+2)
	}
	n.sent(5000, at)
	n.begin(9, 77, at.Add(2*time.Second), 90000)
	if s, ts := n.sequence(9), n.timestamp(77); s != last+3 || ts != 5000+180000 {
		t.Errorf("another source begins with %d at %d", s, ts)
	}
	n.sent(77, at.Add(2*time.Second))
	n.begin(1, 1, at, 90000) // its clock is behind
	if ts := n.timestamp(1); ts != 5000+180000+90 {
		t.Errorf("times go back to %d", ts)
	}
	if ntp(time.Unix(0, 500_000_000)) != 2208988800<<32|1<<31 {
		t.Error("NTP is wrong")
	}
}
