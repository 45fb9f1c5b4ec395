package hls

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The parser of the tests. It knows what a client knows: the specification.

// listed is one segment as a client understands it.
type listed struct {
	msn   uint64
	head  []string // its own lines before the parts, without EXT-X-MAP
	init  string   // the EXT-X-MAP in force
	parts []string // EXT-X-PART lines
	tail  []string // GAP, EXTINF and the URI; empty while it is open
}

// parsed is a media playlist as a client understands it.
type parsed struct {
	header        []string // lines before the sequence numbers
	first         uint64
	discontinuity uint64
	skipped       int
	removed       []string // RECENTLY-REMOVED-DATERANGES; nil without the attribute
	ranges        []string // EXT-X-DATERANGE lines
	segments      []listed // the last may be open
	end           []string // hints, reports, ENDLIST
	body          []string // all lines of segments
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func lines(pieces [][]byte) []string {
	var text strings.Builder
	for _, p := range pieces {
		text.Write(p)
	}
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

func number(t failer, line string) uint64 {
	t.Helper()
	_, value, _ := strings.Cut(line, ":")
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	return n
}

// parse reads a playlist and fails where it breaks the order of tags.
func parse(t failer, pieces [][]byte) parsed {
	t.Helper()
	var p parsed
	var cur listed
	var mapLine string
	inBody := false
	flush := func() {
		p.segments = append(p.segments, cur)
		cur = listed{}
	}
	for _, line := range lines(pieces) {
		tag, _, _ := strings.Cut(line, ":")
		if len(p.end) > 0 && tag != "#EXT-X-RENDITION-REPORT" && tag != "#EXT-X-PRELOAD-HINT" {
			t.Fatalf("%q follows %q", line, p.end[len(p.end)-1])
		}
		switch tag {
		case "#EXTM3U", "#EXT-X-VERSION", "#EXT-X-TARGETDURATION", "#EXT-X-SERVER-CONTROL", "#EXT-X-PART-INF":
			if inBody {
				t.Fatalf("%q follows a segment's tags", line)
			}
			p.header = append(p.header, line)
			continue
		case "#EXT-X-MEDIA-SEQUENCE":
			p.first = number(t, line)
			continue
		case "#EXT-X-DISCONTINUITY-SEQUENCE":
			p.discontinuity = number(t, line)
			continue
		case "#EXT-X-SKIP":
			_, n, _ := strings.Cut(line, "SKIPPED-SEGMENTS=")
			n, removed, found := strings.Cut(n, ",RECENTLY-REMOVED-DATERANGES=")
			p.skipped, _ = strconv.Atoi(n)
			if found {
				p.removed = strings.Split(strings.Trim(removed, `"`), "\t")
			}
			continue
		case "#EXT-X-DATERANGE":
			if inBody {
				t.Fatalf("%q follows a segment's tags", line)
			}
			p.ranges = append(p.ranges, line)
			continue
		case "#EXT-X-PRELOAD-HINT", "#EXT-X-RENDITION-REPORT", "#EXT-X-ENDLIST":
			p.end = append(p.end, line)
			continue
		}
		inBody = true
		p.body = append(p.body, line)
		switch {
		case tag == "#EXT-X-DISCONTINUITY", tag == "#EXT-X-PROGRAM-DATE-TIME", tag == "#EXT-X-MAP":
			if len(cur.parts)+len(cur.tail) > 0 {
				t.Fatalf("L23: %q follows %v %v", line, cur.parts, cur.tail)
			}
			if tag == "#EXT-X-MAP" {
				mapLine = line
			} else {
				cur.head = append(cur.head, line)
			}
		case tag == "#EXT-X-PART":
			cur.parts = append(cur.parts, line)
		case tag == "#EXT-X-GAP", tag == "#EXTINF":
			cur.tail = append(cur.tail, line)
		case line == "" || line[0] == '#':
			t.Fatalf("unexpected line %q", line)
		default:
			cur.tail = append(cur.tail, line)
			cur.init = mapLine
			flush()
		}
	}
	if len(cur.head)+len(cur.parts) > 0 {
		cur.init = mapLine
		flush()
	}
	for i := range p.segments {
		p.segments[i].msn = p.first + uint64(p.skipped+i)
	}
	return p
}

// merge applies a delta update to an older version (specs L68).
func merge(t failer, old, delta parsed) parsed {
	t.Helper()
	out := delta
	out.skipped, out.removed = 0, nil
	// Date ranges: what was known, without what went, and what came.
	out.ranges = slices.DeleteFunc(slices.Clone(old.ranges), func(line string) bool {
		return slices.Contains(delta.removed, attribute(line, "ID"))
	})
	for _, line := range delta.ranges {
		if !slices.Contains(out.ranges, line) {
			out.ranges = append(out.ranges, line)
		}
	}
	if len(out.ranges) == 0 {
		out.ranges = nil // as without any
	}
	out.body = nil
	out.segments = nil
	for msn := delta.first; msn < delta.first+uint64(delta.skipped); msn++ {
		i := int(msn - old.first)
		if msn < old.first || i >= len(old.segments) {
			t.Fatalf("L68: segment %d is skipped, but the older version has %d to %d", msn, old.first, old.first+uint64(len(old.segments))-1)
		}
		out.segments = append(out.segments, old.segments[i])
	}
	init := out.segments[len(out.segments)-1].init
	for _, s := range delta.segments {
		if s.init == "" {
			s.init = init // it is in the part that was skipped
		}
		out.segments = append(out.segments, s)
	}
	return out
}

func (s listed) complete() bool { return len(s.tail) > 0 }

func (s listed) seconds(t failer) float64 {
	t.Helper()
	for _, line := range s.tail {
		if rest, ok := strings.CutPrefix(line, "#EXTINF:"); ok {
			return seconds(t, strings.TrimSuffix(rest, ","))
		}
	}
	var sum float64
	for _, p := range s.parts {
		_, rest, _ := strings.Cut(p, "DURATION=")
		value, _, _ := strings.Cut(rest, ",")
		sum += seconds(t, value)
	}
	return sum
}

func seconds(t failer, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatalf("duration %q: %v", s, err)
	}
	return f
}

func (s listed) broken() bool {
	return len(s.head) > 0 && s.head[0] == "#EXT-X-DISCONTINUITY"
}

func TestParserNotices(t *testing.T) {
	for _, text := range []string{
		"#EXTM3U\n#EXT-X-PART:DURATION=1,URI=\"p\"\n#EXT-X-DISCONTINUITY\n",
		"#EXTM3U\n#EXT-X-ENDLIST\n#EXTINF:1,\ns\n",
		"#EXTM3U\n#EXTINF:1,\ns\n#EXT-X-TARGETDURATION:2\n",
	} {
		f := new(recorder)
		var wg sync.WaitGroup
		wg.Go(func() { parse(f, [][]byte{[]byte(text)}) })
		wg.Wait()
		if f.message == "" {
			t.Errorf("not noticed: %s", text)
		}
	}
}

// recorder is a failer that keeps the message and, like a test, ends its
// goroutine.
type recorder struct{ message string }

func (*recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
