package testsource

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/testclip"
)

type sentPacket struct {
	lane   int
	at     time.Time
	header rtp.Header
}

type sentReport struct {
	lane int
	ntp  time.Time
	rtp  uint32
}

// recorder is an outlet that keeps what it gets.
type recorder struct {
	packets []sentPacket
	reports []sentReport
	stall   time.Duration // at the next packet
	fail    error
}

func (r *recorder) packet(k int, p *rtp.Packet) error {
	time.Sleep(r.stall)
	r.stall = 0
	r.packets = append(r.packets, sentPacket{k, time.Now(), p.Header})
	return r.fail
}

func (r *recorder) report(k int, ntp time.Time, rtp uint32) error {
	r.reports = append(r.reports, sentReport{k, ntp, rtp})
	return nil
}

func newLoop(t *testing.T) *testclip.Loop {
	t.Helper()
	clip, err := testclip.Load()
	if err != nil {
		t.Fatal(err)
	}
	return clip.Loop()
}

// TestPlayerKeepsTime: each packet leaves at its media time, over several loops,
// and every report puts both clocks on one line (R1, R2).
func TestPlayerKeepsTime(t *testing.T) {
	loop := newLoop(t)
	synctest.Test(t, func(t *testing.T) {
		var out recorder
		p := newPlayer(loop, 1, &out)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		if err := p.run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("run: %v, want the context's end", err)
		}
		clocks := []int64{testclip.VideoClock, testclip.AudioClock}
		var pictures, sounds int
		last := map[int]uint16{}
		base := map[int]uint32{}
		for _, s := range out.packets {
			if _, ok := base[s.lane]; !ok {
				base[s.lane], last[s.lane] = s.header.Timestamp, s.header.SequenceNumber-1
			}
			if s.header.SequenceNumber != last[s.lane]+1 {
				t.Fatalf("lane %d: sequence %d after %d", s.lane, s.header.SequenceNumber, last[s.lane])
			}
			last[s.lane]++
			ticks := int64(s.header.Timestamp - base[s.lane])
			media := time.Duration(ticks/clocks[s.lane])*time.Second + time.Duration(ticks%clocks[s.lane])*time.Second/time.Duration(clocks[s.lane])
			if late := s.at.Sub(start) - media; late < 0 || late > time.Microsecond {
				t.Fatalf("lane %d at media time %v left %v late", s.lane, media, late)
			}
			if s.lane == 1 {
				sounds++
			} else if s.header.Marker {
				pictures++
			}
		}
		if pictures < 749 || pictures > 751 || sounds < 1249 || sounds > 1251 {
			t.Errorf("%d pictures and %d sounds in 25 s, want 750 and 1250", pictures, sounds)
		}
		if len(out.reports) < 50 {
			t.Errorf("%d reports in 25 s, want one a second for each of two tracks", len(out.reports))
		}
		for _, r := range out.reports {
			want := base[r.lane] + uint32(r.ntp.Sub(start)*time.Duration(clocks[r.lane])/time.Second)
			if r.rtp != want {
				t.Errorf("lane %d: report at %v says %d, want %d", r.lane, r.ntp.Sub(start), r.rtp, want)
			}
		}
	})
}

// TestPlayerAfterSleep: what is more than a second overdue is left out, and the
// player goes on in time at a keyframe.
func TestPlayerAfterSleep(t *testing.T) {
	loop := newLoop(t)
	synctest.Test(t, func(t *testing.T) {
		out := recorder{stall: 3700 * time.Millisecond}
		p := newPlayer(loop, 1, &out)
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		_ = p.run(ctx)
		base := p.lanes[0].base
		var times []time.Duration
		for _, s := range out.packets {
			if s.lane == 0 && s.header.Marker {
				times = append(times, time.Duration(s.header.Timestamp-base)*time.Second/testclip.VideoClock)
			}
		}
		// The first loop iteration sends what was due when it began.
		if times[0] != 0 || times[1] != 4*time.Second {
			t.Errorf("pictures at %v and %v, want at 0 and, after the sleep, 4s", times[0], times[1])
		}
	})
}

// playLadder plays three layers for d and returns what was sent.
func playLadder(t *testing.T, d time.Duration, prepare func(p *player)) (recorder, *player) {
	t.Helper()
	clip, err := testclip.LoadLadder()
	if err != nil {
		t.Fatal(err)
	}
	var out recorder
	p := newPlayer(clip.Loop(), len(testclip.Ladder()), &out)
	prepare(p)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		if err := p.run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("run: %v, want the context's end", err)
		}
	})
	return out, p
}

// pictures returns the RTP times of a lane's pictures, relative to its base.
func pictures(out recorder, p *player, lane int) []uint32 {
	var times []uint32
	for _, s := range out.packets {
		if s.lane == lane && s.header.Marker {
			times = append(times, s.header.Timestamp-p.lanes[lane].base)
		}
	}
	return times
}

