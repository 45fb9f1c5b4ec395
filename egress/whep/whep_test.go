package whep_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/rtpdump"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	video = stream.Layer{
		ID: stream.LayerID{Kind: stream.Video},
		Codec: stream.Codec{
			Name: "H264", ClockRate: 90000, Fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
		},
	}
	audio = stream.Layer{
		ID:    stream.LayerID{Kind: stream.Audio},
		Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"},
	}
)

// gateway is the part of the gateway that viewers see.
type gateway struct {
	t       *testing.T
	hub     *stream.Hub
	metrics *whep.Metrics
	rtc     *rtc.Registry
	server  *whep.Server
	url     string
	handler http.Handler
	quit    func() // ends the sessions; what is read of them goes on to its end
	stop    func()
	arrived sync.Map // *webrtc.PeerConnection → *atomic.Uint64: packets
}

func newGateway(t *testing.T, cfg whep.Config) *gateway {
	t.Helper()
	return newGatewayWith(t, cfg, rtc.RegistryConfig{})
}

func newGatewayWith(t *testing.T, cfg whep.Config, sessions rtc.RegistryConfig) *gateway {
	t.Helper()
	engine, err := rtc.New(rtc.Config{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, hub: stream.NewHub(stream.Config{}), metrics: &whep.Metrics{}}
	cfg.Metrics = g.metrics
	sessions.PostRate, sessions.PostBurst = 1000, 1000
	registry := rtc.NewRegistry(engine, sessions)
	server := whep.New(cfg, g.hub, registry)
	g.rtc, g.server = registry, server
	mux := http.NewServeMux()
	mux.Handle(whep.Prefix, server)
	mux.Handle("/session/", registry)
	g.handler = mux
	web := httptest.NewServer(mux)
	g.url = web.URL
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{server.Run, registry.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	g.quit = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	g.stop = sync.OnceFunc(func() {
		g.quit()
		web.CloseClientConnections()
		web.Close()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(g.stop)
	return g
}

// publish begins an epoch of a stream.
func (g *gateway) publish(name string, layers ...stream.Layer) *stream.Session {
	g.t.Helper()
	s, err := g.hub.Stream(name)
	if err != nil {
		g.t.Fatal(err)
	}
	x, err := s.Publish(stream.Offer{Principal: "host", Layers: layers})
	if err != nil {
		g.t.Fatal(err)
	}
	return x
}

// response is what came back.
type response struct {
	code   int
	header http.Header
	body   string
}

// do sends a request.
func (g *gateway) do(method, path, contentType, body string, header ...string) response {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return response{res.StatusCode, res.Header, string(b)}
}

// recording is recorded media, looped with rising numbers.
type recording struct {
	layer   stream.Layer
	packets []rtp.Packet
	offsets []time.Duration
}

func load(t testing.TB, layer stream.Layer, file string) recording {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "rtp", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader, _, err := rtpdump.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := recording{layer: layer}
	for {
		d, err := reader.Next()
		if err != nil {
			return r
		}
		var p rtp.Packet
		if d.IsRTCP || p.Unmarshal(d.Payload) != nil {
			continue
		}
		r.packets, r.offsets = append(r.packets, p), append(r.offsets, d.Offset)
	}
}

// play writes the recording once, as fast as it was recorded times speed, with
// numbers and timestamps that begin at seq and ts.
func (r recording) play(ctx context.Context, x *stream.Session, speed float64, seq uint16, ts uint32) {
	begin := time.Now()
	for i, p := range r.packets {
		wait := time.Duration(float64(r.offsets[i]-r.offsets[0])/speed) - time.Since(begin)
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, 0)):
		}
		x.Write(r.layer.ID, stream.Packet{
			Arrival: time.Now(), Sequence: p.SequenceNumber - r.packets[0].SequenceNumber + seq,
			Timestamp: p.Timestamp - r.packets[0].Timestamp + ts, Marker: p.Marker, Payload: p.Payload,
		})
	}
}

// film publishes numbered pictures until the returned function is called.
type film struct {
	count  uint32
	sparse bool // two packets a picture, not five
}

func (f *film) payload(picture int) []byte {
	b := make([]byte, 400)
	b[0] = 0x61
	if picture%30 == 0 {
		b[0] = 0x65
	}
	binary.BigEndian.PutUint32(b[1:], f.count)
	f.count++
	return b
}

func (f *film) run(x *stream.Session, seq uint16, ts uint32) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second / 30)
		defer tick.Stop()
		for i := 0; ; i++ {
			n := 5
			if f.sparse {
				n = 2
			}
			for j := range n {
				x.Write(video.ID, stream.Packet{
					Arrival: time.Now(), Sequence: seq, Timestamp: ts, Marker: j == n-1, Payload: f.payload(i),
				})
				seq++
			}
			ts += 3000
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// viewer is a Pion player.
type viewer struct {
	t         *testing.T
	pc        *webrtc.PeerConnection
	resource  string
	connected chan struct{}
	closed    chan struct{}

	mu      sync.Mutex
	packets map[string][]rtp.Packet // by kind
	at      map[string]time.Time    // of the first packet
	ssrc    map[string]webrtc.SSRC
}

func newPlayer(t *testing.T, kinds ...webrtc.RTPCodecType) *viewer {
	t.Helper()
	var setting webrtc.SettingEngine
	setting.SetIncludeLoopbackCandidate(true)
	setting.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	setting.SetInterfaceFilter(func(name string) bool { return strings.HasPrefix(name, "lo") })
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(setting), webrtc.WithMediaEngine(media)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	v := &viewer{
		t: t, pc: pc, connected: make(chan struct{}), closed: make(chan struct{}),
		packets: map[string][]rtp.Packet{}, at: map[string]time.Time{}, ssrc: map[string]webrtc.SSRC{},
	}
	t.Cleanup(v.close)
	for _, kind := range kinds {
		_, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		if err != nil {
			t.Fatal(err)
		}
	}
	up, down := sync.OnceFunc(func() { close(v.connected) }), sync.OnceFunc(func() { close(v.closed) })
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateConnected:
			up()
		case webrtc.PeerConnectionStateClosed:
			down()
		}
	})
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		kind := track.Kind().String()
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			v.mu.Lock()
			if len(v.packets[kind]) == 0 {
				v.at[kind], v.ssrc[kind] = time.Now(), track.SSRC()
			}
			v.packets[kind] = append(v.packets[kind], *p)
			v.mu.Unlock()
		}
	})
	return v
}

