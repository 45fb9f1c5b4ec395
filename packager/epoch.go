package packager

import (
	"slices"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/stream"
)

// tracks says which kinds of media there are.
type tracks struct {
	video, audio bool
	aac          bool // the audio comes as AAC
}

// holds reports whether a presentation of these tracks can show those of an Epoch:
// audio that it has not is silence.
func (t tracks) holds(e tracks) bool {
	return t.video == e.video && (!e.audio || t.audio && t.aac == e.aac)
}

// epoch is what is known of a publisher's Epoch.
type epoch struct {
	number    uint64
	sources   []*stream.Source // the video layers, best first, then the audio
	videos    int              // how many of them are video
	lead      int              // the track whose frames decide
	onRequest bool             // key frames come on request, or there is no video
	segment   time.Duration
	aac       *au.Params // of audio that comes as AAC

	feeds []feed    // by track
	over  time.Time // when the State said so

	// What is held before the Epoch goes live.
	held    []held
	bytes   int
	since   time.Time // when the first unit that can lead was there
	warned  bool
	distant bool // reports and arrivals contradict each other
	jumped  bool // the clock jumps in what is held: the rest is not of this time line
}

// feed is what is known of one track of an Epoch.
type feed struct {
	observer
	arrivals arrivals
	newest   int64     // time of the newest unit
	heard    time.Time // when that arrived
	seen     bool
	ended    bool
}

// held is a unit of a track.
type held struct {
	track int
	unit  au.Unit
}

// newEpoch chooses what to package of a State: the video layers and the audio. It
// returns nil if there is nothing.
func newEpoch(state stream.State, segment time.Duration) *epoch {
	e := &epoch{number: state.Epoch, onRequest: true, segment: segment}
	var audio *stream.Source
	for _, source := range state.Sources {
		switch kind := source.Layer.ID.Kind; {
		case kind == stream.Video:
			e.sources = append(e.sources, source)
			e.onRequest = e.onRequest && source.Layer.OnRequest
		case audio != nil:
		case source.Layer.Codec.Name == aacName:
			params, err := au.AAC(source.Layer.Codec.Fmtp)
			if err != nil {
				continue // its pump says so
			}
			audio, e.aac = source, params
		default:
			audio = source
		}
	}
	e.videos = len(e.sources)
	if audio != nil {
		e.sources = append(e.sources, audio)
	}
	if len(e.sources) == 0 {
		return nil
	}
	e.lead = max(e.videos-1, 0)
	e.clear()
	return e
}

// clear forgets all times.
func (e *epoch) clear() {
	e.feeds = make([]feed, len(e.sources))
	for i := range e.feeds {
		e.feeds[i].observer = observer{segment: e.segment, onRequest: e.onRequest}
	}
}

// again returns an Epoch of the same publisher that begins anew: its clock
// jumped, or the presentation is replaced.
func (e *epoch) again() *epoch {
	n := &epoch{
		number: e.number, sources: e.sources, videos: e.videos, lead: e.lead, onRequest: e.onRequest, segment: e.segment,
		over: e.over, aac: e.aac,
	}
	n.clear()
	for i := range n.feeds {
		n.feeds[i].ended, n.feeds[i].gop = e.feeds[i].ended, e.feeds[i].gop
	}
	return n
}

func (e *epoch) tracks() tracks {
	return tracks{video: e.videos > 0, audio: len(e.sources) > e.videos, aac: e.aac != nil}
}

// audio is the track of the audio beside video; -1 without.
func (e *epoch) audio() int {
	if e.videos > 0 && len(e.sources) > e.videos {
		return e.videos
	}
	return -1
}

// track returns which track of the Epoch a Source is.
func (e *epoch) track(source *stream.Source) (int, bool) {
	if e == nil {
		return 0, false
	}
	i := slices.Index(e.sources, source)
	return i, i >= 0
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
	return e != nil && slices.ContainsFunc(e.sources, func(s *stream.Source) bool { return s.Layer.ID == id })
}

