package stage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// anyShow does what comes to its mind with a stage of three seats.
type anyShow struct {
	*house

	random *rand.Rand
	odd    bool // cameras may have few pictures, and several layers
	ends   map[string]context.CancelFunc
	done   []string
}

// TestAnyShow: whatever is done with a stage, and whenever, the program has the picture
// that it should have soon after, and there is none without anybody on air. Where all
// cameras are plain, each cut is exact, too.
func TestAnyShow(t *testing.T) {
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := &anyShow{random: rand.New(rand.NewPCG(seed, 1)), odd: seed%2 == 1, ends: map[string]context.CancelFunc{}}
			stageIt(t, nil, func(h *house) {
				s.house, h.started = h, time.Now()
				h.deck.lag = time.Duration(s.random.IntN(4)) * 70 * time.Millisecond
				h.start(func() error { return h.audience.watch(h.ctx, h.hub, "show", rung(0, 1)) })
				for _, name := range []string{"ann", "bob", "cyd"} {
					h.add(name, Guest)
				}
				for n := range 60 {
					s.act([]string{"ann", "bob", "cyd"}[s.random.IntN(3)])
					time.Sleep(time.Duration(s.random.IntN(2)*s.random.IntN(1500)+s.random.IntN(100)) * time.Millisecond)
					if n%12 == 11 {
						time.Sleep(12 * time.Second)
						s.look()
					}
				}
			})
			if !s.odd {
				s.cuts()
			}
			if t.Failed() {
				t.Log(strings.Join(s.done, "\n"))
			}
		})
	}
}

// act does one thing.
func (s *anyShow) act(seat string) {
	switch s.random.IntN(7) {
	case 0, 1:
		s.end(seat)
		time.Sleep(time.Duration(s.random.IntN(2)*s.random.IntN(300)) * time.Millisecond)
		s.begin(seat)
	case 2:
		s.end(seat)
	case 3, 4:
		s.say("cut to %s: %v", seat, s.stages.Cut("show", seat))
	case 5:
		state := []State{Waiting, Backstage, OnAir}[s.random.IntN(3)]
		s.say("%s is to be %s", seat, state)
		s.put(seat, state)
	case 6:
		if s.random.IntN(4) == 0 {
			s.say("cut to nobody: %v", s.stages.Cut("show", ""))
		}
	}
}

func (s *anyShow) begin(seat string) {
	c := camera{name: "show." + seat, gop: 25, asked: s.random.IntN(2) == 0}
	if s.odd && s.random.IntN(3) == 0 {
		c.rate, c.gop = []int{1, 25, 10}[s.random.IntN(3)], 100
	}
	if s.odd && s.random.IntN(3) == 0 {
		c.rids = []string{"h", "l"}
	}
	s.say("%+v begins", c)
	s.ends[seat] = s.shoot(c)
}

func (s *anyShow) end(seat string) {
	if end := s.ends[seat]; end != nil {
		s.say("%s ends", seat)
		end()
		delete(s.ends, seat)
	}
}

func (s *anyShow) say(format string, a ...any) {
	s.done = append(s.done, time.Since(s.started).String()+": "+fmt.Sprintf(format, a...))
}

// look compares the program with the seats.
func (s *anyShow) look() {
	s.t.Helper()
	scene, err := s.stages.Scene("show")
	s.check(err)
	on, picture := 0, ""
	for _, seat := range scene.Seats {
		if seat.State == OnAir {
			on++
		}
		if seat.Picture {
			picture += seat.Name
			if seat.State != OnAir && seat.State != Left {
				s.t.Errorf("%v: the picture is that of %+v", time.Since(s.started), seat)
			}
		}
	}
	p := scene.Program
	right := true
	switch {
	case on == 0:
		right = !p.Live
	case picture == "":
		right = p.Picture == ""
	case s.ends[picture] != nil:
		right = p.Live && p.Picture == picture && p.Cutting == "" && p.Error == "" && p.Rest == ""
	}
	if !right {
		s.t.Errorf("%v: %d on air, the picture should be that of %q, but %+v", time.Since(s.started), on, picture, p)
	}
}
