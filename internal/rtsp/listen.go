package rtsp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"

	"github.com/bluenviron/gortsplib/v5"

	"github.com/whipcast/whipcast/internal/limit"
)

const (
	maxConnections    = 5000 // TCP connections of one address in all
	maxConnectionsPer = 200  // and of one IP address: many cameras stand behind one
	receiveBuffer     = 8 << 20
	// queueSize is how many packets may wait for one viewer's connection: more than a
	// stream keeps, so that a viewer can begin with all that there is.
	queueSize = 4096
	// anyPort is how often another free port is tried for one with a free pair of UDP.
	anyPort = 50
)

// door is one address with its sockets.
type door struct {
	tcp       net.Listener
	rtp, rtcp net.PacketConn // nil with TLS: media goes over the connection
	secure    *tls.Config
}

// openDoor takes the ports of an address.
func openDoor(ctx context.Context, address string, secure *tls.Config) (*door, error) {
	var (
		lc  net.ListenConfig
		err error
	)
	for range anyPort {
		d := &door{secure: secure}
		if d.tcp, err = lc.Listen(ctx, "tcp", address); err != nil {
			return nil, err
		}
		if secure != nil {
			return d, nil
		}
		if err = d.openUDP(ctx, lc, address); err == nil {
			return d, nil
		}
		d.close()
		if _, port, _ := net.SplitHostPort(address); port != "0" {
			break
		}
	}
	return nil, err
}

// openUDP takes the pair of ports for RTP, which is even, and RTCP (RFC 3550 §11).
func (d *door) openUDP(ctx context.Context, lc net.ListenConfig, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port := d.port()
	port += port & 1
	if d.rtp, err = lc.ListenPacket(ctx, "udp", net.JoinHostPort(host, strconv.Itoa(port))); err != nil {
		return fmt.Errorf("port for RTP: %w", err)
	}
	if d.rtcp, err = lc.ListenPacket(ctx, "udp", net.JoinHostPort(host, strconv.Itoa(port+1))); err != nil {
		return fmt.Errorf("port for RTCP: %w", err)
	}
	if c, ok := d.rtp.(*net.UDPConn); ok {
		_ = c.SetReadBuffer(receiveBuffer) // the system may allow less
	}
	return nil
}

func (d *door) port() int { return d.tcp.Addr().(*net.TCPAddr).Port }

func (d *door) close() {
	_ = d.tcp.Close()
	for _, c := range []net.PacketConn{d.rtp, d.rtcp} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// server returns the protocol's server on the sockets of the door. It believes to
// take the ports itself.
func (d *door) server(h *handler) *gortsplib.Server {
	s := &gortsplib.Server{
		Handler:        h,
		RTSPAddress:    d.tcp.Addr().String(),
		WriteQueueSize: queueSize,
		// The reports are sent by whoever plays: they must come before the first packet.
		DisableRTCPSenderReports: true,
		Listen: func(string, string) (net.Listener, error) {
			l := net.Listener(limit.NewListener(d.tcp, maxConnections, maxConnectionsPer))
			if d.secure != nil {
				// Not the server's TLS: it would want SRTP inside of TLS.
				l = tls.NewListener(l, d.secure)
			}
			return l, nil
		},
	}
	h.protocol = s
	if d.rtp == nil {
		return s
	}
	s.UDPRTPAddress, s.UDPRTCPAddress = d.rtp.LocalAddr().String(), d.rtcp.LocalAddr().String()
	s.ListenPacket = func(_, address string) (net.PacketConn, error) {
		if address == s.UDPRTPAddress {
			return d.rtp, nil
		}
		return d.rtcp, nil
	}
	return s
}
