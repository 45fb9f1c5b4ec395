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
			{NTP: ntp(time.Hour + 2*time.Second), RTP: 3 * rate},
			{NTP: ntp(time.Hour + 7*time.Second), RTP: 8 * rate},
			{NTP: ntp(time.Hour + 10*time.Second), RTP: 11 * rate},
		}, []bool{true, false, false, false, true}},
		{"jumps that contradict one another are no truth", 0, []Report{
			{NTP: ntp(0), RTP: 0},
			{NTP: ntp(time.Hour), RTP: rate},
			{NTP: ntp(2 * time.Hour), RTP: 2 * rate},
			{NTP: ntp(3 * time.Hour), RTP: 3 * rate},
			{NTP: ntp(4 * time.Second), RTP: 4 * rate},
		}, []bool{true, false, false, false, true}},
		{"RTP 0 without packets, as libdatachannel's", 90000, []Report{{NTP: ntp(0), RTP: 0}}, []bool{false}},
		{"RTP 0 that is true", 3000, []Report{{NTP: ntp(0), RTP: 0}, {NTP: ntp(time.Second), RTP: rate}}, []bool{true, true}},
		{"an RTP timestamp that stands still", 0, []Report{
			{NTP: ntp(0), RTP: 7}, {NTP: ntp(time.Second), RTP: 7}, {NTP: ntp(2 * time.Second), RTP: 7}, {NTP: ntp(6 * time.Second), RTP: 7},
		}, []bool{true, false, false, false}},
		{"uptime for a clock", 0, []Report{
			{NTP: 41<<32 | 1<<31, RTP: 0}, {NTP: 42<<32 | 1<<31, RTP: rate}, {NTP: 43<<32 | 1<<31, RTP: 2 * rate},
		}, []bool{true, true, true}},
		{"the era of NTP ends", 0, []Report{
			{NTP: 0xffffffff<<32 | 1<<31, RTP: 0}, {NTP: 1 << 31, RTP: rate}, {NTP: 1<<32 | 1<<31, RTP: 2 * rate},
		}, []bool{true, true, true}},
		{"jitter of 300 ms", 0, []Report{
			{NTP: ntp(0), RTP: 0}, {NTP: ntp(time.Second), RTP: rate * 7 / 10}, {NTP: ntp(2 * time.Second), RTP: 2 * rate},
		}, []bool{true, true, true}},
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

// TestClockJudgesTheRate: R4 a clock that is 2 % wrong is found out, however often
// it reports, and never becomes the truth; 0.02 % are believed, for an hour.
func TestClockJudgesTheRate(t *testing.T) {
	for _, tt := range []struct {
		rate  float64
		every time.Duration
		good  bool
	}{
		{1.02, time.Second, false},
		{0.98, time.Second, false},
		{1.02, 5 * time.Second, false},
		{1.0002, time.Second, true},
		{0.9998, 5 * time.Second, true},
		{1.005, time.Second, true},
	} {
		c := clock{rate: 90000}
		late := 0
		for at := time.Duration(0); at < time.Hour; at += tt.every {
			rtp := uint32(at.Seconds() * 90000 * tt.rate)
			c.saw(rtp)
			ok := c.accept(Report{NTP: 1<<40 + uint64(at.Seconds()*(1<<32)), RTP: rtp})
			if !ok && tt.good {
				t.Fatalf("rate %v: refused after %v", tt.rate, at)
			}
			if ok && at > 15*time.Second {
				late++
			}
		}
		if (late > 0) != tt.good {
			t.Errorf("rate %v each %v: %d accepted", tt.rate, tt.every, late)
		}
	}
}

