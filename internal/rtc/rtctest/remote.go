// Package rtctest is the other side of internal/rtc's Sessions, for tests: Pion
// as a publisher or a viewer, and the rules of the session resource as a suite
// that WHIP and WHEP both pass (specs A11, E18).
package rtctest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// Remote is the other side of a Session, on the loopback interface.
type Remote struct {
	PC     *webrtc.PeerConnection
	Offer  string // as sent
	Answer string // as received
	URL    string // of the session, once posted
	ETag   string
	Token  string // sent as bearer token

	mu        sync.Mutex
	connected chan struct{}
	closed    chan struct{}
}

// Options of a Remote.
type Options struct {
	Setting func(*webrtc.SettingEngine)
	Token   string
	// Bare leaves out candidates and end-of-candidates from the offer, as OBS does.
	Bare bool
}

// New makes a Remote. prepare adds its tracks or transceivers. It is closed at
// the end of the test.
func New(t testing.TB, o Options, prepare func(pc *webrtc.PeerConnection) error) *Remote {
	t.Helper()
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	if o.Setting != nil {
		o.Setting(&s)
	}
	var m webrtc.MediaEngine
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	var r interceptor.Registry
	if err := webrtc.RegisterDefaultInterceptors(&m, &r); err != nil {
		t.Fatal(err)
	}
	if err := webrtc.ConfigureTWCCHeaderExtensionSender(&m, &r); err != nil {
		t.Fatal(err)
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(s), webrtc.WithMediaEngine(&m), webrtc.WithInterceptorRegistry(&r))
	pc, err := api.NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		t.Fatal(err)
	}
	x := &Remote{PC: pc, Token: o.Token, connected: make(chan struct{}), closed: make(chan struct{})}
	t.Cleanup(func() {
		if err := pc.GracefulClose(); err != nil {
			t.Errorf("close remote: %v", err)
		}
	})
	pc.OnConnectionStateChange(x.changed)
	if err := prepare(pc); err != nil {
		t.Fatal(err)
	}
	x.offer(t, nil)
	if o.Bare {
		x.Offer = without(x.Offer, "candidate:", "end-of-candidates")
	}
	return x
}

func (x *Remote) changed(state webrtc.PeerConnectionState) {
	x.mu.Lock()
	defer x.mu.Unlock()
	open := func(c chan struct{}) bool {
		select {
		case <-c:
			return false
		default:
			return true
		}
	}
	switch state {
	case webrtc.PeerConnectionStateConnected:
		if open(x.connected) {
			close(x.connected)
		}
	case webrtc.PeerConnectionStateClosed, webrtc.PeerConnectionStateFailed:
		if open(x.closed) {
			close(x.closed)
		}
	}
}

// offer makes an offer with all candidates. Pion sometimes misses the end of a gathering
// that replaces another one: then it makes another offer.
func (x *Remote) offer(t testing.TB, options *webrtc.OfferOptions) {
	t.Helper()
	for range 4 {
		offer, err := x.PC.CreateOffer(options)
		if err != nil {
			t.Fatal(err)
		}
		gathered := webrtc.GatheringCompletePromise(x.PC)
		if err := x.PC.SetLocalDescription(offer); err != nil {
			t.Fatal(err)
		}
		select {
		case <-gathered:
			x.Offer = x.PC.LocalDescription().SDP
			return
		case <-time.After(5 * time.Second):
		}
	}
	t.Fatal("no end of gathering in four offers of 5 s each")
}

// Post sends the offer and, if it is accepted, applies the answer.
func (x *Remote) Post(t testing.TB, endpoint string) Response {
	t.Helper()
	res, body := Token(x.Token).Do(t, http.MethodPost, endpoint, x.Offer, "Content-Type", "application/sdp")
	if res.StatusCode != http.StatusCreated {
		x.Answer = body
		return res
	}
	base, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	location, err := base.Parse(res.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	x.URL, x.ETag, x.Answer = location.String(), res.Header.Get("ETag"), body
	if err := x.PC.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: body}); err != nil {
		t.Fatalf("answer: %v\n%s", err, body)
	}
	return res
}

// Connect posts the offer and waits for the connection.
func (x *Remote) Connect(t testing.TB, endpoint string) {
	t.Helper()
	if res := x.Post(t, endpoint); res.StatusCode != http.StatusCreated {
		t.Fatalf("POST: %s\n%s", res.Status, x.Answer)
	}
	Wait(t, x.connected, "connection")
}

