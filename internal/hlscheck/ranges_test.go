package hlscheck_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

// noon is when the playlists of version begin.
func noon() time.Time { return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) }

// marked returns a version with EXT-X-DATERANGE tags before its first segment.
func marked(body string, ranges ...string) string {
	var b strings.Builder
	for _, r := range ranges {
		fmt.Fprintf(&b, "#EXT-X-DATERANGE:%s\n", r)
	}
	const before = "#EXT-X-PROGRAM-DATE-TIME:2026-11-20T12:00:00"
	return strings.Replace(body, before, b.String()+before, 1)
}

const (
	out   = `ID="ad",CLASS="ads",START-DATE="2026-11-20T12:00:01.000Z",PLANNED-DURATION=4.0,SCTE35-OUT=0xFC30`
	in    = `ID="ad",DURATION=3.5,SCTE35-IN=0xFC31`
	point = `ID="goal",START-DATE="2026-11-20T12:00:03.000Z",X-SCORER="Nine",X-MINUTE=12.5`
	show  = `ID="one",CLASS="show",START-DATE="2026-11-20T12:00:00.000Z",END-ON-NEXT=YES`
	next  = `ID="two",CLASS="show",START-DATE="2026-11-20T12:00:05.000Z",END-ON-NEXT=YES`
	inter = `ID="spot",CLASS="com.apple.hls.interstitial",START-DATE="2026-11-20T12:00:03.000Z",DURATION=15.0,X-ASSET-URI="https://example.com/a.m3u8"`
)

// only fails the test unless the violations are all of one item; with no item
// there must be none.
func only(t *testing.T, c *hlscheck.Checker, item string) {
	t.Helper()
	got := items(c)
	switch {
	case item == "" && len(got) > 0:
		t.Errorf("want none, got %v", c.Violations())
	case item != "" && (len(got) == 0 || slices.ContainsFunc(got, func(s string) bool { return s != item })):
		t.Errorf("want %s only, got %v", item, c.Violations())
	}
}

