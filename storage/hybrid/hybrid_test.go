package hybrid_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/hlscheck"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/hybrid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	base     = "https://cdn.example.org/live"
	part     = 500 * time.Millisecond
	target   = 2 * time.Second
	deadline = part
)

// place is a Sink that takes its time, and knows since when it has what.
type place struct {
	mu      sync.Mutex
	takes   func(o storage.Object) (time.Duration, error)
	objects map[string]storage.Kind
	stored  int // parts, in all
}

func (p *place) Put(ctx context.Context, o storage.Object) error {
	p.mu.Lock()
	takes := p.takes
	p.mu.Unlock()
	if takes != nil {
		d, err := takes(o)
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.objects[o.Key] = o.Kind
	if o.Kind == storage.Part {
		p.stored++
	}
	return nil
}

func (p *place) Delete(_ context.Context, key string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.objects, key)
	return nil
}

func (p *place) Has(_ context.Context, key string) (bool, error) { return p.has(key), nil }

func (p *place) set(takes func(o storage.Object) (time.Duration, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.takes = takes
}

func (p *place) has(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.objects[key]
	return ok
}

func (p *place) count(kind storage.Kind) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, k := range p.objects {
		if k == kind {
			n++
		}
	}
	return n
}

// origin is the gateway's store, and a viewer who reads every version of every
// playlist at once: what it names must be where it says.
type origin struct {
	t       *testing.T
	place   *place
	checker hlscheck.Checker

	mu      sync.Mutex
	objects map[string]storage.Object
	listed  map[string]time.Time // when a file was named first, by key
	where   map[string]bool      // … and whether at the place
	bare    int                  // versions of multivariant playlists that name what is not there
}

func (o *origin) Put(_ context.Context, object storage.Object) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.objects[object.Key] = object
	switch object.Kind {
	case storage.LowLatency, storage.Playlist:
		o.read(object)
	case storage.Multivariant:
		hls.Names(object.Body.Bytes(), func(uri []byte, _ int) bool {
			if _, ok := o.objects[path.Join(path.Dir(object.Key), string(uri))]; !ok {
				o.bare++
			}
			return true
		})
	}
	return nil
}

func (o *origin) Delete(_ context.Context, key string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.objects, key)
	return nil
}

// read looks at a version as a player does.
func (o *origin) read(object storage.Object) {
	text := object.Body.Bytes()
	o.checker.Media(object.Key, time.Now(), text)
	for _, delta := range []storage.Body{object.Delta, object.DeltaDates} {
		if len(delta) > 0 {
			o.checker.Delta(object.Key, text, delta.Bytes())
		}
	}
	if object.Position.Hint != "" {
		o.t.Errorf("%s hints at %s", object.Key, object.Position.Hint)
	}
	hls.Names(text, func(uri []byte, _ int) bool {
		key, there := strings.CutPrefix(string(uri), base+"/")
		switch {
		case there && !o.place.has(key):
			o.t.Errorf("S10: %s names %s, which is not there", object.Key, uri)
		case !there:
			key = path.Join(path.Dir(object.Key), key)
			if _, ok := o.objects[key]; !ok {
				o.t.Errorf("S10: %s names %s, which is not here", object.Key, uri)
			}
		}
		if before, ok := o.where[key]; ok && before != there {
			o.t.Errorf("L41: %s was named elsewhere before", uri)
		}
		if _, ok := o.listed[key]; !ok {
			o.listed[key], o.where[key] = time.Now(), there
		}
		return true
	})
}

func (o *origin) has(key string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.objects[key]
	return ok
}

func (o *origin) get(key string) storage.Object {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.objects[key]
}

func (o *origin) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.objects)
}

func (p *place) parts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stored
}

// stage is a Lister between a show, an origin and a place with its queue.
type stage struct {
	t       *testing.T
	place   *place
	origin  *origin
	lister  *hybrid.Lister
	queue   *storage.Queue
	sink    storage.Sink
	stop    func()
	created map[string]time.Time // when a file was Put
}

