package whep

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/whipcast/whipcast/stream"
)

// audience is all viewers of one Stream and the lanes that serve them. It
// exists while there are viewers.
type audience struct {
	stream  *stream.Stream
	cfg     *Config
	metrics *Metrics
	start   func(run func(ctx context.Context)) error

	mu      sync.Mutex
	viewers []session // below mu, as all that follows
	lanes   []*lane
	layers  map[stream.Kind]stream.LayerID // what the lanes read
	zero    zero
	stop    context.CancelFunc // ends run; nil before
	empty   bool               // the last viewer has left
}

func newAudience(s *stream.Stream, cfg *Config, start func(func(context.Context)) error) *audience {
	a := &audience{
		stream:  s,
		cfg:     cfg,
		metrics: cfg.Metrics,
		start:   start,
		layers:  map[stream.Kind]stream.LayerID{stream.Audio: {Kind: stream.Audio}, stream.Video: {Kind: stream.Video}},
	}
	a.choose(s.State())
	return a
}

// run follows the Stream's state until the last viewer has left.
func (a *audience) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !a.begin(cancel) {
		return
	}
	st := a.stream.State()
	for {
		a.choose(st)
		next, err := a.wait(ctx, st)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			a.end(fmt.Errorf("the publisher left and did not come back within %v", a.cfg.Grace))
			next, err = a.stream.Wait(ctx, st.Version)
		}
		if err != nil {
			return
		}
		st = next
	}
}

// begin lets the last viewer that leaves end run. False says that it has left.
func (a *audience) begin(stop context.CancelFunc) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stop = stop
	return !a.empty
}

// wait waits for another State, while nobody publishes for the grace time only.
func (a *audience) wait(ctx context.Context, st stream.State) (stream.State, error) {
	if st.Live {
		return a.stream.Wait(ctx, st.Version)
	}
	ctx, cancel := context.WithDeadline(ctx, st.Since.Add(a.cfg.Grace))
	defer cancel()
	return a.stream.Wait(ctx, st.Version)
}

// choose makes the lanes read what the present publisher sends: the best Layer
// of each kind.
func (a *audience) choose(st stream.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !st.Live {
		return
	}
	for _, kind := range []stream.Kind{stream.Audio, stream.Video} {
		if s := first(st.Sources, kind); s != nil {
			a.layers[kind] = s.Layer.ID
		}
	}
	for _, l := range a.lanes {
		l.use(a.layers[l.kind])
	}
}

// layer returns what the lanes of a kind read.
func (a *audience) layer(kind stream.Kind) stream.LayerID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.layers[kind]
}

// relate puts a timeline on the zero that all Layers of an Epoch share.
func (a *audience) relate(l *timeline, r stream.Report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.zero = l.report(r, a.zero)
}

// end ends all viewers.
func (a *audience) end(reason error) {
	a.mu.Lock()
	viewers := slices.Clone(a.viewers)
	a.mu.Unlock()
	for _, v := range viewers {
		v.End(reason)
	}
}

// join puts a track on the lane that has room, or starts one.
func (a *audience) join(t *track) (*lane, error) {
	a.mu.Lock()
	l := a.room(t.kind)
	fresh := l == nil
	if fresh {
		l = &lane{kind: t.kind, stream: a.stream, audience: a, metrics: a.metrics, layer: a.layers[t.kind]}
		a.lanes = append(a.lanes, l)
	}
	l.add(t)
	a.mu.Unlock()
	if fresh {
		if err := a.start(l.run); err != nil {
			a.leave(l, t)
			return nil, err
		}
	}
	return l, nil
}

// room returns the lane of a kind for one more track; nil for a new one. a.mu is held.
func (a *audience) room(kind stream.Kind) *lane {
	var least *lane
	fewest, lanes := 0, 0
	for _, l := range a.lanes {
		if l.kind != kind {
			continue
		}
		lanes++
		if n := len(l.members()); least == nil || n < fewest {
			least, fewest = l, n
		}
	}
	if least != nil && (fewest < a.cfg.Shard || lanes >= a.cfg.Workers) {
		return least
	}
	return nil
}

// leave takes a track from its lane, and ends the lane that has none left.
func (a *audience) leave(l *lane, t *track) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l.remove(t)
	if len(l.members()) == 0 {
		a.lanes = slices.DeleteFunc(a.lanes, func(o *lane) bool { return o == l })
		l.close()
	}
}

// enter adds a viewer. The Server's mutex is held.
func (a *audience) enter(v session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.viewers = append(a.viewers, v)
}

// exit takes a viewer out and returns how many are left. Without any, run ends.
// The Server's mutex is held.
func (a *audience) exit(v session) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.viewers = slices.DeleteFunc(a.viewers, func(o session) bool { return o == v })
	if len(a.viewers) == 0 {
		a.empty = true
		if a.stop != nil {
			a.stop()
		}
	}
	return len(a.viewers)
}

func (a *audience) size() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.viewers)
}
