package mix

import (
	"errors"

	"github.com/pion/opus"
)

const (
	// maxPacket is the longest packet, 120 ms (RFC 6716 §3.2.5).
	maxPacket = rate * 120 / 1000
	// loudest is beyond what an encoder makes even of clipped sound.
	loudest = 16
)

var errLoud = errors.New("decoded sound is out of range")

// decoder decodes Opus to 48 kHz stereo. Mono becomes both channels.
type decoder struct {
	opus opus.Decoder
	raw  []float32
	pcm  []stereo
}

func newDecoder() (*decoder, error) {
	d := &decoder{raw: make([]float32, 2*maxPacket), pcm: make([]stereo, maxPacket)}
	var err error
	d.opus, err = opus.NewDecoderWithOutput(rate, 2)
	return d, err
}

// reset forgets the stream.
func (d *decoder) reset() {
	// Rate and channels were right in newDecoder: no error is left.
	_ = d.opus.Init(rate, 2)
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
		// Written so that NaN is out of range, too, which the decoder must not remember.
		if !(l < loudest && l > -loudest && r < loudest && r > -loudest) {
			d.reset()
			return nil, errLoud
		}
		pcm[i] = stereo{l, r}
	}
	return pcm, nil
}

// frames returns how many frames a packet has, and how many bytes tell it; 0 if it is
// none (RFC 6716 §3.2).
func frames(packet []byte) (count, head int) {
	switch {
	case len(packet) == 0:
		return 0, 0
	case packet[0]&3 == 0:
		return 1, 1
	case packet[0]&3 < 3:
		return 2, 1
	case len(packet) > 1:
		return int(packet[1] & 0x3f), 2
	}
	return 0, 0
}

// duration returns what a packet lasts; 0 if it holds no frames (RFC 6716 §3.1).
func duration(packet []byte) int64 {
	count, _ := frames(packet)
	if count == 0 {
		return 0
	}
	ticks := int64(0)
	switch config := packet[0] >> 3; {
	case config < 12:
		ticks = []int64{480, 960, 1920, 2880}[config%4]
	case config < 16:
		ticks = 480 << (config % 2)
	default:
		ticks = 120 << (config % 4)
	}
	if ticks *= int64(count); ticks > maxPacket {
		return 0
	}
	return ticks
}

// paused tells whether a packet has no sound, which an encoder with discontinuous
// transmission makes of a pause: its frames have a byte at most.
func paused(packet []byte) bool {
	count, head := frames(packet)
	if head == 2 && packet[1]&0x40 != 0 { // padded
		return false
	}
	return count > 0 && len(packet)-head <= count
}
