package rtc

import (
	"crypto/rand"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/whipcast/whipcast/internal/limit"
	"github.com/whipcast/whipcast/internal/problem"
)

const endpointMethods = "GET, HEAD, OPTIONS, POST"

// endpoint is where Sessions are made: /whip/{stream} or /whep/{stream}.
type endpoint struct {
	registry *Registry
	cfg      EndpointConfig
}

// Endpoint returns the handler of an endpoint (RFC 9725 §4.1, §4.2): it answers
// every method, checks the POST and sends the answer of the Session that
// cfg.Accept started.
func (g *Registry) Endpoint(cfg EndpointConfig) http.Handler {
	g.extend(cfg.Direction, cfg.Extensions)
	return &endpoint{registry: g, cfg: cfg}
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cors(w.Header())
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if e.cfg.Direction == Send { // this is how players recognise WHEP (specs E1)
			w.Header().Set("Content-Type", typeSDP)
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusOK)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	case http.MethodOptions:
		w.Header().Set("Accept-Post", typeSDP)
		e.offer(w.Header(), r)
		options(w, endpointMethods)
	case http.MethodPost:
		if err := e.post(w, r); err != nil {
			e.registry.fail(w, r, err)
		}
	default:
		notAllowed(w, endpointMethods)
	}
}

// offer adds the ICE servers to an OPTIONS of somebody who may make a Session, so that
// a client can gather before its POST (RFC 9725 §4.6). A browser's own preflight, and
// whoever may not or asks too often, get none (specs W71, X8).
func (e *endpoint) offer(h http.Header, r *http.Request) {
	g := e.registry
	name := strings.TrimPrefix(r.URL.Path, e.cfg.Prefix)
	if g.cfg.ICEServers == nil || r.Header.Get("Access-Control-Request-Method") != "" || e.cfg.ValidName != nil && !e.cfg.ValidName(name) {
		return
	}
	if !g.posts.Allow(limitAddress(r), time.Now()) {
		return
	}
	if _, err := g.authorize(e.cfg.Direction, r, name); err == nil {
		h.Set("Cache-Control", "no-store")
		g.tell(h, r, "o"+rand.Text()[:shownID-1])
	}
}

// tell adds the ICE servers, and reports whether one of them relays.
func (g *Registry) tell(h http.Header, r *http.Request, user string) bool {
	if g.cfg.ICEServers == nil {
		return false
	}
	servers := g.cfg.ICEServers(r, user)
	for _, link := range links(servers) {
		h.Add("Link", link)
	}
	return slices.ContainsFunc(servers, func(s ICEServer) bool { return strings.HasPrefix(s.URL, "turn") })
}

// limitAddress returns the address that a request counts for.
func limitAddress(r *http.Request) netip.Addr { return limit.Address(r.RemoteAddr) }

// post makes a Session. All that can be wrong with the request is found before
// anything is taken (specs W12).
func (e *endpoint) post(w http.ResponseWriter, r *http.Request) error {
	g := e.registry
	address := limitAddress(r)
	if !g.posts.Allow(address, time.Now()) {
		g.refused.PostRate.Add(1)
		return problem.Problem{
			Status: http.StatusTooManyRequests, Title: "Too many requests",
			Detail: "this address makes sessions too fast: wait before the next attempt", RetryAfter: 2 * time.Second,
		}
	}
	name := strings.TrimPrefix(r.URL.Path, e.cfg.Prefix)
	if d := g.drain.Load(); d != nil && !d.Stays(name) {
		return g.elsewhere(w, r, *d)
	}
	if e.cfg.ValidName != nil && !e.cfg.ValidName(name) {
		return problem.Problem{
			Status: http.StatusNotFound, Title: "No such stream",
			Detail: "a stream's name has 1 to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit",
		}
	}
	caller, err := g.authorize(e.cfg.Direction, r, name)
	if err != nil {
		return err
	}
	caller.Address = address
	if err := g.hasten(e.cfg.Direction, caller, time.Now()); err != nil {
		return err
	}
	if contentType(r) != typeSDP {
		w.Header().Set("Accept-Post", typeSDP)
		return problem.Problem{
			Status: http.StatusUnsupportedMediaType, Title: "Unsupported media type",
			Detail: "send the SDP offer with Content-Type: application/sdp",
		}
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	x, err := e.cfg.Accept(r.Context(), Request{Caller: caller, Stream: name, Target: target(r), Body: body})
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", typeSDP)
	h.Set("Location", "/session/"+x.id) // W19: absolute path, no query
	h.Set("ETag", x.patch.tag())
	h.Set("Cache-Control", "no-store")
	x.told.Store(g.tell(h, r, x.id[:shownID]))
	for i := range e.cfg.Extensions {
		h.Add("Link", e.cfg.Extensions[i].link(x.id))
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write([]byte(x.answer)) // if it does not arrive, the Session is reaped
	x.answer = ""                    // nobody asks for it again
	return nil
}
