package turn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	pion "github.com/pion/turn/v5"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/internal/turn"
)

// serverTLS and roots are of one certificate of our own making for 127.0.0.1. The
// process takes it for one of an authority, as Pion's ICE asks for.
var (
	serverTLS *tls.Config
	roots     = x509.NewCertPool()
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "turn")
	if err == nil {
		err = certify(filepath.Join(dir, "roots.pem"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func certify(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &key.PublicKey, key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots.AppendCertsFromPEM(text)
	serverTLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return errors.Join(os.WriteFile(path, text, 0o600), os.Setenv("SSL_CERT_FILE", path))
}

const secret = "0123456789abcdef"

// serve runs a server that leads to the given media sockets until the test ends.
func serve(t *testing.T, cfg turn.Config) *turn.Server {
	t.Helper()
	cfg.TLS = serverTLS
	cfg.Address, cfg.TLSAddress, cfg.Secret = "127.0.0.1:0", "127.0.0.1:0", secret
	s, err := turn.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if n := s.Metrics().Relays.Load(); n != 0 {
			t.Errorf("%d relays are left", n)
		}
	})
	return s
}

// house is a gateway's part that takes all publishers.
type house struct {
	engine   *rtc.Engine
	url      string
	sessions chan *rtc.Session
	registry *rtc.Registry
	server   *turn.Server // if it is to know whether media is relayed
}

func newHouse(t *testing.T, media rtc.Config) *house {
	t.Helper()
	if media.Address == "" {
		media.Address = "127.0.0.1:0"
	}
	engine, err := rtc.New(media)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{engine: engine, sessions: make(chan *rtc.Session, 4)}
	registry := rtc.NewRegistry(engine, rtc.RegistryConfig{Relayed: func(from netip.AddrPort) bool { return h.server != nil && h.server.Relayed(from) }})
	h.registry = registry
	mux := http.NewServeMux()
	mux.Handle("/whip/", registry.Endpoint(rtc.EndpointConfig{Direction: rtc.Receive, Prefix: "/whip/", Accept: func(ctx context.Context, q rtc.Request) (*rtc.Session, error) {
		offer, err := rtc.CheckOffer(q.Body, rtc.Rules{Direction: rtc.Receive})
		if err != nil {
			return nil, err
		}
		x, err := registry.Open(ctx, rtc.Opening{Direction: rtc.Receive, Stream: q.Stream, Offer: offer})
		if err != nil {
			return nil, err
		}
		x.Start(func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		h.sessions <- x
		return x, nil
	}}))
	mux.Handle("/session/", registry)
	server := httptest.NewServer(mux)
	h.url = server.URL
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = registry.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		server.Close()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) peers() []turn.Peer {
	var all []turn.Peer
	for _, s := range h.engine.Sockets() {
		all = append(all, turn.Peer{Local: s.Local, Advertised: s.Advertised})
	}
	return all
}

// relayOnly is a publisher that has no way but the relay of a server.
func relayOnly(t *testing.T, server webrtc.ICEServer) *rtctest.Remote {
	t.Helper()
	setting := func(s *webrtc.SettingEngine) {
		s.SetRelayAcceptanceMinWait(0)
		s.DisableActiveTCP(true) // else Pion goes past the relay by ICE-TCP
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4})
	}
	return rtctest.New(t, rtctest.Options{Setting: setting}, func(pc *webrtc.PeerConnection) error {
		err := pc.SetConfiguration(webrtc.Configuration{
			ICEServers: []webrtc.ICEServer{server}, ICETransportPolicy: webrtc.ICETransportPolicyRelay, BundlePolicy: webrtc.BundlePolicyMaxBundle,
		})
		if err != nil {
			return err
		}
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "stream")
		if err == nil {
			_, err = pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		}
		return err
	})
}

func signed(user string) (username, credential string) {
	return turn.Credentials(secret, user, time.Now().Add(time.Hour))
}

