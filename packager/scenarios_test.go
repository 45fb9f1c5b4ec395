package packager

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// TestScenarios: what publishers do, and the playlists that are left of it. A file
// of testdata/scenarios is comments, commands, a line of dashes, and the playlists.
//
//	config segment=2s part=500ms window=60s grace=60s audio=opus|aac|both
//	publish kind=camera|browser|studio layers=1280x720,640x360@15 gop=2s fps=30 audio=no video=no
//	    camera: one layer, key frames at a pace; browser: on request, a clock for each
//	    layer, the best ones start late; studio: at a pace, one clock for all
//	run 6s            media for so long
//	wait 5s           none, but the session stays
//	fps 60,1,5        how long pictures last, in turn
//	gop 8s
//	size 1/2          of all layers
//	vanish 640x360, appear 640x360
//	mute, unmute      the sound
//	drop              the session ends
//	play obs-h264     a recording, in a session of its own
//
// The publisher that comes while another one is there takes over. At the end the
// program stops. Names of presentations and init segments are numbered.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			head, want, _ := strings.Cut(string(content), "\n----\n")
			var commands []string
			for line := range strings.SplitSeq(strings.TrimSpace(head), "\n") {
				if line != "" && line[0] != '#' {
					commands = append(commands, line)
				}
			}
			b := perform(t, commands, "")
			got := b.playlists(t)
			if *update {
				if err := os.WriteFile(file, []byte(strings.TrimSpace(head)+"\n----\n"+got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("playlists differ: see what go test -update changes\n%s", firstDifference(got, want))
			}
			if t.Failed() {
				t.Log(b.logs.String())
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			from, to := max(i-2, 0), min(i+3, len(g))
			return fmt.Sprintf("line %d:\n%s\n---- want\n%s", i+1, strings.Join(g[from:to], "\n"),
				strings.Join(w[min(from, len(w)):min(to, len(w))], "\n"))
		}
	}
	return "lines are missing at the end"
}

// perform runs the commands of a scenario in a bubble, and all checks on the result.
func perform(t *testing.T, commands []string, excused string) *bench {
	t.Helper()
	var cfg Config
	if verb, a := parse(commands[0]); verb == "config" {
		cfg = Config{
			Segment: a.duration(t, "segment", 0), Part: a.duration(t, "part", 0), Window: a.duration(t, "window", 0),
			Grace: a.duration(t, "grace", 0), Audio: Sound(a["audio"]),
		}
		commands = commands[1:]
	}
	var b *bench
	synctest.Test(t, func(t *testing.T) {
		b = setUp(t, cfg)
		b.excused = excused
		c := &crew{bench: b}
		for _, line := range commands {
			c.do(t, line)
		}
		c.drop()
		time.Sleep(200 * time.Millisecond)
		b.stop(t)
	})
	return b
}

// crew acts out a scenario.
type crew struct {
	*bench
	x         *stream.Session
	cancel    context.CancelFunc
	asked     chan string
	shots     []*shot
	begin     time.Time
	now       time.Duration // of the session
	picture   time.Duration // when the next one is due
	pictures  int
	sound     time.Duration
	sounds    uint16
	rates     []int // frames a second, in turn
	gop       time.Duration
	quiet     bool // the sound is muted
	voiceless bool // there is none
	reports   time.Duration
}

// shot is one layer of a scenario.
type shot struct {
	id            stream.LayerID
	width, height int
	every         int // picture that it has
	base          uint32
	delay, from   time.Duration
	onRequest     bool
	off           bool

	seq    uint16
	sent   int
	want   bool
	silent bool
	shown  [2]int
	keyAt  time.Duration
}

