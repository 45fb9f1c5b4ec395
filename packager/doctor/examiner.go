package doctor

import (
	"slices"
	"time"

	"github.com/whipcast/whipcast/packager/au"
)

// look is how often the evidence is looked at.
const look = time.Second

// Examiner looks after one Layer. One goroutine uses it. No method but Findings
// allocates.
type Examiner struct {
	cfg     Config
	version uint64
	signs   [symptoms]sign

	now    time.Time     // of the last look
	span   time.Duration // between the last two looks
	second tally         // since the last look
	recent recent        // the last ten

	share float64 // of the allowed bit rate, in percent; 0: not known

	link    link
	keys    keyframes
	pace    pace
	picture picture
	sound   sound
}

// New returns an Examiner for a Layer whose publisher is there since now.
func New(cfg Config, now time.Time) *Examiner {
	e := &Examiner{cfg: cfg.withDefaults(), now: now, signs: newSigns(), link: link{begun: now}}
	e.pace.rate = e.cfg.ClockRate
	e.sound.rate, e.sound.opus = e.cfg.ClockRate, e.cfg.Codec == opus
	return e
}

// Unit takes an access unit, in the order in which they are assembled. It keeps
// u.Params, which is immutable, and nothing else.
func (e *Examiner) Unit(u *au.Unit) {
	e.link.unit(u.Arrival)
	e.second.units++
	e.second.bytes += len(u.Data)
	e.pace.unit(u, &e.second)
	if e.cfg.audio() {
		e.sound.unit(u, &e.second)
		return
	}
	e.keys.unit(u)
	e.picture.unit(u, &e.second)
}

// Count takes the totals of the Layer's Assembler at an instant.
func (e *Examiner) Count(at time.Time, s au.Stats) { e.link.count(at, s, &e.second) }

// Asked notes that a key frame was requested from the publisher.
func (e *Examiner) Asked(at time.Time) {
	if e.link.alive(at) {
		e.keys.ask(at, e.link.trouble())
	}
}

// SenderReport notes the arrival of a sender report that is believed (specs R4).
func (e *Examiner) SenderReport(at time.Time) { e.link.report = at }

// Level takes how loud decoded audio was since the last call: its peak in dBFS, 0
// being full scale. Without it only what is coded as digital silence, or not sent
// at all, counts as silence.
func (e *Examiner) Level(peak float64) { e.second.hear(peak) }

// Share takes how much of the bit rate that it may its publisher sends, with all its
// Layers, in percent. Only one Examiner of a publisher should be told.
func (e *Examiner) Share(percent float64) { e.share = percent }

// Advance moves time on. Others is when the newest packet of any other Layer of
// the same publisher came; zero if there was none. Call it a few times a second,
// also while nothing comes.
func (e *Examiner) Advance(now, others time.Time) {
	span := now.Sub(e.now)
	if span < look {
		return
	}
	e.now, e.span = now, span
	e.second.span = span
	if !e.lives(others) {
		e.rest()
		return
	}
	e.recent.push(e.second)
	last := e.second
	e.second = tally{}
	w := e.recent.sum()
	e.examineLink(w)
	e.examineShare()
	e.examinePace(w)
	if e.cfg.audio() {
		e.examineSound(last, w)
		return
	}
	e.examineKeyframes(w)
	e.examinePicture(last, w)
}

// examineShare warns before a publisher is cut off.
func (e *Examiner) examineShare() {
	severity := Warning
	if e.share >= 100 {
		severity = Problem
	}
	e.judge(bitrateLimit, opine(e.share, 75, 85, severity))
}

// rest forgets the evidence of the last seconds while nothing comes: what comes
// later must not be compared with it. Findings stay.
func (e *Examiner) rest() {
	e.second = tally{}
	e.recent = recent{}
	e.pace.forget()
	e.link.rested = e.now
	e.keys.pending, e.keys.torn = time.Time{}, true
	e.picture.frozen = 0
}

// judge gives an opinion to a sign.
func (e *Examiner) judge(s symptom, o opinion) {
	if e.signs[s].judge(e.now, e.span, o) {
		e.version++
	}
}

// Version rises when a finding is raised, gets worse or is cleared.
func (e *Examiner) Version() uint64 { return e.version }

// Findings returns what is wrong at present, the worst first. The list belongs to
// the caller.
func (e *Examiner) Findings() []Finding {
	var all []Finding
	texts := texts()
	for i := range e.signs {
		if s := &e.signs[i]; s.up {
			all = append(all, texts[i].finding(s))
		}
	}
	slices.SortStableFunc(all, func(a, b Finding) int { return int(b.Severity) - int(a.Severity) })
	return all
}

// tally is what happened between two looks.
type tally struct {
	span   time.Duration
	units  int
	bytes  int
	counts counts

	intervals int   // between pictures, where nothing was lost between them
	ticks     int64 // their sum
	long      int   // of them, nearly twice as long as usual

	inter     int // pictures that are no key frames
	still     int // of them, those without change
	reordered int // shown before one that was decoded earlier

	mono, stereo int     // packets with sound
	pauses       int     // times that the sender left audio out
	left         int64   // how much, in ticks
	heard        bool    // level is known
	level        float64 // the peak
}

// counts are differences of au.Stats.
type counts struct{ packets, lost, late, malformed, disordered, discarded uint64 }

func (t *tally) hear(peak float64) {
	if !t.heard || peak > t.level {
		t.heard, t.level = true, peak
	}
}

// recent are the last ten tallies.
type recent struct {
	ring [10]tally
	next int
}

func (r *recent) push(t tally) {
	r.ring[r.next] = t
	r.next = (r.next + 1) % len(r.ring)
}

// window is the sum of the last ten tallies. Where things must not be judged by
// one burst, it says in how many of them they happened.
type window struct {
	tally
	lossy, delayed, malformed, disordered, reordered int
}

func (r *recent) sum() window {
	var w window
	for i := range r.ring {
		t := &r.ring[i]
		w.span += t.span
		w.units += t.units
		w.intervals += t.intervals
		w.ticks += t.ticks
		w.long += t.long
		w.mono += t.mono
		w.stereo += t.stereo
		w.pauses += t.pauses
		w.left += t.left
		w.counts.add(t.counts)
		w.lossy += some(t.counts.lost)
		w.delayed += some(t.counts.late)
		w.malformed += some(t.counts.malformed)
		w.disordered += some(t.counts.disordered)
		w.reordered += some(uint64(t.reordered)) //nolint:gosec // a count
	}
	return w
}

func (c *counts) add(o counts) {
	c.packets += o.packets
	c.lost += o.lost
	c.late += o.late
	c.malformed += o.malformed
	c.disordered += o.disordered
	c.discarded += o.discarded
}

// some is 1 if there were any.
func some(n uint64) int { return int(min(n, 1)) } //nolint:gosec // at most 1
