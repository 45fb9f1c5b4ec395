package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/rtc"
)

const (
	drainLook   = 250 * time.Millisecond // how often it is looked who is still there
	drainSay    = 30 * time.Second       // how often that is logged while nothing changes
	drainRetry  = 10 * time.Second       // said to clients without drain.peer
	drainLinger = 3 * time.Second        // from the ending of publishers to the stop, at most
	drainNamed  = 20                     // streams that /readyz names
)

// drainage is the state of a gateway that is emptied.
type drainage struct {
	wanted chan struct{} // holds a wish to drain
	begun  atomic.Bool   // new sessions are refused
	empty  chan struct{} // closed when the gateway may stop
}

func newDrainage() *drainage {
	return &drainage{wanted: make(chan struct{}, 1), empty: make(chan struct{})}
}

// drain begins to empty the gateway, which then stops by itself. It returns at once
// and may be called from any goroutine; more calls change nothing.
func (g *gateway) drain() {
	select {
	case g.drainage.wanted <- struct{}{}:
	default:
	}
}

// drains empties the gateway once SIGUSR1 or drain asks for it. It is a task.
func (g *gateway) drains(ctx context.Context) error {
	signals, release := drainSignal()
	defer release()
	select {
	case <-signals:
	case <-g.drainage.wanted:
	case <-ctx.Done():
		return nil
	}
	if g.empty(ctx) {
		close(g.drainage.empty)
	}
	<-ctx.Done()
	return nil
}

// empty lets nobody in and waits until the last publisher has ended, by itself or at
// the deadline, and players had the time to read what it sent last. It returns false
// if ctx ends before.
func (g *gateway) empty(ctx context.Context) bool {
	g.drainage.begun.Store(true)
	end := time.Now().Add(g.config.Drain.Deadline)
	g.sessions.Drain(rtc.Draining{To: g.config.Drain.Peer, RetryAfter: drainRetry})
	g.api.Drain(func() []string { return g.left(end) })
	g.log.InfoContext(ctx, "draining: new sessions go elsewhere", "peer", g.config.Drain.Peer, "deadline", end.UTC().Format(time.RFC3339))
	if !g.publishersEnd(ctx, end) {
		return false
	}
	if ctx.Err() == nil {
		pause(ctx, 3*g.config.HLS.Segment)
	}
	g.sessions.EndAll(rtc.Send, rtc.ErrDrained)
	g.log.InfoContext(ctx, "drained: nobody publishes any more")
	return ctx.Err() == nil
}

// publishersEnd waits for the end of all publishers, and says who is still there. At
// the deadline it ends them.
func (g *gateway) publishersEnd(ctx context.Context, end time.Time) bool {
	var before []string
	var said time.Time
	over := false
	for {
		now, names := time.Now(), g.live()
		switch {
		case len(names) == 0 || over && now.Sub(end) > drainLinger:
			return true
		case !over && !now.Before(end):
			over = true
			g.log.WarnContext(ctx, "drain.deadline has come: publishers are ended", "streams", names)
			g.sessions.EndAll(rtc.Receive, rtc.ErrDrained)
		case !slices.Equal(names, before) || now.Sub(said) >= drainSay:
			g.log.InfoContext(ctx, "drain waits for publishers", "streams", names, "left", time.Until(end).Round(time.Second))
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

// left says who is still there, for /readyz of the admin address.
func (g *gateway) left(end time.Time) []string {
	names, viewers := g.live(), 0
	for _, x := range g.sessions.Live() {
		if x.Direction == rtc.Send {
			viewers++
		}
	}
	lines := []string{fmt.Sprintf("draining: %d streams are published, %d WHEP viewers watch; publishers are ended at %s",
		len(names), viewers, end.UTC().Format(time.RFC3339))}
	for i, name := range names {
		if i == drainNamed {
			return append(lines, fmt.Sprintf("and %d more", len(names)-i))
		}
		lines = append(lines, "published: "+name)
	}
	return lines
}

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
