// Package whip takes what publishers send by WHIP (RFC 9725) and writes it into
// their Streams.
//
// It says what an offer must be, becomes the Stream's publisher, and moves RTP
// and sender reports from the PeerConnection into the Stream, keyframe requests
// the other way. Messages of data channels become the Stream's Notes. HTTP and sessions are internal/rtc's.
//
//	POST ──▶ accept ──▶ Stream.Publish ──▶ publisher.run ──▶ one read loop a layer ──▶ Session.Write
//	                                          └──▶ PLI ◀── Session.KeyframeRequest
//
// Invariant: a wrong request costs nobody anything: the running publisher is
// replaced only by a Session whose answer is ready.
package whip

import (
	"context"
	"net/http"

	"github.com/whipcast/whipcast/ingest"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// Config of the endpoint. The zero value works.
type Config struct {
	// Codecs that are accepted, the preferred one first. nil: H264, H265, AV1,
	// VP9 and Opus.
	Codecs []rtc.Codec
	// MaxBitrate of a publisher with all its layers, in bits a second; 0: no limit.
	// Who sends more is cut off with limit.ErrBitrate (specs X24).
	MaxBitrate int64
	Metrics    *Metrics // nil: not counted
}

// New returns the handler of /whip/{stream}. Who may publish, limits and logs
// are the registry's.
func New(cfg Config, hub *stream.Hub, registry *rtc.Registry) http.Handler {
	if cfg.Metrics == nil {
		cfg.Metrics = new(Metrics)
	}
	e := &endpoint{cfg: cfg, hub: hub, registry: registry}
	return registry.Endpoint(rtc.EndpointConfig{
		Direction: rtc.Receive,
		Prefix:    "/whip/",
		ValidName: stream.ValidName,
		Accept:    e.accept,
	})
}

type endpoint struct {
	cfg      Config
	hub      *stream.Hub
	registry *rtc.Registry
}

// accept makes a publisher of a POST. Everything that can fail for the offer's
// fault fails before the Stream is touched (specs W12).
func (e *endpoint) accept(ctx context.Context, q rtc.Request) (*rtc.Session, error) {
	offer, err := rtc.CheckOffer(q.Body, rtc.Rules{Direction: rtc.Receive, Codecs: e.cfg.Codecs})
	if err != nil {
		return nil, err
	}
	session, err := e.registry.Open(ctx, rtc.Opening{
		Caller: q.Caller, Direction: rtc.Receive, Stream: q.Stream, Offer: offer,
	})
	if err != nil {
		return nil, err
	}
	p, err := e.publish(q, offer)
	if err != nil {
		session.Discard()
		return nil, err
	}
	p.session, p.meter.Limit = session, float64(e.cfg.MaxBitrate)
	p.metrics = e.cfg.Metrics
	session.Start(p.run)
	return session, nil
}

// publish makes the request's principal the Stream's publisher.
func (e *endpoint) publish(q rtc.Request, offer *rtc.Offer) (*publisher, error) {
	tracks := tracksOf(offer)
	o := stream.Offer{Principal: q.Principal}
	for _, t := range tracks {
		o.Layers = append(o.Layers, t.layer)
	}
	feed, sources, err := ingest.Publish(e.hub, q.Stream, o)
	if err != nil {
		return nil, ingest.Refuse(err)
	}
	for i, source := range sources {
		tracks[i].source = source
	}
	return &publisher{feed: feed, tracks: tracks}, nil
}

// tracksOf lists what the offer promises, the best video layer first.
func tracksOf(offer *rtc.Offer) []*track {
	var tracks []*track
	add := func(s rtc.Section, id stream.LayerID) {
		c := s.Codec
		tracks = append(tracks, &track{
			pli: s.PLI, fir: s.FIR, payloadType: c.PayloadType, captureID: s.CaptureTime,
			layer: stream.Layer{
				ID:    id,
				Codec: stream.Codec{Name: c.Name, ClockRate: c.ClockRate, Channels: c.Channels, Fmtp: c.Fmtp},
				// OBS and FFmpeg have no transport-cc, and heed no PLI (specs R34).
				OnRequest: id.Kind == stream.Video && s.TransportCC && (s.PLI || s.FIR),
			},
		})
	}
	for _, s := range offer.Sections {
		switch {
		case s.Kind == rtc.Messages:
		case s.Kind == rtc.Audio:
			add(s, stream.LayerID{Kind: stream.Audio})
		case len(s.RIDs) == 0:
			add(s, stream.LayerID{Kind: stream.Video})
		}
		for _, rid := range s.RIDs {
			add(s, stream.LayerID{Kind: stream.Video, RID: rid})
		}
	}
	return tracks
}
