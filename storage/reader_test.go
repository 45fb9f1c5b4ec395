package storage_test

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/whipcast/whipcast/storage"
)

func TestReader(t *testing.T) {
	for name, b := range bodies() {
		t.Run(name, func(t *testing.T) {
			want := b.Bytes()
			if err := iotest.TestReader(b.Reader(), want); err != nil {
				t.Error(err)
			}
			for from := range len(want) + 1 {
				r := b.Reader()
				if at, err := r.Seek(int64(from), io.SeekStart); at != int64(from) || err != nil {
					t.Errorf("seek %d: %d, %v", from, at, err)
				}
				var w bytes.Buffer
				if n, err := r.WriteTo(&w); n != int64(len(want)-from) || err != nil || w.String() != string(want[from:]) || r.Len() != 0 {
					t.Errorf("from %d: %d, %v, %q, %d left", from, n, err, w.String(), r.Len())
				}
			}
			if _, err := b.Reader().Seek(-1, io.SeekCurrent); err == nil {
				t.Error("went before the beginning")
			}
			if _, err := b.Reader().Seek(0, 7); err == nil {
				t.Error("an unknown whence")
			}
		})
	}
	r := storage.Body{[]byte("ab")}.Reader()
	if at, err := r.Seek(9, io.SeekStart); at != 2 || err != nil { // as far as there is something
		t.Errorf("%d, %v", at, err)
	}
}
