package stage

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// house is Stages with one stage, show, whose mixer is at hand, in virtual time.
type house struct {
	*studio

	stages *Stages
	mu     sync.Mutex
	kept   []Record // below mu
	writes int      // below mu
	fails  error    // below mu
	told   []string // below mu
}

func (h *house) keep(all []Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = all
	h.writes++
	return h.fails
}

func (h *house) tell(n News) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, string(n.Kind)+":"+n.Seat.Name)
}

// news returns what was told since the last call.
func (h *house) news() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	told := strings.Join(h.told, " ")
	h.told = nil
	return told
}

// stageIt runs play in virtual time with what an earlier start kept.
func stageIt(t *testing.T, kept []Record, play func(h *house)) *house {
	t.Helper()
	var h *house
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hub := stream.NewHub(stream.Config{})
		h = &house{studio: &studio{t: t, hub: hub, deck: newDeck(), ctx: ctx, all: &sync.WaitGroup{}}}
		h.stages = New(Config{
			MaxStages: 2, MaxSeats: 3, Keep: h.keep, Tell: h.tell,
			Mixer: func() (Mixer, error) { return h.deck, nil },
		}, hub, kept)
		h.start(func() error { return h.stages.Run(ctx) })
		if kept == nil {
			h.check(h.stages.Set("show", Settings{}))
		}
		play(h)
		cancel()
		h.all.Wait()
	})
	return h
}

func (h *house) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) seat(name string) Seat {
	h.t.Helper()
	s, _, err := h.stages.View("show", name)
	h.check(err)
	return s
}

func (h *house) add(seat string, role Role) {
	h.t.Helper()
	_, err := h.stages.Add("show", seat, "", role)
	h.check(err)
}

func (h *house) put(seat string, state State) {
	h.t.Helper()
	h.check(h.stages.Change("show", seat, Change{State: &state}))
}

// TestShow: a host and a guest come, are seen and heard, and leave; all of it is told,
// and kept.
func TestShow(t *testing.T) {
	h := stageIt(t, nil, func(h *house) {
		h.add("ann", Host)
		h.add("bob", Guest)
		name, err := h.stages.Add("show", "", "Eve", Guest)
		h.check(err)
		if name != "guest-1" || h.seat(name).Label != "Eve" || h.seat("ann").Label != "ann" {
			h.t.Errorf("%q %+v", name, h.seat(name))
		}
		h.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		end := h.shoot(camera{name: "show.bob", gop: 10000, asked: true})
		time.Sleep(time.Second)
		if got, want := h.news(), "made: seats:ann seats:bob seats:guest-1 joined:ann joined:bob"; got != want {
			h.t.Errorf("told %s, want %s", got, want)
		}
		if h.stages.May("show", "bob", "show.ann") || h.stages.May("show", "bob", "show") {
			h.t.Error("who waits plays the others")
		}
		h.put("bob", Backstage)
		for name, want := range map[string]bool{"show.ann": true, "show": true, "show.bob": false, "show.guest-1": false, "other.ann": false, "other": false} {
			if h.stages.May("show", "bob", name) != want {
				h.t.Errorf("bob plays %s: %v", name, !want)
			}
		}
		h.check(h.stages.Cut("show", "ann"))
		time.Sleep(time.Second)
		h.check(h.stages.Cut("show", "bob"))
		time.Sleep(time.Second)
		if got, want := h.news(), "moved:bob moved:ann cut:ann moved:bob cut:bob"; got != want {
			h.t.Errorf("told %s, want %s", got, want)
		}
		if scene, err := h.stages.Scene("show"); err != nil || !scene.Program.Live || scene.Program.Picture != "bob" || len(scene.Seats) != 3 {
			h.t.Errorf("%+v, %v", scene, err)
		}
		if n := h.stages.Cuts().Load(); n != 2 {
			h.t.Errorf("%d cuts", n)
		}
		end()
		time.Sleep(30 * time.Second)
		if s := h.seat("bob"); s.State != OnAir || s.Connected {
			h.t.Errorf("after 30 s: %+v", s)
		}
		time.Sleep(40 * time.Second)
		if s := h.seat("bob"); s.State != Left {
			h.t.Errorf("after 70 s: %+v", s)
		}
		h.shoot(camera{name: "show.bob", gop: 10000, asked: true})
		time.Sleep(time.Second)
		if s := h.seat("bob"); s.State != OnAir || !s.Picture {
			h.t.Errorf("back: %+v", s)
		}
		was, err := h.stages.RemoveSeat("show", "bob")
		if h.check(err); was.Name != "bob" || h.stages.Seated("show", "bob") || !h.stages.Seated("show", "ann") {
			h.t.Errorf("%+v", was)
		}
		if got, want := h.news(), "departed:bob joined:bob cut:bob departed:bob"; got != want {
			h.t.Errorf("told %s, want %s", got, want)
		}
	})
	// What was kept is a stage again: ann is on air when she comes.
	stageIt(t, h.kept, func(h *house) {
		if s := h.seat("ann"); s.State != OnAir || s.Connected {
			h.t.Errorf("again: %+v", s)
		}
		h.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		time.Sleep(time.Second)
		if s := h.seat("ann"); !s.Connected || h.news() != "" {
			h.t.Errorf("again: %+v", s)
		}
	})
}

