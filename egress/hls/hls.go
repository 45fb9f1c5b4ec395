// Package hls is the origin: it serves presentations to HLS players.
//
// It reads Objects from a store and knows of playlists only what
// storage.Position says. Requests that ask for what is not there yet are held
// until it is: low-latency HLS (rfc8216bis §6.2.5, §6.2.6).
//
//	GET /hls/{stream}/index.m3u8                              multivariant playlist
//	GET /hls/{stream}/{presentation}/{rendition}/index.m3u8   media playlist, can be held
//	GET /hls/{stream}/{presentation}/{rendition}/p….m4s       part, can be held if it is the hinted one
//	GET /hls/{stream}/{presentation}/{rendition}/s….m4s       segment
//	GET /hls/{stream}/{presentation}/{rendition}/init-….mp4   initialization segment
//	GET /hls/~{token}/{stream}/…                              the same, for who has the token
//	GET /hls/{stream}/index.m3u8?token={token}                moved to there: what it names keeps the token
//
// A playlist version is compressed and given its headers once, whoever many
// viewers wait for it. The Handler starts no goroutine; a held request ends
// with its viewer's connection, at the latest after three target durations.
package hls

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/storage"
)

// Store is what the origin reads. storage/memory has one.
type Store interface {
	// Get returns the Object of a key: at once if ready is nil, else as soon as
	// ready accepts it. It returns storage.ErrNotFound if there is no such Object,
	// or never will be, and the context's error when ctx ends.
	Get(ctx context.Context, key string, ready func(storage.Object) bool) (storage.Object, error)
}

// Authorize says who may watch a stream. An error is a problem.Problem with
// status 401, 403 or 404, or 503 while it cannot be known. A token can be in the
// request's header, in its path after Prefix and a ~, or in its query.
type Authorize func(r *http.Request, stream string) (principal string, err error)

// Config configures a Handler. The zero Config serves everything to everyone.
type Config struct {
	// Authorize decides every request but preflights. nil: everyone may watch.
	// With it, no shared cache keeps an answer but under a path with a token.
	Authorize Authorize
	// Origins are the web origins whose pages may read answers, each like
	// "https://example.org". Empty: all (specs X9, L103).
	Origins []string
	// Client says whom a request counts for in MaxHeldPerClient; the zero address
	// is not counted. nil: the remote address, IPv6 by its /64 network, loopback
	// not counted. Behind a proxy give one that reads its header (specs X34).
	Client func(r *http.Request) netip.Addr
	// Latency keeps how old what is fetched is, and what players tell of
	// themselves; nil: nothing does.
	Latency *latency.Book

	MaxHeld          int // held requests in all; 0: 50,000
	MaxHeldPerStream int // … of one stream; 0: 20,000
	MaxHeldPerClient int // … of one client; 0: 1,000
}

// Stats counts what the Handler does.
type Stats struct {
	Held     int    // requests that wait now
	Prepared int64  // playlist texts made ready so far, each once for all viewers
	Holds    uint64 // requests that were held so far
	Refused  uint64 // requests that were not, over a limit or while closing
}

// maxQuery is the longest query that is read: signed URLs fit (specs X27).
const maxQuery = 4096

// writeSlack is how long a viewer has to take its answer once it was held.
const writeSlack = 30 * time.Second

// Handler serves presentations. It is safe for concurrent use.
type Handler struct {
	cfg    Config
	store  Store
	gate   *gate
	pages  *pages
	header headers
	tally  tally
	seen   *audience
}

// New returns a Handler that serves what store holds, for paths that begin with
// Prefix.
func New(cfg Config, store Store) *Handler {
	if cfg.MaxHeld <= 0 {
		cfg.MaxHeld = 50_000
	}
	if cfg.MaxHeldPerStream <= 0 {
		cfg.MaxHeldPerStream = 20_000
	}
	if cfg.MaxHeldPerClient <= 0 {
		cfg.MaxHeldPerClient = 1_000
	}
	if cfg.Client == nil {
		cfg.Client = func(r *http.Request) netip.Addr { return clientAddress(r.RemoteAddr) }
	}
	h := newHeaders(cfg)
	return &Handler{cfg: cfg, store: store, gate: newGate(cfg), pages: newPages(store, cfg.Latency), header: h, tally: newTally(), seen: newAudience()}
}

