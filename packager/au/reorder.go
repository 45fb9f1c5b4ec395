package au

import (
	"time"
)

const (
	// history is how many sequence numbers back a duplicate can be told from a
	// late packet. Browsers probe the bandwidth with packets about a second old.
	history = 8192
	// replay is how old a packet far behind may be by its timestamp, in seconds,
	// and still be a repeated one instead of one of a restarted source.
	replay = 30
)

// held is a packet that waits for one before it.
type held struct {
	Packet

	number int64     // sequence number, unwrapped
	since  time.Time // earliest arrival of this packet or one behind it: when the gap before it was noticed
}

// reorder brings packets into the order of their sequence numbers and says
// which ones are missing. In order it holds nothing and adds no delay.
type reorder struct {
	wait time.Duration
	max  int
	rate int64

	started bool
	next    int64 // the number that is due
	last    uint32
	pending []held // rising numbers, all above next
	seen    [history / 64]uint64

	probing bool
	probe   Packet // the first packet of what may be a new numbering
}

// receiver takes packets in order and hears of lost ones between them.
type receiver interface {
	packet(p Packet)
	lost(count int64)
}

func (r *reorder) push(p Packet, stats *Stats, to receiver) {
	if !r.started {
		r.started = true
		r.next = int64(p.Sequence)
	}
	number := r.next + int64(int16(p.Sequence-uint16(r.next))) //nolint:gosec // wraps on purpose
	switch {
	case number < r.next-history && r.renumbered(p):
		r.restart(stats, to)
		r.push(p, stats, to)
		return
	case number < r.next-history:
		stats.Late++
	case number < r.next:
		if r.marked(number) {
			stats.Duplicates++
		} else {
			stats.Late++
			r.mark(number)
		}
	case number == r.next:
		r.probing = false
		r.deliver(p, to)
		r.drain(to)
	default:
		r.probing = false
		r.hold(p, number, stats)
	}
	if len(r.pending) > r.max {
		r.skip(stats, to)
	}
	r.advance(p.Arrival, stats, to)
}

// advance gives up on packets that are overdue at now.
func (r *reorder) advance(now time.Time, stats *Stats, to receiver) {
	for len(r.pending) > 0 && now.Sub(r.pending[0].since) >= r.wait {
		r.skip(stats, to)
	}
}

// flush gives up on all missing packets.
func (r *reorder) flush(stats *Stats, to receiver) {
	for len(r.pending) > 0 {
		r.skip(stats, to)
	}
}

// renumbered reports whether p is the second of two packets in sequence, far
// behind what is due and not old: the source has begun to count anew.
func (r *reorder) renumbered(p Packet) bool {
	age := int64(int32(r.last - p.Timestamp)) //nolint:gosec // wraps on purpose
	if age >= 0 && age < replay*r.rate {
		return false
	}
	confirmed := r.probing && p.Sequence == r.probe.Sequence+1
	if !confirmed {
		r.probing, r.probe = true, p
	}
	return confirmed
}

// restart continues with the numbering of the packet that was probed.
func (r *reorder) restart(stats *Stats, to receiver) {
	r.flush(stats, to)
	to.lost(0)
	r.next += int64(r.probe.Sequence - uint16(r.next)) //nolint:gosec // wraps on purpose
	clear(r.seen[:])
	r.probing = false
	stats.Late-- // the probed packet has been counted as such
	r.deliver(r.probe, to)
	r.probe = Packet{}
}

func (r *reorder) deliver(p Packet, to receiver) {
	r.mark(r.next)
	r.next++
	r.last = p.Timestamp
	to.packet(p)
}

func (r *reorder) hold(p Packet, number int64, stats *Stats) {
	i := len(r.pending)
	for i > 0 && r.pending[i-1].number > number {
		i--
	}
	if i > 0 && r.pending[i-1].number == number {
		stats.Duplicates++
		return
	}
	stats.Reordered++
	h := held{Packet: p, number: number, since: p.Arrival}
	if i < len(r.pending) && r.pending[i].since.Before(h.since) {
		h.since = r.pending[i].since
	}
	r.pending = append(r.pending, held{})
	copy(r.pending[i+1:], r.pending[i:])
	r.pending[i] = h
}

// drain delivers what has become due.
func (r *reorder) drain(to receiver) {
	n := 0
	for n < len(r.pending) && r.pending[n].number == r.next {
		r.deliver(r.pending[n].Packet, to)
		n++
	}
	if n > 0 {
		rest := copy(r.pending, r.pending[n:])
		clear(r.pending[rest:])
		r.pending = r.pending[:rest]
	}
}

// skip gives up on the packets that are missing before the first one held.
func (r *reorder) skip(stats *Stats, to receiver) {
	count := r.pending[0].number - r.next
	for i := range min(count, history) {
		r.unmark(r.next + count - 1 - i)
	}
	r.next += count
	stats.Lost += uint64(count) //nolint:gosec // never negative: pending is above next
	to.lost(count)
	r.drain(to)
}

func (r *reorder) marked(number int64) bool {
	bit := uint64(number) % history //nolint:gosec // a ring
	return r.seen[bit/64]>>(bit%64)&1 != 0
}

func (r *reorder) mark(number int64) {
	bit := uint64(number) % history //nolint:gosec // a ring
	r.seen[bit/64] |= 1 << (bit % 64)
}

func (r *reorder) unmark(number int64) {
	bit := uint64(number) % history //nolint:gosec // a ring
	r.seen[bit/64] &^= 1 << (bit % 64)
}
