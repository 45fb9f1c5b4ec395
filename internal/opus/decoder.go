package opus

import (
	"errors"

	pion "github.com/pion/opus"
)

const (
	// MostSamples is what the longest packet lasts for each channel, 120 ms (RFC 6716
	// §3.2.5).
	MostSamples = Rate * 120 / 1000
	// loudest is beyond what an encoder makes even of clipped sound. A decoder that
	// says more was driven there by broken bytes.
	loudest = 16
)

var errLoud = errors.New("decoded sound is out of range")

// Stereo is one sample: left and right; full scale is -1 to 1.
type Stereo [2]float32

// Decoder decodes Opus to stereo at Rate, by github.com/pion/opus. Mono becomes both
// channels. One goroutine uses it.
type Decoder struct {
	opus pion.Decoder
	raw  []float32
	pcm  []Stereo
}

// NewDecoder returns a Decoder.
func NewDecoder() (*Decoder, error) {
	d := &Decoder{raw: make([]float32, 2*MostSamples), pcm: make([]Stereo, MostSamples)}
	var err error
	d.opus, err = pion.NewDecoderWithOutput(Rate, 2)
	return d, err
}

// Reset forgets the stream.
func (d *Decoder) Reset() {
	// Rate and channels were right in NewDecoder: no error is left.
	_ = d.opus.Init(Rate, 2)
}

// Decode returns a packet's sound, which is valid until the next call. It fails for
// what is no Opus, and for what decodes to more than any sound.
func (d *Decoder) Decode(packet []byte) ([]Stereo, error) {
	n, err := d.opus.DecodeToFloat32(packet, d.raw)
	if err != nil {
		return nil, err
	}
	pcm := d.pcm[:n]
	for i := range pcm {
		l, r := d.raw[2*i], d.raw[2*i+1]
		// Written so that NaN is out of range too. The decoder's memory of it must go.
		if !(l < loudest && l > -loudest && r < loudest && r > -loudest) {
			d.Reset()
			return nil, errLoud
		}
		pcm[i] = Stereo{l, r}
	}
	return pcm, nil
}

// Paused reports whether a packet holds no sound, which an encoder with discontinuous
// transmission makes of a pause: its frames have a byte at most (RFC 6716 §3.1, §3.2).
func Paused(packet []byte) bool {
	if len(packet) == 0 {
		return false
	}
	frames, head := 1, 1
	switch packet[0] & 3 {
	case 1, 2: // of two frames; the length of the first is a byte of them
		frames = 2
	case 3: // of as many as the second byte says, and without padding
		if head = 2; len(packet) < 2 || packet[1]&0x40 != 0 {
			return false
		}
		frames = int(packet[1] & 0x3f)
	}
	return len(packet)-head <= frames && frames > 0
}
