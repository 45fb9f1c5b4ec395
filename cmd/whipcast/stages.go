package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/api/webhook"
	ingest "github.com/whipcast/whipcast/ingest/rtsp"
	"github.com/whipcast/whipcast/stage"
	"github.com/whipcast/whipcast/stage/mix"
	"github.com/whipcast/whipcast/stream"
)

// stagesFile is the file in the data directory that has the stages and their seats. It
// has no tokens, but their ids.
const stagesFile = "stages.json"

// keepSeat is how long who has taken a seat keeps it after the invitation: a show that
// lasts longer than its links must not lose its guests.
const keepSeat = 24 * time.Hour

// stages are the stages for the API and for who decides what a seat may do. Who decides
// is made before the stages: until then there are none.
type stages struct {
	hub   *stream.Hub
	set   atomic.Pointer[stage.Stages]
	path  string
	auth  *auth.Authority
	tell  func(stage.News)
	all   api.Sessions
	sweep func()
}

// openStages makes the stages that were kept.
func (g *gateway) openStages() error {
	s := g.stages
	s.hub, s.path, s.auth = g.hub, filepath.Join(g.config.DataDir, stagesFile), g.auth
	s.all, s.sweep = sessions{g.sessions, g.rtsp.server}, func() {
		g.sessions.Sweep()
		g.rtsp.sweep()
	}
	s.tell = g.tellStage
	kept, err := s.load()
	if err != nil {
		aside, failed := putAside(s.path)
		if failed != nil {
			return failed
		}
		g.log.Warn("stages of an earlier start are not there: their file was put aside; mend it, put it back and start again, or invite the guests anew", "file", aside, "error", err)
	}
	s.set.Store(stage.New(stage.Config{
		Grace: g.config.HLS.Grace, Mixer: newMixer, Keep: s.save, Tell: s.news, Logger: g.log,
	}, g.hub, kept))
	return nil
}

// putAside renames a file that cannot be read: the next change must not overwrite it.
func putAside(path string) (aside string, err error) {
	aside = path + ".unreadable"
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("keep what cannot be read: %w", err)
	}
	return aside, nil
}

// news tells of what happens, and ends the sessions that are permitted no longer.
func (s *stages) news(n stage.News) {
	s.tell(n)
	switch n.Kind {
	case stage.Made, stage.Moved, stage.Departed, stage.Removed:
		s.sweep()
	case stage.Changed, stage.Cast, stage.Joined, stage.CutTo:
	}
}

// tellStage publishes what happens on stages.
func (g *gateway) tellStage(n stage.News) {
	var kind, hook string
	var content any = event.Seat{
		Seat: n.Seat.Name, Label: n.Seat.Label, Role: string(n.Seat.Role), State: string(n.Seat.State), Before: string(n.Before), Muted: n.Seat.Muted,
	}
	switch n.Kind {
	case stage.Made, stage.Changed, stage.Cast, stage.Removed:
		kind, hook, content = event.StageChanged, webhook.StageChanged, event.Stage{Change: string(n.Kind)}
	case stage.Joined:
		kind, hook = event.SeatJoined, webhook.SeatJoined
	case stage.Departed:
		kind, hook = event.SeatLeft, webhook.SeatLeft
	case stage.Moved:
		kind, hook = event.SeatState, webhook.SeatState
	case stage.CutTo:
		kind, hook, content = event.ProgramCut, webhook.ProgramCut, event.Cut{Seat: n.Seat.Name}
	}
	g.events.Publish(kind, n.Stage, content)
	if g.webhooks.sender != nil {
		g.webhooks.sender.Post(webhook.Event{Type: hook, Stream: n.Stage, Time: time.Now().UTC(), Data: content})
	}
}

// load returns what an earlier start kept.
func (s *stages) load() ([]stage.Record, error) {
	content, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var kept []stage.Record
	if err == nil {
		err = json.Unmarshal(content, &kept)
	}
	if err != nil {
		return nil, fmt.Errorf("read stages: %w", err)
	}
	return kept, nil
}

