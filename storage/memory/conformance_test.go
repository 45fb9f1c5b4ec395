package memory_test

import (
	"context"
	"testing"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/memory"
	"github.com/whipcast/whipcast/storage/storagetest"
)

func open(*testing.T) (storage.Sink, storagetest.Read) {
	s := memory.New(memory.Config{})
	return s, func(ctx context.Context, key string) ([]byte, error) {
		o, err := s.Get(ctx, key, nil)
		return o.Body.Bytes(), err
	}
}

func TestStoreIsASink(t *testing.T) { storagetest.Run(t, open) }

func TestTeeOfOneIsASink(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.Sink, storagetest.Read) {
		s, read := open(t)
		return storage.Tee(s), read
	})
}

func TestOnlyAllKindsIsASink(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.Sink, storagetest.Read) {
		s, read := open(t)
		return storage.Only(s, storage.Init, storage.Part, storage.Segment,
			storage.Playlist, storage.LowLatency, storage.Multivariant), read
	})
}
