package whep

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"time"
)

const (
	maxOutboxes = 4                // event streams of one viewer
	maxQueued   = 16               // events that wait in one
	heartbeat   = 15 * time.Second // between two signs of life (specs E34)
	// takeTime is how long a reader may take for what it is sent. It is longer than
	// the pause between two heartbeats: HTTP/2 ends a stream when its deadline is over,
	// also when nothing is written.
	takeTime = 3 * heartbeat
	// again is after how many milliseconds a browser comes back whose connection broke.
	again = "1000"
)

// outbox is one event stream (specs E25): what a viewer wants to be told and has not
// been sent. It outlives the requests that read it. Any goroutine may use it.
type outbox struct {
	id      string
	wants   eventSet
	metrics *Metrics
	wake    chan struct{} // holds a token when there is something to do

	mu      sync.Mutex
	queue   []queued      // below mu; oldest first
	closed  bool          // below mu: nothing more comes
	reader  chan struct{} // below mu: closed when another reader takes over; nil without
	seen    bool          // below mu: there was a publisher since it began
	moved   bool          // below mu: it was told to reconnect
	count   string        // below mu: the last viewercount
	counted time.Time     // below mu: when that was
}

// queued is an event that waits.
type queued struct {
	kind eventKind
	text []byte
}

func newOutbox(wants eventSet, m *Metrics) *outbox {
	m.EventStreams.Add(1)
	return &outbox{id: rand.Text(), wants: wants, metrics: m, wake: make(chan struct{}, 1)}
}

// push queues an event, if it is wanted; reconnect only once. Of layers and counts only the newest is of
// use. The oldest event is dropped when too many wait.
func (o *outbox) push(k eventKind, data string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || k == eventReconnect && o.moved {
		return
	}
	if k == eventViewerCount && !o.countable(data, time.Now()) {
		return
	}
	o.seen = o.seen || k == eventActive
	o.moved = o.moved || k == eventReconnect
	if !o.wants.has(k) {
		return
	}
	drop := -1
	if len(o.queue) >= maxQueued {
		drop = 0
	}
	for i, q := range o.queue {
		if q.kind == k && (k == eventLayers || k == eventViewerCount) {
			drop = i
		}
	}
	if drop >= 0 {
		o.queue = append(o.queue[:drop], o.queue[drop+1:]...)
		o.metrics.EventsDropped.Add(1)
	}
	o.queue = append(o.queue, queued{k, render(k, data)})
	o.rouse()
}

// countable reports whether a count is told: it is another one, and not too soon
// (specs E32). o.mu is held.
func (o *outbox) countable(data string, now time.Time) bool {
	if data == o.count || now.Sub(o.counted) < countEvery {
		return false
	}
	o.count, o.counted = data, now
	return true
}

// rouse wakes the reader. o.mu is held.
func (o *outbox) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// finish lets the reader send what waits, and ends the stream.
func (o *outbox) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	o.metrics.EventStreams.Add(-1)
	o.rouse()
}

// discard ends the stream with nothing more sent (specs E28).
func (o *outbox) discard() {
	o.finish()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.metrics.EventsDropped.Add(uint64(len(o.queue)))
	o.queue = nil
}

// take returns all that waits, and whether that was the last for this reader.
func (o *outbox) take(reader chan struct{}) (text []byte, last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reader != reader {
		o.rouse() // it may have taken the other one's token
		return nil, true
	}
	for _, q := range o.queue {
		text = append(text, q.text...)
	}
	o.metrics.EventsSent.Add(uint64(len(o.queue)))
	o.queue = o.queue[:0]
	return text, o.closed
}

// attach makes the caller the one reader, until its channel is closed: the reader
// before may hang on a connection that has died. again says that there was one, who
// may have missed something.
func (o *outbox) attach() (reader chan struct{}, again bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reader != nil {
		close(o.reader)
		again = true
	}
	o.reader = make(chan struct{})
	o.rouse()
	return o.reader, again
}

// began reports whether the stream was told of a publisher.
func (o *outbox) began() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen
}

// serve sends events until the stream ends, another reader comes, or ctx ends.
func (o *outbox) serve(ctx context.Context, w http.ResponseWriter, reader chan struct{}) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	control := http.NewResponseController(w)
	text := []byte("retry: " + again + "\n\n")
	for {
		more, last := o.take(reader)
		if text = append(text, more...); len(text) > 0 {
			// A ResponseWriter that knows no deadline is a test's.
			_ = control.SetWriteDeadline(time.Now().Add(takeTime))
			if _, err := w.Write(text); err != nil || control.Flush() != nil {
				return
			}
		}
		if last {
			return
		}
		text = nil
		select {
		case <-o.wake:
		case <-beat.C:
			text = []byte(": still here\n\n")
		case <-reader:
			return
		case <-ctx.Done():
			return
		}
	}
}
