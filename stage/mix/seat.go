package mix

import (
	"time"

	mcopus "github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"

	"github.com/whipcast/whipcast/internal/opus"
	"github.com/whipcast/whipcast/stream"
)

const (
	// mostHeld is how many packets of a seat are kept: those that wait, and those of
	// late that might yet go through.
	mostHeld = 64
	// firstDelay is how far behind its first packet a seat is played.
	firstDelay = rate * 30 / 1000
	// mostHold is by how much late sound holds a seat back at a time.
	mostHold = rate * 200 / 1000
	// mostJump is how far ahead of the play position a packet may be: timestamps that
	// jump further are taken as new ones.
	mostJump = rate
	// lateRun is how many packets in a row, over lateTime, come too late for mostHold
	// until the seat is played that much later. After an outage more come at once.
	lateRun  = 20
	lateTime = 300 * time.Millisecond
	// slip is by how much a packet's time may differ from the end of the one before.
	slip = 60
	// kept is how far behind the play position packets are kept.
	kept = 2*ahead + 2880
)

type stereo = opus.Stereo

// held is a packet with its place on the seat's timeline.
type held struct {
	at, ticks int64
	packet    stream.Packet
	passed    bool // it went through, or must not
	played    bool
}

// end is where the next packet should begin.
func (h *held) end() int64 { return h.at + h.ticks }

// voice decodes a seat's packets.
type voice interface {
	// Decode returns a packet's sound, which is valid until the next call.
	Decode(packet []byte) ([]stereo, error)
	Reset()
}

// duration returns what a packet lasts; 0 if it holds no frames, or more than one may.
func duration(packet []byte) int64 {
	if ticks := mcopus.PacketDuration2(packet); ticks <= opus.MostSamples {
		return ticks
	}
	return 0
}

// seat is one input. Its timeline is that of its RTP timestamps, without wraps.
type seat struct {
	name    string
	stats   *Stats
	decoder voice
	closing bool

	gain, wanted float32
	meter        meter

	report   stream.Report
	reported bool

	source     *stream.Source
	arrival    time.Time // of the last packet
	begun      bool
	generation int    // how often the timeline began
	jumped     bool   // it began because timestamps jumped
	left       int64  // then: how far the one before was played
	newest     int64  // time of the newest packet
	number     uint16 // of the packet that came last
	queue      []held
	late       int // packets in a row that came much too late, since lateSince
	lateSince  time.Time

	sound   []stereo // decoded, not yet played
	decoded int64    // end of it
	patch   opus.Patch
	pace    pace
	join    []stereo
}

func newSeat(name string, v voice, stats *Stats) *seat {
	return &seat{
		name: name, stats: stats, decoder: v, wanted: 1,
		queue: make([]held, 0, mostHeld), sound: make([]stereo, 0, 4*opus.MostSamples), join: make([]stereo, 0, 2*opus.MostSamples),
	}
}

// position returns the time of the sample that is played next.
func (s *seat) position() int64 { return s.decoded - int64(len(s.sound)) }

// leave leaves out samples of its timeline.
func (s *seat) leave(n int64) {
	if !s.begun {
		return
	}
	if n < int64(len(s.sound)) {
		s.sound = s.sound[:copy(s.sound, s.sound[n:])]
		return
	}
	s.decoded = s.position() + n
	s.sound = s.sound[:0]
}

// write takes a packet that came elapsed samples after the last step.
func (s *seat) write(p stream.Packet, elapsed int64) {
	if p.Source != s.source {
		s.source = p.Source
		s.begun = false
		// A report that came behind the old one's packets is of the new one.
		s.reported = s.reported && s.report.Arrival.After(s.arrival)
	}
	s.arrival = p.Arrival
	ticks := duration(p.Payload)
	if !s.begun {
		s.begin(p.Timestamp)
	}
	ascends := int16(p.Sequence-s.number) > 0 //nolint:gosec // numbers wrap
	s.number = p.Sequence
	at := s.newest + int64(int32(p.Timestamp-uint32(s.newest))) //nolint:gosec // timestamps wrap
	switch slack := at - s.position(); {
	case slack > mostJump, slack < 0 && at > s.newest && s.behind(p, slack),
		// The network brings an old packet now and then, but no later ones then: timestamps went back.
		slack < -mostHold && at <= s.newest && ascends && s.behind(p, slack):
		s.jump(p.Timestamp)
		at = s.newest
	case slack >= 0:
		s.late = 0
	}
	s.newest = max(s.newest, at)
	if slack := at - s.position(); slack >= 0 {
		// It is needed by the step whose 20 ms it begins in.
		s.pace.saw((slack/stepTicks+1)*stepTicks - elapsed)
	}
	s.insert(held{at: at, ticks: ticks, packet: p})
}

