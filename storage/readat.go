package storage

import (
	"errors"
	"io"
)

var _ io.ReaderAt = Body(nil)

// ReadAt makes a Body an io.ReaderAt, so that a byte range can be served
// without joining the pieces.
func (b Body) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("read body: negative offset")
	}
	n := 0
	for _, piece := range b {
		if offset >= int64(len(piece)) {
			offset -= int64(len(piece))
			continue
		}
		n += copy(p[n:], piece[offset:])
		offset = 0
		if n == len(p) {
			return n, nil
		}
	}
	if n == len(p) {
		return n, nil
	}
	return n, io.EOF
}
