package check

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Surroundings are what Advertised looks at besides the addresses.
type Surroundings struct {
	PublicIPs  bool                  // the addresses are media.public_ips
	Loopback   bool                  // media.address is one of loopback: that is on purpose
	Container  bool                  // this process runs in a container
	Interfaces map[netip.Addr]string // names of those that have the addresses
}

// Advertised says whether browsers can reach the addresses that they are told.
func Advertised(name string, told []netip.Addr, s Surroundings) Finding {
	f := Finding{Name: name, Cause: "browsers are told " + list(told)}
	if s.PublicIPs {
		f.Cause += " (media.public_ips)"
	}
	const remedy = "set media.public_ips to the address that publishers and viewers reach this machine by"
	inner := slices.DeleteFunc(slices.Clone(told), func(a netip.Addr) bool { return !virtual(s.Interfaces[a]) })
	switch {
	case len(told) == 0:
		return Finding{name, Failed, "there is no address that browsers could be told", remedy}
	case all(told, netip.Addr.IsLoopback) && s.Loopback:
		f.Cause += ", for this machine itself only, as media.address is"
	case all(told, netip.Addr.IsLoopback):
		f.State, f.Remedy = Warning, remedy
		f.Cause += ": only this machine itself reaches that"
	case s.Container && !s.PublicIPs && all(told, private):
		f.State, f.Remedy = Warning, remedy
		f.Cause += ": this is a container, nobody outside of its host reaches that"
	case len(inner) > 0 && !s.PublicIPs:
		f.State, f.Remedy = Warning, remedy
		f.Cause += fmt.Sprintf(": %s is of %s, which only containers of this machine reach; connecting takes longer for it", list(inner), s.Interfaces[inner[0]])
	case all(told, private):
		f.Cause += ", for private networks only"
	}
	return f
}

func all(list []netip.Addr, is func(netip.Addr) bool) bool {
	return !slices.ContainsFunc(list, func(a netip.Addr) bool { return !is(a) })
}

func private(a netip.Addr) bool { return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() }

// virtual says whether an interface belongs to containers or virtual machines.
func virtual(name string) bool {
	return slices.ContainsFunc([]string{"docker", "br-", "veth", "cni", "podman", "virbr", "lxc", "flannel", "cali"}, func(p string) bool {
		return strings.HasPrefix(name, p)
	})
}

// Interfaces returns the names of the interfaces that have an address.
func Interfaces() (map[netip.Addr]string, error) {
	names := map[netip.Addr]string{}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it went away
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				names[p.Addr().Unmap()] = i.Name
			}
		}
	}
	return names, nil
}

// Neighbour is who listens at a TCP address of this machine.
type Neighbour struct {
	Gateway bool   // Whipcast
	Server  string // what it calls itself; "": it does not say, or is no HTTP server
}

// GatewayServer is what a gateway calls itself in the field Server of /healthz.
const GatewayServer = "whipcast"

// Ask asks who listens at host:port, in HTTPS and in HTTP. An empty host and an
// unspecified address are asked over loopback.
func Ask(ctx context.Context, address string) Neighbour {
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // who is it: nothing is told
		DisableKeepAlives: true, TLSHandshakeTimeout: time.Second, ResponseHeaderTimeout: time.Second,
		DialContext: (&net.Dialer{Timeout: time.Second}).DialContext,
	}
	defer transport.CloseIdleConnections()
	var n Neighbour
	for _, scheme := range []string{"http://", "https://"} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+near(address)+"/healthz", http.NoBody)
		if err != nil {
			return n
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 4<<10))
		_ = answer.Body.Close() // only read
		n.Server = printable(answer.Header.Get("Server"))
		if n.Gateway = n.Server == GatewayServer; n.Gateway || n.Server != "" {
			return n
		}
	}
	return n
}

// near returns an address that can be dialled.
func near(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
