package hlscheck_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

const videoURI, audioURI = "show/p1/video/index.m3u8", "show/p1/audio/index.m3u8"

// version renders a small playlist by hand: three segments of 2 s from MSN 41
// on, a discontinuity before the open segment, one or two parts in it.
func version(parts int) string {
	var b strings.Builder
	b.WriteString(`#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:41
#EXT-X-DISCONTINUITY-SEQUENCE:1
#EXT-X-MAP:URI="init-a1b2c3d4.mp4"
`)
	for i := range 3 {
		fmt.Fprintf(&b, "#EXT-X-PROGRAM-DATE-TIME:2026-11-20T12:00:%02d.000Z\n", 2*i)
		if i == 2 {
			for j := range 4 {
				fmt.Fprintf(&b, "#EXT-X-PART:DURATION=0.50000,URI=\"p%d.m4s\"", j)
				if j == 0 {
					b.WriteString(",INDEPENDENT=YES")
				}
				b.WriteString("\n")
			}
		}
		fmt.Fprintf(&b, "#EXTINF:2.00000,\ns%08d.m4s\n", 41+i)
	}
	b.WriteString("#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-e5f60718.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-11-20T12:00:06.000Z\n")
	b.WriteString("#EXT-X-PART:DURATION=0.50000,URI=\"p4.m4s\",INDEPENDENT=YES\n")
	if parts == 2 {
		b.WriteString("#EXT-X-PART:DURATION=0.46667,URI=\"p5.m4s\"\n")
	}
	fmt.Fprintf(&b, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p%d.m4s\"\n", 4+parts)
	b.WriteString("#EXT-X-RENDITION-REPORT:URI=\"../audio/index.m3u8\",LAST-MSN=44,LAST-PART=0\n")
	return b.String()
}

func items(c *hlscheck.Checker) []string {
	var got []string
	for _, v := range c.Violations() {
		got = append(got, v.Item)
	}
	return got
}

func TestGoodVersionsPass(t *testing.T) {
	var c hlscheck.Checker
	for _, body := range []string{version(1), version(2), version(2)} {
		c.Media(videoURI, time.Time{}, []byte(body))
	}
	if v := c.Violations(); len(v) != 0 {
		t.Error(v)
	}
	if c.Versions(videoURI) != 3 || c.Versions("other") != 0 {
		t.Error("versions miscounted")
	}
}

