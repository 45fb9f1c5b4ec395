package directory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/whipcast/whipcast/storage"
)

// Swap implements storage.Swapper: the folder is locked while the content is
// compared and replaced. Where the system has no such lock the error is
// errors.ErrUnsupported.
func (s *Sink) Swap(ctx context.Context, o storage.Object, version string) (string, error) {
	tag, err := s.swap(ctx, o, version)
	if err != nil {
		return "", fmt.Errorf("swap %s: %w", o.Key, err)
	}
	return tag, nil
}

func (s *Sink) swap(ctx context.Context, o storage.Object, version string) (string, error) {
	if err := begin(ctx, o.Key); err != nil {
		return "", err
	}
	f, err := s.root.Open(".")
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // that is the end of the lock
	if err := lockFolder(ctx, f); err != nil {
		return "", err
	}
	now, err := s.Load(ctx, o.Key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return "", err
	}
	if now.Tag != version {
		return "", storage.ErrChanged
	}
	return tagOf(o.Body), s.put(ctx, o)
}

// lockFolder waits for the lock of an open folder. It ends when that is closed.
func lockFolder(ctx context.Context, f *os.File) error {
	for {
		held, err := tryLock(f)
		if err != nil || held {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Load implements storage.Swapper. The time of a file may be another machine's, so
// its age is not told.
func (s *Sink) Load(ctx context.Context, key string) (storage.Version, error) {
	o, err := s.Get(ctx, key)
	if err != nil {
		return storage.Version{}, err
	}
	return storage.Version{Object: o, Tag: tagOf(o.Body), Age: -1}, nil
}

// tagOf is a version: the content itself.
func tagOf(b storage.Body) string {
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:16])
}
