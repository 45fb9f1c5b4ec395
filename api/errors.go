package api

import (
	"errors"
	"net/http"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stream"
)

// errNoStream says that no stream has the name that was asked for.
var errNoStream = errors.New("no such stream")

// problemOf is the table from errors to what a client sees. An error that it
// does not know is 500 without its text, which may tell too much.
func problemOf(err error) problem.Problem {
	if p, ok := errors.AsType[problem.Problem](err); ok {
		return p
	}
	for _, row := range []struct {
		is      error
		problem problem.Problem
	}{
		{errNoStream, problem.Problem{Status: http.StatusNotFound, Title: "no such stream", Detail: "nobody publishes or published it lately; /v1/streams lists all"}},
		{ErrNoSource, problem.Problem{Status: http.StatusNotFound, Title: "no such source", Detail: "/v1/sources lists all"}},
		{ErrSourceFixed, problem.Problem{Status: http.StatusConflict, Title: "source of the configuration", Detail: "this stream is in rtsp.pull: change it there"}},
		{ErrSourcesFull, problem.Problem{Status: http.StatusConflict, Title: "too many sources", Detail: "remove one, or raise limits.streams"}},
		{ErrSourceURL, problem.Problem{Status: http.StatusUnprocessableEntity, Title: "not a URL of RTSP", Detail: "write it like rtsp://user:password@camera.example.org/stream, or rtsps://"}},
		{stream.ErrName, problem.Problem{Status: http.StatusNotFound, Title: "no such stream", Detail: "a name is 1 to 64 letters, digits and . _ - beginning with a letter or digit"}},
	} {
		if errors.Is(err, row.is) {
			return row.problem
		}
	}
	return problem.Problem{Status: http.StatusInternalServerError, Title: "internal error", Detail: "the gateway's log has the cause"}
}

// refuse sends an error.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status == http.StatusUnauthorized { // RFC 6750 §3
		challenge := "Bearer"
		if auth.Token(r) != "" {
			challenge = `Bearer error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	p.Write(w)
}
