package hlscheck_test

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

// edit changes what is published; it reports whether there was anything to
// change.
type edit func(e *event) bool

// text replaces what a regular expression matches in the events of a kind, by
// default playlists and their delta updates, whose URI contains a text.
func text(kind, uri, old, with string) edit {
	re := regexp.MustCompile(old)
	return func(e *event) bool {
		playlists := kind == "" && (e.kind == "media" || strings.HasPrefix(e.kind, "delta"))
		if e.kind != kind && !playlists || !strings.Contains(e.uri, uri) {
			return false
		}
		before := e.body
		e.body = re.ReplaceAllString(e.body, with)
		if playlists {
			e.full = re.ReplaceAllString(e.full, with)
		}
		return before != e.body
	}
}

// once limits an edit to the nth event of its kind and URI.
func once(n int, change edit) edit {
	return func(e *event) bool { return e.n == n && change(e) }
}

// report adds parts to what one version reports of another rendition.
func report(uri string, n int, other string, parts int) edit {
	re := regexp.MustCompile(`(/` + other + `/index.m3u8",LAST-MSN=)(\d+),LAST-PART=(\d+)`)
	return func(e *event) bool {
		m := re.FindStringSubmatch(e.body)
		if e.kind != "media" || e.n != n || !strings.Contains(e.uri, uri) || m == nil {
			return false
		}
		msn, _ := strconv.Atoi(m[2])
		part, _ := strconv.Atoi(m[3])
		at := 4*msn + part + parts
		e.body = strings.Replace(e.body, m[0], m[1]+strconv.Itoa(at/4)+",LAST-PART="+strconv.Itoa(at%4), 1)
		return true
	}
}

// file changes bytes of files.
func file(uri, old, with string) edit {
	return func(e *event) bool {
		if e.kind != "file" || !strings.Contains(e.uri, uri) || !strings.Contains(e.body, old) {
			return false
		}
		e.body = strings.ReplaceAll(e.body, old, with)
		return true
	}
}

// both makes two edits.
func both(a, b edit) edit {
	return func(e *event) bool {
		first := a(e)
		return b(e) || first
	}
}

const break4 = "#EXT-X-DATERANGE:ID=\"x\",START-DATE=\"2026-11-20T12:01:25.000Z\"\n"