func newStage(t *testing.T, cfg hybrid.Config) *stage {
	s := &stage{t: t, place: &place{objects: map[string]storage.Kind{}}, created: map[string]time.Time{}}
	s.origin = &origin{
		t: t, place: s.place, checker: hlscheck.Checker{Unhinted: true},
		objects: map[string]storage.Object{}, listed: map[string]time.Time{}, where: map[string]bool{},
	}
	cfg.Base, cfg.Names = base, hls.Names
	cfg.Edit = func(text []byte, prefix func([]byte) (string, bool), report func([]byte) (uint64, int, bool)) []byte {
		return hls.Relocation{Prefix: prefix, Report: report, Block: cfg.Texts == storage.Playlist}.Apply(text)
	}
	s.lister = hybrid.New(s.origin, cfg)
	s.queue = storage.NewQueue(s.lister.Watch(s.place), storage.QueueConfig{
		Names: hls.Names, Gap: hls.Gap, PartLife: 2 * cfg.Deadline, PerStream: 32,
	})
	s.sink = storage.Tee(s.lister, storage.Only(s.lister.Spare(s.queue), cfg.Kinds, storage.Playlist, storage.Multivariant, storage.Held))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.queue.Run(ctx) })
	running.Go(func() { _ = s.lister.Run(ctx) })
	s.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	return s
}

func parts() hybrid.Config {
	return hybrid.Config{
		Kinds: storage.Init | storage.Part | storage.Segment, Texts: storage.LowLatency, Deadline: deadline,
	}
}

func segments() hybrid.Config {
	return hybrid.Config{Kinds: storage.Init | storage.Segment, Texts: storage.Playlist, Deadline: target / 2}
}

func (s *stage) put(o storage.Object) {
	s.created[o.Key] = time.Now()
	if err := s.sink.Put(s.t.Context(), o); err != nil {
		s.t.Errorf("put %s: %v", o.Key, err)
	}
}

func (s *stage) delete(key string) {
	if err := s.sink.Delete(s.t.Context(), key); err != nil {
		s.t.Errorf("delete %s: %v", key, err)
	}
}

// delays returns how much later than Put files of a kind were named first.
func (s *stage) delays(in string) []time.Duration {
	s.origin.mu.Lock()
	defer s.origin.mu.Unlock()
	var all []time.Duration
	for _, key := range slices.Sorted(maps.Keys(s.origin.listed)) {
		if strings.Contains(key, in) {
			all = append(all, s.origin.listed[key].Sub(s.created[key]))
		}
	}
	return all
}

// kept returns the files that were named at the origin.
func (s *stage) kept() []string {
	s.origin.mu.Lock()
	defer s.origin.mu.Unlock()
	var all []string
	for _, key := range slices.Sorted(maps.Keys(s.origin.where)) {
		if !s.origin.where[key] {
			all = append(all, strings.TrimPrefix(key, "show/1/"))
		}
	}
	return all
}

// verdict is what the viewer has to say at the end.
func (s *stage) verdict() {
	s.t.Helper()
	s.stop()
	s.origin.checker.CheckFiles()
	for i, v := range s.origin.checker.Violations() {
		if i < 8 {
			s.t.Error(v)
		}
	}
	if s.origin.bare > 0 {
		s.t.Errorf("L82: %d names of a multivariant playlist are not there", s.origin.bare)
	}
}

// show is what a packager puts: two renditions in parts of half a second and
// segments of two, playlists with reports on one another.
type show struct {
	*stage

	names  []string
	media  map[string]*hls.Media
	count  int  // parts
	closes bool // the last part ended a segment
	late   []doomed
}

type doomed struct {
	key string
	at  time.Time
}