func TestDateRanges(t *testing.T) { // L30, L110
	for _, tt := range []struct {
		name, item string
		ranges     []string
	}{
		{"all kinds", "", []string{out, in, point, show, next, inter}},
		{"no ID", "L30", []string{strings.Replace(point, `ID="goal",`, "", 1)}},
		{"ID unquoted", "L30", []string{strings.Replace(point, `"goal"`, "goal", 1)}},
		{"no start", "L30", []string{in, out}},
		{"date without zone", "L30", []string{strings.Replace(point, "03.000Z", "03.000", 1)}},
		{"date without milliseconds", "L30", []string{strings.Replace(point, "03.000Z", "03Z", 1)}},
		{"end before start", "L30", []string{point + `,END-DATE="2026-11-20T12:00:02.999Z"`}},
		{"end at start", "", []string{point + `,END-DATE="2026-11-20T12:00:03.000Z"`}},
		{"negative duration", "L30", []string{point + ",DURATION=-1.0"}},
		{"negative plan", "L30", []string{point + ",PLANNED-DURATION=-1.0"}},
		{"end is not the duration's", "L30", []string{point + `,DURATION=2.0,END-DATE="2026-11-20T12:00:06.000Z"`}},
		{"end is the duration's", "", []string{point + `,DURATION=2.0,END-DATE="2026-11-20T12:00:05.000Z"`}},
		{"END-ON-NEXT without CLASS", "L30", []string{strings.Replace(show, `CLASS="show",`, "", 1)}},
		{"END-ON-NEXT with DURATION", "L30", []string{show + ",DURATION=2.0"}},
		{"END-ON-NEXT=NO", "L30", []string{strings.Replace(show, "NEXT=YES", "NEXT=NO", 1)}},
		{"overlap in its class", "L30", []string{next, `ID="x",CLASS="show",START-DATE="2026-11-20T12:00:01.000Z",DURATION=5.0`}},
		{"two values", "L30", []string{out, in + `,CLASS="spots"`}},
		{"PRE and POST", "L30", []string{point + `,CUE="PRE,POST"`}},
		{"unknown attribute", "L30", []string{point + `,COLOUR="red"`}},
		{"no kind of value", "L30", []string{point + `,X-WHAT=YES`}},
		{"SCTE-35 in text", "L110", []string{strings.Replace(out, "0xFC30", `"FC30"`, 1)}},
		{"IN without OUT", "L110", []string{point + ",DURATION=2.0,SCTE35-IN=0xFC31"}},
		{"IN without end", "L110", []string{out, `ID="ad",SCTE35-IN=0xFC31`}},
		{"interstitial without asset", "L110", []string{strings.Replace(inter, "X-ASSET-URI", "X-ASSET", 1)}},
		{"interstitial with both", "L110", []string{inter + `,X-ASSET-LIST="https://example.com/a.json"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c hlscheck.Checker
			c.Media(videoURI, noon(), []byte(marked(version(1), tt.ranges...)))
			only(t, &c, tt.item)
		})
	}
}

func TestDateRangesNeedDates(t *testing.T) { // L30
	lines := slices.DeleteFunc(strings.SplitAfter(marked(version(1), point), "\n"), func(l string) bool {
		return strings.HasPrefix(l, "#EXT-X-PROGRAM-DATE-TIME")
	})
	var c hlscheck.Checker
	c.Media(videoURI, noon(), []byte(strings.Join(lines, "")))
	if !slices.Contains(items(&c), "L30") {
		t.Errorf("got %v", c.Violations())
	}
}

func TestDateRangesStay(t *testing.T) { // L31
	early := `ID="early",START-DATE="2026-11-20T11:59:50.000Z",DURATION=10.0`
	for _, tt := range []struct {
		name, item     string
		before, second []string
	}{
		{"the end is added", "", []string{out}, []string{out, in}},
		{"in one tag", "", []string{out}, []string{out + ",DURATION=3.5,SCTE35-IN=0xFC31"}},
		{"a range before the window goes", "", []string{early, point}, []string{point}},
		{"a range in the future goes", "", []string{`ID="x",START-DATE="2026-11-20T12:01:00.000Z",DURATION=1.0`}, nil},
		{"a range in the window goes", "L31", []string{out, in}, nil},
		{"a break without end goes", "L31", []string{strings.Replace(out, "12:00:01", "11:59:01", 1)}, nil},
		{"a moment in the window goes", "L31", []string{point}, nil},
		{"a moment before the window goes", "", []string{strings.Replace(point, "12:00:03", "11:59:03", 1)}, nil},
		{"END-ON-NEXT before the window goes", "", []string{
			strings.Replace(show, "12:00:00", "11:59:00", 1), strings.Replace(next, "12:00:05", "11:59:30", 1),
		}, []string{strings.Replace(next, "12:00:05", "11:59:30", 1)}},
		{"END-ON-NEXT in the window goes", "L31", []string{show, next}, []string{next}},
		{"a value changes", "L31", []string{point}, []string{strings.Replace(point, "Nine", "Ten", 1)}},
		{"an attribute is lost", "L31", []string{point}, []string{strings.Replace(point, ",X-MINUTE=12.5", "", 1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c hlscheck.Checker
			c.Media(videoURI, noon(), []byte(marked(version(1), tt.before...)))
			c.Media(videoURI, noon(), []byte(marked(version(2), tt.second...)))
			only(t, &c, tt.item)
		})
	}
	var c hlscheck.Checker
	for _, ranges := range [][]string{{early}, nil, {early}} {
		c.Media(videoURI, noon(), []byte(marked(version(1), ranges...)))
	}
	only(t, &c, "L31") // an ID is not used again
}

// skippable returns a playlist long enough for delta updates, and one of version
// 1 or 2 of it, each with the given date ranges.
func skippable(full, delta []string, skip string) (string, string) {
	control := strings.NewReplacer(
		"PART-HOLD-BACK=1.5", "PART-HOLD-BACK=1.5,CAN-SKIP-UNTIL=12,CAN-SKIP-DATERANGES=YES", "SEQUENCE:41", "SEQUENCE:36")
	body, first := control.Replace(version(1)), "#EXT-X-MAP:URI=\"init-a1b2c3d4.mp4\"\n"
	long := strings.Replace(body, first, first+older(), 1)
	short := strings.Replace(body, first, "#EXT-X-SKIP:SKIPPED-SEGMENTS=2"+skip+"\n"+older()[len(older())/5*2:], 1)
	number := "VERSION:9"
	if skip != "" {
		number = "VERSION:10"
	}
	return marked(long, full...), strings.Replace(marked(short, delta...), "VERSION:6", number, 1)
}

func TestDelta2(t *testing.T) { // L68, L69
	const none, early = `,RECENTLY-REMOVED-DATERANGES=""`, `,RECENTLY-REMOVED-DATERANGES="early"`
	gone := `ID="early",START-DATE="2026-11-20T11:59:30.000Z",DURATION=1.0`
	for _, tt := range []struct {
		name, item string
		age        time.Duration // of the date ranges
		delta      []string
		skip       string
	}{
		{"version 1", "", 30 * time.Second, []string{out, point}, ""},
		{"version 1 without ranges", "L68", 30 * time.Second, []string{out}, ""},
		{"version 2, old", "", 30 * time.Second, nil, none},
		{"version 2, old and listed", "L69", 30 * time.Second, []string{out, point}, none},
		{"version 2, new", "", 5 * time.Second, []string{out, point}, early},
		{"version 2, new and skipped", "L69", 5 * time.Second, []string{out}, early},
		{"version 2, unknown", "L69", 30 * time.Second, []string{inter}, none},
		{"removed and not named", "L69", 5 * time.Second, []string{out, point}, none},
		{"named and not removed", "L69", 30 * time.Second, nil, `,RECENTLY-REMOVED-DATERANGES="ad"`},
		{"two named", "", 5 * time.Second, []string{out, point}, ",RECENTLY-REMOVED-DATERANGES=\"early\tother\""},
		{"not a string", "L69", 30 * time.Second, nil, `,RECENTLY-REMOVED-DATERANGES=none`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c hlscheck.Checker
			first, _ := skippable([]string{gone}, nil, "")
			full, delta := skippable([]string{out, point}, tt.delta, tt.skip)
			c.Media(videoURI, noon(), []byte(first))
			c.Media(videoURI, noon(), []byte(full))
			c.Media(videoURI, noon().Add(tt.age), []byte(full))
			c.Delta(videoURI, []byte(full), []byte(delta))
			only(t, &c, tt.item)
		})
	}
}

func TestDeltaIsThePlaylist(t *testing.T) { // L14, L53, L67, L68
	full, delta := skippable([]string{point}, []string{point}, "")
	for _, tt := range []struct{ name, item, old, next string }{
		{"report differs", "L68", "LAST-PART=0", "LAST-PART=1"},
		{"hint differs", "L68", `"p5.m4s"`, `"p6.m4s"`},
		{"target differs", "L68", "TARGETDURATION:2", "TARGETDURATION:1"},
		{"open segment differs", "L68", "2026-11-20T12:00:06.000Z\n", "2026-11-20T12:00:06.001Z\n"},
		{"skips too little", "L68", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := strings.Replace(delta, tt.old, tt.next, 1)
			if tt.old == "" {
				one := older()[len(older())/5:][:len(older())/5]
				bad = strings.Replace(delta, "SKIPPED-SEGMENTS=2\n", "SKIPPED-SEGMENTS=1\n"+one, 1)
				longer := strings.NewReplacer("#EXTINF:2.00000,\ns00000033", "#EXTINF:2.10000,\ns00000033")
				full, bad = longer.Replace(full), longer.Replace(bad)
			}
			var c hlscheck.Checker
			c.Media(videoURI, noon(), []byte(full))
			c.Delta(videoURI, []byte(full), []byte(bad))
			if !slices.Contains(items(&c), tt.item) {
				t.Errorf("want %s, got %v", tt.item, c.Violations())
			}
		})
	}
	var c hlscheck.Checker
	plain := strings.Replace(full, "CAN-SKIP-UNTIL=12,", "", 1)
	c.Media(videoURI, noon(), []byte(plain))
	only(t, &c, "L53")
}
