package whip

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

const sdpType = "application/sdp"

// TestEndpoint is the endpoint's half of the status table A11; the session's
// half is rtctest.Resource.
func TestEndpoint(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	offer := recordedOffer(t, "obs")
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(offer) }
	audio := offer[:strings.Index(offer, "m=video")]
	video := offer[strings.Index(offer, "m=video"):]
	withMessages := edit("BUNDLE 0 1", "BUNDLE 0 1 2") + messages(offer)
	for _, tt := range []struct {
		name, method, stream, token, kind, body string
		want                                    int
		detail                                  string // what a problem's detail must say
	}{
		{name: "W1 GET", method: "GET", want: 204},
		{name: "W2 HEAD", method: "HEAD", want: 204},
		{name: "W4 OPTIONS", method: "OPTIONS", want: 200},
		{name: "W3 PUT", method: "PUT", want: 405},
		{name: "W3 PATCH", method: "PATCH", want: 405},
		{name: "W3 DELETE", method: "DELETE", want: 405},
		{name: "W10 POST", kind: sdpType, body: offer, want: 201},
		{name: "W8 letter case and charset", kind: "Application/SDP; charset=utf-8", body: offer, want: 201},
		{name: "W24 one section without BUNDLE", kind: sdpType, body: strings.NewReplacer("a=group:BUNDLE 0 1\r\n", "", "a=group:LS 0 1\r\n", "").Replace(audio), want: 201},
		{name: "W14 sendrecv", kind: sdpType, body: edit("a=sendonly", "a=sendrecv"), want: 201},
		{name: "W14 no direction means sendrecv", kind: sdpType, body: edit("a=sendonly\r\n", ""), want: 201},
		{name: "W26 no msid", kind: sdpType, body: edit("a=msid:", "a=x-msid:", " msid:", " x-msid:"), want: 201},
		{name: "W34 ufrag at session level", kind: sdpType, body: edit("m=audio", "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=audio", "a=ice-ufrag:", "a=x:", "a=ice-pwd:", "a=x:"), want: 201},
		{name: "W11 other type", kind: "application/json", body: offer, want: 415},
		{name: "W11 no type", body: offer, want: 415},
		{name: "W12 malformed", kind: sdpType, body: "v=0\r\nhello", want: 400},
		{name: "W12 no SDP", kind: sdpType, body: `{"sdp":"v=0"}`, want: 400},
		{name: "W33 byte order mark", kind: sdpType, body: "\ufeff" + offer, want: 400},
		{name: "W12 lone CR: a line within a line", kind: sdpType, body: edit("a=mid:0", "a=mid:0\ra=recvonly"), want: 400},
		{name: "W13 empty", kind: sdpType, want: 400},
		{name: "W13 longer than 64 KiB", kind: sdpType, body: offer + strings.Repeat("a=x\r\n", 20_000), want: 413},
		{name: "W13 10 MB", kind: sdpType, body: strings.Repeat("v=0\r\n", 2<<20), want: 413},
		{name: "W14 recvonly", kind: sdpType, body: edit("a=sendonly", "a=recvonly"), want: 422, detail: "recvonly"},
		{name: "W14 inactive", kind: sdpType, body: edit("a=sendonly", "a=inactive"), want: 422, detail: "inactive"},
		{name: "W14 inactive at session level", kind: sdpType, body: edit("a=sendonly\r\n", "", "m=audio", "a=inactive\r\nm=audio"), want: 422, detail: "inactive"},
		{name: "W26 two videos", kind: sdpType, body: edit("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 1 2") + strings.Replace(video, "a=mid:1", "a=mid:2", 1), want: 422, detail: "more than one video"},
		{name: "W26 two MediaStreams", kind: sdpType, body: offer[:strings.LastIndex(offer, "a=msid:")] + "a=msid:another" + offer[strings.LastIndex(offer, "a=msid:")+len("a=msid:"):], want: 422, detail: "MediaStream"},
		{name: "W24 no BUNDLE", kind: sdpType, body: edit("a=group:BUNDLE 0 1\r\n", ""), want: 422, detail: "BUNDLE"},
		{name: "W24 BUNDLE of one", kind: sdpType, body: edit("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"), want: 422, detail: "BUNDLE"},
		{name: "W25 no rtcp-mux", kind: sdpType, body: edit("a=rtcp-mux\r\n", ""), want: 422, detail: "rtcp-mux"},
		{name: "data channels", kind: sdpType, body: withMessages, want: 201},
		{name: "data channels at session level", kind: sdpType, body: strings.Replace(withMessages, "a=sctp-port:5000\r\n", "", 1), want: 201},
		{name: "W27 data channels on another port", kind: sdpType, body: strings.Replace(withMessages, "sctp-port:5000", "sctp-port:5001", 1), want: 422, detail: "sctp-port"},
		{name: "W27 data channels of the old form", kind: sdpType, body: strings.Replace(withMessages, "UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5000", 1), want: 422, detail: "webrtc-datachannel"},
		{name: "W27 data channels not in the bundle", kind: sdpType, body: strings.Replace(withMessages, "BUNDLE 0 1 2", "BUNDLE 0 1", 1), want: 422, detail: "BUNDLE"},
		{name: "W27 data channels without transport", kind: sdpType, body: withMessages[:strings.Index(withMessages, "m=application")] + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\n", want: 422, detail: "application section"},
		{name: "W27 text", kind: sdpType, body: strings.Replace(withMessages, "m=application", "m=text", 1), want: 422, detail: "leave it out"},
		{name: "data channels alone", kind: sdpType, body: offer[:strings.Index(offer, "m=audio")] + withMessages[strings.Index(withMessages, "m=application"):], want: 422, detail: "data channels only"},
		{name: "W28 holdconn", kind: sdpType, body: edit("a=setup:actpass", "a=setup:holdconn"), want: 422, detail: "setup"},
		{name: "W30 no common codec", kind: sdpType, body: edit("H264/90000", "H263/90000"), want: 422, detail: "H264, H265, AV1, VP9"},
		{name: "W31 VP8 only", kind: sdpType, body: recordedOffer(t, "chromium-sim-vp8"), want: 422, detail: "VP8 cannot be put into HLS"},
		{name: "R15 interleaved H.264", kind: sdpType, body: edit("packetization-mode=1", "packetization-mode=2"), want: 422, detail: "H264"},
		{name: "R49 multi-channel Opus", kind: sdpType, body: edit("opus/48000/2", "opus/48000/6"), want: 422, detail: "Opus"},
		{name: "X18 no fingerprint", kind: sdpType, body: edit("a=fingerprint", "a=x"), want: 422, detail: "fingerprint"},
		{name: "RFC 8839 short pwd", kind: sdpType, body: edit("a=ice-pwd:", "a=ice-pwd:x\r\na=y:"), want: 422, detail: "ice-pwd"},
		{name: "no media", kind: sdpType, body: offer[:strings.Index(offer, "m=audio")], want: 422, detail: "no media"},
		{name: "X15 nine sections", kind: sdpType, body: audio + strings.Repeat(video, 9), want: 422, detail: "8 media"},
		{name: "W73 no token", token: "-", kind: sdpType, body: offer, want: 401},
		{name: "W73 bad token", token: "wrong", kind: sdpType, body: offer, want: 401},
		{name: "W22 wrong stream", token: "narrow", kind: sdpType, body: offer, want: 403},
		{name: "W22 unknown stream", stream: "hidden", kind: sdpType, body: offer, want: 404},
		{name: "X7 dots", stream: "%2e%2e", kind: sdpType, body: offer, want: 404},
		{name: "X7 dots and slash", stream: "..%2f..%2fetc", kind: sdpType, body: offer, want: 404},
		{name: "X7 quote", stream: "a%22b", kind: sdpType, body: offer, want: 404},
		{name: "X7 newline", stream: "a%0d%0aX-Evil:1", kind: sdpType, body: offer, want: 404},
		{name: "X7 too long", stream: strings.Repeat("a", 65), kind: sdpType, body: offer, want: 404},
		{name: "W23 odd Accept", kind: sdpType, body: offer, want: 201},
	} {
		t.Run(tt.name, func(t *testing.T) {
			method, name, token := tt.method, tt.stream, tt.token
			if method == "" {
				method = http.MethodPost
			}
			if name == "" {
				name = "live"
			}
			switch token {
			case "":
				token = "secret"
			case "-":
				token = ""
			}
			res, body := rtctest.Token(token).Do(t, method, g.endpoint(name), tt.body, "Content-Type", tt.kind, "Accept", "text/html", "Origin", "https://a.test")
			if res.StatusCode != tt.want {
				t.Fatalf("got %s, want %d\n%s", res.Status, tt.want, body)
			}
			checkHeaders(t, res, body, tt.detail)
			if tt.want == http.StatusCreated {
				res, _ = rtctest.Token(token).Do(t, http.MethodDelete, g.server.URL+res.Header.Get("Location"), "")
				if res.StatusCode != http.StatusOK {
					t.Errorf("DELETE: %s", res.Status)
				}
			}
			if all, _ := g.registry.Counts(); all != 0 {
				t.Errorf("W12: %d sessions are left", all)
			}
		})
	}
}

