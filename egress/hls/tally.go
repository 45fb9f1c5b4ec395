package hls

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/storage"
)

// tally counts what was asked for and what it was answered with. Counting is an
// atomic operation or two.
type tally struct {
	answers [kinds][classes]atomic.Uint64
	bytes   [kinds]atomic.Uint64
	holds   atomic.Uint64
	refused atomic.Uint64
	waits   *latency.Histogram
}

// kind is what a request asks for.
type kind uint8

const (
	kindMultivariant kind = iota
	kindPlaylist
	kindInit
	kindPart
	kindSegment
	kindOther
	kinds
)

// classes are those of status codes: 2xx to 5xx.
const classes = 4

func newTally() tally {
	return tally{waits: latency.NewHistogram(0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 6, 12, 30)}
}

// answered counts an answer.
func (c *tally) answered(k kind, status int, bytes int64) {
	c.answers[k][min(max(status/100, 2), 5)-2].Add(1)
	if bytes > 0 {
		c.bytes[k].Add(uint64(bytes))
	}
}

// kindOf is what an Object is.
func kindOf(o *storage.Object) kind {
	switch o.Kind {
	case storage.Multivariant:
		return kindMultivariant
	case storage.LowLatency, storage.Playlist:
		return kindPlaylist
	case storage.Init:
		return kindInit
	case storage.Part:
		return kindPart
	case storage.Segment:
		return kindSegment
	}
	return kindOther
}

// asked is what a path asks for, as far as it tells.
func asked(r *http.Request) kind {
	t, ok := parsePath(r.URL.Path)
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return kindOther
	}
	switch file := t.key[strings.LastIndexByte(t.key, '/')+1:]; {
	case t.playlist && t.directory == "":
		return kindMultivariant
	case t.playlist:
		return kindPlaylist
	case file[0] == 'p':
		return kindPart
	case file[0] == 's':
		return kindSegment
	}
	return kindInit
}

// Count is how many answers there were of one kind and class of status.
type Count struct {
	Kind  string // "multivariant", "playlist", "init", "part", "segment" or "other"
	Class string // "2xx" to "5xx"
	N     uint64
}

// Answers returns how many requests were answered so far, by what they asked for
// and the class of the status; also those that there were none of.
func (h *Handler) Answers() []Count {
	all := make([]Count, 0, int(kinds)*classes)
	for k, name := range kindNames() {
		for class, text := range [...]string{"2xx", "3xx", "4xx", "5xx"} {
			all = append(all, Count{Kind: name, Class: text, N: h.tally.answers[k][class].Load()})
		}
	}
	return all
}

// Sent returns how many bytes of bodies were sent so far, by kind.
func (h *Handler) Sent() map[string]uint64 {
	all := make(map[string]uint64, kinds)
	for k, name := range kindNames() {
		all[name] = h.tally.bytes[k].Load()
	}
	return all
}

func kindNames() [kinds]string {
	return [kinds]string{"multivariant", "playlist", "init", "part", "segment", "other"}
}

// Waits returns for how long requests were held, in seconds.
func (h *Handler) Waits() latency.Snapshot { return h.tally.waits.Snapshot() }

// fetched notes how old the newest part is in an answer, and in the first one
// that has it.
func (p *page) fetched() {
	o := &p.object
	if p.figures == nil || o.Kind != storage.LowLatency || o.Position.Ended || o.Modified.IsZero() {
		return
	}
	now := time.Now()
	age := now.Sub(o.Modified)
	p.figures.Observe(latency.Fetch, age, now)
	if !p.seen.Load() && p.seen.CompareAndSwap(false, true) {
		p.figures.Observe(latency.FirstFetch, age, now)
	}
}
