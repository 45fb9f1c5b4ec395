package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// screen is a player outside of a browser, and the pictures that it showed.
type screen struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *output // what it said besides
	read sync.WaitGroup

	mu    sync.Mutex
	shown []time.Time // when each picture was decoded, as far as the player tells
}

// players are Debian's, each with what makes it tell its pictures, and what a
// line of that means.
var players = []struct {
	name    string
	command func(url string) []string
	ask     string // written twice a second
	line    *regexp.Regexp
}{
	{
		name: "ffmpeg",
		command: func(url string) []string {
			return []string{"ffmpeg", "-hide_banner", "-loglevel", "warning", "-i", url, "-map", "0:v:0", "-map", "0:a:0", "-f", "framemd5", "-"}
		},
		line: regexp.MustCompile(`^0, `),
	},
	{
		name: "gstreamer",
		command: func(url string) []string {
			return []string{"gst-launch-1.0", "-v", "playbin3", "uri=" + url, "video-sink=fakesink sync=true silent=false", "audio-sink=fakesink sync=true"}
		},
		line: regexp.MustCompile(`last-message = chain`),
	},
	{
		name: "vlc",
		command: func(url string) []string {
			return []string{"vlc", "-I", "oldrc", "--rc-fake-tty", "--vout", "vdummy", "--aout", "adummy", url}
		},
		ask:  "stats\n",
		line: regexp.MustCompile(`video decoded\s*:\s*(\d+)`),
	},
}

// TestPlayers: Debian's players, hls.js and shaka-player play the ladder of a
// simulcast publisher that leaves for five seconds. docs/players.md has what came out.
func TestPlayers(t *testing.T) {
	g := serveWith(t, plainBinary)
	url := g.url("/hls/show/index.m3u8")
	ladder := func() *program {
		return launch(t, nil, plainBinary, "publish", "--simulcast", "--url", g.url("/whip/show"), "--token", token)
	}
	first := ladder()
	until(t, 30*time.Second, "the stream has three layers", func() bool {
		got, err := get(t.Context(), url)
		return err == nil && got.status == http.StatusOK && strings.Count(string(got.body), "RESOLUTION=") >= 3
	})
	time.Sleep(6 * time.Second) // a player far from live has three segments to begin with
	var screens []*screen
	for i := range players {
		screens = append(screens, watchOn(t, i, url))
	}
	a := newAudience(t)
	for _, kind := range []string{"hls", "shaka"} {
		a.open(t, order{Name: kind, Kind: kind, URL: url})
	}
	time.Sleep(12 * time.Second)
	d := &drop{stream: "show", left: time.Now()}
	if err := first.stop(t); err != nil {
		t.Error(err)
	}
	time.Sleep(5 * time.Second)
	d.back = time.Now()
	d.publisher = ladder()
	time.Sleep(2 * afterDrop)
	end := time.Now()
	for _, s := range screens {
		s.judge(t, d, end)
	}
	seen := a.report(t)
	for _, kind := range []string{"hls", "shaka"} {
		v := seen[kind]
		before, since := v.played(time.Time{}, d.left), v.played(d.back, end)
		t.Logf("%-10s %4.1f s played before, %4.1f s of %.0f s while nobody published, %4.1f s of %.0f s since, %d stalls; %s",
			kind, before, v.played(d.left, d.back), d.back.Sub(d.left).Seconds(), since, end.Sub(d.back).Seconds(), v.stalls(d.back), v.errors())
		if before < beforeDrop {
			t.Errorf("%s played only %.1f s before the drop", kind, before)
		}
		if _, ok := v.resumes(d.back.Add(afterDrop)); !ok {
			t.Errorf("%s does not play after the return", kind)
		}
	}
}

// watchOn starts a player; the test's end kills it.
func watchOn(t *testing.T, index int, url string) *screen {
	t.Helper()
	player := players[index]
	args := player.command(url)
	s := &screen{name: player.name, cmd: exec.CommandContext(t.Context(), args[0], args[1:]...), out: &output{}} //nolint:gosec // the list above

	home, err := os.MkdirTemp("", "whipcast-player") //nolint:usetesting // a test's own folder is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 { // VLC does not run as root
		if err := os.Chown(home, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		s.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	s.cmd.Stderr = s.out
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", s.name, err)
	}
	stop := make(chan struct{})
	s.read.Go(func() { s.count(out, player.line) })
	if player.ask != "" {
		s.read.Go(func() { s.poll(player.ask, stop) })
	}
	t.Cleanup(func() {
		close(stop)
		_ = s.cmd.Process.Kill()
		s.read.Wait()
		_ = s.cmd.Wait()
		_ = os.RemoveAll(home)
		if t.Failed() {
			t.Logf("%s says:\n%s", s.name, tail(s.out.String(), 2000))
		}
	})
	return s
}

const nobody = 65534

// count notes pictures: one a line, or as many as the line says were decoded.
func (s *screen) count(out io.Reader, line *regexp.Regexp) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := line.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		s.mu.Lock()
		total := len(s.shown) + 1
		if len(m) > 1 {
			total, _ = strconv.Atoi(m[1])
		}
		for len(s.shown) < total {
			s.shown = append(s.shown, time.Now())
		}
		s.mu.Unlock()
	}
}

// poll asks the player for its figures.
func (s *screen) poll(words string, stop <-chan struct{}) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := io.WriteString(s.in, words); err != nil {
				return
			}
		case <-stop:
			return
		}
	}
}

// between counts the pictures of a time.
func (s *screen) between(from, to time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, at := range s.shown {
		if at.After(from) && !at.After(to) {
			n++
		}
	}
	return n
}

// judge checks that pictures came before the drop and again after the return.
func (s *screen) judge(t *testing.T, d *drop, end time.Time) {
	t.Helper()
	before, away := s.between(time.Time{}, d.left), s.between(d.left, d.back)
	since, last := s.between(d.back, end), s.between(end.Add(-afterDrop), end)
	t.Logf("%-10s %4d pictures before, %4d while nobody published, %4d since, %4d of them in the last %v; %s",
		s.name, before, away, since, last, afterDrop, summary(s.out.String()))
	if before < 100 {
		t.Errorf("%s showed only %d pictures before the drop", s.name, before)
	}
	// VLC's demuxer for fragmented MP4 is lost at any EXT-X-DISCONTINUITY.
	if last < 100 && s.name != "vlc" {
		t.Errorf("%s showed only %d pictures in the last %v", s.name, last, afterDrop)
	}
}

var digits = regexp.MustCompile(`0x[0-9a-f]+|[0-9a-f]{8,}|\d+`)

// summary lists the kinds of lines that a player said.
func summary(words string) string {
	counts := make(map[string]int)
	var kinds []string
	for line := range strings.Lines(words) {
		line = digits.ReplaceAllString(strings.TrimSpace(line), "#")
		if line == "" || strings.Contains(line, "dbus") || strings.Contains(line, "interface") {
			continue
		}
		if counts[line]++; counts[line] == 1 {
			kinds = append(kinds, line)
		}
	}
	for i, k := range kinds {
		kinds[i] = fmt.Sprintf("%d× %q", counts[k], k)
	}
	return strings.Join(kinds[:min(len(kinds), 6)], ", ")
}
