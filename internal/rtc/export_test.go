package rtc

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// SetTimeouts shortens what otherwise takes 30 s.
func (e *Engine) SetTimeouts(disconnected, failed, keepalive time.Duration) {
	e.setting.SetICETimeouts(disconnected, failed, keepalive)
}

// Own reports whether a Session sends its packets itself.
func (x *Session) Own() bool {
	return x.route.Load() != nil
}

// Detour lets Pion send for now.
func (x *Session) Detour() { x.route.Store(nil) }

// Reroute ends a Detour.
func (x *Session) Reroute() { x.reroute() }

// SendTrain sends a train of packets of size bytes; refused as where the device
// takes none.
func SendTrain(from *net.UDPConn, to netip.AddrPort, train []byte, size int, refused bool) error {
	p := &path{socket: newSocket(from), to: to}
	p.socket.plain.Store(refused)
	err := p.send(segments{train, size, new([segmentSpace]byte)}, 1)
	return errors.Join(err, p.socket.close())
}
