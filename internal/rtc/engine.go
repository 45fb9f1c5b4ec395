package rtc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/transport/v4/stdnet"
	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/limit"
)

// Time limits of a connection.
const (
	iceDisconnected = 5 * time.Second
	iceFailed       = 25 * time.Second // after disconnected: consent expires after 30 s (RFC 7675)
	iceKeepalive    = 2 * time.Second
	dtlsTimeout     = 10 * time.Second
	// FFmpeg may lose the first ClientHello of a quick peer.
	dtlsRetransmit = 500 * time.Millisecond
	tcpFirst       = 5 * time.Second // from accept to the first STUN message (specs X17)
	tcpUnknown     = 5 * time.Second // for a STUN message of no session
)

const (
	receiveBuffer = 8 << 20
	receiveMTU    = 1600
	replayWindow  = 1024      // packets; NACKed ones come late
	sctpBuffer    = 128 << 10 // bytes of messages that wait for their reader
	tcpReads      = 32        // packets of a TCP connection that wait for their reader; the others stay in the kernel
	tcpQueue      = 1 << 20   // bytes that wait for a slow TCP connection; more is dropped
	tcpMax        = 2000      // TCP connections in all
	tcpMaxPer     = 64        // and of one address
	bindTries     = 20        // for one port that is free on all addresses
)

// Engine holds the sockets and what all PeerConnections have in common. All
// methods may be called from any goroutine.
type Engine struct {
	port     int
	bindings []binding
	udp      ice.UDPMux
	tcp      *ice.TCPMuxDefault // nil when disabled
	listener *limit.Listener
	sockets  []*socket // one for each binding
	trains   sync.Pool // of *Train
	setting  webrtc.SettingEngine
	receive  *interceptor.Registry
	cert     webrtc.Certificate
	public   bool // what is advertised is Config.PublicIPs
}

// checked returns those of the other side's usable candidates that we send
// connectivity checks to (specs X13).
func (e *Engine) checked(candidates []string) []string {
	allowed := remoteFilter(e.bindings)
	return slices.DeleteFunc(slices.Clone(candidates), func(line string) bool {
		a, err := netip.ParseAddr(strings.Fields(line)[4])
		return err != nil || !allowed(a)
	})
}

// New opens the sockets. Close them by Close, after all Sessions have ended.
// The error is ErrPublicIPs, or one of Config.Address.
func New(cfg Config) (*Engine, error) {
	if cfg.ReceiveBuffer <= 0 {
		cfg.ReceiveBuffer = receiveBuffer
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	bind, port, err := parseAddress(cfg.Address)
	if err != nil {
		return nil, err
	}
	local, err := localAddresses()
	if err != nil {
		return nil, err
	}
	if !bind.IsValid() || bind.IsUnspecified() {
		local = bindable(local, cfg.Logger)
	}
	var lanes atomic.Uint32
	e := &Engine{public: len(cfg.PublicIPs) > 0, trains: sync.Pool{New: func() any { return &Train{lane: int(lanes.Add(1) % maxHandles)} }}}
	if e.bindings, err = plan(bind, local, cfg.PublicIPs, sourceOf); err != nil {
		return nil, err
	}
	if e.receive, err = receiving(); err != nil {
		return nil, err
	}
	if e.cert, err = certificate(); err != nil {
		return nil, err
	}
	tcp := &net.TCPAddr{IP: bind.AsSlice(), Port: port}
	if cfg.DisableTCP {
		tcp = nil
	}
	sockets, err := open(e.bindings, port, tcp)
	if err != nil {
		return nil, fmt.Errorf("open media.address %s: %w", cfg.Address, err)
	}
	buffers(sockets.udp, cfg)
	e.port = sockets.udp[0].LocalAddr().(*net.UDPAddr).Port
	for _, conn := range sockets.udp {
		e.sockets = append(e.sockets, newSocket(conn))
	}
	e.mux(sockets, cfg)
	if err := e.settings(cfg); err != nil {
		_ = e.Close() // the first error counts
		return nil, err
	}
	return e, nil
}

// buffers asks for big receive buffers: a keyframe of each of twenty publishers
// at once must fit (specs R57).
func buffers(conns []*net.UDPConn, cfg Config) {
	least := cfg.ReceiveBuffer
	for _, conn := range conns {
		got, err := receiveBufferOf(conn, cfg.ReceiveBuffer)
		if err != nil {
			cfg.Logger.Warn("ask for UDP receive buffer", "error", err)
		}
		least = min(least, got)
	}
	if least < cfg.ReceiveBuffer/2 {
		cfg.Logger.Warn("UDP receive buffer is small, many publishers may lose packets: raise net.core.rmem_max", "bytes", least, "wanted", cfg.ReceiveBuffer)
	}
}

// RefusedTCP returns how many ICE connections by TCP were closed at once (specs X17).
func (e *Engine) RefusedTCP() uint64 {
	if e.listener == nil {
		return 0
	}
	return e.listener.Refused()
}

// Port returns the port of UDP and TCP.
func (e *Engine) Port() int { return e.port }

// Advertised returns the addresses that the other side is told.
func (e *Engine) Advertised() []netip.Addr {
	var all []netip.Addr
	for _, b := range e.bindings {
		all = append(all, b.advertise...)
	}
	return all
}

// Socket is one UDP socket of an Engine.
type Socket struct {
	Local      netip.AddrPort
	Advertised []netip.Addr // what the other side is told, with the same port
}

// Sockets returns the UDP sockets.
func (e *Engine) Sockets() []Socket {
	var all []Socket
	for _, b := range e.bindings {
		all = append(all, Socket{netip.AddrPortFrom(b.local, uint16(e.port)), b.advertise}) //nolint:gosec // a port
	}
	return all
}

// ReceiveBuffer returns how many bytes the kernel gives a UDP socket for what
// is not read yet, and how many an Engine asks for.
func ReceiveBuffer() (got, wanted int, err error) {
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return 0, receiveBuffer, fmt.Errorf("open UDP socket: %w", err)
	}
	defer func() { _ = conn.Close() }() // never used
	got, err = receiveBufferOf(conn, receiveBuffer)
	return got, receiveBuffer, err
}