// Connected is closed once the Remote is connected.
func (x *Remote) Connected() <-chan struct{} { return x.connected }

// Closed is closed once the connection ended.
func (x *Remote) Closed() <-chan struct{} { return x.closed }

// Restart restarts ICE: new credentials by PATCH, and the fragment in the
// response applied.
func (x *Remote) Restart(t testing.TB, ifMatch string) Response {
	t.Helper()
	x.offer(t, &webrtc.OfferOptions{ICERestart: true})
	res, body := Token(x.Token).Do(t, http.MethodPatch, x.URL, Fragment(x.Offer), "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", ifMatch)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("ICE restart: %s\n%s", res.Status, body)
	}
	x.ETag = res.Header.Get("ETag")
	x.Answer = merge(x.Answer, body)
	if err := x.PC.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: x.Answer}); err != nil {
		t.Fatalf("answer of restart: %v\n%s", err, x.Answer)
	}
	return res
}

// Credentials makes a trickle fragment of a description's first section without
// its candidates (RFC 8840 §9).
func Credentials(description string) string {
	return without(Fragment(description), "candidate:", "end-of-candidates")
}

// Fragment makes a trickle fragment of a description's first section (RFC 8840 §9).
func Fragment(description string) string {
	var desc sdp.SessionDescription
	if err := desc.UnmarshalString(description); err != nil || len(desc.MediaDescriptions) == 0 {
		return ""
	}
	media := desc.MediaDescriptions[0]
	value := func(key string) string {
		if v, ok := media.Attribute(key); ok {
			return v
		}
		v, _ := desc.Attribute(key)
		return v
	}
	var b strings.Builder
	b.WriteString("a=ice-ufrag:" + value("ice-ufrag") + "\r\na=ice-pwd:" + value("ice-pwd") + "\r\n")
	b.WriteString("m=" + media.MediaName.Media + " 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:" + value("mid") + "\r\n")
	for _, a := range media.Attributes {
		if a.Key == "candidate" {
			b.WriteString("a=candidate:" + a.Value + "\r\n")
		}
	}
	b.WriteString("a=end-of-candidates\r\n")
	return b.String()
}

// merge puts the ICE lines of a fragment into an answer.
func merge(answer, fragment string) string {
	creds := map[string]string{}
	var candidates []string
	for line := range strings.SplitSeq(fragment, "\r\n") {
		for _, key := range []string{"a=ice-ufrag:", "a=ice-pwd:"} {
			if strings.HasPrefix(line, key) {
				creds[key] = line
			}
		}
		if strings.HasPrefix(line, "a=candidate:") {
			candidates = append(candidates, line)
		}
	}
	var out []string
	first := true
	for line := range strings.SplitSeq(strings.TrimSuffix(answer, "\r\n"), "\r\n") {
		for key, with := range creds {
			if strings.HasPrefix(line, key) {
				line = with
			}
		}
		if strings.HasPrefix(line, "a=candidate:") {
			continue
		}
		out = append(out, line)
		if strings.HasPrefix(line, "a=mid:") && first {
			out, first = append(out, candidates...), false
		}
	}
	return strings.Join(out, "\r\n") + "\r\n"
}

// without removes the lines of the given attributes.
func without(description string, attributes ...string) string {
	var out []string
next:
	for line := range strings.SplitSeq(description, "\r\n") {
		for _, a := range attributes {
			if strings.HasPrefix(line, "a="+a) {
				continue next
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\r\n")
}

// Token is a bearer token to send requests with; empty for none.
type Token string

// Response is what came back, without the body.
type Response struct {
	StatusCode int
	Status     string
	Header     http.Header
}

// Do sends a request with a body and headers (name, value, name, value, …;
// those of an empty value are left out), and returns the response with its body
// read.
func (k Token) Do(t testing.TB, method, target, body string, headers ...string) (Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if k != "" {
		req.Header.Set("Authorization", "Bearer "+string(k))
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] != "" {
			req.Header.Add(headers[i], headers[i+1])
		}
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req) // no redirect is ever followed
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Response{res.StatusCode, res.Status, res.Header}, string(read)
}

// Wait fails the test when done is not closed within 10 seconds.
func Wait(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s within 10 s", what)
	}
}
