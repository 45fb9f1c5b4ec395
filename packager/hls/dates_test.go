package hls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func noon() time.Time { return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) }

// tag returns the tag of a date range.
func tag(t *testing.T, d DateRange) string {
	t.Helper()
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	pairs, err := d.pairs()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(d.line(pairs)), "\n")
}

// Specs L110: what the constructors make.
func TestKindsOfDateRange(t *testing.T) {
	five := 5.0
	ad := Interstitial{
		ID: "ad1", Start: noon(), Cue: []Cue{CuePre, CueOnce}, Duration: new(15 * time.Second),
		AssetList: "https://example.com/ads.json?a=1,2", ResumeOffset: new(time.Duration), PlayoutLimit: 20500 * time.Millisecond,
		SnapOut: true, SnapIn: true, NoSkip: true, NoJump: true, Point: true, Highlight: true, Same: true,
	}
	listed, err := ad.DateRange()
	if err != nil {
		t.Fatal(err)
	}
	small, err := (&Interstitial{ID: "ad2", Start: noon(), AssetURI: "http://example.com/a.m3u8", NoJump: true, Range: true}).DateRange()
	if err != nil {
		t.Fatal(err)
	}
	in := SpliceIn("s1", noon().Add(time.Minute), []byte{0xfc, 0x30})
	for want, d := range map[string]DateRange{
		`#EXT-X-DATERANGE:ID="ad1",CLASS="com.apple.hls.interstitial",START-DATE="2026-11-20T12:00:00.000Z",CUE="PRE,ONCE",DURATION=15,` +
			`X-ASSET-LIST="https://example.com/ads.json?a=1,2",X-RESUME-OFFSET=0,X-PLAYOUT-LIMIT=20.5,X-SNAP="OUT,IN",` +
			`X-RESTRICT="SKIP,JUMP",X-TIMELINE-OCCUPIES="POINT",X-TIMELINE-STYLE="HIGHLIGHT",X-CONTENT-MAY-VARY="NO"`: listed,
		`#EXT-X-DATERANGE:ID="ad2",CLASS="com.apple.hls.interstitial",START-DATE="2026-11-20T12:00:00.000Z",` +
			`X-ASSET-URI="http://example.com/a.m3u8",X-RESTRICT="JUMP",X-TIMELINE-OCCUPIES="RANGE"`: small,
		`#EXT-X-DATERANGE:ID="m1",CLASS="com.example.goal",START-DATE="2026-11-20T12:00:00.000Z",DURATION=0,X-TEAM="Grün",X-MINUTE=5,X-RAW=0x0AFF`: Marker("m1",
			"com.example.goal", noon(), Attribute{Name: "X-TEAM", Text: "Grün"}, Attribute{Name: "X-MINUTE", Number: &five}, Attribute{Name: "X-RAW", Hex: []byte{10, 255}}),
		`#EXT-X-DATERANGE:ID="s1",START-DATE="2026-11-20T12:00:00.000Z",PLANNED-DURATION=60,SCTE35-OUT=0xFC00`: SpliceOut("s1", noon(), time.Minute, []byte{0xfc, 0}),
		`#EXT-X-DATERANGE:ID="s1",START-DATE="2026-11-20T12:00:00.000Z",END-DATE="2026-11-20T12:01:00.000Z",SCTE35-OUT=0xFC00,SCTE35-IN=0xFC30`: SpliceOut("s1",
			noon(), 0, []byte{0xfc, 0}).merge(&in),
	} {
		if diff := cmp.Diff(want, tag(t, d)); diff != "" {
			t.Error(diff)
		}
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back DateRange
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, back); diff != "" {
			t.Errorf("through JSON: %s", diff)
		}
	}
	late := Interstitial{ID: "late", AssetURI: "http://a/b"} // who lists it gives it a start
	d, err := late.DateRange()
	if err != nil {
		t.Fatal(err)
	}
	if err := NewMedia(Config{Target: time.Second}).SetDateRange(d); !errors.Is(err, ErrDateRange) {
		t.Errorf("without a start: %v", err)
	}
	for name, wrong := range map[string]Interstitial{
		"no asset":          {ID: "x", Start: noon()},
		"a relative asset":  {ID: "x", Start: noon(), AssetURI: "/a.m3u8"},
		"both assets":       {ID: "x", Start: noon(), AssetURI: "http://a/b", AssetList: "http://a/b"},
		"a point and range": {ID: "x", Start: noon(), AssetURI: "http://a/b", Point: true, Range: true},
	} {
		if _, err := wrong.DateRange(); !errors.Is(err, ErrDateRange) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// All that is listed is bounded, and says so.
func TestDateRangesAreBounded(t *testing.T) {
	l := newLive(t, time.Minute)
	for i := range MaxDateRanges {
		if err := l.media.SetDateRange(Marker(fmt.Sprintf("m%d", i), "", l.at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.media.SetDateRange(Marker("more", "", l.at)); !errors.Is(err, ErrDateRangesFull) {
		t.Errorf("one more: %v", err)
	}
	// Another line of one that is there needs no place.
	if err := l.media.SetDateRange(DateRange{ID: "m0", Class: "c"}); err != nil {
		t.Error(err)
	}
	long := Attribute{Name: "X-LONG", Text: strings.Repeat("x", maxDateLine)}
	if err := l.media.SetDateRange(DateRange{ID: "m0", Attributes: []Attribute{long}}); !errors.Is(err, ErrDateRange) {
		t.Errorf("a long line: %v", err)
	}
	long.Text = long.Text[:maxDateLine-200]
	var err error
	for i := 0; err == nil && i < 100; i++ {
		err = l.media.SetDateRange(DateRange{ID: fmt.Sprintf("m%d", i), Attributes: []Attribute{long}})
	}
	if !errors.Is(err, ErrDateRangesFull) || len(l.media.dates.text) > maxDateText {
		t.Errorf("%d bytes of tags: %v", len(l.media.dates.text), err)
	}
	// They go with their segments, and so does their memory; their IDs are known
	// for a while.
	for range 100 {
		l.segment(t)
	}
	if d := l.media.dates; len(d.ranges)+len(d.lines)+len(d.text) > 0 || len(d.used) != MaxDateRanges {
		t.Errorf("left: %d ranges, %d lines, %d bytes, %d IDs", len(d.ranges), len(d.lines), len(d.text), len(d.used))
	}
	for i := range maxUsedIDs {
		id := fmt.Sprintf("n%d", i)
		if err := errors.Join(l.media.SetDateRange(Marker(id, "", l.at.Add(time.Hour))), l.media.RemoveDateRange(id)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.media.dates.used); n != maxUsedIDs {
		t.Errorf("%d IDs are remembered", n)
	}
}

// What the caller does with a date range afterwards changes nothing.
func TestDateRangeIsCopied(t *testing.T) {
	l := newLive(t, time.Minute)
	d := Marker("m", "", l.at, Attribute{Name: "X-A", Hex: []byte{1}})
	d.SpliceOut = []byte{0xfc, 0}
	if err := l.media.SetDateRange(d); err != nil {
		t.Fatal(err)
	}
	before := l.media.State()
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	*d.Duration, d.Attributes[0].Hex[0], d.SpliceOut[1], d.Attributes[0].Name = 7, 7, 7, "X-B"
	after, err := json.Marshal(l.media.State())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), string(after)); diff != "" {
		t.Error(diff)
	}
}

// Versions share the text of the date ranges, with v2 a part of it: they cost no
// allocation.
func TestDateRangesAreShared(t *testing.T) {
	l := newLive(t, time.Minute)
	count := func() float64 {
		return testing.AllocsPerRun(100, func() { l.media.LowLatency(); l.media.Plain() })
	}
	before := count()
	l.dateRanges(t, 100)
	if _, _, dates := l.media.LowLatency(); len(bytes.Join(dates, nil)) == 0 || bytes.Contains(bytes.Join(dates, nil), []byte("DATERANGE:")) {
		t.Errorf("L69: all date ranges are old: %s", bytes.Join(dates, nil))
	}
	if err := l.media.SetDateRange(Marker("new", "", l.at)); err != nil {
		t.Fatal(err)
	}
	if after := count(); after != before {
		t.Errorf("%v allocations with date ranges, %v without", after, before)
	}
	text := l.media.dates.text
	full, delta, dates := l.media.LowLatency()
	for i, pieces := range [][][]byte{full, l.media.Plain(), delta} {
		if piece := pieces[2+i/2]; &piece[0] != &text[0] {
			t.Error("a version has its own text of the date ranges")
		}
	}
	if end := dates[3]; &end[len(end)-1] != &text[len(text)-1] {
		t.Error("v2 has its own text of the date ranges")
	}
}

// The log of a line a segment carries date ranges, too, each about once.
func TestLogHasDateRanges(t *testing.T) {
	l := newLive(t, time.Minute)
	log := l.media.State()
	next := log.Next
	sizes := 0
	for i := range 100 {
		if i%3 == 0 {
			if err := l.media.SetDateRange(Marker(fmt.Sprintf("m%d", i), "", l.at.Add(time.Duration(i%7)*time.Second))); err != nil {
				t.Fatal(err)
			}
		}
		l.segment(t)
		line := l.media.Since(next)
		sizes += len(line.DateRanges)
		if err := log.Append(line); err != nil {
			t.Fatal(err)
		}
		next = l.media.Position().MSN
	}
	if diff := cmp.Diff(l.media.State(), log); diff != "" {
		t.Error(diff)
	}
	if sizes != 34 {
		t.Errorf("34 date ranges were written %d times", sizes)
	}
	m, err := Restore(l.media.cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(l.media.dates.text), string(m.dates.text)); diff != "" {
		t.Error(diff)
	}
	if err := m.SetDateRange(Marker("m0", "", l.at)); !errors.Is(err, ErrDateRangeConflict) {
		t.Errorf("L31: the ID of a range that has gone: %v", err)
	}
}

func TestDamagedDateRangesAreRefused(t *testing.T) {
	for name, damage := range map[string]func(*State){
		"an unknown segment": func(s *State) { s.DateRanges = []StatedRange{{MSN: 10, DateRange: Marker("a", "", noon())}} },
		"disorder": func(s *State) {
			s.DateRanges = []StatedRange{{MSN: 9, DateRange: Marker("a", "", noon())}, {MSN: 8, DateRange: Marker("b", "", noon())}}
		},
		"no start":       func(s *State) { s.DateRanges = []StatedRange{{MSN: 9, DateRange: DateRange{ID: "a"}}} },
		"a line break":   func(s *State) { s.RemovedRanges = []RemovedRange{{MSN: 8, ID: "a\n"}} },
		"a late removal": func(s *State) { s.RemovedRanges = []RemovedRange{{MSN: 80, ID: "a"}} },
		"here and gone": func(s *State) {
			s.DateRanges = []StatedRange{{MSN: 8, DateRange: Marker("a", "", noon())}}
			s.RemovedRanges = []RemovedRange{{MSN: 8, ID: "a"}}
		},
	} {
		s := valid()
		damage(&s)
		if _, err := Restore(config(), s); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
}

// Whatever is asked for, what is listed is well-formed, and what was said once is
// never said otherwise.
func FuzzDateRange(f *testing.F) {
	for _, pair := range [][2]DateRange{
		{Marker("m", "c", noon(), Attribute{Name: "X-A", Text: "b"}), {ID: "m", Planned: new(time.Second)}},
		{SpliceOut("s", noon(), time.Minute, []byte{0xfc}), SpliceIn("s", noon().Add(time.Minute), []byte{0xfc})},
		{{ID: "a", Class: "c", Start: noon(), EndOnNext: true}, {ID: "b", Class: "c", Start: noon().Add(time.Minute), EndOnNext: true}},
		{{ID: "a", Start: noon(), Cue: []Cue{CuePre}}, {ID: "a", End: noon(), Attributes: []Attribute{{Name: "X-N", Number: new(1e-7)}}}},
	} {
		first, err := json.Marshal(pair[0])
		if err != nil {
			f.Fatal(err)
		}
		second, err := json.Marshal(pair[1])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(first, second)
	}
	const value = `("[^"\x00-\x1f\x7f]*"|[0-9]+(\.[0-9]+)?|0x[0-9A-F]+|YES)`
	syntax := regexp.MustCompile(`^#EXT-X-DATERANGE:[A-Z0-9-]+=` + value + `(,[A-Z0-9-]+=` + value + `)*$`)
	pairs := regexp.MustCompile(`[:,]([A-Z0-9-]+)=` + value)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		l := newLive(t, 10*time.Second)
		for _, text := range [][]byte{first, second} {
			var d DateRange
			if json.Unmarshal(text, &d) != nil {
				return
			}
			before := l.media.dates.text
			if err := l.media.SetDateRange(d); err != nil {
				if !bytes.Equal(before, l.media.dates.text) {
					t.Fatalf("refused, but listed: %s", l.media.dates.text)
				}
				continue
			}
			if again := l.media.SetDateRange(d); again != nil {
				t.Fatalf("the same again: %v", again)
			}
		}
		p := parse(t, l.media.Plain())
		said := map[string]string{}
		for _, line := range p.ranges {
			if !syntax.MatchString(line) {
				t.Fatalf("L12: %q", line)
			}
			names := map[string]bool{}
			id := attribute(line, "ID")
			for _, m := range pairs.FindAllStringSubmatch(line, -1) {
				if names[m[1]] {
					t.Fatalf("L12: %s twice in %q", m[1], line)
				}
				names[m[1]] = true
				if was, ok := said[id+" "+m[1]]; ok && was != m[2] {
					t.Fatalf("L30: %s of %s is %s and %s", m[1], id, was, m[2])
				}
				said[id+" "+m[1]] = m[2]
			}
			if !names["ID"] || !names["START-DATE"] || names["END-ON-NEXT"] && (!names["CLASS"] || names["DURATION"] || names["END-DATE"]) {
				t.Fatalf("L30: %q", line)
			}
		}
		text, err := json.Marshal(l.media.State())
		if err != nil {
			t.Fatal(err)
		}
		var s State
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		m, err := Restore(l.media.cfg, s)
		if err != nil {
			t.Fatalf("its own state: %v", err)
		}
		if diff := cmp.Diff(string(l.media.dates.text), string(m.dates.text)); diff != "" {
			t.Fatal(diff)
		}
	})
}
