package api

import (
	"context"
	"errors"
	"net/http"
	"time"

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

// Source is a stream that is fetched from elsewhere. Its URL is not shown: it may have a
// password.
type Source struct {
	Stream string    `json:"stream"`
	State  string    `json:"state" enum:"waiting,connecting,fetching,failing"`
	Since  time.Time `json:"since"`
	Error  string    `json:"error,omitempty" doc:"Of the last attempt."`
	Failed int       `json:"failed" doc:"Attempts in a row."`
}

// SourceSettings say where a stream is fetched from.
type SourceSettings struct {
	URL         string `json:"url" minLength:"1" maxLength:"4096" doc:"rtsp:// or rtsps://, with user and password where needed."`
	OnDemand    bool   `json:"on_demand,omitempty" doc:"Only while somebody watches."`
	Fingerprint string `json:"fingerprint,omitempty" maxLength:"256" doc:"Of the certificate behind rtsps://, SHA-256 in hexadecimal digits."`
}

// SourceList is a page of sources.
type SourceList struct {
	Sources []Source `json:"sources" nullable:"false"`
	Next    string   `json:"next,omitempty" doc:"Cursor of the next page; none at the end."`
}

type sourcesIn struct {
	Page
	State string `query:"state" maxLength:"16" doc:"Only those in this state."`
}

type sourcesOut struct {
	Body SourceList
}

type sourceIn struct {
	StreamPath
	Body SourceSettings
}

func (s *Server) sourceOperations(t *router) {
	add(t, operation{
		id: "listSources", method: http.MethodGet, path: "/v1/sources", tag: "Sources", scope: anyAdmin,
		summary: "Streams that are fetched from elsewhere", codes: []Code{Malformed, Invalid},
	}, s.listSources)
	add(t, operation{
		id: "setSource", method: http.MethodPut, path: "/v1/sources/{stream}", tag: "Sources", scope: ofStream,
		summary: "Have a stream fetched from now on, over restarts, too", status: http.StatusNoContent,
		codes: []Code{NoStream, NoSource, SourceFixed, SourcesFull, SourceURL},
	}, func(ctx context.Context, in *sourceIn) (*struct{}, error) {
		return nil, s.changeSource(in.Stream, func(all Sources) error { return all.SetSource(ctx, in.Stream, in.Body) })
	})
	add(t, operation{
		id: "removeSource", method: http.MethodDelete, path: "/v1/sources/{stream}", tag: "Sources", scope: ofStream,
		summary: "Fetch a stream no longer", status: http.StatusNoContent, codes: []Code{NoStream, NoSource, SourceFixed},
	}, func(ctx context.Context, in *StreamPath) (*struct{}, error) {
		return nil, s.changeSource(in.Stream, func(all Sources) error { return all.RemoveSource(ctx, in.Stream) })
	})
}

func (s *Server) listSources(ctx context.Context, in *sourcesIn) (*sourcesOut, error) {
	var all []row[Source]
	if s.cfg.Sources != nil {
		for _, each := range s.cfg.Sources.Sources() {
			if sees(grantOf(ctx), each.Stream) && (in.State == "" || in.State == each.State) {
				all = append(all, row[Source]{each.Stream, each})
			}
		}
	}
	rows, next, err := cut(all, in.Page)
	return &sourcesOut{SourceList{rows, next}}, err
}

func (s *Server) changeSource(name string, change func(Sources) error) error {
	switch {
	case !stream.ValidName(name):
		return stream.ErrName
	case s.cfg.Sources == nil:
		return ErrNoSource
	}
	return change(s.cfg.Sources)
}
