package testsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answerer is a small WHIP server that counts what it gets.
type answerer struct {
	t      *testing.T
	token  string
	before func(w http.ResponseWriter, n int) bool // answers the n-th POST itself when true

	mu       sync.Mutex
	posts    int
	deletes  int
	offers   []string
	auth     []string
	sessions []*webrtc.PeerConnection
	repeated chan uint16 // sequence number that came again after a NACK
	reports  chan *rtcp.SenderReport
	edit     *strings.Replacer // of the answer; nil: none
	rids     chan string       // of a layer that answered a NACK and sent a report, "" without simulcast
}

func newAnswerer(t *testing.T) *answerer {
	return &answerer{t: t, token: "tok-123456", repeated: make(chan uint16, 1), reports: make(chan *rtcp.SenderReport, 1), rids: make(chan string, 10)}
}

func (a *answerer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.auth = append(a.auth, r.Header.Get("Authorization"))
	switch {
	case r.URL.Path == "/moved":
		http.Redirect(w, r, "/whip/x", http.StatusTemporaryRedirect)
	case r.Method == http.MethodDelete:
		a.deletes++
	case r.Header.Get("Authorization") != "Bearer "+a.token:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"title":"token \u001b[2Jneeded","detail":"send it"}`)
	default:
		a.posts++
		offer, _ := io.ReadAll(r.Body)
		a.offers = append(a.offers, string(offer))
		if a.before != nil && a.before(w, a.posts) {
			return
		}
		answer, err := a.answer(string(offer))
		if err != nil {
			a.t.Error(err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Location", fmt.Sprintf("/session/%d", a.posts))
		w.Header().Set("Content-Type", "application/sdp")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, answer)
	}
}

func (a *answerer) answer(offer string) (string, error) {
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.DisableSRTPReplayProtection(true) // or it would hide what comes again
	var media webrtc.MediaEngine
	if err := media.RegisterDefaultCodecs(); err != nil {
		return "", err
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&media)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	a.sessions = append(a.sessions, pc)
	pc.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		if track.RID() != "" {
			go a.checkLayer(receiver, track)
		} else {
			go a.readReports(receiver)
		}
		if track.Kind() == webrtc.RTPCodecTypeVideo {
			a.askAgain(pc, track)
		}
	})
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	done := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-done
	if a.edit != nil {
		return a.edit.Replace(pc.LocalDescription().SDP), nil
	}
	return pc.LocalDescription().SDP, nil
}

// checkLayer waits for a sender report of a layer.
func (a *answerer) checkLayer(receiver *webrtc.RTPReceiver, track *webrtc.TrackRemote) {
	for {
		packets, _, err := receiver.ReadSimulcastRTCP(track.RID())
		if err != nil {
			return
		}
		for _, p := range packets {
			if report, ok := p.(*rtcp.SenderReport); ok && report.SSRC == uint32(track.SSRC()) {
				a.rids <- track.RID()
				return
			}
		}
	}
}

func (a *answerer) readReports(receiver *webrtc.RTPReceiver) {
	for {
		packets, _, err := receiver.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range packets {
			if report, ok := p.(*rtcp.SenderReport); ok {
				select {
				case a.reports <- report:
				default:
				}
			}
		}
	}
}

// askAgain sends a NACK for a packet that has come and reports when it comes again.
func (a *answerer) askAgain(pc *webrtc.PeerConnection, track *webrtc.TrackRemote) {
	buffer := make([]byte, 1500)
	var asked uint16
	for n := 0; ; n++ {
		if _, _, err := track.Read(buffer); err != nil {
			return
		}
		sequence := uint16(buffer[2])<<8 | uint16(buffer[3])
		if n == 20 {
			asked = sequence
			_ = pc.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{MediaSSRC: uint32(track.SSRC()), Nacks: []rtcp.NackPair{{PacketID: asked}}}})
		} else if n > 20 && sequence == asked {
			select {
			case a.repeated <- sequence:
			default:
			}
		}
	}
}

func (a *answerer) close() {
	a.mu.Lock()
	sessions := a.sessions
	a.mu.Unlock()
	for _, pc := range sessions {
		_ = pc.GracefulClose()
	}
}

// start runs a publisher against a until the test's end or stop.
func start(t *testing.T, a *answerer, path, token string) (lines chan string, stop func() error) {
	t.Helper()
	server := httptest.NewServer(a)
	lines = make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{URL: server.URL + path, Token: token, Say: func(line string) { lines <- line }})
	}()
	var once sync.Once
	var result error
	stop = func() error {
		once.Do(func() {
			cancel()
			result = <-done
			a.close()
			server.Close()
		})
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return lines, stop
}

func next[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s within 20 s", what)
	}
	var none T
	return none
}

func TestPublish(t *testing.T) {
	a := newAnswerer(t)
	lines, stop := start(t, a, "/moved", a.token)
	if line := next(t, lines, "words"); !strings.HasPrefix(line, "publishing 1280x720 H264 and Opus to ") || strings.Contains(line, a.token) {
		t.Errorf("words %q", line)
	}
	next(t, a.reports, "sender report")
	next(t, a.repeated, "answer to a NACK")
	if err := stop(); err != nil {
		t.Errorf("Run ends with %v, want nil after its context's end", err)
	}
	if a.deletes != 1 {
		t.Errorf("%d DELETEs at the end, want 1", a.deletes)
	}
	for _, auth := range a.auth {
		if auth != "Bearer "+a.token {
			t.Errorf("Authorization %q on a request, want the token on each, also after 307 (W68)", auth)
		}
	}
	for _, want := range []string{"a=group:BUNDLE 0 1", "a=sendonly", "a=candidate:", "a=end-of-candidates", "H264/90000", "opus/48000/2"} {
		if !strings.Contains(a.offers[0], want) {
			t.Errorf("offer lacks %q:\n%s", want, a.offers[0])
		}
	}
	for _, not := range []string{"a=rid:", "a=simulcast:", "VP8", "a=recvonly"} {
		if strings.Contains(a.offers[0], not) {
			t.Errorf("offer has %q", not)
		}
	}
}

// TestSimulcast: W78, R39, R40 each style offers its layers in its order, and each
// layer arrives with a report of its own.
func TestSimulcast(t *testing.T) {
	for _, tt := range []struct {
		style   Style
		order   string
		has, no []string
	}{
		{OBS, "0;1;2", []string{"a=rid:0 send", "a=rid:2 send"}, []string{"transport-cc"}},
		{Browser, "q;h;f", []string{"a=rid:q send", "a=rid:f send", "a=rtcp-fb:96 transport-cc"}, nil},
	} {
		a := newAnswerer(t)
		server := httptest.NewServer(a)
		defer server.Close()
		defer a.close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		lines := make(chan string, 10)
		go func() {
			done <- Run(ctx, Config{URL: server.URL, Token: a.token, Simulcast: &Simulcast{Style: tt.style}, Say: func(line string) { lines <- line }})
		}()
		if line := next(t, lines, "words"); !strings.HasPrefix(line, "publishing 1280x720, 640x360, 320x180 H264 and Opus to ") {
			t.Errorf("words %q", line)
		}
		got := map[string]bool{}
		for range 3 {
			got[next(t, a.rids, "layer")] = true
		}
		next(t, a.repeated, "answer to a NACK")
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		for rid := range strings.SplitSeq(tt.order, ";") {
			if !got[rid] {
				t.Errorf("layers %v, want %s", got, tt.order)
			}
		}
		for _, want := range append(tt.has, "a=simulcast:send "+tt.order+"\r\n") {
			if !strings.Contains(a.offers[0], want) {
				t.Errorf("offer lacks %q:\n%s", want, a.offers[0])
			}
		}
		for _, not := range tt.no {
			if strings.Contains(a.offers[0], not) {
				t.Errorf("offer has %q", not)
			}
		}
	}
}

// TestSimulcastRefused: a server that leaves a layer out gets nothing; trying
// again would not help.
func TestSimulcastRefused(t *testing.T) {
	for _, edit := range []*strings.Replacer{
		strings.NewReplacer("a=simulcast:recv 0;1;2\r\n", ""),
		strings.NewReplacer("a=simulcast:recv 0;1;2\r\n", "a=simulcast:recv 0;1\r\n"),
	} {
		a := newAnswerer(t)
		a.edit = edit
		server := httptest.NewServer(a)
		defer server.Close()
		defer a.close()
		err := Run(t.Context(), Config{URL: server.URL, Token: a.token, Simulcast: &Simulcast{}})
		if !errors.Is(err, errNoSimulcast) {
			t.Errorf("Run: %v, want %v", err, errNoSimulcast)
		}
		if a.deletes != 1 {
			t.Errorf("%d DELETEs, want 1", a.deletes)
		}
	}
}

func TestWrongToken(t *testing.T) {
	a := newAnswerer(t)
	server := httptest.NewServer(a)
	defer server.Close()
	err := Run(t.Context(), Config{URL: server.URL, Token: "wrong-token"})
	if want := "WHIP server answered 401 Unauthorized: token [2Jneeded: send it; check --token"; err == nil || err.Error() != want {
		t.Errorf("Run: %v, want %s", err, want)
	}
}

// TestComesBack: a busy server is asked again, and a connection that the server
// ends is made anew.
func TestComesBack(t *testing.T) {
	a := newAnswerer(t)
	a.before = func(w http.ResponseWriter, n int) bool {
		if n == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return n == 1
	}
	lines, _ := start(t, a, "/whip/x", a.token)
	if line := next(t, lines, "words"); line != "WHIP server answered 503 Service Unavailable; again in 1s" {
		t.Errorf("words %q, want them to heed Retry-After", line)
	}
	if line := next(t, lines, "words"); !strings.HasPrefix(line, "publishing") {
		t.Fatalf("words %q, want a publisher", line)
	}
	next(t, a.reports, "sender report") // connected on the server's side, too
	a.close()
	if line := next(t, lines, "words"); !strings.HasPrefix(line, "connection to WHIP server lost; again in ") {
		t.Errorf("words %q, want them to tell the loss", line)
	}
	if line := next(t, lines, "words"); !strings.HasPrefix(line, "publishing") {
		t.Errorf("words %q, want a publisher again", line)
	}
}

func TestUselessURL(t *testing.T) {
	for _, u := range []string{"", "whip/x", "ftp://x/y", "http://", "::"} {
		if err := Run(t.Context(), Config{URL: u}); err == nil || !strings.Contains(err.Error(), "write it like") {
			t.Errorf("Run(%q): %v, want an error with a remedy", u, err)
		}
	}
}

func TestPermanent(t *testing.T) {
	for status, want := range map[int]bool{301: true, 400: true, 401: true, 404: true, 422: true, 200: true, 409: false, 429: false, 500: false, 503: false} {
		if got := (&refusal{status: status}).permanent(); got != want {
			t.Errorf("permanent(%d) = %v, want %v", status, got, want)
		}
	}
}
