package storage

import (
	"bytes"
	"io"
)

// Body is the content of an Object in one or more pieces, so that a segment can
// share the memory of its parts and a playlist that of its history. The pieces
// are immutable.
type Body [][]byte

// Len returns the length in bytes.
func (b Body) Len() int {
	n := 0
	for _, piece := range b {
		n += len(piece)
	}
	return n
}

// WriteTo writes all pieces to w. It does not change the Body.
func (b Body) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for _, piece := range b {
		n, err := w.Write(piece)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// Bytes returns the content in one piece, copying only when there are several.
func (b Body) Bytes() []byte {
	if len(b) == 1 {
		return b[0]
	}
	return bytes.Join(b, nil)
}
