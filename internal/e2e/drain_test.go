package e2e

import (
	"testing"
	"time"
)

// TestBrowserDrain: a gateway is emptied and ends. The pages that were loaded from it follow to its peer,
// where the policy lets them go, with their token, and the last picture stays until the next one.
func TestBrowserDrain(t *testing.T) {
	peer := serveWith(t, plainBinary, "WHIPCAST_AUTH_WATCH=token")
	g := serveWith(t, plainBinary, "WHIPCAST_AUTH_WATCH=token", "WHIPCAST_DRAIN_PEER="+peer.url(""))
	s := browse(t, "moved", g.url(""), "clip")
	if want := "live,playing,playing"; s.Moved != want {
		t.Errorf("publisher and viewers are %q at the peer, want %q", s.Moved, want)
	}
	if s.Blank > 2 { // while a page is busy, a look may come between two pictures
		t.Errorf("%d looks saw no picture", s.Blank)
	}
	select {
	case <-g.done:
		if g.err != nil {
			t.Errorf("the emptied gateway ended with %v\n%s", g.err, tail(g.out.String(), 10))
		}
	case <-time.After(20 * time.Second):
		t.Error("the emptied gateway does not end")
	}
}
