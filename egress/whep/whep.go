// Package whep lets viewers watch a Stream in real time (WHEP,
// draft-ietf-wish-whep).
//
// A POST makes a viewer with a track for each kind that it asks for. The
// viewers of a Stream are its audience; a few lanes serve them, each of which
// reads one Layer and hands what it read to its share of the tracks:
//
//	stream ──▶ lane ──▶ track ──▶ rewriter ──▶ wire ──▶ viewer
//	  ▲                   ▲                              │
//	  └── RequestKeyframe └──────── feedback (RTCP) ◀────┘
//
// Of simulcast each viewer gets the Layer that its network carries, as its
// controller finds out, or the one that it chose; it changes lanes at a keyframe.
//
// The package knows nothing of files and HLS; what concerns the session and its
// URL is in internal/rtc.
//
// Invariant: no goroutine and no allocation a packet; a viewer that cannot
// follow loses its own packets only.
package whep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// Prefix is the path before the stream's name.
const Prefix = "/whep/"

// Config of a Server. The zero value works.
type Config struct {
	Grace      time.Duration // how long viewers wait for a publisher that left, default 60 s
	RetryAfter time.Duration // said to viewers while nothing is live, default 2 s
	MaxViewers int           // connected, of one stream; default 1,000
	Workers    int           // a kind and stream; default one a core, at most 4
	Shard      int           // viewers of a worker before another one starts, default 50
	Metrics    *Metrics      // nil: not counted
	// Size returns how big the pictures of a stream's layer are, 0 if it does not know.
	// It must not wait; any goroutine may call it. nil: not known.
	Size func(stream, rid string) (width, height int)
	// Known reports whether a stream is to come though nobody has published it yet, as the
	// program of a stage: its viewers are told to wait. It must not wait; any goroutine may
	// call it. nil: none is.
	Known func(stream string) bool
}

func (c Config) withDefaults() Config {
	if c.Grace <= 0 {
		c.Grace = time.Minute
	}
	if c.RetryAfter <= 0 {
		c.RetryAfter = 2 * time.Second
	}
	if c.MaxViewers <= 0 {
		c.MaxViewers = 1000
	}
	if c.Workers <= 0 {
		c.Workers = min(runtime.GOMAXPROCS(0), 4)
	}
	if c.Shard <= 0 {
		c.Shard = 50
	}
	if c.Metrics == nil {
		c.Metrics = new(Metrics)
	}
	return c
}

// errStopped says that Run has returned.
var errStopped = errors.New("the WHEP server has stopped")

// Server answers POST /whep/{stream} and serves the viewers. Run must run while
// there are any.
type Server struct {
	cfg      Config
	hub      *stream.Hub
	sessions *rtc.Registry
	endpoint http.Handler
	starts   chan func(ctx context.Context) // to Run
	stopped  chan struct{}                  // closed when Run returns
	laters   chan later                     // to Run: Messages that are not due

	mu        sync.Mutex
	audiences map[*stream.Stream]*audience // below mu; of streams with viewers
	heralds   map[*stream.Stream]*herald   // below mu; of streams with Sessions
	sessionOf map[*rtc.Session]*viewer     // below mu; not ended
}

// New returns a Server for the Streams of hub. It never creates one.
func New(cfg Config, hub *stream.Hub, sessions *rtc.Registry) *Server {
	s := &Server{
		cfg:       cfg.withDefaults(),
		hub:       hub,
		sessions:  sessions,
		starts:    make(chan func(ctx context.Context)),
		stopped:   make(chan struct{}),
		laters:    make(chan later),
		audiences: make(map[*stream.Stream]*audience),
		heralds:   make(map[*stream.Stream]*herald),
		sessionOf: make(map[*rtc.Session]*viewer),
	}
	s.endpoint = sessions.Endpoint(rtc.EndpointConfig{
		Direction: rtc.Send,
		Prefix:    Prefix,
		ValidName: stream.ValidName,
		Accept:    s.accept,

		Extensions: s.extensions(),
	})
	return s
}

// ServeHTTP answers requests below Prefix.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.endpoint.ServeHTTP(w, r) }

// Run works until ctx ends; then it ends all viewers and returns nil. Call it
// once.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.starter(ctx, &wg) })
	var waiting schedule
	due := time.NewTimer(waiting.wait(time.Now()))
	defer due.Stop()
	for {
		select {
		case m := <-s.laters:
			if !waiting.add(m) {
				s.cfg.Metrics.MessagesDropped.Add(1)
			}
			due.Reset(waiting.wait(time.Now()))
		case now := <-due.C:
			for _, m := range waiting.due(now) {
				s.tell(m.stream, m.message)
			}
			due.Reset(waiting.wait(now))
		case <-s.sessions.Drains():
			s.sendAway()
		case <-ctx.Done():
			for _, a := range s.all() {
				a.end(rtc.ErrShutdown)
			}
			return nil
		}
	}
}

// starter runs what start is given until ctx ends. It waits for nothing else: who
// starts something holds locks that Run may wait for.
func (s *Server) starter(ctx context.Context, wg *sync.WaitGroup) {
	defer close(s.stopped)
	for {
		select {
		case run := <-s.starts:
			wg.Go(func() { run(ctx) })
		case <-ctx.Done():
			return
		}
	}
}

// start lets Run run a goroutine. It fails only when Run ends: what one viewer starts
// serves others, too, also when that viewer leaves meanwhile.
func (s *Server) start(run func(ctx context.Context)) error {
	select {
	case s.starts <- run:
		return nil
	case <-s.stopped:
		return errStopped
	}
}

