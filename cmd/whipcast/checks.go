package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/internal/check"
	"github.com/whipcast/whipcast/internal/fault"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtsp"
)

// Time limits of checks. Those of a place bound its steps one by one, too.
const (
	portTime  = 10 * time.Second
	mediaTime = 40 * time.Second // with STUN servers that do not answer
	placeTime = time.Minute
)

// subject is what is checked: a configuration on this machine.
type subject struct {
	config  configs.Config
	path    string // of the file; "" for none
	environ []string
	servers []string // STUN
}

// checks are all but those of the places.
func (s subject) checks() []check.Check {
	var (
		port = func(key, address string) check.Check {
			return check.Check{Name: key, Timeout: portTime, Run: func(ctx context.Context) []check.Finding {
				return []check.Finding{s.port(ctx, key, address)}
			}}
		}
		local = func(name string, look func() []check.Finding) check.Check {
			return check.Check{Name: name, Run: func(context.Context) []check.Finding { return look() }}
		}
	)
	all := []check.Check{
		local("configuration", s.files),
		local("auth", s.auth),
		port("http.address", s.config.HTTP.Address),
		local("http.tls", s.certificate),
		port("admin.address", s.config.Admin.Address),
		{Name: "media.address", Timeout: mediaTime, Run: s.media},
	}
	if address := s.config.RTSP.Address; address != "" {
		all = append(all, check.Check{Name: rtspAddress, Timeout: portTime, Run: func(ctx context.Context) []check.Finding {
			return []check.Finding{s.rtsp(ctx)}
		}})
	}
	if address := s.config.RTSP.TLSAddress; address != "" {
		all = append(all, port("rtsp.tls_address", address))
	}
	return append(append(all, s.turnChecks()...), s.serverChecks()...)
}

const rtspAddress = "rtsp.address"

// rtsp looks whether all ports of RTSP can be had.
func (s subject) rtsp(ctx context.Context) check.Finding {
	address := s.config.RTSP.Address
	server, err := rtsp.New(ctx, rtsp.Config{Address: address}, nil, nil)
	if e, ok := errors.AsType[*rtsp.AddressError](err); ok {
		err = e.Err
	}
	if err != nil {
		return s.taken(ctx, rtspAddress, address, err)
	}
	server.Close()
	return check.Finding{Name: rtspAddress, Cause: address + " is free, and its UDP ports, too"}
}

// files looks at what a gateway reads and writes on this machine.
func (s subject) files() []check.Finding {
	name := "defaults and environment"
	if s.path != "" {
		name = s.path
	}
	found := []check.Finding{{Name: "configuration", Cause: name}}
	if s.path != "" && s.hasSecrets() {
		found = append(found, check.Private("configuration", s.path)...)
	}
	if key := s.config.HTTP.TLS.Key; key != "" {
		found = append(found, check.Private("http.tls.key", key)...)
	}
	if s.config.Auth.PublishToken == "" {
		found = append(found, check.Private("publish token", filepath.Join(s.config.DataDir, tokenFile))...)
	}
	return append(found, check.Writable("data_dir", s.config.DataDir), check.FreeSpace("data_dir space", s.config.DataDir))
}

// hasSecrets says whether the configuration has something to hide. Where it comes
// from nobody knows: it may be the environment.
func (s subject) hasSecrets() bool {
	return s.config.Auth.PublishToken != "" || slices.ContainsFunc(s.config.Media.TURN.Servers, func(i configs.ICEServer) bool {
		return i.Secret+i.Credential != ""
	}) || slices.ContainsFunc(s.config.RTSP.Pull, func(p configs.Pull) bool {
		return strings.ContainsAny(p.URL, "@?")
	}) || slices.ContainsFunc(s.config.Storage, func(p configs.Storage) bool {
		return p.SecretKey != "" || len(p.Headers) > 0 || p.Type == "httpput" && strings.ContainsAny(p.URL, "@?")
	})
}

// auth looks at what fits together badly though each value is good.
func (s subject) auth() []check.Finding {
	var found []check.Finding
	if token := s.config.Auth.PublishToken; token != "" {
		found = append(found, check.Token("auth.publish_token", token))
	}
	if s.config.Auth.Watch == "open" {
		return append(found, check.Finding{Name: "auth.watch", Cause: "open: everybody may watch"})
	}
	watch := check.Finding{Name: "auth.watch", Cause: "token: watching needs the token"}
	if len(s.config.Storage) > 0 {
		watch.State = check.Warning
		watch.Cause += ", but not at the places of storage: whoever reaches those can watch"
		watch.Remedy = "keep the places private, or let the CDN before them check who watches"
	}
	return append(found, watch)
}

