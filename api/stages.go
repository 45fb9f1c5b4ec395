package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Stages are the shows that are made of several publishers. All methods may be called
// from any goroutine. Errors are Problems where who asks can do something about them.
type Stages interface {
	// Stages returns all. It must not wait.
	Stages() []Stage
	// SetStage makes a stage, or changes one, over restarts, too.
	SetStage(ctx context.Context, stage string, settings StageSettings) error
	RemoveStage(ctx context.Context, stage string) error
	Seats
	Views
}

// Seats changes who is on a stage, and what is seen of it.
type Seats interface {
	// AddSeat adds a seat with its invitation, which ends by until if that is not zero.
	AddSeat(ctx context.Context, stage string, wanted SeatRequest, until time.Time) (Invitation, error)
	// Invite makes a new invitation, and takes back the one before.
	Invite(ctx context.Context, stage, seat string, until time.Time) (Invitation, error)
	ChangeSeat(ctx context.Context, stage, seat string, change SeatChange) error
	RemoveSeat(ctx context.Context, stage, seat string) error
	// Cut has another seat's picture in the program from its next keyframe on; "": none.
	Cut(ctx context.Context, stage, seat string) error
}

// Views shows stages to those who are on them.
type Views interface {
	// View returns what a seat sees of its stage; "": all there is. It must not wait.
	View(stage, seat string) (StageView, error)
	// Changed waits until a stage is otherwise than in the version seen, and returns its
	// version. Errors are the context's, and that there is no such stage.
	Changed(ctx context.Context, stage string, seen uint64) (uint64, error)
}

// Stage is a show that is made of seats: what is on air of them is its program, a stream
// of the stage's name.
type Stage struct {
	Name    string  `json:"name" doc:"Of the stage, and of its program's stream."`
	Admit   string  `json:"admit" enum:"ask,auto" doc:"ask: guests wait until they are let in."`
	AutoCut string  `json:"auto_cut" enum:"off,speaker" doc:"speaker: the picture is that of who speaks."`
	Hold    float64 `json:"hold" doc:"How long a picture stays at least when it is cut so, in seconds."`
	Seats   []Seat  `json:"seats" nullable:"false"`
	Program Program `json:"program"`
}

// Program is what the audience sees and hears of a stage.
type Program struct {
	Live    bool   `json:"live"`
	Picture string `json:"picture,omitempty" doc:"The seat whose picture it has."`
	Cutting string `json:"cutting,omitempty" doc:"The seat whose keyframe is waited for."`
	Error   string `json:"error,omitempty" doc:"Why it has no new picture."`
	Rest    string `json:"rest,omitempty" doc:"Why the audience sees no picture that moves."`
}

// Seat is a place on a stage, which one publisher fills.
type Seat struct {
	Name      string     `json:"name"`
	Stream    string     `json:"stream" doc:"Its stream: that of its WHIP and WHEP."`
	Label     string     `json:"label" doc:"The name that people see."`
	Role      string     `json:"role" enum:"host,guest"`
	State     string     `json:"state" enum:"invited,waiting,backstage,on_air,left" doc:"on_air: heard in the program, unless muted. backstage: sees, hears and is heard by the others. waiting: not let in yet. left: its publisher is gone, and finds its place when it comes back."`
	Muted     bool       `json:"muted" doc:"Not heard in the program."`
	Picture   bool       `json:"picture" doc:"Its picture is in the program."`
	Connected bool       `json:"connected" doc:"Its stream is live."`
	Speaking  bool       `json:"speaking"`
	Level     float64    `json:"level" doc:"How loud it was of late, in dBFS; -127 is silence, or not known."`
	Since     time.Time  `json:"since" doc:"Of its state."`
	Expires   *time.Time `json:"expires,omitempty" doc:"Of its invitation; not told to seats."`
}

// StageView is what a seat, or the control room, sees of a stage.
type StageView struct {
	Stage   string  `json:"stage"`
	Me      *Seat   `json:"me,omitempty" doc:"Who asks; none for the control room."`
	Seats   []Seat  `json:"seats" nullable:"false" doc:"The others that it may play, or all for the control room."`
	Program Program `json:"program"`
}

// StageSettings say how a stage works.
type StageSettings struct {
	Admit   string  `json:"admit,omitempty" enum:"ask,auto" default:"ask" doc:"auto: guests are backstage at once."`
	AutoCut string  `json:"auto_cut,omitempty" enum:"off,speaker" default:"off" doc:"speaker: the picture is that of who speaks."`
	Hold    float64 `json:"hold,omitempty" minimum:"1" maximum:"60" default:"4" doc:"How long a picture stays at least when it is cut so, in seconds."`
}

// SeatRequest says which seat is wanted.
type SeatRequest struct {
	Seat  string  `json:"seat,omitempty" maxLength:"23" doc:"Its name: letters, digits, _ and -; by default a new one of its role."`
	Label string  `json:"label,omitempty" maxLength:"64" doc:"The name that people see; by default that of the seat."`
	Role  string  `json:"role,omitempty" enum:"host,guest" default:"guest"`
	TTL   float64 `json:"ttl,omitempty" minimum:"60" maximum:"31622400" default:"86400" doc:"How long the seat can be taken, in seconds; who has taken it keeps it for a day more. Nothing is valid longer than the token that asks."`
}