func (v *viewer) close() {
	if err := v.pc.GracefulClose(); err != nil {
		v.t.Error(err)
	}
}

func (v *viewer) offer() string {
	v.t.Helper()
	offer, err := v.pc.CreateOffer(nil)
	if err != nil {
		v.t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(v.pc)
	if err := v.pc.SetLocalDescription(offer); err != nil {
		v.t.Fatal(err)
	}
	<-gathered
	return v.pc.LocalDescription().SDP
}

// watch connects a viewer to a stream.
func (g *gateway) watch(name string, kinds ...webrtc.RTPCodecType) *viewer {
	g.t.Helper()
	v := newPlayer(g.t, kinds...)
	res := g.do(http.MethodPost, whep.Prefix+name, "application/sdp", v.offer())
	if res.code != http.StatusCreated {
		g.t.Fatalf("POST: %d: %s", res.code, res.body)
	}
	v.resource = res.header.Get("Location")
	if err := v.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: res.body}); err != nil {
		g.t.Fatal(err)
	}
	select {
	case <-v.connected:
	case <-time.After(30 * time.Second):
		g.t.Fatal("not connected after 30 s")
	}
	return v
}

func (v *viewer) seen(kind string) []rtp.Packet {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]rtp.Packet(nil), v.packets[kind]...)
}

// until waits until ok is true.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func count(p rtp.Packet) uint32 { return binary.BigEndian.Uint32(p.Payload[1:]) }

