package packager

import (
	"context"
	"log/slog"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/stream"
)

const (
	// queued is how many batches of units may wait for a runner.
	queued = 64
	// holdFor is how long the first units of an Epoch are held for the other
	// track and for sender reports (specs R3).
	holdFor = 500 * time.Millisecond
	// holdBytes bounds what is held while key frames are observed.
	holdBytes = 48 << 20
	// lingerFor is how long units are waited for of a track whose Epoch is over.
	lingerFor = 500 * time.Millisecond
	// tick is how often a runner looks at the clock; idleTick is how often while
	// nobody publishes.
	tick     = 100 * time.Millisecond
	idleTick = time.Second
	// stopWithin is how long the last words may take when the context has ended.
	stopWithin = 3 * time.Second
	// distrust is how far sender reports and arrival times may contradict each
	// other about the offset of the tracks before the reports are ignored.
	distrust = 3 * time.Second
)

// runner packages one Stream. It is one goroutine, which owns all of it.
type runner struct {
	cfg     Config
	stream  *stream.Stream
	log     *slog.Logger
	metrics *Metrics
	out     outlet
	shelf   shelf
	noted   bool // the Ledger has what is on the shelf, and no presentation
	events  chan event
	errands <-chan errand
	// start starts a goroutine that Run waits for, and returns what stops it.
	start func(run func(context.Context) error) context.CancelFunc
	pumps map[stream.LayerID]*pump
	early []stream.Note // what waits for a presentation
	ward  ward          // where the publisher is examined

	state   stream.State
	gone    bool // the Stream was removed
	lived   bool // there was a publisher
	present *presentation
	marks   []hls.DateRange // of the presentation before, which the next one goes on with
	begun   time.Time       // when the presentation began
	lastID  int64           // of the newest presentation
	live    *epoch          // what the presentation takes units of
	next    *epoch          // what is held until live is over and enough is known
	asked   time.Time       // when a key frame was last asked for
}

