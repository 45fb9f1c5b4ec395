package stage

import "time"

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
}

// director decides who gets the picture when that is left to who speaks. It is pure,
// and for one owner.
type director struct {
	cutAt  time.Time // when the picture went to another one
	wanted string    // who is to get it
	since  time.Time // since when
}

// cut says that the picture goes to another one, whoever wanted that.
func (d *director) cut(now time.Time) { d.cutAt, d.wanted = now, "" }

// choose returns who gets the picture; who has it if that stays. voices are those that
// can have it, in the order of the seats.
func (d *director) choose(now time.Time, has string, voices []voice, hold time.Duration) string {
	current, loudest := listen(voices, has)
	switch {
	case current == nil && len(voices) > 0: // who had it is not there
		if loudest == nil {
			loudest = &voices[0]
		}
		d.cut(now)
		return loudest.seat
	case loudest == nil || loudest == current || current.speaking && loudest.level < current.level+louderBy:
		d.wanted = ""
		return has
	case d.wanted != loudest.seat:
		d.wanted, d.since = loudest.seat, now
	}
	if now.Sub(d.since) < speaksFor || now.Sub(d.cutAt) < hold {
		return has
	}
	d.cut(now)
	return loudest.seat
}

// listen returns who has the picture, and who of those that speak is loudest; nil: nobody.
func listen(voices []voice, has string) (current, loudest *voice) {
	for i := range voices {
		v := &voices[i]
		if v.seat == has {
			current = v
		}
		if v.speaking && (loudest == nil || v.level > loudest.level) {
			loudest = v
		}
	}
	return current, loudest
}
