package packager

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/fmp4"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

const (
	// audioLag is how long the audio may be behind the video before silence
	// takes its place (specs R47), and quietLag how far behind that stays.
	audioLag = 500 * time.Millisecond
	quietLag = 100 * time.Millisecond
	// stallAfter is how long after its time a frame is waited for before the
	// watchdog closes a part without it (specs R31). It covers the reorder buffer.
	stallAfter = 500 * time.Millisecond
	// askAhead is how long before a segment is due a key frame is asked for.
	askAhead = 100 * time.Millisecond
	// group is the GROUP-ID of the audio renditions.
	group = "audio"
)

// presentation is all renditions of one Stream, cut together. It is not safe for
// concurrent use: one goroutine owns it.
//
//	video unit ──▶ segmenter ──▶ rendition "video"
//	                   │ boundaries
//	audio unit ──▶ soundtrack ──▶ follower ──▶ rendition "audio"
//
// Without video the audio is the leading rendition, and there is no follower.
type presentation struct {
	cfg    Config
	stream string
	id     string // its directory
	target time.Duration
	out    *outlet
	shelf  *shelf
	time   timeline

	lead  *rendition
	audio *rendition // nil without audio; the same as lead without video
	voice *au.Params // of the audio
	cut   segmenter
	trail *follower // of audio beside video
	sound soundtrack
	quiet bool // silence takes the place of the audio

	offset  int64       // added to the leading track's times
	waiting fmp4.Sample // the frame that the segmenter waits with
	at      int64       // start of the newest frame
	arrival time.Time   // and when it arrived
	breaks  bool        // a discontinuity comes before the next segment
	starved bool        // frames were dropped because no key frame came in time
	lost    bool        // packets were lost since the last key frame

	sounds []sound // scratch
	steps  []step  // scratch

	frames   int   // of the leading rendition, for FRAME-RATE
	framesIn int64 // and how long they last
	variant  variant
}

// variant remembers what the multivariant playlist says.
type variant struct {
	bandwidth int
	params    *au.Params
	settled   bool // written after several segments
}

// newPresentation returns a presentation whose playlists are empty. Without
// video the audio leads.
func newPresentation(r *runner, stream string, target time.Duration, has tracks) *presentation {
	cfg := r.cfg
	p := &presentation{
		cfg: cfg, stream: stream, target: target, out: &r.out, shelf: &r.shelf,
		id: strconv.FormatInt(r.lastID, 36),
	}
	if has.audio {
		p.audio = p.rendition("audio", opusRate, "audio/mp4")
		p.lead = p.audio
	}
	least := cfg.Segment
	if has.video {
		p.lead = p.rendition("video", videoRate, "video/mp4")
		least = cfg.Segment * 8 / 10
		if has.audio {
			p.trail = &follower{part: toTicks(cfg.Part, opusRate)}
		}
	}
	p.cut.limits = newLimits(p.lead.rate, least, cfg.Segment, cfg.Part, target)
	return p
}

func (p *presentation) rendition(name string, rate int64, mime string) *rendition {
	return &rendition{
		name: name, prefix: p.stream + "/" + p.id + "/" + name + "/", rate: rate, mime: mime,
		target: p.target, part: p.cfg.Part, out: p.out, shelf: p.shelf,
		media: hls.NewMedia(hls.Config{
			Target: p.target, Part: p.cfg.Part, Window: p.cfg.Window, Skip: true,
		}),
		listed: map[string]struct{}{},
		others: func() []hls.Report { return p.reports(name) },
	}
}

// has says which tracks the presentation is made of.
func (p *presentation) has() tracks {
	return tracks{video: p.lead != p.audio, audio: p.audio != nil}
}

// renditions returns all of them, the leading one first.
func (p *presentation) renditions() []*rendition {
	if p.audio == nil || p.audio == p.lead {
		return []*rendition{p.lead}
	}
	return []*rendition{p.lead, p.audio}
}

// reports says where all renditions but one end (specs L58).
func (p *presentation) reports(but string) []hls.Report {
	var all []hls.Report
	for _, r := range p.renditions() {
		if r.name != but {
			all = append(all, r.report())
		}
	}
	return all
}

