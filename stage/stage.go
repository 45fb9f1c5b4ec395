// Package stage makes one stream, the program, of several: a Stage has Seats, each of
// which one Stream fills, and says who is let in, who is on air, and whose picture the
// audience sees.
//
//	                 ┌▶ plan: who is where, who sees whom       (pure)
//	Stages, one owner┤
//	                 └▶ director: who speaks has the picture    (pure)
//	                 │ Lineup
//	                 ▼
//	seats' Streams ─▶ Program: cuts at keyframes, Mixer ─▶ the stage's Stream
//
// A cut is what a reconnect is: the Program begins a new Epoch of its Stream with the
// next keyframe of another seat. The old picture goes on until then, and sound goes on
// all the time.
//
// Invariant: at most one seat has the picture, and a seat that has it is on air.
package stage

import (
	"errors"
	"strings"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// Errors of what is asked of stages.
var (
	ErrStage  = errors.New("no such stage")
	ErrSeat   = errors.New("no such seat")
	ErrName   = errors.New("not a name of a stage or seat: use letters, digits, _ and -")
	ErrExists = errors.New("seat exists")
	ErrAbsent = errors.New("seat is not there")
	ErrFull   = errors.New("too many")
)

// Role says what somebody is on a stage.
type Role string

// The roles. A Host need not be let in.
const (
	Host  Role = "host"
	Guest Role = "guest"
)

// State says where a seat is.
type State string

// The states of a seat.
const (
	Invited   State = "invited"   // nobody has filled it yet
	Waiting   State = "waiting"   // it is not let in
	Backstage State = "backstage" // it sees, hears and is heard by the others
	OnAir     State = "on_air"    // and by the audience
	Left      State = "left"      // its publisher is gone, and may come back to where it was
)

// Settings of a stage. The zero value works.
type Settings struct {
	Auto    bool          `json:"auto"`    // guests are let in at once
	Speaker bool          `json:"speaker"` // who speaks gets the picture
	Hold    time.Duration `json:"hold"`    // and keeps it for so long at least; default 4 s
}

const defaultHold = 4 * time.Second

// Invitation is what somebody may fill a seat by. The token itself is not kept.
type Invitation struct {
	ID      string        `json:"id"` // of the token
	Expires time.Time     `json:"expires"`
	TTL     time.Duration `json:"ttl"` // that was asked for
}

// Seat is how a seat is. It is a value.
type Seat struct {
	Name       string
	Label      string
	Role       Role
	State      State
	Muted      bool
	Picture    bool
	Connected  bool // its Stream is live
	Speaking   bool
	Level      float64 // dBFS; Silence if it is silent or not known
	Since      time.Time
	Invitation Invitation
}

// Lapsed reports whether the time to take the seat is over: nobody has, and nobody may
// any more.
func (s *Seat) Lapsed(now time.Time) bool {
	return s.State == Invited && !s.Invitation.Expires.IsZero() && now.After(s.Invitation.Expires)
}

// Silence is the level of a seat that is not heard, in dBFS, as in RFC 6464.
const Silence = -127

// Change is what of a seat is to be otherwise: what is not nil.
type Change struct {
	State *State // Waiting, Backstage or OnAir
	Muted *bool
	Label *string
	Role  *Role
}

// Kind says what happened.
type Kind string

// The kinds of News.
const (
	Made     Kind = "made"     // the stage
	Changed  Kind = "settings" // the stage's
	Cast     Kind = "seats"    // one was added or named otherwise
	Removed  Kind = "removed"  // the stage
	Joined   Kind = "joined"   // somebody fills a seat, for the first time or again after Left
	Departed Kind = "departed" // a seat's publisher has not come back, or it was removed
	Moved    Kind = "moved"    // a seat's state is otherwise, or it is muted or not any more
	CutTo    Kind = "cut"      // the program has another picture
)

// News is one thing that happened on a stage. It is a value.
type News struct {
	Kind   Kind
	Stage  string
	Seat   Seat  // that it is about, if about one
	Before State // of the seat
}

// Record is what is kept of a stage over restarts.
type Record struct {
	Name     string       `json:"name"`
	Settings Settings     `json:"settings"`
	Picture  string       `json:"picture,omitempty"`
	Seats    []SeatRecord `json:"seats"`
}

// SeatRecord is what is kept of a seat.
type SeatRecord struct {
	Name       string     `json:"name"`
	Label      string     `json:"label"`
	Role       Role       `json:"role"`
	Place      State      `json:"place"` // Waiting, Backstage or OnAir
	Came       bool       `json:"came"`
	Muted      bool       `json:"muted,omitempty"`
	Invitation Invitation `json:"invitation"`
}

// maxName is how long the name of a stage or seat may be, so that both with a dot
// between are the name of a stream.
const (
	maxStageName = 40
	maxSeatName  = 23
)

// ValidName reports whether a stage may have that name.
func ValidName(name string) bool { return valid(name, maxStageName) }

// ValidSeat reports whether a seat may have that name.
func ValidSeat(name string) bool { return valid(name, maxSeatName) }

func valid(name string, most int) bool {
	return len(name) <= most && stream.ValidName(name) && !strings.Contains(name, ".")
}

// StreamOf returns the name of a seat's stream.
func StreamOf(stage, seat string) string { return stage + "." + seat }

// Split returns the stage and the seat that a stream's name is of, if it is of one.
func Split(name string) (stage, seat string, ok bool) {
	stage, seat, ok = strings.Cut(name, ".")
	return stage, seat, ok && ValidName(stage) && seat != ""
}