// save writes how all stages are: a reader finds the old file or the new one.
func (s *stages) save(all []stage.Record) error {
	content, err := json.MarshalIndent(all, "", "  ")
	temporary := s.path + ".new"
	if err == nil {
		err = writeSynced(temporary, append(content, '\n'))
	}
	if err == nil {
		err = os.Rename(temporary, s.path)
	}
	if err != nil {
		return fmt.Errorf("write stages: %w", err)
	}
	return nil
}

// writeSynced writes a file that is there after a power cut, too.
func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// run makes the programs until ctx ends.
func (s *stages) run(ctx context.Context) error { return s.set.Load().Run(ctx) }

// Private implements auth.Stages.
func (s *stages) Private(name string) bool {
	of, _, ok := stage.Split(name)
	all := s.set.Load()
	return ok && all != nil && all.Has(of)
}

// Permits implements auth.Stages.
func (s *stages) Permits(seat string, action auth.Action, name string) bool {
	of, chair, ok := stage.Split(seat)
	all := s.set.Load()
	if !ok || all == nil {
		return false
	}
	if action == auth.Publish {
		return name == seat && all.Seated(of, chair)
	}
	return all.May(of, chair, name)
}

// expected reports whether a stream is to come: it is a stage's program, one of its seats,
// or fetched.
func (g *gateway) expected(name string) bool {
	of, seat, ok := stage.Split(name)
	return g.stages.program(name) || ok && g.stages.set.Load().Seated(of, seat) ||
		slices.ContainsFunc(g.rtsp.puller.Status(), func(s ingest.Status) bool { return s.Stream == name })
}

// program reports whether a stream is a stage's program.
func (s *stages) program(name string) bool {
	all := s.set.Load()
	return all != nil && all.Has(name)
}

// stageError is what the API says of an error of stages.
func stageError(err error, full api.Code) error {
	if errors.Is(err, stage.ErrName) {
		return api.Refuse(api.Invalid, "a stage has 1 to 40 letters, digits, _ and -, a seat 1 to 23, beginning with a letter or digit")
	}
	return refuse(err, refusal{stage.ErrStage, api.NoStage, false}, refusal{stage.ErrSeat, api.NoSeat, false},
		refusal{stage.ErrExists, api.SeatExists, false}, refusal{stage.ErrAbsent, api.SeatAbsent, false}, refusal{stage.ErrFull, full, false})
}

// Stages implements api.Stages.
func (s *stages) Stages() []api.Stage {
	all := []api.Stage{}
	for _, scene := range s.set.Load().Scenes() {
		all = append(all, stageOf(scene))
	}
	return all
}

// SetStage implements api.Stages.
func (s *stages) SetStage(_ context.Context, name string, wanted api.StageSettings) error {
	if live := s.published(name); live != "" {
		return api.Refuse(api.SeatsLive, "the stream "+live+" is published, or was of late, and who watches it goes on: end it, and make the stage when it is gone")
	}
	err := s.set.Load().Set(name, stage.Settings{
		Auto: wanted.Admit == "auto", Speaker: wanted.AutoCut == "speaker", Hold: time.Duration(wanted.Hold * float64(time.Second)),
	})
	return stageError(err, api.StagesFull)
}

// published returns a stream that would become one of a seat by making a stage; "" if
// there is none. It is a presentation that everybody may have, which does not change.
func (s *stages) published(name string) string {
	if s.set.Load().Has(name) {
		return ""
	}
	for _, one := range s.hub.Streams() {
		if of, _, ok := stage.Split(one.Name()); ok && of == name {
			return one.Name()
		}
	}
	return ""
}

// RemoveStage implements api.Stages.
func (s *stages) RemoveStage(ctx context.Context, name string) error {
	seats, err := s.set.Load().Remove(name)
	if errors.Is(err, stage.ErrStage) {
		return stageError(err, api.StagesFull)
	}
	for _, seat := range seats {
		err = errors.Join(err, s.evict(ctx, stage.StreamOf(name, seat.Name), seat.Invitation))
	}
	return err
}

