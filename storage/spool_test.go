package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/directory"
)

// disk is a Spool with faults.
type disk struct {
	t      *testing.T
	folder *directory.Sink
	before func(ctx context.Context, verb string) error // nil: nothing
	tear   atomic.Bool                                  // what is read is half of what was written

	mu    sync.Mutex
	now   int // calls under way
	most  int
	bytes int64
	sizes map[string]int64
	peak  int64
}

func newDisk(t *testing.T) *disk {
	folder, err := directory.Open(t.TempDir(), directory.Config{Sync: directory.SyncNone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := folder.Close(); err != nil {
			t.Error(err)
		}
	})
	return &disk{t: t, folder: folder, sizes: map[string]int64{}}
}

func (d *disk) call(ctx context.Context, verb string) (func(), error) {
	d.mu.Lock()
	d.now++
	d.most = max(d.most, d.now)
	before := d.before
	d.mu.Unlock()
	leave := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.now--
	}
	if before == nil {
		return leave, nil
	}
	return leave, before(ctx, verb)
}

func (d *disk) Put(ctx context.Context, o storage.Object) error {
	leave, err := d.call(ctx, "put")
	defer leave()
	if err != nil {
		return err
	}
	d.size(o.Key, int64(o.Body.Len()))
	return d.folder.Put(ctx, o)
}

func (d *disk) Get(ctx context.Context, key string) (storage.Object, error) {
	leave, err := d.call(ctx, "get")
	defer leave()
	if err != nil {
		return storage.Object{}, err
	}
	o, err := d.folder.Get(ctx, key)
	if d.tear.Load() {
		o.Body = o.Body.Slice(0, o.Body.Len()/2)
	}
	return o, err
}

func (d *disk) Delete(ctx context.Context, key string) error {
	leave, err := d.call(ctx, "delete")
	defer leave()
	if err != nil {
		return err
	}
	d.size(key, 0)
	return d.folder.Delete(ctx, key)
}

// size notes how large a file is now; 0: it is gone.
func (d *disk) size(key string, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes += n - d.sizes[key]
	d.sizes[key] = n
	d.peak = max(d.peak, d.bytes)
}

func (d *disk) set(before func(ctx context.Context, verb string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = before
}

// empty holds that no file is left.
func (d *disk) empty() {
	d.t.Helper()
	left, err := d.folder.List(d.t.Context(), "")
	if err != nil || len(left) != 0 {
		d.t.Errorf("left in the spool: %q, %v", left, err)
	}
}

const (
	video    = 40_000           // bytes of a segment: more than a playlist has
	pair     = video + video/20 // of both renditions
	dvr      = 15 * time.Minute
	overlong = 10 * time.Minute
)

// spooling is a Queue with a spool: memory for so many pairs of segments, and the
// disk for others.
func spooling(sink storage.Sink, d *disk, memory, spool int64) *storage.Queue {
	cfg := queueConfig()
	cfg.MaxBytes, cfg.Spool, cfg.MaxSpool = memory*pair, d, spool*pair
	return storage.NewQueue(sink, cfg)
}

func spoolShow(t *testing.T, q *storage.Queue, window time.Duration) *show {
	s := newLongShow(t, q, "show", window)
	s.size = video
	return s
}

// through makes segments for so long and looks all the time whether the bounds
// hold. It returns how much was in the spool at most.
func (s *show) through(q *storage.Queue, long time.Duration, memory, spool int64) int64 {
	most := int64(0)
	for end := time.Now().Add(long); time.Now().Before(end); {
		s.play(target)
		h := q.Health()
		if h.Bytes > memory*pair || h.Spooled > spool*pair {
			s.t.Errorf("%d bytes in memory, %d in the spool: allowed are %d and %d", h.Bytes, h.Spooled, memory*pair, spool*pair)
		}
		most = max(most, h.Spooled)
	}
	return most
}

// whole holds that every segment that a playlist offers has its own content.
func (s *show) whole(b *bucket) {
	s.t.Helper()
	for rendition := range s.media {
		key := s.prefix(rendition) + "index.m3u8"
		for _, uri := range needed(key, b.text(key)) {
			text := b.text(uri)
			if strings.Contains(uri, "/s0") && text != string(content(uri, len(text)).Bytes()) {
				s.t.Errorf("%s has the content of another segment", uri)
			}
		}
	}
}

// A window of 15 minutes and an outage of 10: all of it is caught up with, in
// order, while memory has room for 40 s of it (specs S12).
func TestSpoolHoldsWhatAnOutageHoldsUp(t *testing.T) {
	for _, name := range []string{"refuses", "hangs", "answers 503 late"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const memory, spool = 20, 400
				b, d := newBucket(t), newDisk(t)
				slow := func(ctx context.Context, _ string, _ *storage.Object) error { return sleep(ctx, 50*time.Millisecond) }
				b.before = slow
				q := spooling(storage.Retry(b, storage.Policy{Kinds: storage.Init | storage.Segment, Attempts: 2}), d, memory, spool)
				defer startQueue(t, q)()
				s := spoolShow(t, q, dvr)
				if most := s.through(q, time.Minute, memory, spool); most != 0 {
					t.Errorf("%d bytes were spooled though the bucket works", most)
				}
				caughtUp(t, b, s, 1, 0)

				b.set(func() { b.before = outages()[name] })
				if most := s.through(q, overlong, memory, spool); most < 270*pair {
					t.Errorf("only %d bytes were in the spool", most)
				}
				var order []string
				b.set(func() {
					b.lag = overlong
					b.before = func(ctx context.Context, key string, o *storage.Object) error {
						b.set(func() {
							if o != nil && strings.Contains(key, "/video/s") {
								order = append(order, key)
							}
						})
						return slow(ctx, key, o)
					}
				})
				s.through(q, 2*time.Minute, memory, spool)
				time.Sleep(time.Second)
				caughtUp(t, b, s, 0, 0)
				s.whole(b)
				m := q.Metrics()
				if m.Lost.Load() != 0 || m.SpoolFailures.Load() != 0 || m.Spooled.Load() < 540 {
					t.Errorf("%d lost, %d failures, %d spooled", m.Lost.Load(), m.SpoolFailures.Load(), m.Spooled.Load())
				}
				newest := ""
				for i, key := range order { // a few are under way to the bucket and from the disk
					if i >= 8 && key < order[i-8] {
						t.Errorf("%s came after %s", key, order[i-8])
					}
					newest = max(newest, key)
				}
				if len(order) < 300 {
					t.Errorf("%d segments were put after the outage", len(order))
				}
				if h := q.Health(); h.Spooled != 0 || h.Bytes != 0 || h.SpoolError != "" {
					t.Errorf("health %+v", h)
				}
				if d.most > 4 {
					t.Errorf("%d calls of the spool at once", d.most)
				}
				d.empty()
				b.verdict()
			})
		})
	}
}

