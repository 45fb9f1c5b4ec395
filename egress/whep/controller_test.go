package whep

import (
	"slices"
	"testing"
	"time"
)

// line plays one second of feedback for a controller: ten groups.
type line struct {
	*controller
	t       *testing.T
	now     time.Time
	clock   time.Duration
	rates   []rate
	current int
}

func newLine(t *testing.T) *line {
	t.Helper()
	l := &line{
		controller: &controller{}, t: t, now: time.Now(), clock: time.Hour,
		rates: []rate{{2_000_000, true, true}, {600_000, true, true}, {200_000, true, true}},
	}
	l.run(5*time.Second, 0, func(int) group { return l.group(2_000_000, 0, 0) })
	return l
}

// group is a feedback of a tenth of a second in which so many bits a second came.
func (l *line) group(bitrate int, queue time.Duration, lost int) group {
	g := group{came: 20, lost: lost, bytes: bitrate / 80, way: queue, first: l.clock, last: l.clock + 95*time.Millisecond}
	return g
}

// run gives a feedback each 100 ms, and lets the controller decide.
func (l *line) run(d time.Duration, current int, each func(i int) group) {
	for i := range int(d / (100 * time.Millisecond)) {
		l.current = current
		l.step(l.rates, current, false, l.now, l.now)
		l.now = l.now.Add(100 * time.Millisecond)
		l.clock += 100 * time.Millisecond
		l.feedback(each(i), l.now)
	}
	l.step(l.rates, current, false, l.now, l.now)
}

func (l *line) want(ceiling int, what string) {
	l.t.Helper()
	if l.ceiling != ceiling {
		l.t.Errorf("%s: layer %d, want %d", what, l.ceiling, ceiling)
	}
}

func TestControllerGoesDown(t *testing.T) {
	grow := func(from, by time.Duration) func(int) time.Duration {
		return func(i int) time.Duration { return from + time.Duration(i)*by }
	}
	const ms = time.Millisecond
	for _, tt := range []struct {
		name  string
		rate  int // that comes
		queue func(int) time.Duration
		lost  int
		after time.Duration
		want  int
	}{
		{"a link of 800 kb/s, the queue grows", 800_000, grow(100*ms, 150*ms), 0, 400 * ms, 1},
		{"a link of 400 kb/s, the queue grows", 400_000, grow(100*ms, 200*ms), 0, 400 * ms, 2},
		{"and of 50 kb/s", 50_000, grow(100*ms, 200*ms), 0, 400 * ms, 2},
		{"the queue is full and overflows", 800_000, grow(60*ms, 0), 20, 700 * ms, 1},
		{"nothing waits, but much is lost", 800_000, grow(0, 0), 40, 500 * ms, 1},
		{"the way got longer, all comes", 2_000_000, grow(80*ms, 0), 0, 8 * time.Second, 0},
		{"a keyframe that the link digests", 3_000_000, grow(250*ms, -20*ms), 0, time.Second, 0},
		{"a tenth is lost by chance", 1_950_000, grow(0, 0), 2, 20 * time.Second, 0},
		{"a queue of half a second that stays", 1_990_000, grow(500*ms, ms), 0, 3 * time.Second, 1},
	} {
		l := newLine(t)
		l.run(tt.after, 0, func(i int) group { return l.group(tt.rate, tt.queue(i), tt.lost) })
		l.t = t
		l.want(tt.want, tt.name)
	}
}

