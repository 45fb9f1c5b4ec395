package storage

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"time"
)

// texts are the kinds that name other Objects and are replaced.
const texts = Playlist | LowLatency | Multivariant

const (
	downAfter   = 3  // failures in a row after which a sink is down
	maxEditions = 32 // of one playlist that wait
	maxRemovals = 5  // attempts to delete media
)

// backlog is what a Queue has to do, and decides what comes next. It is pure:
// no goroutine, no clock, no I/O. The Queue's Run owns it.
//
// Media of a folder is stored in its order. Of a playlist the newest edition is
// stored whose names are all stored, or known to be missing (specs S10, S11). A
// segment whose time has come is missing from then on (specs S12). What a
// visible playlist names is not deleted (specs S15).
type backlog struct {
	cfg QueueConfig
	met *QueueMetrics

	items    map[string]*item // that are not stored yet, by key
	listings map[string]*listing
	folders  map[string]*folder
	order    []*folder
	turn     int // of order: who is first
	fence    *leases

	missing map[string]time.Time // keys that playlists must not offer, since when
	blocked map[string]*removal  // a visible playlist names them
	removed map[string]*removal  // all removals, blocked or not
	free    []*removal           // not blocked, in order of their time

	bytes    int64 // in memory
	spool    spooler
	now      time.Time      // of the last call of next
	flying   int            // calls of the sink under way
	removing int            // deletions of them
	checking int            // and looks for what an earlier run has stored
	streams  map[string]int // the others, by stream
	wake     time.Time      // when next has to be called again, at the latest

	// What is known of the sink.
	fails   int    // in a row
	culprit string // the key that failed first of these
	several bool   // and others did, too
	failing time.Time
	worked  time.Time
	refused bool
	level   int // of the pause between probes
	pause   time.Time
	lastErr error
	erred   time.Time
	lost    time.Time // when something was lost, last
}

// folder is what shares all of a key but the last name: a rendition.
type folder struct {
	path     string // with the slash at its end
	pending  []*item
	flying   int
	brief    int           // … besides, of those that are of use for a moment only
	took     time.Duration // to store the last item that was not one of these
	target   time.Duration // of its playlist; 0: not known
	listings []*listing
	// inherited says that an earlier run has put a playlist there. What that names is
	// not known: nothing is deleted until another one is visible.
	inherited bool
}

// stream returns the first name of its path.
func (f *folder) stream() string { return stream(f.path) }

// stream returns the first name of a key.
func stream(key string) string {
	name, _, _ := strings.Cut(key, "/")
	return name
}

type itemState uint8

const (
	waiting itemState = iota
	flying
	kept
	lost
)

// item is media that is to be stored.
type item struct {
	object  Object
	folder  *folder
	state   itemState
	came    time.Time
	due     time.Time // when it is missing; zero: never
	next    time.Time // it is not tried before
	tries   int
	held    int64 // bytes of memory that it counts for
	file    *file // of the spool; nil: it has nothing of it there
	back    bool  // it was in the spool
	deleted bool  // while it was flying
}

// listing is the key of a playlist.
type listing struct {
	key      string
	folder   *folder
	editions []*edition // that are not stored, oldest first
	count    int        // of editions that came
	shown    Body       // what is stored
	flight   Body       // what is on its way, while busy
	stored   bool
	at       time.Time // when it was stored
	began    time.Time // the last attempt
	next     time.Time // it is not tried before
	tries    int
	busy     bool
	doubt    bool   // an attempt failed since: it may have come through all the same
	deleted  bool   // while it was busy
	ended    bool   // nothing follows the newest edition
	object   Object // what is stored, without the gaps of ours
}

// edition is one version of a playlist.
type edition struct {
	object Object
	number int
	came   time.Time
	items  []*item  // that it names and that were not stored when it came
	lists  []string // playlists that it names
}

// removal is a key that is to be deleted.
type removal struct {
	key   string
	at    time.Time
	tries int
	busy  bool
	void  bool // the key is in use again
	named bool // scratch
}

type verb uint8

const (
	putMedia verb = iota
	putText
	remove
	spill // to the spool
	load  // from the spool
	drop  // in the spool
	check
	guard
)

