package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// TestBrowserRewinds: a viewer jumps back to what memory has no room for, plays it
// from the disk, and jumps to the live edge again, without an error.
func TestBrowserRewinds(t *testing.T) {
	g := serveWith(t, plainBinary, "WHIPCAST_HLS_WINDOW=5m", "WHIPCAST_HLS_MEMORY=16MiB")
	for i := range 4 { // together they fill the memory in some ten seconds
		launch(t, nil, plainBinary, "publish", "--url", g.url("/whip/show"+strconv.Itoa(i)), "--token", token, "--simulcast")
	}
	url := g.url("/hls/show0/index.m3u8")
	until(t, 30*time.Second, "the stream is live", func() bool {
		got, err := get(t.Context(), url)
		return err == nil && got.status == http.StatusOK
	})
	a := newAudience(t)
	a.open(t, order{Name: "viewer", Kind: "hls", URL: url, Config: map[string]any{"backBufferLength": 2}})
	a.settle(t)
	until(t, 90*time.Second, "media has moved to the disk", func() bool { return counter(t, g, "whipcast_dvr_moved_segments_total") > 40 })

	jump := func(to float64) time.Time {
		at := time.Now()
		a.send(t, order{Name: "viewer", Seek: &to})
		time.Sleep(7 * time.Second)
		return at
	}
	back := jump(1)
	forth := jump(1e6) // beyond the end: the player goes to the live edge
	read := counter(t, g, "whipcast_dvr_reads_total")
	if read == 0 {
		t.Error("nothing was read from the disk")
	}
	if lost := counter(t, g, "whipcast_dvr_lost_segments_total"); lost > 0 {
		t.Errorf("%v segments were lost", lost)
	}
	viewer := a.report(t)["viewer"]
	for _, fault := range viewer.faults(back) {
		t.Error(fault)
	}
	behind, edge := viewer.position(forth), viewer.position(time.Now())
	t.Logf("after the jump back %.1f s were played, at %.1f s; at last at %.1f s; %v segments read from the disk; errors: %s",
		viewer.played(back, forth), behind, edge, read, viewer.errors())
	if n := viewer.played(back, forth); n < 3 || behind > 12 {
		t.Errorf("after the jump back %.1f s were played, up to %.1f s", n, behind)
	}
	if edge < behind+10 {
		t.Errorf("at %.1f s at last, want the live edge", edge)
	}
}

// position is where the player was at a time.
func (v *viewer) position(at time.Time) float64 {
	position := 0.0
	for _, s := range v.Samples {
		if s.At <= at.UnixMilli() {
			position = s.Position
		}
	}
	return position
}

// counter reads one of the gateway's metrics.
func counter(t *testing.T, g *gateway, name string) float64 {
	t.Helper()
	got, err := get(t.Context(), "http://"+g.admin+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(fmt.Sprintf(`(?m)^%s (\S+)$`, name)).FindSubmatch(got.body)
	if found == nil {
		t.Fatalf("no metric %s", name)
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
