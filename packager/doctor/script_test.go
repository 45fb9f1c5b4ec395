package doctor_test

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

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/doctor"
)

// TestWords looks it up, too.
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

// args are the key=value pairs of a command.
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

func (a args) has(key string) bool { _, ok := a[key]; return ok }

func (a args) duration(t testing.TB, key string, usual time.Duration) time.Duration {
	t.Helper()
	if !a.has(key) {
		return usual
	}
	d, err := time.ParseDuration(a[key])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (a args) float(t testing.TB, key string, usual float64) float64 {
	t.Helper()
	if !a.has(key) {
		return usual
	}
	f, err := strconv.ParseFloat(a[key], 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// diary watches an Examiner and writes down what changes, as a caller does that
// logs once per change.
type diary struct {
	e     *doctor.Examiner
	begin time.Time
	seen  uint64
	last  []doctor.Finding
	lines []string
	worst map[doctor.Code]doctor.Finding // with its newest words
}

func (d *diary) look(now time.Time) {
	if v := d.e.Version(); v == d.seen {
		return
	}
	d.seen = d.e.Version()
	list := d.e.Findings()
	change := doctor.Compare(d.last, list)
	at := now.Sub(d.begin).Round(time.Second)
	for _, f := range change.Raised {
		value := ""
		if f.Unit != "" {
			value = fmt.Sprintf(" %.4g %s", f.Value, f.Unit)
		}
		d.lines = append(d.lines, fmt.Sprintf("%v + %s: %v%s, since %v", at, f.Code, f.Severity, value, f.Since.Sub(d.begin).Round(time.Second)))
	}
	for _, f := range change.Cleared {
		d.lines = append(d.lines, fmt.Sprintf("%v - %s", at, f.Code))
	}
	d.last = list
	for _, f := range list {
		d.worst[f.Code] = f
	}
}

func newDiary(e *doctor.Examiner, begin time.Time) *diary {
	return &diary{e: e, begin: begin, worst: map[doctor.Code]doctor.Finding{}}
}

// publisher makes what an Assembler would make of one Layer.
type publisher struct {
	*diary
	cfg     doctor.Config
	now     time.Time
	tick    time.Time // the next Advance
	report  time.Time // the next sender report
	asked   time.Time // the next key frame request
	wanted  bool      // a key frame, by a request
	lastKey int64
	pts     int64
	frames  int
	stats   au.Stats
	params  *au.Params
	resized time.Time
	owed    map[string]float64 // fractions of packets
	random  *rand.Rand
}

func newPublisher(t testing.TB, a args) *publisher {
	t.Helper()
	begin := time.Unix(1_700_000_000, 0)
	cfg := doctor.Config{
		Codec: "H264", OnRequest: a.has("onrequest"), Simulcast: a.has("simulcast"), Stereo: true,
		KeyframeInterval: a.duration(t, "interval", 0),
	}
	p := &publisher{
		cfg: cfg, now: begin, tick: begin, report: begin.Add(time.Second), owed: map[string]float64{},
		random: rand.New(rand.NewPCG(1, 2)), params: &au.Params{Codec: "H264", Width: 1280, Height: 720},
	}
	if a.has("sound") {
		p.cfg.Codec, p.params = "Opus", &au.Params{Codec: "Opus", SampleRate: 48000, Channels: 2}
	}
	p.diary = newDiary(doctor.New(p.cfg, begin), begin)
	return p
}

func (p *publisher) rate() int64 {
	if p.cfg.Codec == "Opus" {
		return 48000
	}
	return 90000
}

// sleep lets time pass, with a look each 100 ms.
func (p *publisher) sleep(d time.Duration, others func(now time.Time) time.Time) {
	for end := p.now.Add(d); ; p.tick = p.tick.Add(100 * time.Millisecond) {
		if p.tick.After(end) {
			p.now = end
			return
		}
		p.e.Count(p.tick, p.stats)
		p.e.Advance(p.tick, others(p.tick))
		p.look(p.tick)
	}
}

func living(now time.Time) time.Time { return now }
func dead(time.Time) time.Time       { return time.Time{} }

// share counts packets of which a percentage has some fate.
func (p *publisher) share(t testing.TB, a args, key string, packets uint64) uint64 {
	t.Helper()
	p.owed[key] += a.float(t, key, 0) / 100 * float64(packets)
	n := uint64(p.owed[key])
	p.owed[key] -= float64(n)
	return n
}

// network counts the packets of a unit. It reports whether they all came.
func (p *publisher) network(t testing.TB, a args, packets uint64) bool {
	t.Helper()
	lost, late := p.share(t, a, "lose", packets), p.share(t, a, "late", packets)
	malformed := p.share(t, a, "malformed", packets)
	p.stats.Packets += packets - lost
	p.stats.Lost += lost + late
	p.stats.Late += late
	p.stats.BadPayloads += malformed
	if lost+late+malformed > 0 {
		p.stats.Damaged++
		return false
	}
	return true
}

// reports sends a sender report each second.
func (p *publisher) reports(a args) {
	if !a.has("noreports") && p.now.After(p.report) {
		p.report = p.now.Add(time.Second)
		p.e.SenderReport(p.now)
	}
}

// arrival is now plus what the network adds.
func (p *publisher) arrival(t testing.TB, a args) time.Time {
	t.Helper()
	delay := a.duration(t, "delay", 0)
	if jitter := a.duration(t, "jitter", 0); jitter > 0 {
		delay += time.Duration(p.random.Int64N(int64(jitter)))
	}
	return p.now.Add(delay)
}

// speed is how much real time a duration of media takes.
func speed(t testing.TB, a args, media time.Duration) time.Duration {
	t.Helper()
	return time.Duration(float64(media) / a.float(t, "speed", 1) / (1 + a.float(t, "ppm", 0)/1e6))
}

func (p *publisher) video(t testing.TB, a args) {
	t.Helper()
	interval := time.Duration(float64(time.Second) / a.float(t, "fps", 30))
	step := int64(90000 / a.float(t, "fps", 30))
	gop := int64(a.duration(t, "gop", 2*time.Second).Seconds() * 90000)
	b, skip := int64(a.float(t, "b", 0)), int(a.float(t, "skip", 0))
	torn := false
	p.e.Share(a.float(t, "used", 0))
	for end := p.now.Add(a.duration(t, "for", 0)); p.now.Before(end); p.frames++ {
		p.sleep(speed(t, a, interval), living)
		p.pts += step
		p.reports(a)
		p.ask(t, a)
		p.resize(t, a)
		if skip > 0 && p.frames%skip == 0 {
			continue
		}
		if !p.network(t, a, 10) {
			torn = true
			continue
		}
		key := p.lastKey == 0 || p.pts-p.lastKey >= gop || p.wanted
		u := au.Unit{DTS: p.pts, PTS: p.pts, Arrival: p.arrival(t, a), Key: key, Gap: torn, Params: p.params}
		torn = false
		if b > 0 { // b pictures are shown before the one that was sent ahead of them
			if at := int64(p.frames) % (b + 1); at == 0 {
				u.PTS += b * step
			} else {
				u.PTS -= step
			}
		}
		if a.has("stamped") && p.frames%3 == 1 {
			p.stats.Disordered++
		}
		u.Data = make([]byte, int(a.float(t, "bytes", 9000)))
		if key {
			p.lastKey, p.wanted = p.pts, false
			u.Data = make([]byte, 60000)
		}
		if a.has("keyless") {
			p.stats.Discarded++
			p.stats.RecoveryPoints += uint64(p.frames % 2 * len(a["keyless"]))
			continue
		}
		p.stats.Units++
		p.e.Unit(&u)
	}
}

// ask requests key frames; a publisher that answers sends one with the next picture.
func (p *publisher) ask(t testing.TB, a args) {
	t.Helper()
	if every := a.duration(t, "ask", 0); every > 0 && !p.now.Before(p.asked) {
		p.asked = p.now.Add(every)
		p.e.Asked(p.now)
		p.wanted = a.has("answers")
	}
}

func (p *publisher) resize(t testing.TB, a args) {
	t.Helper()
	if every := a.duration(t, "resize", 0); every > 0 && p.now.Sub(p.resized) >= every {
		p.resized = p.now
		params := *p.params
		params.Width, params.Height = 1920-params.Width, 1080-params.Height
		p.params = &params
	}
}

func (p *publisher) sound(t testing.TB, a args) {
	t.Helper()
	const frame = 20 * time.Millisecond
	for end := p.now.Add(a.duration(t, "for", 0)); p.now.Before(end); p.frames++ {
		p.sleep(speed(t, a, frame), living)
		p.pts += 960
		p.reports(a)
		if a.has("level") {
			p.e.Level(a.float(t, "level", 0))
		}
		if a.has("dtx") && p.frames/50%2 == 1 && p.frames%20 != 0 {
			continue // each other second is silence: one packet in 400 ms
		}
		if !p.network(t, a, 1) {
			continue
		}
		u := au.Unit{DTS: p.pts, PTS: p.pts, Duration: 960, Arrival: p.arrival(t, a), Key: true, Params: p.params}
		u.Data = make([]byte, int(a.float(t, "bytes", 160)))
		u.Data[0] = 0xfc
		if a.has("mono") {
			u.Data[0] = 0xf8
		}
		p.e.Unit(&u)
	}
}

// TestDiagnoses: the findings of a Layer over time, each with its items of the
// conformance list.
//
//	layer [sound] [onrequest] [simulcast] [interval=2s]
//	video for=10s [fps=30] [gop=2s] [bytes=9000] [speed=0.9] [ppm=200] [jitter=20ms] [delay=1s] [skip=10] [b=2] [stamped]
//	      [lose=1] [late=1] [malformed=1] [noreports] [ask=3s] [answers] [resize=10s] [keyless=…] [used=90]
//	sound for=10s [bytes=160] [mono] [dtx] [level=-20] and the network of video
//	nothing for=5s [others]
func TestDiagnoses(t *testing.T) {
	script(t, "diagnoses.txt", func(t *testing.T, commands []string) string {
		p := newPublisher(t, args{})
		for _, line := range commands {
			verb, a := parse(line)
			switch verb {
			case "layer":
				p = newPublisher(t, a)
			case "video":
				p.video(t, a)
			case "sound":
				p.sound(t, a)
			case "nothing":
				if a.has("others") {
					p.sleep(a.duration(t, "for", 0), living)
				} else {
					p.sleep(a.duration(t, "for", 0), dead)
				}
				p.pts += int64(a.duration(t, "for", 0).Seconds() * float64(p.rate()))
			default:
				t.Fatalf("no command %q", verb)
			}
		}
		ends := []string{fmt.Sprintf("%v: nothing to say", p.now.Sub(p.begin).Round(time.Second))}
		if all := p.e.Findings(); len(all) > 0 {
			ends[0] = ""
			for _, f := range all {
				ends = append(ends, "“"+f.Words+"”")
			}
			ends = ends[1:]
		}
		return strings.Join(append(p.lines, ends...), "\n")
	})
}
