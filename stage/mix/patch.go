package mix

import "math"

const (
	// pastTicks is how much sound is remembered: the longest period twice, and a bit.
	pastTicks = 2304
	// leastPeriod and mostPeriod bound what is repeated in a hole, 2.5 to 20 ms.
	leastPeriod = rate / 400
	mostPeriod  = rate / 50
	// likeTicks is how much sound is compared to find where it is like itself.
	likeTicks = rate / 150
	// Made-up sound keeps its level for holdTicks, and has faded out after fadeTicks.
	holdTicks = rate / 100
	fadeTicks = rate * 60 / 1000
	// blendTicks is how long one sound fades into another.
	blendTicks = rate / 200
)

// patch makes up sound for holes: the last period goes on, and fades out.
type patch struct {
	past  [pastTicks]stereo // the newest sound, oldest first
	cycle [mostPeriod]stereo
	size  int    // of the cycle; 0 while there is no hole
	made  int    // samples since the hole began
	gap   stereo // between the last sample and the one before the cycle
}

// learn remembers sound.
func (p *patch) learn(pcm []stereo) {
	if n := len(pcm); n < pastTicks {
		copy(p.past[:], p.past[n:])
		copy(p.past[pastTicks-n:], pcm)
		return
	}
	copy(p.past[:], pcm[len(pcm)-pastTicks:])
}

// fill appends n samples of a hole.
func (p *patch) fill(out []stereo, n int) []stereo {
	if p.size == 0 {
		p.begin()
	}
	from := len(out)
	for range n {
		out = append(out, p.next())
	}
	p.learn(out[from:])
	return out
}

// begin finds the period, and makes a cycle of it whose end runs into its start.
func (p *patch) begin() {
	p.size, p.made = -alike(p.past[:], pastTicks-likeTicks, -mostPeriod, -leastPeriod), 0
	start := pastTicks - p.size
	copy(p.cycle[:], p.past[start:])
	seam := p.size / 4
	for i := range seam {
		w := float32(i+1) / float32(seam)
		p.cycle[p.size-seam+i] = blend(p.past[pastTicks-seam+i], p.past[start-seam+i], w)
	}
	a, b := p.past[pastTicks-1], p.past[start-1]
	p.gap = stereo{a[0] - b[0], a[1] - b[1]}
}

// next returns the next sample of a hole.
func (p *patch) next() stereo {
	if p.made >= fadeTicks {
		return stereo{}
	}
	s := p.cycle[p.made%p.size]
	if w := 1 - float32(p.made)/blendTicks; w > 0 { // drawn out
		s[0] += p.gap[0] * w
		s[1] += p.gap[1] * w
	}
	gain := min(1, float32(fadeTicks-p.made)/(fadeTicks-holdTicks))
	p.made++
	return stereo{s[0] * gain, s[1] * gain}
}

// join ends a hole: the made-up sound fades into the next.
func (p *patch) join(pcm []stereo) {
	if p.size == 0 {
		return
	}
	n := min(2*blendTicks, len(pcm))
	for i := range n {
		// The decoder, too, lacks what came before: for the first part nothing of it counts.
		w := float32(i-n/3) / float32(n-n/3)
		pcm[i] = blend(p.next(), pcm[i], max(w, 0))
	}
	p.size = 0
}

// blend goes from a to b as w goes from 0 to 1.
func blend(a, b stereo, w float32) stereo {
	return stereo{a[0] + (b[0]-a[0])*w, a[1] + (b[1]-a[1])*w}
}

// alike returns the shift between least and most by which the sound is most like that
// at the given place.
func alike(sound []stereo, at, least, most int) int {
	best, shift := math.Inf(-1), least
	n := min(likeTicks, len(sound)-at, len(sound)-at-most)
	for s := least; s <= most; s++ {
		var both, power float32
		a, b := sound[at:at+n], sound[at+s:at+s+n]
		for i := 0; i < n; i += 2 { // every second sample is enough
			both += a[i][0]*b[i][0] + a[i][1]*b[i][1]
			power += b[i][0]*b[i][0] + b[i][1]*b[i][1]
		}
		if like := float64(both) / math.Sqrt(float64(power)+1e-9); like > best {
			best, shift = like, s
		}
	}
	return shift
}

// splice appends the last n samples of the sound and d more, or as many less: about d,
// where the sound is most like itself.
func splice(out, sound []stereo, n, d int) []stereo {
	at := len(sound) - n
	shift := 0
	if d > 0 {
		d = min(d, mostPeriod)
		shift = alike(sound, at, -d, -max(d/2, 1))
	} else {
		d = min(-d, n-blendTicks)
		if d <= 0 {
			return append(out, sound[at:]...)
		}
		shift = alike(sound, at, max(d/2, 1), d)
	}
	for i := at; i+shift < len(sound); i++ {
		s := sound[i+shift]
		if i < at+blendTicks {
			s = blend(sound[i], s, float32(i-at+1)/(blendTicks+1))
		}
		out = append(out, s)
	}
	return out
}
