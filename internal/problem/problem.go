// Package problem writes errors as problem documents (RFC 9457).
//
// Every HTTP edge uses it, so that all errors of the gateway look alike. It
// knows no error of any other package: the edge decides the status.
package problem

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Problem is one error as an HTTP client sees it. Title names the thing,
// Detail says cause and remedy. Neither may echo a request body, a token or an
// internal address (specs X37).
type Problem struct {
	Status     int           // HTTP status code, 4xx or 5xx
	Code       string        // for programs, never changed; "": the title in lower case with hyphens
	Title      string        // short, the same for every occurrence
	Detail     string        // this occurrence: cause and remedy
	RetryAfter time.Duration // > 0: sent as Retry-After, rounded up to seconds
}

// Error makes a Problem usable as an error value.
func (p Problem) Error() string { return p.Title + ": " + p.Detail }

// Document is a Problem as it is sent.
type Document struct {
	Title  string `json:"title" doc:"Short, the same each time; for a person."`
	Status int    `json:"status" doc:"The status of the response."`
	Code   string `json:"code" doc:"For programs: it is never changed."`
	Detail string `json:"detail,omitempty" doc:"Cause and remedy, for a person."`
}

// Document returns what Write sends.
func (p Problem) Document() Document {
	code := p.Code
	if code == "" {
		code = strings.Join(strings.FieldsFunc(strings.ToLower(p.Title), func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9')
		}), "-")
	}
	return Document{Title: p.Title, Status: p.Status, Code: code, Detail: p.Detail}
}

// Write sends the problem. Headers that the caller set before stay as they
// are; Content-Type, Content-Length and nosniff are set here.
func (p Problem) Write(w http.ResponseWriter) {
	body, err := json.Marshal(p.Document())
	if err != nil { // plain fields always marshal
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
