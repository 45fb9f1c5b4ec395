package mix

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestLimiter puts sound of all levels in: what comes out never exceeds the ceiling,
// and is the same where nothing came near it.
func TestLimiter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	l := newLimiter()
	const n = 480000
	in := make([]stereo, n)
	level := 0.1
	for i := range in {
		if i%4800 == 0 {
			level = math.Exp2(r.Float64()*9 - 5)
		}
		in[i] = stereo{float32(level * r.NormFloat64()), float32(level * math.Sin(float64(i)/20))}
	}
	for i := range 24000 { // half a second that is never limited
		in[i] = stereo{float32(0.5 * math.Sin(float64(i)/20)), 0.5}
	}
	out := make([]stereo, 0, n)
	for from := 0; from < n; {
		size := min(1+r.IntN(1000), n-from)
		piece := append([]stereo(nil), in[from:from+size]...)
		l.run(piece)
		out = append(out, piece...)
		from += size
	}
	peak := float32(0)
	for _, s := range out {
		peak = max(peak, s[0], -s[0], s[1], -s[1])
	}
	if peak > ceiling+1e-6 || peak < 0.8 {
		t.Errorf("the peak is %.6f, want up to %.4f", peak, ceiling)
	}
	for i := lookTicks; i < 24000-lookTicks; i++ {
		if out[i] != in[i-lookTicks] {
			t.Fatalf("sample %d is %v, was %v", i, out[i], in[i-lookTicks])
		}
	}
}

// TestLimiterRelease lets one peak through: the gain falls over 2 ms, without a step,
// and has come back after a second.
func TestLimiterRelease(t *testing.T) {
	l := newLimiter()
	sound := make([]stereo, 2*rate)
	for i := range sound {
		sound[i] = stereo{0.5, 0.5}
	}
	sound[9600] = stereo{4, 0}
	l.run(sound)
	most, least := float32(0), float32(1)
	for i := 1000; i < len(sound); i++ {
		most = max(most, float32(math.Abs(float64(sound[i][1]-sound[i-1][1]))))
		least = min(least, sound[i][1])
	}
	if i := 9600 + lookTicks; sound[i][0] > ceiling+1e-6 || sound[i][0] < 0.85 {
		t.Errorf("the peak becomes %.4f", sound[i][0])
	}
	if most > 0.02 && least < 0.2 { // but for the peak's own sample, which is 0 on the right
		for i := 1000; i < len(sound); i++ {
			d := math.Abs(float64(sound[i][1] - sound[i-1][1]))
			if d > 0.02 && i != 9600+lookTicks && i != 9600+lookTicks+1 {
				t.Errorf("the gain has a step of %.3f at %d", d, i)
			}
		}
	}
	if end := sound[len(sound)-1][1]; end < 0.499 {
		t.Errorf("the level is %.4f at the end, want 0.5", end)
	}
}

// TestMeter tells levels, and who speaks.
func TestMeter(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	m := &meter{}
	var out [stepTicks]stereo
	play := func(steps int, voice, hum float64) {
		for range steps {
			for i := range out {
				v := voice*math.Sqrt2*math.Sin(2*math.Pi*300*float64(i)/rate) + hum*r.NormFloat64()
				out[i] = stereo{float32(v), float32(v)}
			}
			m.take(out[:700])
			m.take(out[700:])
		}
	}
	db := func(v float64) float64 { return math.Pow(10, v/20) }
	if got := m.level(); got != Floor {
		t.Errorf("level %.1f before there was sound", got)
	}
	for _, c := range []struct {
		name       string
		steps      int
		voice, hum float64 // dBFS
		level      float32
		speaking   bool
	}{
		{"digital silence", 50, -300, -300, Floor, false},
		{"speech", 20, -20, -70, -20, true},
		{"a short pause", 10, -300, -70, -70, true},
		{"speech again", 10, -25, -70, -25, true},
		{"silence", 60, -300, -70, -70, false},
		{"breath", 50, -55, -70, -55, false},
		{"a fan starts", 3000, -300, -45, -45, false},
		{"soft speech over the fan", 20, -38, -45, -37, false},
		{"speech over the fan", 20, -25, -45, -25, true},
	} {
		play(c.steps, db(c.voice), db(c.hum))
		if got := m.level(); math.Abs(float64(got-c.level)) > 1 {
			t.Errorf("%s: level %.1f, want %.0f", c.name, got, c.level)
		}
		if m.speaking != c.speaking {
			t.Errorf("%s: speaking is %v", c.name, m.speaking)
		}
	}
}
