package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

const (
	replayName = "replay" // there are playlists; what mark says
	endingName = "ending" // when they were deleted
	goneName   = "gone"   // media is deleted, too
	sweptName  = "swept"  // up to which segment it is
	clipsName  = "clips"  // a folder
	listName   = "replay.m3u8"
	mpegURL    = "application/vnd.apple.mpegurl"
	// mostCalls is how many calls of a sink are under way at once.
	mostCalls = 8
	// callFor bounds one of them.
	callFor = time.Minute
	// mostAsked bounds for how many segments that are not noted a place is asked.
	mostAsked = 5000
)

// worker does what is to be done in one place.
type worker struct {
	Place
	archive *Archive
	wake    chan struct{}
	turn    chan struct{} // holds one token: who changes what the place has

	mu   sync.Mutex
	idle map[presentation]bool // below mu: nothing is to be done any more
	sore map[presentation]bool // below mu: that it fails was said

	looked map[presentation]time.Time // when segments were swept last; of run
}

func newWorker(a *Archive, p Place) *worker {
	return &worker{
		Place: p, archive: a, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		idle: map[presentation]bool{}, sore: map[presentation]bool{}, looked: map[presentation]time.Time{},
	}
}

// path returns where something of a presentation in this place is noted.
func (w *worker) path(p presentation, name ...string) string {
	return filepath.Join(append([]string{w.archive.folder(p), w.ID}, name...)...)
}

// enter waits for the turn to change what the place has.
func (w *worker) enter(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *worker) leave() { <-w.turn }