// TestEditedPresentation breaks one thing in what is published and wants the
// violations of that item, and of no other.
func TestEditedPresentation(t *testing.T) {
	good := publication(t, asIs)
	for _, tt := range []struct {
		items, name string
		change      edit
	}{
		{"L1", "old brand", file("video/init-0", "iso6", "iso5")},
		{"L2", "no default-base-is-moof", file("/opus/", "tfhd\x00\x02", "tfhd\x00\x00")},
		{"L7 L75", "parameter sets in the samples", file("video/init", "avc1", "avc3")},
		{"L14", "version of delta updates", text("delta", "/opus/", "VERSION:9", "VERSION:10")},
		{"L14", "version of delta updates that skip date ranges", text("delta2", "/opus/", "VERSION:10", "VERSION:9")},
		{"L15", "PART-TARGET of one", text("", "/opus/", "PART-TARGET=0.52", "PART-TARGET=0.51")},
		{"L17", "durations drift", both(
			text("media", "/opus/", "DURATION=0.50000", "DURATION=0.51000"), text("media", "/opus/", "EXTINF:2.00000", "EXTINF:2.04000"))},
		{"L27", "gap without its tag", text("", "/video-m/", "#EXT-X-GAP\n", "")},
		{"L35", "an open segment is dated anew", once(22, text("media", "/video/", `(12:00:11\.000Z)`, "12:00:11.001Z"))},
		{"L47", "a part that is not independent", text("", "/video/", `"p5.m4s"`, `"p5.m4s",INDEPENDENT=YES`)},
		{"L47", "audio not said to be independent", text("", "/aac/", `"p5.m4s",INDEPENDENT=YES`, `"p5.m4s"`)},
		{"L50", "another hold back", text("", "/opus/", "HOLD-BACK=1.56", "HOLD-BACK=1.57")},
		{"L53", "date ranges can be skipped, but nothing else", text("media", "", "CAN-SKIP-UNTIL=12,", "")},
		{"L55", "no hint", once(10, text("media", "/video/", "#EXT-X-PRELOAD-HINT.*\n", ""))},
		{"L56", "another MAP than hinted", once(20, text("media", "/video/", "(#EXT-X-PRELOAD.*\n)", "$1#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"init-2.mp4\"\n"))},
		{"", "the MAP that was hinted", once(20, text("media", "/video/", "(#EXT-X-PRELOAD.*\n)", "$1#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"init-1.mp4\"\n"))},
		{"L58", "a report is missing", once(9, text("media", "/video/", "#EXT-X-RENDITION-REPORT.*aac.*\n", ""))},
		{"L58", "a report twice", once(9, text("media", "/video/", "(#EXT-X-RENDITION-REPORT.*aac.*\n)", "$1$1"))},
		{"L58", "a report of itself", once(9, text("media", "/video/", "../aac/", "../video/"))},
		{"L58", "a report ahead", report("/video/", 10, "aac", 2)},
		{"", "a report ahead that comes true at once", report("/video/", 10, "aac", 1)},
		{"L58", "a report two parts behind", report("/opus/", 10, "aac", -3)},
		{"L58", "a report names a part that never is", once(12, text("media", "/video/", `(/aac.*LAST-PART=)\d`, "${1}7"))},
		{"L58", "a report without part", once(9, text("media", "/video/", `(/aac.*),LAST-PART=\d`, "${1}"))},
		{"L59", "a report of what is no rendition", once(9, text("media", "/video/", "(?s)(#EXT-X-REN.*)", "#EXT-X-RENDITION-REPORT:URI=\"../eng/index.m3u8\",LAST-MSN=1,LAST-PART=1\n$1"))},
		{"L32", "one does not end", text("media", "/opus/", "#EXT-X-ENDLIST\n", "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p56.m4s\"\n")},
		{"L74", "BANDWIDTH below the peak", text("multivariant", "", `AGE-BANDWIDTH=\d+`, "AGE-BANDWIDTH=1000")},
		{"L74", "AVERAGE-BANDWIDTH below the average", both(
			text("multivariant", "", `(:BANDWIDTH=)(\d+)`, "${1}40000"), text("multivariant", "", `AVERAGE-BANDWIDTH=\d+`, "AVERAGE-BANDWIDTH=40000"))},
		{"L75", "a level that no init segment has", text("multivariant", "", "42c020", "42c028")},
		{"L75", "the sound's format is missing", text("multivariant", "", ",Opus", ",mp4a.40.2")},
		{"L75", "a format too many", text("multivariant", "", ",Opus", ",Opus,hvc1.1.6.L93.B0")},
		{"L76", "SCORE on some", text("multivariant", "", ",SCORE=4", "")},
		{"L76", "SCORE upside down", text("multivariant", "", "SCORE=4", "SCORE=2")},
		{"L76", "another size", text("multivariant", "", "1280x720", "1920x1080")},
		{"L76", "FRAME-RATE without decimals", text("multivariant", "", "10.000", "10")},
		{"L76", "no VIDEO-RANGE of that name", text("multivariant", "", "SDR", "HDR")},
		{"L76 L77", "another shape", text("multivariant", "", "1280x720", "1280x960")},
		{"L78", "CHANNELS of one", text("multivariant", "", `"2"(,URI="p1/aac)`, `"6"$1`)},
		{"L78", "CHANNELS is no string", text("multivariant", "", `CHANNELS="2"`, `CHANNELS=2`)},
		{"L78", "NAME differs", text("multivariant", "", `("opus",NAME=)"Audio"`, `${1}"Opus"`)},
		{"L78", "LANGUAGE in one group", text("multivariant", "", `("opus",)`, `${1}LANGUAGE="en",`)},
		{"L78", "DEFAULT in one group", text("multivariant", "", `("opus",.*)DEFAULT=YES,`, "$1")},
		{"L78", "DEFAULT=YES, AUTOSELECT=NO", text("multivariant", "", "AUTOSELECT=YES", "AUTOSELECT=NO")},
		{"L78", "a group for nobody", text("multivariant", "", `(#EXT-X-MEDIA.*GROUP-ID=)"opus"(.*\n)`, `$0$1"eng"$2`)},
		{"L75 L78", "no such group", text("multivariant", "", `AUDIO="opus"(,SCORE=3)`, `AUDIO="eng"$1`)},
		{"L78", "a variant twice", text("multivariant", "", "(?s)(#EXT-X-STREAM-INF.*?p1/video/index.m3u8\n)(.*)", "$1$1$2")},
		{"L79", "Opus first", text("multivariant", "", "(?s)(#EXT-X-STREAM-INF.*)(#EXT-X-STREAM-INF[^#]*opus.*)(#EXT-X-STREAM-INF[^#]*opus.*)", "$2$3$1")},
		{"", "date ranges in pictures only", both(text("", "/opus/", "#EXT-X-DATERANGE.*\n", ""), text("", "/aac/", "#EXT-X-DATERANGE.*\n", ""))},
		{"", "date ranges in sound only", both(text("", "/video/", "#EXT-X-DATERANGE.*\n", ""), text("", "/video-m/", "#EXT-X-DATERANGE.*\n", ""))},
		{"L82", "a rendition that is not there", text("multivariant", "", `(#EXT-X-MEDIA.*GROUP-ID="(aac|opus)".*)NAME="Audio",DEFAULT=YES,AUTOSELECT=YES(.*)p1/.*/(.*\n)`,
			`$0${1}NAME="Other"${3}p1/other/$4`)},
		{"L90", "pictures and sound without date ranges", both(text("", "/video/", "#EXT-X-DATERANGE.*\n", ""), text("", "/aac/", "#EXT-X-DATERANGE.*\n", ""))},
		{"L90", "another value", text("", "/opus/", `CLASS="ads"`, `CLASS="spots"`)},
		{"L90", "a date range in one", text("media", "/opus/", "(#EXT-X-DATERANGE:ID=\"ad\",CLASS)", break4+"$1")},
		{"L68", "a delta loses a date range", text("delta", "/opus/", "#EXT-X-DATERANGE.*\n", "")},
		{"L69", "a delta of version 2 that has it", text("delta2", "/opus/", "(#EXT-X-PROGRAM)", "#EXT-X-DATERANGE:ID=\"ad\",CLASS=\"ads\",START-DATE=\"2026-11-20T12:00:03.000Z\",SCTE35-OUT=0xFC30\n$1")},
	} {
		t.Run(tt.items+" "+tt.name, func(t *testing.T) {
			events, changed := slices.Clone(good), false
			for i := range events {
				changed = tt.change(&events[i]) || changed
			}
			if !changed {
				t.Fatal("nothing was changed")
			}
			var c hlscheck.Checker
			check(&c, events)
			exactly(t, &c, tt.items)
		})
	}
}

