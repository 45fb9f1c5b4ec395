package rtc

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/whipcast/whipcast/internal/problem"
)

// Media types of the bodies.
const (
	typeSDP      = "application/sdp"
	typeFragment = "application/trickle-ice-sdpfrag"
	typeJSON     = "application/json"
)

// cors lets pages of any origin in: the bearer token is explicit, no cookie
// authenticates anything (specs X9). The headers are on every response, errors
// included, and none is "*" that browsers would not let cover Authorization
// (W83–W85).
func cors(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff") // specs X12
	h.Set("Referrer-Policy", "no-referrer")    // specs X4: the URL may have a token
	h.Set("Access-Control-Expose-Headers", "Location, ETag, Link, Retry-After, Accept-Post, Accept-Patch, WWW-Authenticate")
}

// options answers OPTIONS, preflight or not, without any check of credentials
// (RFC 9725 §4.2, §4.7.1).
func options(w http.ResponseWriter, allow string) {
	h := w.Header()
	h.Set("Allow", allow)
	h.Set("Access-Control-Allow-Methods", "POST, PATCH, DELETE, GET, HEAD, OPTIONS")
	// One SDK sends ETag where If-Match is meant (W40). The last two are what readers
	// of events send that are built on fetch.
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match, ETag, Cache-Control, Last-Event-ID")
	h.Set("Access-Control-Max-Age", "7200")
	w.WriteHeader(http.StatusOK)
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	problem.Problem{
		Status: http.StatusMethodNotAllowed, Title: "Method not allowed",
		Detail: "this resource allows " + allow,
	}.Write(w)
}

// fail sends an error. What is no Problem is our fault, and only logged in full.
func (g *Registry) fail(w http.ResponseWriter, r *http.Request, err error) {
	p, ok := errors.AsType[problem.Problem](err)
	if !ok {
		g.cfg.Logger.ErrorContext(r.Context(), "request failed", "method", r.Method, "error", err)
		p = problem.Problem{Status: http.StatusInternalServerError, Title: "Internal error", Detail: "the log has the reason"}
	}
	if p.Status == http.StatusUnauthorized { // RFC 6750 §3
		challenge := "Bearer"
		if r.Header.Get("Authorization") != "" {
			challenge = `Bearer error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	w.Header().Set("Cache-Control", "no-store")
	p.Write(w)
}

// contentType returns the media type without parameters, in lower case (specs W8).
func contentType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// readBody reads at most maxBody bytes. The error is a problem.Problem.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// MaxBytesReader also makes the server wait a little before it closes, so that
	// who sends megabytes can read the answer.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, problem.Problem{
			Status: http.StatusRequestEntityTooLarge, Title: "Body too long",
			Detail: "a session description, fragment or other body may have 64 KiB at most",
		}
	}
	return nil, problem.Problem{
		Status: http.StatusBadRequest, Title: "Body cut short",
		Detail: "the connection ended before the whole body had come",
	}
}

// authorize applies the configured rule of a direction.
func (g *Registry) authorize(d Direction, r *http.Request, stream string) (Caller, error) {
	if d == Send {
		return g.cfg.Watch(r, stream)
	}
	return g.cfg.Publish(r, stream)
}

// links returns the values of the Link headers (RFC 9725 §4.6).
func links(servers []ICEServer) []string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var all []string
	for _, s := range servers {
		link := "<" + s.URL + `>; rel="ice-server"`
		if s.Username != "" {
			link += `; username="` + quote.Replace(s.Username) + `"; credential="` + quote.Replace(s.Credential) + `"; credential-type="password"`
		}
		all = append(all, link)
	}
	return all
}
