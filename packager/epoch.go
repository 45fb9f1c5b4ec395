package packager

import (
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/stream"
)

// tracks says which kinds of media there are.
type tracks struct{ video, audio bool }

// epoch is what is known of a publisher's Epoch.
type epoch struct {
	number  uint64
	sources [2]*stream.Source // of lead and audio; lead is the audio without video
	ended   [2]bool
	over    time.Time // when the State said so
	keySeen time.Time // when the newest key frame, or nothing, was there
	keyless bool      // that there is none was said
	observer
	arrivals [2]arrivals
	newest   [2]int64 // newest time of each track
	seen     [2]bool

	// What is held before the Epoch goes live.
	held    []held
	bytes   int
	since   time.Time // when the first unit that can lead was there
	warned  bool
	distant bool // reports and arrivals contradict each other
	jumped  bool // the clock jumps in what is held: the rest is not of this time line
}

// held is a unit of a track.
type held struct {
	track int
	unit  au.Unit
}

// The tracks of an Epoch.
const (
	leading = 0
	second  = 1 // the audio beside video
)

// newEpoch chooses what to package of a State: the best video layer and the
// audio. It returns nil if there is nothing.
func newEpoch(state stream.State, segment time.Duration) *epoch {
	e := &epoch{number: state.Epoch, keySeen: time.Now()}
	var audio *stream.Source
	for _, source := range state.Sources {
		switch kind := source.Layer.ID.Kind; {
		case kind == stream.Video && e.sources[leading] == nil:
			e.sources[leading] = source
		case kind == stream.Audio && audio == nil:
			audio = source
		}
	}
	if e.sources[leading] == nil {
		e.sources[leading] = audio
	} else {
		e.sources[second] = audio
	}
	if e.sources[leading] == nil {
		return nil
	}
	e.observer = observer{segment: segment, onRequest: !e.tracks().video || e.sources[leading].Layer.OnRequest}
	return e
}

// again returns an Epoch of the same publisher that begins anew: its clock
// jumped, or the presentation is replaced.
func (e *epoch) again() *epoch {
	n := &epoch{
		number: e.number, sources: e.sources, ended: e.ended, over: e.over, observer: e.observer,
		keySeen: e.keySeen, keyless: e.keyless,
	}
	n.keyed, n.elapsed = false, 0
	return n
}

func (e *epoch) tracks() tracks {
	video := e.sources[leading].Layer.ID.Kind == stream.Video
	return tracks{video: video, audio: !video || e.sources[second] != nil}
}

// track returns which track of the Epoch a Source is.
func (e *epoch) track(source *stream.Source) (int, bool) {
	if e == nil {
		return 0, false
	}
	for i, s := range e.sources {
		if s == source && s != nil {
			return i, true
		}
	}
	return 0, false
}

// is reports whether this is the Epoch of that number.
func (e *epoch) is(number uint64) bool { return e != nil && e.number == number }

// passes notes that the Epoch is over, if the State says so.
func (e *epoch) passes(state stream.State) {
	if e != nil && e.over.IsZero() && (!state.Live || !e.is(state.Epoch)) {
		e.over = time.Now()
	}
}

// reads reports whether a Layer is one of the Epoch's.
func (e *epoch) reads(id stream.LayerID) bool {
	if e == nil {
		return false
	}
	for _, source := range e.sources {
		if source != nil && source.Layer.ID == id {
			return true
		}
	}
	return false
}

// finished reports whether no unit of the Epoch comes any more.
func (e *epoch) finished(now time.Time) bool {
	if e.over.IsZero() {
		return false
	}
	for i, source := range e.sources {
		if source != nil && !e.ended[i] {
			return now.Sub(e.over) >= lingerFor
		}
	}
	return true
}

// note remembers a unit's time, for the alignment of the tracks.
func (e *epoch) note(track int, u *au.Unit) {
	if track == leading && u.Key {
		e.keySeen, e.keyless = time.Now(), false
	}
	e.newest[track], e.seen[track] = u.DTS, true
	e.arrivals[track].add(u.DTS, e.rate(track), u.Arrival)
}

func (e *epoch) rate(track int) int64 {
	if track == leading && e.tracks().video {
		return videoRate
	}
	return opusRate
}

// aligned reports whether the offset between the tracks is known, or was waited
// for long enough (specs R3).
func (e *epoch) aligned(now time.Time) bool {
	if e.sources[second] == nil || now.Sub(e.since) >= holdFor {
		return true
	}
	if !e.seen[second] {
		return false
	}
	_, lead := e.sources[leading].Report()
	_, other := e.sources[second].Report()
	return lead && other
}

// reported aligns the tracks by their sender reports.
func (e *epoch) reported(offset int64) (int64, bool) {
	if e.sources[second] == nil || !e.seen[leading] || !e.seen[second] {
		return 0, false
	}
	var marks [2]mark
	for i, source := range e.sources {
		report, ok := source.Report()
		if !ok {
			return 0, false
		}
		rate := e.rate(i)
		marks[i] = mark{
			ticks: e.newest[i], rate: rate,
			at: report.Time(uint32(e.newest[i]), uint32(rate)), //nolint:gosec // RTP timestamps wrap
		}
	}
	return align(marks[leading], offset, marks[second]), true
}