func (w *worker) kick() {
	w.mu.Lock()
	clear(w.idle)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// mark is what is known of a replay without reading its record.
type mark struct {
	Begin    time.Time     `json:"begin"`
	End      time.Time     `json:"end"`
	Duration time.Duration `json:"duration"`
	Segments int           `json:"segments"` // 0: nothing was there
	Gaps     int           `json:"gaps"`     // of all renditions
	Alias    string        `json:"alias"`    // text of {stream}/replay.m3u8
}

// swept is up to which media sequence number the segments of each rendition are
// deleted.
type swept map[string]uint64

func (w *worker) swept(p presentation) (swept, error) {
	s := swept{}
	content, err := read(w.path(p, sweptName))
	if err == nil && len(content) > 0 && json.Unmarshal(content, &s) != nil {
		s = swept{} // damaged: what is deleted is deleted again
	}
	return s, err
}

// known returns the objects of a rendition that were noted as stored.
func (w *worker) known(p presentation, rendition string) (map[string]bool, error) {
	all := map[string]bool{}
	prefix := []byte(rendition + "/")
	err := readJournal(w.path(p, storedName), func(line []byte) error {
		_, key, _ := bytes.Cut(line, []byte{' '})
		if name, ok := bytes.CutPrefix(key, prefix); ok {
			all[string(name)] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what is stored: %w", err)
	}
	return all, nil
}

// see returns the view of these slots in this place. With a Holder everything that
// was not noted is asked for, or all of it.
func (w *worker) see(ctx context.Context, p presentation, c *contents, slots []slot, ask scope) (*view, error) {
	gone, err := w.swept(p)
	if err != nil {
		return nil, err
	}
	return c.see(slots, func(r *rendition) (func(s *segment) bool, error) {
		known, err := w.known(p, r.Rendition)
		if err == nil {
			err = w.ask(ctx, p.prefix()+r.Rendition+"/", r.wanted(slots, gone[r.Rendition]), known, ask)
		}
		return func(s *segment) bool {
			return s.msn >= gone[r.Rendition] && known[s.uri] && known[r.inits[s.init]]
		}, err
	})
}

// wanted returns the names that slots need, from a number on.
func (r *rendition) wanted(slots []slot, from uint64) []string {
	var names []string
	inits := make([]bool, len(r.inits))
	r.each(slots, func(_ int, s *segment) {
		if s == nil || s.gap || s.msn < from {
			return
		}
		names = append(names, s.uri)
		if !inits[s.init] {
			inits[s.init] = true
			names = append(names, r.inits[s.init])
		}
	})
	return names
}

// scope says what a place is asked for.
type scope uint8

const (
	askUnknown scope = iota // what was not noted as stored
	askAll
)

// ask asks the place for names, and notes in known what is there. A place that
// does not answer has what was noted.
func (w *worker) ask(ctx context.Context, prefix string, names []string, known map[string]bool, ask scope) error {
	if w.Holder == nil {
		return nil
	}
	var open []string
	for _, name := range names {
		if ask == askAll || !known[name] && len(open) < mostAsked {
			open = append(open, name)
		}
	}
	var mu sync.Mutex
	return parallel(ctx, open, func(ctx context.Context, name string) error {
		within, cancel := context.WithTimeout(ctx, callFor)
		has, err := w.Holder.Has(within, prefix+name)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return nil // not known: what was noted counts
		}
		mu.Lock()
		defer mu.Unlock()
		known[name] = has
		return nil
	})
}

// parallel calls do for all names, a few at once, until one returns an error.
func parallel(ctx context.Context, names []string, do func(ctx context.Context, name string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan string)
	var all sync.WaitGroup
	for range min(mostCalls, len(names)) {
		all.Go(func() {
			for name := range next {
				if err := do(ctx, name); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for _, name := range names {
		select {
		case next <- name:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// put puts a playlist that does not change any more.
func (w *worker) put(ctx context.Context, o storage.Object) error {
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	o.Type, o.Modified = mpegURL, time.Now()
	if err := w.Sink.Put(ctx, o); err != nil {
		w.archive.metrics.Failures.Add(1)
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return nil
}

// write puts the playlists of a presentation that has ended: of each rendition,
// then of all, then the stream's own (specs S10, S16).
func (w *worker) write(ctx context.Context, p presentation) error {
	if w.Settle != nil {
		within, cancel := context.WithTimeout(ctx, settleFor)
		err := w.Settle(within, p.prefix())
		cancel()
		if err != nil {
			return fmt.Errorf("wait for media: %w", err)
		}
	}
	c, err := load(w.archive.folder(p))
	if err != nil {
		return err
	}
	v, err := w.see(ctx, p, c, c.slots, askUnknown)
	if err != nil {
		return err
	}
	m := mark{Segments: len(v.slots), Gaps: v.gaps(), Duration: v.duration()}
	if len(v.slots) > 0 {
		m.Begin, m.End = v.slots[0].begin(), v.slots[len(v.slots)-1].end()
		all, err := w.putMedia(ctx, v, hls.Replay{}, func(rendition string) string { return p.prefix() + rendition + "/" + listName })
		if err != nil {
			return err
		}
		if err := w.putIndex(ctx, p.prefix()+listName, all, hls.Replay{}, func(rendition string) string { return rendition + "/" + listName }); err != nil {
			return err
		}
		text, err := index(all, hls.Replay{}, func(rendition string) string { return p.id + "/" + rendition + "/" + listName })
		if err != nil {
			return err
		}
		m.Alias = string(text)
	}
	if err := w.setMark(p, m); err != nil {
		return err
	}
	if m.Alias == "" { // another gateway may write this stream there: nothing of it is touched
		w.archive.log.InfoContext(ctx, "no replay: nothing was stored", "stream", p.stream, "presentation", p.id, "storage", w.Name)
		return nil
	}
	if err := w.alias(ctx, p.stream); err != nil {
		return errors.Join(err, remove(w.path(p, replayName))) // it is written again
	}
	w.archive.metrics.Replays.Add(1)
	w.archive.log.InfoContext(ctx, "replay is there", "stream", p.stream, "presentation", p.id, "storage", w.Name,
		"at", w.Locate(p.stream+"/"+listName), "duration", m.Duration, "segments", m.Segments, "gaps", m.Gaps)
	if w.archive.cfg.Ready != nil && m.Alias != "" {
		w.archive.cfg.Ready(w.replay(p, m))
	}
	return nil
}

// putMedia puts the media playlists of a view, and returns what they are.
func (w *worker) putMedia(ctx context.Context, v *view, how hls.Replay, key func(rendition string) string) ([]hls.Stored, error) {
	var all []hls.Stored
	folder := how.Folder
	for i, r := range v.contents.renditions {
		if !v.has(i) {
			continue
		}
		if folder != "" {
			how.Folder = folder + r.Rendition + "/"
		}
		text, rates, err := v.media(i, how)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", r.Rendition, err)
		}
		err = w.put(ctx, storage.Object{
			Key: key(r.Rendition), Kind: storage.Playlist, Body: storage.Body{text},
			Position: storage.Position{Ended: true, Target: v.contents.target},
		})
		if err != nil {
			return nil, err
		}
		one := hls.Stored{Description: r.Description}
		one.Peak, one.Average = rates.Rates()
		all = append(all, one)
	}
	return all, nil
}

// index is the text of a multivariant playlist.
func index(all []hls.Stored, how hls.Replay, uri func(rendition string) string) ([]byte, error) {
	for i := range all {
		all[i].URI = uri(all[i].Rendition)
	}
	return how.Multivariant(all)
}

func (w *worker) putIndex(ctx context.Context, key string, all []hls.Stored, how hls.Replay, uri func(rendition string) string) error {
	text, err := index(all, how, uri)
	if err != nil {
		return err
	}
	return w.put(ctx, storage.Object{
		Key: key, Kind: storage.Multivariant, Body: storage.Body{text}, Position: storage.Position{Ended: true},
	})
}

func (w *worker) setMark(p presentation, m mark) error {
	content, err := json.Marshal(m)
	if err == nil {
		err = os.MkdirAll(w.path(p), 0o700)
	}
	if err == nil {
		err = write(w.path(p, replayName), content)
	}
	return err
}

// mark returns what is known of a replay, false if there is none.
func (w *worker) mark(p presentation) (mark, bool) {
	var m mark
	content, err := read(w.path(p, replayName))
	if err != nil || len(content) == 0 || json.Unmarshal(content, &m) != nil {
		return mark{}, false
	}
	return m, true
}

// alias makes the stream's own playlist that of its newest replay, or deletes it
// if there is none.
func (w *worker) alias(ctx context.Context, stream string) error {
	key := stream + "/" + listName
	all := w.archive.presentations(stream)
	for _, p := range slices.Backward(all) {
		if m, ok := w.mark(p); ok && m.Alias != "" {
			return w.put(ctx, storage.Object{Key: key, Kind: storage.Multivariant, Body: storage.Body{[]byte(m.Alias)}})
		}
	}
	return w.delete(ctx, key)
}

// failed logs the first of the failures at one presentation.
func (w *worker) failed(ctx context.Context, p presentation, err error) {
	w.mu.Lock()
	said := w.sore[p]
	w.sore[p] = true
	w.mu.Unlock()
	if !said {
		w.archive.log.WarnContext(ctx, "replay or retention fails and is tried again", "stream", p.stream, "presentation", p.id,
			"storage", w.Name, "error", strings.TrimSpace(err.Error()))
	}
}