// TestLayers: R5, R40 all layers have the same pictures. OBS has one RTP time
// base for all, a browser one for each, and reports put them on one line.
func TestLayers(t *testing.T) {
	for _, style := range []Style{OBS, Browser} {
		start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of every synctest bubble
		out, p := playLadder(t, 3*time.Second, func(p *player) {
			if style == OBS {
				p.oneBase()
			}
		})
		if same := p.lanes[0].base == p.lanes[1].base && p.lanes[1].base == p.lanes[2].base; same != (style == OBS) {
			t.Errorf("style %d: bases are the same: %v", style, same)
		}
		if p.lanes[3].base == p.lanes[0].base {
			t.Errorf("style %d: sound has the pictures' base", style)
		}
		first := pictures(out, p, 0)
		if len(first) < 89 || len(first) > 91 {
			t.Errorf("%d pictures in 3 s", len(first))
		}
		for lane := range 3 {
			if times := pictures(out, p, lane); !slices.Equal(times, first) {
				t.Errorf("style %d: layer %d has other pictures", style, lane)
			}
		}
		reported := map[int]int{}
		for _, r := range out.reports {
			reported[r.lane]++
			from := p.lanes[r.lane]
			if want := from.base + uint32(r.ntp.Sub(start)*time.Duration(from.clock)/time.Second); r.rtp != want {
				t.Errorf("style %d, lane %d: report at %v says %d, want %d", style, r.lane, r.ntp.Sub(start), r.rtp, want)
			}
		}
		for lane := range 4 {
			if reported[lane] < 3 {
				t.Errorf("style %d, lane %d: %d reports in 3 s", style, lane, reported[lane])
			}
		}
	}
}

// TestSilentLayer: R43 a layer that begins late and one that is away for a while
// come at a keyframe, in step with the others, without a hole in their numbers.
func TestSilentLayer(t *testing.T) {
	out, p := playLadder(t, 6*time.Second-time.Millisecond, func(p *player) {
		p.silent = func(layer int, media time.Duration) bool {
			return layer == 0 && media < 1500*time.Millisecond || layer == 1 && media >= 2*time.Second && media < 2900*time.Millisecond
		}
	})
	const second = testclip.VideoClock
	if times := pictures(out, p, 0); times[0] != 2*second {
		t.Errorf("layer 0 begins at %d, want %d", times[0], 2*second)
	}
	var away []uint32
	for i, at := range pictures(out, p, 1) {
		if want := uint32(i) * second / testclip.FrameRate; at != want && away == nil {
			away = append(away, want, at)
		}
	}
	if want := []uint32{2 * second, 3 * second}; !slices.Equal(away, want) {
		t.Errorf("layer 1 is away in %d, want %d", away, want)
	}
	if times := pictures(out, p, 2); len(times) != 180 {
		t.Errorf("layer 2 has %d pictures in 6 s, want 180", len(times))
	}
	last := map[int]uint16{}
	for _, s := range out.packets {
		if before, ok := last[s.lane]; ok && s.header.SequenceNumber != before+1 {
			t.Fatalf("lane %d: sequence %d after %d", s.lane, s.header.SequenceNumber, before)
		}
		last[s.lane] = s.header.SequenceNumber
	}
	quiet := 0
	for _, r := range out.reports {
		if at := r.rtp - p.lanes[0].base; r.lane == 0 && at > 0 && at < 2*second {
			quiet++
		}
	}
	if quiet > 0 {
		t.Errorf("%d reports of a silent layer", quiet)
	}
}

func TestPlayerEndsWithItsOutlet(t *testing.T) {
	broken := errors.New("broken")
	if err := newPlayer(newLoop(t), 1, &recorder{fail: broken}).run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("run: %v, want %v", err, broken)
	}
}

func TestNTPTime(t *testing.T) {
	// RFC 5905 figure 4: 1 January 1970 is 2,208,988,800 s into the era.
	if got, want := ntpTime(time.Unix(0, 500_000_000)), uint64(2208988800)<<32|1<<31; got != want {
		t.Errorf("ntpTime = %#x, want %#x", got, want)
	}
}

func TestPicturesArePadded(t *testing.T) {
	var out recorder
	p := newPlayer(newLoop(t), 1, &out)
	p.padTo = 10_000
	u := p.loop.Next()
	before := len(u.Data)
	if got := len(p.pad(u.Data)); got != max(before, 10_000) || len(u.Data) != before {
		t.Errorf("a picture of %d bytes became %d", before, got)
	}
	p.padTo = 0
	if got := len(p.pad(u.Data)); got != before {
		t.Errorf("without padding a picture of %d bytes became %d", before, got)
	}
}
