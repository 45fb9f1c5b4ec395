package opus

// attack finds sound that begins within a frame. Long blocks would smear its noise over
// the quiet before it.
type attack struct {
	before float32 // level of the last pieces
}

const (
	// pieces are what a frame is looked at in, 2.5 ms each.
	pieces = FrameSamples / overlap
	// sudden is how much louder than the pieces before it a piece is an attack: 12 dB.
	sudden = 16
	// faint is the level below which nothing is an attack: 60 dB below full scale.
	faint = full * full * 1e-6
)

// find tells whether there is an attack in the frame.
func (a *attack) find(channels []frame) bool {
	found := false
	for i := range pieces + 1 {
		level := float32(0)
		for c := range channels {
			piece := channels[c].samples[i*overlap : (i+1)*overlap]
			sum := float32(0)
			for _, v := range piece {
				sum += v * v
			}
			level = max(level, sum/overlap)
		}
		if i > 0 && level > faint && level > sudden*a.before {
			found = true
		}
		// What was loud masks what follows it: 6 dB less every 2.5 ms.
		a.before = max(level, a.before/4)
	}
	return found
}
