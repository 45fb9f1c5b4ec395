package rtsp

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/limit"
	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/stream"
)

// feeder moves the media of one publisher into its Stream.
type feeder struct {
	session *stream.Session
	tracks  []*track // fixed

	bytes atomic.Uint64  // of payload that came
	meter limit.Meter    // only run's goroutine
	cut   *atomic.Uint64 // not nil with a meter
}

// listen takes all packets of a session.
func (f *feeder) listen(s rtsp.Recording) {
	s.OnPacketRTPAny(f.packet)
	s.OnPacketRTCPAny(f.control)
}

// run waits for the end. It returns why it came.
func (f *feeder) run(ctx context.Context) ([]slog.Attr, error) {
	look := time.NewTicker(limit.MeterEvery)
	defer look.Stop()
	looked := time.Now()
	for {
		select {
		case <-f.session.Done():
			return f.notes(), f.session.Err()
		case <-ctx.Done():
			f.session.Close(context.Cause(ctx))
		case now := <-look.C:
			if err := f.meter.Spend(f.bytes.Swap(0), now.Sub(looked)); err != nil {
				f.cut.Add(1)
				f.session.Close(err)
			}
			looked = now
		}
	}
}

func (f *feeder) track(m *description.Media) *track {
	for _, t := range f.tracks {
		if t.media == m {
			return t
		}
	}
	return nil
}

// packet takes one RTP packet. Its payload belongs to the Stream from here on:
// the protocol makes a new buffer for each. It comes without padding, in order
// and only once.
func (f *feeder) packet(m *description.Media, _ format.Format, p *rtp.Packet) {
	f.bytes.Add(uint64(len(p.Payload)))
	t := f.track(m)
	if t == nil || p.PayloadType != t.payloadType {
		return
	}
	packet := stream.Packet{
		Arrival: time.Now(), Timestamp: p.Timestamp, Sequence: p.SequenceNumber, Marker: p.Marker,
		Payload: slices.Clip(p.Payload),
	}
	if sets := t.primer.before(packet.Payload, p.Timestamp); sets != nil {
		first := packet
		first.Payload, first.Marker = sets, false
		first.Sequence += t.primer.inserted
		t.primer.inserted++
		f.session.Write(t.layer.ID, first)
	}
	packet.Sequence += t.primer.inserted
	f.session.Write(t.layer.ID, packet)
}

// control takes one RTCP packet.
func (f *feeder) control(m *description.Media, p rtcp.Packet) {
	if sr, ok := p.(*rtcp.SenderReport); ok {
		if t := f.track(m); t != nil {
			f.session.Report(t.layer.ID, sr.NTPTime, sr.RTPTime, time.Now())
		}
	}
}

// notes are what the log tells of a publisher.
func (f *feeder) notes() []slog.Attr {
	var all []slog.Attr
	for _, t := range f.tracks {
		if t.source == nil {
			continue
		}
		name := "audio"
		if t.layer.ID.Kind == stream.Video {
			name = "video"
		}
		c := t.source.Counters()
		attrs := []any{
			slog.String("codec", t.layer.Codec.Name), slog.Uint64("packets", c.Packets), slog.Uint64("bytes", c.Bytes),
		}
		if t.layer.ID.Kind == stream.Video {
			attrs = append(attrs, slog.Uint64("keyframes", c.Keyframes),
				slog.Duration("keyframe_distance", c.KeyframeDistance.Round(time.Millisecond)),
				slog.Duration("longest_distance", c.LongestDistance.Round(time.Millisecond)))
		}
		all = append(all, slog.Group(name, attrs...))
	}
	return all
}
