package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

// trouble is a place in the gateway's storage, and what happens to it.
type trouble struct {
	words string
	fault fault
	state string // what readyz says of it in the end; another may be said on the way
	up    string // … and the metric
	says  string // in the log
	gaps  int64  // at most, after 30 s

	name   string // of the gateway
	line   *badProxy
	sees   *observer
	before int64
}

func troubles() []*trouble {
	return []*trouble{
		{words: "refuses connections", fault: refuse, state: "down", up: "0", says: "storage takes nothing", gaps: 1},
		{words: "does not answer", fault: swallow, state: "down", up: "0", says: "storage takes nothing", gaps: 4},
		{words: "answers 503", fault: unwilling, state: "down", up: "0", says: "storage takes nothing", gaps: 1},
		{words: "returns half an answer", fault: halfAnswer, state: "down", up: "0", says: "storage takes nothing", gaps: 1},
		{words: "drops connections", fault: cut, state: "down", up: "0", says: "storage takes nothing", gaps: 1},
		{words: "rejects the credentials", fault: forbid, state: "refused", up: "0", says: "check its credentials", gaps: 1},
		{words: "is slower than the stream", fault: thin, state: "", up: "", says: "storage ", gaps: 18},
		{words: "works", fault: noFault, state: "working", up: "1"},
	}
}

// TestOutages: one stream goes to eight places, each over a line with another
// fault, for one second and then for thirty. The publisher and the live origin do
// not notice; the place that works has everything in time; each fault is told; and
// when it is over, what the window allows is caught up with in order (specs S10–S14).
func TestOutages(t *testing.T) {
	server := startS3(t)
	all := troubles()
	var entries []string
	for i, p := range all {
		p.name = fmt.Sprintf("s3-%d", i+1)
		p.line = newBadProxy(t, server)
		entries = append(entries, s3Entry(p.line.address, p.name, ", memory: 1MiB, spool: 64MiB"))
	}
	g := serveWith(t, plainBinary, "WHIPCAST_STORAGE=["+strings.Join(entries, ", ")+"]", "WHIPCAST_HLS_AUDIO=aac")
	source := publish(t, g.url("/whip/show"))
	live := auditLive(t, g, "show")
	for _, p := range all {
		p.sees = observe(t, s3URL(server, p.name), "show", time.Second)
	}
	for _, p := range all {
		until(t, 60*time.Second, p.name+" has a stream", func() bool { return p.newest() >= 2 })
	}

	for _, long := range []time.Duration{time.Second, 30 * time.Second} {
		began := live.newest()
		for _, p := range all {
			p.before = p.newest()
			p.line.set(t, p.fault)
		}
		time.Sleep(long)
		if long > 10*time.Second {
			stated(t, g, all)
			if n := live.newest() - began; n < int64(long/(2*time.Second))-2 {
				t.Errorf("the live origin made %d segments in an outage of %v", n, long)
			}
			works := all[len(all)-1]
			if n := live.newest() - works.newest(); n > 3 {
				t.Errorf("the place that works is %d segments behind", n)
			}
			if metric(t, g, `whipcast_storage_spooled_files_total{storage="s3-1"}`) == 0 {
				t.Error("nothing was spooled")
			}
		}
		for _, p := range all {
			p.line.set(t, noFault)
		}
		end := live.newest() + 1
		for _, p := range all {
			until(t, 60*time.Second, p.name+", which "+p.words+", has caught up", func() bool { return p.newest() >= end })
			gaps := p.sees.gaps.Load()
			t.Logf("%v: %s %s: %d → %d, %d gaps", long, p.name, p.words, p.before, p.newest(), gaps)
			if gaps > p.gaps || long == time.Second && gaps > 1 {
				t.Errorf("%s, which %s for %v, has %d gaps, want at most %d", p.name, p.words, long, gaps, p.gaps)
			}
		}
	}
	until(t, 30*time.Second, "all places work again", func() bool {
		return strings.Count(detail(t, g), ": working")+strings.Count(detail(t, g), ": behind") >= len(all) &&
			metric(t, g, `whipcast_storage_spool_bytes{storage="s3-1"}`) == 0
	})
	live.verdict(t)
	select {
	case <-source.done:
		t.Errorf("the publisher ended: %v", source.err)
	default:
	}
	if strings.Contains(g.out.String(), "session ended") {
		t.Error("the publisher's session ended")
	}
	if err := source.stop(t); err != nil {
		t.Errorf("the publisher ended with %v", err)
	}
	if err := g.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
	for _, p := range all {
		p.sees.verdict(10)
	}
	if strings.Contains(g.out.String(), s3Secret) {
		t.Error("the secret key is in the log (X4)")
	}
}

