package aac

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/whipcast/whipcast/internal/opus"
)

// TestHourOfDrift runs an hour of packets of 20 ms from a source whose clock is off
// by 200 ppm. As the soundtrack does, the test lets the offset grow to 5 ms and then
// slews one packet (specs R3, R51, issue 3 point 4).
func TestHourOfDrift(t *testing.T) {
	const packet, packets = 960, 3600 * 50
	for _, ppm := range []int64{0, 200, -200} {
		p := pace{made: 7}
		end, placed, samples := int64(7), int64(0), int64(0)
		for i := range int64(packets) {
			truth := (i + 1) * packet * (1e6 + ppm) / 1e6
			ticks := int64(packet)
			if off := truth - placed - packet; off > 240 || off < -240 {
				ticks += off
			}
			placed += ticks
			end += ticks
			d, bent := p.change(end, packet)
			if !bent {
				t.Fatalf("%+d ppm, packet %d: spliced for a lag of %d", ppm, i, p.lag(end, packet))
			}
			if d > packet/bend || d < -packet/bend {
				t.Fatalf("%+d ppm, packet %d: bent by %d samples", ppm, i, d)
			}
			p.made += packet + int64(d)
			samples += packet + int64(d)
			if off := p.made - 7 - truth; off > 500 || off < -500 {
				t.Fatalf("%+d ppm, packet %d: %d samples off the truth, want at most 500", ppm, i, off)
			}
		}
		if want := int64(3600*Rate) * (1e6 + ppm) / 1e6; samples < want-500 || samples > want+500 {
			t.Errorf("%+d ppm: %d samples in an hour, want %d", ppm, samples, want)
		}
	}
}

func tone(n int, hz float64) []opus.Stereo {
	pcm := make([]opus.Stereo, n)
	for i := range pcm {
		s := float32(math.Sin(2 * math.Pi * hz * float64(i) / Rate))
		pcm[i] = opus.Stereo{s, -s}
	}
	return pcm
}

// roughest returns the largest second difference: a click stands out in it.
func roughest(pcm []opus.Stereo) float64 {
	most := 0.0
	for i := 2; i < len(pcm); i++ {
		for c := range 2 {
			most = max(most, math.Abs(float64(pcm[i][c]-2*pcm[i-1][c]+pcm[i-2][c])))
		}
	}
	return most
}

// TestFitIsSmooth plays a tone through every amount of lag.
func TestFitIsSmooth(t *testing.T) {
	const packet = 960
	clean := roughest(tone(Rate, 440))
	for _, lag := range []int64{0, 1, -1, 5, -5, 240, -240, 480, -480, 481, -481, 2000, -2000, 4800, -4800} {
		sound := tone(5*Rate/2, 440)
		var patch opus.Patch
		p := pace{made: 0}
		var out []opus.Stereo
		for i := 0; i+packet <= len(sound); i += packet {
			end := int64(i + packet)
			if i > Rate/4 {
				end += lag
			}
			from := len(out)
			out = p.fit(out, patch.Past(), sound[i:i+packet], end)
			patch.Learn(sound[i : i+packet])
			p.made += int64(len(out) - from)
		}
		if off := p.made - int64(len(sound)) - lag; off != 0 {
			t.Errorf("lag %d: %d samples are left of it after 2 s", lag, off)
		}
		if r := roughest(out); r > 2*clean {
			t.Errorf("lag %d: the roughest place is %.4f, and %.4f in the clean tone", lag, r, clean)
		}
	}
}

// TestFitNeverOvershoots checks that lag only shrinks, for packets of any size.
func TestFitNeverOvershoots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 2, 120, 240, 480, 960, 1920, 2880, 5760}).Draw(t, "samples")
		lag := rapid.Int64Range(-mostLag, mostLag).Draw(t, "lag")
		var patch opus.Patch
		patch.Learn(tone(Rate/20, 300))
		p := pace{made: 1000}
		end := 1000 + int64(n) + lag
		out := p.fit(nil, patch.Past(), tone(n, 300), end)
		p.made += int64(len(out))
		rest := end - p.made
		if rest*lag < 0 || max(rest, -rest) > max(lag, -lag) {
			t.Fatalf("a lag of %d becomes %d", lag, rest)
		}
		if lag != 0 && n >= 120 && rest == lag {
			t.Fatalf("a lag of %d stays", lag)
		}
	})
}