// TestSpeaker: the picture goes to who speaks.
func TestSpeaker(t *testing.T) {
	stageIt(t, nil, func(h *house) {
		h.add("ann", Host)
		h.add("bob", Host)
		h.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		h.shoot(camera{name: "show.bob", gop: 10000, asked: true})
		time.Sleep(time.Second)
		h.put("ann", OnAir)
		h.put("bob", OnAir)
		h.check(h.stages.Set("show", Settings{Speaker: true, Hold: 4 * time.Second}))
		time.Sleep(5 * time.Second)
		if s := h.seat("ann"); !s.Picture || s.Level != Silence {
			h.t.Errorf("nobody speaks: %+v", s)
		}
		h.say("bob", -20)
		time.Sleep(2 * time.Second)
		if s := h.seat("bob"); !s.Picture || !s.Speaking || s.Level != -20 {
			h.t.Errorf("bob speaks: %+v", s)
		}
		h.check(h.stages.Cut("show", "ann"))
		time.Sleep(2 * time.Second)
		if s := h.seat("ann"); !s.Picture {
			h.t.Errorf("a cut by hand does not hold: %+v", s)
		}
		time.Sleep(4 * time.Second)
		muted := true
		h.check(h.stages.Change("show", "bob", Change{Muted: &muted}))
		h.say("ann", -30)
		time.Sleep(6 * time.Second)
		if s := h.seat("ann"); !s.Picture {
			h.t.Errorf("bob is muted: %+v", s)
		}
	})
}

// TestRestOfSpeakers: a cut to nobody leaves the last picture, whoever speaks, until the next cut,
// until the picture is left to who speaks anew, or until nobody is on air.
func TestRestOfSpeakers(t *testing.T) {
	stageIt(t, nil, func(h *house) {
		speaker := Settings{Speaker: true, Hold: 4 * time.Second}
		h.add("ann", Host)
		h.add("bob", Host)
		h.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		h.shoot(camera{name: "show.bob", gop: 10000, asked: true})
		time.Sleep(time.Second)
		h.put("ann", OnAir)
		h.put("bob", OnAir)
		h.check(h.stages.Set("show", speaker))
		h.say("ann", -20)
		picture := func(want, when string) {
			time.Sleep(6 * time.Second)
			for _, seat := range []string{"ann", "bob"} {
				if s := h.seat(seat); s.Picture != (seat == want) {
					h.t.Errorf("%s: %q is to have the picture: %+v", when, want, s)
				}
			}
		}
		picture("ann", "ann speaks")
		muted := true
		h.check(h.stages.Change("show", "ann", Change{Muted: &muted}))
		picture("ann", "and is muted")
		h.say("bob", -30)
		picture("bob", "then bob speaks")
		h.check(h.stages.Cut("show", ""))
		picture("", "a rest")
		h.check(h.stages.Cut("show", "ann"))
		picture("bob", "after a cut by hand")
		h.check(h.stages.Cut("show", ""))
		picture("", "another rest")
		h.check(h.stages.Set("show", Settings{Hold: 4 * time.Second}))
		h.check(h.stages.Set("show", speaker))
		picture("bob", "left to who speaks anew")
		h.check(h.stages.Cut("show", ""))
		h.put("ann", Backstage)
		h.put("bob", Backstage)
		picture("", "nobody is on air")
		h.put("bob", OnAir)
		picture("bob", "the next show")
	})
}

func (h *house) say(seat string, level float32) {
	p := h.stages.stages["show"].program
	p.mu.Lock()
	defer p.mu.Unlock()
	h.deck.levels[seat] = level
}

// TestChanges: each change makes a version, also that a stage ends; levels do by steps.
func TestChanges(t *testing.T) {
	stageIt(t, nil, func(h *house) {
		h.add("ann", Host)
		h.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		time.Sleep(time.Second)
		h.put("ann", OnAir)
		time.Sleep(time.Second)
		seen, err := h.stages.Changes(h.ctx, "show", 0)
		h.check(err)
		waited := func() bool {
			short, cancel := context.WithTimeout(h.ctx, time.Second)
			defer cancel()
			now, err := h.stages.Changes(short, "show", seen)
			seen = now
			return err == nil
		}
		if waited() {
			h.t.Error("a change without one")
		}
		h.say("ann", -50)
		if !waited() {
			h.t.Error("a level is no change")
		}
		h.say("ann", -51)
		if waited() {
			h.t.Error("a level's tremble is a change")
		}
		label := "Ann"
		h.check(h.stages.Change("show", "ann", Change{Label: &label}))
		if !waited() {
			h.t.Error("a name is no change")
		}
		seats, err := h.stages.Remove("show")
		if h.check(err); len(seats) != 1 {
			h.t.Errorf("%+v", seats)
		}
		time.Sleep(time.Second)
		if _, err := h.stages.Changes(h.ctx, "show", seen); !errors.Is(err, ErrStage) {
			h.t.Errorf("%v", err)
		}
		if from, ok := h.hub.Lookup("show"); ok && from.State().Live {
			h.t.Error("the program goes on without its stage")
		}
	})
}

