package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/s3"
)

// cdn reads a bucket for viewers of any origin, and keeps what it has read. What is
// not there it does not keep.
type cdn struct {
	*httptest.Server

	sink   *s3.Sink
	served atomic.Int64 // media files
	missed atomic.Int64 // requests for what is not there
	texts  atomic.Int64 // requests for playlists

	mu   sync.Mutex
	kept map[string]storage.Object
}

func newCDN(t testing.TB, sink *s3.Sink) *cdn {
	c := &cdn{sink: sink, kept: make(map[string]storage.Object)}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *cdn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	key := strings.TrimPrefix(r.URL.Path, "/live/")
	o, err := c.get(r.Context(), key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		c.missed.Add(1)
		w.Header().Set("Cache-Control", "max-age=1")
		http.Error(w, "not there", http.StatusNotFound)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	case strings.HasSuffix(key, ".m3u8"):
		c.texts.Add(1)
	default:
		c.served.Add(1)
	}
	kind := "audio/mp4" // this server keeps no types
	if strings.Contains(key, "/video") {
		kind = "video/mp4"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=60, immutable")
	_, _ = o.Body.WriteTo(w)
}

func (c *cdn) get(ctx context.Context, key string) (storage.Object, error) {
	c.mu.Lock()
	o, ok := c.kept[key]
	c.mu.Unlock()
	if ok {
		return o, nil
	}
	o, err := c.sink.Get(ctx, key)
	if err == nil && !strings.HasSuffix(key, ".m3u8") {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.kept[key] = o
	}
	return o, err
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
func hybridOver(t testing.TB, serve string, line *badProxy, cdn *cdn) *gateway {
	return serveWith(t, plainBinary, "WHIPCAST_STORAGE=[{type: s3, endpoint: 'http://"+line.address+"', bucket: "+s3Bucket+", region: us-east-1, "+
		"prefix: live, path_style: true, access_key: "+s3Access+", secret_key: "+s3Secret+", serve: "+serve+", public_url: '"+cdn.URL+"/live'}]",
		"WHIPCAST_HLS_WINDOW=30s")
}

// TestHybrid: a gateway serves playlists with low latency, players read media from a
// CDN over a bucket. Parts: hls.js and the watch page play about two seconds behind live
// without one request for media at the gateway; while the line to the bucket swallows
// everything they play on from the gateway, and afterwards from the CDN again.
func TestHybrid(t *testing.T) {
	server := startS3(t)
	sink := openS3(t, server)
	line, far := newBadProxy(t, server), newCDN(t, sink)
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
	time.Sleep(8 * time.Second)
	if n := near.media.Load(); n > 0 {
		t.Errorf("%d requests for media at the gateway", n)
	}
	if n := far.served.Load(); n < 40 {
		t.Errorf("%d requests for media at the CDN", n)
	}

	var broke []time.Time
	for _, f := range []struct {
		name  string
		fault fault
	}{{"swallows everything", swallow}, {"answers 503", unwilling}} {
		before := near.media.Load()
		line.fault.Store(int32(f.fault))
		broke = append(broke, time.Now())
		time.Sleep(10 * time.Second)
		read := near.media.Load() - before
		ready, err := get(t.Context(), "http://"+g.admin+"/readyz")
		line.fault.Store(int32(noFault))
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
	for name, v := range a.report(t) {
		for _, fault := range v.faults(began) {
			t.Errorf("%s: %s", name, fault)
		}
		played, stalls := v.played(began, end), v.stalls(began)
		t.Logf("%s: %.1f s of %.1f s played, %d stalls, errors: %s", name, played, end.Sub(began).Seconds(), stalls, v.errors())
		if played < 0.8*end.Sub(began).Seconds() {
			t.Errorf("%s: %.1f s of %.1f s played", name, played, end.Sub(began).Seconds())
		}
		for _, at := range broke {
			if n := v.stalls(at) - v.stalls(at.Add(5*time.Second)); n > 0 {
				t.Errorf("%s: %d stalls when the line broke", name, n)
			}
		}
	}
	if n := far.missed.Load(); n > 0 {
		t.Errorf("S10: %d requests for what the CDN has not", n)
	}
	if n := far.texts.Load(); n > 0 {
		t.Errorf("%d requests for playlists at the CDN", n)
	}
	if o, err := sink.Get(t.Context(), strings.TrimPrefix(playlists[0], "/")); err != nil || strings.Contains(string(o.Body.Bytes()), "#EXT-X-PART") {
		t.Errorf("S9: the playlist in the bucket: %v\n%s", err, o.Body.Bytes())
	}
	cancel()
	probing.Wait()
	p.verdict(t)
}

// TestHybridSegments: the gateway's playlists have whole segments only, and are held
// until the next one is there; media is read from the CDN.
func TestHybridSegments(t *testing.T) {
	server := startS3(t)
	sink := openS3(t, server)
	line, far := newBadProxy(t, server), newCDN(t, sink)
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
	if played, stalls := v.played(began, end), v.stalls(began); played < 10 || stalls > 0 {
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
