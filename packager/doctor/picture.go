package doctor

import (
	"time"

	"github.com/whipcast/whipcast/packager/au"
)

const (
	frozenAfter = 5 * time.Second
	thrashSpan  = time.Minute
	thrashes    = 3 // changes of size in that time that are normal

	// A coded picture without change is its headers and next to nothing for its
	// blocks: 0.0005 bits a pixel.
	stillHead   = 48
	stillPixels = 16000 // a byte
	stillShare  = 40    // of the usual size, where that is known
)

// picture is what the coded pictures tell.
type picture struct {
	params *au.Params
	floor  int     // bytes of a picture without change
	usual  float64 // size of one with change

	top    int64 // latest presentation time
	known  bool
	frozen time.Duration

	changes [4 * (thrashes + 1)]time.Time // of the size
	count   int
}

func (p *picture) unit(u *au.Unit, t *tally) {
	if u.Params != p.params && u.Params != nil {
		p.change(u)
	}
	if p.known && !u.Restart && u.PTS < p.top {
		t.reordered++
	} else {
		p.known, p.top = true, u.PTS
	}
	if u.Key {
		return
	}
	t.inter++
	size := len(u.Data)
	if size <= p.floor || size <= 4*p.floor && float64(size*stillShare) <= p.usual {
		t.still++
		return
	}
	if p.usual == 0 {
		p.usual = float64(size)
	}
	p.usual += (float64(size) - p.usual) / 64
}

func (p *picture) change(u *au.Unit) {
	if p.params != nil && (u.Params.Width != p.params.Width || u.Params.Height != p.params.Height) {
		p.changes[p.count%len(p.changes)] = u.Arrival
		p.count++
		p.usual = 0
	}
	p.params = u.Params
	p.floor = stillHead + u.Params.Width*u.Params.Height/stillPixels
}

// thrashed returns how often the size changed lately.
func (p *picture) thrashed(now time.Time) int {
	n := 0
	for _, at := range p.changes {
		if !at.IsZero() && now.Sub(at) <= thrashSpan {
			n++
		}
	}
	return n
}

func (e *Examiner) examinePicture(last tally, w window) {
	p := &e.picture
	switch {
	case last.inter == 0:
	case last.still*4 >= last.inter*3: // the first ones after a key frame may refine it
		p.frozen += e.span
	default:
		p.frozen = 0
	}
	o := long(p.frozen, Warning)
	switch {
	case p.frozen > frozenAfter:
		o.verdict = present
	case last.inter > 0 && last.still*2 < last.inter:
		o.verdict = absent
	}
	e.judge(frozenPicture, o)

	n := p.thrashed(e.now)
	e.judge(resolutionThrash, opine(float64(n), thrashes, thrashes+1, Warning))
	e.judge(bFrames, opine(float64(w.reordered), 0, enough, Warning).measureless())
	e.judge(bFrameTimes, opine(float64(w.disordered), 0, enough, Problem).measureless())
}

// measureless drops a value that means nothing to a person.
func (o opinion) measureless() opinion {
	o.value = 0
	return o
}
