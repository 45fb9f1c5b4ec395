package api

import (
	"context"
	"net/http"
)

// The kinds of a Session.
const (
	Publishing = "publish"
	Watching   = "watch"
)

// The protocols of a Session.
const (
	WHIP = "whip"
	WHEP = "whep"
	RTSP = "rtsp"
)

// Sessions is what the API needs to know of sessions. Any goroutine may call it, and it
// must not wait.
type Sessions interface {
	All() []Session                // without Statistics
	One(id string) (Session, bool) // with them
	End(id string) bool            // false: there is none
	Reason(id string) string       // why one ended; "" if that is not known any more
}

type sessionsIn struct {
	Page
	Stream   string `query:"stream" maxLength:"64" doc:"Only those of this stream."`
	Kind     string `query:"kind" doc:"publish or watch: only those."`
	Protocol string `query:"protocol" doc:"whip, whep or rtsp: only those."`
}

type sessionsOut struct {
	Body SessionList
}

// SessionList is a page of sessions.
type SessionList struct {
	Sessions []Session `json:"sessions" nullable:"false"`
	Next     string    `json:"next,omitempty" doc:"Cursor of the next page; none at the end."`
}

type sessionPath struct {
	Session string `path:"session" doc:"ID of the session, as it is listed."`
}

type sessionOut struct {
	Body Session
}

func (s *Server) sessionOperations(t *router) {
	add(t, operation{
		id: "listSessions", method: http.MethodGet, path: "/v1/sessions", tag: "Sessions", scope: anyAdmin,
		summary: "All WHIP, WHEP and RTSP sessions", codes: []Code{Malformed, Invalid},
	}, s.listSessions)
	add(t, operation{
		id: "getSession", method: http.MethodGet, path: "/v1/sessions/{session}", tag: "Sessions", scope: anyAdmin,
		summary: "One session, with its statistics", codes: []Code{NoSession},
	}, func(ctx context.Context, in *sessionPath) (*sessionOut, error) {
		one, err := s.session(ctx, in.Session)
		return &sessionOut{one}, err
	})
	add(t, operation{
		id: "endSession", method: http.MethodDelete, path: "/v1/sessions/{session}", tag: "Sessions", scope: anyAdmin,
		summary: "End a session", status: http.StatusNoContent, codes: []Code{NoSession},
	}, func(ctx context.Context, in *sessionPath) (*struct{}, error) {
		one, err := s.session(ctx, in.Session)
		if err == nil && !s.cfg.Sessions.End(one.ID) {
			err = Refuse(NoSession, "")
		}
		return nil, err
	})
}

func (s *Server) listSessions(ctx context.Context, in *sessionsIn) (*sessionsOut, error) {
	if in.Kind != "" && in.Kind != Publishing && in.Kind != Watching {
		return nil, Refuse(Invalid, "query.kind is publish or watch")
	}
	if in.Protocol != "" && in.Protocol != WHIP && in.Protocol != WHEP && in.Protocol != RTSP {
		return nil, Refuse(Invalid, "query.protocol is whip, whep or rtsp")
	}
	var all []row[Session]
	if s.cfg.Sessions != nil {
		for _, one := range s.cfg.Sessions.All() {
			if sees(grantOf(ctx), one.Stream) && in.wants(one) {
				all = append(all, row[Session]{one.ID, one})
			}
		}
	}
	rows, next, err := cut(all, in.Page)
	return &sessionsOut{SessionList{rows, next}}, err
}

// wants applies the filters.
func (in *sessionsIn) wants(one Session) bool {
	return (in.Stream == "" || in.Stream == one.Stream) && (in.Kind == "" || in.Kind == one.Kind) &&
		(in.Protocol == "" || in.Protocol == one.Protocol)
}

// session returns one that who asks may see: others are none (specs X1).
func (s *Server) session(ctx context.Context, id string) (Session, error) {
	if s.cfg.Sessions != nil {
		if one, ok := s.cfg.Sessions.One(id); ok && sees(grantOf(ctx), one.Stream) {
			return one, nil
		}
	}
	return Session{}, Refuse(NoSession, "")
}
