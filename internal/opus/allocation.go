package opus

const (
	// fineOffset is how much more a bin's bits weigh than the energy's, in eighths.
	fineOffset = 21
	// trim tilts the allocation between low and high bands; this is the middle.
	trim = 5
	// onset is where the depth of high bands decides whether they are coded.
	onset = 17
)

// allocation says how the bits of a frame are shared out. The decoder computes the same
// from what it has read (RFC 6716 §4.3.3). Bits are counted in eighths.
type allocation struct {
	shape     [bands]int // for the shapes
	fine      [bands]int // whole bits for each channel's energy
	late      [bands]int // 1 where more energy can wait until others had more
	balance   int        // left over
	coded     int        // bands with a shape
	intensity int        // band from which both channels have one shape
	dual      bool       // the channels are coded apart

	channels        int
	most, threshold [bands]int
	low, step       [bands]int // what a band gets at least, and may get more
}

// allocate shares out the bits, and writes what the decoder cannot know.
func (e *Encoder) allocate(total int) *allocation {
	a := &e.allocation
	*a = allocation{channels: e.channels, intensity: e.intensity}
	total = max(total, 0)
	skip := 0
	if total >= 1<<unit {
		skip = 1 << unit
	}
	total -= skip
	intensity, dual := 0, 0
	if a.channels == 2 {
		intensity = logs[bands]
		if intensity > total {
			intensity = 0
		} else {
			total -= intensity
			if total >= 1<<unit {
				dual = 1 << unit
			}
			total -= dual
		}
	}
	a.frame(total)
	sum := a.interpolate(total)
	sum, total, intensity = e.skip(a, reserve{sum, total, skip, intensity})
	if intensity > 0 {
		a.intensity = min(a.intensity, a.coded)
		e.coder.number(uint32(a.intensity), uint32(a.coded+1))
	} else {
		a.intensity = 0
	}
	if a.intensity <= 0 {
		total += dual
		dual = 0
	}
	if dual > 0 {
		a.dual = e.apart()
		e.coder.flag(a.dual, 1)
	}
	a.spread(total - sum)
	a.divide()
	return a
}

// reserve is what is spent, what there is, and what is set aside for later choices.
type reserve struct{ sum, total, skip, intensity int }

// vector returns the bits of a band by one of the static allocations.
func (a *allocation) vector(i, band int) int {
	bits := a.most[band]
	if i < len(vectors) {
		bits = a.channels * width(band) * int(vectors[i][band]) << scale >> 2
	}
	if bits > 0 {
		tilt := a.channels * width(band) * (trim - 5 - scale) * (bands - band - 1) * (1 << (scale + unit)) >> 6
		bits = max(0, bits+tilt)
	}
	return bits
}

// frame finds the two static allocations between which the total lies.
func (a *allocation) frame(total int) {
	for b := range bands {
		a.most[b] = (int(caps[a.channels-1][b]) + 64) * a.channels * (width(b) << scale) >> 2
		a.threshold[b] = max(a.channels<<unit, 3*width(b)<<scale<<unit>>4)
	}
	low, high := 1, len(vectors)-1
	for low <= high {
		mid := (low + high) / 2
		if a.total(func(b int) int { return a.vector(mid, b) }) > total {
			high = mid - 1
		} else {
			low = mid + 1
		}
	}
	for b := range bands {
		a.low[b] = a.vector(low-1, b)
		a.step[b] = max(0, a.vector(low, b)-a.low[b])
	}
}

// total adds up the bits of all bands: none above the last band that has enough, but
// for its energy.
func (a *allocation) total(bits func(band int) int) int {
	sum, floor, done := 0, a.channels<<unit, false
	for b := bands - 1; b >= 0; b-- {
		n := bits(b)
		switch {
		case n >= a.threshold[b] || done:
			done = true
			sum += min(n, a.most[b])
		case n >= floor:
			sum += floor
		}
	}
	return sum
}

