// Package rtsp lets viewers play a Stream by RTSP (RFC 2326): recorders, video
// walls and players in the studio.
//
// A viewer gets the best layer of the video and the audio as they were published,
// over UDP or its own connection. One goroutine for each of the two reads the
// Stream and queues its packets; sockets and requests are internal/rtsp's.
//
//	stream ──▶ lane ──▶ numbers ──▶ Outlet ──▶ viewer
//
// Invariant: a viewer that cannot follow loses its own pictures only, and goes on
// at a key frame.
package rtsp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/pion/sdp/v3"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/stream"
)

// Config of an Egress. The zero value works.
type Config struct {
	Grace      time.Duration // how long viewers wait for a publisher that left, default 60 s
	MaxViewers int           // of one stream; default 1,000
	Metrics    *Metrics      // nil: not counted
}

// Egress serves the viewers of all Streams. It implements rtsp.Egress.
type Egress struct {
	cfg Config
	hub *stream.Hub

	mu      sync.Mutex
	viewers map[string]int // below mu; that play, by stream
}

// New returns an Egress of the Streams of hub. It never creates one.
func New(cfg Config, hub *stream.Hub) *Egress {
	if cfg.Grace <= 0 {
		cfg.Grace = time.Minute
	}
	if cfg.MaxViewers <= 0 {
		cfg.MaxViewers = 1000
	}
	if cfg.Metrics == nil {
		cfg.Metrics = new(Metrics)
	}
	return &Egress{cfg: cfg, hub: hub, viewers: map[string]int{}}
}

// Viewers returns how many play a stream.
func (e *Egress) Viewers(name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.viewers[name]
}

// Describe says what there is to play.
func (e *Egress) Describe(q rtsp.Request) (*description.Session, error) {
	s, err := e.find(q.Stream)
	if err != nil {
		return nil, err
	}
	d := &description.Session{Title: q.Stream}
	for _, source := range best(s.State().Sources) {
		m, err := mediaOf(source.Layer)
		if err != nil {
			return nil, err
		}
		d.Medias = append(d.Medias, m)
	}
	return d, nil
}

func (e *Egress) find(name string) (*stream.Stream, error) {
	s, ok := e.hub.Lookup(name)
	if !ok {
		return nil, problem.Problem{
			Status: http.StatusNotFound, Title: "No such stream",
			Detail: "nobody has published a stream of this name: check the URL",
		}
	}
	if !s.State().Live {
		return nil, problem.Problem{
			Status: http.StatusNotFound, Title: "Stream is offline",
			Detail: "nobody publishes this stream now: try again later",
		}
	}
	return s, nil
}

// best returns the best video layer and the audio, as far as there are any.
func best(sources []*stream.Source) []*stream.Source {
	var all []*stream.Source
	for _, kind := range []stream.Kind{stream.Video, stream.Audio} {
		if s := first(sources, kind); s != nil {
			all = append(all, s)
		}
	}
	return all
}

// first returns the best source of a kind, nil if there is none.
func first(sources []*stream.Source, kind stream.Kind) *stream.Source {
	for _, s := range sources {
		if s.Layer.ID.Kind == kind {
			return s
		}
	}
	return nil
}

// Payload types of what is played.
const (
	videoType = 96
	audioType = 97
)

