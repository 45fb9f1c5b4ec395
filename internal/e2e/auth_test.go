package e2e

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// mint runs whipcast token beside a running gateway and returns the token.
func (g *gateway) mint(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), plainBinary, append([]string{"token", "--data_dir", g.data}, args...)...) //nolint:gosec // our own program
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("token %v: %v\n%s", args, err, out)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}

// pictures lets FFmpeg play an address and returns how many pictures came, and what
// it said.
func pictures(t *testing.T, url string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-loglevel", "warning", "-i", url, "-map", "0:v:0", "-frames:v", "60", "-f", "framemd5", "-") //nolint:gosec // Debian's program
	var words strings.Builder
	cmd.Stderr = &words
	cmd.WaitDelay = 5 * time.Second
	out, _ := cmd.Output() // its words tell why
	return strings.Count(string(out), "\n0, "), words.String()
}

// TestClosedGateway: X11 with auth.watch token, Chromium watches by hls.js and sits in
// by WHEP, and FFmpeg plays, with a token that whipcast token made while the gateway
// runs; without it nobody does. Revoked, it is of no use any more.
func TestClosedGateway(t *testing.T) {
	g := serveWith(t, plainBinary, "WHIPCAST_AUTH_WATCH=token") // the browser needs the cores
	publisher := g.mint(t, "--publish", "clip")
	viewer := g.mint(t, "--play", "clip", "--ttl", "10m")
	source := launch(t, nil, plainBinary, "publish", "--url", g.url("/whip/clip"), "--token", publisher)
	path := g.url("/hls/~" + viewer + "/clip/index.m3u8")
	until(t, 30*time.Second, "the stream has the three segments with which FFmpeg begins", func() bool {
		got, err := get(t.Context(), path)
		if err != nil || got.status != http.StatusOK {
			return false
		}
		for line := range strings.Lines(string(got.body)) {
			if !strings.HasPrefix(line, "#") && strings.Contains(line, "video") {
				got, err = get(t.Context(), strings.TrimSuffix(path, "index.m3u8")+strings.TrimSpace(line))
			}
		}
		return err == nil && strings.Count(string(got.body), "#EXTINF") >= 3
	})
	for name, url := range map[string]string{
		"nothing": g.url("/hls/clip/index.m3u8"), "the publisher's token": g.url("/hls/~" + publisher + "/clip/index.m3u8"),
	} {
		want := map[string]int{"nothing": http.StatusUnauthorized, "the publisher's token": http.StatusForbidden}[name]
		if got, err := get(t.Context(), url); err != nil || got.status != want {
			t.Errorf("HLS with %s: %d, %v; want %d", name, got.status, err, want)
		}
		if n, words := pictures(t, url); n != 0 || !strings.Contains(words, "40") {
			t.Errorf("FFmpeg with %s shows %d pictures: %s", name, n, words)
		}
	}
	for name, url := range map[string]string{"path": path, "query": g.url("/hls/clip/index.m3u8?token=" + viewer)} {
		if n, words := pictures(t, url); n < 60 {
			t.Errorf("FFmpeg with the token in the %s shows %d pictures: %s", name, n, words)
		}
	}
	a := newAudience(t)
	for _, kind := range []string{"hls", "shaka"} { // players that are told an address and no header
		a.open(t, order{Name: kind, Kind: kind, URL: path})
	}
	a.settle(t) // both play, or it fails
	for kind, v := range a.report(t) {
		for _, e := range v.Errors {
			if e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden {
				t.Errorf("%s was refused with the token in the path: %s", kind, e.Words)
			}
		}
	}
	s := browseWith(t, viewer, "closed", g.url(""), "clip")
	if !s.Asks {
		t.Error("the watch page does not ask for a token")
	}
	if s.Later != g.url("/watch/clip") {
		t.Errorf("address bar %q of the page that took a link later: the token stays there", s.Later)
	}
	if s.Bar != g.url("/watch/clip?a=b") {
		t.Errorf("address bar %q: the token stays there", s.Bar)
	}
	if s.Seat.FramesDecoded == 0 { // as of up to half a second ago; the scenario waited for 20
		t.Errorf("the seat decoded %d pictures", s.Seat.FramesDecoded)
	}
	if out := g.out.String(); strings.Contains(out, viewer) || strings.Contains(out, publisher) {
		t.Error("X4: a token is in the log")
	}

	g.mint(t, "--revoke", viewer)
	until(t, 10*time.Second, "the viewer's token is of no use", func() bool {
		got, err := get(t.Context(), path)
		return err == nil && got.status == http.StatusUnauthorized
	})
	g.mint(t, "--revoke-stream", "clip")
	until(t, 10*time.Second, "the publisher's session ends", func() bool {
		return strings.Contains(g.out.String(), `reason="permission revoked"`) && strings.Contains(source.out.String(), "again in")
	})
}