func newShow(s *stage) *show {
	w := &show{stage: s, names: []string{"video", "aac"}, media: map[string]*hls.Media{}}
	for _, name := range w.names {
		w.media[name] = hls.NewMedia(hls.Config{Target: target, Part: part, Window: 30 * time.Second, Skip: true})
		w.put(storage.Object{Key: w.key(name, "init-1.mp4"), Kind: storage.Init, Body: storage.Body{[]byte("init")}})
		if err := w.media[name].SetInit("init-1.mp4"); err != nil {
			s.t.Fatal(err)
		}
	}
	return w
}

func (w *show) key(rendition, name string) string { return "show/1/" + rendition + "/" + name }

// part makes the next part, and each fourth time the segment.
func (w *show) part() {
	w.closes = w.count%4 == 3
	for _, name := range w.names {
		m := w.media[name]
		if w.count%4 == 0 {
			m.SetTime(time.Unix(0, 0).Add(time.Duration(w.count) * part))
		}
		uri := fmt.Sprintf("p%06d.m4s", w.count)
		w.put(storage.Object{Key: w.key(name, uri), Kind: storage.Part, Body: storage.Body{[]byte(uri)}})
		if err := m.AddPart(hls.Part{URI: uri, Duration: part, Independent: name == "aac" || w.count%4 == 0}); err != nil {
			w.t.Fatal(err)
		}
		if w.closes {
			w.close(name, fmt.Sprintf("s%06d.m4s", w.count/4))
		}
	}
	w.count++
	w.publish()
	if w.count == 1 {
		w.put(storage.Object{Key: "show/index.m3u8", Kind: storage.Multivariant, Body: storage.Body{[]byte(
			"#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"A\",URI=\"1/aac/index.m3u8\"\n" +
				"#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\n1/video/index.m3u8\n")}})
	}
	for len(w.late) > 0 && !w.late[0].at.After(time.Now()) {
		w.delete(w.late[0].key)
		w.late = w.late[1:]
	}
}

func (w *show) close(name, uri string) {
	w.put(storage.Object{Key: w.key(name, uri), Kind: storage.Segment, Body: storage.Body{[]byte(uri)}})
	removed, err := w.media[name].CloseSegment(hls.Segment{URI: uri, Duration: target})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, uri := range removed.Parts {
		w.late = append(w.late, doomed{w.key(name, uri), time.Now().Add(3 * target)})
	}
	for _, s := range removed.Segments {
		w.late = append(w.late, doomed{w.key(name, s.URI), time.Now().Add(3 * target)})
	}
}

func (w *show) publish() {
	for _, name := range w.names {
		m := w.media[name]
		at := m.Position()
		position := storage.Position{MSN: at.MSN, Parts: at.Parts, LastParts: at.LastParts, Target: target, Part: part, Hint: "x"}
		if w.closes {
			w.put(storage.Object{
				Key: w.key(name, "index.m3u8"), Kind: storage.Playlist, Body: m.Plain(), Position: storage.Position{MSN: at.MSN, Target: target},
			})
		}
		var reports []hls.Report
		for _, other := range w.names {
			if msn, last := w.media[other].Position().Last(); other != name {
				reports = append(reports, hls.Report{URI: "../" + other + "/index.m3u8", MSN: msn, Part: last})
			}
		}
		if err := errors.Join(m.SetHint(fmt.Sprintf("p%06d.m4s", w.count), ""), m.SetReports(reports)); err != nil {
			w.t.Fatal(err)
		}
		full, delta, dates := m.LowLatency()
		w.put(storage.Object{
			Key: w.key(name, "index.m3u8"), Kind: storage.LowLatency, Body: full, Delta: delta, DeltaDates: dates, Position: position,
		})
	}
}

// play makes parts for so long, each when it is due.
func (w *show) play(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(part)
		w.part()
	}
	time.Sleep(time.Millisecond) // not at the same instant as what the others do
}

