package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/testsource"
)

// phase is what a browser saw while its link had one rate.
type phase struct {
	Rate    int     `json:"rate"`
	Longest int     `json:"longest"` // ms between two pictures
	At      int     `json:"at"`      // when that began, ms after the change
	Width   int     `json:"width"`   // of the last picture
	Settled int     `json:"settled"` // since when, ms after the change
	Changes [][]int `json:"changes"` // when, and to which width
	First   int     `json:"first"`   // ms from the POST to the first picture

	Counts map[string]float64 `json:"counts"` // of the browser's statistics
}

// ServeHTTP is the page of a viewer behind the link, and changes its rate.
func (d *downlink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rate, err := strconv.ParseInt(r.FormValue("rate"), 10, 64); err == nil {
		d.rate.Store(rate)
	}
	w.Header().Set("Content-Type", "text/html")
	_, _ = fmt.Fprint(w, "<!doctype html><title>viewer</title><video muted autoplay playsinline></video>")
}

// threeLayers publishes the clip as browsers do until the test ends.
func threeLayers(t *testing.T, g *gateway) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var source sync.WaitGroup
	source.Go(func() {
		err := testsource.Run(ctx, testsource.Config{
			URL: g.url("/whip/three"), Token: token, Simulcast: &testsource.Simulcast{Style: testsource.Browser},
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); source.Wait() })
	until(t, 20*time.Second, "three layers", func() bool {
		packets, _ := g.arrived(t, "three")
		return packets["f"] > 100 && packets["h"] > 30 && packets["q"] > 30
	})
}

// miss returns what a viewer did not see of what it should.
func miss(phases []phase) (missed []string) {
	if len(phases) != 3 {
		return []string{"not all of the phases"}
	}
	for i, p := range phases {
		sizes := make([]int, 0, len(p.Changes))
		for _, change := range p.Changes {
			sizes = append(sizes, change[1])
		}
		low := slices.Contains(sizes, 320)
		if high := slices.Contains(sizes, 640) || slices.Contains(sizes, 1280); i != 1 && !high && p.Width <= 320 || i == 1 && !low && p.Width != 320 {
			missed = append(missed, fmt.Sprintf("phase %c: pictures %v, at the end %d wide", 'A'+i, sizes, p.Width))
		}
		if p.Longest > 3000 {
			missed = append(missed, fmt.Sprintf("phase %c: no picture for %d ms", 'A'+i, p.Longest))
		}
	}
	return missed
}

// TestBrowserAdapts: a viewer in Chromium gets the layer that its network carries, up
// and down, and does not freeze. The marks are 3 s until the right layer and 1 s without
// a picture; a machine that other programs use gets more.
func TestBrowserAdapts(t *testing.T) {
	for _, loss := range []float64{0, 0.1} {
		t.Run(fmt.Sprintf("%.0f %% lost", loss*100), func(t *testing.T) {
			g := serveWith(t, plainBinary) // the browser needs the cores
			threeLayers(t, g)
			decide(t, func(string) []string {
				d := newDownlink(t, g.media, 3_000_000, loss)
				s := browse(t, "adapt", detour(t, g, d.front.LocalAddr(), d), "three")
				for _, p := range s.Phases {
					t.Logf("%d kb/s: %d wide after %d ms, %v; longest without a picture: %d ms, from %d on; %v",
						p.Rate/1000, p.Width, p.Settled, p.Changes, p.Longest, p.At, p.Counts)
				}
				t.Logf("%d dropped by the link, %d lost", d.dropped.Load(), d.lost.Load())
				if loss > 0 && d.lost.Load() == 0 {
					t.Error("the network was not bad")
				}
				return miss(s.Phases)
			})
		})
	}
}
