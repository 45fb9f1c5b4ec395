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
//
// With a Budget, the oldest segments move to a Backing, such as a folder, and
// are read back when somebody asks for them: see spill.go and recall.go. Live
// viewers do not notice; what they read is in RAM.
package memory

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/whipcast/whipcast/storage"
)

// ErrFull says that a bound of the Config is reached.
var ErrFull = errors.New("memory store is full")

// Config bounds a Store. The zero Config is good for some hundred streams.
type Config struct {
	// MaxBytes is how many bytes of content are held. A segment that shares the
	// memory of its parts counts as if it did not, unless there is a Budget.
	// 0: 2 GiB, and twice the Budget.
	MaxBytes int64
	// MaxKeys is how many keys are held, those included that have no Object yet
	// but someone who waits for it. 0: 262,144.
	MaxKeys int
	// Budget is how many bytes of media stay in RAM; memory that a segment shares
	// with its parts counts once. Beyond it Run moves the oldest segments to
	// Below, beyond twice the Budget Put drops them. An eighth of the Budget is
	// used besides for segments that were read back. 0, or without Below: all
	// media stays in RAM.
	Budget int64
	Below  Backing
	Logger *slog.Logger // says when Below fails and when it works again; nil: nothing is logged
}

// Backing keeps segments that left the RAM. storage/directory has one. All
// methods must be safe for concurrent use; Put and Delete are called by Run
// only.
type Backing interface {
	Put(ctx context.Context, o storage.Object) error
	// Get returns an Object of which the Body counts, or storage.ErrNotFound.
	Get(ctx context.Context, key string) (storage.Object, error)
	Delete(ctx context.Context, key string) error
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
	metrics Metrics
	recall  recall
	pressed chan struct{} // there may be work for Run
	losing  atomic.Bool   // that media is lost was said

	mu      sync.RWMutex
	slots   map[string]*slot
	objects int
	bytes   int64
	ledger  *ledger  // nil without a Budget
	orphans []string // keys that Run has to delete below
}

// slot is one key. It lives while there is an Object or a waiting reader.
type slot struct {
	waiting atomic.Int64  // rises only under Store.mu, read or write
	latest  *version      // guarded by Store.mu
	turn    *list.Element // its place in ledger.oldest; guarded by Store.mu
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
	below   span // where the Body is when it is not in object
	changed chan struct{}
	next    *version
}

// New returns an empty Store.
func New(cfg Config) *Store {
	if cfg.Below == nil {
		cfg.Budget = 0
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 2<<30 + 2*cfg.Budget
	}
	if cfg.MaxKeys <= 0 {
		cfg.MaxKeys = 1 << 18
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, slots: make(map[string]*slot), pressed: make(chan struct{}, 1)}
	if cfg.Budget > 0 {
		s.ledger = newLedger()
		s.recall = newRecall(cfg.Below, cfg.Budget/recallShare, &s.metrics)
	}
	return s
}

// Put implements storage.Sink. It wakes all readers that wait for the key with
// one broadcast, after it let go of the lock. Beyond a bound it changes nothing
// and returns an ErrFull that names the bound.
func (s *Store) Put(ctx context.Context, o storage.Object) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", o.Key, err)
	}
	former, dropped, err := s.replace(&version{state: stored, object: o, changed: make(chan struct{})})
	if err != nil {
		return fmt.Errorf("put %s: %w", o.Key, err)
	}
	if former != nil {
		close(former.changed)
	}
	if dropped != nil {
		s.lose(ctx, dropped)
	}
	return nil
}

// replace makes v the latest version of its key. It returns the one before, and
// those that had to go to make room.
func (s *Store) replace(v *version) (former *version, dropped []*version, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	here, known := s.slots[v.object.Key]
	grow, more := s.growth(v.object), 1
	if known && here.latest.state == stored {
		grow, more = grow-s.weight(here.latest), 0
	}
	if grow > 0 && s.bytes+grow > s.cfg.MaxBytes {
		return nil, nil, fmt.Errorf("%w: %d bytes held and %d more are over MaxBytes %d", ErrFull, s.bytes, grow, s.cfg.MaxBytes)
	}
	if !known {
		if len(s.slots) >= s.cfg.MaxKeys {
			return nil, nil, fmt.Errorf("%w: %d keys held, MaxKeys is %d", ErrFull, len(s.slots), s.cfg.MaxKeys)
		}
		here = new(slot)
		s.slots[v.object.Key] = here
	}
	former = here.latest
	if former != nil {
		s.release(here)
		former.next = v
	}
	here.latest = v
	s.objects += more
	return former, s.hold(here), nil
}

// hold counts the content of a slot in. It returns what had to go for it.
func (s *Store) hold(here *slot) []*version {
	o := here.latest.object
	if s.ledger == nil || o.Kind&media == 0 {
		s.bytes += size(o)
		return nil
	}
	s.bytes += s.ledger.add(here)
	return s.relieve(here)
}

// release counts the content of a slot out.
func (s *Store) release(here *slot) {
	v := here.latest
	switch {
	case v.state != stored:
	case s.ledger == nil || v.object.Kind&media == 0:
		s.bytes -= size(v.object)
	case v.below.file != nil:
		s.orphan(v)
	default:
		s.bytes -= s.ledger.remove(here)
	}
}

// growth returns how many bytes more are held when o is, and weight how many
// less at least when v is not.
func (s *Store) growth(o storage.Object) int64 {
	if s.ledger == nil || o.Kind&media == 0 {
		return size(o)
	}
	return s.ledger.growth(o.Body)
}

func (s *Store) weight(v *version) int64 {
	if s.ledger == nil || v.object.Kind&media == 0 {
		return size(v.object)
	}
	return 0
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
	return s.removeSlot(key, here)
}

func (s *Store) removeSlot(key string, here *slot) *version {
	former := here.latest
	if former.state == stored {
		s.release(here)
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
// every version at most, and must be free of side effects. It must not look at
// the Body of media, which may be below.
//
// What left the RAM is read back: that takes as long as the Backing does, and
// its error is returned.
func (s *Store) Get(ctx context.Context, key string, ready func(storage.Object) bool) (storage.Object, error) {
	if ready == nil {
		v := s.look(key)
		switch {
		case v == nil || v.state != stored:
			return storage.Object{}, storage.ErrNotFound
		case v.below.file == nil:
			return v.object, nil
		}
		return s.whole(ctx, v)
	}
	here, v, err := s.enter(key)
	if err != nil {
		return storage.Object{}, fmt.Errorf("wait for %s: %w", key, err)
	}
	v, err = follow(ctx, v, ready)
	s.leave(key, here, v)
	if err != nil || v.below.file == nil {
		return v.object, err
	}
	return s.whole(ctx, v)
}

// whole returns the Object of a version whose Body is below.
func (s *Store) whole(ctx context.Context, v *version) (storage.Object, error) {
	body, err := s.recall.read(ctx, v.below)
	if err != nil {
		return storage.Object{}, fmt.Errorf("read back %s: %w", v.object.Key, err)
	}
	o := v.object
	o.Body = body
	return o, nil
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

func size(o storage.Object) int64 {
	return int64(o.Body.Len()) + int64(o.Delta.Len()) + int64(o.DeltaDates.Len())
}
