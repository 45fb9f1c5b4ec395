package stage

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// shot follows the picture of one seat, in all its layers. What is below is shared under
// the Program's mutex, but for what says otherwise.
type shot struct {
	seat   string             // fixed
	cancel context.CancelFunc // fixed

	takes  []*take   // the layers of the publisher, the best first; replaced, never changed
	opened time.Time // when they were
	came   time.Time // when the publisher began
	begun  bool      // its picture is in the program
	since  time.Time // so long
	lost   bool      // it was, and its publisher is gone
	spare  bool      // a layer of it is not in the program, since it was not there at the cut
	first  time.Time // when pictures were held first; zero: none are
	until  time.Time // they are, for the sound
}

// take is one layer of a shot. It is shared as that is.
type take struct {
	shot   *shot                // fixed
	from   *stream.Subscription // fixed
	source *stream.Source       // fixed
	before uint64               // packets when it was opened; fixed

	rungs    []stream.LayerID // of the program that it feeds
	held     []stream.Packet  // whole pictures from its keyframe on
	picture  []stream.Packet  // packets of the newest picture, while it is not whole
	at       uint32           // timestamp of that
	newest   uint32           // timestamp of its newest picture in the program
	seen     time.Time        // when the newest one came; only known while a layer is spare
	reported time.Time        // arrival of the sender report that was passed on
}

// drop forgets what is held.
func (s *shot) drop() {
	s.first = time.Time{}
	for _, t := range s.takes {
		t.held = nil
	}
}

// renew has the shot begin anew, with a keyframe.
func (s *shot) renew() {
	s.begun = false
	s.drop()
}

// ask asks the seat for keyframes of all its layers.
func (s *shot) ask() {
	for _, t := range s.takes {
		t.from.RequestKeyframe()
	}
}

// follow reads the picture of a seat until ctx ends, over its reconnects.
func (p *Program) follow(ctx context.Context, s *shot) {
	name := StreamOf(p.stage, s.seat)
	for ctx.Err() == nil {
		if from, ok := p.hub.Lookup(name); !ok || !from.State().Live {
			p.expect(s)
		}
		from, state, err := live(ctx, p.hub, name)
		if err != nil {
			return
		}
		layers := pictures(state)
		if len(layers) == 0 {
			p.complain(s, "this seat has no picture: have its camera switched on, or cut to another one")
			if _, err := from.Wait(ctx, state.Version); err != nil {
				return
			}
			continue
		}
		p.read(ctx, s, from, state, layers)
		p.lose(s, from)
	}
}

// lose says that the publisher of a seat is gone; of who has the picture the audience
// hears, unless another one is there already.
func (p *Program) lose(s *shot, from *stream.Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.miss(s)
	if s == p.current && s.begun && !from.State().Live {
		s.lost = true
		p.tell(func(*Status) {})
	}
}

// expect says that a seat is waited for.
func (p *Program) expect(s *shot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == p.wanted && !s.begun {
		p.tell(func(t *Status) { t.Error = "this seat is not there: the picture is cut to it when it comes" })
	}
}

// complain says why a seat's picture is not in the program.
func (p *Program) complain(s *shot, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == p.wanted && (!s.begun || s.lost) {
		p.tell(func(t *Status) { t.Error = why })
	}
}