// checkWhole fails unless the numbered pictures are all there, in order, once
// each, from a keyframe on, under numbers without a hole.
func checkWhole(t *testing.T, packets []rtp.Packet) {
	t.Helper()
	if len(packets) == 0 || packets[0].Payload[0] != 0x65 {
		t.Fatalf("%d packets that do not begin with a keyframe", len(packets))
	}
	for i, p := range packets[1:] {
		if before := packets[i]; count(p) != count(before)+1 || p.SequenceNumber != before.SequenceNumber+1 {
			t.Fatalf("packet %d (number %d) follows %d (number %d)", count(p), p.SequenceNumber, count(before), before.SequenceNumber)
		}
		if int32(p.Timestamp-packets[i].Timestamp) < 0 {
			t.Fatalf("the timestamp goes back at packet %d", i+1)
		}
	}
}

const (
	recvVideo = webrtc.RTPCodecTypeVideo
	recvAudio = webrtc.RTPCodecTypeAudio
)

// TestViewerSettles: some seconds after it has connected by UDP, nothing waits for a viewer
// by TCP any more, and it gets all the same what it got before.
func TestViewerSettles(t *testing.T) {
	g := newGateway(t, whep.Config{})
	x := g.publish("live", video)
	defer (&film{}).run(x, 0, 0)()
	v := g.watch("live", recvVideo)
	until(t, "pictures", func() bool { return len(v.seen("video")) > 0 })
	until(t, "nothing waits by TCP", func() bool {
		var stacks strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			t.Fatal(err)
		}
		return !strings.Contains(stacks.String(), "created by github.com/pion/ice/v4.(*TCPMuxDefault).createConn")
	})
	before := len(v.seen("video"))
	until(t, "more pictures", func() bool { return len(v.seen("video")) > before+20 })
	checkWhole(t, v.seen("video"))
}

