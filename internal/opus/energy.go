package opus

import "math"

const (
	// Coarse energy is predicted from the frame before and from the band below: of
	// frames of 20 ms (RFC 6716 §4.3.2.1).
	fromBefore = 16384.0 / 32768
	fromBelow  = 6554.0 / 32768
	fromAlone  = 4915.0 / 32768 // from the band below, where no frame is before
	// leastEnergy is what the decoder keeps of a band of silence.
	leastEnergy = -28
	// mostFine is the most bits of fine energy.
	mostFine = 8
)

// measure takes the energies of the bands, as logarithms of their amplitudes, and
// leaves the bins without them.
func (e *Encoder) measure() {
	for c := range e.channels {
		f := &e.frame[c]
		for b := range bands {
			bins := f.bins[edges[b]<<scale : edges[b+1]<<scale]
			sum := float32(1e-27)
			for _, v := range bins {
				sum += v * v
			}
			amplitude := float32(math.Sqrt(float64(sum)))
			f.amplitude[b] = amplitude
			f.target[b] = float32(math.Log2(float64(amplitude))) - means[b]
			for i := range bins {
				bins[i] /= amplitude
			}
		}
	}
}

// coarse writes the energies in steps of 6 dB, and keeps what the decoder knows of them
// and what is missing.
func (e *Encoder) coarse(budget int) {
	model, before, below := &models[0], float32(fromBefore), float32(fromBelow)
	if e.fresh {
		model, before, below = &models[1], 0, fromAlone
	}
	if e.coder.bits()+3 <= budget {
		e.coder.flag(e.fresh, 3)
	}
	fall := min(16, float32(len(e.coder.buf))/8) // the fastest
	var under [2]float32
	for b := range bands {
		for c := range e.channels {
			f := &e.frame[c]
			old := max(-9, e.energy[c][b])
			want := f.target[b] - before*old - under[c]
			step := int(math.Floor(float64(want) + 0.5))
			least := max(leastEnergy, e.energy[c][b]) - fall
			if step < 0 && f.target[b] < least {
				step = min(step+int(least-f.target[b]), 0)
			}
			left := budget - e.coder.bits()
			step = e.step(step, left, left-3*e.channels*(bands-b), model[b])
			f.missing[b] = want - float32(step)
			e.energy[c][b] = before*old + under[c] + float32(step)
			under[c] += float32(step) - below*float32(step)
		}
	}
}

// step writes one step of coarse energy, or the nearest for which there is room: left
// bits in all, and spare ones when the least for the other bands is set aside.
func (e *Encoder) step(step, left, spare int, model [2]uint8) int {
	if spare < 24 {
		step = min(step, 1)
	}
	if spare < 16 {
		step = max(step, -1)
	}
	switch {
	case left >= 15:
		return e.coder.laplace(step, uint32(model[0])<<7, uint32(model[1])<<6)
	case left >= 2:
		step = min(max(step, -1), 1)
		e.coder.choice([]int{1, 0, 2}[step+1], smallTable)
		return step
	case left >= 1:
		step = min(max(step, -1), 0)
		e.coder.flag(step < 0, 1)
		return step
	}
	return -1
}

// fine writes what the allocation gave the energies beyond the coarse steps.
func (e *Encoder) fine(a *allocation) {
	for b := range bands {
		if a.fine[b] <= 0 {
			continue
		}
		for c := range e.channels {
			f := &e.frame[c]
			steps := 1 << a.fine[b]
			q := int(math.Floor(float64((f.missing[b] + 0.5) * float32(steps))))
			q = min(max(q, 0), steps-1)
			e.coder.raw(uint32(q), a.fine[b])
			add := (float32(q)+0.5)/float32(steps) - 0.5
			e.energy[c][b] += add
			f.missing[b] -= add
		}
	}
}

// finest spends the bits that are left on the energies.
func (e *Encoder) finest(a *allocation, left int) {
	for late := range 2 {
		for b := range bands {
			if left < e.channels {
				return
			}
			if a.fine[b] >= mostFine || a.late[b] != late {
				continue
			}
			for c := range e.channels {
				f := &e.frame[c]
				add, q := float32(-0.5), uint32(0)
				if f.missing[b] >= 0 {
					add, q = 0.5, 1
				}
				e.coder.raw(q, 1)
				e.energy[c][b] += add / float32(int(2)<<a.fine[b])
				left--
			}
		}
	}
}
