package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/whipcast/whipcast/api/auth"
)

// mint runs whipcast token and returns what it printed, and its first line.
func mint(t *testing.T, environ []string, args ...string) (text, first string) {
	t.Helper()
	var out, logs bytes.Buffer
	if err := run(t.Context(), append([]string{"token"}, args...), stdio{out: &out, err: &logs}, environ); err != nil {
		t.Fatalf("token %v: %v", args, err)
	}
	first, _, _ = strings.Cut(out.String(), "\n")
	return out.String(), first
}

// company is a login elsewhere: a key set, and a webhook.
type company struct {
	*httptest.Server

	private ed25519.PrivateKey
}

func newCompany(t *testing.T) *company {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &company{private: private}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"%s"}]}`, base64.RawURLEncoding.EncodeToString(public))
			return
		}
		var q struct{ Token, Stream, Action string }
		body, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(body, &q)
		if q.Token != "shop-session-4711" || q.Action != "play" || q.Stream != "show" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *company) token(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = "k"
	text, err := token.SignedString(c.private)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// door is one way into the gateway.
type door struct {
	name, method, path string
	place              string // of the token: header, path or query
}

// ask comes to a door and returns the status. Bodies are no offers: whoever gets in
// is told so.
func (d door) ask(t *testing.T, c *http.Client, base, stream, token string) int {
	t.Helper()
	path := strings.ReplaceAll(d.path, "STREAM", stream)
	if token != "" {
		switch d.place {
		case "path":
			path = strings.Replace(path, "/hls/", "/hls/~"+token+"/", 1)
		case "query":
			path += "?token=" + token
		}
	}
	body := io.Reader(http.NoBody)
	if d.method == http.MethodPost {
		body = strings.NewReader("no offer")
	}
	request, err := http.NewRequestWithContext(t.Context(), d.method, base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/sdp")
	if token != "" && d.place == "header" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// TestDoors is the table of who gets in where, over the whole program: kinds of
// credentials by protocols by streams. Nothing of any token is in a log, in a metric
// or on the standard output (X4).
func TestDoors(t *testing.T) {
	company := newCompany(t)
	key, other := "static-key-0123456789", "another-static-key-01"
	environ := settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_AUTH_WATCH=token", "WHIPCAST_LOG_LEVEL=debug",
		fmt.Sprintf("WHIPCAST_AUTH_KEYS=[{name: a, hash: '%s', actions: [publish, play], streams: [show]}, {name: b, hash: '%s', actions: [admin], streams: [show]}]", auth.Hash(key), auth.Hash(other)),
		fmt.Sprintf("WHIPCAST_AUTH_JWKS={issuer: %s, audience: whipcast, url: %s/keys}", company.URL, company.URL),
		fmt.Sprintf("WHIPCAST_AUTH_WEBHOOK={url: %s/may, secret: webhook-secret-0123}", company.URL),
	)
	_, publisher := mint(t, environ, "--publish", "show")
	_, viewer := mint(t, environ, "--play", "sh*", "--principal", "anna")
	_, admin := mint(t, environ, "--admin")
	_, revoked := mint(t, environ, "--play", "show")
	mint(t, environ, "--revoke", revoked)
	claims := jwt.MapClaims{
		"iss": company.URL, "aud": "whipcast", "sub": "bob", "exp": time.Now().Add(time.Hour).Unix(), "scope": "play", "streams": "show",
	}
	theirs := company.token(t, claims)
	claims["aud"] = "else"
	elsewhere := company.token(t, claims)
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{
		"iss": "whipcast", "aud": "whipcast", "jti": "x", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "act": "admin", "str": []string{"*"},
	}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}

	gateway := start(t, environ, "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	metrics := gateway.out.waitFor(t, "Metrics")
	c := client(t, nil)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	eventually(t, c, base+"/readyz", func(r reply) bool { return r.status == http.StatusOK })
	source := start(t, nil, "publish", "--url", base+"/whip/show", "--token", publisher)
	eventually(t, c, base+"/hls/show/index.m3u8", func(r reply) bool { return r.status == http.StatusOK })

	doors := []door{
		{"WHIP", "POST", "/whip/STREAM", "header"},
		{"WHEP", "POST", "/whep/STREAM", "header"},
		{"HLS", "GET", "/hls/STREAM/index.m3u8", "header"},
		{"API", "GET", "/v1/streams/STREAM", "header"},
		{"WHIP by query", "POST", "/whip/STREAM", "query"},
		{"WHEP by query", "POST", "/whep/STREAM", "query"},
		{"HLS by path", "GET", "/hls/STREAM/index.m3u8", "path"},
		{"HLS by query", "GET", "/hls/STREAM/index.m3u8", "query"},
	}
	// in is what a door says to who may come in.
	in := map[string][]int{"POST": {400, 404, 409}, "GET": {200, 302, 404}}
	for _, tt := range []struct {
		name, token string
		show, other [4]int // by the first four doors: 0 is in, else the status; of two streams
	}{
		{"nobody", "", [4]int{401, 401, 401, 401}, [4]int{401, 401, 401, 401}},
		{"nonsense", "nonsense-0123456789", [4]int{401, 401, 401, 401}, [4]int{401, 401, 401, 401}},
		{"the publish token", token, [4]int{}, [4]int{}},
		{"a key", key, [4]int{}, [4]int{403, 403, 403, 403}},
		{"an admin's key", other, [4]int{}, [4]int{403, 403, 403, 403}},
		{"a publisher's token", publisher, [4]int{0, 403, 403, 0}, [4]int{403, 403, 403, 403}},
		{"a viewer's token", viewer, [4]int{403, 0, 0, 403}, [4]int{403, 403, 403, 403}},
		{"an admin's token", admin, [4]int{}, [4]int{}},
		{"a revoked token", revoked, [4]int{401, 401, 401, 401}, [4]int{401, 401, 401, 401}},
		{"an unsigned token", unsigned, [4]int{401, 401, 401, 401}, [4]int{401, 401, 401, 401}},
		{"a company's token", theirs, [4]int{403, 0, 0, 403}, [4]int{403, 403, 403, 403}},
		{"a company's token for another service", elsewhere, [4]int{401, 401, 401, 401}, [4]int{401, 401, 401, 401}},
		{"what the webhook knows", "shop-session-4711", [4]int{401, 0, 0, 401}, [4]int{401, 401, 401, 401}},
	} {
		for i, d := range doors {
			for stream, wanted := range map[string][4]int{"show": tt.show, "other": tt.other} {
				want := wanted[[...]int{0, 1, 2, 3, 0, 1, 2, 2}[i]]
				got := d.ask(t, c, base, stream, tt.token)
				for ; got == http.StatusTooManyRequests; got = d.ask(t, c, base, stream, tt.token) {
					time.Sleep(100 * time.Millisecond) // X23: that many POSTs are too many
				}
				if want == 0 && !slices.Contains(in[d.method], got) || want != 0 && got != want {
					t.Errorf("%s at %s of %q: %d, want %d (0: in)", tt.name, d.name, stream, got, want)
				}
			}
		}
	}

	// Shared caches keep answers by such a path: only its own token opens it.
	if got := get(t.Context(), c, base+"/hls/~nonsense/show/index.m3u8", token).status; got != http.StatusUnauthorized {
		t.Errorf("a path with a bad token, and a header with a good one: %d, want 401", got)
	}

	// A revocation by another process ends the session that the token has made.
	mint(t, environ, "--revoke", publisher)
	source.out.waitFor(t, "again in")
	gateway.err.waitFor(t, `reason="permission revoked"`)
	if got := doors[0].ask(t, c, base, "show", publisher); got != http.StatusUnauthorized {
		t.Errorf("WHIP by a revoked token: %d", got)
	}
	counted := get(t.Context(), c, metrics, "").body
	if !strings.Contains(counted, "whipcast_auth_revocations 2\n") || strings.Contains(counted, "whipcast_auth_refused_total 0\n") {
		t.Errorf("metrics of auth: %s", counted[strings.Index(counted, "whipcast_auth"):][:400])
	}
	if _, err := gateway.stop(); err != nil {
		t.Error(err)
	}
	written := gateway.err.String() + gateway.out.String() + counted + source.out.String()
	for _, secret := range []string{token, key, other, publisher, viewer, admin, revoked, theirs, elsewhere, unsigned, "shop-session-4711", "nonsense-0123456789", "webhook-secret-0123"} {
		if i := strings.LastIndex(secret, "."); i > 0 {
			secret = secret[:i] // not even without its signature
		}
		if strings.Contains(written, secret) {
			t.Errorf("X4: %q was written", secret)
		}
	}
}

// TestTokenCommand: what whipcast token prints, and where it keeps things.
func TestTokenCommand(t *testing.T) {
	environ := settings(t, "WHIPCAST_HTTP_ADDRESS=127.0.0.1:9000")
	text, first := mint(t, environ, "--publish", "show", "--play", "show", "--ttl", "30m", "--principal", "anna", "--url", "https://live.example.org/")
	for _, want := range []string{
		"May            publish and play show\n", "For            user:anna\n", "Bearer Token   the first line\n",
		"https://live.example.org/whip/show\n", "https://live.example.org/publish/show#token=" + first + "\n", "https://live.example.org/watch/show#token=" + first + "\n",
		"https://live.example.org/seat/show#token=" + first + "\n", "https://live.example.org/hls/~" + first + "/show/index.m3u8\n", "everybody may watch",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if _, until := auth.IDOf(first); time.Until(until) > 30*time.Minute || time.Until(until) < 29*time.Minute {
		t.Errorf("valid until %v", until)
	}
	if text, _ := mint(t, environ, "--play", "tour-*"); !strings.Contains(text, "http://127.0.0.1:9000/watch/STREAM#") {
		t.Errorf("links of several streams:\n%s", text)
	}
	text, key := mint(t, environ, "--key", "studio", "--publish", "tour-*", "--publish", "x")
	if !strings.Contains(text, "- name: studio\n      hash: "+auth.Hash(key)+"\n      actions: [publish]\n      streams: [\"tour-*\", \"x\"]\n") || len(key) < 26 {
		t.Errorf("a key:\n%s", text)
	}
	mint(t, environ, "--rotate")
	mint(t, environ, "--revoke-principal", "anna")
	mint(t, environ, "--revoke-stream", "show")
	at := environ[slices.IndexFunc(environ, func(s string) bool { return strings.HasPrefix(s, "WHIPCAST_DATA_DIR=") })]
	dir := strings.TrimPrefix(at, "WHIPCAST_DATA_DIR=")
	for name, want := range map[string]string{"signing_keys.json": `"kid"`, "revoked.jsonl": `"principal":"user:anna"`} {
		kept, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(kept), want) {
			t.Errorf("%s: %q, %v", name, kept, err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", name, info.Mode())
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "signing_keys.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"token", "--play", "a"}, {"token", "--rotate"}, {"serve"}} {
		var out bytes.Buffer
		err := run(t.Context(), args, stdio{out: &out, err: &out}, environ)
		if err == nil || !strings.HasPrefix(err.Error(), "data_dir = ") || !strings.Contains(err.Error(), "not a JSON Web Key Set; ") {
			t.Errorf("%v with a broken file: %v", args, err)
		}
	}
}

// TestRedact: X4 what looks like a secret does not get into the log, wherever it is.
func TestRedact(t *testing.T) {
	const jws = "eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl"
	for name, log := range map[string]func(*slog.Logger){
		"by its name":           func(l *slog.Logger) { l.Info("m", "token", "s3cr3t") },
		"in a URL":              func(l *slog.Logger) { l.Info("m", "url", "http://x/whep/a?b=c&token=s3cr3t&d=e") },
		"in a fragment":         func(l *slog.Logger) { l.Info("m", "url", "http://x/watch/a#token=s3cr3t") },
		"in an error":           func(l *slog.Logger) { l.Info("m", "error", errors.New(`Get "http://x/hls/~s3cr3t/a/index.m3u8": EOF`)) },
		"in a header":           func(l *slog.Logger) { l.Info("m", "header", "Authorization: Bearer s3cr3t") },
		"a token of any kind":   func(l *slog.Logger) { l.Info("m", "says", "cannot read "+jws+" now") },
		"in a group":            func(l *slog.Logger) { l.Info("m", slog.Group("g", "url", "?access_token=s3cr3t")) },
		"of a logger":           func(l *slog.Logger) { l.With("url", "/?token=s3cr3t").Info("m") },
		"in the message itself": func(l *slog.Logger) { l.Info("m /hls/~s3cr3t/a") },
	} {
		var out bytes.Buffer
		l := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: redact}))
		log(l)
		if strings.Contains(out.String(), "s3cr3t") || strings.Contains(out.String(), "eyJ") || !strings.Contains(out.String(), notShown) {
			t.Errorf("%s: %s", name, &out)
		}
	}
	for _, harmless := range []string{"stream show", "http://x/hls/a/index.m3u8?_HLS_msn=3", "~/data", "2s", "bearer"} {
		if got := scrub(harmless); got != harmless {
			t.Errorf("%q became %q", harmless, got)
		}
	}
}

// TestExpiredToken: X5, X3 a token that is over cannot change the session that it
// made; the session itself goes on. Another token, even one that may do everything,
// is not the one of the POST (W75).
func TestExpiredToken(t *testing.T) {
	environ := settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token)
	gateway := start(t, environ, "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	c := client(t, nil)
	eventually(t, c, base+"/readyz", func(r reply) bool { return r.status == http.StatusOK })
	at := environ[slices.IndexFunc(environ, func(s string) bool { return strings.HasPrefix(s, "WHIPCAST_DATA_DIR=") })]
	keys, err := auth.Folder(strings.TrimPrefix(at, "WHIPCAST_DATA_DIR=")).SigningKeyring()
	if err != nil {
		t.Fatal(err)
	}
	// Valid for two seconds from now, of which our allowance for clocks is most.
	made := time.Now().Add(-time.Hour)
	brief, _, err := keys.Sign(auth.Grant{Actions: auth.Publish, Streams: []auth.Pattern{"show"}, Expires: time.Now().Add(-3 * time.Second)}, made)
	if err != nil {
		t.Fatal(err)
	}
	offer, err := os.ReadFile("../../ingest/whip/testdata/http/obs/01-POST.sdp")
	if err != nil {
		t.Fatal(err)
	}
	do := func(method, url, kind, with, body string) reply {
		request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", kind)
		request.Header.Set("Authorization", "Bearer "+with)
		response, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return reply{status: response.StatusCode, header: response.Header}
	}
	created := do(http.MethodPost, base+"/whip/show", "application/sdp", brief, string(offer))
	if created.status != http.StatusCreated {
		t.Fatalf("POST: %d", created.status)
	}
	session := base + created.header.Get("Location")
	patch := func(with string) reply {
		return do(http.MethodPatch, session, "application/trickle-ice-sdpfrag", with, "a=end-of-candidates\r\n")
	}
	if got := patch(token).status; got != http.StatusNotFound {
		t.Errorf("PATCH with the publish token: %d, want 404: it did not make the session", got)
	}
	if got := patch(brief).status; got == http.StatusUnauthorized || got == http.StatusNotFound {
		t.Errorf("PATCH in time: %d", got)
	}
	var late reply
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
		if late = patch(brief); late.status == http.StatusUnauthorized {
			break
		}
	}
	if late.status != http.StatusUnauthorized || late.header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
		t.Errorf("PATCH later: %d, WWW-Authenticate %q", late.status, late.header.Get("WWW-Authenticate"))
	}
	if got := get(t.Context(), c, session, "").status; got != http.StatusNoContent {
		t.Errorf("the session is gone: %d", got)
	}
}
