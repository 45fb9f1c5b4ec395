package whep

import "time"

const sentSlots = 1024 // packets that are remembered: a second and more

// sendlog remembers what was sent and learns by transport-wide feedback what
// became of it. Packets are named by their RTP sequence number, which is their
// transport-wide number, too: one track alone is numbered. It is pure.
//
// A packet that is repeated keeps its number, and so all of its bytes: sealing
// other bytes under the same number would give the key away (RFC 7714 §8.2).
type sendlog struct {
	slots  []sent        // sentSlots; none where nobody watches
	origin time.Time     // from which on its time counts
	since  uint32        // packets sent before do not count as lost
	noted  bool          // there was a packet
	last   time.Duration // reference of the newest feedback, on a clock that does not wrap
	begun  bool          // there was one
	zero   uint32        // time on the way of the first packet
	timed  bool          // there was one
	twice  int           // bytes repeated since the last feedback
	lost   int           // packets that were found missing since

	scouting scouting
}

// sent is one packet.
type sent struct {
	at     uint32 // microseconds, modulo 2³²
	number uint16
	size   uint16 // bytes on the wire
	fate   fate
	scout  bool // it belongs to the present scout
}

type fate uint8

const (
	unused fate = iota
	underway
	arrived
	missing // or repeated
)

// scouting is a short train of padding whose packets' distances at the receiver
// tell how fast the slowest link is.
type scouting struct {
	sent        int
	end         uint16 // number of the last one
	came, bytes int    // without the first one
	first, last time.Duration
}

// group is what one feedback tells.
type group struct {
	came, lost  int
	bytes       int           // that came
	again       int           // bytes that were repeated since the last feedback
	first, last time.Duration // arrival on the receiver's clock
	way         time.Duration // least time on the way; only differences mean anything
	newest      time.Duration // time on the way of what came last
	scouted     int           // bits a second that a scout found, 0 without
}

// micros returns a time as the log counts it: from its origin on, which is the first time
// that it was asked for. A wall clock that is set must not look like a queue.
func (l *sendlog) micros(t time.Time) uint32 {
	if l.origin.IsZero() {
		l.origin = t
	}
	return uint32(t.Sub(l.origin).Microseconds())
}

// note remembers a packet.
func (l *sendlog) note(number uint16, payload int, now uint32, scout bool) { //nolint:revive // it is what the packet is
	if !l.noted {
		l.noted, l.since = true, now
	}
	l.slots[number%sentSlots] = sent{at: now, number: number, size: uint16(payload + overhead), fate: underway, scout: scout}
	if scout {
		l.scouting.sent++
		l.scouting.end = number
	}
}

// again notes that a packet was repeated: when it came first cannot be told.
func (l *sendlog) again(number uint16) {
	if len(l.slots) == 0 {
		return
	}
	s := &l.slots[number%sentSlots]
	if s.number != number {
		return
	}
	l.twice += int(s.size)
	if s.fate == underway {
		l.miss(s)
	}
}

// miss notes that a packet was lost.
func (l *sendlog) miss(s *sent) {
	s.fate = missing
	if int32(s.at-l.since) >= 0 {
		l.lost++
	}
}

// restart makes what was sent so far not count as lost.
func (l *sendlog) restart(now time.Time) { l.noted, l.since = true, l.micros(now) }

// scout begins another scout.
func (l *sendlog) scout() {
	l.scouting = scouting{}
	for i := range l.slots {
		l.slots[i].scout = false
	}
}

// feedback reads a feedback packet. It returns what it tells of packets that were
// not known about before.
func (l *sendlog) feedback(b []byte) (group, bool) {
	var g group
	if len(l.slots) == 0 {
		return g, true
	}
	g.again, l.twice = l.twice, 0
	reached := false
	origin := l.unwrap(b)
	ok := readTWCC(b, func(number uint16, at time.Duration) {
		s := &l.slots[number%sentSlots]
		if s.number != number || s.fate != underway && (s.fate != missing || at < 0) {
			return
		}
		if at < 0 {
			l.miss(s)
			return
		}
		if s.fate == missing { // late, or the repeat
			s.fate = arrived
			return
		}
		s.fate = arrived
		at += origin
		g.arrive(s, at, l.way(s, at))
		if s.scout {
			l.scouting.arrive(s, at)
			reached = reached || int16(number-l.scouting.end) >= 0
		} else if l.scouting.sent > 0 && int16(number-l.scouting.end) > 0 {
			reached = true
		}
	})
	g.lost, l.lost = l.lost, 0
	if reached && l.scouting.sent > 0 {
		g.scouted = l.scouting.rate()
		l.scouting = scouting{}
	}
	return g, ok
}

// unwrap returns what is to be added to a feedback's times for a clock that does
// not wrap.
func (l *sendlog) unwrap(b []byte) time.Duration {
	if len(b) < 20 {
		return 0
	}
	const period = timeUnit << timeBits
	reference := time.Duration(uint32(b[16])<<16|uint32(b[17])<<8|uint32(b[18])) * timeUnit
	if !l.begun {
		l.begun, l.last = true, reference
		return 0
	}
	ahead := (reference - l.last) % period
	switch {
	case ahead >= period/2:
		ahead -= period
	case ahead < -period/2:
		ahead += period
	}
	l.last += ahead
	return l.last - reference
}

// way returns how much longer than the very first one a packet was on its way.
// Both clocks are taken modulo 2³² microseconds.
func (l *sendlog) way(s *sent, at time.Duration) time.Duration {
	way := uint32(at/time.Microsecond) - s.at
	if !l.timed {
		l.timed, l.zero = true, way
	}
	return time.Duration(int32(way-l.zero)) * time.Microsecond
}

func (g *group) arrive(s *sent, at, way time.Duration) {
	if g.came == 0 || way < g.way {
		g.way = way
	}
	if g.came == 0 || at < g.first {
		g.first = at
	}
	if at >= g.last {
		g.last, g.newest = at, way
	}
	g.came++
	g.bytes += int(s.size)
}

func (s *scouting) arrive(p *sent, at time.Duration) {
	if s.came == 0 {
		s.first, s.last, s.came = at, at, 1
		return
	}
	s.came++
	s.bytes += int(p.size)
	s.last = max(s.last, at)
}

// fastest is what a scout finds at most: networks may keep packets and hand them
// over together.
const fastest = 50_000_000

// rate returns the bits a second that the train came with, 0 if too much of it
// was lost.
func (s *scouting) rate() int {
	if s.came < 2 || s.came*10 < s.sent*6 {
		return 0
	}
	span := max(s.last-s.first, deltaUnit)
	return min(int(float64(s.bytes)*8/span.Seconds()), fastest)
}
