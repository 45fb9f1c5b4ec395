package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/internal/watch"
)

// cast is the stage show, with three seats, and what its views say.
type cast struct {
	version watch.Value[uint64]

	mu    sync.Mutex
	level float64
	until time.Time
}

func (p *parts) Stages() []api.Stage {
	settings := func(name string) api.Stage {
		return api.Stage{Name: name, Admit: "ask", AutoCut: "off", Hold: 4, Seats: p.seats(), Program: api.Program{Live: true, Picture: "host"}}
	}
	return []api.Stage{settings("show"), settings("too")}
}

func (p *parts) seats() []api.Seat {
	p.cast.mu.Lock()
	defer p.cast.mu.Unlock()
	return []api.Seat{
		{Name: "host", Stream: "show.host", Label: "Host", Role: "host", State: "on_air", Picture: true, Connected: true, Level: p.cast.level},
		{Name: "ann", Stream: "show.ann", Label: "Ann", Role: "guest", State: "waiting", Level: -127},
	}
}

func (p *parts) SetStage(_ context.Context, stage string, _ api.StageSettings) error {
	if strings.Contains(stage, ".") {
		return api.Refuse(api.NoStage, "")
	}
	return outcome(stage)
}
func (p *parts) RemoveStage(_ context.Context, stage string) error { return outcome(stage) }

func (p *parts) AddSeat(_ context.Context, stage string, wanted api.SeatRequest, until time.Time) (api.Invitation, error) {
	p.cast.mu.Lock()
	p.cast.until = until
	p.cast.mu.Unlock()
	if err := outcome(stage); err != nil {
		return api.Invitation{}, err
	}
	return api.Invitation{Seat: p.seats()[1], URL: "/seat/show.ann#token=t", Token: "t", Expires: time.Now()}, outcome(wanted.Seat)
}

func (p *parts) Invite(ctx context.Context, stage, seat string, until time.Time) (api.Invitation, error) {
	return p.AddSeat(ctx, stage, api.SeatRequest{Seat: seat}, until)
}

func (p *parts) ChangeSeat(ctx context.Context, stage, seat string, _ api.SeatChange) error {
	return p.RemoveSeat(ctx, stage, seat)
}

func (p *parts) RemoveSeat(_ context.Context, stage, seat string) error {
	if err := outcome(stage); err != nil {
		return err
	}
	return outcome(seat)
}

func (p *parts) Cut(ctx context.Context, stage, seat string) error {
	return p.RemoveSeat(ctx, stage, seat)
}

func (p *parts) View(stage, seat string) (api.StageView, error) {
	if stage == "nothing" {
		return api.StageView{}, api.Refuse(api.NoStage, "")
	}
	view := api.StageView{Stage: stage, Seats: p.seats()}
	if seat != "" {
		view.Me, view.Seats = &p.seats()[1], p.seats()[:1]
	}
	return view, nil
}

func (p *parts) Changed(ctx context.Context, _ string, seen uint64) (uint64, error) {
	return p.cast.version.Wait(ctx, func(v uint64) bool { return v != seen })
}

func (p *parts) speak(level float64) {
	p.cast.mu.Lock()
	p.cast.level = level
	p.cast.mu.Unlock()
	p.cast.version.Update(func(v uint64) uint64 { return v + 1 })
}

// TestStageScope: who may do everything with a stage and its seats administers it, and
// a seat sees it, but no other one.
func TestStageScope(t *testing.T) {
	c := newContract(t, nil)
	issue := func(actions auth.Action, streams ...auth.Pattern) string {
		text, _, err := c.auth.Issue(auth.Grant{Actions: actions, Streams: streams, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	room := issue(auth.Admin, "show", "show.*")
	for _, x := range []exchange{
		{id: "getStage", path: "/v1/stages/show", token: room, status: 200},
		{id: "getStage", path: "/v1/stages/too", token: room, code: api.NotPermitted},
		{id: "getStage", path: "/v1/stages/too", token: "key-admin", status: 200}, // t*
		{id: "getStage", path: "/v1/stages/show", token: issue(auth.Admin, "show"), code: api.NotPermitted},
		{id: "getStage", path: "/v1/stages/show", token: issue(auth.Admin, "show.*"), code: api.NotPermitted},
		{id: "addSeat", path: "/v1/stages/show/seats", body: good("addSeat"), token: issue(auth.Admin, "show"), code: api.NotPermitted},
		{id: "listStages", path: "/v1/stages", token: room, has: `"name":"show"`, no: `"name":"too"`},
		{id: "listStages", path: "/v1/stages?prefix=t", token: token, has: `"name":"too"`, no: `"name":"show"`},
		{id: "viewStage", path: "/v1/stages/show/view", token: room, has: `"name":"ann"`, no: `"me"`},
		{id: "viewStage", path: "/v1/stages/show/view", token: issue(auth.Seat, "show.ann"), has: `"me":{"name":"ann"`},
		{id: "viewStage", path: "/v1/stages/too/view", token: issue(auth.Seat, "show.ann"), code: api.NotPermitted},
		{id: "viewStage", path: "/v1/stages/show/view", token: issue(auth.Seat, "show.*"), code: api.NotPermitted},
		{id: "viewStage", path: "/v1/stages/show/view", token: issue(auth.Seat|auth.Play, "show.ann"), code: api.NotPermitted},
		{id: "getStage", path: "/v1/stages/show", token: issue(auth.Seat, "show.ann"), code: api.NotPermitted},
		{id: "changeSeat", path: "/v1/stages/show/seats/ann", body: good("changeSeat"), token: issue(auth.Seat, "show.ann"), code: api.NotPermitted},
		{id: "addSeat", path: "/v1/stages/show/seats", body: good("addSeat"), token: room, status: 201, has: `"url":"/seat/show.ann#token=t"`},
	} {
		c.do(t, x)
	}
	// An invitation is not valid longer than the token that asks for it.
	if c.parts.cast.until.IsZero() || time.Until(c.parts.cast.until) > time.Hour+time.Minute {
		t.Errorf("until %v", c.parts.cast.until)
	}
}

// TestWatchStage: the view comes at once, and with each change.
func TestWatchStage(t *testing.T) {
	c := newContract(t, nil)
	server := httptest.NewServer(c.handler)
	defer server.Close()
	seat, grant, err := c.auth.Issue(auth.Grant{Actions: auth.Seat, Streams: []auth.Pattern{"show.ann"}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/stages/show/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+seat)
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	next := func() (api.StageView, bool) {
		event := ""
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "event: "):
				event = line
			case strings.HasPrefix(line, "data: "):
				var view api.StageView
				if err := json.Unmarshal([]byte(line[6:]), &view); err != nil || event != "event: stage" {
					t.Errorf("%s: %v: %s", event, err, line)
				}
				return view, true
			}
		}
		return api.StageView{}, false
	}
	if view, ok := next(); !ok || view.Me == nil || view.Me.Name != "ann" || len(view.Seats) != 1 {
		t.Fatalf("got %+v, %v", view, ok)
	}
	for _, level := range []float64{-20, -30} {
		c.parts.speak(level)
		if view, ok := next(); !ok || view.Seats[0].Level != level {
			t.Fatalf("got %+v, %v, want the level %v", view, ok, level)
		}
	}
	if err := c.auth.Revoke(auth.Revocation{Token: grant.ID}); err != nil {
		t.Fatal(err)
	}
	c.parts.speak(-40)
	if view, ok := next(); ok {
		t.Errorf("after the revocation: %+v", view)
	}
}
