package rtctest

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc"
)

// Target is a running endpoint that the suite may use. Its credentials: Token
// may do everything at Endpoint, Other is as good but another principal's. Both
// are empty where everybody is let in.
type Target struct {
	Endpoint     string // POST here succeeds
	Direction    rtc.Direction
	Token, Other string
	// Remote makes a Remote whose offer the Endpoint accepts.
	Remote func(t testing.TB, o Options) *Remote
	// Flows waits until media flows through the Session of a Remote. It is
	// called before and after an ICE restart.
	Flows func(t testing.TB, x *Remote)
}

const fragmentType = "application/trickle-ice-sdpfrag"

// Resource runs the rules of the session resource (RFC 9725 §4.2, §4.3; specs
// W36–W67, W73–W75, W83–W86, E5, E17, E18 and their rows of A11). start begins
// a Target whose registry is strict or not about If-Match; it ends with the
// test.
func Resource(t *testing.T, start func(t *testing.T, strict bool) Target) {
	t.Run("lenient", func(t *testing.T) {
		g := start(t, false)
		t.Run("methods", func(t *testing.T) { methods(t, g) })
		t.Run("trickle", func(t *testing.T) { trickle(t, g) })
		t.Run("preconditions", func(t *testing.T) { preconditions(t, g, http.StatusNoContent) })
		t.Run("bad fragments", func(t *testing.T) { badFragments(t, g) })
		t.Run("restart", func(t *testing.T) { restart(t, g) })
		t.Run("restarts in flight", func(t *testing.T) { restarts(t, g) })
		t.Run("delete", func(t *testing.T) { ends(t, g) })
		t.Run("rate", func(t *testing.T) { rate(t, g) })
		t.Run("credentials", func(t *testing.T) { credentials(t, g) })
	})
	t.Run("strict", func(t *testing.T) {
		g := start(t, true)
		t.Run("preconditions", func(t *testing.T) { preconditions(t, g, http.StatusPreconditionRequired) })
	})
}

// open posts an offer and fails the test if it is not accepted.
func (g Target) open(t *testing.T, o Options) *Remote {
	t.Helper()
	o.Token = g.Token
	x := g.Remote(t, o)
	res := x.Post(t, g.Endpoint)
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("POST: %s\n%s", res.Status, x.Answer)
	}
	return x
}

func (g Target) patch(t *testing.T, x *Remote, ifMatch, body string) (Response, string) {
	t.Helper()
	return Token(g.Token).Do(t, http.MethodPatch, x.URL, body, "Content-Type", fragmentType, "If-Match", ifMatch)
}

func status(t *testing.T, what string, res Response, want int) {
	t.Helper()
	if res.StatusCode != want {
		t.Errorf("%s: got %s, want %d", what, res.Status, want)
	}
	if res.Header.Get("Access-Control-Allow-Origin") == "" || !strings.Contains(res.Header.Get("Access-Control-Expose-Headers"), "ETag") {
		t.Errorf("%s: no CORS headers (W84, W85)", what)
	}
	if res.StatusCode >= 400 && res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: Content-Type %q (W7)", what, res.Header.Get("Content-Type"))
	}
}

func methods(t *testing.T, g Target) {
	x := g.open(t, Options{})
	for _, tt := range []struct {
		name, method string
		headers      []string
		want         int
	}{
		{"W1 GET", http.MethodGet, nil, 204},
		{"W2 HEAD", http.MethodHead, nil, 204},
		{"W5 OPTIONS", http.MethodOptions, nil, 200},
		{"W6 preflight of PATCH", http.MethodOptions, []string{"Origin", "https://a.test", "Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization,content-type,if-match"}, 200},
		{"W3 PUT", http.MethodPut, nil, 405},
		{"W3 POST", http.MethodPost, []string{"Content-Type", "application/sdp"}, 405},
		{"W3 TRACE", http.MethodTrace, nil, 405},
	} {
		res, body := Token("").Do(t, tt.method, x.URL, "", tt.headers...)
		status(t, tt.name, res, tt.want)
		if res.StatusCode < 300 && body != "" {
			t.Errorf("%s: body %q", tt.name, body)
		}
		if allow := res.Header.Get("Allow"); tt.want == 405 && allow != "GET, HEAD, OPTIONS, PATCH, DELETE" {
			t.Errorf("%s: Allow %q", tt.name, allow)
		}
		if tt.method != http.MethodOptions {
			continue
		}
		if allowed := res.Header.Get("Access-Control-Allow-Headers"); !strings.Contains(allowed, "Authorization") || !strings.Contains(allowed, "If-Match") {
			t.Errorf("%s: Access-Control-Allow-Headers %q (W83)", tt.name, allowed)
		}
		if allowed := res.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(allowed, "PATCH") || !strings.Contains(allowed, "DELETE") {
			t.Errorf("%s: Access-Control-Allow-Methods %q (W83)", tt.name, allowed)
		}
		if res.Header.Get("Accept-Patch") != fragmentType {
			t.Errorf("%s: Accept-Patch %q (W5)", tt.name, res.Header.Get("Accept-Patch"))
		}
	}
}

