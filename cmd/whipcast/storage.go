package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/internal/check"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/replay"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/directory"
	"github.com/whipcast/whipcast/storage/httpput"
	"github.com/whipcast/whipcast/storage/hybrid"
	"github.com/whipcast/whipcast/storage/s3"
)

// drainTime is how long a stop waits for places that are slow.
const drainTime = 2500 * time.Millisecond

// place is one entry of storage in the configuration: a sink with its own queue.
type place struct {
	name   string // type and number, for logs and metrics
	queue  *storage.Queue
	lister *hybrid.Lister // of the place that viewers read; else nil
	kinds  storage.Kind   // that it gets
	close  func()
	sweep  func(ctx context.Context) error // what must be gone at a start
	probe  check.Place
}

// places are all of them.
type places []place

// plainKinds are what any web server can serve (specs S7–S9).
const plainKinds = storage.Init | storage.Segment | storage.Playlist | storage.Multivariant | storage.Held

// newPlace returns the place of an entry, without a sink.
func newPlace(i int, entry configs.Storage) place {
	return place{
		name: entry.Type + "-" + strconv.Itoa(i+1), kinds: plainKinds,
		close: func() {}, sweep: func(context.Context) error { return nil },
	}
}

// telling is where places tell of themselves.
type telling struct {
	log   *slog.Logger
	spans *spans
}

// openPlaces opens all places; origin keeps what the gateway itself serves. The
// error names the entry.
func openPlaces(ctx context.Context, config configs.Config, origin storage.Sink, archive *replay.Archive, tell telling) (places, error) {
	var all places
	log := tell.log
	disk := spools{data: config.DataDir, log: log}
	self := identity(config, log)
	for i, entry := range config.Storage {
		p := newPlace(i, entry)
		sink, err := openSink(ctx, entry, config.HLS, &p)
		if err == nil {
			p.probe = probeOf(p.name, entry, sink)
			err = p.sweep(ctx)
		}
		if err != nil {
			p.close()
			all.close()
			return nil, &configs.Error{
				Key: "storage", Value: p.name, Cause: err.Error(), Remedy: fmt.Sprintf("correct entry %d", i+1),
			}
		}
		raw := sink
		queue := storage.QueueConfig{
			MaxBytes: entry.Memory, MaxSpool: entry.Spool, PlaylistEvery: entry.PlaylistEvery,
			Names: hls.Names, Gap: hls.Gap, Fence: self.fence(entry, sink), Logger: log.With("storage", p.name),
		}
		if entry.Serve != "" {
			sink = p.list(entry, config.HLS, origin, sink, &queue)
		}
		sink = storage.Retry(tell.spans.sink(p.name, sink), storage.Policy{
			// The queue itself tries playlists again, with the newest body, and media
			// after an outage. Two attempts share the two target durations that it gives
			// a segment (specs S14).
			Kinds: storage.Init | storage.Segment, Attempts: 2, Life: config.HLS.Window,
		})
		if entry.Gzip {
			sink = storage.Gzip(sink)
		}
		folder, err := disk.open(ctx, p.name, entry)
		if err != nil {
			p.close()
			all.close()
			return nil, err
		}
		if folder != nil {
			queue.Spool = folder
			closeSink := p.close
			p.close = func() { closeSink(); _ = folder.Close() }
		}
		p.begin(entry, archive, raw, sink, queue)
		all = append(all, p)
	}
	return all, nil
}

// list makes the gateway's playlists name what viewers read from this place
// (docs/adr/0009). It returns the sink below the place's queue.
func (p *place) list(entry configs.Storage, cut configs.HLS, origin, sink storage.Sink, queue *storage.QueueConfig) storage.Sink {
	lister := hybrid.Config{
		Base: entry.PublicURL, Kinds: storage.Init | storage.Segment, Texts: storage.Playlist,
		// A segment is due 1.5 target durations after the one before (specs L38).
		Deadline: max(cut.Segment/2, 500*time.Millisecond),
		Names:    hls.Names, Logger: queue.Logger,
	}
	relocation := hls.Relocation{Block: true}
	if entry.Serve == "parts" {
		lister.Kinds |= storage.Part
		lister.Texts = storage.LowLatency
		lister.Deadline = cut.Part
		relocation = hls.Relocation{Late: cut.Part}
		p.kinds |= storage.Part
		queue.PartLife = 2 * cut.Part
		queue.PerStream = 32 // all renditions close a part and a segment at once
	}
	lister.Edit = func(text []byte, prefix func(uri []byte) (string, bool), report func(uri []byte) (uint64, int, bool)) []byte {
		edit := relocation
		edit.Prefix, edit.Report = prefix, report
		return edit.Apply(text)
	}
	p.lister = hybrid.New(origin, lister)
	return p.lister.Watch(sink)
}