func ways(s *turn.Server) map[string]string {
	return map[string]string{
		"UDP": fmt.Sprintf("turn:127.0.0.1:%d?transport=udp", s.Port()),
		"TCP": fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", s.Port()),
		"TLS": fmt.Sprintf("turns:127.0.0.1:%d?transport=tcp", s.TLSPort()),
	}
}

// TestRelayOnly: who can use nothing but the relay connects, by UDP, TCP and TLS.
func TestRelayOnly(t *testing.T) {
	h := newHouse(t, rtc.Config{})
	s := serve(t, turn.Config{Peers: h.peers()})
	h.server = s
	for name, url := range ways(s) {
		t.Run(name, func(t *testing.T) {
			username, credential := signed("anna")
			x := relayOnly(t, webrtc.ICEServer{URLs: []string{url}, Username: username, Credential: credential})
			x.Connect(t, h.url+"/whip/live")
			session := <-h.sessions
			rtctest.Wait(t, session.Connected(), "connection")
			pair, err := x.PC.GetSenders()[0].Transport().ICETransport().GetSelectedCandidatePair()
			if err != nil || pair.Local.Typ != webrtc.ICECandidateTypeRelay {
				t.Fatalf("connected by %v, %v; want a relay", pair, err)
			}
			at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), pair.Local.Port)
			if !s.Relayed(at) || s.Relayed(netip.AddrPortFrom(at.Addr(), at.Port()+1)) {
				t.Errorf("Relayed does not know %v", at)
			}
			report, _ := h.registry.Report(h.registry.Sessions()[0].ID)
			if report.Words != "relayed by TURN" || report.Remedy != "" {
				t.Errorf("%+v", report)
			}
			session.End(rtc.ErrEnded)
			rtctest.Wait(t, session.Done(), "end")
		})
	}
	m := s.Metrics()
	if m.Opened.Load() < 3 || m.In.Load() == 0 || m.Out.Load() == 0 || m.Strangers.Load() != 0 {
		t.Errorf("%d relays, %d bytes in, %d out, %d refused", m.Opened.Load(), m.In.Load(), m.Out.Load(), m.Strangers.Load())
	}
}

// TestPublicIPs: behind NAT clients know our media by another address than it has
// here; the relay leads there without a way through the NAT.
func TestPublicIPs(t *testing.T) {
	h := newHouse(t, rtc.Config{PublicIPs: []netip.Addr{netip.MustParseAddr("203.0.114.9")}})
	s := serve(t, turn.Config{Peers: h.peers()})
	username, credential := signed("anna")
	x := relayOnly(t, webrtc.ICEServer{URLs: []string{ways(s)["UDP"]}, Username: username, Credential: credential})
	x.Connect(t, h.url+"/whip/live")
	rtctest.Wait(t, (<-h.sessions).Connected(), "connection")
}

// dialer is a client by hand.
func dialer(t *testing.T, s *turn.Server, username, credential string) *pion.Client {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := pion.NewClient(&pion.ClientConfig{
		TURNServerAddr: fmt.Sprintf("127.0.0.1:%d", s.Port()), Username: username, Password: credential, Conn: conn,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		_ = conn.Close()
	})
	return client
}

