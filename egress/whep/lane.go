package whep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// errRemoved is the reason of viewers whose stream was removed.
var errRemoved = errors.New("the stream was removed")

// lane is one worker: it carries one Layer of a Stream to a shard of viewers.
// It is woken once a picture, reads the batch once, and hands it to each track.
//
//	ring ──▶ Subscription ──▶ lane ──▶ track ──▶ viewer
//	                               └─▶ track ──▶ viewer
//
// A track that comes over from another Layer's lane is an arrival until this
// Layer's next keyframe.
//
// A large picture, a keyframe, is handed round in turns, with pauses that are the
// lane's: pace says how.
type lane struct {
	kind     stream.Kind
	layer    stream.LayerID
	stream   *stream.Stream
	audience *audience
	metrics  *Metrics

	line timeline // of the present source; only run touches it, as what follows
	pace pace

	mu       sync.Mutex
	tracks   []*track             // below mu; replaced, never changed
	arrivals []*arrival           // below mu; replaced, never changed
	reading  *stream.Subscription // below mu: where run reads now, nil before
	closed   bool                 // below mu: run shall end
}

// arrival is a track that is to change to another lane.
type arrival struct {
	track *track
	lane  *lane                // it changes to
	sub   *stream.Subscription // its own in the lane's Layer
	asked time.Time            // for a keyframe; below the audience's mutex
	due   time.Time            // not before; fixed, as reach
	reach time.Duration        // so old may a cached keyframe be, 0: only the next one will do
	busy  atomic.Bool          // it is tried, has succeeded or was given up
}

// try lets the lane take the track over. It reports whether it did.
func (x *arrival) try(f *feeding) bool {
	if f.now.Before(x.due) || !x.busy.CompareAndSwap(false, true) {
		return false
	}
	cached := x.cached(f)
	if cached != nil && x.track.change(f, cached) {
		x.sub.Close()
		return true
	}
	if cached != nil {
		cached.Close()
	} else if x.track.change(f, x.sub) {
		return true
	}
	x.busy.Store(false)
	return false
}

// cached returns a Subscription at the newest keyframe, nil if that is too old.
func (x *arrival) cached(f *feeding) *stream.Subscription {
	if x.reach == 0 {
		return nil
	}
	look, err := x.lane.stream.Subscribe(x.lane.layer)
	if err != nil {
		return nil
	}
	defer look.Close()
	var one [1]stream.Packet
	if n, err := look.Read(f.ended, one[:]); err != nil || n == 0 || f.now.Sub(one[0].Arrival) > x.reach {
		return nil
	}
	sub, err := x.lane.stream.Subscribe(x.lane.layer)
	if err != nil {
		return nil
	}
	return sub
}

// cancel reports whether the arrival will not happen any more.
func (x *arrival) cancel() bool {
	if !x.busy.CompareAndSwap(false, true) {
		return false
	}
	x.sub.Close()
	return true
}

// add lets the lane feed a track from its next batch on. The caller must not
// feed it any more.
func (l *lane) add(t *track) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tracks = append(slices.Clone(l.tracks), t)
}

// remove takes a track out. The lane may be feeding it for the last time.
func (l *lane) remove(t *track) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tracks = slices.DeleteFunc(slices.Clone(l.tracks), func(o *track) bool { return o == t })
}

// expect lets the lane take a track over at the next keyframe.
func (l *lane) expect(x *arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrivals = append(slices.Clone(l.arrivals), x)
}

// forget takes an arrival out.
func (l *lane) forget(x *arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrivals = slices.DeleteFunc(slices.Clone(l.arrivals), func(o *arrival) bool { return o == x })
}

func (l *lane) members() []*track {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tracks
}

func (l *lane) expected() []*arrival {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.arrivals
}

// load is how many tracks the lane has or is to have.
func (l *lane) load() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.tracks) + len(l.arrivals)
}

// close makes run return.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.reading != nil {
		l.reading.Close()
		l.reading = nil
	}
}

// run reads until the lane is closed, its Stream removed, or ctx has ended.
func (l *lane) run(ctx context.Context) {
	sub, err := l.attach()
	if err != nil {
		l.audience.end(fmt.Errorf("watch %s: %w", l.stream.Name(), err))
		return
	}
	if sub == nil {
		return
	}
	defer sub.Close()
	l.pump(ctx, sub)
	if l.detach(sub) && ctx.Err() == nil {
		l.audience.end(errRemoved)
	}
}

