package mix_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	pion "github.com/pion/opus"

	"github.com/whipcast/whipcast/internal/opus"
	"github.com/whipcast/whipcast/stage/mix"
	"github.com/whipcast/whipcast/stream"
)

const (
	rate  = 48000
	frame = 960
)

// sender is a seat's publisher, in media time.
type sender struct {
	name    string
	sound   func(i int) float64 // by sample
	ppm     float64             // by how much its clock is fast
	loss    float64             // share of packets that do not arrive
	jitter  time.Duration       // the most that one is late
	swap    bool                // every tenth packet overtakes the one before
	from    time.Duration       // when it begins to send
	until   time.Duration       // when it ends; 0 for never
	first   uint32              // timestamp
	encoder *opus.Encoder
	source  *stream.Source
	sent    int
	random  *rand.Rand
	wire    []flying
	all     [][]byte // payloads of all packets
	dropped int
}

// flying is a packet on its way.
type flying struct {
	at     time.Duration
	packet stream.Packet
}

// studio drives a Mixer and hears what comes out.
type studio struct {
	t       testing.TB
	mixer   *mix.Mixer
	epoch   time.Time
	now     time.Duration
	senders []*sender
	out     []stream.Packet // all of it
	when    []time.Duration // each came out
	every   func()          // called with each step
}

func newStudio(t testing.TB, senders ...*sender) *studio {
	t.Helper()
	m, err := mix.New(mix.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range senders {
		if s.encoder, err = opus.NewEncoder(opus.Config{Channels: 1 + i%2, Bitrate: 64000 * (1 + i%2)}); err != nil {
			t.Fatal(err)
		}
		s.random = rand.New(rand.NewPCG(uint64(i), 7))
	}
	return &studio{t: t, mixer: m, epoch: time.Unix(1e9, 0), senders: senders}
}

func (s *studio) open(names ...string) {
	s.t.Helper()
	for _, n := range names {
		if err := s.mixer.Open(n); err != nil {
			s.t.Fatal(err)
		}
	}
}

// send puts the packets on the wire that are made up to now.
func (x *sender) send(now time.Duration, channels int) {
	for {
		at := x.from + time.Duration(float64(x.sent)*2e7/(1+x.ppm*1e-6))
		if at > now || x.until > 0 && at > x.until {
			return
		}
		pcm := make([]float32, 0, 2*frame)
		for i := range frame {
			v := float32(x.sound(x.sent*frame + i))
			for range channels {
				pcm = append(pcm, v)
			}
		}
		p := stream.Packet{
			Source: x.source, Timestamp: x.first + uint32(x.sent*frame), Sequence: uint16(65500 + x.sent),
			Payload: x.encoder.Encode(nil, pcm),
		}
		x.sent++
		x.all = append(x.all, p.Payload)
		if x.random.Float64() < x.loss {
			x.dropped++
			continue
		}
		if x.jitter > 0 {
			at += time.Duration(x.random.Int64N(int64(x.jitter)))
		}
		if x.swap && x.sent%10 == 0 {
			at += 25 * time.Millisecond
		}
		x.wire = append(x.wire, flying{at, p})
	}
}

// run lets time pass, 5 ms at a time.
func (s *studio) run(d time.Duration) {
	s.t.Helper()
	for end := s.now + d; s.now < end; s.now += 5 * time.Millisecond {
		for i, x := range s.senders {
			x.send(s.now, 1+i%2)
			rest := x.wire[:0]
			for _, f := range x.wire {
				if f.at > s.now {
					rest = append(rest, f)
					continue
				}
				f.packet.Arrival = s.epoch.Add(f.at)
				s.mixer.Write(x.name, f.packet)
			}
			x.wire = rest
		}
		n := len(s.out)
		s.out = s.mixer.Tick(s.epoch.Add(s.now), s.out)
		for range len(s.out) - n {
			s.when = append(s.when, s.now)
		}
		if s.every != nil {
			s.every()
		}
	}
}

// stop lets time pass in which nobody calls the Mixer. What was sent meanwhile comes
// after the next Tick.
func (s *studio) stop(d time.Duration) {
	s.now += d
	s.out = s.mixer.Tick(s.epoch.Add(s.now), s.out)
	for i, x := range s.senders {
		x.send(s.now, 1+i%2)
		for at := range x.wire {
			x.wire[at].at = s.now
		}
	}
	for len(s.when) < len(s.out) {
		s.when = append(s.when, s.now)
	}
}

// heard decodes what came out, left, in the order of time; what is missing is silence.
// It is an error if numbers do not go on.
func (s *studio) heard(out []stream.Packet) []float64 {
	s.t.Helper()
	d, err := pion.NewDecoderWithOutput(rate, 2)
	if err != nil {
		s.t.Fatal(err)
	}
	var all []float64
	pcm := make([]float32, 2*frame)
	for i, p := range out {
		if i > 0 {
			before := out[i-1]
			if p.Sequence-before.Sequence != uint16((p.Timestamp-before.Timestamp)/frame) || (p.Timestamp-before.Timestamp)%frame != 0 {
				s.t.Fatalf("packet %d of %d has number %d and time %d behind %d and %d",
					i, len(out), p.Sequence, p.Timestamp, before.Sequence, before.Timestamp)
			}
			for range p.Sequence - before.Sequence - 1 {
				all = append(all, make([]float64, frame)...)
			}
		}
		n, err := d.DecodeToFloat32(p.Payload, pcm)
		if err != nil || n != frame {
			s.t.Fatalf("packet %d: %v, %d samples", i, err, n)
		}
		for j := range n {
			all = append(all, float64(pcm[2*j]))
		}
	}
	return all
}

// tone is a sine.
func tone(hz, level float64) func(int) float64 {
	return func(i int) float64 { return level * math.Sin(2*math.Pi*hz*float64(i)/rate) }
}

// strength returns the amplitude of a tone in sound (Goertzel, with a window).
func strength(sound []float64, hz float64) float64 {
	var re, im, sum float64
	for i, v := range sound {
		w := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(len(sound)))
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / rate)
		re += w * v * c
		im += w * v * s
		sum += w
	}
	return 2 * math.Hypot(re, im) / sum
}

// roughest returns the largest second difference.
func roughest(sound []float64) float64 {
	most := 0.0
	for i := 2; i < len(sound); i++ {
		most = max(most, math.Abs(sound[i]-2*sound[i-1]+sound[i-2]))
	}
	return most
}
