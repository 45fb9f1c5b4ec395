package rtc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// house is a registry with an endpoint that accepts everything.
type house struct {
	engine   *rtc.Engine
	registry *rtc.Registry
	mux      *http.ServeMux
	server   *httptest.Server
	sessions chan *rtc.Session
}

func open(t *testing.T, media rtc.Config, cfg rtc.RegistryConfig) *house {
	t.Helper()
	if media.Address == "" {
		media.Address = "127.0.0.1:0"
	}
	engine, err := rtc.New(media)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{engine: engine, registry: rtc.NewRegistry(engine, cfg), sessions: make(chan *rtc.Session, 10)}
	mux := http.NewServeMux()
	mux.Handle("/whip/", h.registry.Endpoint(rtc.EndpointConfig{Direction: rtc.Receive, Prefix: "/whip/", Accept: h.accept}))
	mux.Handle("/session/", h.registry)
	h.mux, h.server = mux, httptest.NewServer(mux)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.registry.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		h.server.Close()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
		if all, pending := h.registry.Counts(); all != 0 || pending != 0 {
			t.Errorf("%d sessions, %d pending are left", all, pending)
		}
	})
	return h
}

func (h *house) accept(ctx context.Context, q rtc.Request) (*rtc.Session, error) {
	offer, err := rtc.CheckOffer(q.Body, rtc.Rules{Direction: rtc.Receive})
	if err != nil {
		return nil, err
	}
	x, err := h.registry.Open(ctx, rtc.Opening{Caller: q.Caller, Direction: rtc.Receive, Stream: q.Stream, Offer: offer})
	if err != nil {
		return nil, err
	}
	switch q.Stream {
	case "discard":
		x.Discard()
		return nil, errors.New("secret reason")
	case "return":
		x.Start(func(context.Context) error { return errors.New("done") })
	case "fault":
		x.Start(func(context.Context) error { panic("fault at once") }) //nolint:forbidigo // the fault that is tested
	case "fault-later":
		x.Start(func(ctx context.Context) error {
			x.Go(func() { panic("fault later") }) //nolint:forbidigo // the same
			<-ctx.Done()
			return context.Cause(ctx)
		})
	default:
		x.Start(func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
	}
	h.sessions <- x
	return x, nil
}

func remote(t *testing.T, o rtctest.Options) *rtctest.Remote {
	t.Helper()
	return rtctest.New(t, o, func(pc *webrtc.PeerConnection) error {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "stream")
		if err == nil {
			_, err = pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		}
		return err
	})
}

// TestFault: X26 a fault of our own ends the session that it is in, and no other one;
// the log says where it is.
func TestFault(t *testing.T) {
	lines := &syncLog{}
	h := open(t, rtc.Config{}, rtc.RegistryConfig{Logger: slog.New(slog.NewTextHandler(lines, nil))})
	remote(t, rtctest.Options{}).Connect(t, h.server.URL+"/whip/live")
	other := <-h.sessions
	for _, stream := range []string{"fault", "fault-later"} {
		remote(t, rtctest.Options{}).Post(t, h.server.URL+"/whip/"+stream)
		x := <-h.sessions
		rtctest.Wait(t, x.Done(), "end of the session")
		if !errors.Is(x.Err(), rtc.ErrFault) {
			t.Errorf("%s: reason %v, want %v", stream, x.Err(), rtc.ErrFault)
		}
	}
	for _, want := range []string{"fault at once", "fault later", "session_test.go"} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, lines)
		}
	}
	rtctest.Wait(t, other.Connected(), "connection of the other session")
	if other.Err() != nil {
		t.Errorf("the other session ended: %v", other.Err())
	}
	faults := uint64(0)
	h.registry.Metrics(rtc.Receive).Ended(func(reason string, n uint64) {
		if reason == "fault" {
			faults = n
		}
	})
	if faults != 2 {
		t.Errorf("%d faults are counted, want 2", faults)
	}
}