// job is one call of the sink.
type job struct {
	verb    verb
	key     string
	object  Object
	began   time.Time
	limit   time.Duration
	item    *item
	listing *listing
	edition *edition
	removal *removal
	file    *file
	claim   *claim
}

func newBacklog(cfg QueueConfig, met *QueueMetrics) *backlog {
	return &backlog{
		cfg: cfg, met: met,
		items: map[string]*item{}, listings: map[string]*listing{}, folders: map[string]*folder{},
		missing: map[string]time.Time{}, blocked: map[string]*removal{}, removed: map[string]*removal{},
		streams: map[string]int{}, fence: newLeases(cfg.Fence),
	}
}

// down says that nothing gets through. One Object that fails is not enough.
func (b *backlog) down() bool { return b.fails >= downAfter && b.several }

// patience is how long a segment may take before playlists go on without it.
func (b *backlog) patience(f *folder) time.Duration {
	switch {
	case b.cfg.Deadline > 0:
		return b.cfg.Deadline
	case f.target > 0:
		return f.target
	}
	return 3 * time.Second
}

func (b *backlog) folder(key string) *folder {
	name := key[:strings.LastIndexByte(key, '/')+1]
	f := b.folders[name]
	if f == nil {
		f = &folder{path: name}
		b.folders[name] = f
		b.order = append(b.order, f)
	}
	return f
}

// tidy forgets a folder that has nothing.
func (b *backlog) tidy(f *folder) {
	if len(f.pending) > 0 || len(f.listings) > 0 || f.inherited {
		return
	}
	delete(b.folders, f.path)
	for i := range b.order {
		if b.order[i] == f {
			b.order = append(b.order[:i], b.order[i+1:]...)
			return
		}
	}
}

// put takes an Object.
func (b *backlog) put(now time.Time, o Object) {
	b.want(now, o.Key)
	if r := b.removed[o.Key]; r != nil { // it is in use again
		r.void = true
		delete(b.blocked, o.Key)
		if !r.busy {
			delete(b.removed, o.Key)
		}
	}
	if o.Kind&texts != 0 {
		b.putListing(now, o)
		return
	}
	if o.Kind == Held {
		b.putHeld(now, o)
		return
	}
	if old := b.items[o.Key]; old != nil && old.state == waiting {
		b.abandon(old)
		b.bytes += size(o) - old.held
		old.object, old.held = o, size(o)
		return
	}
	f := b.folder(o.Key)
	it := &item{object: o, folder: f, came: now, held: size(o)}
	switch {
	case b.brief(it):
		it.due = now.Add(b.cfg.PartLife)
	case o.Kind != Init && b.cfg.Names != nil: // without an init segment nothing plays: it is waited for
		it.due = now.Add(b.patience(f))
		// While an outage is caught up with, it waits its turn.
		for _, last := range slices.Backward(f.pending) {
			if b.brief(last) {
				continue
			}
			if due := last.due.Add(now.Sub(last.came) / 2); due.After(it.due) {
				it.due = due
			}
			break
		}
	}
	b.items[o.Key] = it
	f.pending = append(f.pending, it)
	b.bytes += it.held
	b.shed(now)
}

func size(o Object) int64 { return int64(o.Body.Len()) + int64(o.Delta.Len()) }

// inside says whether a key is right in a folder.
func inside(key, folder string) bool {
	return key[:strings.LastIndexByte(key, '/')+1] == folder
}

// shed loses the oldest segments while there is more than the bounds allow.
func (b *backlog) shed(now time.Time) {
	for {
		var oldest *item
		switch {
		case len(b.items) > b.cfg.MaxObjects:
			oldest = b.first(func(*item) bool { return true })
		case b.bytes > b.cfg.MaxBytes: // what the spool has, or is about to have, takes none of it
			oldest = b.first(func(it *item) bool { return it.file == nil && it.object.Kind != Held })
		}
		if oldest == nil {
			return
		}
		b.lose(now, oldest)
	}
}

// refuse takes a key whose Object was too much: it is missing.
func (b *backlog) refuse(now time.Time, key string) {
	b.missing[key] = now
	b.lost = now
	b.met.Lost.Add(1)
}

// brief says whether an item is of no use when its time has passed: no playlist
// waits for it or says that it is missing.
func (b *backlog) brief(it *item) bool { return it.object.Kind == Part && b.cfg.PartLife > 0 }

