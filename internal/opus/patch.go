package opus

import "math"

const (
	// pastTicks is how much sound is remembered: the longest period twice, and a bit.
	pastTicks = 2048
	// leastPeriod and mostPeriod bound what is repeated over a hole, 2.5 to 20 ms.
	leastPeriod = Rate / 400
	mostPeriod  = Rate / 50
	// likeTicks is how much sound is compared to find a period.
	likeTicks = Rate / 100
	// holdTicks is how long made-up sound keeps its level, fadeTicks when it ends.
	holdTicks = Rate / 100
	fadeTicks = Rate * 60 / 1000
	// seamTicks is how long a step at the start of a hole is drawn out.
	seamTicks = Rate / 400
	// After a hole, made-up sound goes on for staleTicks, which is how far the decoder
	// overlaps with what it never got, and then fades into real sound for joinTicks.
	staleTicks = Rate / 400
	joinTicks  = Rate / 200
	// blendTicks is the cross-fade where sound is left out or repeated.
	blendTicks = Rate / 200
)

// Patch makes up sound for holes: it repeats the period of what was heard last, fades
// it out, and fades the next real sound in. One goroutine uses it.
type Patch struct {
	past  [pastTicks]Stereo // oldest first
	cycle [mostPeriod]Stereo
	size  int    // of the cycle; 0 while there is no hole
	made  int    // samples since the hole began
	step  Stereo // between the last sample and the one before the cycle
}

// Past returns the newest sound, the oldest sample first. It is valid until the next call.
func (p *Patch) Past() []Stereo { return p.past[:] }

// Learn remembers sound that was heard.
func (p *Patch) Learn(pcm []Stereo) {
	if len(pcm) >= pastTicks {
		copy(p.past[:], pcm[len(pcm)-pastTicks:])
		return
	}
	copy(p.past[:], p.past[len(pcm):])
	copy(p.past[pastTicks-len(pcm):], pcm)
}

// Begin opens a hole, unless one is open.
func (p *Patch) Begin() {
	if p.size > 0 {
		return
	}
	sound := p.past[:]
	p.size = -likeliest(sound, pastTicks-likeTicks, -mostPeriod, -leastPeriod)
	p.made = 0
	last, before := sound[pastTicks-1], sound[pastTicks-1-p.size]
	p.step = Stereo{last[0] - before[0], last[1] - before[1]}
	copy(p.cycle[:], sound[pastTicks-p.size:])
	// The cycle's end runs into what was before its start, so that it closes.
	q := p.size / 4
	for i := range q {
		at := pastTicks - q + i
		p.cycle[p.size-q+i] = Blend(sound[at], sound[at-p.size], float32(i+1)/float32(q))
	}
}

// next returns the next made-up sample.
func (p *Patch) next() Stereo {
	s := p.cycle[p.made%p.size]
	gain := min(max(float32(fadeTicks-p.made)/(fadeTicks-holdTicks), 0), 1)
	if p.made < seamTicks {
		rest := float32(seamTicks-p.made) / seamTicks
		s[0] += p.step[0] * rest
		s[1] += p.step[1] * rest
	}
	if p.made < fadeTicks+p.size {
		p.made++
	}
	return Stereo{s[0] * gain, s[1] * gain}
}

// Fill appends n samples of a hole.
func (p *Patch) Fill(out []Stereo, n int) []Stereo {
	p.Begin()
	from := len(out)
	for range n {
		out = append(out, p.next())
	}
	p.Learn(out[from:])
	return out
}

// Join ends a hole, if one is open: the made-up sound fades into pcm.
func (p *Patch) Join(pcm []Stereo) {
	if p.size == 0 {
		return
	}
	n := min(staleTicks+joinTicks, len(pcm))
	stale := min(staleTicks, n/2)
	for i := range n {
		pcm[i] = Blend(p.next(), pcm[i], float32(max(i+1-stale, 0))/float32(n+1-stale))
	}
	p.size = 0
}

// Blend goes from a to b as w goes from 0 to 1.
func Blend(a, b Stereo, w float32) Stereo {
	return Stereo{a[0] + (b[0]-a[0])*w, a[1] + (b[1]-a[1])*w}
}

// likeliest returns the shift between least and most that finds, in the sound, what
// is most like the likeTicks samples at the given place, or as many as there are.
func likeliest(sound []Stereo, at, least, most int) int {
	best, shift := math.Inf(-1), least
	n := min(likeTicks, len(sound)-at, len(sound)-at-most)
	for s := least; s <= most; s++ {
		var both, power float32
		for i := 0; i < n; i += 2 { // every second sample is enough
			a, b := sound[at+i], sound[at+i+s]
			both += a[0]*b[0] + a[1]*b[1]
			power += b[0]*b[0] + b[1]*b[1]
		}
		if like := float64(both) / math.Sqrt(float64(power)+1e-9); like > best {
			best, shift = like, s
		}
	}
	return shift
}

// Splice appends the last n samples of the sound, longer by at most d, or shorter if
// d is negative: it jumps back or ahead to where the sound is most like itself. What is
// before them should be 30 ms or more.
func Splice(out, sound []Stereo, n, d int) []Stereo {
	at := len(sound) - n
	blend := min(blendTicks, n/2)
	var shift int
	if d > 0 {
		d = min(d, mostPeriod)
		shift = likeliest(sound, at, -d, -max(d/4, 1))
	} else {
		if d = min(-d, mostPeriod, n-blend); d <= 0 {
			return append(out, sound[at:]...)
		}
		shift = likeliest(sound, at, max(d/4, 1), d)
	}
	for i := at; i+shift < len(sound); i++ {
		s := sound[i+shift]
		if i < at+blend {
			s = Blend(sound[i], s, float32(i-at+1)/float32(blend+1))
		}
		out = append(out, s)
	}
	return out
}
