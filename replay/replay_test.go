package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/hlscheck"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/replay"
	"github.com/whipcast/whipcast/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const window = time.Minute

var errDown = errors.New("503 slow down")

// bucket is a place. After every change it holds that all that is visible names
// only what is there (specs S10, S15).
type bucket struct {
	t       *testing.T
	refuse  func(key string) error // under the lock
	mu      sync.Mutex
	objects map[string]storage.Object
	order   []string             // keys in the order of their puts
	unnamed map[string]time.Time // since when no playlist names it that did
	deleted map[string]time.Time
	asked   int
}

func newBucket(t *testing.T) *bucket {
	return &bucket{t: t, objects: map[string]storage.Object{}, unnamed: map[string]time.Time{}, deleted: map[string]time.Time{}}
}

func isList(key string) bool { return strings.HasSuffix(key, ".m3u8") }

func named(o storage.Object) map[string]bool {
	all := map[string]bool{}
	hls.Names(o.Body.Bytes(), func(uri []byte, _ int) bool {
		all[path.Join(path.Dir(o.Key), string(uri))] = true
		return true
	})
	return all
}

func (b *bucket) Put(_ context.Context, o storage.Object) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		if err := b.refuse(o.Key); err != nil {
			return err
		}
	}
	if isList(o.Key) {
		for key := range named(o) {
			if _, ok := b.objects[key]; !ok {
				b.t.Errorf("S10: %s names %s, which is not there", o.Key, key)
			}
		}
	}
	b.objects[o.Key] = o
	b.order = append(b.order, o.Key)
	return nil
}

func (b *bucket) Delete(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		if err := b.refuse(key); err != nil {
			return err
		}
	}
	o, ok := b.objects[key]
	if !ok {
		return nil
	}
	if isList(key) {
		for name := range named(o) {
			b.unnamed[name] = time.Now()
		}
	} else if since, ok := b.unnamed[key]; ok && time.Since(since) < time.Hour {
		b.t.Errorf("S15: %s is deleted %v after the last playlist that named it", key, time.Since(since))
	}
	delete(b.objects, key)
	b.deleted[key] = time.Now()
	if isList(key) || len(b.objects) < 500 { // else it is looked at now and then
		for _, other := range b.objects {
			if isList(other.Key) && named(other)[key] {
				b.t.Errorf("S15: %s is deleted, and %s names it", key, other.Key)
			}
		}
	}
	return nil
}

func (b *bucket) Has(_ context.Context, key string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	_, ok := b.objects[key]
	return ok, nil
}

func (b *bucket) text(key string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.objects[key].Body.Bytes())
}

func (b *bucket) keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

func (b *bucket) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// desk is a gateway as far as it matters here: an archive that runs, with a place.
type desk struct {
	*replay.Archive
	sink storage.Sink // that notes
	stop func()
}

// open starts a desk over a folder and a bucket.
func open(t *testing.T, folder string, b *bucket, place replay.Place) *desk {
	t.Helper()
	a, err := replay.Open(replay.Config{Folder: folder, Window: window})
	if err != nil {
		t.Fatal(err)
	}
	place.ID, place.Name, place.Sink, place.Holder = "bucket-1234abcd", "bucket-1", b, b
	place.Locate = func(key string) string { return "https://media.example.org/" + key }
	a.Add(place)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return &desk{Archive: a, sink: a.Noting(place.ID, b), stop: sync.OnceFunc(func() {
		cancel()
		<-done
	})}
}

// show is a presentation as the packager writes it down.
type show struct {
	t        *testing.T
	d        *desk
	name, id string
	length   time.Duration // of a segment
	msn      int
	late     int // the MSN at which video-2 joins; 0: never
	breaks   bool
	suffix   string // of names, after a restart
	silent   bool   // the media is not put
	ends     map[string]time.Time
}

func newShow(t *testing.T, d *desk, name, id string) *show {
	s := &show{t: t, d: d, name: name, id: id, length: 2 * time.Second, ends: map[string]time.Time{}}
	s.begin()
	return s
}

