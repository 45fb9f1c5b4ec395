package rtc

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/whipcast/whipcast/internal/problem"
)

// ErrDrained says that the gateway is being emptied and waits no longer.
var ErrDrained = errors.New("gateway is drained")

// Draining says where new Sessions should go instead.
type Draining struct {
	// To is the base URL of another gateway, such as https://b.example.org: whoever
	// is sent there may send the token along, so it must be as trusted as this one
	// (specs W69, X36). Empty: clients are told to try again.
	To         string
	RetryAfter time.Duration // said without To
	// Stay says of a stream that its Sessions begin here all the same, for they would find
	// nothing elsewhere. It is called from many goroutines. nil: of none.
	Stay func(stream string) bool
}

// Live is one Session, for people.
type Live struct {
	Direction Direction
	Stream    string
	Session   string // the beginning of its id, as in the log
}

// Target returns the URL there of a request with a path and query of ours, "" without To.
func (d Draining) Target(target string) string {
	if d.To == "" {
		return ""
	}
	return strings.TrimSuffix(d.To, "/") + target
}

// Stays reports whether the Sessions of a stream begin here all the same.
func (d Draining) Stays(stream string) bool { return d.Stay != nil && d.Stay(stream) }

// target is a request's path and query, which may have a token.
func target(r *http.Request) string {
	if r.URL.RawQuery == "" {
		return r.URL.EscapedPath()
	}
	return r.URL.EscapedPath() + "?" + r.URL.RawQuery
}

// Drain lets no new Session begin from now on, but of streams that stay: POSTs are sent
// elsewhere. What runs goes on.
func (g *Registry) Drain(d Draining) {
	g.drain.Store(&d)
	select {
	case g.drains <- struct{}{}:
	default:
	}
}

// Drains delivers once after each Drain, or after several. It is for one reader.
func (g *Registry) Drains() <-chan struct{} { return g.drains }

// Draining says where Sessions should go; false while the Registry does not drain.
func (g *Registry) Draining() (Draining, bool) {
	if d := g.drain.Load(); d != nil {
		return *d, true
	}
	return Draining{}, false
}

// Resume takes Drain back: new Sessions begin here again.
func (g *Registry) Resume() { g.drain.Store(nil) }

// Live returns the Sessions that have not ended, publishers first, then by stream.
func (g *Registry) Live() []Live {
	var all []Live
	for _, x := range g.all() {
		if x.Err() == nil {
			all = append(all, Live{x.opening.Direction, x.opening.Stream, x.id[:7]})
		}
	}
	slices.SortFunc(all, func(a, b Live) int {
		if a.Direction != b.Direction {
			return int(a.Direction) - int(b.Direction)
		}
		return strings.Compare(a.Stream+"/"+a.Session, b.Stream+"/"+b.Session)
	})
	return all
}

// EndAll ends all Sessions of a direction for a reason. It does not wait.
func (g *Registry) EndAll(d Direction, reason error) {
	for _, x := range g.all() {
		if x.opening.Direction == d {
			x.End(reason)
		}
	}
}

// elsewhere answers a POST while the Registry drains. Path and query stay.
func (g *Registry) elsewhere(w http.ResponseWriter, r *http.Request, d Draining) error {
	g.refused.Drained.Add(1)
	if d.To == "" {
		return problem.Problem{
			Status: http.StatusServiceUnavailable, Title: "Gateway is drained", RetryAfter: max(d.RetryAfter, time.Second),
			Detail: "the gateway takes no new sessions before it stops: try again when it is back",
		}
	}
	w.Header().Set("Location", d.Target(target(r)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusTemporaryRedirect) // keeps method and body (RFC 9110 §15.4.8)
	return nil
}