// Close closes the sockets and waits for their readers.
func (e *Engine) Close() error {
	err := e.udp.Close()
	if e.tcp != nil {
		err = errors.Join(err, e.tcp.Close())
	}
	for _, s := range e.sockets {
		err = errors.Join(err, s.close())
	}
	return err
}

// parseAddress reads media.address: the host may be empty or a name.
func parseAddress(address string) (netip.Addr, int, error) {
	if address == "" {
		address = ":0"
	}
	udp, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("media.address %q is not host:port, such as :8100: %w", address, err)
	}
	bind := udp.AddrPort().Addr()
	if udp.IP == nil {
		bind = netip.Addr{}
	}
	return bind.Unmap(), udp.Port, nil
}

// sockets are all sockets of an Engine.
type sockets struct {
	udp []*net.UDPConn
	tcp net.Listener // or nil
}

func (s sockets) close() {
	for _, c := range s.udp {
		_ = c.Close()
	}
	if s.tcp != nil {
		_ = s.tcp.Close()
	}
}

// open binds one UDP socket for each address, and a TCP listener unless tcp is
// nil, all to the same port. Port 0 looks for one that is free everywhere.
func open(bindings []binding, port int, tcp *net.TCPAddr) (sockets, error) {
	for try := 0; ; try++ {
		s, err := openOnce(bindings, port, tcp)
		if err == nil {
			return s, nil
		}
		s.close()
		if port != 0 || try == bindTries || !errors.Is(err, syscall.EADDRINUSE) {
			return sockets{}, err
		}
	}
}

func openOnce(bindings []binding, port int, tcp *net.TCPAddr) (sockets, error) {
	var s sockets
	for _, b := range bindings {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.local, uint16(port))))
		if err != nil {
			return s, fmt.Errorf("listen on UDP: %w", err)
		}
		s.udp = append(s.udp, conn)
		port = conn.LocalAddr().(*net.UDPAddr).Port
	}
	if tcp == nil {
		return s, nil
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: tcp.IP, Port: port})
	if err != nil {
		return s, fmt.Errorf("listen on TCP: %w", err)
	}
	s.tcp = listener
	return s, nil
}

// mux shares the sockets among all PeerConnections.
func (e *Engine) mux(s sockets, cfg Config) {
	log := pionLog{cfg.Logger, "mux"}
	var muxes []ice.UDPMux
	for _, conn := range s.udp {
		muxes = append(muxes, ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn, Logger: log}))
	}
	e.udp = ice.NewMultiUDPMuxDefault(muxes...)
	if s.tcp != nil {
		e.listener = limit.NewListener(s.tcp, tcpMax, tcpMaxPer)
		e.tcp = ice.NewTCPMuxDefault(ice.TCPMuxParams{
			Listener: e.listener, Logger: log,
			ReadBufferSize: tcpReads, WriteBufferSize: tcpQueue,
			FirstStunBindTimeout: tcpFirst, AliveDurationForConnFromStun: tcpUnknown,
		})
	}
}

