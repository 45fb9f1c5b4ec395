package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stream"
)

// Code names a problem for programs. It is never changed.
type Code string

// The codes of the API's own problems. What they mean says Problems.
const (
	TokenNeeded      Code = "token-needed"
	WrongToken       Code = "wrong-token"
	TokenExpired     Code = "token-expired"
	TokenRevoked     Code = "token-revoked"
	NotPermitted     Code = "not-permitted"
	TokenUnchecked   Code = "token-unchecked"
	NoResource       Code = "no-such-resource"
	MethodNotAllowed Code = "method-not-allowed"
	Malformed        Code = "malformed-request"
	Invalid          Code = "invalid-request"
	NotJSON          Code = "not-json"
	TooLarge         Code = "body-too-large"
	TooSlow          Code = "body-too-slow"
	NoStream         Code = "no-such-stream"
	NoSession        Code = "no-such-session"
	NotLive          Code = "not-live"
	MarkerRefused    Code = "marker-refused"
	MarkerConflict   Code = "marker-conflict"
	MarkersFull      Code = "too-many-markers"
	MessageRefused   Code = "message-refused"
	NoArchive        Code = "nothing-is-kept"
	NoReplay         Code = "no-such-replay"
	ReplayLive       Code = "replay-not-ended"
	NoClip           Code = "no-such-clip"
	ClipExists       Code = "clip-exists"
	NoMedia          Code = "no-media"
	StorageFailed    Code = "storage-failed"
	NotRevocable     Code = "not-revocable"
	TooMuch          Code = "more-than-yours"
	NoSource         Code = "no-such-source"
	SourceFixed      Code = "source-of-the-configuration"
	SourcesFull      Code = "too-many-sources"
	SourceURL        Code = "not-a-source-url"
	ReportRate       Code = "too-many-reports"
	NoStage          Code = "no-such-stage"
	NoSeat           Code = "no-such-seat"
	SeatExists       Code = "seat-exists"
	SeatAbsent       Code = "seat-not-there"
	SeatsFull        Code = "too-many-seats"
	SeatsLive        Code = "seats-are-live"
	StagesFull       Code = "too-many-stages"
	Listeners        Code = "too-many-listeners"
	NotDraining      Code = "not-draining"
	DrainOver        Code = "drain-over"
	Internal         Code = "internal-error"
)

// Meaning is a row of the table of problems.
type Meaning struct {
	Code   Code
	Status int
	Title  string
	Detail string // cause and remedy, unless an occurrence has its own
	Retry  time.Duration
}