// TestRefusals: what cannot be is refused, and what cannot be kept is told.
func TestRefusals(t *testing.T) {
	broken := errors.New("disk is full")
	stageIt(t, nil, func(h *house) {
		h.check(h.stages.Set("second", Settings{Auto: true}))
		h.check(h.stages.Set("second", Settings{Auto: true}))
		for _, x := range []struct {
			got, want error
		}{
			{h.stages.Set("third", Settings{}), ErrFull},
			{h.stages.Set("a.b", Settings{}), ErrName},
			{h.stages.Cut("nothing", "ann"), ErrStage},
			{h.stages.Cut("show", "ann"), ErrSeat},
			{h.stages.Change("show", "ann", Change{}), ErrSeat},
			{second(h.stages.Add("show", "a.b", "", Guest)), ErrName},
			{second(h.stages.Add("nothing", "a", "", Guest)), ErrStage},
			{second(h.stages.RemoveSeat("show", "ann")), ErrSeat},
			{second(h.stages.Remove("nothing")), ErrStage},
			{second(h.stages.Invite("show", "ann", Invitation{})), ErrSeat},
			{second(h.stages.Scene("nothing")), ErrStage},
			{second(h.stages.Changes(h.ctx, "nothing", 0)), ErrStage},
		} {
			if !errors.Is(x.got, x.want) {
				h.t.Errorf("%v, want %v", x.got, x.want)
			}
		}
		for range 3 {
			h.add("", Guest)
		}
		if _, err := h.stages.Add("show", "", "", Guest); !errors.Is(err, ErrFull) {
			h.t.Errorf("%v", err)
		}
		if err := h.stages.Cut("show", "guest-1"); !errors.Is(err, ErrAbsent) {
			h.t.Errorf("%v", err)
		}
		before, err := h.stages.Invite("show", "guest-1", Invitation{ID: "one"})
		if h.check(err); before.ID != "" {
			h.t.Errorf("%+v", before)
		}
		if before, err = h.stages.Invite("show", "guest-1", Invitation{ID: "two"}); err != nil || before.ID != "one" {
			h.t.Errorf("%+v, %v", before, err)
		}
		h.mu.Lock()
		h.fails = broken
		h.mu.Unlock()
		if err := h.stages.Set("show", Settings{Auto: true}); !errors.Is(err, broken) {
			h.t.Errorf("%v", err)
		}
		writes := h.writes
		h.check(h.stages.Set("show", Settings{Auto: true})) // nothing is otherwise
		if h.writes != writes {
			h.t.Error("what does not change is written")
		}
	})
}

func second[T any](_ T, err error) error { return err }

// TestOrderOfNews: who is told hears of one thing after the other, though they are done
// by several at once, and both have been told when they return.
func TestOrderOfNews(t *testing.T) {
	var told []string // by one at a time
	made, goOn := make(chan struct{}), make(chan struct{})
	s := New(Config{
		Mixer: func() (Mixer, error) { return newDeck(), nil },
		Tell: func(n News) {
			if n.Kind == Made {
				close(made)
				<-goOn
			}
			told = append(told, string(n.Kind))
		},
	}, stream.NewHub(stream.Config{}), nil)
	var both sync.WaitGroup
	both.Go(func() {
		if err := s.Set("show", Settings{}); err != nil {
			t.Error(err)
		}
	})
	<-made
	both.Go(func() {
		if _, err := s.Add("show", "ann", "", Guest); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(20 * time.Millisecond) // the order would be wrong by now
	close(goOn)
	both.Wait()
	if got := strings.Join(told, " "); got != "made seats" {
		t.Errorf("told were %q", got)
	}
}

// TestLabels: a seat is called something that can be seen, whatever is asked for.
func TestLabels(t *testing.T) {
	s := New(Config{Mixer: func() (Mixer, error) { return newDeck(), nil }}, stream.NewHub(stream.Config{}), nil)
	if err := s.Set("show", Settings{}); err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{"": "guest-1", " \t": "guest-1", " Ann ": "Ann"} {
		seat, err := s.Add("show", "", given, Guest)
		if err != nil {
			t.Fatal(err)
		}
		if now, _, err := s.View("show", seat); err != nil || now.Label != want {
			t.Errorf("invited as %q it is called %q, %v", given, now.Label, err)
		}
		other := "Bob"
		for _, label := range []string{other, given} {
			if err := s.Change("show", seat, Change{Label: &label}); err != nil {
				t.Error(err)
			}
		}
		if now, _, err := s.View("show", seat); err != nil || now.Label != want {
			t.Errorf("named %q it is called %q, %v", given, now.Label, err)
		}
		if _, err := s.RemoveSeat("show", seat); err != nil {
			t.Fatal(err)
		}
	}
}
