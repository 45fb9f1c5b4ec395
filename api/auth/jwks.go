package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWKS is a company's own issuer of tokens: OpenID Connect, or anything that
// publishes a JSON Web Key Set.
type JWKS struct {
	Issuer   string // the tokens' iss
	Audience string // must be among their aud
	URL      string // of the key set; "": as the issuer's OpenID configuration says

	// Names of claims. A dot leads into an object: realm_access.roles.
	Principal string // default "sub"
	Actions   string // default "scope": words separated by spaces, or a list
	Streams   string // default "streams": patterns, likewise

	Words          map[string]Action // what other words of the actions claim mean
	DefaultActions Action            // of tokens without the actions claim
	DefaultStreams []Pattern         // of tokens without the streams claim
}

const (
	jwksSkew  = 60 * time.Second // specs X5
	jwksFresh = 15 * time.Minute
	jwksStale = 24 * time.Hour // for so long an issuer may be away
	jwksAgain = 30 * time.Second
	jwksBytes = 256 << 10
	jwksKeys  = 64
)

// remoteKeys is the key set of a JWKS, fetched when it is needed and kept.
type remoteKeys struct {
	cfg      JWKS
	client   *http.Client
	log      *slog.Logger
	flights  flights[keySet]
	failures atomic.Uint64

	mu    sync.Mutex
	set   keySet    // below mu: the newest
	tried time.Time // below mu: the last fetch, good or not
}

// keySet is immutable.
type keySet struct {
	keys    map[string]verifier // by kid
	fetched time.Time           // zero: never
}

func newRemoteKeys(cfg JWKS, log *slog.Logger) *remoteKeys {
	for at, name := range map[*string]string{&cfg.Principal: "sub", &cfg.Actions: "scope", &cfg.Streams: "streams"} {
		if *at == "" {
			*at = name
		}
	}
	return &remoteKeys{cfg: cfg, client: newClient(), log: log}
}

// verify returns what a token of the issuer grants.
func (r *remoteKeys) verify(ctx context.Context, token string, now time.Time) (Grant, error) {
	claims := jwt.MapClaims{}
	err := parse(token, claims, func(kid string) (verifier, error) { return r.key(ctx, kid, now) }, jwksSkew, now)
	if err != nil {
		return Grant{}, err
	}
	audience, err := claims.GetAudience()
	if err != nil || !slices.Contains(audience, r.cfg.Audience) || claims["iss"] != r.cfg.Issuer {
		return Grant{}, errWrong
	}
	return r.cfg.grant(claims)
}

// grant maps claims. What is not as it should be grants nothing.
func (c JWKS) grant(claims jwt.MapClaims) (Grant, error) {
	who, _ := claim(claims, c.Principal).(string)
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil || who == "" || len(who) > 256 {
		return Grant{}, errWrong
	}
	g := Grant{ID: "user:" + who, Principal: "user:" + who, Expires: expires.Add(jwksSkew), Actions: c.DefaultActions, Streams: c.DefaultStreams}
	if id, _ := claims["jti"].(string); id != "" && len(id) <= 256 {
		g.ID = id
	}
	if issued, err := claims.GetIssuedAt(); err == nil && issued != nil {
		g.Issued = issued.Time
	}
	if found := claim(claims, c.Actions); found != nil {
		g.Actions = 0
		for _, word := range list(found) {
			if action, ok := c.Words[word]; ok {
				g.Actions |= action
			} else if action, err := ParseActions(strings.TrimPrefix(word, "whipcast:")); err == nil {
				g.Actions |= action
			}
		}
	}
	if found := claim(claims, c.Streams); found != nil {
		if g.Streams, err = ParsePatterns(list(found)...); err != nil {
			g.Streams = nil
		}
	}
	return g, nil
}

// claim follows a path of names into claims.
func claim(claims map[string]any, path string) any {
	if found, ok := claims[path]; ok {
		return found
	}
	name, rest, deeper := strings.Cut(path, ".")
	if inner, ok := claims[name].(map[string]any); ok && deeper {
		return claim(inner, rest)
	}
	return nil
}

// list returns the words of a claim that is a text or a list of texts.
func list(claim any) []string {
	switch value := claim.(type) {
	case string:
		return strings.Fields(value)
	case []any:
		var all []string
		for _, one := range value {
			if word, ok := one.(string); ok {
				all = append(all, word)
			}
		}
		return all
	}
	return nil
}