func TestBrokenRulesAreNamed(t *testing.T) {
	for _, tt := range []struct {
		item, name string
		old, next  string // replaced in the second version
	}{
		{"L11", "byte order mark", "#EXTM3U", "\ufeff#EXTM3U"},
		{"L11", "control character", "s00000041", "s0000\x010041"},
		{"L12", "attribute twice", "PART-TARGET=0.5", "PART-TARGET=0.5,PART-TARGET=0.5"},
		{"L12", "space in a list", "YES,PART-HOLD-BACK", "YES, PART-HOLD-BACK"},
		{"L12", "header tag twice", "#EXT-X-VERSION:6\n", "#EXT-X-VERSION:6\n#EXT-X-VERSION:6\n"},
		{"L12", "unknown tag", "#EXT-X-VERSION:6\n", "#EXT-X-VERSION:6\n#EXT-X-WONDER\n"},
		{"L13", "multivariant tag", "#EXT-X-VERSION:6\n", "#EXT-X-VERSION:6\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"},
		{"L14", "version too high", "VERSION:6", "VERSION:9"},
		{"L15", "segment above the target", "#EXTINF:2.00000", "#EXTINF:2.60000"},
		{"L42", "target changes", "TARGETDURATION:2", "TARGETDURATION:3"},
		{"L17", "too few decimals", "#EXTINF:2.00000", "#EXTINF:2.0"},
		{"L18", "media sequence goes back", "MEDIA-SEQUENCE:41", "MEDIA-SEQUENCE:40"},
		{"L19", "discontinuity sequence rises alone", "DISCONTINUITY-SEQUENCE:1", "DISCONTINUITY-SEQUENCE:2"},
		{"L20", "playlist type", "#EXT-X-VERSION:6\n", "#EXT-X-VERSION:6\n#EXT-X-PLAYLIST-TYPE:EVENT\n"},
		{"L22", "no map after a discontinuity", "#EXT-X-MAP:URI=\"init-e5f60718.mp4\"\n", ""},
		{"L23", "date after the first part", "INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.46667", "INDEPENDENT=YES\n#EXT-X-PROGRAM-DATE-TIME:2026-11-20T12:00:06.000Z\n#EXT-X-PART:DURATION=0.46667"},
		{"L25", "date without zone", "12:00:02.000Z", "12:00:02.000"},
		{"L26", "date jumps", "12:00:02.000Z", "12:00:07.000Z"},
		{"L3", "parts do not add up", "#EXTINF:2.00000,\ns00000043", "#EXTINF:2.20000,\ns00000043"},
		{"L35", "a part changes", "DURATION=0.50000,URI=\"p2.m4s\"", "DURATION=0.49000,URI=\"p2.m4s\""},
		{"L41", "a segment's URI changes", "s00000042.m4s", "s10000042.m4s"},
		{"L43", "part above PART-TARGET", "DURATION=0.46667", "DURATION=0.50001"},
		{"L44", "short part", "DURATION=0.50000,URI=\"p2.m4s\"", "DURATION=0.40000,URI=\"p2.m4s\""},
		{"L47", "no INDEPENDENT", "p4.m4s\",INDEPENDENT=YES", "p4.m4s\""},
		{"L50", "SERVER-CONTROL changes", "PART-HOLD-BACK=1.5", "PART-HOLD-BACK=1.6"},
		{"L51", "hold back too short", "PART-HOLD-BACK=1.5", "PART-HOLD-BACK=1.25"},
		{"L51", "no hold back", ",PART-HOLD-BACK=1.5", ""},
		{"L53", "skip boundary too short", "PART-HOLD-BACK=1.5", "PART-HOLD-BACK=1.5,CAN-SKIP-UNTIL=4"},
		{"L54", "no blocking", "CAN-BLOCK-RELOAD=YES,", ""},
		{"L55", "no hint", "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p6.m4s\"\n", ""},
		{"L56", "another part than hinted", "p5.m4s", "p7.m4s"},
		{"L58", "absolute report", "../audio", "/audio"},
		{"L67", "skip not asked for", "#EXT-X-MAP:URI=\"init-a1b2c3d4.mp4\"\n", "#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n"},
		{"L32", "hint after the end", "#EXT-X-PRELOAD-HINT", "#EXT-X-ENDLIST\n#EXT-X-PRELOAD-HINT"},
		{"L2", "no map", "#EXT-X-MAP:URI=\"init-a1b2c3d4.mp4\"\n", ""},
	} {
		t.Run(tt.item+" "+tt.name, func(t *testing.T) {
			var c hlscheck.Checker
			c.Media(videoURI, time.Time{}, []byte(version(1)))
			bad := strings.Replace(version(2), tt.old, tt.next, 1)
			if bad == version(2) {
				t.Fatalf("%q is not in the playlist", tt.old)
			}
			c.Media(videoURI, time.Time{}, []byte(bad))
			if !slices.Contains(items(&c), tt.item) {
				t.Errorf("want %s, got %v", tt.item, c.Violations())
			}
		})
	}
}

