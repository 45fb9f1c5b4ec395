package rtsp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/whipcast/whipcast/internal/outbound"
)

// ErrForbidden says that a source is at an address that none may be at.
var ErrForbidden = errors.New("address is not allowed for a source")

// publicPort reports whether a port may be RTSP's: one of its own, or one that is
// nobody else's.
func publicPort(port uint16) bool { return port == 554 || port == 322 || port > 1023 }

// guard is the Control of a net.Dialer that lets public addresses only pass. It is
// asked with the address that is really dialled: no name can change meanwhile.
func guard(_ context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !outbound.Public(at.Addr()) || !publicPort(at.Port()) {
		return ErrForbidden
	}
	return nil
}

// dialer returns how a source's server is dialled. Where it redirects to another
// server, nothing is: the credentials are for this one.
func (s *Source) dialer(at string) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	if !s.Trusted {
		d.ControlContext = guard
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != at {
			return nil, fmt.Errorf("%w: the server redirects to another one", ErrForbidden)
		}
		return d.DialContext(ctx, network, address)
	}
}
