package aac

import (
	"errors"

	"github.com/whipcast/whipcast/internal/opus"
)

// Checked is an encoder that costs nothing and checks what it gets.
type Checked struct {
	Outside int // samples that no encoder may get
	Fail    int // the call after a reset that fails
	Given   int // calls in all
	calls   int
}

// NewChecked returns a Transcoder with that encoder.
func NewChecked(e *Checked) (*Transcoder, error) {
	dec, err := opus.NewDecoder()
	if err != nil {
		return nil, err
	}
	return newTranscoder(e, dec)
}

func (e *Checked) encode(dst []byte, left, right []float32) ([]byte, error) {
	for i := range left {
		if !(left[i] >= -1 && left[i] <= 1 && right[i] >= -1 && right[i] <= 1) {
			e.Outside++
		}
	}
	e.Given++
	if e.calls++; e.calls == e.Fail {
		return dst, errors.New("fails as told")
	}
	if e.calls == 1 {
		return dst, nil
	}
	return append(dst, 1), nil
}

func (e *Checked) reset() error {
	e.calls = 0
	return nil
}

func (e *Checked) config() []byte { return nil }

// EveryFrame encodes what packets without holes sound like, each frame of it.
func EveryFrame(packets [][]byte) [][]byte {
	dec, err := opus.NewDecoder()
	if err != nil {
		return nil
	}
	enc, err := newEncoder(defaultBitrate)
	if err != nil {
		return nil
	}
	var units [][]byte
	var left, right [FrameTicks]float32
	n := 0
	for _, p := range packets {
		pcm, err := dec.Decode(p)
		if err != nil {
			return nil
		}
		for _, s := range pcm {
			left[n], right[n] = s[0], s[1]
			if n++; n == FrameTicks {
				n = 0
				unit, err := enc.encode(nil, left[:], right[:])
				if err != nil {
					return nil
				}
				units = append(units, unit)
			}
		}
	}
	return units[2:] // nothing, and what lies before the grid
}
