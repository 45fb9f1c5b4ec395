package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/configs"
	egress "github.com/whipcast/whipcast/egress/rtsp"
	ingest "github.com/whipcast/whipcast/ingest/rtsp"
	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/stream"
)

// rtspDoor is RTSP in and out. Its zero value does nothing.
type rtspDoor struct {
	server  *rtsp.Server // nil without an address
	egress  *egress.Egress
	counted egress.Metrics
}

// openRTSP takes the ports of RTSP, if there are any.
func (g *gateway) openRTSP(ctx context.Context, auth *api.Auth) error {
	c := g.config.RTSP
	if c.Address == "" && c.TLSAddress == "" {
		return nil
	}
	limits := g.config.Limits
	g.rtsp.egress = egress.New(egress.Config{
		Grace: g.config.HLS.Grace, MaxViewers: limits.Viewers, Metrics: &g.rtsp.counted,
	}, g.hub)
	var err error
	g.rtsp.server, err = rtsp.New(ctx, rtsp.Config{
		Address: c.Address, TLSAddress: c.TLSAddress, TLS: g.tls, Publish: auth.Publish, Watch: auth.Watch,
		Passwords: []string{g.secret.token}, ValidName: stream.ValidName, MaxSessions: limits.Sessions, Logger: g.log,
	}, ingest.New(g.hub), g.rtsp.egress)
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

// tasks run beside the sessions of WHIP and WHEP.
func (d *rtspDoor) tasks() []task {
	if d.server == nil {
		return nil
	}
	return []task{{"RTSP", d.server.Run}}
}

// close gives the ports back.
func (d *rtspDoor) close() {
	if d.server != nil {
		d.server.Close()
	}
}

// metrics lists what is counted.
func (d *rtspDoor) metrics() []api.Metric {
	if d.server == nil {
		return nil
	}
	return []api.Metric{
		{Name: "whipcast_rtsp_publishers", Help: "RTSP sessions that publish, or are about to.", Read: func() float64 {
			publishers, _ := d.server.Counts()
			return float64(publishers)
		}},
		{Name: "whipcast_rtsp_viewers", Help: "RTSP viewers that play.", Read: func() float64 { return float64(d.counted.Viewers.Load()) }},
		total("whipcast_rtsp_packets_sent_total", "Packets sent to RTSP viewers.", &d.counted.Packets),
		total("whipcast_rtsp_skips_total", "Times that an RTSP viewer was too slow and went on at a later key frame.", &d.counted.Skips),
	}
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