// key returns the key of a kid. A set that is older than jwksFresh is fetched anew;
// if that fails it is used for a day. A kid that is not known is a reason to fetch,
// too, but not more often than twice a minute, whatever comes in.
func (r *remoteKeys) key(ctx context.Context, kid string, now time.Time) (verifier, error) {
	set, tried := r.state()
	v, known := set.find(kid)
	recent := !tried.IsZero() && now.Sub(tried) < jwksAgain
	switch {
	case known && (now.Sub(set.fetched) < jwksFresh || recent && now.Sub(set.fetched) < jwksStale):
		return v, nil
	case !known && recent && !set.fetched.IsZero():
		return verifier{}, errWrong
	}
	fresh, err := r.flights.do(ctx, digest{}, func() (keySet, error) { return r.refresh(ctx) })
	if err != nil {
		if known && now.Sub(set.fetched) < jwksStale {
			return v, nil
		}
		return verifier{}, errUnavailable
	}
	if v, known = fresh.find(kid); !known {
		return verifier{}, errWrong
	}
	return v, nil
}

func (r *remoteKeys) state() (keySet, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set, r.tried
}

// find returns the key of a kid; a token without one means the only key.
func (s keySet) find(kid string) (verifier, bool) {
	v, ok := s.keys[kid]
	if !ok && kid == "" && len(s.keys) == 1 {
		for _, v = range s.keys {
			ok = true
		}
	}
	return v, ok
}

// refresh fetches the set, unless that was tried a moment ago.
func (r *remoteKeys) refresh(ctx context.Context) (keySet, error) {
	set, tried := r.state()
	now := time.Now()
	if !tried.IsZero() && now.Sub(tried) < jwksAgain {
		if set.fetched.Equal(tried) {
			return set, nil
		}
		return keySet{}, errUnavailable
	}
	// Others wait for this, too: it does not end with the request that began it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	keys, err := r.download(ctx)
	if err != nil {
		r.failures.Add(1)
		r.log.WarnContext(ctx, "the key set of auth.jwks cannot be had: users of new keys are refused, of known ones for a day not", "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = now
	if err != nil {
		return keySet{}, errUnavailable
	}
	r.set = keySet{keys: keys, fetched: now}
	return r.set, nil
}

func (r *remoteKeys) download(ctx context.Context) (map[string]verifier, error) {
	at := r.cfg.URL
	if at == "" {
		var err error
		if at, err = r.discover(ctx); err != nil {
			return nil, err
		}
	}
	text, err := fetch(ctx, r.client, at, jwksBytes)
	if err != nil {
		return nil, fmt.Errorf("fetch key set: %w", err)
	}
	return readKeys(text)
}

// discover finds the key set (OpenID Connect Discovery 1.0 §4).
func (r *remoteKeys) discover(ctx context.Context) (string, error) {
	text, err := fetch(ctx, r.client, strings.TrimSuffix(r.cfg.Issuer, "/")+"/.well-known/openid-configuration", jwksBytes)
	if err != nil {
		return "", fmt.Errorf("fetch OpenID configuration: %w", err)
	}
	var found struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return "", errors.New("fetch OpenID configuration: not JSON")
	}
	switch {
	case found.Issuer != r.cfg.Issuer:
		return "", errors.New("fetch OpenID configuration: it is another issuer's")
	case !Safe(found.Keys):
		return "", errors.New("fetch OpenID configuration: its key set is not behind https")
	}
	return found.Keys, nil
}

// Safe reports whether a URL is behind TLS, or on this machine.
func Safe(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback())
}

// readKeys reads a key set. Keys of other kinds are passed over: a set may hold
// more than what is for us (RFC 7517 §5).
func readKeys(text []byte) (map[string]verifier, error) {
	var set jwkSet
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("read key set: not JSON")
	}
	keys := make(map[string]verifier)
	for _, one := range set.Keys {
		v, err := one.public()
		if err != nil {
			continue
		}
		if _, twice := keys[one.ID]; !twice && len(keys) < jwksKeys {
			keys[one.ID] = v
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("read key set: it has no key for signatures")
	}
	return keys, nil
}
