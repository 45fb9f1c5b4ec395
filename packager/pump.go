package packager

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/stream"
)

const (
	// batch is how many packets a pump reads at once.
	batch = 64
	// patience is how long a pump waits for packets before it lets the Assembler
	// give up on missing ones.
	patience = 100 * time.Millisecond
	// askEvery is how far apart a pump's or runner's requests for a key frame are.
	askEvery = 500 * time.Millisecond
)

// event is what a runner hears: from the pumps, and of the Stream's State.
type event struct {
	source *stream.Source // which the units, or the end, are of
	units  []au.Unit
	seen   sight
	ended  bool // the Source has ended: nothing more of it comes
	gone   bool // the Stream was removed
	state  *stream.State
	notes  []stream.Note
}

// pump turns one Layer's packets into units and sends them in batches. It is one
// goroutine; it outlives publishers.
type pump struct {
	sub     *stream.Subscription
	stop    context.CancelFunc
	events  chan<- event
	log     *slog.Logger
	metrics *Metrics

	source *stream.Source
	asm    *au.Assembler // nil before the first packet and for unknown codecs
	rate   int64         // of the Source's clock, if that is of audio
	seen   sight
	sent   time.Time // when seen was last sent
}

// run reads until the context ends or the Stream is removed. While it has a
// source, a read ends after some patience, so that the Assembler can give up on
// missing packets; one deadline serves many reads.
func (p *pump) run(ctx context.Context) error {
	defer p.sub.Close()
	packets := make([]stream.Packet, batch)
	for {
		patient, cancel := context.WithTimeout(ctx, patience)
		err := p.readUntil(ctx, patient, packets)
		cancel()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// readUntil reads and handles batches until patient ends. Without a source
// there is nothing to hurry for, and it waits for ctx.
func (p *pump) readUntil(ctx, patient context.Context, packets []stream.Packet) error {
	for patient.Err() == nil {
		wait := patient
		if p.asm == nil {
			wait = ctx
		}
		n, err := p.sub.Read(wait, packets)
		switch {
		case n > 0:
			err = p.take(ctx, packets[:n])
			clear(packets[:n])
		case errors.Is(err, stream.ErrLagged):
			p.metrics.Lagged.Add(1)
			p.sub.RequestKeyframe() // it goes on at the next one
			err = nil
		case errors.Is(err, stream.ErrOffline):
			err = p.endSource(ctx)
		case errors.Is(err, io.EOF):
			if err = p.endSource(ctx); err == nil {
				err = p.send(ctx, event{gone: true})
			}
			return errors.Join(err, io.EOF)
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			err = p.overdue(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take assembles a batch; all its packets are of one Source.
func (p *pump) take(ctx context.Context, packets []stream.Packet) error {
	if packets[0].Source != p.source {
		if err := p.endSource(ctx); err != nil {
			return err
		}
		if err := p.begin(ctx, packets[0].Source); err != nil {
			return err
		}
	}
	if p.asm == nil {
		return nil
	}
	p.seen.at = packets[len(packets)-1].Arrival
	units := make([]au.Unit, 0, 4)
	for i := range packets {
		k := &packets[i]
		units = p.asm.Push(au.Packet{
			Arrival: k.Arrival, Timestamp: k.Timestamp, Sequence: k.Sequence, Marker: k.Marker, Payload: k.Payload,
		}, units)
	}
	p.check()
	return p.deliver(ctx, units)
}

// begin makes an Assembler for a new Source (specs R27).
func (p *pump) begin(ctx context.Context, source *stream.Source) error {
	layer := source.Layer
	p.source, p.seen = source, sight{asked: p.seen.asked}
	asm, err := au.New(layer.Codec.Name, au.Config{
		Strict: layer.OnRequest, Fmtp: layer.Codec.Fmtp, ClockRate: int(layer.Codec.ClockRate),
	})
	if err != nil {
		p.log.Warn("layer cannot be packaged", "layer", layerName(layer.ID), "error", err)
		return p.send(ctx, event{source: source, ended: true})
	}
	p.asm, p.rate = asm, 0
	if layer.ID.Kind == stream.Audio {
		p.rate = int64(layer.Codec.ClockRate)
	}
	return nil
}

// common puts the times of audio on the clock of all audio. No error adds up.
func (p *pump) common(units []au.Unit) []au.Unit {
	if p.rate == opusRate || p.rate == 0 {
		return units
	}
	for i := range units {
		u := &units[i]
		end := (u.PTS + u.Duration) * opusRate / p.rate
		u.PTS = u.PTS * opusRate / p.rate
		u.DTS, u.Duration = u.PTS, end-u.PTS
	}
	return units
}

// overdue lets the Assembler give up on packets that are missing for too long.
func (p *pump) overdue(ctx context.Context) error {
	units := p.asm.Advance(time.Now(), nil)
	p.check()
	return p.deliver(ctx, units)
}

// endSource flushes what is left of the present Source.
func (p *pump) endSource(ctx context.Context) error {
	if p.source == nil {
		return nil
	}
	var units []au.Unit
	if p.asm != nil {
		units = p.asm.Flush(nil)
		stats := p.asm.Stats()
		p.metrics.add(p.seen.stats, stats)
		p.seen.stats = stats
	}
	e := event{source: p.source, units: p.common(units), seen: p.seen, ended: true}
	p.source, p.asm = nil, nil
	return p.send(ctx, e)
}

// deliver sends units, and once in a while what else was seen where no units are.
func (p *pump) deliver(ctx context.Context, units []au.Unit) error {
	now, stats := time.Now(), p.asm.Stats()
	if len(units) == 0 && (stats == p.seen.stats || now.Sub(p.sent) < sightEvery) {
		return nil
	}
	p.metrics.add(p.seen.stats, stats)
	p.seen.stats, p.sent = stats, now
	return p.send(ctx, event{source: p.source, units: p.common(units), seen: p.seen})
}

// send gives an event to the runner. It blocks when that is busy: then packets
// wait in the ring, and what does not fit there is lost for us alone.
func (p *pump) send(ctx context.Context, e event) error {
	select {
	case p.events <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check asks for a key frame where the Assembler needs one.
func (p *pump) check() {
	if now := time.Now(); p.asm.NeedKeyframe() && now.Sub(p.seen.asked) >= askEvery {
		p.seen.asked = now
		p.metrics.KeyframeRequests.Add(1)
		p.sub.RequestKeyframe()
	}
}
