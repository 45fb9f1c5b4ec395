package stream

import (
	"context"
	"io"
	"sync/atomic"
)

// Subscription is one reader's cursor in one Layer. Read is for one goroutine;
// the other methods may be called from any.
type Subscription struct {
	stream *Stream
	ring   *ring
	wake   chan struct{}
	last   atomic.Pointer[Source] // of the packets last read
	ended  atomic.Bool            // Close was called

	// Guarded by the ring's mutex.
	cursor  uint64  // position of the next packet to read
	source  *Source // of the packet before the cursor
	told    uint64  // epoch of the last ErrOffline
	seeking bool    // wants a keyframe
	from    uint64  // at this position or later
	queued  bool    // stands in the ring's list of waiting readers
}

// Read copies the next packets into the slice and returns how many. All are of
// one Source. It waits while there are none. A new Source's video begins at a
// keyframe.
//
// ErrLagged comes once when the writer overtook this reader; the next Read goes
// on at the newest keyframe. ErrOffline comes once when the publisher left and
// all its packets were read, unless the next publisher's are there already; the
// next Read waits for them. io.EOF says that the Stream was removed or the
// Subscription closed. Otherwise the error is the context's.
func (b *Subscription) Read(ctx context.Context, into []Packet) (int, error) {
	for {
		if b.ended.Load() {
			return 0, io.EOF
		}
		if n, err := b.ring.read(b, into); n > 0 || err != nil || len(into) == 0 {
			return n, err
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Lookup returns the packet with that sequence number of the Source last read,
// if it is still in the ring: for answering a NACK.
func (b *Subscription) Lookup(seq uint16) (Packet, bool) {
	source := b.last.Load()
	if source == nil {
		return Packet{}, false
	}
	return b.ring.lookup(source, seq)
}

// RequestKeyframe asks the present publisher for a keyframe of this Layer.
// Requests of all readers are coalesced.
func (b *Subscription) RequestKeyframe() { b.stream.request(b.ring) }

// Skip makes the next Read go on at the next keyframe that begins from now on,
// audio at the next packet. Call it from Read's goroutine.
func (b *Subscription) Skip() { b.ring.skip(b) }

// Close ends the Subscription; a Read that waits returns io.EOF. Closing twice
// is harmless.
func (b *Subscription) Close() {
	if !b.ended.Swap(true) {
		b.ring.readers.Add(-1)
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}
