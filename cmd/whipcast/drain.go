package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/internal/rtc"
)

const (
	drainLook   = 250 * time.Millisecond // how often it is looked who is still there
	drainSay    = 30 * time.Second       // how often that is logged while nothing changes
	drainRetry  = 10 * time.Second       // said to clients without drain.peer
	drainLinger = 3 * time.Second        // from the ending of publishers to the stop, at most
	drainNamed  = 20                     // streams that /readyz names
)

// drainage is the state of a gateway that is emptied. Any goroutine may call it.
type drainage struct {
	wanted chan struct{} // holds a wish to drain
	empty  chan struct{} // closed when the gateway may stop

	mu   sync.Mutex
	plan *plan // below mu: nil: new sessions are taken
	over bool  // below mu: the gateway stops
}

// plan says how a gateway is emptied. It is immutable.
type plan struct {
	to         string // where new sessions are sent; "": nowhere
	since, end time.Time
}

func newDrainage() *drainage {
	return &drainage{wanted: make(chan struct{}, 1), empty: make(chan struct{})}
}

// now returns the plan, nil while the gateway takes new sessions.
func (d *drainage) now() *plan {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.plan
}

// set makes a plan the present one, and does what follows from that; false: the gateway
// stops already. The begin of the plan before stays.
func (d *drainage) set(p plan, follows func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return false
	}
	if d.plan != nil {
		p.since = d.plan.since
	}
	d.plan = &p
	follows()
	select {
	case d.wanted <- struct{}{}:
	default:
	}
	return true
}

// unset takes the plan back, and does what follows from that. Errors are for the API.
func (d *drainage) unset(follows func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.over:
		return api.Refuse(api.DrainOver, "")
	case d.plan == nil:
		return api.Refuse(api.NotDraining, "")
	}
	d.plan = nil
	follows()
	return nil
}

// finish says that nobody is waited for any more. It returns false if there is no plan:
// it was taken back.
func (d *drainage) finish() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = d.plan != nil
	return d.over
}

// drain begins to empty the gateway as the configuration says. It then stops by itself.
// It returns at once and may be called from any goroutine.
func (g *gateway) drain() { g.drainBy(g.config.Drain.Peer, g.config.Drain.Deadline) }

// drainBy begins to empty the gateway, or changes how: from now on new sessions are sent
// to another one, and after within publishers are ended. It returns false if the
// gateway stops already.
func (g *gateway) drainBy(to string, within time.Duration) bool {
	now := time.Now()
	p := plan{to, now, now.Add(within)}
	begun := g.drainage.set(p, func() {
		g.sessions.Drain(rtc.Draining{To: to, RetryAfter: drainRetry, Stay: g.stay(p.end)})
		g.api.Drain(g.left)
	})
	if !begun {
		return false
	}
	g.events.Publish(event.DrainBegun, "", event.Drain{To: to, Deadline: p.end.UTC()})
	g.log.Info("draining: new sessions go elsewhere", "peer", to, "deadline", p.end.UTC().Format(time.RFC3339))
	return true
}

// stay says of which streams sessions are taken all the same until a drain's end: those of
// stages, which no other gateway has. Guests and viewers who lose their connection come back.
func (g *gateway) stay(end time.Time) func(stream string) bool {
	return func(name string) bool {
		return time.Now().Before(end) && (g.stages.program(name) || g.stages.Private(name))
	}
}

// resume takes new sessions again.
func (g *gateway) resume() error {
	err := g.drainage.unset(func() {
		g.sessions.Resume()
		g.api.Resume()
	})
	if err != nil {
		return err
	}
	g.events.Publish(event.DrainEnded, "", nil)
	g.log.Info("draining was taken back: new sessions are taken again")
	return nil
}

// drains empties the gateway once SIGUSR1 or drain asks for it. It is a task.
func (g *gateway) drains(ctx context.Context) error {
	signals, release := drainSignal()
	defer release()
	for {
		select {
		case <-signals:
			g.drain()
			continue
		case <-g.drainage.wanted:
		case <-ctx.Done():
			return nil
		}
		if g.empty(ctx) {
			close(g.drainage.empty)
			<-ctx.Done()
			return nil
		}
	}
}