// watch sends every State of the Stream.
func (r *runner) watch(ctx context.Context) error {
	var seen uint64
	for {
		state := r.stream.State()
		if state.Version != seen || seen == 0 {
			seen = state.Version
			select {
			case r.events <- event{state: &state}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if _, err := r.stream.Wait(ctx, seen); err != nil {
			return err
		}
	}
}

// run handles events until the context ends, or until all is done: the
// presentation has ended and its files are deleted.
func (r *runner) run(ctx context.Context) error {
	pace := tick
	timer := time.NewTicker(pace)
	defer timer.Stop()
	for {
		if next := r.pace(); next != pace {
			pace = next
			timer.Reset(pace)
		}
		var err error
		select {
		case e := <-r.events:
			err = r.handle(ctx, e)
		case e := <-r.errands:
			err = r.serve(ctx, e)
		case <-timer.C:
			err = r.look(ctx, time.Now())
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			r.fail(ctx, err)
		}
		if r.done() {
			return nil
		}
	}
}

// fail gives up what is packaged: its publisher sends what cannot be. The next
// publisher begins a new presentation.
func (r *runner) fail(ctx context.Context, err error) {
	r.log.Error("stream cannot be packaged until it is published anew", "error", err)
	r.live, r.next = nil, nil
	if r.present == nil {
		return
	}
	if err := r.end(ctx, "failure"); err != nil {
		r.log.Debug("presentation was not ended well", "error", err)
	}
}

// pace is how often the clock is looked at.
func (r *runner) pace() time.Duration {
	if r.live == nil && r.next == nil && r.present == nil {
		return idleTick
	}
	return tick
}

// done reports whether nothing is left to do.
func (r *runner) done() bool {
	return (r.lived || r.gone) && !r.state.Live && r.present == nil && r.live == nil && r.next == nil &&
		len(r.shelf.items) == 0
}

// handle takes one event.
func (r *runner) handle(ctx context.Context, e event) error {
	switch {
	case e.state != nil:
		if err := r.adopt(*e.state); err != nil {
			return err
		}
	case e.gone:
		r.gone = true
	case e.notes != nil:
		r.deliver(e.notes)
	default:
		if err := r.receive(ctx, e); err != nil {
			return err
		}
	}
	return r.turn(ctx, time.Now())
}

// adopt takes a new State: a new Epoch is awaited, or the present one is over.
func (r *runner) adopt(state stream.State) error {
	if state.Version <= r.state.Version && r.state.Version > 0 {
		return nil
	}
	r.state = state
	defer func() { r.ward.enroll(r.state, r.pumps, r.cfg.Segment) }()
	r.live.passes(state)
	r.next.passes(state)
	if !state.Live || r.next.is(state.Epoch) || r.live.is(state.Epoch) {
		return nil
	}
	r.lived = true
	e := newEpoch(state, r.cfg.Segment)
	if e == nil {
		r.log.Warn("publisher offers neither audio nor video")
		return nil
	}
	r.abandon(r.next)
	r.next = e
	for _, source := range e.sources {
		if err := r.subscribe(source); err != nil {
			return err
		}
	}
	return nil
}

// subscribe starts a pump for a Source's Layer unless there is one.
func (r *runner) subscribe(source *stream.Source) error {
	id := source.Layer.ID
	if _, ok := r.pumps[id]; ok {
		return nil
	}
	sub, err := r.stream.Subscribe(id)
	if err != nil {
		return err
	}
	p := &pump{sub: sub, events: r.events, log: r.log, metrics: r.metrics}
	r.pumps[id] = p
	p.stop = r.start(p.run)
	return nil
}

// unsubscribe stops the pumps of Layers that nothing is taken of any more.
func (r *runner) unsubscribe() {
	for id, p := range r.pumps {
		if !r.live.reads(id) && !r.next.reads(id) {
			p.stop()
			delete(r.pumps, id)
		}
	}
}

// receive takes units, or the end, of a Source.
func (r *runner) receive(ctx context.Context, e event) error {
	_, live := r.live.track(e.source)
	_, next := r.next.track(e.source)
	if !live && !next { // the units were faster than the State
		if err := r.adopt(r.stream.State()); err != nil {
			return err
		}
	}
	r.ward.take(&e)
	for i := range e.units {
		if err := r.unit(ctx, e.source, &e.units[i]); err != nil {
			return err
		}
	}
	if e.ended {
		for _, epoch := range []*epoch{r.live, r.next} {
			if track, ok := epoch.track(e.source); ok {
				epoch.feeds[track].ended = true
			}
		}
	}
	return nil
}

// unit takes one unit: into the presentation, or on hold.
func (r *runner) unit(ctx context.Context, source *stream.Source, u *au.Unit) error {
	if track, ok := r.next.track(source); ok {
		r.hold(r.next, held{track: track, unit: *u})
		return nil
	}
	track, ok := r.live.track(source)
	if !ok {
		r.metrics.Dropped.Add(1)
		return nil
	}
	e := r.live
	if track == r.present.lead.track {
		if u.Restart { // specs R11
			r.log.Warn("publisher's clock jumped", "layer", layerName(source.Layer.ID))
			return r.renew(ctx, e.again(), held{track: track, unit: *u})
		}
		if gop, ok := r.present.outgrown(u); ok && r.replaceable(e, gop) {
			return r.replace(ctx, e, gop, held{track: track, unit: *u})
		}
	}
	if u.Restart {
		e.feeds[track].arrivals = arrivals{}
	}
	e.note(track, u)
	if u.Restart || u.Key && r.present.loose(track, e.videos) {
		r.realign(e)
	}
	return r.pass(ctx, e, track, u)
}

// pass gives one unit to the presentation.
func (r *runner) pass(ctx context.Context, e *epoch, track int, u *au.Unit) error {
	if track < e.videos {
		return r.present.video(ctx, track, u)
	}
	if err := r.present.sounding(ctx, u); err != nil {
		return err
	}
	if e.audio() == track && r.present.slipped(u.Arrival) {
		r.log.Info("sound comes too late all the time: it is placed by when it arrives")
		e.feeds[track].arrivals = arrivals{}
		e.note(track, u)
		r.realign(e)
	}
	return nil
}

// hold keeps a unit until its Epoch goes live.
func (r *runner) hold(e *epoch, h held) {
	leads := h.track < max(e.videos, 1)
	if leads {
		if !e.feeds[h.track].keyed && !h.unit.Key {
			r.metrics.Dropped.Add(1)
			return
		}
		if e.since.IsZero() {
			e.since = time.Now()
		}
		e.feeds[h.track].observe(fromTicks(h.unit.DTS, e.rate(h.track)), h.unit.Key)
	} else if e.since.IsZero() && len(e.held) >= holdFrames { // audio before any video
		e.bytes -= len(e.held[0].unit.Data)
		e.held = e.held[1:]
		r.metrics.Dropped.Add(1)
	}
	e.jumped = e.jumped || leads && h.unit.Restart
	if !e.jumped {
		e.note(h.track, &h.unit)
	}
	e.held = append(e.held, h)
	e.bytes += len(h.unit.Data)
}

// holdFrames bounds the audio that is held while there is no video yet.
const holdFrames = 250

// turn ends the live Epoch when it is over, lets the next one go live when enough
// is known of it, and ends the presentation when none comes.
func (r *runner) turn(ctx context.Context, now time.Time) error {
	if r.live != nil && r.live.finished(now) {
		r.live = nil
		if err := r.present.lapse(ctx); err != nil {
			return err
		}
	}
	switch {
	case r.live != nil:
		return nil
	case r.next != nil:
		return r.decide(ctx, now)
	case r.present != nil && (r.gone || !r.state.Live && now.Sub(r.state.Since) >= r.cfg.Grace):
		return r.end(ctx, "publisher left")
	}
	return nil
}

// decide lets the next Epoch go live, or gives it up when it was over before it
// had anything to show.
func (r *runner) decide(ctx context.Context, now time.Time) error {
	e := r.next
	over := e.finished(now)
	if e.since.IsZero() {
		if over {
			r.abandon(e)
			r.next = nil
		}
		return nil
	}
	target, known := r.target(e)
	if !over && e.bytes <= holdBytes && (!known || !e.complete(now)) || !over && !e.aligned(now) {
		return nil
	}
	if e.divided() {
		r.log.Warn("layers of the simulcast have their key frames at different times: only the best one is offered; " +
			"give all layers the same key frame interval")
		e.reduce()
		target, _ = r.target(e)
	}
	return r.activate(ctx, target)
}

// target returns the target duration of the presentation that e will be in.
func (r *runner) target(e *epoch) (time.Duration, bool) {
	if r.present != nil && r.present.has().holds(e.tracks()) {
		return r.present.target, true
	}
	if target, ok := e.found(); ok {
		return target, true
	}
	return e.give(), false
}

// activate makes the next Epoch live: in the present presentation, or in a new
// one if the tracks differ.
func (r *runner) activate(ctx context.Context, target time.Duration) error {
	e := r.next
	first, ok := e.start()
	if !ok {
		r.abandon(e)
		r.next = nil
		return nil
	}
	if r.present != nil && !r.present.has().holds(e.tracks()) {
		r.marks = r.present.marks()
		if err := r.end(ctx, "tracks changed"); err != nil {
			return err
		}
	}
	if r.present == nil {
		r.begin(ctx, e, target)
	}
	r.next, r.live = nil, e
	r.unsubscribe()
	if e.aac != nil {
		r.present.sound.pass(e.aac)
	}
	err := r.present.begin(ctx, opening{
		lead: e.lead, first: first.DTS, at: first.Arrival, videos: e.videos, audio: e.audio() >= 0,
		sync: e.align,
	})
	if err != nil {
		return err
	}
	early := r.early
	r.early = nil
	r.deliver(early)
	all := e.held
	e.held, e.bytes = nil, 0
	for i := range all {
		if r.live != e { // a held unit began something new
			r.hold(r.next, all[i])
			continue
		}
		if !r.present.early(all[i].track, e.videos, &all[i].unit) {
			if err := r.replay(ctx, e, &all[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// replay packages a unit that was held.
func (r *runner) replay(ctx context.Context, e *epoch, h *held) error {
	if h.track == e.lead && h.unit.Restart {
		h.unit.Restart = false
		return r.renew(ctx, e.again(), *h)
	}
	return r.pass(ctx, e, h.track, &h.unit)
}

// begin makes a new presentation.
func (r *runner) begin(ctx context.Context, e *epoch, target time.Duration) {
	r.begun = time.Now()
	r.lastID = max(r.lastID+1, r.begun.UnixMilli()) // one never comes twice
	r.present = newPresentation(r, r.stream.Name(), target, e.tracks())
	r.marks = nil
	r.metrics.Presentations.Add(1)
	r.present.noteBegin(ctx)
	for _, h := range e.held {
		if h.unit.Params != nil && h.unit.Params.Channels > 0 && e.aac == nil {
			r.present.sound.opus = h.unit.Params
			break
		}
	}
	r.log.Info("presentation begins", "presentation", r.present.id, "target", target,
		"layers", e.videos, "audio", e.tracks().audio)
}

// renew ends the live Epoch and holds its units anew.
func (r *runner) renew(ctx context.Context, e *epoch, first held) error {
	r.live = nil
	if err := r.present.lapse(ctx); err != nil {
		return err
	}
	first.unit.Restart = false
	r.next = e
	r.hold(e, first)
	return r.turn(ctx, time.Now())
}

// replaceable reports whether a longer distance of key frames is worth a new
// presentation with a longer target duration (specs R36).
func (r *runner) replaceable(e *epoch, gop time.Duration) bool {
	if !e.warned {
		e.warned = true
		r.log.Warn("key frames are too far apart for the running presentation: set the key frame interval to 1-2 s",
			"interval", gop, "target", r.present.target)
	}
	return !e.onRequest && gop <= maxTarget+spare
}

// replace ends the presentation and begins one with a longer target duration.
func (r *runner) replace(ctx context.Context, e *epoch, gop time.Duration, first held) error {
	r.marks = r.present.marks()
	if err := r.end(ctx, "key frames are further apart"); err != nil {
		return err
	}
	n := e.again()
	for i := range n.feeds {
		n.feeds[i].gop = max(n.feeds[i].gop, gop)
	}
	r.live, r.next = nil, n
	r.hold(n, first)
	return r.turn(ctx, time.Now())
}

// end ends the presentation.
func (r *runner) end(ctx context.Context, reason string) error {
	p := r.present
	r.present = nil
	err := p.end(ctx)
	r.remember(ctx)
	r.log.Info("presentation ends", "presentation", p.id, "reason", reason,
		"duration", time.Since(r.begun).Round(time.Millisecond),
		"segments", p.lead.media.Position().MSN-firstMSN, "parts", p.lead.counter)
	return err
}

func (r *runner) abandon(e *epoch) {
	if e != nil {
		r.metrics.Dropped.Add(uint64(len(e.held)))
	}
}

// align returns how a track's times stand to the leading one's.
func (r *runner) align(e *epoch, track int) alignment {
	e.lead = r.present.lead.track
	a := e.align(track, r.present.lead.offset)
	if a.contradicts > 0 && !e.distant {
		e.distant = true
		r.log.Warn("sender reports contradict arrival times and are ignored", "difference", a.contradicts)
	}
	return a
}

// realign corrects the offsets of the tracks that do not lead, by what is known
// by now.
func (r *runner) realign(e *epoch) {
	for track := range e.feeds {
		if f := &e.feeds[track]; !f.seen || track == r.present.lead.track {
			continue
		}
		a := r.align(e, track)
		if track < e.videos {
			r.present.realign(track, a)
		} else {
			r.present.sound.aim(a.offset)
		}
	}
}

// look is called by the clock: it watches over what does not happen.
func (r *runner) look(ctx context.Context, now time.Time) error {
	r.examine(now)
	r.clear(ctx, now)
	if err := r.turn(ctx, now); err != nil {
		return err
	}
	switch {
	case r.live != nil:
		if r.live.over.IsZero() {
			if err := r.present.idle(ctx, now); err != nil {
				return err
			}
		}
		r.realign(r.live)
	case r.present != nil:
		if err := r.present.vacate(ctx, now); err != nil {
			return err
		}
	}
	r.ask(now)
	return nil
}

// ask asks for a key frame when the segment is due (specs R33), and while there
// is none to begin with (R21). Publishers that do not heed it are asked when the
// segment is overdue.
func (r *runner) ask(now time.Time) {
	e := r.live
	if r.next != nil {
		e = r.next
	}
	if e == nil || !e.over.IsZero() || !e.tracks().video {
		return
	}
	if now.Sub(r.asked) < askEvery || !r.needsKey(e, now) {
		return
	}
	r.asked = now
	r.ward.ask(now)
	r.metrics.KeyframeRequests.Add(1)
	for _, source := range e.sources[:e.videos] { // all together: they are cut at the same instant (specs R41)
		if pump, ok := r.pumps[source.Layer.ID]; ok {
			pump.sub.RequestKeyframe()
		}
	}
}

// needsKey reports whether a key frame of the Epoch should come soon.
func (r *runner) needsKey(e *epoch, now time.Time) bool {
	if e == r.next {
		return e.since.IsZero() || !e.complete(now)
	}
	lead := r.present.lead
	if lead.cut.hurry && e.onRequest {
		return true
	}
	ahead := toTicks(askAhead, lead.rate)
	if !e.onRequest {
		ahead = lead.cut.want - lead.cut.stop
	}
	return lead.cut.wants(lead.taken+toTicks(now.Sub(lead.arrival), lead.rate), ahead)
}

// stop ends the presentation when the context has ended or something broke: the
// last segment is closed and ENDLIST written, within a few seconds. With a Ledger
// the next start goes on instead.
func (r *runner) stop(ctx context.Context) error {
	if r.present == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if r.cfg.Ledger != nil {
		return r.present.suspend(ctx)
	}
	return r.end(ctx, "gateway stops")
}
