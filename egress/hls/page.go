package hls

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/storage"
)

// page is one version of a playlist, made ready to be sent: every byte and
// every header value is made once, by the first request that needs it, and
// shared by all (specs L72).
type page struct {
	object storage.Object
	full   sheet
	delta  sheet // not used when object.Delta is empty
	dates  sheet // not used when object.DeltaDates is empty

	figures *latency.Stream
	seen    atomic.Bool // it was sent

	contentType  []string
	modified     []string
	cacheAnswer  [2][]string // Cache-Control of an answer to _HLS_msn, by visibility
	cacheRequest [2][]string // … and of one to a request without
}

// sheet is one text of a page, plain and compressed.
type sheet struct {
	once        sync.Once
	plain, zip  []byte // zip is nil if it would not be smaller
	plainLength []string
	zipLength   []string
}

// choose returns what a request is answered with: the playlist, or the delta
// update that was asked for if there is something to skip (specs L67).
func (p *page) choose(asked skip) (*sheet, storage.Body) {
	o := &p.object
	switch {
	case asked == skipNothing || len(o.Delta) == 0 || o.Position.Ended:
		return &p.full, o.Body
	case asked == skipDates && len(o.DeltaDates) > 0:
		return &p.dates, o.DeltaDates
	}
	return &p.delta, o.Delta
}

// pages keeps the newest page of every playlist. It holds no more than the
// store does, give or take what was deleted of late.
type pages struct {
	store   Store
	book    *latency.Book
	made    atomic.Int64
	zippers sync.Pool

	mu      sync.RWMutex
	entries map[string]*entry
	sweepAt int // number of entries at which to look for deleted ones
}

// entry is the newest page of one key.
type entry struct {
	current atomic.Pointer[page]
	mu      sync.Mutex // held while current is replaced
}

// fewest is the number of entries below which nothing is swept.
const fewest = 32

func newPages(store Store, book *latency.Book) *pages {
	return &pages{store: store, book: book, entries: make(map[string]*entry), sweepAt: fewest}
}

// page returns the page of o, or of a newer version of it: a playlist request
// is answered with the newest there is (specs L62). When o is not the version
// known here the store says which is the newest, so that a reader that was slow
// to wake up with an old version cannot replace a newer one.
func (c *pages) page(ctx context.Context, o *storage.Object) (*page, error) {
	e := c.find(o.Key)
	if e == nil {
		c.sweep(ctx)
		e = c.add(o.Key)
	}
	if p := e.current.Load(); p != nil && same(&p.object, o) {
		return p, nil
	}
	e.mu.Lock() // nothing below waits for anything
	defer e.mu.Unlock()
	now, err := c.store.Get(ctx, o.Key, nil)
	if err != nil {
		return nil, err
	}
	p := e.current.Load()
	if p == nil || !same(&p.object, &now) {
		p = c.prepare(now)
		e.current.Store(p)
	}
	return p, nil
}

func (c *pages) find(key string) *entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries[key]
}

func (c *pages) add(key string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		e = new(entry)
		c.entries[key] = e
	}
	return e
}

// forget drops the page of a playlist that is gone.
func (c *pages) forget(key string) {
	if c.find(key) == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, key)
}

// sweep forgets the playlists that are gone and that nobody asked for since. It
// does nothing until the number of pages has doubled since the last time.
func (c *pages) sweep(ctx context.Context) {
	suspects := c.suspects()
	if len(suspects) == 0 {
		return
	}
	for _, key := range suspects {
		if _, err := c.store.Get(ctx, key, nil); errors.Is(err, storage.ErrNotFound) {
			c.forget(key)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweepAt = max(fewest, 2*len(c.entries))
}

// suspects returns all keys when it is time for a sweep.
func (c *pages) suspects() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.entries) < c.sweepAt {
		return nil
	}
	return slices.Collect(maps.Keys(c.entries))
}

func (c *pages) prepare(o storage.Object) *page {
	plain, answered := lifetimes(o)
	p := &page{object: o, contentType: []string{o.Type}}
	for _, v := range []visibility{public, private} {
		p.cacheRequest[v] = []string{v.String() + ", max-age=" + strconv.Itoa(plain)}
		p.cacheAnswer[v] = []string{v.String() + ", max-age=" + strconv.Itoa(answered)}
	}
	stream, _, _ := strings.Cut(o.Key, "/")
	p.figures = c.book.Find(stream)
	if !o.Modified.IsZero() {
		p.modified = []string{o.Modified.UTC().Format(http.TimeFormat)}
	}
	return p
}

// lifetimes returns for how many seconds a playlist may be cached: as the
// answer to a plain request, and as the answer to one with _HLS_msn (specs S29,
// L98).
func lifetimes(o storage.Object) (plain, answered int) {
	switch {
	case o.Kind == storage.Multivariant: // its key is the stream's stable address (specs S28)
		return 2, 2
	case o.Position.Ended:
		return 3600, 3600
	}
	target := int(o.Position.Target / time.Second)
	return max(1, target/2), max(1, 6*target)
}

// fill makes a sheet from a body, once.
func (c *pages) fill(s *sheet, body storage.Body) {
	s.once.Do(func() {
		c.made.Add(1)
		s.plain = body.Bytes()
		s.plainLength = []string{strconv.Itoa(len(s.plain))}
		if zip := c.compress(s.plain); len(zip) < len(s.plain) {
			s.zip = zip
			s.zipLength = []string{strconv.Itoa(len(zip))}
		}
	})
}

// compress returns text in gzip form. A compressor has close to a megabyte of
// state, so they are kept for the next version.
func (c *pages) compress(text []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(text)/4 + 64)
	zipper, ok := c.zippers.Get().(*gzip.Writer)
	if ok {
		zipper.Reset(&out)
	} else {
		zipper = gzip.NewWriter(&out)
	}
	defer c.zippers.Put(zipper)
	// Writes to memory do not fail; if one did, there is simply no gzip form.
	if _, err := zipper.Write(text); err != nil {
		return text
	}
	if err := zipper.Close(); err != nil {
		return text
	}
	return out.Bytes()
}

// same reports whether two Objects of one key are the same version. Their
// memory is immutable, so the same memory is the same content; and it is not
// used again for something else while a page refers to it.
func same(a, b *storage.Object) bool {
	return sameBody(a.Body, b.Body) && sameBody(a.Delta, b.Delta) && sameBody(a.DeltaDates, b.DeltaDates) &&
		a.Position == b.Position &&
		a.Kind == b.Kind && a.Type == b.Type
}

func sameBody(a, b storage.Body) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