func (s *show) begin() {
	s.t.Helper()
	if err := s.d.Begin(s.t.Context(), s.name, s.id); err != nil {
		s.t.Fatal(err)
	}
	var lines []byte
	for _, r := range []string{"video", "aac"} {
		lines = s.describe(lines, r)
	}
	s.append(lines)
}

func (s *show) describe(lines []byte, rendition string) []byte {
	d := hls.Description{Rendition: rendition, Target: s.length.Round(time.Second), Codecs: "mp4a.40.2", Channels: 2}
	if rendition != "aac" {
		d = hls.Description{Rendition: rendition, Target: d.Target, Codecs: "avc1.64001f", Width: 1280, Height: 720, FrameRate: 30, VideoRange: "SDR"}
		if rendition != "video" {
			d.Width, d.Height = 640, 360
		}
	}
	s.put(storage.Object{Key: s.prefix(rendition) + "init-1.mp4", Kind: storage.Init, Body: storage.Body{[]byte("init")}})
	lines, err := hls.AppendDescription(lines, d)
	if err != nil {
		s.t.Fatal(err)
	}
	return lines
}

func (s *show) append(lines []byte) {
	if err := s.d.Append(s.t.Context(), s.name, s.id, lines); err != nil {
		s.t.Fatal(err)
	}
}

func (s *show) prefix(rendition string) string { return s.name + "/" + s.id + "/" + rendition + "/" }

func (s *show) put(o storage.Object) {
	if !s.silent {
		_ = s.d.sink.Put(s.t.Context(), o) // a bucket that refuses loses it
	}
}

// play makes segments for so long, each when it is due.
func (s *show) play(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		begin := time.Now()
		time.Sleep(s.length)
		renditions := []string{"video", "aac"}
		var lines []byte
		if s.late > 0 && s.msn >= s.late {
			renditions = append(renditions, "video-2")
			if s.msn == s.late {
				lines = s.describe(lines, "video-2")
			}
		}
		for i, r := range renditions {
			name := fmt.Sprintf("s%08d%s.m4s", s.msn, s.suffix)
			lines = hls.AppendEntry(lines, hls.Entry{Rendition: r, MSN: uint64(s.msn), Bytes: int64(500_000 / (i + 1)), Listed: hls.Listed{
				Segment: hls.Segment{URI: name, Duration: s.length}, Init: "init-1.mp4", Time: begin, Discontinuity: s.breaks,
			}})
			s.put(storage.Object{Key: s.prefix(r) + name, Kind: storage.Segment, Body: storage.Body{[]byte("media")}})
			s.ends[s.prefix(r)+name] = time.Now()
		}
		s.append(lines)
		s.breaks = false
		s.msn++
	}
}

func (s *show) end() {
	if err := s.d.End(s.t.Context(), s.name, s.id); err != nil {
		s.t.Error(err)
	}
}

// goOn lets the show go on after a restart of the gateway.
func (s *show) goOn(d *desk) {
	s.d, s.breaks = d, true
	s.suffix += "-1"
	s.begin()
}

// listed returns how many segments, gaps and discontinuities a playlist has.
func listed(text string) (segments, gaps, breaks int) {
	return strings.Count(text, "#EXTINF:"), strings.Count(text, "#EXT-X-GAP\n"), strings.Count(text, "#EXT-X-DISCONTINUITY\n")
}

// conform holds that a playlist breaks no rule.
func conform(t *testing.T, key, text string) {
	t.Helper()
	check := hlscheck.Checker{Static: true}
	check.Media(key, time.Now(), []byte(text))
	for _, v := range check.Violations() {
		t.Error(v)
	}
	if !strings.Contains(text, "#EXT-X-PLAYLIST-TYPE:VOD\n") || !strings.HasSuffix(text, "#EXT-X-ENDLIST\n") {
		t.Errorf("S16: %s is no VOD playlist:\n%s", key, text)
	}
}

