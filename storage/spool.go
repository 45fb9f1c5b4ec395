package storage

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"
)

// Spool keeps bodies that wait, where a Queue's memory is short. storage/directory
// has one. All methods must be safe for concurrent use; a Queue has a few calls
// under way at once, and waits for none of them.
type Spool interface {
	Put(ctx context.Context, o Object) error
	// Get returns an Object of which the Body counts.
	Get(ctx context.Context, key string) (Object, error)
	Delete(ctx context.Context, key string) error
}

// This file has the part of the backlog that moves bodies to the spool and back.
//
//	memory ──more than half of it is taken──▶ spool ──its turn comes──▶ memory ──▶ sink
//
// The newest body goes, since it is needed last. What came back stays. A spool
// that takes nothing is left alone for a while: then memory alone is the bound,
// and beyond it the oldest segments are lost. A body that cannot be read is lost.

const (
	spoolCalls = 4 // under way at once
	spoolLimit = time.Minute
	spoolFirst = time.Second // pauses after failures
	spoolMost  = 30 * time.Second
)

type fileState uint8

const (
	written fileState = iota // it is being written: the body is in memory, too
	filed
	fetched // it is being read: the memory for it is counted
	useless // it is to be deleted
)

// file is a body in the spool.
type file struct {
	name  string
	size  int64
	item  *item // nil: nobody wants it
	state fileState
	tries int // to delete it
}

// spooler is what a backlog knows of its spool.
type spooler struct {
	used   int64 // bytes
	going  int64 // of these, what is being written
	count  uint64
	moving int
	drops  []*file // useless ones
	loads  []job   // that nextMedia wants
	fails  int     // in a row
	next   time.Time
	err    error // the last one, until such a call succeeds
	failed verb  // of it
}

// onDisk says that the body of an item is not in memory.
func (it *item) onDisk() bool { return it.file != nil && it.file.state != written }

// fetch asks for the body of an item, and says whether it is worth waiting for:
// not if memory is short, which only sending frees.
func (b *backlog) fetch(it *item) bool {
	f := it.file
	switch {
	case f.state == fetched:
		return true
	case b.bytes+f.size > b.cfg.MaxBytes:
		return false
	case b.spool.moving >= spoolCalls:
		return true
	}
	f.state, it.held = fetched, f.size
	b.bytes += f.size
	b.spool.moving++
	b.spool.loads = append(b.spool.loads, job{verb: load, key: f.name, file: f, limit: spoolLimit})
	return true
}

// spoolJobs returns what the spool has to do now.
func (b *backlog) spoolJobs(now time.Time) []job {
	jobs := b.spool.loads
	b.spool.loads = nil
	for b.cfg.Spool != nil && b.spool.moving < spoolCalls {
		if now.Before(b.spool.next) {
			if len(b.spool.drops) > 0 || b.tight() {
				b.until(b.spool.next)
			}
			break
		}
		if len(b.spool.drops) > 0 && (b.spool.moving < spoolCalls/2 || b.tight()) { // reading goes first
			f := b.spool.drops[0]
			b.spool.drops = b.spool.drops[1:]
			jobs = append(jobs, job{verb: drop, key: f.name, file: f, limit: spoolLimit})
			b.spool.moving++
			continue
		}
		it := b.spare()
		if it == nil {
			break
		}
		b.spool.count++
		f := &file{name: strconv.FormatUint(b.spool.count, 10), size: it.held, item: it}
		it.file = f
		b.spool.used += f.size
		b.spool.going += f.size
		b.spool.moving++
		jobs = append(jobs, job{
			verb: spill, key: f.name, file: f, limit: spoolLimit,
			object: Object{Key: f.name, Kind: it.object.Kind, Body: it.object.Body},
		})
	}
	return jobs
}

// tight says that more than half of the memory is taken, not counting what is on
// its way to the spool.
func (b *backlog) tight() bool { return b.bytes-b.spool.going > b.cfg.MaxBytes/2 }

