package opus

import "math"

const (
	// mostPulses is the most pulses of a codebook, and mostBins the most bins of a band.
	mostPulses = 128
	mostBins   = 176
	// mostBoth is the most of which a codebook has both pulses and bins, and some.
	mostBoth = 16
)

// codebook counts the ways to place pulses: ways[a][b] is the U(a, b) and U(b, a) of
// RFC 6716 §4.3.4.2, where a is not more than b. What overflows is never used.
type codebook [mostBoth][mostBins + 1]uint32

func newCodebook() *codebook {
	ways := &codebook{}
	ways[0][0] = 1
	for n := 1; n < mostBoth; n++ {
		for k := 1; k <= mostBins; k++ {
			ways[n][k] = ways[n-1][k] + ways[n][k-1] + ways[n-1][k-1]
		}
	}
	return ways
}

func (w *codebook) count(n, k int) uint32 {
	if n > k {
		n, k = k, n
	}
	return w[n][k]
}

// index returns which of how many placements of k pulses the pulses are.
func (w *codebook) index(pulses []int, k int) (index, total uint32) {
	n, sum := len(pulses), 0
	for i := n - 1; i >= 0; i-- {
		p := pulses[i]
		index += w.count(n-i, sum)
		if p < 0 {
			p = -p
			index += w.count(n-i, sum+p+1)
		}
		sum += p
	}
	return index, w.count(n, k) + w.count(n, k+1)
}

// pulsesOf returns how many pulses an entry of costs stands for.
func pulsesOf(entry int) int {
	if entry < 8 {
		return entry
	}
	return (8 + entry&7) << (entry>>3 - 1)
}

// costList returns the costs of a band that is halved so often that size is left:
// scale for all of it, -1 for the least.
func costList(band, size int) []uint8 { return costs[costIndex[size+1][band]:] }

// entry returns the entry whose cost is nearest to the bits.
func entry(list []uint8, bits int) int {
	if bits <= 0 {
		return 0
	}
	low, high := 0, int(list[0])
	bits--
	for range 6 {
		mid := (low + high + 1) >> 1
		if int(list[mid]) >= bits {
			high = mid
		} else {
			low = mid
		}
	}
	under := -1
	if low > 0 {
		under = int(list[low])
	}
	if bits-under <= int(list[high])-bits {
		return low
	}
	return high
}

func cost(list []uint8, entry int) int {
	if entry == 0 {
		return 0
	}
	return int(list[entry]) + 1
}

// place places k pulses so that they point where x does, as nearly as it can be found
// one pulse at a time (RFC 6716 §5.3.8.1).
func (e *Encoder) place(x []float32, k int) []int {
	pulses, size, double := e.pulses[:len(x)], e.size[:len(x)], e.double[:len(x)]
	sum := float32(0)
	for i, v := range x {
		size[i] = float32(math.Abs(float64(v)))
		sum += size[i]
		pulses[i], double[i] = 0, 0
	}
	left := k
	var both, power float32 // of x and the pulses, and of the pulses
	if k > len(x)/2 && sum > 1e-15 {
		// Most of them can be placed at once.
		gain := (float32(k) + 0.8) / sum
		for i, v := range size {
			n := int(gain * v)
			p := float32(n)
			pulses[i], double[i] = n, 2*p
			both += v * p
			power += p * p
			left -= n
		}
	}
	if sum <= 1e-15 {
		size[0] = 1
	}
	for ; left > 0; left-- {
		power++
		best, over, under := 0, float32(-1), float32(1)
		for i, v := range size {
			b := both + v
			p := power + double[i]
			if b *= b; b*under > over*p {
				best, over, under = i, b, p
			}
		}
		both += size[best]
		power += double[best]
		double[best] += 2
		pulses[best]++
	}
	for ; left < 0; left++ { // rounding placed too many
		for i := range pulses {
			if pulses[i] > 0 {
				pulses[i]--
				break
			}
		}
	}
	for i, v := range x {
		if v < 0 {
			pulses[i] = -pulses[i]
		}
	}
	return pulses
}

// rotate spreads each bin over its neighbours, so that few pulses do not sound like
// single tones (RFC 6716 §4.3.4.3). The decoder turns it back.
func rotate(x []float32, parts, k, spread int) {
	if 2*k >= len(x) || spread == spreadNone {
		return
	}
	n := len(x)
	factor := [...]int{15, 10, 5}[spread-1]
	gain := float64(n) / float64(n+factor*k)
	sin, cos := math.Sincos(math.Pi / 4 * gain * gain)
	s, c := float32(sin), float32(cos)
	stride := 0
	if n >= 8*parts {
		for stride = 1; (stride*stride+stride)*parts+parts>>2 < n; stride++ {
		}
	}
	n /= parts
	for i := range parts {
		part := x[i*n : (i+1)*n]
		turn(part, 1, c, -s)
		if stride > 0 {
			turn(part, stride, s, -c)
		}
	}
}

// turn turns bins that are stride apart, there and back.
func turn(x []float32, stride int, c, s float32) {
	n := len(x)
	for i := 0; i < n-stride; i++ {
		a, b := x[i], x[i+stride]
		x[i+stride] = c*b + s*a
		x[i] = c*a - s*b
	}
	for i := n - 2*stride - 1; i >= 0; i-- {
		a, b := x[i], x[i+stride]
		x[i+stride] = c*b + s*a
		x[i] = c*a - s*b
	}
}
