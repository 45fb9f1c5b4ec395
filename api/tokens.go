package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/stream"
)

type tokenIn struct {
	Body TokenRequest
}

type tokenOut struct {
	Body Token
}

type revocationsIn struct {
	Page
	Stream string `query:"stream" maxLength:"64" doc:"Only those of this stream."`
}

type revocationsOut struct {
	Body RevocationList
}

// RevocationList is a page of revocations.
type RevocationList struct {
	Revocations []Revocation `json:"revocations" nullable:"false"`
	Next        string       `json:"next,omitempty" doc:"Cursor of the next page; none at the end."`
}

type revokeIn struct {
	Body RevocationRequest
}

type revokeOut struct {
	Body Revocation
}

func (s *Server) tokenOperations(t *router) {
	add(t, operation{
		id: "makeToken", method: http.MethodPost, path: "/v1/tokens", tag: "Tokens", scope: anyAdmin,
		summary: "Make a token, at most for what one's own is for", status: http.StatusCreated, codes: []Code{TooMuch},
	}, s.makeToken)
	add(t, operation{
		id: "listRevocations", method: http.MethodGet, path: "/v1/revocations", tag: "Tokens", scope: anyAdmin,
		summary: "What was taken back", codes: []Code{Malformed, Invalid},
	}, s.listRevocations)
	add(t, operation{
		id: "revoke", method: http.MethodPost, path: "/v1/revocations", tag: "Tokens", scope: anyAdmin,
		summary: "Take back tokens: they are refused at once, and their sessions end", status: http.StatusCreated, codes: []Code{NotRevocable},
	}, s.revoke)
}

func (s *Server) makeToken(ctx context.Context, in *tokenIn) (*tokenOut, error) {
	mine := grantOf(ctx)
	wanted := auth.Grant{Principal: in.Body.Principal}
	var err error
	if wanted.Actions, err = auth.ParseActions(in.Body.Actions...); err != nil {
		return nil, Refuse(Invalid, "body.actions: "+err.Error())
	}
	if wanted.Streams, err = auth.ParsePatterns(in.Body.Streams...); err != nil {
		return nil, Refuse(Invalid, "body.streams: "+err.Error())
	}
	wanted.Expires = time.Now().Add(time.Duration(in.Body.Lifetime * float64(time.Second)))
	// Another principal may have sessions of its own, which a token of its name takes over.
	if !wanted.Within(mine) || wanted.Principal != "" && !mine.Everything() {
		return nil, Refuse(TooMuch, "")
	}
	text, made, err := s.auth.Issue(wanted)
	if err != nil {
		return nil, err
	}
	out := Token{Token: text, ID: made.ID, Principal: made.Principal, Actions: made.Actions.Words(), Streams: []string{}, Expires: wanted.Expires.UTC().Truncate(time.Second)}
	for _, p := range made.Streams {
		out.Streams = append(out.Streams, string(p))
	}
	return &tokenOut{out}, nil
}

func (s *Server) listRevocations(ctx context.Context, in *revocationsIn) (*revocationsOut, error) {
	list, err := s.auth.Revocations()
	if err != nil {
		return nil, err
	}
	var all []row[Revocation]
	for _, r := range list {
		if sees(grantOf(ctx), r.Stream) && (in.Stream == "" || in.Stream == r.Stream) {
			all = append(all, row[Revocation]{sortable(r.At) + r.Token + "/" + r.Principal + "/" + r.Stream, shown(r)})
		}
	}
	rows, next, err := cut(all, in.Page)
	return &revocationsOut{RevocationList{rows, next}}, err
}

func shown(r auth.Revocation) Revocation {
	return Revocation{Token: r.Token, Principal: r.Principal, Stream: r.Stream, At: r.At.UTC(), Until: r.Until.UTC()}
}

func (s *Server) revoke(ctx context.Context, in *revokeIn) (*revokeOut, error) {
	r := auth.Revocation{Token: in.Body.Token, Principal: in.Body.Principal, Stream: in.Body.Stream, At: time.Now()}
	r.Until = r.At.Add(auth.MaxTTL)
	switch {
	case r.Stream != "" && !stream.ValidName(r.Stream):
		return nil, Refuse(Invalid, "body.stream is not the name of a stream")
	case !sees(grantOf(ctx), r.Stream):
		return nil, Refuse(NotPermitted, "who may not use the API for all streams revokes the tokens of a stream of its own")
	}
	if r.Token != "" {
		var expires time.Time
		if r.Token, expires = auth.IDOf(r.Token); !expires.IsZero() {
			r.Until = expires.Add(time.Hour) // other clocks are no better than that
		}
	}
	if r.Principal != "" && !strings.Contains(r.Principal, ":") && r.Principal != "owner" {
		r.Principal = "user:" + r.Principal
	}
	if err := s.auth.Revoke(r); errors.Is(err, auth.ErrRevocation) {
		return nil, Refuse(NotRevocable, err.Error())
	} else if err != nil {
		return nil, err
	}
	s.events.Publish(event.TokensRevoked, r.Stream, event.Revocation{Token: r.Token, Principal: r.Principal, Stream: r.Stream})
	return &revokeOut{shown(r)}, nil
}