// Problems returns the table of all problems of the API, by status.
func Problems() []Meaning {
	return []Meaning{
		{Malformed, http.StatusBadRequest, "malformed request", "the body is not JSON, or the cursor is none of ours", 0},
		{TokenNeeded, http.StatusUnauthorized, "token needed", "send the header Authorization: Bearer and a token", 0},
		{WrongToken, http.StatusUnauthorized, "wrong token", "the gateway does not know this token", 0},
		{TokenExpired, http.StatusUnauthorized, "token expired", "ask for a new one", 0},
		{TokenRevoked, http.StatusUnauthorized, "token revoked", "ask for a new one", 0},
		{NotPermitted, http.StatusForbidden, "not permitted", "the token is valid, but not for this: it needs the action admin, and the stream", 0},
		{TooMuch, http.StatusForbidden, "more than yours", "nobody gives away more than it has: ask for streams, actions and a time that your own token has", 0},
		{NoResource, http.StatusNotFound, "no such resource", "openapi.json lists all there are", 0},
		{NoStream, http.StatusNotFound, "no such stream", "nobody publishes or published it lately; /v1/streams lists all", 0},
		{NoSession, http.StatusNotFound, "no such session", "it has ended; /v1/sessions lists all", 0},
		{NoReplay, http.StatusNotFound, "no such replay", "the list of the stream's replays has all there are", 0},
		{NoClip, http.StatusNotFound, "no such clip", "the list of the stream's clips has all there are", 0},
		{NoSource, http.StatusNotFound, "no such source", "/v1/sources lists all", 0},
		{NoStage, http.StatusNotFound, "no such stage", "/v1/stages lists all; PUT makes one, of a name of letters, digits, _ and -", 0},
		{NoSeat, http.StatusNotFound, "no such seat", "the stage lists its seats", 0},
		{NoMedia, http.StatusNotFound, "no media of that time", "nothing that is kept is of that time", 0},
		{MethodNotAllowed, http.StatusMethodNotAllowed, "method not allowed", "the header Allow says which are", 0},
		{TooSlow, http.StatusRequestTimeout, "body too slow", "send the body within some seconds", 0},
		{NotLive, http.StatusConflict, "nothing is live", "try again when the stream is published", 0},
		{MarkerConflict, http.StatusConflict, "marker contradicts", "a marker of this id says something else, or has begun: choose another id", 0},
		{ReplayLive, http.StatusConflict, "replay has not ended", "it can be deleted when its stream has ended", 0},
		{ClipExists, http.StatusConflict, "clip exists", "choose another name, or delete the clip", 0},
		{NoArchive, http.StatusConflict, "nothing is kept", "set keep of an entry of storage to forever, or to a time such as 24h", 0},
		{SourceFixed, http.StatusConflict, "source of the configuration", "this stream is in rtsp.pull: change it there", 0},
		{SourcesFull, http.StatusConflict, "too many sources", "remove one, or raise limits.streams", 0},
		{NotDraining, http.StatusConflict, "not draining", "there is nothing to take back", 0},
		{DrainOver, http.StatusConflict, "drain is over", "the last publisher has ended and the gateway stops: start it again", 0},
		{SeatExists, http.StatusConflict, "seat exists", "choose another name, or ask for a new invitation", 0},
		{SeatAbsent, http.StatusConflict, "seat is not there", "nobody publishes it: cut when it is connected", 0},
		{SeatsLive, http.StatusConflict, "a stream of this name and a dot is there", "end it first: it would become one of a seat, which is for those on the stage", 0},
		{SeatsFull, http.StatusConflict, "too many seats", "remove one", 0},
		{StagesFull, http.StatusConflict, "too many stages", "remove one", 0},
		{TooLarge, http.StatusRequestEntityTooLarge, "body too large", "at most 64 KiB are read", 0},
		{NotJSON, http.StatusUnsupportedMediaType, "not JSON", "send the body as application/json", 0},
		{Invalid, http.StatusUnprocessableEntity, "invalid request", "a parameter or a field of the body is not as openapi.json says", 0},
		{MarkerRefused, http.StatusUnprocessableEntity, "marker refused", "it would break the rules of playlists", 0},
		{MessageRefused, http.StatusUnprocessableEntity, "message refused", "it is too long, or due too late", 0},
		{NotRevocable, http.StatusUnprocessableEntity, "not revocable", "name one of token, principal and stream", 0},
		{SourceURL, http.StatusUnprocessableEntity, "not a URL of RTSP", "write it like rtsp://user:password@camera.example.org/stream, or rtsps://", 0},
		{ReportRate, http.StatusTooManyRequests, "too many reports", "report every ten seconds", 10 * time.Second},
		{MarkersFull, http.StatusTooManyRequests, "too many markers", "the playlist has no room: try again when some of them are over", 10 * time.Second},
		{Internal, http.StatusInternalServerError, "internal error", "the gateway's log has the cause", 0},
		{StorageFailed, http.StatusBadGateway, "storage failed", "the storage place did not do it: the gateway's log has the cause", 0},
		{TokenUnchecked, http.StatusServiceUnavailable, "token cannot be checked", "the server that knows this token does not answer: try again in a moment", 2 * time.Second},
		{Listeners, http.StatusServiceUnavailable, "too many listeners", "as many listen to events as may: try again later", 10 * time.Second},
	}
}

// Refuse returns the error that answers with a Code. detail is cause and remedy of
// this occurrence, "" for those of the table; it must not tell secrets.
func Refuse(code Code, detail string) error {
	for _, m := range Problems() {
		if m.Code == code {
			if detail == "" {
				detail = m.Detail
			}
			return problem.Problem{Status: m.Status, Code: string(code), Title: m.Title, Detail: detail, RetryAfter: m.Retry}
		}
	}
	return Refuse(Internal, "")
}

// problemOf is what a client sees of an error. One that is no Problem is 500 without
// its text, which may tell too much.
func problemOf(err error) problem.Problem {
	for _, row := range []struct {
		is     error
		code   Code
		detail string
	}{
		{stream.ErrName, NoStream, "a name is 1 to 64 letters, digits and . _ - beginning with a letter or digit"},
		{ErrNoSource, NoSource, ""},
		{ErrSourceFixed, SourceFixed, ""},
		{ErrSourcesFull, SourcesFull, ""},
		{ErrSourceURL, SourceURL, ""},
	} {
		if errors.Is(err, row.is) {
			err = Refuse(row.code, row.detail)
			break
		}
	}
	p, ok := errors.AsType[problem.Problem](err)
	if !ok {
		p, _ = errors.AsType[problem.Problem](Refuse(Internal, ""))
	}
	return p
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
