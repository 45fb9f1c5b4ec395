package aac

import (
	"errors"

	"github.com/pion/opus"
)

const (
	// maxPacket is the longest packet, 120 ms (RFC 6716 §3.2.5).
	maxPacket = Rate * 120 / 1000
	// loudest is beyond what an encoder makes even of clipped sound. A decoder
	// that says more was driven there by broken bytes.
	loudest = 16
)

var errLoud = errors.New("decoded sound is out of range")

// stereo is one sample: left and right; full scale is -1 to 1.
type stereo [2]float32

// decoder decodes Opus to 48 kHz stereo. Mono becomes both channels.
type decoder struct {
	opus opus.Decoder
	raw  []float32
	pcm  []stereo
}

func newDecoder() (*decoder, error) {
	d := &decoder{raw: make([]float32, 2*maxPacket), pcm: make([]stereo, maxPacket)}
	var err error
	d.opus, err = opus.NewDecoderWithOutput(Rate, 2)
	return d, err
}

// reset forgets the stream.
func (d *decoder) reset() {
	// Rate and channels were right in newDecoder: no error is left.
	_ = d.opus.Init(Rate, 2)
}

// decode returns the packet's sound, which is valid until the next call.
func (d *decoder) decode(packet []byte) ([]stereo, error) {
	n, err := d.opus.DecodeToFloat32(packet, d.raw)
	if err != nil {
		return nil, err
	}
	pcm := d.pcm[:n]
	for i := range pcm {
		l, r := d.raw[2*i], d.raw[2*i+1]
		// Written so that NaN is out of range too. The decoder's memory of it must go.
		if !(l < loudest && l > -loudest && r < loudest && r > -loudest) {
			d.reset()
			return nil, errLoud
		}
		pcm[i] = stereo{l, r}
	}
	return pcm, nil
}
