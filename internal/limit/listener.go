package limit

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Listener refuses TCP connections beyond most in all and mostPer of one address
// (specs X17).
type Listener struct {
	net.Listener

	most, mostPer int
	refused       atomic.Uint64

	mu    sync.Mutex
	total int                // below mu
	from  map[netip.Addr]int // below mu
}

// NewListener limits l.
func NewListener(l net.Listener, most, mostPer int) *Listener {
	return &Listener{Listener: l, most: most, mostPer: mostPer, from: make(map[netip.Addr]int)}
}

// acceptPause is how long to wait when no connection can be accepted now.
const acceptPause = 50 * time.Millisecond

// Accept waits for the next connection that is within the limits and closes
// the others. It fails only when the listener is closed: servers do not call it
// again after an error, and running out of file descriptors passes.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		addr := Address(conn.RemoteAddr().String())
		if l.take(addr) {
			return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { l.give(addr) })}, nil
		}
		l.refused.Add(1)
		_ = conn.Close()
	}
}

// Refused returns how many connections were closed at once.
func (l *Listener) Refused() uint64 { return l.refused.Load() }

func (l *Listener) take(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.most || l.from[a] >= l.mostPer {
		return false
	}
	l.total++
	l.from[a]++
	return true
}

func (l *Listener) give(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.from[a]--; l.from[a] == 0 {
		delete(l.from, a)
	}
}

type limitedConn struct {
	net.Conn

	release func()
}

func (c *limitedConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// Address returns the address of host:port; the /64 network of an IPv6 one,
// since one user has as many of those addresses as he likes.
func Address(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.Is6() && !a.IsLoopback() {
		if p, err := a.Prefix(64); err == nil {
			a = p.Addr()
		}
	}
	return a
}
