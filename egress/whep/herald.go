package whep

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

const (
	// pulse is how often a herald looks at what has no wake-up of its own: bit rates
	// and how many watch.
	pulse = 2500 * time.Millisecond
	// measureLeast is the least time over which a bit rate is measured: a keyframe that
	// has just come says nothing.
	measureLeast = 500 * time.Millisecond
	// countEvery is the least time between two counts in one event stream (specs E32).
	countEvery = 5 * time.Second
)

// herald tells the viewers of one Stream what happens to it: by events, and by what
// their data channels carry. It exists while the Stream has Sessions, connected or
// not.
//
//	Stream.State ──▶ herald ──▶ outbox ──▶ GET …/events/{id}
//	Stream.Notes ──▶        ──▶ rtc.Channel
type herald struct {
	server *Server
	stream *stream.Stream
	begun  time.Time // messages before are for nobody here

	mu      sync.Mutex
	viewers []*viewer          // below mu, as all that follows
	told    stream.State       // of what viewers were told last
	layers  []Layer            // and of its layers
	ill     []warning          // and what is wrong with them
	meters  []meter            // of the video sources
	stop    context.CancelFunc // ends run; nil before
	empty   bool               // the last viewer has left
}

// meter measures the bit rate of a source.
type meter struct {
	source *stream.Source
	bytes  uint64
	at     time.Time
	rate   int // bits a second, of the last pulse; at first of the layer of its name before
}

func newHerald(s *Server, st *stream.Stream) *herald {
	h := &herald{server: s, stream: st, begun: time.Now(), told: st.State()}
	h.measure(h.told, h.begun)
	h.layers = h.shown()
	h.ill = warnings(h.told.Sources)
	return h
}

// run tells what happens until the last viewer has left.
func (h *herald) run(ctx context.Context) {
	h.server.guardHerald(h, func() { h.follow(ctx) })()
}

func (h *herald) follow(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !h.begin(cancel) {
		return
	}
	wg.Go(h.server.guardHerald(h, func() { h.pass(ctx) }))
	version := h.stream.State().Version
	h.look(h.stream.State())
	tick := h.next(time.Now())
	for ctx.Err() == nil {
		beat, end := context.WithDeadline(ctx, tick)
		next, err := h.stream.Wait(beat, version)
		end()
		switch {
		case err == nil:
			version = next.Version
			h.look(next)
			if soon := h.next(time.Now()); soon.Before(tick) {
				tick = soon
			}
		case ctx.Err() == nil:
			h.beat(time.Now())
			tick = h.next(time.Now())
		}
	}
}

// next returns when to look at bit rates: a pulse from now on, but sooner where a
// publisher has just begun.
func (h *herald) next(now time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if first := h.told.Since.Add(measureLeast); h.told.Live && now.Before(first) {
		return first
	}
	return now.Add(pulse)
}

// begin lets the last viewer that leaves end run. False says that it has left.
func (h *herald) begin(stop context.CancelFunc) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stop = stop
	return !h.empty
}

// pass hands the publisher's messages on until ctx ends.
func (h *herald) pass(ctx context.Context) {
	var seen uint64
	for {
		notes, last, err := h.stream.Notes(ctx, seen)
		if err != nil {
			return
		}
		seen = last
		for _, n := range notes {
			if n.Arrival.After(h.begun) {
				h.deliver(Message{Label: n.Label, Text: n.Text, Payload: n.Payload})
			}
		}
	}
}

// look tells what has become of the Stream (specs E29).
func (h *herald) look(now stream.State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.told
	h.told = now
	switch {
	case now.Live && (!before.Live || now.Epoch != before.Epoch):
		h.tell(eventActive, "{}")
		h.measure(now, time.Now())
		h.tellLayers()
		h.ill = nil
		h.warn()
	case !now.Live && before.Live:
		h.tell(eventInactive, "{}")
		h.send()
	}
}

// beat tells what has changed without a word.
func (h *herald) beat(now time.Time) {
	watching := h.server.viewers(h.stream)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell(eventViewerCount, viewerCountData(watching))
	if !h.told.Live {
		return
	}
	h.measure(h.told, now)
	if differ(h.layers, h.shown()) {
		h.tellLayers()
	}
	h.warn()
}

// tell queues an event for all viewers. h.mu is held.
func (h *herald) tell(k eventKind, data string) {
	for _, v := range h.viewers {
		v.push(k, data)
	}
}

// tellLayers tells all viewers of the layers. h.mu is held.
func (h *herald) tellLayers() {
	h.layers = h.shown()
	for _, v := range h.viewers {
		v.push(eventLayers, layersData(v.section(), h.layers))
	}
}

// warn tells what is wrong now and was not before. h.mu is held.
func (h *herald) warn() {
	now := warnings(h.told.Sources)
	for _, w := range now {
		if !slices.Contains(h.ill, w) {
			h.tell(eventWarning, encode(w))
		}
	}
	h.ill = now
}

