// Package replay keeps what a stream was: playlists over the objects that are in a
// storage place after it has ended, clips of it, and the time when it goes.
//
//	packager ──Record──▶ record.NNNNN.log ─┐                        ┌▶ replay.m3u8 of each rendition
//	Queue ─▶ Noting(sink) ─▶ stored.….log ─┴▶ contents ─▶ view ─────┼▶ … of the presentation, then of the stream
//	                                              (in memory only   └▶ clips/{name}/…
//	                                               while it is used)
//
// What happens is written down as it happens; everything else follows from what
// is on disk, so that a kill at any moment costs nothing. No object is copied. A
// segment that a place does not have is EXT-X-GAP in what is listed there.
//
// Invariants: a playlist is put after all that it names, and deleted an hour
// before any of it (specs S10, S15, S16). Only Run deletes media.
package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/storage"
)

// Forever is a Keep that never ends.
const Forever = time.Duration(math.MaxInt64)

const (
	// linger is how long after its playlists media stays: caches may have those for
	// an hour (specs S15, S29).
	linger = time.Hour + time.Minute
	// every is how often is looked at what is due, and soon after something failed.
	every = time.Minute
	soon  = 15 * time.Second
	// sweepEvery is how often is looked for segments to delete of what goes on.
	sweepEvery = 10 * time.Minute
	// orphanAfter is how long after a start a presentation of an earlier one may
	// still go on.
	orphanAfter = 30 * time.Second
	// settleFor is how long the queue of a place is waited for at once.
	settleFor = 30 * time.Second
)

// Errors of what is asked for.
var (
	ErrUnknown = errors.New("nothing is recorded of this stream")
	ErrLive    = errors.New("the presentation has not ended")
	ErrExists  = errors.New("a clip of this name exists")
	ErrNoMedia = errors.New("no media of that time is there")
	ErrTimes   = errors.New("times are not in order")
	ErrPlace   = errors.New("no place that keeps media has this name")
	ErrStorage = errors.New("storage failed") // beside what the place said
)

// Place is a storage place that keeps media longer than the live window.
type Place struct {
	// ID names its folder in the archive: it must be the same after a restart as
	// long as the place is the same. Letters, digits and -.
	ID   string
	Name string // for logs and people
	Sink storage.Sink
	// Holder tells what is there; nil: the sink cannot.
	Holder storage.Holder
	// Settle waits until what was put below a prefix is stored or given up; nil: it
	// is at once.
	Settle func(ctx context.Context, prefix string) error
	// Keep is how long media stays after it left the live window, and after the end
	// of its presentation; or Forever.
	Keep   time.Duration
	Replay bool // an ended presentation gets playlists
	// Locate says where people find a key; nil: by the key itself.
	Locate func(key string) string
}

// Config says where records are, and how streams are.
type Config struct {
	Folder string        // of the records; it is made
	Window time.Duration // of the live playlists
	Places []Place
	// Ready is told of each replay whose playlists are there, from a goroutine of Run. It
	// must not wait. Nil: nobody is.
	Ready  func(Replay)
	Logger *slog.Logger // nil: nothing is logged
}

// Metrics are running totals. Any goroutine may read them.
type Metrics struct {
	Replays  atomic.Uint64 // whose playlists were put
	Clips    atomic.Uint64
	Deleted  atomic.Uint64 // objects
	Failures atomic.Uint64 // of puts, deletions, and writing records
}

// Archive keeps the records of all streams. It implements packager.Record. All
// methods may be called from any goroutine; Add only before Run.
type Archive struct {
	cfg     Config
	log     *slog.Logger
	metrics Metrics
	workers []*worker

	mu        sync.Mutex
	live      map[presentation]bool              // that were begun here and have not ended
	journals  map[string]*journal                // by path
	described map[presentation]map[string][]byte // the last description of each rendition
	failing   bool                               // that notes cannot be written was said
}

// presentation names one.
type presentation struct{ stream, id string }

// prefix is how its keys begin.
func (p presentation) prefix() string { return p.stream + "/" + p.id + "/" }