// attach returns a Subscription of the Layer; nil when the lane is closed.
func (l *lane) attach() (*stream.Subscription, error) {
	sub, err := l.stream.Subscribe(l.layer)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		sub.Close()
		return nil, nil
	}
	l.reading = sub
	return sub, nil
}

// detach reports whether sub ended without anybody having closed it.
func (l *lane) detach(sub *stream.Subscription) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reading != sub {
		return false
	}
	l.reading = nil
	return true
}

// pump passes on what sub reads, until it ends.
func (l *lane) pump(ctx context.Context, sub *stream.Subscription) {
	f := newFeeding(ctx, l)
	defer f.timer.Stop()
	packets, lagged := make([]stream.Packet, readSize), true
	for {
		n, err := sub.Read(ctx, packets)
		switch {
		case errors.Is(err, stream.ErrLagged):
			l.metrics.Lags.Add(1)
			lagged = true
		case errors.Is(err, stream.ErrOffline): // the audience waits for the next publisher
		case err != nil:
			return
		default:
			f.batch.ring, f.batch.lagged, lagged = sub, lagged, false
			l.deliver(ctx, f, packets[:n])
			clear(packets[:n]) // the ring alone keeps payloads
		}
	}
}

// feeding is what a lane hands to its tracks: what it has read, a turn at a time.
// There is one for each lane.
type feeding struct {
	lane    *lane
	batch   batch           // of this turn
	more    bool            // there is another turn
	last    mark            // of all that was read
	ended   context.Context //nolint:containedctx // reading with it does not wait
	joining *scratch        // for those who are not in step yet
	turn    *scratch        // the same, for as much as the others get in a turn
	now     time.Time
	timer   *time.Timer
}

func newFeeding(ctx context.Context, l *lane) *feeding {
	joining := newScratch(trainSize)
	turn := &scratch{packets: joining.packets[:turnSize], train: joining.train}
	return &feeding{
		lane: l, batch: batch{train: make([]outgoing, trainSize)},
		ended: over(ctx), joining: joining, turn: turn, timer: time.NewTimer(0),
	}
}

// arriving is what a track that changes to the lane begins with.
func (f *feeding) arriving() *scratch {
	if f.more {
		return f.turn
	}
	return f.joining
}

// deliver hands what was read to every track, and takes over who waits for it. Of
// a large picture each viewer in turn gets a train, and after some turns all get a
// pause, so that neither the last one waits for all of the others' packets nor
// anybody's network gets the whole of it at once. It returns early when ctx ends.
func (l *lane) deliver(ctx context.Context, f *feeding, packets []stream.Packet) {
	last := &packets[len(packets)-1]
	f.last, f.now = mark{last.Source, last.Sequence}, time.Now()
	l.follow(&packets[0])
	begin, step := f.now, len(packets)
	if l.kind == stream.Video {
		step = l.pace.step(len(packets))
		l.pace.observe(packets)
	}
	size := turn(len(packets))
	for from := 0; from < len(packets); from += size {
		if from > 0 && from%step == 0 && !f.until(ctx, begin.Add(time.Duration(from/step)*paceStep)) {
			return
		}
		f.batch.ahead = packets[from:]
		f.batch.packets = packets[from:min(from+size, len(packets))]
		f.more = from+size < len(packets)
		l.round(f)
		f.batch.lagged = false
	}
	f.batch.packets, f.batch.ahead = nil, nil
}

// round is one turn of every track.
func (l *lane) round(f *feeding) {
	for _, t := range l.members() {
		t.serve(f)
	}
	for _, x := range l.expected() {
		if x.try(f) {
			l.audience.changed(x)
		}
	}
}

// until waits for a time; false when ctx has ended.
func (f *feeding) until(ctx context.Context, due time.Time) bool {
	f.now = time.Now()
	wait := due.Sub(f.now)
	if wait <= 0 {
		return true
	}
	f.timer.Reset(wait)
	select {
	case <-f.timer.C:
		f.now = time.Now()
		return true
	case <-ctx.Done():
		return false
	}
}

// follow keeps the timeline of what is read.
func (l *lane) follow(p *stream.Packet) {
	if l.line.source != p.Source {
		l.line = timeline{source: p.Source, rate: p.Source.Layer.Codec.ClockRate}
	}
	if r, ok := p.Source.Report(); ok {
		l.audience.relate(&l.line, r)
		return
	}
	l.line.observe(p.Arrival, p.Timestamp)
}
