package doctor

import (
	"math"
	"slices"
	"time"

	"github.com/whipcast/whipcast/packager/au"
)

const (
	// Lows of the delay are kept for each second, and for each ten seconds.
	shortLows  = 12
	shortLeast = 4
	longLows   = 24
	longLeast  = 12
	longSpan   = 10 * time.Second

	// matters is how far the media's clock must be off to matter (specs R8).
	matters = 0.2 // seconds
	// pause is an interval of pictures that says nothing of the frame rate.
	pause = 3 // seconds
	// rated is how much media it takes to know a frame rate.
	rated = 5 // seconds
	// fluent is the frame rate below which nothing can be said of missing frames.
	fluent = 10
)

// low is the least delay of a while: when its packet came, and how much later
// than its timestamp says. Both are seconds since the first one. The least delay
// is nearly free of jitter.
type low struct{ at, delay float64 }

// lows are a ring of them.
type lows struct {
	ring  [longLows]low
	size  int // of the ring that is used
	count int
	best  low // of the present while
	some  bool
}

func (l *lows) add(at, delay float64) {
	if !l.some || delay < l.best.delay {
		l.best, l.some = low{at, delay}, true
	}
}

// close ends a while.
func (l *lows) close() {
	if !l.some {
		return
	}
	l.some = false
	if l.count == l.size {
		copy(l.ring[:], l.ring[1:l.size])
		l.count--
	}
	l.ring[l.count] = l.best
	l.count++
}

func (l *lows) all() []low { return l.ring[:l.count] }

// pace compares the media's time with ours.
type pace struct {
	rate int64

	known   bool
	arrival time.Time // zero of at
	pts     int64     // zero of the media's time
	dts     int64     // of the last unit
	usual   int64     // interval of pictures
	gapped  bool      // the last interval was long; many in a row are a frame rate
	best    float64   // highest frame rate so far

	short, long lows
	since       time.Duration // the last long while ended
}

// forget begins anew, but for the frame rate.
func (p *pace) forget() {
	p.known = false
	p.short, p.long = lows{size: shortLows}, lows{size: longLows}
	p.since = 0
}

func (p *pace) unit(u *au.Unit, t *tally) {
	if u.Restart || !p.known {
		p.forget()
		p.known, p.arrival, p.pts, p.dts = true, u.Arrival, u.PTS, u.DTS
	}
	at := u.Arrival.Sub(p.arrival).Seconds()
	delay := at - float64(u.PTS-p.pts)/float64(p.rate)
	p.short.add(at, delay)
	p.long.add(at, delay)
	interval := u.DTS - p.dts
	p.dts = u.DTS
	if u.Gap || interval <= 0 || interval > pause*p.rate {
		return
	}
	t.intervals++
	t.ticks += interval
	long := p.usual > 0 && interval*10 >= p.usual*18
	if long && !p.gapped {
		t.long++
	}
	p.gapped = long
}

func (e *Examiner) examinePace(w window) {
	p := &e.pace
	p.short.close()
	slow, fast := speed(p.short.all())
	e.judge(encoderSlow, slow)
	e.judge(tooFast, fast)
	if slow.verdict == present || fast.verdict == present {
		p.long = lows{size: longLows} // this is no drift
	}
	if p.since += e.span; p.since >= longSpan {
		p.since = 0
		p.long.close()
		e.judge(clockDrift, drift(p.long.all()))
	}
	if !e.cfg.audio() {
		e.examineFrames(w)
	}
}

// speed judges how fast the media's time runs: the delay grows if it is slow. A
// step of the delay, as from another way through the network, is no speed: it
// must grow all the time.
func speed(all []low) (slow, fast opinion) {
	if len(all) < shortLeast {
		return slow, fast
	}
	third := len(all) / 3
	least := func(part []low) low {
		return slices.MinFunc(part, func(a, b low) int {
			if a.delay < b.delay {
				return -1
			}
			return 1
		})
	}
	a, b, c := least(all[:third]), least(all[third:len(all)-third]), least(all[len(all)-third:])
	grown := c.delay - a.delay
	slope := grown / max(c.at-a.at, 1)
	slow, fast = opine(slope, 0.01, 0.03, Problem), opine(-slope, 0.01, 0.05, Problem)
	steady := min((b.delay-a.delay)/grown, (c.delay-b.delay)/grown) > 0.2
	if !steady || math.Abs(grown) < matters {
		slow, fast = slow.doubt(), fast.needs(0, 1)
	}
	slow.value, fast.value = 100*(1-slope), 100*(1-slope)
	return slow, fast
}

// drift judges the difference of the clocks. It must be there all the time.
func drift(all []low) opinion {
	if len(all) < longLeast {
		return opinion{}
	}
	half := len(all) / 2
	whole, first, second := slope(all), slope(all[:half]), slope(all[half:])
	ppm := -1e6 * whole
	o := opine(math.Abs(ppm), 60, 100, Note)
	if math.Abs(ppm) >= 1000 { // 200 ms in less than 4 minutes (specs R8)
		o.severity = Warning
	}
	o.value = ppm
	if min(first/whole, second/whole) < 0.5 {
		o = o.doubt()
	}
	return o
}

// slope returns the median of the slopes between all pairs (Theil and Sen): a few
// bad points do not matter to it.
func slope(all []low) float64 {
	var slopes [longLows * (longLows - 1) / 2]float64
	n := 0
	for i := range all {
		for j := range i {
			if d := all[i].at - all[j].at; d > 0 {
				slopes[n] = (all[i].delay - all[j].delay) / d
				n++
			}
		}
	}
	if n == 0 {
		return 0
	}
	slices.Sort(slopes[:n])
	return slopes[n/2]
}

// examineFrames judges the frame rate by the pictures' own times.
func (e *Examiner) examineFrames(w window) {
	p := &e.pace
	if w.intervals == 0 {
		return
	}
	seconds := float64(w.ticks) / float64(p.rate)
	rate := float64(w.intervals) / seconds
	p.usual = w.ticks / int64(w.intervals)
	if seconds < rated {
		return
	}
	p.best = max(p.best, rate)

	o := opine(-rate/p.best, -0.9, -0.75, Warning).needs(int(p.best), fluent)
	o.value = rate
	if e.cfg.OnRequest { // browsers send fewer pictures of a screen that rests
		o.severity, o.variant = Note, promised
	}
	e.judge(frameRate, o)

	if e.cfg.OnRequest || e.signs[frameRate].up {
		return // then it is normal, or said already
	}
	share := 100 * float64(w.long) / float64(w.intervals)
	e.judge(unevenFrames, opine(share, 2, 5, Warning).needs(int(rate), fluent))
}