// Beyond memory and spool the oldest segments are lost, and what left the window
// takes no room.
func TestSpoolIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name   string
		window time.Duration
		spool  int64
		gaps   int
	}{
		{"spool is full", dvr, 100, 300 - 120},
		{"window is short", window, 400, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const memory = 20
				b, d := newBucket(t), newDisk(t)
				q := spooling(b, d, memory, tt.spool)
				defer startQueue(t, q)()
				s := spoolShow(t, q, tt.window)
				s.through(q, 20*time.Second, memory, tt.spool)
				b.set(func() { b.before, b.jumps, b.lag = outages()["refuses"], true, overlong })
				most := s.through(q, overlong, memory, tt.spool)
				if limit := int64(tt.window/target) + 8; most > limit*pair {
					t.Errorf("%d bytes in the spool for a window of %v", most, tt.window)
				}
				b.set(func() { b.before = nil })
				s.through(q, time.Minute, memory, tt.spool)
				msn, gaps := b.end("show/m1/video/index.m3u8")
				if msn != s.msn-1 || gaps < tt.gaps*9/10 || gaps > tt.gaps*11/10 {
					t.Errorf("ends at %d of %d with %d gaps, want about %d", msn, s.msn-1, gaps, tt.gaps)
				}
				s.whole(b)
				if d.peak > tt.spool*pair {
					t.Errorf("%d bytes on the disk", d.peak)
				}
				d.empty()
				b.verdict()
			})
		})
	}
}

var errDisk = errors.New("no space left on device")

