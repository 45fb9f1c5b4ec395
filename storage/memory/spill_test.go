package memory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/directory"
	"github.com/whipcast/whipcast/storage/memory"
	"github.com/whipcast/whipcast/storage/storagetest"
)

var errDisk = errors.New("disk is full")

// disk is a Backing whose ways can be changed.
type disk struct {
	mu    sync.Mutex
	files map[string][]byte
	order []string // keys as they were put
	gets  int
	fail  error
	hold  chan struct{} // while not nil, puts wait until it is closed
	slow  time.Duration // of a get
}

func newDisk() *disk { return &disk{files: map[string][]byte{}} }

func (d *disk) Put(ctx context.Context, o storage.Object) error {
	d.mu.Lock()
	hold := d.hold
	d.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.files[o.Key] = bytes.Clone(o.Body.Bytes())
	d.order = append(d.order, o.Key)
	return nil
}

func (d *disk) Get(ctx context.Context, key string) (storage.Object, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gets++
	if d.slow > 0 {
		d.mu.Unlock()
		select {
		case <-time.After(d.slow):
		case <-ctx.Done():
		}
		d.mu.Lock()
	}
	if err := ctx.Err(); err != nil {
		return storage.Object{}, err
	}
	content, ok := d.files[key]
	if !ok {
		return storage.Object{}, fmt.Errorf("get %s: %w", key, storage.ErrNotFound)
	}
	return storage.Object{Key: key, Body: storage.Body{content}}, d.fail
}

func (d *disk) Delete(_ context.Context, key string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, key)
	return d.fail
}

func (d *disk) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *disk) keys() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.order...)
}

func (d *disk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.files)
}

// run starts the Store's Run; stop ends it.
func run(t *testing.T, s *memory.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func segmentKey(n int) string { return fmt.Sprintf("show/m1/video/s%08d.m4s", n) }

func partKey(n, part int) string { return fmt.Sprintf("show/m1/video/p%08d%d.m4s", n, part) }

// segment puts the parts of a segment of 4 × size bytes, and the segment that
// shares their memory, as the packager does.
func segment(t testing.TB, s *memory.Store, n, size int) []byte {
	t.Helper()
	var body storage.Body
	for part := range 4 {
		body = append(body, bytes.Repeat([]byte{byte('a' + n%20), byte('0' + part)}, size/2))
		put(t, s, storage.Object{Key: partKey(n, part), Kind: storage.Part, Type: "video/mp4", Body: body[part : part+1 : part+1]})
	}
	put(t, s, storage.Object{Key: segmentKey(n), Kind: storage.Segment, Type: "video/mp4", Body: body, Modified: time.Unix(int64(n), 0)})
	return body.Bytes()
}

func wantBody(t testing.TB, s *memory.Store, key string, want []byte) {
	t.Helper()
	for _, ready := range []func(storage.Object) bool{nil, whatever} {
		o, err := s.Get(context.Background(), key, ready)
		if err != nil || !bytes.Equal(o.Body.Bytes(), want) || o.Key != key || o.Type != "video/mp4" {
			t.Errorf("%s: %d bytes, type %q, %v; want %d bytes", key, o.Body.Len(), o.Type, err, len(want))
		}
	}
}

func wantGone(t testing.TB, s *memory.Store, key string) {
	t.Helper()
	if _, err := s.Get(context.Background(), key, nil); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%s: %v, want ErrNotFound", key, err)
	}
}

