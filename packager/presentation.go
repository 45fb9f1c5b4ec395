package packager

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/hls"
)

const (
	// firstMSN is the media sequence number of a presentation's first segment. hls.js
	// (1.7.4) takes 0 for none: it forgets the parts of such a segment that it has
	// loaded, and, where a picture ends within one of them, loads that one without end.
	firstMSN = 1
	// audioLag is how long the audio may be behind the video before silence
	// takes its place (specs R47), and quietLag how far behind that stays.
	audioLag = 500 * time.Millisecond
	quietLag = 100 * time.Millisecond
	// tardyFor is how long all of the audio may come too late until its clock is taken
	// to have been set back, as that of a sender whose microphone stood still is.
	tardyFor = time.Second
	// stallAfter is how long after its time a frame is waited for before the
	// watchdog closes a part without it (specs R31). It covers the reorder buffer.
	stallAfter = 500 * time.Millisecond
	// askAhead is how long before a segment is due a key frame is asked for.
	askAhead = 100 * time.Millisecond
	// opusName is the directory of the Opus rendition.
	opusName = "audio"
)

// presentation is all renditions of one Stream, cut together. It is not safe for
// concurrent use: one goroutine owns it.
//
//	video layer ──▶ reel "video" (segmenter that leads) ─┬─▶ rendition
//	video layer ──▶ reel "video-2" (one that follows) ◀──┤ boundaries
//	audio ──▶ choir ──▶ voices "aac", "audio" ◀──────────┘
//
// Without video the audio is the reel that leads, and a second voice follows it.
type presentation struct {
	cfg    Config
	stream string
	id     string // its directory
	target time.Duration
	out    *outlet
	shelf  *shelf
	log    *slog.Logger
	time   timeline
	base   time.Duration // where the Epoch began

	reels   []*reel // the video layers, best first; or the audio that leads
	lead    *reel   // decides where segments end
	heir    *reel   // will, with its next key frame
	voices  []*voice
	sound   choir
	solo    bool      // there is no video
	choice  Sound     // of audio renditions; empty without audio
	coded   bool      // without video: AAC leads
	quiet   bool      // silence takes the place of the audio
	tardy   time.Time // arrival since which all of the audio came too late; zero: it does not
	current *cut      // what the newest segment of the leading rendition begins with
	breaks  bool      // a discontinuity comes before the next segment with media
	hasty   bool      // the watchdog waits for no layer

	sounds, codes []sound // scratch
	steps         []step  // scratch

	announced announcement

	handed []hls.DateRange // date ranges of the presentation before
	marked bool            // date ranges have changed since the Ledger was written
	sent   uint64          // ID of the newest message

	lives     int    // restarts of the program
	lines     int    // in the Ledger
	shelved   uint64 // what of the shelf is in them
	forgetful bool   // that the Ledger fails was said
	unnoted   bool   // that the Record fails was said
}

// newPresentation returns a presentation whose playlists are empty. Without
// video the audio leads.
func newPresentation(r *runner, stream string, target time.Duration, has tracks) *presentation {
	p := &presentation{
		cfg: r.cfg, stream: stream, target: target, out: &r.out, shelf: &r.shelf, log: r.log,
		id: strconv.FormatInt(r.lastID, 36), solo: !has.video, handed: r.marks,
	}
	if has.audio {
		var err error
		if p.sound, p.choice, err = newChoir(p.cfg.Audio, has); err != nil {
			p.log.Warn("AAC rendition cannot be made", "error", err)
		}
		p.engage()
	}
	if has.video {
		p.lead = p.reel(0)
	}
	return p
}

// engage makes the voices.
func (p *presentation) engage() {
	if p.choice != Opus {
		p.voices = append(p.voices, p.voice("aac"))
		p.voices[0].coded = true
	}
	if p.choice != AAC {
		p.voices = append(p.voices, p.voice(opusName))
	}
	if !p.solo {
		return
	}
	last := len(p.voices) - 1 // Opus leads where both are
	p.coded = p.voices[last].coded
	p.lead = &reel{rendition: p.voices[last].rendition}
	p.lead.cut.limits = newLimits(opusRate, p.cfg.Segment, p.cfg.Segment, p.cfg.Part, p.target)
	p.reels, p.voices = []*reel{p.lead}, p.voices[:last]
}

