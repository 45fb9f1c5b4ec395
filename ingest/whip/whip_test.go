package whip

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/rtpdump"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is a running endpoint on loopback.
type gateway struct {
	hub      *stream.Hub
	registry *rtc.Registry
	engine   *rtc.Engine
	server   *httptest.Server
	log      *lines
}

// lines collects the log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder // below mu
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// authorize knows three tokens: "secret" and "other" publish everything,
// "narrow" only the stream "narrow". Stream "hidden" is unknown.
func authorize(r *http.Request, name string) (rtc.Caller, error) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case token != "secret" && token != "other" && token != "narrow":
		return rtc.Caller{}, problem.Problem{Status: http.StatusUnauthorized, Title: "Unauthorized", Detail: "send a publish token"}
	case token == "narrow" && name != "narrow":
		return rtc.Caller{}, problem.Problem{Status: http.StatusForbidden, Title: "Forbidden", Detail: "the token is for another stream"}
	case name == "hidden":
		return rtc.Caller{}, problem.Problem{Status: http.StatusNotFound, Title: "No such stream", Detail: "there is none of that name"}
	}
	return rtc.Caller{Principal: token}, nil
}

func start(t *testing.T, cfg rtc.RegistryConfig, media rtc.Config) *gateway {
	t.Helper()
	return startWith(t, Config{}, cfg, media)
}

func startWith(t *testing.T, own Config, cfg rtc.RegistryConfig, media rtc.Config) *gateway {
	t.Helper()
	log := &lines{}
	if media.Address == "" {
		media.Address = "127.0.0.1:0"
	}
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	if cfg.Publish == nil {
		cfg.Publish = authorize
	}
	engine, err := rtc.New(media)
	if err != nil {
		t.Fatal(err)
	}
	registry := rtc.NewRegistry(engine, cfg)
	hub := stream.NewHub(stream.Config{MaxStreams: 50})
	mux := http.NewServeMux()
	mux.Handle("/whip/{stream}", New(own, hub, registry))
	mux.Handle("/session/{id}", registry)
	server := httptest.NewServer(mux)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = registry.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		server.Close()
		if err := engine.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
		if all, pending := registry.Counts(); all != 0 || pending != 0 {
			t.Errorf("%d sessions, %d pending are left", all, pending)
		}
	})
	return &gateway{hub: hub, registry: registry, engine: engine, server: server, log: log}
}

func (g *gateway) endpoint(name string) string { return g.server.URL + "/whip/" + name }

// publisher's tracks of the other side.
func h264() webrtc.RTPCodecCapability {
	return webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264, ClockRate: 90000, SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"}
}

func opus() webrtc.RTPCodecCapability {
	return webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
}

// sending is a Remote that publishes H.264 and Opus.
type sending struct {
	*rtctest.Remote
	video, audio *webrtc.TrackLocalStaticRTP
}

func newSending(t testing.TB, o rtctest.Options) sending {
	t.Helper()
	if o.Token == "" {
		o.Token = "secret"
	}
	video, err := webrtc.NewTrackLocalStaticRTP(h264(), "video", "stream")
	if err != nil {
		t.Fatal(err)
	}
	audio, err := webrtc.NewTrackLocalStaticRTP(opus(), "audio", "stream")
	if err != nil {
		t.Fatal(err)
	}
	remote := rtctest.New(t, o, func(pc *webrtc.PeerConnection) error {
		for _, track := range []webrtc.TrackLocal{audio, video} {
			if _, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
				return err
			}
		}
		return nil
	})
	return sending{remote, video, audio}
}

// recorded returns the RTP packets of a recording.
func recorded(t *testing.T, name string) []*rtp.Packet {
	t.Helper()
	file, err := os.Open("testdata/rtp/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	reader, _, err := rtpdump.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var packets []*rtp.Packet
	for {
		p, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return packets
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.IsRTCP {
			continue
		}
		var packet rtp.Packet
		if err := packet.Unmarshal(p.Payload); err != nil {
			t.Fatal(err)
		}
		packet.Extension, packet.Extensions = false, nil
		packets = append(packets, &packet)
	}
}

// play sends packets until the test or the context ends, about as fast as they
// were recorded.
func play(ctx context.Context, track *webrtc.TrackLocalStaticRTP, packets []*rtp.Packet) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var seq uint16
	for i := 0; ; i++ {
		p := *packets[i%len(packets)]
		p.SequenceNumber = seq
		seq++
		if err := track.WriteRTP(&p); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// expect reads packets of a Layer until n came.
func (g *gateway) expect(t *testing.T, name string, id stream.LayerID, n int) []stream.Packet {
	t.Helper()
	s, err := g.hub.Stream(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Subscribe(id)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var all []stream.Packet
	into := make([]stream.Packet, 64)
	for len(all) < n {
		k, err := b.Read(ctx, into)
		if err != nil && !errors.Is(err, stream.ErrOffline) && !errors.Is(err, stream.ErrLagged) {
			t.Fatalf("after %d packets of %v: %v\n%s", len(all), id, err, g.log)
		}
		all = append(all, into[:k]...)
	}
	return all
}

func TestPublish(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	x := newSending(t, rtctest.Options{})
	x.Connect(t, g.endpoint("live"))
	video, audio := recorded(t, "video.rtpdump"), recorded(t, "audio.rtpdump")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { play(ctx, x.video, video) })
	wg.Go(func() { play(ctx, x.audio, audio) })
	defer wg.Wait()
	defer cancel()
	got := g.expect(t, "live", stream.LayerID{Kind: stream.Video}, 200)
	if !got[0].Keyframe {
		t.Error("the first packet is not of a keyframe")
	}
	for i, p := range got[1:] {
		if p.Sequence != got[i].Sequence+1 {
			t.Fatalf("packet %d follows %d", p.Sequence, got[i].Sequence)
		}
	}
	g.expect(t, "live", stream.LayerID{Kind: stream.Audio}, 50)
	cancel()
	wg.Wait()
	res, body := rtctest.Token("secret").Do(t, http.MethodDelete, x.URL, "")
	if res.StatusCode != http.StatusOK || body != "" {
		t.Errorf("DELETE: %s %q", res.Status, body)
	}
	rtctest.Wait(t, x.Closed(), "DTLS close_notify")
	if s, _ := g.hub.Lookup("live"); s.State().Live {
		t.Error("the stream is live after DELETE")
	}
	if log := g.log.String(); !strings.Contains(log, "ended by DELETE") || !strings.Contains(log, "video.packets=") {
		t.Errorf("log: %s", log)
	}
}