// exactly fails the test unless there are violations of each item, and no others.
func exactly(t *testing.T, c *hlscheck.Checker, want string) {
	t.Helper()
	got := items(c)
	slices.Sort(got)
	if got = slices.Compact(got); strings.Join(got, " ") != want {
		all := c.Violations()
		t.Errorf("want %q, got %q: %d: %v", want, got, len(all), all[:min(len(all), 5)])
	}
}

// TestShapedPresentation has other media from the start.
func TestShapedPresentation(t *testing.T) {
	const video, small, aac, opus = 0, 1, 2, 3
	for _, tt := range []struct {
		items, name string
		shape       func(all []*track)
	}{
		{"L5", "the sound's dates are 20 ms off", func(all []*track) { all[opus].redated = 20 * time.Millisecond }},
		{"L8", "two tracks", func(all []*track) {
			second := edited(all[aac].inits[0], func(i *mp4.InitSegment) {
				if len(i.Moov.Traks) == 1 {
					i.AddEmptyTrack(48000, "audio", "und")
				}
			})
			all[aac].inits = [2][]byte{second, second}
		}},
		{"L10", "an edit list", func(all []*track) {
			list := edited(all[opus].inits[0], func(i *mp4.InitSegment) {
				if i.Moov.Trak.Edts == nil {
					edts := &mp4.EdtsBox{}
					edts.AddChild(&mp4.ElstBox{Entries: []mp4.ElstEntry{{MediaRateInteger: 1}}})
					i.Moov.Trak.AddChild(edts)
				}
			})
			all[opus].inits = [2][]byte{list, list}
		}},
		{"L21", "other parameters without a discontinuity", func(all []*track) {
			if all[video].segments != nil {
				all[video].segments[3].init, all[video].segments[4].init = 1, 1
			}
		}},
		{"L22", "two names of one init segment", func(all []*track) { all[opus].renamed = true }},
		{"", "a gap right after the discontinuity", func(all []*track) {
			if all[small].segments != nil {
				all[small].segments[breakAt].gap = true
			}
		}},
		{"L24", "a discontinuity more in one", func(all []*track) {
			if all[aac].segments != nil {
				all[aac].segments[3].disc = true
			}
		}},
		{"L69 L90", "one lists less", func(all []*track) { all[opus].window = 7 }},
		{"L91 L94", "pictures are cut 200 ms apart", func(all []*track) { all[small].offset = 18000 }},
		{"L94", "sound is cut 40 ms late", func(all []*track) { all[opus].offset = 1920 }},
		{"", "sound is cut a frame late", func(all []*track) { all[opus].offset = 960 }},
		{"L92", "the sound comes two parts late", func(all []*track) { all[opus].delay = 2 }},
		{"", "the sound comes a part late", func(all []*track) { all[opus].delay = 1 }},
	} {
		t.Run(tt.items+" "+tt.name, func(t *testing.T) {
			var c hlscheck.Checker
			check(&c, publication(t, tt.shape))
			exactly(t, &c, tt.items)
		})
	}
}