// lose gives an item up.
func (b *backlog) lose(now time.Time, it *item) {
	b.forget(it, lost)
	if b.brief(it) {
		b.met.Dropped.Add(1)
		return
	}
	b.refuse(now, it.object.Key)
}

// forget takes an item out of the backlog.
func (b *backlog) forget(it *item, state itemState) {
	it.state = state
	b.abandon(it)
	b.bytes -= it.held
	it.held = 0
	it.object.Body, it.object.Delta = nil, nil
	if b.items[it.object.Key] == it {
		delete(b.items, it.object.Key)
	}
	f := it.folder
	for i := range f.pending {
		if f.pending[i] == it {
			f.pending = append(f.pending[:i], f.pending[i+1:]...)
			break
		}
	}
	b.tidy(f)
}

func (b *backlog) putListing(now time.Time, o Object) {
	l := b.listings[o.Key]
	if l == nil {
		l = &listing{key: o.Key, folder: b.folder(o.Key)}
		b.listings[o.Key] = l
		l.folder.listings = append(l.folder.listings, l)
	}
	l.deleted, l.ended = false, o.Position.Ended || o.Kind == Multivariant
	if o.Position.Target > 0 {
		l.folder.target = o.Position.Target
	}
	l.count++
	e := &edition{object: o, number: l.count, came: now}
	b.needs(e, l.folder)
	l.editions = append(l.editions, e)
	if len(l.editions) > maxEditions { // keep some of each age, and the newest
		rest := l.editions[:0]
		for i, e := range l.editions {
			if i%2 == 0 || i == len(l.editions)-1 {
				rest = append(rest, e)
			}
		}
		clear(l.editions[len(rest):])
		l.editions = rest
	}
}

// needs notes what has to be stored before an edition is.
func (b *backlog) needs(e *edition, f *folder) {
	if b.cfg.Names == nil {
		e.items = append(e.items, f.pending...)
		return
	}
	b.each(e.object.Body, f.path, func(key []byte, _ int) bool {
		if it := b.items[string(key)]; it != nil {
			e.items = append(e.items, it)
		} else if e.object.Kind == Multivariant {
			e.lists = append(e.lists, string(key))
		}
		return true
	})
}

// each calls visit for all keys that a playlist names. The key is valid until
// visit returns.
func (b *backlog) each(text Body, folder string, visit func(key []byte, mark int) bool) {
	if b.cfg.Names == nil {
		return
	}
	key := []byte(folder)
	b.cfg.Names(text.Bytes(), func(uri []byte, mark int) bool {
		switch {
		case bytes.HasPrefix(uri, []byte("/")) || bytes.Contains(uri, []byte("://")):
			return true // not ours
		case bytes.HasPrefix(uri, []byte(".")):
			return visit([]byte(path.Join(folder, string(uri))), mark)
		}
		key = append(key[:len(folder)], uri...)
		return visit(key, mark)
	})
}

// names says whether a text names a key.
func (b *backlog) names(text Body, folder, wanted string) bool {
	found := false
	b.each(text, folder, func(key []byte, _ int) bool {
		found = string(key) == wanted
		return !found
	})
	return found
}

// ready says whether all that an edition names is stored or missing.
func (b *backlog) ready(e *edition) bool {
	for _, it := range e.items {
		if it.state == waiting || it.state == flying {
			return false
		}
	}
	for _, key := range e.lists {
		if l := b.listings[key]; l == nil || !l.stored {
			return false
		}
	}
	return true
}

// text returns an edition's text in which what is missing is marked. It returns
// false if something is missing that cannot be.
func (b *backlog) text(e *edition, f *folder) (Body, bool) {
	if len(b.missing) == 0 {
		return e.object.Body, true
	}
	whole := Body{e.object.Body.Bytes()}
	var marked Body
	at, ok := 0, true
	b.each(whole, f.path, func(key []byte, mark int) bool {
		if _, missing := b.missing[string(key)]; !missing {
			return true
		}
		if mark < 0 {
			ok = false
			return false
		}
		marked = append(marked, whole[0][at:mark], []byte(b.cfg.Gap))
		at = mark
		return true
	})
	if at == 0 {
		return e.object.Body, ok
	}
	return append(marked, whole[0][at:]), ok
}

