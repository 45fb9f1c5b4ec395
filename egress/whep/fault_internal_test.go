package whep

import (
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/whipcast/whipcast/internal/rtc"
)

// TestFaultHoldsNoLock: X26 a fault while a viewer's feedback is handled ends that viewer's
// session. Its lane, which serves others, must not wait for it then.
func TestFaultHoldsNoLock(t *testing.T) {
	track := newTestTrack(rtc.Video, &screen{}, &Metrics{})
	w := track.wire()
	b, err := (&rtcp.TransportLayerNack{MediaSSRC: 4711, Nacks: []rtcp.NackPair{{PacketID: 9}}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	track.rewriter.begun, track.rewriter.count, track.rewriter.last = true, 1, maxSpans // a fault: there is no such span
	fault := func() (fault any) {
		defer func() { fault = recover() }()
		track.handle(b, time.Now(), w)
		return nil
	}()
	if fault == nil {
		t.Fatal("nothing is wrong")
	}
	if !track.mu.TryLock() {
		t.Error("the track stays locked")
	}
}