// TestLost: W64, R30 the other side is gone without a word.
func TestLost(t *testing.T) {
	h := open(t, rtc.Config{}, rtc.RegistryConfig{})
	h.engine.SetTimeouts(200*time.Millisecond, 300*time.Millisecond, 50*time.Millisecond)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn})
	defer func() { _ = mux.Close() }()
	x := remote(t, rtctest.Options{Setting: func(s *webrtc.SettingEngine) { s.SetICEUDPMux(mux) }})
	x.Connect(t, h.server.URL+"/whip/live")
	session := <-h.sessions
	rtctest.Wait(t, session.Connected(), "connection")
	_ = conn.Close() // no alert gets through
	rtctest.Wait(t, session.Done(), "end of the session")
	if !errors.Is(session.Err(), rtc.ErrLost) {
		t.Errorf("reason %v, want %v", session.Err(), rtc.ErrLost)
	}
	if want := "connected directly by UDP, then nothing came"; !strings.Contains(session.Err().Error(), want) {
		t.Errorf("reason %q, want %q", session.Err(), want)
	}
}

// TestICETCP: a publisher whose network has no UDP connects by TCP at the same port, and
// the report says so.
func TestICETCP(t *testing.T) {
	lines := &syncLog{}
	h := open(t, rtc.Config{}, rtc.RegistryConfig{Logger: slog.New(slog.NewTextHandler(lines, nil))})
	x := remote(t, rtctest.Options{Setting: func(s *webrtc.SettingEngine) {
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
	}})
	x.Connect(t, h.server.URL+"/whip/live")
	session := <-h.sessions
	rtctest.Wait(t, session.Connected(), "connection")
	id := h.registry.Sessions()[0].ID
	_, sums, _ := h.registry.Session(id)
	report, ok := h.registry.Report(id)
	if !ok || sums.Transport != "tcp" || !strings.HasPrefix(report.Words, "connected by TCP: UDP is blocked") || !strings.Contains(report.Remedy, fmt.Sprintf("UDP port %d", h.engine.Port())) {
		t.Errorf("by %q: %+v", sums.Transport, report)
	}
	if want := fmt.Sprintf("tcp 127.0.0.1:%d", h.engine.Port()); !slices.Contains(report.Advertised, want) {
		t.Errorf("advertised %q, want %q", report.Advertised, want)
	}
	if len(report.Tried) == 0 || !strings.HasPrefix(report.Tried[0], "tcp 127.0.0.1 port ") || !strings.Contains(report.Tried[0], ": works") {
		t.Errorf("tried %q", report.Tried)
	}
	if detour, since, ok := h.registry.Detour("live"); !ok || detour.Words != report.Words || since.IsZero() {
		t.Errorf("the stream's publisher: %v %+v", ok, detour)
	}
	session.End(rtc.ErrEnded)
	rtctest.Wait(t, session.Done(), "end")
	if _, _, ok := h.registry.Detour("live"); ok {
		t.Error("there is a publisher after the end")
	}
	if !strings.Contains(lines.String(), "way=tcp") {
		t.Errorf("the log does not tell the way: %s", lines)
	}
	if _, ok := h.registry.Report(id); ok {
		t.Error("there is a report after the end")
	}
}

// TestNeverConnected: W66 the log says what keeps a session from connecting.
func TestNeverConnected(t *testing.T) {
	for name, tt := range map[string]struct {
		media   rtc.Config
		edit    func(offer string) string
		setting func(s *webrtc.SettingEngine)
		want    []string
	}{
		"nothing comes": {
			rtc.Config{},
			nil, func(s *webrtc.SettingEngine) { s.SetRemoteIPFilter(func(net.IP) bool { return false }) },
			[]string{"never connected: advertised 127.0.0.1, and nothing came there", "set media.public_ips"},
		},
		"names only": {
			rtc.Config{PublicIPs: []netip.Addr{netip.MustParseAddr("192.0.2.9")}},
			func(offer string) string {
				return regexp.MustCompile(`127\.0\.0\.1 (\d+) typ host`).ReplaceAllString(offer, "5e0ba5d6-0a5e-4bc9-a8b1-3a5e5d1d2a10.local $1 typ host")
			},
			func(s *webrtc.SettingEngine) { s.SetRemoteIPFilter(func(net.IP) bool { return false }) },
			[]string{"advertised 192.0.2.9, and nothing came there, by UDP or TCP; the client offered mDNS names only", "is media.public_ips right?"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			lines := &syncLog{}
			h := open(t, tt.media, rtc.RegistryConfig{PendingTimeout: 300 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(lines, nil))})
			x := remote(t, rtctest.Options{Setting: tt.setting})
			if tt.edit != nil {
				x.Offer = tt.edit(x.Offer)
			}
			x.Post(t, h.server.URL+"/whip/live")
			session := <-h.sessions
			rtctest.Wait(t, session.Done(), "end")
			if !errors.Is(session.Err(), rtc.ErrNeverConnected) {
				t.Errorf("reason %v", session.Err())
			}
			for _, want := range tt.want {
				if !strings.Contains(lines.String(), want) {
					t.Errorf("the log lacks %q: %s", want, lines)
				}
			}
		})
	}
}

