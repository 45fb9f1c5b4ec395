package hls

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite expected output in scripts")

// A script has blocks: commands, a line of dashes, what they print, an empty
// line. Commands are described in testdata/README.md.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{}
			var out strings.Builder
			for block := range strings.SplitSeq(strings.TrimRight(string(text), "\n"), "\n\n") {
				input, want, _ := strings.Cut(block+"\n", "----\n")
				var got strings.Builder
				for line := range strings.SplitSeq(strings.TrimSuffix(input, "\n"), "\n") {
					s.run(line, &got)
				}
				if !*update {
					if diff := cmp.Diff(want, got.String()); diff != "" {
						t.Errorf("after\n%s(-want +got; run with -update if that is right):\n%s", input, diff)
					}
				}
				if out.Len() > 0 {
					out.WriteByte('\n')
				}
				out.WriteString(input + "----\n" + got.String())
			}
			if *update {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// script is the state of one: the playlist, or the rows of a multivariant one.
type script struct {
	media    *Media
	cfg      Config
	saved    State
	reports  []Report
	variants []Variant
	audio    []Rendition
}

func (s *script) run(line string, out *strings.Builder) {
	words := strings.Fields(line)
	if len(words) == 0 || words[0] == "#" {
		return
	}
	flags := map[string]string{}
	var args []string
	for _, w := range words[1:] {
		if name, value, ok := strings.Cut(w, "="); ok {
			flags[name] = value
		} else {
			args = append(args, w)
		}
	}
	if err := s.command(words[0], args, flags, out); err != nil {
		fmt.Fprintf(out, "error: %v\n", err)
	}
}

func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0
	}
	return d
}

func (s *script) command(name string, args []string, flags map[string]string, out *strings.Builder) error {
	switch name {
	case "config":
		s.cfg = Config{
			Target: duration(flags["target"]), Part: duration(flags["part"]),
			Window: duration(flags["window"]), Skip: slices.Contains(args, "skip"),
		}
		s.media = NewMedia(s.cfg)
	case "init":
		return s.media.SetInit(args[0])
	case "break":
		s.media.Discontinuity()
	case "time":
		at, err := time.Parse(time.RFC3339Nano, args[0])
		s.media.SetTime(at)
		return err
	case "part":
		return s.media.AddPart(Part{
			URI: args[0], Duration: duration(args[1]),
			Independent: slices.Contains(args, "independent"), Gap: slices.Contains(args, "gap"),
		})
	case "close":
		return s.close(Segment{URI: args[0], Duration: duration(args[1]), Gap: slices.Contains(args, "gap")}, out)
	case "segments":
		return s.segments(args)
	case "hint":
		return s.media.SetHint(args[0], flags["map"])
	case "report":
		msn, _ := strconv.ParseUint(args[1], 10, 64)
		part, _ := strconv.Atoi(args[2])
		s.reports = append(s.reports[:0:0], Report{URI: args[0], MSN: msn, Part: part})
		return s.media.SetReports(s.reports)
	case "end":
		return s.media.End()
	case "position":
		msn, part := s.media.Position().Last()
		fmt.Fprintf(out, "%+v, last %d %d\n", s.media.Position(), msn, part)
	case "lowlatency":
		full, _, _ := s.media.LowLatency()
		out.Write(bytes.Join(full, nil))
	case "delta":
		_, delta, _ := s.media.LowLatency()
		out.Write(bytes.Join(delta, nil))
	case "deltadates":
		_, _, dates := s.media.LowLatency()
		out.Write(bytes.Join(dates, nil))
	case "plain":
		out.Write(bytes.Join(s.media.Plain(), nil))
	case "range":
		d, err := rangeOf(args, flags)
		if err != nil {
			return err
		}
		return s.media.SetDateRange(d)
	case "unrange":
		return s.media.RemoveDateRange(args[0])
	case "save":
		return s.save(args, out)
	case "restore":
		return s.restore(args)
	case "forget":
		s.saved = State{}
	default:
		return s.multivariant(name, args, flags, out)
	}
	return nil
}

