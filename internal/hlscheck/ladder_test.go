package hlscheck_test

import (
	"slices"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

func TestLadder(t *testing.T) {
	var c hlscheck.Checker
	check(&c, publication(t, asIs))
	ladder := c.Ladder(videoURI)
	if len(ladder) != 4 || len(c.Ladders()) != 1 {
		t.Fatalf("%d renditions in %d presentations", len(ladder), len(c.Ladders()))
	}
	if breaks, same := ladder.Breaks(); !same || !slices.Equal(breaks, []uint64{breakAt}) {
		t.Errorf("breaks at %v, the same in all: %v", breaks, same)
	}
	if apart, msn := ladder.Apart(); apart <= 0 || apart >= 22*time.Millisecond || msn == breakAt {
		t.Errorf("segment %d begins %v apart", msn, apart)
	}
	for uri, want := range map[string]struct {
		gaps, maps []uint64
		frame      time.Duration
	}{
		videoURI:                     {nil, []uint64{breakAt}, 100 * time.Millisecond},
		"show/p1/video-m/index.m3u8": {[]uint64{lostAt}, []uint64{breakAt}, 100 * time.Millisecond},
		"show/p1/aac/index.m3u8":     {nil, nil, 1024 * time.Second / 48000},
		"show/p1/opus/index.m3u8":    {nil, nil, 20 * time.Millisecond},
	} {
		rungs := ladder[uri]
		if len(rungs) != segments || len(rungs.Holes()) > 0 {
			t.Errorf("%s: %d segments, %v are missing", uri, len(rungs), rungs.Holes())
		}
		if !slices.Equal(rungs.Gaps(), want.gaps) || !slices.Equal(rungs.NewMaps(), want.maps) || !slices.Equal(rungs.Breaks(), []uint64{breakAt}) {
			t.Errorf("%s: gaps %v, maps %v, breaks %v", uri, rungs.Gaps(), rungs.NewMaps(), rungs.Breaks())
		}
		s, ok := rungs.At(breakAt)
		if at := (breakAt*target + 1) * time.Second; !ok || !s.Read || s.Start != at || s.Date != noon().Add(at) || s.Sequence != 1 {
			t.Errorf("%s: %+v", uri, s)
		}
		if s.Frame != want.frame || s.Duration < 1980*time.Millisecond || s.Duration > 2020*time.Millisecond {
			t.Errorf("%s: a frame lasts %v, the segment %v", uri, s.Frame, s.Duration)
		}
		if _, ok := rungs.At(segments); ok {
			t.Errorf("%s has a segment %d", uri, segments)
		}
	}
	if s, _ := ladder["show/p1/video-m/index.m3u8"].At(lostAt); s.Read || s.Duration != 2*time.Second {
		t.Errorf("the lost segment is %+v", s)
	}
}

func TestLadderThatDiffers(t *testing.T) {
	var c hlscheck.Checker
	check(&c, publication(t, func(all []*track) {
		if all[2].segments != nil {
			all[2].segments[3].disc = true
		}
		all[1].offset = 18000
	}))
	ladder := c.Ladder(videoURI)
	if breaks, same := ladder.Breaks(); same || !slices.Equal(breaks, []uint64{3, breakAt}) {
		t.Errorf("breaks at %v, the same in all: %v", breaks, same)
	}
	if apart, _ := ladder.Apart(); apart != 200*time.Millisecond {
		t.Errorf("they begin %v apart", apart)
	}
	if got := (hlscheck.Rungs{{MSN: 3}, {MSN: 6}}).Holes(); !slices.Equal(got, []uint64{4, 5}) {
		t.Errorf("holes %v", got)
	}
	if len(c.Ladder("elsewhere/p/video/index.m3u8")) != 0 {
		t.Error("there is a ladder of nothing")
	}
}
