package auth

import (
	"strings"
)

// Stages knows what depends on how things are on a stage. Its methods may be called
// from any goroutine, and must not wait.
type Stages interface {
	// Private reports whether a stream is one of a seat: who is there is for those who
	// have a grant, though everybody may watch all else.
	Private(stream string) bool
	// Permits reports whether a seat, named as its stream, may do something with a
	// stream now.
	Permits(seat string, action Action, stream string) bool
}

// Chair returns the seat that a grant is for, named as its stream; "" if it is not one
// for exactly one seat.
func (g Grant) Chair() string {
	if g.Actions != Seat || len(g.Streams) != 1 {
		return ""
	}
	name := string(g.Streams[0])
	if _, seat, ok := strings.Cut(name, "."); !ok || seat == "" || strings.HasSuffix(name, "*") {
		return ""
	}
	return name
}

// Covers reports whether a grant permits an action with all streams of a pattern.
func (g Grant) Covers(action Action, p Pattern) bool {
	return Grant{Actions: action, Streams: []Pattern{p}, Expires: g.Expires}.Within(g)
}

// public reports whether everybody may do what is asked for.
func (a *Authority) public(action Action, stream string) bool {
	return a.open && action == Play && (a.stages == nil || !a.stages.Private(stream))
}

// seated reports whether a grant of a seat permits what is asked for, as things are
// on its stage.
func (a *Authority) seated(g Grant, action Action, stream string) bool {
	chair := g.Chair()
	return chair != "" && a.stages != nil && action&(Publish|Play) != 0 && a.stages.Permits(chair, action, stream)
}

// Stands reports whether what was permitted by a grant still is, as things are on the
// stages: a seat may be sent back to wait, and a stream become one of a seat.
func (a *Authority) Stands(g Grant, action Action, stream string) bool {
	switch {
	case g.Principal == viewerID:
		return a.public(action, stream)
	case g.Chair() != "":
		return a.seated(g, action, stream)
	}
	return true
}