// syncLog keeps what is logged.
type syncLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *syncLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *syncLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// TestEnd: W67 every way of ending is the same path, and leaves nothing.
func TestEnd(t *testing.T) {
	h := open(t, rtc.Config{}, rtc.RegistryConfig{})
	t.Run("run returns", func(t *testing.T) {
		x := remote(t, rtctest.Options{})
		x.Post(t, h.server.URL+"/whip/return")
		session := <-h.sessions
		rtctest.Wait(t, session.Done(), "end")
		if session.Err() == nil || session.Err().Error() != "done" {
			t.Errorf("reason %v", session.Err())
		}
	})
	t.Run("discard, and a reason that is not told", func(t *testing.T) {
		x := remote(t, rtctest.Options{})
		if res := x.Post(t, h.server.URL+"/whip/discard"); res.StatusCode != http.StatusInternalServerError || strings.Contains(x.Answer, "secret") {
			t.Errorf("%s %s", res.Status, x.Answer)
		}
	})
	t.Run("never connected", func(t *testing.T) {
		h := open(t, rtc.Config{}, rtc.RegistryConfig{PendingTimeout: 200 * time.Millisecond})
		x := remote(t, rtctest.Options{Bare: true, Setting: func(s *webrtc.SettingEngine) { s.SetRemoteIPFilter(func(net.IP) bool { return false }) }})
		x.Post(t, h.server.URL+"/whip/live")
		session := <-h.sessions
		rtctest.Wait(t, session.Done(), "end")
		if !errors.Is(session.Err(), rtc.ErrNeverConnected) {
			t.Errorf("reason %v", session.Err())
		}
	})
	t.Run("the first reason stays", func(t *testing.T) {
		x := remote(t, rtctest.Options{})
		x.Connect(t, h.server.URL+"/whip/live")
		session := <-h.sessions
		var wg sync.WaitGroup
		session.End(rtc.ErrShutdown)
		for range 10 {
			wg.Go(func() { session.End(rtc.ErrDeleted) })
		}
		wg.Wait()
		rtctest.Wait(t, session.Done(), "end")
		if !errors.Is(session.Err(), rtc.ErrShutdown) {
			t.Errorf("reason %v", session.Err())
		}
	})
	t.Run("revoked", func(t *testing.T) { // issue 5: revocation ends sessions
		var revoked sync.Map // by principal
		caller := func(r *http.Request, _ string) (rtc.Caller, error) {
			who := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			if who == "outage" {
				return rtc.Caller{}, problem.Problem{Status: http.StatusServiceUnavailable, Title: "t", Detail: "d", RetryAfter: time.Second}
			}
			return rtc.Caller{Principal: who, Revoked: func() bool { _, is := revoked.Load(who); return is }}, nil
		}
		h := open(t, rtc.Config{}, rtc.RegistryConfig{Publish: caller})
		var made []*rtc.Session
		var remotes []*rtctest.Remote
		for _, who := range []string{"alice", "bob"} {
			x := remote(t, rtctest.Options{Token: who})
			x.Connect(t, h.server.URL+"/whip/live")
			made, remotes = append(made, <-h.sessions), append(remotes, x)
		}
		if res, _ := rtctest.Token("outage").Do(t, http.MethodDelete, remotes[1].URL, ""); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") != "1" {
			t.Errorf("DELETE while nobody can decide: %s, want 503 and not that the session is gone", res.Status)
		}
		h.registry.Sweep()
		revoked.Store("alice", true)
		h.registry.Sweep()
		rtctest.Wait(t, made[0].Done(), "end")
		if !errors.Is(made[0].Err(), rtc.ErrRevoked) || made[1].Err() != nil {
			t.Errorf("reasons %v and %v, want %v and none", made[0].Err(), made[1].Err(), rtc.ErrRevoked)
		}
		// Who was let in just before the revocation ends as soon as the session begins.
		late := remote(t, rtctest.Options{Token: "alice"})
		late.Post(t, h.server.URL+"/whip/live")
		session := <-h.sessions
		rtctest.Wait(t, session.Done(), "end")
		if !errors.Is(session.Err(), rtc.ErrRevoked) {
			t.Errorf("reason %v, want %v", session.Err(), rtc.ErrRevoked)
		}
	})
	t.Run("many DELETEs at once", func(t *testing.T) {
		x := remote(t, rtctest.Options{})
		x.Connect(t, h.server.URL+"/whip/live")
		<-h.sessions
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if res, _ := rtctest.Token("").Do(t, http.MethodDelete, x.URL, ""); res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNotFound {
					t.Errorf("DELETE: %s", res.Status)
				}
			})
		}
		wg.Wait()
	})
}

