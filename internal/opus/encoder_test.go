package opus_test

import (
	"math"
	"math/rand/v2"
	"reflect"
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

func noise(seed uint64, level float64) signal {
	r := rand.New(rand.NewPCG(seed, 1))
	at := map[[2]int]float64{}
	return func(i, c int) float64 {
		k := [2]int{i, c}
		v, ok := at[k]
		if !ok {
			v = level * r.NormFloat64()
			at[k] = v
		}
		return v
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

func TestSignals(t *testing.T) {
	left := func(s signal, c int) signal {
		return func(i, k int) float64 {
			if k != c {
				return 0
			}
			return s(i, k)
		}
	}
	for _, c := range []struct {
		name  string
		s     signal
		least float64
	}{
		{"sine 440", tone(440, 0.5), 20},
		{"sine 1000", tone(1000, 0.5), 20},
		{"two sines", sum(left(tone(440, 0.4), 0), left(tone(997, 0.4), 1)), 20},
		{"left", left(tone(440, 0.4), 0), 20},
		{"noise", noise(1, 0.1), 1},
	} {
		for _, ch := range []int{1, 2} {
			in, out := through(t, opus.Config{Channels: ch, Bitrate: 128000}, c.s, 50)
			snr, level := ratio(in[4800*ch:], out[4800*ch:])
			t.Logf("%s, %d: %.1f dB, level %.2f", c.name, ch, snr, level)
		}
	}
}
