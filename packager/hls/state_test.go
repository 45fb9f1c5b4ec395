package hls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A log of a line a segment says the same as the state, at any time, and a line
// is small.
func TestLogIsTheState(t *testing.T) {
	l := newLive(t, time.Minute)
	var log bytes.Buffer
	out := json.NewEncoder(&log)
	if err := out.Encode(l.media.State()); err != nil {
		t.Fatal(err)
	}
	next := l.media.Position().MSN
	for range 100 {
		l.segment(t)
		before := log.Len()
		if err := out.Encode(l.media.Since(next)); err != nil {
			t.Fatal(err)
		}
		next = l.media.Position().MSN
		if n := log.Len() - before; n > 300 {
			t.Fatalf("a line of %d bytes", n)
		}
	}
	log.WriteString(`{"target":2000000000,"next":1`) // cut off
	in := json.NewDecoder(&log)
	var s State
	for in.More() {
		var line State
		if err := in.Decode(&line); err != nil {
			break
		}
		if err := s.Append(line); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(l.media.State(), s); diff != "" {
		t.Error(diff)
	}
	if n := cap(s.Segments); n > 200 {
		t.Errorf("%d segments held for %d", n, len(s.Segments))
	}
}

func valid() State {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	return State{
		Target: 2 * time.Second, Part: 500 * time.Millisecond, First: 7, Next: 9, LastParts: 4,
		Segments: []Listed{
			{Segment: Segment{URI: "s7.m4s", Duration: 2 * time.Second}, Init: "a.mp4", Time: at},
			{Segment: Segment{URI: "s8.m4s", Duration: 2 * time.Second}, Init: "a.mp4"},
		},
	}
}

func config() Config { return Config{Target: 2 * time.Second, Part: 500 * time.Millisecond} }

func TestDamagedStateIsRefused(t *testing.T) {
	if _, err := Restore(config(), valid()); err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(*State){
		"a segment is missing":  func(s *State) { s.First = 6 },
		"numbers go back":       func(s *State) { s.First = 10 },
		"too many segments":     func(s *State) { s.First = 8 },
		"no room":               func(s *State) { s.First, s.Next = math.MaxUint64-3, math.MaxUint64-1 },
		"many discontinuities":  func(s *State) { s.Discontinuities = math.MaxUint64 },
		"another target":        func(s *State) { s.Target = time.Second },
		"another part target":   func(s *State) { s.Part = 0 },
		"negative parts":        func(s *State) { s.Parts = -1 },
		"too many parts":        func(s *State) { s.LastParts = math.MaxInt },
		"a part after the end":  func(s *State) { s.Parts, s.Ended = 1, true },
		"no URI":                func(s *State) { s.Segments[0].URI = "" },
		"a tag as URI":          func(s *State) { s.Segments[1].URI = "#EXT-X-ENDLIST" },
		"a line break":          func(s *State) { s.Segments[1].URI = "a\n#EXT-X-ENDLIST" },
		"no init":               func(s *State) { s.Segments[0].Init = "" },
		"a quotation mark":      func(s *State) { s.Segments[0].Init = `a"b` },
		"no duration":           func(s *State) { s.Segments[1].Duration = 0 },
		"a huge duration":       func(s *State) { s.Segments[1].Duration = math.MaxInt64 },
		"too long":              func(s *State) { s.Segments[1].Duration = 3 * time.Second },
		"a year of five digits": func(s *State) { s.Segments[0].Time = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a fine time":           func(s *State) { s.Segments[0].Time = s.Segments[0].Time.Add(1) },
		"open without init":     func(s *State) { s.Parts = 1 },
		"too many of before":    func(s *State) { s.Prior = 3 },
		"less than none":        func(s *State) { s.Prior = -1 },
	} {
		s := valid()
		damage(&s)
		if _, err := Restore(config(), s); err == nil {
			t.Errorf("%s: restored", name)
		} else if !strings.HasPrefix(err.Error(), "restore ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAppendRefusesWhatDoesNotFollow(t *testing.T) {
	for name, newer := range map[string]State{
		"a hole":         {Target: 2 * time.Second, Part: 500 * time.Millisecond, First: 8, Next: 11, Segments: valid().Segments[:1]},
		"older":          {Target: 2 * time.Second, Part: 500 * time.Millisecond, First: 6, Next: 8, Segments: valid().Segments[:1]},
		"another target": {Target: time.Second, Part: 500 * time.Millisecond, First: 8, Next: 9, Segments: valid().Segments[:1]},
		"nonsense":       {Target: 2 * time.Second, Part: 500 * time.Millisecond, First: 9, Next: 9, Segments: valid().Segments},
		"nothing":        {},
	} {
		s := valid()
		if err := s.Append(newer); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(valid(), s); diff != "" {
			t.Errorf("%s: changed by what was refused: %s", name, diff)
		}
	}
	// The same again changes nothing; all of them may have rolled off.
	s := valid()
	if err := errors.Join(s.Append(valid()), s.Append(State{Target: s.Target, Part: s.Part, First: 8, Next: 9})); err != nil {
		t.Fatal(err)
	}
	late := State{Target: s.Target, Part: s.Part, First: 20, Next: 20} // much later, nothing is left
	if other := valid(); other.Append(late) != nil || len(other.Segments) != 0 || other.Next != 20 {
		t.Errorf("after much later: %+v", other)
	}
	want := valid()
	want.First, want.LastParts, want.Segments = 8, 0, want.Segments[1:]
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
}

// Whatever is in the file: it is refused, or the playlist that comes out is right
// and goes on.
func FuzzRestore(f *testing.F) {
	for _, s := range []State{valid(), {Target: time.Second}, newLive(f, 10*time.Second).media.State()} {
		text, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, text)
	}
	f.Add([]byte(`{"target":1000000000,"part":1000000,"next":1,"segments":[{"uri":"s","duration":1,"init":"i"}]}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var s, newer State
		if json.Unmarshal(first, &s) != nil {
			return
		}
		if json.Unmarshal(second, &newer) == nil {
			_ = s.Append(newer) // may be refused
		}
		cfg := Config{Target: s.Target, Part: s.Part}
		if cfg.Target > time.Hour {
			return
		}
		m, err := Restore(cfg, s)
		if err != nil {
			return
		}
		if p := parse(t, m.Plain()); p.first != s.First || p.discontinuity != s.Discontinuities || len(p.segments) != len(s.Segments) {
			t.Fatalf("%d segments from %d, want %d from %d", len(p.segments), p.first, len(s.Segments), s.First)
		}
		if m.Position().MSN != s.Next {
			t.Fatalf("position %+v, want segment %d", m.Position(), s.Next)
		}
		again, err := json.Marshal(m.State())
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := json.Unmarshal(again, &back); err != nil {
			t.Fatal(err)
		}
		if twice, err := Restore(cfg, back); err != nil {
			t.Fatalf("its own state: %v", err)
		} else if a, b := bytes.Join(m.Plain(), nil), bytes.Join(twice.Plain(), nil); !bytes.Equal(a, b) {
			t.Fatalf("restored twice:\n%s", cmp.Diff(string(a), string(b)))
		}
		if s.Ended {
			return
		}
		if err := m.SetInit("next.mp4"); err != nil {
			t.Fatal(err)
		}
		if _, err := m.CloseSegment(Segment{URI: "next.m4s", Duration: time.Second, Gap: true}); err != nil {
			t.Fatal(err)
		}
		if p := parse(t, m.Plain()); p.segments[len(p.segments)-1].msn != s.Next {
			t.Fatalf("L18: next segment is %d, want %d", p.segments[len(p.segments)-1].msn, s.Next)
		}
	})
}

// What a line a segment costs, and what the whole state does.
func BenchmarkState(b *testing.B) {
	l := newLive(b, 6*time.Hour)
	next := l.media.Position().MSN
	for name, since := range map[string]uint64{"line": next - 1, "whole": 0} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.media.Since(since)
			}
		})
		b.Run(name+"-json", func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				text, err := json.Marshal(l.media.Since(since))
				if err != nil {
					b.Fatal(err)
				}
				size = len(text)
			}
			b.ReportMetric(float64(size), "bytes/state")
		})
	}
	state := l.media.State()
	b.Run(fmt.Sprintf("restore-%d", len(state.Segments)), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Restore(l.media.cfg, state); err != nil {
				b.Fatal(err)
			}
		}
	})
}
