package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/whipcast/whipcast/packager"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/stream"
)

// packageAgain is how long after a failure a stream is packaged anew.
const packageAgain = time.Second

// packaging runs the packager for every stream of the hub, and takes a stream
// out of the hub when its presentation has ended.
type packaging struct {
	hub      *stream.Hub
	packager *packager.Packager
	// Streams of seats are no presentations: they are packaged to be examined alone, and
	// what is made of them goes nowhere.
	seats   *packager.Packager
	private func(name string) bool
	log     *slog.Logger
}

// run works until ctx ends and all presentations are closed.
func (p packaging) run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	known := map[*stream.Stream]bool{}
	var version uint64
	for {
		all, next, err := p.hub.Changes(ctx, version)
		if err != nil {
			return nil // the context has ended
		}
		version = next
		now := make(map[*stream.Stream]bool, len(all))
		for _, s := range all {
			now[s] = true
			if !known[s] {
				running.Go(func() { p.keep(ctx, s) })
			}
		}
		// A stream that was removed never comes back: its name gets a new Stream.
		known = now
	}
}

// findings returns what is wrong with a Layer, of a seat or of another stream.
func (p packaging) findings(name string, id stream.LayerID) []doctor.Finding {
	return append(p.packager.Findings(name, id), p.seats.Findings(name, id)...)
}

// keep packages one stream until it is removed or ctx ends.
func (p packaging) keep(ctx context.Context, s *stream.Stream) {
	for ctx.Err() == nil {
		with := p.packager
		if p.private(s.Name()) {
			with = p.seats
		}
		err := with.Run(ctx, s)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && p.hub.Remove(s):
			p.log.InfoContext(ctx, "stream ended", "stream", s.Name())
			return
		case err == nil:
			continue // a publisher came back just now
		}
		p.log.ErrorContext(ctx, "packaging failed and begins anew", "stream", s.Name(), "error", err)
		select {
		case <-time.After(packageAgain):
		case <-ctx.Done():
		}
	}
}

// size returns how big the pictures of a stream's layer are, 0 if that is not known.
func (p packaging) size(name, rid string) (width, height int) {
	id := stream.LayerID{Kind: stream.Video, RID: rid}
	if p.private(name) {
		return p.seats.Size(name, id)
	}
	return p.packager.Size(name, id)
}
