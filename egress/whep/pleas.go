package whep

import "time"

const (
	pleaLeast = 500 * time.Millisecond // between two keyframe requests of one viewer
	pleaMost  = 8 * time.Second        // of one who asks on and on, and gets them
	pleaRest  = 10 * time.Second       // after which a viewer who did not ask may again as at first
)

// pleas bounds how often one viewer has the publisher make a keyframe: everybody's
// picture pays for it. The pause between two doubles while keyframes are sent and the
// viewer asks again, as on a network where they do not get through. It is pure.
type pleas struct {
	asked  time.Time // when a request was passed on last
	heard  time.Time // when the viewer asked last
	pause  time.Duration
	served bool // a keyframe was sent since asked
	owed   bool // the viewer asked, and no keyframe was sent since
}

// ask takes a request of the viewer. It reports whether to pass it on now; else due
// will say when.
func (p *pleas) ask(now time.Time) bool {
	if now.Sub(p.heard) >= pleaRest {
		p.pause, p.served = pleaLeast, false
	}
	p.heard, p.owed = now, true
	return p.due(now)
}

// due reports whether a request that had to wait is to be passed on now.
func (p *pleas) due(now time.Time) bool {
	if !p.owed || now.Sub(p.asked) < p.pause {
		return false
	}
	if p.served {
		p.pause = min(2*p.pause, pleaMost)
	}
	p.asked, p.served, p.owed = now, false, false
	return true
}

// serve takes that a keyframe is sent to the viewer.
func (p *pleas) serve() { p.served, p.owed = true, false }
