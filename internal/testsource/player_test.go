package testsource

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/testclip"
)

type sentPacket struct {
	kind   kind
	at     time.Time
	header rtp.Header
}

type sentReport struct {
	kind kind
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

func (r *recorder) packet(k kind, p *rtp.Packet) error {
	time.Sleep(r.stall)
	r.stall = 0
	r.packets = append(r.packets, sentPacket{k, time.Now(), p.Header})
	return r.fail
}

func (r *recorder) report(k kind, ntp time.Time, rtp uint32) error {
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
		p := newPlayer(loop, &out)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		if err := p.run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("run: %v, want the context's end", err)
		}
		clocks := [kinds]int64{testclip.VideoClock, testclip.AudioClock}
		var pictures, sounds int
		last := map[kind]uint16{}
		base := map[kind]uint32{}
		for _, s := range out.packets {
			if _, ok := base[s.kind]; !ok {
				base[s.kind], last[s.kind] = s.header.Timestamp, s.header.SequenceNumber-1
			}
			if s.header.SequenceNumber != last[s.kind]+1 {
				t.Fatalf("kind %d: sequence %d after %d", s.kind, s.header.SequenceNumber, last[s.kind])
			}
			last[s.kind]++
			ticks := int64(s.header.Timestamp - base[s.kind])
			media := time.Duration(ticks/clocks[s.kind])*time.Second + time.Duration(ticks%clocks[s.kind])*time.Second/time.Duration(clocks[s.kind])
			if late := s.at.Sub(start) - media; late < 0 || late > time.Microsecond {
				t.Fatalf("kind %d at media time %v left %v late", s.kind, media, late)
			}
			if s.kind == audio {
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
			want := base[r.kind] + uint32(r.ntp.Sub(start)*time.Duration(clocks[r.kind])/time.Second)
			if r.rtp != want {
				t.Errorf("kind %d: report at %v says %d, want %d", r.kind, r.ntp.Sub(start), r.rtp, want)
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
		p := newPlayer(loop, &out)
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		_ = p.run(ctx)
		base := p.base[video]
		var times []time.Duration
		for _, s := range out.packets {
			if s.kind == video && s.header.Marker {
				times = append(times, time.Duration(s.header.Timestamp-base)*time.Second/testclip.VideoClock)
			}
		}
		// The first loop iteration sends what was due when it began.
		if times[0] != 0 || times[1] != 4*time.Second {
			t.Errorf("pictures at %v and %v, want at 0 and, after the sleep, 4s", times[0], times[1])
		}
	})
}

func TestPlayerEndsWithItsOutlet(t *testing.T) {
	broken := errors.New("broken")
	if err := newPlayer(newLoop(t), &recorder{fail: broken}).run(t.Context()); !errors.Is(err, broken) {
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
	p := newPlayer(newLoop(t), &out)
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
