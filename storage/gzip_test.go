package storage_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/storage"
)

// kept is a Sink that keeps the last Object.
type kept struct{ storage.Object }

func (k *kept) Put(_ context.Context, o storage.Object) error { k.Object = o; return nil }
func (k *kept) Delete(context.Context, string) error          { return nil }

// specs S30.
func TestGzip(t *testing.T) {
	text := strings.Repeat("#EXTINF:2.00000,\ns1.m4s\n", 50)
	for _, kind := range []storage.Kind{storage.Playlist, storage.Multivariant, storage.LowLatency, storage.Segment, storage.Init} {
		var k kept
		s := storage.Gzip(&k)
		if err := s.Put(t.Context(), storage.Object{Kind: kind, Body: storage.Body{[]byte(text[:100]), []byte(text[100:])}}); err != nil {
			t.Fatal(err)
		}
		if kind == storage.Segment || kind == storage.Init {
			if k.Encoding != "" || string(k.Body.Bytes()) != text {
				t.Errorf("kind %d: media was changed", kind)
			}
			continue
		}
		if k.Encoding != "gzip" || k.Body.Len() > len(text)/4 {
			t.Errorf("kind %d: encoding %q, %d bytes", kind, k.Encoding, k.Body.Len())
		}
		r, err := gzip.NewReader(bytes.NewReader(k.Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != text {
			t.Errorf("kind %d: %v, %d bytes", kind, err, len(got))
		}
		small := k.Object
		if err := s.Put(t.Context(), small); err != nil || k.Encoding != "gzip" || k.Body.Len() != small.Body.Len() {
			t.Errorf("compressed twice: %v", err)
		}
		if err := s.Put(t.Context(), storage.Object{Kind: kind, Body: storage.Body{[]byte("#EXTM3U\n")}}); err != nil || k.Encoding != "" {
			t.Errorf("made larger: %q, %v", k.Encoding, err)
		}
	}
	if err := storage.Gzip(&kept{}).Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}
