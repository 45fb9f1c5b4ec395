package rtc

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/limit"
	"github.com/whipcast/whipcast/internal/recent"
)

// Registry holds all Sessions and answers HTTP for them. All methods may be
// called from any goroutine.
type Registry struct {
	engine *Engine
	cfg    RegistryConfig

	posts, changes *limit.Buckets
	tokens         *limit.Keyed[string]    // POSTs of a principal
	total          *limit.Keyed[Direction] // POSTs of all
	refused        Refusals
	drain          atomic.Pointer[Draining] // nil: not draining
	drains         chan struct{}            // holds a token after each Drain
	ended          *recent.Values[ending]   // Sessions that ended, by their Summary's IDs

	wg sync.WaitGroup // one for each Session that was opened

	receiving, sending Metrics

	mu         sync.Mutex
	sessions   map[string]*Session       // below mu: started, not ended
	publishers map[string]*Session       // below mu: the newest of each stream
	quota      quota                     // below mu: opened, not finished
	closed     bool                      // below mu
	extensions map[Direction][]Extension // below mu; the lists are never changed
}

// NewRegistry returns an empty Registry. Call Run beside the HTTP server.
func NewRegistry(engine *Engine, cfg RegistryConfig) *Registry {
	everybody := func(*http.Request, string) (Caller, error) { return Caller{}, nil }
	if cfg.Publish == nil {
		cfg.Publish = everybody
	}
	if cfg.Watch == nil {
		cfg.Watch = everybody
	}
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = 4000
	}
	if cfg.MaxPending <= 0 {
		cfg.MaxPending = 500
	}
	if cfg.PendingTimeout <= 0 {
		cfg.PendingTimeout = 15 * time.Second
	}
	if cfg.MaxPerAddress <= 0 {
		cfg.MaxPerAddress = 500
	}
	if cfg.MaxPerPrincipal <= 0 {
		cfg.MaxPerPrincipal = 1000
	}
	if cfg.PostRate <= 0 {
		cfg.PostRate = 10
	}
	if cfg.PostBurst <= 0 {
		cfg.PostBurst = 100
	}
	cfg.limitTokens()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registry{
		engine:     engine,
		cfg:        cfg,
		posts:      limit.NewBuckets(cfg.PostRate, cfg.PostBurst),
		tokens:     limit.NewKeyed[string](cfg.TokenRate, cfg.TokenBurst),
		total:      limit.NewKeyed[Direction](cfg.TotalRate, cfg.TotalBurst),
		changes:    limit.NewBuckets(changeRate, changeBurst),
		drains:     make(chan struct{}, 1),
		ended:      recent.New[ending](cfg.MaxSessions),
		quota:      quota{address: map[netip.Addr]int{}, principal: map[string]int{}},
		sessions:   make(map[string]*Session),
		publishers: make(map[string]*Session),
		extensions: make(map[Direction][]Extension),
	}
}

// Run waits for ctx, then ends all Sessions with ErrShutdown, opens no new
// ones, and returns when nothing is left of any.
func (g *Registry) Run(ctx context.Context) error {
	<-ctx.Done()
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	for _, x := range g.all() {
		x.End(ErrShutdown)
	}
	g.wg.Wait()
	return nil
}

// Sweep ends all Sessions whose Caller's permission was taken back, with ErrRevoked.
func (g *Registry) Sweep() {
	for _, x := range g.all() {
		x.endIfRevoked()
	}
}

func (x *Session) endIfRevoked() {
	if x.opening.Revoked != nil && x.opening.Revoked() {
		x.End(ErrRevoked)
	}
}

func (g *Registry) all() []*Session {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*Session, 0, len(g.sessions))
	for _, x := range g.sessions {
		all = append(all, x)
	}
	return all
}

// Counts returns how many Sessions there are, and how many of these are not
// connected yet.
func (g *Registry) Counts() (all, pending int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.quota.open, g.quota.pending
}

// Open makes the PeerConnection and the answer of a Session, which is then to
// be started or discarded. The error is a problem.Problem: 503 over the limits,
// 422 if Pion does not take the offer. It leaves nothing behind when it fails.
func (g *Registry) Open(ctx context.Context, o Opening) (*Session, error) {
	if err := g.take(o.Direction, o.Caller); err != nil {
		return nil, err
	}
	x, err := g.prepare(ctx, o)
	if err != nil {
		g.mu.Lock()
		g.give(o.Caller)
		g.quota.pending--
		g.mu.Unlock()
		return nil, err
	}
	return x, nil
}

