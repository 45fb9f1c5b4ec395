package packager

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/fmp4"
	"github.com/whipcast/whipcast/packager/hls"
)

// The ladder: how the layers of a simulcast become renditions that are cut at the
// same instants (specs R39 to R44, L91, L94).
//
// One layer leads. Its key frame waits until the others are as far, so that it is
// known whether all have one: only then it closes a segment, unless there is no
// time left. The others take their frames when the leading one is as far, and
// begin their segments at the same instant with a key frame of their own, or
// have a segment without media. When the leading layer falls silent and another
// goes on, that one leads.

const (
	// keyWait is how far other media may go on while the leading key frame waits.
	keyWait = 150 * time.Millisecond
	// mostMisses is how many boundaries in a row a layer may pass without a key
	// frame, though its media goes on.
	mostMisses = 4
)

// roll takes what can be taken of the queues.
func (p *presentation) roll(ctx context.Context) error {
	for {
		for p.ready() {
			u := p.lead.take()
			f := p.lead.frame(&u)
			f.lone = u.Key && p.lone(f.at)
			p.lead.lost = u.Gap || p.lead.lost && !u.Key
			p.lead.arrival = u.Arrival
			if err := p.advance(ctx, &u, f); err != nil {
				return err
			}
		}
		next := p.successor()
		if next == nil {
			break
		}
		if err := p.succeed(ctx, next); err != nil {
			return err
		}
	}
	if err := p.chase(ctx); err != nil {
		return err
	}
	return p.follow(ctx)
}

// ready reports whether the leading reel's next unit can be taken.
func (p *presentation) ready() bool {
	r := p.lead
	if p.solo || len(r.queue) == 0 {
		return false
	}
	if !r.queue[0].Key || p.hasty {
		return true
	}
	at, late := r.next(), toTicks(keyWait, r.rate)
	all := true
	for _, o := range p.reels {
		if o.track < 0 || o.misfit || !o.seen {
			continue
		}
		if o.newest >= at+late {
			return true
		}
		if o != r && o.active(at) && !o.keyAt(at) && o.newest < at+pairTicks {
			all = false
		}
	}
	return all
}

// lone reports whether another layer has no key frame at this instant.
func (p *presentation) lone(at int64) bool {
	for _, o := range p.reels {
		if o != p.lead && o.active(at) && !o.keyAt(at) {
			return true
		}
	}
	return false
}

// advance takes the next frame of the leading rendition.
func (p *presentation) advance(ctx context.Context, u *au.Unit, f frame) error {
	r := p.lead
	var ok bool
	p.steps, ok = r.cut.add(f, p.steps[:0])
	if err := p.do(ctx, r, p.steps); err != nil {
		return err
	}
	r.taken = f.at
	p.time.saw(fromTicks(f.at, r.rate), u.Arrival)
	if !ok {
		r.starved = true
		p.out.metrics.Dropped.Add(1)
		return nil
	}
	r.hold(u)
	if r.media == nil {
		if err := p.join(r, u.Params); err != nil {
			return err
		}
	}
	if r.begun {
		return nil
	}
	return p.open(ctx, f, u.Params)
}

// open begins a segment of the leading rendition.
func (p *presentation) open(ctx context.Context, f frame, params *au.Params) error {
	r := p.lead
	hole := p.breaks
	p.breaks = false
	if err := r.setParams(ctx, params); err != nil {
		return err
	}
	if hole { // new parameters alone are none: the sound goes on over them
		p.sound.leave(p.onAudio(r.cut.segmentAt))
	}
	p.anchor(fromTicks(r.cut.segmentAt, r.rate))
	c := &cut{at: r.cut.segmentAt, begins: true, breaks: f.fresh || hole, zero: p.time.zero}
	r.begin(c.at, c.date(c.at, r.rate), c)
	p.tell(c)
	return nil
}

// anchor lets program date-time follow our clock where a segment begins: for all
// renditions, since they share the cut (specs R8, L25, L90).
func (p *presentation) anchor(at time.Duration) {
	shift := p.time.turn(at)
	if shift == 0 {
		return
	}
	p.out.metrics.Reanchored.Add(1)
	p.out.metrics.Drift.Add(uint64(shift.Abs() / time.Millisecond)) //nolint:gosec // never negative
	p.log.Debug("program date-time follows the clock", "shift", shift, "at", at)
}

// tell says to all that follow where a segment of the leading rendition begins or
// ends.
func (p *presentation) tell(c *cut) {
	if c.begins {
		p.current = c
	}
	for _, r := range p.reels {
		switch {
		case r == p.lead:
		case r.media != nil:
			r.cut.cuts = append(r.cut.cuts, c)
		case c.begins:
			r.cut.misses++ // until it joins
		}
	}
	for _, v := range p.voices {
		v.trail.turns(p.onAudio(c.at), c)
	}
}