func (e *Engine) settings(cfg Config) error {
	s := &e.setting
	s.LoggerFactory = pionLog{log: cfg.Logger}
	interfaces, err := stdnet.NewNet() // once: Pion would list them for each connection
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	s.SetNet(interfaces)
	s.SetICEUDPMux(e.udp)
	networks := []webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6}
	if e.tcp != nil {
		s.SetICETCPMux(e.tcp)
		networks = append(networks, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6)
	}
	s.SetNetworkTypes(networks)
	s.DisableActiveTCP(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled) // X14
	s.SetIncludeLoopbackCandidate(slices.ContainsFunc(e.bindings, func(b binding) bool { return b.local.IsLoopback() }))
	s.SetIPFilter(func(ip net.IP) bool { // X16: no other address of the machine, also by TCP
		a, ok := netip.AddrFromSlice(ip)
		return ok && slices.ContainsFunc(e.bindings, func(b binding) bool { return b.local == a.Unmap() })
	})
	source := sourceFilter(e.bindings)
	s.SetRemoteIPFilter(func(ip net.IP) bool { // also for candidates, which Engine.checked filters before
		a, ok := netip.AddrFromSlice(ip)
		return ok && source(a)
	})
	if len(cfg.PublicIPs) > 0 {
		if err := s.SetICEAddressRewriteRules(rewrites(e.bindings)...); err != nil {
			return fmt.Errorf("%w: %w", ErrPublicIPs, err)
		}
	}
	s.SetICETimeouts(iceDisconnected, iceFailed, iceKeepalive)
	s.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	s.SetSRTPReplayProtectionWindow(replayWindow)
	s.SetReceiveMTU(receiveMTU)
	s.SetDTLSRetransmissionInterval(dtlsRetransmit)
	s.DetachDataChannels()
	s.SetSCTPMaxMessageSize(MaxMessage)
	s.SetSCTPMaxReceiveBufferSize(sctpBuffer)
	s.SetDTLSConnectContextMaker(func() (context.Context, func()) {
		return context.WithTimeout(context.Background(), dtlsTimeout)
	})
	return nil
}

func rewrites(bindings []binding) []webrtc.ICEAddressRewriteRule {
	var rules []webrtc.ICEAddressRewriteRule
	for _, b := range bindings {
		rule := webrtc.ICEAddressRewriteRule{
			Local: b.local.String(), AsCandidateType: webrtc.ICECandidateTypeHost, Mode: webrtc.ICEAddressRewriteReplace,
		}
		for _, a := range b.advertise {
			rule.External = append(rule.External, a.String())
		}
		rules = append(rules, rule)
	}
	return rules
}

// certificate makes the DTLS certificate, once a process (specs X18).
func certificate() (webrtc.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return webrtc.Certificate{}, fmt.Errorf("make DTLS key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return webrtc.Certificate{}, fmt.Errorf("make DTLS certificate: %w", err)
	}
	name := pkix.Name{CommonName: "WebRTC"}
	cert, err := webrtc.NewCertificate(key, x509.Certificate{
		SerialNumber: serial, Subject: name, Issuer: name,
		NotBefore: time.Now().Add(-24 * time.Hour),
		NotAfter:  time.Now().AddDate(10, 0, 0), // Pion refuses an expired one; processes run for long
	})
	if err != nil {
		return webrtc.Certificate{}, fmt.Errorf("make DTLS certificate: %w", err)
	}
	return *cert, nil
}

// connection makes a Session's PeerConnection. If we are to send, the Session is told
// its secrets, and says where RTCP goes.
func (e *Engine) connection(o *Offer, x *Session) (*webrtc.PeerConnection, error) {
	media, err := mediaEngine(o)
	if err != nil {
		return nil, err
	}
	interceptors, setting := &interceptor.Registry{}, e.setting
	if o.direction == Receive {
		interceptors = e.receive
	} else {
		setting.BufferFactory = x.buffer
	}
	if o.direction == Send && !o.passive() { // only a server's hello is told
		if err := setting.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
			return nil, fmt.Errorf("set DTLS role: %w", err)
		}
		setting.SetDTLSServerHelloMessageHook(x.secrets.hello)
		setting.SetDTLSKeyLogWriter(&x.secrets)
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(setting), webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(interceptors))
	pc, err := api.NewPeerConnection(webrtc.Configuration{
		BundlePolicy: webrtc.BundlePolicyMaxBundle,
		Certificates: []webrtc.Certificate{e.cert},
	})
	if err != nil {
		return nil, fmt.Errorf("make PeerConnection: %w", err)
	}
	return pc, nil
}