// TestNoOpenRelay: X22 the relay leads to our own media sockets only: not to this
// machine's other services, to other ports of it, or to other hosts; and nobody else
// reaches its clients.
func TestNoOpenRelay(t *testing.T) {
	media, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer media.Close()
	local := media.LocalAddr().(*net.UDPAddr).AddrPort()
	s := serve(t, turn.Config{Peers: []turn.Peer{{Local: local, Advertised: []netip.Addr{local.Addr()}}}})
	username, credential := signed("anna")
	client := dialer(t, s, username, credential)
	relay, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	for _, host := range []string{"127.0.0.1", "127.0.0.3", "10.0.0.1", "192.168.1.1", "169.254.169.254", "192.0.2.1", "0.0.0.0"} {
		if err := client.CreatePermission(&net.UDPAddr{IP: net.ParseIP(host), Port: int(local.Port())}); err == nil {
			t.Errorf("permission for %s was given", host)
		}
	}
	if n := s.Metrics().Strangers.Load(); n != 7 {
		t.Errorf("%d refused, want 7", n)
	}
	// Our own address, another port: a service that listens there must not hear anything.
	other, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := relay.WriteTo([]byte("inward"), other.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if _, err := relay.WriteTo([]byte("media"), media.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	_ = media.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, from, err := media.ReadFrom(b)
	if err != nil || string(b[:n]) != "media" {
		t.Fatalf("the media socket reads %q, %v", b[:n], err)
	}
	_ = other.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, _, err := other.ReadFrom(b); err == nil {
		t.Errorf("another port of ours was sent %q", b[:n])
	}
	// From outside: only the media socket is heard.
	if _, err := other.WriteTo([]byte("stranger"), from); err != nil {
		t.Fatal(err)
	}
	if _, err := media.WriteTo([]byte("back"), from); err != nil {
		t.Fatal(err)
	}
	_ = relay.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err = relay.ReadFrom(b)
	if err != nil || string(b[:n]) != "back" {
		t.Errorf("the client reads %q, %v; want what the media socket sent", b[:n], err)
	}
	if n := s.Metrics().Strangers.Load(); n < 9 {
		t.Errorf("%d refused, want the two packets, too", n)
	}
}

// TestCredentials: X20, X21 what is forged or expired gets no relay; one that there is
// goes on.
func TestCredentials(t *testing.T) {
	if username, password := turn.Credentials("s3cret", "alice", time.Unix(1700000000, 0)); username != "1700000000:alice" || password != "TtElzSjT0GdnTQ9xdcRNxx96yQs=" {
		t.Errorf("%s %s", username, password) // specs X20
	}
	h := newHouse(t, rtc.Config{})
	s := serve(t, turn.Config{Peers: h.peers()})
	url := ways(s)["UDP"]
	now := time.Now()
	good, password := turn.Credentials(secret, "anna", now.Add(time.Hour))
	old, oldPassword := turn.Credentials(secret, "anna", now.Add(-time.Second))
	forged, forgedPassword := turn.Credentials("another", "anna", now.Add(time.Hour))
	nobody, nobodyPassword := turn.Credentials(secret, "", now.Add(time.Hour))
	for i, c := range []struct {
		username, password string
		refused            bool
	}{
		{good, password, false},
		{old, oldPassword, true},
		{forged, forgedPassword, true},
		{nobody, nobodyPassword, true},
		{"anna", password, true},
		{good, "", true},
		{good + "0", password, true},
	} {
		err := turn.Ask(t.Context(), turn.Target{URL: url, Username: c.username, Credential: c.password})
		var refusal turn.Refusal
		if refused := errors.As(err, &refusal); refused != c.refused || err != nil && !refused {
			t.Errorf("%d: %v", i, err)
		}
	}
	if n := s.Metrics().Credentials.Load(); n != 6 {
		t.Errorf("%d refused for their credentials, want 6", n)
	}
	// Refresh within a second, after which the credentials are no longer good.
	short, shortPassword := turn.Credentials(secret, "anna", now.Add(2*time.Second))
	client := dialer(t, s, short, shortPassword)
	relay, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(now.Add(2100 * time.Millisecond)))
	if err := client.CreatePermission(net.UDPAddrFromAddrPort(h.engine.Sockets()[0].Local)); err != nil {
		t.Errorf("an old relay is of no use any more: %v", err)
	}
	if err := relay.Close(); err != nil {
		t.Error(err)
	}
}

// TestQuota: relays are limited, of a user and in all, and their places come back.
func TestQuota(t *testing.T) {
	h := newHouse(t, rtc.Config{})
	s := serve(t, turn.Config{Peers: h.peers(), MaxPerUser: 2, MaxRelays: 3})
	take := func(user string) (net.PacketConn, error) {
		username, credential := signed(user)
		return dialer(t, s, username, credential).Allocate()
	}
	var held []net.PacketConn
	for i, c := range []struct {
		user string
		ok   bool
	}{{"anna", true}, {"anna", true}, {"anna", false}, {"bob", true}, {"carl", false}} {
		relay, err := take(c.user)
		if (err == nil) != c.ok {
			t.Errorf("relay %d of %s: %v", i, c.user, err)
		}
		if err == nil {
			held = append(held, relay)
		}
	}
	m := s.Metrics()
	if m.Relays.Load() != 3 || m.Quota.Load() != 2 {
		t.Errorf("%d relays, %d refused", m.Relays.Load(), m.Quota.Load())
	}
	_ = held[0].Close()
	for deadline := time.Now().Add(5 * time.Second); m.Relays.Load() != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the place of a closed relay does not come back")
		}
	}
	relay, err := take("anna")
	if err != nil {
		t.Fatal(err)
	}
	held = append(held, relay)
	for _, r := range held[1:] {
		_ = r.Close()
	}
}

