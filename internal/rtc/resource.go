package rtc

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"
	"golang.org/x/time/rate"

	"github.com/whipcast/whipcast/internal/problem"
)

const (
	sessionMethods = "GET, HEAD, OPTIONS, PATCH, DELETE"
	patchRate      = 10 // a second and Session (specs X15)
	patchBurst     = 30

	// PATCHes and DELETEs a second and address, for many Sessions behind one.
	changeRate  = 50
	changeBurst = 1000
)

// resource is what PATCHes change of a Session.
type resource struct {
	offer *Offer
	etag  atomic.Pointer[string]
	limit *rate.Limiter

	turn chan struct{} // holds one token; who took it owns what follows
	ice  remote        // owned by the holder of the token
}

// remote is what is known of the other side's ICE in one generation.
type remote struct {
	creds      credentials
	candidates []string // so far
	taken      int      // candidates accepted, over all generations
	ended      bool     // a=end-of-candidates came
}

func newResource(o *Offer) *resource {
	p := &resource{
		offer: o, limit: rate.NewLimiter(patchRate, patchBurst), turn: make(chan struct{}, 1),
		ice: remote{creds: o.credentials, candidates: o.candidates, taken: len(o.candidates)},
	}
	p.renew()
	p.turn <- struct{}{}
	return p
}

// tag returns the present entity-tag: strong, and another one in each ICE
// generation (RFC 9725 §4.3.1).
func (p *resource) tag() string { return *p.etag.Load() }

func (p *resource) renew() {
	tag := `"` + rand.Text() + `"`
	p.etag.Store(&tag)
}

// ServeHTTP answers at /session/{id} and below.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cors(w.Header())
	id, path, below := strings.Cut(strings.TrimPrefix(r.URL.Path, "/session/"), "/")
	var err error
	if below {
		if err = g.below(w, r, id, path); err != nil {
			g.fail(w, r, err)
		}
		return
	}
	switch r.Method {
	case http.MethodOptions:
		w.Header().Set("Accept-Patch", typeFragment)
		options(w, sessionMethods)
	case http.MethodGet, http.MethodHead:
		if g.lookup(id) == nil {
			err = noSession()
			break
		}
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPatch, http.MethodDelete:
		if err = g.slow(r); err != nil {
			break
		}
		change := g.patch
		if r.Method == http.MethodDelete {
			change = g.delete
		}
		err = change(w, r, id)
	default:
		notAllowed(w, sessionMethods)
	}
	if err != nil {
		g.fail(w, r, err)
	}
}

func noSession() error {
	return problem.Problem{
		Status: http.StatusNotFound, Title: "No such session",
		Detail: "it has ended or never was: make a new one by POST to the endpoint",
	}
}

// ending is what is kept of a Session that has ended.
type ending struct {
	id, stream, principal string
	reason                error
}

// problem says why there is no such Session any more (specs W65).
func (e ending) problem() error {
	if errors.Is(e.reason, ErrTakenOver) {
		return problem.Problem{
			Status: http.StatusNotFound, Title: "Session was taken over",
			Detail: "another device, program or tab publishes in its place; to start here again takes it back",
		}
	}
	return problem.Problem{
		Status: http.StatusNotFound, Title: "No such session",
		Detail: "it has ended (" + e.reason.Error() + "): make a new one by POST to the endpoint",
	}
}

// session returns the Session of an id if the request may change it: besides
// the unguessable URL it takes the credentials of its POST (specs W75, X3). A
// caller that lacks them learns nothing of the Session's existence (W47): known
// and unknown ids are answered alike. Who has them is told how it ended.
func (g *Registry) session(r *http.Request, id string) (*Session, error) {
	x, stream, principal, missing := g.lookup(id), "unknown", "", noSession()
	if x != nil {
		stream, principal = x.opening.Stream, x.opening.Principal
	} else if e := g.ended.Get(id[:min(shownID, len(id))]); e.id == id && e.reason != nil {
		stream, principal, missing = e.stream, e.principal, e.problem()
	}
	caller, err := g.authorize(directionOf(id), r, stream)
	if p, ok := err.(problem.Problem); ok && (p.Status == http.StatusUnauthorized || p.Status >= 500) { //nolint:errorlint // Authorize returns the value itself
		return nil, p
	}
	if err != nil || caller.Principal != principal {
		return nil, noSession()
	}
	if x == nil {
		return nil, missing
	}
	return x, nil
}

