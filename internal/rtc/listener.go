package rtc

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// limitedListener refuses TCP connections beyond tcpMax in all and tcpMaxPer of
// one address (specs X17).
type limitedListener struct {
	net.Listener

	mu    sync.Mutex
	total int                // below mu
	from  map[netip.Addr]int // below mu
}

func newLimitedListener(l net.Listener) *limitedListener {
	return &limitedListener{Listener: l, from: make(map[netip.Addr]int)}
}

// acceptPause is how long to wait when no connection can be accepted now.
const acceptPause = 50 * time.Millisecond

// Accept waits for the next connection that is within the limits and closes
// the others. It fails only when the listener is closed: Pion never calls it
// again after an error, and running out of file descriptors passes.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		addr := addressOf(conn.RemoteAddr().String())
		if l.take(addr) {
			return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { l.give(addr) })}, nil
		}
		_ = conn.Close()
	}
}

func (l *limitedListener) take(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= tcpMax || l.from[a] >= tcpMaxPer {
		return false
	}
	l.total++
	l.from[a]++
	return true
}

func (l *limitedListener) give(a netip.Addr) {
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

// addressOf returns the address of host:port; the /64 network of an IPv6 one,
// since one user has as many of those addresses as he likes.
func addressOf(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			a = p.Addr()
		}
	}
	return a
}
