package hlscheck

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// playlist is a media playlist as the specification sees it.
type playlist struct {
	version     int
	target      int // seconds; -1 without the tag
	partTarget  float64
	control     map[string]string // EXT-X-SERVER-CONTROL; nil without the tag
	controlLine string
	sequence    uint64
	discSeq     uint64
	hasDiscSeq  bool
	independent bool
	ended       bool
	skipped     int      // EXT-X-SKIP; -1 without the tag
	skipsRanges bool     // it has RECENTLY-REMOVED-DATERANGES
	removed     []string // which lists these
	segments    []segment
	open        segment // what follows the last complete segment
	hints       []map[string]string
	reports     []map[string]string
	kind        string // EXT-X-PLAYLIST-TYPE
	ranges      []dateRange
	start       string    // TIME-OFFSET of EXT-X-START
	first, end  time.Time // of what is listed, parts included; zero without dates
}

// segment is one parent with its parts and the tags that stand before it.
type segment struct {
	msn      uint64
	uri      string
	duration float64
	printed  string // of EXTINF
	title    bool
	gap      bool
	disc     bool
	mapURI   string // as in force
	mapTag   bool   // the tag stands at this segment
	time     time.Time
	parts    []part
	late     string // a tag that came after the first part, but had to come before
	lines    []string
}

type part struct {
	uri         string
	duration    float64
	printed     string
	independent bool
	gap         bool
	byterange   string
}

// parser turns text into a playlist and collects what breaks the syntax.
type parser struct {
	p     playlist
	cur   segment
	seen  map[string]int
	fault func(item, format string, args ...any)
}

// once reports whether a tag may stand at most once in a media playlist
// (rfc8216bis §4.4.3).
func once(name string) bool {
	switch name {
	case "EXT-X-VERSION", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE",
		"EXT-X-ENDLIST", "EXT-X-PLAYLIST-TYPE", "EXT-X-I-FRAMES-ONLY", "EXT-X-PART-INF", "EXT-X-SERVER-CONTROL",
		"EXT-X-INDEPENDENT-SEGMENTS", "EXT-X-SKIP", "EXT-X-START":
		return true
	}
	return false
}

// foreign reports whether a tag must not stand in a media playlist (L13).
func foreign(name string) bool {
	switch name {
	case "EXT-X-MEDIA", "EXT-X-STREAM-INF", "EXT-X-I-FRAME-STREAM-INF",
		"EXT-X-SESSION-DATA", "EXT-X-SESSION-KEY", "EXT-X-CONTENT-STEERING":
		return true
	}
	return false
}

// checkText checks what holds for every playlist: L11.
func checkText(body []byte, fault func(item, format string, args ...any)) []string {
	text := string(body)
	if !utf8.ValidString(text) {
		fault("L11", "not UTF-8")
	}
	if strings.HasPrefix(text, "\ufeff") {
		fault("L11", "begins with a byte order mark")
	}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	if r, bad := control(lines); bad {
		fault("L11", "control character %U", r)
	}
	if lines[0] != "#EXTM3U" {
		fault("L11", "first line is %q", lines[0])
	}
	if lines[len(lines)-1] != "" {
		fault("L11", "the last line is not terminated: cut off?")
	}
	return lines[1:]
}

// control returns the first control character. Only the list of removed date
// ranges may have tabs (rfc8216bis §4.4.5.2).
func control(lines []string) (rune, bool) {
	for _, line := range lines {
		for _, r := range line {
			tab := r == '\t' && strings.HasPrefix(line, "#EXT-X-SKIP:")
			if r < ' ' && !tab || r >= 0x7f && r < 0xa0 {
				return r, true
			}
		}
	}
	return 0, false
}

func parseMedia(body []byte, fault func(item, format string, args ...any)) playlist {
	s := &parser{
		p:     playlist{version: 1, target: -1, skipped: -1},
		seen:  make(map[string]int),
		fault: fault,
	}
	for _, line := range checkText(body, fault) {
		s.line(line)
	}
	s.p.open = s.cur
	s.p.open.msn = s.nextMSN()
	s.p.first, s.p.end = span(s.p)
	return s.p
}

