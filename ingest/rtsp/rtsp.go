// Package rtsp takes what publishers send by RTSP (RFC 2326), and what it fetches
// from RTSP servers, and writes it into their Streams.
//
// It says what may be published, becomes the Stream's publisher, and moves RTP and
// sender reports into the Stream. Sockets and requests are internal/rtsp's.
//
//	ANNOUNCE ──▶ Announce ─┐
//	source ◀── Puller ─────┴▶ choose ──▶ Stream.Publish ──▶ feeder ──▶ primer ──▶ Session.Write
//
// Key frames cannot be asked for: cameras and encoders send them when they like.
//
// Invariant: a wrong request costs nobody anything: the running publisher is
// replaced only by a session whose medias are all set up.
package rtsp

import (
	"net/http"
	"sync/atomic"

	"github.com/bluenviron/gortsplib/v5/pkg/description"

	"github.com/whipcast/whipcast/ingest"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/stream"
)

// Ingest makes publishers of what is announced. It implements rtsp.Ingest.
type Ingest struct {
	cfg Config
	hub *stream.Hub
}

// Config of an Ingest. The zero value works.
type Config struct {
	// MaxBitrate of a publisher, in bits a second; 0: no limit. Who sends more is cut
	// off with limit.ErrBitrate (specs X24).
	MaxBitrate int64
	Cut        *atomic.Uint64 // counts them; nil: they are not
}

// New returns an Ingest into the Streams of hub.
func New(cfg Config, hub *stream.Hub) *Ingest {
	if cfg.Cut == nil {
		cfg.Cut = new(atomic.Uint64)
	}
	return &Ingest{cfg: cfg, hub: hub}
}

// Announce says whether a description can be taken: one video, one audio, or both,
// in codecs that a Stream can carry.
func (in *Ingest) Announce(d *description.Session) error {
	tracks, left := choose(d)
	switch {
	case len(left) > 0:
		return problem.Problem{
			Status: http.StatusUnsupportedMediaType, Title: "Codec not acceptable",
			Detail: left[0].words + "; " + remedy,
		}
	case len(tracks) == 0:
		return problem.Problem{
			Status: http.StatusUnsupportedMediaType, Title: "Nothing to publish",
			Detail: "the description has neither video nor audio",
		}
	}
	return nil
}

// Record makes the request's principal the Stream's publisher.
func (in *Ingest) Record(q rtsp.Request, d *description.Session, s rtsp.Recording) (rtsp.Run, error) {
	f, err := publish(in.hub, q, d)
	if err != nil {
		return nil, ingest.Refuse(err)
	}
	f.meter.Limit = float64(in.cfg.MaxBitrate)
	f.cut = in.cfg.Cut
	f.listen(s)
	return f.run, nil
}

// publish makes a feeder of what a description has.
func publish(hub *stream.Hub, q rtsp.Request, d *description.Session) (*feeder, error) {
	tracks, _ := choose(d)
	o := stream.Offer{Principal: q.Principal}
	for _, t := range tracks {
		o.Layers = append(o.Layers, t.layer)
	}
	session, sources, err := ingest.Publish(hub, q.Stream, o)
	if err != nil {
		return nil, err
	}
	for i, source := range sources {
		tracks[i].source = source
	}
	return &feeder{session: session, tracks: tracks}, nil
}
