package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBrowserLadder: hls.js goes down the ladder of a simulcast publisher when
// its network gets slow, and up again when it is fast: without a stall where it has
// some seconds of media, and with a short one at most a step near the live edge.
func TestBrowserLadder(t *testing.T) {
	g := serveWith(t, plainBinary) // the browser needs the cores
	decide(t, func(run string) []string { return climb(t, g, run) })
}

const topHeight = 720

// slower is how the network gets slow, in bytes a second: the highest layer has
// 260,000 with its sound, the one below 80,000. Each step lasts
// stepTime: nobody near the live edge has a buffer for a fall at once.
var slower = []int{300_000, 220_000, 160_000, 110_000}

const (
	stepTime = 6 * time.Second
	buffered = 14 * time.Second // of media may be shown before what was loaded last
)

// farBack is how many target durations the player without low latency stays behind.
// The usual three leave half a second when a segment takes its whole duration to
// load: a busy machine would decide then, not the ladder.
const farBack = 5

func climb(t *testing.T, g *gateway, stream string) []string {
	t.Helper()
	source := launch(t, nil, plainBinary, "publish", "--simulcast", "--url", g.url("/whip/"+stream), "--token", token)
	url := g.url("/hls/" + stream + "/index.m3u8")
	until(t, 30*time.Second, "the stream has three layers", func() bool {
		got, err := get(t.Context(), url)
		return err == nil && got.status == http.StatusOK && strings.Count(string(got.body), "RESOLUTION=") >= 3
	})
	time.Sleep((farBack + 2) * 2 * time.Second) // so many segments must be there to stay so far behind
	a := newAudience(t)
	const low, far = "hls", "hls far"
	fast := 4_000_000 // bits a second that they begin with: at the top
	a.open(t, order{Name: low, Kind: "hls", URL: url, Config: map[string]any{"abrEwmaDefaultEstimate": fast}})
	a.open(t, order{Name: far, Kind: "hls", URL: url, Config: map[string]any{"abrEwmaDefaultEstimate": fast, "lowLatencyMode": false, "liveSyncDurationCount": farBack}})
	a.settle(t)
	began := time.Now()
	time.Sleep(stepTime)
	narrowed := time.Now()
	for _, rate := range append(slices.Clone(slower), 0) {
		a.send(t, order{Name: low, Throttle: &rate})
		a.send(t, order{Name: far, Throttle: &rate})
		if rate > 0 {
			time.Sleep(stepTime)
		}
	}
	widened := time.Now()
	time.Sleep(buffered + 12*time.Second)
	end := time.Now()
	seen := a.report(t)
	if err := source.stop(t); err != nil {
		t.Errorf("the test source ended with %v", err)
	}
	var missed []string
	for _, name := range []string{low, far} {
		v := seen[name]
		before, down, up := v.heights(began, narrowed), v.heights(narrowed, widened.Add(buffered)), v.heights(widened.Add(buffered), end)
		t.Logf("%-8s %vp before, %vp on the slow network, %vp on a fast one; %d stalls, %.1f s of %.1f s played; %s",
			name, before, down, up, v.stalls(narrowed), v.played(narrowed, end), end.Sub(narrowed).Seconds(), v.errors())
		for _, e := range v.Errors {
			t.Logf("%s: %5.1f s: %s: %.200s", name, time.UnixMilli(e.At).Sub(began).Seconds(), e.What, e.Words)
		}
		miss := func(ok bool, format string, args ...any) {
			if !ok {
				missed = append(missed, name+": "+fmt.Sprintf(format, args...))
			}
		}
		for _, f := range v.faults(began) {
			miss(false, "%s", f)
		}
		miss(slices.Max(before) == topHeight, "the picture was %v high with a fast network, want %d", before, topHeight)
		miss(slices.Min(down) < topHeight, "the picture was %v high with a slow network", down)
		miss(slices.Max(up) > slices.Min(down), "the picture was %v high with a fast network again, and %v with a slow one", up, down)
		// Low latency leaves a second and a half of media: a fall of the network may take it.
		// Far back none is wanted, and one borne: the two share two cores with the encoder.
		most := map[string]int{low: len(slower), far: 1}[name]
		miss(v.stalls(narrowed) <= most, "%d stalls, at most %d are allowed", v.stalls(narrowed), most)
		played, passed := v.played(narrowed, end), end.Sub(narrowed).Seconds()
		miss(played > 0.8*passed, "only %.1f s of %.1f s were played", played, passed)
	}
	return missed
}

// heights returns how high the picture was from one time to another: at first,
// and after each change.
func (v *viewer) heights(from, to time.Time) []int {
	heights := []int{0}
	for _, m := range v.Heights {
		switch {
		case m.At <= from.UnixMilli():
			heights[0] = m.Height
		case m.At <= to.UnixMilli():
			heights = append(heights, m.Height)
		}
	}
	if heights[0] == 0 && len(heights) > 1 {
		heights = heights[1:]
	}
	return heights
}
