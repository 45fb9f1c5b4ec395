package rtc_test

import (
	"errors"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// TestSessions: an operator sees what is there, without the secret of its URL (X2), and
// ends it.
func TestSessions(t *testing.T) {
	h := open(t, rtc.Config{}, rtc.RegistryConfig{})
	if all := h.registry.Sessions(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	x := remote(t, rtctest.Options{})
	x.Connect(t, h.server.URL+"/whip/live")
	session := <-h.sessions
	rtctest.Wait(t, session.Connected(), "connection")
	all := h.registry.Sessions()
	if len(all) != 1 || all[0].Stream != "live" || all[0].Direction != rtc.Receive || !all[0].Connected || len(all[0].ID) != 10 || time.Since(all[0].Since) > time.Minute {
		t.Fatalf("%+v", all)
	}
	one, sums, ok := h.registry.Session(all[0].ID)
	if !ok || one != all[0] || sums.Transport == "" || sums.Local == "" || sums.Remote == "" {
		t.Errorf("%+v %+v %v", one, sums, ok)
	}
	if h.registry.End("p") || h.registry.End("") {
		t.Error("ended by a part of its ID")
	}
	if !h.registry.End(all[0].ID) {
		t.Error("there is no such session")
	}
	rtctest.Wait(t, session.Done(), "end")
	if !errors.Is(session.Err(), rtc.ErrEnded) {
		t.Errorf("reason %v", session.Err())
	}
	if reason := h.registry.Reason(all[0].ID); reason != rtc.ErrEnded.Error() {
		t.Errorf("reason %q", reason)
	}
	if _, _, ok := h.registry.Session(all[0].ID); ok {
		t.Error("it is there after its end")
	}
}