func (p *presentation) voice(name string) *voice {
	v := &voice{rendition: p.rendition(name, opusRate, "audio/mp4"), trail: follower{part: toTicks(p.cfg.Part, opusRate)}}
	v.media = p.newMedia()
	return v
}

// reel returns the reel of a layer, counted from the best one.
func (p *presentation) reel(rank int) *reel {
	for len(p.reels) <= rank {
		name := "video"
		if n := len(p.reels); n > 0 {
			name += "-" + strconv.Itoa(n+1)
		}
		r := &reel{rendition: p.rendition(name, videoRate, "video/mp4"), track: -1}
		r.cut.limits = newLimits(videoRate, p.cfg.Segment*8/10, p.cfg.Segment, p.cfg.Part, p.target)
		p.reels = append(p.reels, r)
	}
	return p.reels[rank]
}

func (p *presentation) rendition(name string, rate int64, mime string) *rendition {
	r := &rendition{
		name: name, prefix: p.stream + "/" + p.id + "/" + name + "/", rate: rate, mime: mime,
		target: p.target, part: p.cfg.Part, out: p.out, shelf: p.shelf,
		lives: p.lives, window: p.cfg.Window, rates: rates{window: p.cfg.Window}, listed: map[string]time.Time{}, inits: map[string]*au.Params{},
		noted: firstMSN, saved: firstMSN, others: func() []hls.Report { return p.reports(name) },
	}
	if p.cfg.Record != nil {
		r.sizes = map[uint64]int64{}
	}
	return r
}

func (p *presentation) newMedia() *hls.Media {
	media := hls.NewMedia(p.mediaConfig())
	handDown(media, p.handed, time.Now())
	return media
}

// mediaConfig is the same for all renditions. Usual windows are a whole number of
// segments; the slack lets them all drop their oldest one together, though sounds
// end a little beside pictures (specs L90).
func (p *presentation) mediaConfig() hls.Config {
	return hls.Config{Target: p.target, Part: p.cfg.Part, Window: p.cfg.Window + slack, Skip: true, First: firstMSN}
}

// has says which tracks the presentation is made of.
func (p *presentation) has() tracks {
	return tracks{video: !p.solo, audio: p.solo || len(p.voices) > 0, aac: p.sound.passed}
}

// renditions returns all that have a playlist, the leading one first.
func (p *presentation) renditions() []*rendition {
	all := make([]*rendition, 0, len(p.reels)+len(p.voices))
	if p.lead.media != nil {
		all = append(all, p.lead.rendition)
	}
	for _, r := range p.reels {
		if r != p.lead && r.media != nil {
			all = append(all, r.rendition)
		}
	}
	for _, v := range p.voices {
		all = append(all, v.rendition)
	}
	return all
}

// reports says where all renditions but one end (specs L58).
func (p *presentation) reports(but string) []hls.Report {
	var all []hls.Report
	for _, r := range p.renditions() {
		if r.name != but && r.counter > 0 {
			all = append(all, r.report())
		}
	}
	return all
}

// opening is what a presentation must know of an Epoch to begin it.
type opening struct {
	lead   int       // the track that leads
	first  int64     // DTS of its first unit
	at     time.Time // arrival of that
	videos int       // how many video layers there are
	audio  bool
	// sync says how another track stands when offset is added to the leading one's
	// times.
	sync func(track int, offset int64) alignment
}

// begin starts an Epoch.
func (p *presentation) begin(ctx context.Context, o opening) error {
	p.time.reach(fromTicks(p.lead.cut.end, p.lead.rate))
	if err := p.rest(ctx, p.time.begin(o.at)); err != nil {
		return err
	}
	base := p.time.begin(o.at)
	p.base = base
	if !p.solo {
		p.reel(o.videos - 1)
		p.lead = p.reels[o.lead]
	}
	at := toTicks(base, p.lead.rate)
	offset := at - o.first
	for i, r := range p.reels {
		switch {
		case r == p.lead:
			r.enter(o.lead, alignment{offset: offset, sure: true}, at)
		case i < o.videos:
			r.enter(i, o.sync(i, offset), at)
		default:
			r.enter(-1, alignment{}, at)
		}
	}
	for _, v := range p.voices {
		v.trail.restart()
	}
	p.quiet, p.tardy, p.heir = false, time.Time{}, nil
	if !p.has().audio {
		return nil
	}
	if !p.solo && o.audio {
		offset = o.sync(o.videos, offset).offset
	}
	p.sound.begin(toTicks(base, opusRate), offset)
	for _, v := range p.voices {
		params := p.sound.opus
		if v.coded {
			params = p.sound.aac
		}
		if err := v.setParams(ctx, params); err != nil {
			return err
		}
	}
	return nil
}

