package packager

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/internal/latency"
)

// TestLatency: a part is listed once its last picture has its duration, which is
// a part's length after its first one came. What is before reception is only
// told of publishers whose clock can be compared with ours.
func TestLatency(t *testing.T) {
	for name, tt := range map[string]struct {
		report, captured, stamped time.Duration
		known                     bool
	}{
		"synchronised clock":  {time.Millisecond, 80 * time.Millisecond, 0, true},
		"clock of its own":    {time.Millisecond, 0, 0, false},
		"clock that is ahead": {time.Millisecond, -300 * time.Millisecond, 0, false},
		"late clock":          {time.Millisecond, 20 * time.Second, 0, false},
		"no reports":          {0, 0, 0, false},
		// Capture times (R6) go before sender reports, which may tell when it was sent.
		"capture times":            {time.Millisecond, time.Millisecond, 80 * time.Millisecond, true},
		"capture times of its own": {time.Millisecond, 80 * time.Millisecond, 20 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			book := latency.NewBook()
			scenario(t, Config{Latency: book, Grace: time.Second}, func(t *testing.T, b *bench) {
				c := newCamera(b.publish(t, video("VP9"), audio()))
				c.report, c.captured, c.stamped = tt.report, tt.captured, tt.stamped
				c.run(0, 20*time.Second)
				synctest.Wait()
				figures := book.Find("show")
				if figures == nil {
					t.Fatal("the stream has no figures")
				}
				now := time.Now()
				parts := figures.Recent(latency.Package, now)
				p50, _ := parts.Quantile(0.5)
				if n := parts.Count(); n < 36 || n > 40 || p50 < 0.5 || p50 > 0.6 {
					t.Errorf("%d parts of 0.5 s, listed %v s after their first picture", n, p50)
				}
				p50, known := figures.Recent(latency.Capture, now).Quantile(0.5)
				if known != tt.known || known && (p50 < 0.05 || p50 > 0.1) {
					t.Errorf("captured %v s before reception, known: %v", p50, known)
				}
			})
			if book.Find("show") != nil {
				t.Error("the stream is gone, its figures are not")
			}
		})
	}
}

// TestLatencyOfNothing: while the publisher is silent the last picture stands
// still. It is not late.
func TestLatencyOfNothing(t *testing.T) {
	book := latency.NewBook()
	scenario(t, Config{Latency: book}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 10*time.Second)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if b.pack.Metrics().Stills.Load() == 0 {
			t.Fatal("nothing stands still")
		}
		if most, _ := book.Total(latency.Package).Quantile(1); most > 1.5 {
			t.Errorf("a part was listed %v s after its first picture", most)
		}
	})
}