// begin starts an Epoch with the leading track's first unit. sync returns what to
// add to the audio's times when offset is added to the leading track's.
func (p *presentation) begin(ctx context.Context, first au.Unit, sync func(offset int64) int64) error {
	base := p.time.begin(first.Arrival)
	p.offset = toTicks(base, p.lead.rate) - first.DTS
	if p.audio == nil {
		return nil
	}
	offset := p.offset
	if p.trail != nil {
		p.trail.restart()
		offset = sync(p.offset)
	}
	p.sound.begin(toTicks(base, opusRate), offset)
	p.quiet = false
	return p.audio.setParams(ctx, p.voice)
}

// outgrown returns the distance of key frames if it has become longer than any
// segment of this presentation may be: u is the key frame that ends a wait. Lost
// packets are no reason, they may have been a key frame (specs R36).
func (p *presentation) outgrown(u *au.Unit) (time.Duration, bool) {
	if !u.Key || !p.starved || p.lost || !p.cut.keyed {
		return 0, false
	}
	gop := u.DTS + p.offset - p.cut.keyAt
	return fromTicks(gop, p.lead.rate), gop >= p.cut.limit
}

// video takes a unit of the video.
func (p *presentation) video(ctx context.Context, u *au.Unit) error {
	p.lost = u.Gap || p.lost && !u.Key
	f := frame{
		at: u.DTS + p.offset, key: u.Key,
		fresh: u.Key && p.lead.params != nil && u.Params != p.lead.params,
	}
	s := fmp4.Sample{Composition: int32(u.PTS - u.DTS), Key: u.Key, Data: u.Data} //nolint:gosec // a few frames
	p.arrival = u.Arrival
	if err := p.advance(ctx, f, s, u.Params); err != nil {
		return err
	}
	return p.follow(ctx)
}

// sounding takes a unit of the audio.
func (p *presentation) sounding(ctx context.Context, u *au.Unit) error {
	if p.trail == nil && !p.cut.open { // after a break
		p.sound.skip(max(u.PTS+p.sound.offset, p.cut.end))
	}
	before := p.sound.late
	p.sounds = p.sound.add(u.PTS, u.Duration, u.Data, p.sounds[:0])
	if p.sound.late == before {
		p.quiet = false
	} else {
		p.out.metrics.Dropped.Add(1)
	}
	if p.trail != nil {
		p.queue(p.sounds)
		return p.follow(ctx)
	}
	p.arrival = u.Arrival
	for _, s := range p.sounds {
		if p.cut.open && !p.cut.waiting && s.at+s.ticks/2 < p.cut.end {
			p.out.metrics.Dropped.Add(1) // the watchdog has skipped its time
			continue
		}
		err := p.advance(ctx, frame{at: s.at, key: true}, fmp4.Sample{Key: true, Data: s.data}, p.voice)
		if err != nil {
			return err
		}
	}
	return nil
}

// advance takes the next frame of the leading rendition.
func (p *presentation) advance(ctx context.Context, f frame, s fmp4.Sample, params *au.Params) error {
	var ok bool
	p.steps, ok = p.cut.add(f, p.steps[:0])
	if err := p.do(ctx, p.steps); err != nil {
		return err
	}
	p.at = f.at
	if !ok {
		p.starved = true
		p.out.metrics.Dropped.Add(1)
		return nil
	}
	p.starved = false
	p.waiting = s
	if !p.lead.begun {
		return p.open(ctx, f.fresh || p.breaks, params)
	}
	return nil
}

// open begins a segment of the leading rendition.
func (p *presentation) open(ctx context.Context, breaks bool, params *au.Params) error { //nolint:revive // a fact, not a mode
	hole := p.breaks
	p.breaks = false
	if err := p.lead.setParams(ctx, params); err != nil {
		return err
	}
	if breaks {
		p.lead.media.Discontinuity()
		p.out.metrics.Discontinuities.Add(1)
	}
	if hole { // new parameters alone are none: the sound goes on over them
		p.sound.skip(p.onAudio(p.cut.segmentAt))
	}
	p.lead.begin(p.cut.segmentAt, p.date(p.cut.segmentAt, p.lead.rate))
	if p.trail != nil {
		p.trail.begins(cut{at: p.onAudio(p.cut.segmentAt), breaks: breaks})
	}
	return nil
}

