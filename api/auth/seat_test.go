package auth_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/internal/problem"
)

// casting is a stage show: ann is let in and sees bob, and bob waits.
type casting struct{ bobLeaves bool }

func (c *casting) Private(stream string) bool { return len(stream) > 5 && stream[:5] == "show." }

func (c *casting) Permits(seat string, action auth.Action, stream string) bool {
	if action == auth.Publish {
		return seat == stream
	}
	return seat == "show.ann" && (stream == "show" || stream == "show.bob" && !c.bobLeaves)
}

// TestSeat: a seat publishes its own stream, and plays what its stage shows it, for as
// long as it does. Streams of seats are for nobody else, though watching is open.
func TestSeat(t *testing.T) {
	stages := &casting{}
	a, err := auth.New(auth.Config{Token: "secret", Watch: auth.Open, Folder: auth.Folder(t.TempDir()), Stages: stages})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(streams ...auth.Pattern) (string, auth.Grant) {
		text, g, err := a.Issue(auth.Grant{Actions: auth.Seat, Streams: streams, Principal: "seat:ann", Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return text, g
	}
	ann, annGrant := issue("show.ann")
	bob, _ := issue("show.bob")
	wide, _ := issue("show.*")
	two, _ := issue("show.ann", "show.bob")
	other, _ := issue("other")
	for _, x := range []struct {
		token  string
		action auth.Action
		stream string
		status int // 0: permitted
	}{
		{ann, auth.Publish, "show.ann", 0},
		{ann, auth.Publish, "show.bob", http.StatusForbidden},
		{ann, auth.Publish, "show", http.StatusForbidden},
		{ann, auth.Play, "show.bob", 0},
		{ann, auth.Play, "show.ann", http.StatusForbidden}, // never oneself
		{ann, auth.Play, "show", 0},                        // open
		{ann, auth.Admin, "show.ann", http.StatusForbidden},
		{ann, auth.Seat, "show.ann", 0},
		{ann, auth.Seat, "show.bob", http.StatusForbidden},
		{bob, auth.Play, "show.ann", http.StatusForbidden}, // it waits
		{bob, auth.Publish, "show.bob", 0},
		{"", auth.Play, "show.ann", http.StatusUnauthorized},
		{"secret", auth.Play, "show.ann", 0},
		{"", auth.Play, "show", 0},
		{wide, auth.Publish, "show.ann", http.StatusForbidden},
		{wide, auth.Play, "show.bob", http.StatusForbidden},
		{two, auth.Publish, "show.ann", http.StatusForbidden},
		{other, auth.Publish, "other", http.StatusForbidden},
	} {
		_, err := a.Decide(t.Context(), auth.Request{Action: x.action, Stream: x.stream, Token: x.token})
		got := 0
		if p, ok := err.(problem.Problem); ok { //nolint:errorlint // its documented type
			got = p.Status
		}
		if got != x.status {
			t.Errorf("%v %s: %d, want %d (%v)", x.action, x.stream, got, x.status, err)
		}
	}
	if !a.Stands(annGrant, auth.Play, "show.bob") {
		t.Error("what was permitted does not stand")
	}
	stages.bobLeaves = true
	if a.Stands(annGrant, auth.Play, "show.bob") || !a.Stands(annGrant, auth.Publish, "show.ann") {
		t.Error("what a seat may see does not change with the stage")
	}
	if viewer, err := a.Decide(t.Context(), auth.Request{Action: auth.Play, Stream: "late"}); err != nil || !a.Stands(viewer, auth.Play, "late") || a.Stands(viewer, auth.Play, "show.late") {
		t.Errorf("%v: a viewer may watch what became a seat", err)
	}
	if got := annGrant.Chair(); got != "show.ann" {
		t.Errorf("seat %q", got)
	}
}

// TestCovers: what is for all streams of a pattern.
func TestCovers(t *testing.T) {
	for _, x := range []struct {
		streams []auth.Pattern
		pattern auth.Pattern
		want    bool
	}{
		{[]auth.Pattern{"*"}, "show.*", true},
		{[]auth.Pattern{"show*"}, "show.*", true},
		{[]auth.Pattern{"show"}, "show.*", false},
		{[]auth.Pattern{"show.*"}, "show", false},
		{[]auth.Pattern{"show", "show.*"}, "show.*", true},
	} {
		g := auth.Grant{Actions: auth.Admin, Streams: x.streams}
		if got := g.Covers(auth.Admin, x.pattern); got != x.want {
			t.Errorf("%v covers %s: %v", x.streams, x.pattern, got)
		}
		if (auth.Grant{Actions: auth.Play, Streams: x.streams}).Covers(auth.Admin, x.pattern) {
			t.Errorf("%v covers actions that it has not", x.streams)
		}
	}
}
