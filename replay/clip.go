package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

// margin is how long after a clip was made its media must stay, so that it is
// worth to be made, and nothing is deleted meanwhile.
const margin = linger + 2*sweepEvery

// Request says which clip is wanted.
type Request struct {
	Stream   string
	From, To Moment
	Name     string // "": by its begin
	Place    string // Name of the place; "": all
}

// Clip is one that was made.
type Clip struct {
	Name  string `json:"name"`
	Place string `json:"place"`
	Key   string `json:"key"` // of its multivariant playlist
	At    string `json:"at"`  // where people find that
	// Begin and End are those of whole segments: a clip is cut where they are. Start
	// is how long after Begin the wanted time is (EXT-X-START).
	Begin    time.Time     `json:"begin"`
	End      time.Time     `json:"end"`
	Start    time.Duration `json:"start"`
	Duration time.Duration `json:"duration"` // of media; time may have been left out
	Segments int           `json:"segments"`
	Gaps     int           `json:"gaps"` // of all renditions
}

// clipNote is what is on disk of a clip.
type clipNote struct {
	Clip
	First      uint64    `json:"first"`    // media sequence number
	FirstEnd   time.Time `json:"firstEnd"` // when that segment ended
	Renditions []string  `json:"renditions"`
	Removed    time.Time `json:"removed,omitzero"`
}

func clipFolder(stream, name string) string { return stream + "/clips/" + name + "/" }

// Clip puts a VOD playlist over the segments between two times into each place,
// or into one. What could be made is returned beside an error.
func (a *Archive) Clip(ctx context.Context, wanted Request) ([]Clip, error) {
	if err := (presentation{wanted.Stream, "clips"}).check(); err != nil {
		return nil, fmt.Errorf("clip %.80q: %w", wanted.Stream, err)
	}
	found, err := a.find(wanted)
	if err != nil {
		return nil, fmt.Errorf("clip %s: %w", wanted.Stream, err)
	}
	if wanted.Name == "" {
		wanted.Name = found.slots[0].begin().UTC().Format("20060102-150405.000")
	}
	if err := (presentation{wanted.Stream, wanted.Name}).check(); err != nil {
		return nil, fmt.Errorf("clip %.80q: %w", wanted.Name, err)
	}
	var clips []Clip
	var failed []error
	tried := false
	for _, w := range a.workers {
		if wanted.Place != "" && wanted.Place != w.Name {
			continue
		}
		tried = true
		one, err := w.clip(ctx, found, wanted)
		if err != nil {
			failed = append(failed, fmt.Errorf("clip %s in %s: %w", wanted.Stream, w.Name, err))
			continue
		}
		clips = append(clips, one)
		a.metrics.Clips.Add(1)
	}
	if !tried {
		return nil, fmt.Errorf("clip %s: %w: %.80q", wanted.Stream, ErrPlace, wanted.Place)
	}
	return clips, errors.Join(failed...)
}

// found is what has most of the wanted time.
type found struct {
	p        presentation
	contents *contents
	slots    []slot
	from     time.Time
}

// find returns the presentation that has most of the wanted time, and the segments
// of that.
func (a *Archive) find(wanted Request) (*found, error) {
	all := a.presentations(wanted.Stream)
	if wanted.From.inside || wanted.To.inside {
		all = a.newest(all)
	}
	var best *found
	var most time.Duration
	for _, p := range all {
		if !a.near(p, wanted) {
			continue
		}
		c, err := load(a.folder(p))
		if err != nil {
			return nil, err
		}
		if len(c.slots) == 0 {
			continue
		}
		from, to := c.resolve(wanted.From), c.resolve(wanted.To)
		if !from.Before(to) {
			return nil, fmt.Errorf("%w: %s is not before %s", ErrTimes, date(from), date(to))
		}
		if slots := c.between(from, to); len(slots) > 0 {
			if length := slots[len(slots)-1].end().Sub(slots[0].begin()); length >= most {
				best, most = &found{p, c, slots, from}, length
			}
		}
	}
	if best == nil {
		return nil, a.nothing(all)
	}
	return best, nil
}

