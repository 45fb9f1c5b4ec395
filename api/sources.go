package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stream"
)

// Errors of Sources.
var (
	ErrNoSource    = errors.New("no such source")
	ErrSourceFixed = errors.New("source is of the configuration")
	ErrSourcesFull = errors.New("too many sources")
	ErrSourceURL   = errors.New("not a URL of RTSP")
)

// Sources are the streams that are fetched from elsewhere. All methods may be
// called from any goroutine.
type Sources interface {
	// Sources returns how all do. It must not wait.
	Sources() []Source
	// SetSource has a stream fetched from now on, over restarts, too.
	SetSource(ctx context.Context, stream string, settings SourceSettings) error
	// RemoveSource ends that.
	RemoveSource(ctx context.Context, stream string) error
}

// Source is a stream that is fetched from elsewhere, as /v1/sources shows it. Its
// URL is not shown: it may have a password.
type Source struct {
	Stream string    `json:"stream"`
	State  string    `json:"state"` // "waiting", "connecting", "fetching" or "failing"
	Since  time.Time `json:"since"`
	Error  string    `json:"error,omitempty"` // of the last attempt
	Failed int       `json:"failed"`          // attempts in a row
}

// SourceSettings are what PUT /v1/sources/{stream} takes.
type SourceSettings struct {
	URL         string `json:"url"` // rtsp:// or rtsps://, with user and password where needed
	OnDemand    bool   `json:"on_demand,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"` // of the certificate behind rtsps://, SHA-256 in hex
}

// maxSettings bounds the body of a request.
const maxSettings = 8 << 10

// sources answers /v1/sources.
func (s *Server) sources(w http.ResponseWriter, r *http.Request, grant auth.Grant) {
	if !readOnly(w, r) {
		return
	}
	all := []Source{}
	if s.cfg.Sources != nil {
		for _, each := range s.cfg.Sources.Sources() {
			if grant.Permits(auth.Admin, each.Stream, time.Now()) == nil {
				all = append(all, each)
			}
		}
	}
	reply(w, r, map[string]any{"sources": all})
}

// source answers /v1/sources/{stream}, which an admin of that stream may change.
func (s *Server) source(w http.ResponseWriter, r *http.Request, name string) {
	err := s.changeSource(r, name)
	if _, ok := errors.AsType[methodError](err); ok {
		w.Header().Set("Allow", "PUT, DELETE")
	}
	if err != nil {
		refuse(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// methodError is a request whose method is not one of its path's.
type methodError struct{ problem.Problem }

// Unwrap returns what the client sees.
func (e methodError) Unwrap() error { return e.Problem }

func (s *Server) changeSource(r *http.Request, name string) error {
	asked := name
	if !stream.ValidName(name) {
		asked = ""
	}
	if _, err := s.auth.Decide(r.Context(), auth.Ask(r, auth.Admin, "api", asked)); err != nil {
		return err
	}
	switch {
	case asked == "":
		return stream.ErrName
	case s.cfg.Sources == nil:
		return ErrNoSource
	case r.Method == http.MethodDelete:
		return s.cfg.Sources.RemoveSource(r.Context(), name)
	case r.Method != http.MethodPut:
		return methodError{problem.Problem{Status: http.StatusMethodNotAllowed, Title: "method not allowed", Detail: "a source can be set by PUT and removed by DELETE; /v1/sources lists all"}}
	}
	var settings SourceSettings
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxSettings))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&settings); err != nil || decoder.More() {
		return problem.Problem{Status: http.StatusBadRequest, Title: "not readable", Detail: `send JSON such as {"url": "rtsp://user:password@camera.example.org/stream", "on_demand": true}`}
	}
	return s.cfg.Sources.SetSource(r.Context(), name, settings)
}
