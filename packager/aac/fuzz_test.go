package aac_test

import (
	"testing"

	"github.com/whipcast/whipcast/packager/aac"
)

// FuzzAdd sends broken packets between sound ones. Nothing may panic, the grid must
// stay whole, and the encoder must get samples that it can bear.
func FuzzAdd(f *testing.F) {
	var whole [][]byte
	for _, name := range []string{"sine", "silk", "hybrid", "mono", "silk60", "short"} {
		p := packets(f, name)
		whole = append(whole, p[3:5]...)
		f.Add(p[10], p[11], uint16(960))
	}
	f.Add([]byte{}, []byte{0xff}, uint16(0))
	f.Add([]byte{0xfc, 0xff, 0xfe}, []byte{0x4b, 0x41}, uint16(5760))
	f.Fuzz(func(t *testing.T, a, b []byte, length uint16) {
		check := &aac.Checked{}
		tr, err := aac.NewChecked(check)
		if err != nil {
			t.Fatal(err)
		}
		var out []aac.Frame
		at := int64(0)
		for i, p := range [][]byte{a, b, whole[int(length)%len(whole)], b, a, whole[0]} {
			d := int64(960)
			if i < 2 {
				d = int64(length) % 6000
			}
			out = tr.Add(at, d, p, out)
			at += d
		}
		out = tr.Flush(out)
		for i, f := range out {
			if f.At != out[0].At+int64(i)*aac.FrameTicks || len(f.Data) == 0 {
				t.Fatalf("frame %d at %d with %d bytes", i, f.At, len(f.Data))
			}
		}
		if check.Outside > 0 || tr.Stats().Failed > 0 {
			t.Fatalf("the encoder got %d samples out of range", check.Outside)
		}
	})
}