// Close releases all held requests with status 503 and holds no more; whatever
// needs no wait is still served. It suits http.Server.RegisterOnShutdown.
func (h *Handler) Close() { h.gate.close() }

// Stats returns what the Handler does now.
func (h *Handler) Stats() Stats {
	held, _ := h.gate.state()
	return Stats{Held: held, Prepared: h.pages.made.Load(), Holds: h.tally.holds.Load(), Refused: h.tally.refused.Load()}
}

// Viewers estimates how many players read a stream: how many different ones asked for
// a media playlist in the last 20 to 30 s. It may be wrong by some percent; players
// behind a cache are not seen here.
func (h *Handler) Viewers(stream string) int { return h.seen.count(stream, time.Now()) }

// AllViewers estimates how many players read all streams.
func (h *Handler) AllViewers() int { return h.seen.total(time.Now()) }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.header.common(w.Header(), r)
	if err := h.serve(w, r); err != nil {
		h.refuse(w, r, err)
	}
}

// serve answers a request, or returns the Problem to answer with.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	// An encoded form means characters that no name of ours has (specs X7).
	t, ok := parsePath(r.URL.Path)
	if !ok || r.URL.RawPath != "" {
		return notFound()
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions: // before any authorization (specs X8)
		h.header.preflight(w.Header())
		w.WriteHeader(http.StatusNoContent)
		h.tally.answered(kindOther, http.StatusNoContent, 0)
		return nil
	default:
		w.Header()["Allow"] = h.header.methods
		return problem.Problem{
			Status: http.StatusMethodNotAllowed, Title: "Method not allowed",
			Detail: "Presentations can only be read: use GET or HEAD.",
		}
	}
	if len(r.URL.RawQuery) > maxQuery {
		return problem.Problem{
			Status: http.StatusRequestURITooLong, Title: "Query too long",
			Detail: "The query has more than 4096 bytes. Shorten it.",
		}
	}
	if h.cfg.Authorize != nil {
		if _, err := h.cfg.Authorize(r, t.stream); err != nil {
			return err
		}
		if token := queryToken(r.URL.RawQuery); token != "" && t.directory == "" && !t.token {
			// URLs in playlists are relative: they keep a path, and lose a query.
			to := w.Header()
			to["Location"] = []string{Prefix + "~" + token + "/" + t.key}
			to["Cache-Control"] = h.header.cacheNever
			w.WriteHeader(http.StatusFound)
			h.tally.answered(kindMultivariant, http.StatusFound, 0)
			return nil
		}
	}
	h.listen(r, t)
	err := h.answer(w, r, t)
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if t.playlist {
		h.pages.forget(t.key)
	}
	return notFound()
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request, t target) error {
	switch {
	case !t.playlist:
		return h.media(w, r, t)
	case t.directory == "":
		return h.multivariant(w, r, t)
	}
	return h.playlist(w, r, t)
}

func (h *Handler) multivariant(w http.ResponseWriter, r *http.Request, t target) error {
	o, err := h.store.Get(r.Context(), t.key, nil)
	if err != nil {
		return err
	}
	return h.send(w, r, &o, directives{visibility: h.visible(t)})
}

