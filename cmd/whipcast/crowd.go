package main

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/ingest/whip"
	"github.com/whipcast/whipcast/internal/limit"
	"github.com/whipcast/whipcast/internal/problem"
)

// crowd bounds how many requests one address may send (specs X23), before anything
// looks at them. This machine's own is not counted: a proxy on it that http.proxies
// does not name stands for many.
type crowd struct {
	rates   *limit.Buckets
	refused atomic.Uint64
}

// newCrowd lets each address send so many requests a second, and twice as many at
// once.
func newCrowd(perSecond int) *crowd {
	return &crowd{rates: limit.NewBuckets(float64(perSecond), 2*perSecond)}
}

func (c *crowd) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := limit.Address(r.RemoteAddr); a.IsLoopback() || c.rates.Allow(a, time.Now()) {
			next.ServeHTTP(w, r)
			return
		}
		c.refused.Add(1)
		w.Header().Set("Access-Control-Allow-Origin", "*") // so that pages can read it
		w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
		w.Header().Set("Cache-Control", "no-store")
		problem.Problem{
			Status: http.StatusTooManyRequests, Title: "Too many requests", RetryAfter: time.Second,
			Detail: "your address sends more requests than it may: wait a moment",
		}.Write(w)
	})
}

// refusals lists what limits refused, each by its name in docs/operations.md.
func (g *gateway) refusals(all *crowd, viewers *whep.Metrics, publishers *whip.Metrics) []api.Metric {
	sessions, rtsp := g.sessions.Refused(), g.rtsp.refused()
	var list []api.Metric
	for _, each := range []struct {
		name string
		at   *atomic.Uint64
	}{
		{"requests", &all.refused},
		{"post_rate", &sessions.PostRate},
		{"token_rate", &sessions.TokenRate},
		{"total_rate", &sessions.TotalRate},
		{"change_rate", &sessions.ChangeRate},
		{"sessions", &sessions.Sessions},
		{"pending", &sessions.Pending},
		{"address", &sessions.PerAddress},
		{"token", &sessions.PerPrincipal},
		{"drain", &sessions.Drained},
		{"viewers", &viewers.Refused},
		{"streams", &g.hub.Totals().Refused},
		{"rtsp_requests", &rtsp.Requests},
		{"rtsp_sessions", &rtsp.Sessions},
	} {
		m := total("whipcast_limit_refused_total", "Requests that a limit refused, and publishers that one cut off.", each.at)
		m.Labels = map[string]string{"limit": each.name}
		list = append(list, m)
	}
	for limit, read := range map[string]func() uint64{
		"bitrate": func() uint64 { return publishers.Cut.Load() + g.rtsp.cut.Load() },
		"ice_tcp": g.engine.RefusedTCP,
	} {
		m := api.Total(list[0].Name, list[0].Help, read)
		m.Labels = map[string]string{"limit": limit}
		list = append(list, m)
	}
	return list
}
