package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newAuthority(t testing.TB, cfg Config) *Authority {
	t.Helper()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.idle)
	return a
}

// statusOf returns the HTTP status of a refusal, 200 for none.
func statusOf(t testing.TB, err error) int {
	t.Helper()
	if err == nil {
		return http.StatusOK
	}
	p, ok := errors.AsType[problem.Problem](err)
	if !ok || p.Title == "" || p.Detail == "" {
		t.Fatalf("error %#v, want a problem", err)
	}
	return p.Status
}

func TestPermits(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		name    string
		grant   Grant
		action  Action
		stream  string
		want    error
		explain string
	}{
		{"its stream", Grant{Actions: Publish, Streams: []Pattern{"a"}}, Publish, "a", nil, ""},
		{"another stream", Grant{Actions: Publish, Streams: []Pattern{"a"}}, Publish, "ab", errForbidden, ""},
		{"the beginning of its name", Grant{Actions: Publish, Streams: []Pattern{"ab"}}, Publish, "a", errForbidden, ""},
		{"another letter case", Grant{Actions: Publish, Streams: []Pattern{"a"}}, Publish, "A", errForbidden, ""},
		{"another action", Grant{Actions: Publish, Streams: []Pattern{"a"}}, Play, "a", errForbidden, ""},
		{"two actions", Grant{Actions: Publish | Play, Streams: []Pattern{"a"}}, Play, "a", nil, ""},
		{"a beginning", Grant{Actions: Play, Streams: []Pattern{"acme-*"}}, Play, "acme-1", nil, ""},
		{"another beginning", Grant{Actions: Play, Streams: []Pattern{"acme-*"}}, Play, "acm", errForbidden, ""},
		{"all", Grant{Actions: Play, Streams: []Pattern{"*"}}, Play, "x", nil, ""},
		{"the second pattern", Grant{Actions: Play, Streams: []Pattern{"a", "b*"}}, Play, "bc", nil, ""},
		{"no pattern", Grant{Actions: Play}, Play, "a", errForbidden, ""},
		{"no action", Grant{Streams: []Pattern{"*"}}, Play, "a", errForbidden, ""},
		{"admin does all", Grant{Actions: Admin, Streams: []Pattern{"a"}}, Publish, "a", nil, ""},
		{"admin of its streams", Grant{Actions: Admin, Streams: []Pattern{"a"}}, Publish, "b", errForbidden, ""},
		{"admin of any", Grant{Actions: Admin, Streams: []Pattern{"a"}}, Admin, "", nil, ""},
		{"no admin", Grant{Actions: Publish | Play, Streams: []Pattern{"*"}}, Admin, "", errForbidden, ""},
		{"still valid", Grant{Actions: Play, Streams: []Pattern{"a"}, Expires: now.Add(1)}, Play, "a", nil, ""},
		{"expired now (X5)", Grant{Actions: Play, Streams: []Pattern{"a"}, Expires: now}, Play, "a", errExpired, ""},
		{"the zero grant", Grant{}, Play, "a", errForbidden, ""},
	} {
		if got := tt.grant.Permits(tt.action, tt.stream, now); !errors.Is(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestActions(t *testing.T) {
	for text, want := range map[string]Action{"publish": Publish, "play publish": Publish | Play, "admin": Admin} {
		got, err := ParseActions(strings.Fields(text)...)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if again, err := ParseActions(got.Words()...); err != nil || again != got {
			t.Errorf("%q: written as %q and read as %v", text, got, again)
		}
	}
	for _, text := range []string{"", "Publish", "watch", "publish,play"} {
		if got, err := ParseActions(strings.Fields(text)...); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
	for _, bad := range [][]string{nil, {""}, {"a b"}, {"*a"}, {"a**"}, {"a/b"}, {strings.Repeat("a", 65)}, {"ä"}, {"a\n"}, make([]string, 101)} {
		if got, err := ParsePatterns(bad...); err == nil {
			t.Errorf("%.40q: %v, want an error", bad, got)
		}
	}
}

// TestToken: W74, X11 where a token may be, and which one counts.
func TestToken(t *testing.T) {
	for _, tt := range []struct{ name, header, target, want string }{
		{"nothing", "", "/whip/a", ""},
		{"bearer", "Bearer abc", "/whip/a", "abc"},
		{"bearer in another case", "bEARER abc", "/whip/a", "abc"},
		{"two spaces", "Bearer  abc", "/whip/a", "abc"},
		{"raw token", "abc", "/whip/a", "abc"},
		{"scheme only", "Bearer", "/whip/a", ""},
		{"another scheme", "Basic abc", "/whip/a", ""},
		{"in the path", "", "/hls/~abc/show/index.m3u8", "abc"},
		{"in the path alone", "", "/hls/~abc", "abc"},
		{"deeper in the path", "", "/hls/show/~abc/index.m3u8", ""},
		{"in the query", "", "/whep/a?x=y&token=abc", "abc"},
		{"encoded in the query", "", "/whep/a?token=a%2Bb%3D", "a+b="},
		{"broken in the query", "", "/whep/a?token=%zz", ""},
		{"of another name", "", "/whep/a?xtoken=abc", ""},
		{"the path first: caches keep answers by it", "Bearer abc", "/hls/~path/show/index.m3u8?token=query", "path"},
		{"also an empty one", "Bearer abc", "/hls/~/show/index.m3u8?token=query", ""},
		{"the header second", "Bearer abc", "/hls/show/index.m3u8?token=query", "abc"},
		{"another scheme, and the query", "Basic abc", "/whep/a?token=query", "query"},
	} {
		r := httptest.NewRequest(http.MethodGet, tt.target, nil)
		if tt.header != "" {
			r.Header.Set("Authorization", tt.header)
		}
		if got := Token(r); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/hls/show/index.m3u8", nil)
	r.RemoteAddr = "[::ffff:203.0.113.7]:1234"
	if q := Ask(r, Play, "hls", "show"); q != (Request{Action: Play, Stream: "show", Protocol: "hls", Address: "203.0.113.7"}) {
		t.Errorf("%+v", q)
	}
}

// keys of all kinds, made once for all tests.
type testKeys struct {
	rsa     *rsa.PrivateKey
	ec      *ecdsa.PrivateKey
	ed      ed25519.PrivateKey
	foreign *rsa.PrivateKey
}

var makeOnce = sync.OnceValues(func() (testKeys, error) {
	one, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return testKeys{}, err
	}
	two, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return testKeys{}, err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return testKeys{}, err
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return testKeys{one, ec, ed, two}, err
})

func makeKeys(t testing.TB) testKeys {
	t.Helper()
	keys, err := makeOnce()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// set returns the JSON Web Key Set of the keys.
func (k testKeys) set() []byte {
	point, err := k.ec.PublicKey.Bytes()
	if err != nil {
		panic(err) //nolint:forbidigo // a test's own key
	}
	text, err := json.Marshal(jwkSet{[]jwk{
		{Type: "RSA", ID: "r", Use: "sig", N: b64(k.rsa.N.Bytes()), E: b64(big.NewInt(int64(k.rsa.E)).Bytes())},
		{Type: "EC", ID: "e", Alg: "ES256", Curve: "P-256", X: b64(point[1:33]), Y: b64(point[33:])},
		{Type: "OKP", ID: "d", Curve: "Ed25519", X: b64(k.ed.Public().(ed25519.PublicKey))},
		{Type: "RSA", ID: "enc", Use: "enc", N: b64(k.foreign.N.Bytes()), E: "AQAB"},
		{Type: "oct", ID: "oct", K: b64(make([]byte, 32))},
	}})
	if err != nil {
		panic(err) //nolint:forbidigo // plain texts
	}
	return text
}

// signed makes a token as any library would.
func signed(t testing.TB, method jwt.SigningMethod, key any, kid string, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// with returns a copy of claims with some changed; nil removes.
func with(claims map[string]any, changes ...any) map[string]any {
	all := map[string]any{}
	maps.Copy(all, claims)
	for i := 0; i+1 < len(changes); i += 2 {
		name := changes[i].(string)
		if changes[i+1] == nil {
			delete(all, name)
			continue
		}
		all[name] = changes[i+1]
	}
	return all
}

// serveJSON serves fixed answers by path.
func serveJSON(t testing.TB, answers map[string]string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(server.Close)
	return server
}

// world is an Authority that knows credentials of all kinds.
type world struct {
	*Authority

	own    *Keyring
	other  *Keyring // of another gateway
	keys   testKeys
	issuer string
	calls  []webhookQuestion // of the webhook, in order
}

func newWorld(t testing.TB, watch Watch) *world {
	t.Helper()
	w := &world{keys: makeKeys(t)}
	answers := map[string]string{"/keys": string(w.keys.set())}
	issuer := serveJSON(t, answers)
	w.issuer = issuer.URL
	answers["/.well-known/openid-configuration"] = `{"issuer":"` + issuer.URL + `","jwks_uri":"` + issuer.URL + `/keys"}`
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var q webhookQuestion
		_ = json.NewDecoder(r.Body).Decode(&q)
		w.calls = append(w.calls, q)
		switch {
		case q.Token == "shop-session" && q.Stream == "show" && q.Action == "play":
			_, _ = rw.Write([]byte(`{"principal":"carol"}`))
		case q.Token == "shop-session":
			rw.WriteHeader(http.StatusForbidden)
		default:
			rw.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(hook.Close)
	folder := Folder(t.TempDir())
	var err error
	if w.own, err = folder.SigningKeyring(); err != nil {
		t.Fatal(err)
	}
	if w.other, err = Folder(t.TempDir()).SigningKeyring(); err != nil {
		t.Fatal(err)
	}
	w.Authority = newAuthority(t, Config{
		Token: "publish-token", Watch: watch, Folder: folder,
		Keys: []Key{
			{Name: "encoder", Hash: Hash("encoder-key"), Actions: Publish, Streams: []Pattern{"show"}},
			{Name: "cdn", Hash: Hash("cdn-key"), Actions: Play, Streams: []Pattern{"*"}},
			{Name: "ops", Hash: Hash("ops-key"), Actions: Admin, Streams: []Pattern{"show*"}},
		},
		JWKS:    &JWKS{Issuer: issuer.URL, Audience: "whipcast", Words: map[string]Action{"broadcaster": Publish}},
		Webhook: &Webhook{URL: hook.URL, Secret: "0123456789abcdef", Keep: 30 * time.Second},
	})
	return w
}

// mint makes a token of ours, as of some time ago.
func (w *world) mint(t testing.TB, k *Keyring, g Grant, age, ttl time.Duration) string {
	t.Helper()
	made := time.Now().Add(-age)
	g.Expires = made.Add(ttl)
	// Sign checks what it made, at the time of making.
	token, _, err := k.Sign(g, made)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestDecide is the table of credentials: kinds by actions by streams, valid ones and
// others. It holds for every protocol: none of them decides anything by itself.
func TestDecide(t *testing.T) {
	w := newWorld(t, Closed)
	publisher := Grant{Actions: Publish, Streams: []Pattern{"show"}, Principal: "alice"}
	claims := map[string]any{
		"iss": w.issuer, "aud": "whipcast", "sub": "bob", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"scope": "openid play", "streams": []string{"show"},
	}
	oct := signed(t, jwt.SigningMethodHS256, w.keys.set(), "r", claims)
	none := signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "r", claims)
	hour := func(g Grant) string { return w.mint(t, w.own, g, 0, time.Hour) }
	tampered := hour(publisher)
	tampered = tampered[:len(tampered)-6] + "AAAAAA"
	// Each row: what publish, play and admin of the stream "show", play of "other",
	// and the API as a whole are answered.
	for _, tt := range []struct {
		name, token string
		want        [5]int
	}{
		{"nothing", "", [5]int{401, 401, 401, 401, 401}},
		{"the publish token", "publish-token", [5]int{200, 200, 200, 200, 200}},
		{"a beginning of the publish token", "publish-toke", [5]int{401, 401, 401, 401, 401}},
		{"the publish token and more", "publish-token2", [5]int{401, 401, 401, 401, 401}},
		{"the hash of a key", Hash("encoder-key"), [5]int{401, 401, 401, 401, 401}},
		{"a key that publishes", "encoder-key", [5]int{200, 403, 403, 403, 403}},
		{"a key that plays all", "cdn-key", [5]int{403, 200, 403, 200, 403}},
		{"a key that is admin of some", "ops-key", [5]int{200, 200, 200, 403, 200}},
		{"own: publish", hour(publisher), [5]int{200, 403, 403, 403, 403}},
		{"own: play", hour(Grant{Actions: Play, Streams: []Pattern{"show"}}), [5]int{403, 200, 403, 403, 403}},
		{"own: play of a beginning", hour(Grant{Actions: Play, Streams: []Pattern{"sh*", "o*"}}), [5]int{403, 200, 403, 200, 403}},
		{"own: admin of all", hour(Grant{Actions: Admin, Streams: []Pattern{"*"}}), [5]int{200, 200, 200, 200, 200}},
		{"own: expired (X5)", w.mint(t, w.own, publisher, time.Hour, time.Hour-time.Minute), [5]int{401, 401, 401, 401, 401}},
		{"own: of another gateway", w.mint(t, w.other, publisher, 0, time.Hour), [5]int{401, 401, 401, 401, 401}},
		{"own: tampered", tampered, [5]int{401, 401, 401, 401, 401}},
		{"own: without key id", signed(t, jwt.SigningMethodHS256, w.own.sign.key, "", map[string]any{"iss": "whipcast", "aud": "whipcast", "jti": "x", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "act": "publish", "str": []string{"*"}}), [5]int{401, 401, 401, 401, 401}},
		{"own: without end", signed(t, jwt.SigningMethodHS256, w.own.sign.key, w.own.sign.id, map[string]any{"iss": "whipcast", "aud": "whipcast", "jti": "x", "iat": time.Now().Unix(), "act": "publish", "str": []string{"*"}}), [5]int{401, 401, 401, 401, 401}},
		{"own: of ten years", signed(t, jwt.SigningMethodHS256, w.own.sign.key, w.own.sign.id, map[string]any{"iss": "whipcast", "aud": "whipcast", "jti": "x", "iat": time.Now().Unix(), "exp": time.Now().Add(10 * MaxTTL).Unix(), "act": "publish", "str": []string{"*"}}), [5]int{401, 401, 401, 401, 401}},
		{"own: for another audience", signed(t, jwt.SigningMethodHS256, w.own.sign.key, w.own.sign.id, map[string]any{"iss": "whipcast", "aud": "else", "jti": "x", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "act": "publish", "str": []string{"*"}}), [5]int{401, 401, 401, 401, 401}},
		{"own: of another algorithm", signed(t, jwt.SigningMethodHS512, w.own.sign.key, w.own.sign.id, map[string]any{"iss": "whipcast", "aud": "whipcast", "jti": "x", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "act": "publish", "str": []string{"*"}}), [5]int{401, 401, 401, 401, 401}},
		{"own: of an action that there is not", signed(t, jwt.SigningMethodHS256, w.own.sign.key, w.own.sign.id, map[string]any{"iss": "whipcast", "aud": "whipcast", "jti": "x", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "act": "root", "str": []string{"*"}}), [5]int{401, 401, 401, 401, 401}},
		{"jwks: RS256", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", claims), [5]int{403, 200, 403, 403, 403}},
		{"jwks: PS256", signed(t, jwt.SigningMethodPS256, w.keys.rsa, "r", claims), [5]int{403, 200, 403, 403, 403}},
		{"jwks: ES256", signed(t, jwt.SigningMethodES256, w.keys.ec, "e", claims), [5]int{403, 200, 403, 403, 403}},
		{"jwks: EdDSA", signed(t, jwt.SigningMethodEdDSA, w.keys.ed, "d", claims), [5]int{403, 200, 403, 403, 403}},
		{"jwks: publish by a role", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "scope", []string{"broadcaster"})), [5]int{200, 403, 403, 403, 403}},
		{"jwks: admin", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "scope", "whipcast:admin", "streams", "*")), [5]int{200, 200, 200, 200, 200}},
		{"jwks: no scope", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "scope", nil)), [5]int{403, 403, 403, 403, 403}},
		{"jwks: no streams", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "streams", nil)), [5]int{403, 403, 403, 403, 403}},
		{"jwks: odd streams", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "streams", []string{"*", "../x"})), [5]int{403, 403, 403, 403, 403}},
		{"jwks: two audiences", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "aud", []string{"else", "whipcast"})), [5]int{403, 200, 403, 403, 403}},
		{"jwks: within the skew of a minute", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "exp", time.Now().Add(-40*time.Second).Unix())), [5]int{403, 200, 403, 403, 403}},
		{"jwks: wrong audience", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "aud", "else")), [5]int{401, 401, 401, 401, 401}},
		{"jwks: no audience", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "aud", nil)), [5]int{401, 401, 401, 401, 401}},
		{"jwks: expired", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "exp", time.Now().Add(-61*time.Second).Unix())), [5]int{401, 401, 401, 401, 401}},
		{"jwks: not yet", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "nbf", time.Now().Add(2*time.Minute).Unix())), [5]int{401, 401, 401, 401, 401}},
		{"jwks: without end", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "exp", nil)), [5]int{401, 401, 401, 401, 401}},
		{"jwks: without subject", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "sub", nil)), [5]int{401, 401, 401, 401, 401}},
		{"jwks: unknown key", signed(t, jwt.SigningMethodRS256, w.keys.foreign, "f", claims), [5]int{401, 401, 401, 401, 401}},
		{"jwks: foreign key under a known id", signed(t, jwt.SigningMethodRS256, w.keys.foreign, "r", claims), [5]int{401, 401, 401, 401, 401}},
		{"jwks: a key for encryption", signed(t, jwt.SigningMethodRS256, w.keys.foreign, "enc", claims), [5]int{401, 401, 401, 401, 401}},
		{"jwks: a secret key that was published", signed(t, jwt.SigningMethodHS256, make([]byte, 32), "oct", claims), [5]int{401, 401, 401, 401, 401}},
		{"jwks: no key id, several keys", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "", claims), [5]int{401, 401, 401, 401, 401}},
		{"jwks: another algorithm than the key's", signed(t, jwt.SigningMethodES256, w.keys.ec, "r", claims), [5]int{401, 401, 401, 401, 401}},
		{"jwks: a symmetric algorithm (RFC 8725 §2.1)", oct, [5]int{401, 401, 401, 401, 401}},
		{"jwks: no algorithm at all", none, [5]int{401, 401, 401, 401, 401}},
		{"jwks: another issuer", signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "iss", "https://else.example")), [5]int{401, 401, 401, 401, 401}},
		{"webhook: yes", "shop-session", [5]int{403, 200, 403, 403, 403}},
		{"webhook: unknown", "other-session", [5]int{401, 401, 401, 401, 401}},
		{"two dots", "a.b.c", [5]int{401, 401, 401, 401, 401}},
		{"long", strings.Repeat("x", maxToken+1), [5]int{401, 401, 401, 401, 401}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i, q := range []Request{
				{Action: Publish, Stream: "show"},
				{Action: Play, Stream: "show"},
				{Action: Admin, Stream: "show"},
				{Action: Play, Stream: "other"},
				{Action: Admin},
			} {
				for _, protocol := range []string{"whip", "whep", "hls", "api", "rtsp"} {
					q.Protocol, q.Token = protocol, tt.token
					g, err := w.Decide(t.Context(), q)
					if got := statusOf(t, err); got != tt.want[i] {
						t.Fatalf("%s of %q by %s: %d (%v), want %d", q.Action, q.Stream, protocol, got, err, tt.want[i])
					}
					if (g.Principal == "") != (err != nil) {
						t.Errorf("principal %q with error %v", g.Principal, err)
					}
					if err != nil && tt.token != "" && strings.Contains(err.Error(), tt.token) {
						t.Errorf("X37: the answer has the token: %v", err)
					}
				}
			}
		})
	}
	// What is not valid and looks like a token of an issuer is not shown to the webhook.
	for _, q := range w.calls {
		if strings.Count(q.Token, ".") == 2 && issuerOf(q.Token) == w.issuer || issuerOf(q.Token) == ownIssuer {
			t.Errorf("the webhook was asked about a token of an issuer: %+v", q)
		}
	}
}

