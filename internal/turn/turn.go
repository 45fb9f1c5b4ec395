// Package turn is a TURN server (RFC 8656) that relays to this gateway's own media
// sockets and to nothing else, and what is needed to use the servers of others:
// time-limited credentials, and a try whether a server takes them.
//
//	viewer ──UDP, TCP or TLS──▶ Server ──relay, a UDP socket each──▶ media sockets of internal/rtc
//
// A relay has no way to any other address: its socket sends where a table of our own
// sockets says, and what comes from elsewhere is dropped. So it is no open relay, and
// no way into the network that the gateway stands in (specs X22). Nobody outside has
// to reach the relays: no port besides the server's own is to be opened.
//
// Invariant: each relay and each connection counts in a limit, and gives its place
// back once, when it is closed.
package turn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/pion/turn/v5"

	"github.com/whipcast/whipcast/internal/limit"
)

const (
	realm     = "whipcast"
	inbound   = 1600 // longest message or piece of media in bytes
	tcpMax    = 2000 // TCP connections in all
	tcpMaxPer = 64   // and of one address
	bindTries = 20   // for one port that is free for all sockets
)

// Peer is one UDP socket of ours that may be reached through the server.
type Peer struct {
	Local      netip.AddrPort // that it is bound to
	Advertised []netip.Addr   // that others know it by, at the same port; at least one
}

// Config of a Server. Address or TLSAddress must be given, and Secret and Peers.
type Config struct {
	Address    string      // UDP and TCP host:port; "": none
	TLSAddress string      // TCP host:port; "": none
	TLS        *tls.Config // for TLSAddress
	Secret     string      // that credentials are made with, see Credentials
	Peers      []Peer
	MaxRelays  int // at once, default 1,000
	MaxPerUser int // of one user of credentials, default 16: a browser takes one for each way and interface
	// MaxPerAddress is how many relays those behind one address may have, default a
	// quarter of all: credentials are to be had by everybody where everybody may watch.
	MaxPerAddress int
	Logger        *slog.Logger // nil: nothing is logged
}

// Metrics of a Server. Any goroutine may read them.
type Metrics struct {
	Relays      atomic.Int64  // that there are
	Opened      atomic.Uint64 // so far
	Credentials atomic.Uint64 // requests refused: expired, forged or none of ours
	Quota       atomic.Uint64 // requests refused: too many relays of the user, or in all
	Strangers   atomic.Uint64 // permissions refused and packets dropped: to somebody else than us
	In, Out     atomic.Uint64 // bytes of media: from clients, to clients
}

// Server is a TURN server. All methods may be called from any goroutine.
type Server struct {
	cfg     Config
	peers   peers
	udp     []net.PacketConn
	tcp     []*listener
	limits  []*limit.Listener // of the same
	port    int
	tlsPort int
	metrics Metrics

	all sync.WaitGroup // one for each relay

	mu        sync.Mutex
	relays    map[netip.AddrPort]bool // below mu: by the address that media comes from
	users     map[string]int          // below mu: relays of each
	addresses map[netip.Addr]int      // below mu: relays of those behind each
	closed    bool                    // below mu
}

// AddressError says which address could not be had.
type AddressError struct {
	Address string
	Err     error
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("open TURN server at %s: %v", e.Address, e.Err)
}

// Unwrap returns what went wrong.
func (e *AddressError) Unwrap() error { return e.Err }

// New opens the sockets. Run it, or Close it. The error is an *AddressError.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.MaxRelays <= 0 {
		cfg.MaxRelays = 1000
	}
	if cfg.MaxPerUser <= 0 {
		cfg.MaxPerUser = 16
	}
	if cfg.MaxPerAddress <= 0 {
		cfg.MaxPerAddress = max(cfg.MaxRelays/4, 1)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, peers: tableOf(cfg.Peers), relays: map[netip.AddrPort]bool{}, users: map[string]int{}, addresses: map[netip.Addr]int{}}
	if cfg.Address != "" {
		if err := s.listen(ctx, cfg.Address); err != nil {
			s.Close()
			return nil, &AddressError{cfg.Address, err}
		}
	}
	if cfg.TLSAddress != "" {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.TLSAddress)
		if err != nil {
			s.Close()
			return nil, &AddressError{cfg.TLSAddress, err}
		}
		s.tlsPort = l.Addr().(*net.TCPAddr).Port
		s.tcp = append(s.tcp, newListener(tls.NewListener(s.limit(l), protocols(cfg.TLS))))
	}
	return s, nil
}

