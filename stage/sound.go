package stage

import (
	"context"
	"strings"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// sound is the reader of one seat's sound.
type sound struct {
	cancel context.CancelFunc
	muted  bool
}

// hear hears those who are on air, and nobody else.
func (c *crew) hear(ctx context.Context, wanted []Sound) {
	p := c.Program
	on := map[string]bool{}
	for _, w := range wanted {
		on[w.Seat] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for seat, s := range c.sounds {
		if !on[seat] {
			s.cancel()
			p.mixer.Close(seat)
			delete(c.sounds, seat)
		}
	}
	for _, w := range wanted {
		s := c.sounds[w.Seat]
		if s == nil {
			if err := p.mixer.Open(w.Seat); err != nil {
				p.log.Warn("seat is not heard in the program", "seat", w.Seat, "error", err)
				continue
			}
			life, cancel := context.WithCancel(ctx)
			s = &sound{cancel: cancel}
			c.sounds[w.Seat] = s
			c.running.Go(func() { p.hear(life, w.Seat) })
			c.running.Go(func() { p.quote(life, w.Seat) })
		}
		if s.muted != w.Muted {
			s.muted = w.Muted
			gain := float32(1)
			if w.Muted {
				gain = 0
			}
			p.mixer.Gain(w.Seat, gain)
		}
	}
	switch idle := len(c.sounds) == 0; {
	case idle && c.hush != nil:
		c.hush()
		c.hush = nil
	case !idle && c.hush == nil:
		var life context.Context
		life, c.hush = context.WithCancel(ctx)
		c.running.Go(func() { p.beat(life) })
	}
}

// beat has the sound that is due written until ctx ends. When it comes late, it lets
// those who read the seats go first: what they have not read yet would be missing.
func (p *Program) beat(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	defer p.rest()
	for ctx.Err() == nil {
		p.mu.Lock()
		late := p.late(time.Now())
		p.mu.Unlock()
		if late && pause(ctx, catchUp) != nil {
			return
		}
		p.mu.Lock()
		p.emit(time.Now())
		p.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// rest notes that no sound is made from now on.
func (p *Program) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made = time.Time{}
}

// hear reads the sound of a seat until ctx ends, over its reconnects.
func (p *Program) hear(ctx context.Context, seat string) {
	name := StreamOf(p.stage, seat)
	for ctx.Err() == nil {
		from, state, err := live(ctx, p.hub, name)
		if err != nil {
			return
		}
		if !speaks(state) {
			if _, err := from.Wait(ctx, state.Version); err != nil {
				return
			}
			continue
		}
		b, err := from.Subscribe(stream.LayerID{Kind: stream.Audio})
		if err != nil {
			_ = pause(ctx, askEvery)
			continue
		}
		p.listen(ctx, seat, b)
		b.Close()
	}
}

// speaks reports whether a publisher has sound that can be mixed.
func speaks(state stream.State) bool {
	for _, source := range state.Sources {
		if source.Layer.ID.Kind == stream.Audio && strings.EqualFold(source.Layer.Codec.Name, "Opus") {
			return true
		}
	}
	return false
}

// listen gives the Mixer what a Subscription reads, until the publisher leaves.
func (p *Program) listen(ctx context.Context, seat string, b *stream.Subscription) {
	var packets [64]stream.Packet // as many as a Mixer keeps of a seat
	var reported time.Time
	for {
		n, err := b.Read(ctx, packets[:])
		if err != nil && n == 0 {
			if err == stream.ErrLagged { //nolint:errorlint // Read returns it as it is
				continue
			}
			return
		}
		p.mu.Lock()
		if ctx.Err() != nil { // it is not on air any more, and its place may be another's
			p.mu.Unlock()
			return
		}
		if r, ok := packets[0].Source.Report(); ok && r.Arrival.After(reported) {
			reported = r.Arrival
			p.mixer.Report(seat, r)
		}
		for i := range packets[:n] {
			p.mixer.Write(seat, packets[i])
		}
		if now := time.Now(); !p.late(now) { // else other seats have packets to write, too
			p.emit(now)
		}
		p.mu.Unlock()
		clear(packets[:n])
	}
}