// check says whether both names can be those of folders.
func (p presentation) check() error {
	if strings.Contains(p.stream, "/") || strings.Contains(p.id, "/") {
		return fmt.Errorf("%w: a slash in a name", storage.ErrKey)
	}
	return storage.CheckKey(p.stream + "/" + p.id)
}

// newer says whether a begun later than b: names are base36 of a rising number.
func newer(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }

// Open returns the archive of a folder.
func Open(cfg Config) (*Archive, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("open folder of records: %w", err)
	}
	if _, err := os.ReadDir(cfg.Folder); err != nil {
		return nil, fmt.Errorf("read folder of records: %w", err)
	}
	a := &Archive{
		cfg: cfg, log: cfg.Logger, live: map[presentation]bool{}, journals: map[string]*journal{},
		described: map[presentation]map[string][]byte{},
	}
	for _, p := range cfg.Places {
		a.Add(p)
	}
	return a, nil
}

// Add gives the archive one more place.
func (a *Archive) Add(p Place) {
	if p.Locate == nil {
		p.Locate = func(key string) string { return key }
	}
	a.workers = append(a.workers, newWorker(a, p))
}

// Metrics returns the running totals.
func (a *Archive) Metrics() *Metrics { return &a.metrics }

func (a *Archive) folder(p presentation) string { return filepath.Join(a.cfg.Folder, p.stream, p.id) }

const (
	recordName = "record"
	storedName = "stored"
	endName    = "end"
	initsName  = "inits"
)

// Begin implements packager.Record.
func (a *Archive) Begin(_ context.Context, stream, id string) error {
	p := presentation{stream, id}
	if err := p.check(); err != nil {
		return fmt.Errorf("begin record: %w", err)
	}
	a.mu.Lock()
	a.live[p] = true
	a.mu.Unlock()
	folder := a.folder(p)
	err := os.MkdirAll(folder, 0o700)
	if err == nil { // it may have been taken for ended
		err = remove(filepath.Join(folder, endName))
	}
	for _, w := range a.workers {
		err = errors.Join(err, remove(w.path(p, replayName)))
	}
	if err != nil {
		return fmt.Errorf("begin record of %s: %w", stream, err)
	}
	return nil
}

// Append implements packager.Record.
func (a *Archive) Append(_ context.Context, stream, id string, lines []byte) error {
	p := presentation{stream, id}
	a.keepDescriptions(p, lines)
	j := a.journal(filepath.Join(a.folder(p), recordName))
	dropped, err := j.append(lines, func() []byte { return a.descriptions(p) })
	if err != nil {
		a.metrics.Failures.Add(1)
		return fmt.Errorf("write record of %s: %w", stream, err)
	}
	if dropped {
		a.log.Warn("the record of a presentation is full: a replay and clips begin later than it did", "stream", stream, "presentation", id)
	}
	return nil
}

// End implements packager.Record.
func (a *Archive) End(_ context.Context, stream, id string) error {
	p := presentation{stream, id}
	if err := p.check(); err != nil {
		return fmt.Errorf("end record: %w", err)
	}
	a.mu.Lock()
	live := a.live[p]
	a.mu.Unlock()
	at := time.Now()
	if !live { // it ended with an earlier start
		at = a.lastOf(p)
	}
	if at.IsZero() {
		return nil // there is no record
	}
	err := writeTime(filepath.Join(a.folder(p), endName), at)
	a.mu.Lock()
	delete(a.live, p)
	delete(a.described, p)
	delete(a.journals, filepath.Join(a.folder(p), recordName))
	a.mu.Unlock()
	for _, w := range a.workers {
		w.kick()
	}
	if err != nil {
		a.metrics.Failures.Add(1)
		return fmt.Errorf("end record of %s: %w", stream, err)
	}
	return nil
}

// lastOf returns when the last recorded segment of a presentation ended; the zero
// time if there is none.
func (a *Archive) lastOf(p presentation) time.Time {
	c, err := load(a.folder(p))
	if err != nil || len(c.slots) == 0 {
		return time.Time{}
	}
	return c.end()
}

