package stage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// TestFeeds: the best layer of a seat is the best rung, its smallest the lowest, and
// what is not there is stood in for by the next smaller one.
func TestFeeds(t *testing.T) {
	for _, x := range []struct{ layers, want string }{ // a capital has no keyframe
		{"a", "a aa aaa aaaa"},
		{"ab", "ab abb aabb"},
		{"abc", "abc abbc"},
		{"abcd", "abcd"},
		{"Ab", "bb bbb bbbb"},
		{"aB", "aa aaa aaaa"},
		{"Abc", "bbc bbbc"},
		{"aBc", "acc accc"},
		{"abC", "abb abbb"},
		{"ABc", "ccc cccc"},
		{"AbC", "bbb bbbb"},
	} {
		var takes []*take
		for _, c := range x.layers {
			k := &take{source: &stream.Source{Layer: stream.Layer{ID: stream.LayerID{RID: strings.ToLower(string(c))}}}}
			if c >= 'a' {
				k.held = make([]stream.Packet, 1)
			}
			takes = append(takes, k)
		}
		var got []string
		for rungs := len(takes); rungs <= mostRungs; rungs++ {
			text := ""
			for i := range rungs {
				text += feeds(takes, i, rungs).source.Layer.ID.RID
			}
			got = append(got, text)
		}
		if got := strings.Join(got, " "); got != x.want {
			t.Errorf("%s: got %s, want %s", x.layers, got, x.want)
		}
	}
}

// browser is a camera with three layers, the best one first.
func browser(name string, dead ...string) camera {
	c := camera{name: name, gop: 10000, asked: true, rids: []string{"f", "h", "q"}, dead: map[string]bool{}}
	for _, rid := range dead {
		c.dead[rid] = true
	}
	return c
}

// ladder has an audience look at each of the rungs.
func (s *studio) ladder(rungs int) []*audience {
	all := make([]*audience, rungs)
	for i := range all {
		all[i] = &audience{}
		s.start(func() error { return all[i].watch(s.ctx, s.hub, "show", rung(i, rungs)) })
	}
	return all
}

// level checks that all rungs have the same Epochs, which begin together.
func (s *studio) level(all []*audience) {
	s.t.Helper()
	begins := func(a *audience) (at map[uint64]time.Time) {
		at = map[uint64]time.Time{}
		for _, p := range a.picture {
			if _, ok := at[p.epoch]; !ok {
				at[p.epoch] = p.at
			}
		}
		return at
	}
	want := begins(all[0])
	for i, a := range all[1:] {
		got := begins(a)
		if len(got) != len(want) {
			s.t.Errorf("rung %d has %d epochs, the best one %d", i+1, len(got), len(want))
		}
		for epoch, at := range want {
			if apart := got[epoch].Sub(at).Abs(); apart > 0 {
				s.t.Errorf("rung %d begins epoch %d %v beside the best one", i+1, epoch, apart)
			}
		}
	}
}

// want asks for a keyframe of a rung, as who sees it does.
func (s *studio) want(id stream.LayerID) {
	s.t.Helper()
	from, ok := s.hub.Lookup("show")
	if !ok {
		s.t.Fatal("no program")
	}
	b, err := from.Subscribe(id)
	if err != nil {
		s.t.Fatal(err)
	}
	defer b.Close()
	b.RequestKeyframe()
}

// TestLadder: the program of a seat with three layers, one with one and one with two has
// three all the time, which are cut together, each at a keyframe of its own.
func TestLadder(t *testing.T) {
	var all []*audience
	var asked, took time.Duration
	s := produce(t, func(s *studio) {
		all = s.ladder(3)
		s.shoot(browser("show.ann"))
		s.shoot(camera{name: "show.obs", gop: 50})
		s.shoot(camera{name: "show.bob", gop: 10000, asked: true, rids: []string{"h", "l"}})
		time.Sleep(2 * time.Second)
		for _, who := range []string{"obs", "ann", "bob", "obs", "ann"} {
			s.air(who, "ann", "obs", "bob")
			asked = time.Since(s.started)
			time.Sleep(4 * time.Second)
		}
		if st := s.program.Status(); st.Cuts != 5 || st.Cutting != "" {
			t.Errorf("%+v", st)
		}
	})
	for i, want := range []string{
		"show.obs show.annf show.bobh show.obs show.annf",
		"show.obs show.annh show.bobl show.obs show.annh",
		"show.obs show.annq show.bobl show.obs show.annq",
	} {
		if got := all[i].cuts(t); got != want {
			t.Errorf("rung %d: got %s, want %s", i, got, want)
		}
	}
	s.level(all)
	for _, p := range all[2].picture {
		if p.who == "show.annq" && p.at.Sub(s.started) > asked {
			took = p.at.Sub(s.started) - asked
			break
		}
	}
	if took == 0 || took > 500*time.Millisecond {
		t.Errorf("a cut to a browser took %v", took)
	}
	for i, a := range all {
		last := a.picture[0]
		for _, p := range a.picture {
			if pause := p.at.Sub(last.at); pause > 2*pictureEvery {
				t.Errorf("rung %d: no picture for %v", i, pause)
			}
			last = p
		}
	}
	s.heard()
}

// sources describes what the program is published with.
func (s *studio) sources() string {
	from, ok := s.hub.Lookup("show")
	if !ok || !from.State().Live {
		return ""
	}
	var all []string
	for _, source := range pictures(from.State()) {
		all = append(all, fmt.Sprintf("%q", source.Layer.ID.RID))
	}
	return strings.Join(all, " ")
}