// TestControllerProbes: up only after a probe was held; a probe that fails makes
// the next one wait twice as long.
func TestControllerProbes(t *testing.T) {
	l := newLine(t)
	const ms = time.Millisecond
	l.run(500*ms, 0, func(i int) group { return l.group(400_000, 100*ms+time.Duration(i)*200*ms, 0) })
	l.want(2, "a slow link")
	calm := func(int) group { return l.group(200_000, 0, 0) }
	l.run(time.Second, 2, calm)
	find := func(found, probed int) {
		t.Helper()
		for i := 0; !l.scouting; i++ {
			if i == 1000 {
				t.Fatal("no scout")
			}
			l.run(100*ms, 2, calm)
		}
		for range 2 { // a second one must agree
			l.scouting = false
			l.run(200*ms, 2, func(i int) group {
				g := l.group(200_000, 0, 0)
				if i == 0 {
					g.scouted = found
				}
				return g
			})
		}
		if l.probe.on != (probed > 0) || l.probe.on && l.probe.bitrate != probed {
			t.Errorf("a scout found %d: probe %+v, want one of %d", found, l.probe, probed)
		}
	}
	find(500_000, 0)
	find(900_000, 660_000)
	from := l.now
	l.run(300*ms, 2, func(i int) group { return l.group(300_000, 100*ms+time.Duration(i)*100*ms, 0) })
	if l.probe.on {
		t.Error("a probe goes on that the link does not carry")
	}
	l.want(2, "after a probe that failed")
	for i, least := range []time.Duration{firstPause, 2 * firstPause, 4 * firstPause} {
		find(900_000, 660_000)
		if waited := l.now.Sub(from); waited < least {
			t.Errorf("probe %d after %v, want %v at least", i+2, waited, least)
		}
		from = l.now
		l.run(300*ms, 2, func(i int) group { return l.group(300_000, 100*ms+time.Duration(i)*100*ms, 0) })
	}
	find(900_000, 660_000)
	l.run(900*ms, 2, func(int) group { return l.group(660_000, 0, 0) })
	l.want(2, "before the probe was held for a second")
	l.run(500*ms, 2, func(int) group { return l.group(660_000, 0, 0) })
	l.want(1, "a probe that was held")
	l.run(15*time.Second, 1, func(int) group { return l.group(600_000, 0, 0) })
	if l.pause != 0 {
		t.Errorf("a pause of %v although the layer was carried for long", l.pause)
	}
}

// TestControllerOfReports: without times receiver reports and REMB decide.
func TestControllerOfReports(t *testing.T) {
	l := &line{controller: &controller{}, t: t, now: time.Now(), rates: []rate{{2_000_000, true, true}, {600_000, true, true}, {200_000, true, true}}}
	second := func(lost int) {
		l.step(l.rates, l.ceiling, false, l.now, l.now)
		l.now = l.now.Add(time.Second)
		l.report(200, lost, l.now)
		l.step(l.rates, l.ceiling, false, l.now, l.now)
	}
	for range 5 {
		second(10)
	}
	l.want(0, "five percent are lost")
	second(140)
	l.want(1, "most is lost")
	second(140)
	l.want(2, "and of the next layer, too")
	for range 12 {
		second(0)
	}
	if l.probes == 0 || l.ceiling > 1 {
		t.Errorf("nothing is lost any more: layer %d after %d probes", l.ceiling, l.probes)
	}
	l.receiverEstimate(100_000, l.now)
	l.step(l.rates, l.ceiling, false, l.now, l.now)
	l.want(2, "the receiver says so")
}

func TestControllerWithoutFeedback(t *testing.T) {
	l := &line{controller: &controller{}, t: t, now: time.Now(), rates: []rate{{2_000_000, true, true}, {600_000, true, true}}}
	for range 100 {
		l.step(l.rates, 0, false, l.now, l.now)
		l.now = l.now.Add(100 * time.Millisecond)
	}
	l.want(0, "nobody tells anything")
	l = newLine(t)
	for range 20 { // packets go out, feedback has ended
		l.now = l.now.Add(100 * time.Millisecond)
		l.step(l.rates, 0, false, l.now, l.now)
	}
	l.want(2, "the feedback has ended")
}

// TestControllerChokes: nothing more is to be sent of a Layer that does not get
// through, until the queue has drained; one that nearly does goes on.
func TestControllerChokes(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		rate   int
		choked bool
	}{{400_000, true}, {1_400_000, true}, {1_700_000, false}} {
		l := newLine(t)
		l.run(500*ms, 0, func(i int) group { return l.group(tt.rate, 100*ms+time.Duration(i)*50*ms, 0) })
		if l.ceiling == 0 || l.choked != tt.choked {
			t.Errorf("%d kb/s of 2000 come: layer %d, choked %v", tt.rate/1000, l.ceiling, l.choked)
		}
		if l.choked && (l.drain < 200*ms || l.drain > longDrain) {
			t.Errorf("%d kb/s of 2000 come: a queue of %v", tt.rate/1000, l.drain)
		}
		l.run(100*ms, l.ceiling, func(int) group { return l.group(tt.rate, 0, 0) })
		if l.choked {
			t.Errorf("%d kb/s: choked with the next layer, too", tt.rate/1000)
		}
	}
}

