// Package watch holds a value that goroutines can wait for.
//
// It replaces sync.Cond: every wait ends with its context. It knows nothing of
// what it holds.
//
//	Set ──▶ [ value ] ──▶ Wait(ctx, ok)   returns as soon as ok(value)
package watch

import (
	"context"
	"sync"
)

// Value holds a T and wakes whoever waits for a change of it. The zero Value
// holds the zero T. All methods may be called from any goroutine; what is Set
// must not be changed afterwards.
type Value[T any] struct {
	mu      sync.Mutex
	value   T
	changed chan struct{} // closed by the next Set; nil while nobody waits
}

// Get returns the present value.
func (w *Value[T]) Get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.value
}

// Set replaces the value and wakes all waiters. It never blocks, and allocates
// nothing.
func (w *Value[T]) Set(value T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.value = value
	w.wake()
}

// Update replaces the value by what change makes of it, and wakes all waiters.
// change runs under the Value's lock: it must be short and must not block.
func (w *Value[T]) Update(change func(T) T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.value = change(w.value)
	w.wake()
}

// Wait returns the value as soon as ok accepts it: at once, or after a Set.
// When ctx ends first it returns the last value and the context's error.
// ok runs without the lock and must be free of side effects.
func (w *Value[T]) Wait(ctx context.Context, ok func(T) bool) (T, error) {
	for {
		value, changed := w.observe()
		if ok(value) {
			return value, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return value, ctx.Err()
		}
	}
}

func (w *Value[T]) wake() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

func (w *Value[T]) observe() (T, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.value, w.changed
}
