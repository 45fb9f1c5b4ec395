package opus

import (
	"math"
	"math/bits"
)

// How far bins are spread (RFC 6716 Table 59).
const (
	spreadNone = iota
	spreadLight
	spreadNormal
	spreadAggressive
)

const (
	quarter = 16384 // a right angle
	// thetaOffset makes angles that much coarser, in eighths of a bit.
	thetaOffset = 4
)

// shapes writes the shapes of all bands (RFC 6716 §4.3.4). total is the frame's size in
// eighths of a bit, less what is set aside.
func (e *Encoder) shapes(a *allocation, total int) {
	balance := a.balance
	dual := a.dual
	for b := range bands {
		told := e.coder.eighths()
		if b > 0 {
			balance -= told
		}
		e.left = total - told - 1
		n := 0
		if b < a.coded {
			share := balance / min(3, a.coded-b)
			n = max(0, min(16383, e.left+1, a.shape[b]+share))
		}
		x := e.frame[0].bins[edges[b]<<scale : edges[b+1]<<scale]
		y := e.frame[1].bins[edges[b]<<scale : edges[b+1]<<scale]
		if b == a.intensity {
			dual = false
		}
		switch {
		case e.channels == 1:
			e.whole(b, x, n)
		case dual:
			e.whole(b, x, n/2)
			e.whole(b, y, n/2)
		default:
			e.pair(b, x, y, n)
		}
		balance += a.shape[b] + told
	}
}

// whole writes one shape of a band. That of a transient goes block by block.
func (e *Encoder) whole(band int, x []float32, n int) {
	parts := 1
	if e.transient {
		parts = blocks
		sorted := e.size[:len(x)]
		for i := range parts {
			for j := range len(x) / parts {
				sorted[i*(len(x)/parts)+j] = x[j*parts+i]
			}
		}
		copy(x, sorted)
	}
	e.part(part{band, scale, parts, n}, x)
}

// part is a band, or what is left of it when it is halved: how often, in how many
// blocks, and for how many bits.
type part struct{ band, size, blocks, bits int }

// part writes the shape of a part. One that has more bits than a codebook is halved,
// and the angle between both halves says how loud they are (RFC 6716 §4.3.4.4).
func (e *Encoder) part(p part, x []float32) {
	list := costList(p.band, p.size)
	if p.size < 0 || p.bits <= int(list[list[0]])+12 || len(x) <= 2 {
		e.leaf(p, list, x)
		return
	}
	whole := p.blocks
	n := len(x) / 2
	x, y := x[:n], x[n:]
	p.size--
	p.blocks = (p.blocks + 1) / 2
	most := logWidths[p.band] + p.size<<unit
	steps := fineness(2*n-1, p.bits, most/2-thetaOffset, most)
	told := e.coder.eighths()
	theta := 0
	if steps > 1 {
		theta = (angle(power(x), power(y))*steps + quarter/2) / quarter
		if whole > 1 {
			e.coder.number(uint32(theta), uint32(steps+1))
		} else {
			e.triangle(theta, steps)
		}
		theta = theta * quarter / steps
	}
	spent := e.coder.eighths() - told
	delta := tilt(n, theta)
	if whole > 1 && theta&(quarter-1) != 0 {
		if theta > quarter/2 {
			delta -= delta >> (4 - p.size)
		} else {
			delta = min(0, delta+n<<unit>>(5-p.size))
		}
	}
	e.left -= spent
	e.halves(p.bits-spent, delta, theta, func(side, bits int) {
		q := p
		q.bits = bits
		if side == 0 {
			e.part(q, x)
		} else {
			e.part(q, y)
		}
	})
}

// halves shares bits between two halves, and gives the second what the first did not use.
func (e *Encoder) halves(bits, delta, theta int, write func(side, bits int)) {
	mid := max(0, min(bits, (bits-delta)/2))
	side := bits - mid
	before := e.left
	first, second, none := 0, side, 0
	if mid < side {
		first, second, none = 1, mid, quarter
	}
	n := bits - second
	write(first, n)
	if spare := n - (before - e.left); spare > 3<<unit && theta != none {
		second += spare - 3<<unit
	}
	write(1-first, second)
}

// leaf writes a shape as pulses.
func (e *Encoder) leaf(p part, list []uint8, x []float32) {
	q := entry(list, p.bits)
	e.left -= cost(list, q)
	for e.left < 0 && q > 0 {
		e.left += cost(list, q)
		q--
		e.left -= cost(list, q)
	}
	if q == 0 {
		return
	}
	k := pulsesOf(q)
	rotate(x, p.blocks, k, e.spread)
	index, total := e.codebook.index(e.place(x, k), k)
	e.coder.number(index, total)
}

