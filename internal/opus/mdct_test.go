package opus

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestTransform compares with the definition of the MDCT.
func TestTransform(t *testing.T) {
	for _, n := range []int{120, 960} {
		r := rand.New(rand.NewPCG(1, uint64(n)))
		in := make([]float32, n+overlap)
		for i := range in {
			in[i] = r.Float32()*2 - 1
		}
		out := make([]float32, 2*n)
		tr := newTransform(n)
		tr.forward(in, out, 2)
		for k := 0; k < n; k += 7 {
			sum := 0.0
			for i, v := range in {
				w := 1.0
				if i < overlap {
					w = float64(tr.window[i])
				}
				if i >= n {
					w = float64(tr.window[n+overlap-1-i])
				}
				m := float64(i + n/2 - overlap/2)
				sum += w * float64(v) * math.Cos(math.Pi/float64(n)*(m+0.5+float64(n)/2)*(float64(k)+0.5))
			}
			if want, got := 2*sum/float64(n), float64(out[2*k]); math.Abs(got-want) > 1e-5 {
				t.Fatalf("%d bins: bin %d is %g, want %g", n, k, got, want)
			}
		}
	}
}
