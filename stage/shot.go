package stage

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// shot follows the picture of one seat. What is below is shared under the Program's
// mutex, but for what says otherwise.
type shot struct {
	seat   string             // fixed
	cancel context.CancelFunc // fixed
	from   atomic.Pointer[stream.Subscription]

	source   *stream.Source  // of the packets last taken
	begun    bool            // its picture is in the program
	held     []stream.Packet // whole pictures from its keyframe on, that wait for the sound
	until    time.Time       // so long
	newest   uint32          // timestamp of its newest picture in the program
	picture  []stream.Packet // packets of the newest picture, while it is not whole
	at       uint32          // timestamp of that
	reported time.Time       // arrival of the sender report that was passed on
}

// ask asks the seat for a keyframe.
func (s *shot) ask() {
	if from := s.from.Load(); from != nil {
		from.RequestKeyframe()
	}
}

// follow reads the picture of a seat until ctx ends, over its reconnects.
func (p *Program) follow(ctx context.Context, s *shot) {
	name := StreamOf(p.stage, s.seat)
	for ctx.Err() == nil {
		from, state, err := live(ctx, p.hub, name)
		if err != nil {
			return
		}
		layers := pictures(state)
		if len(layers) == 0 {
			p.complain(s, "this seat has no picture")
			if _, err := from.Wait(ctx, state.Version); err != nil {
				return
			}
			continue
		}
		p.read(ctx, s, from, state, layers)
	}
}

// complain says why a seat's picture is not in the program.
func (p *Program) complain(s *shot, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == p.wanted && !s.begun {
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

// pictures lists the video layers of a publisher, the best first.
func pictures(state stream.State) []*stream.Source {
	var all []*stream.Source
	for _, source := range state.Sources {
		if source.Layer.ID.Kind == stream.Video {
			all = append(all, source)
		}
	}
	return all
}

// read follows one publisher of a seat, until it leaves or ctx ends: its best layer
// whose keyframe comes.
func (p *Program) read(ctx context.Context, s *shot, from *stream.Stream, state stream.State, layers []*stream.Source) {
	begun := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		b, err := from.Subscribe(layers[i%len(layers)].Layer.ID)
		if err != nil {
			_ = pause(ctx, lookEvery) // it was removed: live sees that
			return
		}
		if time.Since(state.Since) > fresh {
			b.Skip()
		}
		s.from.Store(b)
		err = p.pump(ctx, s, b, layers[0])
		s.from.Store(nil)
		b.Close()
		if !errors.Is(err, errNoKeyframe) {
			return
		}
		if time.Since(begun) >= patience {
			p.complain(s, "no keyframe comes of this seat")
		}
	}
}

// errNoKeyframe says that no keyframe of a layer came in time.
var errNoKeyframe = errors.New("no keyframe")

// pump takes what a Subscription reads. It ends with errNoKeyframe when another layer is
// to be tried, and otherwise when the publisher leaves or ctx ends.
func (p *Program) pump(ctx context.Context, s *shot, b *stream.Subscription, best *stream.Source) error {
	var packets [64]stream.Packet
	due := time.Now().Add(settleOnRequest)
	if !best.Layer.OnRequest {
		due = time.Now().Add(settleFor)
	}
	for keyed := false; ; {
		wait, cancel := ctx, context.CancelFunc(func() {})
		if !keyed {
			b.RequestKeyframe()
			wait, cancel = context.WithTimeout(ctx, askEvery)
		}
		n, err := b.Read(wait, packets[:])
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, stream.ErrLagged):
			p.lagged(s)
		case errors.Is(err, context.DeadlineExceeded):
			if time.Now().After(due) {
				return errNoKeyframe
			}
		case err != nil:
			return err // the publisher left, or the Stream is gone
		case n > 0 && packets[0].Source.Epoch != best.Epoch:
			return stream.ErrOffline // another publisher, whose layers may be others
		default:
			keyed = true
			p.take(s, packets[:n])
			clear(packets[:n])
		}
	}
}

// lagged forgets a picture that is not whole.
func (p *Program) lagged(s *shot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.picture = s.picture[:0]
}

