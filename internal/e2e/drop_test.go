package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// drop is one way in which a publisher goes away and comes back.
type drop struct {
	stream string
	away   time.Duration
	signal os.Signal // SIGKILL: nobody says goodbye

	publisher  *program
	left, back time.Time
}

const (
	beforeDrop = 4                // seconds of media that all players have shown
	afterDrop  = 12 * time.Second // of play that is looked at after the return
	mostStalls = 3                // in it: eight players decode in software on two cores
)

// TestBrowserDrops: publishers go away for 5, 20 and 50 seconds, one of them
// killed, and come back; hls.js plays on without a reload, on our page and on a
// bare one, with low latency and without, and also where it came while nobody
// published (specs L33).
func TestBrowserDrops(t *testing.T) {
	g := serveWith(t, plainBinary) // the browser needs the cores
	decide(t, func(run string) []string { return dropAll(t, g, run) })
}

func dropAll(t *testing.T, g *gateway, run string) []string {
	t.Helper()
	drops := []*drop{ // the longest first
		{stream: "long" + run, away: 50 * time.Second, signal: syscall.SIGTERM},
		{stream: "middle" + run, away: 20 * time.Second, signal: syscall.SIGTERM},
		{stream: "killed" + run, away: 20 * time.Second, signal: syscall.SIGKILL},
		{stream: "short" + run, away: 5 * time.Second, signal: syscall.SIGTERM},
	}
	for _, d := range drops {
		d.publisher = publish(t, g.url("/whip/"+d.stream))
	}
	for _, d := range drops {
		until(t, 30*time.Second, d.stream+" is live", func() bool {
			got, err := get(t.Context(), g.url("/hls/"+d.stream+"/index.m3u8"))
			return err == nil && got.status == http.StatusOK
		})
	}
	a := newAudience(t)
	for _, d := range drops {
		a.open(t, order{Name: d.stream + " hls", Kind: "hls", URL: g.url("/hls/" + d.stream + "/index.m3u8")})
		if d.away != 20*time.Second { // each player costs a tenth of a core and more
			a.open(t, order{Name: d.stream + " watch", Kind: "watch", URL: g.url("/watch/" + d.stream)})
		}
	}
	killed, far := drops[2].stream, map[string]any{"lowLatencyMode": false}
	a.open(t, order{Name: killed + " hls far", Kind: "hls", URL: g.url("/hls/" + killed + "/index.m3u8"), Config: far})
	a.settle(t)
	begin := time.Now()
	for _, d := range drops { // all come back at one time
		time.Sleep(time.Until(begin.Add(drops[0].away - d.away)))
		d.leave(t)
	}
	late := drops[1].stream
	a.open(t, order{Name: late + " hls late", Kind: "hls", URL: g.url("/hls/" + late + "/index.m3u8")})
	time.Sleep(time.Until(begin.Add(drops[0].away)))
	for _, d := range drops {
		d.back = time.Now()
		d.publisher = publish(t, g.url("/whip/"+d.stream))
	}
	time.Sleep(afterDrop)
	end := time.Now()
	seen := a.report(t)
	var missed []string
	for _, d := range drops {
		for _, player := range []string{" watch", " hls", " hls far", " hls late"} {
			if v, ok := seen[d.stream+player]; ok {
				missed = append(missed, d.judge(t, v, end)...)
			}
		}
		if err := d.publisher.stop(t); err != nil {
			t.Errorf("the publisher of %s ended with %v", d.stream, err)
		}
	}
	return missed
}

// leave ends the publisher.
func (d *drop) leave(t *testing.T) {
	t.Helper()
	d.left = time.Now()
	if err := d.publisher.cmd.Process.Signal(d.signal); err != nil {
		t.Fatal(err)
	}
	<-d.publisher.done
}

// judge checks what a player saw of a drop, and returns what it missed. It holds
// however the playlist goes on meanwhile: players may stop or show the last
// picture, but all go on when the publisher is back.
func (d *drop) judge(t *testing.T, v *viewer, end time.Time) []string {
	t.Helper()
	missed := v.faults(d.left)
	miss := func(ok bool, format string, args ...any) {
		if !ok {
			missed = append(missed, fmt.Sprintf(format, args...))
		}
	}
	late := strings.HasSuffix(v.Name, " late")
	before := v.played(time.Time{}, d.left)
	miss(late || before > beforeDrop/2, "only %.1f s of media were played before the drop", before)
	again, ok := v.resumes(d.back)
	miss(ok, "it never went on")
	stalls := 0
	if ok {
		stalls = v.stalls(again)
		miss(stalls <= mostStalls, "%d stalls after the return, at most %d are allowed", stalls, mostStalls)
		last := v.played(end.Add(-afterDrop/2), end)
		miss(last > 0.6*afterDrop.Seconds()/2, "only %.1f s of media were played in the last %v", last, afterDrop/2)
	}
	t.Logf("%-22s %4.1f s played before, %4.1f s while nobody published, goes on %4.1f s after the return, %d stalls, %4.1f s played since; %s",
		v.Name, before, v.played(d.left, d.back), again.Sub(d.back).Seconds(), stalls, v.played(d.back, end), v.errors())
	for i, m := range missed {
		missed[i] = v.Name + ": " + m
	}
	return missed
}
