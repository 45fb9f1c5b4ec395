package rtc

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/problem"
)

// TestQuota: X23 one address, and one token, have so many sessions at once; what ends
// makes room; loopback and what many share have no limit of their own. Each refusal
// says when to try again, and is counted.
func TestQuota(t *testing.T) {
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, tt := range []struct {
		name    string
		c       Caller
		places  int
		counter func(*Refusals) uint64
	}{
		{"address", Caller{Address: one, Principal: "a"}, 3, func(r *Refusals) uint64 { return r.PerAddress.Load() }},
		{"token", Caller{Address: netip.MustParseAddr("127.0.0.1"), Principal: "a"}, 5, func(r *Refusals) uint64 { return r.PerPrincipal.Load() }},
		{"loopback, a token of many", Caller{Address: netip.MustParseAddr("::1"), Principal: "a", Many: true}, 20, func(r *Refusals) uint64 { return r.Sessions.Load() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := NewRegistry(nil, RegistryConfig{MaxSessions: 20, MaxPerAddress: 3, MaxPerPrincipal: 5})
			n := 0
			var err error
			for ; n < 100; n++ {
				if err = g.take(Receive, tt.c); err != nil {
					break
				}
			}
			if n != tt.places || tt.counter(&g.refused) != 1 {
				t.Errorf("%d places, want %d; %d counted", n, tt.places, tt.counter(&g.refused))
			}
			p, ok := errors.AsType[problem.Problem](err)
			if !ok || p.RetryAfter <= 0 || p.Status != http.StatusTooManyRequests && p.Status != http.StatusServiceUnavailable {
				t.Errorf("refused with %+v", err)
			}
			if n < 20 {
				if err := g.take(Receive, Caller{Address: other, Principal: "b"}); err != nil {
					t.Errorf("somebody else: %v", err)
				}
			}
			g.mu.Lock()
			g.give(tt.c)
			g.mu.Unlock()
			if err := g.take(Receive, tt.c); err != nil {
				t.Errorf("after one ended: %v", err)
			}
			g.mu.Lock()
			for range n {
				g.give(tt.c)
			}
			if a, p := len(g.quota.address), len(g.quota.principal); a > 1 || p > 1 {
				t.Errorf("%d addresses and %d principals are remembered", a, p)
			}
			g.mu.Unlock()
		})
	}
}

// TestChangeRate: X23 PATCHes and DELETEs of one address are limited, each with 429
// and Retry-After, whatever they name.
func TestChangeRate(t *testing.T) {
	for _, method := range []string{http.MethodPatch, http.MethodDelete} {
		g := NewRegistry(nil, RegistryConfig{})
		ask := func(from string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "/session/pnone", http.NoBody)
			r.RemoteAddr = from
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			return w
		}
		refused := 0
		for range 3 * changeBurst {
			w := ask("192.0.2.1:5")
			if w.Code == http.StatusTooManyRequests {
				refused++
				if w.Header().Get("Retry-After") == "" {
					t.Fatal("429 without Retry-After")
				}
			}
		}
		if refused < changeBurst || g.Refused().ChangeRate.Load() != uint64(refused) {
			t.Errorf("%s: %d of %d were refused, %d counted", method, refused, 3*changeBurst, g.Refused().ChangeRate.Load())
		}
		if w := ask("192.0.2.2:5"); w.Code != http.StatusNotFound {
			t.Errorf("%s of another address: %d", method, w.Code)
		}
	}
}

