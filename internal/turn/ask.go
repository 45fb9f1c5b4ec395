package turn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// Target is a STUN or TURN server to try.
type Target struct {
	URL                  string // stun:, turn: or turns: (RFC 7064, RFC 7065)
	Username, Credential string
	TLS                  *tls.Config // of turns:, nil: the usual
}

// ErrSilent says that a server did not answer in time.
var ErrSilent = errors.New("no answer")

// Refusal is an error that a server answered with (RFC 8656 §19).
type Refusal struct {
	Code int
	Text string
}

func (r Refusal) Error() string { return fmt.Sprintf("refused with %d %s", r.Code, r.Text) }

// askTimeout is for the first answer to a request; Pion repeats it meanwhile.
const askTimeout = 5 * time.Second

// Ask tries a server as a browser does: of TURN it takes a relay and gives it back, of
// STUN it asks for its own address. The error is ErrSilent, a Refusal, or one of the
// network.
func Ask(ctx context.Context, t Target) error {
	uri, err := stun.ParseURI(t.URL)
	if err != nil {
		return fmt.Errorf("read URL of server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, server, err := dial(ctx, uri, t.TLS)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the answer counts
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server, TURNServerAddr: server, Username: t.Username, Password: t.Credential, Conn: conn,
		LoggerFactory: quiet{slog.New(slog.DiscardHandler)},
	})
	if err != nil {
		return fmt.Errorf("ask server: %w", err)
	}
	defer client.Close()
	if err := client.Listen(); err != nil {
		return fmt.Errorf("ask server: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- exchange(client, uri) }() // it ends with the connection
	select {
	case err = <-done:
	case <-ctx.Done():
		client.Close()
		_ = conn.Close()
		<-done
		err = ErrSilent
	}
	if ctx.Err() != nil {
		return ErrSilent
	}
	return err
}

func exchange(client *turn.Client, uri *stun.URI) error {
	if uri.Scheme == stun.SchemeTypeSTUN || uri.Scheme == stun.SchemeTypeSTUNS {
		_, err := client.SendBindingRequest()
		return refusalOf(err)
	}
	relay, err := client.Allocate()
	if err != nil {
		return refusalOf(err)
	}
	return relay.Close()
}

// refusalOf finds the server's own words in an error.
func refusalOf(err error) error {
	if code, ok := errors.AsType[*stun.TurnError](err); ok {
		return Refusal{int(code.ErrorCodeAttr.Code), string(code.ErrorCodeAttr.Reason)}
	}
	return err
}

// dial opens the way to a server, and returns its address.
func dial(ctx context.Context, uri *stun.URI, config *tls.Config) (net.PacketConn, string, error) {
	address := net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))
	secure := uri.Scheme == stun.SchemeTypeTURNS || uri.Scheme == stun.SchemeTypeSTUNS
	if uri.Proto == stun.ProtoTypeUDP && !secure {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", uri.Host)
		if err != nil {
			return nil, "", err
		}
		at, network := found[0].Unmap(), "udp6"
		if at.Is4() {
			network = "udp4" // Pion asks for a relay of the socket's family
		}
		address = net.JoinHostPort(at.String(), strconv.Itoa(uri.Port))
		var lc net.ListenConfig
		conn, err := lc.ListenPacket(ctx, network, ":0")
		if err != nil {
			return nil, "", fmt.Errorf("open socket: %w", err)
		}
		return conn, address, nil
	}
	var dialer interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	} = &net.Dialer{}
	if secure {
		dialer = &tls.Dialer{Config: config}
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, "", err
	}
	return turn.NewSTUNConn(conn), conn.RemoteAddr().String(), nil
}