// TestReplay: an ended stream leaves playlists over what is there, in order; what
// the place lost hours ago, before a restart, is a gap (specs S10, S12, S16, S29).
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder, b := t.TempDir(), newBucket(t)
		place := replay.Place{Keep: replay.Forever, Replay: true}
		d := open(t, folder, b, place)
		s := newShow(t, d, "show", "m1")
		s.late = 10
		s.play(20 * time.Second)
		b.set(func() { b.refuse = func(string) error { return errDown } })
		s.play(6 * time.Second) // segments 10 to 12 never come
		b.set(func() { b.refuse = nil })
		s.put(storage.Object{Key: s.prefix("video-2") + "init-1.mp4", Kind: storage.Init, Body: storage.Body{[]byte("init")}})
		s.play(4 * time.Second)
		d.stop() // killed: there is no End
		tear(t, filepath.Join(folder, "show", "m1", "record.00000.log"))
		time.Sleep(10 * time.Second)
		d = open(t, folder, b, place)
		s.goOn(d)
		s.play(30 * time.Second)
		if keys := b.keys(); slices.ContainsFunc(keys, isList) {
			t.Errorf("S16: there are playlists before the end: %q", keys)
		}
		b.set(func() { b.order = nil })
		s.end()
		synctest.Wait()
		defer d.stop()

		want := []string{"show/m1/aac/replay.m3u8", "show/m1/video-2/replay.m3u8", "show/m1/video/replay.m3u8", "show/m1/replay.m3u8", "show/replay.m3u8"}
		slices.Sort(b.order[:3])
		if !slices.Equal(b.order, want) {
			t.Errorf("S10: put %q, want %q", b.order, want)
		}
		for rendition, gaps := range map[string]int{"video": 3, "aac": 3, "video-2": 13} {
			key := s.prefix(rendition) + "replay.m3u8"
			text := b.text(key)
			conform(t, key, text)
			segments, missing, breaks := listed(text)
			if segments != s.msn || missing != gaps || breaks != 1 {
				t.Errorf("%s has %d segments, %d gaps, %d discontinuities, want %d, %d, 1\n%s", key, segments, missing, breaks, s.msn, gaps, text)
			}
			if got := storage.CacheControl(b.objects[key], 0); got != "public, max-age=3600" {
				t.Errorf("S29: %s: %s", key, got)
			}
		}
		if got := storage.CacheControl(b.objects["show/m1/replay.m3u8"], 0); got != "public, max-age=3600" {
			t.Errorf("S29: %s", got)
		}
		if got := storage.CacheControl(b.objects["show/replay.m3u8"], 0); got != "public, max-age=10" {
			t.Errorf("S29: alias: %s", got)
		}
		if text := b.text("show/replay.m3u8"); !strings.Contains(text, "\nm1/video/replay.m3u8\n") || !strings.Contains(text, `URI="m1/aac/replay.m3u8"`) ||
			!strings.Contains(text, "BANDWIDTH=3000000,") || !strings.Contains(text, "AVERAGE-BANDWIDTH=3000000,") {
			t.Errorf("alias:\n%s", text)
		}
		if text := b.text("show/m1/replay.m3u8"); !strings.Contains(text, "\nvideo/replay.m3u8\n") || strings.Count(text, "STREAM-INF") != 2 {
			t.Errorf("presentation's:\n%s", text)
		}
		all := d.Replays("show")
		if len(all) != 1 || all[0].Segments != s.msn || all[0].Duration != time.Duration(s.msn)*2*time.Second || all[0].Gaps != 19 ||
			all[0].At != "https://media.example.org/show/m1/replay.m3u8" || !all[0].Until.IsZero() {
			t.Errorf("replays %+v", all)
		}
		// The next one takes the alias; deleting it gives that back, and media goes an hour later.
		next := newShow(t, d, "show", "m2")
		next.play(10 * time.Second)
		next.end()
		synctest.Wait()
		if text := b.text("show/replay.m3u8"); !strings.Contains(text, "\nm2/video/replay.m3u8\n") {
			t.Errorf("alias after the next one:\n%s", text)
		}
		if err := d.DeleteReplay(t.Context(), "show", "m2"); err != nil {
			t.Error(err)
		}
		if text := b.text("show/replay.m3u8"); !strings.Contains(text, "\nm1/video/replay.m3u8\n") {
			t.Errorf("alias after it was deleted:\n%s", text)
		}
		time.Sleep(30 * time.Minute)
		if n := count(b, "show/m2/"); n != 2+2*next.msn {
			t.Errorf("S15: %d files are left half an hour later, want the media", n)
		}
		time.Sleep(time.Hour)
		if n := count(b, "show/m2/"); n != 0 {
			t.Errorf("%d files are left", n)
		}
		if _, err := os.Stat(filepath.Join(folder, "show", "m2")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its record is left: %v", err)
		}
		if len(d.Replays("show")) != 1 {
			t.Errorf("replays %+v", d.Replays("show"))
		}
	})
}

