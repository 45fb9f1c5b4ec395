package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestBrowserLadder: hls.js goes down the ladder of a simulcast publisher when
// its network gets slow, and up again when it is fast, without a stall.
func TestBrowserLadder(t *testing.T) {
	g := serveWith(t, plainBinary) // the browser needs the cores
	missed := climb(t, g, "one")
	if len(missed) > 0 { // wall-clock marks on two cores: a second run decides
		t.Logf("first run: %q; a second one decides", missed)
		missed = climb(t, g, "two")
	}
	for _, m := range missed {
		t.Error(m)
	}
}

const (
	topHeight = 720
	slow      = 200_000 // bytes a second: less than the highest layer, so that the buffer drains slowly
)

func climb(t *testing.T, g *gateway, stream string) []string {
	t.Helper()
	source := launch(t, nil, plainBinary, "publish", "--simulcast", "--url", g.url("/whip/"+stream), "--token", token)
	url := g.url("/hls/" + stream + "/index.m3u8")
	until(t, 30*time.Second, "the stream has three layers", func() bool {
		got, err := get(t.Context(), url)
		return err == nil && got.status == http.StatusOK && strings.Count(string(got.body), "RESOLUTION=") >= 3
	})
	a := newAudience(t)
	const low, far = "hls", "hls far"
	fast := 10_000_000 // bits a second that they begin with: at the top
	a.open(t, order{Name: low, Kind: "hls", URL: url, Config: map[string]any{"abrEwmaDefaultEstimate": fast}})
	a.open(t, order{Name: far, Kind: "hls", URL: url, Config: map[string]any{"abrEwmaDefaultEstimate": fast, "lowLatencyMode": false}})
	a.settle(t)
	began := time.Now()
	narrow, wide := slow, 0
	time.Sleep(5 * time.Second)
	a.send(t, order{Name: low, Throttle: &narrow})
	a.send(t, order{Name: far, Throttle: &narrow})
	narrowed := time.Now()
	time.Sleep(20 * time.Second)
	a.send(t, order{Name: low, Throttle: &wide})
	a.send(t, order{Name: far, Throttle: &wide})
	widened := time.Now()
	time.Sleep(25 * time.Second)
	end := time.Now()
	seen := a.report(t)
	if err := source.stop(t); err != nil {
		t.Errorf("the test source ended with %v", err)
	}
	var missed []string
	for _, name := range []string{low, far} {
		v := seen[name]
		before, down, up := v.height(narrowed), v.height(widened), v.height(end)
		t.Logf("%-8s %dp before, %dp after 20 s of %d kB/s, %dp after 25 s of all; %d stalls, %.1f s of %.1f s played; %s",
			name, before, down, slow/1000, up, v.stalls(began), v.played(began, end), end.Sub(began).Seconds(), v.errors())
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
		miss(before == topHeight, "the picture was %d high with a fast network, want %d", before, topHeight)
		miss(down > 0 && down < topHeight, "the picture was %d high with a slow network", down)
		miss(up > down, "the picture was %d high with a fast network again, and %d with a slow one", up, down)
		miss(v.stalls(began) == 0, "%d stalls", v.stalls(began))
	}
	return missed
}

// height returns how high the picture was at a time.
func (v *viewer) height(at time.Time) int {
	height := 0
	for _, m := range v.Heights {
		if m.At <= at.UnixMilli() {
			height = m.Height
		}
	}
	return height
}