func TestStatusTable(t *testing.T) { // A11, rows of the WHEP endpoint
	g := newGateway(t, whep.Config{RetryAfter: 3 * time.Second, Known: func(name string) bool { return name == "program" }})
	g.publish("live", video, audio)
	g.publish("offline", video).Close(nil)
	av1 := stream.Layer{ID: video.ID, Codec: stream.Codec{Name: "AV1", ClockRate: 90000}}
	g.publish("av1", av1)
	offer := read(t, "gst/01-POST.sdp")
	for _, tt := range []struct {
		name, method, path, contentType, body string
		want                                  int
		header, value                         string
	}{
		{"E1 HEAD", "HEAD", "/whep/live", "", "", 200, "Content-Type", "application/sdp"},
		{"E1 GET", "GET", "/whep/live", "", "", 200, "Content-Length", "0"},
		{"E17 OPTIONS", "OPTIONS", "/whep/live", "", "", 200, "Accept-Post", "application/sdp"},
		{"W3 PUT", "PUT", "/whep/live", "", "", 405, "Allow", "GET, HEAD, OPTIONS, POST"},
		{"W3 PATCH", "PATCH", "/whep/live", "", "", 405, "Allow", "GET, HEAD, OPTIONS, POST"},
		{"W3 DELETE", "DELETE", "/whep/live", "", "", 405, "Allow", "GET, HEAD, OPTIONS, POST"},
		{"W11 no type", "POST", "/whep/live", "", offer, 415, "Accept-Post", "application/sdp"},
		{"W12 no SDP", "POST", "/whep/live", "application/sdp", "hello", 400, "Content-Type", "application/problem+json"},
		{"E10 W13 empty", "POST", "/whep/live", "application/sdp", "", 400, "", ""},
		{"W13 too long", "POST", "/whep/live", "application/sdp", "v=0\r\n" + strings.Repeat("a", 70<<10), 413, "", ""},
		{"E2 W8", "POST", "/whep/live", "Application/SDP; charset=utf-8", offer, 201, "ETag", ""},
		{"E7 sendrecv", "POST", "/whep/live", "application/sdp", strings.ReplaceAll(offer, "a=recvonly", "a=sendrecv"), 201, "", ""},
		{"E7 sendonly", "POST", "/whep/live", "application/sdp", strings.ReplaceAll(offer, "a=recvonly", "a=sendonly"), 422, "", ""},
		{"E7 inactive", "POST", "/whep/live", "application/sdp", strings.ReplaceAll(offer, "a=recvonly", "a=inactive"), 422, "", ""},
		{"E6 no codec fits", "POST", "/whep/av1", "application/sdp", offer, 422, "Content-Type", "application/problem+json"},
		{"E11 not live", "POST", "/whep/offline", "application/sdp", offer, 409, "Retry-After", "3"},
		{"E13 unknown", "POST", "/whep/nowhere", "application/sdp", offer, 404, "Retry-After", ""},
		{"E13 to come", "POST", "/whep/program", "application/sdp", offer, 409, "Retry-After", "3"},
		{"X7 bad name", "POST", "/whep/a..b", "application/sdp", offer, 404, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.t = t
			res := g.do(tt.method, tt.path, tt.contentType, tt.body)
			if res.code != tt.want {
				t.Fatalf("got %d: %s, want %d", res.code, res.body, tt.want)
			}
			got := res.header.Get(tt.header)
			if tt.header == "ETag" {
				if len(got) < 3 || got[0] != '"' {
					t.Errorf("ETag %q", got)
				}
			} else if tt.header != "" && got != tt.value {
				t.Errorf("%s is %q, want %q", tt.header, got, tt.value)
			}
			if res.header.Get("Access-Control-Allow-Origin") == "" {
				t.Error("no CORS header (W83, W85)")
			}
			if tt.method == "POST" && tt.want == 422 && tt.path == "/whep/av1" && !strings.Contains(res.body, "AV1") {
				t.Errorf("the problem does not say what is published: %s", res.body)
			}
			if tt.want == 201 {
				if res := g.do("DELETE", res.header.Get("Location"), "", "", "If-Match", `"stale"`); res.code != 200 { // W45
					t.Errorf("DELETE: %d", res.code)
				}
				if res := g.do("DELETE", res.header.Get("Location"), "", ""); res.code != 404 {
					t.Errorf("second DELETE: %d", res.code)
				}
			}
		})
	}
	if _, ok := g.hub.Lookup("nowhere"); ok {
		t.Error("watching created a stream")
	}
	if n := g.metrics.Sessions.Load(); n != 2 {
		t.Errorf("%d sessions, want 2: a refused offer makes none (W12)", n)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "http", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRecordedPlayers replays every request of the recorded players.
func TestRecordedPlayers(t *testing.T) {
	g := newGateway(t, whep.Config{})
	for _, player := range []string{"chromium", "eyevinn", "firefox", "gst", "medooze"} {
		t.Run(player, func(t *testing.T) {
			g.t = t
			codec := stream.Codec{Name: "VP9", ClockRate: 90000, Fmtp: "profile-id=0"} // Firefox was recorded before its H.264 plugin was loaded
			if player != "firefox" {
				codec = video.Codec
			}
			g.publish(player, stream.Layer{ID: video.ID, Codec: codec}, audio)
			var requests []struct {
				N            int
				Method, Path string
				Headers      map[string]string
			}
			if err := json.Unmarshal([]byte(read(t, player+"/requests.json")), &requests); err != nil {
				t.Fatal(err)
			}
			path := whep.Prefix + player
			for _, r := range requests {
				body := ""
				switch r.Method {
				case http.MethodPost:
					body = read(t, fmt.Sprintf("%s/%02d-POST.sdp", player, r.N))
				case http.MethodPatch:
					body = read(t, fmt.Sprintf("%s/%02d-PATCH.sdpfrag", player, r.N))
				}
				var headers []string
				for name, value := range r.Headers {
					if name != "content-length" && name != "content-type" {
						headers = append(headers, name, value)
					}
				}
				res := g.do(r.Method, path, r.Headers["content-type"], body, headers...)
				if want := map[string]int{"OPTIONS": 200, "POST": 201, "PATCH": 204, "DELETE": 200}[r.Method]; res.code != want {
					t.Fatalf("request %d, %s: got %d, want %d: %s", r.N, r.Method, res.code, want, res.body)
				}
				if r.Method == http.MethodPost {
					path = res.header.Get("Location")
				}
			}
		})
	}
}

func TestSessionResource(t *testing.T) { // E18: the rules are those of WHIP
	rtctest.Resource(t, func(t *testing.T, strict bool) rtctest.Target {
		g := newGatewayWith(t, whep.Config{}, rtc.RegistryConfig{Strict: strict, Watch: func(r *http.Request, _ string) (rtc.Caller, error) {
			switch token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); token {
			case "alice", "bob":
				return rtc.Caller{Principal: token}, nil
			default:
				return rtc.Caller{}, problem.Problem{Status: http.StatusUnauthorized, Title: "No access", Detail: "send a token"}
			}
		}})
		f := &film{}
		t.Cleanup(f.run(g.publish("live", video, audio), 0, 0))
		return rtctest.Target{
			Endpoint: g.url + whep.Prefix + "live", Direction: rtc.Send, Token: "alice", Other: "bob",
			Remote: func(t testing.TB, o rtctest.Options) *rtctest.Remote {
				return rtctest.New(t, o, func(pc *webrtc.PeerConnection) error {
					arrived := new(atomic.Uint64)
					g.arrived.Store(pc, arrived)
					pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
						b := make([]byte, 1500)
						for {
							if _, _, err := track.Read(b); err != nil {
								return
							}
							arrived.Add(1)
						}
					})
					for _, kind := range []webrtc.RTPCodecType{recvVideo, recvAudio} {
						_, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
						if err != nil {
							return err
						}
					}
					return nil
				})
			},
			Flows: func(t testing.TB, x *rtctest.Remote) {
				t.Helper()
				value, _ := g.arrived.Load(x.PC)
				arrived := value.(*atomic.Uint64)
				before := arrived.Load()
				until(t, "media flows", func() bool { return arrived.Load() > before+50 })
			},
		}
	})
}