// checkHeaders applies what each kind of response must carry.
func checkHeaders(t *testing.T, res rtctest.Response, body, detail string) {
	t.Helper()
	h := res.Header
	for _, name := range []string{"Location", "ETag", "Link", "Retry-After", "Accept-Post", "Accept-Patch", "WWW-Authenticate"} {
		if !strings.Contains(h.Get("Access-Control-Expose-Headers"), name) {
			t.Errorf("W84 %s is not exposed", name)
		}
	}
	if h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Error("W85, X9 bad Access-Control-Allow-Origin")
	}
	switch res.StatusCode {
	case http.StatusCreated:
		if h.Get("Content-Type") != sdpType || h.Get("Cache-Control") != "no-store" || !strings.HasPrefix(h.Get("ETag"), `"`) {
			t.Errorf("W10, W17, W86: headers %v", h)
		}
		if l := h.Get("Location"); !strings.HasPrefix(l, "/session/") || strings.Contains(l, "?") || len(l) < len("/session/")+21 {
			t.Errorf("W19, X2: Location %q", l)
		}
	case http.StatusNoContent:
		if body != "" {
			t.Errorf("body %q", body)
		}
	case http.StatusOK: // OPTIONS
		if h.Get("Accept-Post") != sdpType {
			t.Errorf("W4 Accept-Post %q", h.Get("Accept-Post"))
		}
		for _, name := range []string{"Authorization", "Content-Type", "If-Match"} {
			if !strings.Contains(h.Get("Access-Control-Allow-Headers"), name) {
				t.Errorf("W83 %s is not allowed", name)
			}
		}
	default:
		if h.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, detail) {
			t.Errorf("W7 %s %s, want it to say %q", h.Get("Content-Type"), body, detail)
		}
	}
	switch res.StatusCode {
	case http.StatusUnauthorized:
		if !strings.HasPrefix(h.Get("WWW-Authenticate"), "Bearer") {
			t.Error("W73 no WWW-Authenticate")
		}
	case http.StatusMethodNotAllowed:
		if h.Get("Allow") != "GET, HEAD, OPTIONS, POST" {
			t.Errorf("W3 Allow %q", h.Get("Allow"))
		}
	case http.StatusUnsupportedMediaType:
		if h.Get("Accept-Post") != sdpType {
			t.Errorf("W11 Accept-Post %q", h.Get("Accept-Post"))
		}
	}
}

