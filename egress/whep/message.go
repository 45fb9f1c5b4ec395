package whep

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/whipcast/whipcast/internal/rtc"
)

const (
	// maxLater is how many messages may wait for their time, of all streams.
	maxLater = 256
	// soon is what is not worth waiting for.
	soon = 5 * time.Millisecond
	// listenPause is the least time between two messages that are read of a viewer.
	// They mean nothing here; SCTP holds back what comes faster.
	listenPause = 10 * time.Millisecond
)

// Message goes to the data channels of a Stream's viewers as it is. It must not be
// changed any more.
type Message struct {
	Label   string // the channel of this name gets it; else the viewer's first one
	Text    bool   // it is sent as text, else as bytes
	Payload []byte // up to rtc.MaxMessage bytes; longer ones are dropped
	At      time.Time
}

// later is a Message that is not due yet.
type later struct {
	stream  string
	message Message
}

// Tell sends a Message to all viewers of a stream that have a data channel, when its
// time has come: at once without At. It waits for no viewer: what one is too slow for
// is dropped and counted. Any goroutine may call it while Run runs.
func (s *Server) Tell(stream string, m Message) {
	if time.Until(m.At) <= soon {
		s.tell(stream, m)
		return
	}
	select {
	case s.laters <- later{stream, m}:
	case <-s.stopped:
	}
}

func (s *Server) tell(name string, m Message) {
	st, ok := s.hub.Lookup(name)
	if !ok {
		return
	}
	s.mu.Lock()
	h := s.heralds[st]
	s.mu.Unlock()
	if h != nil {
		h.deliver(m)
	}
}

// schedule holds the Messages that are not due, the next one first. It is pure.
type schedule []later

// add takes one more; false if there are too many.
func (l *schedule) add(one later) bool {
	if len(*l) >= maxLater {
		return false
	}
	i, _ := slices.BinarySearchFunc(*l, one, func(a, b later) int {
		if a.message.At.After(b.message.At) {
			return 1
		}
		return -1 // of the same time: in the order in which they came
	})
	*l = slices.Insert(*l, i, one)
	return true
}

// due takes out what is due at a time.
func (l *schedule) due(now time.Time) []later {
	n := 0
	for n < len(*l) && !(*l)[n].message.At.After(now) {
		n++
	}
	all := slices.Clone((*l)[:n])
	*l = slices.Delete(*l, 0, n)
	return all
}

// wait returns how long nothing is due.
func (l *schedule) wait(now time.Time) time.Duration {
	if len(*l) == 0 {
		return time.Hour
	}
	return (*l)[0].message.At.Sub(now)
}

// hand sends a Message by one of the viewer's data channels, if it has any.
func (v *viewer) hand(m Message) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.channels) == 0 {
		return
	}
	i := slices.IndexFunc(v.channels, func(c *rtc.Channel) bool { return c.Label() == m.Label })
	if v.channels[max(i, 0)].Send(m.Payload, m.Text) != nil { // one that has ended is noticed where it is read
		v.server.cfg.Metrics.MessagesDropped.Add(1)
		return
	}
	v.server.cfg.Metrics.MessagesSent.Add(1)
}

// converse takes the viewer's data channels as they open, until ctx ends.
func (v *viewer) converse(ctx context.Context) {
	for {
		select {
		case c := <-v.session.Channels():
			v.session.Go(func() { v.listen(ctx, c) })
		case <-ctx.Done():
			return
		}
	}
}

// listen lets a data channel get Messages until it ends. What the viewer says by it
// is for nobody.
func (v *viewer) listen(ctx context.Context, c *rtc.Channel) {
	v.open(c)
	defer v.shut(c)
	for {
		if _, _, err := c.Read(); err != nil && !errors.Is(err, rtc.ErrMessage) {
			return
		}
		if !pause(ctx, listenPause) {
			return
		}
	}
}

func (v *viewer) open(c *rtc.Channel) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.channels = append(v.channels, c)
	slices.SortFunc(v.channels, func(a, b *rtc.Channel) int { return int(a.ID()) - int(b.ID()) })
	v.server.cfg.Metrics.Channels.Add(1)
}

func (v *viewer) shut(c *rtc.Channel) {
	_ = c.Close() // the other side may have done so
	v.mu.Lock()
	defer v.mu.Unlock()
	v.channels = slices.DeleteFunc(v.channels, func(o *rtc.Channel) bool { return o == c })
	v.server.cfg.Metrics.Channels.Add(-1)
}
