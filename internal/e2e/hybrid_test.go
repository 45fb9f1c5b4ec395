package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

// cdn stands before a bucket that everybody may read, and counts what viewers read.
type cdn struct {
	*httptest.Server

	served atomic.Int64 // media files
	missed atomic.Int64 // requests for what is not there
	texts  atomic.Int64 // requests for playlists
}

func newCDN(t testing.TB, server string) *cdn {
	c := &cdn{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: server, Path: "/" + s3Bucket})
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) } // viewers that leave
	proxy.ModifyResponse = func(r *http.Response) error {
		switch {
		case r.Request.Method == http.MethodOptions:
		case r.StatusCode != http.StatusOK && r.StatusCode != http.StatusPartialContent && r.StatusCode != http.StatusNotModified:
			c.missed.Add(1)
		case strings.HasSuffix(r.Request.URL.Path, ".m3u8"):
			c.texts.Add(1)
		default:
			c.served.Add(1)
		}
		return nil
	}
	c.Server = httptest.NewServer(proxy)
	t.Cleanup(c.Close)
	return c
}

// front stands before a gateway and counts what viewers read there.
type front struct {
	*httptest.Server

	media     atomic.Int64
	playlists atomic.Int64
}

func newFront(t testing.TB, g *gateway) *front {
	f := &front{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: g.address})
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) } // viewers that leave
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, ".m4s"), strings.HasSuffix(path, ".mp4"):
			f.media.Add(1)
		case strings.HasSuffix(path, ".m3u8"):
			f.playlists.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// hybridOver starts a gateway that serves playlists, of which a bucket behind a
// line has the media.
func hybridOver(t testing.TB, serve string, line *badProxy, far *cdn) *gateway {
	return serveWith(t, plainBinary, "WHIPCAST_STORAGE=["+s3Entry(line.address, "live", ", serve: "+serve+", public_url: '"+far.URL+"/live'")+"]",
		"WHIPCAST_HLS_WINDOW=30s")
}

// TestHybrid: a gateway serves playlists with low latency, players read media from a
// CDN over a bucket. Parts: hls.js and the watch page play about two seconds behind live
// without one request for media at the gateway; while the line to the bucket swallows
// everything they play on from the gateway, and afterwards from the CDN again.
func TestHybrid(t *testing.T) {
	server := startS3(t)
	line, far := newBadProxy(t, server), newCDN(t, server)
	g := hybridOver(t, "parts", line, far)
	publish(t, g.url("/whip/show"))

	p := newProbe(g)
	p.checker.Unhinted = true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var probing sync.WaitGroup
	playlists := p.start(ctx, t, "show")
	probing.Go(func() { p.play(ctx, playlists) })
	defer probing.Wait()
	defer cancel()

	near := newFront(t, g)
	a := newAudience(t)
	a.open(t, order{Name: "hls", Kind: "hls", URL: near.URL + "/hls/show/index.m3u8"})
	a.open(t, order{Name: "watch", Kind: "watch", URL: near.URL + "/watch/show"})
	a.settle(t)
	began := time.Now()
	// A bucket that has no turn on a busy machine is too slow, and players are sent to the gateway.
	until(t, time.Minute, "8 s without a request for media at the gateway", func() bool {
		atGateway, atCDN := near.media.Load(), far.served.Load()
		time.Sleep(8 * time.Second)
		if n := far.served.Load() - atCDN; n < 40 {
			t.Errorf("%d requests for media at the CDN in 8 s", n)
		}
		return near.media.Load() == atGateway
	})

	var broke []time.Time
	for _, f := range []struct {
		name  string
		fault fault
	}{{"swallows everything", swallow}, {"answers 503", unwilling}} {
		before := near.media.Load()
		line.set(t, f.fault)
		broke = append(broke, time.Now())
		time.Sleep(10 * time.Second)
		read := near.media.Load() - before
		ready, err := get(t.Context(), "http://"+g.admin+"/readyz")
		line.set(t, noFault)
		if read < 20 {
			t.Errorf("while the line %s: %d requests for media at the gateway", f.name, read)
		}
		if err != nil || !strings.Contains(string(ready.body), "renditions is read from this gateway") {
			t.Errorf("readyz while the line %s: %v\n%s", f.name, err, ready.body)
		}
		healed := time.Now()
		until(t, 60*time.Second, "media is read from the CDN again", func() bool {
			if counter(t, g, `whipcast_hybrid_fallen_renditions{storage="s3-1"}`) > 0 {
				return false
			}
			before := near.media.Load()
			time.Sleep(3 * time.Second)
			return near.media.Load() == before
		})
		t.Logf("line %s for 10 s: %d requests for media at the gateway; none from %.0f s after it", f.name, read, time.Since(healed).Seconds()-3)
	}
	end := time.Now()
	stalled := make([]int, len(broke)) // players that each break has stalled
	for name, v := range a.report(t) {
		for _, fault := range v.faults(began) {
			t.Errorf("%s: %s", name, fault)
		}
		played := v.played(began, end)
		t.Logf("%s: %.1f s of %.1f s played, %d stalls, errors: %s", name, played, end.Sub(began).Seconds(), v.stalls(began), v.errors())
		if played < 0.8*end.Sub(began).Seconds() {
			t.Errorf("%s: %.1f s of %.1f s played", name, played, end.Sub(began).Seconds())
		}
		for i, at := range broke {
			if v.stalls(at) > v.stalls(at.Add(5*time.Second)) {
				stalled[i]++
			}
		}
	}
	// On a busy machine players stall now and then without a break, too: both at one may be chance.
	if !slices.ContainsFunc(stalled, func(players int) bool { return players < 2 }) {
		t.Error("both players stalled each time that the line broke")
	}
	if n := far.missed.Load(); n > 0 {
		t.Errorf("S10: %d requests for what the CDN has not", n)
	}
	if n := far.texts.Load(); n > 0 {
		t.Errorf("%d requests for playlists at the CDN", n)
	}
	plain, err := get(t.Context(), s3URL(server, "live/"+playlists[0]))
	if err != nil || plain.status != http.StatusOK || strings.Contains(string(plain.body), "#EXT-X-PART") {
		t.Errorf("S9: the playlist in the bucket: %v %d\n%s", err, plain.status, plain.body)
	}
	cancel()
	probing.Wait()
	p.verdict(t)
}

