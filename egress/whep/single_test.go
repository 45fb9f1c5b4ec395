package whep

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// single is a stream without simulcast.
func single(perFrame int) *projection {
	return &projection{layer: stream.Layer{ID: stream.LayerID{}}, perFrame: perFrame, size: 1150, key: 4, every: 60}
}

// TestOneLayerIsRepaired: what a viewer may have repeated follows the bit rate of the
// Layer, also where there is only one.
func TestOneLayerIsRepaired(t *testing.T) {
	for _, loss := range []float64{0.02, 0.05, 0.1} {
		synctest.Test(t, func(t *testing.T) {
			s := newStream(t)
			p := newProjector(t, s, single(20))
			th := newTheatre(t, s, Config{})
			defer th.close()
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			p.frame()
			synctest.Wait()
			n := newNetwork(30_000_000, loss)
			track, _, _ := th.seatAt(rtc.Video, n)
			wg.Go(func() { n.play(ctx, track) })
			p.film(20 * time.Second)
			cancel()
			wg.Wait()
			sums := track.sums()
			t.Logf("%.0f %% lost: of %d asked for %d are repeated", loss*100, sums.asked, sums.repeated)
			if sums.asked < 100 || sums.repeated*100 < sums.asked*95 {
				t.Errorf("%.0f %% lost: of %d packets asked for only %d are repeated", loss*100, sums.asked, sums.repeated)
			}
		})
	}
}

// TestProbeEndsWithItsLayers: the publisher comes back without simulcast while a probe
// is on. Then there is nothing to probe for.
func TestProbeEndsWithItsLayers(t *testing.T) {
	n := newNetwork(3_000_000, 0)
	watchThree(t, n, func(w *watched) {
		n.set(600_000)
		w.projector.film(10 * time.Second)
		n.set(6_000_000)
		pilot := &w.track.pilot
		probing := func() bool {
			pilot.mu.Lock()
			defer pilot.mu.Unlock()
			return pilot.controller.probe.on
		}
		for i := 0; !probing(); i++ {
			if i == 10*perSecond {
				t.Error("no probe begins")
				return
			}
			w.projector.frame()
			time.Sleep(time.Second / perSecond)
		}
		one := newProjector(t, w.track.home.stream, single(2))
		one.film(2 * time.Second)
		before := w.metrics.Padding.Load()
		one.film(10 * time.Second)
		if more := w.metrics.Padding.Load() - before; more > 0 || probing() {
			t.Errorf("%d packets of padding beside the only layer, probing: %v", more, probing())
		}
	})
}

// TestCeilingOutlivesItsLayers: a viewer whose network carries only the least Layer gets
// that one again, when they come back.
func TestCeilingOutlivesItsLayers(t *testing.T) {
	l := newLine(t)
	l.run(time.Second, 0, func(int) group { return l.group(50_000, time.Second, 30) })
	l.want(2, "a link of 50 kb/s")
	for _, layers := range []int{1, 0, 2, 3} {
		for range 10 {
			l.now = l.now.Add(100 * time.Millisecond)
			l.step(l.rates[:layers], 0, true, l.now, l.now)
		}
		l.want(2, "then")
		if got, want := best(l.rates[:layers], l.ceiling), max(layers-1, 0); got != want {
			t.Errorf("of %d layers that with index %d is sent, want %d", layers, got, want)
		}
	}
}
