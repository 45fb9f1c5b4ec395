package stream

import (
	"testing"
	"time"
)

func TestClockBelievesOnlyPlausibleReports(t *testing.T) { // R1, R4, R5
	ntp := func(d time.Duration) uint64 { return 3_900_000_000<<32 + uint64(d.Seconds()*(1<<32)) }
	const rate = 90000
	for _, tt := range []struct {
		name    string
		newest  uint32
		reports []Report
		want    []bool
	}{
		{"first", 90000, []Report{{NTP: ntp(0), RTP: 90000}}, []bool{true}},
		{"zero NTP", 90000, []Report{{NTP: 0, RTP: 90000}}, []bool{false}},
		{"RTP far from the packets, as libdatachannel's 0", 90000 * 100, []Report{{NTP: ntp(0), RTP: 0}}, []bool{false}},
		{"wrap of the RTP timestamp", 1000, []Report{
			{NTP: ntp(0), RTP: 0xFFFFFF00}, {NTP: ntp(time.Second), RTP: 89744},
		}, []bool{true, true}},
		{"one jump of the sender's clock is ignored", 0, []Report{
			{NTP: ntp(0), RTP: 0}, {NTP: ntp(time.Hour), RTP: rate}, {NTP: ntp(2 * time.Second), RTP: 2 * rate},
		}, []bool{true, false, true}},
		{"a lasting jump is the truth", 0, []Report{
			{NTP: ntp(0), RTP: 0},
			{NTP: ntp(time.Hour), RTP: rate},
			{NTP: ntp(time.Hour + time.Second), RTP: 2 * rate},
			{NTP: ntp(time.Hour + 2*time.Second), RTP: 3 * rate},
		}, []bool{true, false, false, true}},
		{"jumps that contradict one another are no truth", 0, []Report{
			{NTP: ntp(0), RTP: 0},
			{NTP: ntp(time.Hour), RTP: rate},
			{NTP: ntp(2 * time.Hour), RTP: 2 * rate},
			{NTP: ntp(3 * time.Hour), RTP: 3 * rate},
			{NTP: ntp(4 * time.Second), RTP: 4 * rate},
		}, []bool{true, false, false, false, true}},
		{"doubts end with a good report", 0, []Report{
			{NTP: ntp(0), RTP: 0},
			{NTP: ntp(time.Hour), RTP: rate},
			{NTP: ntp(time.Hour + time.Second), RTP: 2 * rate},
			{NTP: ntp(3 * time.Second), RTP: 3 * rate},
			{NTP: ntp(time.Hour + 3*time.Second), RTP: 4 * rate},
		}, []bool{true, false, false, true, false}},
		{"50 ms of jitter in the first second", 0, []Report{
			{NTP: ntp(0), RTP: 0}, {NTP: ntp(1050 * time.Millisecond), RTP: rate},
		}, []bool{true, true}},
		{"rate off by 2 % over 10 s", 0, []Report{
			{NTP: ntp(0), RTP: 0}, {NTP: ntp(10 * time.Second), RTP: rate * 10 * 98 / 100},
		}, []bool{true, false}},
		{"rate off by 200 ppm", 0, []Report{
			{NTP: ntp(0), RTP: 0}, {NTP: ntp(10 * time.Second), RTP: rate*10 + 180},
		}, []bool{true, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := clock{rate: rate}
			c.saw(tt.newest)
			for i, r := range tt.reports {
				if got := c.accept(r); got != tt.want[i] {
					t.Errorf("report %d: accepted %v", i, got)
				}
			}
		})
	}
}

func TestReportTime(t *testing.T) { // R1: signed difference, survives the wrap
	r := Report{NTP: 10<<32 | 1<<31, RTP: 0xFFFFFFFF - 44999}
	for rtp, want := range map[uint32]time.Duration{
		r.RTP:         10500 * time.Millisecond,
		r.RTP + 90000: 11500 * time.Millisecond,
		r.RTP - 45000: 10 * time.Second,
	} {
		if got := r.Time(rtp, 90000); got != want {
			t.Errorf("Time(%d) = %v, want %v", rtp, got, want)
		}
	}
}

// TestClockFollowsThePacketsOverTheWrap: R5 what is near is judged by the newest
// packet, also when its timestamp wrapped.
func TestClockFollowsThePacketsOverTheWrap(t *testing.T) {
	c := clock{rate: 90000}
	c.saw(0xFFFFFF00)
	c.saw(100 * 90000)
	c.saw(99 * 90000) // late
	if !c.accept(Report{NTP: 1 << 40, RTP: 129*90000 + 1}) || c.newest != 100*90000 {
		t.Errorf("newest is %d", c.newest)
	}
	if (&clock{}).accept(Report{NTP: 1 << 40}) {
		t.Error("a report without a clock rate")
	}
}
