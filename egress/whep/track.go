package whep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

const (
	trainSize    = 64              // packets sent in one go
	mergePolls   = 8               // trains that a joining viewer may take while its lane waits
	maxFailures  = 100             // trains that failed in a row before the viewer is given up
	maxBlocked   = time.Second     // that sending a train may hold everybody else up
	blockedTimes = 3               // so many trains in a row: one may be a busy machine's fault
	reportEvery  = 2 * time.Second // two a second cost as much as thirty packets; clocks drift slowly
	reportsFirst = 2               // so many come faster: players need two to bring audio and video in step
	reportFast   = 250 * time.Millisecond
	oldKeyframe  = 100 * time.Millisecond // from here on a burst is pushed together
)

// errCodec is the reason of a viewer whose publisher came back with a codec that
// was not negotiated.
var errCodec = errors.New("the publisher changed to a codec that this viewer did not negotiate")

// errSlow is the reason of a viewer whose connection blocks the others.
var errSlow = errors.New("the connection takes nothing more")

// session is what a track needs of its rtc.Session.
type session interface {
	End(reason error)
	WriteRTCP(packets []rtcp.Packet) error
}

// track sends one Layer at a time to one viewer: a webrtc.TrackLocal of our own.
// Packets are fed by one goroutine at a time: the viewer's while it joins, its
// lane's from then on. RTCP is handled by another.
type track struct {
	kind     stream.Kind
	codec    rtc.Codec
	streamID string // the same for audio and video of a viewer (E19)
	optional bool   // its kind was not published, or not in a codec of WebRTC, when the viewer came
	session  session
	metrics  *Metrics
	wish     *wish // what the viewer chose; nil: nothing
	pilot    pilot
	back     *wire // for what is asked for again: only Hear touches it

	// Below the audience's mutex.
	home    *lane    // it is on
	pending *arrival // it changes to; nil: it stays

	feeds    sync.Mutex // held while packets are fed; nobody waits for it but the lane it is on
	feeder   *lane      // below feeds, as all up to mu: who may feed; nil while the viewer's goroutine does
	out      *wire
	failures int                  // trains in a row that failed
	blocked  int                  // trains in a row that took too long
	fed      int                  // packets of the newest train
	compound *compound            // of its sender reports; nil before the first
	dead     bool                 // the viewer is ended
	joining  *stream.Subscription // where a joining viewer reads; nil once it goes with its lane
	sent     mark                 // the last packet that it read there
	skip     bool                 // the lane has yet to come to sent
	silent   atomic.Bool          // nothing is sent: the network is to be free for another Layer; set below the audience's mutex
	left     bool                 // something was left out so

	mu       sync.Mutex
	writer   webrtc.TrackLocalWriter // below mu, as all that follows; nil before Bind
	ssrc     uint32
	number   uint8 // ID of the header extension for transport-wide feedback, 0 without
	rewriter rewriter
	source   *stream.Source       // of the packets last sent
	ring     *stream.Subscription // where they can be looked up
	ahead    int64                // timestamp units that the viewer's clock is ahead, from changes of the Layer
	arrival  time.Time            // of the newest of them
	begun    time.Time            // arrival of its first
	packets  uint64
	octets   uint64
	reports  int
	nextSR   time.Time
	repeats  *repeats // nil before the viewer asks
	pleas    pleas
	asked    uint64 // sequence numbers that the viewer asked for again
	repeated uint64 // and got
	ups      uint64 // changes to a better Layer
	downs    uint64 // and to a lesser one
}

// mark names one packet of a ring.
type mark struct {
	source   *stream.Source
	sequence uint16
}

func newTrack(section rtc.Section, streamID string, m *Metrics) *track {
	kind := stream.Audio
	if section.Kind == rtc.Video {
		kind = stream.Video
	}
	// A receiver takes the first number that it sees for one before any wrap (RFC 3711
	// §3.3.1). Did ours begin just below 2¹⁶, and the first packets get lost, it could
	// never open what follows.
	first := uint16(rand.Uint32N(1 << 15)) //nolint:gosec // RFC 3550 §5.1 asks for unpredictable, SRTP protects
	return &track{
		kind:     kind,
		codec:    section.Codec,
		streamID: streamID,
		metrics:  m,
		rewriter: newRewriter(first, rand.Uint32()), //nolint:gosec // as above
	}
}