// TestOpenWatch: while watching is open credentials mean nothing to it.
func TestOpenWatch(t *testing.T) {
	w := newWorld(t, Open)
	for _, token := range []string{"", "nonsense", "encoder-key"} {
		g, err := w.Decide(t.Context(), Request{Action: Play, Stream: "any", Token: token})
		if err != nil || g.Principal != "viewer" {
			t.Errorf("play with %q: %+v, %v", token, g, err)
		}
		if _, err := w.Decide(t.Context(), Request{Action: Publish, Stream: "any", Token: token}); err == nil {
			t.Errorf("publish with %q is permitted", token)
		}
	}
	if len(w.calls) > 1 {
		t.Errorf("the webhook was asked %d times", len(w.calls))
	}
}

// TestSameAnswer: X1 refusals are the same for all streams.
func TestSameAnswer(t *testing.T) {
	w := newWorld(t, Closed)
	for _, token := range []string{"", "wrong", "encoder-key"} {
		var first error
		for _, stream := range []string{"other", "another", "show2"} {
			_, err := w.Decide(t.Context(), Request{Action: Publish, Stream: stream, Token: token})
			if first == nil {
				first = err
			}
			if diff := cmp.Diff(first, err); diff != "" {
				t.Errorf("%q: answers differ between streams:\n%s", token, diff)
			}
		}
	}
}

