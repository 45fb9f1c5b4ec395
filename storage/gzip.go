package storage

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
)

// Gzip returns a Sink that compresses playlists before it gives them to s, and
// says so in Object.Encoding: for stores that serve what they were given (specs
// S30). Every HLS player takes it. A playlist that would not get smaller, and all
// media, pass as they are.
func Gzip(s Sink) Sink { return zipped{s} }

type zipped struct{ Sink }

func (z zipped) Put(ctx context.Context, o Object) error {
	if o.Kind&texts != 0 && o.Encoding == "" {
		var small bytes.Buffer
		w := gzip.NewWriter(&small)
		_, err := o.Body.WriteTo(w)
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return fmt.Errorf("compress %s: %w", o.Key, err)
		}
		if small.Len() < o.Body.Len() {
			o.Body, o.Encoding = Body{small.Bytes()}, "gzip"
		}
	}
	return z.Sink.Put(ctx, o)
}
