// Package outbound has what requests to servers of others need: where they may go, a
// client that gives nothing away, and the signature that such a server checks.
//
// Who named the server decides where requests may go. What the operator wrote into
// the configuration is Chosen: it may be on a private network. What came in by a
// request is Strict: the public Internet only (specs X29). Both look at the address
// that is really dialled, after names are resolved, so that no name can change
// between check and use.
package outbound

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Config of a client.
type Config struct {
	Time  time.Duration // of a whole call; must be given
	Calls int           // at once, to one server
	Guard Guard         // nil: anywhere
}

// NewClient returns a client whose calls end in time, that follows no redirect, and
// of which no proxy of the environment sees anything (specs X6, X30). A redirect is
// the answer. Close its idle connections in the end.
func NewClient(cfg Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: cfg.Time, ControlContext: cfg.Guard}).DialContext,
			TLSHandshakeTimeout:    cfg.Time,
			ResponseHeaderTimeout:  cfg.Time,
			MaxResponseHeaderBytes: 16 << 10,
			MaxConnsPerHost:        cfg.Calls,
			MaxIdleConnsPerHost:    min(cfg.Calls, 8),
			IdleConnTimeout:        time.Minute,
			ForceAttemptHTTP2:      true,
		},
		Timeout:       cfg.Time,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Secret returns the bytes of a secret: what follows "whsec_" is base64, anything
// else is taken as it is.
func Secret(text string) []byte {
	if rest, ok := strings.CutPrefix(text, "whsec_"); ok {
		if raw, err := base64.StdEncoding.DecodeString(rest); err == nil {
			return raw
		}
	}
	return []byte(text)
}

// Sign sets the fields of Standard Webhooks, version 1: webhook-id, webhook-timestamp
// (at, in Unix seconds), and webhook-signature, which is "v1," and the HMAC-SHA256, in
// base64, of the two and the body, with dots between.
func Sign(h http.Header, secret []byte, id, at string, body []byte) {
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", at)
	h.Set("Webhook-Signature", "v1,"+Signature(secret, id, at, body))
}

// Signature returns the signature alone, in base64.
func Signature(secret []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	_, _ = io.WriteString(mac, id+"."+at+".") // a hash never fails
	_, _ = mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