func TestBeyondTheBudgetTheOldestSegmentsAreServedFromBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := newDisk()
		s := memory.New(memory.Config{Budget: 10_000, Below: below})
		defer run(t, s)()
		put(t, s, storage.Object{Key: "show/m1/video/init.mp4", Kind: storage.Init, Type: "video/mp4", Body: storage.Body{make([]byte, 100)}})
		put(t, s, storage.Object{Key: key, Kind: storage.LowLatency, Body: storage.Body{make([]byte, 5000)}})
		var bodies [][]byte
		for n := range 30 {
			bodies = append(bodies, segment(t, s, n, 400))
			synctest.Wait()
			if got := s.Metrics().Resident.Load(); got > 10_000 {
				t.Fatalf("after segment %d: %d bytes of media in memory, the budget is 10000", n, got)
			}
		}
		// 6 segments of 1600 bytes and the init segment fit.
		if got := s.Metrics().Spilled.Load(); got != 24 {
			t.Errorf("%d segments moved, want 24", got)
		}
		for n, got := range below.keys() {
			if got != segmentKey(n) {
				t.Errorf("moved %s in place %d: not the oldest", got, n)
			}
		}
		for n, body := range bodies {
			wantBody(t, s, segmentKey(n), body)
			for part := range 4 {
				wantBody(t, s, partKey(n, part), body[400*part:400*(part+1)])
			}
		}
		wantBody(t, s, "show/m1/video/init.mp4", make([]byte, 100))
		if got, want := s.Stats(), (memory.Stats{Objects: 2 + 30*5, Bytes: 5000 + 100 + 6*1600}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
		if o, err := s.Get(t.Context(), segmentKey(3), nil); err != nil || !o.Modified.Equal(time.Unix(3, 0)) {
			t.Errorf("what was moved lost its time: %v, %v", o.Modified, err)
		}
		if got := s.Metrics().Below.Load(); got != 24*1600 {
			t.Errorf("%d bytes below, want %d", got, 24*1600)
		}
	})
}

func TestMemoryOfPartsCountsOnce(t *testing.T) {
	s := memory.New(memory.Config{Budget: 1 << 20, Below: newDisk()})
	segment(t, s, 1, 1000)
	if got := s.Stats().Bytes; got != 4000 {
		t.Errorf("%d bytes, want 4000", got)
	}
	for part := range 4 {
		if err := s.Delete(t.Context(), partKey(1, part)); err != nil {
			t.Error(err)
		}
	}
	if got := s.Stats().Bytes; got != 4000 {
		t.Errorf("%d bytes without the parts, want 4000: the segment has them", got)
	}
	if err := s.Delete(t.Context(), segmentKey(1)); err != nil {
		t.Error(err)
	}
	if got := s.Stats(); got != (memory.Stats{}) || s.Metrics().Resident.Load() > 4000 {
		t.Errorf("left behind: %+v", got)
	}
}

func TestDeleteRemovesFromBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := newDisk()
		s := memory.New(memory.Config{Budget: 1000, Below: below})
		defer run(t, s)()
		for n := range 10 {
			segment(t, s, n, 400)
			synctest.Wait()
		}
		if below.count() != 10 {
			t.Fatalf("%d segments below, want 10", below.count())
		}
		for n := range 10 {
			for part := range 4 {
				if err := s.Delete(t.Context(), partKey(n, part)); err != nil {
					t.Error(err)
				}
			}
			if err := s.Delete(t.Context(), segmentKey(n)); err != nil {
				t.Error(err)
			}
			wantGone(t, s, segmentKey(n))
		}
		synctest.Wait()
		if got := s.Stats(); got != (memory.Stats{}) || below.count() != 0 || s.Metrics().Below.Load() != 0 {
			t.Errorf("left behind: %+v in memory, %d below", got, below.count())
		}
	})
}

func TestASegmentThatIsDeletedWhileItMovesLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := newDisk()
		below.hold = make(chan struct{})
		s := memory.New(memory.Config{Budget: 2000, Below: below})
		defer run(t, s)()
		segment(t, s, 1, 600)
		synctest.Wait() // it is being moved
		if err := s.Delete(t.Context(), segmentKey(1)); err != nil {
			t.Error(err)
		}
		close(below.hold)
		synctest.Wait()
		wantGone(t, s, segmentKey(1))
		if below.count() != 0 || s.Metrics().Spilled.Load() != 0 {
			t.Errorf("%d files below", below.count())
		}
		wantBody(t, s, partKey(1, 0), bytes.Repeat([]byte("b0"), 300)) // the parts are still there
	})
}

