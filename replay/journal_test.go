package replay

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
)

func lines(t *testing.T, path string) []string {
	t.Helper()
	var all []string
	if err := readJournal(path, func(line []byte) error {
		all = append(all, string(line))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := lines(t, path); len(got) != 0 {
		t.Errorf("before the first line: %q", got)
	}
	j := &journal{path: path}
	if _, err := j.append([]byte("one\ntwo\n"), nil); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(journalFile(path, 0), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("thr"); err != nil { // killed
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, path); strings.Join(got, ",") != "one,two" {
		t.Errorf("with half a line at the end: %q", got)
	}
	j = &journal{path: path}
	if _, err := j.append([]byte("four\n"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := j.append([]byte(strings.Repeat("x", 2*maxLine)+"\nfive\n"), nil); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, path); strings.Join(got, ",") != "one,two,thr torn,four,five" {
		t.Errorf("after the next start: %q", got)
	}
}

// TestJournalIsBounded: the oldest file goes when there are too many; a new file
// begins with what is needed to read it.
func TestJournalIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	j := &journal{path: path}
	block := []byte(strings.Repeat("x\n", fileLines))
	dropped := 0
	for range maxFiles + 3 {
		gone, err := j.append(block, func() []byte { return []byte("head\n") })
		if err != nil {
			t.Fatal(err)
		}
		if gone {
			dropped++
		}
	}
	files, err := journalFiles(path)
	if err != nil || len(files) != maxFiles || dropped != 3 || files[0] != 3 {
		t.Errorf("%d files from %d on, %d dropped, %v", len(files), files[0], dropped, err)
	}
	if content, err := os.ReadFile(journalFile(path, 5)); err != nil || !strings.HasPrefix(string(content), "head\nx\n") {
		t.Errorf("a file begins with %.10q, %v", content, err)
	}
}

// dayLong writes the record of a day of so many renditions.
func dayLong(t testing.TB, renditions int) (folder string, segments int) {
	t.Helper()
	folder = t.TempDir()
	j := &journal{path: filepath.Join(folder, recordName)}
	segments = int(24 * time.Hour / (2 * time.Second))
	var b []byte
	var err error
	for r := range renditions {
		d := hls.Description{Rendition: fmt.Sprintf("video-%d", r), Target: 2 * time.Second, Codecs: "avc1.64001f", Width: 1280, Height: 720}
		if b, err = hls.AppendDescription(b, d); err != nil {
			t.Fatal(err)
		}
	}
	for msn := range segments {
		for r := range renditions {
			b = hls.AppendEntry(b, hls.Entry{Rendition: fmt.Sprintf("video-%d", r), MSN: uint64(msn), Bytes: 500_000, Listed: hls.Listed{
				Segment: hls.Segment{URI: fmt.Sprintf("s%08d.m4s", msn), Duration: 2 * time.Second}, Init: "init-a1b2c3d4.mp4",
				Time: time.Unix(1_800_000_000, 0).Add(time.Duration(msn) * 2 * time.Second),
			}})
		}
		if len(b) > 1<<16 {
			if _, err := j.append(b, nil); err != nil {
				t.Fatal(err)
			}
			b = b[:0]
		}
	}
	if _, err := j.append(b, nil); err != nil {
		t.Fatal(err)
	}
	return folder, segments
}

func everything(*rendition) (func(*segment) bool, error) {
	return func(*segment) bool { return true }, nil
}

// TestDayLong: a day of four qualities with two sounds is some 30 MB on disk, and
// while its replay is made some 100 bytes a segment in memory.
func TestDayLong(t *testing.T) {
	folder, segments := dayLong(t, 6)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c, err := load(folder)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if len(c.slots) != segments || len(c.renditions) != 6 {
		t.Fatalf("%d slots, %d renditions", len(c.slots), len(c.renditions))
	}
	if each := int64(after.HeapAlloc-before.HeapAlloc) / int64(6*segments); each > 130 { //nolint:gosec // a heap
		t.Errorf("%d bytes a segment", each)
	} else {
		t.Logf("%d bytes a segment", each)
	}
	v, err := c.see(c.slots, everything)
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := v.media(0, hls.Replay{})
	if err != nil || strings.Count(string(text), "#EXTINF") != segments {
		t.Errorf("%d bytes of playlist, %v", len(text), err)
	}
	t.Logf("playlist of a day: %d bytes", len(text))
	runtime.KeepAlive(c)
}

// TestContents: a number that comes twice means the later one, one that a rendition
// lacks is a gap there, one that all lack is a discontinuity.
func TestContents(t *testing.T) {
	var c contents
	for line := range strings.SplitSeq(strings.TrimSpace(`
{"rendition":"video","target":2000000000,"codecs":"avc1.64001f","width":640,"height":360}
{"rendition":"video","target":2000000000,"codecs":"avc1.640020","width":1280,"height":720}
{"rendition":"video","target":2000000000,"codecs":"avc1.64001e","width":320,"height":180}
{"rendition":"aac","target":2000000000,"codecs":"mp4a.40.2","channels":2}
s unknown 0 200000 1 s00000000.m4s init-1.mp4 1800000000000 -
s video 3 200000 1 s00000003.m4s init-1.mp4 1800000006000 -
s aac 3 200000 1 s00000003.m4s init-1.mp4 1800000006000 -
s video 4 200000 1 s00000004.m4s init-1.mp4 1800000008000 -
s video 4 100000 1 s00000004-1.m4s init-1.mp4 1800000008000 d
s aac 5 150000 1 s00000005-1.m4s init-1.mp4 1800000009000 -
s video 5 150000 1 s00000005-1.m4s init-1.mp4 - -
s video 9 200000 1 s00000009.m4s init-1.mp4 1800000020000 -
damaged
s aac 9 200000 1 s00000009.m4s init-1.mp4 1800000020000 g
`), "\n") {
		c.line([]byte(line))
	}
	c.finish()
	v, err := c.see(c.slots, everything)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"video": "3,4 d,5,9 d", "aac": "3,4 dg,5,9 dg",
	}
	for i, r := range c.renditions {
		text, _, err := v.media(i, hls.Replay{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		mark := ""
		for line := range strings.Lines(string(text)) {
			switch line = strings.TrimSpace(line); {
			case line == "#EXT-X-DISCONTINUITY":
				mark += "d"
			case line == "#EXT-X-GAP":
				mark += "g"
			case strings.HasPrefix(line, "s"):
				var n int
				if _, err := fmt.Sscanf(line, "s%08d", &n); err != nil {
					t.Fatal(err)
				}
				got = append(got, strings.TrimSpace(fmt.Sprint(n, " ", mark)))
				mark = ""
			}
		}
		if s := strings.Join(got, ","); s != want[r.Rendition] {
			t.Errorf("%s: %s, want %s\n%s", r.Rendition, s, want[r.Rendition], text)
		}
		if r.Rendition == "video" && (r.Codecs != "avc1.640020" || r.Width != 1280 || !strings.Contains(string(text), "s00000004-1.m4s")) {
			t.Errorf("R20: %+v\n%s", r.Description, text)
		}
	}
	if d := v.duration(); d != 6500*time.Millisecond {
		t.Errorf("duration %v", d)
	}
}
