package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// seen is what browser/run.mjs reports.
type seen struct {
	Failure  string   `json:"failure"`
	Errors   []string `json:"errors"`
	External []string `json:"external"`

	FirstPicture float64 `json:"firstPicture"` // ms after the publisher connected
	SeatMoving   float64 `json:"seatMoving"`   // ms after the seat's POST
	After15      figures `json:"after15"`
	After30      figures `json:"after30"`
	Waits        int     `json:"waits"`
	Paused       bool    `json:"paused"`
	Seat         figures `json:"seat"`
	SeatLater    figures `json:"seatLater"`

	Published   string `json:"published"`
	Viewed      string `json:"viewed"`
	Moving      bool   `json:"moving"`
	Stopped     bool   `json:"stopped"`
	Unpublished bool   `json:"unpublished"`

	Arrived map[string]float64 `json:"arrived"` // ms after the connection, of each RID
	Layers  []struct {
		RID     string `json:"rid"`
		Packets uint64 `json:"packets"`
		Bytes   uint64 `json:"bytes"`
	} `json:"layers"` // 5 s later, as the API lists them
	Publisher figures `json:"publisher"`

	Ways    []string `json:"ways"`    // of the publisher and the seat: "relay udp"
	Reports []string `json:"reports"` // in words, of the same sessions

	Player struct { // an embedded one
		Looks, Blank           int
		Ways, States, Messages []string
	} `json:"player"`
	Framed       string `json:"framed"`       // by which way the page for frames plays
	RefusedFrame bool   `json:"refusedFrame"` // that of another page
	Example      string `json:"example"`      // what docs/examples/embed.html does

	Listed  int     `json:"listed"`  // streams and shows on the start page
	Restart int     `json:"restart"` // status of an ICE restart
	Kept    bool    `json:"kept"`    // the session after it; the picture of a player that was moved
	Seats   int     `json:"seats"`   // that the control room shows at the end
	Meter   float64 `json:"meter"`   // level of a player once it has moved
	Told    bool    `json:"told"`    // of a refusal, while the stage tells of itself

	// Of a conversation, in the order of what happened.
	Heard           []string           `json:"heard"`           // in the program
	Seen            []string           `json:"seen"`            // by the viewer of HLS
	Discontinuities []int              `json:"discontinuities"` // of the program so far
	Back            string             `json:"back"`            // how a seat is after a reload
	Restarts        []int              `json:"restarts"`        // status of each ICE restart of the host
	Posts           int                `json:"posts"`           // sessions that the host opened meanwhile
	Refused         []int              `json:"refused"`         // status of what a token of the past asks for
	Viewer          figures            `json:"viewer"`
	Levels          map[string]float64 `json:"levels"`      // of each seat's tone at the end, in dB
	Ears            map[string]string  `json:"ears"`        // whom each seat hears
	Echoes          []string           `json:"echoes"`      // seats that heard themselves
	Live            []string           `json:"live"`        // who was seen by the viewer of WHEP
	Turns           []float64          `json:"turns"`       // ms that it took of each cut
	Connections     int                `json:"connections"` // that this viewer made in all

	Ages struct { // of pictures, in ms
		Shown, Received []float64 // when a viewer sees them; when their last packet has come there
	} `json:"ages"`

	Peer  string `json:"peer"`  // kinds of the sessions at the peer of a gateway that was emptied
	Moved string `json:"moved"` // states of publisher and viewers once it has ended
	Blank int    `json:"blank"` // looks that saw no picture meanwhile

	Phases []phase `json:"phases"` // of a link that changes

	Asks  bool   `json:"asks"`  // for a token
	Bar   string `json:"bar"`   // the address bar, later
	Later string `json:"later"` // that of a page that took its token from a link in the same tab
}

// figures are the pages' own.
type figures struct {
	Latency       float64 `json:"latency"` // seconds
	EdgeLatency   float64 `json:"edgeLatency"`
	CurrentTime   float64 `json:"currentTime"`
	Stalls        int     `json:"stalls"`
	Width         int     `json:"width"`
	Sizes         int     `json:"sizes"`
	FramesDecoded int     `json:"framesDecoded"`
	State         string  `json:"state"`
}