// empty waits until the last publisher has ended, by itself or at the deadline, and
// players had the time to read what it sent last. It returns false if ctx ends before,
// or if the drain is taken back.
func (g *gateway) empty(ctx context.Context) bool {
	if !g.publishersEnd(ctx) {
		return false
	}
	if !pause(ctx, 3*g.config.HLS.Segment) || !g.drainage.finish() {
		return false
	}
	g.sessions.EndAll(rtc.Send, rtc.ErrDrained)
	g.log.InfoContext(ctx, "drained: nobody publishes any more")
	return true
}

// publishersEnd waits for the end of all publishers, and says who is still there. At
// the deadline it ends them.
func (g *gateway) publishersEnd(ctx context.Context) bool {
	var before []string
	var said, over time.Time
	for {
		p, now, names := g.drainage.now(), time.Now(), g.live()
		switch {
		case p == nil:
			return false
		case len(names) == 0 || !over.IsZero() && now.Sub(over) > drainLinger:
			return true
		case over.IsZero() && !now.Before(p.end):
			over = now
			g.log.WarnContext(ctx, "the deadline of the drain has come: publishers are ended", "streams", names)
			g.sessions.EndAll(rtc.Receive, rtc.ErrDrained)
			if g.rtsp.server != nil {
				g.rtsp.server.EndPublishers()
			}
		case !slices.Equal(names, before) || now.Sub(said) >= drainSay:
			g.log.InfoContext(ctx, "drain waits for publishers", "streams", names, "left", time.Until(p.end).Round(time.Second))
			before, said = names, now
		}
		if !pause(ctx, drainLook) {
			return false
		}
	}
}

// live returns the names of the streams that somebody publishes. What is fetched goes
// on for ever: nobody waits for its end.
func (g *gateway) live() []string {
	fetched := map[string]bool{}
	for _, s := range g.rtsp.puller.Status() {
		fetched[s.Stream] = true
	}
	var names []string
	for _, s := range g.hub.Streams() {
		if s.State().Live && !fetched[s.Name()] {
			names = append(names, s.Name())
		}
	}
	slices.Sort(names)
	return names
}

// watching counts the sessions of WHEP.
func (g *gateway) watching() int {
	viewers := 0
	for _, x := range g.sessions.Live() {
		if x.Direction == rtc.Send {
			viewers++
		}
	}
	return viewers
}

// left says who is still there, for /readyz of the admin address.
func (g *gateway) left() []string {
	p, names := g.drainage.now(), g.live()
	if p == nil {
		return nil // it was taken back just now
	}
	lines := []string{fmt.Sprintf("draining: %d streams are published, %d WHEP viewers watch; publishers are ended at %s",
		len(names), g.watching(), p.end.UTC().Format(time.RFC3339))}
	for i, name := range names {
		if i == drainNamed {
			return append(lines, fmt.Sprintf("and %d more", len(names)-i))
		}
		lines = append(lines, "published: "+name)
	}
	return lines
}

// drainer is the drain of a gateway, for the API.
type drainer struct{ gateway *gateway }

func (d drainer) Drainage() api.Drainage {
	g := d.gateway
	g.drainage.mu.Lock()
	p, over := g.drainage.plan, g.drainage.over
	g.drainage.mu.Unlock()
	state := api.Drainage{Draining: p != nil, Over: over, Published: append([]string{}, g.live()...), Viewers: g.watching()}
	if p != nil {
		since, end := p.since.UTC(), p.end.UTC()
		state.To, state.Since, state.Deadline = p.to, &since, &end
	}
	return state
}

func (d drainer) Drain(_ context.Context, wanted api.DrainRequest) error {
	to, within := d.gateway.config.Drain.Peer, d.gateway.config.Drain.Deadline
	if wanted.To != nil {
		var err error
		if to, err = configs.ParseOrigin(*wanted.To); err != nil {
			return api.Refuse(api.Invalid, "body.to: "+err.Error())
		}
	}
	if wanted.Deadline != nil {
		within = time.Duration(*wanted.Deadline * float64(time.Second))
	}
	if !d.gateway.drainBy(to, within) {
		return api.Refuse(api.DrainOver, "")
	}
	return nil
}

func (d drainer) Resume(context.Context) error { return d.gateway.resume() }

// pause waits, and returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
