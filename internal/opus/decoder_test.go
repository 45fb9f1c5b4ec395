package opus

import "testing"

// TestPaused names the packets of a pause (RFC 6716 §3.2; specs R47).
func TestPaused(t *testing.T) {
	for _, c := range []struct {
		packet []byte
		want   bool
	}{
		{nil, false},
		{[]byte{0x78}, true},
		{[]byte{0x78, 0}, true},
		{[]byte{0xf8, 0xff, 0xfe}, false}, // digital silence
		{[]byte{0x79}, true},
		{[]byte{0x79, 0, 0}, true},
		{[]byte{0x79, 0, 0, 0, 0}, false},
		{[]byte{0x7a, 0}, true},
		{[]byte{0x7a, 1, 0, 0}, false},
		{[]byte{0x7b}, false},
		{[]byte{0x7b, 0}, false},
		{[]byte{0x7b, 3}, true},
		{[]byte{0x7b, 3, 0, 0, 0}, true},
		{[]byte{0x7b, 3, 0, 0, 0, 0, 0, 0}, false},
		{[]byte{0x7b, 0x83, 0, 0}, true},
		{[]byte{0x7b, 0x41, 0, 0}, false},
	} {
		if got := Paused(c.packet); got != c.want {
			t.Errorf("%x: %v, want %v", c.packet, got, c.want)
		}
	}
}