// TestPrincipals: who asks is known by it later; no kind of credential can look like
// another one.
func TestPrincipals(t *testing.T) {
	w := newWorld(t, Closed)
	claims := map[string]any{
		"iss": w.issuer, "aud": "whipcast", "sub": "owner", "exp": time.Now().Add(time.Hour).Unix(), "scope": "publish", "streams": "*", "jti": "j1",
	}
	for token, want := range map[string]string{
		"publish-token": "owner owner",
		"encoder-key":   "key:encoder key:encoder",
		signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", claims):                   "user:owner j1",
		signed(t, jwt.SigningMethodRS256, w.keys.rsa, "r", with(claims, "jti", nil)): "user:owner user:owner",
	} {
		g, err := w.Decide(t.Context(), Request{Action: Publish, Stream: "show", Token: token})
		if err != nil || g.Principal+" "+g.ID != want {
			t.Errorf("%q: %s %s, %v; want %s", token, g.Principal, g.ID, err, want)
		}
	}
	token, g, err := w.own.Sign(Grant{Actions: Publish, Streams: []Pattern{"show"}, Expires: time.Now().Add(time.Hour)}, time.Now())
	if err != nil || g.Principal != "token:"+g.ID {
		t.Errorf("%+v, %v", g, err)
	}
	if id, expires := IDOf(token); id != g.ID || time.Until(expires) < 59*time.Minute {
		t.Errorf("id %q until %v, want %q", id, expires, g.ID)
	}
	if id, _ := IDOf("plain"); id != "plain" {
		t.Errorf("id %q", id)
	}
}

