package storage

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// This file keeps two gateways from writing one stream to one place (specs S18,
// ADR 8). Whoever writes a stream holds its lease, an Object beside it:
//
//	{stream}/writer.json   put on the condition that it is what was seen last,
//	                       again every third of a lease; who finds it unchanged
//	                       for a whole lease may take it
//
// The leases belong to the backlog and are as pure; claim does what they ask for.

// Fence says by which name a Queue claims the streams that it writes. Without one
// it writes whatever it is given.
type Fence struct {
	Store   Swapper
	Gateway string        // the same over restarts, and nobody else's
	Host    string        // for people
	Lease   time.Duration // how long a silent gateway keeps a stream; 0: 30 s
}

const (
	writerName = "/writer.json"
	// slack is left for clocks with a resolution of one second.
	slack = 1100 * time.Millisecond
	// settle is after what time a store without conditional PUT is read back.
	settle = time.Second
	// farewell is how long the end of a Queue may take to give its streams back.
	farewell = time.Second
)

// writer is the content of the Object.
type writer struct {
	Gateway string    `json:"gateway"`
	Host    string    `json:"host"`
	Run     string    `json:"run"` // of the program; not the same after a restart
	Since   time.Time `json:"since"`
	Epoch   uint64    `json:"epoch"` // how often it has changed hands
	Count   uint64    `json:"count"` // of refreshes: no two contents are the same
	Ended   bool      `json:"ended,omitempty"`
}

// certainty is whether a store heeds conditions.
type certainty uint8

const (
	unknown certainty = iota
	heeded
	ignored
)

// leases are all of a Queue.
type leases struct {
	cfg        Fence
	run        string
	conditions certainty
	streams    map[string]*lease
	busy       int      // claims under way
	changes    []change // that are not logged yet
}

// lease is what is known of one stream.
type lease struct {
	busy  bool
	next  time.Time // when something is to be done; zero: not before somebody wants it
	tries int
	err   error
	mine  writer
	tag   string    // of what is stored and ours; "": to be looked up
	began time.Time // of the last refresh that succeeded; zero: not held
	had   bool      // it was held before
	// The other gateway, while there is one.
	rival    writer
	rivalTag string
	seen     time.Time // when that was last known to have changed
}

// change is news of a stream, for the log.
type change struct {
	stream string
	rival  writer // zero: it is ours now
	blind  bool   // the store ignores conditions
}

func newLeases(cfg *Fence) *leases {
	if cfg == nil || cfg.Store == nil {
		return nil
	}
	f := &leases{cfg: *cfg, run: rand.Text(), streams: map[string]*lease{}}
	f.cfg.Lease = orElse(f.cfg.Lease, 30*time.Second)
	return f
}

// term is how long a refresh is good for: less than what others wait.
func (f *leases) term() time.Duration { return f.cfg.Lease * 9 / 10 }

// left is how long a lease is still good for. It must be so by both clocks: one of
// them may have stood still while the machine did.
func (f *leases) left(l *lease, now time.Time) time.Duration {
	if l == nil || l.began.IsZero() {
		return 0
	}
	passed := max(now.Sub(l.began), now.Round(0).Sub(l.began.Round(0)))
	return max(f.term()-passed, 0)
}

// holds says whether a stream may be written.
func (b *backlog) holds(stream string, now time.Time) bool {
	return b.fence == nil || b.fence.left(b.fence.streams[stream], now) > 0
}

// shut says that somebody else writes a stream.
func (b *backlog) shut(stream string) bool {
	return b.fence != nil && b.fence.streams[stream] != nil && b.fence.streams[stream].rivalTag != ""
}

// want says that there is something to do for a stream.
func (b *backlog) want(now time.Time, key string) {
	if b.fence == nil {
		return
	}
	name, _, _ := strings.Cut(key, "/")
	l := b.fence.streams[name]
	if l == nil {
		l = &lease{mine: writer{Gateway: b.fence.cfg.Gateway, Host: b.fence.cfg.Host, Run: b.fence.run}}
		b.fence.streams[name] = l
	}
	if l.next.IsZero() {
		l.next = now
	}
}

// claim is one attempt to get, to keep or to give back a lease.
type claim struct {
	stream string
	mine   writer
	tag    string
	free   bool // whatever the program left behind at its last end is ours
	stale  string
	last   last
	conds  certainty
	wait   time.Duration
	// The result.
	held     bool
	found    writer
	foundTag string
	age      time.Duration
}

// last says what becomes of a lease that is given back.
type last uint8

const (
	keep    last = iota
	end          // it is marked
	destroy      // the Object goes: there is nothing else of the stream
)

// nextClaims returns what is to be done for the leases now.
func (b *backlog) nextClaims(now time.Time) (jobs []job) {
	if b.fence == nil {
		return nil
	}
	for name, l := range b.fence.streams {
		switch left := b.fence.left(l, now); {
		case l.busy || l.next.IsZero() || b.fence.busy >= b.cfg.Workers:
		case now.Before(l.next):
			b.until(l.next)
			if left > 0 {
				b.until(now.Add(left))
			}
		default:
			l.busy = true
			b.fence.busy++
			jobs = append(jobs, b.fence.attempt(now, name, l, b.over(name, left > 0)))
		}
	}
	return jobs
}

// attempt returns the job for a lease.
func (f *leases) attempt(now time.Time, name string, l *lease, as last) job {
	l.mine.Count++
	l.mine.Ended = as == end // what is destroyed must not be taken just then
	if l.mine.Since.IsZero() {
		l.mine.Since = now.UTC().Truncate(time.Second)
	}
	c := &claim{stream: name, mine: l.mine, tag: l.tag, free: !l.had, last: as, conds: f.conditions, wait: f.cfg.Lease}
	if l.rivalTag != "" && now.Sub(l.seen) >= f.cfg.Lease+slack {
		c.stale = l.rivalTag
	}
	return job{verb: guard, key: name + writerName, began: now, limit: f.cfg.Lease / 3, claim: c}
}

