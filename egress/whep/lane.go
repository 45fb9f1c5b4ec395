package whep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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
type lane struct {
	kind     stream.Kind
	stream   *stream.Stream
	audience *audience
	metrics  *Metrics

	line timeline // of the present source; only run touches it

	mu      sync.Mutex
	tracks  []*track             // below mu; replaced, never changed
	layer   stream.LayerID       // below mu: what to read
	reading *stream.Subscription // below mu: where run reads now, nil before
	closed  bool                 // below mu: run shall end
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

func (l *lane) members() []*track {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tracks
}

// use makes run read another Layer.
func (l *lane) use(id stream.LayerID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.layer == id {
		return
	}
	l.layer = id
	l.stop()
}

// close makes run return.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.stop()
}

// stop ends the present Subscription. l.mu is held; closing waits for nothing.
func (l *lane) stop() {
	if l.reading != nil {
		l.reading.Close()
		l.reading = nil
	}
}

// run reads until the lane is closed, its Stream removed, or ctx has ended.
func (l *lane) run(ctx context.Context) {
	for ctx.Err() == nil {
		sub, err := l.attach()
		if err != nil {
			l.audience.end(fmt.Errorf("watch %s: %w", l.stream.Name(), err))
			return
		}
		if sub == nil {
			return
		}
		l.pump(ctx, sub)
		sub.Close()
		if l.detach(sub) && ctx.Err() == nil {
			l.audience.end(errRemoved)
			return
		}
	}
}

// attach returns a Subscription of the wanted Layer; nil when the lane is closed.
func (l *lane) attach() (*stream.Subscription, error) {
	l.mu.Lock()
	id := l.layer
	l.mu.Unlock()
	sub, err := l.stream.Subscribe(id)
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
	if l.layer != id { // changed meanwhile: pump ends at once
		l.stop()
	}
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
	ended, joining := over(ctx), newScratch(trainSize)
	b := batch{ring: sub, train: make([]outgoing, trainSize), lagged: true}
	packets := make([]stream.Packet, trainSize)
	for {
		n, err := sub.Read(ctx, packets)
		switch {
		case errors.Is(err, stream.ErrLagged):
			l.metrics.Lags.Add(1)
			b.lagged = true
		case errors.Is(err, stream.ErrOffline): // the audience waits for the next publisher
		case err != nil:
			return
		default:
			b.packets = packets[:n]
			l.deliver(ended, b, joining)
			b.lagged = false
			clear(packets[:n]) // the ring alone keeps payloads
		}
	}
}

// deliver hands one batch to every track.
func (l *lane) deliver(ended context.Context, b batch, joining *scratch) {
	last := &b.packets[len(b.packets)-1]
	l.follow(&b.packets[0])
	now := time.Now()
	for _, t := range l.members() {
		switch {
		case t.joining == nil:
			t.feed(b)
		case t.layer != last.Source.Layer.ID:
			l.replace(t, last.Source.Layer.ID)
		default:
			t.merge(ended, mark{last.Source, last.Sequence}, joining)
		}
		t.report(&l.line, now)
	}
}

// replace puts a joining track into the Layer that the lane reads now: the
// publisher changed meanwhile. It merges after the next batch.
func (l *lane) replace(t *track, layer stream.LayerID) {
	sub, err := l.stream.Subscribe(layer)
	if err != nil {
		return // the stream is removed; run sees it
	}
	t.joining.Close()
	t.place(sub, layer)
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