// take takes packets of one Source in their order: pictures go on as they are whole, so
// that a cut is between two.
func (p *Program) take(s *shot, packets []stream.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.source != packets[0].Source {
		s.source, s.begun, s.picture, s.held = packets[0].Source, false, s.picture[:0], nil
	}
	for i := range packets {
		k := &packets[i]
		switch older := int32(k.Timestamp-s.at) < 0; { //nolint:gosec // wraps on purpose
		case len(s.picture) == 0:
			s.at = k.Timestamp
		case k.Timestamp == s.at && len(s.picture) < mostPicture:
		case older:
			if s.begun && s == p.current {
				p.write(*k) // it was late
			}
			continue
		default:
			p.flush(s)
			s.at = k.Timestamp
		}
		s.picture = append(s.picture, *k)
		if k.Marker {
			p.flush(s)
		}
	}
}

// flush passes a picture on. The first one of a Source is a keyframe: the program is cut
// there. p.mu is held.
func (p *Program) flush(s *shot) {
	whole := s.picture
	s.picture = s.picture[:0]
	switch {
	case s.begun && s == p.current:
		if p.stands(s) {
			return
		}
	case s == p.wanted || s == p.current && p.wanted != nil && p.wanted.seat != s.seat:
		// It is wanted, or has the picture still and comes back with a new Source.
		if whole = p.hold(s, whole); whole == nil {
			return
		}
		if s.begun = p.begin(s); !s.begun {
			return
		}
	default:
		return
	}
	for i := range whole {
		p.write(whole[i])
	}
	s.newest = whole[len(whole)-1].Timestamp
	if r, ok := s.source.Report(); ok && r.Arrival.After(s.reported) && p.session != nil {
		s.reported = r.Arrival
		p.session.Report(stream.LayerID{Kind: stream.Video}, r.NTP, r.RTP, r.Arrival)
	}
	clear(whole)
}

// stands reports whether the program's picture stands still since another one is there
// and waits for its sound. When that is gone meanwhile, this one needs a keyframe, for
// pictures of it were left out. p.mu is held.
func (p *Program) stands(s *shot) bool {
	w := p.wanted
	if w == nil || w == s || len(w.held) == 0 {
		return false
	}
	if time.Since(w.until) > mostLag {
		w.held = nil
		s.begun = false
		s.ask()
	}
	return true
}

// hold keeps the pictures of who is to have the program's until the sound of that moment
// is there, which mixing takes its time for: so each Epoch has the sound of its own
// pictures. It returns them then, nil before. p.mu is held.
func (p *Program) hold(s *shot, whole []stream.Packet) []stream.Packet {
	now := time.Now()
	if len(s.held) == 0 {
		if !keyframe(whole) {
			s.ask()
			return nil
		}
		s.until = now.Add(p.lag())
	}
	if len(s.held) == 0 && !now.Before(s.until) {
		return whole
	}
	s.held = append(s.held, whole...)
	clear(whole)
	if now.Before(s.until) && len(s.held) < mostPicture {
		return nil
	}
	held := s.held
	s.held = nil
	return held
}

// lag is how far the sound of the program is behind its picture. p.mu is held.
func (p *Program) lag() time.Duration {
	s := p.current
	if s == nil || p.session == nil || !s.begun {
		return 0
	}
	picture, ok := s.source.Report()
	sound, ok2 := p.mixer.Clock(s.seat)
	if !ok || !ok2 {
		return 0
	}
	behind := picture.Time(s.newest, s.source.Layer.Codec.ClockRate) - sound.Time(p.heard, soundLayer().Codec.ClockRate)
	return min(max(behind, 0), mostLag)
}

func keyframe(picture []stream.Packet) bool {
	for i := range picture {
		if picture[i].Keyframe || picture[i].Source.Layer.Codec.Keyframe(picture[i].Payload) {
			return true
		}
	}
	return false
}

// write writes a packet of the picture. p.mu is held.
func (p *Program) write(k stream.Packet) {
	if p.session != nil {
		p.session.Write(stream.LayerID{Kind: stream.Video}, k)
	}
}
