package opus_test

import (
	"math"
	"testing"

	"github.com/whipcast/whipcast/internal/opus"
)

// FuzzEncode encodes anything as sound: encoder and decoder must agree on each frame.
func FuzzEncode(f *testing.F) {
	f.Add([]byte{0, 0}, uint16(96), true)
	f.Add([]byte{1, 200, 3, 4, 255, 0, 0, 127, 128}, uint16(40), false)
	f.Add([]byte{255, 0}, uint16(128), true)
	f.Fuzz(func(t *testing.T, shape []byte, kb uint16, both bool) {
		cfg := opus.Config{Channels: 1 + number(both), Bitrate: 40000 + int(kb)%470*1000}
		s := func(i, c int) float64 {
			if len(shape) == 0 {
				return 0
			}
			// Long stretches of one byte, and quick ones, at levels from faint to too loud.
			slow, quick := shape[i/700%len(shape)], shape[(i+c)%len(shape)]
			return (float64(quick) - 127.5) / 128 * math.Exp2(float64(slow)/16-15)
		}
		_, out := through(t, cfg, s, 4)
		for i, v := range out {
			if !(v > -16 && v < 16) {
				t.Fatalf("sample %d is %g", i, v)
			}
		}
	})
}
