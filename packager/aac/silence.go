package aac

// Silence returns a frame of AAC-LC without sound, for one to eight channels in the
// usual order (ISO/IEC 14496-3 §4.4.2, channel configurations 1 to 7). It has no
// coded spectrum, so that it fits any sample rate.
func Silence(channels int) []byte {
	const (
		single, pair, low, end = 0, 1, 3, 7 // raw_data_block elements
		gain                   = 100        // of no importance: nothing is scaled
	)
	var b bitWriter
	channel := func() {
		b.write(gain, 8) // global_gain; no section data: max_sfb is 0
		b.write(0, 3)    // no pulse, noise shaping or gain control data
	}
	info := func() {
		b.write(0, 1) // ics_reserved_bit
		b.write(0, 2) // ONLY_LONG_SEQUENCE
		b.write(0, 1) // window_shape
		b.write(0, 6) // max_sfb
		b.write(0, 1) // no predictor data
	}
	count := map[uint32]uint32{} // instances so far, by element
	element := func(id uint32) {
		b.write(id, 3)
		b.write(count[id], 4)
		count[id]++
		if id != pair {
			b.write(gain, 8)
			info()
			b.write(0, 3)
			return
		}
		b.write(1, 1) // common_window
		info()
		b.write(0, 2) // ms_mask_present
		channel()
		channel()
	}
	layouts := [...][]uint32{
		{single},
		{pair},
		{single, pair},
		{single, pair, single},
		{single, pair, pair},
		{single, pair, pair, low},
		nil,
		{single, pair, pair, pair, low},
	}
	if channels < 1 || channels > len(layouts) {
		return nil
	}
	if layouts[channels-1] == nil {
		return nil
	}
	for _, id := range layouts[channels-1] {
		element(id)
	}
	b.write(end, 3)
	return b.bytes
}

// bitWriter writes numbers of some bits, the highest bit first.
type bitWriter struct {
	bytes []byte
	used  int // bits of the last byte
}

func (w *bitWriter) write(value uint32, bits int) {
	for i := bits - 1; i >= 0; i-- {
		if w.used == 0 {
			w.bytes = append(w.bytes, 0)
		}
		w.bytes[len(w.bytes)-1] |= byte(value>>i&1) << (7 - w.used)
		w.used = (w.used + 1) % 8
	}
}