// interpolate finds the share of the steps that fits, and returns its sum.
func (a *allocation) interpolate(total int) int {
	const fineness = 6
	low, high := 0, 1<<fineness
	for range fineness {
		mid := (low + high) / 2
		if a.total(func(b int) int { return a.low[b] + mid*a.step[b]>>fineness }) > total {
			high = mid
		} else {
			low = mid
		}
	}
	sum, floor, done := 0, a.channels<<unit, false
	for b := bands - 1; b >= 0; b-- {
		n := a.low[b] + low*a.step[b]>>fineness
		switch {
		case n >= a.threshold[b] || done:
			done = true
		case n >= floor:
			n = floor
		default:
			n = 0
		}
		a.shape[b] = min(n, a.most[b])
		sum += a.shape[b]
	}
	return sum
}

// skip leaves out high bands that have too little, and writes where it ends. It returns
// the sum, the total and what is set aside for the intensity.
func (e *Encoder) skip(a *allocation, r reserve) (sum, total, intensity int) {
	floor := a.channels << unit
	for a.coded = bands; ; a.coded-- {
		b := a.coded - 1
		if b == 0 {
			r.total += r.skip
			break
		}
		left := r.total - r.sum
		each := left / edges[a.coded]
		left -= edges[a.coded] * each
		bits := a.shape[b] + each*width(b) + max(left-edges[b], 0)
		if bits >= max(a.threshold[b], floor+1<<unit) {
			if e.keeps(a, b, bits) {
				e.coder.flag(true, 1)
				break
			}
			e.coder.flag(false, 1)
			r.sum += 1 << unit
			bits -= 1 << unit
		}
		r.sum -= a.shape[b] + r.intensity
		if r.intensity > 0 {
			r.intensity = logs[b]
		}
		r.sum += r.intensity
		a.shape[b] = 0
		if bits >= floor {
			r.sum += floor
			a.shape[b] = floor
		}
	}
	return r.sum, r.total, r.intensity
}

// keeps decides whether a high band is worth its bits: they must be a depth that the
// ear notices, with hysteresis, and there must be sound.
func (e *Encoder) keeps(a *allocation, band, bits int) bool {
	depth := 0
	if a.coded > onset {
		depth = 9
		if band < e.coded {
			depth = 7
		}
	}
	return a.coded <= 2 || bits > depth*width(band)<<scale<<unit>>4 && band <= e.highest
}

// spread shares out what is left over equally.
func (a *allocation) spread(left int) {
	each := left / edges[a.coded]
	left -= edges[a.coded] * each
	for b := range a.coded {
		a.shape[b] += each * width(b)
	}
	for b := range a.coded {
		more := min(left, width(b))
		a.shape[b] += more
		left -= more
	}
}

// divide divides each band's bits between energy and shape.
func (a *allocation) divide() {
	stereo := a.channels - 1
	for b := range a.coded {
		a.shape[b] += a.balance
		n := width(b) << scale
		excess := max(a.shape[b]-a.most[b], 0)
		a.shape[b] -= excess
		weight := a.channels * n
		if stereo == 1 && n > 2 && !a.dual && b < a.intensity {
			weight++
		}
		cost := weight * (logWidths[b] + scale<<unit)
		offset := cost>>1 - weight*fineOffset
		switch all := a.shape[b] + offset; {
		case all < weight*2<<unit:
			offset += cost >> 2
		case all < weight*3<<unit:
			offset += cost >> 3
		}
		fine := max(0, (a.shape[b]+offset+weight<<(unit-1))/(weight<<unit))
		if a.channels*fine > a.shape[b]>>unit {
			fine = a.shape[b] >> stereo >> unit
		}
		fine = min(fine, mostFine)
		a.late[b] = number(fine*(weight<<unit) >= a.shape[b]+offset)
		a.shape[b] -= a.channels * fine << unit
		if excess > 0 {
			more := min(excess>>(stereo+unit), mostFine-fine)
			fine += more
			bits := more * a.channels << unit
			a.late[b] = number(bits >= excess-a.balance)
			excess -= bits
		}
		a.fine[b] = fine
		a.balance = excess
	}
	for b := a.coded; b < bands; b++ {
		a.fine[b] = a.shape[b] >> stereo >> unit
		a.shape[b] = 0
		a.late[b] = number(a.fine[b] < 1)
	}
}

func number(set bool) int { //nolint:revive // a bit, not a mode
	if set {
		return 1
	}
	return 0
}
