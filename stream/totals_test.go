package stream_test

import (
	"testing"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// TestTotals: what publishers sent is counted over all streams and outlives them.
func TestTotals(t *testing.T) {
	hub := stream.NewHub(stream.Config{})
	for _, name := range []string{"one", "two"} {
		s, err := hub.Stream(name)
		if err != nil {
			t.Fatal(err)
		}
		src := publish(t, s, "host", video)
		src.keyframe()
		src.picture()
		src.seq--
		src.write([]byte{0x61, 1}, true) // again
		b := subscribe(t, s, video.ID)
		b.RequestKeyframe()
		b.RequestKeyframe()
		if _, err := src.session.KeyframeRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		src.session.Close(nil)
		src.picture()
		hub.Remove(s)
	}
	all := hub.Totals()
	for what, got := range map[string][2]uint64{
		"sessions":          {all.Sessions.Load(), 2},
		"packets":           {all.Packets.Load(), 2 * 2 * perPicture},
		"bytes":             {all.Bytes.Load(), 2 * 2 * perPicture * 2},
		"duplicates":        {all.Duplicates.Load(), 2},
		"dropped":           {all.Dropped.Load(), 2 * perPicture},
		"keyframe requests": {all.KeyframeRequests.Load(), 2},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d, want %d", what, got[0], got[1])
		}
	}
}

// TestKeyframeDistance: R34 the distance is that of the media, also over the wrap of
// the timestamps.
func TestKeyframeDistance(t *testing.T) {
	show := newStream(t)
	src := publish(t, show, "host", video)
	src.timestamp = 0xffffff00
	for _, pictures := range []int{29, 29, 59} {
		src.keyframe()
		for range pictures {
			src.picture()
		}
	}
	source := func() stream.Counters { return show.State().Sources[0].Counters() }
	if c := source(); c.Keyframes != 3 || c.KeyframeDistance != time.Second || c.LongestDistance != time.Second {
		t.Errorf("got %+v", c)
	}
	src.keyframe()
	if c := source(); c.Keyframes != 4 || c.KeyframeDistance.Round(time.Millisecond) != 1333*time.Millisecond || c.LongestDistance != 2*time.Second {
		t.Errorf("got %+v", c)
	}
}