// SeatChange says what of a seat is to change.
type SeatChange struct {
	State *string `json:"state,omitempty" enum:"waiting,backstage,on_air" doc:"Of one that is not there: where it gets when it comes."`
	Muted *bool   `json:"muted,omitempty"`
	Label *string `json:"label,omitempty" minLength:"1" maxLength:"64"`
	Role  *string `json:"role,omitempty" enum:"host,guest"`
}

// Invitation is a seat with the link for who takes it.
type Invitation struct {
	Seat    Seat      `json:"seat"`
	URL     string    `json:"url" doc:"Path of the page, with the token."`
	Token   string    `json:"token" doc:"It is shown once, and kept nowhere."`
	Expires time.Time `json:"expires"`
}

// StageList is a page of stages.
type StageList struct {
	Stages []Stage `json:"stages" nullable:"false"`
	Next   string  `json:"next,omitempty" doc:"Cursor of the next page; none at the end."`
}

// Cut says whose picture the program is to have.
type Cut struct {
	Seat string `json:"seat" maxLength:"64" doc:"Empty: the program's picture rests."`
}

// StagePath is the name of a stage in a path. It is exported for huma, which fills no others that are embedded.
type StagePath struct {
	Stage string `path:"stage" doc:"Name of the stage."`
}

// SeatPath is the name of a seat in a path.
type SeatPath struct {
	StagePath
	Seat string `path:"seat" doc:"Name of the seat."`
}

type (
	stagesIn struct {
		Page
		Prefix string `query:"prefix" maxLength:"64" doc:"Only names that begin so."`
	}
	stagesOut struct{ Body StageList }
	stageIn   struct {
		StagePath
		Body StageSettings
	}
	stageOut struct{ Body Stage }
	seatIn   struct {
		StagePath
		Body SeatRequest
	}
	invitationOut struct{ Body Invitation }
	changeIn      struct {
		SeatPath
		Body SeatChange
	}
	seatOut struct{ Body Seat }
	cutIn   struct {
		StagePath
		Body Cut
	}
	cutOut  struct{ Body Cut }
	viewOut struct{ Body StageView }
)

func (s *Server) stageOperations(t *router) {
	add(t, operation{
		id: "listStages", method: http.MethodGet, path: "/v1/stages", tag: "Stages", scope: anyAdmin,
		summary: "All stages", codes: []Code{Malformed, Invalid},
	}, s.listStages)
	add(t, operation{
		id: "getStage", method: http.MethodGet, path: "/v1/stages/{stage}", tag: "Stages", scope: ofStage,
		summary: "One stage, with all its seats", codes: []Code{NoStage},
	}, func(_ context.Context, in *StagePath) (*stageOut, error) { return s.stage(in.Stage) })
	add(t, operation{
		id: "setStage", method: http.MethodPut, path: "/v1/stages/{stage}", tag: "Stages", scope: ofStage,
		summary: "Make a stage, or change its settings", codes: []Code{NoStage, SeatsLive, StagesFull},
	}, func(ctx context.Context, in *stageIn) (*stageOut, error) {
		if err := s.onStages(func(all Stages) error { return all.SetStage(ctx, in.Stage, in.Body) }); err != nil {
			return nil, err
		}
		return s.stage(in.Stage)
	})
	add(t, operation{
		id: "removeStage", method: http.MethodDelete, path: "/v1/stages/{stage}", tag: "Stages", scope: ofStage,
		summary: "End a stage: its seats are removed, its program ends", status: http.StatusNoContent, codes: []Code{NoStage},
	}, func(ctx context.Context, in *StagePath) (*struct{}, error) {
		return nil, s.onStages(func(all Stages) error { return all.RemoveStage(ctx, in.Stage) })
	})
	add(t, operation{
		id: "cut", method: http.MethodPost, path: "/v1/stages/{stage}/cut", tag: "Stages", scope: ofStage,
		summary: "Cut the program to a seat's picture, at its next keyframe", status: http.StatusAccepted, codes: []Code{NoStage, NoSeat, SeatAbsent},
	}, func(ctx context.Context, in *cutIn) (*cutOut, error) {
		return &cutOut{in.Body}, s.onStages(func(all Stages) error { return all.Cut(ctx, in.Stage, in.Body.Seat) })
	})
	s.seatOperations(t)
	s.viewOperations(t)
}

