package whep

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// A joining viewer gets the cached pictures in trains of burstSize packets: a
// keyframe fast, so that it is there at once, and then so that a small queue on
// the way holds what comes, but several times faster than the stream itself.
const (
	burstSize  = 10
	burstFast  = 8_000_000 // bytes a second, 64 Mb/s
	burstFirst = 128 << 10 // bytes that go so fast
	burstSlow  = 3_000_000 // bytes a second, of what follows
	burstTimes = 4         // or so many times the stream's rate, whichever is more
	// oldEnough is the age from which on a cached keyframe is shown, but a fresher
	// one asked for.
	oldEnough = 2 * time.Second
	// settled is how long after it is connected a viewer's way is taken to stay.
	settled = 5 * time.Second
)

// viewer is one Session that watches a Stream.
type viewer struct {
	server  *Server
	stream  *stream.Stream
	session *rtc.Session
	tracks  []*track // audio first: it needs no burst
	wish    wish     // which layer it chose

	target   string        // path and query of its POST
	sections []rtc.Section // of its answer
	herald   *herald       // who tells it what happens
	fresh    bool          // nobody has started the herald yet

	mu       sync.Mutex
	outboxes []*outbox      // below mu: its event streams
	over     bool           // below mu: there will be none any more
	channels []*rtc.Channel // below mu: its data channels that are open
}

// choose replaces what the viewer wishes to see. The Choice has been checked; any
// goroutine may call it. The media side reads it by wish.get.
func (v *viewer) choose(c Choice) { v.wish.set(c) }

// run serves the viewer until ctx ends.
func (v *viewer) run(ctx context.Context) error {
	defer v.server.forget(v)
	err := v.begin(ctx)
	if err == nil {
		err = v.watch(ctx)
	}
	v.close(err)
	return err
}

// begin starts what goes on beside the media.
func (v *viewer) begin(ctx context.Context) error {
	if v.fresh {
		if err := v.server.start(v.herald.run); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(v.sections, func(s rtc.Section) bool { return s.Kind == rtc.Messages }) {
		v.session.Go(func() { v.converse(ctx) })
	}
	return nil
}

// watch sends the media until ctx ends.
func (v *viewer) watch(ctx context.Context) error {
	select {
	case <-v.session.Connected():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	a, err := v.server.enter(v)
	if err != nil {
		return err
	}
	defer v.server.exit(a, v)
	for _, t := range v.tracks {
		layer := a.layer(t)
		if t.kind == stream.Video {
			sub, err := v.stream.Subscribe(layer)
			if err != nil {
				return err
			}
			defer sub.Close()
			t.place(sub)
			t.burst(ctx)
		}
		if err := a.join(t, layer); err != nil {
			return err
		}
		defer a.leave(t)
	}
	if pause(ctx, settled) {
		v.session.Settle()
	}
	<-ctx.Done()
	v.leave(context.Cause(ctx))
	return context.Cause(ctx)
}

// leave says goodbye, unless the viewer did, and adds the sums to the log line.
func (v *viewer) leave(reason error) {
	bye := &rtcp.Goodbye{}
	for _, t := range v.tracks {
		s := t.sums()
		bye.Sources = append(bye.Sources, s.ssrc)
		v.session.Note(slog.Group(t.ID(),
			"codec", t.codec.Name, "packets", s.packets, "bytes", s.octets, "asked_again", s.asked, "repeated", s.repeated))
	}
	if !errors.Is(reason, rtc.ErrGone) && !errors.Is(reason, rtc.ErrLost) {
		_ = v.session.WriteRTCP([]rtcp.Packet{bye}) // the viewer may be gone all the same
	}
}

// burst sends what is cached since the newest keyframe, and asks for a keyframe
// where there is none or only an old one (E16). The track's lane goes on.
func (t *track) burst(ctx context.Context) {
	ended, s := over(ctx), newScratch(burstSize)
	var p pacer
	for {
		n := t.poll(ended, s)
		if n == 0 {
			break
		}
		_, media := t.started()
		if n == len(s.packets) && !pause(ctx, p.pause(t.sums().octets, media)) {
			return
		}
	}
	source, age := t.started()
	if source == nil || source.Layer.OnRequest && age > oldEnough {
		t.requestKeyframe()
	}
}

// pacer says how long to wait after each train of a burst. It is pure.
type pacer struct{ sent uint64 }

// pause takes the bytes sent so far and how much media that was.
func (p *pacer) pause(sent uint64, media time.Duration) time.Duration {
	size := float64(sent - p.sent)
	p.sent = sent
	rate := float64(burstFast)
	if sent > burstFirst {
		rate = burstSlow
		if media > 0 {
			rate = max(rate, burstTimes*float64(sent)/media.Seconds())
		}
	}
	return time.Duration(size / rate * float64(time.Second))
}

// pause waits; false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Hear handles the viewer's RTCP about a track. It is rtc.Hearer.
func (t *track) Hear(packet []byte) {
	if t.back == nil {
		t.back = t.wire()
	}
	t.handle(packet, time.Now(), t.back)
}
