package opus

import (
	"math"
	"testing"
)

func tone(n int, hz float64) []Stereo {
	pcm := make([]Stereo, n)
	for i := range pcm {
		s := float32(math.Sin(2 * math.Pi * hz * float64(i) / Rate))
		pcm[i] = Stereo{s, -s}
	}
	return pcm
}

// roughest returns the largest second difference: a click stands out in it.
func roughest(pcm []Stereo) float64 {
	most := 0.0
	for i := 2; i < len(pcm); i++ {
		for c := range 2 {
			most = max(most, math.Abs(float64(pcm[i][c]-2*pcm[i-1][c]+pcm[i-2][c])))
		}
	}
	return most
}

// TestPatch conceals holes in a tone (specs R48).
func TestPatch(t *testing.T) {
	const packet = 960
	clean := roughest(tone(Rate, 440))
	for _, hole := range []int{120, 960, 1920, 2880, 9600} {
		sound := tone(Rate, 440)
		var p Patch
		var out []Stereo
		p.Learn(sound[:packet*10])
		out = append(out, sound[:packet*10]...)
		for left := hole; left > 0; left -= packet {
			out = append(out, p.Fill(nil, min(left, packet))...)
		}
		if made := len(out) - packet*10; made != hole {
			t.Fatalf("%d samples for a hole of %d", made, hole)
		}
		rest := sound[len(out):]
		p.Join(rest)
		out = append(out, rest...)
		if r := roughest(out); r > 4*clean {
			t.Errorf("hole %d: the roughest place is %.4f, and %.4f in the clean tone", hole, r, clean)
		}
		// The first 10 ms go on as they were; 60 ms later all is silent.
		for i := range min(hole, holdTicks) {
			if off := math.Abs(float64(out[packet*10+i][0]) - math.Sin(2*math.Pi*440*float64(packet*10+i)/Rate)); off > 0.1 {
				t.Fatalf("hole %d: sample %d of it is %.2f off the tone", hole, i, off)
			}
		}
		if hole > fadeTicks+packet && out[packet*10+fadeTicks+packet/2] != (Stereo{}) {
			t.Errorf("hole %d: no silence after the fade", hole)
		}
	}
}

// TestPatchWithoutPast conceals a hole at the very start.
func TestPatchWithoutPast(t *testing.T) {
	var p Patch
	for i, s := range p.Fill(nil, 5000) {
		if s != (Stereo{}) {
			t.Fatalf("sample %d is %v, want silence", i, s)
		}
	}
}