// trickle connects a Remote that is reachable only by candidates sent later:
// its offer has none, and it does not know ours before.
func trickle(t *testing.T, g Target) {
	x := g.open(t, Options{Bare: true})
	full := x.PC.LocalDescription().SDP
	fragment := Fragment(full)
	for _, tt := range []struct{ name, body string }{
		{"W48 candidates", strings.ReplaceAll(fragment, "a=end-of-candidates\r\n", "")},
		{"W51 duplicates", strings.ReplaceAll(fragment, "a=end-of-candidates\r\n", "")},
		{"W46 LF instead of CRLF", strings.ReplaceAll(fragment, "\r\n", "\n")},
		{"W49 TCP, names and mDNS dropped", Credentials(full) +
			"a=candidate:1 1 tcp 1518214911 192.0.2.2 9 typ host tcptype active\r\n" +
			"a=candidate:2 1 udp 2122194687 0a1b.local 9 typ host\r\na=candidate:3 1 udp 2122194687 example.com 9 typ host\r\n"},
		{"W46 unknown mid ignored", strings.Replace(fragment, "a=mid:", "a=mid:x", 1)},
		{"W46 unknown attributes skipped", fragment + "a=x-unknown:1\r\n"},
		{"W52 after end-of-candidates", fragment},
	} {
		res, body := g.patch(t, x, x.ETag, tt.body)
		status(t, tt.name, res, http.StatusNoContent)
		if res.Header.Get("ETag") != "" || body != "" {
			t.Errorf("%s: ETag %q, body %q, want neither (W48)", tt.name, res.Header.Get("ETag"), body)
		}
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q (W86)", tt.name, res.Header.Get("Cache-Control"))
		}
	}
	Wait(t, x.Connected(), "connection")
	g.Flows(t, x)
}

// preconditions expects the given status where If-Match is left out.
func preconditions(t *testing.T, g Target, without int) {
	x := g.open(t, Options{})
	same := Fragment(x.Offer)
	for _, tt := range []struct {
		name, match, body string
		want              int
	}{
		{"W39 stale", `"stale"`, same, 412},
		{"W41 weak never matches", "W/" + x.ETag, same, 412},
		{"W39 without, or W40 lenient", "", same, without},
		{"W40 without, of another generation", "", strings.NewReplacer("a=ice-ufrag:", "a=ice-ufrag:x", "a=ice-pwd:", "a=ice-pwd:x").Replace(same), 428},
		{"W41 list", `"stale", ` + x.ETag, same, 204},
		{"W41 asterisk on trickle", "*", same, 204},
		{"W41 quoted asterisk", `"*"`, same, 204},
		{"W43 pwd alone differs: trickle", x.ETag, strings.Replace(same, "a=ice-pwd:", "a=ice-pwd:x", 1), 204},
	} {
		res, body := g.patch(t, x, tt.match, tt.body)
		status(t, tt.name, res, tt.want)
		if res.StatusCode == http.StatusOK || res.Header.Get("ETag") != "" {
			t.Errorf("%s: ICE was restarted: %s", tt.name, body)
		}
	}
	Wait(t, x.Connected(), "connection")
}

