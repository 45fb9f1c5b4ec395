package whep

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/whipcast/whipcast/stream"
)

const (
	adaptEvery   = 100 * time.Millisecond // where there are Layers to choose from
	measureEvery = time.Second            // else
	hurryEvery   = time.Second            // between two requests for the keyframe of a change
	affordable   = 500 * time.Millisecond // of a slow network's time for cached pictures
	unnoticed    = 150 * time.Millisecond // where the picture goes on meanwhile
)

// audience is all viewers of one Stream and the lanes that serve them. It
// exists while there are viewers.
type audience struct {
	stream  *stream.Stream
	cfg     *Config
	metrics *Metrics
	start   func(run func(ctx context.Context)) error
	guard   func(f func()) func() // around all that it runs

	mu      sync.Mutex
	viewers []session // below mu, as all that follows
	lanes   []*lane
	sound   stream.LayerID // what the present or last publisher sends
	ladder  ladder         // and its video
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
		guard:   func(f func()) func() { return f },
		sound:   stream.LayerID{Kind: stream.Audio},
	}
	if cfg.Size != nil {
		a.ladder.size = func(rid string) (width, height int) { return cfg.Size(s.Name(), rid) }
	}
	a.choose(s.State())
	return a
}

// run follows the Stream's state until the last viewer has left.
func (a *audience) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	if !a.begin(cancel) {
		cancel()
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(a.guard(func() { a.adapt(ctx) }))
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

// launch starts what the audience runs: itself, or a lane.
func (a *audience) launch(run func(ctx context.Context)) error {
	return a.start(func(ctx context.Context) { a.guard(func() { run(ctx) })() })
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

// choose takes what the present publisher sends, and makes every track get a
// Layer of it.
func (a *audience) choose(st stream.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !st.Live {
		return
	}
	if s := first(st.Sources, stream.Audio); s != nil {
		a.sound = s.Layer.ID
	}
	now := time.Now()
	a.ladder.follow(st.Sources, st.Since, now)
	a.settle(now)
}

// adapt measures the Layers and moves the tracks to those that suit them, until
// ctx ends.
func (a *audience) adapt(ctx context.Context) {
	timer := time.NewTimer(adaptEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(a.measure(time.Now()))
	}
}

// measure returns how long the next one can wait.
func (a *audience) measure(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ladder.measure(now)
	a.settle(now)
	if len(a.ladder.rungs) < 2 {
		return measureEvery
	}
	return adaptEvery
}

// settle moves each track to the Layer that it is to get. a.mu is held.
func (a *audience) settle(now time.Time) {
	for _, l := range slices.Clone(a.lanes) { // moving changes the list
		for _, t := range l.members() {
			if t.home == l {
				a.move(t, a.wanted(t, now), now)
			}
		}
	}
}

// wanted returns the Layer that a track is to get: the best one that its network
// carries, of those that the viewer chose. a.mu is held.
func (a *audience) wanted(t *track, now time.Time) stream.LayerID {
	if t.kind == stream.Audio {
		return a.sound
	}
	rates := a.ladder.rates(t.wish)
	if len(rates) >= 2 {
		t.pilot.watch()
	}
	if t.home == nil {
		if low := best(rates, max(len(rates)-1, 0)); low > best(rates, 0) && t.pilot.low(low) {
			return a.ladder.id(low)
		}
		return a.ladder.id(best(rates, 0))
	}
	failed := t.pilot.failed()
	ceiling, probes := t.pilot.step(rates, a.ladder.index(t.home.layer), t.pending, now)
	if !failed && t.pilot.failed() {
		t.requestKeyframe() // holes that padding left are not worth waiting for
	}
	a.metrics.Probes.Add(probes)
	return a.ladder.id(best(rates, ceiling))
}

// move lets a track change to a Layer at its next keyframe. a.mu is held.
func (a *audience) move(t *track, id stream.LayerID, now time.Time) {
	if x := t.pending; x != nil {
		if x.lane.layer == id {
			a.hurry(x, now)
			return
		}
		if !x.cancel() {
			return // it changes just now: the next time
		}
		a.drop(x)
	}
	if t.home.layer == id {
		return
	}
	sub, err := a.stream.Subscribe(id)
	if err != nil {
		return // the stream is removed; the lanes see it
	}
	if a.ladder.has(t.home.layer) {
		sub.Skip() // what is cached is older than what the viewer has
	}
	l, fresh := a.room(id)
	x := &arrival{track: t, lane: l, sub: sub}
	a.yield(x, now)
	t.pending = x
	l.expect(x)
	if fresh {
		if err := a.launch(l.run); err != nil {
			a.drop(x) // the server has stopped
			return
		}
	}
	a.hurry(x, now)
}

// yield lets a track send nothing more of a Layer that its network cannot carry
// until a lesser one follows: that one's pictures would wait behind what nobody can
// show. As soon as the network is free, it gets the cached ones, if they are not
// too many. So does at once who has just come and is to get a better one. a.mu is
// held.
func (a *audience) yield(x *arrival, now time.Time) {
	from, to := a.ladder.index(x.track.home.layer), a.ladder.index(x.lane.layer)
	if from < 0 || to < 0 {
		return
	}
	free, capacity, choked := x.track.pilot.choked(now)
	cost := affordable
	if estimate, leaping := x.track.pilot.leaping(); leaping && to < from {
		capacity, cost = estimate, unnoticed
	} else if choked && to > from {
		x.due = free
		x.track.silent.Store(true)
	} else {
		return
	}
	if bitrate := a.ladder.rungs[to].bitrate; bitrate > 0 {
		x.reach = time.Duration(float64(cost) * float64(capacity) / float64(bitrate))
	}
}

// hurry asks for the keyframe that an arrival waits for. a.mu is held.
func (a *audience) hurry(x *arrival, now time.Time) {
	if x.lane.kind == stream.Video && now.Sub(x.asked) >= hurryEvery {
		x.asked = now
		x.sub.RequestKeyframe()
		a.metrics.KeyframeRequests.Add(1)
	}
}

// drop takes an arrival out. a.mu is held.
func (a *audience) drop(x *arrival) {
	x.lane.forget(x)
	if x.track.pending == x {
		x.track.pending = nil
		x.track.silent.Store(false)
	}
	a.reap(x.lane)
}

// changed puts a track on the lane that has taken it over.
func (a *audience) changed(x *arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := x.track
	if from := t.home; from != nil { // else it has left
		from.remove(t)
		x.lane.add(t)
		t.home = x.lane
		if i, j := a.ladder.index(from.layer), a.ladder.index(x.lane.layer); i >= 0 && j >= 0 { // else another publisher
			t.switched(j < i)
		}
		a.reap(from)
	}
	a.drop(x)
}

// reap ends a lane that nobody needs any more. a.mu is held.
func (a *audience) reap(l *lane) {
	if l.load() > 0 {
		return
	}
	a.lanes = slices.DeleteFunc(a.lanes, func(o *lane) bool { return o == l })
	l.close()
}

// layer returns what a track that joins now is to begin with.
func (a *audience) layer(t *track) stream.LayerID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wanted(t, time.Now())
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

// join puts a track that got a Layer so far on a lane of it.
func (a *audience) join(t *track, id stream.LayerID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	l, fresh := a.room(id)
	t.home = l
	t.feeds.Lock() // nobody else has it yet
	t.feeder = l
	t.feeds.Unlock()
	l.add(t)
	if fresh {
		if err := a.launch(l.run); err != nil {
			a.remove(t)
			return err
		}
	}
	now := time.Now()
	a.move(t, a.wanted(t, now), now) // the publisher may have changed meanwhile
	return nil
}

// room returns the lane of a Layer for one more track; fresh says that it is to
// be started. a.mu is held.
func (a *audience) room(id stream.LayerID) (l *lane, fresh bool) {
	var least *lane
	fewest, lanes := 0, 0
	for _, l := range a.lanes {
		if l.layer != id {
			continue
		}
		lanes++
		if n := l.load(); least == nil || n < fewest {
			least, fewest = l, n
		}
	}
	if least != nil && (fewest < a.cfg.Shard || lanes >= a.cfg.Workers) {
		return least, false
	}
	l = &lane{kind: id.Kind, layer: id, stream: a.stream, audience: a, metrics: a.metrics}
	a.lanes = append(a.lanes, l)
	return l, true
}

// leave takes a track from its lane, and ends the lane that has none left.
func (a *audience) leave(t *track) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(t)
}

// remove takes a track out. a.mu is held.
func (a *audience) remove(t *track) {
	if x := t.pending; x != nil && x.cancel() { // else changed finds that it has left
		a.drop(x)
	}
	if l := t.home; l != nil {
		t.home = nil
		l.remove(t)
		a.reap(l)
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
