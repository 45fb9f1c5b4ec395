package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	ownIssuer = "whipcast" // and audience: who makes our tokens, and whom they are for
	ownSkew   = 5 * time.Second
	// MaxTTL is how long a token can be valid: for so long its revocation is kept.
	MaxTTL = 366 * 24 * time.Hour
	// maxKeys is how many signing keys there are at once. A new one drives the last
	// one out, whose tokens end with it.
	maxKeys = 8
)

// Keyring holds the gateway's own keys for tokens. The first one that can sign does;
// all verify. It is immutable; its methods may be called from any goroutine.
type Keyring struct {
	set  jwkSet
	keys map[string]verifier // by kid
	sign *signer             // nil: none can
}

type signer struct {
	id     string
	method jwt.SigningMethod
	key    any
}

// ownClaims are the claims of our tokens.
type ownClaims struct {
	jwt.RegisteredClaims

	Actions string   `json:"act"` // words, separated by spaces
	Streams []string `json:"str"` // patterns
}

// ParseKeyring reads a JSON Web Key Set whose keys are "oct" of 256 bits or more, for
// HS256, or "OKP" with Ed25519, for EdDSA, each with a kid of its own. An Ed25519 key
// without its private half only verifies: somebody else signs.
func ParseKeyring(text []byte) (*Keyring, error) {
	var set jwkSet
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("read signing keys: not a JSON Web Key Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("read signing keys: %d keys, at most %d are kept", len(set.Keys), maxKeys)
	}
	k := &Keyring{set: set, keys: make(map[string]verifier)}
	for i, one := range set.Keys {
		v, s, err := one.own()
		if err != nil {
			return nil, fmt.Errorf("read signing key %d: %w", i+1, err)
		}
		if _, twice := k.keys[one.ID]; twice || one.ID == "" {
			return nil, fmt.Errorf("read signing key %d: it needs a kid of its own", i+1)
		}
		k.keys[one.ID] = v
		if k.sign == nil {
			k.sign = s
		}
	}
	return k, nil
}

// own returns what a key of ours verifies and signs with.
func (k jwk) own() (verifier, *signer, error) {
	switch {
	case k.Type == "oct" && (k.Alg == "" || k.Alg == "HS256"):
		secret, err := decode(k.K)
		if err != nil {
			return verifier{}, nil, err
		}
		if len(secret) < 32 { // RFC 7518 §3.2
			return verifier{}, nil, errShortKey
		}
		return verifier{secret, []string{"HS256"}}, &signer{k.ID, jwt.SigningMethodHS256, secret}, nil
	case k.Type == "OKP":
		v, err := k.public()
		if err != nil || k.D == "" {
			return v, nil, err
		}
		seed, err := decode(k.D)
		if err != nil || len(seed) != ed25519.SeedSize {
			return verifier{}, nil, errNoSignatureKey
		}
		private := ed25519.NewKeyFromSeed(seed)
		if !private.Public().(ed25519.PublicKey).Equal(v.key) { //nolint:forcetypeassert // its documented type
			return verifier{}, nil, errors.New("the halves of the key do not belong together")
		}
		return v, &signer{k.ID, jwt.SigningMethodEdDSA, private}, nil
	}
	return verifier{}, nil, errNoSignatureKey
}

