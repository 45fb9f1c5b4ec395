package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// call asks the API for something, such as "GET /v1/stages", and returns the status of the answer.
func (g *gateway) call(t *testing.T, order, body, with string, into any) int {
	t.Helper()
	method, at, _ := strings.Cut(order, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, g.url(at), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+with)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode >= 400 {
		t.Logf("%s %s: %d %s", method, at, res.StatusCode, bytes.TrimSpace(answer))
	}
	if into != nil && res.StatusCode < 300 {
		if err := json.Unmarshal(answer, into); err != nil {
			t.Fatalf("%s %s: %v: %s", method, at, err, answer)
		}
	}
	return res.StatusCode
}

// must is a call that works.
func (g *gateway) must(t *testing.T, order, body string, into any) {
	t.Helper()
	if got := g.call(t, order, body, token, into); got >= 300 {
		t.Fatalf("%s: %d", order, got)
	}
}

// seat returns how a seat of the stage show is.
func (g *gateway) seat(t *testing.T, name string) api.Seat {
	t.Helper()
	var s api.Stage
	g.must(t, "GET /v1/stages/show", "", &s)
	for _, each := range s.Seats {
		if each.Name == name {
			return each
		}
	}
	return api.Seat{}
}

// discontinuities counts those of all media playlists of the program; they are equal.
func (g *gateway) discontinuities(t *testing.T) int {
	t.Helper()
	main, err := get(t.Context(), g.url("/hls/show/index.m3u8"))
	if err != nil || main.status != http.StatusOK {
		t.Fatalf("%v: %d", err, main.status)
	}
	count := -1
	for _, uri := range uris(string(main.body)) {
		media, err := get(t.Context(), g.url("/hls/"+path.Join("show", uri)))
		if err != nil || media.status != http.StatusOK {
			t.Fatalf("%s: %v: %d", uri, err, media.status)
		}
		n := strings.Count(string(media.body), "#EXT-X-DISCONTINUITY\n")
		if count >= 0 && n != count {
			return -1 // one of them is not written yet
		}
		count = n
	}
	return count
}