// openSink opens the sink of an entry.
func openSink(ctx context.Context, entry configs.Storage, cut configs.HLS, p *place) (storage.Sink, error) {
	// What leaves the window is deleted a little later; until then caches may
	// have it.
	kept := cut.Window
	switch entry.Keep {
	case 0:
	case configs.KeepForever:
		kept = 0
	default:
		kept = entry.Keep
	}
	switch entry.Type {
	case "s3":
		return s3.Open(ctx, s3.Config{
			Endpoint: entry.Endpoint, Region: entry.Region, Bucket: entry.Bucket, Prefix: entry.Prefix, PathStyle: entry.PathStyle,
			AccessKey: entry.AccessKey, SecretKey: storage.Secret(entry.SecretKey),
			ACL: entry.ACL, Encryption: entry.Encryption, EncryptionKey: entry.EncryptionKey, Kept: kept,
		})
	case "httpput":
		fields := map[string]storage.Secret{}
		for name, value := range entry.Headers {
			fields[name] = storage.Secret(value)
		}
		sink, err := httpput.Open(httpput.Config{
			URL: entry.URL, Fields: fields, Certificate: entry.Certificate, Key: entry.Key, Authority: entry.Authority,
			MakeFolders: entry.MakeFolders, NoDelete: entry.NoDelete, Kept: kept,
		})
		if err == nil {
			p.close = sink.Close
		}
		return sink, err
	}
	sink, err := directory.Open(entry.Path, directory.Config{Sync: map[string]directory.Sync{
		"none": directory.SyncNone, "all": directory.SyncAll,
	}[entry.Sync]})
	if err != nil {
		return nil, err
	}
	p.close = func() { _ = sink.Close() }
	p.sweep = func(ctx context.Context) error { return sink.Sweep(ctx, nil) }
	return sink, nil
}

// probeOf says how a place is checked.
func probeOf(name string, entry configs.Storage, sink storage.Sink) check.Place {
	p := check.Place{Name: name, Sink: sink, Keeps: entry.NoDelete, Public: entry.PublicURL}
	switch s := sink.(type) {
	case *s3.Sink:
		p.Read, p.MustRead, p.URL, p.Signs = s.Get, true, s.URL(), true
		p.ByHost = entry.Endpoint != "" && !entry.PathStyle
	case *httpput.Sink:
		p.Read, p.URL, p.TLS = s.Get, s.URL(), s.TLS()
	case *directory.Sink:
		p.Read, p.MustRead, p.Folder = s.Get, true, entry.Path
	}
	return p
}

// close gives back what the places hold. Their queues must not run any more.
func (all places) close() {
	for _, p := range all {
		p.close()
	}
}

// with returns a Sink that serves the origin first, and each place after it.
// Places get the playlists that any web server can serve (specs S7–S9).
func (all places) with(origin storage.Sink) storage.Sink {
	sinks := []storage.Sink{live(origin)}
	for _, p := range all {
		var queue storage.Sink = p.queue
		if p.lister != nil {
			sinks[0], queue = p.lister, p.lister.Spare(p.queue)
		}
		sinks = append(sinks, storage.Only(queue, p.kinds))
	}
	return storage.Tee(sinks...)
}

// tasks are the queues, and what decides where viewers read.
func (all places) tasks() []task {
	var list []task
	for _, p := range all {
		list = append(list, task{p.name, p.queue.Run})
		if p.lister != nil {
			list = append(list, task{p.name + " lister", p.lister.Run})
		}
	}
	return list
}

// delay is how much later than media a stream's first playlist may be there.
func (all places) delay(cut configs.HLS) time.Duration {
	for _, p := range all {
		switch {
		case p.lister == nil:
		case p.kinds&storage.Part != 0:
			return 3 * cut.Part
		default:
			return cut.Segment + time.Second
		}
	}
	return 0
}

// mediaOrigins are the origins, as of a browser's page, that viewers read besides
// the gateway.
func mediaOrigins(entries []configs.Storage) []string {
	var all []string
	for _, entry := range entries {
		if u, err := url.Parse(entry.PublicURL); err == nil && u.Host != "" {
			all = append(all, u.Scheme+"://"+u.Host)
		}
	}
	return all
}

// drain waits until all is stored that is to be, or ctx ends.
func (all places) drain(ctx context.Context, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	var waiting sync.WaitGroup
	for _, p := range all {
		if p.lister != nil {
			waiting.Go(func() {
				if err := p.lister.Drain(ctx); err != nil {
					log.WarnContext(ctx, "last playlists were not shown in the time of a stop", "storage", p.name, "error", err)
				}
			})
		}
		waiting.Go(func() {
			if err := p.queue.Drain(ctx); err != nil {
				h := p.queue.Health()
				log.WarnContext(ctx, "not everything was stored in the time of a stop", "storage", p.name, "files", h.Objects, "bytes", h.Bytes+h.Spooled, "error", h.Error)
			}
		})
	}
	waiting.Wait()
}

