//go:build !noaac && unix

package aac_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/aac"
)

// used returns the CPU time that the process has used.
func used(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkStream transcodes a second of sound, 50 packets, and reports how many
// milliseconds of one core that takes. The mark is 30: 3 % of a core for a stream.
func BenchmarkStream(b *testing.B) {
	for _, c := range []struct {
		name    string
		packets [][]byte
	}{
		{"speech", packets(b, "hybrid")},
		{"music", packets(b, "music")},
		{"silence", [][]byte{silent()}},
	} {
		b.Run(c.name, func(b *testing.B) {
			tr, err := aac.New(aac.Config{})
			if err != nil {
				b.Fatal(err)
			}
			out := make([]aac.Frame, 0, 8)
			var at int64
			next, seconds := 0, 0
			b.ReportAllocs()
			before := used(b)
			for b.Loop() {
				for range 50 {
					out = tr.Add(at, 960, c.packets[next], out[:0])
					at += 960
					next = (next + 1) % len(c.packets)
				}
				seconds++
			}
			ms := float64(used(b)-before) / float64(time.Millisecond)
			b.ReportMetric(ms/float64(seconds), "CPU-ms/s")
		})
	}
}
