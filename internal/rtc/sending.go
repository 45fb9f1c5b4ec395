package rtc

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	// maxTrain is how many packets go out in one call: longer bursts overflow
	// small queues on their way.
	maxTrain = 10
	// trainBytes holds that many packets of an Ethernet's size.
	trainBytes = maxTrain * 1500
	// inStep is how often a packet goes Pion's way although we could send it
	// ourselves: its count of rollovers stays right, and it can take over at any
	// packet. It must be less than 2^15, RFC 3711 §3.3.1.
	inStep = 1 << 12
)

// errTooLong says that a packet is longer than any that the Engine receives.
var errTooLong = errors.New("packet is too long")

// Sending is one RTP sequence of a Session: what TrackLocalContext.WriteStream
// gives to Opening.Tracks. It seals packets itself and hands several to the
// kernel at once, where the connection allows that; else Pion sends them one by
// one. Both ways make the same bytes, and may alternate. All methods may be
// called from any goroutine.
type Sending struct {
	route  *atomic.Pointer[route] // the Session's
	trains *sync.Pool             // the Engine's
	ssrc   uint32
	pion   webrtc.TrackLocalWriter

	mu    sync.Mutex
	order order // below mu
}

// order counts the packets of a sequence beyond 16 bits, as the receiver does
// (RFC 3711 §3.3.1). It is pure.
type order struct {
	begun  bool
	newest int64 // index: rollover counter and sequence number
	told   int64 // index that Pion saw last
}

// place returns the index of a packet. false says that it is older than the first
// one: nobody could open it.
func (o *order) place(sequence uint16) (index int64, ok bool) {
	if !o.begun {
		o.begun, o.newest, o.told = true, int64(sequence), int64(sequence)-inStep
	}
	index = o.newest + int64(int16(sequence-uint16(o.newest)))
	o.newest = max(o.newest, index)
	return index, index >= 0
}

// due reports whether Pion must see a packet to stay in step: first of all the
// first one.
func (o *order) due(index int64) bool { return index-o.told >= inStep }

// tell says that Pion sees a packet.
func (o *order) tell(index int64) { o.told = max(o.told, index) }

func newSending(x *Session, c webrtc.TrackLocalContext) *Sending {
	return &Sending{route: &x.route, trains: &x.registry.engine.trains, ssrc: uint32(c.SSRC()), pion: c.WriteStream()}
}

// SSRC returns the one that all packets must have.
func (s *Sending) SSRC() uint32 { return s.ssrc }

// WriteRTP sends one packet, as webrtc.TrackLocalWriter says.
func (s *Sending) WriteRTP(header *rtp.Header, payload []byte) (int, error) {
	t := s.Begin()
	if err := t.Add(header, payload); err != nil {
		_ = t.End() // the first error counts
		return 0, err
	}
	return header.MarshalSize() + len(payload), t.End()
}

// Write sends one packet, as webrtc.TrackLocalWriter says.
func (s *Sending) Write(b []byte) (int, error) {
	var p rtp.Packet
	if err := p.Unmarshal(b); err != nil {
		return 0, err
	}
	return s.WriteRTP(&p.Header, p.Payload)
}

// Begin begins a train of packets. Whoever begins one ends it, on the same
// goroutine.
func (s *Sending) Begin() *Train {
	t := s.trains.Get().(*Train)
	t.sending = s
	return t
}

// Train is some packets of one Sending on their way. It is for one goroutine.
type Train struct {
	lane    int // of the socket
	sending *Sending
	path    *path
	count   int // packets in buffer
	size    int // of each but the last one
	last    int // of the last one
	used    int // bytes of buffer
	nonce   [saltSize]byte
	control [segmentSpace]byte
	buffer  [trainBytes]byte
}

// Add sends a packet, or keeps it until more of the train are there or it ends.
// It keeps neither header nor payload. The SSRC must be that of the Sending. A
// sequence number that was sent before must come with the same header and
// payload.
func (t *Train) Add(header *rtp.Header, payload []byte) error {
	s := t.sending
	way := s.route.Load()
	s.mu.Lock()
	index, ok := s.order.place(header.SequenceNumber)
	pion := way == nil || s.order.due(index)
	if ok && pion {
		s.order.tell(index)
	}
	s.mu.Unlock()
	switch {
	case !ok:
		return nil
	case pion:
		if err := t.flush(); err != nil {
			return err
		}
		_, err := s.pion.WriteRTP(header, payload)
		return err
	}
	size := header.MarshalSize() + len(payload) + tagSize
	if size > len(t.buffer) {
		return errTooLong
	}
	if !t.fits(way.path, size) {
		if err := t.flush(); err != nil {
			return err
		}
	}
	t.path = way.path
	into := t.buffer[t.used : t.used+size]
	n, err := header.MarshalTo(into)
	if err != nil {
		return err
	}
	way.seal.nonce(&t.nonce, s.ssrc, index)
	way.seal.aead.Seal(into[:n], t.nonce[:], payload, into[:n])
	if t.count == 0 {
		t.size = size
	}
	t.count, t.last, t.used = t.count+1, size, t.used+size
	return nil
}

// fits reports whether a packet can be the next one: in one call all have one
// size, but the last one may be shorter.
func (t *Train) fits(way *path, size int) bool {
	return t.count == 0 || t.path == way && t.last == t.size && size <= t.size && t.count < maxTrain && t.used+size <= len(t.buffer)
}

// End sends what is left. The Train must not be used after it.
func (t *Train) End() error {
	err := t.flush()
	trains := t.sending.trains
	t.sending, t.path = nil, nil
	trains.Put(t)
	return err
}

func (t *Train) flush() error {
	if t.count == 0 {
		return nil
	}
	all, size := t.buffer[:t.used], t.size
	t.count, t.used = 0, 0
	return t.path.send(segments{all, size, &t.control}, t.lane)
}

// carried joins a track to its Sending.
type carried struct {
	webrtc.TrackLocal

	session *Session
}

// Bind gives the track a Sending to write to.
func (c *carried) Bind(context webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	if track, ok := c.TrackLocal.(Hearer); ok {
		c.session.hearers.add(uint32(context.SSRC()), track)
	}
	return c.TrackLocal.Bind(&carriage{context, newSending(c.session, context)})
}

// carriage is Pion's context of a track with another writer.
type carriage struct {
	webrtc.TrackLocalContext

	sending *Sending
}

// WriteStream returns a *Sending.
func (c *carriage) WriteStream() webrtc.TrackLocalWriter { return c.sending }

// path is where a Session sends on its own: one of our sockets, and an address.
type path struct {
	socket *socket
	to     netip.AddrPort
	plain  atomic.Bool // trains are refused on the way there
}

// route is a path and what seals the packets on it.
type route struct {
	path *path
	seal *seal
}
