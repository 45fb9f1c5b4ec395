// Package event holds what happens in the gateway, for those that want to be told:
// the API's GET /v1/events and webhooks.
//
//	who sees it happen ──Publish──▶ Events: the newest few ──Next──▶ Subscription
//
// Invariant: Publish never waits, and who reads costs no memory: each Subscription is
// a place in one ring. One that is overtaken is told so, and goes on with what is
// still there.
package event

import (
	"context"
	"errors"
	"sync"
	"time"
)

// The types of events. What Data is says each.
const (
	StreamStarted  = "stream.started"  // Start
	StreamStopped  = "stream.stopped"  // Stop
	StreamFindings = "stream.findings" // Findings: what is wrong with a stream has changed
	SessionBegun   = "session.begun"   // Session
	SessionEnded   = "session.ended"   // Session
	StorageState   = "storage.state"   // Storage: it has changed
	ReplayReady    = "replay.ready"    // Replay
	ReplayDeleted  = "replay.deleted"  // Replay, with Presentation alone
	ClipReady      = "clip.ready"      // Clip
	ClipDeleted    = "clip.deleted"    // Clip, with Name alone
	MarkerSet      = "marker.set"      // Marker
	MarkerRemoved  = "marker.removed"  // Marker
	TokensRevoked  = "tokens.revoked"  // Revocation
	DrainBegun     = "drain.begun"     // Drain: also when it is changed
	DrainEnded     = "drain.ended"     // no Data: it was taken back
	StageChanged   = "stage.changed"   // Stage: it was made, changed or removed
	SeatJoined     = "seat.joined"     // Seat: somebody fills it
	SeatLeft       = "seat.left"       // Seat: its publisher has not come back, or it was removed
	SeatState      = "seat.state"      // Seat: it was let in, put on air, muted
	ProgramCut     = "program.cut"     // Cut: the program has another picture
)

const (
	defaultKept = 1024    // events
	mostKept    = 1 << 20 // events
)

// Types returns all types, in the order of the constants.
func Types() []string {
	return []string{
		StreamStarted, StreamStopped, StreamFindings, SessionBegun, SessionEnded, StorageState,
		ReplayReady, ReplayDeleted, ClipReady, ClipDeleted, MarkerSet, MarkerRemoved, TokensRevoked,
		DrainBegun, DrainEnded,
		StageChanged, SeatJoined, SeatLeft, SeatState, ProgramCut,
	}
}

// Event is one thing that happened. It is immutable.
type Event struct {
	ID     uint64    `json:"id"` // rises by one, and over restarts; exact in a JavaScript number
	Time   time.Time `json:"time"`
	Type   string    `json:"type"`
	Stream string    `json:"stream,omitempty"` // that it is about, if about one
	Data   any       `json:"data,omitempty"`   // one of the types of this package, by Type
}

// Start is the Data of stream.started.
type Start struct {
	Epoch uint64 `json:"epoch"` // counts publishers of the stream
}

// Stop is the Data of stream.stopped.
type Stop struct {
	Epoch  uint64 `json:"epoch"`
	Reason string `json:"reason,omitempty"` // why the publisher left
}

// Findings is the Data of stream.findings: the present ones of all layers, by their
// codes, none when all is well again.
type Findings struct {
	Severity string    `json:"severity"` // of the worst: "none", "note", "warning" or "problem"
	Before   string    `json:"before"`   // what it was before the change
	Findings []Finding `json:"findings"`
}

// Finding is one thing that is wrong with a layer.
type Finding struct {
	Layer    string `json:"layer"` // "video", "video:h", "audio"
	Code     string `json:"code"`
	Severity string `json:"severity"`
	Words    string `json:"words"`
	Remedy   string `json:"remedy"`
}