// TestClockDisprovesReports: R4 GStreamer 1.22's webrtcbin tells of media that go
// twice as fast as its packets. Once that is seen, not even its first reports are
// believed, which were as wrong; a sender that begins to report well is, in time.
func TestClockDisprovesReports(t *testing.T) {
	const rate = 48000
	began := time.Unix(1_700_000_000, 0)
	report := func(at, media time.Duration) Report {
		return Report{NTP: 1<<62 + uint64(at.Seconds()*(1<<32)), RTP: uint32(media.Seconds() * rate), Arrival: began.Add(at)}
	}
	const ms = time.Millisecond
	for _, tt := range []struct {
		name    string
		at      []time.Duration
		media   func(at time.Duration) time.Duration
		trusted int // of how many reports trust is left, the newest of them believed
	}{
		{"as recorded", []time.Duration{983 * ms, 1457 * ms, 7116 * ms, 12369 * ms, 18 * time.Second}, func(at time.Duration) time.Duration { return 2 * at }, 2},
		{"from the first on", []time.Duration{825 * ms, 1384 * ms, 7540 * ms}, func(at time.Duration) time.Duration { return 2 * at }, 1},
		{"at half the pace", []time.Duration{0, 5 * time.Second, 10 * time.Second}, func(at time.Duration) time.Duration { return at / 2 }, 1},
	} {
		c := clock{rate: rate}
		for i, at := range tt.at {
			c.saw(uint32(at.Seconds() * rate))
			if got := c.accept(report(at, tt.media(at))); got != (i < tt.trusted) {
				t.Errorf("%s: report %d: accepted %v", tt.name, i, got)
			}
			if _, ok := c.believed(); ok != (i < tt.trusted) {
				t.Errorf("%s: after report %d one is believed: %v", tt.name, i, ok)
			}
		}
		if c.trusted.count != 0 {
			t.Errorf("%s: %d reports are still believed", tt.name, c.trusted.count)
		}
		proven := 0
		for at := 60 * time.Second; at <= 75*time.Second; at += 5 * time.Second {
			c.saw(uint32(at.Seconds() * rate))
			if c.accept(report(at, at)) {
				proven++
			}
		}
		if proven == 0 || c.trusted.count == 0 {
			t.Errorf("%s: good reports are not believed", tt.name)
		}
	}
	// What was judged for a while outlasts some odd reports.
	c := clock{rate: rate}
	for i := range 8 {
		at := time.Duration(i+1) * time.Second
		c.saw(uint32(at.Seconds() * rate))
		c.accept(report(at, at))
	}
	for i := range 3 {
		at := time.Duration(9+i) * time.Second
		if c.accept(report(at, 2*at)) || c.trusted.count != 8 {
			t.Errorf("odd report %d: %d reports are believed, want 8", i, c.trusted.count)
		}
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

// TestCaptureTime: R6 what lies near a capture time is interpolated, up to five
// seconds away; another capture system begins anew; what contradicts is not believed.
func TestCaptureTime(t *testing.T) {
	const rate, second = 90000, uint64(1) << 32
	s := &Source{clock: clock{rate: rate}, taken: clock{rate: rate}}
	at := func(rtp uint32) time.Duration {
		t.Helper()
		d, ok := s.CaptureTime(rtp)
		if !ok {
			return -1
		}
		return d
	}
	if d := at(0); d != -1 {
		t.Errorf("before any: %v", d)
	}
	s.seen(1, 10*rate)
	s.captured(Report{NTP: 1000 * second, RTP: 10 * rate}, 7)
	for _, tt := range []struct {
		rtp  uint32
		want time.Duration
	}{
		{10 * rate, 1000 * time.Second},
		{10*rate + rate/2, 1000*time.Second + 500*time.Millisecond},
		{9 * rate, 999 * time.Second},
		{15 * rate, 1005 * time.Second},
		{15*rate + 1, -1},
		{5*rate - 1, -1},
	} {
		if d := at(tt.rtp); d != tt.want {
			t.Errorf("at %d: %v, want %v", tt.rtp, d, tt.want)
		}
	}
	s.seen(2, 11*rate)
	s.captured(Report{NTP: 5000 * second, RTP: 11 * rate}, 7) // no clock jumps like that
	if d := at(11 * rate); d != 1001*time.Second {
		t.Errorf("after one that contradicts: %v", d)
	}
	s.captured(Report{NTP: 5000 * second, RTP: 11 * rate}, 8) // but another camera's may
	if d := at(12 * rate); d != 5001*time.Second {
		t.Errorf("of another capture system: %v", d)
	}
	if _, ok := s.Report(); ok {
		t.Error("a capture time counts as a sender report")
	}
}