func count(b *bucket, prefix string) int {
	n := 0
	for _, key := range b.keys() {
		if strings.HasPrefix(key, prefix) {
			n++
		}
	}
	return n
}

// tear adds half a line, as a kill in the middle of a write does.
func tear(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("s video 99 200000 500000 s000"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReplayAfterKill: a gateway that was killed and whose stream does not go on
// leaves a replay at the next start; what was stored though nobody could note it is
// in it, what was not is a gap.
func TestReplayAfterKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder, b := t.TempDir(), newBucket(t)
		place := replay.Place{Keep: replay.Forever, Replay: true}
		d := open(t, folder, b, place)
		s := newShow(t, d, "show", "m1")
		s.play(20 * time.Second)
		sink := s.d.sink
		s.d.sink = b // stored, and killed before that was noted
		s.play(4 * time.Second)
		s.d.sink = sink
		s.silent = true // killed with a full queue
		s.play(4 * time.Second)
		s.silent = false
		s.play(2 * time.Second)
		d.stop()
		asked := b.asked
		time.Sleep(3 * time.Hour)
		d = open(t, folder, b, place)
		defer d.stop()
		time.Sleep(2 * time.Minute)
		for _, rendition := range []string{"video", "aac"} {
			text := b.text(s.prefix(rendition) + "replay.m3u8")
			conform(t, rendition, text)
			if segments, gaps, _ := listed(text); segments != 15 || gaps != 2 {
				t.Errorf("%s has %d segments, %d gaps, want 15, 2\n%s", rendition, segments, gaps, text)
			}
		}
		if n := b.asked - asked; n != 2*4 {
			t.Errorf("asked %d times, want for what was not noted only", n)
		}
		if r := d.Replays("show"); len(r) != 1 || !r[0].End.Equal(s.ends[s.prefix("video")+"s00000014.m4s"].Truncate(time.Millisecond)) {
			t.Errorf("S16: replays %+v", r)
		}
	})
}

// TestReplayOfPlaceThatIsDown: a replay comes when the place takes it again, after
// what the queue held.
func TestReplayOfPlaceThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		settled := make(chan struct{})
		d := open(t, t.TempDir(), b, replay.Place{Keep: replay.Forever, Replay: true, Settle: func(ctx context.Context, prefix string) error {
			if prefix != "show/m1/" {
				t.Errorf("waits for %s", prefix)
			}
			select {
			case <-settled:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		defer d.stop()
		s := newShow(t, d, "show", "m1")
		s.play(10 * time.Second)
		s.end()
		time.Sleep(10 * time.Minute)
		if len(d.Replays("show")) != 0 {
			t.Error("S16: a replay before its media was stored")
		}
		b.set(func() {
			b.refuse = func(key string) error {
				if key == "show/m1/replay.m3u8" {
					return errDown
				}
				return nil
			}
		})
		close(settled)
		time.Sleep(10 * time.Minute)
		if b.text("show/replay.m3u8") != "" || d.Metrics().Failures.Load() == 0 {
			t.Errorf("S10: the alias is there before what it names; %d failures", d.Metrics().Failures.Load())
		}
		b.set(func() { b.refuse = nil })
		time.Sleep(time.Minute)
		if b.text("show/replay.m3u8") == "" || len(d.Replays("show")) != 1 || d.Metrics().Replays.Load() != 1 {
			t.Errorf("replays %+v", d.Replays("show"))
		}
	})
}

// TestReplayOfAnother: a gateway that was refused a stream, since another one writes
// it there, has stored nothing: it leaves the other's replay alone (specs S18).
func TestReplayOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		if err := b.Put(t.Context(), storage.Object{Key: "show/replay.m3u8", Kind: storage.Multivariant, Body: storage.Body{[]byte("#EXTM3U\n")}}); err != nil {
			t.Fatal(err)
		}
		d := open(t, t.TempDir(), b, replay.Place{Keep: replay.Forever, Replay: true})
		defer d.stop()
		s := newShow(t, d, "show", "m1")
		s.silent = true
		s.play(10 * time.Second)
		s.end()
		time.Sleep(10 * time.Minute)
		if keys := b.keys(); b.text("show/replay.m3u8") != "#EXTM3U\n" || slices.ContainsFunc(keys, func(key string) bool { return isList(key) && key != "show/replay.m3u8" }) {
			t.Errorf("the bucket has %v", keys)
		}
		if n := d.Metrics().Replays.Load(); n != 0 {
			t.Errorf("%d replays", n)
		}
	})
}

