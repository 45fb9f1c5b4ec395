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

// paused tells whether a packet holds no sound, which an encoder with discontinuous
// transmission makes of a pause: its frames have a byte at most (RFC 6716 §3.1, §3.2).
func paused(packet []byte) bool {
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