func TestRecordedOffers(t *testing.T) {
	g := newGateway(t, whep.Config{})
	g.publish("live", video, audio)
	for _, tt := range []struct {
		file string
		want string // payload type of video
	}{
		{"chromium/02-POST.sdp", "102"},
		{"eyevinn/02-POST.sdp", "102"},
		{"medooze/02-POST.sdp", "102"},
		{"gst/01-POST.sdp", "96"},
		{"gst-plain/01-POST.sdp", "96"}, // without packetization mode and number of channels
	} {
		t.Run(tt.file, func(t *testing.T) {
			g.t = t
			res := g.do("POST", "/whep/live", "application/sdp", read(t, tt.file))
			if res.code != http.StatusCreated {
				t.Fatalf("%d: %s", res.code, res.body)
			}
			checkAnswer(t, res.body, tt.want)
		})
	}
	t.Run("firefox without H264", func(t *testing.T) { // recorded before its H.264 plugin was loaded
		g.t = t
		res := g.do("POST", "/whep/live", "application/sdp", read(t, "firefox/02-POST.sdp"))
		if res.code != http.StatusUnprocessableEntity || !strings.Contains(res.body, "H264") {
			t.Errorf("%d: %s", res.code, res.body)
		}
	})
	t.Run("firefox for VP9", func(t *testing.T) {
		g.t = t
		g.publish("vp9", stream.Layer{ID: video.ID, Codec: stream.Codec{Name: "VP9", ClockRate: 90000, Fmtp: "profile-id=0"}}, audio)
		res := g.do("POST", "/whep/vp9", "application/sdp", read(t, "firefox/02-POST.sdp"))
		if res.code != http.StatusCreated {
			t.Fatalf("%d: %s", res.code, res.body)
		}
		checkAnswer(t, res.body, "121")
	})
	t.Run("audio only is published", func(t *testing.T) { // E9: video is answered, and silent
		g.t = t
		g.publish("radio", audio)
		res := g.do("POST", "/whep/radio", "application/sdp", read(t, "chromium/02-POST.sdp"))
		if res.code != http.StatusCreated {
			t.Fatalf("%d: %s", res.code, res.body)
		}
		checkAnswer(t, res.body, "102")
	})
	t.Run("G.711 beside silent video", func(t *testing.T) { // E9: whepsrc must offer some sound
		g.t = t
		g.publish("mute", video)
		offer := strings.NewReplacer("SAVPF 111", "SAVPF 0", "rtpmap:111 OPUS/48000", "rtpmap:0 PCMU/8000", "rtcp-fb:111", "rtcp-fb:0").Replace(read(t, "gst-plain/01-POST.sdp"))
		res := g.do("POST", "/whep/mute", "application/sdp", offer)
		if res.code != http.StatusCreated || !strings.Contains(res.body, "a=rtpmap:0 PCMU/8000\r\n") {
			t.Fatalf("%d: %s", res.code, res.body)
		}
		checkAnswer(t, res.body, "96")
		if res := g.do("POST", "/whep/live", "application/sdp", offer); res.code != http.StatusUnprocessableEntity || !strings.Contains(res.body, "Opus") {
			t.Errorf("where there is sound: %d: %s", res.code, res.body)
		}
	})
}

