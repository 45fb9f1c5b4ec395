package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/whipcast/whipcast/internal/watch"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/memory"
	"github.com/whipcast/whipcast/stream"
)

const (
	// wantedFor is how long after its last request a viewer of HLS counts as one.
	wantedFor = 30 * time.Second
	// wakeWithin is how long a request waits for a stream that is fetched on demand.
	wakeWithin = 10 * time.Second
)

// demand knows who wants streams that are fetched on demand: those who ask for it
// by HTTP or RTSP, and the viewers in real time while they are there. The ways out
// know nothing of it: the requests pass it before.
type demand struct {
	hub     *stream.Hub
	store   *memory.Store
	viewers []func(name string) int // in real time
	only    map[string]bool         // fixed: the streams that are fetched on demand
	asked   watch.Value[uint64]     // counts requests

	mu   sync.Mutex
	last map[string]time.Time // below mu; of the last request, by stream
}

func newDemand(hub *stream.Hub, store *memory.Store, names []string) *demand {
	d := &demand{hub: hub, store: store, only: map[string]bool{}, last: map[string]time.Time{}}
	for _, name := range names {
		d.only[name] = true
	}
	return d
}

// touch notes that somebody wants a stream. It reports whether that matters.
func (d *demand) touch(name string) bool {
	if !d.only[name] {
		return false
	}
	d.mu.Lock()
	before := d.last[name]
	now := time.Now()
	d.last[name] = now
	d.mu.Unlock()
	if now.Sub(before) >= time.Second {
		d.asked.Update(func(n uint64) uint64 { return n + 1 })
	}
	return true
}

// Wanted reports whether somebody wants a stream.
func (d *demand) Wanted(name string) bool {
	for _, viewers := range d.viewers {
		if viewers(name) > 0 {
			return true
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	last, ok := d.last[name]
	return ok && time.Since(last) < wantedFor
}

// Await waits until somebody wants a stream.
func (d *demand) Await(ctx context.Context, name string) error {
	for {
		seen := d.asked.Get()
		if d.Wanted(name) {
			return nil
		}
		if _, err := d.asked.Wait(ctx, func(n uint64) bool { return n != seen }); err != nil {
			return err
		}
	}
}

// wake notes that somebody wants a stream, and waits until it is published, or the
// context ends.
func (d *demand) wake(ctx context.Context, name string) {
	if !d.touch(name) {
		return
	}
	var seen uint64
	for {
		_, version, err := d.hub.Changes(ctx, seen)
		if err != nil {
			return
		}
		s, ok := d.hub.Lookup(name)
		for ok {
			state := s.State()
			if state.Live {
				return
			}
			if _, err := s.Wait(ctx, state.Version); err != nil {
				return
			}
		}
		seen = version
	}
}

// before lets requests for streams pass to next once the stream is there. Who may
// not watch it wakes nobody.
func (d *demand) before(next http.Handler, prefix string, may func(r *http.Request, name string) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, prefix)
		if strings.HasPrefix(path, "~") { // a token
			_, path, _ = strings.Cut(path, "/")
		}
		name, rest, _ := strings.Cut(path, "/")
		if !d.only[name] || r.Method == http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		if may(r, name) == nil {
			ctx, cancel := context.WithTimeout(r.Context(), wakeWithin)
			switch {
			case rest == "" && r.Method == http.MethodPost:
				d.wake(ctx, name)
			case rest == "index.m3u8":
				d.wake(ctx, name)
				_, _ = d.store.Get(ctx, name+"/"+rest, func(storage.Object) bool { return true })
			default:
				d.touch(name)
			}
			cancel()
		}
		next.ServeHTTP(w, r)
	})
}
