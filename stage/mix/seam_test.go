package mix_test

import (
	"math"
	"testing"
	"time"

	pion "github.com/pion/opus"

	"github.com/whipcast/whipcast/stage/mix"
	"github.com/whipcast/whipcast/stream"
)

// noise returns by how many dB sound is above what differs in it.
func noise(want, got []float64) float64 {
	signal, rest := 0.0, 1e-12
	for i, w := range want {
		signal += w * w
		rest += (w - got[i]) * (w - got[i])
	}
	return 10 * math.Log10(signal/rest)
}

// TestSeam opens a second seat in the middle of what another encoder has made: who
// decodes both hears no seam, and the sound in its place.
func TestSeam(t *testing.T) {
	for _, c := range []struct {
		name  string
		least float64 // dB of each packet
	}{{"music", 12}, {"hybrid", 8}, {"silk", 8}} {
		t.Run(c.name, func(t *testing.T) {
			const seam = 60
			packets := file(t, c.name)
			m, err := mix.New(mix.Config{})
			if err != nil {
				t.Fatal(err)
			}
			s := &studio{t: t, mixer: m}
			s.open("a")
			d, err := pion.NewDecoderWithOutput(rate, 2)
			if err != nil {
				t.Fatal(err)
			}
			pcm := make([]float32, 2*frame)
			var want []float64
			for i, p := range packets {
				if _, err := d.DecodeToFloat32(p, pcm); err != nil {
					t.Fatal(err)
				}
				for j := range frame {
					want = append(want, float64(pcm[2*j]))
				}
				if i == seam {
					s.open("b")
				}
				at := time.Unix(1, 0).Add(time.Duration(i) * 20 * time.Millisecond)
				m.Write("a", stream.Packet{Arrival: at, Timestamp: uint32(i * frame), Sequence: uint16(i), Payload: p})
				s.out = m.Tick(at, s.out)
			}
			if st := m.Stats(); st.Passed != seam+1 || st.Mixed < 30 || st.Spliced > 0 {
				t.Fatalf("%+v", st)
			}
			got := s.heard(s.out)
			for f := seam - 10; (f+1)*frame < len(got); f++ {
				w, g := want[f*frame:(f+1)*frame], got[f*frame:(f+1)*frame]
				power := 0.0
				for _, v := range w {
					power += v * v
				}
				if power < 1e-6*frame { // as good as silent
					continue
				}
				db, rough, was := noise(w, g), roughest(g), roughest(w)
				if f < seam+4 {
					t.Logf("packet %d: %.1f dB, roughest %.4f, %.4f before", f, db, rough, was)
				}
				if db < c.least && f > seam || rough > 2*was+0.005 {
					t.Errorf("packet %d: %.1f dB, roughest %.4f, %.4f before", f, db, rough, was)
				}
			}
		})
	}
}
