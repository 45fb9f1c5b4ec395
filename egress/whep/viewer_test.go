package whep

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/whipcast/whipcast/internal/rtc"
)

func TestPacer(t *testing.T) {
	const train = 12_000
	tests := []struct {
		name string
		rate int // of the stream, bytes a second
		kib  int // of its burst
		want time.Duration
	}{
		{"a keyframe of 100 KiB is there within 40 ms", 300_000, 100, 13 * time.Millisecond},
		{"a second of 2.5 Mb/s", 312_500, 305, 80 * time.Millisecond},
		{"two seconds of 20 Mb/s, at four times that", 2_500_000, 4900, 510 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pacer
			var took time.Duration
			for sent := train; sent <= tt.kib<<10; sent += train {
				media := time.Duration(float64(sent) / float64(tt.rate) * float64(time.Second))
				took += p.pause(uint64(sent), media)
				if sent > 2*burstFirst && took > media/2 {
					t.Fatalf("%d bytes, %v of media, after %v: less than twice as fast as the stream", sent, media, took)
				}
			}
			if took > tt.want || took < tt.want*9/10 {
				t.Errorf("took %v, want %v", took, tt.want)
			}
		})
	}
}

// TestTrackIsSmall: a viewer keeps no books for what it does not do: choosing
// among Layers, asking for packets again, probing.
func TestTrackIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(track{}); size > 3<<10 {
		t.Errorf("a track takes %d bytes, want at most 3 KiB", size)
	}
	synctest.Test(t, func(t *testing.T) {
		watch := func(layers ...*projection) *track {
			s := newStream(t)
			p := newProjector(t, s, layers...)
			th := newTheatre(t, s, Config{})
			defer th.close()
			p.film(time.Second)
			n := newNetwork(10_000_000, 0)
			track, _, _ := th.seatAt(rtc.Video, n)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { n.play(ctx, track) })
			p.film(3 * time.Second)
			cancel()
			wg.Wait()
			return track
		}
		if one := watch(three()[0]); one.pilot.log.slots != nil || one.pilot.controller.paths.groups != nil || one.repeats != nil || one.rewriter.paddings != nil {
			t.Error("the viewer of one layer keeps books")
		}
		if many := watch(three()...); many.pilot.log.slots == nil || many.pilot.controller.paths.groups == nil {
			t.Error("the viewer of three layers keeps none")
		}
	})
}
