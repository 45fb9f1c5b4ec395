package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Permanent marks an error that trying again does not mend: refused
// credentials, a bucket that does not exist. errors.Is and errors.As see the
// error inside.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// IsPermanent says whether an error is marked by Permanent, or is an ErrKey.
func IsPermanent(err error) bool {
	_, marked := errors.AsType[permanent](err)
	return marked || errors.Is(err, ErrKey)
}

// Policy says how a Retry tries again. The zero Policy is good.
type Policy struct {
	Attempts int           // at most, in all; 0: 3
	First    time.Duration // pause after the first attempt, doubled for each that follows; 0: 100 ms
	Most     time.Duration // longest pause; 0: 2 s
	// Timeout is of one attempt. 0: that part of the time until the context's
	// deadline which each of them can have; 5 s without a deadline.
	Timeout time.Duration
	// Life is how long after its content was made an Object is worth trying
	// again: the live window. 0: always.
	Life time.Duration
	// Kinds are those that are tried again; 0: all. A Queue tries playlists again
	// itself, with the newest body (specs S13): leave them out before one.
	Kinds Kind
}

func (p Policy) withDefaults() Policy {
	if p.Attempts <= 0 {
		p.Attempts = 3
	}
	p.First = orElse(p.First, 100*time.Millisecond)
	p.Most = orElse(p.Most, 2*time.Second)
	if p.Kinds == 0 {
		p.Kinds = ^Kind(0)
	}
	return p
}

func orElse(d, usual time.Duration) time.Duration {
	if d <= 0 {
		return usual
	}
	return d
}

// Retry returns a Sink that tries again when s fails: after pauses that double,
// each shortened by a random part of up to one half, so that many do not come
// back at once (specs S14). It stops at a Permanent error, at the end of the
// context, and when the Object has left the live window.
func Retry(s Sink, policy Policy) Sink { return retry{sink: s, policy: policy.withDefaults()} }

type retry struct {
	sink   Sink
	policy Policy
}

func (r retry) Put(ctx context.Context, o Object) error {
	attempts := r.policy.Attempts
	if o.Kind&r.policy.Kinds == 0 {
		attempts = 1
	}
	return r.try(ctx, attempts, func(ctx context.Context) error { return r.sink.Put(ctx, o) }, func() bool {
		return r.policy.Life > 0 && !o.Modified.IsZero() && time.Since(o.Modified) > r.policy.Life
	})
}

func (r retry) Delete(ctx context.Context, key string) error {
	return r.try(ctx, r.policy.Attempts, func(ctx context.Context) error { return r.sink.Delete(ctx, key) }, func() bool { return false })
}

func (r retry) try(ctx context.Context, attempts int, do func(context.Context) error, late func() bool) error {
	limit := r.policy.Timeout
	if end, ends := ctx.Deadline(); limit <= 0 && ends {
		limit = time.Until(end) / time.Duration(attempts)
	}
	limit = orElse(limit, 5*time.Second)
	for n := 1; ; n++ {
		err := within(ctx, limit, do)
		switch {
		case err == nil:
			return nil
		case n == attempts || IsPermanent(err) || ctx.Err() != nil || late():
			if n > 1 {
				err = fmt.Errorf("attempt %d: %w", n, err)
			}
			return err
		}
		timer := time.NewTimer(backoff(n, r.policy.First, r.policy.Most))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w; attempt %d: %w", ctx.Err(), n, err)
		}
	}
}

func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return do(ctx)
}

// backoff returns how long to pause after so many failures in a row.
func backoff(failures int, first, most time.Duration) time.Duration {
	d := most
	if n := failures - 1; n < 30 && first<<n < most {
		d = first << n
	}
	return d - time.Duration(rand.Int64N(int64(d)/2+1)) //nolint:gosec // no secret
}