// checkAnswer applies E7, E8, E19, W16, W24, W25 and W33.
func checkAnswer(t *testing.T, body, payloadType string) {
	t.Helper()
	if !strings.HasPrefix(body, "v=0\r\n") {
		t.Errorf("begins %q", body[:min(len(body), 10)])
	}
	var answer sdp.SessionDescription
	if err := answer.Unmarshal([]byte(body)); err != nil {
		t.Fatal(err)
	}
	group, _ := answer.Attribute("group")
	streams := map[string]bool{}
	for _, m := range answer.MediaDescriptions {
		mid, _ := m.Attribute("mid")
		if _, ok := m.Attribute("sendonly"); !ok {
			t.Errorf("section %s is not sendonly", mid)
		}
		for _, key := range []string{"rtcp-mux", "rtcp-mux-only"} {
			if _, ok := m.Attribute(key); !ok {
				t.Errorf("section %s without %s", mid, key)
			}
		}
		msid, _ := m.Attribute("msid")
		id, _, _ := strings.Cut(msid, " ")
		streams[id] = true
		if !strings.Contains(group+" ", " "+mid+" ") {
			t.Errorf("section %s is not in the group %q", mid, group)
		}
		if m.MediaName.Media == "video" && m.MediaName.Formats[0] != payloadType {
			t.Errorf("video is answered with %v, want %s", m.MediaName.Formats, payloadType)
		}
		for _, f := range m.Attributes {
			if f.Key == "rtpmap" && m.MediaName.Media == "video" && !strings.HasPrefix(f.Value, payloadType+" ") {
				t.Errorf("another video codec is answered: %s", f.Value)
			}
		}
	}
	if len(streams) != 1 || streams[""] {
		t.Errorf("streams %v, want one", streams)
	}
	if !strings.Contains(body, "a=end-of-candidates") || !strings.Contains(body, "typ host") {
		t.Error("the candidates are not complete")
	}
}

func TestRecordedMediaArrives(t *testing.T) {
	g := newGateway(t, whep.Config{})
	x := g.publish("live", video, audio)
	pictures, sound := load(t, video, "video.rtpdump"), load(t, audio, "audio.rtpdump")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { pictures.play(ctx, x, 2, 65500, 0xFFFFFF00) })
	wg.Go(func() { sound.play(ctx, x, 2, 65500, 0xFFFFFF00) })
	time.Sleep(300 * time.Millisecond) // the keyframe is cached
	v := g.watch("live", recvVideo, recvAudio)
	connected := time.Now()
	until(t, "both kinds arrive", func() bool { return len(v.seen("video")) > 60 && len(v.seen("audio")) > 20 })
	v.mu.Lock()
	first := v.at["video"].Sub(connected)
	v.mu.Unlock()
	t.Logf("first video packet %v after the connection", first.Round(time.Millisecond))
	if first > 700*time.Millisecond {
		t.Errorf("first video packet after %v", first)
	}
	got := v.seen("video")
	codec := stream.Codec{Name: "H264"}
	key := false
	for _, p := range got {
		if p.Timestamp != got[0].Timestamp {
			break
		}
		key = key || codec.Keyframe(p.Payload)
	}
	if !key {
		t.Error("the first picture is no keyframe")
	}
	at := map[string]int{} // packets of the recording that may repeat: browsers probe with old ones
	for i, p := range pictures.packets {
		at[string(p.Payload)] = i
	}
	for i, p := range got {
		if _, ok := at[string(p.Payload)]; !ok {
			t.Fatalf("packet %d is not of the recording", i)
		}
	}
	for i, p := range v.seen("audio") { // whichever was the first: its kind of frame is no proof
		if !slices.ContainsFunc(sound.packets, func(o rtp.Packet) bool { return bytes.Equal(o.Payload, p.Payload) }) {
			t.Fatalf("audio packet %d is not of the recording", i)
		}
	}
}

