package stage

import (
	"context"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// quoteLook is how long messages of a publisher are waited for before it is looked
// whether its stream is still the one of its name.
const quoteLook = time.Second

// quote passes on what a seat says by data channel while it is on air, until ctx ends:
// the program's audience gets it as what its publisher says.
func (p *Program) quote(ctx context.Context, seat string) {
	name, begun := StreamOf(p.stage, seat), time.Now()
	var from *stream.Stream
	var seen uint64
	for ctx.Err() == nil {
		now, _, err := live(ctx, p.hub, name)
		if err != nil {
			return
		}
		if now != from {
			from, seen = now, 0
		}
		look, cancel := context.WithTimeout(ctx, quoteLook)
		notes, last, err := from.Notes(look, seen)
		cancel()
		if err != nil {
			continue // nothing came
		}
		seen = last
		for _, n := range notes {
			if !n.Arrival.Before(begun) {
				p.say(n)
			}
		}
	}
}

// say gives the program's Stream a message, if it is live. What is one too many is
// counted where it is dropped.
func (p *Program) say(n stream.Note) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil {
		_ = p.session.Note(n)
	}
}