// delete ends a Session, whatever If-Match says (specs W45). OBS wants exactly
// 200 (W62).
func (g *Registry) delete(w http.ResponseWriter, r *http.Request, id string) error {
	x, err := g.session(r, id)
	if err != nil {
		return err
	}
	x.End(ErrDeleted)
	select {
	case <-x.done:
	case <-r.Context().Done():
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// patch takes a trickle fragment or restarts ICE (RFC 9725 §4.3).
func (g *Registry) patch(w http.ResponseWriter, r *http.Request, id string) error {
	x, err := g.session(r, id)
	if err != nil {
		return err
	}
	if !x.patch.limit.Allow() {
		g.refused.ChangeRate.Add(1)
		return problem.Problem{
			Status: http.StatusTooManyRequests, Title: "Too many requests",
			Detail: "send several candidates in one PATCH", RetryAfter: time.Second,
		}
	}
	if err := patchType(w, r, x); err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	f, err := parseFragment(body)
	if err != nil {
		return err
	}
	select { // W44: one after the other, each judged when its turn comes
	case <-x.patch.turn:
		defer func() { x.patch.turn <- struct{}{} }()
	case <-r.Context().Done():
		return noSession()
	}
	if x.Err() != nil {
		return noSession()
	}
	restart, err := x.patch.judge(f, r.Header.Values("If-Match"), g.cfg.Strict)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	if !restart {
		x.trickle(f)
		w.WriteHeader(http.StatusNoContent) // W48: no ETag
		return nil
	}
	answer, err := x.restart(r.Context(), f)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", typeFragment)
	w.Header().Set("ETag", x.patch.tag())
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(answer))
	return nil
}

func patchType(w http.ResponseWriter, r *http.Request, x *Session) error {
	switch t := contentType(r); {
	case t == typeFragment:
		return nil
	case t == typeSDP && x.opening.Direction == Send: // E5
		return problem.Problem{
			Status: http.StatusConflict, Title: "No counter-offer",
			Detail: "this session has no counter-offer that an SDP answer could belong to",
		}
	default:
		w.Header().Set("Accept-Patch", typeFragment)
		return problem.Problem{
			Status: http.StatusUnsupportedMediaType, Title: "Unsupported media type",
			Detail: "send Content-Type: application/trickle-ice-sdpfrag",
		}
	}
}

// judge decides whether a fragment may be applied, and whether it restarts ICE.
// Credentials decide that, not If-Match (specs W42); the ufrag decides before
// the pwd, which the trickle example of RFC 9725 gets wrong (W43).
func (p *resource) judge(f fragment, match []string, strict bool) (restart bool, err error) {
	restart = f.creds.ufrag != "" && f.creds.ufrag != p.ice.creds.ufrag
	switch {
	case restart && !f.creds.valid():
		return false, badFragment("an ICE restart needs a new ice-ufrag of 4 and ice-pwd of 22 characters at least (RFC 8839 §5.4)")
	case restart && f.creds.pwd == p.ice.creds.pwd:
		return false, badFragment("an ICE restart must change both ice-ufrag and ice-pwd (RFC 8839 §4.4.3.1.1)")
	case len(match) > 0:
		if !matches(match, p.tag()) {
			return false, problem.Problem{
				Status: http.StatusPreconditionFailed, Title: "Precondition failed",
				Detail: "If-Match names another ICE session than the present one: ICE was restarted meanwhile",
			}
		}
	// W40: without If-Match the fragment itself can name the ICE session.
	case strict || f.creds.ufrag != p.ice.creds.ufrag:
		return false, problem.Problem{
			Status: http.StatusPreconditionRequired, Title: "Precondition required",
			Detail: "send If-Match with the session's ETag, or * for an ICE restart",
		}
	}
	return restart, nil
}

// matches compares strongly (RFC 9110 §13.1.1): a weak tag never matches. The
// quoted asterisk is RFC 9725's own example (specs W41).
func matches(match []string, tag string) bool {
	for _, value := range match {
		for one := range strings.SplitSeq(value, ",") {
			if one = strings.TrimSpace(one); one == "*" || one == `"*"` || one == tag {
				return true
			}
		}
	}
	return false
}

// trickle applies the candidates that are of use, and drops the others without
// a word (specs W49, W51–W53).
func (x *Session) trickle(f fragment) {
	ice := &x.patch.ice
	x.mu.Lock()
	for _, c := range f.candidates {
		x.heard = hear(x.heard, c.line)
	}
	x.mu.Unlock()
	for _, line := range x.registry.engine.checked(x.patch.add(f)) {
		err := x.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: "candidate:" + line})
		if err != nil {
			x.log.Debug("candidate ignored", "error", err)
		}
	}
	ice.ended = ice.ended || f.end
}

// add returns what is new and usable of a fragment's candidates.
func (p *resource) add(f fragment) []string {
	var fresh []string
	if p.ice.ended {
		return nil
	}
	for _, c := range f.candidates {
		line, ok := usable(c.line)
		known := c.mid == "" || slices.ContainsFunc(p.offer.Sections, func(s Section) bool { return s.MID == c.mid }) // W46
		if !ok || !known || p.ice.taken >= maxCandidates || slices.Contains(p.ice.candidates, line) {
			continue
		}
		p.ice.taken++
		p.ice.candidates = append(slices.Clip(p.ice.candidates), line)
		fresh = append(fresh, line)
	}
	return fresh
}

// restart begins a new ICE generation. DTLS, SRTP and codecs go on (specs
// W54–W61).
func (x *Session) restart(ctx context.Context, f fragment) (string, error) {
	p := x.patch
	former := p.ice
	p.ice = remote{creds: f.creds, taken: min(p.ice.taken, maxCandidates/2)} // W55: the old ones are replaced
	candidates := x.registry.engine.checked(p.add(f))
	p.ice.ended = f.end
	answer, err := negotiate(ctx, x.pc, p.offer, p.offer.describe(f.creds, candidates), func() error { return nil })
	if err == nil {
		answer, err = restartFragment(answer)
	}
	if err != nil {
		p.ice = former // W58: it goes on
		x.log.Warn("restart ICE", "error", err)
		return "", problem.Problem{
			Status: http.StatusInternalServerError, Title: "ICE restart failed",
			Detail: "the session stays until its consent expires: make a new one by POST",
		}
	}
	p.renew()
	return answer, nil
}
