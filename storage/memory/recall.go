package memory

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/whipcast/whipcast/storage"
)

// recallShare is the part of the Budget that segments read back may take, and
// recallAtOnce how many are read at a time.
const (
	recallShare  = 8
	recallAtOnce = 16
)

// recall reads files back from the Backing: each once, however many viewers ask
// for it at a time, and the last ones not again.
type recall struct {
	below   Backing
	limit   int64
	metrics *Metrics
	turns   chan struct{} // taken by those that read now

	mu     sync.Mutex
	known  map[*file]*reading
	bytes  int64
	recent list.List // of *reading that are done, the newest first
}

// reading is a file that is being read, or was read.
type reading struct {
	file *file
	done chan struct{} // closed when what follows is set
	body storage.Body
	err  error
	turn *list.Element // in recent; nil while it is read; guarded by recall.mu
}

func newRecall(below Backing, limit int64, metrics *Metrics) recall {
	return recall{
		below: below, limit: limit, metrics: metrics,
		turns: make(chan struct{}, recallAtOnce), known: map[*file]*reading{},
	}
}

// read returns the bytes of a span.
func (c *recall) read(ctx context.Context, at span) (storage.Body, error) {
	for {
		r, mine := c.enter(at.file)
		if mine {
			r.body, r.err = c.fetch(ctx, r.file)
			c.leave(r)
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch {
		case r.err == nil:
			return r.body.Slice(at.from, at.end), nil
		case !mine && ctx.Err() == nil && (errors.Is(r.err, context.Canceled) || errors.Is(r.err, context.DeadlineExceeded)):
			// Whoever read it went away: somebody else has to.
		default:
			return nil, r.err
		}
	}
}

func (c *recall) fetch(ctx context.Context, f *file) (storage.Body, error) {
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	o, err := c.below.Get(ctx, f.key)
	if n := int64(o.Body.Len()); err == nil && n != f.size {
		err = fmt.Errorf("%d bytes are there, %d were stored", n, f.size)
	}
	switch {
	case err == nil:
		c.metrics.ReadBack.Add(1)
	case ctx.Err() == nil && !errors.Is(err, storage.ErrNotFound): // it may have been deleted just now
		c.metrics.Failures.Add(1)
	}
	return o.Body, err
}

// enter returns the reading of a file, and whether the caller has to read it.
func (c *recall) enter(f *file) (*reading, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, known := c.known[f]; known {
		if r.turn != nil {
			c.recent.MoveToFront(r.turn)
		}
		c.metrics.Recalled.Add(1)
		return r, false
	}
	r := &reading{file: f, done: make(chan struct{})}
	c.known[f] = r
	return r, true
}

// leave gives what was read to all who wait, and keeps it if there is room.
func (c *recall) leave(r *reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(r.done)
	if c.known[r.file] != r { // forgotten while it was read
		return
	}
	if r.err != nil || int64(r.body.Len()) > c.limit {
		delete(c.known, r.file)
		return
	}
	r.turn = c.recent.PushFront(r)
	c.bytes += int64(r.body.Len())
	for c.bytes > c.limit {
		c.drop(c.recent.Back().Value.(*reading))
	}
}

// forget lets go of a file that is deleted.
func (c *recall) forget(f *file) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, known := c.known[f]; known {
		c.drop(r)
	}
}

func (c *recall) drop(r *reading) {
	delete(c.known, r.file)
	if r.turn != nil {
		c.recent.Remove(r.turn)
		r.turn = nil
		c.bytes -= int64(r.body.Len())
	}
}