// live waits until a Stream exists and is published.
func live(ctx context.Context, hub *stream.Hub, name string) (*stream.Stream, stream.State, error) {
	for {
		if s, ok := hub.Lookup(name); ok {
			if state := s.State(); state.Live {
				return s, state, nil
			}
		}
		if err := pause(ctx, lookEvery); err != nil {
			return nil, stream.State{}, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pictures lists the video layers of a publisher, the best first: no more than a program
// has.
func pictures(state stream.State) []*stream.Source {
	var all []*stream.Source
	for _, source := range state.Sources {
		if source.Layer.ID.Kind == stream.Video {
			all = append(all, source)
		}
	}
	if len(all) > mostRungs {
		all = append(all[:mostRungs-1], all[len(all)-1])
	}
	return all
}

// read follows one publisher of a seat, until it leaves or ctx ends.
func (p *Program) read(ctx context.Context, s *shot, from *stream.Stream, state stream.State, layers []*stream.Source) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var takes []*take
	defer func() {
		for _, t := range takes {
			t.from.Close()
		}
	}()
	for _, source := range layers {
		b, err := from.Subscribe(source.Layer.ID)
		if err != nil {
			_ = pause(ctx, lookEvery) // it was removed: live sees that
			return
		}
		if time.Since(state.Since) > fresh {
			b.Skip()
		}
		takes = append(takes, &take{shot: s, from: b, source: source, before: source.Counters().Packets})
	}
	p.mu.Lock()
	s.drop()
	s.takes, s.opened, s.came, s.begun = takes, time.Now(), state.Since, false
	if s == p.wanted {
		p.tell(func(t *Status) { t.Error = "" })
	}
	p.mu.Unlock()
	var pumps sync.WaitGroup
	for _, t := range takes {
		pumps.Go(func() {
			defer cancel() // the others have the same publisher
			p.pump(ctx, t)
		})
	}
	pumps.Wait()
}

// pump takes what comes of a layer, until the publisher leaves or ctx ends.
func (p *Program) pump(ctx context.Context, t *take) {
	var packets [64]stream.Packet
	begun := time.Now()
	for keyed := false; ; {
		wait, cancel := ctx, context.CancelFunc(func() {})
		if !keyed {
			t.from.RequestKeyframe()
			wait, cancel = context.WithTimeout(ctx, askEvery)
		}
		n, err := t.from.Read(wait, packets[:])
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, stream.ErrLagged):
			p.lagged(t)
		case errors.Is(err, context.DeadlineExceeded):
			if time.Since(begun) >= patience {
				p.complain(t.shot, "no keyframe comes of this seat")
			}
		case err != nil:
			return // the publisher left, or the Stream is gone
		case n > 0 && packets[0].Source != t.source:
			return // another publisher, whose layers may be others
		default:
			keyed = true
			p.take(t, packets[:n])
			clear(packets[:n])
		}
	}
}

// lagged forgets a picture that is not whole.
func (p *Program) lagged(t *take) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.picture = t.picture[:0]
}

// take takes packets of a layer in their order: pictures go on as they are whole, so
// that a cut is between two.
func (p *Program) take(t *take, packets []stream.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range packets {
		k := &packets[i]
		switch older := int32(k.Timestamp-t.at) < 0; { //nolint:gosec // wraps on purpose
		case len(t.picture) == 0:
			t.at = k.Timestamp
		case k.Timestamp == t.at && len(t.picture) < mostPicture:
		case older:
			if t.shot.begun && t.shot == p.current {
				p.write(t, packets[i:i+1]) // it was late
			}
			continue
		default:
			p.flush(t)
			t.at = k.Timestamp
		}
		t.picture = append(t.picture, *k)
		if k.Marker {
			p.flush(t)
		}
	}
}

// flush passes a picture on. p.mu is held.
func (p *Program) flush(t *take) {
	s, whole := t.shot, t.picture
	t.picture = t.picture[:0]
	switch {
	case s.begun && s == p.current:
		if p.stands(s) {
			break
		}
		p.pass(t, whole)
		if s.spare {
			p.regroup(t, whole)
		}
	case s == p.wanted || s == p.current:
		// It is wanted, or has the picture still and comes back with another publisher.
		p.hold(t, whole)
	}
	clear(whole)
}

// pass writes whole pictures of a layer. p.mu is held.
func (p *Program) pass(t *take, pictures []stream.Packet) {
	if p.session == nil || len(t.rungs) == 0 || len(pictures) == 0 {
		return
	}
	p.write(t, pictures)
	t.newest = pictures[len(pictures)-1].Timestamp
	if r, ok := t.source.Report(); ok && r.Arrival.After(t.reported) {
		t.reported = r.Arrival
		for _, id := range t.rungs {
			p.session.Report(id, r.NTP, r.RTP, r.Arrival)
		}
	}
}

// write writes packets of a layer. p.mu is held.
func (p *Program) write(t *take, packets []stream.Packet) {
	if p.session == nil {
		return
	}
	for _, id := range t.rungs {
		for i := range packets {
			p.session.Write(id, packets[i])
		}
	}
}

