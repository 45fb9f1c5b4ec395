package turn

import (
	"net"
	"testing"
)

// pipes is a listener whose connections all come from one address.
type pipes struct {
	far []net.Conn
}

func (p *pipes) Accept() (net.Conn, error) {
	near, far := net.Pipe()
	p.far = append(p.far, far)
	return near, nil
}
func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return nil }

// TestPortUsedAnew: a client's port may be used anew before the end of the connection
// that had it is noticed. The new one is closed with the listener, too.
func TestPortUsedAnew(t *testing.T) {
	inner := &pipes{}
	l := newListener(inner)
	before, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	after, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := before.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := after.Close(); err == nil {
		t.Error("the connection was still open after the listener was closed")
	}
	l.wait()
	for _, far := range inner.far {
		_ = far.Close() // it was a pipe's
	}
}
