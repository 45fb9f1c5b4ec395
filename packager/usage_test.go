package packager

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/stream"
)

// TestUsage: X24 a publisher that sends nearly what it may, with all layers, is told
// so once, at its best layer; one that sends little, or has no limit, is not.
func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		limit float64 // bit/s
		bytes int     // a second of both layers
		want  doctor.Severity
	}{
		{0, 500_000, 0},
		{4e6, 100_000, 0},
		{4e6, 460_000, doctor.Warning},
		{4e6, 550_000, doctor.Problem},
	} {
		synctest.Test(t, func(t *testing.T) {
			hub := stream.NewHub(stream.Config{})
			s, err := hub.Stream("show")
			if err != nil {
				t.Fatal(err)
			}
			high, low := video("H264"), video("H264")
			high.ID.RID, low.ID.RID = "h", "l"
			x, err := s.Publish(stream.Offer{Layers: []stream.Layer{high, low}})
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close(nil)
			w, _, log := checkup(high)
			w.usage.limit = tt.limit
			w.enroll(s.State(), map[stream.LayerID]*pump{high.ID: nil, low.ID: nil}, 2*time.Second)
			for i := range 200 { // 20 s
				time.Sleep(100 * time.Millisecond)
				for _, layer := range []stream.Layer{high, low} {
					x.Write(layer.ID, stream.Packet{Sequence: uint16(i), Timestamp: uint32(9000 * i), Arrival: time.Now(), Payload: make([]byte, tt.bytes/20)})
				}
				if i%10 == 9 {
					w.look(time.Now())
				}
			}
			var got doctor.Severity
			for _, f := range w.patients[0].findings {
				if f.Code == doctor.Bitrate {
					got = f.Severity
				}
			}
			if got != tt.want || strings.Count(log.String(), "finding=bitrate-limit") > 1 {
				t.Errorf("%.0f bit/s allowed, %d bytes a second: %v, want %v\n%s", tt.limit, tt.bytes, got, tt.want, log)
			}
			for _, f := range w.patients[1].findings {
				if f.Code == doctor.Bitrate {
					t.Error("the other layer has it, too")
				}
			}
		})
	}
}
