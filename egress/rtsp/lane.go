package rtsp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/stream"
)

const (
	batch       = 64              // packets read at once
	reportEvery = 5 * time.Second // of sender reports
	// maxPayload is the most that a packet can carry to a viewer, whose connection may
	// be UDP.
	maxPayload = 1472 - 12
)

// lane sends one media to one viewer. One goroutine owns it.
type lane struct {
	viewer *viewer
	media  *description.Media
	kind   stream.Kind
	codec  string
	ssrc   uint32

	numbers numbers
	source  *stream.Source // of the packets last sent
	started anchor         // of source
	skip    bool           // up to the next key frame
	report  time.Time      // when the next sender report is due
	packets uint32
	octets  uint32
	skips   uint64
}

func newLane(v *viewer, m *description.Media) *lane {
	l := &lane{viewer: v, media: m, kind: stream.Video, ssrc: v.out.SSRC(m)}
	if m.Type == description.MediaTypeAudio {
		l.kind = stream.Audio
	}
	l.codec, _, _ = strings.Cut(m.Formats[0].RTPMap(), "/")
	if strings.EqualFold(l.codec, "mpeg4-generic") {
		l.codec = "AAC"
	}
	return l
}

func (l *lane) name() string {
	if l.kind == stream.Audio {
		return "audio"
	}
	return "video"
}

// run sends until the context ends, or nothing can be sent any more.
func (l *lane) run(ctx context.Context) error {
	for {
		source, err := l.viewer.live(ctx, l.kind)
		if err != nil {
			return err
		}
		sub, err := l.viewer.stream.Subscribe(source.Layer.ID)
		if err != nil {
			return errEnded
		}
		err = l.follow(ctx, sub)
		sub.Close()
		if err != nil {
			return err
		}
	}
}

// follow sends one Layer, until another one is to be sent.
func (l *lane) follow(ctx context.Context, sub *stream.Subscription) error {
	packets := make([]stream.Packet, batch)
	for {
		n, err := sub.Read(ctx, packets)
		switch {
		case n > 0:
			err = l.send(packets[:n])
			clear(packets[:n])
		case errors.Is(err, stream.ErrLagged):
			l.lag()
			err = nil
		case errors.Is(err, stream.ErrOffline):
			return nil // the next publisher may have other layers
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			return errEnded
		}
		if err != nil {
			return err
		}
	}
}

// lag notes that the viewer missed something.
func (l *lane) lag() {
	l.skip = l.kind == stream.Video
	l.numbers.cut()
	l.skips++
	l.viewer.egress.cfg.Metrics.Skips.Add(1)
}

// send queues a batch, all of one Source.
func (l *lane) send(packets []stream.Packet) error {
	for i := range packets {
		p := &packets[i]
		if p.Source != l.source {
			if err := l.begin(p); err != nil {
				return err
			}
		}
		if l.skip && !p.Keyframe {
			continue
		}
		l.skip = false
		if len(p.Payload) == 0 || len(p.Payload) > maxPayload {
			l.numbers.leave()
			continue
		}
		l.tell(p)
		out := rtp.Packet{
			Header: rtp.Header{
				Version: 2, Marker: p.Marker, PayloadType: l.media.Formats[0].PayloadType(),
				SequenceNumber: l.numbers.sequence(p.Sequence), Timestamp: l.numbers.timestamp(p.Timestamp),
			},
			Payload: p.Payload,
		}
		if !l.viewer.out.Send(l.media, &out) {
			l.lag()
			continue
		}
		l.packets++
		l.octets += uint32(len(p.Payload)) //nolint:gosec // wraps on purpose
		l.viewer.egress.cfg.Metrics.Packets.Add(1)
	}
	return nil
}

// begin goes over to another Source: the numbers continue, and the timestamp
// advances by the time that passed.
func (l *lane) begin(p *stream.Packet) error {
	codec := p.Source.Layer.Codec
	if !strings.EqualFold(codec.Name, l.codec) || int(codec.ClockRate) != l.media.Formats[0].ClockRate() {
		return fmt.Errorf("the publisher changed to %s, which this viewer was not told of", codec.Name)
	}
	l.source, l.started = p.Source, anchor{p.Arrival, p.Timestamp}
	l.numbers.begin(p.Sequence, p.Timestamp, l.viewer.clock.at(p.Source, l.started, p.Timestamp), codec.ClockRate)
	l.report = time.Time{}
	return nil
}

// tell sends a sender report when one is due: before the first packet, so that
// players know how the medias belong together.
func (l *lane) tell(p *stream.Packet) {
	now := time.Now()
	at := l.viewer.clock.at(p.Source, l.started, p.Timestamp)
	l.numbers.sent(p.Timestamp, at)
	if now.Before(l.report) {
		return
	}
	l.report = now.Add(reportEvery)
	l.viewer.out.Report(l.media, &rtcp.SenderReport{
		SSRC: l.ssrc, NTPTime: ntp(at), RTPTime: l.numbers.timestamp(p.Timestamp), PacketCount: l.packets, OctetCount: l.octets,
	})
}
