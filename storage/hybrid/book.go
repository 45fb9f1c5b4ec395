package hybrid

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/whipcast/whipcast/storage"
)

// fallAfter is how many files in a row must be late until new ones of their
// rendition are not waited for, and riseAfter how many parts in time until they
// are again: segments where there are no parts.
const (
	fallAfter = 3
	riseAfter = 3
)

// maxEditions is how many versions of one playlist wait at most. Each waits for a
// Deadline at most, so it takes many changes in a short time.
const maxEditions = 32

// patient is how many Deadlines an initialization segment may take, and an answer
// whether something of an earlier run is there.
const patient = 3

// book knows where each file is read, and decides which playlists are shown. It
// is pure: no goroutine, no clock, no I/O. The Lister's Run owns it.
type book struct {
	cfg Config
	met *Metrics

	folders  map[string]*folder
	files    map[string]*file    // by key, until they are deleted
	listings map[string]*listing // by key
	open     []*file             // that are not decided, by the time at which they are late
	leaving  []leaving           // media to be deleted, by time
	gone     []string            // playlists to be deleted now
	fallen   int                 // renditions that are not waited for
	since    time.Time           // since when there are such
	moved    bool                // something of them has changed
}

// folder is a rendition: what shares all of its key but the last name.
type folder struct {
	path   string // with the slash at its end
	prefix string // of its files at the place
	open   []*file
	files  int
	fallen bool
	late   int // files in a row
	timely int // … the other way, while it is fallen
}

type verdict uint8

const (
	undecided verdict = iota
	placed            // listed by its URL at the place, for good
	kept              // listed as the origin's own, for good
	nowhere           // a gap, for good
)

type file struct {
	key     string
	kind    storage.Kind
	folder  *folder
	verdict verdict
	came    time.Time
	due     time.Time // then it is late
	stored  bool
}

// listing is the key of a playlist.
type listing struct {
	editions []edition // that are not shown, oldest first
	shown    bool
	position storage.Position // of what is shown
}

// edition is one version of a playlist.
type edition struct {
	object storage.Object
	came   time.Time
	files  []*file  // whose place was not decided when it came
	lists  []string // playlists that it names
}

type leaving struct {
	key string
	at  time.Time
}

// change is what is to be done in the origin's store: a text to be Put, or else
// a key to be deleted.
type change struct {
	text   bool
	object storage.Object
}

func newBook(cfg Config, met *Metrics) *book {
	return &book{
		cfg: cfg, met: met,
		folders: map[string]*folder{}, files: map[string]*file{}, listings: map[string]*listing{},
	}
}

// note takes an event.
func (b *book) note(e event) {
	switch e.what {
	case isMedia:
		b.media(e.at, e.object)
	case isStored:
		b.stored(e.at, e.object.Key)
	case isAbsent:
		if it := b.files[e.object.Key]; it != nil && it.kind == storage.Held && it.verdict == undecided {
			b.close(it, nowhere)
		}
	case isText:
		b.text(e.at, e.object)
	case isDelete:
		b.delete(e.at, e.object.Key)
	}
}

func folderOf(key string) string { return key[:strings.LastIndexByte(key, '/')+1] }

// media takes a file that is on its way to the place.
func (b *book) media(at time.Time, o storage.Object) {
	b.leaving = slices.DeleteFunc(b.leaving, func(l leaving) bool { return l.key == o.Key })
	if b.files[o.Key] != nil { // it is needed again: what was decided stays
		return
	}
	name := folderOf(o.Key)
	f := b.folders[name]
	if f == nil {
		f = &folder{path: name, prefix: b.cfg.Base + "/" + name}
		b.folders[name] = f
	}
	f.files++
	it := &file{key: o.Key, kind: o.Kind, folder: f, came: at, due: at.Add(b.cfg.Deadline)}
	if o.Kind&(storage.Init|storage.Held) != 0 {
		it.due = at.Add(patient * b.cfg.Deadline)
	}
	b.files[o.Key] = it
	if f.fallen {
		b.decide(it, kept)
		return
	}
	f.open = append(f.open, it)
	i := len(b.open)
	for i > 0 && b.open[i-1].due.After(it.due) {
		i--
	}
	b.open = slices.Insert(b.open, i, it)
}

