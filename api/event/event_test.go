package event_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/api/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOrder: each subscriber gets each event once, in order, from its beginning on.
func TestOrder(t *testing.T) {
	e := event.New(8)
	e.Publish(event.StreamStarted, "before", nil)
	s := e.Subscribe(0)
	e.Publish(event.StreamStarted, "a", event.Start{Epoch: 1})
	e.Publish(event.StreamStopped, "a", event.Stop{Epoch: 1})
	first, err := s.Next(t.Context())
	if err != nil || first.Stream != "a" || first.Type != event.StreamStarted || first.Data != (event.Start{Epoch: 1}) || first.Time.IsZero() {
		t.Fatalf("%+v, %v", first, err)
	}
	second, err := s.Next(t.Context())
	if err != nil || second.ID != first.ID+1 || second.Type != event.StreamStopped {
		t.Fatalf("%+v, %v", second, err)
	}
	// Last-Event-ID: what came after the first.
	again, err := e.Subscribe(first.ID).Next(t.Context())
	if err != nil || again != second {
		t.Fatalf("after the first: %+v, %v", again, err)
	}
	// IDs are exact in JavaScript.
	if first.ID > 1<<53 {
		t.Errorf("ID %d", first.ID)
	}
}

// TestMissed: who is overtaken is told once, and goes on with the oldest; so is who
// comes with an ID of long ago. An ID of the future is that of another gateway's.
func TestMissed(t *testing.T) {
	e := event.New(3)
	slow := e.Subscribe(0)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		e.Publish(event.StreamStarted, name, nil)
	}
	for name, s := range map[string]*event.Subscription{"slow": slow, "long ago": e.Subscribe(1)} {
		if _, err := s.Next(t.Context()); !errors.Is(err, event.ErrMissed) {
			t.Fatalf("%s: %v, want ErrMissed", name, err)
		}
		for _, want := range []string{"c", "d", "e"} {
			got, err := s.Next(t.Context())
			if err != nil || got.Stream != want {
				t.Fatalf("%s: %+v, %v; want %s", name, got, err, want)
			}
		}
	}
	future := e.Subscribe(1 << 60)
	e.Publish(event.StreamStarted, "f", nil)
	if got, err := future.Next(t.Context()); err != nil || got.Stream != "f" {
		t.Fatalf("%+v, %v", got, err)
	}
}

// TestWait: Next waits, and ends with its context.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := event.New(0)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		woken := 0
		var mu sync.Mutex
		for range 10 {
			s := e.Subscribe(0)
			wg.Go(func() {
				if _, err := s.Next(ctx); err != nil {
					t.Error(err)
				}
				mu.Lock()
				woken++
				mu.Unlock()
				if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		e.Publish(event.StreamStarted, "a", nil)
		synctest.Wait()
		mu.Lock()
		if woken != 10 {
			t.Errorf("%d of 10 woken", woken)
		}
		mu.Unlock()
		cancel()
		wg.Wait()
	})
}
