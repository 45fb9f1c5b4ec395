// Package api is the control API: what is live, who is connected and what is kept, events,
// health and metrics. It also holds the two routing tables of the gateway. Who may do what
// says api/auth, and what happens api/event.
//
// The table of operations is code, and its description /openapi.json is made of it by
// huma, which nobody else knows. What is asked for is done by small interfaces.
//
// The other handlers are given as http.Handler: the package knows neither WebRTC
// nor files. The routing is a switch on the path's beginning, so that nothing
// stands between the server and the media handlers.
//
//	public:  /whip/ /whep/ /session/ /hls/   as given
//	         /v1/… /openapi.json /docs       here; viewers write to /v1/streams/{stream}/latency
//	         /healthz /readyz                here
//	         everything else                 the pages
//	admin:   /metrics /healthz /readyz /debug/pprof/
package api

import (
	"context"
	"hash/maphash"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stream"
)

// Routes are the handlers that the package mounts. None may be nil.
type Routes struct {
	WHIP    http.Handler // /whip/{stream}
	WHEP    http.Handler // /whep/{stream}
	Session http.Handler // /session/{id}
	HLS     http.Handler // /hls/…
	Pages   http.Handler // everything that is nobody else's
}

// Config says where the API takes from what it does not know itself. The zero
// value works.
type Config struct {
	// Findings returns what is wrong with a Layer of a stream at present, the worst
	// first; empty while nobody publishes it. It is called for each request, from
	// any goroutine, and must not wait. Without it the API says nothing of findings.
	Findings func(name string, layer stream.LayerID) []Finding
	// Renditions returns what HLS players choose from of a stream, the best first. It
	// must not wait. Nil: the API says nothing of it.
	Renditions func(name string) []Rendition
	Sessions   Sessions // nil: there are none
	// HLSViewers estimates how many players read a stream by HLS. It must not wait; nil: 0.
	HLSViewers func(name string) int
	Marks      Marks            // nil: nothing can be marked
	Archive    Archive          // nil: nothing is kept
	Storage    func() []Storage // it must not wait; nil: there are no places
	Settings   func() []Setting // the configuration, without secrets; nil: none
	Events     *event.Events    // what happens is told there; nil: to those who ask the API alone
	// Detail returns lines for the operator on how the gateway does, which /readyz
	// of the admin address adds. It must not wait. Nil: none.
	Detail func() []string
	// Sources are the streams that are fetched. Nil: there are none.
	Sources Sources
	// Drainer empties the gateway. Nil: nothing does by the API.
	Drainer Drainer
	// Stages are made of several publishers. Nil: there are none.
	Stages Stages
	// Latency has how long media takes, and takes what players report; nil: the API
	// says nothing of it.
	Latency *latency.Book
	// Watch says whether a request may come from a viewer of a stream: only they
	// report. The error is a problem.Problem. nil: everyone may.
	Watch func(r *http.Request, stream string) error
	// Client says whom a request counts for in rate limits; the zero address is not
	// counted. nil: the remote address, loopback not counted. Behind a proxy give
	// one that reads its header (specs X34).
	Client func(r *http.Request) netip.Addr
	// Logger is told the cause where a client is told only that something failed here;
	// nil: nothing.
	Logger *slog.Logger
}

// Server answers the API's requests. All methods may be called from any
// goroutine.
type Server struct {
	cfg    Config
	hub    *stream.Hub
	auth   *auth.Authority
	events *event.Events
	router *router
	ready  atomic.Bool
	meter  meter

	life      context.Context //nolint:containedctx // that of the listeners to events, which are let go when Run ends
	end       context.CancelFunc
	listeners atomic.Int64
	watchers  watchers

	pace           pace
	refusedReports atomic.Uint64
	left           atomic.Pointer[func() []string] // set while the gateway drains
}

// New returns a Server that is not ready yet.
func New(cfg Config, hub *stream.Hub, authority *auth.Authority) *Server {
	if cfg.Events == nil {
		cfg.Events = event.New(0)
	}
	if cfg.Client == nil {
		cfg.Client = remoteAddress
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, hub: hub, auth: authority, events: cfg.Events, pace: pace{seed: maphash.MakeSeed()}}
	s.life, s.end = context.WithCancel(context.Background())
	s.router = s.newRouter()
	return s
}

