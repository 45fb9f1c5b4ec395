package replay

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Replay is a presentation that can be watched though it has ended.
type Replay struct {
	Stream       string        `json:"stream"`
	Presentation string        `json:"presentation"`
	Place        string        `json:"place"`
	Key          string        `json:"key"` // of its multivariant playlist
	At           string        `json:"at"`  // where people find that
	Begin        time.Time     `json:"begin"`
	End          time.Time     `json:"end"`
	Duration     time.Duration `json:"duration"` // of media
	Segments     int           `json:"segments"`
	Gaps         int           `json:"gaps"`           // of all renditions
	Until        time.Time     `json:"until,omitzero"` // when it goes; zero: never
}

// Replays returns the replays of a stream, oldest first, of all places. The
// newest of a place is at {stream}/replay.m3u8, too.
func (a *Archive) Replays(stream string) []Replay {
	var all []Replay
	for _, p := range a.presentations(stream) {
		for _, w := range a.workers {
			m, ok := w.mark(p)
			if !ok || m.Alias == "" {
				continue
			}
			r := Replay{
				Stream: stream, Presentation: p.id, Place: w.Name, Key: p.prefix() + listName, At: w.Locate(p.prefix() + listName),
				Begin: m.Begin.UTC(), End: m.End.UTC(), Duration: m.Duration, Segments: m.Segments, Gaps: m.Gaps,
			}
			if ended, err := a.ended(p, time.Time{}); err == nil && w.Keep != Forever {
				r.Until = ended.Add(w.Keep).UTC()
			}
			all = append(all, r)
		}
	}
	return all
}

// Clips returns the clips of a stream, of all places.
func (a *Archive) Clips(stream string) []Clip {
	var all []Clip
	for _, p := range a.presentations(stream) {
		for _, w := range a.workers {
			for _, n := range w.clips(p) {
				if n.Removed.IsZero() {
					all = append(all, n.Clip)
				}
			}
		}
	}
	return all
}

// DeleteReplay deletes a presentation that has ended from all places: its
// playlists and clips now, its media an hour later, when caches have forgotten
// them (specs S15). The gateway must run then, or be started.
func (a *Archive) DeleteReplay(ctx context.Context, stream, id string) error {
	p := presentation{stream, id}
	if err := p.check(); err != nil {
		return fmt.Errorf("delete replay: %w", err)
	}
	ended, err := a.ended(p, time.Time{})
	if err == nil && ended.IsZero() {
		err = ErrUnknown
		for _, known := range a.presentations(stream) {
			if known == p {
				err = ErrLive
			}
		}
	}
	if err != nil {
		return fmt.Errorf("delete replay of %s: %w", stream, err)
	}
	var failed []error
	for _, w := range a.workers {
		if err := w.unlistNow(ctx, p); err != nil {
			failed = append(failed, fmt.Errorf("delete replay of %s from %s: %w", stream, w.Name, err))
		}
		w.kick()
	}
	return errors.Join(failed...)
}

func (w *worker) unlistNow(ctx context.Context, p presentation) error {
	if err := w.enter(ctx); err != nil {
		return err
	}
	defer w.leave()
	if at, err := readTime(w.path(p, endingName)); err != nil || !at.IsZero() {
		return err
	}
	return w.unlist(ctx, p)
}

// deleteOnly deletes one clip. Where media is swept while its presentation goes on,
// it is remembered until caches have forgotten it.
func (w *worker) deleteOnly(ctx context.Context, p presentation, n clipNote) error {
	if w.Keep == Forever {
		return w.unmake(ctx, p, n)
	}
	return w.unclip(ctx, p, n)
}

// DeleteClip deletes a clip from all places. Its media stays as long as that of
// its presentation.
func (a *Archive) DeleteClip(ctx context.Context, stream, name string) error {
	if err := (presentation{stream, name}).check(); err != nil {
		return fmt.Errorf("delete clip: %w", err)
	}
	var failed []error
	found := false
	for _, p := range a.presentations(stream) {
		for _, w := range a.workers {
			for _, n := range w.clips(p) {
				if n.Name == name && n.Removed.IsZero() {
					found = true
					failed = append(failed, w.deleteOnly(ctx, p, n))
				}
			}
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("delete clip %s of %s: %w", name, stream, err)
	}
	if !found {
		return fmt.Errorf("delete clip %s of %s: %w", name, stream, ErrUnknown)
	}
	return nil
}