// do carries out what a segmenter said.
func (p *presentation) do(ctx context.Context, r *reel, steps []step) error {
	for _, s := range steps {
		var err error
		switch s.verb {
		case keep:
			r.settle(s.ticks)
		case stretch:
			r.stretch(s.ticks)
		case extend:
			r.extend(s.ticks)
		case closePart:
			err = r.closePart(ctx)
		case skip:
			if p.solo && !p.coded {
				err = p.hush(ctx, r, s.ticks)
			} else {
				err = r.skipPart(ctx, s.ticks)
			}
		case show:
			err = p.show(ctx, r, s.ticks)
		case openEmpty:
			p.openEmpty(r, s.ticks, s.cut)
		case closeSegment:
			r.clock()
			if err = r.closeSegment(ctx); r == p.lead {
				p.tell(&cut{at: r.end})
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// show makes a part of a segment without frames. When the publisher is silent, as
// a whole, the last key frame stands still: players wait for nothing, and whoever
// comes has a picture (ADR 6). When only one layer is, it has gaps: there are
// better ones (specs R43).
func (p *presentation) show(ctx context.Context, r *reel, ticks int64) error {
	switch {
	case r != p.lead && !p.silent() || p.solo && p.coded:
		return r.skipPart(ctx, ticks)
	case p.solo:
		return p.hush(ctx, r, ticks)
	case len(r.still.Data) == 0 || len(r.body) == 0 && r.at > r.start: // or it has begun with gaps
		return r.skipPart(ctx, ticks)
	}
	still := r.still
	still.Duration = uint32(ticks) //nolint:gosec // at most a part
	r.add(still)
	p.out.metrics.Stills.Add(1)
	return r.closePart(ctx)
}

// silent reports whether the publisher as a whole sends nothing that can be shown.
func (p *presentation) silent() bool { return p.lead.cut.dry || p.lead.cut.lapsed }

// hush makes a part of silence where the audio leads.
func (p *presentation) hush(ctx context.Context, r *reel, ticks int64) error {
	end := r.at + ticks
	quiet := soundtrack{cursor: r.at}
	sounds := quiet.fill(end, nil)
	if len(sounds) == 0 {
		return r.skipPart(ctx, ticks)
	}
	sounds[len(sounds)-1].ticks += end - quiet.cursor
	for _, s := range sounds {
		r.add(fmp4.Sample{Duration: uint32(s.ticks), Key: true, Data: s.data}) //nolint:gosec // 20 ms
	}
	p.sound.skip(end)
	p.queue(sounds, p.sound.code(sounds, nil))
	p.out.metrics.Silence.Add(uint64(len(sounds)))
	return r.closePart(ctx)
}

// openEmpty begins a segment that has no media yet; c is nil if it is of the
// leading rendition.
func (p *presentation) openEmpty(r *reel, at int64, c *cut) {
	leads := c == nil
	if leads {
		c = &cut{at: at, begins: true, zero: p.time.zero}
	}
	r.begin(at, c.date(at, r.rate), c)
	if leads {
		p.tell(c)
	}
}

// chase brings the layers that follow as far as the leading one.
func (p *presentation) chase(ctx context.Context) error {
	for _, r := range p.reels {
		if r == p.lead {
			continue
		}
		for r != p.lead && len(r.queue) > 0 && r.next() <= p.lead.taken+r.within() {
			if err := p.take(ctx, r); err != nil {
				return err
			}
		}
		if !r.active(p.lead.taken) || p.silent() {
			r.cut.misses = 0
		}
		if r.media == nil || r == p.lead {
			continue
		}
		now := max(p.lead.cut.end, p.lead.taken)
		if p.silent() { // frames go by that are not taken: boundaries may come yet
			now = p.lead.cut.end
		}
		if r.cut.open && !r.cut.dry { // it is waited for, but no longer than for a part (specs L92)
			now = max(now-toTicks(stallAfter, r.rate), p.lead.end-1)
		}
		p.steps = r.cut.lag(now, p.steps[:0])
		if err := p.do(ctx, r, p.steps); err != nil {
			return err
		}
	}
	return p.exclude(ctx)
}

// take gives the next unit of a layer that follows to its rendition.
func (p *presentation) take(ctx context.Context, r *reel) error {
	u := r.take()
	f := r.frame(&u)
	if r == p.heir && u.Key {
		return p.inherit(ctx, r, &u)
	}
	if r.media == nil {
		if !u.Key || !p.current.begun(f.at, r.within()) || !p.lead.begun {
			p.miss(r, f.at)
			return nil
		}
		if err := p.join(r, u.Params); err != nil {
			return err
		}
		if err := r.setParams(ctx, u.Params); err != nil {
			return err
		}
		r.cut.misses = 0
		r.cut.cuts = append(r.cut.cuts[:0], p.current)
		r.cut.end = p.current.at
	}
	var ok bool
	p.steps, ok = r.cut.follow(f, r.within(), p.steps[:0])
	if err := p.do(ctx, r, p.steps); err != nil {
		return err
	}
	r.taken, r.arrival = f.at, u.Arrival
	if !ok {
		p.miss(r, f.at)
		return nil
	}
	r.hold(&u)
	if !u.Key || r.cut.end != r.cut.segmentAt {
		return nil
	}
	if d := r.cut.begun.at - f.at; abs(d) <= r.within() { // the same instant
		r.offset += d
		r.newest += d
		r.exact = true
	}
	return r.setParams(ctx, u.Params)
}

// miss drops a unit of a layer that waits for a boundary. If it has missed the
// newest one, the sooner another one comes the better.
func (p *presentation) miss(r *reel, at int64) {
	r.starved = true
	p.out.metrics.Dropped.Add(1)
	if p.current != nil && at > p.current.at+r.within() {
		p.lead.cut.hurry = true
	}
}

// begun reports whether a segment began at an instant.
func (c *cut) begun(at, within int64) bool { return c != nil && c.begins && abs(c.at-at) <= within }

// join makes the playlist of a layer that has media for the first time: as long
// as the others, with segments without media (specs R43).
func (p *presentation) join(r *reel, params *au.Params) error {
	if p.current != nil { // what came before has its place in the others
		r.events = after(r.events, toTicks(fromTicks(p.current.at, p.lead.rate), r.rate))
	}
	all := p.renditions()
	if len(all) == 0 || all[0].media.Position() == (hls.Position{}) {
		r.media = p.newMedia()
		return nil
	}
	_, name, err := r.describe(params)
	if err != nil {
		return err
	}
	state := all[0].media.State()
	state.Parts, state.Open = 0, hls.Listed{}
	for i := range state.Segments {
		state.Segments[i].Gap = true
		state.Segments[i].Init = name
	}
	r.media, err = hls.Restore(p.mediaConfig(), state)
	if err != nil {
		return fmt.Errorf("join %s: %w", r.name, err)
	}
	return nil
}

// successor returns the layer that should lead because the leading one is silent
// though others are not.
func (p *presentation) successor() *reel {
	if p.solo || len(p.lead.queue) > 0 { // what is queued there waits for the others
		return nil
	}
	patience := toTicks(leadPatience, p.lead.rate) + min(p.lead.cut.last, toTicks(time.Second, p.lead.rate))
	for _, r := range slices.Backward(p.reels) {
		if r == p.lead || r.misfit || r.media == nil || len(r.queue) == 0 || r.newest-p.lead.taken < patience {
			continue
		}
		if cut := &p.lead.cut; cut.open && !cut.dry {
			if r.cut.open && !r.cut.dry && len(r.cut.cuts) == 0 {
				return r
			}
		} else if r.hasKey() {
			return r
		}
	}
	return nil
}

// succeed makes another layer the leading one.
func (p *presentation) succeed(ctx context.Context, r *reel) error {
	old := p.lead
	if old.cut.dry || !old.cut.open { // it begins with its key frame
		p.steps = r.cut.lag(old.cut.end, p.steps[:0])
		if err := p.do(ctx, r, p.steps); err != nil {
			return err
		}
		for len(r.queue) > 0 && !r.queue[0].Key {
			r.take()
			p.out.metrics.Dropped.Add(1)
		}
		if !r.cut.open {
			r.cut.lapsed, r.cut.end = old.cut.lapsed, max(r.cut.end, old.cut.end)
		}
	}
	r.cut.hurry, r.cut.begun = old.cut.hurry, nil
	r.cut.told = max(old.cut.told, old.cut.end, old.taken)
	old.cut.lapsed, old.cut.begun = false, p.current
	p.lead = r
	p.log.Info("another layer leads", "rendition", r.name, "silent", old.name)
	return nil
}

// exclude gives up the layers whose key frames never come with the others': the
// best one goes on alone (specs R42).
func (p *presentation) exclude(ctx context.Context) error {
	var misfit *reel
	for _, r := range p.reels {
		if r != p.lead && r.cut.misses >= mostMisses && r.active(p.lead.taken) {
			misfit = r
		}
	}
	if misfit == nil {
		return nil
	}
	p.log.Warn("layers of the simulcast have their key frames at different times: only the best one is offered; "+
		"give all layers the same key frame interval", "rendition", misfit.name)
	best := p.lead
	for _, r := range p.reels {
		if r.active(p.lead.taken) && r.area > best.area {
			best = r
		}
	}
	for _, r := range p.reels {
		r.misfit = r != best && (r != p.lead || best.media != nil)
		r.cut.misses = 0
	}
	if best.media == nil {
		p.heir = best
		return nil
	}
	if best != p.lead {
		return p.succeed(ctx, best)
	}
	return nil
}

// inherit makes a layer the leading one that never fitted the others, with its
// key frame.
func (p *presentation) inherit(ctx context.Context, r *reel, u *au.Unit) error {
	old := p.lead
	p.heir = nil
	p.steps = old.cut.abandon(old.cut.end+old.cut.expected(), p.steps[:0])
	if err := p.do(ctx, old, p.steps); err != nil {
		return err
	}
	if err := p.join(r, u.Params); err != nil {
		return err
	}
	if err := r.setParams(ctx, u.Params); err != nil {
		return err
	}
	r.cut.lapsed, r.cut.end = true, old.cut.end
	old.cut.lapsed, old.misfit = false, true
	p.lead = r
	r.queue = slices.Insert(r.queue, 0, *u)
	return nil
}