// end closes the playlists.
func (w *show) end() {
	for _, name := range w.names {
		m := w.media[name]
		if err := m.End(); err != nil {
			w.t.Fatal(err)
		}
		full, _, _ := m.LowLatency()
		w.put(storage.Object{
			Key: w.key(name, "index.m3u8"), Kind: storage.Playlist, Body: m.Plain(), Position: storage.Position{MSN: m.Position().MSN, Target: target, Ended: true},
		})
		w.put(storage.Object{
			Key: w.key(name, "index.m3u8"), Kind: storage.LowLatency, Body: full,
			Position: storage.Position{MSN: m.Position().MSN, Target: target, Part: part, Ended: true},
		})
	}
}

// sometimes returns delays between two, each key its own.
func sometimes(least, most time.Duration) func(storage.Object) (time.Duration, error) {
	return func(o storage.Object) (time.Duration, error) {
		seed := uint64(0)
		for _, c := range o.Key {
			seed = seed*31 + uint64(c)
		}
		return least + time.Duration(rand.New(rand.NewPCG(seed, 1)).Int64N(int64(most-least))), nil //nolint:gosec // a test
	}
}

// specs S8, S10, L26, L38, L58, L68, L92: with a place that takes a while for each file, every
// file is named there, as soon as it is there.
func TestMediaIsNamedWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, parts())
		s.origin.checker.Pace = deadline
		s.place.set(sometimes(0, 400*time.Millisecond))
		w := newShow(s)
		w.play(2 * time.Minute)
		time.Sleep(deadline)
		if kept := s.kept(); len(kept) > 0 {
			t.Errorf("named at the origin: %v", kept)
		}
		for _, delay := range s.delays("/p") {
			if delay > 400*time.Millisecond {
				t.Errorf("a part was named %v after its Put", delay)
			}
		}
		if n := s.origin.checker.Versions("show/1/video/index.m3u8"); n < 230 {
			t.Errorf("%d versions were shown, 240 were made", n)
		}
		if !s.origin.has("show/index.m3u8") {
			t.Error("no multivariant playlist")
		}
		if n := s.place.count(storage.LowLatency); n > 0 {
			t.Errorf("S9: %d playlists with parts at the place", n)
		}
		s.verdict()
	})
}

// A place without delay adds none.
func TestPlaylistsAreShownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, parts())
		w := newShow(s)
		w.play(20 * time.Second)
		if kept := s.kept(); len(kept) > 0 {
			t.Errorf("named at the origin: %v", kept)
		}
		if waited := s.lister.Metrics().Waited.Load(); waited > 0 {
			t.Errorf("playlists waited %v", time.Duration(waited))
		}
		s.verdict()
	})
}

// specs L26, L35, L41: what is late is named at the origin, and stays so; what comes after it
// is not affected.
func TestLateMediaStaysForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, parts())
		s.place.set(func(o storage.Object) (time.Duration, error) {
			if strings.HasSuffix(o.Key, "video/p000009.m4s") || strings.HasSuffix(o.Key, "video/s000005.m4s") {
				return 900 * time.Millisecond, nil
			}
			return 10 * time.Millisecond, nil
		})
		w := newShow(s)
		w.play(time.Minute)
		want := []string{"video/p000009.m4s", "video/s000005.m4s"}
		if kept := s.kept(); !slices.Equal(kept, want) {
			t.Errorf("named at the origin: %v, want %v", kept, want)
		}
		for _, delay := range s.delays("/video/p") {
			if delay != 10*time.Millisecond && delay != deadline {
				t.Errorf("a part was named %v after its Put", delay)
			}
		}
		s.verdict()
	})
}