func TestPublisherReturnsToTheSameViewers(t *testing.T) { // E15
	g := newGateway(t, whep.Config{})
	f := &film{}
	x := g.publish("live", video)
	stop := f.run(x, 65000, 0xFFFFFF00)
	time.Sleep(200 * time.Millisecond)
	v := g.watch("live", recvVideo)
	until(t, "pictures arrive", func() bool { return len(v.seen("video")) > 100 })
	stop()
	x.Close(io.ErrUnexpectedEOF)
	time.Sleep(300 * time.Millisecond)
	before := len(v.seen("video"))
	stop = f.run(g.publish("live", video), 17, 40)
	until(t, "pictures arrive again", func() bool { return len(v.seen("video")) > before+100 })
	stop()
	packets := v.seen("video")
	checkWhole(t, packets)
	gap := time.Duration(packets[before].Timestamp-packets[before-1].Timestamp) * time.Second / 90000
	if gap < 250*time.Millisecond || gap > 2*time.Second {
		t.Errorf("the timestamp advanced by %v over 300 ms", gap)
	}
}

func TestGraceClosesTheConnection(t *testing.T) { // E15
	g := newGateway(t, whep.Config{Grace: 200 * time.Millisecond})
	f := &film{}
	x := g.publish("live", video)
	stop := f.run(x, 0, 0)
	v := g.watch("live", recvVideo)
	until(t, "pictures arrive", func() bool { return len(v.seen("video")) > 10 })
	stop()
	x.Close(nil)
	select {
	case <-v.closed:
	case <-time.After(10 * time.Second):
		t.Fatal("the viewer did not notice the end")
	}
	until(t, "the session is gone", func() bool {
		res := g.do("DELETE", v.resource, "", "")
		return res.code == http.StatusNotFound
	})
	until(t, "no viewer is left", func() bool { return g.metrics.Viewers.Load() == 0 })
}

func TestDeleteEndsTheSession(t *testing.T) { // E17
	g := newGateway(t, whep.Config{})
	f := &film{}
	stop := f.run(g.publish("live", video), 0, 0)
	defer stop()
	v := g.watch("live", recvVideo)
	until(t, "pictures arrive", func() bool { return len(v.seen("video")) > 10 })
	if n := g.metrics.Viewers.Load(); n != 1 {
		t.Errorf("%d viewers, want 1", n)
	}
	if res := g.do("DELETE", v.resource, "", ""); res.code != http.StatusOK {
		t.Errorf("%d: %s", res.code, res.body)
	}
	until(t, "no viewer is left", func() bool { return g.metrics.Viewers.Load() == 0 })
	again := g.watch("live", recvVideo) // the next audience begins anew
	until(t, "pictures arrive", func() bool { return len(again.seen("video")) > 10 })
}

func TestLostPacketsAreRepeated(t *testing.T) {
	g := newGateway(t, whep.Config{})
	f := &film{}
	stop := f.run(g.publish("live", video), 0, 0)
	defer stop()
	v := g.watch("live", recvVideo)
	until(t, "pictures arrive", func() bool { return len(v.seen("video")) > 50 })
	lost := v.seen("video")[20]
	err := v.pc.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{
		MediaSSRC: uint32(v.ssrc["video"]), Nacks: []rtcp.NackPair{{PacketID: lost.SequenceNumber}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the packet is repeated", func() bool {
		return g.metrics.Retransmits.Load() == 1
	})
}

// lossy is a network that loses every 20th media packet on its way in.
type lossy struct {
	net.PacketConn
	count, lost atomic.Int64
}

