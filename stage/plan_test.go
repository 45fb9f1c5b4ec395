package stage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// show runs a script against a plan: one word a step, after a second each.
//
//	host ann   adds the host ann     on ann / off ann    her stream is live, or not
//	guest bob  adds the guest bob    put bob on_air      a place, as by the API
//	cut bob    mute bob, say bob     wait 60             seconds
//	auto ask   settings              -bob                he is removed
//
// It returns how each seat is, such as "ann:on_air*" for who has the picture, and what
// was told.
func show(t *testing.T, script string) (states, news string) {
	t.Helper()
	now := time.Unix(1000, 0)
	p := newPlan(Record{Name: "show"}, now)
	for line := range strings.SplitSeq(script, ";") {
		step := strings.Fields(line)
		if len(step) == 0 {
			continue
		}
		if len(step) == 1 {
			step = append(step, "")
		}
		now = now.Add(time.Second)
		if err := p.play(step, &now); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		p.expire(now, time.Minute)
		if c, err := p.find(p.picture); p.picture != "" && (err != nil || c.place != OnAir) {
			t.Fatalf("%s: the picture is that of %s, who is not on air", line, p.picture)
		}
	}
	var told []string
	for _, n := range p.news {
		told = append(told, string(n.Kind)+":"+n.Seat.Name)
	}
	var all []string
	for _, s := range p.seats() {
		mark := ""
		if s.Picture {
			mark = "*"
		}
		if s.Muted {
			mark += "m"
		}
		all = append(all, s.Name+":"+string(s.State)+mark)
	}
	// What is kept makes the same plan again.
	if again := newPlan(p.record(), now); !slices.Equal(fmtRecord(again), fmtRecord(p)) {
		t.Errorf("%s: kept as %v", script, fmtRecord(again))
	}
	return strings.Join(all, " "), strings.Join(told, " ")
}

func fmtRecord(p *plan) []string { return strings.Fields(fmt.Sprintf("%+v", p.record())) }

func (p *plan) play(step []string, now *time.Time) error {
	c, _ := p.find(step[1])
	yes := true
	switch step[0] {
	case "host", "guest":
		return p.add(step[1], step[1], Role(step[0]), *now)
	case "on":
		p.arrive(c, *now)
	case "off":
		p.depart(c, *now)
	case "put":
		state := State(step[2])
		return p.change(step[1], Change{State: &state}, *now)
	case "mute":
		return p.change(step[1], Change{Muted: &yes}, *now)
	case "promote":
		role := Host
		return p.change(step[1], Change{Role: &role}, *now)
	case "cut":
		return p.cut(step[1], *now)
	case "wait":
		*now = now.Add(time.Minute)
	case "auto":
		p.set(Settings{Auto: true}, *now)
	case "remove":
		return p.remove(step[1])
	}
	return nil
}