// certificate looks at the public address's TLS.
func (s subject) certificate() []check.Finding {
	if host := s.config.HTTP.TLS.ACMEHost; host != "" {
		return []check.Finding{acme(host, s.config.HTTP.Address)}
	}
	source, err := openCertificate(s.config, slog.New(slog.DiscardHandler))
	if err != nil {
		return []check.Finding{trouble("http.tls", err)}
	}
	if source == nil {
		return []check.Finding{{
			Name: "http.tls", State: check.Skipped, Cause: "no certificate is configured: HTTP is not encrypted, and browsers give no camera",
			Remedy: "set http.tls.certificate and http.tls.key, or put a proxy that ends TLS in front",
		}}
	}
	pair, _ := source.Current() // of files it is there
	return []check.Finding{check.Certificate("http.tls", pair, time.Now())}
}

// acme says what is known of a certificate by ACME without asking anybody.
func acme(host, address string) check.Finding {
	f := check.Finding{Name: "http.tls", Cause: "by ACME for " + host}
	if _, port, err := net.SplitHostPort(address); err == nil && port != "443" {
		f.State = check.Warning
		f.Cause += ": the authority asks TCP port 443 of that name, and http.address has " + port
		f.Remedy = "have the firewall forward port 443 to it as it is, or set http.address to :443"
	}
	return f
}

// trouble is the finding of an error of the configuration.
func trouble(name string, err error) check.Finding {
	f := check.Finding{Name: name, State: check.Failed, Cause: err.Error()}
	if e, ok := errors.AsType[*configs.Error](err); ok {
		f.Cause, f.Remedy = e.Cause, e.Remedy
	} else if why, ok := fault.File(err); ok {
		f.Cause, f.Remedy = why.Cause, why.Remedy
	}
	return f
}

// port looks whether a server's address can be had.
func (s subject) port(ctx context.Context, key, address string) check.Finding {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return s.taken(ctx, key, address, err)
	}
	f := check.Finding{Name: key, Cause: address + " is free"}
	if ip := listener.Addr().(*net.TCPAddr).IP; key == "admin.address" && !ip.IsLoopback() {
		f.State, f.Cause = check.Warning, address+" is not loopback: whoever reaches it sees metrics and profiles"
		f.Remedy = "set admin.address to 127.0.0.1:8081, or keep others away with a firewall"
	}
	_ = listener.Close() // nobody has used it
	return f
}

// taken says why an address cannot be had: often a gateway runs here already.
func (s subject) taken(ctx context.Context, key, address string, err error) check.Finding {
	f := trouble(key, bindError(key, address, err))
	f.Cause = address + ": " + f.Cause
	if !errors.Is(err, syscall.EADDRINUSE) {
		return f
	}
	candidates := []string{address}
	if key != "http.address" && key != "admin.address" {
		candidates = []string{s.config.HTTP.Address, s.config.Admin.Address}
	}
	for _, at := range candidates {
		who := check.Ask(ctx, at)
		switch {
		case who.Gateway && at == address:
			return check.Finding{Name: key, Cause: address + " is in use: a gateway is running here already"}
		case who.Gateway:
			return check.Finding{Name: key, Cause: address + " is in use, it seems by the gateway that is running here already"}
		case who.Server != "" && at == address:
			f.Cause += fmt.Sprintf(" (it calls itself %q)", who.Server)
		}
	}
	return f
}

// media looks at the way of media: sockets, addresses, the Internet.
func (s subject) media(ctx context.Context) []check.Finding {
	const key = "media.address"
	var lc net.ListenConfig
	address := s.config.Media.Address
	first := check.Finding{Name: key, Cause: address + " is free, UDP and TCP"}
	listener, err := lc.Listen(ctx, "tcp", address)
	if err == nil {
		defer listener.Close() //nolint:errcheck // nobody has used it
		if port := listener.Addr().(*net.TCPAddr).Port; strings.HasSuffix(address, ":0") {
			first.Cause = fmt.Sprintf("%s is any free port, such as %d", address, port)
		}
	}
	socket, free := listenUDP(ctx, address)
	if err == nil {
		err = free
	}
	if socket != nil {
		defer socket.Close() //nolint:errcheck // only asked STUN servers
	}
	if err != nil {
		first = s.taken(ctx, key, address, err)
	}
	if first.State == check.Failed && !errors.Is(err, syscall.EADDRINUSE) {
		return []check.Finding{first} // all else needs the address
	}
	found := append([]check.Finding{first}, s.advertised()...)
	got, wanted, err := rtc.ReceiveBuffer()
	found = append(found, check.Buffer("UDP buffer", got, wanted, err))
	return append(found, s.outside(ctx, socket)...)
}

