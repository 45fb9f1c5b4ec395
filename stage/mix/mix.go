// Package mix makes one sound of the seats of a stage: Opus packets in, Opus packets
// out. While one seat alone is open its packets go through untouched; more are decoded,
// added, kept below full scale and encoded again. It is pure: no goroutine, clock or
// I/O. Who drives it writes what the seats send and calls Tick every 20 ms.
//
// Times are samples at 48 kHz. Each seat has a timeline of its own, that of its RTP
// timestamps, and is played behind it by what the network and its clock need: the play
// position moves by 20 ms each step, is held back when sound is late, and is moved
// by splices that nobody hears when the seat's clock runs off.
package mix

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/whipcast/whipcast/internal/opus"
	"github.com/whipcast/whipcast/stream"
)

const (
	// MostSeats is how many seats can be open at a time.
	MostSeats = 16
	// Floor is the least level that is told, in dBFS.
	Floor = -120

	rate      = opus.Rate
	stepTicks = opus.FrameSamples
	step      = 20 * time.Millisecond
	// mostSteps is how many steps a late Tick makes up for. Beyond, time is left out.
	mostSteps = 25

	defaultBitrate = 112000
)

// Errors of Open and New.
var (
	// ErrFull tells that MostSeats are open.
	ErrFull = errors.New("open a seat in the mix: as many as can be are open")
	// ErrBitrate tells that a bit rate is not one for mixed stereo.
	ErrBitrate = errors.New("bit rate of the mix is outside 48000 to 510000 bits a second")
)

// Config says how to mix. The zero value is right.
type Config struct {
	Bitrate int // of what is mixed, in bits a second; default 112000
}

// Stats counts since New. Times are in samples.
type Stats struct {
	Packets     uint64 // written by all seats
	Late        uint64 // packets that came after their time had passed
	Undecodable uint64 // packets that are no Opus
	Refused     uint64 // packets of seats that are not open, or too many at once
	Concealed   uint64 // samples made up for what was lost or late
	Spliced     uint64 // samples left out or repeated to follow clocks
	Jumps       uint64 // times that a seat's timestamps began anew
	Passed      uint64 // packets that went through untouched
	Mixed       uint64 // packets that were encoded
	Switches    uint64 // changes between both
	Skipped     uint64 // steps left out, because Tick came too late
}

// Mixer makes one sound of many. One goroutine uses it.
type Mixer struct {
	seats   []*seat
	encoder *opus.Encoder
	limiter limiter
	stats   Stats

	started bool
	start   time.Time // of the steps
	steps   int64     // since

	passing    *seat  // whose packets go through; nil while mixing
	joining    *seat  // who went through until now: mixing begins where that ended
	generation int    // of its timeline
	offset     int64  // from its timeline to that of the output
	shift      uint16 // from its sequence numbers to those of the output
	first, end int64  // on its timeline: what went through
	alone      int    // steps since one seat alone is open

	next     int64  // timestamp of the next packet that is encoded
	sequence uint16 // of the next packet
	fresh    bool   // the next packet is the first of the encoder, or after a pause
	memory   []byte // packets are cut from it

	sound, bus [stepTicks]stereo // of a seat; of all, limited
	recent     [opus.History]stereo
	flat       []float32
	quiet      int // steps of near silence in a row
}

// New returns a Mixer, or ErrBitrate.
func New(cfg Config) (*Mixer, error) {
	if cfg.Bitrate == 0 {
		cfg.Bitrate = defaultBitrate
	}
	enc, err := opus.NewEncoder(opus.Config{Channels: 2, Bitrate: cfg.Bitrate})
	if err != nil || cfg.Bitrate < 48000 {
		return nil, fmt.Errorf("make a mixer of %d bits a second: %w", cfg.Bitrate, ErrBitrate)
	}
	return &Mixer{encoder: enc, limiter: newLimiter(), fresh: true, flat: make([]float32, 0, 2*stepTicks)}, nil
}

// Stats returns the counters since New.
func (m *Mixer) Stats() Stats { return m.stats }

// Open lets a seat's sound in. A seat that is open stays so; one that fades out comes
// back with a gain of 1. From the first Open on, Tick always has sound, if need be
// silence. The error is ErrFull.
func (m *Mixer) Open(name string) error {
	if s := m.seat(name); s != nil {
		if s.closing {
			s.closing, s.wanted = false, 1
		}
		return nil
	}
	if len(m.seats) >= MostSeats {
		// Without a Tick those that are closed have not been forgotten yet.
		m.seats = slices.DeleteFunc(m.seats, func(s *seat) bool {
			return s.closing && s != m.passing && s != m.joining
		})
	}
	if len(m.seats) >= MostSeats {
		return ErrFull
	}
	d, err := opus.NewDecoder()
	if err != nil {
		return fmt.Errorf("open seat %q in the mix: %w", name, err)
	}
	m.started = true
	m.seats = append(m.seats, newSeat(name, d, &m.stats))
	return nil
}

