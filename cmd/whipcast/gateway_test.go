package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const token = "gateway-test-token"

// client makes requests without keeping connections after the test.
func client(t *testing.T, configure func(*http.Transport)) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	if configure != nil {
		configure(transport)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 15 * time.Second}
}

type reply struct {
	status int
	proto  string
	header http.Header
	body   string
	err    error
}

func get(ctx context.Context, c *http.Client, url, token string) reply {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return reply{err: err}
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.Do(request)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Proto, response.Header, string(body), err}
}

// eventually asks until ok accepts the reply.
func eventually(t *testing.T, c *http.Client, url string, ok func(reply) bool) reply {
	t.Helper()
	var last reply
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last = get(t.Context(), c, url, token); ok(last) {
			return last
		}
	}
	t.Fatalf("%s is not as wanted in 20 s; last: %+v", url, last)
	return last
}

// playlistURL returns the URL of the video's media playlist.
func playlistURL(t *testing.T, c *http.Client, base, stream string) string {
	t.Helper()
	multi := eventually(t, c, base+"/hls/"+stream+"/index.m3u8", func(r reply) bool { return r.status == http.StatusOK })
	for line := range strings.Lines(multi.body) {
		if !strings.HasPrefix(line, "#") && strings.Contains(line, "video") {
			return base + "/hls/" + stream + "/" + strings.TrimSpace(line)
		}
	}
	t.Fatalf("no video in %s", multi.body)
	return ""
}

