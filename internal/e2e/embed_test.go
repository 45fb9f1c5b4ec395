package e2e

import (
	"slices"
	"strings"
	"testing"
)

// TestEmbed: <whipcast-player> in a page of another origin, under the policy that docs/embedding.md
// names. WHEP is refused, works, is broken and works again; the picture goes on by HLS meanwhile and
// is never gone. Of our own pages, the one that is made for it may stand in a frame. The guide's example
// plays and publishes.
func TestEmbed(t *testing.T) {
	g := serveWith(t, plainBinary) // the browser needs the cores
	publish(t, g.url("/whip/clip"))
	s := browse(t, "embed", g.url(""), "clip")
	t.Logf("ways %q, states %q, %d of %d looks saw no picture", s.Player.Ways, s.Player.States, s.Player.Blank, s.Player.Looks)
	if ways := []string{"hls", "whep", "hls", "whep"}; !slices.Equal(s.Player.Ways, ways) {
		t.Errorf("ways %q, want %q", s.Player.Ways, ways)
	}
	for _, state := range s.Player.States {
		if strings.HasPrefix(state, "policy") {
			t.Errorf("the policy of docs/embedding.md does not do: %s", state)
		}
	}
	if s.Player.Blank > s.Player.Looks/50 || s.Player.Looks < 50 {
		t.Errorf("%d of %d looks saw no picture", s.Player.Blank, s.Player.Looks)
	}
	if messages := []string{"score 1:0", "score 1:1", "score 1:2", "score 2:0"}; !slices.Equal(s.Player.Messages, messages) {
		t.Errorf("messages %q, want %q: the first two by HLS, the third while it changes, the last by WHEP, each once, and none that was not asked for", s.Player.Messages, messages)
	}
	if !s.Kept {
		t.Error("a player that is moved in the document does not go on")
	}
	if s.Example != "live; playing, by hls" {
		t.Errorf("the example is %q", s.Example)
	}
	if s.Framed != "whep" || !s.RefusedFrame {
		t.Errorf("the page for frames plays by %q, want whep; the watch page is kept out of frames: %v", s.Framed, s.RefusedFrame)
	}
}

// TestControlRoom: the pages of a stage. Two are invited, join, are let in, see each other, are cut to by
// keys, shown by WHEP and HLS, muted and removed, all by the keyboard, which stays at the seat. A reload comes back by itself, a link that is opened twice
// takes the seat over once, a camera may be left out and come back, and another network costs an ICE restart but no session.
func TestControlRoom(t *testing.T) {
	g := serveWith(t, plainBinary) // the browser needs the cores
	s := browse(t, "control", g.url(""), "talk")
	if s.Meter <= 0 || s.Meter > 1 {
		t.Errorf("a player's level is %v while its meter moves, want more than 0 and at most 1", s.Meter)
	}
	if !s.Told {
		t.Error("the control room tells no more why an order was refused")
	}
	if s.Listed != 1 {
		t.Errorf("the start page lists %d, want the show alone", s.Listed)
	}
	if s.Restart != 200 || !s.Kept || s.Seats != 1 {
		t.Errorf("ICE restart answered %d, the session was kept: %v, %d seats are left; want 200, true, 1", s.Restart, s.Kept, s.Seats)
	}
}
