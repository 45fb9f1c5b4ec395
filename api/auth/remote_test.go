package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/whipcast/whipcast/internal/outbound"
)

// server is a RoundTripper: another server without a network, so that time can be
// the test's own.
type server struct {
	mu     sync.Mutex
	asked  []string // URLs, below mu
	answer func(r *http.Request) (said, error)
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.String())
	s.mu.Unlock()
	a, err := s.answer(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

// said is what a server answers.
type said struct {
	status int
	header http.Header
	body   string
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *server) set(answer func(r *http.Request) (said, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func says(status int, body string, fields ...string) func(*http.Request) (said, error) {
	return func(*http.Request) (said, error) {
		h := http.Header{}
		for i := 0; i+1 < len(fields); i += 2 {
			h.Set(fields[i], fields[i+1])
		}
		return said{status, h, body}, nil
	}
}

func fails(*http.Request) (said, error) { return said{}, errors.New("connection refused") }

// silent answers when the request is given up.
func silent(r *http.Request) (said, error) {
	<-r.Context().Done()
	return said{}, r.Context().Err()
}

// TestJWKSCache: the key set is fetched when it is needed, kept while it is fresh,
// used for a day when its server is gone, and not asked for by every unknown key.
func TestJWKSCache(t *testing.T) {
	keys := makeKeys(t)
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: fails}
		r := newRemoteKeys(JWKS{Issuer: "https://login.example", Audience: "whipcast", URL: "https://login.example/keys"}, testLog())
		r.client.Transport = s
		token := func(kid string) string {
			return signed(t, jwt.SigningMethodRS256, keys.rsa, kid, map[string]any{
				"iss": "https://login.example", "aud": "whipcast", "sub": "bob", "exp": time.Now().Add(48 * time.Hour).Unix(), "scope": "play", "streams": "*",
			})
		}
		good, unknown := token("r"), token("x")
		expect := func(step, token string, want error, fetches int) {
			t.Helper()
			before := s.count()
			_, err := r.verify(t.Context(), token, time.Now())
			if !errors.Is(err, want) || s.count()-before != fetches {
				t.Errorf("%s: %v after %d fetches; want %v after %d", step, err, s.count()-before, want, fetches)
			}
		}
		expect("its server is gone at the start", good, errUnavailable, 1)
		expect("a moment later", good, errUnavailable, 0)
		s.set(says(200, string(keys.set())))
		time.Sleep(jwksAgain)
		expect("it is back", good, nil, 1)
		expect("kept", good, nil, 0)
		expect("an unknown key at once", unknown, errWrong, 0)
		time.Sleep(jwksAgain)
		expect("an unknown key", unknown, errWrong, 1)
		for range 100 {
			expect("more of them", unknown, errWrong, 0)
		}
		time.Sleep(jwksFresh)
		expect("not fresh any more", good, nil, 1)
		s.set(fails)
		time.Sleep(jwksFresh)
		expect("gone again", good, nil, 1)
		expect("and not asked each time", good, nil, 0)
		time.Sleep(jwksStale)
		expect("gone for a day", good, errUnavailable, 1)
		s.set(silent)
		time.Sleep(jwksAgain)
		begun := time.Now()
		expect("slow", good, errUnavailable, 1)
		if waited := time.Since(begun); waited != askTime {
			t.Errorf("waited %v for a slow server, want %v", waited, askTime)
		}
		if got := r.failures.Load(); got != 4 {
			t.Errorf("%d failures are counted", got)
		}
	})
}

// TestJWKSOnce: many who need the set at once cause one fetch; who leaves does not end it.
func TestJWKSOnce(t *testing.T) {
	keys := makeKeys(t)
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: func(r *http.Request) (said, error) {
			time.Sleep(time.Second)
			if err := r.Context().Err(); err != nil {
				return said{}, err
			}
			return says(200, string(keys.set()))(r)
		}}
		r := newRemoteKeys(JWKS{Issuer: "https://login.example", Audience: "whipcast", URL: "https://login.example/keys"}, testLog())
		r.client.Transport = s
		leaving, leave := context.WithCancel(t.Context())
		contexts := []context.Context{leaving, t.Context()}
		var wg sync.WaitGroup
		var good atomic.Int32
		for i := range 50 {
			wg.Go(func() {
				if _, err := r.key(contexts[i%2], "r", time.Now()); err == nil {
					good.Add(1)
				}
			})
		}
		synctest.Wait()
		leave()
		wg.Wait()
		if s.count() != 1 || good.Load() < 25 {
			t.Errorf("%d fetches, %d of 50 got a key", s.count(), good.Load())
		}
	})
}

