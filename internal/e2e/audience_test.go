package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// audience is a Chromium with players side by side: browser/audience.mjs.
type audience struct {
	orders  *json.Encoder
	answers chan told
}

// order opens a player, changes its network, or asks for the report.
type order struct {
	Name     string         `json:"name,omitempty"`
	Kind     string         `json:"kind,omitempty"` // watch, hls or shaka
	URL      string         `json:"url,omitempty"`
	Config   map[string]any `json:"config,omitempty"`
	Throttle *int           `json:"throttle,omitempty"` // bytes a second, 0 is unlimited
	Seek     *float64       `json:"seek,omitempty"`     // to where it jumps, in seconds of media
	Playing  float64        `json:"playing,omitempty"`  // seconds of media that all must have shown
	Report   bool           `json:"report,omitempty"`
}

type told struct {
	Opened  string   `json:"opened"`
	Players []viewer `json:"players"`
}

// viewer is what one player saw. Times are ms since 1970.
type viewer struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Loads   int      `json:"loads"` // of the page
	Crash   string   `json:"crash"` // the page's first uncaught error
	Same    bool     `json:"same"`  // it is the video element of the beginning
	Samples []moment `json:"samples"`
	Waits   []moment `json:"waits"`
	Seeks   []moment `json:"seeks"`
	Heights []moment `json:"heights"`
	Errors  []struct {
		At     int64  `json:"at"`
		What   string `json:"what"`
		Status int    `json:"status"`
		Fatal  bool   `json:"fatal"`
		Words  string `json:"words"`
	} `json:"errors"`
}

// moment is where a player was at a time.
type moment struct {
	At       int64   `json:"at"`
	Position float64 `json:"position"` // seconds of media
	Frames   int     `json:"frames"`
	Starts   int     `json:"starts"` // players that the watch page made
	Date     int64   `json:"date"`   // when that was sent, ms since 1970: EXT-X-PROGRAM-DATE-TIME; of hls.js only
	Height   int     `json:"height"`
	Seeking  bool    `json:"seeking"`
}

// newAudience starts Chromium; the test's end closes it.
func newAudience(t *testing.T) *audience {
	t.Helper()
	if err := installBrowser(); err != nil {
		t.Fatalf("install what drives the browser: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "browser/audience.mjs")
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 10 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Cancel = in.Close // the script closes the browser when its input ends
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &audience{orders: json.NewEncoder(in), answers: make(chan told, 64)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		a.read(out)
	}()
	t.Cleanup(func() {
		_ = in.Close()
		<-read
		_ = cmd.Wait()
	})
	return a
}

func (a *audience) read(out io.Reader) {
	defer close(a.answers)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var one told
		if err := json.Unmarshal(lines.Bytes(), &one); err == nil {
			a.answers <- one
		}
	}
}

func (a *audience) send(t *testing.T, o order) {
	t.Helper()
	if err := a.orders.Encode(o); err != nil {
		t.Fatalf("tell the browser: %v", err)
	}
}

func (a *audience) hear(t *testing.T) told {
	t.Helper()
	select {
	case one, ok := <-a.answers:
		if !ok {
			t.Fatal("the browser ended")
		}
		return one
	case <-time.After(60 * time.Second):
		t.Fatal("the browser does not answer")
	}
	return told{}
}

// open opens a player and waits until its page is there.
func (a *audience) open(t *testing.T, o order) {
	t.Helper()
	a.send(t, o)
	if got := a.hear(t); got.Opened != o.Name {
		t.Fatalf("opened %q, want %q", got.Opened, o.Name)
	}
}

// settle waits until all players have shown some seconds of media.
func (a *audience) settle(t *testing.T) {
	t.Helper()
	a.send(t, order{Playing: beforeDrop})
	if got := a.hear(t); got.Opened != "all" {
		t.Fatalf("opened %q, want all", got.Opened)
	}
}

// report returns what all players saw, and closes them.
func (a *audience) report(t *testing.T) map[string]*viewer {
	t.Helper()
	a.send(t, order{Report: true})
	all := make(map[string]*viewer)
	for _, v := range a.hear(t).Players {
		all[v.Name] = &v
	}
	return all
}

// played returns how many seconds of media were shown between two times;
// jumps do not count: more than half a second beyond what time allows.
func (v *viewer) played(from, to time.Time) float64 {
	sum := 0.0
	for i := 1; i < len(v.Samples); i++ {
		a, b := v.Samples[i-1], v.Samples[i]
		if a.At < from.UnixMilli() || b.At > to.UnixMilli() {
			continue
		}
		passed := float64(b.At-a.At) / 1000
		if step := b.Position - a.Position; step > 0 && step < 1.2*passed+0.5 {
			sum += step
		}
	}
	return sum
}

// behind returns by how many seconds what is shown is behind what the publisher
// sends, the middle one of all samples after a time; 0 if nobody knows.
func (v *viewer) behind(after time.Time) float64 {
	var all []int64
	for _, s := range v.Samples {
		if s.At > after.UnixMilli() && s.Date > 0 {
			all = append(all, s.At-s.Date)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[len(all)/2]) / 1000
}

// resumes returns when the player went on after a time, and whether it did: from
// then on half a second of media was shown within a second.
func (v *viewer) resumes(after time.Time) (time.Time, bool) {
	for _, s := range v.Samples {
		at := time.UnixMilli(s.At)
		if at.After(after) && v.played(at, at.Add(time.Second)) >= 0.5 {
			return at, true
		}
	}
	return time.Time{}, false
}

// stalls counts how often the player waited for media after a time. Waits that
// are part of a jump do not count.
func (v *viewer) stalls(after time.Time) int {
	n := 0
	for _, w := range v.Waits {
		if w.At > after.UnixMilli() && !w.Seeking {
			n++
		}
	}
	return n
}

// faults returns what must not happen to any player: an error that ends it, a
// reload, another video element, a page's own error, a player anew since then.
func (v *viewer) faults(since time.Time) []string {
	var found []string
	for _, e := range v.Errors {
		if e.Fatal {
			found = append(found, fmt.Sprintf("fatal error %s, status %d", e.What, e.Status))
		}
	}
	if v.Crash != "" {
		found = append(found, "page error "+v.Crash)
	}
	if v.Loads > 1 {
		found = append(found, fmt.Sprintf("the page was loaded %d times", v.Loads))
	}
	if !v.Same {
		found = append(found, "it is another video element")
	}
	if n := v.starts(time.Now()) - v.starts(since); n > 0 && v.starts(since) > 0 {
		found = append(found, fmt.Sprintf("the page made %d players anew", n))
	}
	return found
}

// starts returns how many players the watch page had made at a time.
func (v *viewer) starts(at time.Time) int {
	n := 0
	for _, s := range v.Samples {
		if s.At <= at.UnixMilli() {
			n = s.Starts
		}
	}
	return n
}

// errors lists the kinds of errors, for the log.
func (v *viewer) errors() string {
	var kinds []string
	counts := make(map[string]int)
	for _, e := range v.Errors {
		if counts[e.What]++; counts[e.What] == 1 {
			kinds = append(kinds, e.What)
		}
	}
	slices.Sort(kinds)
	for i, k := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", counts[k], k)
	}
	return strings.Join(kinds, ", ")
}
