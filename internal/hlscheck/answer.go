package hlscheck

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Answer is how a version of a media playlist reached its viewer.
type Answer struct {
	Query  string      // of the request, without the question mark
	Header http.Header // of the response
	Asked  time.Time   // when the request was sent
	Came   time.Time   // when the response was there
}

// Answer checks what caches between the origin and the viewer do to a media
// playlist: that they pass delivery directives on (L60, S35), and say how old an
// answer is (L93, L97, S35). Give it each response, also those that Media is not
// given; it compares them with one another.
func (c *Checker) Answer(uri string, a Answer, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.edges == nil {
		c.edges = make(map[string][]edge)
	}
	fault := c.fault(uri, len(c.edges[uri])+1)
	p := parseMedia(body, func(string, string, ...any) {}) // Media tells
	now := edge{msn: p.open.msn, parts: len(p.open.parts), at: a.Came}
	if !p.ended {
		a.checkDirectives(now, fault)
		a.checkLifetime(p, fault)
	}
	a.checkAge(now, c.edges[uri], fault)
	c.edges[uri] = append(c.edges[uri], now)
	if n := len(c.edges[uri]); n > maxEdges {
		c.edges[uri] = c.edges[uri][n-maxEdges/2:]
	}
}

// maxEdges bounds how many answers are compared with a new one.
const maxEdges = 64

// edge is how far a playlist reached: up to so many parts of the open segment.
type edge struct {
	msn   uint64
	parts int
	at    time.Time
}

func (e edge) before(o edge) bool { return e.msn < o.msn || e.msn == o.msn && e.parts < o.parts }

func (e edge) String() string { return fmt.Sprintf("segment %d, part %d", e.msn, e.parts) }

// checkDirectives: the answer to a held request has what it was held for (L60).
func (a Answer) checkDirectives(now edge, fault faultFunc) {
	query, err := url.ParseQuery(a.Query)
	if err != nil || !query.Has("_HLS_msn") {
		return
	}
	msn, err := strconv.ParseUint(query.Get("_HLS_msn"), 10, 64)
	if err != nil {
		return
	}
	wanted := edge{msn: msn + 1} // complete
	if part, err := strconv.Atoi(query.Get("_HLS_part")); err == nil {
		wanted = edge{msn: msn, parts: part + 1}
	}
	// The part may be the one after the last of its segment: then the next segment's
	// first one was waited for, and the edge is past wanted all the same.
	if now.before(wanted) {
		fault("S35", "the answer to %s ends at %v: something on the way drops delivery directives, or answers with what it has", a.Query, now)
	}
}

// checkAge: who answers with what others have long outrun must say how old it
// is (L97): without Age a player takes it for the present.
func (a Answer) checkAge(now edge, seen []edge, fault faultFunc) {
	age, err := strconv.Atoi(a.Header.Get("Age"))
	if given := a.Header.Get("Age"); given != "" && (err != nil || age < 0) {
		fault("L97", "Age %q is no number of seconds", given)
		return
	}
	for _, other := range seen {
		if !now.before(other) || other.at.After(a.Asked) {
			continue
		}
		// It was outrun when the other one came, at the latest. Age has whole seconds.
		if least := math.Floor(a.Asked.Sub(other.at).Seconds()); least > float64(age) {
			fault("S35", "ends at %v, %.0f s and more after a version that ends at %v, and Age is %d", now, least, other, age)
			return
		}
	}
}

// checkLifetime: what did not change for three target durations is stale, whatever
// Age says (L93).
func (a Answer) checkLifetime(p playlist, fault faultFunc) {
	date, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		return
	}
	modified, err := http.ParseTime(a.Header.Get("Last-Modified"))
	if err != nil {
		return
	}
	if old := date.Sub(modified); p.target > 0 && old > 3*time.Duration(p.target)*time.Second {
		fault("L93", "Last-Modified is %v before Date, more than three target durations", old)
	}
}