// accept answers an offer.
func (s *Server) accept(ctx context.Context, q rtc.Request) (*rtc.Session, error) {
	st, ok := s.hub.Lookup(q.Stream)
	if !ok {
		return nil, s.absent(q.Stream)
	}
	state := st.State()
	if !state.Live {
		return nil, s.offline()
	}
	if err := unsuited(state.Sources); err != nil {
		return nil, err
	}
	if s.viewers(st) >= s.cfg.MaxViewers {
		s.cfg.Metrics.Refused.Add(1)
		return nil, problem.Problem{
			Status: http.StatusServiceUnavailable, Title: "Too many viewers", RetryAfter: 10 * time.Second,
			Detail: fmt.Sprintf("this stream has %d viewers already: try again later, or watch it by HLS", s.cfg.MaxViewers),
		}
	}
	offer, err := rtc.CheckOffer(q.Body, rtc.Rules{Direction: rtc.Send, Codecs: wanted(state.Sources)})
	if err != nil {
		return nil, err
	}
	v := &viewer{
		server: s, stream: st, tracks: tracks(offer, state.Sources, q.Stream, s.cfg.Metrics), target: q.Target, sections: offer.Sections,
	}
	opening := rtc.Opening{Caller: q.Caller, Direction: rtc.Send, Stream: q.Stream, Offer: offer}
	for _, t := range v.tracks {
		opening.Tracks = append(opening.Tracks, webrtc.TrackLocal(t))
	}
	if v.session, err = s.sessions.Open(ctx, opening); err != nil {
		return nil, err
	}
	for _, t := range v.tracks {
		t.session, t.wish = v.session, &v.wish
	}
	s.cfg.Metrics.Sessions.Add(1)
	s.know(v)
	v.session.Start(v.run)
	return v.session, nil
}

// absent says why a stream that there is not cannot be watched (specs E13).
func (s *Server) absent(name string) error {
	if s.cfg.Known != nil && s.cfg.Known(name) {
		return s.offline()
	}
	return problem.Problem{
		Status: http.StatusNotFound, Title: "No such stream",
		Detail: "nobody has published a stream of this name: check the URL",
	}
}

// offline says why a stream cannot be watched now (specs E11).
func (s *Server) offline() error {
	return problem.Problem{
		Status: http.StatusConflict, Title: "Stream is offline", RetryAfter: s.cfg.RetryAfter,
		Detail: "nobody publishes this stream now: try again later",
	}
}

// tracks makes a track for each section of an offer, audio first. What is not
// published now has one as well: it is silent until it is (E9).
func tracks(o *rtc.Offer, sources []*stream.Source, streamID string, m *Metrics) []*track {
	var all []*track
	for _, section := range o.Sections {
		if section.Kind == rtc.Messages {
			continue
		}
		t := newTrack(section, streamID, m)
		source := first(sources, t.kind)
		t.optional = source == nil || !realTime(source)
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *track) int { return int(a.kind) - int(b.kind) })
	return all
}

// know lets a Session's viewer be found, and told what happens.
func (s *Server) know(v *viewer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.heralds[v.stream]
	if !ok {
		h = newHerald(s, v.stream)
		s.heralds[v.stream] = h
	}
	v.herald, v.fresh = h, !ok
	s.sessionOf[v.session] = v
	h.enter(v)
}

// forget is the end of know.
func (s *Server) forget(v *viewer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessionOf, v.session)
	if v.herald.exit(v) == 0 && s.heralds[v.stream] == v.herald {
		delete(s.heralds, v.stream)
	}
}

// viewer returns that of a Session, nil when it has ended.
func (s *Server) viewer(x *rtc.Session) *viewer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessionOf[x]
}

// sendAway tells viewers that the gateway drains.
func (s *Server) sendAway() {
	s.mu.Lock()
	heralds := slices.Collect(maps.Values(s.heralds))
	s.mu.Unlock()
	for _, h := range heralds {
		h.drained()
	}
}

// enter puts a connected viewer into the audience of its Stream.
func (s *Server) enter(v *viewer) (*audience, error) {
	a, fresh := s.admit(v)
	if fresh {
		if err := a.launch(a.run); err != nil {
			s.exit(a, v)
			return nil, err
		}
	}
	return a, nil
}

func (s *Server) admit(v *viewer) (a *audience, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.audiences[v.stream]
	if !ok {
		a = newAudience(v.stream, &s.cfg, s.start)
		a.guard = func(f func()) func() { return s.guard(a, f) }
		s.audiences[v.stream] = a
	}
	a.enter(v.session)
	s.cfg.Metrics.Viewers.Add(1)
	return a, !ok
}

// exit takes a viewer out of its audience, which ends with the last one.
func (s *Server) exit(a *audience, v *viewer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Metrics.Viewers.Add(-1)
	if a.exit(v.session) == 0 && s.audiences[v.stream] == a {
		delete(s.audiences, v.stream)
	}
}

// Viewers returns how many watch the stream of a name.
func (s *Server) Viewers(name string) int {
	st, ok := s.hub.Lookup(name)
	if !ok {
		return 0
	}
	return s.viewers(st)
}

// viewers returns how many watch a Stream.
func (s *Server) viewers(st *stream.Stream) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.audiences[st]; ok {
		return a.size()
	}
	return 0
}

func (s *Server) all() []*audience {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*audience, 0, len(s.audiences))
	for _, a := range s.audiences {
		all = append(all, a)
	}
	return all
}