func TestAKeyThatIsUsedAgainHasItsNewContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := newDisk()
		s := memory.New(memory.Config{Budget: 100, Below: below})
		defer run(t, s)()
		for _, content := range []string{"first", "second", "third"} {
			body := bytes.Repeat([]byte(content), 30)
			put(t, s, storage.Object{Key: segmentKey(1), Kind: storage.Segment, Type: "video/mp4", Body: storage.Body{body}})
			synctest.Wait()
			wantBody(t, s, segmentKey(1), body)
			wantBody(t, s, segmentKey(1), body)
		}
		if below.count() != 1 || s.Metrics().Spilled.Load() != 3 {
			t.Errorf("%d files below, %d moves", below.count(), s.Metrics().Spilled.Load())
		}
	})
}

// journal is a log that counts its lines.
func journal() (*slog.Logger, *bytes.Buffer) {
	var lines bytes.Buffer
	return slog.New(slog.NewTextHandler(&lines, nil)), &lines
}

func TestWhatBelowDoesNotTakeIsDroppedAtTwiceTheBudget(t *testing.T) {
	for name, breakDisk := range map[string]func(*disk){
		"it fails": func(d *disk) { d.fail = errDisk },
		"it hangs": func(d *disk) { d.hold = make(chan struct{}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				below := newDisk()
				log, lines := journal()
				s := memory.New(memory.Config{Budget: 10_000, Below: below, Logger: log})
				defer run(t, s)()
				var bodies [][]byte
				for n := range 6 {
					bodies = append(bodies, segment(t, s, n, 400))
				}
				below.set(func() { breakDisk(below) })
				begin := time.Now()
				for n := 6; n < 100; n++ {
					bodies = append(bodies, segment(t, s, n, 400))
					synctest.Wait()
					if got := s.Metrics().Resident.Load(); got > 20_000 {
						t.Fatalf("%d bytes of media in memory, twice the budget is 20000", got)
					}
				}
				if time.Since(begin) != 0 {
					t.Errorf("the writer waited %v", time.Since(begin))
				}
				if got := s.Metrics().Lost.Load(); got != 88 {
					t.Errorf("%d lost, want 88", got)
				}
				for n := range 100 {
					if n < 88 {
						wantGone(t, s, segmentKey(n))
						wantGone(t, s, partKey(n, 2))
						continue
					}
					wantBody(t, s, segmentKey(n), bodies[n])
				}
				if n := strings.Count(lines.String(), "media is lost"); n != 1 {
					t.Errorf("said %d times that media is lost:\n%s", n, lines)
				}
				if n := strings.Count(lines.String(), "tries again"); n > 1 || name == "it fails" && n == 0 {
					t.Errorf("said %d times that it tries again:\n%s", n, lines)
				}

				below.set(func() {
					below.fail = nil
					if below.hold != nil {
						close(below.hold)
						below.hold = nil
					}
				})
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := s.Metrics().Resident.Load(); got > 10_000 {
					t.Errorf("%d bytes of media in memory after it works again", got)
				}
				wantBody(t, s, segmentKey(88), bodies[88])
				if n := strings.Count(lines.String(), "again"); name == "it fails" && n != 2 {
					t.Errorf("did not say that it works again:\n%s", lines)
				}
			})
		})
	}
}

func TestReadersWhoseSegmentIsDroppedAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Config{Budget: 1000, Below: newDisk()}) // nothing runs
		segment(t, s, 0, 400)
		result := make(chan error, 1)
		go func() {
			_, err := s.Get(t.Context(), segmentKey(0), func(storage.Object) bool { return false })
			result <- err
		}()
		synctest.Wait()
		segment(t, s, 1, 400)
		if err := <-result; !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	})
}

func TestManyReadersReadASegmentBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := newDisk()
		s := memory.New(memory.Config{Budget: 16_000, Below: below}) // 2000 for what is read back
		defer run(t, s)()
		var bodies [][]byte
		for n := range 40 {
			bodies = append(bodies, segment(t, s, n, 200))
		}
		synctest.Wait()
		below.set(func() { below.slow = time.Second })
		read := func(n int) {
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					if i%2 == 0 {
						wantBody(t, s, segmentKey(n), bodies[n])
						return
					}
					wantBody(t, s, partKey(n, 3), bodies[n][600:])
				})
			}
			wg.Wait()
		}
		read(0)
		read(0)
		read(1)
		if below.gets != 2 {
			t.Errorf("read %d times, want 2", below.gets)
		}
		read(2) // 3 × 800 bytes are too many: 0 leaves
		read(1)
		if below.gets != 3 {
			t.Errorf("read %d times, want 3", below.gets)
		}
		read(0)
		if below.gets != 4 || s.Metrics().ReadBack.Load() != 4 {
			t.Errorf("read %d times, want 4; counted %d", below.gets, s.Metrics().ReadBack.Load())
		}
	})
}

func TestAReaderThatGoesAwayDoesNotFailTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := newDisk()
		s := memory.New(memory.Config{Budget: 100, Below: below})
		defer run(t, s)()
		body := segment(t, s, 0, 400)
		synctest.Wait()
		below.set(func() { below.slow = time.Minute })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.Get(ctx, segmentKey(0), nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first reader: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { wantBody(t, s, segmentKey(0), body) })
		wg.Wait()
	})
}

func TestErrorsOfReadingBackAreReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := newDisk()
		s := memory.New(memory.Config{Budget: 100, Below: below})
		defer run(t, s)()
		body := segment(t, s, 0, 400)
		synctest.Wait()
		below.set(func() { below.fail = errDisk })
		if _, err := s.Get(t.Context(), segmentKey(0), nil); !errors.Is(err, errDisk) || !strings.Contains(err.Error(), segmentKey(0)) {
			t.Errorf("got %v, want an error that names the segment", err)
		}
		below.set(func() { below.fail = nil })
		wantBody(t, s, segmentKey(0), body) // a failure is not remembered
		if got := s.Metrics().Failures.Load(); got != 1 {
			t.Errorf("%d failures counted", got)
		}

		segment(t, s, 1, 400)
		synctest.Wait()
		below.set(func() { below.files[segmentKey(1)] = []byte("half") })
		if _, err := s.Get(t.Context(), segmentKey(1), nil); err == nil {
			t.Error("half a segment was served")
		}
		below.set(func() { delete(below.files, segmentKey(1)) })
		wantGone(t, s, segmentKey(1))
	})
}

func TestWithoutBelowEverythingStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Config{Budget: 100})
		stop := run(t, s)
		body := segment(t, s, 0, 400)
		synctest.Wait()
		stop()
		wantBody(t, s, segmentKey(0), body)
		if got := s.Stats(); got != (memory.Stats{Objects: 5, Bytes: 3200}) {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestAStoreOverAFolderIsASink(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.Sink, storagetest.Read) {
		below, err := directory.Open(t.TempDir(), directory.Config{Sync: directory.SyncNone})
		if err != nil {
			t.Fatal(err)
		}
		s := memory.New(memory.Config{Budget: 1 << 20, Below: below})
		stop := run(t, s)
		// An init segment that fills the Budget: every segment of the suite moves.
		put(t, s, storage.Object{Key: "full/init.mp4", Kind: storage.Init, Body: storage.Body{make([]byte, 1<<20)}})
		t.Cleanup(func() {
			stop()
			if err := below.Close(); err != nil {
				t.Error(err)
			}
		})
		return s, func(ctx context.Context, key string) ([]byte, error) {
			o, err := s.Get(ctx, key, nil)
			return o.Body.Bytes(), err
		}
	})
}