// installBrowser fetches the packages that drive Chromium and play in it, once.
var installBrowser = sync.OnceValue(func() error {
	if _, err := os.Stat("browser/node_modules/shaka-player"); err == nil {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	cmd.Dir = "browser"
	cmd.Stderr = os.Stderr
	return cmd.Run()
})

// browse runs one scenario in Chromium, with the publish token.
func browse(t testing.TB, scenario, base, stream string) seen {
	t.Helper()
	return browseWith(t, token, scenario, base, stream)
}

// browseWith runs one scenario in Chromium.
func browseWith(t testing.TB, token, scenario, base, stream string) seen {
	t.Helper()
	if err := installBrowser(); err != nil {
		t.Fatalf("install what drives the browser: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "browser/run.mjs", scenario, base, token, stream)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("browser: %v\n%s", err, out)
	}
	t.Logf("browser: %s", out)
	var s seen
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("browser says %q: %v", out, err)
	}
	if s.Failure != "" {
		t.Fatal(s.Failure)
	}
	for _, e := range s.Errors {
		t.Error("page error:", e)
	}
	for _, u := range s.External {
		t.Error("request to another host:", u)
	}
	return s
}

// marks checks what holds for every stream: a picture soon, low and true
// latency, no stall, a seat that moves. It returns what was missed.
func (s *seen) marks() []string {
	var missed []string
	miss := func(ok bool, format string, args ...any) {
		if !ok {
			missed = append(missed, fmt.Sprintf(format, args...))
		}
	}
	miss(s.FirstPicture <= 5000, "first picture after %.0f ms, at most 5 s are allowed", s.FirstPicture)
	miss(s.SeatMoving <= 1000, "the seat's picture moves after %.0f ms, at most 1 s is allowed", s.SeatMoving)
	miss(s.After15.Latency > 0 && s.After15.Latency <= 3, "latency after 15 s: %.2f s, at most 3 s are allowed", s.After15.Latency)
	miss(s.After30.Stalls == 0 && s.Waits == 0 && !s.Paused,
		"stalls over 30 s: the page counts %d, the video element waited %d times, paused %v", s.After30.Stalls, s.Waits, s.Paused)
	played := s.After30.CurrentTime - s.After15.CurrentTime
	miss(played >= 10, "only %.1f s were played between the two looks", played)
	miss(s.SeatLater.FramesDecoded > s.Seat.FramesDecoded,
		"the seat decoded %d pictures and then %d: it does not move", s.Seat.FramesDecoded, s.SeatLater.FramesDecoded)
	miss(s.Seat.Latency < 1, "the seat's latency is %.2f s, less than 1 s is wanted", s.Seat.Latency)
	return missed
}

// decide fails the test for the marks that each of three runs missed. These are
// wall-clock marks of browsers that encode and decode in software on two cores,
// which other programs take now and then: what is our doing is missed each time, and
// what is not hits now one player, now another. A run is called by a name of its own,
// which it may add to its streams'.
func decide(t *testing.T, run func(name string) (missed []string)) {
	t.Helper()
	var always map[string]string // what every run has missed so far
	for _, name := range []string{"one", "two", "three"} {
		missed := make(map[string]string)
		for _, words := range run(name) {
			mark := figure.ReplaceAllString(strings.ReplaceAll(words, name, ""), "#")
			if _, also := always[mark]; also || always == nil {
				missed[mark] = words
			}
			t.Logf("run %s missed %q", name, words)
		}
		if always = missed; len(always) == 0 {
			return
		}
	}
	for _, words := range always {
		t.Error(words)
	}
}

// figure is a number in the words of a mark.
var figure = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

// judge runs a scenario and fails the test for the marks that it missed.
func judge(t *testing.T, scenario string, begin func() (base, stream string)) {
	t.Helper()
	decide(t, func(string) []string {
		base, stream := begin()
		s := browse(t, scenario, base, stream)
		return s.marks()
	})
}

// TestBrowserShow: Chromium publishes its fake camera by our page, hls.js plays
// it in another tab, a seat in a third.
func TestBrowserShow(t *testing.T) {
	g := serveWith(t, plainBinary) // the browser needs the cores
	runs := 0
	judge(t, "show", func() (base, stream string) {
		runs++
		return g.url(""), fmt.Sprintf("camera%d", runs)
	})
	glassToGlass(t, g, fmt.Sprintf("camera%d", runs))
	// R6: the page has Chromium tell when pictures were captured.
	metrics, err := get(t.Context(), "http://"+g.admin+"/metrics")
	if counted := regexp.MustCompile(`(?m)^whipcast_whip_capture_times_total .*`).Find(metrics.body); err != nil || strings.HasSuffix(string(counted), " 0") {
		t.Errorf("no packet had a capture time: %s, %v", counted, err)
	} else {
		t.Logf("%s", counted)
	}
}

// TestBrowserWatchesTestSource: the test source has keyframes each second and
// sends none on request, as OBS.
func TestBrowserWatchesTestSource(t *testing.T) {
	g := serveWith(t, plainBinary) // the browser needs the cores
	publish(t, g.url("/whip/clip"))
	judge(t, "watch", func() (base, stream string) { return g.url(""), "clip" })
	glassToGlass(t, g, "clip")
}

// TestBrowserSimulcast: R43, R53 Chromium sends all layers of a simulcast at once,
// because transport-cc tells it from the first packet on that they get through:
// from a page that hints at nothing, and from our own. The target is 0.5 s; only a
// layer that never comes or takes ten times as long is a failure.
func TestBrowserSimulcast(t *testing.T) {
	g := serveWith(t, plainBinary) // the browser needs the cores
	const bound = 5000
	for _, scenario := range []string{"layers", "ladder"} {
		s := browse(t, scenario, g.url(""), scenario)
		t.Logf("%s: first packets arrived %v ms after the connection", scenario, s.Arrived)
		for _, rid := range []string{"q", "h", "f"} {
			if at, ok := s.Arrived[rid]; !ok || at > bound {
				t.Errorf("%s: layer %s arrived: %v, after %.0f ms", scenario, rid, ok, at)
			}
		}
		if len(s.Layers) != 3 || s.Layers[0].RID != "f" || s.Layers[1].RID != "h" || s.Layers[2].RID != "q" {
			t.Fatalf("%s: layers %v, want f, h, q: the best one first", scenario, s.Layers)
		}
		for i, layer := range s.Layers {
			if layer.Packets < 20 { // the biggest has hundreds, the smallest one a picture
				t.Errorf("%s: layer %s has %d packets after 5 s: it does not go on", scenario, layer.RID, layer.Packets)
			}
			if i > 0 && layer.Bytes >= s.Layers[i-1].Bytes {
				t.Errorf("%s: layer %s has %d bytes, the better one %d", scenario, layer.RID, layer.Bytes, s.Layers[i-1].Bytes)
			}
		}
		if scenario == "ladder" && (s.Publisher.Sizes != 3 || s.Publisher.State != "live") {
			t.Errorf("the page says %q with %d sizes, want live with 3", s.Publisher.State, s.Publisher.Sizes)
		}
	}
}

// TestForeignClient: the npm client whip-whep publishes and plays from another
// origin: trickle, CORS and DELETE as somebody else wrote them.
func TestForeignClient(t *testing.T) {
	g := serveWith(t, plainBinary) // the browser needs the cores
	s := browse(t, "foreign", g.url(""), "foreign")
	if s.Published != "connected" || s.Viewed != "connected" || !s.Moving || !s.Stopped || !s.Unpublished {
		t.Errorf("published %q, viewed %q, moving %v, stopped %v, unpublished %v", s.Published, s.Viewed, s.Moving, s.Stopped, s.Unpublished)
	}
}