// keepDescriptions remembers the descriptions among the lines, for the files that
// follow.
func (a *Archive) keepDescriptions(p presentation, lines []byte) {
	for line := range strings.Lines(string(lines)) {
		name, ok := describes(line)
		if !ok {
			continue
		}
		a.mu.Lock()
		if a.described[p] == nil {
			a.described[p] = map[string][]byte{}
		}
		a.described[p][name] = []byte(line)
		a.mu.Unlock()
	}
}

func (a *Archive) descriptions(p presentation) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []byte
	for _, line := range a.described[p] {
		all = append(all, line...)
	}
	return all
}

func (a *Archive) journal(path string) *journal {
	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.journals[path]
	if j == nil {
		j = &journal{path: path}
		a.journals[path] = j
	}
	return j
}

// Noting returns a sink that notes what s has stored for the place with this ID.
// It stands directly before what stores.
func (a *Archive) Noting(id string, s storage.Sink) storage.Sink { return noting{s, a, id} }

type noting struct {
	storage.Sink
	archive *Archive
	id      string
}

func (n noting) Put(ctx context.Context, o storage.Object) error {
	err := n.Sink.Put(ctx, o)
	if err == nil && o.Kind&(storage.Init|storage.Segment) != 0 {
		n.archive.note(n.id, o.Key)
	}
	return err
}

// Has implements storage.Holder.
func (n noting) Has(ctx context.Context, key string) (bool, error) {
	return storage.Has(ctx, n.Sink, key)
}

// note writes down that a place has an object. One that is not noted is looked for
// before it is given up, so a failure is no more than slow.
func (a *Archive) note(id, key string) {
	names := strings.SplitN(key, "/", 3) // stream, presentation, the rest
	if len(names) < 3 {
		return
	}
	folder := filepath.Join(a.folder(presentation{names[0], names[1]}), id)
	if err := os.Mkdir(folder, 0o700); errors.Is(err, os.ErrNotExist) {
		return // nobody records it
	}
	line := fmt.Appendf(nil, "%d %s\n", time.Now().UnixMilli(), names[2])
	_, err := a.journal(filepath.Join(folder, storedName)).append(line, nil)
	if err == nil {
		return
	}
	a.metrics.Failures.Add(1)
	a.mu.Lock()
	said := a.failing
	a.failing = true
	a.mu.Unlock()
	if !said {
		a.log.Error("what is stored cannot be written down: replays look for each file instead; let this user write to data_dir", "error", err)
	}
}

// Run makes replays and deletes what is due, until ctx ends. Call it once.
func (a *Archive) Run(ctx context.Context) error {
	var all sync.WaitGroup
	begun := time.Now()
	for _, w := range a.workers {
		all.Go(func() { w.run(ctx, begun) })
	}
	<-ctx.Done()
	all.Wait()
	return nil
}

// streams returns the names of all streams that something is recorded of.
func (a *Archive) streams() []string {
	return folders(a.cfg.Folder)
}

// presentations returns all of a stream, oldest first.
func (a *Archive) presentations(stream string) []presentation {
	var all []presentation
	if storage.CheckKey(stream) != nil || strings.Contains(stream, "/") {
		return nil
	}
	for _, id := range folders(filepath.Join(a.cfg.Folder, stream)) {
		if p := (presentation{stream, id}); p.check() == nil {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(x, y presentation) int {
		if newer(x.id, y.id) {
			return 1
		}
		return -1
	})
	return all
}

// folders returns the names of the folders in one.
func folders(path string) []string {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil // there is none
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// ended returns when a presentation ended; the zero time while it has not. What
// an earlier start has left and does not go on has ended with its last segment.
func (a *Archive) ended(p presentation, begun time.Time) (time.Time, error) {
	a.mu.Lock()
	live := a.live[p]
	a.mu.Unlock()
	if live {
		return time.Time{}, nil
	}
	path := filepath.Join(a.folder(p), endName)
	at, err := readTime(path)
	if !at.IsZero() || err != nil || begun.IsZero() || time.Since(begun) < orphanAfter {
		return at, err
	}
	if at = a.lastOf(p); at.IsZero() {
		at = time.Now()
	}
	return at, writeTime(path, at)
}