// metric returns the value of a metric that has no labels.
func (g *gateway) metric(t *testing.T, name string) int64 {
	t.Helper()
	got, err := get(t.Context(), "http://"+g.admin+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(got.body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return atoi(t, strings.TrimSpace(value))
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// pause stops the gateway, with all that it does, and lets it go on.
func (g *gateway) pause(t *testing.T, d time.Duration) {
	t.Helper()
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := g.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if s == syscall.SIGSTOP {
			time.Sleep(d)
		}
	}
}

// publishes is a test source with a seat's token.
func (g *gateway) publishes(t *testing.T, made api.Invitation, more ...string) *program {
	t.Helper()
	return launch(t, nil, plainBinary, append([]string{"publish", "--url", g.url("/whip/" + made.Seat.Stream), "--token", made.Token}, more...)...)
}

// chooses is a viewer of the program in real time, which wants one of its sizes.
func (g *gateway) chooses(t *testing.T, rid string, n *numbers) *rtctest.Remote {
	t.Helper()
	x := rtctest.New(t, rtctest.Options{}, func(pc *webrtc.PeerConnection) error {
		pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { n.read(track) })
		_, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		return err
	})
	x.Connect(t, g.url("/whep/show"))
	res, body := rtctest.Token("").Do(t, http.MethodPost, x.URL+"/layer", `{"rid":"`+rid+`"}`, "Content-Type", "application/json")
	if res.StatusCode >= 300 {
		t.Fatalf("layer %s: %s: %s", rid, res.Status, body)
	}
	until(t, 10*time.Second, "the size is chosen", func() bool { return g.adaptation(t).Layer == rid })
	return x
}

// TestStage: a host and a guest are invited, join, are let in, put on air, cut and
// thrown out by the API. The playlists of the program keep all rules (L24: one
// discontinuity a cut) and its variants stay, though the host has three layers and the
// guest one; so does who watches the smallest size by WHEP. A guest who waits plays nobody, and the stage is the same after a restart.
func TestStage(t *testing.T) {
	g := serveWith(t, plainBinary) // mixing takes too long with the race detector
	g.must(t, "PUT /v1/stages/show", `{}`, nil)
	var host, guest api.Invitation
	g.must(t, "POST /v1/stages/show/seats", `{"seat":"host","role":"host","label":"Ann"}`, &host)
	g.must(t, "POST /v1/stages/show/seats", `{"label":"Bob"}`, &guest)
	if guest.Seat.Name != "guest-1" || guest.Seat.State != "invited" || guest.URL != "/seat/show.guest-1#token="+guest.Token {
		t.Errorf("%+v", guest)
	}
	g.publishes(t, host, "--simulcast")
	bob := g.publishes(t, guest)
	until(t, 20*time.Second, "both are there", func() bool {
		return g.seat(t, "host").State == "backstage" && g.seat(t, "guest-1").State == "waiting"
	})

	watch := func(name, with string) int {
		return g.call(t, "POST /whep/"+name, "", with, nil) // without an offer: who may gets another refusal
	}
	if got := watch("show.host", guest.Token); got != http.StatusForbidden {
		t.Errorf("who waits plays the host: %d", got)
	}
	if got := watch("show.host", ""); got != http.StatusUnauthorized {
		t.Errorf("anybody plays the host: %d", got)
	}
	g.must(t, "PATCH /v1/stages/show/seats/guest-1", `{"state":"backstage"}`, nil)
	if got := watch("show.host", guest.Token); got == http.StatusForbidden || got == http.StatusUnauthorized {
		t.Errorf("who is let in plays the host: %d", got)
	}
	if got := watch("show.guest-1", guest.Token); got != http.StatusForbidden {
		t.Errorf("a seat plays itself: %d", got)
	}
	if got := g.call(t, "GET /v1/stages/show", "", guest.Token, nil); got != http.StatusForbidden {
		t.Errorf("a seat administers its stage: %d", got)
	}
	var view api.StageView
	if got := g.call(t, "GET /v1/stages/show/view", "", guest.Token, &view); got != 200 || view.Me == nil || len(view.Seats) != 1 || view.Seats[0].Name != "host" {
		t.Errorf("view: %d %+v", got, view)
	}

	picture := func(seat string) {
		t.Helper()
		g.must(t, "POST /v1/stages/show/cut", `{"seat":"`+seat+`"}`, nil)
		until(t, 10*time.Second, "the picture is that of "+seat, func() bool {
			var s api.Stage
			g.must(t, "GET /v1/stages/show", "", &s)
			return s.Program.Live && s.Program.Picture == seat && s.Program.Cutting == ""
		})
	}
	picture("host")
	if got, err := get(t.Context(), g.url("/hls/show.host/index.m3u8")); err != nil || got.status != http.StatusNotFound {
		t.Errorf("a seat's stream is a presentation: %v %d", err, got.status)
	}
	p := newProbe(g)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var probing sync.WaitGroup
	playlists := p.start(ctx, t, "show")
	probing.Go(func() { p.play(ctx, playlists) })
	n := &numbers{}
	viewer := g.chooses(t, "2", n)
	for i, seat := range []string{"guest-1", "host", "guest-1"} {
		time.Sleep(4 * time.Second)
		before := n.packets.Load()
		picture(seat)
		until(t, 10*time.Second, "who watches the smallest size in real time stays there", func() bool {
			return g.adaptation(t).Layer == "2" && n.packets.Load() > before+30
		})
		until(t, 10*time.Second, "each cut is one discontinuity", func() bool { return g.discontinuities(t) == i+1 })
	}
	time.Sleep(4 * time.Second)
	if n := g.discontinuities(t); n != 3 {
		t.Errorf("L24: %d discontinuities after three cuts", n)
	}
	select {
	case <-viewer.Closed():
		t.Error("a cut ended the session of who watches in real time")
	default:
	}
	if n.tracks.Load() != 1 || n.jumps.Load() > 0 || n.back.Load() > 0 {
		t.Errorf("%d sequences, %d jumps, %d times back", n.tracks.Load(), n.jumps.Load(), n.back.Load())
	}
	made := g.metric(t, "whipcast_packager_silence_frames_total")
	t.Logf("%d frames of sound were made up over three cuts, %d parts have no media", made, g.metric(t, "whipcast_packager_gap_parts_total"))
	if made > 50 { // of some 900
		t.Errorf("%d frames of sound were made up over three cuts", made)
	}
	main, err := get(t.Context(), g.url("/hls/show/index.m3u8"))
	if err != nil || strings.Count(string(main.body), "/video") != 2*3 || len(playlists) != 3+2 { // with AAC, and with Opus
		t.Errorf("W78: not three sizes all the time: %d playlists in the beginning, %v:\n%s", len(playlists), err, main.body)
	}
	cancel()
	probing.Wait()
	p.checker.CheckFiles()
	for _, v := range p.checker.Violations() {
		t.Error(v)
	}
	for _, e := range p.errors {
		t.Error(e)
	}
	if s := g.seat(t, "guest-1"); s.State != "on_air" || !s.Picture {
		t.Errorf("%+v", s)
	}
	// The whole program stands still for a while, as on a machine that has too much to
	// do. Who is heard in the mix is heard again at once.
	made = g.metric(t, "whipcast_packager_silence_frames_total")
	g.pause(t, 1500*time.Millisecond)
	time.Sleep(7 * time.Second)
	made = g.metric(t, "whipcast_packager_silence_frames_total") - made
	t.Logf("%d frames of sound were made up over a pause of 75", made)
	if made > 150 { // of 425; a mixer that lost its place makes all up
		t.Errorf("%d frames of sound were made up over a pause of 75", made)
	}
	until(t, 10*time.Second, "the level of who is on air is told", func() bool { // the clip beeps each second
		return g.seat(t, "guest-1").Level > -60 && g.seat(t, "host").Level > -60
	})

	if err := g.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
	g = startAgain(t, g)
	until(t, 40*time.Second, "all are where they were", func() bool {
		return g.seat(t, "host").State == "on_air" && g.seat(t, "guest-1").Picture && g.seat(t, "guest-1").Connected
	})
	g.must(t, "DELETE /v1/stages/show/seats/guest-1", "", nil)
	select {
	case <-bob.done: // its token is refused for good
	case <-time.After(20 * time.Second):
		t.Error("who was thrown out publishes")
	}
	if got := g.call(t, "GET /v1/stages/show/view", "", guest.Token, nil); got != http.StatusUnauthorized {
		t.Errorf("the link of who was thrown out: %d", got)
	}
	if err := g.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
}