// measure takes the bit rates of the video sources. A source that is new is measured
// from the beginning of its Epoch, and has the bit rate of the layer of its name before
// until then. h.mu is held.
func (h *herald) measure(st stream.State, now time.Time) {
	var meters []meter
	for _, s := range st.Sources {
		if s.Layer.ID.Kind != stream.Video {
			continue
		}
		m := meter{source: s, at: st.Since}
		if i := slices.IndexFunc(h.meters, func(o meter) bool { return o.source.Layer.ID == s.Layer.ID }); i >= 0 {
			if m.rate = h.meters[i].rate; h.meters[i].source == s {
				m = h.meters[i]
			}
		}
		if took := now.Sub(m.at); took >= measureLeast {
			bytes := s.Counters().Bytes
			m.rate = int(float64(bytes-m.bytes) * 8 / took.Seconds())
			m.bytes, m.at = bytes, now
		}
		meters = append(meters, m)
	}
	h.meters = meters
}

// shown lists the layers as they were measured. h.mu is held.
func (h *herald) shown() []Layer {
	var all []Layer
	for _, m := range h.meters {
		l := Layer{RID: m.source.Layer.ID.RID, Bitrate: m.rate}
		if h.server.cfg.Size != nil {
			l.Width, l.Height = h.server.cfg.Size(h.stream.Name(), l.RID)
		}
		all = append(all, l)
	}
	return all
}

// greet makes an event stream and tells it how things are: never that nobody
// publishes (specs E29).
func (h *herald) greet(v *viewer, wants eventSet) (*outbox, error) {
	watching := h.server.viewers(h.stream)
	h.mu.Lock() // nothing is told between
	defer h.mu.Unlock()
	o, err := v.subscribe(wants)
	if err != nil {
		return nil, err
	}
	if h.told.Live {
		o.push(eventActive, "{}")
		o.push(eventLayers, layersData(v.section(), h.layers))
		for _, w := range h.ill {
			o.push(eventWarning, encode(w))
		}
	}
	o.push(eventViewerCount, viewerCountData(watching))
	if url, ok := h.elsewhere(v); ok {
		o.push(eventReconnect, reconnectData(url))
	}
	return o, nil
}

// remind tells an event stream that is read anew whether somebody publishes: its
// reader may have missed that.
func (h *herald) remind(o *outbox) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.told.Live:
		o.push(eventActive, "{}")
	case o.began():
		o.push(eventInactive, "{}")
	}
}

// send sends viewers to another gateway when this one drains and nobody publishes here
// any more: as long as somebody does, they would find nothing there (specs E31).
// h.mu is held.
func (h *herald) send() {
	for _, v := range h.viewers {
		if url, ok := h.elsewhere(v); ok {
			v.push(eventReconnect, reconnectData(url))
		}
	}
}

// drained is called when the gateway begins to drain.
func (h *herald) drained() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.send()
}

// elsewhere returns where a viewer should go now, if it should. h.mu is held.
func (h *herald) elsewhere(v *viewer) (url string, ok bool) {
	d, draining := h.server.sessions.Draining()
	url = d.Target(v.target)
	return url, draining && !h.told.Live && url != "" && !d.Stays(h.stream.Name())
}

// farewell returns what a viewer is told whose Session ends for a reason: to come anew
// where that helps (specs E15, E31).
func (s *Server) farewell(v *viewer, reason error) (url string, ok bool) {
	d, _ := s.sessions.Draining()
	switch {
	case errors.Is(reason, errCodec):
		return "", true
	case errors.Is(reason, rtc.ErrDrained), errors.Is(reason, rtc.ErrShutdown), errors.Is(reason, errStopped):
		return d.Target(v.target), true
	default:
		return "", false
	}
}

// end ends the Sessions of all viewers.
func (h *herald) end(reason error) {
	h.mu.Lock()
	viewers := slices.Clone(h.viewers)
	h.mu.Unlock()
	for _, v := range viewers {
		v.session.End(reason)
	}
}

// deliver hands a message to the data channels of all viewers.
func (h *herald) deliver(m Message) {
	h.mu.Lock()
	viewers := slices.Clone(h.viewers)
	h.mu.Unlock()
	for _, v := range viewers {
		v.hand(m)
	}
}

// enter adds a viewer. The Server's mutex is held.
func (h *herald) enter(v *viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.viewers = append(h.viewers, v)
}

// exit takes a viewer out and returns how many are left. Without any, run ends. The
// Server's mutex is held.
func (h *herald) exit(v *viewer) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.viewers = slices.DeleteFunc(h.viewers, func(o *viewer) bool { return o == v })
	if len(h.viewers) == 0 {
		h.empty = true
		if h.stop != nil {
			h.stop()
		}
	}
	return len(h.viewers)
}
