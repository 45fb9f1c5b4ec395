package outbound

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// ErrForbidden says that a server is at an address that requests must not go to.
var ErrForbidden = errors.New("address is not allowed")

// Guard is the ControlContext of a net.Dialer: it is asked with each address just
// before that is dialled.
type Guard func(ctx context.Context, network, address string, _ syscall.RawConn) error

// Strict is the Guard for servers that no operator chose: the public Internet only,
// and ports that web servers have.
func Strict(_ context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return ErrForbidden
	case !Public(at.Addr()):
		return fmt.Errorf("%w: %s is not on the public Internet", ErrForbidden, at.Addr())
	case at.Port() != 443 && at.Port() != 80 && at.Port() < 1024:
		return fmt.Errorf("%w: port %d is no web server's", ErrForbidden, at.Port())
	}
	return nil
}

// Chosen returns the Guard for the server that an operator named by host, a name or
// an IP address. Private networks and this machine are fine. A name must not lead to
// link-local or multicast addresses: nobody has such a service under a name, but who
// can change the name could reach what listens there for this machine alone. An
// address that was written down is meant, except those where clouds keep the
// machine's credentials: nobody sends events there.
func Chosen(host string) Guard {
	named, err := netip.ParseAddr(host)
	named = plain(named)
	literal := err == nil
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return ErrForbidden
		}
		ip := plain(at.Addr())
		switch {
		case Metadata(ip):
			return fmt.Errorf("%w: %s is a metadata service", ErrForbidden, ip)
		case literal && ip == named:
			return nil
		case ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return fmt.Errorf("%w: %s is link-local or no server's; if it is meant, write it in place of the name", ErrForbidden, ip)
		}
		return nil
	}
}

// Metadata reports whether a cloud's metadata service has the address.
func Metadata(ip netip.Addr) bool {
	return slices.Contains([]netip.Addr{
		netip.MustParseAddr("169.254.169.254"), // nearly all
		netip.MustParseAddr("169.254.170.2"),   // AWS, of containers
		netip.MustParseAddr("169.254.170.23"),  // AWS, of pods
		netip.MustParseAddr("fd00:ec2::254"),
		netip.MustParseAddr("fd00:ec2::23"),
		netip.MustParseAddr("fd20:ce::254"),    // Google
		netip.MustParseAddr("100.100.100.200"), // Alibaba
		netip.MustParseAddr("192.0.0.192"),     // Oracle
		netip.MustParseAddr("168.63.129.16"),   // Azure
	}, plain(ip).WithZone(""))
}

// plain returns an address in its shortest form: IPv4 as such, also when it is
// written as IPv6 or goes through NAT64.
func plain(ip netip.Addr) netip.Addr {
	ip = ip.Unmap()
	if netip.MustParsePrefix("64:ff9b::/96").Contains(ip) {
		raw := ip.As16()
		return netip.AddrFrom4([4]byte(raw[12:]))
	}
	return ip
}

// special are networks that are not the public Internet, besides those that netip
// knows (specs X29).
func special() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("100.64.0.0/10"),   // carrier-grade NAT
		netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
		netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
		netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
		netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast
		netip.MustParsePrefix("64:ff9b::/96"),    // NAT64: IPv4 in another form
		netip.MustParsePrefix("64:ff9b:1::/48"),  // the same, local
		netip.MustParsePrefix("2001::/32"),       // Teredo
		netip.MustParsePrefix("2002::/16"),       // 6to4
		netip.MustParsePrefix("fec0::/10"),       // site-local
		netip.MustParsePrefix("::/96"),           // IPv4-compatible
		netip.MustParsePrefix("::ffff:0:0:0/96"), // IPv4-translated
	}
}

// Public reports whether an address is one of the public Internet (specs X29).
func Public(ip netip.Addr) bool {
	if !ip.IsValid() || ip.Zone() != "" {
		return false
	}
	ip = ip.Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || Metadata(ip) {
		return false
	}
	return !slices.ContainsFunc(special(), func(network netip.Prefix) bool { return network.Contains(ip) })
}