// TestBusy: W20 another principal gets 409 and the publisher stays, the same
// one takes over.
func TestBusy(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	first := newSending(t, rtctest.Options{})
	first.Connect(t, g.endpoint("live"))
	offer := recordedOffer(t, "obs")
	res, body := rtctest.Token("other").Do(t, http.MethodPost, g.endpoint("live"), offer, "Content-Type", sdpType)
	if res.StatusCode != http.StatusConflict || !strings.Contains(body, "somebody else") {
		t.Fatalf("another principal: %s %s", res.Status, body)
	}
	res, _ = rtctest.Token("secret").Do(t, http.MethodPost, g.endpoint("live"), strings.Replace(offer, "H264", "H263", 1), "Content-Type", sdpType)
	if res.StatusCode != http.StatusUnprocessableEntity {
		t.Fatalf("bad offer of the same principal: %s", res.Status)
	}
	if all, _ := g.registry.Counts(); all != 1 {
		t.Fatalf("W12: %d sessions, want the first one alone", all)
	}
	if res, _ = rtctest.Token("secret").Do(t, http.MethodGet, first.URL, ""); res.StatusCode != http.StatusNoContent {
		t.Fatalf("the publisher was lost to a bad offer: %s", res.Status)
	}
	second := newSending(t, rtctest.Options{})
	second.Connect(t, g.endpoint("live"))
	rtctest.Wait(t, first.Closed(), "end of the old session")
	// OBS deletes the old resource then: 404 is fine, the new one must not suffer. Who
	// published there, and nobody else, is told why, so as not to take over in turn.
	for credential, code := range map[string]string{"secret": "session-was-taken-over", "other": "no-such-session"} {
		res, body = rtctest.Token(credential).Do(t, http.MethodDelete, first.URL, "")
		if res.StatusCode != http.StatusNotFound || !strings.Contains(body, `"code":"`+code+`"`) {
			t.Errorf("DELETE of the old session with %s: %s %s", credential, res.Status, body)
		}
	}
	if res, _ = rtctest.Token("secret").Do(t, http.MethodGet, second.URL, ""); res.StatusCode != http.StatusNoContent {
		t.Errorf("the new session: %s", res.Status)
	}
	if !strings.Contains(g.log.String(), "taken over") {
		t.Errorf("log: %s", g.log)
	}
}

