package stream

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/whipcast/whipcast/internal/watch"
)

// Errors of a Hub.
var (
	// ErrName says that a stream's name breaks the rule of ValidName.
	ErrName = errors.New("bad stream name")
	// ErrFull says that the Hub has as many streams as it may.
	ErrFull = errors.New("too many streams")
)

// Config of a Hub. The zero value works.
type Config struct {
	MaxStreams int // default 1,000
}

// Hub holds all Streams of the process by name. All methods may be called from
// any goroutine.
type Hub struct {
	max     int
	totals  Totals
	changes watch.Value[uint64] // version of the set of streams

	mu      sync.Mutex
	streams map[string]*Stream // below mu
}

// NewHub returns an empty Hub.
func NewHub(cfg Config) *Hub {
	if cfg.MaxStreams <= 0 {
		cfg.MaxStreams = 1000
	}
	return &Hub{max: cfg.MaxStreams, streams: make(map[string]*Stream)}
}

// Totals are running totals over all Streams of a Hub, also of those that are
// gone. Any goroutine may read them.
type Totals struct {
	Sessions         atomic.Uint64 // publishers that were let in
	Packets          atomic.Uint64 // stored, padding included
	Bytes            atomic.Uint64 // of payload
	Duplicates       atomic.Uint64 // dropped: the same sequence number again
	Dropped          atomic.Uint64 // written after the session had ended
	KeyframeRequests atomic.Uint64 // passed to publishers, after they were joined
	Refused          atomic.Uint64 // streams that had no room: ErrFull
}

// Totals returns the running totals.
func (h *Hub) Totals() *Totals { return &h.totals }

// ValidName reports whether name may name a Stream:
// [A-Za-z0-9][A-Za-z0-9._-]{0,63} without two dots in a row (specs X7).
func ValidName(name string) bool {
	if name == "" || len(name) > 64 || strings.Contains(name, "..") {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}

// Stream returns the Stream of that name and creates it if there is none:
// ErrName for a bad name, ErrFull over the limit.
func (h *Hub) Stream(name string) (*Stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s, ok := h.streams[name]; ok {
		return s, nil
	}
	if !ValidName(name) {
		return nil, ErrName
	}
	if len(h.streams) >= h.max {
		h.totals.Refused.Add(1)
		return nil, ErrFull
	}
	s := newStream(name, &h.totals)
	h.streams[name] = s
	h.changed()
	return s, nil
}

// Lookup returns the Stream of that name, if it exists.
func (h *Hub) Lookup(name string) (*Stream, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.streams[name]
	return s, ok
}

// Remove takes a Stream that nobody publishes out of the Hub; its
// Subscriptions end with io.EOF. It returns false, and does nothing, while a
// publisher is there. Removing twice is harmless.
func (h *Hub) Remove(s *Stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !s.remove() {
		return false
	}
	if h.streams[s.name] == s {
		delete(h.streams, s.name)
		h.changed()
	}
	return true
}

// Changes waits until the set of Streams has another version than seen (begin
// with 0) and returns the Streams, sorted by name, with the new version.
func (h *Hub) Changes(ctx context.Context, seen uint64) ([]*Stream, uint64, error) {
	version, err := h.changes.Wait(ctx, func(v uint64) bool { return v != seen })
	if err != nil {
		return nil, seen, err
	}
	return h.Streams(), version, nil
}

// Streams returns all Streams, sorted by name.
func (h *Hub) Streams() []*Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*Stream, 0, len(h.streams))
	for _, s := range h.streams {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Stream) int { return strings.Compare(a.name, b.name) })
	return all
}

func (h *Hub) changed() {
	h.changes.Update(func(v uint64) uint64 { return v + 1 })
}
