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
			for g.take(d) == nil {
				n++
			}
			return n
		}
		if viewers, publishers := admit(Send), admit(Receive); viewers != 18 || publishers != 2 {
			t.Errorf("%s: %d viewers, then %d publishers, want 18 and 2", name, viewers, publishers)
		}
	}
}