func TestPlan(t *testing.T) {
	for _, x := range []struct{ script, states, news string }{
		{"host ann; guest bob", "ann:invited bob:invited", "seats:ann seats:bob"},
		{"host ann; guest bob; on ann; on bob", "ann:backstage bob:waiting", "seats:ann seats:bob joined:ann joined:bob"},
		{"guest bob; on bob; put bob backstage", "bob:backstage", "seats:bob joined:bob moved:bob"},
		{"guest bob; put bob backstage; on bob", "bob:backstage", "seats:bob joined:bob"}, // let in before he comes
		{"guest bob; put bob backstage", "bob:invited", "seats:bob"},
		{"auto; guest bob; on bob", "bob:backstage", "settings: seats:bob joined:bob"},
		{"guest bob; on bob; auto", "bob:backstage", "seats:bob joined:bob settings: moved:bob"},
		{"guest bob; on bob; promote bob", "bob:backstage", "seats:bob joined:bob seats:bob moved:bob"},
		// A cut brings the seat on air, and takes the picture from the other, who stays.
		{"host ann; guest bob; on ann; on bob; cut ann; cut bob", "ann:on_air bob:on_air*", "seats:ann seats:bob joined:ann joined:bob moved:ann moved:bob"},
		{"host ann; on ann; cut ann; cut", "ann:on_air", "seats:ann joined:ann moved:ann"},
		{"host ann; on ann; put ann on_air", "ann:on_air", "seats:ann joined:ann moved:ann"},
		{"host ann; on ann; cut ann; put ann backstage", "ann:backstage", "seats:ann joined:ann moved:ann moved:ann"},
		{"host ann; on ann; cut ann; put ann waiting", "ann:waiting", "seats:ann joined:ann moved:ann moved:ann"},
		{"host ann; on ann; mute ann; mute ann", "ann:backstage" + "m", "seats:ann joined:ann moved:ann"},
		// Who drops out for a moment is not told of; who leaves comes back to its place.
		{"host ann; on ann; cut ann; off ann; on ann", "ann:on_air*", "seats:ann joined:ann moved:ann"},
		{"host ann; on ann; cut ann; off ann; wait", "ann:left*", "seats:ann joined:ann moved:ann departed:ann"},
		{"host ann; on ann; cut ann; off ann; wait; on ann", "ann:on_air*", "seats:ann joined:ann moved:ann departed:ann joined:ann"},
		{"guest bob; on bob; off bob; wait; put bob backstage; on bob", "bob:backstage", "seats:bob joined:bob departed:bob joined:bob"},
		{"guest bob; wait", "bob:invited", "seats:bob"},
		{"host ann; guest bob; on ann; on bob; cut ann; remove ann", "bob:waiting", "seats:ann seats:bob joined:ann joined:bob moved:ann departed:ann"},
	} {
		states, news := show(t, x.script)
		if states != x.states || news != x.news {
			t.Errorf("%s:\n%s | %s, want\n%s | %s", x.script, states, news, x.states, x.news)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	now := time.Unix(1000, 0)
	p := newPlan(Record{Name: "show"}, now)
	if err := p.add("ann", "Ann", Host, now); err != nil {
		t.Fatal(err)
	}
	if err := p.add("ann", "Ann", Host, now); !errors.Is(err, ErrExists) {
		t.Errorf("%v", err)
	}
	for _, err := range []error{p.cut("bob", now), p.remove("bob"), p.change("bob", Change{}, now)} {
		if !errors.Is(err, ErrSeat) {
			t.Errorf("%v", err)
		}
	}
	if err := p.cut("ann", now); !errors.Is(err, ErrAbsent) || p.picture != "" || p.chairs[0].place == OnAir {
		t.Errorf("%v: a cut to who is not there", err)
	}
}

// TestSees: those who are let in play one another and the program, and nobody itself.
func TestSees(t *testing.T) {
	now := time.Unix(1000, 0)
	p := newPlan(Record{Name: "show"}, now)
	for _, step := range []string{
		"host air", "host back", "guest wait", "guest invited", "host gone",
		"on air x", "on back x", "on wait x", "on gone x", "off gone x", "cut air x", "put invited backstage",
	} {
		if err := p.play(strings.Fields(step), &now); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
	p.expire(now.Add(time.Minute), time.Minute)
	var got []string
	for _, viewer := range p.seats() {
		for _, other := range p.seats() {
			if p.sees(viewer.Name, other.Name) {
				got = append(got, viewer.Name+">"+other.Name)
			}
		}
		if p.watches(viewer.Name) {
			got = append(got, viewer.Name+">program")
		}
	}
	if want := "air>back air>program back>air back>program"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if p.sees("nobody", "air") || p.sees("air", "nobody") || p.watches("nobody") {
		t.Error("somebody who has no seat sees or is seen")
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{"show": true, "a-b_c": true, "a.b": false, "": false, "-a": false, strings.Repeat("a", 40): true, strings.Repeat("a", 41): false} {
		if ValidName(name) != want {
			t.Errorf("%q", name)
		}
	}
	for name, want := range map[string]string{"show.ann": "show ann true", "show": "show  false", "show.": "show  false", "a.b.c": "a b.c true"} {
		stage, seat, ok := Split(name)
		if got := fmt.Sprint(stage, " ", seat, " ", ok); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestDirector: who speaks gets the picture, but not for a cough, not too soon after
// another cut, and not while who has it speaks about as loudly.
func TestDirector(t *testing.T) {
	const hold = 4 * time.Second
	for _, x := range []struct {
		what   string
		script string // each letter 200 ms: who speaks; upper case: 10 dB louder; "." nobody, "+" both
		has    string // who has the picture after each step
	}{
		{"stays", "aaaaaaaaaa", "aaaaaaaaaa"},
		{"stays in silence", "a.........", "aaaaaaaaaa"},
		{"goes to who speaks for 0.8 s", "..bbbbbbbb", "aaaaaabbbb"},
		{"not for a cough", "..bbb.....bb....", "aaaaaaaaaaaaaaaa"},
		{"not while both speak", "++++++++++++", "aaaaaaaaaaaa"},
		{"but to one who is much louder", "BBBBBBBB", "aaaabbbb"},
		{"holds for 4 s", "bbbbbaaaaaaaaaaaaaaaaaaaaaaaa", "aaaabbbbbbbbbbbbbbbbbbbbaaaaa"},
	} {
		d, now := director{}, time.Unix(1000, 0)
		has, got := "a", ""
		for _, c := range x.script {
			a, b := voice{seat: "a", level: Silence}, voice{seat: "b", level: Silence}
			switch c {
			case 'a', '+':
				a.level, a.speaking = -30, true
			case 'B':
				a.level, a.speaking = -30, true
				b.level, b.speaking = -20, true
			}
			if c == 'b' || c == '+' {
				b.level, b.speaking = -28, true
			}
			has = d.choose(now, has, []voice{a, b}, hold)
			got += has
			now = now.Add(200 * time.Millisecond)
		}
		if got != x.has {
			t.Errorf("%s: %s gives\n%s, want\n%s", x.what, x.script, got, x.has)
		}
	}
}

// TestDirectorMuted: who is muted keeps the picture until somebody else speaks for 0.8 s,
// however loud, and does not get it.
func TestDirectorMuted(t *testing.T) {
	d, now := director{}, time.Unix(1000, 0)
	has, got := "a", ""
	for i := range 12 {
		a, b := voice{seat: "a", level: -10, speaking: true, muted: true}, voice{seat: "b", level: -30, speaking: i >= 3}
		has = d.choose(now, has, []voice{a, b}, time.Second)
		got += has
		now = now.Add(200 * time.Millisecond)
	}
	if want := "aaaaaaabbbbb"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestDirectorAlone: somebody has the picture while anybody is there.
func TestDirectorAlone(t *testing.T) {
	d, now := director{}, time.Unix(1000, 0)
	for _, x := range []struct {
		has    string
		voices []voice
		want   string
	}{
		{"", nil, ""},
		{"", []voice{{"a", -90, false, false}, {"b", -90, false, false}}, "a"},
		{"", []voice{{"a", -90, false, true}, {"b", -90, false, false}}, "b"},
		{"", []voice{{"a", -20, true, true}}, ""},
		{"gone", []voice{{"a", -90, false, false}, {"b", -20, true, false}}, "b"},
		{"a", nil, "a"},
	} {
		if got := d.choose(now, x.has, x.voices, time.Second); got != x.want {
			t.Errorf("%q with %v: %q, want %q", x.has, x.voices, got, x.want)
		}
	}
}
