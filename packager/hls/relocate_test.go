package hls_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whipcast/whipcast/packager/hls"
)

func relocation(there ...string) hls.Relocation {
	return hls.Relocation{
		Prefix: func(uri []byte) (string, bool) {
			if !slices.Contains(there, string(uri)) {
				return "", string(uri) == "lost.m4s"
			}
			return "https://cdn.example.org/live/show/1/video/", false
		},
		Report: func(uri []byte) (uint64, int, bool) { return 7, 1, string(uri) == "../aac/index.m3u8" },
	}
}

// specs L26, L56, L58: files that are there get an absolute URI, all others stay;
// no hint; reports of what can be read.
func TestRelocateLowLatency(t *testing.T) {
	const text = `#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:6
#EXT-X-DATERANGE:ID="p2.m4s",START-DATE="2026-01-01T00:00:00.000Z",X-URI="s6.m4s"
#EXT-X-MAP:URI="init-1.mp4"
#EXT-X-PART:DURATION=0.50000,URI="p1.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.50000,URI="p2.m4s"
#EXTINF:1.00000,
s6.m4s
#EXT-X-GAP
#EXTINF:1.00000,
s7.m4s
#EXT-X-PART:DURATION=0.50000,URI="p5.m4s",GAP=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p6.m4s"
#EXT-X-RENDITION-REPORT:URI="../aac/index.m3u8",LAST-MSN=8,LAST-PART=0
#EXT-X-RENDITION-REPORT:URI="../audio/index.m3u8",LAST-MSN=8,LAST-PART=0
`
	const want = `#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:6
#EXT-X-DATERANGE:ID="p2.m4s",START-DATE="2026-01-01T00:00:00.000Z",X-URI="s6.m4s"
#EXT-X-MAP:URI="https://cdn.example.org/live/show/1/video/init-1.mp4"
#EXT-X-PART:DURATION=0.50000,URI="p1.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.50000,URI="https://cdn.example.org/live/show/1/video/p2.m4s"
#EXTINF:1.00000,
https://cdn.example.org/live/show/1/video/s6.m4s
#EXT-X-GAP
#EXTINF:1.00000,
s7.m4s
#EXT-X-PART:DURATION=0.50000,URI="p5.m4s",GAP=YES
#EXT-X-RENDITION-REPORT:URI="../aac/index.m3u8",LAST-MSN=7,LAST-PART=1
`
	got := string(relocation("init-1.mp4", "p2.m4s", "s6.m4s").Apply([]byte(text)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// specs L27: a segment that is nowhere is a gap, once.
func TestRelocateGaps(t *testing.T) {
	const text = "#EXTINF:1,\nlost.m4s\n#EXTINF:1,\ns.m4s\n#EXT-X-GAP\n#EXTINF:1,\nlost.m4s\n#EXTINF:1,\n#EXT-X-GAP\nlost.m4s\nlost.m4s\n"
	const want = "#EXT-X-GAP\n#EXTINF:1,\nlost.m4s\n#EXTINF:1,\ns.m4s\n#EXT-X-GAP\n#EXTINF:1,\nlost.m4s\n#EXTINF:1,\n#EXT-X-GAP\nlost.m4s\nlost.m4s\n"
	if got := string(relocation().Apply([]byte(text))); got != want {
		t.Errorf("%q became %q", text, got)
	}
}

// specs L51: what may be late is held back longer, in all versions alike.
func TestRelocateHoldsBack(t *testing.T) {
	const line = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK="
	for from, want := range map[string]string{
		line + "1.5,CAN-SKIP-UNTIL=12\n": line + "2,CAN-SKIP-UNTIL=12\n",
		line + "0.99999\r\n":             line + "1.49999\r\n",
		line + "1":                       line + "1.5",
		line + "x\n":                     line + "x\n",
		line + "99999\n":                 line + "99999\n",
		"#EXT-X-SERVER-CONTROL:A=B\n":    "#EXT-X-SERVER-CONTROL:A=B\n",
	} {
		r := relocation()
		r.Late = 500 * time.Millisecond
		if got := string(r.Apply([]byte(from))); got != want {
			t.Errorf("%q became %q, want %q", from, got, want)
		}
	}
}

// specs L52, L54, S7: a playlist without parts can be asked for by its next segment.
func TestRelocatePlain(t *testing.T) {
	m := hls.NewMedia(hls.Config{Target: 2 * time.Second, Part: time.Second, Window: time.Minute})
	if err := m.SetInit("init-1.mp4"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CloseSegment(hls.Segment{URI: "s0.m4s", Duration: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	r := relocation("s0.m4s")
	r.Block = true
	got := string(r.Apply(bytes.Join(m.Plain(), nil)))
	const want = `#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK=6
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="init-1.mp4"
#EXTINF:2.00000,
https://cdn.example.org/live/show/1/video/s0.m4s
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Without anything at the other place only hints and reports go; with everything
// there, taking the prefix away gives the same.
func FuzzRelocate(f *testing.F) {
	f.Add([]byte("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"i\"\n#EXTINF:1,\ns\n"))
	f.Add([]byte("#EXT-X-PART:URI=\"a\",X=\"URI=\"\r\n#EXT-X-PRELOAD-HINT:URI=\"x\"\n#EXT-X-RENDITION-REPORT:LAST-MSN=1"))
	f.Add([]byte("#EXT-X-TARGETDURATION:"))
	f.Add([]byte("\n\r\n#"))
	const prefix = "https://cdn.example.org/"
	f.Fuzz(func(t *testing.T, text []byte) {
		kept := strings.Builder{}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#EXT-X-PRELOAD-HINT:") {
				kept.WriteString(line)
			}
		}
		none := hls.Relocation{Prefix: func([]byte) (string, bool) { return "", false }}
		if got := string(none.Apply(text)); got != kept.String() {
			t.Errorf("nothing is elsewhere: %q became %q", text, got)
		}
		all := hls.Relocation{Prefix: func([]byte) (string, bool) { return prefix, false }, Block: true}
		moved := string(all.Apply(text))
		if strings.Contains(string(text), prefix) || strings.Contains(string(text), "SERVER-CONTROL") {
			return
		}
		back := strings.Builder{}
		for line := range strings.Lines(strings.ReplaceAll(moved, prefix, "")) {
			if !strings.HasPrefix(line, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK=") {
				back.WriteString(line)
			}
		}
		if back.String() != kept.String() {
			t.Errorf("everything is elsewhere: %q became %q", text, moved)
		}
	})
}
