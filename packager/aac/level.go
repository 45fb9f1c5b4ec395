package aac

import "math"

const (
	// Floor is the least level that is told, in dBFS.
	Floor = -120
	// levelFrames is how many frames the level is of: a second.
	levelFrames = (Rate + FrameTicks/2) / FrameTicks
	// monoRatio is by how much the difference of the channels is below their sum
	// where only the Opus encoder makes it: 40 dB.
	monoRatio = 1e-4
)

// meter measures the last second of sound, in blocks of one frame.
type meter struct {
	blocks [levelFrames]block
	next   int
}

// block is the sound of one frame: the sums of l²+r² and (l-r)², and the peak.
type block struct{ power, apart, peak float32 }

// take measures a frame and returns its peak.
func (m *meter) take(left, right *[FrameTicks]float32) float32 {
	var b block
	for i, l := range left {
		r := right[i]
		d := l - r
		b.power += l*l + r*r
		b.apart += d * d
		if l < 0 {
			l = -l
		}
		if r < 0 {
			r = -r
		}
		if l > b.peak {
			b.peak = l
		}
		if r > b.peak {
			b.peak = r
		}
	}
	m.blocks[m.next] = b
	m.next = (m.next + 1) % levelFrames
	return b.peak
}

// sum joins the blocks.
func (m *meter) sum() block {
	var all block
	for _, b := range &m.blocks {
		all.power += b.power
		all.apart += b.apart
		all.peak = max(all.peak, b.peak)
	}
	return all
}

// decibels returns 10·log10(power), at least Floor.
func decibels(power float64) float32 {
	return float32(max(10*math.Log10(power), Floor)) // of 0 it is -Inf
}

// Level returns how loud the last second of sound is, in dBFS: its root mean square
// over both channels and its peak sample. 0 is full scale, a sine at full scale has
// -3, and silence, which is also what holes become, has Floor. Sound counts when its
// frame is complete; what lies before New, Reset or Flush is Floor.
func (t *Transcoder) Level() (rms, peak float32) {
	s := t.meter.sum()
	mean := float64(s.power) / (2 * levelFrames * FrameTicks)
	return decibels(mean), decibels(float64(s.peak) * float64(s.peak))
}

// Mono tells whether the last second had sound, and the same in both channels:
// what differs is 40 dB below it, as encoding leaves it. Silence is not mono.
func (t *Transcoder) Mono() bool {
	s := t.meter.sum()
	return s.peak > hush && s.apart <= monoRatio*s.power
}
