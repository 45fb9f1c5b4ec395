package api

import (
	"context"
	"net/http"
	"time"
)

// Drainer empties the gateway before it stops. All methods may be called from any
// goroutine, and do not wait. Errors are made by Refuse.
type Drainer interface {
	// Drainage returns how that stands.
	Drainage() Drainage
	// Drain begins, or changes where new sessions go and how long publishers may stay.
	Drain(ctx context.Context, wanted DrainRequest) error
	// Resume takes it back: the gateway takes new sessions again.
	Resume(ctx context.Context) error
}

// DrainRequest says how the gateway is to be emptied.
type DrainRequest struct {
	To       *string  `json:"to,omitempty" maxLength:"300" doc:"Base URL of the gateway that new WHIP and WHEP sessions are sent to. By default drain.peer; empty: they are told to try again later."`
	Deadline *float64 `json:"deadline,omitempty" minimum:"0" maximum:"86400" doc:"Seconds from now after which publishers are ended; by default drain.deadline."`
}

// Drainage is how the emptying of the gateway stands.
type Drainage struct {
	Draining  bool       `json:"draining" doc:"New sessions are refused; the gateway stops when the last publisher has ended."`
	Over      bool       `json:"over,omitempty" doc:"The last publisher has ended and the gateway stops: it cannot be taken back."`
	To        string     `json:"to,omitempty" doc:"Where new sessions are sent."`
	Since     *time.Time `json:"since,omitempty"`
	Deadline  *time.Time `json:"deadline,omitempty" doc:"When publishers are ended."`
	Published []string   `json:"published" nullable:"false" doc:"Streams that are waited for, and that would be now: those that are published, but not fetched."`
	Viewers   int        `json:"viewers" doc:"Sessions that watch, which are ended last."`
}

type drainIn struct {
	Body *DrainRequest
}

type drainOut struct {
	Body Drainage
}

func (s *Server) drainOperations(t *router) {
	add(t, operation{
		id: "getDrain", method: http.MethodGet, path: "/v1/drain", tag: "Gateway", scope: wholeAdmin,
		summary: "Whether the gateway is being emptied, and who is still there",
	}, func(context.Context, *struct{}) (*drainOut, error) {
		if s.cfg.Drainer == nil {
			return &drainOut{Drainage{Published: []string{}}}, nil
		}
		return &drainOut{s.cfg.Drainer.Drainage()}, nil
	})
	add(t, operation{
		id: "drain", method: http.MethodPost, path: "/v1/drain", tag: "Gateway", scope: wholeAdmin,
		summary: "Empty the gateway: no new sessions, and it stops when the last publisher has ended; again to change how", status: http.StatusAccepted,
		codes: []Code{NoResource, DrainOver},
	}, func(ctx context.Context, in *drainIn) (*drainOut, error) {
		if s.cfg.Drainer == nil {
			return nil, Refuse(NoResource, "")
		}
		var wanted DrainRequest
		if in.Body != nil {
			wanted = *in.Body
		}
		if err := s.cfg.Drainer.Drain(ctx, wanted); err != nil {
			return nil, err
		}
		return &drainOut{s.cfg.Drainer.Drainage()}, nil
	})
	add(t, operation{
		id: "resume", method: http.MethodDelete, path: "/v1/drain", tag: "Gateway", scope: wholeAdmin,
		summary: "Take that back", status: http.StatusNoContent, codes: []Code{NotDraining, DrainOver},
	}, func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		if s.cfg.Drainer == nil {
			return nil, Refuse(NotDraining, "")
		}
		return nil, s.cfg.Drainer.Resume(ctx)
	})
}
