package stage

import (
	"slices"
	"time"
)

const (
	// speaksFor is how long somebody must speak before the picture goes there: not for a
	// cough or a "yes".
	speaksFor = 800 * time.Millisecond
	// louderBy is by how much, in dB, somebody must be louder than who has the picture
	// and speaks as well.
	louderBy = 6
)

// voice is how one seat that is on air sounds.
type voice struct {
	seat     string
	level    float64 // dBFS
	speaking bool
	muted    bool // in the program: it keeps the picture, but does not get it
}

// director decides who gets the picture when that is left to who speaks. It is pure,
// and for one owner.
type director struct {
	cutAt  time.Time // when the picture went to another one
	wanted string    // who is to get it
	since  time.Time // since when
	rests  bool      // nobody is to have it, as was asked for
}

// cut says that the picture goes to another one, whoever wanted that; "" for nobody,
// which stays so until the next cut.
func (d *director) cut(seat string, now time.Time) {
	d.cutAt, d.wanted, d.rests = now, "", seat == ""
}

// choose returns who gets the picture; who has it if that stays. voices are those that
// are on air, in the order of the seats.
func (d *director) choose(now time.Time, has string, voices []voice, hold time.Duration) string {
	current, loudest := listen(voices, has)
	if current == nil && loudest == nil { // who had it is not there, and nobody speaks
		if i := slices.IndexFunc(voices, func(v voice) bool { return !v.muted }); i >= 0 {
			loudest = &voices[i]
		}
	}
	switch {
	case d.rests || loudest == nil:
		d.wanted = ""
		return has
	case current == nil:
		d.cut(loudest.seat, now)
		return loudest.seat
	case loudest == current || current.speaking && !current.muted && loudest.level < current.level+louderBy:
		d.wanted = ""
		return has
	case d.wanted != loudest.seat:
		d.wanted, d.since = loudest.seat, now
	}
	if now.Sub(d.since) < speaksFor || now.Sub(d.cutAt) < hold {
		return has
	}
	d.cut(loudest.seat, now)
	return loudest.seat
}

// listen returns who has the picture, and who of those that speak is loudest; nil: nobody.
func listen(voices []voice, has string) (current, loudest *voice) {
	for i := range voices {
		v := &voices[i]
		if v.seat == has {
			current = v
		}
		if v.speaking && !v.muted && (loudest == nil || v.level > loudest.level) {
			loudest = v
		}
	}
	return current, loudest
}
