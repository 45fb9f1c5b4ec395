package whep

import "time"

const (
	repeatSlots   = 256                   // packets whose repetitions are counted
	repeatsOfOne  = 5                     // how often one packet is repeated at most
	repeatPause   = 10 * time.Millisecond // between two repetitions of one packet
	repeatsBurst  = 300                   // how many at once
	repeatsSecond = 500                   // and how many a second
	mostCopies    = 3                     // of one packet at once
)

// repeats bounds what a viewer may ask for again. It is pure. What it has
// forgotten may be asked for anew, within the rate.
type repeats struct {
	left float64
	at   time.Time // when left was right
	slot [repeatSlots]repeat
}

type repeat struct {
	sequence uint16
	count    uint8
	at       uint32 // milliseconds, modulo 2³²
}

// allow returns which repetition of a packet may be sent now, from 1 on; 0: none.
func (r *repeats) allow(sequence uint16, now time.Time) (nth int) {
	if r.at.IsZero() {
		r.left, r.at = repeatsBurst, now
	}
	r.left = min(repeatsBurst, r.left+now.Sub(r.at).Seconds()*repeatsSecond)
	r.at = now
	if r.left < 1 {
		return 0
	}
	r.left-- // a look-up costs, too
	s := &r.slot[sequence%repeatSlots]
	ms := uint32(now.UnixMilli())
	if s.sequence != sequence || s.count == 0 {
		*s = repeat{sequence: sequence}
	}
	if s.count >= repeatsOfOne || s.count > 0 && ms-s.at < uint32(repeatPause/time.Millisecond) {
		return 0
	}
	s.count++
	s.at = ms
	return int(s.count)
}