// early reports whether a held unit lies before the first one of the Epoch.
func (p *presentation) early(track, videos int, u *au.Unit) bool {
	if track >= videos {
		return false
	}
	r := p.reels[track]
	return u.DTS+r.offset < toTicks(p.base, r.rate)-r.within()
}

// loose reports whether the times of a layer are known only roughly.
func (p *presentation) loose(track, videos int) bool { return track < videos && !p.reels[track].exact }

// realign takes what is known by now of a layer's times. They are left alone as
// long as they are right to the frame: then key frames tell better.
func (p *presentation) realign(track int, a alignment) {
	r := p.reels[track]
	if r.exact && (!a.sure || abs(a.offset-r.offset) <= r.cut.tolerance()) {
		return
	}
	r.newest += a.offset - r.offset
	r.offset, r.exact = a.offset, a.sure
}

// outgrown returns the distance of key frames if it has become longer than any
// segment of this presentation may be: u is the key frame that ends a wait. Lost
// packets are no reason, they may have been a key frame (specs R36).
func (p *presentation) outgrown(u *au.Unit) (time.Duration, bool) {
	r := p.lead
	if !u.Key || !r.starved || r.lost || !r.cut.keyed {
		return 0, false
	}
	gop := u.DTS + r.offset - r.cut.keyAt
	return fromTicks(gop, r.rate), gop >= r.cut.limit
}

// video takes a unit of a video layer.
func (p *presentation) video(ctx context.Context, track int, u *au.Unit) error {
	if track >= len(p.reels) || p.reels[track].misfit {
		p.out.metrics.Dropped.Add(1)
		return nil
	}
	if !p.reels[track].push(u) {
		p.out.metrics.Dropped.Add(1)
	}
	return p.roll(ctx)
}

// sounding takes a unit of the audio.
func (p *presentation) sounding(ctx context.Context, u *au.Unit) error {
	if p.solo {
		if err := p.rejoin(ctx, u.PTS+p.sound.offset); err != nil {
			return err
		}
	}
	before, silent := p.sound.late, p.sound.silent
	p.sounds = p.sound.add(u.PTS, u.Duration, u.Data, p.sounds[:0])
	p.out.metrics.Silence.Add(p.sound.silent - silent)
	if p.sound.late == before {
		p.quiet, p.tardy = false, time.Time{}
	} else {
		p.out.metrics.Dropped.Add(1)
		if p.tardy.IsZero() {
			p.tardy = u.Arrival
		}
	}
	if p.solo {
		p.lead.arrival = u.Arrival
	}
	if err := p.hear(ctx); err != nil {
		return err
	}
	return p.follow(ctx)
}

// rejoin brings audio that leads up to where its sound goes on after a pause.
func (p *presentation) rejoin(ctx context.Context, at int64) error {
	cut := &p.lead.cut
	at = max(at, cut.end)
	switch {
	case cut.dry || cut.lapsed:
		p.steps = cut.cover(at, p.steps[:0])
		if err := p.do(ctx, p.lead, p.steps); err != nil {
			return err
		}
		p.sound.skip(at)
	case !cut.open:
		p.sound.leave(at)
	}
	return nil
}

// hear gives the new sounds to all voices.
func (p *presentation) hear(ctx context.Context) error {
	p.codes = p.sound.code(p.sounds, p.codes[:0])
	if p.solo {
		if err := p.sing(ctx); err != nil {
			return err
		}
	}
	p.queue(p.sounds, p.codes)
	return nil
}

// sing gives the sounds to the voice that leads.
func (p *presentation) sing(ctx context.Context) error {
	sounds, params := p.sounds, p.sound.opus
	if p.coded {
		sounds, params = p.codes, p.sound.aac
	}
	for _, s := range sounds {
		cut := &p.lead.cut
		if (cut.open || cut.lapsed) && !cut.waiting && s.at+s.ticks/2 < cut.end {
			p.out.metrics.Dropped.Add(1) // the watchdog has skipped its time
			continue
		}
		u := au.Unit{PTS: s.at, DTS: s.at, Arrival: p.lead.arrival, Key: true, Params: params, Data: s.data}
		if err := p.advance(ctx, &u, frame{at: s.at, key: true}); err != nil {
			return err
		}
	}
	return nil
}

