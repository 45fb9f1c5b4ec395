package rtc

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/whipcast/whipcast/internal/problem"
)

// Extension is a further resource of each Session of an endpoint: it lies at
// /session/{id}/{Name}, with all that is below that. The response that makes a
// Session names it in a Link header (RFC 9725 §4.9, draft-ietf-wish-whep §4.10).
type Extension struct {
	Name       string // one element of the path
	Relation   string // of its Link
	Parameters string // of its Link besides rel, such as `events="active"`; may be empty
	Methods    string // for Allow; OPTIONS is answered without Serve
	// Serve answers a request of one of the Methods. rest is the path behind the
	// name, without the slash. An error that is a problem.Problem is sent as it is.
	Serve func(x *Session, w http.ResponseWriter, r *http.Request, rest string) error
}

// link returns the value of the Link header.
func (e *Extension) link(id string) string {
	link := "</session/" + id + "/" + e.Name + `>; rel="` + e.Relation + `"`
	if e.Parameters != "" {
		link += "; " + e.Parameters
	}
	return link
}

// extend makes the Extensions of an endpoint known.
func (g *Registry) extend(d Direction, all []Extension) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.extensions[d] = all
}

// extensionsOf returns what extends the Sessions of a direction. It must not be changed.
func (g *Registry) extensionsOf(d Direction) []Extension {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.extensions[d]
}

// below answers at /session/{id}/{path}.
func (g *Registry) below(w http.ResponseWriter, r *http.Request, id, path string) error {
	name, rest, _ := strings.Cut(path, "/")
	all := g.extensionsOf(directionOf(id))
	i := slices.IndexFunc(all, func(e Extension) bool { return e.Name == name })
	if i < 0 {
		return noSession()
	}
	e := &all[i]
	switch {
	case r.Method == http.MethodOptions:
		w.Header().Set("Accept-Post", typeJSON)
		options(w, e.Methods)
		return nil
	case !slices.Contains(strings.Split(e.Methods, ", "), r.Method):
		notAllowed(w, e.Methods)
		return nil
	}
	x, err := g.reached(r, id)
	if err != nil {
		return err
	}
	return e.Serve(x, w, r, rest)
}

// reached returns the Session whose Extension a request is for. What only reads may
// come without credentials, because EventSource cannot send any: the URL itself is
// unguessable, and ends with the Session (specs E33). Credentials that come must be
// right.
func (g *Registry) reached(r *http.Request, id string) (*Session, error) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if reads && r.Header.Get("Authorization") == "" {
		if x := g.lookup(id); x != nil {
			return x, nil
		}
		return nil, noSession()
	}
	if reads {
		return g.session(r, id)
	}
	if err := g.slow(r); err != nil {
		return nil, err
	}
	x, err := g.session(r, id)
	if err != nil {
		return nil, err
	}
	if !x.patch.limit.Allow() {
		g.refused.ChangeRate.Add(1)
		return nil, problem.Problem{
			Status: http.StatusTooManyRequests, Title: "Too many requests",
			Detail: "this session is changed too often: wait a moment", RetryAfter: time.Second,
		}
	}
	return x, nil
}

// directionOf tells it from an id, of which nothing else need be known.
func directionOf(id string) Direction {
	if strings.HasPrefix(id, "w") {
		return Send
	}
	return Receive
}

// Body reads the body of a request to an Extension, of at most 64 KiB. The error is a
// problem.Problem.
func Body(w http.ResponseWriter, r *http.Request) ([]byte, error) { return readBody(w, r) }
