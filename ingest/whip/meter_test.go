package whip

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// TestMeter: X24 who sends twice what it may is cut off within three seconds, who
// sends a tenth more within half a minute; key frames and pauses do no harm.
func TestMeter(t *testing.T) {
	const limit = 8e6 // a megabyte a second
	for _, tt := range []struct {
		name  string
		bytes func(second int) uint64
		cut   int // after so many seconds; 0: never
	}{
		{"at the limit", func(int) uint64 { return 1e6 }, 0},
		{"twice the limit", func(int) uint64 { return 2e6 }, 3},
		{"a tenth more", func(int) uint64 { return 11e5 }, 21},
		{"100 Mb/s", func(int) uint64 { return 125e5 }, 1},
		{"a large key frame every 4 s", func(s int) uint64 { return []uint64{22e5, 6e5, 6e5, 6e5}[s%4] }, 0},
		{"a burst after a pause", func(s int) uint64 { return []uint64{0, 0, 0, 29e5}[s%4] }, 0},
		{"credit does not grow", func(s int) uint64 { return []uint64{0, 0, 0, 0, 0, 0, 0, 0, 0, 4e6}[s%10] }, 10},
	} {
		m := meter{limit: limit}
		cut := 0
		for s := range 600 {
			if err := m.spend(tt.bytes(s), time.Second); err != nil {
				if cut = s + 1; !errors.Is(err, ErrBitrate) || !strings.Contains(err.Error(), "8.0 are allowed") {
					t.Errorf("%s: %v", tt.name, err)
				}
				break
			}
		}
		if cut != tt.cut {
			t.Errorf("%s: cut off after %d s, want %d", tt.name, cut, tt.cut)
		}
	}
	free := meter{}
	if err := free.spend(1e12, time.Second); err != nil {
		t.Errorf("without limit: %v", err)
	}
}

// TestBitrate: X24 a session that sends too much ends with a reason that says what
// to do, and is counted; so does one whose packets are of no use.
func TestBitrate(t *testing.T) {
	for _, name := range []string{"video", "no video at all"} {
		t.Run(name, func(t *testing.T) {
			var counted Metrics
			g := startWith(t, Config{MaxBitrate: 400_000, Metrics: &counted}, rtc.RegistryConfig{}, rtc.Config{})
			x := newSending(t, rtctest.Options{})
			x.Connect(t, g.endpoint("live"))
			payload := make([]byte, 1100)
			if name == "video" {
				payload[0] = 0x65
			}
			for seq := range uint16(6000) {
				select {
				case <-x.Closed():
				default:
					h := rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: uint32(seq) * 900, Marker: true}
					_ = x.video.WriteRTP(&rtp.Packet{Header: h, Payload: payload}) // fails once it is closed
					time.Sleep(2 * time.Millisecond)
					continue
				}
				break
			}
			rtctest.Wait(t, x.Closed(), "end")
			if counted.Cut.Load() != 1 {
				t.Errorf("%d counted", counted.Cut.Load())
			}
			if res, _ := rtctest.Token("secret").Do(t, http.MethodGet, x.URL, ""); res.StatusCode != http.StatusNotFound {
				t.Errorf("the session: %s", res.Status)
			}
			if log := g.log.String(); !strings.Contains(log, "0.4 are allowed") || !strings.Contains(log, "lower the encoder's bit rate") {
				t.Errorf("log: %s", log)
			}
		})
	}
}
