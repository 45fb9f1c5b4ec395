package main

import (
	"context"

	"github.com/whipcast/whipcast/internal/check"
)

// lookAround does beside a gateway that has just started what whipcast check does
// where that is quick: on this machine all but the ports, in each place of storage
// one small file. It logs a line for each trouble; it changes and ends nothing.
// It is a task.
func (g *gateway) lookAround(ctx context.Context) error {
	s := subject{config: g.config}
	checks := []check.Check{
		{Name: "files", Run: func(context.Context) []check.Finding { return s.files() }},
		{Name: "auth", Run: func(context.Context) []check.Finding { return s.auth() }},
		{Name: "http.tls", Run: func(context.Context) []check.Finding { return s.certificate() }}, //nolint:contextcheck // nobody is asked
		{Name: "media addresses", Run: func(context.Context) []check.Finding { return s.addresses(g.engine.Advertised()) }},
	}
	for _, server := range g.config.Media.TURN.Servers {
		checks = append(checks, tryServer(server))
	}
	for _, p := range g.places {
		checks = append(checks, check.Check{Name: p.name, Run: p.probe.Touch})
	}
	report := check.Run(ctx, checks, nil)
	if ctx.Err() == nil { // else it is the end that they found
		for _, f := range report.Troubles() {
			g.log.WarnContext(ctx, "found at the start: whipcast check looks closer", "about", f.Name, "cause", f.Cause, "remedy", f.Remedy)
		}
	}
	<-ctx.Done()
	return nil
}
