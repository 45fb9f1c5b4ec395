package auth

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

// digest stands for a secret in memory: the secret cannot be found from it, and
// looking one up tells nothing of others by its time (specs X1).
type digest [sha256.Size]byte

// maxAnswers bounds each cache. An entry has some 300 bytes.
const maxAnswers = 20_000

// cache keeps answers for a while. It is bounded: when it is full, what is too old
// goes first, then anything.
type cache[T any] struct {
	mu      sync.Mutex
	entries map[digest]kept[T] // below mu
}

type kept[T any] struct {
	value T
	until time.Time
}

func (c *cache[T]) get(key digest, now time.Time) (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok || !now.Before(e.until) {
		var none T
		return none, false
	}
	return e.value, true
}

func (c *cache[T]) put(key digest, value T, now, until time.Time) {
	if !now.Before(until) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[digest]kept[T])
	}
	if len(c.entries) >= maxAnswers {
		c.sweep(now)
	}
	c.entries[key] = kept[T]{value, until}
}

// sweep makes room. c.mu is held.
func (c *cache[T]) sweep(now time.Time) {
	for key, e := range c.entries {
		if !now.Before(e.until) {
			delete(c.entries, key)
		}
	}
	for key := range c.entries { // in no order: any will do
		if len(c.entries) <= maxAnswers*3/4 {
			return
		}
		delete(c.entries, key)
	}
}

func (c *cache[T]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
}

func (c *cache[T]) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// flights let one of several that ask the same do the work, on its own goroutine,
// while the others wait for the result.
type flights[T any] struct {
	mu  sync.Mutex
	air map[digest]*flight[T] // below mu
}

type flight[T any] struct {
	landed chan struct{}
	value  T // valid once landed
	err    error
}

// do returns the result of work, or of the one that is under way. Whoever only
// waits leaves when ctx ends; work has to end by itself.
func (f *flights[T]) do(ctx context.Context, key digest, work func() (T, error)) (T, error) {
	mine, first := f.board(key)
	if first {
		defer f.land(key, mine)
		mine.value, mine.err = work()
		return mine.value, mine.err
	}
	select {
	case <-mine.landed:
		return mine.value, mine.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (f *flights[T]) board(key digest) (*flight[T], bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one, ok := f.air[key]; ok {
		return one, false
	}
	if f.air == nil {
		f.air = make(map[digest]*flight[T])
	}
	one := &flight[T]{landed: make(chan struct{}), err: errUnavailable} // unless work says otherwise
	f.air[key] = one
	return one, true
}

func (f *flights[T]) land(key digest, one *flight[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.air, key)
	close(one.landed)
}
