package storage

import (
	"context"
	"errors"
	"slices"
)

// Tee returns a Sink that passes everything to all sinks, in their order. A
// sink that fails does not keep the others from their Object; the errors are
// joined.
func Tee(sinks ...Sink) Sink { return tee(slices.Clone(sinks)) }

type tee []Sink

func (t tee) Put(ctx context.Context, o Object) error {
	var failed []error
	for _, s := range t {
		if err := s.Put(ctx, o); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (t tee) Delete(ctx context.Context, key string) error {
	var failed []error
	for _, s := range t {
		if err := s.Delete(ctx, key); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// Only returns a Sink that passes Objects of these kinds to s and drops all
// others. Every Delete passes: a key does not tell its kind, and deleting what
// was never there is success.
func Only(s Sink, kinds ...Kind) Sink {
	o := only{sink: s}
	for _, kind := range kinds {
		o.kinds |= kind
	}
	return o
}

type only struct {
	sink  Sink
	kinds Kind
}

func (s only) Put(ctx context.Context, o Object) error {
	if o.Kind&s.kinds == 0 {
		return nil
	}
	return s.sink.Put(ctx, o)
}

func (s only) Delete(ctx context.Context, key string) error { return s.sink.Delete(ctx, key) }