// RefusedReports returns how many reports of players were not taken.
func (s *Server) RefusedReports() uint64 { return s.refusedReports.Load() }

// Ready sets what /readyz says from now on.
func (s *Server) Ready(is bool) { s.ready.Store(is) }

// Drain makes /readyz fail from now on. left returns lines for the operator on who is
// still there; the admin address adds them. It must not wait.
func (s *Server) Drain(left func() []string) { s.left.Store(&left) }

// Resume takes Drain back.
func (s *Server) Resume() { s.left.Store(nil) }

// Public returns the handler of the public address.
func (s *Server) Public(to Routes) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limitBody(w, r)
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, "/hls/"):
			to.HLS.ServeHTTP(w, r)
		case strings.HasPrefix(path, "/session/"):
			to.Session.ServeHTTP(w, r)
		case strings.HasPrefix(path, "/whep/"):
			to.WHEP.ServeHTTP(w, r)
		case strings.HasPrefix(path, "/whip/"):
			to.WHIP.ServeHTTP(w, r)
		case strings.HasPrefix(path, "/v1/"):
			if name, ok := beaconStream(path); ok {
				s.listen(w, r, name)
				return
			}
			s.control(w, r)
		case path == "/openapi.json", path == "/docs", strings.HasPrefix(path, "/docs/"):
			s.document(w, r)
		case path == "/healthz", path == "/readyz":
			s.health(w, r, nil) // how the gateway does is not for the public
		default:
			to.Pages.ServeHTTP(w, r)
		}
	})
}

// bodyTime is how long a request may take to send its body, which is an SDP of
// some kilobytes (specs X25). net/http waits for it even where no handler reads
// it. There is no such limit on requests without body: to net/http a read
// deadline is the end of a held request, too.
const bodyTime = 10 * time.Second

func limitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// A ResponseWriter that knows no deadline is a test's.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	}
}

// Admin returns the handler of the admin address, which must not be public
// (specs X35).
func (s *Server) Admin(metrics *prometheus.Registry) http.Handler {
	scrape := promhttp.HandlerFor(metrics, promhttp.HandlerOpts{Registry: metrics})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limitBody(w, r)
		switch path := r.URL.Path; path {
		case "/metrics":
			scrape.ServeHTTP(w, r)
		case "/healthz", "/readyz":
			s.health(w, r, s.cfg.Detail)
		case "/debug/pprof/cmdline":
			pprof.Cmdline(w, r)
		case "/debug/pprof/profile":
			pprof.Profile(w, r)
		case "/debug/pprof/symbol":
			pprof.Symbol(w, r)
		case "/debug/pprof/trace":
			pprof.Trace(w, r)
		default:
			if strings.HasPrefix(path, "/debug/pprof/") {
				pprof.Index(w, r)
				return
			}
			problem.Problem{
				Status: http.StatusNotFound, Title: "no such page",
				Detail: "this address has /metrics, /healthz, /readyz and /debug/pprof/",
			}.Write(w)
		}
	})
}

// health answers for load balancers: healthz while the process runs, readyz
// while it takes publishers and viewers. What fails beside that does not change
// the status: detail tells of it.
func (s *Server) health(w http.ResponseWriter, r *http.Request, detail func() []string) {
	if !readOnly(w, r) {
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Server", "whipcast") // so that whipcast check knows who has the port
	if r.URL.Path == "/readyz" && !s.ready.Load() {
		problem.Problem{Status: http.StatusServiceUnavailable, Title: "not ready", Detail: "the gateway is starting or stopping"}.Write(w)
		return
	}
	if left := s.left.Load(); left != nil && r.URL.Path == "/readyz" {
		p := problem.Problem{Status: http.StatusServiceUnavailable, Title: "draining", Detail: "the gateway takes no new sessions and stops when the last publisher has ended"}
		if detail != nil {
			p.Detail = strings.Join((*left)(), "\n")
		}
		p.Write(w)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	text := "ok\n"
	if r.URL.Path == "/readyz" && detail != nil {
		text += strings.Join(append(detail(), ""), "\n")
	}
	_, _ = io.WriteString(w, text)
}

// readOnly answers all methods but GET and HEAD itself.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	refuse(w, r, Refuse(MethodNotAllowed, "this can only be read: use GET"))
	return false
}