// rotated returns the text of a set with a new key in front, which signs from now
// on. Tokens of the others stay valid while these are kept.
func (k *Keyring) rotated() ([]byte, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	fresh := jwk{Type: "oct", ID: rand.Text()[:8], Alg: "HS256", K: base64.RawURLEncoding.EncodeToString(secret)}
	all := append([]jwk{fresh}, k.set.Keys...)
	text, err := json.MarshalIndent(jwkSet{all[:min(len(all), maxKeys)]}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	return append(text, '\n'), nil
}

// Sign makes a token of a grant. Its ID, Principal and Issued are set here; a
// Principal that is given gets no prefix. The grant must expire within MaxTTL.
func (k *Keyring) Sign(g Grant, now time.Time) (string, Grant, error) {
	switch {
	case k.sign == nil:
		return "", Grant{}, errors.New("sign token: no key that can sign")
	case !g.Expires.After(now) || g.Expires.Sub(now) > MaxTTL:
		return "", Grant{}, fmt.Errorf("sign token: valid for %v; use more than 0 and at most %v", g.Expires.Sub(now), MaxTTL)
	}
	g.ID = rand.Text()[:16]
	streams := make([]string, 0, len(g.Streams))
	for _, p := range g.Streams {
		streams = append(streams, string(p))
	}
	token := jwt.NewWithClaims(k.sign.method, ownClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: ownIssuer, Audience: jwt.ClaimStrings{ownIssuer}, ID: g.ID, Subject: g.Principal,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(g.Expires),
		},
		Actions: g.Actions.String(), Streams: streams,
	})
	token.Header["kid"] = k.sign.id
	text, err := token.SignedString(k.sign.key)
	if err != nil {
		return "", Grant{}, fmt.Errorf("sign token: %w", err)
	}
	if len(text) > maxToken {
		return "", Grant{}, fmt.Errorf("sign token: %d bytes, at most %d are read; name fewer streams", len(text), maxToken)
	}
	signed, err := k.verify(text, now)
	return text, signed, err
}

// verify returns what a token of ours grants.
func (k *Keyring) verify(token string, now time.Time) (Grant, error) {
	var claims ownClaims
	err := parse(token, &claims, func(kid string) (verifier, error) {
		v, ok := k.keys[kid]
		if !ok {
			return verifier{}, errWrong
		}
		return v, nil
	}, ownSkew, now)
	if err != nil {
		return Grant{}, err
	}
	actions, err := ParseActions(strings.Fields(claims.Actions)...)
	if err != nil {
		return Grant{}, errWrong
	}
	streams, err := ParsePatterns(claims.Streams...)
	if err != nil {
		return Grant{}, errWrong
	}
	switch {
	case claims.Issuer != ownIssuer || !slices.Contains(claims.Audience, ownIssuer), claims.ID == "", claims.IssuedAt == nil:
		return Grant{}, errWrong
	case claims.ExpiresAt.Sub(claims.IssuedAt.Time) > MaxTTL+ownSkew:
		return Grant{}, errWrong
	}
	principal := "token:" + claims.ID
	if claims.Subject != "" {
		principal = "user:" + claims.Subject
	}
	return Grant{
		ID: claims.ID, Principal: principal, Actions: actions, Streams: streams,
		Issued: claims.IssuedAt.Time, Expires: claims.ExpiresAt.Add(ownSkew),
	}, nil
}

// parse checks form, signature and time of a token, in that order, and reads its
// claims. find returns the key of a kid. The error is errExpired, errWrong, or
// find's.
func parse(token string, into jwt.Claims, find func(kid string) (verifier, error), skew time.Duration, now time.Time) error {
	var missing error
	parser := jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithExpirationRequired(), jwt.WithLeeway(skew),
		jwt.WithTimeFunc(func() time.Time { return now }))
	_, err := parser.ParseWithClaims(token, into, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical { // RFC 7515 §4.1.11: nothing of it is understood here
			return nil, errWrong
		}
		kid, _ := t.Header["kid"].(string)
		v, err := find(kid)
		if err != nil {
			missing = err
			return nil, err
		}
		if !slices.Contains(v.methods, t.Method.Alg()) { // RFC 8725 §3.1
			return nil, errWrong
		}
		return v.key, nil
	})
	switch {
	case err == nil:
		return nil
	case missing != nil:
		return missing
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return errExpired
	}
	return errWrong
}

// issuerOf returns the issuer that a token names, unverified, or "" if it is no
// JSON Web Token.
func issuerOf(token string) string {
	if strings.Count(token, ".") != 2 {
		return ""
	}
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		// Such as one of an unknown algorithm, "none" included, or with odd claims: it
		// is a token all the same, and no riddle for the webhook.
		return "unreadable"
	}
	return claims.Issuer
}

// IDOf returns the id by which a token can be revoked, and when it expires, without
// checking it: it is for who revokes. Text that is no token of ours is an id itself.
func IDOf(text string) (string, time.Time) {
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(text, &claims); err != nil || claims.ID == "" || claims.ExpiresAt == nil {
		return text, time.Time{}
	}
	return claims.ID, claims.ExpiresAt.Time
}