func badFragments(t *testing.T, g Target) {
	x := g.open(t, Options{})
	same := Credentials(x.Offer)
	candidate := "a=candidate:1 1 udp 2122194687 127.0.0.1 50000 typ host\r\n"
	for _, tt := range []struct {
		name, kind, body string
		want             int
	}{
		{"W38 other type", "text/plain", same, 415},
		{"W38 no type", "", same, 415},
		{"W8 letter case and parameters", "Application/Trickle-ICE-sdpfrag; charset=utf-8", same, 204},
		{"W38 empty", fragmentType, "", 400},
		{"W38 no fragment", fragmentType, "hello", 400},
		{"W38 binary", fragmentType, "a=\x00\xff", 400},
		{"W38 contradicting credentials", fragmentType, same + "m=video 9 RTP/AVP 0\r\na=ice-ufrag:zzzz\r\n", 400},
		{"W43 ufrag without pwd", fragmentType, "a=ice-ufrag:changed\r\n", 400},
		{"RFC 8839 short credentials", fragmentType, "a=ice-ufrag:new\r\na=ice-pwd:short\r\n", 400},
		{"W53 65 candidates", fragmentType, same + strings.Repeat(candidate, 65), 422},
		{"X15 long line", fragmentType, same + "a=candidate:1 1 udp 1 127.0.0.1 5 typ host " + strings.Repeat("x ", 300) + "\r\n", 400},
		{"100,000 candidates", fragmentType, same + strings.Repeat(candidate, 100_000), 413},
		{"W13 10 MB", fragmentType, strings.Repeat("a=x\r\n", 2<<20), 413},
	} {
		res, body := Token(g.Token).Do(t, http.MethodPatch, x.URL, tt.body, "Content-Type", tt.kind, "If-Match", "*")
		status(t, tt.name, res, tt.want)
		if strings.Contains(body, "zzzz") || strings.Contains(body, "hello") {
			t.Errorf("%s: the problem echoes the body (X37): %s", tt.name, body)
		}
		if tt.want == 415 && res.Header.Get("Accept-Patch") != fragmentType {
			t.Errorf("%s: Accept-Patch %q", tt.name, res.Header.Get("Accept-Patch"))
		}
	}
	res, _ := Token(g.Token).Do(t, http.MethodPatch, x.URL, "v=0\r\n", "Content-Type", "application/sdp")
	want := 415
	if g.Direction == rtc.Send {
		want = 409
	}
	status(t, "E5 application/sdp without counter-offer", res, want)
	Wait(t, x.Connected(), "connection: a bad fragment leaves the session untouched (W38)")
}

func restart(t *testing.T, g Target) {
	x := g.open(t, Options{})
	Wait(t, x.Connected(), "connection")
	g.Flows(t, x)
	before, old := x.Answer, x.ETag
	late := Fragment(x.Offer)
	for _, match := range []string{`"*"`, "*", ""} { // W41, W42: the ETag is as good
		if match == "" {
			match = x.ETag
		}
		res := x.Restart(t, match)
		status(t, "W54 restart", res, http.StatusOK)
		if kind := res.Header.Get("Content-Type"); kind != fragmentType {
			t.Errorf("Content-Type %q", kind)
		}
		if x.ETag == "" || x.ETag == old || strings.HasPrefix(x.ETag, "W/") {
			t.Errorf("ETag %q after %q (W17, W54)", x.ETag, old)
		}
		for _, key := range []string{"a=ice-ufrag:", "a=ice-pwd:"} {
			if line(before, key) == line(x.Answer, key) {
				t.Errorf("%s did not change (W54)", key)
			}
		}
		if line(before, "a=fingerprint:") != line(x.Answer, "a=fingerprint:") {
			t.Error("the fingerprint changed (W57)")
		}
		res, _ = g.patch(t, x, old, late)
		status(t, "W59 late trickle of the old generation", res, http.StatusPreconditionFailed)
		selected(t, x)
		g.Flows(t, x) // W57: no new keys, media goes on
		before, old, late = x.Answer, x.ETag, Fragment(x.Offer)
	}
}