// TestRetention: 24 h after they left the live window segments go, while the
// stream goes on for days and over restarts; 24 h after its end playlists go and
// then the rest (specs S15). Neither the bucket nor the folder keeps anything.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 24 * time.Hour
		folder, b := t.TempDir(), newBucket(t)
		place := replay.Place{Keep: keep, Replay: true}
		d := open(t, folder, b, place)
		s := newShow(t, d, "show", "m1")
		s.length = 10 * time.Second
		s.append(s.describe(nil, "video")) // with that target duration
		for range 12 {
			s.play(6 * time.Hour)
			d.stop()
			d = open(t, folder, b, place)
			s.goOn(d)
		}
		least := int((keep+window)/s.length) * 2
		if n := len(b.keys()); n < least || n > least+2+2*(60+12) {
			t.Errorf("%d objects after three days, want those of a day and a minute, %d", n, least)
		}
		files, err := filepath.Glob(filepath.Join(folder, "show/m1/record.*"))
		if err != nil || len(files) > 3 {
			t.Errorf("%d files of the record are left: %v", len(files), err)
		}
		files, err = filepath.Glob(filepath.Join(folder, "show/m1/bucket-1234abcd/stored.*"))
		if err != nil || len(files) > 3 {
			t.Errorf("%d files of what was stored are left: %v", len(files), err)
		}
		s.end()
		synctest.Wait()
		for _, rendition := range []string{"video", "aac"} {
			text := b.text(s.prefix(rendition) + "replay.m3u8")
			conform(t, rendition, text)
			if segments, gaps, _ := listed(text); segments < least/2 || segments > least/2+60+12 || gaps != 0 {
				t.Errorf("the replay has %d segments and %d gaps, want the %d of the last day", segments, gaps, least/2)
			}
		}
		if r := d.Replays("show"); len(r) != 1 || time.Until(r[0].Until) != keep {
			t.Errorf("replays %+v", r)
		}
		left := len(b.keys())
		time.Sleep(12 * time.Hour)
		d.stop() // the rest is done after a restart
		time.Sleep(11*time.Hour + 50*time.Minute)
		d = open(t, folder, b, place)
		defer func() { d.stop() }()
		time.Sleep(5 * time.Minute)
		if n := len(b.keys()); n != left {
			t.Errorf("%d objects before its time is over, want %d", n, left)
		}
		time.Sleep(10 * time.Minute)
		if keys := b.keys(); slices.ContainsFunc(keys, isList) || len(keys) != left-4 {
			t.Errorf("S15: a day later %d objects, playlists among them: %v", len(keys), slices.ContainsFunc(keys, isList))
		}
		time.Sleep(2 * time.Hour)
		if keys := b.keys(); len(keys) != 0 {
			t.Errorf("left in the bucket: %d, %q …", len(keys), keys[0])
		}
		if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
			t.Errorf("left of the records: %v, %v", entries, err)
		}
		for key, at := range b.deleted {
			if end, ok := s.ends[key]; ok && at.Sub(end) < keep+window {
				t.Fatalf("S15: %s was deleted %v after its end", key, at.Sub(end))
			}
		}
	})
}