// A disk that is full, slow, or cannot be read costs segments, and nothing else:
// nobody waits for it, and memory stays bounded.
func TestSpoolThatFails(t *testing.T) {
	fails := func(verbs ...string) func(context.Context, string) error {
		return func(_ context.Context, verb string) error {
			if slices.Contains(verbs, verb) {
				return errDisk
			}
			return nil
		}
	}
	for _, tt := range []struct {
		name   string
		before func(ctx context.Context, verb string) error
		tear   bool
		gaps   int // of the 60 segments of the outage, at least
		says   string
	}{
		{"is full", fails("put"), false, 35, "no space"},
		{"cannot be read", fails("get"), false, 35, "no space"},
		{"returns half", nil, true, 35, "another content"},
		{"hangs", func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }, false, 35, "deadline"},
		{"deletes nothing", fails("delete"), false, 0, "no space"},
		{"is slow", func(ctx context.Context, _ string) error { return sleep(ctx, 300*time.Millisecond) }, false, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const memory, spool = 20, 100
				b, d := newBucket(t), newDisk(t)
				var lines bytes.Buffer
				cfg := queueConfig()
				cfg.MaxBytes, cfg.Spool, cfg.MaxSpool = memory*pair, d, spool*pair
				cfg.Logger = slog.New(slog.NewTextHandler(&lines, nil))
				q := storage.NewQueue(b, cfg)
				defer startQueue(t, q)()
				s := spoolShow(t, q, dvr)
				s.through(q, 20*time.Second, memory, spool)
				d.set(tt.before)
				d.tear.Store(tt.tear)
				b.set(func() { b.before, b.lag = outages()["refuses"], overlong })
				s.through(q, 2*time.Minute, memory, spool)
				b.set(func() { b.before = nil })
				s.through(q, time.Minute, memory, spool)
				msn, gaps := b.end("show/m1/video/index.m3u8")
				if msn != s.msn-1 || gaps < tt.gaps || gaps > 60 || tt.gaps == 0 && gaps > 0 {
					t.Errorf("ends at %d of %d with %d gaps, want %d or more", msn, s.msn-1, gaps, tt.gaps)
				}
				m := q.Metrics()
				if (m.Lost.Load() > 0) != (tt.gaps > 0) || (m.SpoolFailures.Load() > 0) != (tt.says != "") {
					t.Errorf("%d lost, %d failures", m.Lost.Load(), m.SpoolFailures.Load())
				}
				if n := strings.Count(lines.String(), "the spool fails"); n > 3 || (n > 0) != (tt.says != "") || !strings.Contains(lines.String(), tt.says) {
					t.Errorf("said %d times that the spool fails:\n%s", n, &lines)
				}
				s.whole(b)

				// It heals.
				d.set(nil)
				d.tear.Store(false)
				s.play(90 * time.Second) // calls that hang come to their end
				b.set(func() { b.before = outages()["refuses"] })
				s.through(q, time.Minute, memory, spool)
				b.set(func() { b.before = nil })
				s.through(q, time.Minute, memory, spool)
				if _, again := b.end("show/m1/video/index.m3u8"); again != gaps {
					t.Errorf("%d gaps after the disk works again, there were %d", again, gaps)
				}
				if h := q.Health(); h.SpoolError != "" && tt.name != "deletes nothing" || h.Objects != 0 || h.Bytes != 0 {
					t.Errorf("health %+v", h)
				}
				b.verdict()
			})
		})
	}
}

// Random faults of bucket and disk: bounds, order and truth hold all the time,
// and at the end nothing is left anywhere.
func TestSpoolUnderRandomFaults(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const memory, spool = 12, 40
				b, d := newBucket(t), newDisk(t)
				b.lag, b.jumps = 2*overlong, true
				var mu sync.Mutex
				dice := rand.New(rand.NewPCG(seed, 4))
				roll := func(n int) int {
					mu.Lock()
					defer mu.Unlock()
					return dice.IntN(n)
				}
				faulty := func(ctx context.Context, chance int) error {
					if err := sleep(ctx, time.Duration(roll(400))*time.Millisecond); err != nil {
						return err
					}
					if roll(100) < chance {
						return errDown
					}
					return nil
				}
				d.set(func(ctx context.Context, _ string) error { return faulty(ctx, 3) })
				var bad atomic.Int64
				b.before = func(ctx context.Context, _ string, _ *storage.Object) error { return faulty(ctx, int(bad.Load())) }
				b.after = func(string) error {
					if roll(100) < 5 {
						return errDown // it was stored all the same
					}
					return nil
				}
				q := spooling(storage.Retry(b, storage.Policy{Kinds: storage.Init | storage.Segment, Attempts: 2}), d, memory, spool)
				defer startQueue(t, q)()
				s := spoolShow(t, q, 2*time.Minute)
				for range 12 {
					bad.Store([]int64{0, 10, 50, 100}[roll(4)])
					s.through(q, time.Duration(10+roll(90))*time.Second, memory, spool)
				}
				bad.Store(0)
				s.through(q, 5*time.Minute, memory, spool)
				caughtUp(t, b, s, 2, 3)
				s.whole(b)
				s.end()
				s.erase()
				time.Sleep(30 * time.Minute)
				if left := b.keys(); len(left) != 0 {
					t.Errorf("left in the bucket: %q", left)
				}
				if h := q.Health(); h.Objects != 0 || h.Bytes != 0 {
					t.Errorf("health %+v", h)
				}
				b.verdict()
			})
		})
	}
}
