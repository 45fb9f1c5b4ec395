// Package memory keeps Objects in RAM, and lets readers wait for them.
//
// It is the store of the origin: the packager Puts, viewers Get. A Get can wait
// until an Object is what the viewer asked for, which is all that a blocking
// playlist reload needs. The package knows no HTTP and no playlist text.
//
//	Put ──▶ slot: version ──next──▶ version ──next──▶ …
//	                 ▲ one broadcast wakes all who wait for the next one
//
// Every slot is a chain of versions. A reader walks the chain without a lock,
// so that thousands of woken readers do not queue for the mutex that the writer
// needs. (internal/watch would take a lock for every reader at every wake.)
package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/whipcast/whipcast/storage"
)

// ErrFull says that a bound of the Config is reached.
var ErrFull = errors.New("memory store is full")

// Config bounds a Store. The zero Config is good for some hundred streams.
type Config struct {
	// MaxBytes is how many bytes of content are held. A segment that shares the
	// memory of its parts counts as if it did not. 0: 2 GiB.
	MaxBytes int64
	// MaxKeys is how many keys are held, those included that have no Object yet
	// but someone who waits for it. 0: 262,144.
	MaxKeys int
}

// Stats is what a Store holds at one moment.
type Stats struct {
	Objects int
	Bytes   int64
	Waiting int // readers that wait in Get
}

// Store is a storage.Sink that can be read. All methods may be called from any
// goroutine.
type Store struct {
	cfg     Config
	waiting atomic.Int64

	mu      sync.RWMutex
	slots   map[string]*slot
	objects int
	bytes   int64
}

// slot is one key. It lives while there is an Object or a waiting reader.
type slot struct {
	waiting atomic.Int64 // rises only under Store.mu, read or write
	latest  *version     // guarded by Store.mu
}

// state says what a version is.
type state uint8

const (
	absent state = iota // not there yet
	stored
	gone // deleted: the last of its chain
)

// version is what a key held for a while. It never changes, except that its
// successor is set once, before changed is closed.
type version struct {
	state   state
	object  storage.Object
	changed chan struct{}
	next    *version
}

// New returns an empty Store.
func New(cfg Config) *Store {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 2 << 30
	}
	if cfg.MaxKeys <= 0 {
		cfg.MaxKeys = 1 << 18
	}
	return &Store{cfg: cfg, slots: make(map[string]*slot)}
}

// Put implements storage.Sink. It wakes all readers that wait for the key with
// one broadcast, after it let go of the lock. Beyond a bound it changes nothing
// and returns an ErrFull that names the bound.
func (s *Store) Put(ctx context.Context, o storage.Object) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", o.Key, err)
	}
	former, err := s.replace(&version{state: stored, object: o, changed: make(chan struct{})})
	if err != nil {
		return fmt.Errorf("put %s: %w", o.Key, err)
	}
	if former != nil {
		close(former.changed)
	}
	return nil
}

// replace makes v the latest version of its key and returns the one before.
func (s *Store) replace(v *version) (*version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	here, known := s.slots[v.object.Key]
	grow, more := size(v.object), 1
	if known && here.latest.state == stored {
		grow, more = grow-size(here.latest.object), 0
	}
	if grow > 0 && s.bytes+grow > s.cfg.MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes held and %d more are over MaxBytes %d", ErrFull, s.bytes, grow, s.cfg.MaxBytes)
	}
	if !known {
		if len(s.slots) >= s.cfg.MaxKeys {
			return nil, fmt.Errorf("%w: %d keys held, MaxKeys is %d", ErrFull, len(s.slots), s.cfg.MaxKeys)
		}
		here = new(slot)
		s.slots[v.object.Key] = here
	}
	s.bytes += grow
	s.objects += more
	former := here.latest
	here.latest = v
	if former != nil {
		former.next = v
	}
	return former, nil
}

// Delete implements storage.Sink. It releases readers that wait for the key
// with storage.ErrNotFound, also when there was never an Object.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	if former := s.remove(key); former != nil {
		close(former.changed)
	}
	return nil
}

func (s *Store) remove(key string) *version {
	s.mu.Lock()
	defer s.mu.Unlock()
	here, known := s.slots[key]
	if !known {
		return nil
	}
	former := here.latest
	if former.state == stored {
		s.bytes -= size(former.object)
		s.objects--
	}
	former.next = &version{state: gone}
	here.latest = former.next
	delete(s.slots, key)
	return former
}

// Get returns the Object of that key.
//
// With ready nil it answers at once, with storage.ErrNotFound if there is none.
// Else it waits until there is one that ready accepts. A Delete of the key ends
// the wait with storage.ErrNotFound; the end of ctx ends it with the last Object
// seen, if any, and the context's error. ready runs without a lock, once for
// every version at most, and must be free of side effects.
func (s *Store) Get(ctx context.Context, key string, ready func(storage.Object) bool) (storage.Object, error) {
	if ready == nil {
		if v := s.look(key); v != nil && v.state == stored {
			return v.object, nil
		}
		return storage.Object{}, storage.ErrNotFound
	}
	here, v, err := s.enter(key)
	if err != nil {
		return storage.Object{}, fmt.Errorf("wait for %s: %w", key, err)
	}
	v, err = follow(ctx, v, ready)
	s.leave(key, here, v)
	return v.object, err
}

// follow walks from version to version until ready accepts one. It returns the
// last version that it saw.
func follow(ctx context.Context, v *version, ready func(storage.Object) bool) (*version, error) {
	for {
		switch v.state {
		case gone:
			return v, storage.ErrNotFound
		case stored:
			if ready(v.object) {
				return v, nil
			}
		case absent:
		}
		select {
		case <-v.changed:
			v = v.next
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}

func (s *Store) look(key string) *version {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if here, known := s.slots[key]; known {
		return here.latest
	}
	return nil
}

// enter counts a reader in and returns where it starts.
func (s *Store) enter(key string) (*slot, *version, error) {
	s.mu.RLock()
	here, known := s.slots[key]
	if known {
		defer s.mu.RUnlock()
		here.waiting.Add(1)
		s.waiting.Add(1)
		return here, here.latest, nil
	}
	s.mu.RUnlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	if here, known = s.slots[key]; !known {
		if len(s.slots) >= s.cfg.MaxKeys {
			return nil, nil, fmt.Errorf("%w: %d keys held, MaxKeys is %d", ErrFull, len(s.slots), s.cfg.MaxKeys)
		}
		here = &slot{latest: &version{changed: make(chan struct{})}}
		s.slots[key] = here
	}
	here.waiting.Add(1)
	s.waiting.Add(1)
	return here, here.latest, nil
}

// leave counts a reader out. The last one that waited in vain for a key that
// has no Object takes the slot with it; all others need no lock.
func (s *Store) leave(key string, here *slot, last *version) {
	s.waiting.Add(-1)
	if here.waiting.Add(-1) > 0 || last.state != absent {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots[key] == here && here.latest.state == absent && here.waiting.Load() == 0 {
		delete(s.slots, key)
	}
}

// Waiting returns how many readers are in a Get for that key that can wait.
func (s *Store) Waiting(key string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if here, known := s.slots[key]; known {
		return int(here.waiting.Load())
	}
	return 0
}

// Stats returns what the Store holds now.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{Objects: s.objects, Bytes: s.bytes, Waiting: int(s.waiting.Load())}
}

func size(o storage.Object) int64 { return int64(o.Body.Len()) + int64(o.Delta.Len()) }
