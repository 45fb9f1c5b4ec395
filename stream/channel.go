package stream

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/watch"
)

const (
	maxLayers = 8             // of one Offer
	maxRings  = 4 * maxLayers // of one Stream: its publisher's, and those that somebody still reads
)

// Stream is a named live channel. It outlives its publishers. All methods may
// be called from any goroutine.
type Stream struct {
	name   string
	totals *Totals
	state  watch.Value[State]
	notes  watch.Value[notes]

	mu      sync.Mutex
	rings   map[LayerID]*ring // below mu
	session *Session          // below mu; who publishes, or nil
	epoch   uint64            // below mu
	left    error             // below mu; of the last publisher that left
	removed bool              // below mu
}

func newStream(name string, totals *Totals) *Stream {
	s := &Stream{name: name, totals: totals, rings: make(map[LayerID]*ring)}
	s.state.Set(State{Since: time.Now()})
	return s
}

// Name returns the Stream's name.
func (s *Stream) Name() string { return s.name }

// State returns the present State.
func (s *Stream) State() State { return s.state.Get() }

// Wait returns the State as soon as its Version is above seen, or the
// context's error.
func (s *Stream) Wait(ctx context.Context, seen uint64) (State, error) {
	return s.state.Wait(ctx, func(now State) bool { return now.Version > seen })
}

// Publish makes the caller the publisher of the Stream and begins a new Epoch.
// A session of the same Principal that is still there is taken over: it ends
// with ErrTakenOver. Another Principal's gives ErrBusy; a bad list of layers, or too
// many while others are still read, ErrLayers; a Stream that was removed meanwhile ErrClosed.
func (s *Stream) Publish(o Offer) (*Session, error) {
	if err := checkLayers(o.Layers); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return nil, fmt.Errorf("publish %s: %w", s.name, ErrClosed)
	}
	old := s.session
	if old != nil && old.principal != o.Principal {
		return nil, fmt.Errorf("publish %s: %w", s.name, ErrBusy)
	}
	others, read := s.others(o.Layers)
	if len(o.Layers)+read > maxRings {
		return nil, fmt.Errorf("publish %s: %w: too many others are still read", s.name, ErrLayers)
	}
	if old != nil {
		old.end(ErrTakenOver)
		s.left = ErrTakenOver
	}
	s.epoch++
	x := newSession(s, o.Principal, s.epoch)
	sources := make([]*Source, len(o.Layers))
	for i, layer := range o.Layers {
		source := &Source{Epoch: s.epoch, Layer: layer, clock: clock{rate: layer.Codec.ClockRate}, taken: clock{rate: layer.Codec.ClockRate}}
		sources[i] = source
		r := s.ring(layer.ID)
		r.begin(source)
		x.feeds = append(x.feeds, &feed{ring: r, source: source})
	}
	for id, r := range others { // a ring takes megabytes, and a publisher may name its layers anew each time
		r.end(nil)
		if r.readers.Load() == 0 {
			delete(s.rings, id)
		}
	}
	s.session = x
	s.totals.Sessions.Add(1)
	s.publishState(true, sources)
	return x, nil
}

func checkLayers(layers []Layer) error {
	if len(layers) == 0 || len(layers) > maxLayers {
		return fmt.Errorf("%w: %d layers, 1 to %d are allowed", ErrLayers, len(layers), maxLayers)
	}
	for i, l := range layers {
		if l.ID.Kind != Audio && l.ID.Kind != Video || l.Codec.ClockRate == 0 {
			return fmt.Errorf("%w: layer %d has no kind or clock rate", ErrLayers, i)
		}
		if slices.ContainsFunc(layers[:i], func(o Layer) bool { return o.ID == l.ID }) {
			return fmt.Errorf("%w: %v appears twice", ErrLayers, l.ID)
		}
	}
	return nil
}

// Subscribe returns a new cursor in a Layer. The Layer need not have a
// publisher yet. A video Subscription begins at the newest keyframe that is
// still in the ring, else at the next one; audio at the newest packet. Close it
// when done. A removed Stream gives ErrClosed.
func (s *Stream) Subscribe(id LayerID) (*Subscription, error) {
	if id.Kind != Audio && id.Kind != Video {
		return nil, fmt.Errorf("subscribe to %s: %w", s.name, ErrLayers)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return nil, fmt.Errorf("subscribe to %s: %w", s.name, ErrClosed)
	}
	if _, ok := s.rings[id]; !ok && len(s.rings) >= maxRings {
		return nil, fmt.Errorf("subscribe to %s: %w: too many", s.name, ErrLayers)
	}
	b := &Subscription{stream: s, ring: s.ring(id), wake: make(chan struct{}, 1)}
	b.ring.readers.Add(1)
	b.ring.place(b)
	return b, nil
}

// others returns the rings of other Layers, and how many of them somebody reads. s.mu is
// held.
func (s *Stream) others(layers []Layer) (others map[LayerID]*ring, read int) {
	others = maps.Clone(s.rings)
	for _, l := range layers {
		delete(others, l.ID)
	}
	for _, r := range others {
		if r.readers.Load() > 0 {
			read++
		}
	}
	return others, read
}

// ring returns the ring of a Layer. s.mu is held.
func (s *Stream) ring(id LayerID) *ring {
	r, ok := s.rings[id]
	if !ok {
		r = newRing(id.Kind)
		s.rings[id] = r
	}
	return r
}

// leave is called by a Session that ends by itself.
func (s *Stream) leave(x *Session, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != x {
		return
	}
	s.session, s.left = nil, reason
	x.end(reason)
	for _, f := range x.feeds {
		f.ring.end(f.source)
	}
	s.publishState(false, s.state.Get().Sources)
}