func (p *presentation) date(ticks, rate int64) time.Time { return p.time.date(fromTicks(ticks, rate)) }

// onAudio converts ticks of the leading rendition to the audio's.
func (p *presentation) onAudio(ticks int64) int64 {
	return toTicks(fromTicks(ticks, p.lead.rate), opusRate)
}

// do carries out what the segmenter said, and publishes the result.
func (p *presentation) do(ctx context.Context, steps []step) error {
	var err error
	for _, s := range steps {
		switch s.verb {
		case keep:
			p.waiting.Duration = uint32(s.ticks) //nolint:gosec // less than a part
			p.lead.add(p.waiting)
			p.waiting = fmp4.Sample{}
			p.frames++
			p.framesIn += s.ticks
		case stretch:
			p.lead.stretch(s.ticks)
		case extend:
			p.lead.extend(s.ticks)
		case closePart:
			err = p.lead.closePart(ctx)
		case skip:
			err = p.lead.skipPart(ctx, s.ticks)
		case closeSegment:
			err = p.lead.closeSegment(ctx)
			if p.trail != nil {
				p.trail.ends(p.onAudio(p.lead.end))
			}
		case breakOff:
			p.breaks = true
		}
		if err != nil {
			return err
		}
	}
	return p.publish(ctx)
}

// follow brings the audio up to the video.
func (p *presentation) follow(ctx context.Context) error {
	if p.trail == nil {
		return nil
	}
	now := p.onAudio(p.cut.end)
	p.trail.reaches(now)
	lag := audioLag
	if p.quiet {
		lag = quietLag
	}
	if p.cut.open && p.sound.behind(now, lag) {
		p.quiet = true
		p.silence(now - toTicks(quietLag, opusRate))
	}
	return p.drain(ctx)
}

func (p *presentation) silence(until int64) {
	p.sounds = p.sound.fill(until, p.sounds[:0])
	p.queue(p.sounds)
	p.out.metrics.Silence.Add(uint64(len(p.sounds)))
}

// queue gives frames to the follower.
func (p *presentation) queue(sounds []sound) {
	for _, s := range sounds {
		if !p.trail.push(s) {
			p.out.metrics.Dropped.Add(1)
		}
	}
}

