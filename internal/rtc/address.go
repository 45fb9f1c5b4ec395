package rtc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// binding is a local address with a socket, and what it is advertised as.
type binding struct {
	local     netip.Addr
	advertise []netip.Addr
}

// plan decides which local addresses get a socket. It is pure: local are the
// machine's addresses, source tells from which of them packets to an address
// leave. bind is the configured address, not valid for all families.
func plan(bind netip.Addr, local, public []netip.Addr, source func(netip.Addr) netip.Addr) ([]binding, error) {
	usable := reachable(bind, local)
	if len(usable) == 0 {
		return nil, fmt.Errorf("no local address fits media.address %s", bind)
	}
	var plans []binding
	if len(public) == 0 {
		for _, a := range usable {
			plans = append(plans, binding{a, []netip.Addr{a}})
		}
		return plans, nil
	}
	for _, p := range public {
		p = p.Unmap()
		at := p
		if !slices.Contains(usable, at) {
			at = source(p).Unmap()
		}
		if !slices.Contains(usable, at) {
			i := slices.IndexFunc(usable, func(a netip.Addr) bool { return a.Is4() == p.Is4() })
			if i < 0 {
				return nil, fmt.Errorf("%s %w: no local address of that family is bound", p, ErrPublicIPs)
			}
			at = usable[i]
		}
		if i := slices.IndexFunc(plans, func(b binding) bool { return b.local == at }); i >= 0 {
			plans[i].advertise = append(plans[i].advertise, p)
		} else {
			plans = append(plans, binding{at, []netip.Addr{p}})
		}
	}
	return plans, nil
}

// reachable returns the local addresses that can be bound: the configured one,
// or all of its family that are neither loopback nor link-local; loopback ones
// if there is nothing else.
func reachable(bind netip.Addr, local []netip.Addr) []netip.Addr {
	if bind.IsValid() && !bind.IsUnspecified() {
		return []netip.Addr{bind.Unmap()}
	}
	family := func(a netip.Addr) bool { return !bind.Is4() || a.Is4() }
	var far, near []netip.Addr
	for _, a := range local {
		a = a.Unmap()
		switch {
		case !family(a) || slices.Contains(far, a) || slices.Contains(near, a):
		case a.IsLoopback():
			near = append(near, a)
		case a.IsGlobalUnicast():
			far = append(far, a)
		}
	}
	if len(far) == 0 {
		return near
	}
	return far
}

// localAddresses returns the addresses of the machine's interfaces.
func localAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list local addresses: %w", err)
	}
	var found []netip.Addr
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			found = append(found, prefix.Addr().Unmap())
		}
	}
	return found, nil
}

// bindable leaves out the addresses that cannot be bound now: an interface has
// its IPv6 addresses before the network said that they are free (RFC 4862 §5.4).
func bindable(local []netip.Addr, log *slog.Logger) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(local), func(a netip.Addr) bool {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
		if err == nil {
			_ = conn.Close() // never used
		}
		unusable := errors.Is(err, syscall.EADDRNOTAVAIL)
		if unusable {
			log.Warn("address is not usable yet and left out until the next start", "address", a)
		}
		return unusable
	})
}

// sourceOf returns the local address from which packets to an address leave.
// Nothing is sent.
func sourceOf(to netip.Addr) netip.Addr {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = conn.Close() }() // never used
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
}

// remoteFilter decides which addresses that the other side names are checked
// (specs X13): public ones, and where we advertise private or loopback addresses
// ourselves also such.
func remoteFilter(plans []binding) func(netip.Addr) bool {
	private, loopback := false, false
	for _, b := range plans {
		for _, a := range b.advertise {
			private = private || inside(a) || a.IsLoopback()
			loopback = loopback || a.IsLoopback()
		}
	}
	return func(a netip.Addr) bool {
		a = a.Unmap()
		return inhabited(a) && (loopback || !a.IsLoopback()) && (private || !inside(a))
	}
}

// sourceFilter decides from which addresses connectivity checks are answered.
// Those carry the session's credentials, and their sender really is there: a
// private one may be a container's proxy or a router that stands for everybody.
func sourceFilter(plans []binding) func(netip.Addr) bool {
	loopback := slices.ContainsFunc(plans, func(b binding) bool { return b.local.IsLoopback() })
	return func(a netip.Addr) bool {
		a = a.Unmap()
		return inhabited(a) && (loopback || !a.IsLoopback())
	}
}

// inhabited reports whether one host can have this address. 169.254.0.0/16 holds
// cloud metadata services.
func inhabited(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// inside reports whether an address is of a private network: RFC 1918, RFC
// 4193, RFC 6598, and the documentation networks, which only test networks use.
func inside(a netip.Addr) bool {
	if a.IsPrivate() {
		return true
	}
	for _, p := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "2001:db8::/32"} {
		if netip.MustParsePrefix(p).Contains(a) {
			return true
		}
	}
	return false
}