// pair writes the shapes of both channels as what they share and by what they differ.
func (e *Encoder) pair(band int, x, y []float32, n int) {
	most := logWidths[band] + scale<<unit
	steps := 1
	if band < e.allocation.intensity {
		steps = fineness(2*len(x)-1, n, most/2-thetaOffset, most)
	}
	var mid, side float64
	for i, l := range x {
		m, s := float64(l+y[i]), float64(l-y[i])
		mid += m * m
		side += s * s
	}
	told := e.coder.eighths()
	theta := angle(mid, side)
	if steps > 1 {
		theta = (theta*steps + quarter/2) / quarter
		e.stair(theta, steps)
		theta = theta * quarter / steps
	}
	switch {
	case steps == 1:
		e.one(band, x, y, n, theta)
		theta = 0
	case theta == 0:
		e.join(band, x, y)
	default:
		split(x, y)
	}
	spent := e.coder.eighths() - told
	e.left -= spent
	e.halves(n-spent, tilt(len(x), theta), theta, func(side, bits int) {
		if side == 0 {
			e.whole(band, x, bits)
		} else {
			e.whole(band, y, bits)
		}
	})
}

// one joins both channels, and writes whether one is the other's inverse.
func (e *Encoder) one(band int, x, y []float32, n, theta int) {
	inverted := theta > quarter/2
	if inverted {
		for i := range y {
			y[i] = -y[i]
		}
	}
	e.join(band, x, y)
	if n > 2<<unit && e.left > 2<<unit {
		e.coder.flag(inverted, 2)
	}
}

// split makes mid and side of left and right.
func split(x, y []float32) {
	for i, l := range x {
		r := y[i]
		x[i], y[i] = math.Sqrt2/2*(l+r), math.Sqrt2/2*(r-l)
	}
}

// join makes one shape of both, by their energies.
func (e *Encoder) join(band int, x, y []float32) {
	l, r := e.frame[0].amplitude[band], e.frame[1].amplitude[band]
	norm := float32(math.Sqrt(float64(l*l+r*r))) + 1e-15
	l, r = l/norm, r/norm
	for i := range x {
		x[i] = l*x[i] + r*y[i]
	}
}

// power returns the energy of bins.
func power(x []float32) float64 {
	sum := float32(0)
	for _, v := range x {
		sum += v * v
	}
	return float64(sum)
}

// angle returns the angle whose tangent is the ratio of two amplitudes.
func angle(mid, side float64) int {
	return int(0.5 + quarter*2/math.Pi*math.Atan2(math.Sqrt(side), math.Sqrt(mid)))
}

// fineness returns in how many steps an angle is written: an even number, or one.
func fineness(weight, bits, offset, most int) int {
	exp := [8]int{16384, 17866, 19483, 21247, 23170, 25267, 27554, 30048}
	q := min((bits+weight*offset)/weight, bits-most-4<<unit, 8<<unit)
	if q < 1<<unit/2 {
		return 1
	}
	return (exp[q&7]>>(14-q>>unit) + 1) / 2 * 2
}

// stair writes an angle of both channels: those of a louder mid are three times as likely.
func (e *Encoder) stair(theta, steps int) {
	half := steps / 2
	at := func(i int) uint32 {
		if i <= half+1 {
			return uint32(3 * i) //nolint:gosec // at most 256 steps
		}
		return uint32(3*(half+1) + i - half - 1) //nolint:gosec // at most 256 steps
	}
	e.coder.symbol(at(theta), at(theta+1), uint32(3*(half+1)+half)) //nolint:gosec // at most 256 steps
}

// triangle writes an angle of two halves: equal ones are likeliest.
func (e *Encoder) triangle(theta, steps int) {
	half := steps / 2
	total := (half + 1) * (half + 1)
	low, size := theta*(theta+1)/2, theta+1
	if theta > half {
		size = steps + 1 - theta
		low = total - size*(size+1)/2
	}
	e.coder.symbol(uint32(low), uint32(low+size), uint32(total)) //nolint:gosec // at most 129²
}

// tilt returns how many more bits the first half gets, of n bins.
func tilt(n, theta int) int {
	switch theta {
	case 0:
		return -quarter
	case quarter:
		return quarter
	}
	return product((n-1)<<7, logTan(cosine(quarter-theta), cosine(theta)))
}

// cosine, logTan and product are exact, so that the decoder gets the same.
func cosine(x int) int {
	x = (4096 + x*x) >> 13
	return 1 + 32767 - x + product(x, -7651+product(x, 8277+product(-626, x)))
}

// logTan returns the logarithm of a tangent in 2048ths.
func logTan(sin, cos int) int {
	ls, lc := bits.Len(uint(sin)), bits.Len(uint(cos)) //nolint:gosec // both are positive
	sin <<= 15 - ls
	cos <<= 15 - lc
	return (ls-lc)<<11 + product(sin, product(sin, -2597)+7932) - product(cos, product(cos, -2597)+7932)
}

// product multiplies fractions of 15 bits.
func product(a, b int) int { return (16384 + int(int16(a))*int(int16(b))) >> 15 } //nolint:gosec // as the standard does
