package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
)

// batch bounds how many objects are deleted until it is noted.
const batch = 2000

// run looks after one place until ctx ends.
func (w *worker) run(ctx context.Context, begun time.Time) {
	for ctx.Err() == nil {
		next := w.pass(ctx, begun)
		timer := time.NewTimer(next)
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// pass does what is due in all presentations, and returns when to look again.
func (w *worker) pass(ctx context.Context, begun time.Time) time.Duration {
	next := every
	if time.Since(begun) < orphanAfter {
		next = soon
	}
	for _, stream := range w.archive.streams() {
		for _, p := range w.archive.presentations(stream) {
			w.mu.Lock()
			idle := w.idle[p]
			w.mu.Unlock()
			if idle || ctx.Err() != nil {
				continue
			}
			done, err := w.step(ctx, p, begun)
			if err != nil && ctx.Err() == nil {
				w.failed(ctx, p, err)
				next = soon
			}
			w.mu.Lock()
			if err == nil {
				delete(w.sore, p)
			}
			if done {
				w.idle[p] = true
			}
			w.mu.Unlock()
		}
	}
	return next
}

// step does what is due in one presentation. It says whether nothing will be.
func (w *worker) step(ctx context.Context, p presentation, begun time.Time) (done bool, err error) {
	ended, err := w.archive.ended(p, begun)
	if err != nil {
		return false, err
	}
	if err := w.enter(ctx); err != nil {
		return false, err
	}
	defer w.leave()
	now := time.Now()
	ending, err := readTime(w.path(p, endingName))
	if !ended.IsZero() {
		delete(w.looked, p)
	}
	switch {
	case err != nil:
		return false, err
	case !ending.IsZero():
		return w.finish(ctx, p, ending)
	case ended.IsZero():
		return false, w.follow(ctx, p, now)
	case w.Keep != Forever && !now.Before(ended.Add(w.Keep)):
		return false, w.unlist(ctx, p)
	}
	if _, ok := w.mark(p); w.Replay && !ok {
		if err := w.write(ctx, p); err != nil {
			return false, err
		}
	}
	w.archive.drop(w.path(p, storedName))
	return w.Keep == Forever, nil
}

// drop forgets a journal that nothing is added to any more.
func (a *Archive) drop(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.journals, path)
}

// unlist deletes all playlists over a presentation, and notes since when they are
// gone: its media follows.
func (w *worker) unlist(ctx context.Context, p presentation) error {
	for _, c := range w.clips(p) {
		if err := w.unclip(ctx, p, c); err != nil {
			return err
		}
	}
	c, err := load(w.archive.folder(p))
	if err != nil {
		return err
	}
	// From the top: what is visible names only what is there (specs S15). A mark
	// without an alias says that this is not done.
	if err := w.setMark(p, mark{}); err != nil {
		return err
	}
	if err := w.alias(ctx, p.stream); err != nil {
		return err
	}
	keys := []string{p.prefix() + listName}
	for _, r := range c.renditions {
		keys = append(keys, p.prefix()+r.Rendition+"/"+listName)
	}
	for _, key := range keys {
		if err := w.delete(ctx, key); err != nil {
			return err
		}
	}
	return errors.Join(writeTime(w.path(p, endingName), time.Now()), remove(w.path(p, replayName)))
}

func (w *worker) delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	if err := w.Sink.Delete(ctx, key); err != nil {
		w.archive.metrics.Failures.Add(1)
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	w.archive.metrics.Deleted.Add(1)
	return nil
}

// finish deletes the media of a presentation whose playlists are gone since a time,
// and the record when no place needs it.
func (w *worker) finish(ctx context.Context, p presentation, since time.Time) (done bool, err error) {
	if time.Since(since) < linger {
		return false, nil
	}
	gone, err := readTime(w.path(p, goneName))
	if err != nil {
		return false, err
	}
	if gone.IsZero() {
		if err := w.sweep(ctx, p, func(*hls.Entry) bool { return true }); err != nil {
			return false, err
		}
		if err := w.deleteRest(ctx, p); err != nil {
			return false, err
		}
		if err := writeTime(w.path(p, goneName), time.Now()); err != nil {
			return false, err
		}
		w.archive.log.InfoContext(ctx, "media is deleted", "stream", p.stream, "presentation", p.id, "storage", w.Name)
	}
	return true, w.archive.forget(p)
}

// deleteRest deletes what is not a segment: what init segments there were, and
// live playlists that a killed gateway left.
func (w *worker) deleteRest(ctx context.Context, p presentation) error {
	c, err := load(w.archive.folder(p))
	if err != nil {
		return err
	}
	var keys []string
	for _, r := range c.renditions {
		for _, name := range append(r.inits, "index.m3u8") {
			keys = append(keys, p.prefix()+r.Rendition+"/"+name)
		}
	}
	older, err := read(filepath.Join(w.archive.folder(p), initsName))
	if err != nil {
		return err
	}
	for name := range strings.Lines(string(older)) {
		keys = append(keys, p.prefix()+strings.TrimSpace(name))
	}
	return parallel(ctx, keys, w.delete)
}

// forget removes the record of a presentation that is gone from all places.
func (a *Archive) forget(p presentation) error {
	for _, w := range a.workers {
		gone, err := readTime(w.path(p, goneName))
		if err != nil || gone.IsZero() {
			return err
		}
	}
	a.mu.Lock()
	for path := range a.journals {
		if strings.HasPrefix(path, a.folder(p)+string(filepath.Separator)) {
			delete(a.journals, path)
		}
	}
	a.mu.Unlock()
	err := os.RemoveAll(a.folder(p))
	_ = os.Remove(filepath.Join(a.cfg.Folder, p.stream)) // if it is empty
	return err
}

// follow deletes what is due of a presentation that goes on.
func (w *worker) follow(ctx context.Context, p presentation, now time.Time) error {
	if w.Keep == Forever || now.Sub(w.looked[p]) < sweepEvery {
		return nil
	}
	floor := ^uint64(0) // what a clip names, or did until a while ago, stays
	for _, c := range w.clips(p) {
		switch {
		case !c.Removed.IsZero() && now.Sub(c.Removed) >= linger:
			if err := remove(w.path(p, clipsName, c.Name)); err != nil {
				return err
			}
			continue
		case c.Removed.IsZero() && !now.Before(w.due(c.FirstEnd).Add(-linger)):
			if err := w.unclip(ctx, p, c); err != nil {
				return err
			}
		}
		floor = min(floor, c.First)
	}
	err := w.sweep(ctx, p, func(e *hls.Entry) bool {
		return e.MSN < floor && !e.Time.IsZero() && !now.Before(w.due(e.Time.Add(e.Duration)))
	})
	if err != nil {
		return err
	}
	w.looked[p] = now
	return w.prune(p)
}

// due returns when a segment that ended at a time goes: it has left the live
// window, and was kept since.
func (w *worker) due(end time.Time) time.Time { return end.Add(w.archive.cfg.Window + w.Keep) }

// entry reads a line of a record. What is damaged, or something else, is none.
func entry(line []byte) (hls.Entry, bool) {
	e, err := hls.ParseEntry(line)
	return e, err == nil
}

// sweep deletes segments in the order of the record, up to the first that is not
// due.
func (w *worker) sweep(ctx context.Context, p presentation, due func(e *hls.Entry) bool) error {
	for {
		gone, err := w.swept(p)
		if err != nil {
			return err
		}
		var keys []string
		more := false
		var before time.Time // the date of the segment before: one without has that
		err = readJournal(filepath.Join(w.archive.folder(p), recordName), func(line []byte) error {
			e, ok := entry(line)
			if !ok || e.MSN+1 < gone[e.Rendition] { // the last one may come twice
				return nil
			}
			if e.Time.IsZero() {
				e.Time = before
			}
			before = e.Time
			if more = len(keys) >= batch; more || !due(&e) {
				return errStop
			}
			if !e.Gap {
				keys = append(keys, p.prefix()+e.Rendition+"/"+e.URI)
			}
			gone[e.Rendition] = max(gone[e.Rendition], e.MSN+1)
			return nil
		})
		if err != nil {
			return err
		}
		if err := parallel(ctx, keys, w.delete); err != nil {
			return err
		}
		if err := w.setSwept(p, gone); err != nil || !more {
			return err
		}
	}
}

func (w *worker) setSwept(p presentation, s swept) error {
	content, err := json.Marshal(s)
	if err == nil {
		err = os.MkdirAll(w.path(p), 0o700)
	}
	if err == nil {
		err = write(w.path(p, sweptName), content)
	}
	return err
}

// prune removes the oldest file of the record when all its segments are deleted in
// all places, and of what was noted as stored when that was before any segment
// that is left.
func (w *worker) prune(p presentation) error {
	path := filepath.Join(w.archive.folder(p), recordName)
	files, err := journalFiles(path)
	if err != nil || len(files) < 2 {
		return err
	}
	all, err := w.archive.sweptEverywhere(p)
	if err != nil {
		return err
	}
	left := false
	var inits []string
	err = readLines(journalFile(path, files[0]), func(line []byte) error {
		e, ok := entry(line)
		if !ok {
			return nil
		}
		if left = e.MSN >= all[e.Rendition]; left {
			return errStop
		}
		if name := e.Rendition + "/" + e.Init; !slices.Contains(inits, name) {
			inits = append(inits, name)
		}
		return nil
	})
	if left || err != nil {
		if errors.Is(err, errStop) {
			err = nil
		}
		return err
	}
	if err := w.archive.addInits(p, inits); err != nil {
		return err
	}
	if err := remove(journalFile(path, files[0])); err != nil {
		return err
	}
	return w.archive.pruneStored(p, journalFile(path, files[1]))
}

// sweptEverywhere returns up to which segment all places have deleted.
func (a *Archive) sweptEverywhere(p presentation) (swept, error) {
	all := swept{}
	for i, w := range a.workers {
		one, err := w.swept(p)
		if err != nil {
			return nil, err
		}
		for name := range all {
			all[name] = min(all[name], one[name])
		}
		if i == 0 {
			all = one
		}
	}
	return all, nil
}

// addInits notes init segments that the record will not name any more.
func (a *Archive) addInits(p presentation, names []string) error {
	path := filepath.Join(a.folder(p), initsName)
	content, err := read(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.Contains(string(content), name+"\n") {
			content = append(content, name+"\n"...)
		}
	}
	return write(path, content)
}

// pruneStored removes the files of what was stored before the first segment of a
// file of the record was made.
func (a *Archive) pruneStored(p presentation, record string) error {
	var first time.Time
	err := readLines(record, func(line []byte) error {
		if e, ok := entry(line); ok && !e.Time.IsZero() {
			first = e.Time
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) || first.IsZero() {
		return err
	}
	for _, w := range a.workers {
		if err := pruneBefore(w.path(p, storedName), first.Add(-time.Minute)); err != nil {
			return err
		}
	}
	return nil
}

// pruneBefore removes the files of a journal whose last line is older, but for the
// newest.
func pruneBefore(path string, at time.Time) error {
	files, err := journalFiles(path)
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(files); i++ {
		var last int64
		var inits []byte
		err := readLines(journalFile(path, files[i]), func(line []byte) error {
			ms, key, _ := strings.Cut(string(line), " ")
			if n, err := strconv.ParseInt(ms, 10, 64); err == nil {
				last = max(last, n) // what was copied is older
			}
			if strings.Contains(key, "/init-") {
				inits = append(append(inits, line...), '\n')
			}
			return nil
		})
		if err != nil {
			return err
		}
		if last >= at.UnixMilli() {
			return nil
		}
		if len(inits) > 0 { // they are put once, and needed on
			next, err := os.OpenFile(journalFile(path, files[i+1]), os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			_, err = next.Write(inits)
			if err = errors.Join(err, next.Close()); err != nil {
				return err
			}
		}
		if err := remove(journalFile(path, files[i])); err != nil {
			return err
		}
	}
	return nil
}