// span returns the dates of the begin of the first segment and of the end of the
// last part.
func span(p playlist) (first, end time.Time) {
	at, before := time.Time{}, time.Duration(0)
	last := p.open
	last.duration = 0
	for _, part := range p.open.parts {
		last.duration += part.duration
	}
	for _, s := range append(slices.Clone(p.segments), last) {
		if !s.time.IsZero() {
			at = s.time
			if first.IsZero() {
				first = at.Add(-before)
			}
		}
		length := time.Duration(min(s.duration, 1e6) * float64(time.Second))
		before += length
		if !at.IsZero() {
			at = at.Add(length)
		}
	}
	return first, at
}

func (s *parser) nextMSN() uint64 {
	skipped := max(s.p.skipped, 0)
	return s.p.sequence + uint64(skipped) + uint64(len(s.p.segments))
}

func (s *parser) line(line string) {
	switch {
	case line == "":
	case strings.HasPrefix(line, "#EXT"):
		name, value, _ := strings.Cut(line[1:], ":")
		s.seen[name]++
		if once(name) && s.seen[name] > 1 {
			s.fault("L12", "%s appears twice", name)
		}
		if foreign(name) {
			s.fault("L13", "%s in a media playlist", name)
		}
		if !s.header(name, value) && !s.media(name, value, line) {
			s.trailer(name, value)
		}
	case line[0] == '#':
	default:
		s.uri(line)
	}
}

// header takes the tags that concern the whole playlist.
func (s *parser) header(name, value string) bool {
	switch name {
	case "EXT-X-VERSION":
		s.p.version = int(s.integer(name, value))
	case "EXT-X-TARGETDURATION":
		s.p.target = int(s.integer(name, value))
	case "EXT-X-MEDIA-SEQUENCE":
		s.p.sequence = s.integer(name, value)
		s.early(name)
	case "EXT-X-DISCONTINUITY-SEQUENCE":
		s.p.discSeq, s.p.hasDiscSeq = s.integer(name, value), true
		s.early(name)
		if s.seen["EXT-X-DISCONTINUITY"] > 0 {
			s.fault("L19", "EXT-X-DISCONTINUITY-SEQUENCE after EXT-X-DISCONTINUITY")
		}
	case "EXT-X-PLAYLIST-TYPE":
		s.p.kind = value
	case "EXT-X-INDEPENDENT-SEGMENTS":
		s.p.independent = true
	case "EXT-X-PART-INF":
		s.p.partTarget = s.float("L42", s.attributes(name, value)["PART-TARGET"])
	case "EXT-X-SERVER-CONTROL":
		s.p.control, s.p.controlLine = s.attributes(name, value), value
	case "EXT-X-SKIP":
		s.skip(s.attributes(name, value))
		s.early(name)
	default:
		return false
	}
	return true
}

func (s *parser) skip(a map[string]string) {
	s.p.skipped = int(min(s.integer("EXT-X-SKIP", a["SKIPPED-SEGMENTS"]), math.MaxInt32))
	list, ok := a["RECENTLY-REMOVED-DATERANGES"]
	if !ok {
		return
	}
	s.p.skipsRanges = true
	if len(list) < 2 || list[0] != '"' {
		s.fault("L69", "RECENTLY-REMOVED-DATERANGES=%s is not a quoted string", list)
		return
	}
	if list = strings.Trim(list, `"`); list != "" {
		s.p.removed = strings.Split(list, "\t")
	}
}

// early checks that no segment stands before a header tag.
func (s *parser) early(name string) {
	if len(s.p.segments) > 0 || len(s.cur.parts) > 0 {
		s.fault("L18", "%s after the first segment", name)
	}
}

// media takes the tags of a segment.
func (s *parser) media(name, value, line string) bool {
	switch name {
	case "EXTINF":
		number, title, comma := strings.Cut(value, ",")
		if !comma {
			s.fault("L12", "EXTINF without a comma: %q", line)
		}
		s.cur.duration, s.cur.printed, s.cur.title = s.float("L17", number), number, title != ""
	case "EXT-X-PART":
		s.part(s.attributes(name, value))
	case "EXT-X-GAP":
		s.cur.gap = true
	case "EXT-X-DISCONTINUITY":
		s.before(name)
		s.cur.disc = true
	case "EXT-X-MAP":
		s.before(name)
		s.cur.mapURI, s.cur.mapTag = s.quoted(s.attributes(name, value), "URI"), true
	case "EXT-X-PROGRAM-DATE-TIME":
		s.before(name)
		at, err := time.Parse("2006-01-02T15:04:05.000Z07:00", value)
		if err != nil {
			s.fault("L25", "date %q: not ISO 8601 with milliseconds and zone", value)
		}
		s.cur.time = at
	case "EXT-X-KEY", "EXT-X-BITRATE", "EXT-X-BYTERANGE":
	default:
		return false
	}
	s.cur.lines = append(s.cur.lines, line)
	return true
}

