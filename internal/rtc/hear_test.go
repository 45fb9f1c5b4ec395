package rtc_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// TestHearing: a track gets the RTCP about it, and none about others, before and
// after it has sent something; a fault in it ends the Session.
func TestHearing(t *testing.T) {
	w := watch(t, rtctest.Options{}, nil)
	ask := func(ssrc uint32) {
		t.Helper()
		if err := w.remote.PC.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}); err != nil {
			t.Fatal(err)
		}
	}
	next := func() *rtcp.PictureLossIndication {
		t.Helper()
		timeout := time.After(10 * time.Second)
		for {
			select {
			case b := <-w.heard:
				packets, err := rtcp.Unmarshal(b)
				if err != nil {
					t.Fatal(err)
				}
				if pli, ok := packets[0].(*rtcp.PictureLossIndication); ok {
					return pli
				}
			case <-timeout:
				t.Fatal("nothing heard within 10 s")
			}
		}
	}
	mine := w.sending.SSRC()
	ask(mine)
	if got := next(); got.MediaSSRC != mine {
		t.Errorf("heard %v", got)
	}
	w.send(t, 3, 10)
	for i := range uint32(5) { // of nobody: Pion keeps what nobody reads
		ask(mine + 1 + i)
	}
	ask(mine)
	if got := next(); got.MediaSSRC != mine {
		t.Errorf("heard %v", got)
	}
	if err := w.remote.PC.WriteRTCP([]rtcp.Packet{&rtcp.Goodbye{Sources: []uint32{mine}}}); err != nil {
		t.Fatal(err)
	}
	rtctest.Wait(t, w.session.Done(), "end of the session")
	if err := w.session.Err(); !errors.Is(err, rtc.ErrFault) {
		t.Errorf("ended with %v, want %v", err, rtc.ErrFault)
	}
}
