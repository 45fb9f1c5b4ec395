package mix

import (
	"time"

	"github.com/whipcast/whipcast/internal/opus"
	"github.com/whipcast/whipcast/stream"
)

const (
	// ahead is how much more of the seats was played than came out: the limiter and the
	// encoder look so far into the future.
	ahead = lookTicks + opus.Lookahead
	// hush is the peak below which the sum is quiet, -50 dBFS: then nobody hears a
	// decoder that gets another encoder's packets.
	hush = 0.003
	// quietSteps of that, or waitSteps without, and a seat that is alone goes through.
	quietSteps = 5
	waitSteps  = 250
	// mostSilence is how long a seat that goes through may send nothing.
	mostSilence = rate * 600 / 1000
	// slab is the size of the pieces of memory that packets are cut from.
	slab = 32 << 10
)

// only returns the seat that could go through: it alone is open, with all its sound.
func (m *Mixer) only() *seat {
	if len(m.seats) != 1 {
		return nil
	}
	s := m.seats[0]
	if s.closing || !s.begun || s.wanted != 1 || s.newest < s.position()-mostSilence {
		return nil
	}
	if s.gain > 0 && s.gain < 1 || s.gain > 1 { // its gain has been heard
		return nil
	}
	return s
}

// choose decides between passing through and mixing.
func (m *Mixer) choose() {
	only := m.only()
	switch {
	case m.passing != nil:
		if only != m.passing {
			m.joining, m.passing = m.passing, nil
			m.alone = 0
			m.stats.Switches++
		}
	case only == nil || m.joining != nil:
		m.alone = 0
	default:
		if m.alone++; m.quiet >= int(min(m.steps, quietSteps)) || m.alone > waitSteps {
			m.pass(only)
		}
	}
}

// pass lets a seat's packets through, from the one on that begins where the output has
// got to.
func (m *Mixer) pass(s *seat) {
	from := s.position() - ahead
	first := -1
	for i := range s.queue {
		h := &s.queue[i]
		if h.passed = h.ticks == 0 || h.at < from-h.ticks/2; !h.passed && first < 0 {
			first = i
		}
	}
	if first < 0 {
		return // it is still to come
	}
	h := &s.queue[first]
	m.passing, m.generation = s, s.generation
	m.offset = m.next - h.at
	m.shift = m.sequence - h.packet.Sequence
	m.first, m.end = h.at, h.at
	m.stats.Switches++
}

// forward appends the packets that go through.
func (m *Mixer) forward(now time.Time, out []stream.Packet) []stream.Packet {
	s := m.passing
	if s == nil {
		return out
	}
	if s.generation != m.generation { // its timestamps began anew
		m.passing = nil
		m.next = m.resumed(s)
		m.begin()
		return out
	}
	for i := range s.queue {
		h := &s.queue[i]
		if h.passed {
			continue
		}
		h.passed = true
		if h.at < m.first || h.at < m.end-mostJump { // before all that went through, or far behind it
			continue
		}
		p := h.packet
		p.Source, p.Arrival = nil, now
		p.Timestamp = uint32(h.at + m.offset) //nolint:gosec // timestamps wrap
		p.Sequence += m.shift
		m.end = max(m.end, h.end())
		if int16(p.Sequence+1-m.sequence) > 0 { //nolint:gosec // sequence numbers wrap
			m.sequence = p.Sequence + 1
		}
		m.stats.Passed++
		out = append(out, p)
	}
	return out
}

// step plays 20 ms, and appends them unless packets go through.
func (m *Mixer) step(now time.Time, out []stream.Packet) []stream.Packet {
	if s := m.joining; s != nil {
		// Mixing begins where the last packet that went through ended.
		left := m.end + ahead - s.position()
		if s.generation == m.generation && left >= stepTicks {
			m.play(stepTicks)
			return out
		}
		if s.generation == m.generation {
			m.play(int(max(left, 0)))
			m.next = s.position() - ahead + m.offset
		} else {
			m.next = m.resumed(s)
		}
		m.begin()
		return out
	}
	m.play(stepTicks)
	if m.passing != nil {
		return out
	}
	return m.encode(now, out)
}

// resumed returns where the output goes on after a seat went through whose timeline began
// anew: behind its last packet, but not before what was played when timestamps jumped.
func (m *Mixer) resumed(s *seat) int64 {
	if from := s.left - ahead; s.jumped && from > m.end {
		return from + m.offset
	}
	return m.end + m.offset
}

// begin makes the encoder go on from what came before it.
func (m *Mixer) begin() {
	m.joining = nil
	m.fresh = true
	m.encoder.Reset(m.interleave(m.recent[:]))
}

// encode appends a packet of the step's sound.
func (m *Mixer) encode(now time.Time, out []stream.Packet) []stream.Packet {
	from := len(m.memory)
	if cap(m.memory)-from < opus.MostBytes {
		m.memory, from = make([]byte, 0, slab), 0
	}
	m.memory = m.encoder.Encode(m.memory, m.interleave(m.bus[:]))
	out = append(out, stream.Packet{
		Arrival:   now,
		Timestamp: uint32(m.next), //nolint:gosec // timestamps wrap
		Sequence:  m.sequence,
		Marker:    m.fresh,
		Payload:   m.memory[from:len(m.memory):len(m.memory)],
	})
	m.fresh = false
	m.next += stepTicks
	m.sequence++
	m.stats.Mixed++
	return out
}

// interleave returns sound as the encoder takes it, until the next call.
func (m *Mixer) interleave(sound []stereo) []float32 {
	m.flat = m.flat[:0]
	for _, s := range sound {
		m.flat = append(m.flat, s[0], s[1])
	}
	return m.flat
}

// play plays n samples of all seats into the bus, and limits them.
func (m *Mixer) play(n int) {
	bus := m.bus[:n]
	clear(bus)
	open := m.seats[:0]
	for _, s := range m.seats {
		sound := m.sound[:n]
		s.pull(sound)
		s.meter.take(sound)
		wanted := s.wanted
		if s.closing && s != m.joining { // that one is heard up to here
			wanted = 0
		}
		s.add(bus, sound, wanted)
		if !s.closing || s.gain > 0 || s == m.joining {
			open = append(open, s)
		}
	}
	clear(m.seats[len(open):])
	m.seats = open
	m.limiter.run(bus)
	peak := float32(0)
	for _, s := range bus {
		peak = max(peak, s[0], -s[0], s[1], -s[1])
	}
	if m.quiet++; peak > hush {
		m.quiet = 0
	}
	if n >= len(m.recent) {
		copy(m.recent[:], bus[n-len(m.recent):])
		return
	}
	copy(m.recent[:], m.recent[n:])
	copy(m.recent[len(m.recent)-n:], bus)
}

// add adds a seat's sound to the bus, with its gain, which goes to the wanted one.
func (s *seat) add(bus, sound []stereo, wanted float32) {
	if len(bus) == 0 {
		return
	}
	gain, by := s.gain, (wanted-s.gain)/float32(len(bus))
	s.gain = wanted
	if gain == 0 && wanted == 0 {
		return
	}
	for i, v := range sound {
		gain += by
		bus[i][0] += v[0] * gain
		bus[i][1] += v[1] * gain
	}
}
