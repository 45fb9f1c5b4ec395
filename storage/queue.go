package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull says that a bound of a Queue is reached.
var ErrFull = errors.New("queue is full")

// QueueConfig says how a Queue works. The zero QueueConfig works for any
// Objects; one for playlists needs Names and Gap.
type QueueConfig struct {
	Workers   int // Objects on their way at once; 0: 64
	PerStream int // … of one stream: the first name of the key (specs S14); 0: 8
	PerFolder int // … of media of one rendition, while the sink is quick; 0: 4
	// MaxBytes of memory and MaxObjects bound what waits. Beyond them the oldest
	// segments are lost. 0: 256 MiB, 100,000.
	MaxBytes   int64
	MaxObjects int
	// Spool takes bodies when more than half of MaxBytes is in use, and has at most
	// MaxSpool bytes of them. It must be empty, and this Queue's alone. nil: none.
	Spool    Spool
	MaxSpool int64
	// Deadline is how long after its Put a segment may take until playlists go on
	// without it (specs S12). 0: the playlist's target duration.
	Deadline time.Duration
	// PartLife is how long after its Put a Part is worth being stored: what is
	// older is dropped, since no playlist names it any more. 0: as a segment.
	PartLife time.Duration
	// Timeout bounds one call of the sink (specs S14). 0: two Deadlines, at least
	// 4 s.
	Timeout time.Duration
	// PlaylistEvery is the least time between two writes of one playlist; some
	// stores take one a second only (specs S19). 0: as often as it changes.
	PlaylistEvery time.Duration
	// Linger is how long after the last playlist that names it was replaced a file
	// stays: as long as caches may still have that playlist (specs S15). 0: 10 s.
	Linger time.Duration
	// Names calls yield for each file that a playlist's text names, relative to the
	// playlist's own place, and with the place in the text where Gap says that it
	// is missing; -1 if nothing can say so. packager/hls has one. nil: playlists
	// name nothing; each waits for the media of its folder that was put before it.
	Names func(text []byte, yield func(uri []byte, mark int) bool)
	Gap   string
	// Keeps says of which keys the stored Object stays when it is deleted: what waits
	// is given up all the same. nil: of none.
	Keeps func(key string) bool
	// Fence keeps others from writing the same streams there (specs S18); nil: nobody
	// else does.
	Fence *Fence
	// Logger says when the sink fails and when it works again; nil: nothing.
	Logger *slog.Logger
}

// QueueMetrics are running totals. Any goroutine may read them.
type QueueMetrics struct {
	Stored      atomic.Uint64 // media
	StoredBytes atomic.Uint64
	Playlists   atomic.Uint64 // stored
	Deleted     atomic.Uint64
	Failures    atomic.Uint64 // calls of the sink that failed
	Lost        atomic.Uint64 // segments that were given up
	Dropped     atomic.Uint64 // parts that were not stored within PartLife
	LeftBehind  atomic.Uint64 // files that could not be deleted

	Spooled       atomic.Uint64 // segments that were put into the spool
	SpoolFailures atomic.Uint64 // calls of the spool that failed
}

// State says how a sink does.
type State string

// The states.
const (
	Working State = "working"
	Behind  State = "behind"  // it stores, but not all, or not in time
	Down    State = "down"    // nothing gets through
	Refused State = "refused" // nor will it: wrong credentials, no such bucket
)

// Health is how a Queue and its sink do at one moment.
type Health struct {
	State     State
	Error     string        // the last one, while it fails or did of late; sinks put no secrets into errors
	Failing   time.Duration // how long nothing has got through; 0: it works
	Objects   int           // media that waits
	Bytes     int64         // its size in memory
	Spooled   int64         // bytes in the spool
	Oldest    time.Duration // age of the oldest of it
	Playlists int           // playlists that wait
	Missing   int           // files that playlists say are missing
	// Fenced says of each stream that is not written, because another gateway does,
	// what is to be done.
	Fenced []string

	SpoolError string // the last one, while the spool fails
}