// Close lets a seat's sound fade out within a step, and forgets the seat.
func (m *Mixer) Close(name string) {
	if s := m.seat(name); s != nil {
		s.closing = true
	}
}

// Gain sets by what a seat's sound is multiplied: 1 leaves it as it is, 0 mutes it. It
// is reached within a step. Only a seat with 1 goes through untouched.
func (m *Mixer) Gain(name string, gain float32) {
	if s := m.seat(name); s != nil {
		s.wanted = min(max(gain, 0), 4)
	}
}

// Write takes a packet of a seat's sound, as its Stream has it: in any order, with
// gaps. A packet of another Source begins the seat's timeline anew.
func (m *Mixer) Write(name string, p stream.Packet) {
	s := m.seat(name)
	if s == nil {
		m.stats.Refused++
		return
	}
	m.stats.Packets++
	last := m.start.Add(time.Duration(m.steps-1) * step)
	s.write(p, int64(min(max(p.Arrival.Sub(last), 0), step)*rate/time.Second))
}

// Report takes a sender report of a seat's sound. That of a new Source may come before
// its first packet.
func (m *Mixer) Report(name string, r stream.Report) {
	if s := m.seat(name); s != nil {
		s.report, s.reported = r, true
	}
}

// Clock tells what a timestamp of the output stands for: the instant on the clock of a
// seat's sender at which its sound in the output was captured. It is a sender report
// for the output, good for pictures of the same sender. It tells false before the
// first report of the seat.
func (m *Mixer) Clock(name string) (stream.Report, bool) {
	s := m.seat(name)
	if s == nil || !s.reported || !s.begun {
		return stream.Report{}, false
	}
	from := m.offset
	at := m.end + from
	if m.passing != s {
		if m.passing != nil || m.joining != nil {
			return stream.Report{}, false
		}
		// What is played next comes out this much later than the next packet begins.
		at, from = m.next, m.next+ahead-s.position()
	}
	ticks := int64(int32(uint32(at-from) - s.report.RTP)) //nolint:gosec // timestamps wrap
	return stream.Report{
		NTP:     s.report.NTP + uint64(ticks*(1<<32)/rate), //nolint:gosec // differences of NTP timestamps wrap
		RTP:     uint32(at),                                //nolint:gosec // timestamps wrap
		Arrival: s.report.Arrival,
	}, true
}

// Level returns how loud a seat was in the last 100 ms, before its gain, in dBFS (a
// sine at full scale has -3), and whether somebody speaks there.
func (m *Mixer) Level(name string) (rms float32, speaking bool) {
	if s := m.seat(name); s != nil {
		return s.meter.level(), s.meter.speaking
	}
	return Floor, false
}

// Passing returns the seat whose packets go through untouched, if any.
func (m *Mixer) Passing() (name string, ok bool) {
	if m.passing == nil {
		return "", false
	}
	return m.passing.name, true
}

// Tick makes the steps that are due and appends their packets to out, with Timestamp,
// Sequence, Arrival (which is now), Marker and Payload. Call it every 20 ms, and behind
// Write so that packets which go through do not wait for the next step.
func (m *Mixer) Tick(now time.Time, out []stream.Packet) []stream.Packet {
	if !m.started {
		return out
	}
	if m.start.IsZero() {
		m.start = now
	}
	due := int64(now.Sub(m.start)/step) + 1
	if due-m.steps > mostSteps {
		m.leave(due - m.steps - mostSteps)
	}
	out = m.forward(now, out)
	for ; m.steps < due; m.steps++ {
		m.choose()
		out = m.forward(now, out)
		out = m.step(now, out)
	}
	return out
}

// leave leaves out steps, on all timelines alike: what comes out stays as far behind what
// goes in as it was, and a timestamp stands for the same instant.
func (m *Mixer) leave(steps int64) {
	m.stats.Skipped += uint64(steps) //nolint:gosec // it is positive
	m.steps += steps
	for _, s := range m.seats {
		s.leave(steps * stepTicks)
	}
	if m.passing == nil && m.joining == nil { // else the next timestamp follows from the seat's
		m.next += steps * stepTicks
		m.fresh = true // a pause is before it
	}
}

// seat returns an open seat.
func (m *Mixer) seat(name string) *seat {
	for _, s := range m.seats {
		if s.name == name {
			return s
		}
	}
	return nil
}
