package limit

import (
	"errors"
	"strings"
	"testing"
	"time"
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
		m := Meter{Limit: limit}
		cut := 0
		for s := range 600 {
			if err := m.Spend(tt.bytes(s), time.Second); err != nil {
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
	free := Meter{}
	if err := free.Spend(1e12, time.Second); err != nil {
		t.Errorf("without limit: %v", err)
	}
}

// TestLoopback: this machine is one address, not a network.
func TestLoopback(t *testing.T) {
	for _, text := range []string{"[::1]:5", "127.0.0.1:5", "[::ffff:127.0.0.1]:5"} {
		if a := Address(text); !a.IsLoopback() {
			t.Errorf("%s is %s", text, a)
		}
	}
}