func TestWindowAndRenditions(t *testing.T) {
	var c hlscheck.Checker
	c.Media(videoURI, time.Time{}, []byte(version(1)))
	short := version(2)
	begin, end := strings.Index(short, "#EXT-X-PROGRAM-DATE-TIME:2026-11-20T12:00:00"), strings.Index(short, "#EXT-X-PROGRAM-DATE-TIME:2026-11-20T12:00:04")
	short = strings.Replace(short[:begin]+short[end:], "SEQUENCE:41", "SEQUENCE:43", 1)
	c.Media(videoURI, time.Time{}, []byte(short))
	if !slices.Contains(items(&c), "L39") {
		t.Errorf("want L39, got %v", c.Violations())
	}

	var pair hlscheck.Checker
	pair.Media(videoURI, time.Time{}, []byte(version(2)))
	other := strings.NewReplacer("../audio", "../video").Replace(version(2))
	pair.Media(audioURI, time.Time{}, []byte(other))
	if v := pair.Violations(); len(v) != 0 {
		t.Error(v)
	}
	shifted := strings.Replace(other, "DISCONTINUITY-SEQUENCE:1", "DISCONTINUITY-SEQUENCE:5", 1)
	shifted = strings.Replace(shifted, "PART-TARGET=0.5", "PART-TARGET=0.6", 1)
	shifted = strings.Replace(shifted, "../video", "../elsewhere", 1)
	var bad hlscheck.Checker
	bad.Media(videoURI, time.Time{}, []byte(version(2)))
	bad.Media(audioURI, time.Time{}, []byte(shifted))
	for _, want := range []string{"L24", "L15", "L58"} {
		if !slices.Contains(items(&bad), want) {
			t.Errorf("want %s, got %v", want, bad.Violations())
		}
	}
}

// A MAP is only needed where media is.
func TestGapsNeedNoMap(t *testing.T) { // L22
	gap := "#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2026-11-20T12:00:06.000Z\n#EXT-X-GAP\n#EXTINF:2.00000,\ns00000044.m4s\n"
	cut := strings.Index(version(1), "#EXT-X-DISCONTINUITY\n")
	before, after := version(1)[:cut], strings.Replace(version(1)[cut:], "#EXT-X-DISCONTINUITY\n", gap, 1)
	after = strings.NewReplacer("06.000Z\n#EXT-X-PART", "08.000Z\n#EXT-X-PART", "LAST-MSN=44", "LAST-MSN=45").Replace(after)
	var c, bad hlscheck.Checker
	c.Media(videoURI, time.Time{}, []byte(before+after))
	only(t, &c, "")
	bad.Media(videoURI, time.Time{}, []byte(before+strings.Replace(after, "#EXT-X-MAP:URI=\"init-e5f60718.mp4\"\n", "", 1)))
	only(t, &bad, "L22")
}

func TestStaticPlaylistMustBePlain(t *testing.T) { // S7
	c := hlscheck.Checker{Static: true}
	c.Media(videoURI, time.Time{}, []byte(version(1)))
	if !slices.Contains(items(&c), "S7") {
		t.Errorf("got %v", c.Violations())
	}
}

func TestDelta(t *testing.T) { // L68
	full := strings.Replace(version(1), "PART-HOLD-BACK=1.5", "PART-HOLD-BACK=1.5,CAN-SKIP-UNTIL=12", 1)
	long := strings.Replace(full, "#EXT-X-MAP:URI=\"init-a1b2c3d4.mp4\"\n", "#EXT-X-MAP:URI=\"init-a1b2c3d4.mp4\"\n"+older(), 1)
	delta := strings.Replace(full, "#EXT-X-MAP:URI=\"init-a1b2c3d4.mp4\"\n", "#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n"+older()[len(older())/5*2:], 1)
	delta = strings.Replace(delta, "VERSION:6", "VERSION:9", 1)
	var c hlscheck.Checker
	c.Delta(videoURI, []byte(long), []byte(delta))
	if v := c.Violations(); len(v) != 0 {
		t.Fatal(v)
	}
	for name, bad := range map[string]string{
		"line differs":     strings.Replace(delta, "#EXTINF:2.00000,\ns00000042", "#EXTINF:1.90000,\ns00000042", 1),
		"count differs":    strings.Replace(delta, "SKIPPED-SEGMENTS=2", "SKIPPED-SEGMENTS=3", 1),
		"sequence differs": strings.Replace(delta, "SEQUENCE:41", "SEQUENCE:42", 1),
	} {
		var c hlscheck.Checker
		c.Delta(videoURI, []byte(long), []byte(bad))
		if !slices.Contains(items(&c), "L68") {
			t.Errorf("%s: got %v", name, c.Violations())
		}
	}
}

