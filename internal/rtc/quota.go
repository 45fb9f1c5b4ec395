package rtc

import (
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/problem"
)

// Refusals counts the requests that a limit refused. It may be read at any time.
type Refusals struct {
	PostRate     atomic.Uint64 // 429: POSTs of one address
	TokenRate    atomic.Uint64 // 429: POSTs of one principal
	TotalRate    atomic.Uint64 // 503: POSTs of all
	ChangeRate   atomic.Uint64 // 429: PATCHes and DELETEs of one address, PATCHes of one Session
	Sessions     atomic.Uint64 // 503: of all
	Pending      atomic.Uint64 // 503: of all
	PerAddress   atomic.Uint64 // 429
	PerPrincipal atomic.Uint64 // 429
	Drained      atomic.Uint64 // 307 or 503: see Registry.Drain
}

// quota counts the Sessions that are open, and of whom (specs X23). Its owner holds
// a lock.
type quota struct {
	open, pending int
	address       map[netip.Addr]int
	principal     map[string]int
}

// counted returns whom a Session counts for. A proxy on this machine stands for many,
// and is not counted by its address; a principal of many not as one.
func (c Caller) counted() (netip.Addr, string) {
	a, p := c.Address, c.Principal
	if a.IsLoopback() {
		a = netip.Addr{}
	}
	if c.Many {
		p = ""
	}
	return a, p
}

func (q *quota) enter(c Caller) {
	q.open++
	q.pending++
	a, p := c.counted()
	if a.IsValid() {
		q.address[a]++
	}
	if p != "" {
		q.principal[p]++
	}
}

func (q *quota) leave(c Caller) {
	q.open--
	a, p := c.counted()
	if q.address[a]--; q.address[a] <= 0 {
		delete(q.address, a)
	}
	if q.principal[p]--; q.principal[p] <= 0 {
		delete(q.principal, p)
	}
}

// take reserves a place for a Session. A tenth of all places is not for viewers:
// a publisher who reconnects must not find the house full of his own audience.
func (g *Registry) take(d Direction, c Caller) error {
	sessions, pending := g.cfg.MaxSessions, g.cfg.MaxPending
	if d == Send {
		sessions -= sessions / 10
		pending -= pending / 10
	}
	address, principal := c.counted()
	g.mu.Lock()
	defer g.mu.Unlock()
	full := func(counter *atomic.Uint64, status int, title, detail string) error {
		counter.Add(1)
		return problem.Problem{Status: status, Title: title, Detail: detail, RetryAfter: 5 * time.Second}
	}
	switch {
	case g.closed:
		return problem.Problem{
			Status: http.StatusServiceUnavailable, Title: "Gateway stops", RetryAfter: 5 * time.Second,
			Detail: "the gateway is shutting down: try again when it is back",
		}
	case g.quota.open >= sessions:
		return full(&g.refused.Sessions, http.StatusServiceUnavailable, "Too many sessions", "the gateway has as many sessions as it may: try again later")
	case g.quota.pending >= pending:
		return full(&g.refused.Pending, http.StatusServiceUnavailable, "Too many pending sessions", "too many sessions are being set up: try again in a few seconds")
	case address.IsValid() && g.quota.address[address] >= g.cfg.MaxPerAddress:
		return full(&g.refused.PerAddress, http.StatusTooManyRequests, "Too many sessions of one address", "your address has as many sessions as it may: end some, or watch by HLS")
	case principal != "" && g.quota.principal[principal] >= g.cfg.MaxPerPrincipal:
		return full(&g.refused.PerPrincipal, http.StatusTooManyRequests, "Too many sessions of one token", "this token has as many sessions as it may: end some, or use another token")
	}
	g.quota.enter(c)
	g.wg.Add(1)
	return nil
}

// give returns the place of a Session. g.mu is held.
func (g *Registry) give(c Caller) {
	g.quota.leave(c)
	g.wg.Done()
}

// Refused returns what the limits refused.
func (g *Registry) Refused() *Refusals { return &g.refused }

// limitTokens sets what is not set.
func (cfg *RegistryConfig) limitTokens() {
	if cfg.TokenRate <= 0 {
		cfg.TokenRate = 20
	}
	if cfg.TokenBurst <= 0 {
		cfg.TokenBurst = 200
	}
	if cfg.TotalRate <= 0 {
		cfg.TotalRate = 200
	}
	if cfg.TotalBurst <= 0 {
		cfg.TotalBurst = 2000
	}
}

// hasten refuses POSTs that come too fast of one principal, or of all. It is asked
// once they are authorised, so that nobody without a token takes the places of those
// who have one; publishers are not held up by viewers.
func (g *Registry) hasten(d Direction, c Caller, now time.Time) error {
	if _, principal := c.counted(); principal != "" && !g.tokens.Allow(principal, now) {
		g.refused.TokenRate.Add(1)
		return problem.Problem{
			Status: http.StatusTooManyRequests, Title: "Too many requests of one token", RetryAfter: 2 * time.Second,
			Detail: "this token makes sessions too fast: wait before the next attempt",
		}
	}
	if !g.total.Allow(d, now) {
		g.refused.TotalRate.Add(1)
		return problem.Problem{
			Status: http.StatusServiceUnavailable, Title: "Too many requests of all", RetryAfter: 2 * time.Second,
			Detail: "more sessions begin than the gateway can set up: try again in a few seconds",
		}
	}
	return nil
}

// slow refuses PATCHes and DELETEs of an address that sends too many.
func (g *Registry) slow(r *http.Request) error {
	if g.changes.Allow(limitAddress(r), time.Now()) {
		return nil
	}
	g.refused.ChangeRate.Add(1)
	return problem.Problem{
		Status: http.StatusTooManyRequests, Title: "Too many requests",
		Detail: "this address changes sessions too fast: wait before the next attempt", RetryAfter: time.Second,
	}
}
