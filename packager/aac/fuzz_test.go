//go:build !noaac

package aac_test

import (
	"testing"

	"github.com/whipcast/whipcast/packager/aac"
)

// FuzzAdd sends broken packets between sound ones. Nothing may panic, and the grid
// must stay whole.
func FuzzAdd(f *testing.F) {
	var sound [][]byte
	for _, name := range []string{"sine", "silk", "hybrid", "mono", "silk60", "short"} {
		p := packets(f, name)
		sound = append(sound, p[3:6]...)
		f.Add(p[10], p[11], uint16(960))
	}
	f.Add([]byte{}, []byte{0xff}, uint16(0))
	f.Add([]byte{0xfc, 0xff, 0xfe}, []byte{0x4b, 0x41}, uint16(5760))
	tr := transcoder(f)
	f.Fuzz(func(t *testing.T, a, b []byte, length uint16) {
		tr.Reset()
		var out []aac.Frame
		at := int64(0)
		for i, p := range append([][]byte{a, b, a}, sound[int(length)%len(sound)], b, a, sound[0]) {
			d := int64(960)
			if i < 3 {
				d = int64(length) % 6000
			}
			out = tr.Add(at, d, p, out)
			at += d
		}
		for i, f := range tr.Flush(out) {
			if f.At != int64(i)*aac.FrameTicks || len(f.Data) == 0 {
				t.Fatalf("frame %d at %d with %d bytes", i, f.At, len(f.Data))
			}
		}
		if s := tr.Stats(); s.Failed != 0 {
			t.Fatalf("the encoder refused %d frames", s.Failed)
		}
	})
}