// TestLimits: X23, W21 rate limit, sessions, pending sessions, streams.
func TestLimits(t *testing.T) {
	offer := recordedOffer(t, "obs")
	post := func(t *testing.T, g *gateway, name string) (rtctest.Response, string) {
		t.Helper()
		return rtctest.Token("secret").Do(t, http.MethodPost, g.endpoint(name), offer, "Content-Type", sdpType)
	}
	t.Run("W21 rate", func(t *testing.T) {
		g := start(t, rtc.RegistryConfig{PostRate: 0.001, PostBurst: 2}, rtc.Config{})
		for range 2 {
			if res, _ := post(t, g, "a"); res.StatusCode != http.StatusCreated {
				t.Fatalf("POST: %s", res.Status)
			}
		}
		if res, _ := post(t, g, "a"); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
			t.Errorf("third POST: %s, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
		}
	})
	t.Run("X23 sessions", func(t *testing.T) {
		g := start(t, rtc.RegistryConfig{MaxSessions: 1}, rtc.Config{})
		res, _ := post(t, g, "a")
		if refused, body := post(t, g, "b"); refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" || !strings.Contains(body, "sessions") {
			t.Errorf("second POST: %s %s", refused.Status, body)
		}
		if _, ok := g.hub.Lookup("b"); ok {
			t.Error("W12: a refused POST left a stream behind")
		}
		rtctest.Token("secret").Do(t, http.MethodDelete, g.server.URL+res.Header.Get("Location"), "")
		if again, _ := post(t, g, "b"); again.StatusCode != http.StatusCreated {
			t.Errorf("POST after DELETE: %s", again.Status)
		}
	})
	t.Run("X23 pending sessions", func(t *testing.T) {
		g := start(t, rtc.RegistryConfig{MaxPending: 1}, rtc.Config{})
		newSending(t, rtctest.Options{}).Connect(t, g.endpoint("a")) // connected: does not count
		for range 100 {
			if _, pending := g.registry.Counts(); pending == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if res, body := post(t, g, "b"); res.StatusCode != http.StatusCreated {
			t.Fatalf("POST: %s %s", res.Status, body)
		}
		if res, _ := post(t, g, "c"); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("POST while one is pending: %s", res.Status)
		}
	})
	t.Run("streams", func(t *testing.T) {
		g := start(t, rtc.RegistryConfig{PostBurst: 200}, rtc.Config{})
		for i := range 50 {
			if _, err := g.hub.Stream("s" + string(rune('0'+i/10)) + string(rune('0'+i%10))); err != nil {
				t.Fatal(err)
			}
		}
		if res, body := post(t, g, "a"); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "streams") {
			t.Errorf("POST: %s %s", res.Status, body)
		}
		if all, _ := g.registry.Counts(); all != 0 {
			t.Errorf("W12: %d sessions are left", all)
		}
	})
	t.Run("W70, W72 Link", func(t *testing.T) {
		var users []string
		g := start(t, rtc.RegistryConfig{
			ICEServers: func(_ *http.Request, user string) []rtc.ICEServer {
				users = append(users, user)
				return []rtc.ICEServer{
					{URL: "stun:stun.example.com"}, {URL: "turn:turn.example.com?transport=udp", Username: "1700000000:a", Credential: `p"w`},
				}
			},
			Publish: func(r *http.Request, stream string) (rtc.Caller, error) {
				if r.Header.Get("Authorization") != "Bearer t" && stream != "a" {
					return rtc.Caller{}, problem.Problem{Status: http.StatusUnauthorized}
				}
				return rtc.Caller{}, nil
			},
		}, rtc.Config{})
		res, _ := post(t, g, "a")
		want := []string{
			`<stun:stun.example.com>; rel="ice-server"`,
			`<turn:turn.example.com?transport=udp>; rel="ice-server"; username="1700000000:a"; credential="p\"w"; credential-type="password"`,
		}
		if got := res.Header.Values("Link"); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("Link %q", got)
		}
		res, _ = rtctest.Token("").Do(t, http.MethodOptions, g.endpoint("a"), "", "Access-Control-Request-Method", "POST")
		if len(res.Header.Values("Link")) > 0 {
			t.Error("X8 a preflight got TURN credentials")
		}
		for _, c := range []struct {
			stream, token string
			links         int
		}{{"a", "", 2}, {"b", "", 0}, {"b", "u", 0}, {"b", "t", 2}, {".bad", "t", 0}} { // W71
			res, _ := rtctest.Token(c.token).Do(t, http.MethodOptions, g.endpoint(c.stream), "")
			if got := res.Header.Values("Link"); len(got) != c.links || res.StatusCode != http.StatusOK || c.links > 0 != (res.Header.Get("Cache-Control") == "no-store") {
				t.Errorf("W71 OPTIONS of %s with token %q: %s, Link %q", c.stream, c.token, res.Status, got)
			}
		}
		if len(users) != 3 || users[0][0] != 'p' || users[1][0] != 'o' || users[1] == users[2] || len(users[0]) != 10 {
			t.Errorf("X21 users %q: the session, then requests", users)
		}
	})
}