// Queue is a Sink that takes everything at once and gives it to another Sink in
// the right order, as fast as that one can: what a playlist names is there
// before the playlist (specs S10–S18). A sink that fails for a while is caught
// up with; what it did not take in time is marked as missing.
//
// Put and Delete may be called from any goroutine, and never wait.
type Queue struct {
	cfg     QueueConfig
	sink    Sink
	metrics QueueMetrics
	kick    chan struct{} // there is something in the inbox, or somebody who drains

	mu       sync.Mutex
	inbox    []event
	bytes    int64 // in the inbox
	health   Health
	asOf     time.Time       // of health
	drained  []chan struct{} // closed when nothing waits
	settlers []settler
}

// event is a call of Put or Delete.
type event struct {
	what   eventKind
	object Object // with nothing but the key for others than put
}

type eventKind uint8

const (
	isPut eventKind = iota
	isDelete
	isRefused
)

// NewQueue returns a Queue to s. It works while Run does.
func NewQueue(s Sink, cfg QueueConfig) *Queue {
	if cfg.Workers <= 0 {
		cfg.Workers = 64
	}
	if cfg.PerStream <= 0 {
		cfg.PerStream = 8
	}
	if cfg.PerFolder <= 0 {
		cfg.PerFolder = 4
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 256 << 20
	}
	if cfg.MaxObjects <= 0 {
		cfg.MaxObjects = 100_000
	}
	cfg.Linger = orElse(cfg.Linger, 10*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Queue{cfg: cfg, sink: s, kick: make(chan struct{}, 1), health: Health{State: Working}}
}

// Metrics returns the running totals.
func (q *Queue) Metrics() *QueueMetrics { return &q.metrics }

// Health returns how it goes now.
func (q *Queue) Health() Health {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.health
	h.Bytes += q.bytes
	if h.Failing > 0 {
		h.Failing += time.Since(q.asOf)
	}
	if h.Objects > 0 {
		h.Oldest += time.Since(q.asOf)
	}
	return h
}

// Put implements Sink: o is stored later. An ErrKey is returned at once, and an
// ErrFull while Run does not run and the bounds are reached.
func (q *Queue) Put(ctx context.Context, o Object) error {
	err := ctx.Err()
	if err == nil {
		err = CheckKey(o.Key)
	}
	if err == nil {
		err = q.accept(event{isPut, o})
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", o.Key, err)
	}
	return nil
}

// Delete implements Sink: the Object goes when no visible playlist names it.
func (q *Queue) Delete(ctx context.Context, key string) error {
	err := ctx.Err()
	if err == nil && CheckKey(key) == nil { // nothing has another key
		err = q.accept(event{isDelete, Object{Key: key}})
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

func (q *Queue) accept(e event) error {
	err := q.append(e)
	select {
	case q.kick <- struct{}{}:
	default:
	}
	return err
}

func (q *Queue) append(e event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := size(e.object)
	switch {
	case len(q.inbox) >= 2*q.cfg.MaxObjects:
		return ErrFull
	case len(q.inbox) >= q.cfg.MaxObjects || q.bytes+n > q.cfg.MaxBytes:
		if e.what == isPut && e.object.Kind&texts == 0 { // playlists must not offer it
			q.inbox = append(q.inbox, event{isRefused, Object{Key: e.object.Key}})
		}
		return ErrFull
	}
	q.inbox = append(q.inbox, e)
	q.bytes += n
	return nil
}

// Run works until ctx ends, and returns nil when all calls of the sink have
// returned. Call it once.
func (q *Queue) Run(ctx context.Context) error {
	var (
		calls   sync.WaitGroup
		results = make(chan result, 2*q.cfg.Workers+spoolCalls) // of claims, and of all else
		b       = newBacklog(q.cfg, &q.metrics)
		said    = Health{State: Working}
	)
	for ctx.Err() == nil {
		now := time.Now()
		q.take(now, b)
		jobs, wake := b.next(now)
		for _, j := range jobs {
			calls.Go(func() { results <- q.call(ctx, j) }) // it has room for all
		}
		said = q.report(ctx, said, b.health(now))
		q.tell(ctx, b.fence)
		if b.idle() {
			q.release()
		}
		q.settle(b)
		for _, r := range q.wait(ctx, now, wake, results) {
			b.done(time.Now(), r)
		}
	}
	calls.Wait()
	for len(results) > 0 {
		b.done(time.Now(), <-results)
	}
	q.bye(ctx, b)
	return nil
}

// result is what became of a job.
type result struct {
	job  job
	err  error
	body Body // of what was loaded
}

// wait returns when there is something new: in the inbox, from the sink, or by
// the time.
func (q *Queue) wait(ctx context.Context, now, wake time.Time, results <-chan result) []result {
	var alarm <-chan time.Time
	if !wake.IsZero() {
		timer := time.NewTimer(wake.Sub(now))
		defer timer.Stop()
		alarm = timer.C
	}
	var all []result
	select {
	case <-ctx.Done():
	case <-q.kick:
	case <-alarm:
	case r := <-results:
		all = append(all, r)
	}
	for {
		select {
		case r := <-results:
			all = append(all, r)
		default:
			return all
		}
	}
}

// call calls the sink, or the spool.
func (q *Queue) call(ctx context.Context, j job) result {
	r := result{job: j}
	r.err = within(ctx, j.limit, func(ctx context.Context) error {
		switch j.verb {
		case remove:
			return q.sink.Delete(ctx, j.key)
		case spill:
			return q.cfg.Spool.Put(ctx, j.object)
		case drop:
			return q.cfg.Spool.Delete(ctx, j.key)
		case load:
			o, err := q.cfg.Spool.Get(ctx, j.key)
			r.body = o.Body
			return err
		case check:
			return q.look(ctx, j.key)
		case guard:
			return q.guard(ctx, j.claim)
		}
		return q.sink.Put(ctx, j.object)
	})
	return r
}

// take empties the inbox into the backlog.
func (q *Queue) take(now time.Time, b *backlog) {
	q.mu.Lock()
	inbox := q.inbox
	q.inbox, q.bytes = nil, 0
	q.mu.Unlock()
	for _, e := range inbox {
		switch e.what {
		case isPut:
			b.put(now, e.object)
		case isDelete:
			b.delete(now, e.object.Key)
		case isRefused:
			b.refuse(now, e.object.Key)
		}
	}
}

// report publishes how it goes, logs what has changed, and returns what was said
// last.
func (q *Queue) report(ctx context.Context, said, h Health) Health {
	q.publish(h)
	if (h.SpoolError == "") != (said.SpoolError == "") {
		if h.SpoolError != "" {
			q.cfg.Logger.WarnContext(ctx, "the spool fails and is tried again: what memory has no room for is lost", "error", h.SpoolError)
		} else {
			q.cfg.Logger.InfoContext(ctx, "the spool works again")
		}
	}
	if h.State == said.State {
		return h
	}
	switch h.State {
	case Working:
		q.cfg.Logger.InfoContext(ctx, "storage works again", "lost_segments", q.metrics.Lost.Load())
	case Behind:
		q.cfg.Logger.WarnContext(ctx, "storage does not keep up", "waiting_bytes", h.Bytes+h.Spooled, "oldest", h.Oldest, "lost_segments", q.metrics.Lost.Load())
	case Down:
		q.cfg.Logger.ErrorContext(ctx, "storage takes nothing and is tried again", "error", h.Error)
	case Refused:
		q.cfg.Logger.ErrorContext(ctx, "storage refuses everything: check its credentials, name and permissions", "error", h.Error)
	}
	return h
}

func (q *Queue) publish(h Health) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.health, q.asOf = h, time.Now()
}

// release lets go of those that drain, unless there is something new.
func (q *Queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.inbox) > 0 {
		return
	}
	for _, c := range q.drained {
		close(c)
	}
	q.drained = nil
}

// Drain waits until everything that was Put is stored, or given up, or ctx ends.
// Run must be running.
func (q *Queue) Drain(ctx context.Context) error {
	done := make(chan struct{})
	q.mu.Lock()
	q.drained = append(q.drained, done)
	q.mu.Unlock()
	select {
	case q.kick <- struct{}{}:
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain queue: %w", ctx.Err())
	}
}
