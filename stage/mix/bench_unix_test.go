//go:build unix

package mix_test

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/opus"
	"github.com/whipcast/whipcast/stage/mix"
	"github.com/whipcast/whipcast/stream"
)

// packets are two seconds of stereo with tones and noise.
func packets(b *testing.B, seed uint64) [][]byte {
	b.Helper()
	e, err := opus.NewEncoder(opus.Config{Channels: 2, Bitrate: 64000})
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	f := tone(200*float64(seed+1), 0.2)
	var all [][]byte
	for n := range 100 {
		pcm := make([]float32, 0, 2*frame)
		for i := range frame {
			v := f(n*frame + i)
			pcm = append(pcm, float32(v+0.02*r.NormFloat64()), float32(v+0.02*r.NormFloat64()))
		}
		all = append(all, e.Encode(nil, pcm))
	}
	return all
}

// processor returns the processor time of the process.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkSeats mixes 20 ms: 200 µs of processor time are 1 % of a core. With one seat
// its packets go through, and only its level is measured.
func BenchmarkSeats(b *testing.B) {
	for _, c := range []struct {
		name  string
		seats int
	}{{"1", 1}, {"2", 2}, {"4", 4}, {"8", 8}} {
		b.Run(c.name, func(b *testing.B) {
			m, err := mix.New(mix.Config{})
			if err != nil {
				b.Fatal(err)
			}
			names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}[:c.seats]
			var all [][][]byte
			for i, n := range names {
				all = append(all, packets(b, uint64(i)))
				if err := m.Open(n); err != nil {
					b.Fatal(err)
				}
			}
			var out []stream.Packet
			now := time.Unix(1, 0)
			n := 0
			step := func() {
				for i, name := range names {
					m.Write(name, stream.Packet{Arrival: now, Timestamp: uint32(n * frame), Sequence: uint16(n), Payload: all[i][n%100]})
				}
				out = m.Tick(now, out[:0])
				now = now.Add(20 * time.Millisecond)
				n++
			}
			for range 50 {
				step()
			}
			b.ReportAllocs()
			before := processor(b)
			for b.Loop() {
				step()
			}
			b.ReportMetric(float64((processor(b)-before).Nanoseconds())/float64(b.N)/2e5, "%core")
		})
	}
}
