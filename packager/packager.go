// Package packager turns the packets of a Stream into the files of an HLS
// presentation, and hands each file to a Sink.
//
//	stream.Subscription ──▶ pump, au ──▶ runner ──▶ presentation ──▶ storage.Sink
//	      (a layer)       (goroutine)  (goroutine)  segmenter, fmp4, hls
//
// Invariant: one goroutine owns a presentation; what decides is pure, without
// goroutine, clock or I/O. The package does not know WebRTC, nor which Sinks
// there are.
package packager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// Config says how presentations are cut. The zero value works.
type Config struct {
	// Segment is how long segments should be: 2 s by default, 500 ms to 10 s.
	// Publishers that send key frames further apart get longer ones.
	Segment time.Duration
	// Part is PART-TARGET, the longest a partial segment may be: 500 ms by
	// default, 200 ms to the segment's length.
	Part time.Duration
	// Window is how much is kept listed: 60 s by default, at least three segments.
	Window time.Duration
	// Grace is how long after its publisher left a presentation waits for the
	// next one before it ends: 60 s by default.
	Grace time.Duration
	// Ledger keeps what must outlive the program; nil: a restart begins anew, and a
	// stop ends the playlists.
	Ledger Ledger
	// Record keeps what presentations were made of; nil: nothing does.
	Record Record
	// Latency keeps how long it takes; nil: nothing does.
	Latency *latency.Book
	// MaxBitrate is what a publisher may send before it is cut off, in bit/s: the doctor
	// warns before. 0: no limit.
	MaxBitrate int64
	// Audio says which audio renditions are made: Both by default.
	Audio Sound
}

func (c Config) withDefaults() Config {
	within := func(d, usual, least, most time.Duration) time.Duration {
		if d <= 0 {
			d = usual
		}
		return min(max(d, least), most)
	}
	c.Segment = within(c.Segment, 2*time.Second, 500*time.Millisecond, maxTarget)
	c.Part = within(c.Part, 500*time.Millisecond, 200*time.Millisecond, c.Segment)
	c.Window = within(c.Window, time.Minute, 3*c.Segment, 24*time.Hour)
	if c.Audio == "" {
		c.Audio = Both
	}
	c.Grace = within(c.Grace, time.Minute, 0, 24*time.Hour)
	return c
}

// Metrics are running totals over all Streams of a Packager. Any goroutine may
// read them.
type Metrics struct {
	Presentations    atomic.Uint64 // begun
	Segments         atomic.Uint64
	Parts            atomic.Uint64 // with media
	GapParts         atomic.Uint64 // without
	Stills           atomic.Uint64 // parts in which the last picture stands still
	Discontinuities  atomic.Uint64
	KeyframeRequests atomic.Uint64 // before they are coalesced
	Dropped          atomic.Uint64 // units without a place: before a key frame, or late
	Silence          atomic.Uint64 // audio frames that were made up
	Lagged           atomic.Uint64 // times that a Layer's ring overtook us
	SinkErrors       atomic.Uint64
	Messages         atomic.Uint64 // of publishers and of callers, that were put in their place
	MessagesDropped  atomic.Uint64 // of publishers
	Lost             atomic.Uint64 // packets that never came
	Damaged          atomic.Uint64 // pictures dropped for that
	Reanchored       atomic.Uint64 // times that program date-time was moved, for a publisher's clock had drifted
	Drift            atomic.Uint64 // by how many milliseconds in all
	// Raised are the findings so far, by code; one that gets worse counts again. The
	// map never changes.
	Raised map[doctor.Code]*atomic.Uint64
}

// add takes what has come to the totals of a Source.
func (m *Metrics) add(before, now au.Stats) {
	m.Lost.Add(now.Lost - before.Lost)
	m.Damaged.Add(now.Damaged - before.Damaged)
}

// Packager packages Streams. Its methods may be called from any goroutine.
type Packager struct {
	cfg     Config
	sink    storage.Sink
	log     *slog.Logger
	metrics Metrics
	boards  boards
	desks   desks
}

// New returns a Packager that puts everything into sink.
func New(cfg Config, sink storage.Sink, log *slog.Logger) *Packager {
	p := &Packager{cfg: cfg.withDefaults(), sink: sink, log: log}
	p.metrics.Raised = map[doctor.Code]*atomic.Uint64{}
	for _, code := range doctor.Codes() {
		p.metrics.Raised[code] = &atomic.Uint64{}
	}
	return p
}

// Metrics returns the running totals.
func (p *Packager) Metrics() *Metrics { return &p.metrics }

// Run packages one Stream: it waits for a publisher, and goes on over reconnects.
// When no publisher came back within Config.Grace it ends the presentation,
// deletes its files as they expire, and returns nil. A publisher that comes
// meanwhile begins a new presentation.
//
// When ctx ends it closes what is open and returns the context's error within a
// few seconds; the files stay. The playlists end then, unless there is a Ledger:
// the next Run goes on with them. Run for each Stream from
// a goroutine of its own, one at a time for a Stream.
func (p *Packager) Run(ctx context.Context, s *stream.Stream) error {
	log := p.log.With("stream", s.Name())
	board, forget := p.boards.hang(s.Name())
	defer forget()
	desk, shut := p.desks.open(s.Name())
	defer shut()
	figures, end := p.cfg.Latency.Open(s.Name())
	defer end()
	inner, cancel := context.WithCancel(ctx)
	r := &runner{
		cfg: p.cfg, stream: s, log: log, metrics: &p.metrics,
		events: make(chan event, queued), errands: desk.errands,
		out:   outlet{sink: p.sink, log: log, metrics: &p.metrics, figures: figures},
		pumps: map[stream.LayerID]*pump{},
		ward:  ward{log: log, board: board, figures: figures, raised: p.metrics.Raised, usage: usage{limit: float64(p.cfg.MaxBitrate)}},
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	r.start = func(run func(context.Context) error) context.CancelFunc {
		own, stop := context.WithCancel(inner)
		wg.Go(func() {
			defer stop()
			if err := run(own); err != nil && own.Err() == nil {
				log.Debug("reader ended", "error", err)
			}
		})
		return stop
	}
	if err := r.recall(ctx, time.Now()); err != nil {
		log.Warn("a new presentation begins: what was before the restart is of no use", "error", err)
	}
	r.start(r.watch)
	r.start(r.listen)
	err := r.run(ctx)
	if err == nil {
		return nil
	}
	if stopErr := r.stop(ctx); stopErr != nil {
		err = errors.Join(err, stopErr)
	}
	return fmt.Errorf("package %s: %w", s.Name(), err)
}