// TestJWKSServers: what a key set or an OpenID configuration may not be.
func TestJWKSServers(t *testing.T) {
	keys := makeKeys(t)
	var redirected atomic.Bool
	answers := map[string]string{"/good": string(keys.set()), "/none": `{"keys":[]}`, "/text": "hello", "/large": strings.Repeat(" ", jwksBytes+1)}
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch text, ok := answers[r.URL.Path]; {
		case ok:
			_, _ = io.WriteString(w, text)
		case r.URL.Path == "/redirect":
			http.Redirect(w, r, "/followed", http.StatusFound)
		case r.URL.Path == "/followed":
			redirected.Store(true)
			_, _ = w.Write(keys.set())
		default:
			http.NotFound(w, r)
		}
	}))
	defer at.Close()
	for name, issuer := range map[string]string{"liar": at.URL, "plain": `","jwks_uri":"http://10.0.0.1/keys","x":"`} {
		answers["/"+name+"/.well-known/openid-configuration"] = fmt.Sprintf(`{"issuer":"%s","jwks_uri":"%s/good"}`, issuer, at.URL)
	}
	answers["/honest/.well-known/openid-configuration"] = fmt.Sprintf(`{"issuer":"%s/honest","jwks_uri":"%s/good"}`, at.URL, at.URL)
	answers["/plain/.well-known/openid-configuration"] = fmt.Sprintf(`{"issuer":"%s/plain","jwks_uri":"http://10.0.0.1/keys"}`, at.URL)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // X30: nothing is sent to a proxy
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	for _, tt := range []struct{ name, issuer, url, want string }{
		{"good", at.URL, at.URL + "/good", ""},
		{"discovered", at.URL + "/honest", "", ""},
		{"without keys", at.URL, at.URL + "/none", "no key for signatures"},
		{"not JSON", at.URL, at.URL + "/text", "not JSON"},
		{"too large", at.URL, at.URL + "/large", "more than"},
		{"missing", at.URL, at.URL + "/missing", "status 404"},
		{"moved (X30)", at.URL, at.URL + "/redirect", "status 302"},
		{"not discovered", at.URL + "/nowhere", "", "status 404"},
		{"another issuer's", at.URL + "/liar", "", "another issuer"},
		{"keys without TLS", at.URL + "/plain", "", "not behind https"},
	} {
		r := newRemoteKeys(JWKS{Issuer: tt.issuer, URL: tt.url}, testLog())
		_, err := r.download(t.Context())
		r.client.CloseIdleConnections()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if redirected.Load() {
		t.Error("a redirect was followed")
	}
	for url, want := range map[string]bool{
		"https://a.example": true, "http://a.example": false, "http://localhost:8080": true, "http://127.0.0.1/x": true, "http://[::1]": true,
		"http://10.0.0.1": false, "ftp://localhost": false, "": false, "https://": false, "://": false, "http://localhost.evil.example": false,
	} {
		if Safe(url) != want {
			t.Errorf("%q is safe: %v", url, !want)
		}
	}
}