// Session is the Data of session.begun and session.ended.
type Session struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`     // "publish" or "watch"
	Protocol  string `json:"protocol"` // "whip", "whep" or "rtsp"
	Principal string `json:"principal,omitempty"`
	Reason    string `json:"reason,omitempty"` // why it ended
}

// Storage is the Data of storage.state.
type Storage struct {
	Name   string `json:"name"`
	State  string `json:"state"`  // as in /v1/storage
	Before string `json:"before"` // what it was before the change
	Error  string `json:"error,omitempty"`
}

// Replay is the Data of replay.ready and replay.deleted.
type Replay struct {
	Presentation string `json:"presentation"`
	Place        string `json:"place,omitempty"`
	At           string `json:"at,omitempty"` // where people find its playlist
}

// Clip is the Data of clip.ready and clip.deleted.
type Clip struct {
	Name  string `json:"name"`
	Place string `json:"place,omitempty"`
	At    string `json:"at,omitempty"`
}

// Marker is the Data of marker.set and marker.removed.
type Marker struct {
	ID string `json:"id"`
}

// Revocation is the Data of tokens.revoked. One of the three is there.
type Revocation struct {
	Token     string `json:"token,omitempty"` // its ID
	Principal string `json:"principal,omitempty"`
	Stream    string `json:"stream,omitempty"`
}

// Drain is the Data of drain.begun.
type Drain struct {
	To       string    `json:"to,omitempty"` // where new sessions are sent
	Deadline time.Time `json:"deadline"`     // when publishers are ended
}

// Stage is the Data of stage.changed. The event's stream is the stage's name, as those
// of its seats and of its cuts.
type Stage struct {
	Change string `json:"change"` // "made", "settings", "seats" or "removed"
}

// Seat is the Data of seat.joined, seat.left and seat.state.
type Seat struct {
	Seat   string `json:"seat"`
	Label  string `json:"label"`
	Role   string `json:"role"`
	State  string `json:"state"`            // as in /v1/stages/{stage}
	Before string `json:"before,omitempty"` // its state before, if that has changed
	Muted  bool   `json:"muted"`
}

// Cut is the Data of program.cut.
type Cut struct {
	Seat string `json:"seat"`
}

// ErrMissed is returned once by Next when events went that it had not read; the next
// call goes on with the oldest one that is there.
var ErrMissed = errors.New("events were missed")

// Events keeps the newest events. All methods may be called from any goroutine.
type Events struct {
	mu   sync.Mutex
	ring []Event       // below mu; that of ID n is at n%len
	next uint64        // below mu: ID of the next one
	from uint64        // below mu: ID of the oldest one there
	more chan struct{} // below mu: closed when there are more
}

// New returns Events that keep the newest ones; kept is how many, 0 for 1,024.
func New(kept int) *Events {
	if kept <= 0 {
		kept = defaultKept
	}
	// Microseconds rise faster than events, so IDs do over a restart, too.
	first := uint64(time.Now().UnixMicro()) //nolint:gosec // after 1970
	return &Events{ring: make([]Event, min(kept, mostKept)), next: first, from: first, more: make(chan struct{})}
}

// Publish tells all who listen. stream is "" for what is about none.
func (e *Events) Publish(kind, stream string, content any) {
	now := time.Now().UTC()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ring[e.next%uint64(len(e.ring))] = Event{ID: e.next, Time: now, Type: kind, Stream: stream, Data: content}
	e.next++
	if e.next-e.from > uint64(len(e.ring)) {
		e.from++
	}
	close(e.more)
	e.more = make(chan struct{})
}

// Subscribe returns a Subscription to what happens from now on, or, for an ID other
// than 0, to what happened after the event of that ID. It needs no end.
func (e *Events) Subscribe(after uint64) *Subscription {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := after + 1
	if after == 0 || at > e.next {
		at = e.next
	}
	return &Subscription{events: e, at: at}
}

// Subscription reads events, in their order. It is for one goroutine.
type Subscription struct {
	events *Events
	at     uint64
}

// Next waits for the next event. Errors are ErrMissed and the context's.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		event, more, err := s.events.look(s.at)
		switch {
		case err != nil:
			s.at = event.ID
			return Event{}, err
		case more == nil:
			s.at++
			return event, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// look returns the event of an ID, or what tells that there are more; with ErrMissed
// the oldest event, or the ID of the next.
func (e *Events) look(id uint64) (Event, <-chan struct{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case id < e.from:
		return Event{ID: e.from}, nil, ErrMissed
	case id >= e.next:
		return Event{}, e.more, nil
	}
	return e.ring[id%uint64(len(e.ring))], nil, nil
}
