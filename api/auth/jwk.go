package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
)

// jwk is one key of a JSON Web Key Set (RFC 7517, RFC 7518 §6, RFC 8037 §2).
type jwk struct {
	Type  string `json:"kty"`
	ID    string `json:"kid,omitempty"`
	Use   string `json:"use,omitempty"`
	Alg   string `json:"alg,omitempty"`
	Curve string `json:"crv,omitempty"`
	K     string `json:"k,omitempty"`
	N     string `json:"n,omitempty"`
	E     string `json:"e,omitempty"`
	X     string `json:"x,omitempty"`
	Y     string `json:"y,omitempty"`
	D     string `json:"d,omitempty"`
}

// jwkSet is a JSON Web Key Set.
type jwkSet struct {
	Keys []jwk `json:"keys"`
}

// verifier is a key that signatures are checked by, and the algorithms that it is
// good for. An algorithm is never taken from the token alone (RFC 8725 §3.1).
type verifier struct {
	key     any
	methods []string
}

var (
	errNoSignatureKey = errors.New("no key for signatures of a known kind")
	errShortKey       = errors.New("a key is too short")
)

// public returns the verifier of an asymmetric key.
func (k jwk) public() (verifier, error) {
	if k.Use != "" && k.Use != "sig" {
		return verifier{}, errNoSignatureKey
	}
	v, err := verifier{}, errNoSignatureKey
	switch k.Type {
	case "RSA":
		v, err = k.rsa()
	case "EC":
		v, err = k.ec()
	case "OKP":
		v, err = k.ed25519()
	}
	if err != nil {
		return verifier{}, err
	}
	if k.Alg != "" { // the key is for this one only
		if !slices.Contains(v.methods, k.Alg) {
			return verifier{}, errNoSignatureKey
		}
		v.methods = []string{k.Alg}
	}
	return v, nil
}

func (k jwk) rsa() (verifier, error) {
	n, err := decode(k.N)
	if err != nil {
		return verifier{}, err
	}
	e, err := decode(k.E)
	if err != nil {
		return verifier{}, err
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	switch {
	case modulus.BitLen() < 2048: // RFC 7518 §3.3
		return verifier{}, errShortKey
	case modulus.BitLen() > 8192 || !exponent.IsInt64() || exponent.Int64() > math.MaxInt32 || exponent.Int64() < 3:
		return verifier{}, errNoSignatureKey
	}
	return verifier{
		&rsa.PublicKey{N: modulus, E: int(exponent.Int64())},
		[]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
	}, nil
}

func (k jwk) ec() (verifier, error) {
	curves := map[string]struct {
		curve  elliptic.Curve
		method string
	}{"P-256": {elliptic.P256(), "ES256"}, "P-384": {elliptic.P384(), "ES384"}, "P-521": {elliptic.P521(), "ES512"}}
	of, ok := curves[k.Curve]
	if !ok {
		return verifier{}, errNoSignatureKey
	}
	x, err := decode(k.X)
	if err != nil {
		return verifier{}, err
	}
	y, err := decode(k.Y)
	if err != nil {
		return verifier{}, err
	}
	size := (of.curve.Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size { // RFC 7518 §6.2.1.2
		return verifier{}, errNoSignatureKey
	}
	key, err := ecdsa.ParseUncompressedPublicKey(of.curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return verifier{}, fmt.Errorf("read key: %w", err)
	}
	return verifier{key, []string{of.method}}, nil
}

func (k jwk) ed25519() (verifier, error) {
	x, err := decode(k.X)
	if err != nil {
		return verifier{}, err
	}
	if k.Curve != "Ed25519" || len(x) != ed25519.PublicKeySize {
		return verifier{}, errNoSignatureKey
	}
	return verifier{ed25519.PublicKey(x), []string{"EdDSA"}}, nil
}

func decode(text string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, errors.New("a key's number is not base64url")
	}
	return b, nil
}
