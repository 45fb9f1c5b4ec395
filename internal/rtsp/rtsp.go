// Package rtsp is the RTSP server (RFC 2326) that publishers and viewers share.
//
// It owns the sockets, says who may do what by the same functions as HTTP does,
// bounds what one address may ask for, and ends sessions. What is announced and
// played is the business of the two packages that it calls:
//
//	ANNOUNCE, RECORD ──▶ authorize ──▶ Ingest (ingest/rtsp)
//	DESCRIBE, PLAY   ──▶ authorize ──▶ Egress (egress/rtsp)
//
// The package knows nothing of streams. The protocol is gortsplib's; all its
// callbacks end here.
//
// Invariant: no token and no query of a URL is ever logged.
package rtsp

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
)

// Reasons for which a session ends. What Run returned is one, too.
var (
	// ErrTeardown says that the other side asked for the end.
	ErrTeardown = errors.New("ended by TEARDOWN")
	// ErrGone says that the connection broke.
	ErrGone = errors.New("connection closed")
	// ErrSilent says that no packet came for 10 s.
	ErrSilent = errors.New("no packets came")
	// ErrRevoked says that the permission was taken back.
	ErrRevoked = errors.New("permission was taken back")
	// ErrEnded says that the operator has ended the session.
	ErrEnded = errors.New("ended by the operator")
	// ErrDrained says that the gateway is being emptied and waits no longer.
	ErrDrained = errors.New("gateway is drained")
	// ErrShutdown says that the gateway stops.
	ErrShutdown = errors.New("gateway stops")
)

// Config of a Server.
type Config struct {
	// Address is the TCP host:port. RTP and RTCP over UDP have the same number, or
	// the next one if that is odd, and the one after.
	Address string
	// TLSAddress is the TCP host:port of RTSPS, which needs TLS. Media goes over the
	// same connection there. Empty: none.
	TLSAddress string
	TLS        *tls.Config
	// Publish and Watch say who asks for a stream, as those of HTTP do: the token is
	// in the header Authorization. Their error should be a problem.Problem.
	Publish, Watch func(r *http.Request, stream string) (Caller, error)
	// Passwords are the tokens that digest authentication can be checked against.
	// Others can only be sent as a basic password or in the URL.
	Passwords []string
	// ValidName says whether a stream may have a name.
	ValidName func(string) bool
	// Wake is called before a stream is described, and may wait until somebody
	// publishes it. Nil: it is not called.
	Wake func(ctx context.Context, stream string)
	// MaxSessions at once; 4,000 if zero. A tenth is not for viewers.
	MaxSessions int
	Logger      *slog.Logger
}

// Caller is who asks.
type Caller struct {
	Principal string // who may take over
	// Revoked reports whether the permission has been taken back since. It must not
	// wait, and may be called from any goroutine. nil: never.
	Revoked func() bool
}

// Request is who asks for what.
type Request struct {
	Stream string
	Caller
}

// Run is the life of a session. It ends with its context, and returns why it
// ended, and what the log should tell of it.
type Run func(ctx context.Context) (notes []slog.Attr, reason error)

// Ingest takes what publishers send. Errors should be of type problem.Problem.
type Ingest interface {
	// Announce says whether a description can be taken.
	Announce(d *description.Session) error
	// Record makes a session, all of whose medias are set up, the publisher, and
	// sets its callbacks. Run is called if there is no error.
	Record(q Request, d *description.Session, s Recording) (Run, error)
}

// Recording is what brings a publisher's packets: a session of the server, or a
// connection to a source.
type Recording interface {
	OnPacketRTPAny(cb gortsplib.OnPacketRTPAnyFunc)
	OnPacketRTCPAny(cb gortsplib.OnPacketRTCPAnyFunc)
}

// Egress serves viewers. Errors should be of type problem.Problem.
type Egress interface {
	// Describe says what there is to play.
	Describe(q Request) (*description.Session, error)
	// Play prepares what sends a description to one viewer. Run is called if there is
	// no error.
	Play(q Request, o *Outlet) (Run, error)
}