func (l *lossy) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := l.PacketConn.ReadFrom(b)
		media := n > 1 && b[0]>>6 == 2 && (b[1]&0x7f < 64 || b[1]&0x7f > 95) // RFC 5761 §4
		if err != nil || !media || l.count.Add(1)%20 != 0 {
			return n, from, err
		}
		l.lost.Add(1)
	}
}

func TestLossIsRepaired(t *testing.T) {
	g := newGateway(t, whep.Config{})
	f := &film{}
	stop := f.run(g.publish("live", video), 65400, 0xFFFFFF00)
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	network := &lossy{PacketConn: conn}
	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: network})
	t.Cleanup(func() {
		if err := mux.Close(); err != nil {
			t.Error(err)
		}
	})
	var mu sync.Mutex
	got := map[uint32]int{}
	total := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(got)
	}
	x := rtctest.New(t, rtctest.Options{Setting: func(s *webrtc.SettingEngine) { s.SetICEUDPMux(mux) }}, func(pc *webrtc.PeerConnection) error {
		pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
			for {
				p, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				mu.Lock()
				got[count(*p)]++
				mu.Unlock()
			}
		})
		_, err := pc.AddTransceiverFromKind(recvVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		return err
	})
	x.Connect(t, g.url+whep.Prefix+"live")
	until(t, "packets arrive", func() bool { return total() > 400 })
	stop()
	last := f.count - 1
	holes := func() (missing []uint32) {
		mu.Lock()
		defer mu.Unlock()
		first := last
		for n := range got {
			first = min(first, n)
		}
		for n := first; n < last-20; n++ { // a loss at the very end is not noticed
			if got[n] == 0 {
				missing = append(missing, n)
			}
		}
		return missing
	}
	until(t, "all that was lost is there", func() bool { return len(holes()) == 0 })
	if network.lost.Load() == 0 || g.metrics.Retransmits.Load() == 0 {
		t.Errorf("%d packets lost, %d repeated", network.lost.Load(), g.metrics.Retransmits.Load())
	}
	t.Logf("%d lost, %d asked for, %d repeated", network.lost.Load(), g.metrics.NACKs.Load(), g.metrics.Retransmits.Load())
}

func TestTooManyViewers(t *testing.T) {
	g := newGateway(t, whep.Config{MaxViewers: 1})
	g.publish("live", video)
	g.watch("live", recvVideo)
	until(t, "the viewer is counted", func() bool { return g.metrics.Viewers.Load() == 1 })
	res := g.do(http.MethodPost, "/whep/live", "application/sdp", read(t, "gst/01-POST.sdp"))
	if res.code != http.StatusServiceUnavailable || res.header.Get("Retry-After") == "" { // W21
		t.Errorf("got %d, Retry-After %q: %s", res.code, res.header.Get("Retry-After"), res.body)
	}
}

func TestManyViewersSeeTheSame(t *testing.T) {
	viewers := 50
	if raced { // each player costs much then, and a starved one loses packets rightly
		viewers = 15
	}
	g := newGateway(t, whep.Config{Shard: 8})
	f := &film{sparse: true}
	stop := f.run(g.publish("live", video), 65000, 0xFFFFFF00)
	var all []*viewer
	for range viewers {
		all = append(all, g.watch("live", recvVideo))
	}
	for _, v := range all {
		until(t, "pictures arrive", func() bool { return len(v.seen("video")) > 100 })
	}
	stop()
	last := f.count - 1
	for i, v := range all {
		until(t, "the last picture arrives", func() bool {
			packets := v.seen("video")
			return count(packets[len(packets)-1]) == last
		})
		checkWhole(t, v.seen("video"))
		if t.Failed() {
			t.Fatalf("viewer %d", i)
		}
	}
}

func TestShutdownEndsViewers(t *testing.T) {
	g := newGateway(t, whep.Config{})
	f := &film{}
	stop := f.run(g.publish("live", video), 0, 0)
	defer stop()
	v := g.watch("live", recvVideo)
	until(t, "pictures arrive", func() bool { return len(v.seen("video")) > 10 })
	begin := time.Now()
	g.stop()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	select {
	case <-v.closed:
	case <-time.After(5 * time.Second):
		t.Error("the viewer did not notice the end")
	}
}
