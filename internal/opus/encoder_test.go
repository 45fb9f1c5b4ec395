package opus_test

import (
	"errors"
	"math"
	"reflect"
	"strconv"
	"testing"

	pion "github.com/pion/opus"

	"github.com/whipcast/whipcast/internal/opus"
)

// decoder decodes with github.com/pion/opus.
type decoder struct {
	pion     pion.Decoder
	channels int
}

func newDecoder(t testing.TB, channels int) *decoder {
	t.Helper()
	d, err := pion.NewDecoderWithOutput(opus.Rate, channels)
	if err != nil {
		t.Fatal(err)
	}
	return &decoder{d, channels}
}

func (d *decoder) decode(t testing.TB, packet []byte) []float32 {
	t.Helper()
	pcm := make([]float32, opus.FrameSamples*d.channels)
	n, err := d.pion.DecodeToFloat32(packet, pcm)
	if err != nil || n != opus.FrameSamples {
		t.Fatalf("decode: %v, %d samples", err, n)
	}
	return pcm
}

// finalRange returns the state of the decoder's range coder, which it does not export.
func (d *decoder) finalRange() uint32 {
	return uint32(reflect.ValueOf(&d.pion).Elem().FieldByName("rangeFinal").Uint())
}

// signal makes sound: a function of the sample and the channel.
type signal func(i, c int) float64

func tone(hz, level float64) signal {
	return func(i, _ int) float64 { return level * math.Sin(2*math.Pi*hz*float64(i)/opus.Rate) }
}

func sum(all ...signal) signal {
	return func(i, c int) float64 {
		v := 0.0
		for _, s := range all {
			v += s(i, c)
		}
		return v
	}
}

func scaled(s signal, gain float64) signal {
	return func(i, c int) float64 { return gain * s(i, c) }
}

// noise is the same for the same seed, nearly normal, and of the given level.
func noise(seed uint64, level float64) signal {
	return func(i, c int) float64 {
		z := (seed<<40 + uint64(i)<<1 + uint64(c)) * 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		v := z&0xffff + z>>16&0xffff + z>>32&0xffff + z>>48
		return level * math.Sqrt(3) * (float64(v)/65536 - 2)
	}
}

func (s signal) pcm(channels, from, n int) []float32 {
	out := make([]float32, 0, n*channels)
	for i := range n {
		for c := range channels {
			out = append(out, float32(s(from+i, c)))
		}
	}
	return out
}

// through encodes and decodes frames of sound, and checks that encoder and decoder agree.
func through(t testing.TB, cfg opus.Config, s signal, frames int) (in, out []float32) {
	t.Helper()
	e, err := opus.NewEncoder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d := newDecoder(t, cfg.Channels)
	for f := range frames {
		pcm := s.pcm(cfg.Channels, f*opus.FrameSamples, opus.FrameSamples)
		packet := e.Encode(nil, pcm)
		got := d.decode(t, packet)
		if want := d.finalRange(); len(packet) > 3 && e.FinalRange() != want {
			t.Fatalf("frame %d: final range %08x, the decoder's is %08x", f, e.FinalRange(), want)
		}
		in, out = append(in, pcm...), append(out, got...)
	}
	n := cfg.Channels * opus.Lookahead
	return in[:len(in)-n], out[n:]
}

// ratio returns signal to noise in dB, and by how many dB the level differs.
func ratio(want, got []float32) (snr, level float64) {
	var signal, noise, other float64
	for i, w := range want {
		g := float64(got[i])
		signal += float64(w) * float64(w)
		other += g * g
		noise += (float64(w) - g) * (float64(w) - g)
	}
	return 10 * math.Log10(signal/(noise+1e-20)), 10 * math.Log10((other+1e-20)/signal)
}

// left is on one channel only.
func left(s signal) signal {
	return func(i, c int) float64 {
		if c != 0 {
			return 0
		}
		return s(i, c)
	}
}

// sweep goes from 50 Hz to 15 kHz in two seconds.
func sweep(i, _ int) float64 {
	const from, to, length = 50.0, 15000.0, 2.0
	k := math.Log(to/from) / length
	return 0.5 * math.Sin(2*math.Pi*from/k*(math.Exp(k*float64(i)/opus.Rate)-1))
}