// protocols lets a certificate be proved on the server's port (RFC 8737), and takes
// whoever names TURN (RFC 7443) or nothing.
func protocols(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.NextProtos = []string{"stun.turn", "acme-tls/1"}
	return config
}

// listen opens UDP and TCP at one port. Port 0 looks for one that is free for both.
func (s *Server) listen(ctx context.Context, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		err := s.listenOnce(ctx, host, port)
		if err == nil {
			return nil
		}
		s.Close()
		s.udp, s.tcp, s.limits = nil, nil, nil
		if port != "0" || try == bindTries || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
}

// listenOnce binds UDP to each address of its own: what a socket of all addresses
// sends may leave from another one than was asked.
func (s *Server) listenOnce(ctx context.Context, host, port string) error {
	hosts := []string{host}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		hosts = s.peers.locals(ip)
	}
	var lc net.ListenConfig
	for _, h := range hosts {
		conn, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(h, port))
		if err != nil {
			return err
		}
		s.udp = append(s.udp, conn)
		s.port = conn.LocalAddr().(*net.UDPAddr).Port
		port = fmt.Sprint(s.port)
	}
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	s.tcp = append(s.tcp, newListener(s.limit(l)))
	return nil
}

func (s *Server) limit(l net.Listener) net.Listener {
	limited := limit.NewListener(l, tcpMax, tcpMaxPer)
	s.limits = append(s.limits, limited)
	return limited
}

// RefusedTCP returns how many TCP connections were closed at once: too many.
func (s *Server) RefusedTCP() uint64 {
	var n uint64
	for _, l := range s.limits {
		n += l.Refused()
	}
	return n
}

// Port returns that of UDP and TCP, 0 for none.
func (s *Server) Port() int { return s.port }

// TLSPort returns that of TLS, 0 for none.
func (s *Server) TLSPort() int { return s.tlsPort }

// Metrics returns what is counted.
func (s *Server) Metrics() *Metrics { return &s.metrics }

// Relayed reports whether media from this address comes through the server.
func (s *Server) Relayed(from netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.relays[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
}

// Close closes the sockets of a Server that does not run.
func (s *Server) Close() {
	for _, c := range s.udp {
		_ = c.Close() // nothing was sent
	}
	for _, l := range s.tcp {
		_ = l.Close()
	}
}

// Run serves until ctx ends, and returns when all relays and connections are closed.
func (s *Server) Run(ctx context.Context) error {
	cfg := turn.ServerConfig{
		Realm: realm, LoggerFactory: quiet{s.cfg.Logger}, InboundMTU: inbound,
		AuthHandler: s.authenticate, QuotaHandler: s.quota,
		EventHandler: turn.EventHandler{OnAuth: s.authenticated, OnAllocationCreated: s.allocated},
	}
	for _, c := range s.udp {
		cfg.PacketConnConfigs = append(cfg.PacketConnConfigs, turn.PacketConnConfig{
			PacketConn: c, RelayAddressGenerator: generator{s}, PermissionHandler: s.permit,
		})
	}
	for _, l := range s.tcp {
		cfg.ListenerConfigs = append(cfg.ListenerConfigs, turn.ListenerConfig{
			Listener: l, RelayAddressGenerator: generator{s}, PermissionHandler: s.permit,
		})
	}
	server, err := turn.NewServer(cfg)
	if err != nil {
		s.Close()
		return fmt.Errorf("start TURN server: %w", err)
	}
	<-ctx.Done()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err = server.Close()
	for _, l := range s.tcp {
		l.wait()
	}
	s.all.Wait()
	if err != nil {
		return fmt.Errorf("stop TURN server: %w", err)
	}
	return nil
}
