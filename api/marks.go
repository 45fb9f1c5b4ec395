package api

import (
	"context"
	"net/http"

	"github.com/whipcast/whipcast/api/event"
)

// Marks is what puts markers and messages into a stream's presentation. Its errors are
// made by Refuse. Any goroutine may call it.
type Marks interface {
	Mark(ctx context.Context, stream string, m Marker) error
	Remove(ctx context.Context, stream, id string) error
	Send(ctx context.Context, stream string, m Message) error
}

type markIn struct {
	StreamPath
	Body Marker
}

type unmarkIn struct {
	StreamPath
	Marker string `path:"marker" doc:"ID of the marker."`
}

type sendIn struct {
	StreamPath
	Body Message
}

func (s *Server) markOperations(t *router) {
	add(t, operation{
		id: "setMarker", method: http.MethodPost, path: "/v1/streams/{stream}/markers", tag: "Markers and messages", scope: orPublisher,
		summary: "Mark a moment or a time in all playlists of a stream, or add to a marker", status: http.StatusNoContent,
		codes: []Code{NoStream, NotLive, MarkerRefused, MarkerConflict, MarkersFull},
	}, func(ctx context.Context, in *markIn) (*struct{}, error) {
		err := s.mark(in.Stream, func(m Marks) error { return m.Mark(ctx, in.Stream, in.Body) })
		if err == nil {
			s.events.Publish(event.MarkerSet, in.Stream, event.Marker{ID: in.Body.ID})
		}
		return nil, err
	})
	add(t, operation{
		id: "removeMarker", method: http.MethodDelete, path: "/v1/streams/{stream}/markers/{marker}", tag: "Markers and messages", scope: orPublisher,
		summary: "Take back a marker that has not begun", status: http.StatusNoContent,
		codes: []Code{NoStream, NotLive, MarkerRefused, MarkerConflict},
	}, func(ctx context.Context, in *unmarkIn) (*struct{}, error) {
		err := s.mark(in.Stream, func(m Marks) error { return m.Remove(ctx, in.Stream, in.Marker) })
		if err == nil {
			s.events.Publish(event.MarkerRemoved, in.Stream, event.Marker{ID: in.Marker})
		}
		return nil, err
	})
	add(t, operation{
		id: "sendMessage", method: http.MethodPost, path: "/v1/streams/{stream}/messages", tag: "Markers and messages", scope: orPublisher,
		summary: "Send a message to the players of a stream, in step with its media", status: http.StatusNoContent,
		codes: []Code{NoStream, NotLive, MessageRefused},
	}, func(ctx context.Context, in *sendIn) (*struct{}, error) {
		return nil, s.mark(in.Stream, func(m Marks) error { return m.Send(ctx, in.Stream, in.Body) })
	})
}

func (s *Server) mark(name string, do func(Marks) error) error {
	if _, err := s.find(name); err != nil {
		return err
	}
	if s.cfg.Marks == nil {
		return Refuse(NotLive, "")
	}
	return do(s.cfg.Marks)
}