// mediaOf describes a layer.
func mediaOf(l stream.Layer) (*description.Media, error) {
	m := &description.Media{Type: description.MediaTypeVideo}
	payloadType := videoType
	if l.ID.Kind == stream.Audio {
		m.Type, payloadType = description.MediaTypeAudio, audioType
	}
	rtpmap := fmt.Sprintf("%s/%d", l.Codec.Name, l.Codec.ClockRate)
	switch l.Codec.Name {
	case "Opus":
		rtpmap = "opus/48000/2"
	case "AAC":
		rtpmap = fmt.Sprintf("mpeg4-generic/%d/%d", l.Codec.ClockRate, l.Codec.Channels)
	}
	number := strconv.Itoa(payloadType)
	text := &sdp.MediaDescription{
		MediaName:  sdp.MediaName{Media: string(m.Type), Formats: []string{number}},
		Attributes: []sdp.Attribute{{Key: "rtpmap", Value: number + " " + rtpmap}},
	}
	if l.Codec.Fmtp != "" {
		text.Attributes = append(text.Attributes, sdp.Attribute{Key: "fmtp", Value: number + " " + l.Codec.Fmtp})
	}
	f, err := format.Unmarshal(text, number)
	if err != nil {
		return nil, problem.Problem{
			Status: http.StatusUnsupportedMediaType, Title: "Stream cannot be played by RTSP",
			Detail: "the publisher's " + l.Codec.Name + " cannot be described: watch the stream by HLS",
		}
	}
	if h, ok := f.(*format.H264); ok && len(h.SPS) == 0 {
		h.PacketizationMode = 1 // a superset
	}
	m.Formats = []format.Format{f}
	return m, nil
}

// Play prepares a viewer.
func (e *Egress) Play(q rtsp.Request, o *rtsp.Outlet) (rtsp.Run, error) {
	s, err := e.find(q.Stream)
	if err != nil {
		return nil, err
	}
	if e.Viewers(q.Stream) >= e.cfg.MaxViewers {
		return nil, problem.Problem{
			Status: http.StatusServiceUnavailable, Title: "Too many viewers", RetryAfter: 10 * time.Second,
			Detail: fmt.Sprintf("this stream has %d viewers already: try again later, or watch it by HLS", e.cfg.MaxViewers),
		}
	}
	v := &viewer{egress: e, stream: s, out: o}
	for _, m := range o.Medias() {
		v.lanes = append(v.lanes, newLane(v, m))
	}
	return v.run, nil
}

// viewer is one session. Its fields are fixed.
type viewer struct {
	egress *Egress
	stream *stream.Stream
	out    *rtsp.Outlet
	lanes  []*lane
	clock  clock
}

// run serves a viewer until its connection or the Stream ends.
func (v *viewer) run(ctx context.Context) ([]slog.Attr, error) {
	v.count(1)
	defer v.count(-1)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var all sync.WaitGroup
	for _, l := range v.lanes {
		all.Go(func() {
			err := l.run(ctx)
			if ctx.Err() == nil {
				end(err)
			}
		})
	}
	<-ctx.Done()
	all.Wait()
	return v.notes(), context.Cause(ctx)
}

func (v *viewer) count(change int) {
	e := v.egress
	e.cfg.Metrics.Viewers.Add(int64(change))
	e.mu.Lock()
	defer e.mu.Unlock()
	name := v.stream.Name()
	if e.viewers[name] += change; e.viewers[name] == 0 {
		delete(e.viewers, name)
	}
}

// notes are what the log tells of a viewer.
func (v *viewer) notes() []slog.Attr {
	var all []slog.Attr
	for _, l := range v.lanes {
		all = append(all, slog.Group(l.name(), slog.String("codec", l.codec), slog.Uint64("packets", uint64(l.packets)),
			slog.Uint64("skips", l.skips)))
	}
	return all
}

// errEnded says that nobody published for too long.
var errEnded = errors.New("the publisher left and did not come back")

// live waits until somebody publishes a kind, for the grace time at most.
func (v *viewer) live(ctx context.Context, kind stream.Kind) (*stream.Source, error) {
	for {
		state := v.stream.State()
		if state.Live {
			if s := first(state.Sources, kind); s != nil {
				return s, nil
			}
			if _, err := v.stream.Wait(ctx, state.Version); err != nil { // the others go on
				return nil, err
			}
			continue
		}
		waiting, cancel := context.WithDeadline(ctx, state.Since.Add(v.egress.cfg.Grace))
		_, err := v.stream.Wait(waiting, state.Version)
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, errEnded
		}
	}
}