// An outage costs each rendition three deadlines; then nothing is waited for until
// files are stored in time again.
func TestOutage(t *testing.T) {
	for name, takes := range map[string]func(storage.Object) (time.Duration, error){
		"refuses": func(storage.Object) (time.Duration, error) { return time.Millisecond, errors.New("503") },
		"hangs":   func(storage.Object) (time.Duration, error) { return time.Hour, nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, parts())
				s.origin.checker.Pace = deadline
				usual := sometimes(5*time.Millisecond, 30*time.Millisecond)
				s.place.set(usual)
				w := newShow(s)
				w.play(20 * time.Second)
				before := s.lister.Metrics().Kept.Load()
				s.place.set(takes)
				w.play(30 * time.Second)
				if h := s.lister.Health(); h.Fallen != 2 || h.Since < 27*time.Second {
					t.Errorf("in the outage: %+v", h)
				}
				waits := 0
				for _, delay := range s.delays("/video/p") {
					if delay > 100*time.Millisecond {
						waits++
					}
				}
				if waits > 3 {
					t.Errorf("%d parts were waited for", waits)
				}
				s.place.set(usual)
				w.play(30 * time.Second)
				if h := s.lister.Health(); h.Fallen != 0 || h.Since != 0 {
					t.Errorf("after the outage: %+v", h)
				}
				here := s.lister.Metrics().Kept.Load() - before
				if here < 5*30 || here > 5*(30+15) { // parts and segments of two renditions; pauses between attempts are random
					t.Errorf("%d files were named at the origin", here)
				}
				w.play(10 * time.Second)
				if now := s.lister.Metrics().Kept.Load() - before; now != here {
					t.Errorf("%d more files were named at the origin", now-here)
				}
				s.verdict()
			})
		})
	}
}

// The newest version may always have to wait: those before it are shown.
func TestNothingStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := parts()
		cfg.Deadline = 3 * time.Second
		s := newStage(t, cfg)
		const takes = 1200 * time.Millisecond
		s.place.set(func(storage.Object) (time.Duration, error) { return takes, nil })
		w := newShow(s)
		w.play(time.Minute)
		for _, delay := range s.delays("/aac/p") {
			if delay != takes {
				t.Errorf("a part was named %v after its Put", delay)
			}
		}
		if n := len(s.delays("/aac/p")); n < 110 {
			t.Errorf("%d parts were named", n)
		}
		s.verdict()
	})
}

// specs L58, L92: one rendition is slow: reports name what is listed, not what was made.
func TestReportsNameWhatIsListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, parts())
		s.place.set(func(o storage.Object) (time.Duration, error) {
			if strings.Contains(o.Key, "/video/") {
				return 420 * time.Millisecond, nil
			}
			return 0, nil
		})
		w := newShow(s)
		w.play(30 * time.Second)
		o := s.origin.get("show/1/aac/index.m3u8")
		msn, part := w.media["video"].Position().Last()
		made := fmt.Sprintf("LAST-MSN=%d,LAST-PART=%d\n", msn, part)
		if text := string(o.Body.Bytes()); strings.HasSuffix(text, made) || !strings.Contains(text, `REPORT:URI="../video/index.m3u8"`) {
			t.Errorf("the report is of what was made: %s", text[len(text)-120:])
		}
		s.verdict()
	})
}

// specs S7, L38, L52, L54: without parts at the place, playlists of segments that can be asked
// for in advance.
func TestSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, segments())
		s.origin.checker.Pace = time.Millisecond
		s.place.set(sometimes(0, 800*time.Millisecond))
		w := newShow(s)
		w.play(2 * time.Minute)
		time.Sleep(target)
		if kept := s.kept(); len(kept) > 0 {
			t.Errorf("named at the origin: %v", kept)
		}
		if n := s.place.count(storage.Part); n > 0 {
			t.Errorf("%d parts at the place", n)
		}
		o := s.origin.get("show/1/video/index.m3u8")
		text := string(o.Body.Bytes())
		if !strings.Contains(text, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK=6\n") || strings.Contains(text, "PART") {
			t.Error(text)
		}
		if o.Position.MSN != 60 || o.Position.Part != 0 {
			t.Errorf("it stands at %+v", o.Position)
		}
		s.verdict()
	})
}