func (c *crew) do(t *testing.T, line string) {
	t.Helper()
	verb, a := parse(line)
	rest := strings.TrimSpace(strings.TrimPrefix(line, verb))
	length := func() time.Duration {
		d, err := time.ParseDuration(rest)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	switch verb {
	case "publish":
		c.publish(t, a)
	case "run":
		c.run(length())
	case "wait":
		time.Sleep(length())
		c.now = time.Since(c.begin)
		c.picture, c.sound = c.now, c.now.Truncate(20*time.Millisecond)
	case "fps":
		c.rates = c.rates[:0]
		for field := range strings.SplitSeq(rest, ",") {
			c.rates = append(c.rates, whole(t, field))
		}
	case "gop":
		c.gop = length()
	case "size":
		over, under, _ := strings.Cut(rest, "/")
		for _, s := range c.shots {
			s.width, s.height = s.width*whole(t, over)/whole(t, under), s.height*whole(t, over)/whole(t, under)
		}
	case "vanish", "appear":
		for _, s := range c.shots {
			if fmt.Sprintf("%dx%d", s.width, s.height) == rest {
				s.off = verb == "vanish"
			}
		}
	case "mute", "unmute":
		c.quiet = verb == "mute"
	case "drop":
		c.drop()
	case "play":
		c.drop()
		packets := recording(t, rest)
		codec := strings.ToUpper(rest[strings.IndexByte(rest, '-')+1:])
		x := c.bench.publish(t, video(codec), audio())
		send(x, packets)
		x.Close(nil)
	default:
		t.Fatalf("no command %q", verb)
	}
}

func whole(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// publish begins a session.
func (c *crew) publish(t *testing.T, a args) {
	t.Helper()
	kind := a["kind"]
	c.gop, c.rates, c.quiet, c.voiceless = a.duration(t, "gop", 2*time.Second), []int{30}, false, a["audio"] == "no"
	if a.has("fps") {
		c.rates[0] = whole(t, a["fps"])
	}
	sizes := a["layers"]
	if sizes == "" {
		sizes = "1280x720"
	}
	c.shots = nil
	var layers []stream.Layer
	if a["video"] != "no" {
		for i, size := range strings.Split(sizes, ",") {
			layers = append(layers, c.shoot(t, kind, i, size))
		}
	}
	if !c.voiceless {
		layers = append(layers, audio())
	}
	time.Sleep(7 * time.Millisecond)   // nothing comes at the instant of a tick
	x := c.bench.publish(t, layers...) // takes over
	if c.cancel != nil {
		c.cancel()
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.x, c.cancel, c.asked = x, cancel, make(chan string, 64)
	go (&house{x: x}).heed(ctx, c.asked)
	c.begin, c.now, c.picture, c.sound, c.pictures, c.sounds, c.reports = time.Now(), 0, 0, 0, 0, 0, 0
}

// shoot makes a layer.
func (c *crew) shoot(t *testing.T, kind string, rank int, size string) stream.Layer {
	t.Helper()
	size, fps, sparse := strings.Cut(size, "@")
	width, height, _ := strings.Cut(size, "x")
	s := &shot{width: whole(t, width), height: whole(t, height), every: 1, base: 9000, keyAt: -time.Hour}
	if sparse {
		s.every = c.rates[0] / whole(t, fps)
	}
	l := video("VP9")
	switch kind {
	case "browser":
		l.ID.RID = string("fhq"[rank])
		s.base, s.onRequest = uint32(rank)*77777777, true
		if rank < 2 {
			s.delay, s.from = 17*time.Millisecond-time.Duration(rank)*6*time.Millisecond, 133*time.Millisecond
		}
	case "studio":
		l.ID.RID = strconv.Itoa(rank)
	}
	l.OnRequest = s.onRequest
	s.id = l.ID
	c.shots = append(c.shots, s)
	return l
}

func (c *crew) drop() {
	if c.x == nil {
		return
	}
	time.Sleep(50 * time.Millisecond)
	c.x.Close(nil)
	c.cancel()
	c.x, c.cancel = nil, nil
}

// run publishes for so long.
func (c *crew) run(length time.Duration) {
	end := c.now + length
	for {
		picture, sound := c.picture, c.sound
		if len(c.shots) == 0 {
			picture = math.MaxInt64
		}
		if c.voiceless {
			sound = math.MaxInt64
		}
		c.now = min(picture, sound)
		if c.now >= end {
			break
		}
		time.Sleep(time.Until(c.begin.Add(c.now - time.Millisecond)))
		synctest.Wait() // an encoder answers for all layers together
		time.Sleep(time.Until(c.begin.Add(c.now)))
		synctest.Wait()
		c.tell()
		if sound == c.now {
			c.speak()
			continue
		}
		c.hear()
		for _, s := range c.shots {
			c.take(s)
		}
		c.picture += time.Second / time.Duration(c.rates[c.pictures%len(c.rates)])
		c.pictures++
	}
	c.now = end
	time.Sleep(time.Until(c.begin.Add(end)))
}

func (c *crew) speak() {
	if !c.quiet {
		c.sounds++
		speak(c.x, c.sounds, uint32(toTicks(c.sound, opusRate)), c.sound)
	}
	c.sound += 20 * time.Millisecond
}

// tell sends sender reports each second, as all but OBS do for every layer.
func (c *crew) tell() {
	if c.now < c.reports {
		return
	}
	c.reports += time.Second
	c.x.Report(stream.LayerID{Kind: stream.Audio}, ntp(c.now), uint32(toTicks(c.now, opusRate)), time.Now())
	for _, s := range c.shots {
		if s.sent > 0 {
			c.x.Report(s.id, ntp(c.now), s.base+uint32(toTicks(c.now, videoRate)), time.Now())
		}
	}
}

// hear takes the requests for key frames.
func (c *crew) hear() {
	for len(c.asked) > 0 {
		rid := <-c.asked
		for _, s := range c.shots {
			s.want = s.want || s.id.RID == rid && s.onRequest
		}
	}
}

// take shoots a picture of a layer.
func (c *crew) take(s *shot) {
	if s.off || c.now < s.from || c.pictures%s.every != 0 {
		s.silent = s.silent || s.off
		return
	}
	size := [2]int{s.width, s.height}
	paced := !s.onRequest && c.now-s.keyAt >= c.gop-time.Millisecond
	payload := interPicture()
	if s.sent == 0 || s.silent || s.want || paced || size != s.shown {
		payload = keyPicture(s.width, s.height)
		s.want, s.silent, s.shown, s.keyAt = false, false, size, c.now
	}
	s.seq++
	s.sent++
	p := stream.Packet{
		Timestamp: s.base + uint32(toTicks(c.now+time.Microsecond, videoRate)), Sequence: s.seq, Marker: true, Payload: stamp(payload, 12, c.now),
	}
	x := c.x
	write := func() {
		p.Arrival = time.Now()
		x.Write(s.id, p)
	}
	if s.delay > 0 {
		time.AfterFunc(s.delay, write)
		return
	}
	write()
	synctest.Wait()
}

// playlists returns the last versions of all playlists, with numbered names.
func (b *bench) playlists(t *testing.T) string {
	t.Helper()
	type pair struct{ plain, parts storage.Object }
	last := map[string]*pair{}
	var keys []string
	var master storage.Object
	for _, o := range b.sink.history {
		dir := filepath.Dir(o.Key)
		if o.Kind == storage.Multivariant {
			master = o
			continue
		}
		if o.Kind&(storage.Playlist|storage.LowLatency) == 0 {
			continue
		}
		if last[dir] == nil {
			last[dir] = &pair{}
			keys = append(keys, dir)
		}
		if o.Kind == storage.Playlist {
			last[dir].plain = o
		} else {
			last[dir].parts = o
		}
	}
	slices.SortStableFunc(keys, func(a, b string) int { // presentations in order, video before audio
		if c := strings.Compare(filepath.Dir(a), filepath.Dir(b)); c != 0 {
			return c
		}
		return strings.Compare(fmt.Sprint(strings.HasPrefix(filepath.Base(b), "video"))+a, fmt.Sprint(strings.HasPrefix(filepath.Base(a), "video"))+b)
	})
	var out strings.Builder
	fmt.Fprintf(&out, "==== index.m3u8\n%s", master.Body.Bytes())
	for _, dir := range keys {
		p := last[dir]
		parts, plain := string(p.parts.Body.Bytes()), string(p.plain.Body.Bytes())
		fmt.Fprintf(&out, "==== %s/index.m3u8\n%s", strings.TrimPrefix(dir, "show/"), parts)
		if plain == withoutParts(parts) {
			out.WriteString("==== and for storage: the same without parts\n")
		} else {
			fmt.Fprintf(&out, "==== and for storage\n%s", plain)
		}
	}
	return numbered(out.String(), b.presentations())
}

// withoutParts takes the low-latency tags away.
func withoutParts(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		tag, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch tag {
		case "#EXT-X-PART-INF", "#EXT-X-PART", "#EXT-X-SERVER-CONTROL", "#EXT-X-PRELOAD-HINT", "#EXT-X-RENDITION-REPORT":
		default:
			out.WriteString(line)
		}
	}
	return out.String()
}

// numbered replaces names that depend on the time or on bytes.
func numbered(text string, presentations []string) string {
	for i, id := range presentations {
		text = strings.ReplaceAll(text, id+"/", fmt.Sprintf("{presentation %d}/", i+1))
	}
	var inits []string
	return regexp.MustCompile(`init-[0-9a-f]{8}`).ReplaceAllStringFunc(text, func(name string) string {
		if !slices.Contains(inits, name) {
			inits = append(inits, name)
		}
		return fmt.Sprintf("init-{%d}", slices.Index(inits, name)+1)
	})
}

// TestAnyScenario: whatever publishers do, playlists conform (L5, L15, L24, L43, L44,
// L91), but that a rendition may be two parts behind for a moment when layers come
// and go and pictures last a second (L92).
func TestAnyScenario(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			commands := anything(rand.New(rand.NewPCG(seed, 7)))
			b := perform(t, commands, "L92")
			if t.Failed() {
				t.Logf("%s\n%s", strings.Join(commands, "\n"), b.logs)
			}
		})
	}
}

// anything makes up a scenario.
func anything(random *rand.Rand) []string {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	rates := func() string {
		return pick("30", "60", "10,12", "60,30,15,5", "5", "2", "1", "60,60,30,30,1,1", "24,25,30")
	}
	sizes := []string{"1280x720", "640x360", "320x180"}
	all := []string{"config audio=opus"}
	for range 2 + random.IntN(2) {
		kind := pick("browser", "studio", "studio")
		all = append(all, fmt.Sprintf("publish kind=%s layers=%s gop=%s fps=%s", kind,
			strings.Join(sizes[:1+random.IntN(3)], ","), pick("1s", "2s", "3s"), pick("30", "60", "15")))
		for range 4 + random.IntN(4) {
			all = append(all, pick(
				"fps "+rates(), "vanish "+pick(sizes...), "appear "+pick(sizes...),
				"wait "+pick("300ms", "700ms", "2s", "7s"), "gop "+pick("1s", "2s", "4s"), "run 1s",
			), fmt.Sprintf("run %dms", 200+random.IntN(4000)))
		}
		if random.IntN(2) == 0 {
			all = append(all, "drop", "wait "+pick("100ms", "3s", "9s"))
		}
	}
	return all
}
