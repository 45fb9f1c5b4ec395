package aac_test

import (
	"bytes"
	"fmt"
	"math"
	"os/exec"
	"testing"

	"github.com/whipcast/whipcast/packager/aac"
)

// TestSilentFrames: frames of silence are what decoders take for it, for all usual
// numbers of channels and sample rates.
func TestSilentFrames(t *testing.T) {
	for _, rate := range []int{48000, 44100, 16000, 8000} {
		index := map[int]int{48000: 3, 44100: 4, 16000: 8, 8000: 11}[rate]
		for _, channels := range []int{1, 2, 3, 4, 5, 6, 8} {
			t.Run(fmt.Sprint(rate, " ", channels), func(t *testing.T) {
				frame := aac.Silence(channels)
				configuration := channels
				if channels == 8 {
					configuration = 7
				}
				var adts bytes.Buffer // ISO/IEC 13818-7 §6.2
				const frames = 20
				for range frames {
					n := len(frame) + 7
					adts.Write([]byte{
						0xff, 0xf1, byte(1<<6 | index<<2 | configuration>>2), byte(configuration<<6 | n>>11), byte(n >> 3), byte(n<<5 | 0x1f), 0xfc,
					})
					adts.Write(frame)
				}
				cmd := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-xerror", "-f", "aac", "-i", "pipe:0",
					"-f", "s16le", "-c:a", "pcm_s16le", "pipe:1")
				var errs bytes.Buffer
				cmd.Stdin, cmd.Stderr = &adts, &errs
				out, err := cmd.Output()
				if err != nil || errs.Len() > 0 {
					t.Fatalf("ffmpeg: %v %s", err, errs.Bytes())
				}
				if samples := len(out) / 2 / channels; math.Abs(float64(samples-frames*1024)) > 2048 {
					t.Errorf("%d samples, want %d", samples, frames*1024)
				}
				if len(bytes.Trim(out, "\x00")) > 0 {
					t.Error("there is a sound in it")
				}
			})
		}
	}
	for _, channels := range []int{-1, 0, 7, 9} {
		if aac.Silence(channels) != nil {
			t.Errorf("%d channels have a frame", channels)
		}
	}
}
