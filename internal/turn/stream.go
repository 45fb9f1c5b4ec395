package turn

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// How long a TCP connection may be silent.
const (
	greeting = 10 * time.Second // in all, until it has a relay
	silence  = 11 * time.Minute // a relay is refreshed every ten
	writing  = 10 * time.Second // for one message to who does not read
)

// listener gives connections that are read a whole message at a time, and closes
// those that there are with itself.
type listener struct {
	net.Listener

	all sync.WaitGroup // one for each connection

	mu     sync.Mutex
	conns  map[string]*conn // below mu: by the remote address
	closed bool             // below mu
}

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, conns: map[string]*conn{}}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: inner, listener: l, reader: bufio.NewReaderSize(inner, 4<<10), until: time.Now().Add(greeting)}
		l.mu.Lock()
		if !l.closed {
			l.all.Add(1)
			l.conns[inner.RemoteAddr().String()] = c
			l.mu.Unlock()
			return c, nil
		}
		l.mu.Unlock()
		_ = inner.Close() // nothing was said
	}
}

// Close closes the listener and its connections.
func (l *listener) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	l.closed = true
	var all []*conn
	for _, c := range l.conns {
		all = append(all, c)
	}
	l.mu.Unlock()
	for _, c := range all {
		_ = c.Close() // it ends
	}
	return err
}

// wait returns when all connections are closed. Close comes first.
func (l *listener) wait() { l.all.Wait() }

// keep lets a connection live for as long as it is used: it has a relay.
func (l *listener) keep(remote string) {
	l.mu.Lock()
	c := l.conns[remote]
	l.mu.Unlock()
	if c != nil {
		c.mu.Lock()
		c.until = time.Time{}
		c.mu.Unlock()
	}
}

// allocated is told of each new relay.
func (s *Server) allocated(from, _ net.Addr, _, _, _ string, _ net.Addr, _ int) { //nolint:revive // Pion's signature
	for _, l := range s.tcp {
		l.keep(from.String())
	}
}

// authenticated is told how a request was signed.
func (s *Server) authenticated(_, _ net.Addr, _, _, _, _ string, genuine bool) { //nolint:revive // Pion's signature
	if !genuine {
		s.metrics.Credentials.Add(1)
	}
}

// conn is a TCP or TLS connection of a client. It hides what it is made of.
type conn struct {
	net.Conn

	listener *listener
	reader   *bufio.Reader
	once     sync.Once

	mu    sync.Mutex
	until time.Time // below mu: end of the greeting; zero after it
}

var errFrame = errors.New("neither a STUN message nor channel data, or too long")

// Read returns one whole message (RFC 8656 §12.5, RFC 8489 §6.2.2), into which b is
// long enough.
func (c *conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	deadline := c.until
	c.mu.Unlock()
	if deadline.IsZero() {
		deadline = time.Now().Add(silence)
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	head, err := c.reader.Peek(4)
	if err != nil {
		return 0, err
	}
	n, err := frameLength(head)
	if err != nil || n > min(len(b), inbound-1) {
		return 0, errFrame
	}
	return io.ReadFull(c.reader, b[:n])
}

// frameLength returns the length of a message over a stream from its first 4 bytes,
// with its padding. It is pure.
func frameLength(head []byte) (int, error) {
	length := int(binary.BigEndian.Uint16(head[2:]))
	switch head[0] >> 6 {
	case 0:
		return 20 + length, nil
	case 1:
		return 4 + (length+3)/4*4, nil
	}
	return 0, errFrame
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writing)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		inner := c.Conn
		if secure, ok := inner.(interface{ NetConn() net.Conn }); ok {
			inner = secure.NetConn() // without the farewell of TLS, for which a peer could let us wait
		}
		err = inner.Close()
		l := c.listener
		l.mu.Lock()
		if remote := c.RemoteAddr().String(); l.conns[remote] == c { // else its port is used anew
			delete(l.conns, remote)
		}
		l.mu.Unlock()
		l.all.Done()
	})
	return err
}
