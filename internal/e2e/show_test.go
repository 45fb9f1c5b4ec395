package e2e

import (
	"maps"
	"slices"
	"testing"
)

// TestConversation: a host, three guests and a viewer of HLS on one stage, in Chromium.
// They are invited, join by the page, wait, are let in and put on air, cut to, muted and
// thrown out; one reloads the page, the host gets another network. Whose picture is on
// air is seen in the viewer's player, who is heard in the program's segments, each by a
// tone of its own; a cut is one discontinuity, and nothing else is (specs L24). Who
// watches by WHEP sees the cuts in one session. The seats hear one another, not themselves.
func TestConversation(t *testing.T) {
	g := serveWith(t, plainBinary, "WHIPCAST_HLS_WINDOW=10m") // the browser needs the cores
	s := browse(t, "conversation", g.url(""), "talk")
	if want := []string{
		"host", "host", "host ann bob cyd", // alone, with all others backstage, with all on air
		"host bob cyd", "host ann bob cyd", // ann is muted, and not
		"host ann bob", // cyd is thrown out
	}; !slices.Equal(s.Heard, want) {
		t.Errorf("heard were %q, want %q", s.Heard, want)
	}
	if want := []string{"host", "ann", "bob", "host", "cyd", "host"}; !slices.Equal(s.Seen, want) {
		t.Errorf("seen were %q, want %q", s.Seen, want)
	}
	// By WHEP: before the cuts, after each of three, and at the end.
	if want := []string{"host", "ann", "bob", "host", "host"}; !slices.Equal(s.Live, want) || s.Connections != 1 {
		t.Errorf("seen by WHEP were %q by %d connections, want %q by one", s.Live, s.Connections, want)
	}
	if want := map[string]string{"host": "ann bob cyd", "ann": "host bob cyd", "bob": "host ann cyd", "cyd": "host ann bob"}; !maps.Equal(s.Ears, want) || len(s.Echoes) > 0 {
		t.Errorf("the seats hear %q, want %q; themselves: %q", s.Ears, want, s.Echoes)
	}
	// After the first picture and three cuts; with two more; after the end of one who was not seen.
	if want := []int{0, 1, 2, 3, 5, 5}; !slices.Equal(s.Discontinuities, want) {
		t.Errorf("L24: %d discontinuities, want %d", s.Discontinuities, want)
	}
	if s.Back != "on_air, muted" {
		t.Errorf("who reloads the page is back as %q, want on_air, muted", s.Back)
	}
	if !slices.Equal(s.Restarts, []int{200}) || s.Posts != 0 || !s.Kept {
		t.Errorf("the host's other network: ICE restarts %d, new sessions %d, the session is kept: %v; want 200, 0, true", s.Restarts, s.Posts, s.Kept)
	}
	if want := []int{401, 401}; !slices.Equal(s.Refused, want) {
		t.Errorf("the token of who was thrown out gets %d by the view and by WHIP, want %d", s.Refused, want)
	}
	t.Logf("the viewer: %+v; %v dB over what nobody sends; cuts seen by WHEP after %v ms", s.Viewer, s.Levels, s.Turns)
	t.Logf("%d frames of the program's sound were made up, %d units found no place",
		g.metric(t, "whipcast_packager_silence_frames_total"), g.metric(t, "whipcast_packager_dropped_units_total"))
	if err := g.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
}
