package packager

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected parts of scripts")

// script runs the scripts of a file in testdata. A script is commands, a line of
// dashes, and what they must print, up to an empty line. Lines that begin with #
// say what it is about; its first one names it.
func script(t *testing.T, file string, run func(t *testing.T, commands []string) string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for block := range strings.SplitSeq(strings.TrimSpace(string(content)), "\n\n") {
		head, want, _ := strings.Cut(block, "\n----")
		want = strings.TrimSpace(want)
		var commands []string
		name := ""
		for line := range strings.SplitSeq(head, "\n") {
			if text, ok := strings.CutPrefix(line, "#"); ok {
				if name == "" {
					name = strings.TrimSpace(text)
				}
				continue
			}
			commands = append(commands, line)
		}
		t.Run(name, func(t *testing.T) {
			got := strings.TrimSpace(run(t, commands))
			out = append(out, head+"\n----\n"+got)
			if got != want && !*update {
				t.Errorf("%s\n---- got\n%s\n---- want\n%s", head, got, want)
			}
		})
	}
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(out, "\n\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// args reads key=value pairs of a command.
type args map[string]string

func parse(line string) (string, args) {
	fields := strings.Fields(line)
	a := args{}
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		a[k] = v
	}
	return fields[0], a
}

func (a args) duration(t *testing.T, key string, usual time.Duration) time.Duration {
	t.Helper()
	text, ok := a[key]
	if !ok {
		return usual
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (a args) float(t *testing.T, key string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(a[key], 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (a args) has(key string) bool { _, ok := a[key]; return ok }

// folded collects lines, and folds repeated ones.
type folded struct {
	lines []string
	count []int
}

func (f *folded) add(format string, a ...any) {
	line := fmt.Sprintf(format, a...)
	if n := len(f.lines); n > 0 && f.lines[n-1] == line {
		f.count[n-1]++
		return
	}
	f.lines, f.count = append(f.lines, line), append(f.count, 1)
}

func (f *folded) String() string {
	var b strings.Builder
	for i, line := range f.lines {
		b.WriteString(line)
		if f.count[i] > 1 {
			fmt.Fprintf(&b, " ×%d", f.count[i])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestSegmenter: specs R14, R31, R32, R36, R37, L15, L43, L44, L108.
//
//	limits segment=2s part=500ms target=2s [least=1.6s]
//	frames for=4s fps=30 [gop=2s] [from=10s]   the first frame is a key frame
//	frame at=1s [key] [fresh]
//	idle until=3s
//	finish
func TestSegmenter(t *testing.T) {
	script(t, "segmenter.txt", func(t *testing.T, commands []string) string {
		s := segmenter{limits: newLimits(90000, 1600*time.Millisecond, 2*time.Second, 500*time.Millisecond, 2*time.Second)}
		var out folded
		length, frames, segment, at := int64(0), 0, int64(0), int64(0)
		ms := func(ticks int64) float64 { return float64(ticks) / 90 }
		do := func(steps []step) {
			for _, step := range steps {
				switch step.verb {
				case keep:
					length += step.ticks
					frames++
				case stretch:
					length += step.ticks
					out.add("  stretch %.1fms", ms(step.ticks))
				case extend:
					out.add("  extend %.1fms", ms(step.ticks))
				case closePart:
					out.add("  part %.1fms of %d frames", ms(length), frames)
					segment += length
					length, frames = 0, 0
				case skip:
					out.add("  gap %.1fms", ms(step.ticks))
					segment += step.ticks
				case closeSegment:
					out.add("segment %.1fms", ms(segment))
					segment = 0
				case show:
					out.add("  still %.1fms", ms(step.ticks))
					segment += step.ticks
				case openEmpty:
					out.add("without frames:")
				}
			}
		}
		add := func(f frame) {
			steps, ok := s.add(f, nil)
			do(steps)
			if !ok {
				out.add("  dropped")
			}
		}
		for _, line := range commands {
			verb, a := parse(line)
			switch verb {
			case "limits":
				segment := a.duration(t, "segment", 2*time.Second)
				s.limits = newLimits(90000, a.duration(t, "least", segment*8/10), segment,
					a.duration(t, "part", 500*time.Millisecond), a.duration(t, "target", 2*time.Second))
			case "frames":
				if a.has("from") {
					at = toTicks(a.duration(t, "from", 0), 90000)
				}
				step := int64(90000 / a.float(t, "fps"))
				gop := toTicks(a.duration(t, "gop", time.Hour), 90000)
				begin := at
				for end := at + toTicks(a.duration(t, "for", 0), 90000); at < end; at += step {
					add(frame{at: at, key: (at-begin)%gop < step && !a.has("nokey")})
				}
			case "frame":
				at = toTicks(a.duration(t, "at", 0), 90000)
				add(frame{at: at, key: a.has("key"), fresh: a.has("fresh")})
			case "idle":
				do(s.idle(toTicks(a.duration(t, "until", 0), 90000), nil))
			case "finish":
				do(s.finish(nil))
			default:
				t.Fatalf("no command %q", verb)
			}
		}
		return out.String()
	})
}

// TestSoundtrack: specs R3, R47, R48, L5.
//
//	begin at=0s offset=0s
//	frames for=1s [from=2s] [each=20ms]
//	aim offset=40ms
//	fill until=5s
func TestSoundtrack(t *testing.T) {
	script(t, "soundtrack.txt", func(t *testing.T, commands []string) string {
		var s soundtrack
		var out folded
		ticks := func(d time.Duration) int64 { return toTicks(d, opusRate) }
		pts, last := int64(0), int64(0)
		list := func(sounds []sound) {
			for _, sound := range sounds {
				if sound.at > last+fillTicks {
					out.add("hole")
				} else if sound.at != last {
					t.Errorf("L5: frame at %d, the one before it ended at %d", sound.at, last)
				}
				last = sound.at + sound.ticks
				kind := "silence"
				if len(sound.data) != 3 {
					kind = "frame"
				}
				out.add("%s %.2fms", kind, float64(sound.ticks)/48)
			}
		}
		for _, line := range commands {
			verb, a := parse(line)
			switch verb {
			case "begin":
				s.begin(ticks(a.duration(t, "at", 0)), ticks(a.duration(t, "offset", 0)))
				last = s.cursor
			case "frames":
				if a.has("from") {
					pts = ticks(a.duration(t, "from", 0))
				}
				each := ticks(a.duration(t, "each", 20*time.Millisecond))
				for end := pts + ticks(a.duration(t, "for", 0)); pts < end; pts += each {
					late := s.late
					list(s.add(pts, each, []byte("some opus"), nil))
					if s.late > late {
						out.add("late")
					}
				}
			case "aim":
				s.aim(ticks(a.duration(t, "offset", 0)))
			case "fill":
				list(s.fill(ticks(a.duration(t, "until", 0)), nil))
			default:
				t.Fatalf("no command %q", verb)
			}
		}
		out.add("ends at %.1fms, offset %.1fms", float64(s.cursor)/48, float64(s.offset)/48)
		return out.String()
	})
}

// TestTimeline: specs R7, R8, L26.
//
//	media for=1h [ppm=200] [segment=2s] [jitter=100ms]   a frame each 100 ms
//	late by=1s         what follows arrives so much later
//	stall for=1s       nothing arrives; it does with the frame after
//	epoch after=10s    the next publisher
//
// It prints the corrections of program date-time, and how far it is off at the end.
func TestTimeline(t *testing.T) {
	script(t, "timeline.txt", func(t *testing.T, commands []string) string {
		var line timeline
		var out folded
		random := rand.New(rand.NewPCG(1, 2))
		zero := time.Unix(1e9, 0)
		now, at, late, stall := time.Duration(0), time.Duration(0), time.Duration(0), time.Duration(0)
		epoch := func() {
			at = line.begin(zero.Add(now))
			out.add("epoch at %v, %v after the clock", at.Round(time.Millisecond), line.zero.Add(at).Sub(zero.Add(now)))
		}
		segmentAt, date := time.Duration(-1), time.Time{}
		for _, command := range commands {
			verb, a := parse(command)
			switch verb {
			case "media":
				if segmentAt < 0 {
					epoch()
				}
				pace := 1.0
				if a.has("ppm") {
					pace += a.float(t, "ppm") / 1e6
				}
				segment, jitter := a.duration(t, "segment", 2*time.Second), a.duration(t, "jitter", 0)
				begin, from := now, at
				for ; now < begin+a.duration(t, "for", 0); now += 100 * time.Millisecond {
					at = from + time.Duration(float64(now-begin)*pace)
					delay := late
					if jitter > 0 {
						delay += time.Duration(random.Int64N(int64(jitter)))
					}
					line.saw(at, zero.Add(max(now+delay, stall)))
					if at < segmentAt+segment && segmentAt >= 0 {
						continue
					}
					if shift := line.turn(at); shift != 0 {
						out.add("after %v: %v", now.Round(segment), shift)
					}
					if d := line.zero.Add(at); d.Before(date) {
						t.Errorf("L26: from %v to %v", date, d)
					} else {
						date = d
					}
					segmentAt = at
				}
				at = from + time.Duration(float64(now-begin)*pace)
			case "late":
				late += a.duration(t, "by", 0)
			case "stall":
				stall = now + a.duration(t, "for", 0)
			case "epoch":
				line.reach(at)
				now += a.duration(t, "after", 0)
				late = 0
				epoch()
				segmentAt = at
			default:
				t.Fatalf("no command %q", verb)
			}
		}
		out.add("at the end %v off", (now + late - at - line.zero.Sub(zero)).Round(time.Millisecond))
		return out.String()
	})
}

// TestTarget: specs R34, R35, L15.
//
//	publisher segment=2s [onrequest]
//	frames for=10s fps=30 gop=4s
func TestTarget(t *testing.T) {
	script(t, "target.txt", func(t *testing.T, commands []string) string {
		var o observer
		var out folded
		for _, line := range commands {
			verb, a := parse(line)
			switch verb {
			case "publisher":
				o = observer{segment: a.duration(t, "segment", 2*time.Second), onRequest: a.has("onrequest")}
				if target, ok := o.found(); ok {
					out.add("at once: %v", target)
				}
			case "frames":
				step := time.Duration(float64(time.Second) / a.float(t, "fps"))
				gop := a.duration(t, "gop", time.Hour)
				known := false
				for at := time.Duration(0); at < a.duration(t, "for", 0); at += step {
					o.observe(at, at%gop < step)
					if target, ok := o.found(); ok && !known {
						known = true
						out.add("after %v: %v", at.Round(100*time.Millisecond), target)
					}
				}
				if !known {
					out.add("unknown, given up: %v", o.give())
				}
				if o.excessive() {
					out.add("excessive")
				}
			}
		}
		return out.String()
	})
}

// TestFollower: specs L24, L46, L92, L94.
//
//	frames for=2s [from=0s] [each=20ms]
//	reaches at=1s
//	ends at=2s
//	begins at=2s [breaks]
//	finish
func TestFollower(t *testing.T) {
	script(t, "follower.txt", func(t *testing.T, commands []string) string {
		f := follower{part: opusRate / 2}
		var out folded
		at, length, from := int64(0), int64(0), int64(0)
		ticks := func(d time.Duration) int64 { return toTicks(d, opusRate) }
		for _, line := range commands {
			verb, a := parse(line)
			when := ticks(a.duration(t, "at", 0))
			switch verb {
			case "frames":
				if a.has("from") {
					at = ticks(a.duration(t, "from", 0))
				}
				each := ticks(a.duration(t, "each", 20*time.Millisecond))
				for end := at + ticks(a.duration(t, "for", 0)); at < end; at += each {
					f.push(sound{at: at, ticks: each})
				}
			case "reaches":
				f.reaches(when)
			case "ends":
				f.turns(when, &cut{at: when})
			case "begins":
				f.turns(when, &cut{at: when, begins: true, breaks: a.has("breaks")})
			case "mute":
				f.mute = true
			case "finish":
				f.finish()
			default:
				t.Fatalf("no command %q", verb)
			}
			for v := f.next(); v != 0; v = f.next() {
				switch v {
				case keep:
					length += f.take(v).ticks
				case discard:
					f.take(v)
					out.add("  dropped")
				case closePart:
					out.add("  part %.1fms", float64(length)/48)
					length = 0
				case skip:
					out.add("  gap %.1fms", float64(f.blank)/48)
				case closeSegment:
					out.add("segment %.1fms", float64(f.end-from)/48)
				case openSegment:
					from = f.segmentAt
					if f.begun.breaks {
						out.add("discontinuity")
					}
					out.add("from %.1fms", float64(from)/48)
				}
			}
		}
		return out.String()
	})
}
