package whip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/limit"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

const (
	// Until the first keyframe came, one is asked for this often (specs R21).
	firstKeyframeEvery = time.Second
	firstKeyframeTries = 10
	// A read that fails this often in a row ends the track.
	maxReadErrors = 100
)

// publisher moves media of one Session into its Stream.
type publisher struct {
	session *rtc.Session
	feed    *stream.Session
	tracks  []*track      // fixed
	tooLong atomic.Uint64 // messages of data channels
	bytes   atomic.Uint64 // that came, of all layers
	meter   limit.Meter   // only serve's goroutine
	metrics *Metrics
}

// track is the way of one Layer. Its upper fields are fixed after accept.
type track struct {
	layer       stream.Layer
	source      *stream.Source // nil if another publisher came at once
	payloadType uint8
	pli, fir    bool
	captureID   uint8 // of abs-capture-time; 0: none

	ssrc  atomic.Uint32 // 0 before the first packet
	keyed atomic.Bool   // a keyframe came
	fired uint8         // sequence number of FIR; only run's goroutine
}

// run is the life of a publisher. It returns why it ended.
func (p *publisher) run(ctx context.Context) error {
	err := p.serve(ctx)
	p.feed.Close(err)
	if taken, dropped := p.feed.Notes(); taken+dropped+p.tooLong.Load() > 0 {
		p.session.Note(slog.Group("messages", slog.Uint64("taken", taken), slog.Uint64("dropped", dropped+p.tooLong.Load())))
	}
	return err
}

