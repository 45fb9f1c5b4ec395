package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestBrowserRestart: the gateway is stopped, or killed, and started again on
// the same ports and data directory; its publisher comes back by itself. The
// playlists go on where they were, no name means something else than before,
// and hls.js plays on without a reload (specs S17).
func TestBrowserRestart(t *testing.T) {
	decide(t, func(string) []string { return restartAll(t) })
}

// restarted is a gateway that ends and is started again.
type restarted struct {
	drop

	g *gateway
	f *follower
}

func restartAll(t *testing.T) []string {
	t.Helper()
	cases := []*restarted{
		{drop: drop{stream: "stopped", signal: syscall.SIGTERM}},
		{drop: drop{stream: "killed", signal: syscall.SIGKILL}},
	}
	for _, r := range cases {
		r.g = serveWith(t, plainBinary)
		r.publisher = publish(t, r.g.url("/whip/"+r.stream))
	}
	a := newAudience(t)
	for _, r := range cases {
		r.f = follow(t, r.g, r.stream)
		a.open(t, order{Name: r.stream + " hls", Kind: "hls", URL: r.g.url("/hls/" + r.stream + "/index.m3u8")})
		a.open(t, order{Name: r.stream + " watch", Kind: "watch", URL: r.g.url("/watch/" + r.stream)})
	}
	a.settle(t)
	for _, r := range cases {
		r.left = time.Now()
		if err := r.g.cmd.Process.Signal(r.signal); err != nil {
			t.Fatal(err)
		}
		<-r.g.done
		r.g = startAgain(t, r.g)
		t.Logf("%s: the gateway was away for %v", r.stream, time.Since(r.left).Round(time.Millisecond))
	}
	for _, r := range cases {
		until(t, 30*time.Second, "the publisher is back", func() bool {
			return strings.Count(r.publisher.out.String(), "publishing") == 2
		})
		r.back = time.Now()
		t.Logf("%s: the publisher was away for %v", r.stream, r.back.Sub(r.left).Round(time.Millisecond))
	}
	time.Sleep(afterDrop)
	end := time.Now()
	seen := a.report(t)
	var missed []string
	for _, r := range cases {
		for _, player := range []string{" hls", " watch"} {
			missed = append(missed, r.judge(t, seen[r.stream+player], end)...)
		}
		missed = append(missed, r.f.verdict(r.stream)...)
		_ = r.publisher.stop(t)
		_ = r.g.stop(t)
	}
	return missed
}

// startAgain starts a gateway that ended, with what it had.
func startAgain(t *testing.T, old *gateway, settings ...string) *gateway {
	t.Helper()
	g := &gateway{address: old.address, media: old.media, admin: old.admin, data: old.data}
	g.program = launch(t, append([]string{
		"WHIPCAST_HTTP_ADDRESS=" + g.address,
		"WHIPCAST_MEDIA_ADDRESS=" + g.media,
		"WHIPCAST_ADMIN_ADDRESS=" + g.admin,
		"WHIPCAST_DATA_DIR=" + g.data,
		"WHIPCAST_AUTH_PUBLISH_TOKEN=" + token,
	}, settings...), plainBinary, "serve")
	until(t, 20*time.Second, "the gateway is ready again", func() bool {
		got, err := get(t.Context(), g.url("/readyz"))
		return err == nil && got.status == http.StatusOK
	})
	return g
}

// follower reads a stream's media playlists again and again, with all segments
// that they name, through a restart of the gateway.
type follower struct {
	mu        sync.Mutex
	playlists []string
	edges     map[string][]int          // last media sequence numbers of each playlist, as they came
	breaks    map[string]int            // discontinuities in the newest version
	ended     map[string]bool           // a version had EXT-X-ENDLIST
	files     map[string][32]byte       // what each name meant
	problems  []string                  // in the order found
	renamed   map[string]struct{}       // names that came to mean something else
	numbered  map[string]map[int]string // which segment a number is, by playlist
}

var playlistLine = regexp.MustCompile(`(?m)URI="([^"]+\.m3u8)"|^([^#\s]+\.m3u8)`)

