package doctor

import (
	"time"

	"github.com/whipcast/whipcast/packager/au"
)

const (
	answerIn    = 1500 * time.Millisecond // a key frame that was asked for
	answerKnown = answerIn + time.Second  // when it must have been assembled
	enough      = 3                       // answers, or misses, in a row

	longest = 10 * time.Second // key frame interval that HLS can bear (specs R35)
)

// keyframes measures the distance of key frames and whether requests are heeded.
type keyframes struct {
	known bool  // there was one
	at    int64 // the last one
	dts   int64 // of the newest unit
	torn  bool  // something was lost since: it may have been a key frame

	intervals [4]int64
	count     int // of intervals so far

	pending time.Time // a request without answer
	trouble uint64    // of the link when it was asked
	misses  int       // in a row
	answers int       // in a row
}

func (k *keyframes) unit(u *au.Unit) {
	if u.Restart {
		k.known = false
	}
	k.torn = k.torn || u.Gap
	k.dts = u.DTS
	if !u.Key {
		return
	}
	if k.known && !k.torn {
		k.intervals[k.count%len(k.intervals)] = u.DTS - k.at
		k.count++
	}
	k.known, k.torn, k.at = true, false, u.DTS
	if wait := u.Arrival.Sub(k.pending); !k.pending.IsZero() && wait >= 0 {
		if wait <= answerIn {
			k.heeded()
		} else {
			k.missed()
		}
	}
}

func (k *keyframes) ask(at time.Time, trouble uint64) {
	if k.pending.IsZero() {
		k.pending, k.trouble = at, trouble
	}
}

func (k *keyframes) heeded() { k.pending, k.answers, k.misses = time.Time{}, k.answers+1, 0 }
func (k *keyframes) missed() { k.pending, k.misses, k.answers = time.Time{}, k.misses+1, 0 }

// overdue gives up a request. It counts only if the answer cannot have been lost.
func (k *keyframes) overdue(now time.Time, trouble uint64) {
	if k.pending.IsZero() || now.Sub(k.pending) <= answerKnown {
		return
	}
	if trouble != k.trouble {
		k.pending = time.Time{}
		return
	}
	k.missed()
}

func (e *Examiner) examineKeyframes(w window) {
	k := &e.keys
	k.overdue(e.now, e.link.trouble())
	o := opinion{severity: Note, value: float64(k.misses)}
	if e.cfg.OnRequest {
		o.severity, o.variant = Warning, promised
	}
	switch {
	case k.misses >= enough:
		o.verdict = present
	case k.answers >= enough:
		o.verdict = absent
	}
	e.judge(ignoresPLI, o)
	e.judge(keyframeInterval, e.interval())

	if e.link.first.IsZero() {
		return
	}
	waited := e.now.Sub(later(later(e.link.first, e.link.made), e.link.rested))
	o = long(waited, Problem)
	o.verdict = absent
	refresh := o
	switch {
	case waited <= look:
	case waited <= unstarted:
		o.verdict, refresh.verdict = unclear, unclear
	case e.link.stats.IntraRefresh():
		refresh.verdict = present
	case w.counts.discarded > 0:
		o.verdict = present
	default:
		o.verdict = unclear
	}
	e.judge(intraRefresh, refresh)
	e.judge(noKeyframe, o)
}

// interval judges the distance of key frames. Who sends them when asked leaves
// that to us.
func (e *Examiner) interval() opinion {
	k := &e.keys
	if e.cfg.OnRequest && !e.signs[ignoresPLI].up {
		return opinion{verdict: absent}
	}
	limit := ticks(e.cfg.KeyframeInterval*11/10, e.cfg.ClockRate)
	open := k.dts - k.at
	if !k.known || k.torn {
		open = 0
	}
	worst, long := open, 0
	known := min(k.count, len(k.intervals))
	for _, interval := range k.intervals[:known] {
		if interval > limit {
			long++
		}
		worst = max(worst, interval)
	}
	o := opinion{severity: Warning, value: float64(worst) / float64(e.cfg.ClockRate)}
	if o.value > longest.Seconds() {
		o.severity = Problem
	}
	switch {
	case long >= 2, open > 2*limit:
		o.verdict = present
	case known >= 2 && worst <= limit:
		o.verdict = absent
	}
	return o
}

// ticks converts a duration to units of a clock.
func ticks(d time.Duration, rate int64) int64 { return int64(d.Seconds() * float64(rate)) }
