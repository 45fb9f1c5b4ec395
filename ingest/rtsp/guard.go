package rtsp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// ErrForbidden says that a source is at an address that none may be at.
var ErrForbidden = errors.New("address is not allowed for a source")

// forbidden are networks besides those that netip knows by name (specs X29).
func forbidden() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("100.64.0.0/10"),     // carrier-grade NAT
		netip.MustParsePrefix("192.0.0.0/24"),      // protocol assignments
		netip.MustParsePrefix("192.88.99.0/24"),    // 6to4 relays
		netip.MustParsePrefix("198.18.0.0/15"),     // benchmarks
		netip.MustParsePrefix("240.0.0.0/4"),       // reserved, broadcast
		netip.MustParsePrefix("64:ff9b::/96"),      // NAT64: IPv4 in another form
		netip.MustParsePrefix("64:ff9b:1::/48"),    // the same, local
		netip.MustParsePrefix("2001::/32"),         // Teredo
		netip.MustParsePrefix("2002::/16"),         // 6to4
		netip.MustParsePrefix("fec0::/10"),         // site-local
		netip.MustParsePrefix("::/96"),             // IPv4-compatible
		netip.MustParsePrefix("::ffff:0:0:0/96"),   // IPv4-translated
		netip.MustParsePrefix("169.254.0.0/16"),    // also metadata of clouds
		netip.MustParsePrefix("fd00:ec2::254/128"), // the same of one of them
	}
}

// Public reports whether a source that no operator chose may be at an address: it
// is one of the public Internet (specs X29).
func Public(ip netip.Addr) bool {
	ip = ip.Unmap()
	if !ip.IsValid() || ip.Zone() != "" || !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() ||
		ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return false
	}
	for _, network := range forbidden() {
		if network.Contains(ip) {
			return false
		}
	}
	return true
}

// publicPort reports whether a port may be RTSP's: one of its own, or one that is
// nobody else's.
func publicPort(port uint16) bool { return port == 554 || port == 322 || port > 1023 }

// guard is the Control of a net.Dialer that lets public addresses only pass. It is
// asked with the address that is really dialled: no name can change meanwhile.
func guard(_ context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !Public(at.Addr()) || !publicPort(at.Port()) {
		return ErrForbidden
	}
	return nil
}

// dialer returns how a source's server is dialled. Where it redirects to another
// server, nothing is: the credentials are for this one.
func (s *Source) dialer(at string) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	if !s.Trusted {
		d.ControlContext = guard
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != at {
			return nil, fmt.Errorf("%w: the server redirects to another one", ErrForbidden)
		}
		return d.DialContext(ctx, network, address)
	}
}