// spare returns the item that the spool should take now, nil without one. When
// the spool is full and memory nearly so, the oldest in it makes room.
func (b *backlog) spare() *item {
	if !b.tight() {
		return nil
	}
	newest := b.last()
	if newest == nil || b.spool.used+newest.held <= b.cfg.MaxSpool {
		return newest
	}
	if first := b.first(func(*item) bool { return true }); b.bytes > b.cfg.MaxBytes/4*3 && first != nil && first.onDisk() {
		b.lose(b.now, first)
	}
	return nil
}

// last returns the newest segment that can go to the spool, nil without one.
func (b *backlog) last() *item {
	var newest *item
	for _, f := range b.order {
		for _, it := range slices.Backward(f.pending) {
			if it.state == waiting && it.file == nil && !it.back && it.object.Kind != Init && !b.brief(it) && it.held > 0 {
				if newest == nil || it.came.After(newest.came) {
					newest = it
				}
				break
			}
		}
	}
	return newest
}

// first returns the oldest segment that waits and is wanted, nil without one.
func (b *backlog) first(wanted func(*item) bool) *item {
	var oldest *item
	for _, f := range b.order {
		for _, it := range f.pending {
			if it.state == waiting && it.object.Kind != Init && wanted(it) {
				if oldest == nil || it.came.Before(oldest.came) {
					oldest = it
				}
				break
			}
		}
	}
	return oldest
}

// abandon gives up what the spool has of an item.
func (b *backlog) abandon(it *item) {
	f := it.file
	if f == nil {
		return
	}
	it.file, f.item = nil, nil
	if f.state == filed {
		b.discard(f)
	}
}

func (b *backlog) discard(f *file) {
	f.state = useless
	b.spool.drops = append(b.spool.drops, f)
}

// doneSpool takes the result of a call of the spool.
func (b *backlog) doneSpool(now time.Time, r result) {
	f := r.job.file
	b.spool.moving--
	if r.err == nil && r.job.verb == load && int64(r.body.Len()) != f.size {
		r.err = errSpool
	}
	if r.err == nil {
		if b.spool.failed == r.job.verb { // a full disk still lets read and delete
			b.spool.fails, b.spool.err = 0, nil
		}
	} else {
		b.met.SpoolFailures.Add(1)
		b.spool.fails++
		b.spool.err, b.spool.failed = r.err, r.job.verb
		b.spool.next = now.Add(backoff(b.spool.fails, spoolFirst, spoolMost))
	}
	switch r.job.verb {
	case spill:
		b.doneSpill(f, r.err)
	case load:
		b.doneLoad(now, f, r)
	default:
		b.doneDrop(f, r.err)
	}
}

func (b *backlog) doneSpill(f *file, err error) {
	it := f.item
	b.spool.going -= f.size
	switch {
	case err != nil:
		b.spool.used -= f.size
		if it != nil {
			it.file = nil
		}
	case it == nil:
		b.discard(f)
	case it.state != waiting: // it is on its way to the sink
		it.file, f.item = nil, nil
		b.discard(f)
	default:
		b.met.Spooled.Add(1)
		f.state = filed
		b.bytes -= it.held
		it.held, it.object.Body = 0, nil
	}
}

var errSpool = errors.New("the spool returned another content than it was given")

func (b *backlog) doneLoad(now time.Time, f *file, r result) {
	it := f.item
	switch {
	case it == nil:
		b.discard(f)
	case r.err == nil:
		it.object.Body, it.back = r.body, true
		it.file, f.item = nil, nil
		b.discard(f)
	default:
		f.state = filed
		b.lose(now, it)
	}
}

// doneDrop: a file that cannot be deleted keeps its place for good.
func (b *backlog) doneDrop(f *file, err error) {
	switch {
	case err == nil:
		b.spool.used -= f.size
	case f.tries+1 < maxRemovals:
		f.tries++
		b.spool.drops = append(b.spool.drops, f)
	}
}
