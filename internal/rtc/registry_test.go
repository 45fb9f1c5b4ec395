package rtc

import "testing"

// TestPlacesForPublishers: X23 viewers, who may need no token, cannot take the
// last tenth of the places.
func TestPlacesForPublishers(t *testing.T) {
	for name, cfg := range map[string]RegistryConfig{
		"sessions": {MaxSessions: 20},
		"pending":  {MaxPending: 20},
	} {
		g := NewRegistry(nil, cfg)
		admit := func(d Direction) int {
			n := 0
			for g.take(d, Caller{}) == nil {
				n++
			}
			return n
		}
		if viewers, publishers := admit(Send), admit(Receive); viewers != 18 || publishers != 2 {
			t.Errorf("%s: %d viewers, then %d publishers, want 18 and 2", name, viewers, publishers)
		}
	}
}

// TestFailedRestart: W58 after an ICE restart that failed the former ICE session
// is the present one still: its trickled candidates are no new restart.
func TestFailedRestart(t *testing.T) {
	engine, err := New(Config{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	offer, err := CheckOffer([]byte(readOffer(t, "whep-chromium")), Rules{Direction: Send})
	if err != nil {
		t.Fatal(err)
	}
	x, err := NewRegistry(engine, RegistryConfig{}).Open(t.Context(), Opening{Direction: Send, Stream: "a", Offer: offer})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Discard()
	tag := x.patch.tag()
	if err := x.pc.GracefulClose(); err != nil { // nothing can be negotiated any more
		t.Fatal(err)
	}
	if answer, err := x.restart(t.Context(), fragment{creds: credentials{"other", "otherotherotherotherother"}, end: true}); err == nil {
		t.Fatalf("a restart of a closed connection: %s", answer)
	}
	restart, err := x.patch.judge(fragment{creds: offer.credentials}, []string{tag}, true)
	if err != nil || restart || x.patch.ice.ended {
		t.Errorf("trickle after a failed restart: restart %v, %v, candidates ended %v", restart, err, x.patch.ice.ended)
	}
}