func (s *Server) seatOperations(t *router) {
	add(t, operation{
		id: "addSeat", method: http.MethodPost, path: "/v1/stages/{stage}/seats", tag: "Stages", scope: ofStage,
		summary: "Add a seat, and get the link for who takes it", status: http.StatusCreated, codes: []Code{NoStage, SeatExists, SeatsFull, Invalid},
	}, func(ctx context.Context, in *seatIn) (*invitationOut, error) {
		return s.invite(func(all Stages) (Invitation, error) {
			return all.AddSeat(ctx, in.Stage, in.Body, grantOf(ctx).Expires)
		})
	})
	add(t, operation{
		id: "invite", method: http.MethodPost, path: "/v1/stages/{stage}/seats/{seat}/invitation", tag: "Stages", scope: ofStage,
		summary: "Get a new link for a seat; the one before is taken back", status: http.StatusCreated, codes: []Code{NoStage, NoSeat},
	}, func(ctx context.Context, in *SeatPath) (*invitationOut, error) {
		return s.invite(func(all Stages) (Invitation, error) {
			return all.Invite(ctx, in.Stage, in.Seat, grantOf(ctx).Expires)
		})
	})
	add(t, operation{
		id: "changeSeat", method: http.MethodPatch, path: "/v1/stages/{stage}/seats/{seat}", tag: "Stages", scope: ofStage,
		summary: "Let a seat in, put it on air, mute it, name it", codes: []Code{NoStage, NoSeat},
	}, func(ctx context.Context, in *changeIn) (*seatOut, error) {
		if err := s.onStages(func(all Stages) error { return all.ChangeSeat(ctx, in.Stage, in.Seat, in.Body) }); err != nil {
			return nil, err
		}
		now, err := s.stage(in.Stage)
		if err != nil {
			return nil, err
		}
		for _, each := range now.Body.Seats {
			if each.Name == in.Seat {
				return &seatOut{each}, nil
			}
		}
		return nil, Refuse(NoSeat, "")
	})
	add(t, operation{
		id: "removeSeat", method: http.MethodDelete, path: "/v1/stages/{stage}/seats/{seat}", tag: "Stages", scope: ofStage,
		summary: "Remove a seat: its sessions end, its link is taken back", status: http.StatusNoContent, codes: []Code{NoStage, NoSeat},
	}, func(ctx context.Context, in *SeatPath) (*struct{}, error) {
		return nil, s.onStages(func(all Stages) error { return all.RemoveSeat(ctx, in.Stage, in.Seat) })
	})
}

func (s *Server) viewOperations(t *router) {
	add(t, operation{
		id: "viewStage", method: http.MethodGet, path: "/v1/stages/{stage}/view", tag: "Stages", scope: ofSeat,
		summary: "What a seat sees of its stage", codes: []Code{NoStage},
	}, func(ctx context.Context, in *StagePath) (*viewOut, error) {
		view, err := s.view(in.Stage, seatOf(ctx))
		return &viewOut{view}, err
	})
	const path = "/v1/stages/{stage}/events"
	add(t, operation{
		id: "watchStage", method: http.MethodGet, path: path, tag: "Stages", scope: ofSeat,
		summary: "What a seat sees of its stage, now and at each change, as server-sent events", codes: []Code{NoStage, Listeners},
	}, func(ctx context.Context, in *StagePath) (*huma.StreamResponse, error) {
		w, err := s.watcher(ctx, in.Stage)
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(c huma.Context) { //nolint:contextcheck // that of c is the request's
			_, answer := humago.Unwrap(c)
			w.serve(c.Context(), answer)
		}}, nil
	})
	t.api.OpenAPI().Paths[path].Get.Responses["200"] = &huma.Response{
		Description: "A stream of events called stage: data is a StageView as JSON.",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: t.api.OpenAPI().Components.Schemas.Schema(viewType(), true, "StageView")}},
	}
}

func (s *Server) listStages(ctx context.Context, in *stagesIn) (*stagesOut, error) {
	var all []row[Stage]
	if s.cfg.Stages != nil {
		for _, each := range s.cfg.Stages.Stages() {
			if stagedBy(grantOf(ctx), each.Name) && strings.HasPrefix(each.Name, in.Prefix) {
				all = append(all, row[Stage]{each.Name, each})
			}
		}
	}
	rows, next, err := cut(all, in.Page)
	return &stagesOut{StageList{rows, next}}, err
}

func (s *Server) stage(name string) (*stageOut, error) {
	if s.cfg.Stages != nil {
		for _, each := range s.cfg.Stages.Stages() {
			if each.Name == name {
				return &stageOut{each}, nil
			}
		}
	}
	return nil, Refuse(NoStage, "")
}

func (s *Server) onStages(change func(Stages) error) error {
	if s.cfg.Stages == nil {
		return Refuse(NoStage, "")
	}
	return change(s.cfg.Stages)
}

func (s *Server) invite(order func(Stages) (Invitation, error)) (*invitationOut, error) {
	var made Invitation
	err := s.onStages(func(all Stages) (err error) {
		made, err = order(all)
		return err
	})
	return &invitationOut{made}, err
}

func (s *Server) view(stage, seat string) (StageView, error) {
	if s.cfg.Stages == nil {
		return StageView{}, Refuse(NoStage, "")
	}
	return s.cfg.Stages.View(stage, seat)
}

// seatOf returns the seat that who asks has on a stage, "" for the control room.
func seatOf(ctx context.Context) string {
	_, seat, _ := strings.Cut(grantOf(ctx).Chair(), ".")
	return seat
}
