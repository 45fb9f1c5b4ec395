package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// This file has what a fence does; fence.go decides.

// guard makes a claim: it keeps a lease by one conditional PUT, and gets one by
// looking who has it. It is the only part of a fence that waits.
func (q *Queue) guard(ctx context.Context, c *claim) error {
	store := q.cfg.Fence.Store
	if c.tag != "" && c.conds == heeded {
		tag, err := store.Swap(ctx, c.object(), c.tag)
		if !errors.Is(err, ErrChanged) {
			c.tag, c.held = tag, err == nil
			return q.leave(ctx, c, err)
		}
	}
	now, err := store.Load(ctx, c.stream+writerName)
	switch {
	case errors.Is(err, ErrNotFound):
		now.Tag = ""
	case IsPermanent(err): // some stores say so when there is nothing
		if tag, swapped := store.Swap(ctx, c.object(), ""); swapped == nil {
			c.tag, c.held = tag, true
			return q.probe(ctx, c)
		}
		return fmt.Errorf("claim stream %s: %w", c.stream, err)
	case err != nil:
		return fmt.Errorf("claim stream %s: %w", c.stream, err)
	default:
		c.found = readWriter(&now)
		if !c.mayTake(&now) {
			c.foundTag, c.age = now.Tag, now.Age
			return nil
		}
	}
	if c.mine.Run != c.found.Run {
		c.mine.Epoch = max(c.mine.Epoch, c.found.Epoch) + 1
	}
	c.mine.Count = max(c.mine.Count, c.found.Count+1)
	return q.seize(ctx, c, now.Tag)
}

// mayTake says whether what was found keeps nobody off.
func (c *claim) mayTake(now *Version) bool {
	switch {
	case c.found.Run == c.mine.Run, c.found.Gateway == c.mine.Gateway && c.free, c.found.Ended:
		return true
	case now.Age >= c.wait+slack: // both times are the store's
		return true
	}
	return c.stale != "" && c.stale == now.Tag
}

// seize puts the claim in the place of what has that tag.
func (q *Queue) seize(ctx context.Context, c *claim, tag string) error {
	if c.conds == ignored {
		return q.seizeBlindly(ctx, c)
	}
	got, err := q.cfg.Fence.Store.Swap(ctx, c.object(), tag)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		c.conds = ignored
		return q.seizeBlindly(ctx, c)
	case errors.Is(err, ErrChanged):
		return q.doubt(ctx, c, tag)
	case err != nil:
		return fmt.Errorf("claim stream %s: %w", c.stream, err)
	}
	c.tag, c.held = got, true
	if c.conds == unknown {
		return q.probe(ctx, c)
	}
	return q.leave(ctx, c, nil)
}

// doubt finds out whether a claim was too late, or the store refuses conditions
// that hold.
func (q *Queue) doubt(ctx context.Context, c *claim, tag string) error {
	if c.conds == heeded || tag == "" {
		return nil
	}
	now, err := q.cfg.Fence.Store.Load(ctx, c.stream+writerName)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && now.Tag != tag: // it is looked up again soon
		return nil
	case err != nil:
		return fmt.Errorf("claim stream %s: %w", c.stream, err)
	}
	c.conds = ignored
	return q.seizeBlindly(ctx, c)
}

// probe finds out whether the store heeds conditions: with a wrong one it must not
// take anything. Whatever it takes says the same.
func (q *Queue) probe(ctx context.Context, c *claim) error {
	for _, wrong := range []string{"", `"00000000000000000000000000000000"`} {
		switch tag, err := q.cfg.Fence.Store.Swap(ctx, c.object(), wrong); {
		case err == nil:
			c.tag, c.conds = tag, ignored
			return q.leave(ctx, c, nil)
		case !errors.Is(err, ErrChanged):
			return fmt.Errorf("claim stream %s: %w", c.stream, err)
		}
	}
	c.conds = heeded
	return q.leave(ctx, c, nil)
}

// seizeBlindly writes, and reads back whether nobody else has. Two that do so at
// the same time may both succeed for the time of a refresh.
func (q *Queue) seizeBlindly(ctx context.Context, c *claim) error {
	if err := q.sink.Put(ctx, c.object()); err != nil {
		return fmt.Errorf("claim stream %s: %w", c.stream, err)
	}
	if c.found.Run != c.mine.Run { // it changes hands
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return fmt.Errorf("claim stream %s: %w", c.stream, ctx.Err())
		}
	}
	now, err := q.cfg.Fence.Store.Load(ctx, c.stream+writerName)
	if err != nil {
		return fmt.Errorf("claim stream %s: %w", c.stream, err)
	}
	if found := readWriter(&now); found.Run != c.mine.Run {
		c.found, c.foundTag, c.age = found, now.Tag, now.Age
		return nil
	}
	c.tag, c.held = now.Tag, true
	return q.leave(ctx, c, nil)
}

// readWriter returns who an Object says; nobody if it is damaged.
func readWriter(v *Version) writer {
	var w writer
	if json.Unmarshal(v.Body.Bytes(), &w) != nil {
		return writer{}
	}
	return w
}

// leave removes the Object if nothing is left of the stream. It is still ours.
func (q *Queue) leave(ctx context.Context, c *claim, err error) error {
	if err != nil || c.last != destroy {
		return err
	}
	return q.sink.Delete(ctx, c.stream+writerName)
}

// bye gives all streams back: the Queue ends.
func (q *Queue) bye(ctx context.Context, b *backlog) {
	if b.fence == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	now := time.Now()
	done := make(chan struct{})
	n := 0
	for name, l := range b.fence.streams {
		if b.fence.left(l, now) == 0 {
			continue
		}
		j := b.fence.attempt(now, name, l, max(end, b.over(name, true)))
		n++
		go func() {
			defer func() { done <- struct{}{} }()
			if err := q.guard(ctx, j.claim); err != nil {
				q.cfg.Logger.DebugContext(ctx, "stream is not given back", "stream", name, "error", err)
			}
		}()
	}
	for range n {
		<-done
	}
}

// tell logs what has changed.
func (q *Queue) tell(ctx context.Context, f *leases) {
	if f == nil {
		return
	}
	for _, c := range f.changes {
		switch {
		case c.blind:
			q.cfg.Logger.WarnContext(ctx, "storage has no conditional PUT: two gateways that write the same stream there find out a little later", "stream", c.stream)
		case c.rival != (writer{}):
			q.cfg.Logger.ErrorContext(ctx, "stream is being written by another gateway and is not stored here; it is taken over when that falls silent; "+
				"stop one, or give them different prefixes", "stream", c.stream, "gateway", c.rival.Gateway, "host", c.rival.Host, "silence", f.cfg.Lease)
		default:
			q.cfg.Logger.InfoContext(ctx, "stream is taken over from another gateway", "stream", c.stream)
		}
	}
	f.changes = nil
}
