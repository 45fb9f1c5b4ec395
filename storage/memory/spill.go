package memory

import (
	"container/list"
	"context"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/storage"
)

// media are the kinds that a Budget is for. Playlists always stay: they are
// small, and what live viewers wait for.
const media = storage.Init | storage.Part | storage.Segment

// lossFactor times the Budget is where Put drops the oldest segments: Below is
// broken, or slower than what comes in.
const lossFactor = 2

// How long Run waits after Below has failed, at first and at most.
const (
	retryFirst = time.Second
	retryMost  = 10 * time.Second
)

// Metrics are running totals of a Store with a Budget. Any goroutine may read
// them.
type Metrics struct {
	Resident atomic.Int64  // bytes of media in RAM now, without what was read back
	Below    atomic.Int64  // bytes of media in the Backing now
	Spilled  atomic.Uint64 // segments moved to the Backing
	ReadBack atomic.Uint64 // times that a segment was read from the Backing
	Recalled atomic.Uint64 // times that one was served from what had been read before
	Lost     atomic.Uint64 // segments dropped because the Backing did not take them in time
	Failures atomic.Uint64 // errors of the Backing
}

// Metrics returns the running totals.
func (s *Store) Metrics() *Metrics { return &s.metrics }

// file is a segment in the Backing. Its address tells it from an earlier one of
// the same key.
type file struct {
	key  string
	size int64
}

// span is the part of a file that is an Object's Body: all of it for a segment,
// some for a partial segment.
type span struct {
	file      *file
	from, end int
}

// ledger knows which memory media takes, and in which order segments came. It
// is guarded by Store.mu.
//
// Objects share memory by pieces: a piece of a segment's Body is the one of its
// part. A piece is known by the address of its first byte.
type ledger struct {
	pieces   map[*byte]piece
	resident int64
	oldest   list.List // of *slot: segments in RAM
}

type piece struct {
	bytes   int
	holders int
	part    *slot // the partial segment that is exactly this piece
}

func newLedger() *ledger { return &ledger{pieces: map[*byte]piece{}} }

// growth returns how many bytes of a Body are not known yet.
func (l *ledger) growth(b storage.Body) int64 {
	var grow int64
	for _, p := range b {
		if len(p) == 0 {
			continue
		}
		if _, known := l.pieces[&p[0]]; !known {
			grow += int64(len(p))
		}
	}
	return grow
}

// add counts the latest version of a slot in, and returns by how many bytes
// more are held.
func (l *ledger) add(here *slot) int64 {
	before, o := l.resident, &here.latest.object
	for _, bytes := range o.Body {
		if len(bytes) == 0 {
			continue
		}
		p, known := l.pieces[&bytes[0]]
		if !known {
			p.bytes = len(bytes)
			l.resident += int64(p.bytes)
		}
		p.holders++
		if o.Kind == storage.Part && len(o.Body) == 1 {
			p.part = here
		}
		l.pieces[&bytes[0]] = p
	}
	if o.Kind == storage.Segment {
		here.turn = l.oldest.PushBack(here)
	}
	return l.resident - before
}

// remove counts it out, and returns by how many bytes less are held.
func (l *ledger) remove(here *slot) int64 {
	before, o := l.resident, &here.latest.object
	for _, bytes := range o.Body {
		if len(bytes) == 0 {
			continue
		}
		p := l.pieces[&bytes[0]]
		p.holders--
		if p.part == here {
			p.part = nil
		}
		if p.holders > 0 {
			l.pieces[&bytes[0]] = p
			continue
		}
		delete(l.pieces, &bytes[0])
		l.resident -= int64(p.bytes)
	}
	if here.turn != nil {
		l.oldest.Remove(here.turn)
		here.turn = nil
	}
	return before - l.resident
}

// parts calls visit for each partial segment whose memory a Body shares.
func (l *ledger) parts(b storage.Body, visit func(part *slot, from, end int)) {
	at := 0
	for _, bytes := range b {
		if len(bytes) > 0 {
			if p := l.pieces[&bytes[0]]; p.part != nil && p.bytes == len(bytes) {
				visit(p.part, at, at+len(bytes))
			}
		}
		at += len(bytes)
	}
}

// relieve calls for Run when the Budget is exceeded, and drops the oldest
// segments, but not the one that comes in, when that did not help in time.
// Store.mu is held.
func (s *Store) relieve(newest *slot) []*version {
	var dropped []*version
	for s.ledger.resident > lossFactor*s.cfg.Budget {
		oldest := s.ledger.oldest.Front()
		if oldest == nil || oldest.Value == newest {
			break
		}
		here := oldest.Value.(*slot)
		s.ledger.parts(here.latest.object.Body, func(part *slot, _, _ int) {
			dropped = append(dropped, s.removeSlot(part.latest.object.Key, part))
		})
		dropped = append(dropped, s.removeSlot(here.latest.object.Key, here))
		s.metrics.Lost.Add(1)
	}
	s.metrics.Resident.Store(s.ledger.resident)
	if s.ledger.resident > s.cfg.Budget {
		s.press()
	}
	return dropped
}

