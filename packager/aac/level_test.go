package aac_test

import (
	"math"
	"testing"

	"github.com/whipcast/whipcast/packager/aac"
)

// TestLevel measures sounds of known level. A sine of 0.4 has -11 dBFS (specs R47).
func TestLevel(t *testing.T) {
	for _, c := range []struct {
		name      string
		rms, peak float64
		mono      bool
	}{
		// Left a sine of 0.4, right one of 0.2.
		{"sine", 10 * math.Log10((0.16+0.04)/4), 20 * math.Log10(0.4), false},
		{"mono", 10 * math.Log10(0.16/2), 20 * math.Log10(0.4), true},
		{"silk", -18, -5, true},
		{"music", -17, -7, false},
		{"silence", aac.Floor, aac.Floor, false},
	} {
		tr := checked(t)
		if rms, peak := tr.Level(); rms != aac.Floor || peak != aac.Floor || tr.Mono() {
			t.Errorf("%.1f and %.1f dBFS before any sound, want %d", rms, peak, aac.Floor)
		}
		sound := [][]byte{silent()}
		if c.name != "silence" {
			sound = packets(t, c.name)
		}
		var at int64
		for i := 0; at < 48900; i++ {
			p := sound[i%len(sound)]
			tr.Add(at, ticks(p), p, nil)
			at += ticks(p)
		}
		rms, peak := tr.Level()
		t.Logf("%s: %.2f dBFS, peak %.2f", c.name, rms, peak)
		if math.Abs(float64(rms)-c.rms) > 1 || math.Abs(float64(peak)-c.peak) > 1.5 {
			t.Errorf("%s: %.2f dBFS, peak %.2f; want %.2f and %.2f", c.name, rms, peak, c.rms, c.peak)
		}
		if tr.Mono() != c.mono {
			t.Errorf("%s: mono %v", c.name, tr.Mono())
		}
	}
}

// TestLevelForgets: it is that of the last second, also where nothing comes in.
func TestLevelForgets(t *testing.T) {
	tr := checked(t)
	var at int64
	for _, p := range packets(t, "sine")[:10] {
		tr.Add(at, 960, p, nil)
		at += 960
	}
	if _, peak := tr.Level(); peak < -9 {
		t.Errorf("peak %.1f dBFS in the sound, want -8", peak)
	}
	tr.Conceal(at, 60*960, nil)
	if rms, peak := tr.Level(); rms != aac.Floor || peak != aac.Floor {
		t.Errorf("%.1f and %.1f dBFS after a hole of a second, want %d", rms, peak, aac.Floor)
	}
	at += 60 * 960
	tr.Add(at, 960, packets(t, "sine")[10], nil)
	tr.Add(at+960, 960, packets(t, "sine")[11], nil)
	if rms, _ := tr.Level(); rms == aac.Floor {
		t.Error("no level after the hole")
	}
	tr.Reset()
	if rms, _ := tr.Level(); rms != aac.Floor {
		t.Errorf("%.1f dBFS after Reset", rms)
	}
}