// specs L27, L41, S17: what an earlier run has stored is named where it is; what it has not is
// a gap.
func TestEarlierRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, segments())
		w := newShow(s)
		m := w.media["video"]
		for n := range 3 {
			m.SetTime(time.Unix(0, 0).Add(time.Duration(n) * target))
			uri := fmt.Sprintf("s%d.m4s", n)
			if n != 1 {
				if err := s.place.Put(t.Context(), storage.Object{Key: w.key("video", uri), Kind: storage.Segment}); err != nil {
					t.Fatal(err)
				}
			}
			s.put(storage.Object{Key: w.key("video", uri), Kind: storage.Held})
			if _, err := m.CloseSegment(hls.Segment{URI: uri, Duration: target}); err != nil {
				t.Fatal(err)
			}
		}
		s.put(storage.Object{Key: w.key("video", "index.m3u8"), Kind: storage.Playlist, Body: m.Plain(), Position: storage.Position{MSN: 3, Target: target}})
		time.Sleep(target)
		text := string(s.origin.get("show/1/video/index.m3u8").Body.Bytes())
		for _, want := range []string{"\n" + base + "/show/1/video/s0.m4s\n", "#EXT-X-GAP\n#EXTINF:2.00000,\ns1.m4s\n", "\n" + base + "/show/1/video/s2.m4s\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
		s.verdict()
	})
}

// specs L32, L40, L49: the end is shown, media stays a little longer than it was deleted, and
// nothing is remembered of what is over.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, parts())
		s.place.set(sometimes(0, 300*time.Millisecond))
		w := newShow(s)
		w.play(10 * time.Second)
		w.end()
		if err := s.lister.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if text := string(s.origin.get("show/1/aac/index.m3u8").Body.Bytes()); !strings.HasSuffix(text, "#EXT-X-ENDLIST\n") {
			t.Errorf("drained, and the playlist is %s", text)
		}
		time.Sleep(time.Second)
		for _, key := range slices.Sorted(maps.Keys(s.created)) {
			s.delete(key)
		}
		time.Sleep(deadline - time.Millisecond)
		if key := w.key("video", "p000003.m4s"); !s.origin.has(key) {
			t.Errorf("%s went at once", key)
		}
		time.Sleep(2 * time.Millisecond)
		if n := s.origin.len(); n > 0 {
			t.Errorf("%d objects are left", n)
		}
		if h := s.lister.Health(); h != (hybrid.Health{}) {
			t.Errorf("remembered: %+v", h)
		}
		s.verdict()
	})
}

// A file that is deleted and needed again at once is there.
func TestNeededAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, parts())
		o := storage.Object{Key: "show/1/video/init-1.mp4", Kind: storage.Init, Body: storage.Body{[]byte("init")}}
		s.put(o)
		time.Sleep(time.Second)
		s.delete(o.Key)
		time.Sleep(deadline / 2)
		s.put(o)
		time.Sleep(time.Minute)
		if !s.origin.has(o.Key) {
			t.Error("it is gone")
		}
		s.stop()
	})
}

// A rendition that has fallen leaves the line to segments: of its parts one in four goes on
// the way.
func TestSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, parts())
		s.place.set(func(o storage.Object) (time.Duration, error) {
			if o.Kind == storage.Part {
				return 800 * time.Millisecond, nil
			}
			return 10 * time.Millisecond, nil
		})
		w := newShow(s)
		w.play(10 * time.Second)
		before := s.place.parts()
		w.play(40 * time.Second)
		if n := s.place.parts() - before; n < 2*18 || n > 2*22 {
			t.Errorf("%d of 160 parts were stored", n)
		}
		s.verdict()
	})
}

func TestPutRefusesAWrongKey(t *testing.T) {
	s := hybrid.New(storage.Tee(), parts())
	err := s.Put(t.Context(), storage.Object{Key: "../x", Kind: storage.LowLatency})
	if !errors.Is(err, storage.ErrKey) {
		t.Errorf("put: %v", err)
	}
}
