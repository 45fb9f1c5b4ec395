package hls_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
)

func names(text string) []string {
	var all []string
	hls.Names([]byte(text), func(uri []byte, mark int) bool {
		at := "no mark"
		if mark >= 0 {
			at = strings.SplitN(text[mark:], "\n", 2)[0]
		}
		all = append(all, fmt.Sprintf("%s (%s)", uri, at))
		return true
	})
	return all
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", nil},
		{"no playlist", "\x00\xff#\n", []string{"\x00\xff# (no mark)"}},
		{"media", `#EXTM3U
#EXT-X-VERSION:6
#EXT-X-MAP:URI="init-1.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T12:00:00.000Z
#EXTINF:2.00000,
s1.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:BYTERANGE="1@2",URI="init-2.mp4"
#EXT-X-GAP
#EXTINF:2.00000,
s2.m4s
#EXTINF:1.50000,
s3.m4s
#EXT-X-PART:DURATION=0.5,URI="p7.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.5,URI="p8.m4s",GAP=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p9.m4s"
#EXT-X-RENDITION-REPORT:URI="../audio/index.m3u8",LAST-MSN=3
`, []string{
			"init-1.mp4 (no mark)", "s1.m4s (#EXTINF:2.00000,)", "init-2.mp4 (no mark)", "s3.m4s (#EXTINF:1.50000,)", "p7.m4s (no mark)",
		}},
		{"multivariant", `#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x,URI=y",URI="m1/audio/index.m3u8"
#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="c",NAME="x"
#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="avc1",AUDIO="a"
m1/video/index.m3u8
`, []string{"m1/audio/index.m3u8 (no mark)", "m1/video/index.m3u8 (no mark)"}},
		{"line ends of another system", "#EXTM3U\r\n#EXTINF:2,\r\ns1.m4s\r\n", []string{"s1.m4s (#EXTINF:2,\r)"}},
		{"cut off", "#EXTINF:2,\ns1", []string{"s1 (#EXTINF:2,)"}},
	} {
		if got := names(tt.text); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

// A gap that is put in at the mark is what the packager would have written.
func TestNamesMarksWhereAGapGoes(t *testing.T) {
	text := func(gap int) string {
		m := hls.NewMedia(hls.Config{Target: 2 * time.Second, Window: time.Minute})
		if err := m.SetInit("init.mp4"); err != nil {
			t.Fatal(err)
		}
		for n := range 5 {
			m.SetTime(time.Unix(int64(2*n), 0))
			if _, err := m.CloseSegment(hls.Segment{URI: fmt.Sprintf("s%d.m4s", n), Duration: 2 * time.Second, Gap: n == gap}); err != nil {
				t.Fatal(err)
			}
		}
		var all strings.Builder
		for _, piece := range m.Plain() {
			all.Write(piece)
		}
		return all.String()
	}
	whole := text(-1)
	hls.Names([]byte(whole), func(uri []byte, mark int) bool {
		var n int
		if _, err := fmt.Sscanf(string(uri), "s%d.m4s", &n); err != nil {
			return true
		}
		if got, want := whole[:mark]+hls.Gap+whole[mark:], text(n); got != want {
			t.Errorf("gap %d:\n%s\nwant\n%s", n, got, want)
		}
		return true
	})
	seen := 0
	hls.Names([]byte(whole), func([]byte, int) bool { seen++; return seen < 2 })
	if seen != 2 {
		t.Errorf("went on after it was told to stop: %d", seen)
	}
}

func FuzzNames(f *testing.F) {
	f.Add([]byte("#EXTM3U\n#EXT-X-MAP:URI=\"a\"\n#EXTINF:2,\ns1.m4s\n"))
	f.Add([]byte("#EXT-X-MEDIA:A=\"b,URI=\"c\",URI=\"d\"\r\n#EXT-X-GAP\n\ns"))
	f.Fuzz(func(t *testing.T, text []byte) {
		hls.Names(text, func(uri []byte, mark int) bool {
			if mark >= len(text) || mark < -1 || len(uri) > len(text) {
				t.Fatalf("%q at %d of %d bytes", uri, mark, len(text))
			}
			if mark > 0 && text[mark-1] != '\n' {
				t.Fatalf("mark %d is not the beginning of a line", mark)
			}
			return true
		})
	})
}