// TestDrain: X36 new sessions are sent where the configuration says, with path and
// query, or told to try again; nothing is looked at before.
func TestDrain(t *testing.T) {
	g := NewRegistry(nil, RegistryConfig{})
	accepted := 0
	handler := g.Endpoint(EndpointConfig{Direction: Receive, Prefix: "/whip/", Accept: nil, ValidName: func(string) bool {
		accepted++
		return false
	}})
	ask := func(method string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(method, "/whip/live%2F1?token=x", http.NoBody))
		return w
	}
	if w := ask(http.MethodPost); w.Code != http.StatusNotFound || accepted != 1 {
		t.Fatalf("before: %d", w.Code)
	}
	g.Drain(Draining{RetryAfter: 1500 * time.Millisecond})
	if w := ask(http.MethodPost); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "2" {
		t.Errorf("without another gateway: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	g.Drain(Draining{To: "https://b.example.org/"})
	w := ask(http.MethodPost)
	if w.Code != http.StatusTemporaryRedirect || w.Header().Get("Location") != "https://b.example.org/whip/live%2F1?token=x" || w.Header().Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("to another gateway: %d, %v", w.Code, w.Header())
	}
	if w := ask(http.MethodOptions); w.Code != http.StatusOK {
		t.Errorf("a preflight: %d", w.Code)
	}
	g.Drain(Draining{To: "https://b.example.org", Stay: func(stream string) bool { return stream == "live/1" }})
	if w := ask(http.MethodPost); w.Code != http.StatusNotFound || accepted != 2 {
		t.Errorf("of a stream that stays: %d", w.Code)
	}
	if accepted != 2 || g.Refused().Drained.Load() != 2 || len(g.Live()) != 0 {
		t.Errorf("%d looked at, %d counted", accepted, g.Refused().Drained.Load())
	}
}

// TestPostRates: X23 POSTs that are authorised are limited by their token, and in all,
// publishers and viewers apart. Each refusal says when to try again, and is counted.
func TestPostRates(t *testing.T) {
	open := Caller{Address: netip.MustParseAddr("192.0.2.1")}
	for _, tt := range []struct {
		name    string
		c       Caller
		allowed int
		status  int
		counter func(*Refusals) uint64
	}{
		{"token", Caller{Principal: "key:studio"}, 5, http.StatusTooManyRequests, func(r *Refusals) uint64 { return r.TokenRate.Load() }},
		{"no token", open, 20, http.StatusServiceUnavailable, func(r *Refusals) uint64 { return r.TotalRate.Load() }},
		{"a token of many", Caller{Principal: "owner", Many: true}, 20, http.StatusServiceUnavailable, func(r *Refusals) uint64 { return r.TotalRate.Load() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Now()
			g := NewRegistry(nil, RegistryConfig{TokenRate: 1, TokenBurst: 5, TotalRate: 4, TotalBurst: 20})
			for i := range tt.allowed {
				if err := g.hasten(Send, tt.c, now); err != nil {
					t.Fatalf("POST %d: %v", i, err)
				}
			}
			p, ok := errors.AsType[problem.Problem](g.hasten(Send, tt.c, now))
			if !ok || p.Status != tt.status || p.RetryAfter <= 0 || tt.counter(&g.refused) != 1 {
				t.Errorf("one too many: %+v, %d counted", p, tt.counter(&g.refused))
			}
			if err := g.hasten(Send, tt.c, now.Add(time.Second)); err != nil {
				t.Errorf("a second later: %v", err)
			}
			if err := g.hasten(Receive, Caller{Principal: "key:other"}, now); err != nil {
				t.Errorf("a publisher: %v", err)
			}
		})
	}
}

// TestPostRateNeedsLeave: X23 who may not do it takes no place of those who may.
func TestPostRateNeedsLeave(t *testing.T) {
	g := NewRegistry(nil, RegistryConfig{TotalBurst: 3, TotalRate: 1e-9, Publish: func(r *http.Request, _ string) (Caller, error) {
		if r.Header.Get("Authorization") == "" {
			return Caller{}, problem.Problem{Status: http.StatusUnauthorized, Title: "No token"}
		}
		return Caller{}, nil
	}})
	handler := g.Endpoint(EndpointConfig{Direction: Receive, Prefix: "/whip/"})
	post := func(header string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/whip/live", http.NoBody)
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	for range 50 {
		if w := post(""); w.Code != http.StatusUnauthorized {
			t.Fatalf("without a token: %d", w.Code)
		}
	}
	for i := range 5 {
		want := http.StatusUnsupportedMediaType // it is looked at
		if i >= 3 {
			want = http.StatusServiceUnavailable
		}
		if w := post("Bearer x"); w.Code != want {
			t.Errorf("POST %d: %d, want %d", i, w.Code, want)
		}
	}
}
