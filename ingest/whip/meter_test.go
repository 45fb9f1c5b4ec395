package whip

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

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
			told := func() bool { // a moment after the other side has seen the end
				log := g.log.String()
				return strings.Contains(log, "0.4 are allowed") && strings.Contains(log, "lower the encoder's bit rate")
			}
			for deadline := time.Now().Add(10 * time.Second); !told() && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			}
			if !told() {
				t.Errorf("log: %s", g.log.String())
			}
		})
	}
}
