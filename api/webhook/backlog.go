package webhook

import (
	"encoding/json"
	"slices"
	"time"
)

// entry is one event on its way to one receiver.
type entry struct {
	Number uint64          `json:"n"` // rises
	ID     string          `json:"id,omitempty"`
	At     time.Time       `json:"at,omitzero"`
	Stream string          `json:"stream,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// lane has the events of one stream, which go one after another.
type lane struct {
	waiting []*entry
	tries   int       // of the first of them, without success
	due     time.Time // not before
	busy    bool      // the first of them is under way
}

// bounds keep a backlog small however long its receiver is dead.
type bounds struct {
	events int
	bytes  int64
	age    time.Duration
	calls  int // at once
}

const (
	firstWait  = time.Second
	longWait   = 5 * time.Minute
	longestAsk = time.Hour // that a receiver can ask for by Retry-After
	mostTries  = 5         // of an event that is refused
)

// backlog decides what is sent when. It is pure, and for one goroutine.
//
// Each stream has its lane, so that a refused event holds up its own stream only.
// While the receiver as a whole fails there is one call at a time, and a growing
// time between calls.
type backlog struct {
	bounds bounds
	random func() float64 // from 0 to 1

	lanes map[string]*lane
	count int
	bytes int64
	busy  int
	fails int       // in a row, of the receiver
	due   time.Time // not before, while it fails
}

func newBacklog(b bounds, random func() float64) *backlog {
	return &backlog{bounds: b, random: random, lanes: map[string]*lane{}}
}

// add puts an event behind those of its stream, and returns what had to go for it:
// the oldest ones, which tell least of how things are.
func (b *backlog) add(e *entry) []*entry {
	l := b.lanes[e.Stream]
	if l == nil {
		l = &lane{}
		b.lanes[e.Stream] = l
	}
	l.waiting = append(l.waiting, e)
	b.count++
	b.bytes += int64(len(e.Body))
	var gone []*entry
	for b.count > b.bounds.events || b.bytes > b.bounds.bytes {
		old := b.oldest()
		if old == nil {
			break // all of it is under way
		}
		gone = append(gone, b.take(old))
	}
	return gone
}

// expire takes what is too old.
func (b *backlog) expire(now time.Time) []*entry {
	var gone []*entry
	for _, l := range b.lanes {
		for len(l.waiting) > l.first() && now.Sub(l.waiting[l.first()].At) > b.bounds.age {
			gone = append(gone, b.take(l))
		}
	}
	return gone
}

// clear takes all that is not under way.
func (b *backlog) clear() []*entry {
	var gone []*entry
	for l := b.oldest(); l != nil; l = b.oldest() {
		gone = append(gone, b.take(l))
	}
	return gone
}

// oldest returns the lane with the oldest event that is not under way.
func (b *backlog) oldest() *lane {
	var found *lane
	for _, l := range b.lanes {
		if len(l.waiting) > l.first() && (found == nil || l.waiting[l.first()].Number < found.waiting[found.first()].Number) {
			found = l
		}
	}
	return found
}

// first returns the index of the first event that is not under way.
func (l *lane) first() int {
	if l.busy {
		return 1
	}
	return 0
}

// take takes the first event of a lane out that is not under way.
func (b *backlog) take(l *lane) *entry {
	e := l.waiting[l.first()]
	l.waiting = slices.Delete(l.waiting, l.first(), l.first()+1)
	if !l.busy {
		l.tries, l.due = 0, time.Time{}
	}
	b.count--
	b.bytes -= int64(len(e.Body))
	if len(l.waiting) == 0 {
		delete(b.lanes, e.Stream)
	}
	return e
}

// pick returns the next event to send, which is under way from now on, or when to ask
// again: zero for never, unless something happens.
func (b *backlog) pick(now time.Time) (*entry, time.Time) {
	if b.busy >= b.bounds.calls || b.fails > 0 && b.busy > 0 {
		return nil, time.Time{}
	}
	if b.fails > 0 && now.Before(b.due) {
		return nil, b.due
	}
	var (
		found *lane
		next  time.Time
	)
	for _, l := range b.lanes {
		switch {
		case l.busy:
		case now.Before(l.due):
			if next.IsZero() || l.due.Before(next) {
				next = l.due
			}
		case found == nil || l.before(found):
			found = l
		}
	}
	if found == nil {
		return nil, next
	}
	found.busy = true
	b.busy++
	return found.waiting[0], time.Time{}
}

// before says whether the first event of a lane is to be sent before that of another:
// what has failed less often first, then what is older.
func (l *lane) before(other *lane) bool {
	if l.tries != other.tries {
		return l.tries < other.tries
	}
	return l.waiting[0].Number < other.waiting[0].Number
}

// done takes an event that was delivered.
func (b *backlog) done(e *entry) {
	l := b.back(e)
	b.fails = 0
	b.take(l)
}

// refused notes that a receiver that works does not want an event, and says whether
// it is given up.
func (b *backlog) refused(e *entry, now time.Time) bool {
	l := b.back(e)
	b.fails = 0
	if l.tries++; l.tries >= mostTries {
		b.take(l)
		return true
	}
	l.due = now.Add(b.wait(l.tries))
	return false
}

// failed notes that a receiver does not work, and that it asked to wait.
func (b *backlog) failed(e *entry, now time.Time, ask time.Duration) {
	l := b.back(e)
	l.tries++
	b.fails++
	ask = min(ask, longestAsk)
	l.due = now.Add(max(ask, b.wait(l.tries)))
	b.due = now.Add(max(ask, b.wait(b.fails)))
}

// back ends a call.
func (b *backlog) back(e *entry) *lane {
	l := b.lanes[e.Stream]
	l.busy = false
	b.busy--
	return l
}

// wait returns how long to wait after so many failures: twice as long each time, of
// which up to a half is left out by chance, so that gateways do not come all at once.
func (b *backlog) wait(tries int) time.Duration {
	d := longWait
	if tries < 10 {
		d = min(firstWait<<(tries-1), longWait)
	}
	return d - time.Duration(b.random()*float64(d/2))
}

// first returns when the oldest event happened; zero if there is none.
func (b *backlog) first() time.Time {
	var at time.Time
	for _, l := range b.lanes {
		if len(l.waiting) > 0 && (at.IsZero() || l.waiting[0].At.Before(at)) {
			at = l.waiting[0].At
		}
	}
	return at
}
