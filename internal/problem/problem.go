// Package problem writes errors as problem documents (RFC 9457).
//
// Every HTTP edge uses it, so that all errors of the gateway look alike. It
// knows no error of any other package: the edge decides the status.
package problem

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Problem is one error as an HTTP client sees it. Title names the thing,
// Detail says cause and remedy. Neither may echo a request body, a token or an
// internal address (specs X37).
type Problem struct {
	Status     int           // HTTP status code, 4xx or 5xx
	Title      string        // short, the same for every occurrence
	Detail     string        // this occurrence: cause and remedy
	RetryAfter time.Duration // > 0: sent as Retry-After, rounded up to seconds
}

// Error makes a Problem usable as an error value.
func (p Problem) Error() string { return p.Title + ": " + p.Detail }

// Write sends the problem. Headers that the caller set before stay as they
// are; Content-Type, Content-Length and nosniff are set here.
func (p Problem) Write(w http.ResponseWriter) {
	body, err := json.Marshal(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{p.Title, p.Status, p.Detail})
	if err != nil { // three plain fields always marshal
		body = []byte("{}")
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((p.RetryAfter+time.Second-1)/time.Second), 10))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}
