package opus_test

import (
	"testing"

	"github.com/whipcast/whipcast/internal/opus"
)

// BenchmarkEncode encodes 20 ms of noisy stereo at the rate that the mixer uses.
func BenchmarkEncode(b *testing.B) {
	e, err := opus.NewEncoder(opus.Config{Channels: 2, Bitrate: 112000})
	if err != nil {
		b.Fatal(err)
	}
	pcm := sum(tone(440, 0.2), tone(3001, 0.1), noise(1, 0.05)).pcm(2, 0, opus.FrameSamples)
	var packet []byte
	b.ReportAllocs()
	for b.Loop() {
		packet = e.Encode(packet[:0], pcm)
	}
}