// before checks L23: the tags of a parent come before its first part.
func (s *parser) before(name string) {
	if len(s.cur.parts) > 0 {
		s.cur.late = name
		s.fault("L23", "%s after the first EXT-X-PART of segment %d", name, s.nextMSN())
	}
}

func (s *parser) part(a map[string]string) {
	duration := a["DURATION"]
	s.cur.parts = append(s.cur.parts, part{
		uri: s.quoted(a, "URI"), duration: s.float("L43", duration), printed: duration,
		independent: a["INDEPENDENT"] == "YES", gap: a["GAP"] == "YES", byterange: a["BYTERANGE"],
	})
}

// trailer takes the tags at the end and those of no consequence.
func (s *parser) trailer(name, value string) {
	switch name {
	case "EXT-X-ENDLIST":
		s.p.ended = true
	case "EXT-X-PRELOAD-HINT":
		a := s.attributes(name, value)
		s.quoted(a, "URI")
		s.p.hints = append(s.p.hints, a)
	case "EXT-X-RENDITION-REPORT":
		a := s.attributes(name, value)
		s.quoted(a, "URI")
		s.p.reports = append(s.p.reports, a)
	case "EXTM3U":
		s.fault("L12", "EXTM3U again")
	case "EXT-X-DATERANGE":
		s.p.ranges = append(s.p.ranges, s.dateRange(s.attributes(name, value)))
	case "EXT-X-START":
		s.p.start = s.attributes(name, value)["TIME-OFFSET"]
	case "EXT-X-DEFINE":
	default:
		if !foreign(name) {
			s.fault("L12", "unknown tag %s", name)
		}
	}
}

func (s *parser) uri(line string) {
	if s.cur.printed == "" {
		s.fault("L12", "URI %q without EXTINF", line)
	}
	s.cur.uri = line
	s.cur.lines = append(s.cur.lines, line)
	s.cur.msn = s.nextMSN()
	s.p.segments = append(s.p.segments, s.cur)
	s.cur = segment{mapURI: s.cur.mapURI}
}

func (s *parser) integer(name, value string) uint64 {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		s.fault("L12", "%s: %q is not a decimal integer", name, value)
	}
	return n
}

// float reads a decimal floating point number: digits and at most one dot.
func (s *parser) float(item, value string) float64 {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || strings.Trim(value, "0123456789.") != "" || math.IsInf(f, 0) {
		s.fault(item, "%q is not a decimal number", value)
	}
	return f
}

// quoted unquotes an attribute in place and returns it.
func (s *parser) quoted(a map[string]string, name string) string {
	value := a[name]
	inner, ok := strings.CutPrefix(value, `"`)
	inner, end := strings.CutSuffix(inner, `"`)
	if !ok || !end || inner == "" {
		s.fault("L12", "%s=%s is not a quoted string", name, value)
	}
	a[name] = inner
	return inner
}

// attributes reads an attribute list (rfc8216bis §4.2): L12.
func (s *parser) attributes(tag, list string) map[string]string {
	a, err := parseAttributes(list)
	if err != nil {
		s.fault("L12", "%s: %v", tag, err)
	}
	return a
}

func parseAttributes(list string) (map[string]string, error) {
	a := make(map[string]string)
	for rest := list; rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		if !ok || name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return a, fmt.Errorf("bad attribute name in %q", rest)
		}
		end := strings.IndexByte(after, ',')
		if strings.HasPrefix(after, `"`) {
			closing := strings.IndexByte(after[1:], '"')
			if closing < 0 {
				return a, fmt.Errorf("open quote in %q", rest)
			}
			end = closing + 2
			if end == len(after) {
				end = -1
			} else if after[end] != ',' {
				return a, fmt.Errorf("no comma after %q", after[:end])
			}
		}
		value := after
		rest = ""
		if end >= 0 {
			value, rest = after[:end], after[end+1:]
			if rest == "" {
				return a, fmt.Errorf("comma at the end of %q", list)
			}
		}
		if _, twice := a[name]; twice {
			return a, fmt.Errorf("attribute %s appears twice", name)
		}
		if value == "" || value[0] != '"' && strings.ContainsAny(value, " \t\"") {
			return a, fmt.Errorf("bad value %s=%q", name, value)
		}
		a[name] = value
	}
	return a, nil
}