func (g *Registry) prepare(ctx context.Context, o Opening) (*Session, error) {
	id, err := newID(o.Direction)
	if err != nil {
		return nil, err
	}
	x := &Session{
		registry: g, opening: o, id: id, since: time.Now(),
		heard:     o.Offer.heard,
		log:       g.cfg.Logger.With("stream", o.Stream, "session", id[:7]), // X2: the whole id is a secret
		tracks:    make(chan Track, 2*maxRIDs),
		channels:  make(chan *Channel, maxChannels),
		connected: make(chan struct{}),
		done:      make(chan struct{}),
	}
	if x.pc, err = g.engine.connection(o.Offer, x); err != nil {
		return nil, err
	}
	pc := x.pc
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx)) // the request ends before
	x.cancel = cancel
	x.launch = func(run func(ctx context.Context) error) { go x.serve(life, run) } // Registry.Run waits for it
	x.listen()
	x.answer, err = negotiate(ctx, pc, o.Offer, o.Offer.describe(o.Offer.credentials, g.engine.checked(o.Offer.candidates)), x.send)
	if err != nil {
		cancel(err)
		x.log.Info("offer refused", "reason", err.Error())
		_ = pc.GracefulClose() // the first error counts
		return nil, refused("the offer cannot be answered: the log has the reason")
	}
	x.patch = newResource(o.Offer)
	return x, nil
}

// connected is called when ICE and DTLS of a Session are done, also again after
// a restart.
func (g *Registry) connected(x *Session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-x.connected:
	default:
		close(x.connected)
		if !x.gone {
			g.quota.pending--
		}
	}
}

// lookup returns the Session of that id that has not ended.
func (g *Registry) lookup(id string) *Session {
	g.mu.Lock()
	x := g.sessions[id]
	g.mu.Unlock()
	if x == nil || x.Err() != nil {
		return nil
	}
	return x
}

// register makes a Session's URL known.
func (g *Registry) register(x *Session) {
	g.mu.Lock()
	g.sessions[x.id] = x
	if x.opening.Direction == Receive {
		g.publishers[x.opening.Stream] = x
	}
	closed := g.closed
	g.mu.Unlock()
	if closed {
		x.End(ErrShutdown)
	}
	x.endIfRevoked() // between its POST and here, where no Sweep saw it
}

// serve is the life of a started Session.
func (x *Session) serve(ctx context.Context, run func(ctx context.Context) error) {
	begun, counts := time.Now(), x.registry.Metrics(x.opening.Direction)
	counts.Started.Add(1)
	reaper := time.AfterFunc(x.registry.cfg.PendingTimeout, func() {
		if err := x.lost(); errors.Is(err, ErrNeverConnected) {
			x.End(x.explain(err)) // W66
		}
	})
	defer reaper.Stop()
	err := x.work(ctx, run)
	if err == nil {
		err = errors.New("finished")
	}
	x.End(err)
	x.close()
	x.mu.Lock()
	notes := append([]slog.Attr{slog.String("protocol", x.opening.Direction.protocol()), slog.Duration("duration", time.Since(begun).Round(time.Millisecond)), slog.String("reason", x.reason.Error())}, x.notes...)
	reason := x.reason
	notes = append(notes, x.cause.notes(x.way)...)
	x.mu.Unlock()
	counts.ended[endOf(reason)].Add(1)
	x.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "session ended", notes...)
	x.release()
}

// close sends the DTLS alert, stops all sending at once (RFC 7675 §5.2), and
// waits for the goroutines of Go.
func (x *Session) close() {
	x.unroute()
	if err := x.pc.GracefulClose(); err != nil {
		x.log.Debug("close PeerConnection", "error", err)
	}
	x.looking.stop()
	x.wg.Wait()
}

// release gives the Session's place back. It is the last that a Session does:
// Registry.Run may return then.
func (x *Session) release() {
	g := x.registry
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sessions, x.id)
	if g.publishers[x.opening.Stream] == x {
		delete(g.publishers, x.opening.Stream)
	}
	x.gone = true
	if errors.Is(x.lost(), ErrNeverConnected) {
		g.quota.pending--
	}
	close(x.done)
	g.give(x.opening.Caller)
}

// newID returns 128 random bits after a letter for the direction, which lets
// requests for unknown sessions be authorised like those for known ones.
func newID(d Direction) (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	letter := "p"
	if d == Send {
		letter = "w"
	}
	return letter + base64.RawURLEncoding.EncodeToString(b[:]), nil
}
