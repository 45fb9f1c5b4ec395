package stream

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	videoPackets = 2048 // of a video ring: some 6 s at 2.5 Mb/s
	audioPackets = 512  // some 10 s of 20 ms packets
	// wakeAfter is how long readers may be left asleep while a picture's packets
	// arrive without a marker.
	wakeAfter = 5 * time.Millisecond
	// keyReach is how many packets back the first packet of a keyframe is looked for.
	keyReach = 256
)

// written says what became of a packet.
type written uint8

const (
	stored written = iota
	duplicate
	refused
)

// ring holds the newest packets of one Layer. One Session writes, many
// Subscriptions read; each has a position, an ever-growing count of packets.
type ring struct {
	mu      sync.Mutex
	packets []Packet        // below mu, as all that follows
	index   []uint64        // sequence number, modulo its length → position+1 of the newest packet with it
	next    uint64          // position of the next packet
	source  *Source         // who may write; nil while nobody may
	first   uint64          // position of the first packet of the newest Source
	key     uint64          // position of the newest keyframe of source; valid if keyed
	keyed   bool            // there is a keyframe of source
	keyTime uint32          // its timestamp
	offline uint64          // epoch of the last Source whose publisher left
	closed  bool            // the Stream was removed
	pending time.Time       // arrival of the first packet that no reader was woken for
	picture uint32          // timestamp of that packet
	waiting []*Subscription // who waits for more
	audio   bool            // fixed
	readers atomic.Int32    // Subscriptions that are not closed
}

func newRing(kind Kind) *ring {
	size := videoPackets
	if kind == Audio {
		size = audioPackets
	}
	return &ring{packets: make([]Packet, size), index: make([]uint64, size), audio: kind == Audio}
}

// begin makes source the only one that may write.
func (r *ring) begin(source *Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.source, r.keyed, r.first = source, false, r.next
	r.pending = time.Time{}
}

// end says that the publisher of source left. nil stands for whatever feeds the ring.
func (r *ring) end(source *Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil || source != nil && r.source != source {
		return
	}
	r.offline = r.source.Epoch
	r.source = nil
	r.wakeAll()
}

// close ends all readers.
func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.source = true, nil
	r.wakeAll()
}

// write stores p.
func (r *ring) write(p Packet) written {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil || p.Source != r.source {
		return refused
	}
	slot := int(p.Sequence) & (len(r.index) - 1)
	if old, ok := r.at(slot); ok && old.Source == p.Source && old.Sequence == p.Sequence {
		return duplicate
	}
	starts := p.Keyframe && (!r.keyed || r.keyTime != p.Timestamp)
	p.Keyframe = false
	position := r.next
	r.packets[position&r.mask()] = p
	r.index[slot] = position + 1
	r.next++
	if starts {
		r.keyframe(position, p)
	}
	r.signal(p)
	return stored
}

// keyframe notes the keyframe that the packet at position belongs to. Its first
// packets may be there already: parameter sets, or what overtook this one.
func (r *ring) keyframe(position uint64, p Packet) {
	begin := position
	for i := position; i > r.first && i > r.oldest() && position-i < keyReach; {
		i--
		if other := &r.packets[i&r.mask()]; other.Timestamp == p.Timestamp && other.Source == p.Source {
			begin = i
		}
	}
	r.key, r.keyed, r.keyTime = begin, true, p.Timestamp
	r.source.keyframe(p.Timestamp)
	r.packets[begin&r.mask()].Keyframe = true
}

// signal wakes the readers once a picture: at its marker, when the next one
// begins without it, or after wakeAfter.
func (r *ring) signal(p Packet) {
	if r.pending.IsZero() {
		r.pending, r.picture = p.Arrival, p.Timestamp
	}
	if r.audio || p.Marker || p.Timestamp != r.picture || p.Arrival.Sub(r.pending) >= wakeAfter {
		r.wakeAll()
	}
}

// wakeAll sends each waiting reader a token; none of it can block.
func (r *ring) wakeAll() {
	r.pending = time.Time{}
	for i, b := range r.waiting {
		b.queued = false
		select {
		case b.wake <- struct{}{}:
		default:
		}
		r.waiting[i] = nil
	}
	r.waiting = r.waiting[:0]
}

func (r *ring) mask() uint64 { return uint64(len(r.packets) - 1) }

// oldest returns the position of the oldest packet that is still there.
func (r *ring) oldest() uint64 {
	if size := uint64(len(r.packets)); r.next > size {
		return r.next - size
	}
	return 0
}

// at returns the newest packet of an index slot.
func (r *ring) at(slot int) (*Packet, bool) {
	position := r.index[slot]
	if position == 0 || position-1 < r.oldest() {
		return nil, false
	}
	return &r.packets[(position-1)&r.mask()], true
}

// lookup returns the packet of source with that sequence number.
func (r *ring) lookup(source *Source, seq uint16) (Packet, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.at(int(seq) & (len(r.index) - 1))
	if !ok || p.Source != source || p.Sequence != seq {
		return Packet{}, false
	}
	return *p, true
}

// place puts a new reader where it begins.
func (r *ring) place(b *Subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.cursor = r.next
	b.told = r.offline // what ended before does not concern it
	if r.audio {
		if r.source != nil && r.next > r.first {
			b.cursor = r.next - 1
		}
		return
	}
	r.seekFrom(b, r.next)
	if r.keyed && r.source != nil && r.key >= r.oldest() {
		b.cursor = r.key
		r.seekFrom(b, r.key)
	}
}

// read copies what is there for b. Nothing and no error means: wait.
func (r *ring) read(b *Subscription, into []Packet) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, io.EOF
	}
	if b.cursor < r.oldest() {
		r.restart(b)
		return 0, ErrLagged
	}
	n := 0
	for n < len(into) && b.cursor < r.next {
		p := &r.packets[b.cursor&r.mask()]
		if p.Source != b.source {
			if n > 0 {
				break // one Source a batch
			}
			b.source = p.Source
			r.seekFrom(b, b.cursor)
		}
		if b.seeking && !r.seek(b) {
			break
		}
		into[n] = r.packets[b.cursor&r.mask()]
		n++
		b.cursor++
	}
	if n > 0 {
		b.last.Store(b.source)
		return n, nil
	}
	if b.told < r.offline && r.source == nil {
		b.told = r.offline
		return 0, ErrOffline
	}
	if !b.queued {
		b.queued = true
		r.waiting = append(r.waiting, b)
	}
	return 0, nil
}

// skip takes a reader past all that is there.
func (r *ring) skip(b *Subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.cursor = r.next
	r.seekFrom(b, r.next)
}

// seekFrom makes a reader of video want a keyframe at position from or later.
func (r *ring) seekFrom(b *Subscription, from uint64) {
	b.seeking, b.from = !r.audio, from
}

// seek moves a reader that wants a keyframe to the newest one, or past all that
// is there when it has not come yet.
func (r *ring) seek(b *Subscription) bool {
	if !r.keyed || r.key < b.from || r.key < r.oldest() {
		b.cursor = r.next
		return false
	}
	b.cursor, b.seeking = r.key, false
	b.source = r.packets[r.key&r.mask()].Source
	return true
}

// restart puts a reader that was overtaken at the newest keyframe.
func (r *ring) restart(b *Subscription) {
	r.seekFrom(b, r.oldest())
	b.cursor = r.next
	if b.seeking && r.keyed && r.key >= b.from {
		b.cursor = r.key
	}
}