// Bind is called by Pion once the answer is made. It is a part of
// webrtc.TrackLocal.
func (t *track) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, codec := range c.CodecParameters() {
		if codec.PayloadType == webrtc.PayloadType(t.codec.PayloadType) {
			t.bind(c.WriteStream(), uint32(c.SSRC()), numberID(c.HeaderExtensions()))
			return codec, nil
		}
	}
	return webrtc.RTPCodecParameters{}, fmt.Errorf("bind %s: %w", t.ID(), webrtc.ErrUnsupportedCodec)
}

// numberID returns the ID of the header extension that numbers packets for
// transport-wide feedback, 0 if it was not agreed on.
func numberID(extensions []webrtc.RTPHeaderExtensionParameter) uint8 {
	for _, e := range extensions {
		if e.URI == rtc.TransportCC && e.ID > 0 && e.ID < 15 {
			return uint8(e.ID)
		}
	}
	return 0
}

func (t *track) bind(w webrtc.TrackLocalWriter, ssrc uint32, number uint8) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writer, t.ssrc, t.number = w, ssrc, number
	if number != 0 {
		t.pilot.number()
	}
	t.out = newWire(w, ssrc, t.codec.PayloadType, number)
}

// Unbind is called by Pion at the end. What is still sent then fails.
func (t *track) Unbind(webrtc.TrackLocalContext) error { return nil }

// ID returns the track's part of the msid.
func (t *track) ID() string {
	if t.kind == stream.Audio {
		return "audio"
	}
	return "video"
}

// RID returns "": viewers get no simulcast.
func (t *track) RID() string { return "" }

// StreamID returns the stream's part of the msid.
func (t *track) StreamID() string { return t.streamID }

