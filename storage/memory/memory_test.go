package memory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "show/m1/video/index.m3u8"

func at(msn uint64) storage.Object {
	return storage.Object{
		Key: key, Kind: storage.LowLatency, Type: "application/vnd.apple.mpegurl",
		Body: storage.Body{fmt.Append(nil, msn)}, Position: storage.Position{MSN: msn},
	}
}

func put(t testing.TB, s *memory.Store, o storage.Object) {
	t.Helper()
	if err := s.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func from(msn uint64) func(storage.Object) bool {
	return func(o storage.Object) bool { return o.Position.MSN >= msn }
}

func whatever(storage.Object) bool { return true }

func TestGetWithoutReadyAnswersAtOnce(t *testing.T) {
	s := memory.New(memory.Config{})
	if _, err := s.Get(t.Context(), key, nil); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an empty store: %v, want ErrNotFound", err)
	}
	put(t, s, at(1))
	if o, err := s.Get(t.Context(), key, nil); err != nil || o.Position.MSN != 1 {
		t.Errorf("got %+v, %v", o, err)
	}
	if got := s.Stats(); got != (memory.Stats{Objects: 1, Bytes: 1}) {
		t.Errorf("stats %+v", got)
	}
}

func TestGetAnswersAtOnceWhenReadyEvenIfTheContextHasEnded(t *testing.T) {
	s := memory.New(memory.Config{})
	put(t, s, at(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o, err := s.Get(ctx, key, from(1)); err != nil || o.Position.MSN != 1 {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestGetWaitsUntilReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Config{})
		begin := time.Now()
		go func() {
			for msn := range uint64(10) {
				time.Sleep(time.Second)
				put(t, s, at(msn))
			}
		}()
		o, err := s.Get(t.Context(), key, from(4))
		if err != nil || o.Position.MSN != 4 || time.Since(begin) != 5*time.Second {
			t.Errorf("got msn %d, %v after %v; want 4 after 5s", o.Position.MSN, err, time.Since(begin))
		}
		time.Sleep(10 * time.Second)
	})
}

func TestAWokenReaderSeesEveryVersionOnce(t *testing.T) {
	s := memory.New(memory.Config{})
	put(t, s, at(0))
	var seen []uint64
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := s.Get(t.Context(), key, func(o storage.Object) bool {
			seen = append(seen, o.Position.MSN)
			return o.Position.MSN == 50
		})
		if err != nil {
			t.Error(err)
		}
	})
	for s.Waiting(key) == 0 {
		time.Sleep(time.Microsecond)
	}
	for msn := range uint64(50) {
		put(t, s, at(msn+1))
	}
	wg.Wait()
	for i := 1; i < len(seen); i++ {
		if seen[i] != seen[i-1]+1 {
			t.Fatalf("versions %v", seen)
		}
	}
}

func TestDeleteReleasesWaiters(t *testing.T) {
	for _, existed := range []bool{false, true} {
		t.Run(fmt.Sprintf("existed=%t", existed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memory.New(memory.Config{})
				if existed {
					put(t, s, at(1))
				}
				var released atomic.Int64
				for range 100 {
					go func() {
						if _, err := s.Get(t.Context(), key, from(2)); errors.Is(err, storage.ErrNotFound) {
							released.Add(1)
						}
					}()
				}
				synctest.Wait()
				if n := s.Waiting(key); n != 100 {
					t.Errorf("%d wait, want 100", n)
				}
				if err := s.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if released.Load() != 100 {
					t.Errorf("%d of 100 released", released.Load())
				}
				if got := s.Stats(); got != (memory.Stats{}) {
					t.Errorf("left behind: %+v", got)
				}
			})
		})
	}
}

func TestTheEndOfTheContextReturnsWhatWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Config{})
		put(t, s, at(1))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		go func() {
			time.Sleep(time.Second)
			put(t, s, at(2))
		}()
		o, err := s.Get(ctx, key, from(9))
		if o.Position.MSN != 2 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got msn %d, %v", o.Position.MSN, err)
		}
		if n := s.Waiting(key); n != 0 {
			t.Errorf("%d still counted", n)
		}
	})
}