// drain does what the follower says, and publishes the result.
func (p *presentation) drain(ctx context.Context) error {
	for v := p.trail.next(); v != 0; v = p.trail.next() {
		var err error
		switch v {
		case keep:
			s := p.trail.take(v)
			p.audio.add(fmp4.Sample{Duration: uint32(s.ticks), Key: true, Data: s.data}) //nolint:gosec // less than a part
		case discard:
			p.trail.take(v)
		case openSegment:
			if p.trail.breaks {
				p.audio.media.Discontinuity()
			}
			p.audio.begin(p.trail.segmentAt, p.date(p.trail.segmentAt, opusRate))
		case closePart:
			err = p.audio.closePart(ctx)
		case closeSegment:
			if err = p.audio.cover(ctx, p.trail.cutAt); err == nil {
				err = p.audio.closeSegment(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
	return p.publish(ctx)
}

// idle is the watchdog: it closes what a frame that does not come keeps open
// (specs R31, L38).
func (p *presentation) idle(ctx context.Context, now time.Time) error {
	if !p.cut.open {
		return nil
	}
	at := p.at + toTicks(now.Sub(p.arrival)-stallAfter, p.lead.rate)
	p.steps = p.cut.idle(at, p.steps[:0])
	if len(p.steps) == 0 {
		return nil
	}
	if err := p.do(ctx, p.steps); err != nil {
		return err
	}
	return p.follow(ctx)
}

// finish closes all that is open: the Epoch ends. The next one begins with a
// discontinuity.
func (p *presentation) finish(ctx context.Context) error {
	p.steps = p.cut.finish(p.steps[:0])
	if err := p.do(ctx, p.steps); err != nil {
		return err
	}
	p.breaks = p.breaks || p.lead.media.Position().MSN > 0
	p.starved = false
	if p.trail != nil {
		p.silence(p.onAudio(p.lead.end))
		p.trail.reaches(p.sound.cursor)
		p.trail.finish()
		if err := p.drain(ctx); err != nil {
			return err
		}
	}
	for _, r := range p.renditions() {
		p.time.reach(fromTicks(r.end, r.rate))
	}
	return nil
}

// end closes everything and ends the playlists (specs L32). What exists is put
// on the shelf, also when something fails.
func (p *presentation) end(ctx context.Context) error {
	err := p.finish(ctx)
	now := time.Now()
	for _, r := range p.renditions() {
		err = errors.Join(err, r.finish(ctx))
		r.retire(now, p.cfg.Window, max(p.cfg.Window, 3*p.target))
	}
	if p.variant.bandwidth > 0 {
		p.shelf.put(p.index(), now.Add(p.cfg.Window))
	}
	return err
}

// index is the key of the multivariant playlist.
func (p *presentation) index() string { return p.stream + "/" + playlist }

// publish writes the playlists that have changed, once each rendition has a
// part: they report on one another (specs L58, L82).
func (p *presentation) publish(ctx context.Context) error {
	for _, r := range p.renditions() {
		if r.counter == 0 {
			return nil
		}
	}
	for _, r := range p.renditions() {
		if err := r.publish(ctx); err != nil {
			return err
		}
	}
	return p.announce(ctx)
}

// announce writes the multivariant playlist: at first, and again when more is
// known of the bit rates or the codec has changed.
func (p *presentation) announce(ctx context.Context) error {
	peak, average := 0.0, 0.0
	for _, r := range p.renditions() {
		peak += r.rates.highest()
		average += r.rates.average()
	}
	v := &p.variant
	settle := !v.settled && p.lead.rates.segments >= 3
	if v.params == p.lead.params && !settle && peak <= float64(v.bandwidth) {
		return nil
	}
	v.params, v.settled = p.lead.params, v.settled || settle
	v.bandwidth = max(v.bandwidth, bandwidth(peak*1.25))
	if settle {
		v.bandwidth = bandwidth(peak * 1.25)
	}
	text, err := p.multivariant(v.bandwidth, bandwidth(average))
	if err != nil {
		return fmt.Errorf("announce %s: %w", p.stream, err)
	}
	p.shelf.keep(p.index())
	p.out.put(ctx, storage.Object{
		Key: p.index(), Kind: storage.Multivariant, Type: mpegURL, Body: storage.Body{text},
	})
	return nil
}

func (p *presentation) multivariant(peak, average int) ([]byte, error) {
	v := hls.Variant{
		URI: p.id + "/" + p.lead.name + "/" + playlist, Codecs: fmp4.Codecs(p.lead.params),
		Bandwidth: peak, AverageBandwidth: average,
	}
	if p.lead == p.audio {
		return hls.Multivariant([]hls.Variant{v}, nil)
	}
	v.Width, v.Height = p.lead.params.Width, p.lead.params.Height
	v.FrameRate = frameRate(p.frames, fromTicks(p.framesIn, p.lead.rate))
	v.VideoRange = videoRange(p.lead.params)
	if p.audio == nil {
		return hls.Multivariant([]hls.Variant{v}, nil)
	}
	v.Audio = group
	v.Codecs += "," + fmp4.Codecs(p.audio.params)
	return hls.Multivariant([]hls.Variant{v}, []hls.Rendition{{
		Group: group, Name: "Audio", URI: p.id + "/audio/" + playlist,
		Channels: max(p.audio.params.Channels, 1), Default: true, Autoselect: true,
	}})
}

// videoRange returns VIDEO-RANGE for the transfer characteristics (ISO/IEC
// 23091-2, specs L76).
func videoRange(p *au.Params) string {
	switch p.Transfer {
	case 16:
		return "PQ"
	case 18:
		return "HLG"
	}
	return "SDR"
}