// TestHybridSegments: the gateway's playlists have whole segments only, and are held
// until the next one is there; media is read from the CDN.
func TestHybridSegments(t *testing.T) {
	server := startS3(t)
	line, far := newBadProxy(t, server), newCDN(t, server)
	g := hybridOver(t, "segments", line, far)
	publish(t, g.url("/whip/show"))

	p := newProbe(g)
	p.checker = hlscheck.Checker{Lag: 2 * time.Second, Unhinted: true, Pace: time.Second}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var probing sync.WaitGroup
	playlists := p.start(ctx, t, "show")
	probing.Go(func() { p.play(ctx, playlists) })
	defer probing.Wait()
	defer cancel()

	near := newFront(t, g)
	a := newAudience(t)
	time.Sleep(6 * time.Second) // what a player starts behind
	a.open(t, order{Name: "hls", Kind: "hls", URL: near.URL + "/hls/show/index.m3u8"})
	a.settle(t)
	began, asked := time.Now(), near.playlists.Load()
	time.Sleep(12 * time.Second)
	end := time.Now()
	if n := near.media.Load(); n > 0 {
		t.Errorf("%d requests for media at the gateway", n)
	}
	// One request a segment for video and for sound: it is held, not repeated.
	if n := near.playlists.Load() - asked; n < 8 || n > 18 {
		t.Errorf("%d requests for playlists in %v", n, end.Sub(began))
	}
	v := a.report(t)["hls"]
	for _, fault := range v.faults(began) {
		t.Error(fault)
	}
	if played, stalls := v.played(began, end), v.stalls(began); played < 9 || stalls > 1 {
		t.Errorf("%.1f s of %.1f s played, %d stalls; errors: %s", played, end.Sub(began).Seconds(), stalls, v.errors())
	}
	if n := far.missed.Load(); n > 0 {
		t.Errorf("S10: %d requests for what the CDN has not", n)
	}
	cancel()
	probing.Wait()
	p.checker.CheckFiles()
	for _, v := range p.checker.Violations() {
		t.Error(v)
	}
	for _, e := range p.errors {
		t.Error(e)
	}
	if n := p.checker.Versions(playlists[0]); n < 9 {
		t.Errorf("%d versions", n)
	}
}