// selected waits until ICE is connected again.
func selected(t *testing.T, x *Remote) {
	t.Helper()
	for range 500 {
		if x.PC.ICEConnectionState() == webrtc.ICEConnectionStateConnected {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("ICE is %v after the restart", x.PC.ICEConnectionState())
}

// rate: X15 a session takes about ten PATCHes a second, others are not affected.
func rate(t *testing.T, g Target) {
	other, x := g.open(t, Options{}), g.open(t, Options{})
	limited := false
	for range 100 {
		res, _ := g.patch(t, x, x.ETag, Credentials(x.Offer))
		if res.StatusCode == http.StatusTooManyRequests {
			limited = true
			status(t, "X15 rate", res, http.StatusTooManyRequests)
			if res.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			break
		}
	}
	if !limited {
		t.Error("100 PATCHes at once are not limited")
	}
	if g.Direction == rtc.Send { // a publisher's second session takes over the first one
		res, _ := g.patch(t, other, other.ETag, Credentials(other.Offer))
		status(t, "X15 another session", res, http.StatusNoContent)
	}
}

// restarts sends two restarts at once: each gets its own generation, the
// session lives (W44, W60).
func restarts(t *testing.T, g Target) {
	x := g.open(t, Options{})
	Wait(t, x.Connected(), "connection")
	fragment := func(ufrag string) string {
		return "a=ice-ufrag:" + ufrag + "\r\na=ice-pwd:" + strings.Repeat(ufrag, 8) + "\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
	}
	tags := make([]string, 2)
	var wg sync.WaitGroup
	for i, ufrag := range []string{"aaaa", "bbbb"} {
		wg.Go(func() {
			res, body := g.patch(t, x, "*", fragment(ufrag))
			status(t, "W60 restart", res, http.StatusOK)
			tags[i] = res.Header.Get("ETag") + line(body, "a=ice-ufrag:")
		})
	}
	wg.Wait()
	if tags[0] == tags[1] {
		t.Errorf("both restarts got generation %s", tags[0])
	}
	x.Restart(t, "*")
	selected(t, x)
}

func line(description, prefix string) string {
	for l := range strings.SplitSeq(description, "\r\n") {
		if strings.HasPrefix(l, prefix) {
			return l
		}
	}
	return ""
}

func ends(t *testing.T, g Target) {
	x := g.open(t, Options{})
	Wait(t, x.Connected(), "connection")
	g.Flows(t, x) // our side is connected, too, and will send the alert
	res, body := Token(g.Token).Do(t, http.MethodDelete, x.URL, "", "If-Match", `"stale"`)
	status(t, "W45, W62 DELETE with a stale If-Match", res, http.StatusOK)
	if body != "" {
		t.Errorf("DELETE: body %q", body)
	}
	Wait(t, x.Closed(), "end of DTLS (W65)")
	for _, method := range []string{http.MethodDelete, http.MethodPatch, http.MethodGet} {
		res, _ = Token(g.Token).Do(t, method, x.URL, Fragment(x.Offer), "Content-Type", fragmentType, "If-Match", x.ETag)
		status(t, "W47, W63 "+method+" after the end", res, http.StatusNotFound)
	}
	early := g.open(t, Options{Bare: true})
	res, _ = Token(g.Token).Do(t, http.MethodDelete, early.URL, "")
	status(t, "W63 DELETE during set-up", res, http.StatusOK)

	gone := g.open(t, Options{})
	Wait(t, gone.Connected(), "connection")
	g.Flows(t, gone)
	if err := gone.PC.GracefulClose(); err != nil { // sends close_notify
		t.Fatal(err)
	}
	for range 500 {
		if res, _ = Token(g.Token).Do(t, http.MethodGet, gone.URL, ""); res.StatusCode == http.StatusNotFound {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("W65 the session outlives DTLS close_notify: %s", res.Status)
}

func credentials(t *testing.T, g Target) {
	x := g.open(t, Options{})
	unknown := x.URL[:strings.LastIndex(x.URL, "/")+2] + "AAAAAAAAAAAAAAAAAAAAAA"
	for _, url := range []string{unknown, x.URL[:len(x.URL)-1], x.URL + "/x", x.URL + "%2e%2e", unknown + `%22%0a`} {
		res, _ := Token(g.Token).Do(t, http.MethodDelete, url, "")
		if res.StatusCode < 400 || res.StatusCode >= 500 {
			t.Errorf("W47 DELETE %s: %s", url, res.Status)
		}
	}
	if g.Token == "" {
		return
	}
	for _, tt := range []struct{ name, token string }{
		{"W73 no credentials", ""}, {"W73 wrong ones", "wrong"}, {"W75, X3 another principal's", g.Other},
	} {
		for _, method := range []string{http.MethodDelete, http.MethodPatch} {
			do := func(url string) Response {
				res, _ := Token(tt.token).Do(t, method, url, Fragment(x.Offer), "Content-Type", fragmentType, "If-Match", "*")
				return res
			}
			known, unknown := do(x.URL), do(unknown)
			if known.StatusCode != unknown.StatusCode || known.StatusCode != http.StatusUnauthorized && known.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %s of a known session: %s, of an unknown one: %s (W47)", tt.name, method, known.Status, unknown.Status)
			}
			if known.StatusCode == http.StatusUnauthorized && !strings.HasPrefix(known.Header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s: no WWW-Authenticate", tt.name)
			}
		}
	}
	res, _ := Token(g.Token).Do(t, http.MethodGet, x.URL, "")
	status(t, "the session goes on", res, http.StatusNoContent)
}