// Kind returns the kind for Pion.
func (t *track) Kind() webrtc.RTPCodecType {
	if t.kind == stream.Audio {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}

// batch is some of what was read from a ring in one go, of one Source.
type batch struct {
	packets []stream.Packet      // at most trainSize
	ahead   []stream.Packet      // the same, and what was read with it and comes after it
	ring    *stream.Subscription // where it was read
	lagged  bool                 // the reader was overtaken before it
	train   []outgoing           // scratch of trainSize
}

// feed sends a batch. It may be called by one goroutine at a time, after Bind.
func (t *track) feed(b batch) {
	if b.lagged {
		t.skip = false
	}
	if t.dead {
		return
	}
	n, err := t.rewrite(b)
	if err != nil {
		t.end(err)
		return
	}
	if n == 0 {
		return
	}
	begin := time.Now()
	t.pilot.note(b.train[:n], begin)
	sent, err := t.out.send(b.train[:n])
	if time.Since(begin) < maxBlocked {
		t.blocked = 0
	} else if t.blocked++; err == nil && t.blocked == blockedTimes {
		err = errSlow
	}
	if err != nil {
		t.fail(err)
		return
	}
	t.failures, t.fed = 0, n
	t.metrics.Packets.Add(uint64(n))
	t.metrics.Bytes.Add(uint64(sent))
}

// fail gives the viewer up when its connection is closed, or has failed for long.
func (t *track) fail(err error) {
	t.failures++
	t.metrics.WriteErrors.Add(1)
	if t.failures >= maxFailures || errors.Is(err, errSlow) || errors.Is(err, io.ErrClosedPipe) {
		t.end(fmt.Errorf("send %s: %w", t.ID(), err))
	}
}

// end ends the viewer. Nothing more is sent on this track.
func (t *track) end(reason error) {
	t.dead = true
	t.session.End(reason)
}

// rewrite fills the batch's train and returns its length.
func (t *track) rewrite(b batch) (int, error) {
	packets := b.packets
	if t.skip {
		packets = t.after(packets)
	}
	if len(packets) == 0 {
		return 0, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if source := packets[0].Source; source != t.source {
		if !plays(t.codec, source.Layer.Codec) {
			return 0, t.refuse()
		}
		t.begin(b.ahead)
	} else if b.lagged {
		t.rewriter.resume(lowest(b.ahead))
	}
	t.ring = b.ring
	n := 0
	for i := range packets {
		p := &packets[i]
		if p.Keyframe {
			t.pleas.serve()
		}
		sequence, ok := t.rewriter.rewrite(p.Sequence, p.Timestamp, len(p.Payload))
		if !ok {
			continue
		}
		b.train[n] = outgoing{sequence: sequence, timestamp: t.rewriter.outTimestamp(p.Timestamp), marker: p.Marker, payload: p.Payload}
		t.octets += uint64(len(p.Payload))
		n++
	}
	t.packets += uint64(n)
	t.arrival = packets[len(packets)-1].Arrival
	return n, nil
}

// refuse says what a source in another codec means: the end, unless the viewer
// came when there was none of this kind. t.mu is held.
func (t *track) refuse() error {
	if t.optional && t.source == nil {
		return nil
	}
	return errCodec
}

// begin goes over to another source (E15, E38): the numbers continue, and the
// timestamp advances by the time that passed. t.mu is held.
func (t *track) begin(packets []stream.Packet) {
	p := &packets[0]
	rate := p.Source.Layer.Codec.ClockRate
	if t.source == nil {
		t.rewriter.begin(lowest(packets), p.Timestamp, 0)
		if age := time.Since(p.Arrival); t.kind == stream.Video && age > oldKeyframe {
			t.rewriter.pack(p.Timestamp + uint32(units(age, rate)))
		}
	} else {
		pushed := int64(0) // a burst of cached pictures of another Layer
		behind := units(time.Since(p.Arrival), rate)
		if t.kind == stream.Video && p.Source.Epoch == t.source.Epoch && behind > units(oldKeyframe, rate) {
			pushed = behind - behind>>catchUp
		}
		t.rewriter.begin(lowest(packets), p.Timestamp, t.advance(p, rate, pushed))
		if pushed > 0 {
			t.rewriter.pack(p.Timestamp + uint32(behind))
		}
	}
	if t.source == nil || t.source.Epoch != p.Source.Epoch {
		t.pleas = pleas{}
	}
	t.source, t.begun, t.reports, t.nextSR = p.Source, p.Arrival, 0, time.Time{}
}

// advance returns how far the timestamp goes on from the newest picture of the
// present source to a packet of the next one: by the sender's clock between
// Layers that both have reports, else by arrival. It never goes back: what a
// picture comes too early, that a later change makes up for. Of what follows so
// many units are pushed together. t.mu is held.
func (t *track) advance(p *stream.Packet, rate uint32, pushed int64) uint32 {
	passed := p.Arrival.Sub(t.arrival)
	if p.Source.Epoch == t.source.Epoch {
		from, ok1 := t.source.Report()
		to, ok2 := p.Source.Report()
		if captured := to.Time(p.Timestamp, rate) - from.Time(t.rewriter.high, rate); ok1 && ok2 && (captured-passed).Abs() < doubt {
			passed = captured
		}
	} else {
		t.ahead = 0
	}
	wanted, least := units(passed, rate)-t.ahead+pushed, int64(rate)/1000
	t.ahead = max(least-wanted, 0)
	return uint32(max(wanted, least))
}

// lowest returns the lowest number among the packets of the first picture: they
// may have overtaken one another.
func lowest(packets []stream.Packet) uint16 {
	low := packets[0].Sequence
	for i := range packets {
		if packets[i].Timestamp != packets[0].Timestamp {
			break
		}
		if int16(packets[i].Sequence-low) < 0 {
			low = packets[i].Sequence
		}
	}
	return low
}

// after drops what the viewer got while it joined.
func (t *track) after(packets []stream.Packet) []stream.Packet {
	for i := range packets {
		if (mark{packets[i].Source, packets[i].Sequence}) == t.sent {
			t.skip = false
			return packets[i+1:]
		}
	}
	return nil
}

// place makes a joining viewer read where the ring's newest keyframe is. Call it
// before the first poll.
func (t *track) place(sub *stream.Subscription) {
	t.joining = sub
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ring = sub // for its keyframe requests
}

// scratch is what a goroutine that feeds joining viewers works with.
type scratch struct {
	packets []stream.Packet
	train   []outgoing
}

func newScratch(size int) *scratch {
	return &scratch{packets: make([]stream.Packet, size), train: make([]outgoing, size)}
}

// over returns a context that has ended: reading with it does not wait.
func over(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

// poll feeds what a joining viewer's own Subscription has, at most one batch,
// and returns how many packets that was. It does not wait: ended is over(…).
func (t *track) poll(ended context.Context, s *scratch) int {
	b := batch{ring: t.joining, train: s.train}
	for {
		n, err := t.joining.Read(ended, s.packets)
		switch {
		case errors.Is(err, stream.ErrLagged):
			b.lagged = true
			continue
		case errors.Is(err, stream.ErrOffline):
			continue
		case err != nil:
			return 0
		}
		b.packets, b.ahead = s.packets[:n], s.packets[:n]
		t.feed(b)
		t.sent = mark{b.packets[n-1].Source, b.packets[n-1].Sequence}
		clear(b.packets)
		return n
	}
}

// merge lets a joining viewer go with its lane, which has just read the packet
// last, once it has all that its own Subscription has to give. That one is never
// behind the lane: it is read after it, to the end. A viewer that does not get
// there in a few turns tries again after the next batch.
func (t *track) merge(ended context.Context, last mark, s *scratch) {
	for range mergePolls { // a new packet between two reads is one more turn
		if t.poll(ended, s) > 0 {
			continue
		}
		if t.sent.source != nil { // else there is no keyframe yet
			t.joining.Close()
			t.joining = nil
			t.skip = t.sent != last
		}
		return
	}
}

// serve feeds what the track's lane has read, a turn of it.
func (t *track) serve(f *feeding) {
	t.feeds.Lock()
	defer t.feeds.Unlock()
	if t.feeder != f.lane {
		return // another one has taken it over
	}
	switch {
	case t.silent.Load():
		t.left = t.joining == nil
	case t.joining != nil:
		t.approach(f)
	case t.left:
		t.left = false
		late := f.batch
		late.lagged = true // the viewer shall see no hole
		t.feed(late)
		t.requestKeyframe()
	default:
		t.feed(f.batch)
		t.pad(f)
	}
	if !f.more {
		t.report(&f.lane.line, f.now)
		t.remind(f.now)
	}
}

// remind passes on a keyframe request that had to wait.
func (t *track) remind(now time.Time) {
	t.mu.Lock()
	due := t.pleas.due(now)
	t.mu.Unlock()
	if due {
		t.requestKeyframe()
	}
}

// approach feeds a joining viewer as much as the others get in a turn, and lets it
// go with its lane after the last one: what it has read then is never less than
// what the lane has.
func (t *track) approach(f *feeding) {
	if f.more {
		t.poll(f.ended, f.turn)
		return
	}
	t.merge(f.ended, f.last, f.joining)
}

// pad sends the padding that is due after a whole picture.
func (t *track) pad(f *feeding) {
	packets := f.batch.packets
	if !packets[len(packets)-1].Marker || t.skip || t.dead {
		return
	}
	n, scout := t.pilot.due(f.now)
	if n == 0 {
		return
	}
	train := f.batch.train[:min(n, len(f.batch.train))]
	first, timestamp := t.reserve(len(train))
	for i := range train {
		train[i] = paddingPacket(first+uint16(i), timestamp)
		train[i].scout = scout
	}
	t.pilot.note(train, time.Now())
	if _, err := t.out.send(train); err != nil {
		t.fail(err)
	}
	t.metrics.Padding.Add(uint64(len(train)))
}

// reserve returns the numbers of so many packets of padding, from the first one on, and
// their timestamp.
func (t *track) reserve(packets int) (first uint16, timestamp uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.packets += uint64(packets)
	return t.rewriter.pad(packets)
}

// paddingPacket returns a packet without media (RFC 3550 §5.1).
func paddingPacket(sequence uint16, timestamp uint32) outgoing {
	return outgoing{sequence: sequence, timestamp: timestamp, payload: emptiness(), padding: true}
}

// change lets a lane take the track over if sub, the track's own in the lane's
// Layer, has come to a keyframe.
func (t *track) change(f *feeding, sub *stream.Subscription) bool {
	if !t.feeds.TryLock() {
		return false // its lane sends just now: after the next batch
	}
	defer t.feeds.Unlock()
	joining, skip := t.joining, t.skip
	t.joining, t.skip = sub, false
	t.fed = 0
	if t.poll(f.ended, f.arriving()) == 0 {
		t.joining, t.skip = joining, skip
		return false
	}
	if t.silent.Load() {
		t.insure(f.arriving().train[:t.fed])
	}
	if joining != nil {
		joining.Close()
	}
	t.feeder, t.left = f.lane, false
	if f.more {
		return true
	}
	t.merge(f.ended, f.last, f.joining)
	t.report(&f.lane.line, f.now)
	return true
}

// insure sends the first picture of a train once more where packets get lost by chance:
// the viewer has had no picture for a while, and a round trip more is much.
func (t *track) insure(train []outgoing) {
	n := 0
	for n < len(train) && train[n].timestamp == train[0].timestamp {
		n++
	}
	if n == 0 || !t.pilot.insured(train[:n], time.Now()) {
		return
	}
	if _, err := t.out.send(train[:n]); err != nil {
		t.fail(err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range train[:n] {
		t.packets++
		t.octets += uint64(len(train[i].payload))
	}
}

// wire returns another way to send, for another goroutine. Call it after Bind.
func (t *track) wire() *wire {
	t.mu.Lock()
	defer t.mu.Unlock()
	return newWire(t.writer, t.ssrc, t.codec.PayloadType, t.number)
}

// started returns the source that the viewer gets, nil while there is none, and
// how long before the newest packet its first one came.
func (t *track) started() (*stream.Source, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.source, t.arrival.Sub(t.begun)
}

// sums are the totals of a track.
type sums struct {
	ssrc                             uint32
	packets, octets, asked, repeated uint64
}

func (t *track) sums() sums {
	t.mu.Lock()
	defer t.mu.Unlock()
	return sums{t.ssrc, t.packets, t.octets, t.asked, t.repeated}
}

// Adaptation tells how the track's Layer was chosen; nil for audio. It is
// rtc.Adaptive.
func (t *track) Adaptation() *rtc.Adaptation {
	if t.kind != stream.Video {
		return nil
	}
	state := t.pilot.state()
	a := &rtc.Adaptation{Estimate: state.estimate, Probes: state.probes, Automatic: true}
	if t.wish != nil {
		choice, _ := t.wish.get()
		a.Automatic = choice.Automatic()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.source != nil {
		a.Layer = t.source.Layer.ID.RID
	}
	a.Ups, a.Downs = t.ups, t.downs
	return a
}

// switched counts a change of the Layer.
func (t *track) switched(up bool) { //nolint:revive // it is what is counted
	t.mu.Lock()
	defer t.mu.Unlock()
	if up {
		t.ups++
		t.metrics.Ups.Add(1)
		return
	}
	t.downs++
	t.metrics.Downs.Add(1)
}

// report sends a sender report if one is due. The line is the lane's of the
// present source.
func (t *track) report(l *timeline, now time.Time) {
	sr, ok := t.senderReport(l, now)
	if !ok {
		return
	}
	if t.compound == nil {
		t.compound = newCompound(t.streamID)
	}
	// Nothing to do when it fails: media will, too.
	_ = t.session.WriteRTCP(t.compound.with(sr))
}

func (t *track) senderReport(l *timeline, now time.Time) (rtcp.SenderReport, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.nextSR) || t.source == nil || t.source != l.source {
		return rtcp.SenderReport{}, false
	}
	t.nextSR = now.Add(reportEvery)
	if t.reports < reportsFirst {
		t.nextSR = now.Add(reportFast)
	}
	t.reports++
	return rtcp.SenderReport{
		SSRC:        t.ssrc,
		NTPTime:     ntp(now),
		RTPTime:     t.rewriter.outTimestamp(l.timestamp(now)),
		PacketCount: uint32(t.packets),
		OctetCount:  uint32(t.octets),
	}, true
}
