package aac

import (
	"math"

	"github.com/whipcast/whipcast/internal/opus"
)

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
)

// stereo is one sample: left and right; full scale is -1 to 1.
type stereo = opus.Stereo

// memory is the newest sound, oldest sample first.
type memory [pastTicks]stereo

// patch makes up sound for holes. It repeats the period of what was heard last,
// fades it out, and fades the next real sound in.
type patch struct {
	past  memory
	cycle [mostPeriod]stereo
	size  int    // of the cycle; 0 while there is no hole
	made  int    // samples since the hole began
	step  stereo // between the last sample and the one before the cycle
}

// learn remembers sound that was heard.
func (p *patch) learn(pcm []stereo) {
	if len(pcm) >= pastTicks {
		copy(p.past[:], pcm[len(pcm)-pastTicks:])
		return
	}
	copy(p.past[:], p.past[len(pcm):])
	copy(p.past[pastTicks-len(pcm):], pcm)
}

// begin opens a hole, unless one is open.
func (p *patch) begin() {
	if p.size > 0 {
		return
	}
	sound := p.past[:]
	p.size = -likeliest(sound, pastTicks-likeTicks, -mostPeriod, -leastPeriod)
	p.made = 0
	last, before := sound[pastTicks-1], sound[pastTicks-1-p.size]
	p.step = stereo{last[0] - before[0], last[1] - before[1]}
	copy(p.cycle[:], sound[pastTicks-p.size:])
	// The cycle's end runs into what was before its start, so that it closes.
	q := p.size / 4
	for i := range q {
		at := pastTicks - q + i
		p.cycle[p.size-q+i] = mix(sound[at], sound[at-p.size], float32(i+1)/float32(q))
	}
}

// next returns the next made-up sample.
func (p *patch) next() stereo {
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
	return stereo{s[0] * gain, s[1] * gain}
}

// fill appends n samples of a hole.
func (p *patch) fill(out []stereo, n int) []stereo {
	p.begin()
	from := len(out)
	for range n {
		out = append(out, p.next())
	}
	p.learn(out[from:])
	return out
}

// join ends a hole, if one is open: the made-up sound fades into pcm.
func (p *patch) join(pcm []stereo) {
	if p.size == 0 {
		return
	}
	n := min(staleTicks+joinTicks, len(pcm))
	stale := min(staleTicks, n/2)
	for i := range n {
		pcm[i] = mix(p.next(), pcm[i], float32(max(i+1-stale, 0))/float32(n+1-stale))
	}
	p.size = 0
}

// mix goes from a to b as w goes from 0 to 1.
func mix(a, b stereo, w float32) stereo {
	return stereo{a[0] + (b[0]-a[0])*w, a[1] + (b[1]-a[1])*w}
}

// likeliest returns the shift between least and most that finds, in the sound, what
// is most like the likeTicks samples at the given place, or as many as there are.
func likeliest(sound []stereo, at, least, most int) int {
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