// follow waits for a stream and follows its playlists until the test ends.
func follow(t *testing.T, g *gateway, stream string) *follower {
	t.Helper()
	f := &follower{
		edges: map[string][]int{}, breaks: map[string]int{}, ended: map[string]bool{}, files: map[string][32]byte{},
		renamed: map[string]struct{}{}, numbered: map[string]map[int]string{},
	}
	base := g.url("/hls/" + stream + "/")
	until(t, 30*time.Second, "the stream is live", func() bool {
		got, err := get(t.Context(), base+"index.m3u8")
		if err != nil || got.status != http.StatusOK {
			return false
		}
		for _, m := range playlistLine.FindAllStringSubmatch(string(got.body), -1) {
			f.playlists = append(f.playlists, m[1]+m[2])
		}
		return len(f.playlists) > 0
	})
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	t.Cleanup(func() {
		stop()
		all.Wait()
	})
	for _, uri := range f.playlists {
		all.Go(func() {
			for ctx.Err() == nil {
				f.look(ctx, base, uri)
				time.Sleep(300 * time.Millisecond)
			}
		})
	}
	return f
}

// look reads one version of a playlist. That the gateway is not there is no
// problem; what it says when it is, may be.
func (f *follower) look(ctx context.Context, base, uri string) {
	got, err := get(ctx, base+uri)
	if err != nil {
		return
	}
	if got.status != http.StatusOK {
		f.problem("GET %s: status %d", uri, got.status)
		return
	}
	body := string(got.body)
	msn, names := segments(body)
	f.mu.Lock()
	if known := f.edges[uri]; len(known) > 0 && msn+len(names) < known[len(known)-1] {
		f.problems = append(f.problems, fmt.Sprintf("%s: goes back from %d to %d", uri, known[len(known)-1], msn+len(names)))
	}
	f.edges[uri] = append(f.edges[uri], msn+len(names))
	f.breaks[uri] = strings.Count(body, "#EXT-X-DISCONTINUITY\n")
	f.ended[uri] = f.ended[uri] || strings.Contains(body, "#EXT-X-ENDLIST")
	if f.numbered[uri] == nil {
		f.numbered[uri] = map[int]string{}
	}
	for i, name := range names {
		if name == "" { // what was lost is a gap
			continue
		}
		if was, ok := f.numbered[uri][msn+i]; ok && was != name {
			f.problems = append(f.problems, fmt.Sprintf("%s: segment %d was %s and is %s", uri, msn+i, was, name))
		}
		f.numbered[uri][msn+i] = name
	}
	f.mu.Unlock()
	for _, name := range names[max(0, len(names)-3):] {
		f.file(ctx, base, path.Join(path.Dir(uri), name))
	}
}

// segments returns the media sequence number of a playlist and the segments
// that are not gaps, in their order; a gap's name is empty.
func segments(playlist string) (msn int, names []string) {
	gap := false
	for line := range strings.Lines(playlist) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#EXT-X-MEDIA-SEQUENCE:"):
			msn, _ = strconv.Atoi(strings.TrimPrefix(line, "#EXT-X-MEDIA-SEQUENCE:"))
		case line == "#EXT-X-GAP":
			gap = true
		case line != "" && line[0] != '#':
			if gap {
				line = ""
			}
			names, gap = append(names, line), false
		}
	}
	return msn, names
}

// file checks that a name means what it meant.
func (f *follower) file(ctx context.Context, base, name string) {
	if strings.HasSuffix(name, "/") || path.Ext(name) == "" {
		return
	}
	got, err := get(ctx, base+name)
	if err != nil || got.status != http.StatusOK { // whether it must be there is for others to check
		return
	}
	sum := sha256.Sum256(got.body)
	f.mu.Lock()
	defer f.mu.Unlock()
	if was, ok := f.files[name]; ok && was != sum {
		f.renamed[name] = struct{}{}
	}
	f.files[name] = sum
}

func (f *follower) problem(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

// verdict returns what was wrong.
func (f *follower) verdict(name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []string
	wrong := func(format string, args ...any) { found = append(found, name+": "+fmt.Sprintf(format, args...)) }
	for _, p := range f.problems[:min(len(f.problems), 5)] {
		wrong("%s", p)
	}
	for file := range f.renamed {
		wrong("%s came to mean something else", file)
	}
	for _, uri := range f.playlists {
		edges := f.edges[uri]
		if len(edges) < 10 {
			wrong("%s was read only %d times", uri, len(edges))
			continue
		}
		if first, last := edges[0], edges[len(edges)-1]; last < first+8 {
			wrong("%s went from segment %d to %d only", uri, first, last)
		}
		if f.breaks[uri] != 1 {
			wrong("%s has %d discontinuities, want 1", uri, f.breaks[uri])
		}
		if f.ended[uri] {
			wrong("%s had EXT-X-ENDLIST", uri)
		}
	}
	return found
}