// voice is like a vowel: harmonics of a gliding pitch, syllables, and breath.
func voice(r signal) signal {
	var level [20]float64
	for h := range level {
		f := 130 * float64(h)
		level[h] = 0.1 * (1/(1+(f-600)/200*((f-600)/200)) + 0.5/(1+(f-1700)/300*((f-1700)/300)) + 0.05)
	}
	return func(i, c int) float64 {
		t := float64(i) / opus.Rate
		phase := 2 * math.Pi * (130*t + 3*math.Sin(2*math.Pi*1.3*t))
		v := 0.0
		for h, l := range level {
			v += l * math.Sin(float64(h)*phase)
		}
		return v*(0.55+0.45*math.Sin(2*math.Pi*4*t)) + 0.002*r(i, c)
	}
}

// music is like a chord of plucked strings, at other places in the stereo picture.
func music(i, c int) float64 {
	v := 0.0
	for n, hz := range []float64{220, 277.18, 329.63, 440, 659.26} {
		at := (i + n*4800) % 24000
		t := float64(at) / opus.Rate
		pan := 0.5 + 0.5*math.Cos(float64(n)+float64(c)*math.Pi/2)
		for h := 1; h < 8; h++ {
			v += pan * 0.12 / float64(h) * math.Exp(-t*4*float64(h)) * math.Sin(2*math.Pi*hz*float64(h)*t)
		}
	}
	return v
}

// TestSignals compares what is heard with what was encoded. through compares the final
// range of every frame (RFC 6716 §6.1): encoder and decoder agree on each bit.
func TestSignals(t *testing.T) {
	for _, c := range []struct {
		name  string
		s     signal
		least [2]float64 // dB, of mono at 64 kb/s and stereo at 128 kb/s
	}{
		{"low sine", tone(60, 0.5), [2]float64{30, 30}},
		{"sine", tone(440, 0.5), [2]float64{35, 35}},
		{"high sine", tone(9000, 0.5), [2]float64{17, 25}},
		{"two sines", sum(tone(440, 0.4), left(tone(997, 0.4))), [2]float64{35, 35}},
		{"left", left(tone(440, 0.4)), [2]float64{35, 35}},
		{"opposite", func(i, c int) float64 { return float64(1-2*c) * tone(440, 0.4)(i, c) }, [2]float64{35, 35}},
		{"sweep", sweep, [2]float64{20, 20}},
		{"voice", voice(noise(3, 1)), [2]float64{15, 15}},
		{"music", music, [2]float64{15, 15}},
		{"quiet sine", tone(440, 0.001), [2]float64{25, 25}},
		{"noise", noise(1, 0.1), [2]float64{1.5, 2}},
		{"steps", func(i, _ int) float64 { return 0.5 * float64(i/4800%2) }, [2]float64{15, 15}},
		{"full square", func(i, _ int) float64 { return float64(i/48%2*2 - 1) }, [2]float64{15, 15}},
	} {
		for ch := 1; ch <= 2; ch++ {
			t.Run(c.name+"/"+strconv.Itoa(ch), func(t *testing.T) {
				t.Parallel()
				in, out := through(t, opus.Config{Channels: ch, Bitrate: ch * 64000}, c.s, 60)
				snr, level := ratio(in[4800*ch:], out[4800*ch:])
				t.Logf("%s: %.1f dB, level %+.2f dB", t.Name(), snr, level)
				if snr < c.least[ch-1] {
					t.Errorf("%.1f dB of noise ratio, want %.0f", snr, c.least[ch-1])
				}
				if math.Abs(level) > 1 || c.name != "noise" && math.Abs(level) > 0.5 {
					t.Errorf("level is %+.2f dB", level)
				}
			})
		}
	}
}

// TestAttack encodes clicks in silence: their noise does not come long before them.
func TestAttack(t *testing.T) {
	r := noise(5, 0.3)
	_, out := through(t, opus.Config{Channels: 2, Bitrate: 112000}, func(i, c int) float64 {
		if at := i % 9600; at >= 5500 && at < 6000 {
			return r(i, c)
		}
		return 0
	}, 40)
	var before, click float64
	for i := 9600; i < 28800; i++ {
		v := float64(out[2*i])
		switch at := i % 9600; {
		case at < 5200:
			before = max(before, math.Abs(v))
		case at >= 5500 && at < 6000:
			click = max(click, math.Abs(v))
		}
	}
	t.Logf("%.5f before the clicks of %.2f", before, click)
	if before > 0.01*click {
		t.Errorf("%.4f before clicks of %.2f", before, click)
	}
}