// TestMalformedStream: a TCP connection that does not speak TURN ends at once and
// does no harm.
func TestMalformedStream(t *testing.T) {
	h := newHouse(t, rtc.Config{})
	s := serve(t, turn.Config{Peers: h.peers()})
	cookie := []byte{0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	for name, bytes := range map[string][]byte{
		"length that is 0 in 16 bits": append([]byte{0, 1, 0xff, 0xec}, cookie...),
		"longest":                     append([]byte{0, 1, 0xff, 0xff}, cookie...),
		"HTTP":                        []byte("GET / HTTP/1.1\r\n\r\n"),
		"channel too long":            {0x40, 0, 0xff, 0xff, 0},
		"neither":                     {0xff, 0xff, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
	} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", s.Port()))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(bytes)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.ErrNoProgress) {
			t.Errorf("%s: answered, or not closed: %v", name, err)
		} else if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
			t.Errorf("%s: the connection stays", name)
		}
		_ = conn.Close()
	}
	username, credential := signed("anna")
	for name, url := range ways(s) { // the server still is there
		err := turn.Ask(t.Context(), turn.Target{URL: url, Username: username, Credential: credential, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := turn.Ask(t.Context(), turn.Target{URL: fmt.Sprintf("stun:127.0.0.1:%d", s.Port())}); err != nil {
		t.Errorf("STUN: %v", err)
	}
}

// TestAskSilence: a server that says nothing is told from one that refuses.
func TestAskSilence(t *testing.T) {
	silent, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = turn.Ask(ctx, turn.Target{URL: "turn:" + silent.LocalAddr().String(), Username: "a", Credential: "b"})
	if !errors.Is(err, turn.ErrSilent) {
		t.Errorf("%v, want %v", err, turn.ErrSilent)
	}
}

// TestAddressTaken: the error names the address.
func TestAddressTaken(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peers := []turn.Peer{{Local: netip.MustParseAddrPort("127.0.0.1:9"), Advertised: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}}
	for _, cfg := range []turn.Config{
		{Address: l.Addr().String(), Peers: peers}, {TLSAddress: l.Addr().String(), TLS: serverTLS, Peers: peers},
	} {
		_, err := turn.New(t.Context(), cfg)
		if e, ok := errors.AsType[*turn.AddressError](err); !ok || e.Address != l.Addr().String() {
			t.Errorf("%v", err)
		}
	}
	// All addresses: UDP at each of ours.
	s, err := turn.New(t.Context(), turn.Config{Address: ":0", Peers: peers, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Port() == 0 || s.TLSPort() != 0 {
		t.Errorf("ports %d and %d", s.Port(), s.TLSPort())
	}
}