// queue gives new frames to the voices that follow.
func (p *presentation) queue(sounds, codes []sound) {
	for _, v := range p.voices {
		all := sounds
		if v.coded {
			all = codes
		}
		for _, s := range all {
			if !v.trail.push(s) {
				p.out.metrics.Dropped.Add(1)
			}
		}
	}
}

// onAudio converts ticks of the leading rendition to the audio's.
func (p *presentation) onAudio(ticks int64) int64 {
	return toTicks(fromTicks(ticks, p.lead.rate), opusRate)
}

// follow brings the audio up to the leading rendition.
func (p *presentation) follow(ctx context.Context) error {
	now := p.onAudio(p.lead.cut.end)
	for _, v := range p.voices {
		v.trail.reaches(now)
		v.trail.mute = p.solo && p.coded && (p.lead.cut.dry || p.lead.cut.lapsed)
	}
	lag := audioLag
	if p.quiet {
		lag = quietLag
	}
	if !p.solo && p.has().audio && p.lead.cut.open && p.sound.behind(now, lag) {
		p.quiet = true
		whole := (now - toTicks(quietLag, opusRate) - p.sound.cursor) / usualTicks * usualTicks
		p.silence(p.sound.cursor + whole)
	}
	return p.drain(ctx)
}

func (p *presentation) silence(until int64) {
	p.sounds = p.sound.fill(until, p.sounds[:0])
	p.codes = p.sound.code(p.sounds, p.codes[:0])
	p.queue(p.sounds, p.codes)
	p.out.metrics.Silence.Add(uint64(len(p.sounds)))
}

// drain does what the followers say, and publishes the result.
func (p *presentation) drain(ctx context.Context) error {
	for _, v := range p.voices {
		for verb := v.trail.next(); verb != 0; verb = v.trail.next() {
			if err := v.do(ctx, verb); err != nil {
				return err
			}
		}
	}
	return p.publish(ctx)
}

// slipped reports, once, that all of the audio has come too late for a while. What comes
// at once after an outage is no sign of that. Silence waits for the audio again then: else
// it would keep out what is a little behind, and was so before.
func (p *presentation) slipped(now time.Time) bool {
	if p.tardy.IsZero() || now.Sub(p.tardy) < tardyFor {
		return false
	}
	p.tardy, p.quiet = time.Time{}, false
	return true
}

// idle is the watchdog: it closes what a frame that does not come keeps open,
// and covers the time without media (specs R31, L27, L38).
func (p *presentation) idle(ctx context.Context, now time.Time) error {
	r := p.lead
	if !r.cut.open && !r.cut.lapsed {
		return nil
	}
	p.hasty = true
	err := p.roll(ctx)
	p.hasty = false
	if err != nil {
		return err
	}
	r = p.lead
	at := r.taken + toTicks(now.Sub(r.arrival)-stallAfter, r.rate)
	p.steps = r.cut.idle(at, p.steps[:0])
	if len(p.steps) == 0 {
		return nil
	}
	if err := p.do(ctx, r, p.steps); err != nil {
		return err
	}
	if err := p.chase(ctx); err != nil {
		return err
	}
	if now := p.onAudio(r.cut.end); !p.solo && p.has().audio && p.sound.behind(now, quietLag) {
		p.quiet = true // it had as much time
		p.silence(now)
	}
	return p.follow(ctx)
}

// finish closes all that is open: the Epoch ends. The next one begins with a
// discontinuity.
func (p *presentation) finish(ctx context.Context) error {
	if err := p.conclude(ctx); err != nil {
		return err
	}
	p.breaks = p.breaks || p.lead.media != nil && p.lead.media.Position().MSN > firstMSN
	for _, v := range p.voices {
		v.trail.reaches(p.sound.cursor)
		v.trail.finish()
	}
	if err := p.drain(ctx); err != nil {
		return err
	}
	for _, r := range p.renditions() {
		p.time.reach(fromTicks(r.end, r.rate))
	}
	return nil
}

