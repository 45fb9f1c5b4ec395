package aac

import "github.com/whipcast/whipcast/internal/opus"

const (
	// bendLag is up to where lag is taken up by playing a little faster or slower.
	// Beyond, whole periods are left out or repeated.
	bendLag = Rate / 100
	// bend is by how much the speed changes at most: a part of 192, or 9 cents.
	bend = 192
	// mostLag is beyond which sound is made up or dropped: what the soundtrack
	// slews in a row, and as much again.
	mostLag = Rate / 5
)

// pace keeps sound in step with the timeline. The lag is how many samples are
// missing (or too many, if negative) for a packet to end where it should.
type pace struct {
	made int64 // end on the timeline of what was handed on
	join []opus.Stereo
}

// lag returns the lag after n more samples, of a packet that should end there.
func (p *pace) lag(end int64, n int) int64 { return end - p.made - int64(n) }

// change returns how many samples to add to n of them, and whether by bending.
func (p *pace) change(end int64, n int) (int, bool) {
	lag := p.lag(end, n)
	if lag > bendLag || lag < -bendLag {
		return int(lag), false
	}
	most := int64(max(n/bend, 1))
	return int(min(max(lag, -most), most)), true
}

// fit appends to out the sound that comes after past, changed so that its end gets
// nearer to where it should be.
func (p *pace) fit(out []opus.Stereo, past []opus.Stereo, pcm []opus.Stereo, end int64) []opus.Stereo {
	d, bent := p.change(end, len(pcm))
	switch {
	case d == 0 || len(pcm) < 2:
		return append(out, pcm...)
	case bent:
		return stretch(out, past[len(past)-1], pcm, len(pcm)+d)
	}
	p.join = append(append(p.join[:0], past...), pcm...)
	return opus.Splice(out, p.join, len(pcm), d)
}

// stretch appends m samples for those of pcm. The last one stays the last, so that
// the next packet goes on from there without a fraction to remember.
func stretch(out []opus.Stereo, before opus.Stereo, pcm []opus.Stereo, m int) []opus.Stereo {
	n := len(pcm)
	for j := 1; j <= m; j++ {
		i, rest := j*n/m, j*n%m
		a := before
		if i > 0 {
			a = pcm[i-1]
		}
		if rest > 0 {
			a = opus.Blend(a, pcm[i], float32(rest)/float32(m))
		}
		out = append(out, a)
	}
	return out
}
