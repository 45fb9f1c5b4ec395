package rtsp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v5"

	"github.com/whipcast/whipcast/internal/limit"
	"github.com/whipcast/whipcast/internal/recent"
)

// Limits of requests of one address (specs X23), as for WHIP and WHEP.
const (
	requestRate  = 10
	requestBurst = 100
)

// Server is the RTSP server. Run must run for it to answer.
type Server struct {
	cfg      Config
	ingest   Ingest
	egress   Egress
	log      *slog.Logger
	requests *limit.Buckets
	plain    *door
	secure   *door // nil without RTSPS
	wg       sync.WaitGroup

	publishers, viewers atomic.Int64
	refused             Refusals

	mu      sync.Mutex
	running map[*session]struct{}  // below mu: from RECORD or PLAY on
	reasons *recent.Values[string] // of sessions that ended, by their IDs
}

// New takes the ports. Errors name the address that failed: see AddressError.
func New(ctx context.Context, cfg Config, ingest Ingest, egress Egress) (*Server, error) {
	everybody := func(*http.Request, string) (Caller, error) { return Caller{}, nil }
	if cfg.Publish == nil {
		cfg.Publish = everybody
	}
	if cfg.Watch == nil {
		cfg.Watch = everybody
	}
	if cfg.ValidName == nil {
		cfg.ValidName = func(name string) bool { return name != "" }
	}
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = 4000
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, ingest: ingest, egress: egress, log: cfg.Logger,
		requests: limit.NewBuckets(requestRate, requestBurst), running: map[*session]struct{}{},
		reasons: recent.New[string](cfg.MaxSessions),
	}
	for _, d := range []struct {
		to      **door
		address string
		secure  *tls.Config
	}{{&s.plain, cfg.Address, nil}, {&s.secure, cfg.TLSAddress, cfg.TLS}} {
		if d.address == "" {
			continue
		}
		door, err := openDoor(ctx, d.address, d.secure)
		if err != nil {
			s.Close()
			return nil, &AddressError{Address: d.address, Err: err}
		}
		*d.to = door
	}
	return s, nil
}

// AddressError says which address cannot be had.
type AddressError struct {
	Address string
	Err     error
}

// Error says both.
func (e *AddressError) Error() string { return fmt.Sprintf("listen at %s: %v", e.Address, e.Err) }

// Unwrap returns the cause.
func (e *AddressError) Unwrap() error { return e.Err }

// Port returns the TCP port of RTSP; 0 without.
func (s *Server) Port() int { return portOf(s.plain) }

// TLSPort returns the TCP port of RTSPS; 0 without.
func (s *Server) TLSPort() int { return portOf(s.secure) }

func portOf(d *door) int {
	if d == nil {
		return 0
	}
	return d.port()
}

// Counts returns how many sessions publish and watch.
func (s *Server) Counts() (publishers, viewers int) {
	return int(s.publishers.Load()), int(s.viewers.Load())
}

// Refusals counts the requests that a limit refused. It may be read at any time.
type Refusals struct {
	Requests atomic.Uint64 // of one address, too fast
	Sessions atomic.Uint64 // of all
}

// Refused returns what the limits refused.
func (s *Server) Refused() *Refusals { return &s.refused }

// Close gives the ports back. It is for a Server that does not run.
func (s *Server) Close() {
	for _, d := range []*door{s.plain, s.secure} {
		if d != nil {
			d.close()
		}
	}
}

// Run serves until ctx ends, then ends all sessions, and returns when nothing is
// left of any.
func (s *Server) Run(ctx context.Context) error {
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	var servers []*gortsplib.Server
	for _, d := range []*door{s.plain, s.secure} {
		if d == nil {
			continue
		}
		server := d.server(s.handler(life))
		if err := server.Start(); err != nil {
			for _, other := range servers {
				other.Close()
			}
			s.Close()
			return fmt.Errorf("serve RTSP: %w", err)
		}
		servers = append(servers, server)
	}
	failed := make(chan error, len(servers))
	var waits sync.WaitGroup
	for _, server := range servers {
		waits.Go(func() { failed <- server.Wait() })
	}
	var err error
	select {
	case err = <-failed:
		err = fmt.Errorf("serve RTSP: %w", err)
	case <-ctx.Done():
	}
	end(ErrShutdown)
	for _, server := range servers {
		server.Close()
	}
	waits.Wait()
	s.wg.Wait()
	return err
}

// handler returns what answers the requests of one address.
func (s *Server) handler(life context.Context) *handler {
	return &handler{
		server: s,
		start: func(run func(ctx context.Context)) context.CancelCauseFunc {
			ctx, cancel := context.WithCancelCause(life)
			s.wg.Go(func() {
				defer cancel(nil)
				run(ctx)
			})
			return cancel
		},
		waken:   func(stream string) { s.wake(life, stream) },
		expired: life.Err,
	}
}

// wakeWithin is how long a viewer waits for a stream that is fetched on demand.
const wakeWithin = 10 * time.Second

func (s *Server) wake(ctx context.Context, stream string) {
	if s.cfg.Wake == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wakeWithin)
	defer cancel()
	s.cfg.Wake(ctx, stream)
}

// Sweep ends all sessions whose Caller's permission was taken back, with ErrRevoked.
func (s *Server) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := range s.running {
		x.endIfRevoked()
	}
}

func (x *session) endIfRevoked() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.request.Revoked != nil && x.request.Revoked() && x.cancel != nil {
		x.cancel(ErrRevoked)
	}
}

// enter notes a session that runs, and returns what forgets it.
func (s *Server) enter(x *session) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[x] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, x)
	}
}

// take reserves a place for a session, and give returns it.
func (s *Server) take(kind direction) error {
	publishers, viewers := s.Counts()
	most := s.cfg.MaxSessions
	if kind == watching {
		most -= most / 10
	}
	if publishers+viewers >= most {
		s.refused.Sessions.Add(1)
		return errFull
	}
	s.counter(kind).Add(1)
	return nil
}

func (s *Server) give(kind direction) { s.counter(kind).Add(-1) }

func (s *Server) counter(kind direction) *atomic.Int64 {
	if kind == publishing {
		return &s.publishers
	}
	return &s.viewers
}

// session is one publisher or viewer. Its upper fields are fixed.
type session struct {
	id      string // for people
	request Request
	kind    direction
	begun   time.Time
	wire    *gortsplib.ServerSession
	outlet  *Outlet // of a viewer
	log     *slog.Logger
	reasons *recent.Values[string] // the Server's

	mu     sync.Mutex
	play   Run                     // below mu, as all that follows; of a viewer, from PLAY on until it runs
	cancel context.CancelCauseFunc // ends what runs; nil before
	closed bool
}

// direction of media.
type direction uint8

const (
	publishing direction = iota + 1
	watching
)

// serve is the life of a session from RECORD or PLAY on.
func (x *session) serve(ctx context.Context, log *slog.Logger, run Run, end func()) {
	notes, err := run(ctx)
	if err == nil {
		err = errors.New("finished")
	}
	x.reasons.Put(x.id, err.Error())
	end()
	notes = append([]slog.Attr{
		slog.String("protocol", "rtsp"), slog.Duration("duration", time.Since(x.begun).Round(time.Millisecond)), slog.String("reason", err.Error()),
	}, notes...)
	log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "session ended", notes...)
}

// nameOf returns the stream that a path names.
func nameOf(path string) string { return strings.Trim(path, "/") }