// TestClaims: how claims of a company map to what is permitted.
func TestClaims(t *testing.T) {
	exp := float64(time.Now().Add(time.Hour).Unix())
	for _, tt := range []struct {
		name   string
		cfg    JWKS
		claims string
		want   string // principal, actions, streams
	}{
		{"by default", JWKS{}, `{"sub":"a","scope":"play openid","streams":["x","y*"]}`, "user:a play [x y*]"},
		{"words", JWKS{Words: map[string]Action{"host": Publish | Play}}, `{"sub":"a","scope":["host"],"streams":"x"}`, "user:a publish play [x]"},
		{"deep claims", JWKS{Actions: "realm.roles", Streams: "app.rooms", Principal: "email"}, `{"sub":"a","email":"b","realm":{"roles":["admin"]},"app":{"rooms":["*"]}}`, "user:b admin [*]"},
		{"a name with dots", JWKS{Actions: "https://x.example/act"}, `{"sub":"a","https://x.example/act":"play","streams":"x"}`, "user:a play [x]"},
		{"defaults", JWKS{DefaultActions: Play, DefaultStreams: []Pattern{"*"}}, `{"sub":"a"}`, "user:a play [*]"},
		{"no defaults over a claim", JWKS{DefaultActions: Play, DefaultStreams: []Pattern{"*"}}, `{"sub":"a","scope":"","streams":[]}`, "user:a  []"},
		{"claims of other types", JWKS{DefaultActions: Play}, `{"sub":"a","scope":7,"streams":{"a":"b"}}`, "user:a  []"},
		{"numbers among words", JWKS{}, `{"sub":"a","scope":["play",7],"streams":["x"]}`, "user:a play [x]"},
	} {
		tt.cfg.Issuer, tt.cfg.Audience = "i", "a"
		cfg := newRemoteKeys(tt.cfg, testLog()).cfg
		claims := jwt.MapClaims{}
		if err := json.Unmarshal([]byte(tt.claims), &claims); err != nil {
			t.Fatal(err)
		}
		claims["exp"] = exp
		g, err := cfg.grant(claims)
		if got := fmt.Sprintf("%s %s %v", g.Principal, g.Actions, g.Streams); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestWebhook: X6 the webhook decides in time, is asked once for the same, and its
// trouble lets nobody in.
func TestWebhook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: says(200, "")}
		a := newAuthority(t, Config{Watch: Closed, Webhook: &Webhook{URL: "https://shop.example/may", Secret: "0123456789abcdef", Keep: time.Minute}})
		a.hook.client.Transport = s
		expect := func(step, token, stream string, want, calls int) {
			t.Helper()
			before := s.count()
			_, err := a.Decide(t.Context(), Request{Action: Play, Stream: stream, Protocol: "hls", Token: token})
			if got := statusOf(t, err); got != want || s.count()-before != calls {
				t.Errorf("%s: %d after %d calls; want %d after %d", step, got, s.count()-before, want, calls)
			}
		}
		expect("no token", "", "show", 401, 0)
		expect("yes", "a", "show", 200, 1)
		expect("kept", "a", "show", 200, 0)
		expect("another stream", "a", "other", 200, 1)
		expect("another token", "b", "show", 200, 1)
		time.Sleep(maxKeep - time.Second)
		expect("still kept", "a", "show", 200, 0)
		time.Sleep(time.Second)
		expect("not for longer than 30 s, whatever is configured", "a", "show", 200, 1)
		s.set(says(401, ""))
		expect("unknown", "c", "show", 401, 1)
		expect("kept", "c", "show", 401, 0)
		s.set(says(200, ""))
		time.Sleep(keepNo)
		expect("a no is kept for a shorter time", "c", "show", 200, 1)
		s.set(says(403, ""))
		expect("forbidden", "d", "show", 403, 1)
		s.set(says(200, "", "Cache-Control", "no-store"))
		expect("not to be kept", "e", "show", 200, 1)
		expect("so it is asked again", "e", "show", 200, 1)
		s.set(says(200, "", "Cache-Control", "private, max-age=2"))
		expect("to be kept for two seconds", "f", "show", 200, 1)
		time.Sleep(time.Second)
		expect("one later", "f", "show", 200, 0)
		time.Sleep(time.Second)
		expect("two later", "f", "show", 200, 1)
		for i, trouble := range []func(*http.Request) (said, error){
			fails, silent, says(500, ""), says(404, ""), says(302, "", "Location", "https://elsewhere.example/yes"), says(204+1, ""), says(429, ""),
		} {
			name := fmt.Sprintf("trouble %d", i)
			s.set(says(200, ""))
			expect(name+", before", name+" before", "show", 200, 1)
			s.set(trouble)
			begun := time.Now()
			expect(name, name, "show", 503, 1)
			if waited := time.Since(begun); waited > askTime {
				t.Errorf("%s: waited %v", name, waited)
			}
			expect(name+", not asked by everybody", name, "show", 503, 0)
			expect(name+", kept answers are good", name+" before", "show", 200, 0)
			s.set(says(200, "", "Cache-Control", "no-store"))
			time.Sleep(keepFail)
			expect(name+", over", name, "show", 200, 1)
		}
	})
}