// finished reports whether no unit of the Epoch comes any more.
func (e *epoch) finished(now time.Time) bool {
	if e.over.IsZero() {
		return false
	}
	for i := range e.feeds {
		if !e.feeds[i].ended {
			return now.Sub(e.over) >= lingerFor
		}
	}
	return true
}

// note remembers a unit's time, for the alignment of the tracks.
func (e *epoch) note(track int, u *au.Unit) {
	f := &e.feeds[track]
	f.newest, f.heard, f.seen = u.DTS, u.Arrival, true
	f.arrivals.add(u.PTS, e.rate(track), u.Arrival) // encoders send a picture when they have it, whatever is decoded before it
}

func (e *epoch) rate(track int) int64 {
	if track < e.videos {
		return videoRate
	}
	return opusRate
}

// found returns the target duration that all layers allow, if it is known.
func (e *epoch) found() (target time.Duration, known bool) {
	for i := range max(e.videos, 1) {
		f := &e.feeds[i]
		if !f.keyed && i < e.videos {
			continue // a layer that has not come yet
		}
		t, ok := f.found()
		if !ok {
			return 0, false
		}
		target, known = max(target, t), true
	}
	return target, known
}

// give ends the observation with what is known.
func (e *epoch) give() time.Duration {
	target := time.Duration(0)
	for i := range max(e.videos, 1) {
		target = max(target, e.feeds[i].give())
	}
	return target
}

// complete reports whether all layers are there, or were waited for long enough
// (specs R43).
func (e *epoch) complete(now time.Time) bool {
	if now.Sub(e.since) >= layersFor {
		return true
	}
	for i := range e.videos {
		if !e.feeds[i].keyed {
			return false
		}
	}
	return true
}

// aligned reports whether the offset between video and audio is known, or was
// waited for long enough (specs R3).
func (e *epoch) aligned(now time.Time) bool {
	audio := e.audio()
	if audio < 0 || now.Sub(e.since) >= holdFor {
		return true
	}
	if !e.feeds[audio].seen {
		return false
	}
	_, lead := e.report(e.lead)
	_, other := e.report(audio)
	return lead && other
}

// alignment is how a track's times stand to those of the track that leads.
type alignment struct {
	offset int64 // what to add to them
	sure   bool  // told by reports or by a common clock, not by arrival
	// contradicts is by how much reports and arrivals disagree, if that is too much.
	contradicts time.Duration
}

// align returns what to add to a track's times when offset is added to those of
// the track that leads: by sender reports if both have one that can be believed,
// else by arrival (specs R1, R3). Layers that share a clock are told by their
// times: OBS reports the time of one layer only (specs R5, R40).
func (e *epoch) align(track int, offset int64) alignment {
	rate := e.rate(track)
	byArrival := toTicks(fromTicks(offset, e.rate(e.lead)), rate)
	f := &e.feeds[track]
	if !f.seen || !e.feeds[e.lead].seen {
		return alignment{offset: byArrival}
	}
	lead := &e.feeds[e.lead].arrivals
	byArrival = align(lead.since(lead.zero), offset, f.arrivals.since(lead.zero))
	if track < e.videos && abs(byArrival-offset) < toTicks(sameClock, rate) {
		return alignment{offset: offset, sure: true}
	}
	byReport, ok := e.reported(track, offset)
	if !ok {
		return alignment{offset: byArrival}
	}
	// Audio that is not there in time cannot be placed where the reports say.
	if d := fromTicks(byReport-byArrival, rate); d.Abs() > distrust || track >= e.videos && -d > audioLag {
		return alignment{offset: byArrival, contradicts: d.Abs()}
	}
	return alignment{offset: byReport, sure: true}
}

// sameClock is how far apart the times of layers are at most that share a clock.
const sameClock = 200 * time.Millisecond

