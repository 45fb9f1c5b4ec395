package whep

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// TestLayersHaveTrueBitRates: what is told of a layer in the first moments of a publisher
// is not the keyframe that has just come, whether it is the first one or follows another.
func TestLayersHaveTrueBitRates(t *testing.T) { // specs E30
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		server := &Server{audiences: map[*stream.Stream]*audience{}}
		h := newHerald(server, s)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { h.run(ctx) })
		told := func() []Layer {
			synctest.Wait()
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.layers
		}
		// check fails unless one layer is told of whose bit rate is within bounds.
		check := func(when string, least, most int) {
			t.Helper()
			if all := told(); len(all) != 1 || all[0].Bitrate < least || all[0].Bitrate > most {
				t.Errorf("%s: %+v, want %d to %d bits a second", when, all, least, most)
			}
		}
		p := newProjector(t, s, single(20)) // 5.5 Mb/s
		p.frame()
		check("at once", 0, 0)
		p.film(600 * time.Millisecond)
		check("soon", 5_000_000, 15_000_000)
		p.film(5 * time.Second)
		check("later", 5_000_000, 8_000_000)
		p = newProjector(t, s, single(4)) // a fifth of it
		p.frame()
		check("when another one follows", 5_000_000, 8_000_000) // as before
		p.film(600 * time.Millisecond)
		check("soon after", 1_000_000, 3_000_000)
		cancel()
		wg.Wait()
	})
}