// A reader that goes away must leave nothing behind, also for a key that never
// comes: names of parts can be guessed.
func TestAReaderThatGoesAwayFreesItsSlotAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Config{MaxKeys: 10})
		for range 5 { // each round would fill the store
			ctx, cancel := context.WithCancel(t.Context())
			for i := range 10 {
				for range 3 {
					go func() { _, _ = s.Get(ctx, fmt.Sprintf("show/m1/video/p%d.m4s", i), whatever) }()
				}
			}
			synctest.Wait()
			if got := s.Stats().Waiting; got != 30 {
				t.Fatalf("%d wait, want 30", got)
			}
			if _, err := s.Get(ctx, "one/more", whatever); !errors.Is(err, memory.ErrFull) {
				t.Errorf("an eleventh key: %v, want ErrFull", err)
			}
			cancel()
			synctest.Wait()
			if got := s.Stats(); got != (memory.Stats{}) {
				t.Fatalf("left behind: %+v", got)
			}
		}
	})
}

func TestBoundsAreErrorsThatNameThem(t *testing.T) {
	s := memory.New(memory.Config{MaxBytes: 10, MaxKeys: 2})
	sized := func(name string, n int) storage.Object {
		return storage.Object{Key: name, Kind: storage.Segment, Body: storage.Body{make([]byte, n)}}
	}
	put(t, s, sized("a", 6))
	err := s.Put(t.Context(), sized("b", 5))
	if !errors.Is(err, memory.ErrFull) || !strings.Contains(err.Error(), "MaxBytes 10") || !strings.Contains(err.Error(), "put b") {
		t.Errorf("over the bytes: %v", err)
	}
	put(t, s, sized("a", 10)) // replacing counts the difference
	delta := sized("a", 10)
	delta.Delta = storage.Body{{1}}
	if err := s.Put(t.Context(), delta); !errors.Is(err, memory.ErrFull) {
		t.Errorf("a delta update counts too: %v", err)
	}
	delta.Delta, delta.DeltaDates = nil, delta.Delta
	if err := s.Put(t.Context(), delta); !errors.Is(err, memory.ErrFull) {
		t.Errorf("both kinds count: %v", err)
	}
	put(t, s, sized("b", 0))
	err = s.Put(t.Context(), sized("c", 0))
	if !errors.Is(err, memory.ErrFull) || !strings.Contains(err.Error(), "MaxKeys is 2") {
		t.Errorf("over the keys: %v", err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	put(t, s, sized("c", 10))
	if got := s.Stats(); got != (memory.Stats{Objects: 2, Bytes: 10}) {
		t.Errorf("stats %+v", got)
	}
}

// Whatever order readers, writers and deletes come in, nobody is lost and
// nothing is left.
func TestManyReadersAndWriters(t *testing.T) {
	s := memory.New(memory.Config{})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			for msn := uint64(1); msn <= 20; msn++ {
				o, err := s.Get(t.Context(), key, from(msn))
				if err != nil || o.Position.MSN < msn {
					t.Errorf("got %d, %v; want at least %d", o.Position.MSN, err, msn)
					return
				}
			}
		})
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_, _ = s.Get(ctx, "show/m1/video/never.m4s", whatever)
		})
	}
	wg.Go(func() {
		for msn := range uint64(20) {
			put(t, s, at(msn+1))
			if err := s.Delete(t.Context(), "show/m1/video/never.m4s"); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if got := s.Stats(); got.Waiting != 0 || got.Objects != 1 {
		t.Errorf("left behind: %+v", got)
	}
}

func BenchmarkGet(b *testing.B) {
	s := memory.New(memory.Config{})
	put(b, s, at(1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(b.Context(), key, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPut is what the writer pays, and how long until the last of so many
// readers has its Object.
func BenchmarkPut(b *testing.B) {
	for _, readers := range []int{0, 100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			s := memory.New(memory.Config{})
			put(b, s, at(0))
			var paid time.Duration
			rounds := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				rounds++
				var wg sync.WaitGroup
				for range readers {
					wg.Go(func() {
						if _, err := s.Get(b.Context(), key, from(rounds)); err != nil {
							b.Error(err)
						}
					})
				}
				for s.Waiting(key) < readers {
					time.Sleep(100 * time.Microsecond)
				}
				o := at(rounds)
				time.Sleep(time.Millisecond) // they are in select, not on their way to it
				b.StartTimer()
				begin := time.Now()
				put(b, s, o)
				paid += time.Since(begin)
				wg.Wait()
			}
			b.ReportMetric(float64(paid.Nanoseconds())/float64(rounds), "ns/writer")
		})
	}
}