// reported aligns a track with the one that leads by their sender reports.
func (e *epoch) reported(track int, offset int64) (int64, bool) {
	var marks [2]mark
	for i, t := range [2]int{e.lead, track} {
		report, ok := e.report(t)
		if !ok {
			return 0, false
		}
		rate, clock := e.rate(t), e.sources[t].Layer.Codec.ClockRate
		marks[i] = mark{
			ticks: e.feeds[t].newest, rate: rate,
			at: report.Time(uint32(e.feeds[t].newest*int64(clock)/rate), clock), //nolint:gosec // RTP timestamps wrap
		}
	}
	return align(marks[0], offset, marks[1]), true
}

// reportAge is how old a sender report may be: clocks drift.
const reportAge = time.Minute

// report returns the sender report that tells a track's times: its own, or that of
// another layer with the same clock, since OBS reports for one of them only (specs
// R5).
func (e *epoch) report(track int) (stream.Report, bool) {
	f := &e.feeds[track]
	if !f.seen {
		return stream.Report{}, false
	}
	fresh := func(t int) (stream.Report, bool) {
		report, ok := e.sources[t].Report()
		return report, ok && f.heard.Sub(report.Arrival) <= reportAge
	}
	if report, ok := fresh(track); ok || track >= e.videos {
		return report, ok
	}
	for other := range e.videos {
		if other == track || !e.feeds[other].seen {
			continue
		}
		apart := align(f.arrivals.since(f.arrivals.zero), 0, e.feeds[other].arrivals.since(f.arrivals.zero))
		if abs(apart) >= toTicks(sameClock, videoRate) {
			continue
		}
		if report, ok := fresh(other); ok {
			return report, true
		}
	}
	return stream.Report{}, false
}

// start chooses the track that leads, and its first unit: the first instant at
// which most layers have a key frame. It returns false if there is nothing to
// begin with.
func (e *epoch) start() (au.Unit, bool) {
	for e.lead = max(e.videos-1, 0); e.lead > 0 && !e.feeds[e.lead].keyed; {
		e.lead--
	}
	var first au.Unit
	best := 0
	for _, h := range e.held {
		if h.track != e.lead || !h.unit.Key || h.unit.Restart && best > 0 {
			continue
		}
		if n := e.layersAt(h.unit.DTS); n > best {
			first, best = h.unit, n
		}
	}
	return first, best > 0
}

// layersAt counts the layers that have a key frame at an instant of the track
// that leads.
func (e *epoch) layersAt(at int64) int {
	n := 1
	for track := range e.videos {
		if track == e.lead || !e.feeds[track].seen {
			continue
		}
		offset := e.align(track, 0).offset
		if slices.ContainsFunc(e.held, func(h held) bool {
			return h.track == track && h.unit.Key && abs(h.unit.DTS+offset-at) <= pairTicks
		}) {
			n++
		}
	}
	return n
}

// divided reports whether the key frames of the layers are known to come at
// different times (specs R42).
func (e *epoch) divided() bool {
	keys, common := 0, 0
	for _, h := range e.held {
		if h.track == e.lead && h.unit.Key {
			keys++
			common = max(common, e.layersAt(h.unit.DTS))
		}
	}
	layers := 0
	for track := range e.videos {
		if e.feeds[track].keyed && e.feeds[track].gop > 0 {
			layers++
		}
	}
	return keys > 1 && layers > common
}

// reduce leaves the best layer alone, with what is held of it.
func (e *epoch) reduce() {
	kept := []int{0}
	if audio := e.audio(); audio >= 0 {
		kept = append(kept, audio)
	}
	rest := e.held[:0]
	for _, h := range e.held {
		if i := slices.Index(kept, h.track); i >= 0 {
			h.track = i
			rest = append(rest, h)
		}
	}
	clear(e.held[len(rest):])
	e.held = rest
	for i, track := range kept {
		e.sources[i], e.feeds[i] = e.sources[track], e.feeds[track]
	}
	e.sources, e.feeds = e.sources[:len(kept)], e.feeds[:len(kept)]
	e.videos, e.lead = 1, 0
}
