package stream

import (
	"context"
	"errors"
	"time"
)

// Limits of notes.
const (
	// MaxNote is the longest payload of a Note in bytes.
	MaxNote = 16 << 10
	// maxLabel is the longest label of a Note in bytes.
	maxLabel = 128
	// noteRate is how many Notes a second a Session may give. A long one counts as
	// one more for each kilobyte: they travel with every rendition.
	noteRate = 20
	// keptNotes is how many Notes a Stream keeps for its readers.
	keptNotes = 64
)

// ErrNote says that a Note was dropped: it is too long, or one too many.
var ErrNote = errors.New("note dropped")

// Note is a message of the publisher at a moment of the media. What it means is
// between publisher and viewers. It is immutable once given.
type Note struct {
	Epoch   uint64    // of the Session that gave it; set by Session.Note
	Arrival time.Time // when it was received
	Label   string    // which kind of messages it belongs to, up to 128 bytes
	Text    bool      // the payload is text in UTF-8
	Payload []byte    // up to MaxNote bytes; never written again
}

// notes are the newest Notes of a Stream. It is immutable.
type notes struct {
	last uint64 // how many there were
	kept []Note // the newest ones, oldest first
}

// Note gives a Note to the Stream's readers. It does not wait. ErrNote says that
// it is too long, or that there were more than 20 in a second, or fewer long ones; a Session that has
// ended returns its reason. Any goroutine may call it.
func (x *Session) Note(n Note) error {
	n.Epoch = x.epoch
	if err := x.admit(&n); err != nil {
		return err
	}
	x.stream.notes.Update(func(old notes) notes {
		kept := make([]Note, 0, keptNotes)
		kept = append(kept, old.kept[max(len(old.kept)+1-keptNotes, 0):]...)
		return notes{last: old.last + 1, kept: append(kept, n)}
	})
	return nil
}

// admit says whether a Note is taken, and counts it.
func (x *Session) admit(n *Note) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.ended:
		return x.err
	case len(n.Payload) > MaxNote || len(n.Label) > maxLabel || !x.allowance.take(n.Arrival, 1+float64(len(n.Payload))/1024):
		x.refused++
		return ErrNote
	}
	x.noted++
	return nil
}

// Notes returns how many Notes were taken and how many dropped.
func (x *Session) Notes() (taken, dropped uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.noted, x.refused
}

// allowance is a bucket of Notes that fills with time. The zero value is full.
type allowance struct {
	used float64
	at   time.Time
}

func (a *allowance) take(now time.Time, cost float64) bool {
	if d := now.Sub(a.at); d > 0 {
		a.used = max(a.used-d.Seconds()*noteRate, 0)
		a.at = now
	}
	if a.used+cost > noteRate+1 {
		return false
	}
	a.used += cost
	return true
}

// Notes waits for Notes after those seen (begin with 0) and returns them, oldest
// first, with what is seen then. A reader that was slow misses the oldest: some 64
// are kept. The list must not be changed. The error is the context's.
func (s *Stream) Notes(ctx context.Context, seen uint64) ([]Note, uint64, error) {
	now, err := s.notes.Wait(ctx, func(n notes) bool { return n.last > seen })
	if err != nil {
		return nil, seen, err
	}
	fresh := min(now.last-seen, uint64(len(now.kept)))
	return now.kept[uint64(len(now.kept))-fresh:], now.last, nil
}