// near says whether a presentation may have wanted dates, without reading it: its
// name is the time of its begin.
func (a *Archive) near(p presentation, wanted Request) bool {
	if wanted.From.inside || wanted.To.inside || !wanted.From.at.Before(wanted.To.at) {
		return true
	}
	ms, err := strconv.ParseInt(p.id, 36, 64)
	if err == nil && time.UnixMilli(ms).After(wanted.To.at.Add(margin)) {
		return false
	}
	ended, err := a.ended(p, time.Time{})
	return err != nil || ended.IsZero() || ended.Add(margin).After(wanted.From.at)
}

// nothing says why there is nothing to clip.
func (a *Archive) nothing(all []presentation) error {
	var begin, end time.Time
	for _, p := range all {
		c, err := load(a.folder(p))
		if err != nil || len(c.slots) == 0 {
			continue
		}
		if begin.IsZero() {
			begin = c.slots[0].begin()
		}
		end = c.end()
	}
	if end.IsZero() {
		return fmt.Errorf("%w: has it been published since a place keeps its media?", ErrUnknown)
	}
	return fmt.Errorf("%w: there is some from %s to %s", ErrNoMedia, date(begin), date(end))
}

// newest returns the presentation that offsets count in.
func (a *Archive) newest(all []presentation) []presentation {
	for _, p := range slices.Backward(all) {
		if at, err := a.ended(p, time.Time{}); err == nil && !at.IsZero() {
			return []presentation{p}
		}
	}
	return all[max(len(all)-1, 0):]
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// resolve returns the date of a Moment.
func (c *contents) resolve(m Moment) time.Time {
	if !m.inside {
		return m.at
	}
	left := m.offset
	for i := range c.slots {
		if left < c.slots[i].duration {
			return c.slots[i].begin().Add(left)
		}
		left -= c.slots[i].duration
	}
	return c.end().Add(left)
}

// between returns the slots that any of the time is in.
func (c *contents) between(from, to time.Time) []slot {
	first, last := len(c.slots), 0
	for i := range c.slots {
		if c.slots[i].end().After(from) && c.slots[i].begin().Before(to) {
			first, last = min(first, i), i+1
		}
	}
	if first >= last {
		return nil
	}
	return c.slots[first:last]
}

// clip makes the clip in this place.
func (w *worker) clip(ctx context.Context, what *found, wanted Request) (Clip, error) {
	p := what.p
	slots, err := w.lasting(p, what.slots)
	if err != nil {
		return Clip{}, err
	}
	v, err := w.see(ctx, p, what.contents, slots, askAll)
	if err != nil {
		return Clip{}, err
	}
	if len(v.slots) == 0 {
		return Clip{}, fmt.Errorf("%w: it was not stored here, or is deleted", ErrNoMedia)
	}
	note := w.describe(v, wanted, what.from)
	if err := w.enter(ctx); err != nil {
		return Clip{}, err
	}
	defer w.leave()
	// Before anything is visible, so that nothing below it is deleted.
	if err := w.register(p, note); err != nil {
		return Clip{}, err
	}
	folder := clipFolder(wanted.Stream, wanted.Name)
	how := hls.Replay{Folder: "../../" + p.id + "/", Start: note.Start}
	all, err := w.putMedia(ctx, v, how, func(rendition string) string { return folder + rendition + ".m3u8" })
	if err == nil {
		err = w.putIndex(ctx, note.Key, all, how, func(rendition string) string { return rendition + ".m3u8" })
	}
	if err != nil {
		return Clip{}, errors.Join(err, w.unmake(ctx, p, note))
	}
	return note.Clip, nil
}

// lasting returns the slots whose media stays for some time yet.
func (w *worker) lasting(p presentation, slots []slot) ([]slot, error) {
	ending, err := readTime(w.path(p, endingName))
	if err != nil {
		return nil, err
	}
	ended, err := w.archive.ended(p, time.Time{})
	if err != nil {
		return nil, err
	}
	until := time.Now().Add(margin)
	switch {
	case !ending.IsZero() || !ended.IsZero() && w.Keep != Forever && ended.Add(w.Keep).Before(until):
		return nil, fmt.Errorf("%w: it is deleted, or about to be", ErrNoMedia)
	case w.Keep == Forever || !ended.IsZero():
		return slots, nil
	}
	for len(slots) > 0 && w.due(slots[0].end()).Before(until) {
		slots = slots[1:]
	}
	if len(slots) == 0 {
		return nil, fmt.Errorf("%w: it is deleted, or about to be", ErrNoMedia)
	}
	return slots, nil
}

// describe says what the clip of a view is.
func (w *worker) describe(v *view, wanted Request, from time.Time) clipNote {
	first, last := &v.slots[0], &v.slots[len(v.slots)-1]
	key := clipFolder(wanted.Stream, wanted.Name) + "index.m3u8"
	n := clipNote{First: first.msn, FirstEnd: first.end(), Clip: Clip{
		Name: wanted.Name, Place: w.Name, Key: key, At: w.Locate(key),
		Begin: first.begin().UTC(), End: last.end().UTC(), Start: max(from.Sub(first.begin()), 0),
		Duration: v.duration(), Segments: len(v.slots), Gaps: v.gaps(),
	}}
	for i, r := range v.contents.renditions {
		if v.has(i) {
			n.Renditions = append(n.Renditions, r.Rendition)
		}
	}
	return n
}

// register notes a clip. A name is used once in a stream.
func (w *worker) register(p presentation, n clipNote) error {
	for _, other := range w.archive.presentations(p.stream) {
		if _, err := os.Stat(w.path(other, clipsName, n.Name)); err == nil {
			return fmt.Errorf("%w: %s; choose another name", ErrExists, n.Name)
		}
	}
	if err := os.MkdirAll(w.path(p, clipsName), 0o700); err != nil {
		return fmt.Errorf("note clip: %w", err)
	}
	return w.noteClip(p, n)
}

func (w *worker) noteClip(p presentation, n clipNote) error {
	content, err := json.Marshal(n)
	if err == nil {
		err = write(w.path(p, clipsName, n.Name), content)
	}
	if err != nil {
		return fmt.Errorf("note clip: %w", err)
	}
	return nil
}

// clips returns what is noted of the clips of a presentation.
func (w *worker) clips(p presentation) []clipNote {
	entries, err := os.ReadDir(w.path(p, clipsName))
	if err != nil {
		return nil // there is none
	}
	var all []clipNote
	for _, e := range entries {
		var n clipNote
		content, err := read(w.path(p, clipsName, e.Name()))
		if err == nil && storage.CheckKey(e.Name()) == nil && json.Unmarshal(content, &n) == nil && n.Name == e.Name() {
			all = append(all, n)
		}
	}
	return all
}

// deleteClip deletes the playlists of a clip, from the top.
func (w *worker) deleteClip(ctx context.Context, p presentation, n clipNote) error {
	if err := w.delete(ctx, n.Key); err != nil {
		return err
	}
	for _, rendition := range n.Renditions {
		if err := w.delete(ctx, clipFolder(p.stream, n.Name)+rendition+".m3u8"); err != nil {
			return err
		}
	}
	return nil
}

// unclip deletes a clip's playlists and notes when: its media stays a while.
func (w *worker) unclip(ctx context.Context, p presentation, n clipNote) error {
	if !n.Removed.IsZero() {
		return nil
	}
	if err := w.deleteClip(ctx, p, n); err != nil {
		return err
	}
	n.Removed = time.Now()
	return w.noteClip(p, n)
}

// unmake takes back a clip that could not be made whole.
func (w *worker) unmake(ctx context.Context, p presentation, n clipNote) error {
	if err := w.deleteClip(ctx, p, n); err != nil {
		return err
	}
	return remove(w.path(p, clipsName, n.Name))
}
