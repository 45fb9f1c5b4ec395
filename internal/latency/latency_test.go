package latency_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/latency"
)

func TestHistogram(t *testing.T) {
	h := latency.NewHistogram(1, 2, 4)
	for _, v := range []float64{0, 1, 1.5, 2, 3, 9} {
		h.Observe(v)
	}
	s := h.Snapshot()
	for i, want := range []uint64{2, 2, 1, 1} {
		if s.Counts[i] != want {
			t.Errorf("bucket %d has %d, want %d", i, s.Counts[i], want)
		}
	}
	if s.Count() != 6 || s.Sum != 16.5 {
		t.Errorf("count %d, sum %v", s.Count(), s.Sum)
	}
	for share, want := range map[float64]float64{0: 0, 1. / 6: 0.5, 0.5: 1.5, 5. / 6: 4, 1: 4} {
		if got, ok := s.Quantile(share); !ok || math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v is %v, want %v", share, got, want)
		}
	}
	if _, ok := latency.NewHistogram(1).Snapshot().Quantile(0.5); ok {
		t.Error("a quantile of nothing")
	}
}

func TestBookSumsAndForgets(t *testing.T) {
	b := latency.NewBook()
	now := time.Now()
	one, closeOne := b.Open("one")
	two, _ := b.Open("two")
	one.Observe(latency.Fetch, 100*time.Millisecond, now)
	two.Observe(latency.Fetch, -time.Second, now) // clocks never go back, but who knows
	two.Observe(latency.Player, time.Hour, now)
	if n := b.Total(latency.Fetch).Count(); n != 2 {
		t.Errorf("all streams have %d observations", n)
	}
	if s := b.Total(latency.Player).Sum; s != latency.Longest.Seconds() {
		t.Errorf("an hour counts as %v s", s)
	}
	if n := one.Recent(latency.Fetch, now).Count(); n != 1 {
		t.Errorf("one stream has %d observations", n)
	}
	if p50, ok := one.Recent(latency.Fetch, now).Quantile(0.5); !ok || p50 < 0.05 || p50 > 0.1 {
		t.Errorf("p50 is %v", p50)
	}
	if one.Recent(latency.Fetch, now.Add(time.Minute)).Count() != 1 {
		t.Error("forgotten after a minute")
	}
	if one.Recent(latency.Fetch, now.Add(3*time.Minute)).Count() != 0 {
		t.Error("remembered after three minutes")
	}
	one.Observe(latency.Fetch, time.Second, now.Add(2*time.Minute))
	if n := one.Recent(latency.Fetch, now.Add(2*time.Minute)).Count(); n != 1 {
		t.Errorf("two minutes later there are %d", n)
	}
	again, _ := b.Open("one") // the name again, before the old one ends
	closeOne()
	if b.Find("one") != again || b.Find("two") != two || b.Find("three") != nil {
		t.Error("wrong streams are known")
	}
}

func TestReportsAreClamped(t *testing.T) {
	b := latency.NewBook()
	s, end := b.Open("show")
	defer end()
	s.Report(latency.Report{Latency: -1, Buffer: -1, Stalls: -5}, time.Now())
	s.Report(latency.Report{Origin: latency.CMCD, Latency: time.Hour, Buffer: time.Hour, Stalls: 1 << 40, Bitrate: math.MaxInt64}, time.Now())
	if b.Reports(latency.Beacon) != 1 || b.Reports(latency.CMCD) != 1 || b.Stalls() != 100 {
		t.Errorf("reports %d and %d, stalls %d", b.Reports(latency.Beacon), b.Reports(latency.CMCD), b.Stalls())
	}
	if l := b.Total(latency.Player); l.Count() != 1 || l.Sum != 120 {
		t.Errorf("latency: %d of %v s", l.Count(), l.Sum)
	}
	if l := b.Buffer(); l.Count() != 1 || l.Sum != 120 {
		t.Errorf("buffer: %d of %v s", l.Count(), l.Sum)
	}
	if l := b.Bitrate(); l.Count() != 1 || l.Sum != 125e6 {
		t.Errorf("bit rate: %d of %v", l.Count(), l.Sum)
	}
}

