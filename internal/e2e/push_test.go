package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

// push puts the segments of many streams into a Queue, as fast as packagers do, and
// notes how long each took until a playlist showed it.
type push struct {
	t       testing.TB
	queue   *storage.Queue
	streams int
	sizes   []int // bytes of a segment, of each rendition

	mu     sync.Mutex
	closed map[string]time.Time // by folder and media sequence number
	took   []time.Duration
	most   int // media that waited at once
}

const pushTarget = 2 * time.Second

// newPush makes a Queue to a bucket, as the gateway does.
func newPush(t testing.TB, address string, streams int, sizes ...int) *push {
	t.Helper()
	p := &push{t: t, streams: streams, sizes: sizes, closed: map[string]time.Time{}}
	again := storage.Retry(noting{openS3(t, address), p}, storage.Policy{Kinds: storage.Init | storage.Segment, Attempts: 2, Life: time.Minute})
	p.queue = storage.NewQueue(again, storage.QueueConfig{Names: hls.Names, Gap: hls.Gap})
	return p
}

// noting notes when a playlist is visible.
type noting struct {
	storage.Sink
	p *push
}

func (n noting) Put(ctx context.Context, o storage.Object) error {
	err := n.Sink.Put(ctx, o)
	if err == nil && o.Kind == storage.Playlist {
		n.p.shown(o, time.Now())
	}
	return err
}

func (p *push) shown(o storage.Object, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for msn := o.Position.MSN; msn > 0; msn-- {
		name := fmt.Sprintf("%s %d", o.Key, msn-1)
		closed, ok := p.closed[name]
		if !ok {
			return
		}
		p.took = append(p.took, at.Sub(closed))
		delete(p.closed, name)
	}
}

// run pushes for so long. Streams begin at different times, the renditions of one
// close their segments together.
func (p *push) run(long time.Duration) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() { done <- p.queue.Run(ctx) }()
	var all sync.WaitGroup
	for i := range p.streams {
		all.Go(func() {
			time.Sleep(pushTarget * time.Duration(i) / time.Duration(p.streams))
			p.stream(fmt.Sprintf("show%d", i), int(long/pushTarget))
		})
	}
	all.Wait()
	drain, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	if err := p.queue.Drain(drain); err != nil {
		p.t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		p.t.Error(err)
	}
}

// stream is one stream's packager.
func (p *push) stream(name string, segments int) {
	body := make([]byte, slices.Max(p.sizes))
	var media []*hls.Media
	for r := range p.sizes {
		media = append(media, hls.NewMedia(hls.Config{Target: pushTarget, Window: 30 * time.Second}))
		p.put(storage.Object{Key: fmt.Sprintf("%s/m1/%d/init-1.mp4", name, r), Kind: storage.Init, Type: "video/mp4", Body: storage.Body{body[:700]}})
		if err := media[r].SetInit("init-1.mp4"); err != nil {
			p.t.Error(err)
		}
	}
	tick := time.NewTicker(pushTarget)
	defer tick.Stop()
	for msn := range segments {
		for r, size := range p.sizes {
			folder, uri := fmt.Sprintf("%s/m1/%d/", name, r), fmt.Sprintf("s%08d.m4s", msn)
			p.mu.Lock()
			p.closed[fmt.Sprintf("%sindex.m3u8 %d", folder, msn)] = time.Now()
			p.mu.Unlock()
			p.put(storage.Object{Key: folder + uri, Kind: storage.Segment, Type: "video/mp4", Body: storage.Body{body[:size]}})
			if _, err := media[r].CloseSegment(hls.Segment{URI: uri, Duration: pushTarget}); err != nil {
				p.t.Error(err)
			}
			p.put(storage.Object{
				Key: folder + "index.m3u8", Kind: storage.Playlist, Type: "application/vnd.apple.mpegurl", Body: media[r].Plain(),
				Position: storage.Position{MSN: uint64(msn + 1), Target: pushTarget},
			})
		}
		waiting := p.queue.Health().Objects
		p.mu.Lock()
		p.most = max(p.most, waiting)
		p.mu.Unlock()
		<-tick.C
	}
}

func (p *push) put(o storage.Object) {
	o.Modified = time.Now()
	if err := p.queue.Put(p.t.Context(), o); err != nil {
		p.t.Error(err)
	}
}

// quantile returns how long so many percent took at most.
func (p *push) quantile(percent int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.took)
	if len(p.took) == 0 {
		p.t.Error("nothing was shown")
		return 0
	}
	return p.took[min(len(p.took)*percent/100, len(p.took)-1)]
}

// ladder is what four renditions have in two seconds: 4, 2 and 1 Mb/s, and sound.
func ladder() []int { return []int{1_000_000, 500_000, 250_000, 32_000} }

// TestPush: twenty streams with four renditions each go into one bucket at once, 75
// Mb/s. Nothing falls behind, on two cores and what else runs there (specs S14): all is
// stored, nothing is a gap, the queue gets empty.
func TestPush(t *testing.T) {
	const streams, long = 20, 10 * time.Second
	var mu sync.Mutex
	puts := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		puts++
	}))
	defer server.Close()
	p := newPush(t, server.Listener.Addr().String(), streams, ladder()...)
	p.run(long)
	m, h := p.queue.Metrics(), p.queue.Health()
	t.Logf("%d PUTs, at most %d files waited, p50 %v, p99 %v", puts, p.most, p.quantile(50), p.quantile(99))
	want := uint64(streams * len(ladder()) * (1 + int(long/pushTarget)))
	if m.Stored.Load() != want || m.Lost.Load() != 0 || h.Missing != 0 {
		t.Errorf("%d of %d files are stored, %d lost, %d missing", m.Stored.Load(), want, m.Lost.Load(), h.Missing)
	}
	if h.Objects != 0 || h.Bytes != 0 || h.Playlists != 0 || len(p.closed) != 0 {
		t.Errorf("at the end: %+v, %d segments are in no playlist", h, len(p.closed))
	}
	if most := streams * len(ladder()); p.most > most {
		t.Errorf("%d files waited at once: more than a segment of each of the %d renditions", p.most, most)
	}
}

// BenchmarkPush measures how long it takes from the end of a segment until the
// playlist that names it is in a real S3 server's bucket.
func BenchmarkPush(b *testing.B) {
	for _, tt := range []struct {
		name    string
		streams int
		sizes   []int
	}{
		{"10 streams of 4 Mb/s", 10, ladder()[:1]},
		{"20 streams of 4 renditions, 75 Mb/s", 20, ladder()},
	} {
		b.Run(tt.name, func(b *testing.B) {
			for b.Loop() {
				p := newPush(b, startS3(b), tt.streams, tt.sizes...)
				p.run(20 * time.Second)
				b.ReportMetric(float64(p.quantile(50).Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(p.quantile(99).Microseconds())/1000, "p99-ms")
				b.ReportMetric(float64(p.queue.Metrics().Lost.Load()), "lost")
			}
		})
	}
}
