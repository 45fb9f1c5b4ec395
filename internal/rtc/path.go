package rtc

import (
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/pion/webrtc/v4"
)

// socket is one of the Engine's UDP sockets.
type socket struct {
	conn  *net.UDPConn
	plain atomic.Bool // the kernel or the device takes no trains
}

// refusals is what an error of sendTrain means for the trains to come.
type refusals int

const (
	noRefusal       refusals = iota
	refusedByDevice          // the kernel, or the device, sends none
	refusedOnPath            // none goes this way
)

// send sends a train: packets of size bytes, of which the last may be shorter.
// Where one is refused, it goes packet by packet, as those after it. control is
// scratch.
func (p *path) send(train []byte, size int, control *[segmentSpace]byte) error {
	if len(train) > size && !p.plain.Load() && !p.socket.plain.Load() {
		err := sendTrain(p.socket.conn, segments{train, size, control}, p.to)
		switch refusal(err) {
		case noRefusal:
			return err
		case refusedByDevice:
			p.socket.plain.Store(true)
		case refusedOnPath:
			p.plain.Store(true)
		}
	}
	for len(train) > 0 {
		n := min(size, len(train))
		if _, err := p.socket.conn.WriteToUDPAddrPort(train[:n], p.to); err != nil {
			return err
		}
		train = train[n:]
	}
	return nil
}

// segments is what sendTrain sends.
type segments struct {
	all     []byte
	size    int                 // of each but the last one
	control *[segmentSpace]byte // scratch
}

// way returns how packets go out without Pion; nil when they do not.
func (x *Session) way() (*path, *seal) {
	r := x.route.Load()
	if r == nil {
		return nil, nil
	}
	return r.path, r.seal
}

// follow keeps the Session's route right: the selected pair changes as the other
// side moves from network to network, and by ICE restarts (RFC 8445 §8).
func (x *Session) follow() {
	ice := x.senders[0].Transport().ICETransport()
	x.routing.Lock()
	x.ice = ice
	x.routing.Unlock()
	ice.OnSelectedCandidatePairChange(func(*webrtc.ICECandidatePair) { x.reroute() })
	x.pc.OnICEConnectionStateChange(func(webrtc.ICEConnectionState) { x.reroute() })
}

// reroute looks where packets go now. Without a pair of our own UDP sockets, or
// with keys that we do not have, Pion sends them.
func (x *Session) reroute() {
	x.routing.Lock()
	defer x.routing.Unlock()
	p := x.selected()
	if p == nil || !x.agreed() {
		x.route.Store(nil)
		return
	}
	if old := x.route.Load(); old != nil && old.path.socket == p.socket && old.path.to == p.to {
		return
	}
	x.route.Store(&route{p, x.seal})
}

// agreed reports whether we have the keys. x.routing is held.
func (x *Session) agreed() bool {
	if x.unsealed || x.seal != nil {
		return !x.unsealed
	}
	select {
	case <-x.connected:
	default:
		return false // the handshake goes on
	}
	seal, err := x.secrets.seal()
	if err != nil {
		x.log.Debug("Pion sends the packets", "reason", err)
	}
	x.seal, x.unsealed = seal, err != nil
	return !x.unsealed
}

// unroute leaves all sending to Pion, for good.
func (x *Session) unroute() {
	x.routing.Lock()
	defer x.routing.Unlock()
	x.unsealed = true
	x.route.Store(nil)
}

// selected returns the selected pair as a path; nil when there is none that we
// can use. x.routing is held.
func (x *Session) selected() *path {
	if x.ice == nil {
		return nil
	}
	switch x.ice.State() {
	case webrtc.ICETransportStateConnected, webrtc.ICETransportStateCompleted, webrtc.ICETransportStateDisconnected:
	default:
		return nil
	}
	pair, err := x.ice.GetSelectedCandidatePair()
	if err != nil || pair == nil || pair.Local.Protocol != webrtc.ICEProtocolUDP {
		return nil
	}
	return x.registry.engine.path(pair.Local.Address, pair.Remote.Address, pair.Remote.Port)
}

// path returns the way from a local candidate's address, as it is advertised, to
// a remote one; nil if it is none of ours.
func (e *Engine) path(local, remote string, port uint16) *path {
	from, err1 := netip.ParseAddr(local)
	to, err2 := netip.ParseAddr(remote)
	s, ok := e.sockets[from.Unmap()]
	if err1 != nil || err2 != nil || !ok {
		return nil
	}
	return &path{socket: s, to: netip.AddrPortFrom(to.Unmap(), port)}
}

// addresses maps each address that a binding is known by to its socket.
func addresses(bindings []binding, conns []*net.UDPConn) map[netip.Addr]*socket {
	all := make(map[netip.Addr]*socket)
	for i, b := range bindings {
		s := &socket{conn: conns[i]}
		all[b.local.Unmap()] = s
		for _, a := range b.advertise {
			all[a.Unmap()] = s
		}
	}
	return all
}
