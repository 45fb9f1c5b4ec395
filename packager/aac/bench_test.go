//go:build !noaac

package aac_test

import (
	"testing"

	"github.com/whipcast/whipcast/packager/aac"
)

// BenchmarkSecond transcodes one second of sound: 50 packets.
func BenchmarkSecond(b *testing.B) {
	for _, name := range []string{"music", "sine", "hybrid"} {
		b.Run(name, func(b *testing.B) {
			tr, err := aac.New(aac.Config{})
			if err != nil {
				b.Fatal(err)
			}
			sound := packets(b, name)
			out := make([]aac.Frame, 0, 8)
			var at int64
			next := 0
			frames := 0
			b.ReportAllocs()
			for b.Loop() {
				for range 50 {
					out = tr.Add(at, 960, sound[next], out[:0])
					frames += len(out)
					at += 960
					next = (next + 1) % len(sound)
				}
			}
			b.ReportMetric(float64(frames)/float64(b.N), "frames/op")
		})
	}
}