// stored takes the news that a file is at the place.
func (b *book) stored(at time.Time, key string) {
	it := b.files[key]
	if it == nil || it.stored {
		return
	}
	it.stored = true
	f := it.folder
	inTime := !at.After(it.due)
	if it.verdict == undecided && inTime {
		f.late = 0
		b.close(it, placed)
	}
	probe := storage.Part & b.cfg.Kinds
	if probe == 0 {
		probe = storage.Segment
	}
	if !f.fallen || it.kind != probe {
		return
	}
	if f.timely++; !inTime {
		f.timely = 0
	}
	b.moved = true
	if f.timely >= riseAfter {
		f.fallen, f.late = false, 0
		b.fallen--
	}
}

// close decides a file that was open.
func (b *book) close(it *file, v verdict) {
	same := func(other *file) bool { return other == it }
	b.open = slices.DeleteFunc(b.open, same)
	it.folder.open = slices.DeleteFunc(it.folder.open, same)
	b.decide(it, v)
}

func (b *book) decide(it *file, v verdict) {
	if it.kind == storage.Held && v == kept { // the origin has it no more: it may be there
		v = placed
	}
	it.verdict = v
	switch v {
	case placed:
		b.met.Placed.Add(1)
	case kept:
		b.met.Kept.Add(1)
	}
}

// expire gives up the files that are late.
func (b *book) expire(now time.Time) {
	for len(b.open) > 0 && !now.Before(b.open[0].due) {
		it := b.open[0]
		b.close(it, kept)
		if f := it.folder; !f.fallen && it.kind != storage.Held {
			if f.late++; f.late >= fallAfter {
				b.fall(now, f)
			}
		}
	}
}

// fall waits for no file of a rendition any more.
func (b *book) fall(now time.Time, f *folder) {
	f.fallen, f.timely, b.moved = true, 0, true
	if b.fallen++; b.fallen == 1 {
		b.since = now
	}
	for len(f.open) > 0 {
		b.close(f.open[0], kept)
	}
}

// text takes a version of a playlist. All that it names was Put before it.
func (b *book) text(at time.Time, o storage.Object) {
	l := b.listings[o.Key]
	if l == nil {
		l = &listing{}
		b.listings[o.Key] = l
	}
	e := edition{object: o, came: at}
	if o.Kind == storage.Multivariant {
		b.cfg.Names(o.Body.Bytes(), func(uri []byte, _ int) bool {
			e.lists = append(e.lists, path.Join(folderOf(o.Key), string(uri)))
			return true
		})
	} else if f := b.folders[folderOf(o.Key)]; f != nil {
		e.files = slices.Clone(f.open)
	}
	if len(l.editions) >= maxEditions { // the oldest is shown first, the newest says most
		l.editions = slices.Delete(l.editions, maxEditions/2, maxEditions/2+1)
	}
	l.editions = append(l.editions, e)
}

// delete takes a key that is to go.
func (b *book) delete(at time.Time, key string) {
	if _, is := b.listings[key]; is {
		delete(b.listings, key)
		b.gone = append(b.gone, key)
		return
	}
	b.leaving = append(b.leaving, leaving{key, at.Add(b.cfg.Deadline)})
	it := b.files[key]
	if it == nil {
		return
	}
	if it.verdict == undecided {
		b.close(it, kept)
	}
	delete(b.files, key)
	f := it.folder
	if f.files--; f.files == 0 { // a rendition that is over
		delete(b.folders, f.path)
		if f.fallen {
			b.moved = true
			b.fallen--
		}
	}
}

// next returns what is to be done now, in this order, and when it wants to be
// asked again at the latest: the zero time if only something new changes anything.
func (b *book) next(now time.Time) ([]change, time.Time) {
	b.expire(now)
	var changes []change
	for _, key := range b.gone {
		changes = append(changes, change{object: storage.Object{Key: key}})
	}
	b.gone = nil
	changes = append(changes, b.show(now)...)
	for len(b.leaving) > 0 && !now.Before(b.leaving[0].at) {
		changes = append(changes, change{object: storage.Object{Key: b.leaving[0].key}})
		b.leaving = b.leaving[1:]
	}
	var next time.Time
	if len(b.open) > 0 {
		next = b.open[0].due
	}
	if len(b.leaving) > 0 && (next.IsZero() || b.leaving[0].at.Before(next)) {
		next = b.leaving[0].at
	}
	return changes, next
}

