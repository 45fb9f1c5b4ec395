package whep

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"

	"github.com/whipcast/whipcast/internal/rtc"
)

// TestPleas asks for keyframes all the time; some are sent, a while after a request was
// passed on.
func TestPleas(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		asks   []time.Duration // when the viewer does; nil: each 50 ms of 40 s
		answer time.Duration   // until a keyframe is sent, 0: never
		want   []time.Duration
	}{
		{"who is in need on and on", nil, 100 * ms, []time.Duration{
			0, 500 * ms, 1500 * ms, 3500 * ms, 7500 * ms, 15_500 * ms, 23_500 * ms, 31_500 * ms, 39_500 * ms,
		}},
		{"now and then", []time.Duration{0, 11 * time.Second, 22 * time.Second}, 100 * ms, []time.Duration{
			0, 11 * time.Second, 22 * time.Second,
		}},
		{"again, because the first did not get through", []time.Duration{0, 300 * ms}, 100 * ms, []time.Duration{0, 500 * ms}},
		{"again, while it was on its way", []time.Duration{0, 50 * ms}, 100 * ms, []time.Duration{0}},
		{"nobody answers", []time.Duration{0, 10 * ms, 600 * ms, 1100 * ms, 1200 * ms}, 0, []time.Duration{
			0, 500 * ms, 1000 * ms, 1500 * ms,
		}},
		{"rest", []time.Duration{0, 600 * ms, 11 * time.Second, 11_600 * ms}, 100 * ms, []time.Duration{
			0, 600 * ms, 11 * time.Second, 11_600 * ms,
		}},
	} {
		var p pleas
		var got []time.Duration
		start := time.Unix(1_800_000_000, 0)
		answer := time.Duration(-1)
		for at := time.Duration(0); at < 40*time.Second; at += 10 * ms {
			now := start.Add(at)
			if at == answer {
				p.serve()
			}
			passed := p.due(now)
			if tt.asks == nil && at%(50*ms) == 0 || len(tt.asks) > 0 && at == tt.asks[0] {
				if tt.asks != nil {
					tt.asks = tt.asks[1:]
					if len(tt.asks) == 0 {
						tt.asks = []time.Duration{-1}
					}
				}
				passed = p.ask(now) || passed
			}
			if passed {
				got = append(got, at)
				if tt.answer > 0 {
					answer = at + tt.answer
				}
			}
		}
		if len(got) != len(tt.want) {
			t.Errorf("%s: passed on at %v, want %v", tt.name, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%s: passed on at %v, want %v", tt.name, got, tt.want)
				break
			}
		}
	}
}

// TestOneViewerBegsForKeyframes: each 50 ms, of a publisher that makes one whenever it is
// asked. A cut makes a new beginning.
func TestOneViewerBegsForKeyframes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		p := newProjector(t, s, single(2))
		p.layers[0].every = 1 << 20
		th := newTheatre(t, s, Config{})
		defer th.close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.obey(ctx)
		p.frame()
		synctest.Wait()
		track, _, _ := th.seat(rtc.Video)
		b, err := (&rtcp.PictureLossIndication{MediaSSRC: 4711}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		w := track.wire()
		// beg returns how many keyframes a projector makes in a while.
		beg := func(p *projector, d time.Duration) int {
			before := p.layers[0].keyframes
			for at := time.Duration(0); at < d; at += 50 * time.Millisecond {
				track.handle(b, time.Now(), w)
				p.frame()
				time.Sleep(50 * time.Millisecond)
			}
			return p.layers[0].keyframes - before
		}
		if n := beg(p, 30*time.Second); n < 6 || n > 8 {
			t.Errorf("%d keyframes in half a minute for one viewer, want one at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 23.5 s", n)
		}
		again := newProjector(t, s, single(2))
		again.layers[0].every = 1 << 20
		go again.obey(ctx)
		if n := beg(again, 2*time.Second); n < 3 {
			t.Errorf("%d keyframes in the first 2 s of another publisher, want the first one and two for the viewer", n)
		}
	})
}
