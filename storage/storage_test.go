package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/whipcast/whipcast/storage"
)

var errBroken = errors.New("broken")

// notes is a Sink that writes down what it gets.
type notes struct {
	got []string
	err error
}

func (n *notes) Put(_ context.Context, o storage.Object) error {
	n.got = append(n.got, "put "+o.Key)
	return n.err
}

func (n *notes) Delete(_ context.Context, key string) error {
	n.got = append(n.got, "delete "+key)
	return n.err
}

func TestTeeFeedsAllSinksInOrderWhateverFails(t *testing.T) {
	other := errors.New("other")
	first, second, third := &notes{err: errBroken}, &notes{}, &notes{err: other}
	sinks := []storage.Sink{first, second, third}
	s := storage.Tee(sinks...)
	sinks[1] = first // the Tee keeps its own list
	for _, err := range []error{
		s.Put(t.Context(), storage.Object{Key: "a"}),
		s.Delete(t.Context(), "a"),
	} {
		if !errors.Is(err, errBroken) || !errors.Is(err, other) {
			t.Errorf("error %v, want both", err)
		}
	}
	for i, n := range []*notes{first, second, third} {
		if want := []string{"put a", "delete a"}; !slices.Equal(n.got, want) {
			t.Errorf("sink %d got %q, want %q", i, n.got, want)
		}
	}
	if err := storage.Tee().Put(t.Context(), storage.Object{}); err != nil {
		t.Errorf("no sinks: %v", err)
	}
}

func TestOnlyPassesItsKindsAndEveryDelete(t *testing.T) {
	n := &notes{}
	s := storage.Only(n, storage.Init, storage.Segment)
	for key, kind := range map[string]storage.Kind{
		"part": storage.Part, "ll": storage.LowLatency, "plain": storage.Playlist, "mv": storage.Multivariant,
	} {
		if err := s.Put(t.Context(), storage.Object{Key: key, Kind: kind}); err != nil {
			t.Error(err)
		}
	}
	for key, kind := range map[string]storage.Kind{"init": storage.Init, "segment": storage.Segment} {
		if err := s.Put(t.Context(), storage.Object{Key: key, Kind: kind}); err != nil {
			t.Error(err)
		}
	}
	if err := s.Delete(t.Context(), "part"); err != nil {
		t.Error(err)
	}
	slices.Sort(n.got)
	if want := []string{"delete part", "put init", "put segment"}; !slices.Equal(n.got, want) {
		t.Errorf("got %q, want %q", n.got, want)
	}
	n.err = errBroken
	if err := s.Put(t.Context(), storage.Object{Kind: storage.Init}); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
	if err := s.Put(t.Context(), storage.Object{Kind: storage.Part}); err != nil {
		t.Errorf("what is dropped cannot fail: %v", err)
	}
}

func bodies() map[string]storage.Body {
	return map[string]storage.Body{
		"nothing":     nil,
		"one piece":   {[]byte("one piece")},
		"many pieces": {[]byte("many"), nil, []byte(" "), []byte("pie"), {}, []byte("ces")},
	}
}

func TestBody(t *testing.T) {
	for name, b := range bodies() {
		t.Run(name, func(t *testing.T) {
			want := name
			if b == nil {
				want = ""
			}
			if b.Len() != len(want) || string(b.Bytes()) != want {
				t.Errorf("Len %d, Bytes %q", b.Len(), b.Bytes())
			}
			var w bytes.Buffer
			if n, err := b.WriteTo(&w); err != nil || n != int64(len(want)) || w.String() != want {
				t.Errorf("WriteTo: %d, %v, %q", n, err, w.String())
			}
			for from := -1; from <= len(want)+1; from++ {
				for end := -1; end <= len(want)+1; end++ {
					low, high := max(from, 0), min(end, len(want))
					part := ""
					if low < high {
						part = want[low:high]
					}
					if got := string(b.Slice(from, end).Bytes()); got != part {
						t.Errorf("Slice(%d, %d) = %q, want %q", from, end, got, part)
					}
				}
			}
		})
	}
}

func TestBodyOfOnePieceIsNotCopied(t *testing.T) {
	piece := []byte("piece")
	b := storage.Body{piece}
	if &b.Bytes()[0] != &piece[0] || &b.Slice(1, 3)[0][0] != &piece[1] {
		t.Error("copied")
	}
	part := b.Slice(1, 3)
	_ = append(part[0], 'X')
	if string(piece) != "piece" {
		t.Errorf("appending to a slice wrote into the body: %q", piece)
	}
}

// short takes so many bytes and fails.
type short struct{ left int }

func (s *short) Write(p []byte) (int, error) {
	n := min(len(p), s.left)
	s.left -= n
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func TestWriteToStopsAtTheFirstError(t *testing.T) {
	n, err := bodies()["many pieces"].WriteTo(&short{left: 6})
	if n != 6 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%d, %v", n, err)
	}
}