// evict takes an invitation back, and ends all sessions of the seat's stream.
func (s *stages) evict(_ context.Context, name string, i stage.Invitation) error {
	err := s.revoke(i)
	for _, one := range s.all.All() {
		if one.Stream == name {
			s.all.End(one.ID)
		}
	}
	return err
}

func (s *stages) revoke(i stage.Invitation) error {
	end := i.Expires.Add(keepSeat)
	if i.ID == "" || time.Now().After(end) {
		return nil
	}
	return s.auth.Revoke(auth.Revocation{Token: i.ID, At: time.Now(), Until: end.Add(time.Hour)}) // other clocks are no better than that
}

// AddSeat implements api.Seats.
func (s *stages) AddSeat(_ context.Context, name string, wanted api.SeatRequest, until time.Time) (api.Invitation, error) {
	seat, err := s.set.Load().Add(name, wanted.Seat, wanted.Label, stage.Role(wanted.Role))
	if err != nil {
		return api.Invitation{}, stageError(err, api.SeatsFull)
	}
	made, err := s.invite(name, seat, time.Duration(wanted.TTL*float64(time.Second)), until)
	if err != nil {
		_, gone := s.set.Load().RemoveSeat(name, seat)
		err = errors.Join(err, gone)
	}
	return made, err
}

// Invite implements api.Seats.
func (s *stages) Invite(_ context.Context, name, seat string, until time.Time) (api.Invitation, error) {
	now, _, err := s.set.Load().View(name, seat)
	if err != nil {
		return api.Invitation{}, stageError(err, api.SeatsFull)
	}
	return s.invite(name, seat, now.Invitation.TTL, until)
}

