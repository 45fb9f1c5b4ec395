package hls

import (
	"net/http"
	"slices"
	"strings"
)

// headers are the header values that are the same for every answer. They are
// slices made once, because http.Header holds slices: setting one allocates
// nothing. Nobody may change them.
type headers struct {
	origins []string

	anyOrigin  []string
	vary       []string // of everything; nil: nothing varies by origin
	varyText   []string // of playlists
	expose     []string
	nosniff    []string
	methods    []string
	allow      []string
	keep       []string // how long a preflight may be kept
	gzip       []string
	bytes      []string
	playlist   []string // RFC 9218 priorities (specs L96)
	media      []string
	cacheMedia [2][]string // by visibility
	cacheBrief []string
	cacheNever []string
	referrer   []string
	challenge  []string
}

// visibility says which caches may keep an answer.
type visibility uint8

const (
	public  visibility = iota // shared ones, too
	private                   // the viewer's own
)

func (v visibility) String() string { return [...]string{"public", "private"}[v] }

// visible returns the visibility of an answer. When not everyone may watch it is
// private, unless the token is in the path: such an answer is found in a cache only
// by who has the token, and was put there while the token was good. What is made
// after the token's end never gets into a cache under its path. So one token for an
// audience still lets a CDN do its work (docs/adr/0011-auth.md).
func (h *Handler) visible(t target) visibility {
	if h.cfg.Authorize != nil && !t.token {
		return private
	}
	return public
}

func newHeaders(cfg Config) headers {
	h := headers{
		origins:    slices.Clone(cfg.Origins),
		varyText:   []string{"Accept-Encoding"},
		expose:     []string{"Age, Date, Content-Length, Content-Range"}, // specs L103, X10
		nosniff:    []string{"nosniff"},
		methods:    []string{"GET, HEAD, OPTIONS"},
		allow:      []string{"Authorization, Range"},
		keep:       []string{"86400"},
		gzip:       []string{"gzip"},
		bytes:      []string{"bytes"},
		playlist:   []string{"u=1"},
		media:      []string{"u=3"},
		cacheNever: []string{"no-store"},
		referrer:   []string{"no-referrer"},
		challenge:  []string{"Bearer"},
	}
	if len(h.origins) == 0 || slices.Contains(h.origins, "*") {
		h.anyOrigin = []string{"*"}
	} else {
		h.vary = []string{"Origin"}
		h.varyText = []string{"Accept-Encoding, Origin"}
	}
	for _, v := range []visibility{public, private} {
		h.cacheMedia[v] = []string{v.String() + ", max-age=31536000, immutable"}
	}
	h.cacheBrief = []string{"public, max-age=1"}
	if cfg.Authorize != nil {
		h.cacheBrief = []string{"private, max-age=1"}
	}
	return h
}

// common sets what every answer has.
func (h *headers) common(to http.Header, r *http.Request) {
	to["X-Content-Type-Options"] = h.nosniff // specs X12
	to["Referrer-Policy"] = h.referrer       // specs X4: the URL may hold a token
	if h.anyOrigin != nil {
		to["Access-Control-Allow-Origin"] = h.anyOrigin
		to["Access-Control-Expose-Headers"] = h.expose
		return
	}
	to["Vary"] = h.vary
	if asked := r.Header["Origin"]; len(asked) == 1 && h.allowed(asked[0]) {
		to["Access-Control-Allow-Origin"] = asked
		to["Access-Control-Expose-Headers"] = h.expose
	}
}

func (h *headers) allowed(origin string) bool {
	return slices.ContainsFunc(h.origins, func(o string) bool { return strings.EqualFold(o, origin) })
}

// preflight sets what the answer to OPTIONS has (specs X8, X10).
func (h *headers) preflight(to http.Header) {
	to["Allow"] = h.methods
	to["Access-Control-Allow-Methods"] = h.methods
	to["Access-Control-Allow-Headers"] = h.allow
	to["Access-Control-Max-Age"] = h.keep
}

// refusal sets what an error has: shared caches keep it for a second at most,
// and not at all if it depends on who asks (specs L98, X28).
func (h *headers) refusal(to http.Header, status int) {
	switch status {
	case http.StatusUnauthorized:
		to["Www-Authenticate"] = h.challenge
		to["Cache-Control"] = h.cacheNever
	case http.StatusForbidden, http.StatusTooManyRequests:
		to["Cache-Control"] = h.cacheNever
	default:
		to["Cache-Control"] = h.cacheBrief
	}
}