// behind takes that a packet is late though none came before it: the network has become
// slower. If that is not by much, the play position moves back to it: what was made up
// meanwhile was extra time. It reports whether packets have been too late for that
// for so long that the seat has to be played later.
func (s *seat) behind(p stream.Packet, slack int64) bool {
	if slack >= -mostHold {
		s.late = 0
		s.decoded = s.position() + slack
		s.sound = s.sound[:0]
		return false
	}
	if s.late++; s.late == 1 {
		s.lateSince = p.Arrival
	}
	return s.late >= lateRun && p.Arrival.Sub(s.lateSince) >= lateTime
}

// begin starts a timeline with its first packet.
func (s *seat) begin(timestamp uint32) {
	s.begun, s.jumped = true, false
	s.generation++
	s.newest, s.late = int64(timestamp), 0
	s.queue = s.queue[:0]
	s.pace = pace{}
	s.decoder.Reset()
	s.sound = s.sound[:0]
	s.decoded = s.newest - firstDelay
}

// jump begins anew, because timestamps did.
func (s *seat) jump(timestamp uint32) {
	s.stats.Jumps++
	s.reported = false
	s.left = s.position()
	s.begin(timestamp)
	s.jumped = true
}

// insert puts a packet in its place, and makes room.
func (s *seat) insert(h held) {
	i := len(s.queue)
	for i > 0 && s.queue[i-1].at > h.at {
		i--
	}
	if i > 0 && s.queue[i-1].at == h.at && s.queue[i-1].packet.Sequence == h.packet.Sequence {
		return // a duplicate
	}
	if len(s.queue) == mostHeld {
		if i == 0 {
			s.stats.Refused++
			return
		}
		copy(s.queue, s.queue[1:])
		s.queue = s.queue[:mostHeld-1]
		i--
	}
	if h.end() <= s.position() && h.ticks > 0 {
		s.stats.Late++
		h.played = true
	}
	s.queue = append(s.queue, held{})
	copy(s.queue[i+1:], s.queue[i:])
	s.queue[i] = h
}

// forget drops packets whose time is long past.
func (s *seat) forget() {
	n, from := 0, s.position()-kept
	for n < len(s.queue) && s.queue[n].end() < from {
		n++
	}
	if n > 0 {
		rest := copy(s.queue, s.queue[n:])
		clear(s.queue[rest:])
		s.queue = s.queue[:rest]
	}
}

// pull plays the next samples into out, before the seat's gain.
func (s *seat) pull(out []stereo) {
	if !s.begun {
		clear(out)
		return
	}
	for len(s.sound) < len(out) {
		s.more(len(out) - len(s.sound))
	}
	copy(out, s.sound)
	s.sound = s.sound[:copy(s.sound, s.sound[len(out):])]
	s.forget()
}

// more decodes or makes up at most a packet, and at least one sample.
func (s *seat) more(n int) {
	p := s.following()
	if p == nil {
		s.fill(n)
		return
	}
	if hole := p.at - s.decoded; hole > slip {
		s.fill(int(min(hole, int64(n))))
		return
	}
	p.played = true
	if p.ticks == 0 { // padding, or no Opus
		s.stats.Undecodable += uint64(min(len(p.packet.Payload), 1)) //nolint:gosec // it is 0 or 1
		return
	}
	var pcm []stereo
	if !opus.Paused(p.packet.Payload) {
		var err error
		if pcm, err = s.decoder.Decode(p.packet.Payload); err != nil {
			s.stats.Undecodable++
		}
	}
	if len(pcm) == 0 {
		s.fill(int(p.ticks))
	} else {
		s.patch.Join(pcm)
		s.append(pcm)
	}
	s.decoded = p.end()
}

// following returns the next packet to decode, if it is here.
func (s *seat) following() *held {
	for i := range s.queue {
		h := &s.queue[i]
		if h.played {
			continue
		}
		if h.end() <= s.decoded && h.ticks > 0 {
			h.played = true
			s.stats.Late++
			continue
		}
		return h
	}
	return nil
}

// fill makes up sound.
func (s *seat) fill(n int) {
	from := len(s.sound)
	s.sound = s.patch.Fill(s.sound, n)
	s.decoded += int64(len(s.sound) - from)
	s.stats.Concealed += uint64(n) //nolint:gosec // it is positive
}

// append appends decoded sound, a little more or less of it where the play position
// has to move.
func (s *seat) append(pcm []stereo) {
	if d := s.pace.due(len(pcm)); d != 0 {
		from := len(s.sound)
		s.join = append(append(s.join[:0], s.patch.Past()...), pcm...)
		s.sound = opus.Splice(s.sound, s.join, len(pcm), d)
		moved := len(s.sound) - from - len(pcm)
		s.pace.moved(moved)
		s.stats.Spliced += uint64(max(moved, -moved)) //nolint:gosec // it is positive
		s.patch.Learn(s.sound[from:])
		return
	}
	s.sound = append(s.sound, pcm...)
	s.patch.Learn(pcm)
}
