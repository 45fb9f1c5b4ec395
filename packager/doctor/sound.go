package doctor

import (
	"time"

	"github.com/whipcast/whipcast/packager/au"
)

const (
	silentAfter = 20 * time.Second
	silentLevel = -60.0 // dBFS; the noise of any microphone is louder
	soundLevel  = -50.0
	silentRate  = 5000 // bit/s; Opus needs 6,000 for the least of a voice (RFC 6716 §2.1.1)

	stereoBit = 0x04 // of the TOC byte (RFC 6716 §3.1)
	noSound   = 8    // bytes; a packet up to it says nothing of channels
	emptied   = 2    // bytes; a packet up to it has no frame (RFC 6716 §3.2, DTX)
)

// sound is what the frames tell; Opus tells of channels and pauses, too.
type sound struct {
	rate  int64
	opus  bool
	known bool
	next  int64 // where the next packet should begin
	quiet time.Duration
}

func (s *sound) unit(u *au.Unit, t *tally) {
	left := u.PTS - s.next
	if s.known && !u.Gap && !u.Restart && left >= 2*u.Duration && left < pause*s.rate {
		t.left += left
		t.pauses++
	}
	if s.opus && len(u.Data) <= emptied {
		t.left += u.Duration
		t.pauses++
	}
	s.known, s.next = true, u.PTS+u.Duration
	switch {
	case !s.opus || len(u.Data) <= noSound:
	case u.Data[0]&stereoBit != 0:
		t.stereo++
	default:
		t.mono++
	}
}

func (e *Examiner) examineSound(last tally, w window) {
	s := &e.sound
	silent, loud := float64(last.bytes*8) < silentRate*last.span.Seconds(), last.units > 0
	if last.heard {
		silent, loud = last.level < silentLevel, last.level >= soundLevel
	}
	var verdict verdict
	switch {
	case silent:
		s.quiet += last.span
	case loud:
		s.quiet = 0
		verdict = absent
	}
	if silent && s.quiet >= silentAfter {
		verdict = present
	}
	o := long(s.quiet, Warning)
	o.verdict = verdict
	e.judge(silence, o)

	if all := w.mono + w.stereo; e.cfg.Stereo && all >= 100 {
		share := 100 * float64(w.mono) / float64(all)
		e.judge(monoAudio, opine(share, 50, 95, Note))
	}
	share := 100 * float64(w.left) / float64(s.rate) / w.span.Seconds()
	e.judge(opusDTX, opine(share, 0, 2, Note).needs(w.pauses, enough))
}