// Whatever order writers, readers and deletes come in, nothing is mixed up and
// nothing is left.
func TestManyHandsUnderPressure(t *testing.T) {
	folder := t.TempDir()
	below, err := directory.Open(folder, directory.Config{Sync: directory.SyncNone})
	if err != nil {
		t.Fatal(err)
	}
	defer below.Close()
	s := memory.New(memory.Config{Budget: 40_000, Below: below})
	stop := run(t, s)
	var wg sync.WaitGroup
	const streams, segments = 4, 150
	for stream := range streams {
		first := stream * 10_000
		wg.Go(func() {
			for n := range segments {
				segment(t, s, first+n, 200)
				if n >= 20 {
					for part := range 4 {
						_ = s.Delete(t.Context(), partKey(first+n-20, part))
					}
					_ = s.Delete(t.Context(), segmentKey(first+n-20))
				}
			}
		})
		wg.Go(func() {
			for range 500 {
				n := first + rand.IntN(segments)
				o, err := s.Get(t.Context(), segmentKey(n), nil)
				want := bytes.Repeat([]byte{byte('a' + n%20), '0'}, 100)
				if err == nil && (o.Body.Len() != 800 || !bytes.HasPrefix(o.Body.Bytes(), want)) {
					t.Errorf("segment %d: %d bytes of something else", n, o.Body.Len())
				}
				if err != nil && !errors.Is(err, storage.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for stream := range streams {
		for n := range segments {
			for part := range 4 {
				_ = s.Delete(t.Context(), partKey(stream*10_000+n, part))
			}
			_ = s.Delete(t.Context(), segmentKey(stream*10_000+n))
		}
	}
	if got := s.Stats(); got != (memory.Stats{}) {
		t.Errorf("left behind: %+v", got)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		left, err := below.List(t.Context(), "")
		if err == nil && len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left below: %q, %v", left, err)
		}
	}
	stop()
}

// A DVR window of six hours needs no more memory than one of a minute.
func TestSixHoursStayWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 6 * 3600 / 2
		below := newDisk()
		s := memory.New(memory.Config{Budget: 100_000, Below: below})
		defer run(t, s)()
		var most int64
		for n := range window + 1000 {
			segment(t, s, n, 400)
			synctest.Wait()
			most = max(most, s.Metrics().Resident.Load())
			if n >= 12 {
				for part := range 4 {
					_ = s.Delete(t.Context(), partKey(n-12, part))
				}
			}
			if n >= window {
				_ = s.Delete(t.Context(), segmentKey(n-window))
			}
		}
		if most > 101_600 || s.Metrics().Lost.Load() != 0 {
			t.Errorf("at most %d bytes in memory, %d lost", most, s.Metrics().Lost.Load())
		}
		oldest := 1000
		wantBody(t, s, segmentKey(oldest), bytes.Join([][]byte{
			bytes.Repeat([]byte("a0"), 200), bytes.Repeat([]byte("a1"), 200), bytes.Repeat([]byte("a2"), 200), bytes.Repeat([]byte("a3"), 200),
		}, nil))
	})
}

// BenchmarkPutSegment is what the packager pays for a segment of four parts and
// the deletion of an old one.
func BenchmarkPutSegment(b *testing.B) {
	for name, cfg := range map[string]memory.Config{
		"everything stays": {}, "budget": {Budget: 1 << 40, MaxBytes: 1 << 41, Below: newDisk()},
	} {
		b.Run(name, func(b *testing.B) {
			s := memory.New(cfg)
			body := storage.Body{make([]byte, 100), make([]byte, 100), make([]byte, 100), make([]byte, 100)}
			names := []string{"p0", "p1", "p2", "p3"}
			b.ReportAllocs()
			for b.Loop() {
				for i, name := range names {
					put(b, s, storage.Object{Key: name, Kind: storage.Part, Body: body[i : i+1 : i+1]})
				}
				put(b, s, storage.Object{Key: "s", Kind: storage.Segment, Body: body})
				for _, name := range names {
					_ = s.Delete(b.Context(), name)
				}
				_ = s.Delete(b.Context(), "s")
			}
		})
	}
}

func BenchmarkReadBack(b *testing.B) {
	below, err := directory.Open(b.TempDir(), directory.Config{Sync: directory.SyncNone})
	if err != nil {
		b.Fatal(err)
	}
	defer below.Close()
	s := memory.New(memory.Config{Budget: 1 << 20, MaxBytes: 1 << 40, Below: below})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	const segments = 16
	for n := range segments {
		segment(b, s, n, 300_000) // 1.2 MB: none fits into what is kept
		for s.Metrics().Resident.Load() > 1<<20 {
			time.Sleep(time.Millisecond)
		}
	}
	b.SetBytes(1_200_000)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := s.Get(b.Context(), segmentKey(n%segments), nil); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
