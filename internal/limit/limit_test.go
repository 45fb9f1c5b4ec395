package limit

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// TestTCPLimits: X17 connections of one address are limited, and silent ones
// end.
func TestTCPLimits(t *testing.T) {
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(inner, 100, 64)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var held []net.Conn
	for range 64 {
		dial()
		held = append(held, <-accepted)
	}
	refused := dial()
	_ = refused.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := refused.Read(make([]byte, 1)); err == nil {
		t.Error("one connection too many is open")
	} else if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // net returns the value itself
		t.Error("one connection too many is neither accepted nor closed")
	}
	for _, c := range held {
		_ = c.Close()
		_ = c.Close() // counts once
	}
	dial()
	_ = (<-accepted).Close()
	_ = l.Close()
	for range accepted {
	}
	if l.Refused() != 1 {
		t.Errorf("%d refusals are counted, want 1", l.Refused())
	}
	if l.total != 0 || len(l.from) != 0 {
		t.Errorf("%d connections of %d addresses are left", l.total, len(l.from))
	}
}

// exhausted fails once, as a listener does in a process without free file
// descriptors, and is closed then.
type exhausted struct {
	net.Listener
	errs []error
}

func (e *exhausted) Accept() (net.Conn, error) {
	err := e.errs[0]
	e.errs = e.errs[1:]
	if err != nil {
		return nil, err
	}
	conn, _ := net.Pipe()
	return addressed{conn}, nil
}

// addressed is a connection from somewhere.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// TestAcceptGoesOn: ICE-TCP outlives a time without file descriptors.
func TestAcceptGoesOn(t *testing.T) {
	l := NewListener(&exhausted{errs: []error{syscall.EMFILE, nil, net.ErrClosed}}, 10, 10)
	conn, err := l.Accept()
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	_ = conn.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: %v", err)
	}
}

func TestBuckets(t *testing.T) {
	b := NewBuckets(1, 3)
	now := time.Now()
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 5 {
		if got := b.Allow(one, now); got != (i < 3) {
			t.Errorf("request %d: %v", i, got)
		}
	}
	if !b.Allow(other, now) {
		t.Error("another address is limited, too")
	}
	if !b.Allow(one, now.Add(time.Second)) {
		t.Error("limited after the bucket filled again")
	}
	for i := range 3 * maxBuckets { // bounded
		b.Allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if len(b.of) > maxBuckets {
		t.Errorf("%d buckets", len(b.of))
	}
	tokens := NewKeyed[string](1, 2)
	for i, want := range []bool{true, true, false} {
		if got := tokens.Allow("key:studio", now); got != want {
			t.Errorf("request %d of a token: %v", i, got)
		}
	}
	if !tokens.Allow("key:other", now) {
		t.Error("another token is limited, too")
	}
	if a, b := Address("[2001:db8::1]:5"), Address("[2001:db8::ffff]:9"); a != b || !a.IsValid() {
		t.Errorf("one /64 network is %s and %s", a, b)
	}
}