// TestControllerOfSlowerLink: a link that was busy, and then becomes slower, is not taken
// for what came on average.
func TestControllerOfSlowerLink(t *testing.T) {
	const ms = time.Millisecond
	for _, before := range []int{1, 2, 3} { // feedbacks that tell of the faster link
		l := newLine(t)
		l.run(time.Duration(before)*100*ms, 0, func(int) group { return l.group(3_000_000, 60*ms, 0) })
		l.run(300*ms, 0, func(i int) group {
			return l.group([]int{1_400_000, 600_000, 600_000}[i], 100*ms+time.Duration(i)*50*ms, 0)
		})
		l.want(2, "600 kb/s")
		if !l.choked {
			t.Errorf("%d busy feedbacks before: not choked", before)
		}
	}
}

// TestRepeatsAreSentTwice: what is asked for again and again where packets get lost by
// chance comes in several copies, and nowhere else.
func TestRepeatsAreSentTwice(t *testing.T) {
	now := time.Now()
	copies := func(p *pilot) (all []int) {
		for nth := 1; nth <= 4; nth++ {
			all = append(all, p.again(&outgoing{sequence: 1, payload: make([]byte, 1000)}, nth, now))
		}
		return all
	}
	picture := []outgoing{{sequence: 1, payload: make([]byte, 1000)}, {sequence: 2, payload: make([]byte, 1000)}}
	calm, lossy := &pilot{numbered: true}, &pilot{numbered: true}
	lossy.controller.lossy = now.Add(-time.Second)
	calm.controller.capacity, lossy.controller.capacity = 600_000, 600_000
	if got := copies(calm); !slices.Equal(got, []int{1, 1, 1, 1}) {
		t.Errorf("without loss: %v copies", got)
	}
	if got := copies(lossy); !slices.Equal(got, []int{1, 2, 3, 3}) {
		t.Errorf("with loss: %v copies", got)
	}
	if calm.insured(picture, now) || !lossy.insured(picture, now) {
		t.Error("a picture goes out twice where something gets lost")
	}
	if lossy.controller.capacity = 100_000; lossy.insured(picture, now) {
		t.Error("a picture that takes a third of a second is sent twice")
	}
	lossy.allowance = 1500
	if got := lossy.again(&outgoing{payload: make([]byte, 1000)}, 3, now); got != 1 {
		t.Errorf("%d copies though there is little left to repeat", got)
	}
}

// TestControllerOfLossyLink: where packets get lost by chance, scouts that agree do
// instead of a probe, the last one a long one.
func TestControllerOfLossyLink(t *testing.T) {
	const ms = time.Millisecond
	l := newLine(t)
	l.run(500*ms, 0, func(i int) group { return l.group(400_000, 100*ms+time.Duration(i)*200*ms, 0) })
	l.want(2, "a slow link")
	l.run(3*time.Second, 2, func(i int) group { return l.group(200_000, 0, i%10/9) })
	var sizes []int
	for i := 0; l.ceiling == 2 && i < 100; i++ {
		found := 0
		if l.scouting {
			sizes, found, l.scouting = append(sizes, l.size()), 900_000, false
		}
		l.run(100*ms, 2, func(int) group {
			g := l.group(200_000, 0, 0)
			g.scouted = found
			return g
		})
		if l.probe.on {
			t.Fatal("a probe")
		}
	}
	l.want(1, "three scouts agree")
	if want := []int{scoutPackets, scoutSecond, scoutLong}; !slices.Equal(sizes, want) {
		t.Errorf("scouts of %v packets, want %v", sizes, want)
	}
}
