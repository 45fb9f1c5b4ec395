package turn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pion/turn/v5"
)

var (
	errFull     = errors.New("no relay is free")
	errRefused  = errors.New("only UDP is relayed, at any port")
	errStranger = errors.New("not one of our own media addresses")
)

// peers is the table of where relays lead: immutable.
type peers struct {
	all     []peer
	byOuter map[netip.AddrPort]place // what clients call our sockets
	byLocal map[netip.AddrPort]int   // the sockets, by their index in all
}

type peer struct {
	local netip.AddrPort
	outer []*net.UDPAddr // as clients know it
}

// place is one name of one socket.
type place struct{ peer, name int }

func tableOf(list []Peer) peers {
	t := peers{byOuter: map[netip.AddrPort]place{}, byLocal: map[netip.AddrPort]int{}}
	for i, p := range list {
		local := netip.AddrPortFrom(p.Local.Addr().Unmap(), p.Local.Port())
		t.byLocal[local] = i
		one := peer{local: local}
		for n, a := range p.Advertised {
			outer := netip.AddrPortFrom(a.Unmap(), local.Port())
			t.byOuter[outer] = place{i, n}
			one.outer = append(one.outer, net.UDPAddrFromAddrPort(outer))
		}
		t.all = append(t.all, one)
	}
	return t
}

// locals returns the local addresses, of a family if like is of IPv4.
func (t peers) locals(like netip.Addr) []string {
	var all []string
	for _, p := range t.all {
		a := p.local.Addr()
		if text := a.String(); (!like.Is4() || a.Is4()) && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}

// of returns the first socket of a family: "udp4" or "udp6".
func (t peers) of(network string) (peer, bool) {
	i := slices.IndexFunc(t.all, func(p peer) bool { return p.local.Addr().Is4() == (network == "udp4") && len(p.outer) > 0 })
	if i < 0 {
		return peer{}, false
	}
	return t.all[i], true
}

// permit says whether a client may have a permission for an address.
func (s *Server) permit(_ net.Addr, ip net.IP) bool {
	a, ok := netip.AddrFromSlice(ip)
	for _, p := range s.peers.all {
		if ok && slices.ContainsFunc(p.outer, func(o *net.UDPAddr) bool { return o.AddrPort().Addr().Unmap() == a.Unmap() }) {
			return true
		}
	}
	s.metrics.Strangers.Add(1)
	return false
}

// quota says whether somebody may have one more relay, so that it hears the right
// error. What counts is take.
func (s *Server) quota(identity, _ string, _ net.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fits(identified(identity)) {
		return true
	}
	s.metrics.Quota.Add(1)
	return false
}

// fits is for the holder of mu.
func (s *Server) fits(user string, from netip.Addr) bool {
	return !s.closed && len(s.relays) < s.cfg.MaxRelays && s.users[user] < s.cfg.MaxPerUser &&
		(s.addresses[from] < s.cfg.MaxPerAddress || from.IsLoopback()) // a proxy on this machine is many
}

// generator makes the relays of a Server.
type generator struct{ server *Server }

// Validate implements turn.RelayAddressGenerator.
func (g generator) Validate() error { return nil }

// AllocatePacketConn makes a relay. What the client hears as its address is that of
// the media, where nobody listens at the relay's port: only we send to it.
func (g generator) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	if c.RequestedPort != 0 || c.UserID == "" { // pairs of ports, which nobody needs
		return nil, nil, errRefused
	}
	near, ok := g.server.peers.of(c.Network)
	if !ok {
		return nil, nil, fmt.Errorf("relay by %s: %w", c.Network, errStranger)
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(near.local.Addr(), 0)))
	if err != nil {
		return nil, nil, fmt.Errorf("open relay: %w", err)
	}
	user, from := identified(c.UserID)
	r := &relay{
		UDPConn: conn, server: g.server, user: user, from: from, names: make([]atomic.Int32, len(g.server.peers.all)),
		at: netip.AddrPortFrom(near.local.Addr(), conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()),
	}
	if err := g.server.take(r); err != nil {
		_ = conn.Close() // never used
		return nil, nil, err
	}
	return r, &net.UDPAddr{IP: near.outer[0].IP, Port: int(r.at.Port())}, nil
}

// AllocateListener refuses relays of TCP (RFC 6062): media goes by UDP.
func (g generator) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errRefused
}

// AllocateConn refuses them, too.
func (g generator) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errRefused }

func (s *Server) take(r *relay) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.fits(r.user, r.from) {
		s.metrics.Quota.Add(1)
		return errFull
	}
	s.relays[r.at] = true
	s.users[r.user]++
	s.addresses[r.from]++
	s.all.Add(1)
	s.metrics.Relays.Add(1)
	s.metrics.Opened.Add(1)
	return nil
}

func (s *Server) give(r *relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.relays, r.at)
	if s.users[r.user]--; s.users[r.user] <= 0 {
		delete(s.users, r.user)
	}
	if s.addresses[r.from]--; s.addresses[r.from] <= 0 {
		delete(s.addresses, r.from)
	}
	s.metrics.Relays.Add(-1)
	s.all.Done()
}

// relay is the socket of one allocation. It leads to our own media sockets only.
type relay struct {
	*net.UDPConn

	server *Server
	user   string
	from   netip.Addr // of the client
	at     netip.AddrPort
	// names says for each peer by which of its names the client wrote last: what comes
	// back has that one.
	names []atomic.Int32
	once  sync.Once
}

// WriteTo sends to the media socket that the address is of, and to nobody else.
func (r *relay) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, errStranger
	}
	outer := udp.AddrPort()
	at, ok := r.server.peers.byOuter[netip.AddrPortFrom(outer.Addr().Unmap(), outer.Port())]
	if !ok {
		r.server.metrics.Strangers.Add(1)
		return 0, errStranger
	}
	r.names[at.peer].Store(int32(at.name)) //nolint:gosec // a few
	n, err := r.WriteToUDPAddrPort(b, r.server.peers.all[at.peer].local)
	r.server.metrics.In.Add(uint64(max(n, 0)))
	return n, err
}

// ReadFrom returns what comes from our media sockets and drops all else.
func (r *relay) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := r.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, nil, err
		}
		i, ours := r.server.peers.byLocal[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
		if !ours {
			r.server.metrics.Strangers.Add(1)
			continue
		}
		r.server.metrics.Out.Add(uint64(n)) //nolint:gosec // a length
		return n, r.server.peers.all[i].outer[r.names[i].Load()], nil
	}
}

// Close closes the relay and gives its place back.
func (r *relay) Close() error {
	err := net.ErrClosed
	r.once.Do(func() {
		err = r.UDPConn.Close()
		r.server.give(r)
	})
	return err
}
