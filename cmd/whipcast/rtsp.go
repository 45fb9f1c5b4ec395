package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/configs"
	egress "github.com/whipcast/whipcast/egress/rtsp"
	"github.com/whipcast/whipcast/egress/whep"
	ingest "github.com/whipcast/whipcast/ingest/rtsp"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/stream"
)

// rtspDoor is RTSP in and out. Its zero value does nothing.
type rtspDoor struct {
	server  *rtsp.Server // nil without an address
	egress  *egress.Egress
	counted egress.Metrics
	puller  *ingest.Puller
	demand  *demand
	list    *sources
	cut     atomic.Uint64 // publishers that sent more than they may
}

// pull prepares what is fetched: what the configuration lists, and what the API
// was given before.
func (g *gateway) pull() error {
	d := newDemand(g.hub, g.window.store)
	d.viewers = append(d.viewers, g.viewers.Viewers)
	g.rtsp.demand = d
	var err error
	if g.rtsp.puller, err = ingest.NewPuller(nil, g.hub, d, g.log); err != nil {
		return err
	}
	list := newSources(g.rtsp.puller, d, g.config.DataDir, g.config.Limits.Streams)
	g.rtsp.list = list
	for _, c := range g.config.RTSP.Pull {
		if !stream.ValidName(c.Stream) {
			return &configs.Error{
				Key: "rtsp.pull", Value: c.Stream, Cause: "not a name of a stream",
				Remedy: "use 1 to 64 letters, digits and . _ - beginning with a letter or digit",
			}
		}
		err := list.fix(ingest.Source{
			Stream: c.Stream, URL: c.URL, Transport: c.Transport, OnDemand: c.OnDemand, Fingerprint: c.Fingerprint, Trusted: true,
		})
		if err != nil {
			return err
		}
	}
	if err := list.load(); err != nil {
		g.log.Warn("sources that the API was given before are not fetched", "error", err)
	}
	return nil
}

// before puts the demand before the handlers of viewers.
func (d *rtspDoor) before(to *api.Routes, authority *auth.Authority) {
	may := func(protocol string) func(r *http.Request, name string) error {
		return func(r *http.Request, name string) error {
			_, err := authority.Decide(r.Context(), auth.Ask(r, auth.Play, protocol, name))
			return err
		}
	}
	to.HLS = d.demand.before(to.HLS, "/hls/", may("hls"))
	to.WHEP = d.demand.before(to.WHEP, whep.Prefix, may("whep"))
}

// admit returns the rule of a door for RTSP sessions, which end when what let them
// in is revoked. Nobody comes in while the gateway drains.
func (g *gateway) admit(action auth.Action) func(r *http.Request, stream string) (rtsp.Caller, error) {
	rule := allow(g.auth, action, "rtsp")
	return func(r *http.Request, stream string) (rtsp.Caller, error) {
		if g.drainage.now() != nil {
			return rtsp.Caller{}, problem.Problem{
				Status: http.StatusServiceUnavailable, Title: "Gateway is drained", RetryAfter: drainRetry,
				Detail: "the gateway takes no new sessions before it stops: try again when it is back",
			}
		}
		caller, err := rule(r, stream)
		return rtsp.Caller{Principal: caller.Principal, Revoked: caller.Revoked}, err
	}
}

// sweep ends the sessions whose permission was taken back.
func (d *rtspDoor) sweep() {
	if d.server != nil {
		d.server.Sweep()
	}
}

// openRTSP takes the ports of RTSP, if there are any.
func (g *gateway) openRTSP(ctx context.Context) error {
	if err := g.pull(); err != nil {
		return err
	}
	c := g.config.RTSP
	if c.Address == "" && c.TLSAddress == "" {
		return nil
	}
	limits := g.config.Limits
	g.rtsp.egress = egress.New(egress.Config{
		Grace: g.config.HLS.Grace, MaxViewers: limits.Viewers, Metrics: &g.rtsp.counted,
	}, g.hub)
	g.rtsp.demand.viewers = append(g.rtsp.demand.viewers, g.rtsp.egress.Viewers)
	var err error
	g.rtsp.server, err = rtsp.New(ctx, rtsp.Config{
		Address: c.Address, TLSAddress: c.TLSAddress, TLS: secure(g.tls), Publish: g.admit(auth.Publish), Watch: g.admit(auth.Play),
		Passwords: []string{g.secret.token}, ValidName: stream.ValidName, MaxSessions: limits.Sessions, Logger: g.log,
		Wake: g.rtsp.demand.wake,
	}, ingest.New(ingest.Config{MaxBitrate: int64(limits.Bitrate) * 1e6, Cut: &g.rtsp.cut}, g.hub), g.rtsp.egress)
	if e, ok := errors.AsType[*rtsp.AddressError](err); ok {
		key := "rtsp.address"
		if e.Address == c.TLSAddress {
			key = "rtsp.tls_address"
		}
		return bindError(key, e.Address, e.Err)
	}
	if err != nil {
		return fmt.Errorf("open RTSP: %w", err)
	}
	return nil
}

// refused is what its limits refused.
func (d *rtspDoor) refused() *rtsp.Refusals {
	if d.server == nil {
		return &rtsp.Refusals{}
	}
	return d.server.Refused()
}

// tasks run beside the sessions of WHIP and WHEP.
func (d *rtspDoor) tasks() []task {
	var all []task
	if d.server != nil {
		all = append(all, task{"RTSP", d.server.Run})
	}
	return append(all, task{"sources", d.puller.Run})
}

// close gives the ports back.
func (d *rtspDoor) close() {
	if d.server != nil {
		d.server.Close()
	}
}

// metrics lists what is counted.
func (d *rtspDoor) metrics() []api.Metric {
	var all []api.Metric
	if d.puller != nil {
		for _, state := range []ingest.State{ingest.Waiting, ingest.Connecting, ingest.Fetching, ingest.Failing} {
			all = append(all, api.Metric{
				Name: "whipcast_rtsp_sources", Help: "Streams that are fetched by RTSP, by how they do.",
				Labels: map[string]string{"state": string(state)}, Read: func() float64 { return float64(d.in(state)) },
			})
		}
	}
	if d.server == nil {
		return all
	}
	return append(all, []api.Metric{
		{Name: "whipcast_rtsp_publishers", Help: "RTSP sessions that publish, or are about to.", Read: func() float64 {
			publishers, _ := d.server.Counts()
			return float64(publishers)
		}},
		{Name: "whipcast_rtsp_viewers", Help: "RTSP viewers that play.", Read: func() float64 { return float64(d.counted.Viewers.Load()) }},
		total("whipcast_rtsp_packets_sent_total", "Packets sent to RTSP viewers.", &d.counted.Packets),
		total("whipcast_rtsp_skips_total", "Times that an RTSP viewer was too slow and went on at a later key frame.", &d.counted.Skips),
	}...)
}

// in counts the sources in a state.
func (d *rtspDoor) in(state ingest.State) int {
	n := 0
	for _, s := range d.puller.Status() {
		if s.State == state {
			n++
		}
	}
	return n
}

// address is what people are told; "" without.
func (d *rtspDoor) port(c configs.RTSP) (scheme string, port int) {
	switch {
	case d.server == nil:
		return "", 0
	case c.TLSAddress != "" && c.Address == "":
		return "rtsps://", d.server.TLSPort()
	default:
		return "rtsp://", d.server.Port()
	}
}