// edited changes an init segment; nil if it cannot be read.
func edited(body []byte, change func(*mp4.InitSegment)) []byte {
	f, err := mp4.DecodeFile(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	change(f.Init)
	var b bytes.Buffer
	if err := f.Init.Encode(&b); err != nil {
		return nil
	}
	return b.Bytes()
}

func TestPace(t *testing.T) { // L38
	events := publication(t, asIs)
	for _, tt := range []struct {
		items string
		pace  time.Duration
		from  int // the version of the pictures from which on it is late
		late  time.Duration
	}{
		{"", 50 * time.Millisecond, 100, 0},
		{"", 50 * time.Millisecond, 10, 60 * time.Millisecond},
		{"L38", 50 * time.Millisecond, 10, 80 * time.Millisecond},
		{"", 0, 10, time.Hour},
	} {
		c := hlscheck.Checker{Pace: tt.pace}
		var late []event
		for _, e := range alone(events, 1, 4*breakAt) {
			if e.n >= tt.from {
				e.at = e.at.Add(tt.late)
			}
			late = append(late, e)
		}
		check(&c, late)
		exactly(t, &c, tt.items)
	}
}

// alone returns the versions of the best pictures up to a number of parts, or
// from one on.
func alone(events []event, from, to int) []event {
	return slices.DeleteFunc(slices.Clone(events), func(e event) bool {
		return e.kind != "media" || e.uri != videoURI || e.n < from || e.n > to
	})
}

func TestRestart(t *testing.T) { // L18, L19, L21, L35
	normal := publication(t, asIs)
	short := publication(t, func(all []*track) { all[0].window = 7 })
	lost := publication(t, func(all []*track) {
		for _, c := range all[0].segments {
			c.gap = c.msn == 3 || c.msn == 4
		}
	})
	restart := event{kind: "restart"}
	for _, tt := range []struct {
		name, told, untold string
		before, after      []event
	}{
		{"gaps, then a discontinuity", "", "L35", alone(normal, 1, 14), alone(lost, 4*breakAt+1, 4*breakAt+9)},
		{"at a higher number", "", "L18", alone(normal, 1, 14), alone(short, 49, 55)},
		{"without a discontinuity", "L21", "L18", alone(normal, 1, 14), alone(normal, 53, 55)},
		{"at a lower number", "L18 L35 L58", "L35 L58", alone(normal, 1, 34), alone(normal, 25, 30)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c, u hlscheck.Checker
			check(&c, slices.Concat(tt.before, []event{restart}, tt.after))
			exactly(t, &c, tt.told)
			check(&u, slices.Concat(tt.before, tt.after))
			exactly(t, &u, tt.untold)
		})
	}
}
