package aac_test

import (
	"testing"

	"github.com/whipcast/whipcast/packager/aac"
)

func checked(t *testing.T) *aac.Transcoder {
	t.Helper()
	tr, err := aac.NewChecked(&aac.Checked{})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestGrid sends packets of all lengths, slewed to and fro, lost now and then. The
// frames stand on the grid, each when its Latency has come in (specs R45, R51).
func TestGrid(t *testing.T) {
	tr := checked(t)
	var sound [][]byte
	for _, name := range []string{"sine", "short", "silk60", "mono", "hybrid"} {
		sound = append(sound, packets(t, name)[:30]...)
	}
	const start = 1<<40 + 3
	at := int64(start)
	var out []aac.Frame
	for i := range 500 {
		p := sound[i%len(sound)]
		d := ticks(p)
		d += int64(i%7-3) * d / 40
		if i%50 == 9 {
			out = tr.Conceal(at, d, out)
		} else {
			out = tr.Add(at, d, p, out)
		}
		at += d
		// The bending may hold back or hurry by what it has not yet taken up.
		due := (at-start-aac.Latency)/aac.FrameTicks + 1
		if off := int64(len(out)) - due; off < -2 || off > 2 {
			t.Fatalf("packet %d: %d frames came out, want %d", i, len(out), due)
		}
	}
	for i, f := range tr.Flush(out) {
		if want := start + int64(i)*aac.FrameTicks; f.At != want {
			t.Fatalf("frame %d at %d, want %d", i, f.At, want)
		}
	}
	if s := tr.Stats(); s.Packets != 490 || s.Late+s.Undecodable+s.Failed != 0 {
		t.Errorf("%+v, want 490 packets and no fault", s)
	}
}

// TestHoles: short ones stay on the grid, long ones start a new one.
func TestHoles(t *testing.T) {
	p := packets(t, "sine")
	for _, hole := range []int64{1, 500, 48000, 10 * 48000} {
		tr := checked(t)
		out := tr.Add(100, 960, p[0], nil)
		out = tr.Add(100+960+hole, 960, p[1], out)
		for i := range int64(10) {
			out = tr.Add(100+960*(i+2)+hole, 960, p[i+2], out)
		}
		out = tr.Flush(out)
		if want := (12*960 + hole) / aac.FrameTicks; int64(len(out)) != want {
			t.Errorf("hole %d: %d frames, want %d", hole, len(out), want)
		}
		for i, f := range out {
			if want := 100 + int64(i)*aac.FrameTicks; f.At != want {
				t.Fatalf("hole %d: frame %d at %d, want %d", hole, i, f.At, want)
			}
		}
		if s := tr.Stats(); s.Concealed < uint64(hole) {
			t.Errorf("hole %d: %+v", hole, s)
		}
	}
	tr := checked(t)
	var out []aac.Frame
	for i := range int64(10) {
		out = tr.Add(i*960, 960, p[i], out)
	}
	const far = 1_000_000
	for i := range int64(10) {
		out = tr.Add(far+i*960, 960, p[i], out)
	}
	out = tr.Flush(out)
	if len(out) != 18 || out[8].At != 8*1024 || out[9].At != far {
		t.Errorf("a hole of 20 s: %d frames, %d and %d around it", len(out), out[8].At, out[9].At)
	}
}

// TestPast: time never goes back, and what is late is counted.
func TestPast(t *testing.T) {
	p := packets(t, "sine")
	tr := checked(t)
	var out []aac.Frame
	for i := range int64(50) {
		out = tr.Add(i*960, 960, p[i], out)
	}
	n := len(out)
	for i := range int64(20) {
		out = tr.Add(i*960, 960, p[i], out)
	}
	if s := tr.Stats(); len(out) != n || s.Late != 20 {
		t.Errorf("%d frames more and %+v, want none and 20 late", len(out)-n, s)
	}
	if out = tr.Add(0, 0, p[0], out[:0]); len(out) != 0 {
		t.Error("a packet without a duration makes frames")
	}
	for i := int64(50); i < 100; i++ {
		out = tr.Add(i*960, 960, p[i], out)
	}
	if first := out[0].At; first != int64(n)*aac.FrameTicks {
		t.Errorf("then it goes on at %d, want %d", first, n*aac.FrameTicks)
	}
}

// TestWrongDuration: packets that last longer or shorter than they were said to
// cannot move the grid or pile up sound.
func TestWrongDuration(t *testing.T) {
	p := packets(t, "sine")
	for _, d := range []int64{120, 480, 959, 961, 1920, 5760, 24000} {
		tr := checked(t)
		var out []aac.Frame
		for i := range int64(40) {
			out = tr.Add(i*d, d, p[i], out)
		}
		got := tr.Flush(out)
		if want := 40 * d / aac.FrameTicks; int64(len(got)) < want-10 || int64(len(got)) > want+10 {
			t.Errorf("packets of %d: %d frames, want about %d", d, len(got), want)
		}
		for i, f := range got {
			if f.At != int64(i)*aac.FrameTicks {
				t.Fatalf("packets of %d: frame %d at %d", d, i, f.At)
			}
		}
	}
}

// TestFailure: an encoder that fails leaves the grid whole, and silence after it is
// encoded until the encoder has settled again.
func TestFailure(t *testing.T) {
	check := &aac.Checked{Fail: 12}
	tr, err := aac.NewChecked(check)
	if err != nil {
		t.Fatal(err)
	}
	var out []aac.Frame
	given := check.Given
	for i, p := range packets(t, "sine")[:30] {
		if i >= 11 { // from frame 10.3 on: the failing one is the first of silence
			p = silent()
		}
		out = tr.Add(int64(i)*960, 960, p, out)
	}
	for i, f := range out {
		if f.At != int64(i)*aac.FrameTicks || len(f.Data) == 0 {
			t.Fatalf("frame %d at %d with %d bytes", i, f.At, len(f.Data))
		}
	}
	s := tr.Stats()
	// 28 frames; after the failing one nothing, a unit, and another one like it.
	if check.Given -= given; s.Failed != 1 || check.Given != 12+3 || s.Silent != 28-12-3 {
		t.Errorf("%+v and %d calls, want 1 failure, %d calls, %d silent", s, check.Given, 12+3, 28-12-3)
	}
}
