package packager

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

// This file has what is left of an earlier start of the program where files
// outlive it, such as a bucket: it goes on there, or is ended and deleted (ADR 8).

// begin is the state that the playlists of rendition i go on with: what was listed
// is in the plain one, and the segment that was open begins anew. All renditions go
// on at the same number (specs L24, L94).
func (m *memo) begin(i int) hls.State {
	newest := &m.Renditions[0].State
	for j := range m.Renditions {
		if state := &m.Renditions[j].State; state.Next > newest.Next {
			newest = state
		}
	}
	state := m.Renditions[i].prior(newest, m.Lives)
	if breaks(&state) != breaks(newest) {
		state.Segments = nil
	}
	if len(state.Segments) == 0 {
		state.First, state.Discontinuities = newest.Next, breaks(newest)
	}
	return hls.State{
		Target: newest.Target, Part: newest.Part, First: state.First, Next: newest.Next, Discontinuities: state.Discontinuities,
		Segments: state.Segments, Prior: len(state.Segments),
		DateRanges: newest.DateRanges, RemovedRanges: newest.RemovedRanges,
	}
}

// breaks counts all discontinuities up to the open segment.
func breaks(s *hls.State) uint64 {
	n := s.Discontinuities
	for i := range s.Segments {
		if s.Segments[i].Discontinuity {
			n++
		}
	}
	return n
}

// prior returns what a rendition listed, as far as the newest one goes. A segment
// that it had not closed is lost (specs L27), and what needs an unknown
// initialization segment is left out.
func (m *shelfMark) prior(newest *hls.State, lives int) hls.State {
	state := m.State
	if state.Next < newest.First || uint64(len(state.Segments)) != state.Next-state.First || uint64(len(newest.Segments)) != newest.Next-newest.First {
		return hls.State{}
	}
	state.Segments = append([]hls.Listed(nil), state.Segments...)
	for _, lost := range newest.Segments[state.Next-newest.First:] {
		lost.Gap, lost.Init = true, m.Init
		lost.URI = segmentName(state.First+uint64(len(state.Segments)), lives)
		state.Segments = append(state.Segments, lost)
	}
	keep := 0
	for i := range state.Segments {
		if m.Inits[state.Segments[i].Init] == nil {
			keep = i + 1
		}
	}
	cut := state
	cut.Segments = state.Segments[:keep]
	state.First, state.Discontinuities, state.Segments = state.First+uint64(keep), breaks(&cut), state.Segments[keep:] //nolint:gosec // an index
	return state
}

// hold puts what a playlist lists of an earlier start: its initialization segments,
// and for each segment that it should be there.
func (r *rendition) hold(ctx context.Context, state *hls.State, inits map[string]*au.Params) error {
	for i := range state.Segments {
		s := &state.Segments[i]
		if params := inits[s.Init]; r.inits[s.Init] == nil {
			content, name, err := r.describe(params)
			if err != nil {
				return err
			}
			if name != s.Init {
				return fmt.Errorf("%w: initialization segment %s cannot be made again", errStale, s.Init)
			}
			r.put(ctx, storage.Object{Key: r.prefix + name, Kind: storage.Init, Type: r.mime, Body: storage.Body{content}})
			r.inits[name] = params
		}
		if !s.Gap {
			r.put(ctx, storage.Object{Key: r.prefix + s.URI, Kind: storage.Held, Type: r.mime})
		}
	}
	return nil
}

// needed returns the keys that are in use.
func (p *presentation) needed() map[string]bool {
	keys := map[string]bool{p.index(): true}
	for _, r := range p.renditions() {
		keys[r.prefix+playlist] = true
		for key := range r.listed {
			keys[key] = true
		}
	}
	return keys
}

// bury ends a presentation of an earlier start that cannot go on: its plain
// playlists end (specs L32), and all its files are deleted in time.
func (r *runner) bury(ctx context.Context, m memo, now time.Time) {
	buried := 0
	for i := range m.Renditions {
		mark, state := &m.Renditions[i], m.begin(i)
		if state.Prior == 0 || state.Prior > maxBuried || storage.CheckKey(path.Join(m.ID, mark.Name)) != nil {
			continue
		}
		old := rendition{
			name: mark.Name, prefix: r.stream.Name() + "/" + m.ID + "/" + mark.Name + "/", mime: mark.mime(), rate: mark.rate(),
			target: state.Target, window: r.cfg.Window, out: &r.out, shelf: &r.shelf,
			listed: map[string]time.Time{}, inits: map[string]*au.Params{},
		}
		var err error
		old.media, err = hls.Restore(hls.Config{Target: state.Target, Part: state.Part, Window: 48 * time.Hour}, state)
		if err == nil {
			err = old.hold(ctx, &state, mark.Inits)
		}
		if err == nil {
			err = old.media.End()
		}
		if err != nil {
			r.log.Warn("files of an earlier start stay in storage", "presentation", m.ID, "rendition", mark.Name, "error", err)
			continue
		}
		old.out.put(ctx, storage.Object{
			Key: old.prefix + playlist, Kind: storage.Playlist, Type: mpegURL, Body: old.media.Plain(),
			Position: storage.Position{MSN: state.Next, Ended: true, Target: state.Target},
		})
		r.shelf.put(old.prefix+segmentName(state.Next, m.Lives), now)
		old.retire(now, r.cfg.Window, max(r.cfg.Window, 3*state.Target))
		buried++
	}
	if buried > 0 {
		r.shelf.put(r.stream.Name()+"/"+playlist, now.Add(r.cfg.Window))
		r.log.Info("presentation of an earlier start has ended", "presentation", m.ID)
	}
	r.remember(ctx)
}

// maxBuried is how many segments of a rendition are believed: a day of short ones.
const maxBuried = 200_000

func (m *shelfMark) sounds() bool { return m.Params != nil && m.Params.Channels > 0 }

func (m *shelfMark) mime() string {
	if m.sounds() {
		return "audio/mp4"
	}
	return "video/mp4"
}

func (m *shelfMark) rate() int64 {
	if m.sounds() {
		return opusRate
	}
	return videoRate
}

// remember keeps in the Ledger what is to be deleted, while there is no presentation.
func (r *runner) remember(ctx context.Context) {
	if r.cfg.Ledger == nil {
		return
	}
	r.noted = len(r.shelf.items) > 0
	if !r.noted {
		if err := r.cfg.Ledger.Forget(ctx, r.stream.Name()); err != nil {
			r.log.Warn("what was noted of a presentation that has ended stays", "error", err)
		}
		return
	}
	line, err := json.Marshal(memo{Shelf: r.shelf.items})
	if err == nil {
		err = r.cfg.Ledger.Begin(ctx, r.stream.Name(), line)
	}
	if err != nil {
		r.log.Warn("a restart will leave files in storage: what is to be deleted cannot be noted", "error", err)
	}
}

// clear deletes what is due. The Ledger forgets the stream when nothing is left.
func (r *runner) clear(ctx context.Context, now time.Time) {
	for _, key := range r.shelf.due(now) {
		r.out.remove(ctx, key)
	}
	if r.noted && r.present == nil && len(r.shelf.items) == 0 {
		r.remember(ctx)
	}
}
