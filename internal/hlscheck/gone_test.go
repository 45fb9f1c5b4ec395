package hlscheck_test

import (
	"path"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

func TestWhatGoesTooEarly(t *testing.T) { // L22, L37, L40, L49, L102
	// Segment 2 is listed from 6 s on, its parts until 12 s, itself until 25 s
	// (there is a second without media); the playlist is 18 s long then. Segment
	// 4 is the last of the first init segment.
	events := publication(t, asIs)
	for _, tt := range []struct {
		name, items, file string
		at                time.Duration
		over              time.Duration // when the playlist goes; 0: it stays
	}{
		{"a part", "", "p8.m4s", 19 * time.Second, 0},
		{"a part early", "L49", "p8.m4s", 18*time.Second - time.Millisecond, 0},
		{"a part that is listed", "L37", "p54.m4s", 29 * time.Second, 0},
		{"a segment", "", "s2.m4s", 26 * time.Second, 0},
		{"a segment early", "L40", "s2.m4s", 26*time.Second - 20*time.Millisecond, 0},
		{"a segment that is listed", "L37", "s12.m4s", 29 * time.Second, 0},
		{"an init segment", "", "init-0.mp4", 2 * time.Minute, 0},
		{"an init segment early", "L22", "init-0.mp4", 20 * time.Second, 0},
		{"a presentation", "", "s12.m4s", 118 * time.Second, 100 * time.Second},
		{"a presentation's segment early", "L102", "s12.m4s", 110 * time.Second, 100 * time.Second},
		{"a presentation's init segment early", "L22", "init-1.mp4", 110 * time.Second, 100 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c hlscheck.Checker
			c.Gone(path.Join(path.Dir(videoURI), tt.file), noon().Add(tt.at))
			if tt.over > 0 {
				c.Gone(videoURI, noon().Add(tt.over))
			}
			check(&c, events)
			exactly(t, &c, tt.items)
		})
	}
}
