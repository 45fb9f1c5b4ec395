package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/hybrid"
	"github.com/whipcast/whipcast/storage/memory"
	"github.com/whipcast/whipcast/storage/s3"
)

// counted counts what is stored.
type counted struct {
	storage.Sink

	puts atomic.Int64
}

func (c *counted) Put(ctx context.Context, o storage.Object) error {
	c.puts.Add(1)
	return c.Sink.Put(ctx, o)
}

// listed notes when playlists come to the origin.
type listed struct {
	storage.Sink

	mu sync.Mutex
	at map[string]time.Time // by the part or segment at the end
}

func (l *listed) Put(ctx context.Context, o storage.Object) error {
	if o.Kind&(storage.LowLatency|storage.Playlist) != 0 {
		l.mu.Lock()
		l.at[fmt.Sprintf("%s %d %d", o.Key, o.Position.MSN, o.Position.Parts)] = time.Now()
		l.mu.Unlock()
	}
	return l.Sink.Put(ctx, o)
}

const partTime = 500 * time.Millisecond

// BenchmarkHybrid: a stream of three video renditions (5, 1.5 and 0.5 Mb/s) and two of
// sound in parts of 500 ms goes into a real S3 server on this machine. ms-p50 and ms-p99 are how much
// later than without hybrid mode a part, or a segment, is listed; puts/h what the store is asked.
func BenchmarkHybrid(b *testing.B) {
	server := startS3(b)
	for _, mode := range []string{"parts", "segments"} {
		b.Run(mode, func(b *testing.B) { benchHybrid(b, server, mode) })
	}
}

func benchHybrid(b *testing.B, server, mode string) {
	kinds, texts, deadline := storage.Init|storage.Part|storage.Segment, storage.LowLatency, partTime
	if mode == "segments" {
		kinds, texts, deadline = storage.Init|storage.Segment, storage.Playlist, time.Second
	}
	origin := &listed{Sink: memory.New(memory.Config{}), at: map[string]time.Time{}}
	lister := hybrid.New(origin, hybrid.Config{
		Base: "https://cdn.example.org/live", Kinds: kinds, Texts: texts, Deadline: deadline, Names: hls.Names,
		Edit: func(text []byte, prefix func([]byte) (string, bool), report func([]byte) (uint64, int, bool)) []byte {
			return hls.Relocation{Prefix: prefix, Report: report, Block: mode == "segments"}.Apply(text)
		},
	})
	bucket, err := s3.Open(b.Context(), s3.Config{
		Endpoint: "http://" + server, Region: "us-east-1", Bucket: s3Bucket, Prefix: mode, PathStyle: true, AccessKey: s3Access, SecretKey: s3Secret,
	})
	if err != nil {
		b.Fatal(err)
	}
	far := &counted{Sink: bucket}
	queue := storage.NewQueue(lister.Watch(far), storage.QueueConfig{Names: hls.Names, Gap: hls.Gap, PartLife: 2 * deadline, PerStream: 32})
	sink := storage.Tee(lister, storage.Only(lister.Spare(queue), kinds, storage.Playlist))
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = queue.Run(ctx) })
	running.Go(func() { _ = lister.Run(ctx) })
	defer running.Wait()
	defer cancel()

	put := map[string]time.Time{}
	renditions := []*benched{
		newBenched(b, sink, "video", 312_000), newBenched(b, sink, "video-2", 94_000), newBenched(b, sink, "video-3", 31_000),
		newBenched(b, sink, "aac", 8_000), newBenched(b, sink, "audio", 6_000),
	}
	parts := 0
	tick := time.NewTicker(partTime)
	defer tick.Stop()
	for b.Loop() {
		<-tick.C
		for _, r := range renditions {
			if key := r.part(b, sink, parts); mode == "parts" || strings.HasSuffix(key, " 0") {
				put[key] = time.Now()
			}
		}
		parts++
	}
	if err := lister.Drain(ctx); err != nil {
		b.Fatal(err)
	}
	_ = queue.Drain(ctx)
	var late []time.Duration
	origin.mu.Lock()
	for key, at := range put {
		if shown, ok := origin.at[key]; ok {
			late = append(late, shown.Sub(at))
		}
	}
	origin.mu.Unlock()
	slices.Sort(late)
	if len(late) == 0 {
		return // the first rounds are too short
	}
	ms := func(share float64) float64 { return late[int(share*float64(len(late)-1))].Seconds() * 1000 }
	b.ReportMetric(ms(0.5), "ms-p50")
	b.ReportMetric(ms(0.99), "ms-p99")
	b.ReportMetric(float64(far.puts.Load())*float64(time.Hour)/(float64(parts)*float64(partTime)), "puts/h")
	b.ReportMetric(float64(lister.Metrics().Kept.Load()), "kept")
}

// benched is a rendition of which the media is zeros.
type benched struct {
	name  string
	size  int // of a part
	media *hls.Media
	body  storage.Body
}

func newBenched(b *testing.B, sink storage.Sink, name string, size int) *benched {
	r := &benched{name: "bench/1/" + name + "/", size: size, media: hls.NewMedia(hls.Config{Target: 2 * time.Second, Part: partTime, Window: time.Minute})}
	if err := sink.Put(b.Context(), storage.Object{Key: r.name + "init.mp4", Kind: storage.Init, Body: storage.Body{make([]byte, 700)}}); err != nil {
		b.Fatal(err)
	}
	if err := r.media.SetInit("init.mp4"); err != nil {
		b.Fatal(err)
	}
	return r
}

// part makes a part, and a segment of each four. It returns where the playlist ends.
func (r *benched) part(b *testing.B, sink storage.Sink, n int) string {
	put := func(o storage.Object) {
		if err := sink.Put(b.Context(), o); err != nil {
			b.Fatal(err)
		}
	}
	uri := fmt.Sprintf("p%d.m4s", n)
	content := make([]byte, r.size)
	r.body = append(r.body, content)
	put(storage.Object{Key: r.name + uri, Kind: storage.Part, Body: storage.Body{content}})
	if err := r.media.AddPart(hls.Part{URI: uri, Duration: partTime, Independent: true}); err != nil {
		b.Fatal(err)
	}
	if n%4 == 3 {
		uri := fmt.Sprintf("s%d.m4s", n/4)
		put(storage.Object{Key: r.name + uri, Kind: storage.Segment, Body: r.body})
		r.body = nil
		if _, err := r.media.CloseSegment(hls.Segment{URI: uri, Duration: 2 * time.Second}); err != nil {
			b.Fatal(err)
		}
		put(storage.Object{
			Key: r.name + "index.m3u8", Kind: storage.Playlist, Body: r.media.Plain(), Position: storage.Position{MSN: r.media.Position().MSN, Target: 2 * time.Second},
		})
	}
	full, _, _ := r.media.LowLatency()
	at := r.media.Position()
	put(storage.Object{
		Key: r.name + "index.m3u8", Kind: storage.LowLatency, Body: full,
		Position: storage.Position{MSN: at.MSN, Parts: at.Parts, Target: 2 * time.Second, Part: partTime},
	})
	return fmt.Sprintf("%sindex.m3u8 %d %d", r.name, at.MSN, at.Parts)
}