// TestGracefulStop: with a publisher connected, two held HLS requests and a
// profile being taken, a signal ends everything well within 5 s, and whoever waits
// is answered. The playlist does not end: the next start goes on with it (L34).
// goleak checks the rest.
func TestGracefulStop(t *testing.T) {
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_LOG_FORMAT=json", "WHIPCAST_LOG_LEVEL=debug"), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	admin := strings.TrimSuffix(gateway.out.waitFor(t, "Metrics"), "/metrics")
	c := client(t, nil)
	eventually(t, c, base+"/readyz", func(r reply) bool { return r.status == http.StatusOK })
	publisher := start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	playlist := playlistURL(t, c, base, "test")
	if r := get(t.Context(), c, base+"/v1/streams/test", token); strings.Count(r.body, `"findings":[`) != 2 {
		t.Errorf("the API does not say what is wrong with both layers: %+v", r)
	}

	now := eventually(t, c, playlist, func(r reply) bool { return strings.Contains(r.body, "#EXT-X-PART:") })
	var open int // media sequence number of the segment that is being made
	for line := range strings.Lines(now.body) {
		if first, ok := strings.CutPrefix(line, "#EXT-X-MEDIA-SEQUENCE:"); ok {
			var err error
			if open, err = strconv.Atoi(strings.TrimSpace(first)); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(line, "#EXTINF") {
			open++
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held := make(chan reply, 3)
	ask := func(url string) { held <- get(ctx, c, url, "") }
	next := strconv.Itoa(open + 1)
	go ask(playlist + "?_HLS_msn=" + next)
	go ask(playlist + "?_HLS_msn=" + next + "&_HLS_part=0")
	go ask(admin + "/debug/pprof/profile?seconds=30")
	eventually(t, c, admin+"/metrics", func(r reply) bool { return strings.Contains(r.body, "whipcast_hls_held_requests 2") })

	took, err := gateway.stop()
	if err != nil || took > 5*time.Second {
		t.Errorf("stopped with %v after %v, want nil within 5 s", err, took)
	}
	t.Logf("stopped after %v", took)
	answered := 0
	for range 3 {
		switch r := <-held; {
		case strings.Contains(r.body, "#EXT-X-ENDLIST"):
			t.Errorf("the playlist has ended:\n%s", r.body)
		case r.status == http.StatusOK || r.status == http.StatusServiceUnavailable:
			answered++
		}
	}
	if answered < 2 {
		t.Errorf("%d of 2 held requests were answered", answered)
	}
	publisher.out.waitFor(t, "again in")
	for _, each := range []string{gateway.err.String(), gateway.out.String()} {
		if strings.Contains(each, token) {
			t.Errorf("the configured token was written (X4):\n%s", each)
		}
	}
	checkLog(t, gateway.err.String())
}

// checkLog: each line is JSON, and one line sums up the session.
func checkLog(t *testing.T, text string) {
	t.Helper()
	sessions := 0
	for line := range strings.Lines(text) {
		var entry struct{ Msg, Stream, Reason string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("log line %q: %v", line, err)
		}
		if entry.Msg == "session ended" {
			sessions++
			if entry.Stream != "test" || entry.Reason == "" {
				t.Errorf("summary %q lacks stream or reason", line)
			}
		}
	}
	if sessions != 1 {
		t.Errorf("%d summaries of sessions, want 1", sessions)
	}
}

// TestStreamEnds: when the publisher's grace is over the playlist is ended, and
// the next publisher of the name begins anew.
func TestStreamEnds(t *testing.T) {
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_HLS_GRACE=100ms", "WHIPCAST_HLS_SEGMENT=1s", "WHIPCAST_HLS_PART=200ms", "WHIPCAST_HLS_WINDOW=3s"), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	c := client(t, nil)
	publisher := start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	first := playlistURL(t, c, base, "test")
	if _, err := publisher.stop(); err != nil {
		t.Error(err)
	}
	eventually(t, c, first, func(r reply) bool { return strings.Contains(r.body, "#EXT-X-ENDLIST") })
	start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	eventually(t, c, base+"/hls/test/index.m3u8", func(r reply) bool {
		return r.status == http.StatusOK && !strings.Contains(r.body, strings.Split(first, "/")[5])
	})
}

// TestClosed: with auth.watch token, nothing is to be had without it, and answers
// do not tell what exists (X1).
func TestClosed(t *testing.T) {
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_AUTH_WATCH=token"), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	c := client(t, nil)
	start(t, nil, "publish", "--url", base+"/whip/here", "--token", token)
	playlistURL(t, c, base, "here")
	var answers []string
	for _, stream := range []string{"here", "nowhere"} {
		for _, wrong := range []string{"", "another-token"} {
			r := get(t.Context(), c, base+"/hls/"+stream+"/index.m3u8", wrong)
			if r.status != http.StatusUnauthorized || r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with token %q: %d, WWW-Authenticate %q", stream, wrong, r.status, r.header.Get("WWW-Authenticate"))
			}
			answers = append(answers, r.body)
		}
	}
	if answers[0] != answers[2] || answers[1] != answers[3] {
		t.Errorf("answers tell what exists: %q", answers)
	}
	for path, method := range map[string]string{"/whip/here": "POST", "/whep/here": "POST", "/v1/streams": "GET"} {
		request, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader("v=0\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/sdp")
		response, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s %s: %d, want 401", method, path, response.StatusCode)
		}
	}
}

// TestProtocols: HTTP/1.1 and h2c on the plain address, HTTP/2 and TLS 1.2 or
// newer on the secure one, where also the demo's own publisher works.
func TestProtocols(t *testing.T) {
	certificate, key := newCertificate(t)
	demo := start(t, settings(t, "WHIPCAST_HTTP_TLS_CERTIFICATE="+certificate, "WHIPCAST_HTTP_TLS_KEY="+key), "demo")
	base := strings.TrimSuffix(demo.out.waitFor(t, "  HLS "), "/hls/demo/index.m3u8")
	if !strings.HasPrefix(base, "https://") {
		t.Fatalf("address %s with TLS", base)
	}
	secure := client(t, func(tr *http.Transport) {
		tr.ForceAttemptHTTP2 = true
		tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // the test's own
	})
	if r := eventually(t, secure, base+"/hls/demo/index.m3u8", func(r reply) bool { return r.status == http.StatusOK }); r.proto != "HTTP/2.0" {
		t.Errorf("HLS over TLS by %s, want HTTP/2.0 (L95)", r.proto)
	}
	old := client(t, func(tr *http.Transport) {
		tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // to be refused
	})
	if r := get(t.Context(), old, base+"/healthz", ""); r.err == nil {
		t.Error("TLS 1.1 is accepted (X33)")
	}

	plain := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token), "serve")
	base = strings.TrimSuffix(plain.out.waitFor(t, "Home"), "/")
	if r := get(t.Context(), client(t, nil), base+"/healthz", ""); r.status != http.StatusOK || r.proto != "HTTP/1.1" {
		t.Errorf("plain: %d by %s", r.status, r.proto)
	}
	h2c := client(t, func(tr *http.Transport) {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetUnencryptedHTTP2(true)
	})
	if r := get(t.Context(), h2c, base+"/healthz", ""); r.status != http.StatusOK || r.proto != "HTTP/2.0" {
		t.Errorf("h2c: %d by %s (%v)", r.status, r.proto, r.err)
	}
	// X25: a header of 64 KiB is refused.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/healthz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Filler", strings.Repeat("x", 64<<10))
	if response, err := client(t, nil).Do(request); err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a header of 64 KiB: %d, want 431", response.StatusCode)
		}
	}
}