// playlist answers a media playlist request, held if need be.
func (h *Handler) playlist(w http.ResponseWriter, r *http.Request, t target) error {
	wanted, malformed := parseDirectives(r.URL.RawQuery)
	o, err := h.store.Get(r.Context(), t.key, nil)
	switch {
	case err != nil:
		return err
	case o.Position.Ended: // directives mean nothing any more (specs L63)
		return h.send(w, r, &o, directives{visibility: h.visible(t)})
	case malformed != nil:
		return problem.Problem{
			Status: http.StatusBadRequest, Title: "Malformed delivery directive", Detail: malformed.Error() + ".",
		}
	case wanted.tooFar(o.Position):
		return problem.Problem{
			Status: http.StatusBadRequest, Title: "Delivery directive too far ahead",
			Detail: "The playlist ends more than two segments, or the Advance Part Limit, before what was asked for. " +
				"Read the playlist without _HLS_msn first.",
		}
	case !wanted.ready(o.Position):
		o, err = h.hold(w, r, t, wait{o.Position.Target, func(o storage.Object) bool { return wanted.ready(o.Position) }})
		if err != nil {
			return err
		}
		if o.Position.Ended {
			wanted = directives{}
		}
	}
	if !o.Position.Ended {
		h.seen.saw(r, t.stream, time.Now())
	}
	wanted.visibility = h.visible(t)
	return h.send(w, r, &o, wanted)
}

// wait says for what a request is held.
type wait struct {
	target time.Duration // at most three of these (specs L57, L66)
	ready  func(storage.Object) bool
}

// hold waits until the Object that t names is ready. The error is a Problem, or
// the store's.
func (h *Handler) hold(w http.ResponseWriter, r *http.Request, t target, what wait) (storage.Object, error) {
	limit := 3 * max(what.target, time.Second)
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	me := &hold{stream: t.stream, client: h.cfg.Client(r), cancel: cancel}
	if err := h.gate.enter(me); err != nil {
		h.tally.refused.Add(1)
		return storage.Object{}, err
	}
	defer h.gate.leave(me)
	h.tally.holds.Add(1)
	begun := time.Now()
	defer func() { h.tally.waits.Observe(time.Since(begun).Seconds()) }()
	// The server's time-out for writing counts from the request on: it must not
	// cut off one that was held (specs X25). Writers without deadlines need none.
	_ = http.NewResponseController(w).SetWriteDeadline(begun.Add(limit + writeSlack))

	o, err := h.store.Get(ctx, t.key, what.ready)
	switch {
	case err == nil || errors.Is(err, storage.ErrNotFound):
		return o, err
	case errors.Is(err, context.DeadlineExceeded):
		return o, problem.Problem{
			Status: http.StatusServiceUnavailable, Title: "Nothing new in time", RetryAfter: time.Second,
			Detail: "The stream brought nothing new for three target durations. Try again in a moment.",
		}
	case errors.Is(err, context.Canceled): // by Close, by the server, or the viewer is gone and reads nothing
		return o, closing()
	}
	return o, problem.Problem{
		Status: http.StatusServiceUnavailable, Title: "Cannot hold the request", RetryAfter: time.Second,
		Detail: "The server has no room for another held request. Try again in a moment.",
	}
}

func notFound() problem.Problem {
	return problem.Problem{
		Status: http.StatusNotFound, Title: "Not found",
		Detail: "There is no such file now. If the stream is about to start, try again in a moment.",
	}
}

// refuse answers with a problem document that no cache keeps for long.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p, ok := errors.AsType[problem.Problem](err)
	if !ok {
		// A viewer that is gone, or a store that fails: the cause is not for the
		// public.
		p = problem.Problem{
			Status: http.StatusServiceUnavailable, Title: "Cannot read the file", RetryAfter: time.Second,
			Detail: "The server could not read the file. Try again in a moment.",
		}
	}
	h.tally.answered(asked(r), p.Status, 0)
	h.header.refusal(w.Header(), p.Status)
	if r.Method == http.MethodHead {
		p.Write(headOnly{w})
		return
	}
	p.Write(w)
}

// headOnly drops the body, for writers that do not know the request's method.
type headOnly struct{ http.ResponseWriter }

func (headOnly) Write(b []byte) (int, error) { return len(b), nil }
