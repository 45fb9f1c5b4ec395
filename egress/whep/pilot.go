package whep

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
)

const (
	paddingSize  = 255 // bytes of one padding packet, the most that RTP allows
	scoutPackets = 12  // of a scout: 30 ms of 1 Mb/s
	scoutFresh   = 24  // of the first one
	scoutSecond  = 24  // of one that follows a scout that found something
	scoutLong    = 40  // of the last one, where no probe follows
	longestFill  = 100 * time.Millisecond
	repeatLeast  = 20_000 // bytes a second that may be repeated; else half of the Layer's bit rate
	repeatBurst  = 64_000 // bytes at once
)

// pilot steers one viewer: it keeps the viewer's controller, and says which
// padding goes out with its pictures.
//
// Probes are padding in the video's own numbering. Retransmissions by RTX would
// need a second sequence, which viewers are not offered: repeats come under
// their old numbers. Browsers take padding after a whole picture, as they send
// it themselves where RTX is not agreed on; Pion's readers see packets without
// payload.
type pilot struct {
	numbered bool        // packets carry their number for feedback; set by number
	watching atomic.Bool // there are Layers to choose from: feedback is of use
	padding  atomic.Bool // there may be some to send

	mu         sync.Mutex
	controller controller // below mu, as all that follows
	log        sendlog
	lastSent   time.Time
	filled     time.Time // when a probe's padding was sent last
	extended   uint32    // of the last receiver report
	reported   bool      // there was one
	asked      int       // numbers asked for again since
	carried    int       // bits a second of the Layer that is sent
	allowance  float64   // bytes that may be repeated
	allowed    time.Time // when it was so
}

// number says that packets are numbered for feedback. Call it before the first.
func (p *pilot) number() { p.numbered = true }

// watch says that there are Layers to choose from. What was sent before is not
// remembered.
func (p *pilot) watch() {
	if !p.numbered || p.watching.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.slots == nil {
		p.log.slots = make([]sent, sentSlots)
	}
	p.watching.Store(true)
}

// note remembers what is about to be sent.
func (p *pilot) note(train []outgoing, now time.Time) {
	if !p.watching.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastSent = now
	at := p.log.micros(now)
	for i := range train {
		p.log.note(train[i].sequence, len(train[i].payload), at, train[i].scout)
	}
}

// again returns how many copies of a packet are to be sent for its nth repetition,
// and remembers that; 0: none. Repeats must not fill a link that has just been found
// slow; and what is lost of a probe that failed is of no use to anybody: a keyframe
// was asked for.
//
// Where packets get lost by chance, so do repeats, and all pictures wait for the one
// that is asked for again and again, a round trip each time. So from the second time
// on there are several of it. These are few.
func (p *pilot) again(o *outgoing, nth int, now time.Time) (copies int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	rate := max(p.carried/8/2, repeatLeast)
	p.allowance = min(p.allowance+now.Sub(p.allowed).Seconds()*float64(rate), repeatBurst)
	p.allowed = now
	if p.numbered && (o.padding && p.controller.failed || p.allowance < float64(len(o.payload))) {
		return 0
	}
	copies = 1
	if now.Sub(p.controller.lossy) < lossyTime && p.allowance > repeatBurst/2 {
		copies = min(nth, mostCopies)
	}
	for range copies {
		p.allowance -= float64(len(o.payload) + overhead)
		p.log.again(o.sequence)
	}
	return copies
}

// insured reports whether a picture that was just sent may be sent once more, and
// remembers that: packets get lost by chance, and the network carries it soon.
func (p *pilot) insured(train []outgoing, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	bytes := 0
	for i := range train {
		bytes += len(train[i].payload) + overhead
	}
	if now.Sub(p.controller.lossy) >= lossyTime || float64(bytes)*8 > unnoticed.Seconds()*float64(p.controller.capacity) {
		return false
	}
	p.log.twice += bytes
	return true
}

// due returns how many padding packets are to follow the picture that was just
// sent; scout says that they are to go at once.
func (p *pilot) due(now time.Time) (packets int, scout bool) {
	if !p.padding.Load() {
		return 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.controller
	switch {
	case c.scouting:
		c.scouting = false
		p.log.scout()
		p.padding.Store(c.probe.on)
		return c.size(), true
	case c.probe.on:
		passed := min(now.Sub(p.filled), longestFill)
		bits := float64(c.probe.bitrate-p.carried) * passed.Seconds()
		packets = max(int(bits/8)/(paddingSize+overhead), 0)
		p.filled = now
		return min(packets, trainSize), false
	default:
		p.padding.Store(false)
		return 0, false
	}
}

// step lets the controller decide and returns the best Layer that the viewer's
// network carries. A probe that begins is counted.
func (p *pilot) step(rates []rate, current int, pending *arrival, now time.Time) (ceiling int, probes uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.controller
	before, probes, probed := c.changed, c.probes, c.probe.on
	c.step(rates, current, pending != nil, p.lastSent, now)
	if c.changed != before {
		p.log.restart(now)
	}
	if current >= 0 && current < len(rates) {
		p.carried = rates[current].bitrate
	}
	if c.probe.on && !probed {
		p.filled = now
	}
	p.padding.Store(c.probe.on || c.scouting)
	return c.ceiling, c.probes - probes
}

// feedback takes a transport-wide feedback packet, and reports whether it was
// whole.
func (p *pilot) feedback(b []byte, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.log.feedback(b)
	if g.came+g.lost > 0 || g.scouted > 0 {
		p.controller.feedback(g, now)
	}
	return ok
}

// estimated takes a REMB.
func (p *pilot) estimated(bitrate int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.controller.receiverEstimate(bitrate, now)
}

// received takes what a receiver report says of the track. Its own count of
// losses knows nothing of those that were repaired; what was asked for does.
func (p *pilot) received(r rtcp.ReceptionReport, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	expected := int(int32(r.LastSequenceNumber - p.extended))
	lost := max(expected*int(r.FractionLost)/256, min(p.asked, expected))
	known := p.reported
	p.extended, p.reported, p.asked = r.LastSequenceNumber, true, 0
	if known && expected > 0 && expected < 1<<15 {
		p.controller.report(expected, lost, now)
	}
}

// steering is what a viewer's statistics tell.
type steering struct {
	estimate int // bits a second that the network is known to carry; 0: not known
	probes   uint64
}

// failed reports whether the last probe was too much.
func (p *pilot) failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.controller.failed
}

// low makes a viewer that has just come begin with a Layer that any network
// carries. False says that its feedback would not tell soon whether a better one
// gets through.
func (p *pilot) low(layer int) bool {
	if !p.numbered {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.controller.low(layer)
	return true
}

// leaping reports whether the viewer is to get a better Layer at once, and the
// bits a second that its network seems to carry.
func (p *pilot) leaping() (capacity int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.controller.capacity, p.controller.leaping
}

// choked reports whether nothing of the present Layer gets through, until when the
// link is busy with what is on its way, and the bits a second that it carries.
func (p *pilot) choked(now time.Time) (free time.Time, capacity int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.controller
	return now.Add(c.drain), c.capacity, c.choked
}

func (p *pilot) state() steering {
	p.mu.Lock()
	defer p.mu.Unlock()
	return steering{p.controller.estimate, p.controller.probes}
}