func TestUselessCertificate(t *testing.T) {
	certificate, _ := newCertificate(t)
	_, key := newCertificate(t)
	var logs bytes.Buffer
	err := run(t.Context(), []string{"serve", "--http.tls.certificate", certificate, "--http.tls.key", key}, stdio{out: &logs, err: &logs}, settings(t))
	if err == nil || !strings.HasPrefix(err.Error(), `http.tls.certificate = "`+certificate+`": cannot be used with http.tls.key `+key) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want one line about the pair", err)
	}
}

// TestDemo: everything that the demo prints is there.
func TestDemo(t *testing.T) {
	demo := start(t, settings(t), "demo", "--http.address", "127.0.0.1:0")
	secret := demo.out.waitFor(t, "Bearer Token")
	c := client(t, nil)
	if len(secret) < 26 {
		t.Errorf("token %q", secret)
	}
	for name, want := range map[string]string{
		"Watch": "/watch/demo", "Seat": "/seat/demo", "Publish": "/publish/camera#token=" + secret, "Home": "/#token=" + secret,
		"HLS": "/hls/demo/index.m3u8", "Server": "/whip/obs", "Metrics": "/metrics",
	} {
		url := demo.out.waitFor(t, "  "+name+" ")
		if !strings.HasPrefix(url, "http://127.0.0.1:") || !strings.HasSuffix(url, want) {
			t.Errorf("%s: %q, want it to end in %s", name, url, want)
		}
		page, _, _ := strings.Cut(url, "#")
		switch name {
		case "Server": // RFC 9725 §4.1: GET is answered without content
			eventually(t, c, page, func(r reply) bool { return r.status == http.StatusNoContent })
		default:
			r := eventually(t, c, page, func(r reply) bool { return r.status == http.StatusOK || name != "HLS" })
			// Without npm's build the pages say how to build them.
			if r.status != http.StatusOK && r.status != http.StatusServiceUnavailable {
				t.Errorf("%s: %d", url, r.status)
			}
		}
	}
	if took, err := demo.stop(); err != nil || took > 5*time.Second {
		t.Errorf("stopped with %v after %v", err, took)
	}
	if strings.Contains(demo.err.String(), secret) {
		t.Error("the token is in the log (X4)")
	}
}

// newCertificate writes a self-signed certificate and its key.
func newCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"gateway.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// TestSecurityHeaders: X4, X12 every door says that content is what it is called, and
// that the address, which may have a token, goes nowhere; pages may load nothing from
// elsewhere. /docs names no other server.
func TestSecurityHeaders(t *testing.T) {
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	c := client(t, nil)
	for _, tt := range []struct {
		path string
		page bool
	}{
		{"/", true},
		{"/watch/show", true},
		{"/publish/show", true},
		{"/docs", true},
		{"/docs/page.js", false},
		{"/openapi.json", false},
		{"/nothing", false},
		{"/v1/streams", false},
		{"/v1/nothing", false},
		{"/hls/show/index.m3u8", false},
		{"/whip/show", false},
		{"/whep/show", false},
		{"/session/pnone", false},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+tt.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		h := response.Header
		if err != nil || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %d %v %v", tt.path, response.StatusCode, h, err)
		}
		if policy := h.Get("Content-Security-Policy"); tt.page && (!strings.HasPrefix(policy, "default-src 'none'") || response.StatusCode != http.StatusOK) {
			t.Errorf("%s: %d, Content-Security-Policy %q", tt.path, response.StatusCode, policy)
		}
		if strings.HasPrefix(tt.path, "/docs") && strings.Contains(string(text), "://") {
			t.Errorf("%s names another server", tt.path)
		}
	}
}