func (p *publisher) serve(ctx context.Context) error {
	wanted := make(chan stream.LayerID)
	p.session.Go(func() { p.requests(ctx, wanted) })
	first := time.NewTicker(firstKeyframeEvery)
	defer first.Stop()
	look := time.NewTicker(limit.MeterEvery)
	defer look.Stop()
	tries, looked := 0, time.Now()
	for {
		select {
		case t := <-p.session.Tracks():
			p.begin(t)
		case c := <-p.session.Channels():
			p.session.Go(func() { p.listen(c) })
		case id := <-wanted:
			p.requestKeyframe(id)
		case <-first.C:
			if tries = p.insist(tries); tries >= firstKeyframeTries {
				first.Stop()
			}
		case now := <-look.C:
			if err := p.meter.Spend(p.bytes.Swap(0), now.Sub(looked)); err != nil {
				p.metrics.Cut.Add(1)
				return err
			}
			looked = now
		case <-p.feed.Done():
			if err := p.feed.Err(); !errors.Is(err, stream.ErrTakenOver) {
				return err
			}
			return rtc.ErrTakenOver
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// begin starts the loops of a track that sent its first packet.
func (p *publisher) begin(t rtc.Track) {
	id := stream.LayerID{Kind: stream.Audio}
	if t.Kind == rtc.Video {
		id = stream.LayerID{Kind: stream.Video, RID: t.RID()}
	}
	i := slices.IndexFunc(p.tracks, func(k *track) bool { return k.layer.ID == id })
	if i < 0 || p.tracks[i].ssrc.Load() != 0 {
		p.session.Log().Warn("unexpected track ignored", "kind", t.Kind.String(), "rid", t.RID())
		return
	}
	k := p.tracks[i]
	k.ssrc.Store(uint32(t.SSRC()))
	p.session.Go(func() { p.read(t, k) })
	p.session.Go(func() { p.reports(t, k) })
	p.requestKeyframe(id)
}

// insist asks for the keyframes that did not come yet.
func (p *publisher) insist(tries int) int {
	missing := false
	for _, k := range p.tracks {
		if k.layer.ID.Kind == stream.Video && k.ssrc.Load() != 0 && !k.keyed.Load() {
			missing = true
			p.requestKeyframe(k.layer.ID)
		}
	}
	if !missing {
		return tries
	}
	if tries++; tries == firstKeyframeTries {
		p.session.Log().Warn("no keyframe yet: set the encoder's keyframe interval to 1 or 2 seconds", "after", firstKeyframeEvery*firstKeyframeTries)
	}
	return tries
}

// requests passes the Stream's keyframe requests to run.
func (p *publisher) requests(ctx context.Context, wanted chan<- stream.LayerID) {
	for {
		id, err := p.feed.KeyframeRequest(ctx)
		if err != nil {
			return
		}
		select {
		case wanted <- id:
		case <-ctx.Done():
			return
		}
	}
}

// requestKeyframe sends a PLI (RFC 4585 §6.3.1), or a FIR (RFC 5104 §4.3.1) if
// only that was negotiated. Before the first packet there is nobody to ask.
func (p *publisher) requestKeyframe(id stream.LayerID) {
	i := slices.IndexFunc(p.tracks, func(k *track) bool { return k.layer.ID == id })
	if i < 0 || id.Kind != stream.Video {
		return
	}
	k := p.tracks[i]
	ssrc := k.ssrc.Load()
	var packet rtcp.Packet
	switch {
	case ssrc == 0 || !k.pli && !k.fir:
		return
	case k.pli:
		packet = &rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: ssrc}
	default:
		k.fired++
		packet = &rtcp.FullIntraRequest{SenderSSRC: 1, MediaSSRC: ssrc, FIR: []rtcp.FIREntry{{SSRC: ssrc, SequenceNumber: k.fired}}}
	}
	if err := p.session.WriteRTCP([]rtcp.Packet{packet}); err != nil {
		p.session.Log().Debug("request keyframe", "error", err)
	}
}

// read is the read loop of a Layer.
func (p *publisher) read(t rtc.Track, k *track) {
	var (
		blocks slab
		header rtp.Header // reused: it allocates only when it grows
		lost   losses
		errs   int
	)
	for errs < maxReadErrors {
		buffer := blocks.space()
		n, _, err := t.Read(buffer)
		if errors.Is(err, io.EOF) || p.session.Err() != nil {
			break
		}
		if err != nil { // one bad packet does not end a track
			errs++
			continue
		}
		errs = 0
		p.bytes.Add(uint64(n))
		packet, ok := parse(&header, buffer[:n])
		if !ok || header.PayloadType != k.payloadType {
			continue
		}
		packet.Arrival = time.Now()
		blocks.take(n)
		lost.seen(packet.Sequence)
		if k.layer.ID.Kind == stream.Video && !k.keyed.Load() && k.layer.Codec.Keyframe(packet.Payload) {
			k.keyed.Store(true)
		}
		p.feed.Write(k.layer.ID, packet)
		if at, owner, ok := captureTime(&header, k.captureID, packet.Arrival); ok {
			p.metrics.CaptureTimes.Add(1)
			p.feed.Captured(k.layer.ID, at, owner)
		}
	}
	p.note(k, lost)
}

// listen makes notes of a data channel's messages.
func (p *publisher) listen(c *rtc.Channel) {
	for {
		message, text, err := c.Read()
		switch {
		case errors.Is(err, rtc.ErrMessage):
			p.tooLong.Add(1)
			continue
		case err != nil:
			return
		}
		// What is one too many is counted where it is dropped.
		if err := p.feed.Note(stream.Note{Arrival: time.Now(), Label: c.Label(), Text: text, Payload: message}); err != nil && !errors.Is(err, stream.ErrNote) {
			return
		}
	}
}

// parse reads an RTP packet (RFC 3550 §5.1) and strips header, extensions and
// padding. Its payload lies in data.
func parse(header *rtp.Header, data []byte) (stream.Packet, bool) {
	size, err := header.Unmarshal(data)
	if err != nil || header.Version != 2 {
		return stream.Packet{}, false
	}
	payload := data[size:len(data):len(data)]
	if header.Padding {
		if len(payload) == 0 {
			return stream.Packet{}, false
		}
		padding := int(payload[len(payload)-1])
		if padding == 0 || padding > len(payload) {
			return stream.Packet{}, false
		}
		end := len(payload) - padding
		payload = payload[:end:end]
	}
	return stream.Packet{
		Timestamp: header.Timestamp, Sequence: header.SequenceNumber, Marker: header.Marker, Payload: payload,
	}, true
}

// reports passes a Layer's sender reports on.
func (p *publisher) reports(t rtc.Track, k *track) {
	for errs := 0; errs < maxReadErrors; {
		packets, err := t.ReadRTCP()
		if errors.Is(err, io.EOF) || p.session.Err() != nil {
			return
		}
		if err != nil {
			errs++
			continue
		}
		errs = 0
		now := time.Now()
		for _, packet := range packets {
			if sr, ok := packet.(*rtcp.SenderReport); ok && sr.SSRC == uint32(t.SSRC()) {
				p.feed.Report(k.layer.ID, sr.NTPTime, sr.RTPTime, now)
			}
		}
	}
}

// note adds what came of a Layer to the Session's log line.
func (p *publisher) note(k *track, lost losses) {
	name := "audio"
	if k.layer.ID.Kind == stream.Video {
		name = "video" + k.layer.ID.RID
	}
	if k.source == nil {
		return
	}
	c := k.source.Counters()
	missing := lost.count(c.Packets)
	attrs := []any{
		slog.String("codec", k.layer.Codec.Name), slog.Uint64("packets", c.Packets), slog.Uint64("bytes", c.Bytes),
		slog.Uint64("lost", missing), slog.Uint64("repeated", c.Duplicates),
	}
	if missing > 0 {
		attrs = append(attrs, slog.String("loss", fmt.Sprintf("%.2f%%", 100*float64(missing)/float64(c.Packets+missing))))
	}
	if k.layer.ID.Kind == stream.Video {
		attrs = append(attrs, slog.Uint64("keyframes", c.Keyframes),
			slog.Duration("keyframe_distance", c.KeyframeDistance.Round(time.Millisecond)),
			slog.Duration("longest_distance", c.LongestDistance.Round(time.Millisecond)))
	}
	p.session.Note(slog.Group(name, attrs...))
}