// TestSilence makes small packets of silence, and goes on behind it.
func TestSilence(t *testing.T) {
	e, err := opus.NewEncoder(opus.Config{Channels: 2, Bitrate: 96000})
	if err != nil {
		t.Fatal(err)
	}
	d := newDecoder(t, 2)
	s := tone(440, 0.5)
	for f := range 60 {
		pcm := make([]float32, 2*opus.FrameSamples)
		if f/20 != 1 {
			pcm = s.pcm(2, f*opus.FrameSamples, opus.FrameSamples)
		}
		packet := e.Encode(nil, pcm)
		if quiet := f > 20 && f < 40; quiet != (len(packet) == 3) {
			t.Errorf("frame %d has %d bytes", f, len(packet))
		}
		got := d.decode(t, packet)
		peak := float32(0)
		for _, v := range got {
			peak = max(peak, v, -v)
		}
		if f > 21 && f < 40 && peak > 1e-4 || f > 40 && (peak < 0.45 || peak > 0.6) {
			t.Errorf("frame %d has a peak of %g", f, peak)
		}
	}
}

// TestReset replaces the encoder in the middle of a tone: the decoder goes on without a
// seam and without a delay.
func TestReset(t *testing.T) {
	s := sum(tone(440, 0.3), tone(2500, 0.1))
	cfg := opus.Config{Channels: 2, Bitrate: 112000}
	first, err := opus.NewEncoder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	second, err := opus.NewEncoder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d := newDecoder(t, 2)
	var out []float32
	const frames = 10
	for f := range frames {
		out = append(out, d.decode(t, first.Encode(nil, s.pcm(2, f*opus.FrameSamples, opus.FrameSamples)))...)
	}
	// What was heard so far ends Lookahead before what was encoded.
	end := frames*opus.FrameSamples - opus.Lookahead
	second.Reset(s.pcm(2, end-1, opus.History))
	for f := range frames {
		from := end + opus.Lookahead + f*opus.FrameSamples
		out = append(out, d.decode(t, second.Encode(nil, s.pcm(2, from, opus.FrameSamples)))...)
	}
	n := 5 * 2 * opus.FrameSamples
	snr, _ := ratio(s.pcm(2, 5*opus.FrameSamples-opus.Lookahead, 10*opus.FrameSamples), out[n:3*n])
	t.Logf("%.1f dB around the seam", snr)
	if snr < 30 {
		t.Errorf("%.1f dB around the seam", snr)
	}
}

// TestExtremes encodes what is no sound. Frames must stay decodable.
func TestExtremes(t *testing.T) {
	nan := math.NaN()
	for name, s := range map[string]signal{
		"too loud":   tone(1000, 100),
		"infinite":   func(i, _ int) float64 { return math.Inf(i%2*2 - 1) },
		"NaN":        func(i, _ int) float64 { return []float64{nan, 0.5}[i%2] },
		"constant":   func(int, int) float64 { return 1 },
		"nyquist":    func(i, _ int) float64 { return float64(i%2*2 - 1) },
		"impulses":   func(i, _ int) float64 { return float64(number(i%1000 == 0)) },
		"tiny":       tone(1000, 2e-5),
		"on and off": func(i, _ int) float64 { return float64(i/960%2) * tone(700, 1)(i, 0) },
	} {
		for _, cfg := range []opus.Config{{1, 40000}, {2, 40000}, {2, 96000}, {2, 510000}} {
			_, out := through(t, cfg, s, 20)
			for i, v := range out {
				if !(v > -2.5 && v < 2.5) {
					t.Fatalf("%s: sample %d is %g", name, i, v)
				}
			}
		}
	}
}

func number(b bool) int { //nolint:revive // a bit, not a mode
	if b {
		return 1
	}
	return 0
}

func TestConfig(t *testing.T) {
	for _, cfg := range []opus.Config{{}, {0, 64000}, {3, 64000}, {2, 39999}, {2, 600000}, {1, -1}} {
		if _, err := opus.NewEncoder(cfg); !errors.Is(err, opus.ErrConfig) {
			t.Errorf("%+v: %v, want ErrConfig", cfg, err)
		}
	}
}

// TestAllocations encodes without any.
func TestAllocations(t *testing.T) {
	e, err := opus.NewEncoder(opus.Config{Channels: 2, Bitrate: 112000})
	if err != nil {
		t.Fatal(err)
	}
	pcm := music2(0)
	packet := make([]byte, 0, opus.MostBytes)
	if n := testing.AllocsPerRun(50, func() { packet = e.Encode(packet[:0], pcm) }); n != 0 {
		t.Errorf("%.0f allocations a packet", n)
	}
	if len(packet) != 280 {
		t.Errorf("%d bytes, want 280", len(packet))
	}
}

func music2(from int) []float32 { return signal(music).pcm(2, from, opus.FrameSamples) }