// TestWebhookOnce: many who ask the same at once cause one call, and calls at once
// are bounded.
func TestWebhookOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		s := &server{answer: func(r *http.Request) (said, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			return says(200, "")(r)
		}}
		a := newAuthority(t, Config{Watch: Closed, Webhook: &Webhook{URL: "https://shop.example/may", Secret: "0123456789abcdef", Keep: maxKeep}})
		a.hook.client.Transport = s
		ask := func(ctx context.Context, token string) int {
			_, err := a.Decide(ctx, Request{Action: Play, Stream: "show", Token: token})
			return statusOf(t, err)
		}
		var wg sync.WaitGroup
		var good atomic.Int32
		leaving, leave := context.WithCancel(t.Context())
		for i := range 100 {
			ctx := t.Context()
			if i%2 == 0 {
				ctx = leaving
			}
			wg.Go(func() {
				if ask(ctx, "same") == 200 {
					good.Add(1)
				}
			})
		}
		synctest.Wait()
		leave()
		wg.Wait()
		if s.count() != 1 || good.Load() < 50 {
			t.Errorf("%d calls, %d of 100 got in", s.count(), good.Load())
		}
		var refused atomic.Int32
		for i := range 4 * maxCalls {
			wg.Go(func() {
				if ask(t.Context(), fmt.Sprint("token", i)) == 503 {
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		if most.Load() > maxCalls || refused.Load() == 0 {
			t.Errorf("%d calls at once, at most %d are wanted; %d gave up after %v", most.Load(), maxCalls, refused.Load(), askTime)
		}
	})
}

// TestWebhookQuestion: what is sent, and that it is signed as Standard Webhooks says.
func TestWebhookQuestion(t *testing.T) {
	for _, secret := range []string{"0123456789abcdef", "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="} { // the same
		var got webhookQuestion
		var header http.Header
		var redirected atomic.Bool
		at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			header = r.Header
			_ = json.Unmarshal(body, &got)
			sum := outbound.Signature([]byte("0123456789abcdef"), r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
			switch {
			case r.URL.Path == "/yes":
				redirected.Store(true)
			case r.Method != http.MethodPost || r.Header.Get("webhook-signature") != "v1,"+sum:
				w.WriteHeader(http.StatusUnauthorized)
			case got.Token == "moved":
				http.Redirect(w, r, "/yes", http.StatusTemporaryRedirect)
			default:
				_, _ = io.WriteString(w, `{"principal":"carol"}`)
			}
		}))
		a := newAuthority(t, Config{Watch: Closed, Webhook: &Webhook{URL: at.URL, Secret: secret, Keep: maxKeep}})
		q := Request{Action: Publish, Stream: "show", Protocol: "whip", Token: "session", Address: "203.0.113.7"}
		g, err := a.Decide(t.Context(), q)
		if err != nil || g.Principal != "user:carol" || !strings.HasPrefix(g.ID, "webhook:") || g.Permits(Publish, "other", time.Now()) == nil {
			t.Errorf("%+v, %v", g, err)
		}
		if want := (webhookQuestion{"publish", "show", "whip", "203.0.113.7", "session"}); got != want {
			t.Errorf("asked %+v, want %+v", got, want)
		}
		if header.Get("Content-Type") != "application/json" || header.Get("Authorization") != "" {
			t.Errorf("header %v", header)
		}
		q.Token = "moved"
		if _, err := a.Decide(t.Context(), q); statusOf(t, err) != 503 || redirected.Load() {
			t.Errorf("a redirect: %v, followed: %v", err, redirected.Load())
		}
		a.idle()
		at.Close()
	}
}
