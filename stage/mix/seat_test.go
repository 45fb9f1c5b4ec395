package mix

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// whistle is a voice with a tone that goes on from one packet to the next: each has
// eight whole periods.
type whistle struct{ tone, pcm [stepTicks]stereo }

const whistleHz = 400

func newWhistle() *whistle {
	w := &whistle{}
	for i := range w.tone {
		v := float32(0.5 * math.Sin(2*math.Pi*whistleHz*float64(i)/rate))
		w.tone[i] = stereo{v, v}
	}
	return w
}

func (w *whistle) Decode([]byte) ([]stereo, error) {
	w.pcm = w.tone
	return w.pcm[:], nil
}

func (*whistle) Reset() {}

// line is a network and a clock between a whistle and a seat.
type line struct {
	ppm    float64
	jitter func(n int) time.Duration
	loss   float64
}

// result is what was heard.
type result struct {
	stats  Stats
	least  int64 // slack after the start
	most   int64
	rough  float64 // largest second difference
	lowest float64 // least level of a step, as amplitude
	clicks int     // steps with a second difference of three times the tone's
}

// listen plays a seat for some time, 20 ms a step.
func listen(l line, length time.Duration) result {
	var r result
	r.lowest = 1
	s := newSeat("a", newWhistle(), &r.stats)
	random := rand.New(rand.NewPCG(1, 2))
	clean := 0.5 * 2 * math.Pi * whistleHz / rate * (2 * math.Pi * whistleHz / rate)
	type flight struct {
		at time.Duration
		p  stream.Packet
	}
	var wire []flight
	var out [stepTicks]stereo
	var past [2]float64
	var made uint64 // samples that were made up, left out or repeated
	sent, watch := 0, 0
	r.least = math.MaxInt64
	epoch := time.Unix(1e9, 0)
	for i := range int(length / step) {
		now := time.Duration(i) * step
		for {
			made := time.Duration(float64(sent) * 2e7 / (1 + l.ppm*1e-6))
			if made > now {
				break
			}
			n := sent
			sent++
			if random.Float64() < l.loss {
				continue
			}
			if l.jitter != nil {
				made += l.jitter(n)
			}
			wire = append(wire, flight{made, stream.Packet{
				Timestamp: uint32(n * stepTicks), Sequence: uint16(n), Arrival: epoch.Add(made),
				Payload: []byte{0xf8, 0, 0, 0},
			}})
		}
		for at := 0; at < len(wire); {
			f := wire[at]
			if f.at > now {
				at++
				continue
			}
			s.write(f.p, int64((f.at-(now-step))*rate/time.Second))
			if slack := s.newest - s.position(); i > 500 {
				r.least, r.most = min(r.least, slack), max(r.most, slack)
			}
			wire = append(wire[:at], wire[at+1:]...)
		}
		s.pull(out[:])
		// What comes of a change is heard within a packet and what waits before it.
		if changed := r.stats.Spliced + r.stats.Concealed; changed != made {
			made, watch = changed, i+10
		}
		if i > 50 && (i < watch || i%8 == 0) {
			power, rough := 0.0, 0.0
			for _, v := range out {
				x := float64(v[0])
				rough = max(rough, math.Abs(x-2*past[0]+past[1]))
				past[0], past[1] = x, past[0]
				power += x * x
			}
			r.rough = max(r.rough, rough)
			if rough > 3*clean {
				r.clicks++
			}
			r.lowest = min(r.lowest, math.Sqrt(2*power/stepTicks))
		}
		past[0], past[1] = float64(out[stepTicks-1][0]), float64(out[stepTicks-2][0])
	}
	return r
}

// TestDrift plays an hour of clocks that run off.
func TestDrift(t *testing.T) {
	for _, ppm := range []float64{-200, 200} {
		r := listen(line{ppm: ppm}, time.Hour)
		t.Logf("%+.0f ppm: %+v", ppm, r)
		want := uint64(3600 * rate * 200e-6)
		if r.stats.Spliced < want*9/10 || r.stats.Spliced > want*12/10+2000 {
			t.Errorf("%+.0f ppm: %d samples are left out or repeated, want about %d", ppm, r.stats.Spliced, want)
		}
		if r.stats.Late > 0 || r.stats.Jumps > 0 || r.stats.Concealed > firstDelay {
			t.Errorf("%+.0f ppm: %+v", ppm, r.stats)
		}
		if r.least < 0 || r.most > rate/10 {
			t.Errorf("%+.0f ppm: packets come from %d to %d samples ahead", ppm, r.least, r.most)
		}
		if r.clicks > 0 || r.lowest < 0.45 {
			t.Errorf("%+.0f ppm: %d clicks, and a level down to %.2f", ppm, r.clicks, r.lowest)
		}
	}
}

// TestLoss loses packets: what is made up has no clicks, and no holes where one is lost.
func TestLoss(t *testing.T) {
	r := listen(line{loss: 0.05}, time.Minute)
	t.Logf("%+v", r)
	if r.stats.Concealed < 100*stepTicks || r.stats.Concealed > 200*stepTicks {
		t.Errorf("%d samples are made up, want those of about 150 packets", r.stats.Concealed)
	}
	if r.clicks > 0 || r.stats.Jumps > 0 {
		t.Errorf("%d clicks, %+v", r.clicks, r.stats)
	}
}

// TestJitter delays packets at random: the seat is played so much later that nearly
// all come in time, and sooner again when the network is calm.
func TestJitter(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	r := listen(line{jitter: func(n int) time.Duration {
		if n < 50*60 {
			return time.Duration(random.Int64N(int64(60 * time.Millisecond)))
		}
		return 0
	}}, 3*time.Minute)
	t.Logf("%+v", r)
	if r.stats.Concealed > 20*stepTicks || r.stats.Jumps > 0 || r.clicks > 0 {
		t.Errorf("%+v", r)
	}
	calm := listen(line{}, time.Minute)
	if r.most > 6*stepTicks || calm.most > 3*stepTicks {
		t.Errorf("packets wait up to %d samples, and %d in a calm network", r.most, calm.most)
	}
}

// TestOutage holds packets back for two seconds, and lets them all come at once.
func TestOutage(t *testing.T) {
	r := listen(line{jitter: func(n int) time.Duration {
		if made := time.Duration(n) * step; made > 10*time.Second && made < 12*time.Second {
			return 12*time.Second - made
		}
		return 0
	}}, 40*time.Second)
	t.Logf("%+v", r)
	if r.most > 3*rate || r.stats.Concealed > 3*rate {
		t.Errorf("%+v", r)
	}
}