// stands reports whether the program's picture stands still since another one is there
// and waits for its sound. When that time has come, the program is cut: the other one's
// next picture may be long in coming, as of a screen that does not change. p.mu is held.
func (p *Program) stands(s *shot) bool {
	w := p.wanted
	if w == nil || w == s || w.first.IsZero() {
		return false
	}
	if now := time.Now(); now.After(w.until) && (!w.awaits(now, p.session != nil) || now.Sub(w.until) > mostLag) {
		p.cut(w)
	}
	return true
}

// miss says that the publisher of a shot is gone, and what is held of it with that. Who
// has the picture goes on, with a keyframe, for pictures of it were left out. p.mu is
// held.
func (p *Program) miss(s *shot) {
	if s.begun || s.first.IsZero() {
		return
	}
	s.drop()
	if c := p.current; s == p.wanted && c != nil && c != s && c.begun {
		c.renew()
		c.ask()
	}
}

// hold keeps the pictures of who is to have the program's until the sound of that moment
// is there, which mixing takes its time for: so each Epoch has the sound of its own
// pictures. Meanwhile the keyframes of the other layers come, so that it has all of
// them. Then the program is cut. p.mu is held.
func (p *Program) hold(t *take, whole []stream.Packet) {
	s, now := t.shot, time.Now()
	if len(p.lineup.Get().Sounds) == 0 { // nobody is on air: what begins now would have no end
		s.drop()
		return
	}
	if len(t.held) == 0 && !keyframe(whole) {
		t.from.RequestKeyframe()
		return
	}
	if s.first.IsZero() {
		s.first, s.until = now, now.Add(p.lag())
	}
	t.held = append(t.held, whole...)
	if len(t.held) < mostPicture && (now.Before(s.until) || s.awaits(now, p.session != nil)) {
		if now.After(s.until) {
			s.until = now // it is not gone
		}
		return
	}
	p.cut(s)
}

// cut begins with what a shot holds. p.mu is held.
func (p *Program) cut(s *shot) {
	s.lost = false
	s.begun = p.begin(s)
	for _, t := range s.takes {
		if s.begun {
			p.pass(t, t.held)
		}
	}
	s.drop()
}

// awaits reports whether a keyframe of another layer is waited for: of one that goes on;
// of any where nobody is kept waiting, or the publisher has just come, since a browser's
// layers begin one after another.
func (s *shot) awaits(now time.Time, live bool) bool {
	passed := now.Sub(s.first)
	patient := !live || now.Sub(s.came) < firstLayersFor
	if passed >= firstLayersFor || passed >= layersFor && !patient {
		return false
	}
	for _, t := range s.takes {
		if len(t.held) == 0 && (patient || now.Sub(s.opened) < layersFor || t.source.Counters().Packets > t.before) {
			return true
		}
	}
	return false
}

// regroup gives the program a layer that was not there at the cut, by another Epoch:
// when the keyframes of all layers that go on come together, after some time. p.mu is
// held.
func (p *Program) regroup(t *take, whole []stream.Packet) {
	s, now := t.shot, time.Now()
	t.seen = now
	if s != p.wanted || now.Sub(s.since) < settleFor {
		return
	}
	if now.Sub(s.first) >= layersFor {
		s.drop()
	}
	if len(t.held) == 0 && !keyframe(whole) {
		return
	}
	if s.first.IsZero() {
		s.first = now
	}
	t.held = append(t.held, whole...)
	late := false
	for _, o := range s.takes {
		if len(o.held) == 0 && now.Sub(o.seen) < time.Second {
			return
		}
		late = late || len(o.held) > 0 && len(o.rungs) == 0
	}
	if late {
		p.cut(s)
	}
}

// lag is how far the sound of the program is behind its picture. p.mu is held.
func (p *Program) lag() time.Duration {
	s := p.current
	if s == nil || p.session == nil || !s.begun {
		return 0
	}
	sound, ok := p.mixer.Clock(s.seat)
	if !ok {
		return 0
	}
	for _, t := range s.takes {
		if picture, ok := t.source.Report(); ok && len(t.rungs) > 0 {
			behind := picture.Time(t.newest, t.source.Layer.Codec.ClockRate) - sound.Time(p.heard, soundLayer().Codec.ClockRate)
			return min(max(behind, 0), mostLag)
		}
	}
	return 0
}

func keyframe(picture []stream.Packet) bool {
	for i := range picture {
		if picture[i].Keyframe || picture[i].Source.Layer.Codec.Keyframe(picture[i].Payload) {
			return true
		}
	}
	return false
}