// older returns five segments of the same length in bytes.
func older() string {
	var b strings.Builder
	for i := range 5 {
		fmt.Fprintf(&b, "#EXT-X-PROGRAM-DATE-TIME:2026-11-20T11:59:%02d.000Z\n#EXTINF:2.00000,\ns%08d.m4s\n", 50+2*i, 31+i)
	}
	return b.String()
}

func TestFiles(t *testing.T) { // L3
	for _, tt := range []struct {
		whole string
		want  int
	}{{"abcd", 0}, {"abcx", 1}} {
		var c hlscheck.Checker
		c.Media(videoURI, time.Time{}, []byte(version(1)))
		for i, b := range []string{"a", "b", "c", "d"} {
			c.File(fmt.Sprintf("show/p1/video/p%d.m4s", i), []byte(b))
		}
		c.File("show/p1/video/s00000043.m4s", []byte(tt.whole))
		if n := c.CheckFiles(); n != 1 || len(c.Violations()) != tt.want {
			t.Errorf("%d compared, %v", n, c.Violations())
		}
	}
	var c hlscheck.Checker
	c.File("a", []byte("1"))
	c.File("a", []byte("2"))
	if !slices.Equal(items(&c), []string{"L41"}) {
		t.Errorf("got %v", c.Violations())
	}
}

func TestMultivariant(t *testing.T) {
	good := `#EXTM3U
#EXT-X-VERSION:6
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="opus",NAME="Opus",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="p1/audio/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=3000000,AVERAGE-BANDWIDTH=2500000,CODECS="avc1.42c01f,Opus",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO="opus"
p1/video/index.m3u8
`
	var c hlscheck.Checker
	uris := c.Multivariant("show/index.m3u8", []byte(good))
	if v := c.Violations(); len(v) != 0 || !slices.Equal(uris, []string{videoURI, audioURI}) {
		t.Errorf("%v %v", uris, v)
	}
	for item, change := range map[string][2]string{
		"L6":  {"#EXT-X-INDEPENDENT-SEGMENTS\n", ""},
		"L13": {"#EXT-X-VERSION:6\n", "#EXT-X-TARGETDURATION:6\n"},
		"L74": {",AVERAGE-BANDWIDTH=2500000", ""},
		"L75": {",Opus\"", "\""},
		"L76": {",FRAME-RATE=30.000", ""},
		"L78": {"AUDIO=\"opus\"\np1", "AUDIO=\"aac\"\np1"},
	} {
		var c hlscheck.Checker
		c.Multivariant("show/index.m3u8", []byte(strings.Replace(good, change[0], change[1], 1)))
		if !slices.Contains(items(&c), item) {
			t.Errorf("want %s, got %v", item, c.Violations())
		}
	}
}

func FuzzMedia(f *testing.F) {
	full, delta := skippable([]string{out, in, inter}, []string{point}, ",RECENTLY-REMOVED-DATERANGES=\"early\tother\"")
	f.Add([]byte(version(1)), []byte(version(2)))
	f.Add([]byte("\n#EXT-X-MEDIA-SEQUENCE:7"), []byte("0"))
	f.Add([]byte("#EXT-X-SKIP:SKIPPED-SEGMENTS=3"), []byte(version(1)))
	f.Add([]byte(full), []byte(delta))
	f.Add([]byte(strings.ReplaceAll(version(1), "URI=", "GAP=YES,URI=")), []byte(strings.ReplaceAll(version(2), "#EXTINF", "#EXT-X-GAP\n#EXTINF")))
	f.Fuzz(func(_ *testing.T, a, b []byte) {
		var c hlscheck.Checker
		c.Multivariant("show/index.m3u8", a)
		c.Media(videoURI, noon(), a)
		c.Media(audioURI, noon(), b)
		c.Restart()
		c.Media(videoURI, noon().Add(time.Second), b)
		c.Delta(videoURI, a, b)
		c.CheckFiles()
		c.Ladder(videoURI)
	})
}
