package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage"
)

func TestPermanent(t *testing.T) {
	err := fmt.Errorf("put a: %w", storage.Permanent(fmt.Errorf("refused: %w", io.EOF)))
	if !storage.IsPermanent(err) || !errors.Is(err, io.EOF) || err.Error() != "put a: refused: EOF" {
		t.Errorf("%v", err)
	}
	if storage.IsPermanent(io.EOF) || storage.IsPermanent(nil) || storage.Permanent(nil) != nil {
		t.Error("everything is permanent")
	}
	if !storage.IsPermanent(storage.CheckKey("..")) {
		t.Error("a wrong key becomes right by trying again")
	}
}

// script is a Sink whose calls end as its list says, and then well.
type script struct {
	errs  []error
	at    []time.Duration // when each call came
	begin time.Time
	hang  bool // every call waits for the end of its context
}

func (s *script) call(ctx context.Context) error {
	s.at = append(s.at, time.Since(s.begin))
	if s.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if len(s.errs) == 0 {
		return ctx.Err()
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return err
}

func (s *script) Put(ctx context.Context, _ storage.Object) error { return s.call(ctx) }
func (s *script) Delete(ctx context.Context, _ string) error      { return s.call(ctx) }

func errs(n int) []error {
	var all []error
	for range n {
		all = append(all, errBroken)
	}
	return all
}

func TestRetry(t *testing.T) {
	segment := storage.Object{Key: "a", Kind: storage.Segment}
	for _, tt := range []struct {
		name   string
		policy storage.Policy
		o      storage.Object
		errs   []error
		calls  int
		want   error
	}{
		{"at once", storage.Policy{}, segment, nil, 1, nil},
		{"at last", storage.Policy{}, segment, errs(2), 3, nil},
		{"not often enough", storage.Policy{}, segment, errs(3), 3, errBroken},
		{"as often as said", storage.Policy{Attempts: 6}, segment, errs(5), 6, nil},
		{"permanent", storage.Policy{}, segment, []error{storage.Permanent(errBroken)}, 1, errBroken},
		{"permanent at second", storage.Policy{}, segment, []error{io.EOF, storage.Permanent(errBroken)}, 2, errBroken},
		{"another kind", storage.Policy{Kinds: storage.Init | storage.Part}, segment, errs(1), 1, errBroken},
		{"its kind", storage.Policy{Kinds: storage.Segment}, segment, errs(1), 2, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{errs: tt.errs, begin: time.Now()}
				err := storage.Retry(s, tt.policy).Put(t.Context(), tt.o)
				if !errors.Is(err, tt.want) || len(s.at) != tt.calls {
					t.Errorf("%d calls, %v; want %d, %v", len(s.at), err, tt.calls, tt.want)
				}
			})
		})
	}
}

// specs S14: pauses double, are jittered, and have a limit.
func TestRetryPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{errs: errs(7), begin: time.Now()}
		r := storage.Retry(s, storage.Policy{Attempts: 8, First: 100 * time.Millisecond, Most: time.Second})
		if err := r.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		for i, millis := range []int{100, 200, 400, 800, 1000, 1000, 1000} {
			most := time.Duration(millis) * time.Millisecond
			if pause := s.at[i+1] - s.at[i]; pause < most/2 || pause > most {
				t.Errorf("pause %d is %v, want %v to %v", i+1, pause, most/2, most)
			}
		}
	})
}

func TestRetryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{errs: errs(9), begin: time.Now()}
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		err := storage.Retry(s, storage.Policy{Attempts: 9, First: time.Second}).Put(ctx, storage.Object{Kind: storage.Segment})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errBroken) || time.Since(s.begin) != 250*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(s.begin))
		}
	})
}

func TestRetryBoundsOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{hang: true, begin: time.Now()}
		err := storage.Retry(s, storage.Policy{Attempts: 2, Timeout: 3 * time.Second}).Put(t.Context(), storage.Object{Kind: storage.Segment})
		if !errors.Is(err, context.DeadlineExceeded) || len(s.at) != 2 || !strings.Contains(err.Error(), "attempt 2") {
			t.Errorf("%d calls, %v", len(s.at), err)
		}
		if took := time.Since(s.begin); took < 6*time.Second || took > 6100*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// specs S14: a Queue gives a segment two target durations, and two attempts one
// each.
func TestRetrySharesTheTimeOfItsContext(t *testing.T) {
	for _, tt := range []struct {
		kind     storage.Kind
		attempts int
		calls    int
		each     time.Duration
	}{
		{storage.Segment, 2, 2, 2 * time.Second},
		{storage.Segment, 4, 4, time.Second},
		{storage.Playlist, 2, 1, 4 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{hang: true, begin: time.Now()}
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			err := storage.Retry(s, storage.Policy{Attempts: tt.attempts, Kinds: storage.Segment, First: time.Nanosecond, Most: time.Nanosecond}).
				Put(ctx, storage.Object{Kind: tt.kind})
			if !errors.Is(err, context.DeadlineExceeded) || len(s.at) != tt.calls || time.Since(s.begin) > 4*time.Second {
				t.Errorf("kind %d: %d calls in %v, %v; want %d", tt.kind, len(s.at), time.Since(s.begin), err, tt.calls)
			}
			for i, at := range s.at {
				if d := at - time.Duration(i)*tt.each; d < 0 || d > time.Millisecond {
					t.Errorf("attempt %d began at %v, want each to have %v", i+1, at, tt.each)
				}
			}
		})
	}
}

func TestRetryStopsWhenTheObjectHasLeftTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{errs: errs(100), begin: time.Now()}
		r := storage.Retry(s, storage.Policy{Attempts: 100, First: time.Second, Most: time.Second, Life: 10 * time.Second})
		err := r.Put(t.Context(), storage.Object{Kind: storage.Segment, Modified: time.Now()})
		if took := time.Since(s.begin); !errors.Is(err, errBroken) || took < 10*time.Second || took > 11*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