// TestRecordsOfNobody: what no place keeps is not written down, and keys that are
// none of a presentation are nobody's.
func TestRecordsOfNobody(t *testing.T) {
	folder := t.TempDir()
	a, err := replay.Open(replay.Config{Folder: folder})
	if err != nil {
		t.Fatal(err)
	}
	b := newBucket(t)
	sink := a.Noting("bucket-1", b)
	for _, key := range []string{"show/index.m3u8", "x", "show/m1/video/s1.m4s"} {
		if err := sink.Put(t.Context(), storage.Object{Key: key, Kind: storage.Segment}); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
		t.Errorf("written: %v, %v", entries, err)
	}
	// A queue asks it what an earlier run has stored (docs/adr/0008).
	for key, want := range map[string]bool{"show/m1/video/s1.m4s": true, "show/m1/video/s2.m4s": false} {
		if has, err := storage.Has(t.Context(), sink, key); err != nil || has != want {
			t.Errorf("has %s: %v, %v", key, has, err)
		}
	}
	for _, name := range []string{"", "a/b", "..", "show/../x"} {
		if err := a.Begin(t.Context(), name, "m1"); !errors.Is(err, storage.ErrKey) {
			t.Errorf("begin %q: %v", name, err)
		}
		if err := a.End(t.Context(), name, "m1"); !errors.Is(err, storage.ErrKey) {
			t.Errorf("end %q: %v", name, err)
		}
	}
	if err := a.End(t.Context(), "show", "m1"); err != nil {
		t.Errorf("end of what was never begun: %v", err)
	}
	if err := a.DeleteReplay(t.Context(), "show", "m1"); !errors.Is(err, replay.ErrUnknown) {
		t.Errorf("delete: %v", err)
	}
}

// FuzzRecordFile: whatever a file of a record has, a replay is made of it that
// breaks no rule, or none.
func FuzzRecordFile(f *testing.F) {
	const d = `{"rendition":"video","target":2000000000,"codecs":"avc1.64001f","width":1280,"height":720}` + "\n"
	f.Add([]byte(d + "s video 1 200000 5 s1.m4s init-1.mp4 1800000000000 -\ns video 2 200000 5 s2.m4s init-1.mp4 1800000002000 d\n"))
	f.Add([]byte(d + "s video 5 200000 5 s1.m4s init-1.mp4 - -\ns video 2 200000 5 s2.m4s init-1.mp4 1800000002000 d\ns video 2 100000 5 s2-1.m4s init-1.mp4 1800000002000 dg\nhalf"))
	f.Fuzz(func(t *testing.T, content []byte) {
		folder := t.TempDir()
		where := filepath.Join(folder, "show", "m1")
		if err := os.MkdirAll(where, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(where, "record.00000.log"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		b := newBucket(t)
		for line := range bytes.Lines(content) {
			if e, err := hls.ParseEntry(bytes.TrimSuffix(line, []byte("\n"))); err == nil && !e.Gap {
				for _, name := range []string{e.URI, e.Init} {
					key := "show/m1/" + e.Rendition + "/" + name
					b.objects[key] = storage.Object{Key: key}
				}
			}
		}
		a, err := replay.Open(replay.Config{Folder: folder, Places: []replay.Place{{ID: "b", Name: "b", Sink: b, Holder: b, Keep: replay.Forever}}})
		if err != nil {
			t.Fatal(err)
		}
		clips, err := a.Clip(t.Context(), replay.Request{Stream: "show", From: replay.After(0), To: replay.After(time.Hour), Name: "all"})
		for _, c := range clips {
			if c.Segments == 0 || c.Duration <= 0 {
				t.Errorf("clip %+v, %v", c, err)
			}
		}
	})
}