// remove ends the Stream unless somebody publishes.
func (s *Stream) remove() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != nil {
		return false
	}
	s.removed = true
	for _, r := range s.rings {
		r.close()
	}
	return true
}

func (s *Stream) publishState(live bool, sources []*Source) {
	s.state.Update(func(old State) State {
		return State{Version: old.Version + 1, Live: live, Epoch: s.epoch, Sources: sources, Since: time.Now(), Left: s.left}
	})
}

// request passes a keyframe request to the present publisher.
func (s *Stream) request(r *ring) {
	s.mu.Lock()
	x := s.session
	s.mu.Unlock()
	if x != nil {
		x.want(r)
	}
}

// Source is what feeds one Layer during one Epoch. Its exported fields are
// immutable; its methods may be called from any goroutine.
type Source struct {
	Epoch uint64
	Layer Layer

	packets, bytes, duplicates, dropped atomic.Uint64
	reordered                           atomic.Bool

	keyframes          atomic.Uint64
	distances, longest atomic.Uint64 // between keyframes: sum and longest, in RTP units
	keyAt              uint32        // RTP timestamp of the newest keyframe; only the ring's writer touches it

	mu    sync.Mutex
	clock clock  // below mu; of sender reports
	taken clock  // below mu; of capture times
	owner uint32 // below mu; whose capture they are of
	order order  // below mu
}

// Counters are the running totals of a Source.
type Counters struct {
	Packets    uint64 // stored, padding included
	Bytes      uint64 // of payload
	Duplicates uint64 // dropped: the same sequence number again
	Dropped    uint64 // written after the session had ended
	Keyframes  uint64 // video only
	// KeyframeDistance is how far apart keyframes were on average and
	// LongestDistance at most, by their timestamps; 0 before the second one.
	KeyframeDistance, LongestDistance time.Duration
}

// Counters returns the totals so far.
func (s *Source) Counters() Counters {
	c := Counters{
		Packets:    s.packets.Load(),
		Bytes:      s.bytes.Load(),
		Duplicates: s.duplicates.Load(),
		Dropped:    s.dropped.Load(),
		Keyframes:  s.keyframes.Load(),
	}
	if c.Keyframes > 1 {
		c.KeyframeDistance = s.length(s.distances.Load() / (c.Keyframes - 1))
		c.LongestDistance = s.length(s.longest.Load())
	}
	return c
}

// length converts RTP units.
func (s *Source) length(units uint64) time.Duration {
	return time.Duration(float64(units) / float64(s.Layer.Codec.ClockRate) * float64(time.Second))
}

// keyframe notes a keyframe. Those that come out of order do not count.
func (s *Source) keyframe(timestamp uint32) {
	if s.keyframes.Load() > 0 {
		distance := timestamp - s.keyAt
		if int32(distance) <= 0 {
			return
		}
		s.distances.Add(uint64(distance))
		s.longest.Store(max(s.longest.Load(), uint64(distance)))
	}
	s.keyAt = timestamp
	s.keyframes.Add(1)
}

// Report returns the newest sender report that passed the checks (specs R4).
func (s *Source) Report() (Report, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.believed()
}

func (s *Source) report(r Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock.accept(r)
}

func (s *Source) captured(at Report, owner uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if owner != s.owner {
		s.owner, s.taken.trusted, s.taken.doubted, s.taken.strange, s.taken.proofs = owner, chain{}, chain{}, 0, false
	}
	s.taken.accept(at)
}

// captureReach is how far from a capture time others are interpolated: senders send
// one each second or so.
const captureReach = 5 * time.Second

// CaptureTime returns when the media of an RTP timestamp was captured, on the sender's
// clock as Report.Time has it, by the capture times that came with packets near it
// (specs R6); false if none did.
func (s *Source) CaptureTime(rtp uint32) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.taken
	if c.trusted.count == 0 || c.signed(rtp-c.trusted.last.RTP).Abs() > captureReach {
		return 0, false
	}
	return c.trusted.last.Time(rtp, c.rate), true
}

// Reordered reports whether the pictures come in another order than they are shown
// in (B-frames), as far as timestamps tell. It may be called for each packet.
func (s *Source) Reordered() bool { return s.reordered.Load() }

func (s *Source) seen(sequence uint16, timestamp uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock.saw(timestamp)
	s.taken.saw(timestamp)
	if s.Layer.ID.Kind == Video && s.order.saw(sequence, timestamp, s.Layer.Codec.ClockRate) {
		s.reordered.Store(true)
	}
}

// enoughReordered is how many pictures must have come late: one may be a jump of
// the clock.
const enoughReordered = 2

// order finds pictures that are shown before one that was sent before. It is pure.
type order struct {
	sequence  uint16 // of the newest packet
	timestamp uint32
	begun     bool
	back      int // pictures that go back in time
}

// saw takes a packet, and reports whether the pictures are reordered.
func (o *order) saw(sequence uint16, timestamp, rate uint32) bool {
	if o.begun && int16(sequence-o.sequence) <= 0 { //nolint:gosec // wraps on purpose
		return false // the network's order is no matter
	}
	back := int32(o.timestamp - timestamp)                                     //nolint:gosec // wraps on purpose
	if o.begun && back > 0 && back < int32(rate) && o.back < enoughReordered { //nolint:gosec // below 2^31
		o.back++
	}
	o.sequence, o.timestamp, o.begun = sequence, timestamp, true
	return o.back >= enoughReordered
}