// show returns the newest editions that can be shown: media playlists first,
// since multivariant playlists name them. Reports are of what all of them list.
func (b *book) show(now time.Time) []change {
	var ready []edition
	for _, kind := range []storage.Kind{b.cfg.Texts, storage.Multivariant} {
		for _, l := range b.listings {
			i := len(l.editions) - 1
			for i >= 0 && (l.editions[i].object.Kind != kind || !b.ready(&l.editions[i])) {
				i--
			}
			if i < 0 {
				continue
			}
			e := l.editions[i]
			l.editions = slices.Delete(l.editions, 0, i+1) // older ones never come
			l.shown, l.position = true, e.object.Position
			ready = append(ready, e)
		}
	}
	slices.SortFunc(ready, func(x, y edition) int {
		return cmp.Or(cmp.Compare(x.object.Kind, y.object.Kind), strings.Compare(x.object.Key, y.object.Key))
	})
	changes := make([]change, 0, len(ready))
	for _, e := range ready {
		if e.object.Kind != storage.Multivariant {
			b.met.Texts.Add(1)
			b.met.Waited.Add(uint64(max(now.Sub(e.came), 0))) //nolint:gosec // never negative
			e.object = b.edit(e.object)
		}
		changes = append(changes, change{text: true, object: e.object})
	}
	return changes
}

// ready says whether an edition can be shown.
func (b *book) ready(e *edition) bool {
	for _, it := range e.files {
		if it.verdict == undecided {
			return false
		}
	}
	for _, key := range e.lists {
		if l := b.listings[key]; l == nil || !l.shown {
			return false
		}
	}
	return true
}

// edit returns a media playlist as it is shown.
func (b *book) edit(o storage.Object) storage.Object {
	in := folderOf(o.Key)
	key := []byte(in)
	prefix := func(uri []byte) (string, bool) {
		key = append(key[:len(in)], uri...)
		switch it := b.files[string(key)]; {
		case it != nil && it.verdict == placed:
			return it.folder.prefix, false
		case it == nil && b.cfg.Texts == storage.Playlist: // it is a gap, or was deleted
			return b.cfg.Base + "/" + in, false
		default:
			return "", it != nil && it.verdict == nowhere
		}
	}
	report := func(uri []byte) (uint64, int, bool) {
		l := b.listings[path.Join(in, string(uri))]
		if l == nil || !l.shown {
			return 0, 0, false
		}
		msn, part := last(l.position)
		return msn, part, true
	}
	for _, text := range []*storage.Body{&o.Body, &o.Delta, &o.DeltaDates} {
		if len(*text) > 0 {
			*text = storage.Body{b.cfg.Edit(text.Bytes(), prefix, report)}
		}
	}
	o.Position.Hint = ""
	return o
}

// last returns the last part that a playlist lists; -1 if it has none.
func last(p storage.Position) (msn uint64, part int) {
	if p.Parts > 0 || p.MSN == 0 {
		return p.MSN, p.Parts - 1
	}
	return p.MSN - 1, p.LastParts - 1
}

// health sums up.
func (b *book) health(now time.Time) Health {
	h := Health{Renditions: len(b.folders), Fallen: b.fallen, Open: len(b.open)}
	if b.fallen > 0 {
		h.Since = now.Sub(b.since)
	}
	for _, l := range b.listings {
		h.Waiting += len(l.editions)
	}
	return h
}

// hopeless returns the renditions that are not waited for, but for those of which
// the last part was in time, with what was counted of them before.
func (b *book) hopeless(before map[string]int) map[string]int {
	now := make(map[string]int, b.fallen)
	for name, f := range b.folders {
		if f.fallen && f.timely == 0 {
			now[name] = before[name]
		}
	}
	return now
}
