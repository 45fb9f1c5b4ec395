package stream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// requestInterval is how far apart two keyframe requests for a Layer are at
// least (specs E16). libwebrtc answers no more than one in about 300 ms.
const requestInterval = 500 * time.Millisecond

// Session is one publisher's hold of a Stream, from Publish to Close or
// take-over. Write and Report may be called from one goroutine a Layer,
// KeyframeRequest from one goroutine, everything else from any.
type Session struct {
	stream    *Stream
	principal string
	epoch     uint64
	feeds     []*feed // fixed after Publish

	wake chan struct{} // a keyframe is wanted
	done chan struct{}

	mu        sync.Mutex
	err       error     // below mu; set before done is closed
	ended     bool      // below mu
	allowance allowance // below mu; of Notes
	noted     uint64    // below mu
	refused   uint64    // below mu
}

// feed is the way of one Layer from its Session into the ring.
type feed struct {
	ring   *ring
	source *Source
	wanted atomic.Bool // a keyframe is wanted and has not come yet
	asked  time.Time   // of the last request; only KeyframeRequest touches it
}

func newSession(s *Stream, principal string, epoch uint64) *Session {
	return &Session{
		stream:    s,
		principal: principal,
		epoch:     epoch,
		wake:      make(chan struct{}, 1),
		done:      make(chan struct{}),
	}
}

// Epoch returns the Epoch that this Session began.
func (x *Session) Epoch() uint64 { return x.epoch }

// Write stores one packet and wakes the Layer's readers once a picture. It
// never blocks and allocates nothing. Duplicates, packets of an unknown Layer
// and of an ended Session are dropped and counted. p.Payload belongs to the
// ring from here on.
func (x *Session) Write(id LayerID, p Packet) {
	f := x.feed(id)
	if f == nil {
		return
	}
	p.Source = f.source
	p.Keyframe = id.Kind == Video && f.source.Layer.Codec.Keyframe(p.Payload)
	switch f.ring.write(p) {
	case stored:
		f.source.packets.Add(1)
		f.source.bytes.Add(uint64(len(p.Payload)))
		x.stream.totals.Packets.Add(1)
		x.stream.totals.Bytes.Add(uint64(len(p.Payload)))
		f.source.seen(p.Sequence, p.Timestamp)
		if p.Keyframe {
			f.wanted.Store(false)
		}
	case duplicate:
		f.source.duplicates.Add(1)
		x.stream.totals.Duplicates.Add(1)
	case refused:
		f.source.dropped.Add(1)
		x.stream.totals.Dropped.Add(1)
	}
}

// Report takes a sender report of a Layer (RFC 3550 §6.4.1). What is not
// believable is ignored.
func (x *Session) Report(id LayerID, ntp uint64, rtp uint32, arrival time.Time) {
	if f := x.feed(id); f != nil {
		f.source.report(Report{NTP: ntp, RTP: rtp, Arrival: arrival})
	}
}

// Captured takes when the media of an RTP timestamp was captured, on the same clock of
// the sender as its reports (specs R6). owner is the SSRC of the capture system: what is known of one
// says nothing of another. What is not believable is ignored. It is for Write's
// goroutine.
func (x *Session) Captured(id LayerID, at Report, owner uint32) {
	if f := x.feed(id); f != nil {
		f.source.captured(at, owner)
	}
}

func (x *Session) feed(id LayerID) *feed {
	for _, f := range x.feeds {
		if f.source.Layer.ID == id {
			return f
		}
	}
	return nil
}

// KeyframeRequest waits until the publisher should be asked for a keyframe of a
// Layer, and returns that Layer. Requests are coalesced to one in 500 ms a
// Layer; one that a keyframe has answered meanwhile is forgotten. The error is
// the context's, or the reason for which the Session ended.
func (x *Session) KeyframeRequest(ctx context.Context) (LayerID, error) {
	for {
		due, wait := x.due(time.Now())
		if due != nil {
			x.stream.totals.KeyframeRequests.Add(1)
			return due.source.Layer.ID, nil
		}
		if err := x.sleep(ctx, wait); err != nil {
			return LayerID{}, err
		}
	}
}

// due returns a feed that may be asked now, or how long to wait for the next
// one; 0 when none is wanted.
func (x *Session) due(now time.Time) (*feed, time.Duration) {
	var wait time.Duration
	for _, f := range x.feeds {
		if !f.wanted.Load() {
			continue
		}
		left := requestInterval - now.Sub(f.asked)
		if left <= 0 {
			f.wanted.Store(false)
			f.asked = now
			return f, 0
		}
		if wait == 0 || left < wait {
			wait = left
		}
	}
	return nil, wait
}

// sleep waits for a wish, or for wait if it is not 0.
func (x *Session) sleep(ctx context.Context, wait time.Duration) error {
	var elapsed <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		elapsed = timer.C
	}
	select {
	case <-x.wake:
	case <-elapsed:
	case <-x.done:
		return x.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// want notes that a reader of r needs a keyframe.
func (x *Session) want(r *ring) {
	for _, f := range x.feeds {
		if f.ring == r && f.source.Layer.ID.Kind == Video {
			f.wanted.Store(true)
			select {
			case x.wake <- struct{}{}:
			default:
			}
		}
	}
}

// Done is closed when the Session has ended, by Close or by take-over.
func (x *Session) Done() <-chan struct{} { return x.done }

// Err says why the Session ended; nil before.
func (x *Session) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// Close ends the Session: the Stream has no publisher any more. reason is what
// Err returns, ErrClosed if nil. Closing twice is harmless; the first reason stays.
func (x *Session) Close(reason error) {
	if reason == nil {
		reason = ErrClosed
	}
	x.stream.leave(x, reason)
	x.end(reason)
}

// end marks the Session as ended. It takes no other lock.
func (x *Session) end(reason error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return
	}
	x.ended, x.err = true, reason
	close(x.done)
}