// listenUDP binds a UDP address.
func listenUDP(ctx context.Context, address string) (*net.UDPConn, error) {
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// told are the addresses that browsers are told: those of a gateway that takes
// its sockets for a moment, at a port that is free.
func (s subject) told() ([]netip.Addr, error) {
	host, _, err := net.SplitHostPort(s.config.Media.Address)
	if err != nil {
		return nil, err
	}
	engine, err := rtc.New(rtc.Config{
		Address: net.JoinHostPort(host, "0"), PublicIPs: s.config.Media.PublicIPs, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	all := engine.Advertised()
	return all, engine.Close()
}

func (s subject) advertised() []check.Finding {
	all, err := s.told()
	if err != nil {
		f := trouble(mediaAddresses, err)
		if errors.Is(err, rtc.ErrPublicIPs) {
			f.Remedy = "remove the address from media.public_ips, or bind one of its family by media.address"
		}
		return []check.Finding{f}
	}
	return s.addresses(all)
}

// mediaAddresses is what findings about them are called.
const mediaAddresses = "media addresses"

func (s subject) addresses(all []netip.Addr) []check.Finding {
	names, err := check.Interfaces()
	if err != nil {
		return []check.Finding{trouble(mediaAddresses, err)}
	}
	host, _, _ := net.SplitHostPort(s.config.Media.Address) // was checked
	bound, _ := netip.ParseAddr(host)
	return []check.Finding{check.Advertised(mediaAddresses, all, check.Surroundings{
		PublicIPs: len(s.config.Media.PublicIPs) > 0, Loopback: bound.IsLoopback() || host == "localhost", Container: s.inContainer(), Interfaces: names,
	})}
}

func (s subject) inContainer() bool {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return slices.ContainsFunc(s.environ, func(pair string) bool { return strings.HasPrefix(pair, "KUBERNETES_SERVICE_HOST=") })
}

// outside asks STUN servers, from the media socket if it could be had.
func (s subject) outside(ctx context.Context, socket *net.UDPConn) []check.Finding {
	const name = "media from outside"
	about := check.Socket{Media: socket != nil, PublicIPs: len(s.config.Media.PublicIPs) > 0}
	if len(s.servers) == 0 {
		return check.Reach(name, about, nil)
	}
	if socket == nil {
		var err error
		if socket, err = listenUDP(ctx, ":0"); err != nil {
			return []check.Finding{trouble(name, err)}
		}
		defer socket.Close() //nolint:errcheck // only asked STUN servers
	}
	var err error
	if about.Advertised, err = s.told(); err != nil {
		return nil // media addresses says why
	}
	about.Port = socket.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	return check.Reach(name, about, check.AskSTUN(ctx, socket, s.servers))
}

// places opens the places of storage, without what a start would clear there, and
// returns their checks. Close them.
func (s subject) places(ctx context.Context) (places, []check.Check) {
	if len(s.config.Storage) == 0 {
		return nil, []check.Check{{Name: "storage", Run: func(context.Context) []check.Finding {
			return []check.Finding{{Name: "storage", State: check.Skipped, Cause: "no place is configured: streams are in memory only"}}
		}}}
	}
	var (
		all    places
		checks []check.Check
	)
	for i, entry := range s.config.Storage {
		p := newPlace(i, entry)
		sink, err := openSink(ctx, entry, s.config.HLS, &p)
		look := func(context.Context) []check.Finding {
			f := trouble(p.name, err)
			if f.Remedy == "" {
				f.Remedy = fmt.Sprintf("correct entry %d of storage", i+1)
			}
			return []check.Finding{f}
		}
		if err == nil {
			p.probe = probeOf(p.name, entry, sink)
			all = append(all, p)
			look = p.probe.Check
		}
		checks = append(checks, check.Check{Name: p.name, Timeout: placeTime, Run: look})
	}
	return all, checks
}
