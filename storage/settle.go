package storage

import (
	"context"
	"fmt"
	"strings"
)

// settler waits until nothing below a folder is on its way.
type settler struct {
	prefix string
	done   chan struct{}
}

// Settle waits until everything that was put so far, and whose key begins with
// prefix, is stored or given up, or ctx ends. Run must be running.
func (q *Queue) Settle(ctx context.Context, prefix string) error {
	w := settler{prefix, make(chan struct{})}
	q.mu.Lock()
	q.settlers = append(q.settlers, w)
	q.mu.Unlock()
	select {
	case q.kick <- struct{}{}:
	default:
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.settlers {
		if q.settlers[i].done == w.done {
			q.settlers = append(q.settlers[:i], q.settlers[i+1:]...)
			break
		}
	}
	return fmt.Errorf("settle %s: %w", prefix, ctx.Err())
}

// settle lets go of those whose folder is done, unless there is something new.
func (q *Queue) settle(b *backlog) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.inbox) > 0 {
		return
	}
	rest := q.settlers[:0]
	for _, w := range q.settlers {
		if b.busy(w.prefix) {
			rest = append(rest, w)
		} else {
			close(w.done)
		}
	}
	clear(q.settlers[len(rest):])
	q.settlers = rest
}

// busy says whether something below a prefix waits or flies.
func (b *backlog) busy(prefix string) bool {
	for key, it := range b.items {
		if strings.HasPrefix(key, prefix) && (it.state == waiting || it.state == flying) {
			return true
		}
	}
	for key, l := range b.listings {
		if strings.HasPrefix(key, prefix) && (l.busy || len(l.editions) > 0) {
			return true
		}
	}
	return false
}
