package watch_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/internal/watch"
)

func TestWaitReturnsWhenTheConditionHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v watch.Value[int]
		begin := time.Now()
		go func() {
			for i := range 5 {
				time.Sleep(100 * time.Millisecond)
				v.Set(i)
			}
		}()
		got, err := v.Wait(t.Context(), func(n int) bool { return n >= 2 })
		if err != nil || got != 2 || time.Since(begin) != 300*time.Millisecond {
			t.Errorf("got %d, %v after %v; want 2 after 300ms", got, err, time.Since(begin))
		}
		if got, err := v.Wait(t.Context(), func(int) bool { return true }); err != nil || got != 2 {
			t.Errorf("a condition that holds already: got %d, %v", got, err)
		}
		time.Sleep(time.Second)
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v watch.Value[string]
		v.Set("old")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := v.Wait(ctx, func(s string) bool { return s == "never" })
		if got != "old" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestEveryWaiterSeesEveryUpdate(t *testing.T) {
	var v watch.Value[int]
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := v.Wait(t.Context(), func(n int) bool { return n == 100 }); err != nil {
				t.Error(err)
			}
		})
	}
	for range 100 {
		wg.Go(func() { v.Update(func(n int) int { return n + 1 }) })
	}
	wg.Wait()
	if v.Get() != 100 {
		t.Errorf("lost updates: %d", v.Get())
	}
}

func TestSetAllocatesNothing(t *testing.T) {
	var v watch.Value[int]
	if n := testing.AllocsPerRun(100, func() { v.Set(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
