// Package ingest is what all doors for publishers share.
package ingest

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stream"
)

// Publish makes who offers the publisher of a Stream, and returns the Sources of the
// Offer's Layers, in its order; none if another publisher has come meanwhile. Errors
// are those of the Stream. Any goroutine may call it.
func Publish(hub *stream.Hub, name string, o stream.Offer) (*stream.Session, []*stream.Source, error) {
	for {
		s, err := hub.Stream(name)
		if err != nil {
			return nil, nil, err
		}
		session, err := s.Publish(o)
		if errors.Is(err, stream.ErrClosed) {
			continue // removed since we got it; the Hub makes a new one
		}
		if err != nil {
			return nil, nil, err
		}
		if state := s.State(); state.Epoch == session.Epoch() {
			return session, state.Sources, nil
		}
		return session, nil, nil
	}
}

// Refuse returns what a client is told of an error of Publish: a problem.Problem, if
// it can do something about it.
func Refuse(err error) error {
	switch {
	case errors.Is(err, stream.ErrBusy):
		return problem.Problem{
			Status: http.StatusConflict, Title: "Stream is busy",
			Detail: "somebody else publishes this stream: end that session first, or take another name",
		}
	case errors.Is(err, stream.ErrFull):
		return problem.Problem{
			Status: http.StatusServiceUnavailable, Title: "Too many streams",
			Detail: "the gateway has as many streams as it may: try again later", RetryAfter: 10 * time.Second,
		}
	case errors.Is(err, stream.ErrLayers):
		return problem.Problem{
			Status: http.StatusUnprocessableEntity, Title: "Offer not acceptable",
			Detail: "the offer has more layers than a stream may have",
		}
	default:
		return fmt.Errorf("publish: %w", err)
	}
}