// detail says in a line each how the places do.
func (all places) detail() []string {
	var lines []string
	for _, p := range all {
		h := p.queue.Health()
		line := fmt.Sprintf("storage %s: %s, %d files wait (%d bytes in memory, %d in the spool), the oldest for %v, %d are missing",
			p.name, h.State, h.Objects, h.Bytes, h.Spooled, h.Oldest.Round(time.Millisecond), h.Missing)
		if h.Error != "" {
			line += fmt.Sprintf("; fails for %v: %s", h.Failing.Round(time.Second), h.Error)
		}
		if h.SpoolError != "" {
			line += "; the spool fails: " + h.SpoolError
		}
		lines = append(lines, line)
		if p.lister != nil {
			lines = append(lines, p.listed())
		}
		for _, fenced := range h.Fenced {
			lines = append(lines, "storage "+p.name+": "+fenced)
		}
	}
	return lines
}

// listed says in a line where viewers read.
func (p place) listed() string {
	h, m := p.lister.Health(), p.lister.Metrics()
	line := fmt.Sprintf("storage %s: viewers read from it %d of %d files named", p.name, m.Placed.Load(), m.Placed.Load()+m.Kept.Load())
	if h.Fallen > 0 {
		line += fmt.Sprintf("; it is too slow: new media of %d of %d renditions is read from this gateway, for %v", h.Fallen, h.Renditions, h.Since.Round(time.Second))
	}
	return line
}

// metrics lists what the queues count.
func (all places) metrics() []api.Metric {
	var list []api.Metric
	for _, p := range all {
		m := p.queue.Metrics()
		gauge := func(name, help string, read func(storage.Health) float64) api.Metric {
			return api.Metric{Name: name, Help: help, Read: func() float64 { return read(p.queue.Health()) }}
		}
		mine := []api.Metric{
			total("whipcast_storage_files_total", "Media files stored.", &m.Stored),
			total("whipcast_storage_bytes_total", "Their size.", &m.StoredBytes),
			total("whipcast_storage_playlists_total", "Playlists stored.", &m.Playlists),
			total("whipcast_storage_deleted_total", "Files deleted.", &m.Deleted),
			total("whipcast_storage_failures_total", "Calls that failed.", &m.Failures),
			total("whipcast_storage_lost_segments_total", "Segments that were given up: playlists say they are missing.", &m.Lost),
			total("whipcast_storage_dropped_parts_total", "Parts not stored while players could want them.", &m.Dropped),
			total("whipcast_storage_left_files_total", "Files that could not be deleted.", &m.LeftBehind),
			total("whipcast_storage_spooled_files_total", "Segments that went to the spool.", &m.Spooled),
			total("whipcast_storage_spool_failures_total", "Calls of the spool that failed.", &m.SpoolFailures),
			gauge("whipcast_storage_up", "1 while something gets through.", func(h storage.Health) float64 {
				if h.State == storage.Down || h.State == storage.Refused {
					return 0
				}
				return 1
			}),
			gauge("whipcast_storage_fenced_streams", "Streams that are not written: another gateway does, or may.", func(h storage.Health) float64 { return float64(len(h.Fenced)) }),
			gauge("whipcast_storage_failing_seconds", "How long nothing has got through; 0 while something does.", func(h storage.Health) float64 { return h.Failing.Seconds() }),
			gauge("whipcast_storage_missing_files", "Files that playlists say are missing.", func(h storage.Health) float64 { return float64(h.Missing) }),
			gauge("whipcast_storage_waiting_files", "Media files that wait.", func(h storage.Health) float64 { return float64(h.Objects) }),
			gauge("whipcast_storage_waiting_bytes", "Their size in memory.", func(h storage.Health) float64 { return float64(h.Bytes) }),
			gauge("whipcast_storage_spool_bytes", "Size of the spool.", func(h storage.Health) float64 { return float64(h.Spooled) }),
			gauge("whipcast_storage_oldest_seconds", "Age of the oldest of them.", func(h storage.Health) float64 { return h.Oldest.Seconds() }),
		}
		if p.lister != nil {
			mine = append(mine, p.listerMetrics()...)
		}
		for i := range mine {
			mine[i].Labels = map[string]string{"storage": p.name}
		}
		list = append(list, mine...)
	}
	return list
}

// listerMetrics lists what is counted where viewers read from a place.
func (p place) listerMetrics() []api.Metric {
	m := p.lister.Metrics()
	return []api.Metric{
		total("whipcast_hybrid_placed_files_total", "Media files that playlists name at their public URL.", &m.Placed),
		total("whipcast_hybrid_kept_files_total", "Media files that playlists name at this gateway, because they were not stored in time.", &m.Kept),
		total("whipcast_hybrid_playlists_total", "Media playlists shown.", &m.Texts),
		{
			Name: "whipcast_hybrid_wait_seconds_total", Help: "How long they waited for their media to be stored, in all.", Total: true,
			Read: func() float64 { return time.Duration(m.Waited.Load()).Seconds() }, //nolint:gosec // centuries
		},
		{
			Name: "whipcast_hybrid_fallen_renditions", Help: "Renditions whose new media is read from this gateway.",
			Read: func() float64 { return float64(p.lister.Health().Fallen) },
		},
	}
}
