package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type storageIn struct {
	State string `query:"state" maxLength:"16" doc:"Only those in this state."`
	Page
}

type storageOut struct {
	Body StorageList
}

// StorageList is a page of storage places.
type StorageList struct {
	Storage []Storage `json:"storage" nullable:"false"`
	Next    string    `json:"next,omitempty" doc:"Cursor of the next page; none at the end."`
}

type configIn struct {
	Page
	Prefix string `query:"prefix" maxLength:"64" doc:"Only keys that begin so."`
}

type configOut struct {
	Body ConfigList
}

// ConfigList is a page of the configuration.
type ConfigList struct {
	Config []Setting `json:"config" nullable:"false"`
	Next   string    `json:"next,omitempty" doc:"Cursor of the next page; none at the end."`
}

type eventsIn struct {
	Type   string `query:"type" maxLength:"256" doc:"Only these types, with commas between."`
	Stream string `query:"stream" maxLength:"64" doc:"Only what is about this stream."`
	Last   string `header:"Last-Event-ID" maxLength:"20" doc:"Begin after this event, where it is still known."`
}

func (s *Server) gatewayOperations(t *router) {
	add(t, operation{
		id: "listStorage", method: http.MethodGet, path: "/v1/storage", tag: "Gateway", scope: wholeAdmin,
		summary: "How the storage places do", codes: []Code{Malformed, Invalid},
	}, func(_ context.Context, in *storageIn) (*storageOut, error) {
		var all []row[Storage]
		for _, one := range s.places() {
			if in.State == "" || in.State == one.State {
				all = append(all, row[Storage]{one.Name, one})
			}
		}
		rows, next, err := cut(all, in.Page)
		return &storageOut{StorageList{rows, next}}, err
	})
	add(t, operation{
		id: "listConfig", method: http.MethodGet, path: "/v1/config", tag: "Gateway", scope: wholeAdmin,
		summary: "The configuration in effect, without secrets", codes: []Code{Malformed, Invalid},
	}, func(_ context.Context, in *configIn) (*configOut, error) {
		var all []row[Setting]
		if s.cfg.Settings != nil {
			for _, one := range s.cfg.Settings() {
				if strings.HasPrefix(one.Key, in.Prefix) {
					all = append(all, row[Setting]{one.Key, one})
				}
			}
		}
		rows, next, err := cut(all, in.Page)
		return &configOut{ConfigList{rows, next}}, err
	})
	s.eventOperation(t)
}

func (s *Server) places() []Storage {
	if s.cfg.Storage == nil {
		return nil
	}
	return s.cfg.Storage()
}

func (s *Server) eventOperation(t *router) {
	add(t, operation{
		id: "listen", method: http.MethodGet, path: "/v1/events", tag: "Gateway", scope: anyAdmin,
		summary: "What happens, as server-sent events", codes: []Code{Listeners, Invalid, Malformed},
	}, func(ctx context.Context, in *eventsIn) (*huma.StreamResponse, error) {
		l, err := s.listener(ctx, in)
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(c huma.Context) { //nolint:contextcheck // that of c is the request's
			_, w := humago.Unwrap(c)
			l.serve(c.Context(), w)
		}}, nil
	})
	schema := t.api.OpenAPI().Components.Schemas
	one := schema.Schema(eventType(), true, "Event")
	get := t.api.OpenAPI().Paths["/v1/events"].Get
	get.Responses["200"] = &huma.Response{
		Description: "A stream of events: id, event (the type) and data (an Event as JSON). The event named missed says that some went by.",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: one}},
	}
}