// invite makes a token for a seat, and takes the one before back.
func (s *stages) invite(name, seat string, ttl time.Duration, until time.Time) (api.Invitation, error) {
	full := stage.StreamOf(name, seat)
	expires := time.Now().Add(ttl).Truncate(time.Second)
	end := expires.Add(keepSeat)
	if !until.IsZero() { // not longer than the token that asks
		until = until.Truncate(time.Second)
		expires, end = earlier(expires, until), earlier(end, until)
	}
	token, grant, err := s.auth.Issue(auth.Grant{
		Actions: auth.Seat, Streams: []auth.Pattern{auth.Pattern(full)}, Principal: "seat:" + full, Expires: end,
	})
	if err != nil {
		return api.Invitation{}, err
	}
	before, err := s.set.Load().Invite(name, seat, stage.Invitation{ID: grant.ID, Expires: expires, TTL: ttl})
	if err == nil {
		err = s.revoke(before)
	}
	if err != nil {
		return api.Invitation{}, stageError(err, api.SeatsFull)
	}
	now, _, err := s.set.Load().View(name, seat)
	if err != nil {
		return api.Invitation{}, stageError(err, api.SeatsFull)
	}
	return api.Invitation{Seat: wholeSeatOf(name, now), URL: "/seat/" + full + "#token=" + token, Token: token, Expires: expires.UTC()}, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// ChangeSeat implements api.Seats.
func (s *stages) ChangeSeat(_ context.Context, name, seat string, wanted api.SeatChange) error {
	c := stage.Change{Muted: wanted.Muted, Label: wanted.Label}
	if wanted.State != nil {
		state := stage.State(*wanted.State)
		c.State = &state
	}
	if wanted.Role != nil {
		role := stage.Role(*wanted.Role)
		c.Role = &role
	}
	return stageError(s.set.Load().Change(name, seat, c), api.SeatsFull)
}

// RemoveSeat implements api.Seats.
func (s *stages) RemoveSeat(ctx context.Context, name, seat string) error {
	was, err := s.set.Load().RemoveSeat(name, seat)
	if err != nil {
		return stageError(err, api.SeatsFull)
	}
	return s.evict(ctx, stage.StreamOf(name, seat), was.Invitation)
}

// Cut implements api.Seats.
func (s *stages) Cut(_ context.Context, name, seat string) error {
	return stageError(s.set.Load().Cut(name, seat), api.SeatsFull)
}

// View implements api.Views.
func (s *stages) View(name, seat string) (api.StageView, error) {
	if seat == "" {
		scene, err := s.set.Load().Scene(name)
		if err != nil {
			return api.StageView{}, stageError(err, api.StagesFull)
		}
		all := stageOf(scene)
		return api.StageView{Stage: name, Seats: all.Seats, Program: all.Program}, nil
	}
	me, scene, err := s.set.Load().View(name, seat)
	if err != nil {
		return api.StageView{}, stageError(errors.Join(stage.ErrStage, err), api.StagesFull) // it has no seat there
	}
	if me.Lapsed(time.Now()) {
		return api.StageView{}, stageError(stage.ErrStage, api.StagesFull)
	}
	mine := seatOf(name, me)
	view := api.StageView{Stage: name, Me: &mine, Seats: []api.Seat{}, Program: programOf(scene.Program)}
	for _, other := range scene.Seats {
		view.Seats = append(view.Seats, seatOf(name, other))
	}
	return view, nil
}

// Changed implements api.Views.
func (s *stages) Changed(ctx context.Context, name string, seen uint64) (uint64, error) {
	version, err := s.set.Load().Changes(ctx, name, seen)
	return version, stageError(err, api.StagesFull)
}

func stageOf(scene stage.Scene) api.Stage {
	all := api.Stage{
		Name: scene.Name, Admit: "ask", AutoCut: "off", Hold: scene.Settings.Hold.Seconds(), Seats: []api.Seat{}, Program: programOf(scene.Program),
	}
	if scene.Settings.Auto {
		all.Admit = "auto"
	}
	if scene.Settings.Speaker {
		all.AutoCut = "speaker"
	}
	for _, seat := range scene.Seats {
		all.Seats = append(all.Seats, wholeSeatOf(scene.Name, seat))
	}
	return all
}

func programOf(s stage.Status) api.Program {
	return api.Program{Live: s.Live, Picture: s.Picture, Cutting: s.Cutting, Error: s.Error, Rest: s.Rest}
}

// seatOf shows a seat to others.
func seatOf(of string, s stage.Seat) api.Seat {
	return api.Seat{
		Name: s.Name, Stream: stage.StreamOf(of, s.Name), Label: s.Label, Role: string(s.Role), State: string(s.State), Muted: s.Muted,
		Picture: s.Picture, Connected: s.Connected, Speaking: s.Speaking, Level: s.Level, Since: s.Since.UTC(),
	}
}

// wholeSeatOf shows a seat to those who run the stage.
func wholeSeatOf(of string, s stage.Seat) api.Seat {
	one := seatOf(of, s)
	if !s.Invitation.Expires.IsZero() {
		expires := s.Invitation.Expires.UTC()
		one.Expires = &expires
	}
	return one
}

// stageMetrics lists what is counted of stages.
func (g *gateway) stageMetrics() []api.Metric {
	scenes := func() []stage.Scene { return g.stages.set.Load().Scenes() }
	return []api.Metric{
		{Name: "whipcast_stage_stages", Help: "Stages.", Read: func() float64 { return float64(len(scenes())) }},
		{
			Name: "whipcast_stage_seats", Help: "Seats of stages by their state.", Names: []string{"state"},
			Each: func(yield func(float64, ...string)) {
				count := map[stage.State]int{}
				for _, scene := range scenes() {
					for _, seat := range scene.Seats {
						count[seat.State]++
					}
				}
				for _, state := range []stage.State{stage.Invited, stage.Waiting, stage.Backstage, stage.OnAir, stage.Left} {
					yield(float64(count[state]), string(state))
				}
			},
		},
		{Name: "whipcast_stage_programs", Help: "Programs that are live.", Read: func() float64 {
			live := 0
			for _, scene := range scenes() {
				if scene.Program.Live {
					live++
				}
			}
			return float64(live)
		}},
		total("whipcast_stage_cuts_total", "Cuts of programs to another picture, first ones included.", g.stages.set.Load().Cuts()),
	}
}

var _ api.Stages = (*stages)(nil)

// newMixer makes the mixer of a program.
func newMixer() (stage.Mixer, error) { return mix.New(mix.Config{}) }
