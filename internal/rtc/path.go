package rtc

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pion/webrtc/v4"
)

// socket is one of the Engine's UDP sockets. It has several handles, since each
// lets one goroutine write at a time.
type socket struct {
	conns []*net.UDPConn // the Engine's own, then those that close closes
	plain atomic.Bool    // the kernel or the device takes no trains
}

// newSocket returns a socket with handles for each core, or with one where there
// cannot be more.
func newSocket(conn *net.UDPConn) *socket {
	s := &socket{conns: []*net.UDPConn{conn}}
	for range min(runtime.GOMAXPROCS(0), maxHandles) - 1 {
		more, err := duplicate(conn)
		if err != nil {
			break
		}
		s.conns = append(s.conns, more)
	}
	return s
}

func duplicate(conn *net.UDPConn) (*net.UDPConn, error) {
	file, err := conn.File()
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it is copied again
	more, err := net.FilePacketConn(file)
	if err != nil {
		return nil, err
	}
	return more.(*net.UDPConn), nil
}

func (s *socket) close() error {
	var err error
	for _, conn := range s.conns[1:] {
		err = errors.Join(err, conn.Close())
	}
	return err
}

// maxHandles is how many a socket has at most. Each is told of what comes in, too,
// though none but the first reads.
const maxHandles = 4

// refusals is what an error of sendTrain means for the trains to come.
type refusals int

const (
	noRefusal       refusals = iota
	refusedByDevice          // the kernel, or the device, sends none
	refusedOnPath            // none goes this way
)

// send sends a train by one of the socket's handles. Where a train is refused, it
// goes packet by packet, as those after it.
func (p *path) send(s segments, lane int) error {
	conn := p.socket.conns[lane%len(p.socket.conns)]
	if len(s.all) > s.size && !p.plain.Load() && !p.socket.plain.Load() {
		err := sendTrain(conn, s, p.to)
		switch refusal(err) {
		case noRefusal:
			return err
		case refusedByDevice:
			p.socket.plain.Store(true)
		case refusedOnPath:
			p.plain.Store(true)
		}
	}
	for rest := s.all; len(rest) > 0; {
		n := min(s.size, len(rest))
		if _, err := conn.WriteToUDPAddrPort(rest[:n], p.to); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// segments is a train: packets of one size, of which the last may be shorter.
type segments struct {
	all     []byte
	size    int                 // of each but the last one
	control *[segmentSpace]byte // scratch
}

// follow keeps the Session's route right: the selected pair changes as the other
// side moves from network to network, and by ICE restarts (RFC 8445 §8).
func (x *Session) follow() {
	ice := x.senders[0].Transport().ICETransport()
	x.routing.Lock()
	x.ice = ice
	x.routing.Unlock()
	ice.OnSelectedCandidatePairChange(func(*webrtc.ICECandidatePair) { x.moved() })
	x.pc.OnICEConnectionStateChange(func(webrtc.ICEConnectionState) { x.moved() })
}

// looking is the goroutine of a Session that looks at the selected pair: there is one
// only while there may be news.
type looking struct {
	mu    sync.Mutex
	again bool // below mu: there may be news
	going bool // below mu: it runs
	over  bool // below mu: there will be none any more
}

// moved says that the selected pair may be another one. Pion's callbacks call it: they
// must not ask Pion anything, which may hold the lock that the answer needs while it
// waits for their end.
func (x *Session) moved() {
	x.looking.mu.Lock()
	defer x.looking.mu.Unlock()
	x.looking.again = true
	if x.looking.going || x.looking.over || x.opening.Direction != Send {
		return
	}
	x.looking.going = true
	x.Go(func() {
		for x.looking.next() {
			x.reroute()
		}
	})
}

// next reports whether there is something to look at; else the goroutine ends.
func (l *looking) next() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.going = l.again && !l.over
	l.again = false
	return l.going
}

// stop starts no goroutine any more.
func (l *looking) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
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

// Settle gives back what only a connection needs that may still come by TCP, where it
// has come by UDP: a goroutine that reads, one that waits, and a buffer. Call it some
// seconds after Connected (RFC 8445 §8.3.1). An ICE restart offers TCP again. Without
// one Pion changes to better pairs only, and none by TCP is better than one by UDP that
// is not relayed.
func (x *Session) Settle() {
	e := x.registry.engine
	if e.tcp == nil {
		return
	}
	ice := x.pc.SCTP().Transport().ICETransport()
	// In this order: if there is a restart between, there is no pair yet.
	own, err := ice.GetLocalParameters()
	if err != nil {
		return
	}
	pair, err := ice.GetSelectedCandidatePair()
	if err != nil || pair == nil || pair.Local.Protocol != webrtc.ICEProtocolUDP || pair.Remote.Typ == webrtc.ICECandidateTypeRelay {
		return
	}
	e.tcp.RemoveConnByUfrag(own.UsernameFragment)
}

// path returns the way from a local candidate's address, as it is advertised, to
// a remote one; nil if it is none of ours.
func (e *Engine) path(local, remote string, port uint16) *path {
	from, err1 := netip.ParseAddr(local)
	to, err2 := netip.ParseAddr(remote)
	if err1 != nil || err2 != nil {
		return nil
	}
	i := slices.IndexFunc(e.bindings, func(b binding) bool {
		return b.local.Unmap() == from.Unmap() || slices.Contains(b.advertise, from.Unmap())
	})
	if i < 0 {
		return nil
	}
	return &path{socket: e.sockets[i], to: netip.AddrPortFrom(to.Unmap(), port)}
}
