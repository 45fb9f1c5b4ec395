package doctor

import (
	"time"

	"github.com/whipcast/whipcast/packager/au"
)

const (
	quietAfter = 3 * time.Second // without a packet
	lateComer  = 5 * time.Second // for a Layer that never sent one (specs R43)
	livesAfter = 2 * time.Second // how old another Layer's newest packet may be

	unstarted     = 10 * time.Second // without a unit (specs R21)
	firstReport   = 10 * time.Second // RFC 3550 §6.2 allows 5 s and more
	reportsCeased = 20 * time.Second
)

// link is what is known of the packets themselves.
type link struct {
	begun  time.Time // the publisher came
	first  time.Time // packet
	last   time.Time // packet
	made   time.Time // the last unit came out
	report time.Time // the last sender report
	rested time.Time // until then nothing came; what is awaited counts from here
	stats  au.Stats
}

func (l *link) unit(arrival time.Time) {
	l.packet(arrival)
	l.made = arrival
}

func (l *link) packet(at time.Time) {
	if l.first.IsZero() {
		l.first = at
	}
	if at.After(l.last) {
		l.last = at
	}
}

// count adds what is new in the totals to t.
func (l *link) count(at time.Time, s au.Stats, t *tally) {
	if s.Packets > l.stats.Packets {
		l.packet(at)
	}
	since := func(now, before uint64) uint64 { return max(now, before) - before }
	t.counts.add(counts{
		packets:    since(s.Packets, l.stats.Packets),
		lost:       since(s.Lost, l.stats.Lost),
		late:       since(s.Late, l.stats.Late),
		malformed:  since(s.BadPayloads+s.BadParams, l.stats.BadPayloads+l.stats.BadParams),
		disordered: since(s.Disordered, l.stats.Disordered),
		discarded:  since(s.Discarded, l.stats.Discarded),
	})
	l.stats = s
}

// alive reports whether there were packets lately.
func (l *link) alive(now time.Time) bool { return !l.first.IsZero() && now.Sub(l.last) <= quietAfter }

// trouble rises when a key frame may have been lost.
func (l *link) trouble() uint64 { return l.stats.Lost + l.stats.Damaged }

// lives judges whether anything comes at all.
func (e *Examiner) lives(others time.Time) bool {
	l := &e.link
	quiet, patience, how := e.now.Sub(l.last), quietAfter, stopped
	if l.first.IsZero() {
		quiet, patience, how = e.now.Sub(l.begun), lateComer, never
	}
	o := long(quiet, Problem)
	o.verdict, o.variant = absent, how
	alone, all := o, o
	if quiet > patience {
		if !others.IsZero() && e.now.Sub(others) < livesAfter {
			alone.verdict = present
		} else {
			all.verdict = present
		}
	}
	if e.cfg.Simulcast {
		alone.severity, alone.variant = Warning, layered
	}
	e.judge(layerDead, alone)
	e.judge(noPackets, all)
	return quiet <= patience
}

// examineLink judges what the network did.
func (e *Examiner) examineLink(w window) {
	lost := w.counts.lost - min(w.counts.late, w.counts.lost)
	share := percent(lost, w.counts.packets+lost)
	o := opine(share, 0.05, 0.2, Warning)
	if share >= 2 {
		o.severity = Problem
	}
	e.judge(packetLoss, o.needs(int(lost), enough).needs(w.lossy, enough))

	o = opine(percent(w.counts.late, w.counts.packets), 0.05, 0.2, Warning)
	e.judge(latePackets, o.needs(int(w.counts.late), enough).needs(w.delayed, enough))

	o = opine(percent(w.counts.malformed, w.counts.packets), 0, 0.05, Problem)
	e.judge(malformedPackets, o.needs(int(w.counts.malformed), enough).needs(w.malformed, 2))

	e.examineReports()
}

func (e *Examiner) examineReports() {
	l := &e.link
	since, patience, how := l.first, firstReport, never
	if !l.report.IsZero() {
		since, patience, how = l.report, reportsCeased, stopped
	}
	age := e.now.Sub(later(since, l.rested))
	o := long(age, Warning)
	o.verdict, o.variant = absent, how
	if e.cfg.Simulcast { // OBS reports one Layer for all (specs R5)
		o.severity = Note
	}
	switch {
	case l.first.IsZero():
		return
	case age > patience:
		o.verdict = present
	case l.report.IsZero():
		o.verdict = unclear
	}
	e.judge(noSenderReports, o)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
