package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/api/event"
)

const (
	// maxListeners is how many may listen to events at once.
	maxListeners = 100
	// heartbeat is how often a listener hears something, so that nobody between closes
	// the connection and a listener that is gone is noticed.
	heartbeat = 15 * time.Second
	// listenTime is how long a listener may take to read what is sent. It is longer than
	// the pause between two heartbeats: HTTP/2 ends a stream when its deadline is over,
	// also when nothing is written.
	listenTime = 3 * heartbeat
)

func eventType() reflect.Type { return reflect.TypeFor[event.Event]() }

// listener is one request for events.
type listener struct {
	server *Server
	grant  auth.Grant
	events *event.Subscription
	types  []string // nil: all
	stream string   // "": all
}

func (s *Server) listener(ctx context.Context, in *eventsIn) (*listener, error) {
	l := &listener{server: s, grant: grantOf(ctx), stream: in.Stream}
	if in.Type != "" {
		l.types = strings.Split(in.Type, ",")
		for _, t := range l.types {
			if !slices.Contains(event.Types(), t) {
				return nil, Refuse(Invalid, "query.type: the types are "+strings.Join(event.Types(), ", "))
			}
		}
	}
	var after uint64
	if in.Last != "" {
		var err error
		if after, err = strconv.ParseUint(in.Last, 10, 64); err != nil {
			return nil, Refuse(Malformed, "Last-Event-ID is not the id of an event")
		}
	}
	if s.listeners.Add(1) > maxListeners {
		s.listeners.Add(-1)
		return nil, Refuse(Listeners, "")
	}
	l.events = s.events.Subscribe(after)
	return l, nil
}

// serve sends events until the listener goes, the server stops, or the token ends.
func (l *listener) serve(ctx context.Context, w http.ResponseWriter) {
	defer l.server.listeners.Add(-1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.server.life, cancel)() //nolint:contextcheck // the server's end is one of the request
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx passes each event on
	control := http.NewResponseController(w)
	text := ": events follow\n\n"
	for {
		// A ResponseWriter that knows no deadline is a test's.
		_ = control.SetWriteDeadline(time.Now().Add(listenTime))
		if _, err := w.Write([]byte(text)); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
		if text = l.next(ctx); text == "" {
			return
		}
	}
}

// next waits for what is to be sent; "" when nothing more is.
func (l *listener) next(ctx context.Context) string {
	beat, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	for {
		e, err := l.events.Next(beat)
		switch {
		case ctx.Err() != nil || !l.valid():
			return ""
		case errors.Is(err, event.ErrMissed):
			return "event: missed\ndata: {}\n\n"
		case err != nil:
			return ": still here\n\n"
		case !l.wants(e):
			continue
		}
		body, err := json.Marshal(e)
		if err != nil {
			continue // of no type of ours
		}
		return fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Type, body)
	}
}

// valid reports whether the token still counts.
func (l *listener) valid() bool {
	return !l.server.auth.Revoked(l.grant, "") && l.grant.Permits(auth.Admin, "", time.Now()) == nil
}

func (l *listener) wants(e event.Event) bool {
	return (l.types == nil || slices.Contains(l.types, e.Type)) && (l.stream == "" || l.stream == e.Stream) &&
		sees(l.grant, e.Stream) && !l.server.auth.Revoked(l.grant, e.Stream)
}
