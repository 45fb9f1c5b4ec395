// Package hybrid lets an origin serve playlists whose media is read from
// elsewhere: a CDN over a bucket.
//
//	packager ─▶ Lister ─▶ origin's store: all media at once; playlists when what they name is decided
//	   └──────▶ storage.Queue ─▶ Lister.Watch ─▶ the place: media
//
// Each file of media is listed by its URL at the place once it is stored there,
// or by its name alone, which is the origin's own URL, if that takes too long.
// What was listed once stays as it was. A place that fails costs no viewer
// anything but the way: the origin has all media, too.
//
// The package knows no HLS text: Config.Edit does. See docs/adr/0009.
package hybrid

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/storage"
)

// ErrFull says that Run does not take what is Put.
var ErrFull = errors.New("lister is full")

// maxInbox is how many calls wait for Run at most.
const maxInbox = 100_000

// media are the kinds that are read from the place.
const media = storage.Init | storage.Part | storage.Segment

// Config says what a Lister does. Base, Edit and Names are needed.
type Config struct {
	// Base is the URL of the place where viewers read it, without a slash at its
	// end: an Object is at Base/Key.
	Base string
	// Kinds are the media that the place gets; the others are always the origin's.
	Kinds storage.Kind
	// Texts is the kind of media playlists that the origin serves: LowLatency, or
	// Playlist where there are no parts.
	Texts storage.Kind
	// Deadline is how long after its Put a file may take to be stored; an
	// initialization segment, which is put long before it is named, three times
	// that. So long a playlist waits at most.
	Deadline time.Duration
	// Edit returns a media playlist's text with the prefix before the URIs of
	// media, a gap for what is nowhere, and with reports of what can be read of other renditions: see
	// packager/hls.Relocation.
	Edit func(text []byte, prefix func(uri []byte) (prefix string, nowhere bool), report func(uri []byte) (msn uint64, part int, listed bool)) []byte
	// Names calls yield for each playlist that a multivariant playlist names.
	Names func(text []byte, yield func(uri []byte, mark int) bool)
	// Logger says when renditions begin and cease to be served from here; nil:
	// nothing.
	Logger *slog.Logger
}

// Metrics are running totals. Any goroutine may read them.
type Metrics struct {
	Placed   atomic.Uint64 // files listed at the place
	Kept     atomic.Uint64 // files listed as the origin's own
	Texts    atomic.Uint64 // media playlists that were shown
	Waited   atomic.Uint64 // nanoseconds between their Put and that, in all
	Failures atomic.Uint64 // calls of the origin's store that failed
}

// Health is how it goes at one moment.
type Health struct {
	Renditions int           // that there are
	Fallen     int           // … whose new media is served by the origin
	Open       int           // files that are on their way to the place, in time
	Waiting    int           // playlists that wait for them
	Since      time.Duration // how long there has been a fallen rendition; 0: there is none
}

// Lister is the Sink before an origin's store. It passes media on at once, and
// holds playlists until it is decided where their media is read. Objects of other
// kinds are dropped.
//
// Put and Delete may be called from any goroutine, and never wait but for the
// store's Put.
type Lister struct {
	cfg     Config
	origin  storage.Sink
	metrics Metrics
	kick    chan struct{} // there is something in the inbox, or somebody who drains

	mu      sync.Mutex
	inbox   []event
	health  Health
	asOf    time.Time
	fallen  map[string]int  // folders; how many parts of each came since
	drained []chan struct{} // closed when no playlist waits
}

// event is something that a book must know.
type event struct {
	what   eventKind
	at     time.Time
	object storage.Object // of isText; else the key and the kind
}

type eventKind uint8

const (
	isMedia eventKind = iota
	isStored
	isAbsent
	isText
	isDelete
)

// New returns a Lister before an origin's store. It works while Run does.
func New(origin storage.Sink, cfg Config) *Lister {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Deadline <= 0 {
		cfg.Deadline = time.Second / 2
	}
	return &Lister{cfg: cfg, origin: origin, kick: make(chan struct{}, 1)}
}

// Metrics returns the running totals.
func (l *Lister) Metrics() *Metrics { return &l.metrics }

// Health returns how it goes now.
func (l *Lister) Health() Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.health
	if h.Fallen > 0 {
		h.Since += time.Since(l.asOf)
	}
	return h
}

// Put implements storage.Sink. Give an Object to the Lister before the place gets
// it, else it is not known that it was stored.
func (l *Lister) Put(ctx context.Context, o storage.Object) error {
	var err error
	switch {
	case o.Kind&media != 0:
		err = l.origin.Put(ctx, o)
		if o.Kind&l.cfg.Kinds != 0 {
			err = errors.Join(err, l.accept(event{isMedia, time.Now(), storage.Object{Key: o.Key, Kind: o.Kind}}))
		}
	case o.Kind == storage.Held && l.cfg.Texts == storage.Playlist: // playlists with parts name nothing of an earlier run
		err = l.accept(event{isMedia, time.Now(), storage.Object{Key: o.Key, Kind: o.Kind}})
	case o.Kind&(l.cfg.Texts|storage.Multivariant) != 0:
		if err = storage.CheckKey(o.Key); err == nil {
			err = l.accept(event{isText, time.Now(), o})
		}
	}
	return err
}

