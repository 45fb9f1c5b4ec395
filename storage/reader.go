package storage

import (
	"errors"
	"fmt"
	"io"
)

// Reader returns a reader of the Body. It copies nothing before it is read.
func (b Body) Reader() *Reader { return &Reader{body: b, size: int64(b.Len())} }

// Reader reads a Body. It is for one goroutine.
type Reader struct {
	body  Body
	size  int64
	at    int64
	piece int // at is in it, or at its end
	in    int // how far in the piece
}

// Len returns how many bytes are left.
func (r *Reader) Len() int { return int(r.size - r.at) }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && r.piece < len(r.body) {
		c := copy(p[n:], r.body[r.piece][r.in:])
		n += c
		r.in += c
		if r.in == len(r.body[r.piece]) {
			r.piece, r.in = r.piece+1, 0
		}
	}
	r.at += int64(n)
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	n, err := r.body.Slice(int(r.at), int(r.size)).WriteTo(w)
	if _, seek := r.Seek(n, io.SeekCurrent); seek != nil && err == nil {
		err = seek
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	default:
		return 0, fmt.Errorf("seek: whence %d is unknown", whence)
	}
	if offset < 0 {
		return 0, errors.New("seek: before the beginning")
	}
	r.at, r.piece, r.in = min(offset, r.size), 0, int(min(offset, r.size))
	for r.piece < len(r.body) && r.in >= len(r.body[r.piece]) {
		r.in -= len(r.body[r.piece])
		r.piece++
	}
	return r.at, nil
}