// delete takes a key that is to go.
func (b *backlog) delete(now time.Time, key string) {
	b.want(now, key)
	if l := b.listings[key]; l != nil {
		clear(l.editions)
		l.editions = nil
		if l.busy {
			l.deleted = true
			return
		}
		if !l.stored && l.tries == 0 {
			b.close(now, l)
			return
		}
	}
	if it := b.items[key]; it != nil {
		if it.state == flying {
			it.deleted = true
			return
		}
		// It may have come through although the answer did not, or in an earlier run.
		tried := it.tries > 0 || it.object.Kind == Held
		b.lose(now, it)
		b.outdate(it)
		if !tried {
			return
		}
	}
	b.schedule(now, key)
}

// outdate drops the editions that wait for an item which has left the window:
// newer ones do not name it.
func (b *backlog) outdate(it *item) {
	for _, l := range it.folder.listings {
		l.editions = slices.DeleteFunc(l.editions, func(e *edition) bool { return slices.Contains(e.items, it) })
	}
}

// schedule plans a removal.
func (b *backlog) schedule(now time.Time, key string) {
	if b.cfg.Keeps != nil && b.cfg.Keeps(key) {
		return
	}
	if b.removed[key] != nil && !b.removed[key].void {
		return
	}
	if len(b.removed) >= b.cfg.MaxObjects {
		b.met.LeftBehind.Add(1)
		return
	}
	r := &removal{key: key}
	b.removed[key] = r
	if b.named(key) {
		b.blocked[key] = r
		return
	}
	if b.expected(key) { // by an edition that may become visible when it is gone
		b.missing[key] = now
	}
	b.release(now, r)
}

// expected says whether an edition that waits names a key.
func (b *backlog) expected(key string) bool {
	f := b.folders[key[:strings.LastIndexByte(key, '/')+1]]
	if f == nil {
		return false
	}
	for _, l := range f.listings {
		for _, e := range l.editions {
			if b.names(e.object.Body, f.path, key) {
				return true
			}
		}
	}
	return false
}

// above calls visit for the playlists that are visible, or may be in a moment,
// and that may name a key: those of its folder and of the folders around it, but
// not itself.
func (b *backlog) above(key string, visit func(*listing)) {
	for at := key; ; {
		at = at[:strings.LastIndexByte(strings.TrimSuffix(at, "/"), '/')+1]
		if f := b.folders[at]; f != nil {
			for _, l := range f.listings {
				if (l.stored || l.busy || l.doubt) && l.key != key {
					visit(l)
				}
			}
		}
		if at == "" {
			return
		}
	}
}

func (b *backlog) named(key string) bool {
	f := b.folders[key[:strings.LastIndexByte(key, '/')+1]]
	found := f != nil && f.inherited && b.listings[key] == nil
	b.above(key, func(l *listing) {
		found = found || l.doubt || b.names(l.shown, l.folder.path, key) || b.names(l.flight, l.folder.path, key)
	})
	return found
}

// release lets a removal happen, when those who have read the last playlist that
// named it are done.
func (b *backlog) release(at time.Time, r *removal) {
	r.at = at
	b.above(r.key, func(l *listing) {
		if at := l.at.Add(b.cfg.Linger); at.After(r.at) {
			r.at = at
		}
	})
	b.enqueue(r)
}

func (b *backlog) enqueue(r *removal) {
	at := len(b.free)
	for at > 0 && b.free[at-1].at.After(r.at) {
		at--
	}
	b.free = append(b.free, nil)
	copy(b.free[at+1:], b.free[at:])
	b.free[at] = r
}

// unblock releases the removals below a folder that no text names any more.
func (b *backlog) unblock(now time.Time, l *listing) {
	if len(b.blocked) == 0 {
		return
	}
	for _, r := range b.blocked {
		r.named = false
	}
	at := now.Add(b.cfg.Linger)
	if l.stored { // most are found at once
		b.each(l.shown, l.folder.path, func(key []byte, _ int) bool {
			if r := b.blocked[string(key)]; r != nil {
				r.named = true
			}
			return true
		})
	}
	for key, r := range b.blocked {
		if strings.HasPrefix(key, l.folder.path) && !r.named && !b.named(key) {
			delete(b.blocked, key)
			if b.expected(key) {
				b.missing[key] = now
			}
			b.release(at, r)
		}
	}
}