// TestRotation: the first key signs, the others verify, the ninth is gone.
func TestRotation(t *testing.T) {
	folder := Folder(filepath.Join(t.TempDir(), "new"))
	if k, err := folder.Keyring(); err != nil || k.sign != nil {
		t.Fatalf("without a file: %+v, %v", k, err)
	}
	k, err := folder.SigningKeyring()
	if err != nil {
		t.Fatal(err)
	}
	g := Grant{Actions: Play, Streams: []Pattern{"show"}, Expires: time.Now().Add(time.Hour)}
	first, _, err := k.Sign(g, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(folder.path(keysFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of the keys: %v, %v", info.Mode(), err)
	}
	a := newAuthority(t, Config{Watch: Closed, Folder: folder})
	good := func(token string) bool {
		_, err := a.Decide(t.Context(), Request{Action: Play, Stream: "show", Token: token})
		return err == nil
	}
	for i := range maxKeys {
		if !good(first) {
			t.Fatalf("after %d rotations the first token is not good any more", i)
		}
		if k, err = folder.Rotate(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.load(time.Now()); err != nil { // as Run does
			t.Fatal(err)
		}
		token, _, err := k.Sign(g, time.Now())
		if err != nil || !good(token) {
			t.Fatalf("after %d rotations a new token is not good: %v", i+1, err)
		}
	}
	if good(first) {
		t.Errorf("after %d rotations the first token is still good", maxKeys)
	}
}

// TestKeyring: keys that somebody else made: Ed25519, whole or only to verify.
func TestKeyring(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	whole := `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"` + b64(public) + `","d":"` + b64(private.Seed()) + `"}]}`
	half := `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"` + b64(public) + `"}]}`
	signs, err := ParseKeyring([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	verifies, err := ParseKeyring([]byte(half))
	if err != nil {
		t.Fatal(err)
	}
	g := Grant{Actions: Play, Streams: []Pattern{"show"}, Expires: time.Now().Add(time.Hour)}
	token, want, err := signs.Sign(g, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := verifies.verify(token, time.Now()); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	if _, _, err := verifies.Sign(g, time.Now()); err == nil {
		t.Error("half a key signs")
	}
	for _, ttl := range []time.Duration{0, -time.Hour, MaxTTL + time.Second} {
		if _, _, err := signs.Sign(Grant{Actions: Play, Streams: []Pattern{"*"}, Expires: time.Now().Add(ttl)}, time.Now()); err == nil {
			t.Errorf("a token of %v is signed", ttl)
		}
	}
	for name, text := range map[string]string{
		"not JSON":           "x",
		"a short key":        `{"keys":[{"kty":"oct","kid":"a","k":"` + b64(make([]byte, 31)) + `"}]}`,
		"no id":              `{"keys":[{"kty":"oct","k":"` + b64(make([]byte, 32)) + `"}]}`,
		"an id twice":        `{"keys":[{"kty":"oct","kid":"a","k":"` + b64(make([]byte, 32)) + `"},{"kty":"oct","kid":"a","k":"` + b64(make([]byte, 32)) + `"}]}`,
		"another algorithm":  `{"keys":[{"kty":"oct","kid":"a","alg":"HS512","k":"` + b64(make([]byte, 64)) + `"}]}`,
		"halves of two keys": `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"` + b64(public) + `","d":"` + b64(make([]byte, 32)) + `"}]}`,
		"another kind":       `{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}`,
		"nine keys":          `{"keys":[{},{},{},{},{},{},{},{},{}]}`,
	} {
		if _, err := ParseKeyring([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestRevocation: what was granted is taken back by token, principal or stream, also
// by another process, and over a restart.
func TestRevocation(t *testing.T) {
	folder := Folder(t.TempDir())
	k, err := folder.SigningKeyring()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Token: "publish-token", Watch: Closed, Folder: folder, Keys: []Key{{Name: "cdn", Hash: Hash("cdn-key"), Actions: Play, Streams: []Pattern{"*"}}}}
	a := newAuthority(t, cfg)
	mint := func(who, stream string, age time.Duration) (string, Grant) {
		made := time.Now().Add(-age)
		token, g, err := k.Sign(Grant{Actions: Play, Streams: []Pattern{Pattern(stream)}, Principal: who, Expires: made.Add(time.Hour)}, made)
		if err != nil {
			t.Fatal(err)
		}
		return token, g
	}
	one, grant := mint("alice", "show", 10*time.Second)
	two, _ := mint("alice", "show", 10*time.Second)
	bobs, _ := mint("bob", "show", 10*time.Second)
	other, _ := mint("bob", "other", 10*time.Second)
	status := func(a *Authority, token, stream string) int {
		_, err := a.Decide(t.Context(), Request{Action: Play, Stream: stream, Token: token})
		return statusOf(t, err)
	}
	expect := func(step string, a *Authority, want [5]int) {
		t.Helper()
		if got := [5]int{status(a, one, "show"), status(a, two, "show"), status(a, bobs, "show"), status(a, other, "other"), status(a, "cdn-key", "show")}; got != want {
			t.Errorf("%s: %v, want %v", step, got, want)
		}
	}
	expect("at first", a, [5]int{200, 200, 200, 200, 200})
	if a.Revoked(grant, "show") {
		t.Error("revoked before it was")
	}
	if err := a.Revoke(Revocation{Token: grant.ID, Until: grant.Expires}); err != nil {
		t.Fatal(err)
	}
	expect("one token", a, [5]int{401, 200, 200, 200, 200})
	if !a.Revoked(grant, "show") {
		t.Error("its sessions do not learn of it")
	}
	if err := a.Revoke(Revocation{Principal: "user:alice"}); err != nil {
		t.Fatal(err)
	}
	expect("a principal", a, [5]int{401, 401, 200, 200, 200})
	later, _ := mint("alice", "show", -2*time.Second)
	if got := status(a, later, "show"); got != 200 {
		t.Errorf("a token that alice got after it: %d", got)
	}
	if err := a.Revoke(Revocation{Stream: "show"}); err != nil {
		t.Fatal(err)
	}
	expect("a stream", a, [5]int{401, 401, 401, 200, 200})
	if err := a.Revoke(Revocation{Token: "key:cdn"}); err != nil {
		t.Fatal(err)
	}
	expect("a key", a, [5]int{401, 401, 401, 200, 401})
	expect("after a restart", newAuthority(t, cfg), [5]int{401, 401, 401, 200, 401})
	for _, bad := range []Revocation{{}, {Token: "a", Stream: "b"}, {Token: "owner"}, {Principal: "owner"}, {Token: strings.Repeat("x", 513)}} {
		if err := a.Revoke(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if s := a.Stats(); s.Revocations != 4 || s.Refused == 0 {
		t.Errorf("%+v", s)
	}
	if err := newAuthority(t, Config{Token: "x"}).Revoke(Revocation{Token: "a"}); err == nil {
		t.Error("a revocation that nothing keeps is taken")
	}
}

// TestRevocationFile: what another process, or a crash, leaves in it.
func TestRevocationFile(t *testing.T) {
	now := time.Now()
	line := func(id string, until time.Time) string {
		text, err := json.Marshal(Revocation{Token: id, At: now, Until: until})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, tt := range []struct {
		name, text string
		want       int // -1: an error
	}{
		{"nothing", "", 0},
		{"two, and empty lines", line("a", now.Add(time.Hour)) + "\n\n" + line("b", now.Add(time.Hour)) + "\n", 2},
		{"without the last end of line", line("a", now.Add(time.Hour)) + "\n" + line("b", now.Add(time.Hour)), 2},
		{"cut off", line("a", now.Add(time.Hour)) + "\n" + line("b", now.Add(time.Hour))[:20], 1},
		{"over", line("a", now.Add(-time.Hour)) + "\n", 0},
		{"nonsense", "nonsense\n" + line("a", now.Add(time.Hour)) + "\n", -1},
		{"two in one", `{"token":"a","stream":"b","until":"2999-01-01T00:00:00Z"}` + "\n", -1},
	} {
		folder := Folder(t.TempDir())
		if err := os.WriteFile(folder.path(revokedFile), []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := folder.Revocations(now)
		if (err != nil) != (tt.want < 0) || err == nil && len(all) != tt.want {
			t.Errorf("%s: %d, %v; want %d", tt.name, len(all), err, tt.want)
		}
		if _, err := New(Config{Token: "x", Folder: folder}); (err != nil) != (tt.want < 0) {
			t.Errorf("%s: a gateway starts with %v", tt.name, err)
		}
		if tt.want >= 0 { // more can be added to it
			if err := folder.Append(Revocation{Token: "more", At: now, Until: now.Add(time.Hour)}); err != nil {
				t.Error(err)
			}
			if all, err := folder.Revocations(now); tt.name != "cut off" && (err != nil || len(all) != tt.want+1) {
				t.Errorf("%s: with one more: %d, %v", tt.name, len(all), err)
			}
		}
	}
}

// TestRevocationsFull: one revocation more than can be kept is refused, so that what there
// is can still be read at the next start; when some are over there is room again.
func TestRevocationsFull(t *testing.T) {
	folder := Folder(t.TempDir())
	line := `{"token":"t","at":"2026-01-01T00:00:00Z","until":"2999-01-01T00:00:00Z"}` + "\n"
	if err := os.WriteFile(folder.path(revokedFile), []byte(strings.Repeat(line, maxRevoked)), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t, Config{Token: "x", Folder: folder})
	if err := a.Revoke(Revocation{Token: "one more"}); err == nil || !strings.Contains(err.Error(), revokedFile) {
		t.Errorf("one more: %v", err)
	}
	if !a.Revoked(Grant{ID: "t"}, "") {
		t.Error("those that there are do not count")
	}
	newAuthority(t, Config{Token: "x", Folder: folder}) // the next start
	if err := os.WriteFile(folder.path(revokedFile), []byte(strings.Repeat(line, 10)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Revoke(Revocation{Token: "one more"}); err != nil || !a.Revoked(Grant{ID: "one more"}, "") {
		t.Errorf("with room again: %v", err)
	}
}

// TestCompact: what is over leaves the file at a start, once that is most of it.
func TestCompact(t *testing.T) {
	folder := Folder(t.TempDir())
	now := time.Now()
	var b strings.Builder
	for i := range 1500 {
		until := now.Add(-time.Hour)
		if i%10 == 0 {
			until = now.Add(time.Hour)
		}
		text, _ := json.Marshal(Revocation{Token: "t" + big.NewInt(int64(i)).String(), At: now, Until: until})
		b.Write(text)
		b.WriteByte('\n')
	}
	if err := os.WriteFile(folder.path(revokedFile), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t, Config{Token: "x", Folder: folder})
	text, err := os.ReadFile(folder.path(revokedFile))
	if err != nil || strings.Count(string(text), "\n") != 150 || a.Stats().Revocations != 150 {
		t.Errorf("%d lines, %d in force, %v", strings.Count(string(text), "\n"), a.Stats().Revocations, err)
	}
}

// TestRun: what other processes do in the folder is seen within a second or two, and
// sessions are told of revocations, of ours as well.
func TestRun(t *testing.T) {
	folder := Folder(t.TempDir())
	a := newAuthority(t, Config{Token: "x", Watch: Closed, Folder: folder})
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}, 10), make(chan error, 1)
	go func() { done <- a.Run(ctx, func() { changed <- struct{}{} }) }()
	wait := func(what string) {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatal("nothing was told of " + what)
		}
	}
	k, err := folder.SigningKeyring() // as whipcast token
	if err != nil {
		t.Fatal(err)
	}
	token, g, err := k.Sign(Grant{Actions: Play, Streams: []Pattern{"show"}, Expires: time.Now().Add(time.Hour)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ask := func() int {
		_, err := a.Decide(t.Context(), Request{Action: Play, Stream: "show", Token: token})
		return statusOf(t, err)
	}
	if got := ask(); got != http.StatusOK { // at once: nobody waits for a token to become good
		t.Fatalf("the new signing key is not used: %d", got)
	}
	if err := folder.Append(Revocation{Token: g.ID, At: time.Now(), Until: g.Expires}); err != nil {
		t.Fatal(err)
	}
	wait("a revocation by another process")
	if got := ask(); got != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d", got)
	}
	if err := a.Revoke(Revocation{Stream: "show"}); err != nil {
		t.Fatal(err)
	}
	wait("our own revocation")
	// A file that cannot be used changes nothing.
	if err := os.WriteFile(folder.path(keysFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.load(time.Now()); err == nil {
		t.Error("a broken file is no error")
	}
	if _, err := a.keys.Load().verify(token, time.Now()); err != nil {
		t.Errorf("the keys are gone: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestHash(t *testing.T) {
	if _, err := ParseHash(Hash("x")); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "x", "sha256:", "sha256:zz", Hash("x") + "00", strings.TrimPrefix(Hash("x"), "sha256:"), "md5:" + Hash("x")[7:]} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := New(Config{Keys: []Key{{Name: "a", Hash: "x"}}}); err == nil {
		t.Error("a key with a bad hash is taken")
	}
}

// TestCache: it is bounded, whatever is put in.
func TestCache(t *testing.T) {
	var c cache[int]
	now := time.Unix(0, 0)
	key := func(i int) digest { return digest{byte(i), byte(i >> 8), byte(i >> 16)} }
	for i := range 3 * maxAnswers {
		c.put(key(i), i, now, now.Add(time.Minute))
		if n := c.size(); n > maxAnswers {
			t.Fatalf("%d entries", n)
		}
	}
	if v, ok := c.get(key(3*maxAnswers-1), now); !ok || v != 3*maxAnswers-1 {
		t.Errorf("the newest: %d, %v", v, ok)
	}
	if _, ok := c.get(key(3*maxAnswers-1), now.Add(time.Minute)); ok {
		t.Error("an old one is still there")
	}
	c.put(key(1), 1, now, now)
	if _, ok := c.get(key(1), now); ok && c.size() == 0 {
		t.Error("what is over at once is kept")
	}
}

// BenchmarkDecide: what each request for a part costs on a closed gateway.
func BenchmarkDecide(b *testing.B) {
	w := newWorld(b, Closed)
	for name, token := range map[string]string{
		"key": "cdn-key", "token": w.mint(b, w.own, Grant{Actions: Play, Streams: []Pattern{"show"}}, 0, time.Hour),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Decide(b.Context(), Request{Action: Play, Stream: "show", Protocol: "hls", Token: token}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzToken: whatever is shown, and wherever, nobody gets in by it.
func FuzzToken(f *testing.F) {
	w := newWorld(f, Closed)
	w.hook = nil
	good := w.mint(f, w.own, Grant{Actions: Play, Streams: []Pattern{"show"}}, 0, time.Hour)
	claims := map[string]any{"iss": w.issuer, "aud": "whipcast", "sub": "bob", "exp": time.Now().Add(time.Hour).Unix(), "scope": "play", "streams": "*"}
	theirs := signed(f, jwt.SigningMethodRS256, w.keys.rsa, "r", claims)
	for _, seed := range []string{
		"", "Bearer x", good, theirs, good[:len(good)-1], strings.Replace(good, ".", "..", 1), "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30.",
		"eyJhbGciOiJub25lIiwia2lkIjoiciJ9.eyJpc3MiOiJ3aGlwY2FzdCJ9.", "~", "%00", signed(f, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "r", claims),
	} {
		f.Add(seed, "/hls/~"+seed+"/show/index.m3u8", "token="+seed)
	}
	parts := func(token string) string { // header and claims: another signature of the same is no forgery
		i := strings.LastIndex(token, ".")
		return token[:max(i, 0)]
	}
	f.Fuzz(func(t *testing.T, header, path, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"] = []string{header}
		r.URL.Path, r.URL.RawQuery = path, query
		q := Ask(r, Play, "hls", "show")
		_, err := w.Decide(t.Context(), q)
		if err == nil && parts(q.Token) != parts(good) && parts(q.Token) != parts(theirs) && q.Token != "publish-token" && q.Token != "cdn-key" {
			t.Fatalf("%q gets in", q.Token)
		}
		if err != nil && statusOf(t, err) != http.StatusUnauthorized {
			t.Fatalf("%q: %v", q.Token, err)
		}
	})
}

// FuzzFiles: what is in the folder or comes from an issuer is read or refused.
func FuzzFiles(f *testing.F) {
	keys := makeKeys(f)
	f.Add(keys.set())
	f.Add([]byte(`{"keys":[{"kty":"oct","kid":"a","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AA","e":"AQAB"}]}`))
	f.Add([]byte(`{"token":"a","at":"2026-01-01T00:00:00Z","until":"2999-01-01T00:00:00Z"}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := ParseKeyring(text); err == nil && len(k.keys) > maxKeys {
			t.Fatalf("%d keys", len(k.keys))
		}
		if found, err := readKeys(text); err == nil && (len(found) == 0 || len(found) > jwksKeys) {
			t.Fatalf("%d keys", len(found))
		}
		now := time.Unix(1_800_000_000, 0)
		all, err := readRevocations(text, now)
		for _, r := range all {
			if err != nil || r.check() != nil || !now.Before(r.Until) {
				t.Fatalf("%+v, %v", r, err)
			}
		}
	})
}

func testLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