// press wakes Run.
func (s *Store) press() {
	select {
	case s.pressed <- struct{}{}:
	default:
	}
}

// orphan gives Run the file of a version to delete. Store.mu is held.
func (s *Store) orphan(v *version) {
	if v.object.Kind != storage.Segment { // a part lives in its segment's file
		return
	}
	s.metrics.Below.Add(-v.below.file.size)
	s.recall.forget(v.below.file)
	if len(s.orphans) < s.cfg.MaxKeys { // what is beyond is swept at the next start
		s.orphans = append(s.orphans, v.below.file.key)
	}
	s.press()
}

// lose releases the readers of what was dropped.
func (s *Store) lose(ctx context.Context, dropped []*version) {
	for _, v := range dropped {
		close(v.changed)
	}
	if s.losing.CompareAndSwap(false, true) {
		s.cfg.Logger.ErrorContext(ctx, "media is lost: there is more than twice the memory budget, and it cannot be moved to disk in time",
			"budget", s.cfg.Budget, "first", dropped[len(dropped)-1].object.Key)
	}
}

// Run moves the oldest segments to Below whenever there is more media than the
// Budget, and deletes there what was deleted here. It works until ctx ends and
// returns nil. Call it once. Without a Budget it only waits.
func (s *Store) Run(ctx context.Context) error {
	wait, failing := retryFirst, false
	for ctx.Err() == nil {
		worked, err := s.work(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.metrics.Failures.Add(1)
			if !failing {
				s.cfg.Logger.ErrorContext(ctx, "cannot move media from memory to disk and tries again", "error", err)
			}
			failing = true
			pause(ctx, wait)
			wait = min(2*wait, retryMost)
		case worked:
			if failing {
				s.cfg.Logger.InfoContext(ctx, "media moves from memory to disk again")
			}
			wait, failing = retryFirst, false
		default:
			s.losing.Store(false)
			select {
			case <-s.pressed:
			case <-ctx.Done():
			}
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// work does one thing: it deletes what is to be deleted below, or moves the
// oldest segment there. It reports whether there was anything to do.
func (s *Store) work(ctx context.Context) (bool, error) {
	orphans, here, v := s.task()
	if len(orphans) > 0 {
		return true, s.bury(ctx, orphans)
	}
	if here == nil {
		return false, nil
	}
	if err := s.cfg.Below.Put(ctx, v.object); err != nil {
		return true, err
	}
	if !s.moved(here, v) { // it was deleted meanwhile
		return true, s.bury(ctx, []string{v.object.Key})
	}
	s.metrics.Spilled.Add(1)
	return true, nil
}

// bury deletes files below. One that cannot be deleted is left to the sweep at
// the next start: trying again would keep the others waiting.
func (s *Store) bury(ctx context.Context, keys []string) error {
	var failed error
	for _, key := range keys {
		if err := s.cfg.Below.Delete(ctx, key); err != nil {
			failed = err
		}
	}
	return failed
}

// task takes what is to be done next. Deletes come first: the key may be in use
// again.
func (s *Store) task() ([]string, *slot, *version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ledger == nil {
		return nil, nil, nil
	}
	if orphans := s.orphans; len(orphans) > 0 {
		s.orphans = nil
		return orphans, nil, nil
	}
	oldest := s.ledger.oldest.Front()
	if oldest == nil || s.ledger.resident <= s.cfg.Budget {
		return nil, nil, nil
	}
	here := oldest.Value.(*slot)
	return nil, here, here.latest
}

// moved notes that the content of v is below, and lets go of its memory and of
// that of its parts. It returns false if v is not the latest version any more.
func (s *Store) moved(here *slot, v *version) bool {
	former, ok := s.swap(here, v)
	for _, old := range former {
		close(old.changed)
	}
	return ok
}

func (s *Store) swap(here *slot, v *version) ([]*version, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if here.latest != v {
		return nil, false
	}
	f := &file{key: v.object.Key, size: int64(v.object.Body.Len())}
	var former []*version
	s.ledger.parts(v.object.Body, func(part *slot, from, end int) {
		former = append(former, s.lower(part, span{f, from, end}))
	})
	former = append(former, s.lower(here, span{f, 0, int(f.size)}))
	s.metrics.Below.Add(f.size)
	s.metrics.Resident.Store(s.ledger.resident)
	return former, true
}

// lower replaces the latest version of a slot by one without its Body. Store.mu
// is held.
func (s *Store) lower(here *slot, to span) *version {
	former := here.latest
	s.bytes -= s.ledger.remove(here)
	v := &version{state: stored, object: former.object, below: to, changed: make(chan struct{})}
	v.object.Body = nil
	former.next = v
	here.latest = v
	return former
}
