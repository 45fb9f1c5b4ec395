package whep

import (
	"testing"
	"time"

	"github.com/whipcast/whipcast/stream"
)

func TestTimelineFollowsArrivals(t *testing.T) {
	begin := time.Now()
	l := timeline{rate: 90000}
	first := uint32(0xFFFFFF00)
	l.observe(begin, first) // R9: wraps in the first second
	if got := l.time(first + 90000); !got.Equal(begin.Add(time.Second)) {
		t.Errorf("one second on: %v", got.Sub(begin))
	}
	if got := l.timestamp(begin.Add(-time.Second)); got != first-90000 {
		t.Errorf("one second back: %d", got)
	}
	l.observe(begin.Add(990*time.Millisecond), first+90000) // came sooner: the first one was delayed
	if got := l.time(first); got.Sub(begin).Round(time.Microsecond) != -10*time.Millisecond {
		t.Errorf("after an earlier arrival the first packet is at %v", got.Sub(begin))
	}
	l.observe(begin.Add(2100*time.Millisecond), first+180000) // 110 ms late: the network
	if got := l.time(first).Sub(begin); got > -9*time.Millisecond {
		t.Errorf("one late packet moved it to %v", got)
	}
	l.observe(begin.Add(time.Minute), first+270000) // the source jumped (R11)
	if got := l.time(first + 270000).Sub(begin); got != time.Minute {
		t.Errorf("after a jump: %v", got)
	}
}

func TestTimelinesOfOneEpochShareTheirZero(t *testing.T) { // R1, R2
	ntpAt := func(d time.Duration) uint64 {
		return uint64(3_900_000_000+d/time.Second)<<32 + uint64(d%time.Second)<<32/uint64(time.Second)
	}
	begin := time.Now()
	audio := timeline{source: &stream.Source{Epoch: 3}, rate: 48000}
	video := timeline{source: &stream.Source{Epoch: 3}, rate: 90000}
	// Video arrives 80 ms later than audio of the same instant; the reports say so.
	audio.observe(begin, 1000)
	video.observe(begin.Add(80*time.Millisecond), 5000)
	z := audio.report(stream.Report{NTP: ntpAt(0), RTP: 1000, Arrival: begin}, zero{})
	z = video.report(stream.Report{NTP: ntpAt(0), RTP: 5000, Arrival: begin.Add(80 * time.Millisecond)}, z)
	if off := video.time(5000).Sub(audio.time(1000)); off.Abs() > time.Millisecond {
		t.Errorf("audio and video of one instant are %v apart", off)
	}
	// The sender's clock is set by an hour: what counts is when it arrives.
	z = audio.report(stream.Report{NTP: ntpAt(time.Hour), RTP: 49000, Arrival: begin.Add(time.Second)}, z)
	if off := audio.time(49000).Sub(begin); off != time.Second {
		t.Errorf("after the sender's clock was set: %v", off)
	}
	if z.epoch != 3 {
		t.Errorf("zero of epoch %d", z.epoch)
	}
}

func TestTimelineFollowsDriftWithoutAJump(t *testing.T) { // R8
	begin := time.Now()
	l := timeline{source: &stream.Source{Epoch: 1}, rate: 48000}
	var z zero
	var last time.Time
	for i := range 36_000 { // ten hours of reports, 100 ppm off
		theirs := time.Duration(i) * time.Second
		arrival := begin.Add(theirs + theirs/10_000)
		ntp := uint64(3_900_000_000+i) << 32
		unit := uint32(i * 48000)
		for range 30 { // packets between two reports
			z = l.report(stream.Report{NTP: ntp, RTP: unit, Arrival: arrival}, z)
		}
		at := l.time(unit)
		if off := arrival.Sub(at); off.Abs() > 20*time.Millisecond {
			t.Fatalf("after %v: %v off", theirs, off)
		}
		if step := at.Sub(last); i > 0 && (step-time.Second).Abs() > time.Millisecond {
			t.Fatalf("after %v: a step of %v", theirs, step)
		}
		last = at
	}
}

func TestNTP(t *testing.T) {
	if got := ntp(time.Unix(0, 500_000_000)); got != 2208988800<<32|1<<31 {
		t.Errorf("got %x", got)
	}
}