// rangeOf reads a date range: its ID, and attributes by their names in the tag.
func rangeOf(args []string, flags map[string]string) (DateRange, error) {
	d := DateRange{ID: args[0], Class: flags["class"], EndOnNext: slices.Contains(args, "end-on-next")}
	var err error
	date := func(name string) (t time.Time) {
		if flags[name] != "" {
			var bad error
			t, bad = time.Parse(time.RFC3339Nano, flags[name])
			err = errors.Join(err, bad)
		}
		return t
	}
	length := func(name string) *time.Duration {
		if flags[name] == "" {
			return nil
		}
		return new(duration(flags[name]))
	}
	section := func(name string) []byte {
		b, bad := hex.DecodeString(flags[name])
		err = errors.Join(err, bad)
		return b
	}
	d.Start, d.End = date("start"), date("end")
	d.Duration, d.Planned = length("duration"), length("planned")
	d.SpliceCommand, d.SpliceOut, d.SpliceIn = section("cmd"), section("out"), section("in")
	for word := range strings.SplitSeq(flags["cue"], ",") {
		if word != "" {
			d.Cue = append(d.Cue, Cue(word))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		value := flags[name]
		if !strings.HasPrefix(name, "X-") {
			continue
		}
		a := Attribute{Name: name, Text: value}
		if number, bad := strconv.ParseFloat(value, 64); bad == nil {
			a = Attribute{Name: name, Number: &number}
		} else if digits, ok := strings.CutPrefix(value, "0x"); ok {
			a = Attribute{Name: name}
			a.Hex, bad = hex.DecodeString(digits)
			err = errors.Join(err, bad)
		}
		d.Attributes = append(d.Attributes, a)
	}
	return d, err
}

// save keeps the state, or what is new since segment args[0], and prints it.
func (s *script) save(args []string, out *strings.Builder) error {
	since := uint64(0)
	if len(args) > 0 {
		since, _ = strconv.ParseUint(args[0], 10, 64)
	}
	text, err := json.Marshal(s.media.Since(since))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n", strings.ReplaceAll(string(text), `{"uri`, "\n  {\"uri"))
	var read State
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	return s.saved.Append(read)
}

// restore begins anew with what was saved; segments of these URIs are gone.
func (s *script) restore(gone []string) error {
	state := s.saved
	for i := range state.Segments {
		l := &state.Segments[i]
		l.Gap = l.Gap || slices.Contains(gone, l.URI)
	}
	m, err := Restore(s.cfg, state)
	if err == nil {
		s.media = m
	}
	return err
}

func (s *script) close(segment Segment, out *strings.Builder) error {
	removed, err := s.media.CloseSegment(segment)
	for _, uri := range removed.Parts {
		fmt.Fprintf(out, "removed part %s\n", uri)
	}
	for _, gone := range removed.Segments {
		fmt.Fprintf(out, "removed segment %s %v\n", gone.URI, gone.Duration)
	}
	for _, uri := range removed.Inits {
		fmt.Fprintf(out, "removed init %s\n", uri)
	}
	return err
}

// segments adds many: first number, last number, duration, time of the first.
func (s *script) segments(args []string) error {
	first, _ := strconv.Atoi(args[0])
	last, _ := strconv.Atoi(args[1])
	at, err := time.Parse(time.RFC3339Nano, args[3])
	for n := first; n <= last && err == nil; n++ {
		s.media.SetTime(at)
		at = at.Add(duration(args[2]))
		_, err = s.media.CloseSegment(Segment{URI: fmt.Sprintf("s%08d.m4s", n), Duration: duration(args[2])})
	}
	return err
}

func (s *script) multivariant(name string, args []string, flags map[string]string, out *strings.Builder) error {
	whole := func(key string) int { n, _ := strconv.Atoi(flags[key]); return n }
	fraction := func(key string) float64 { f, _ := strconv.ParseFloat(flags[key], 64); return f }
	switch name {
	case "variant":
		s.variants = append(s.variants, Variant{
			URI: args[0], Bandwidth: whole("bandwidth"), AverageBandwidth: whole("average"), Codecs: flags["codecs"],
			Width: whole("width"), Height: whole("height"), FrameRate: fraction("fps"), VideoRange: flags["range"],
			Audio: flags["audio"], Score: fraction("score"),
		})
	case "audio":
		s.audio = append(s.audio, Rendition{
			Group: flags["group"], Name: flags["name"], Language: flags["language"], URI: args[0],
			Channels: whole("channels"), Default: slices.Contains(args, "default"), Autoselect: slices.Contains(args, "autoselect"),
		})
	case "multivariant":
		text, err := Multivariant(s.variants, s.audio)
		out.Write(text)
		s.variants, s.audio = nil, nil
		return err
	default:
		return fmt.Errorf("unknown command %q", name)
	}
	return nil
}