// conclude takes what is queued, and closes all segments.
func (p *presentation) conclude(ctx context.Context) error {
	p.hasty = true
	err := p.roll(ctx)
	p.hasty = false
	if err != nil {
		return err
	}
	if p.solo {
		p.sounds = p.sounds[:0]
		p.codes = p.sound.flush(p.codes[:0])
		if p.coded {
			err = p.sing(ctx)
		}
		p.queue(p.sounds, p.codes)
	}
	if err != nil {
		return err
	}
	p.steps = p.lead.cut.close(p.furthest(), p.steps[:0])
	if err := p.do(ctx, p.lead, p.steps); err != nil {
		return err
	}
	for _, r := range p.reels {
		if r == p.lead || r.media == nil {
			continue
		}
		p.steps = r.cut.conclude(p.steps[:0])
		if err := p.do(ctx, r, p.steps); err != nil {
			return err
		}
	}
	if !p.solo && p.has().audio {
		p.silence(p.onAudio(p.lead.end))
		p.sounds = p.sounds[:0]
		p.codes = p.sound.flush(p.codes[:0])
		p.queue(p.sounds, p.codes)
	}
	return nil
}

// furthest is where the media of the layers ends.
func (p *presentation) furthest() int64 {
	end := p.lead.cut.end
	for _, r := range p.reels {
		if r.media != nil {
			end = max(end, r.cut.end)
		}
	}
	return end
}

// lapse ends an Epoch: the leading layer's segment ends, and from there on the
// time is covered until another one begins, with a discontinuity.
func (p *presentation) lapse(ctx context.Context) error {
	p.hasty = true
	err := p.roll(ctx)
	p.hasty = false
	if err != nil || p.current == nil {
		return err
	}
	p.breaks = true
	cut := &p.lead.cut
	if cut.open && !cut.dry {
		p.steps = cut.abandon(cut.end+cut.expected(), p.steps[:0])
		if err := p.do(ctx, p.lead, p.steps); err != nil {
			return err
		}
	}
	return p.vacate(ctx, p.lead.arrival)
}

// vacate goes on in real time while nobody publishes: pictures stand still and
// sound is silent in all renditions (specs L27, L33, L38; ADR 6).
func (p *presentation) vacate(ctx context.Context, now time.Time) error {
	if p.current == nil {
		return nil
	}
	if err := p.idle(ctx, now); err != nil {
		return err
	}
	if err := p.chase(ctx); err != nil {
		return err
	}
	return p.follow(ctx)
}

// rest covers the time up to the begin of the next Epoch, and closes everything.
func (p *presentation) rest(ctx context.Context, until time.Duration) error {
	if p.current == nil {
		return nil
	}
	if cut := &p.lead.cut; cut.dry || cut.lapsed {
		p.steps = cut.cover(toTicks(until, p.lead.rate), p.steps[:0])
		if err := p.do(ctx, p.lead, p.steps); err != nil {
			return err
		}
		if err := p.chase(ctx); err != nil {
			return err
		}
	}
	return p.finish(ctx)
}

// suspend closes everything: the program stops, and the next start goes on.
func (p *presentation) suspend(ctx context.Context) error {
	return p.finish(ctx)
}

// end closes everything and ends the playlists (specs L32). What exists is put
// on the shelf, also when something fails; the multivariant playlist goes first.
func (p *presentation) end(ctx context.Context) error {
	err := p.finish(ctx)
	now := time.Now()
	if p.announced.rows > 0 {
		p.shelf.put(p.index(), now.Add(p.cfg.Window))
	}
	for _, r := range p.renditions() {
		err = errors.Join(err, r.finish(ctx))
		r.retire(now, p.cfg.Window, max(p.cfg.Window, 3*p.target))
	}
	p.noteEnd(ctx)
	return err
}

// publish writes the playlists that have changed, once each rendition has a
// part: they report on one another (specs L58, L82). The plain ones come when the
// Ledger has what they list: they stay where they are if the program is killed, and
// the next start must know of it (specs S17, L41).
func (p *presentation) publish(ctx context.Context) error {
	if !p.stale() {
		return nil
	}
	all := p.renditions()
	for _, r := range all {
		if r.counter == 0 {
			return nil
		}
	}
	for _, r := range all {
		if err := r.publish(ctx); err != nil {
			return err
		}
	}
	if err := p.announce(ctx); err != nil {
		return err
	}
	p.note(ctx)
	p.save(ctx)
	for _, r := range all {
		r.publishPlain(ctx)
	}
	return nil
}

// stale reports whether a playlist has changed. Most units change none.
func (p *presentation) stale() bool {
	return slices.ContainsFunc(p.reels, func(r *reel) bool { return r.stale }) ||
		slices.ContainsFunc(p.voices, func(v *voice) bool { return v.stale })
}