// over says whether nothing is to be done for a stream: it has ended, and what was
// to be deleted of it is.
func (b *backlog) over(stream string, held bool) last { //nolint:revive // a fact, not a mode
	if !held {
		return keep
	}
	prefix, rest := stream+"/", destroy
	for _, f := range b.order {
		if !strings.HasPrefix(f.path, prefix) {
			continue
		}
		if len(f.pending) > 0 {
			return keep
		}
		for _, l := range f.listings {
			if l.busy || len(l.editions) > 0 || !l.ended {
				return keep
			}
			rest = end
		}
	}
	for key := range b.removed {
		if strings.HasPrefix(key, prefix) {
			return keep
		}
	}
	return rest
}

// doneClaim takes the result.
func (b *backlog) doneClaim(now time.Time, j job, err error) {
	f, c := b.fence, j.claim
	l := f.streams[c.stream]
	l.busy, l.err = false, err
	f.busy--
	if f.conditions == unknown && c.conds != unknown {
		f.conditions = c.conds
		if c.conds == ignored {
			f.changes = append(f.changes, change{stream: c.stream, blind: true})
		}
	}
	switch {
	case err != nil:
		b.met.Failures.Add(1)
		b.judge(now, j, err)
		l.tries++
		l.next = now.Add(backoff(l.tries, time.Second, max(f.cfg.Lease/6, time.Second)))
	case c.held && c.last != keep:
		b.returned(now, c, l)
	case c.held:
		b.won(now, j, l)
	case c.foundTag == "": // it was taken just now
		l.tag, l.next = "", now.Add(time.Second)
		if l.tries++; l.tries > 5 && c.found.Run == f.run { // nobody else writes that: it is no condition
			f.conditions = ignored
		}
	default:
		b.beaten(now, c, l)
	}
}

// won notes that a stream is ours.
func (b *backlog) won(now time.Time, j job, l *lease) {
	f, c := b.fence, j.claim
	gained := f.left(l, now) == 0
	l.mine, l.tag, l.began, l.tries, l.had = c.mine, c.tag, j.began, 0, true
	l.next = j.began.Add(f.cfg.Lease / 3)
	if !gained {
		return
	}
	if l.rivalTag != "" {
		f.changes = append(f.changes, change{stream: c.stream})
		b.relist(c.stream)
	}
	l.rival, l.rivalTag = writer{}, ""
	b.extend(now, c.stream+"/")
}

// returned notes that a lease was given back.
func (b *backlog) returned(now time.Time, c *claim, l *lease) {
	l.began, l.tag, l.next = time.Time{}, "", time.Time{}
	if b.over(c.stream, true) == keep { // there is something new
		l.next = now
	} else if c.last == destroy {
		delete(b.fence.streams, c.stream)
	}
}

// beaten notes that another gateway writes a stream. What it has put under names
// that both use is not ours to delete any more.
func (b *backlog) beaten(now time.Time, c *claim, l *lease) {
	f := b.fence
	l.began, l.tag, l.tries = time.Time{}, "", 0
	if l.rivalTag == "" {
		f.changes = append(f.changes, change{stream: c.stream, rival: c.found})
		for key, r := range b.removed {
			if name, shared := strings.CutPrefix(key, c.stream+"/"); shared && !strings.Contains(name, "/") {
				r.void = true
				delete(b.blocked, key)
				delete(b.removed, key)
			}
		}
	}
	if l.rivalTag != c.foundTag {
		l.seen = now.Add(-max(c.age, 0))
	}
	l.rival, l.rivalTag = c.found, c.foundTag
	l.next = now.Add(f.cfg.Lease / 6)
	if free := l.seen.Add(f.cfg.Lease + slack); free.Before(l.next) && free.After(now) {
		l.next = free
	}
}

// relist puts all playlists of a stream again: another gateway may have replaced
// those that both use.
func (b *backlog) relist(stream string) {
	for _, l := range b.listings {
		if l.stored && len(l.editions) == 0 && !l.busy && strings.HasPrefix(l.key, stream+"/") {
			l.count++
			l.editions = append(l.editions, &edition{object: l.object, number: l.count, came: l.at})
		}
	}
}

// fences says for people which streams wait for their lease, and why.
func (b *backlog) fences(now time.Time) (all []string) {
	if b.fence == nil {
		return nil
	}
	for name, l := range b.fence.streams {
		switch {
		case b.fence.left(l, now) > 0:
		case l.rivalTag != "":
			all = append(all, fmt.Sprintf("stream %s is being written by %s, last seen %v ago; it is taken over when that has been silent for %v; "+
				"stop one, or give them different prefixes", name, l.rival, now.Sub(l.seen).Round(time.Second), b.fence.cfg.Lease))
		case l.err != nil && l.tries > 1:
			all = append(all, fmt.Sprintf("stream %s is not written before it is known that nobody else does: %v", name, l.err))
		}
	}
	slices.Sort(all)
	return all
}

// String returns who it is.
func (w writer) String() string {
	if w.Gateway == "" {
		return "an unknown gateway"
	}
	return "gateway " + w.Gateway + " on " + w.Host
}

// object returns the Object that says so.
func (c *claim) object() Object {
	text, err := json.Marshal(c.mine)
	if err != nil { // texts and numbers only: it cannot fail
		text = nil
	}
	return Object{Key: c.stream + writerName, Kind: Lease, Type: "application/json", Body: Body{text}, Modified: c.mine.Since}
}