func (p *trouble) newest() int64 { return p.sees.newest.Load() }

// stated holds that each fault is seen: in readyz, in the metrics, and in the log.
func stated(t *testing.T, g *gateway, all []*trouble) {
	t.Helper()
	text := detail(t, g)
	for _, p := range all {
		line, ok := lineOf(text, "storage "+p.name+": ")
		if !ok || !strings.Contains(line, ": "+p.state) {
			t.Errorf("readyz says %q of %s, which %s", line, p.name, p.words)
		}
		if up := metric(t, g, fmt.Sprintf("whipcast_storage_up{storage=%q}", p.name)); p.up != "" && fmt.Sprint(up) != p.up {
			t.Errorf("%s, which %s, is up: %v, want %s", p.name, p.words, up, p.up)
		}
		said := false
		for line := range strings.Lines(g.out.String()) {
			said = said || strings.Contains(line, "storage="+p.name) && strings.Contains(line, p.says)
		}
		if !said && p.says != "" {
			t.Errorf("the log does not say %q of %s, which %s", p.says, p.name, p.words)
		}
	}
}

func lineOf(text, prefix string) (string, bool) {
	for line := range strings.Lines(text) {
		if i := strings.Index(line, prefix); i >= 0 {
			return strings.TrimSpace(line[i:]), true
		}
	}
	return "", false
}

// detail returns what readyz says.
func detail(t *testing.T, g *gateway) string {
	t.Helper()
	res, err := get(t.Context(), "http://"+g.admin+"/readyz")
	if err != nil || res.status != http.StatusOK {
		t.Errorf("readyz: %v, status %d", err, res.status)
	}
	return string(res.body)
}

// metric returns the value of a metric, with its labels.
func metric(t *testing.T, g *gateway, name string) float64 {
	t.Helper()
	res, err := get(t.Context(), "http://"+g.admin+"/metrics")
	if err != nil {
		t.Error(err)
		return 0
	}
	for line := range strings.Lines(string(res.body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Errorf("metric %s: %v", name, err)
			}
			return n
		}
	}
	t.Errorf("there is no metric %s", name)
	return 0
}

// audit looks at the live origin's playlists of a stream all the time.
type audit struct {
	check hlscheck.Checker
	sees  *observer
}

// auditLive starts to look; the test's end stops it.
func auditLive(t *testing.T, g *gateway, stream string) *audit {
	f := &audit{check: hlscheck.Checker{Lag: 5 * time.Second}, sees: &observer{t: t}}
	f.sees.newest.Store(-1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	poll := func() {
		index, err := get(ctx, g.url("/hls/"+stream+"/index.m3u8"))
		if err != nil || index.status != http.StatusOK {
			return
		}
		for _, uri := range uris(string(index.body)) {
			got, err := get(ctx, g.url(path.Join("/hls", stream, uri)))
			if err == nil && got.status == http.StatusOK {
				f.check.Media(uri, time.Now(), got.body)
				f.sees.live(uri, string(got.body))
			} else if ctx.Err() == nil {
				t.Errorf("live playlist %s: status %d, %v", uri, got.status, err)
			}
		}
	}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			poll()
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// live notes the newest complete segment of the video, and what it misses.
func (w *observer) live(key, text string) {
	if !strings.Contains(key, "video/") {
		return
	}
	first, segments := blocks(w.t, text)
	w.newest.Store(first + int64(len(segments)) - 1)
	w.gaps.Add(int64(strings.Count(text, "#EXT-X-GAP") + strings.Count(text, "#EXT-X-DISCONTINUITY\n")))
}

func (f *audit) newest() int64 { return f.sees.newest.Load() }

// verdict holds that the live playlists were right, and never missed anything nor
// saw the publisher go.
func (f *audit) verdict(t *testing.T) {
	t.Helper()
	for i, v := range f.check.Violations() {
		if i < 10 {
			t.Errorf("live: %v", v)
		}
	}
	if n := f.sees.gaps.Load(); n > 0 {
		t.Errorf("the live playlists had %d gaps and discontinuities", n)
	}
}
