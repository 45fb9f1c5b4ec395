package main

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
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
	viewers []func(name string) int         // in real time
	asked   watch.Value[uint64]             // counts requests
	only    atomic.Pointer[map[string]bool] // the streams that are fetched on demand; never changed, but replaced

	mu   sync.Mutex
	last map[string]time.Time // below mu; of the last request, by stream
}

func newDemand(hub *stream.Hub, store *memory.Store) *demand {
	d := &demand{hub: hub, store: store, last: map[string]time.Time{}}
	d.only.Store(&map[string]bool{})
	return d
}

// of reports whether a stream is fetched on demand.
func (d *demand) of(name string) bool { return (*d.only.Load())[name] }

// set says whether a stream is fetched on demand.
func (d *demand) set(name string, is bool) { //nolint:revive // a fact, not a mode
	d.mu.Lock()
	defer d.mu.Unlock()
	next := maps.Clone(*d.only.Load())
	if is {
		next[name] = true
	} else {
		delete(next, name)
		delete(d.last, name)
	}
	d.only.Store(&next)
}

// touch notes that somebody wants a stream. It reports whether that matters.
func (d *demand) touch(name string) bool {
	if !d.of(name) {
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
		if !d.of(name) || r.Method == http.MethodOptions {
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
