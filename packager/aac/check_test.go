package aac

// Checked is an encoder that costs nothing and checks what it gets.
type Checked struct {
	Outside int // samples that no encoder may get
	calls   int
}

// NewChecked returns a Transcoder with that encoder.
func NewChecked(e *Checked) (*Transcoder, error) {
	dec, err := newDecoder()
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
	if e.calls++; e.calls == 1 {
		return dst, nil
	}
	return append(dst, 1), nil
}

func (e *Checked) reset() error {
	e.calls = 0
	return nil
}

func (e *Checked) config() []byte { return nil }
