package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// This file has what a Queue does about Objects that an earlier run of the program
// has stored, or has not: it was killed, and what waited is gone (ADR 8).

// Has asks s. The error is errors.ErrUnsupported if s is no Holder.
func Has(ctx context.Context, s Sink, key string) (bool, error) {
	if h, ok := s.(Holder); ok {
		return h.Has(ctx, key)
	}
	return false, fmt.Errorf("look for %s: %w", key, errors.ErrUnsupported)
}

// Has implements Holder: all of them have it.
func (t tee) Has(ctx context.Context, key string) (bool, error) {
	for _, s := range t {
		if has, err := Has(ctx, s, key); err != nil || !has {
			return false, err
		}
	}
	return len(t) > 0, nil
}

// Has implements Holder.
func (s only) Has(ctx context.Context, key string) (bool, error) { return Has(ctx, s.sink, key) }

// Has implements Holder.
func (z zipped) Has(ctx context.Context, key string) (bool, error) { return Has(ctx, z.Sink, key) }

// Has implements Holder.
func (r retry) Has(ctx context.Context, key string) (has bool, err error) {
	err = r.try(ctx, r.policy.Attempts, func(ctx context.Context) error {
		has, err = Has(ctx, r.sink, key)
		return err
	}, func() bool { return errors.Is(err, errors.ErrUnsupported) })
	return has, err
}

// perCheck is what each further segment of a folder adds to the time in which
// they are all looked for.
const perCheck = 10 * time.Millisecond

// putHeld takes a key that should be there. Playlists that name it wait until that
// is known; what is not there is missing (specs S10, S12).
func (b *backlog) putHeld(now time.Time, o Object) {
	if b.items[o.Key] != nil {
		return
	}
	f := b.folder(o.Key)
	f.inherited = true
	o.Body, o.Delta, o.DeltaDates = nil, nil, nil
	it := &item{object: o, folder: f, came: now, due: now.Add(b.patience(f) + time.Duration(len(f.pending))*perCheck)}
	b.items[o.Key] = it
	f.pending = append(f.pending, it)
	b.shed(now)
}

// nextCheck returns the oldest item of a folder that is to be looked for. They are
// small: only the number of workers bounds them, and half of those are left for media.
func (b *backlog) nextCheck(now time.Time, f *folder) (job, bool) {
	if !f.inherited || b.checking >= max(b.cfg.Workers/2, 1) {
		return job{}, false
	}
	for _, it := range f.pending {
		switch {
		case it.object.Kind != Held || it.state != waiting:
		case now.Before(it.next):
			b.until(it.next)
		default:
			return job{verb: check, key: it.object.Key, item: it}, true
		}
	}
	return job{}, false
}

// checks appends what is to be looked for.
func (b *backlog) checks(now time.Time, jobs []job) []job {
	for _, f := range b.order {
		for b.holds(f.stream(), now) && b.room(now) {
			j, ok := b.nextCheck(now, f)
			if !ok {
				break
			}
			jobs = append(jobs, b.begin(now, j))
		}
	}
	return jobs
}

// doneCheck takes the answer.
func (b *backlog) doneCheck(now time.Time, j job, err error) {
	it := j.item
	switch {
	case err == nil && !it.deleted:
		b.forget(it, kept)
	case it.deleted:
		b.lose(now, it)
		b.outdate(it)
		b.schedule(now, j.key)
	case errors.Is(err, ErrNotFound) || errors.Is(err, errors.ErrUnsupported) || IsPermanent(err):
		b.lose(now, it)
	default:
		it.state = waiting
		it.tries++
		it.next = pauseAfter(now, it.tries, err)
	}
}

// look asks the sink. What is not there is ErrNotFound.
func (q *Queue) look(ctx context.Context, key string) error {
	has, err := Has(ctx, q.sink, key)
	if err == nil && !has {
		return fmt.Errorf("look for %s: %w", key, ErrNotFound)
	}
	return err
}