// TestPublicIPs: X16 only what is configured is advertised, by UDP and TCP.
func TestPublicIPs(t *testing.T) {
	public := netip.MustParseAddr("203.0.113.9")
	for _, address := range []string{":0", "127.0.0.1:0"} {
		h := open(t, rtc.Config{Address: address, PublicIPs: []netip.Addr{public}}, rtc.RegistryConfig{})
		x := remote(t, rtctest.Options{})
		if res := x.Post(t, h.server.URL+"/whip/live"); res.StatusCode != http.StatusCreated {
			t.Fatalf("POST: %s %s", res.Status, x.Answer)
		}
		var udp, tcp int
		for line := range strings.SplitSeq(x.Answer, "\r\n") {
			if !strings.HasPrefix(line, "a=candidate:") {
				continue
			}
			f := strings.Fields(line)
			if f[4] != public.String() || f[7] != "host" {
				t.Errorf("%s: candidate %q", address, line)
			}
			switch f[2] {
			case "udp":
				udp++
			case "tcp":
				tcp++
			}
		}
		if udp != 1 || tcp != 1 {
			t.Errorf("%s: %d UDP and %d TCP candidates, want one of each\n%s", address, udp, tcp, x.Answer)
		}
	}
}

// TestClientsBehindAProxy: a container's proxy, or a router, gives all clients a
// private address of its own while only a public one of ours is advertised.
func TestClientsBehindAProxy(t *testing.T) {
	h := open(t, rtc.Config{PublicIPs: []netip.Addr{netip.MustParseAddr("203.0.114.9")}}, rtc.RegistryConfig{})
	x := remote(t, rtctest.Options{Setting: func(s *webrtc.SettingEngine) { // nothing goes to the public address
		s.SetRemoteIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	}})
	x.Post(t, h.server.URL+"/whip/live")
	line := fmt.Sprintf("candidate:1 1 udp 1 127.0.0.1 %d typ host", h.engine.Port()) // what the proxy does
	if err := x.PC.AddICECandidate(webrtc.ICECandidateInit{Candidate: line, SDPMLineIndex: new(uint16)}); err != nil {
		t.Fatal(err)
	}
	rtctest.Wait(t, x.Connected(), "connection")
}

// TestLogBeforeTheEnd: the line of a Session's end is written when its place is
// given back, so nothing is logged after Registry.Run has returned.
func TestLogBeforeTheEnd(t *testing.T) {
	lines := &slowLog{}
	h := open(t, rtc.Config{}, rtc.RegistryConfig{Logger: slog.New(slog.NewTextHandler(lines, nil))})
	x := remote(t, rtctest.Options{})
	x.Post(t, h.server.URL+"/whip/return")
	rtctest.Wait(t, (<-h.sessions).Done(), "end")
	if !lines.ended.Load() {
		t.Error("the session is done and its end not logged")
	}
}

// slowLog takes its time to write.
type slowLog struct{ ended atomic.Bool }

func (l *slowLog) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("session ended")) {
		time.Sleep(100 * time.Millisecond)
		l.ended.Store(true)
	}
	return len(b), nil
}