// Where nobody keeps figures, nothing happens.
func TestNil(*testing.T) {
	var b *latency.Book
	s, end := b.Open("show")
	s.Observe(latency.Fetch, 1, time.Now())
	s.Report(latency.Report{}, time.Now())
	_, _ = s.Recent(latency.Fetch, time.Now()).Quantile(1)
	_ = b.Find("show")
	end()
}

func TestObservingAllocatesNothing(t *testing.T) {
	b := latency.NewBook()
	s, end := b.Open("show")
	defer end()
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		b.Find("show").Observe(latency.Fetch, time.Second, now)
		s.Report(latency.Report{Latency: time.Second, Stalls: 1, Buffer: time.Second, Bitrate: 1}, now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestManyAtOnce(t *testing.T) {
	b := latency.NewBook()
	s, end := b.Open("show")
	defer end()
	var all sync.WaitGroup
	now := time.Now()
	for range 4 {
		all.Go(func() {
			for i := range 1000 {
				s.Observe(latency.Fetch, time.Second, now.Add(time.Duration(i)*time.Second))
				_ = s.Recent(latency.Fetch, now)
				_ = b.Total(latency.Fetch)
			}
		})
	}
	all.Wait()
	if l := b.Total(latency.Fetch); l.Count() != 4000 || l.Sum != 4000 {
		t.Errorf("%d observations of %v s", l.Count(), l.Sum)
	}
}

// A publisher's clock is only compared with ours while what comes out can be true.
func TestSender(t *testing.T) {
	start := time.Now()
	for name, tt := range map[string]struct {
		delays []time.Duration // one a second
		want   []bool
	}{
		"synchronised":          {[]time.Duration{60e6, 40e6, 50e6, 900e6}, []bool{false, false, true, true}},
		"a little ahead":        {[]time.Duration{-10e6, 5e6, 5e6, -10e6}, []bool{false, false, true, true}},
		"ahead":                 {[]time.Duration{-300e6, -300e6, -300e6, 100e6}, []bool{false, false, false, false}},
		"behind":                {[]time.Duration{9e9, 9e9, 9e9, 9e9}, []bool{false, false, false, false}},
		"counts from its start": {[]time.Duration{3e18, 3e18, 3e18, 3e18}, []bool{false, false, false, false}},
		"a congested beginning": {[]time.Duration{3e9, 3e9, 3e9, 50e6}, []bool{false, false, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			var c latency.Sender
			for i, d := range tt.delays {
				got, ok := c.Judge(d, start.Add(time.Duration(i)*time.Second))
				if ok != tt.want[i] || ok && got != max(d, 0) {
					t.Errorf("second %d: %v, %v", i, got, ok)
				}
			}
		})
	}
}

// A clock that is set right is believed once the wrong times are forgotten.
func TestSenderIsForgiven(t *testing.T) {
	var c latency.Sender
	start := time.Now()
	since := -1
	for i := range 120 {
		d := 50 * time.Millisecond
		if i < 10 {
			d = -time.Second
		}
		if _, ok := c.Judge(d, start.Add(time.Duration(i)*time.Second)); ok && since < 0 {
			since = i
		}
	}
	if since < 30 || since > 70 {
		t.Errorf("believed after %d s", since)
	}
}

func TestSince1900(t *testing.T) {
	for at, want := range map[time.Time]time.Duration{
		time.Unix(0, 250e6):                           2_208_988_800*time.Second + 250*time.Millisecond,
		time.Date(2036, 2, 7, 6, 28, 17, 0, time.UTC): time.Second, // the era ends (RFC 5905 §6)
	} {
		if got := latency.Since1900(at); got != want {
			t.Errorf("%v is %v, want %v", at, got, want)
		}
	}
}