// TestLadderGrows: a program of seats with one layer has one. It gets more by a cut, when
// somebody with more has come, and then it keeps them until it ends.
func TestLadderGrows(t *testing.T) {
	produce(t, func(s *studio) {
		expect := func(want string) {
			t.Helper()
			time.Sleep(2 * time.Second)
			if got := s.sources(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		s.shoot(camera{name: "show.obs", gop: 25})
		s.shoot(camera{name: "show.cam", gop: 25})
		s.shoot(camera{name: "other.cam", gop: 25, rids: []string{"0", "1"}})
		time.Sleep(time.Second)
		s.air("obs", "obs")
		expect(`""`)
		end := s.shoot(browser("show.ann"))
		expect(`""`)
		s.air("cam", "obs")
		expect(`"0" "1" "2"`)
		s.air("ann", "obs")
		expect(`"0" "1" "2"`)
		s.air("obs", "obs")
		end()
		expect(`"0" "1" "2"`)
		s.air("", []string{}...)
		expect("")
		s.air("obs", "obs")
		expect(`""`)
	})
}

// TestDeadLayer: what is dead is stood in for. When it comes back, the program has it by
// one more Epoch, which is no cut; one that goes again leaves its rung alone.
func TestDeadLayer(t *testing.T) {
	for _, x := range []struct {
		dead string
		want [3]string
	}{
		{"f", [3]string{"show.annh show.annf", "show.annh show.annh", "show.annq show.annq"}},
		{"h", [3]string{"show.annf show.annf", "show.annq show.annh", "show.annq show.annq"}},
		{"q", [3]string{"show.annf show.annf", "show.annh show.annh", "show.annh show.annq"}},
	} {
		t.Run(x.dead, func(t *testing.T) {
			var all []*audience
			s := produce(t, func(s *studio) {
				all = s.ladder(3)
				c := browser("show.ann")
				c.gone = map[string]span{x.dead: {0, 12 * time.Second}}
				s.shoot(c)
				time.Sleep(2 * time.Second)
				s.air("ann", "ann")
				for range 12 {
					time.Sleep(2 * time.Second)
					for i := range 3 {
						s.want(rung(i, 3)) // as the packager does
					}
				}
				if st := s.program.Status(); st.Cuts != 1 || st.Cutting != "" || st.Error != "" {
					t.Errorf("%+v", st)
				}
			})
			for i, want := range x.want {
				if got := all[i].cuts(t); got != want {
					t.Errorf("rung %d: got %s, want %s", i, got, want)
				}
			}
			s.level(all)
			s.heard()
		})
	}
}

// TestLayersBegin: the layers of a browser that comes back, or that has just come, begin
// one after another: the cut waits for them.
func TestLayersBegin(t *testing.T) {
	var all []*audience
	s := produce(t, func(s *studio) {
		all = s.ladder(3)
		c := browser("show.ann")
		c.gone = map[string]span{"f": {0, 500 * time.Millisecond}, "h": {0, 300 * time.Millisecond}}
		end := s.shoot(c)
		s.air("ann", "ann")
		time.Sleep(4 * time.Second)
		end()
		time.Sleep(time.Second)
		end = s.shoot(c)
		time.Sleep(4 * time.Second)
		bob := c
		bob.name = "show.bob"
		s.shoot(bob)
		time.Sleep(100 * time.Millisecond)
		s.air("bob", "ann", "bob")
		time.Sleep(4 * time.Second)
		end()
	})
	for i, want := range []string{
		"show.annf show.annf show.bobf", "show.annh show.annh show.bobh", "show.annq show.annq show.bobq",
	} {
		if got := all[i].cuts(t); got != want {
			t.Errorf("rung %d: got %s, want %s", i, got, want)
		}
	}
	s.level(all)
	s.heard()
}

// TestLayerVanishes: a layer that goes while its seat has the picture is missing in its
// rung alone, as with any publisher, and is there again without another Epoch.
func TestLayerVanishes(t *testing.T) {
	var all []*audience
	produce(t, func(s *studio) {
		all = s.ladder(3)
		c := browser("show.ann")
		c.gone = map[string]span{"f": {5 * time.Second, 9 * time.Second}}
		s.shoot(c)
		time.Sleep(2 * time.Second)
		s.air("ann", "ann")
		time.Sleep(18 * time.Second)
	})
	var longest [3]time.Duration
	for i, a := range all {
		for n, p := range a.picture[1:] {
			if p.epoch != a.picture[0].epoch {
				t.Fatalf("rung %d has another epoch", i)
			}
			longest[i] = max(longest[i], p.at.Sub(a.picture[n].at))
		}
	}
	if longest[0] < 4*time.Second || longest[1] > 2*pictureEvery || longest[2] > 2*pictureEvery {
		t.Errorf("no picture for %v", longest)
	}
}

// TestWhoIsAsked: a request of one rung's viewers goes to the layer that feeds it.
func TestWhoIsAsked(t *testing.T) {
	var all []*audience
	produce(t, func(s *studio) {
		all = s.ladder(3)
		s.shoot(browser("show.ann"))
		time.Sleep(2 * time.Second)
		s.air("ann", "ann")
		time.Sleep(2 * time.Second)
		s.want(rung(2, 3))
		time.Sleep(time.Second)
	})
	var keys [3]int
	for i, a := range all {
		for _, p := range a.picture {
			if p.first {
				keys[i]++
			}
		}
	}
	if keys != [3]int{1, 1, 2} {
		t.Errorf("keyframes %v, want one more of the last", keys)
	}
}
