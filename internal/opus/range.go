package opus

import "math/bits"

const (
	codeTop   = 1 << 31      // the range's upper end
	codeFloor = codeTop >> 8 // a range at or below it gives up a byte
	codeShift = 23           // of the byte that is given up
)

// rangeEncoder writes the symbols of one frame: the range coder's from the front, raw
// bits from the back (RFC 6716 §5.1). Both meet within the size of the frame.
type rangeEncoder struct {
	buf   []byte // as long as the frame
	front int    // bytes written at the front
	back  int    // bytes written at the back

	low     uint32 // the lower end of the range, 31 bits and a carry
	size    uint32 // of the range
	held    int    // the newest byte, which a carry may still change; -1 for none
	carried int    // bytes of ones behind it
	counted int    // bits so far, before the part that is still in size

	window uint64 // raw bits that fill no byte yet
	used   int    // how many
	full   bool   // more was written than fits
}

// reset begins a frame that fills buf.
func (r *rangeEncoder) reset(buf []byte) {
	*r = rangeEncoder{buf: buf, size: codeTop, held: -1, counted: 33}
}

// bits returns how many bits the symbols so far take, rounded up (RFC 6716 §4.1.6.1).
func (r *rangeEncoder) bits() int { return r.counted - bits.Len32(r.size) }

// eighths returns the same in eighths of a bit (RFC 6716 §4.1.6.2).
func (r *rangeEncoder) eighths() int {
	length := bits.Len32(r.size)
	rest := uint64(r.size >> (length - 16))
	for range 3 {
		rest = rest * rest >> 15
		bit := rest >> 16
		length = 2*length + int(bit)
		rest >>= bit
	}
	return r.counted*8 - length
}

// symbol writes what takes from low to high of total.
func (r *rangeEncoder) symbol(low, high, total uint32) {
	step := r.size / total
	if low > 0 {
		r.low += r.size - step*(total-low)
		r.size = step * (high - low)
	} else {
		r.size -= step * (total - high)
	}
	r.settle()
}

// flag writes a bit that is set once in 2^log times.
func (r *rangeEncoder) flag(set bool, log int) { //nolint:revive // a bit, not a mode
	part := r.size >> log
	if set {
		r.low += r.size - part
		r.size = part
	} else {
		r.size -= part
	}
	r.settle()
}

// choice writes the index of a table of cumulative frequencies; the last is the total.
func (r *rangeEncoder) choice(i int, table []uint8) {
	low := uint32(0)
	if i > 0 {
		low = uint32(table[i-1])
	}
	r.symbol(low, uint32(table[i]), uint32(table[len(table)-1]))
}

// number writes one of total equally likely numbers (RFC 6716 §4.1.5).
func (r *rangeEncoder) number(value, total uint32) {
	raw := max(bits.Len32(total-1)-8, 0)
	r.symbol(value>>raw, value>>raw+1, (total-1)>>raw+1)
	if raw > 0 {
		r.raw(value&(1<<raw-1), raw)
	}
}

// laplace writes a number near zero, and returns the one that was written: far from
// zero there may be no room for it (RFC 6716 §4.3.2.1). zero is the frequency of 0 in
// 2^15, decay how much less frequent the next numbers are, in 2^14.
func (r *rangeEncoder) laplace(value int, zero, decay uint32) int {
	const total, guaranteed = 1 << 15, 16
	if value == 0 {
		r.symbol(0, zero, total)
		return 0
	}
	size, negative := value, uint32(0)
	if value < 0 {
		size, negative = -value, 1
	}
	low := zero
	part := (total - 2*guaranteed - zero) * (16384 - decay) >> 15
	at := 1
	for ; part > 0 && at < size; at++ {
		low += 2*part + 2
		part = 2 * part * decay >> 15
	}
	if part > 0 {
		part++
		low += part * (1 - negative)
	} else { // all the others are equally rare
		most := (total - low + negative) / 2
		more := min(uint32(size-at), most-1) //nolint:gosec // size is at least at
		low += 2*more + 1 - negative
		part = min(1, total-low)
		size = at + int(more)
	}
	r.symbol(low, low+part, total)
	if negative == 1 {
		return -size
	}
	return size
}

// raw writes bits at the back, the lowest first (RFC 6716 §4.1.4).
func (r *rangeEncoder) raw(value uint32, count int) {
	r.window |= uint64(value) << r.used
	r.used += count
	r.counted += count
	for r.used >= 8 {
		r.putBack(byte(r.window))
		r.window >>= 8
		r.used -= 8
	}
}

// settle gives up bytes until the range is wide enough.
func (r *rangeEncoder) settle() {
	for r.size <= codeFloor {
		r.put(int(r.low >> codeShift))
		r.low = r.low << 8 & (codeTop - 1)
		r.size <<= 8
		r.counted += 8
	}
}

// put takes a byte and a carry above it.
func (r *rangeEncoder) put(value int) {
	if value == 0xff {
		r.carried++
		return
	}
	carry := value >> 8
	if r.held >= 0 {
		r.putFront(byte(r.held + carry))
	}
	for ; r.carried > 0; r.carried-- {
		r.putFront(byte(0xff + carry))
	}
	r.held = value & 0xff
}

func (r *rangeEncoder) putFront(b byte) {
	if r.front+r.back >= len(r.buf) {
		r.full = true
		return
	}
	r.buf[r.front] = b
	r.front++
}

func (r *rangeEncoder) putBack(b byte) {
	if r.front+r.back >= len(r.buf) {
		r.full = true
		return
	}
	r.back++
	r.buf[len(r.buf)-r.back] = b
}

// finish writes what is left, so that any bits may follow (RFC 6716 §5.1.5). It
// reports whether all fitted.
func (r *rangeEncoder) finish() bool {
	count := 32 - bits.Len32(r.size)
	mask := uint32(codeTop-1) >> count
	end := (r.low + mask) &^ mask
	if end|mask >= r.low+r.size {
		count++
		mask >>= 1
		end = (r.low + mask) &^ mask
	}
	for ; count > 0; count -= 8 {
		r.put(int(end >> codeShift))
		end = end << 8 & (codeTop - 1)
	}
	if r.held >= 0 || r.carried > 0 {
		r.put(0)
	}
	if r.full {
		return false
	}
	clear(r.buf[r.front : len(r.buf)-r.back])
	if r.used > 0 {
		// Spare bits of the last byte at the front take raw ones.
		if r.back >= len(r.buf) || r.front+r.back >= len(r.buf) && -count < r.used {
			return false
		}
		r.buf[len(r.buf)-r.back-1] |= byte(r.window)
	}
	return true
}