// Delete implements storage.Sink. Media stays as much longer as a playlist that
// names it may have come later.
func (l *Lister) Delete(_ context.Context, key string) error {
	return l.accept(event{isDelete, time.Now(), storage.Object{Key: key}})
}

// Watch returns a Sink that passes everything to s and tells the Lister what was
// stored. It goes below the place's Queue.
func (l *Lister) Watch(s storage.Sink) storage.Sink { return watched{s, l} }

type watched struct {
	storage.Sink

	lister *Lister
}

func (w watched) Put(ctx context.Context, o storage.Object) error {
	err := w.Sink.Put(ctx, o)
	if err == nil && o.Kind&w.lister.cfg.Kinds != 0 {
		return w.lister.accept(event{isStored, time.Now(), storage.Object{Key: o.Key, Kind: o.Kind}})
	}
	return err
}

// Spare returns a Sink that passes everything to s, but of the parts of renditions
// that are not waited for only one in four, until one is in time again: what is too
// slow shall have time for segments. It goes above the place's Queue.
func (l *Lister) Spare(s storage.Sink) storage.Sink { return spared{s, l} }

type spared struct {
	storage.Sink

	lister *Lister
}

func (s spared) Put(ctx context.Context, o storage.Object) error {
	if o.Kind == storage.Part && s.lister.idle(folderOf(o.Key)) {
		return nil
	}
	return s.Sink.Put(ctx, o)
}

// idle counts a part of a folder, and says whether it is not needed.
func (l *Lister) idle(folder string) bool {
	const probe = 4
	l.mu.Lock()
	defer l.mu.Unlock()
	n, fallen := l.fallen[folder]
	if fallen {
		l.fallen[folder] = n + 1
	}
	return fallen && n%probe != 0
}

// Has implements storage.Holder, if the Sink does, and tells the Lister what is
// there of an earlier run.
func (w watched) Has(ctx context.Context, key string) (bool, error) {
	has, err := storage.Has(ctx, w.Sink, key)
	what := isAbsent
	switch {
	case has && err == nil:
		what = isStored
	case err != nil && !errors.Is(err, errors.ErrUnsupported):
		return has, err
	}
	return has, errors.Join(err, w.lister.accept(event{what, time.Now(), storage.Object{Key: key}}))
}

func (l *Lister) accept(e event) error {
	if !l.append(e) {
		return fmt.Errorf("list %s: %w", e.object.Key, ErrFull)
	}
	l.wake()
	return nil
}

func (l *Lister) append(e event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.inbox) >= maxInbox {
		return false
	}
	l.inbox = append(l.inbox, e)
	return true
}

func (l *Lister) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. Call it once.
func (l *Lister) Run(ctx context.Context) error {
	b := newBook(l.cfg, &l.metrics)
	for ctx.Err() == nil {
		l.take(b)
		now := time.Now()
		changes, next := b.next(now)
		for _, c := range changes {
			l.apply(ctx, c)
		}
		l.report(ctx, now, b)
		l.wait(ctx, now, next)
	}
	return nil
}

// wait returns when there is something in the inbox, or at a time.
func (l *Lister) wait(ctx context.Context, now, next time.Time) {
	var alarm <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(next.Sub(now))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-ctx.Done():
	case <-l.kick:
	case <-alarm:
	}
}

// take empties the inbox into the book.
func (l *Lister) take(b *book) {
	l.mu.Lock()
	inbox := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for _, e := range inbox {
		b.note(e)
	}
}

// apply does in the origin's store what the book says.
func (l *Lister) apply(ctx context.Context, c change) {
	var err error
	if c.text {
		err = l.origin.Put(ctx, c.object)
	} else {
		err = l.origin.Delete(ctx, c.object.Key)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	if l.metrics.Failures.Add(1) == 1 {
		l.cfg.Logger.ErrorContext(ctx, "the origin's store does not take an object", "key", c.object.Key, "error", err)
	}
}

// report publishes how it goes, logs what has changed, and lets go of those that
// drain.
func (l *Lister) report(ctx context.Context, now time.Time, b *book) {
	h := b.health(now)
	switch before := l.publish(h, now, b); {
	case before.Fallen == 0 && h.Fallen > 0:
		l.cfg.Logger.WarnContext(ctx, "storage is too slow: viewers get media from this gateway", "url", l.cfg.Base, "within", l.cfg.Deadline)
	case before.Fallen > 0 && h.Fallen == 0:
		l.cfg.Logger.InfoContext(ctx, "viewers get new media from storage again", "url", l.cfg.Base)
	}
}

func (l *Lister) publish(h Health, now time.Time, b *book) Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.health
	l.health, l.asOf = h, now
	if b.moved {
		b.moved = false
		l.fallen = b.hopeless(l.fallen)
	}
	if h.Waiting == 0 && len(l.inbox) == 0 {
		for _, c := range l.drained {
			close(c)
		}
		l.drained = nil
	}
	return before
}

// Drain waits until all playlists that were Put are in the origin's store, or ctx
// ends. Run must be running.
func (l *Lister) Drain(ctx context.Context) error {
	done := make(chan struct{})
	l.mu.Lock()
	l.drained = append(l.drained, done)
	l.mu.Unlock()
	l.wake()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain lister: %w", ctx.Err())
	}
}
