package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/hlscheck"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	target = 2 * time.Second
	window = time.Minute
)

// bucket is a Sink with faults. After every change it looks at all that is
// visible, as an observer who polls all the time would: each file that a
// playlist names must be there (specs S10), no sequence number may go back and
// no line may change.
type bucket struct {
	t *testing.T
	// before is asked before each call, without the lock. It may wait, and its
	// error is that of the call. after is asked when the change was made: the
	// answer may get lost.
	before func(ctx context.Context, key string, o *storage.Object) error
	after  func(key string) error
	rate   int  // bytes a second for all together; 0: no limit
	jumps  bool // an outage is longer than the window: what was visible before it is past
	blind  bool // there is no observer: what is put is no playlist

	mu       sync.Mutex
	objects  map[string][]byte
	writing  map[string]int         // calls for a playlist under way
	written  map[string][]time.Time // when each playlist was
	puts     map[string]int         // calls that came, by key
	last     map[string]storage.Object
	removed  []string
	checkers map[string]*hlscheck.Checker
	lag      time.Duration // of the checkers
	way      chan struct{} // the line that rate is about
}

func newBucket(t *testing.T) *bucket {
	return &bucket{
		t: t, objects: map[string][]byte{}, writing: map[string]int{}, written: map[string][]time.Time{},
		puts: map[string]int{}, last: map[string]storage.Object{}, checkers: map[string]*hlscheck.Checker{},
		way: make(chan struct{}, 1),
	}
}

func isPlaylist(key string) bool { return strings.HasSuffix(key, ".m3u8") }

func (b *bucket) Put(ctx context.Context, o storage.Object) error {
	if isPlaylist(o.Key) {
		b.count(o.Key, 1)
		defer b.count(o.Key, -1)
	}
	b.mu.Lock()
	b.puts[o.Key]++
	before := b.before
	b.mu.Unlock()
	if before != nil {
		if err := before(ctx, o.Key, &o); err != nil {
			return err
		}
	}
	if err := b.travel(ctx, o.Body.Len()); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[o.Key] = bytes.Clone(o.Body.Bytes())
	if b.objects[o.Key] == nil {
		b.objects[o.Key] = []byte{}
	}
	if isPlaylist(o.Key) {
		b.written[o.Key] = append(b.written[o.Key], time.Now())
		b.last[o.Key] = o
		if o.Kind == storage.Playlist && !b.blind {
			c := b.checkers[o.Key]
			if c == nil {
				c = &hlscheck.Checker{Static: true, Lag: b.lag}
				b.checkers[o.Key] = c
			}
			c.Media(o.Key, time.Now(), b.objects[o.Key])
		}
	}
	b.look()
	if b.after != nil {
		return b.after(o.Key)
	}
	return nil
}

// count holds that there is never more than one PUT of a playlist (specs S11).
func (b *bucket) count(key string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing[key] += n
	if b.writing[key] > 1 {
		b.t.Errorf("S11: %d PUTs of %s at once", b.writing[key], key)
	}
}

// travel takes as long as so many bytes need on a line that all share, packet by
// packet.
func (b *bucket) travel(ctx context.Context, n int) error {
	b.mu.Lock()
	rate := b.rate
	b.mu.Unlock()
	if rate == 0 {
		return ctx.Err()
	}
	const packet = 20_000
	for ; n > 0; n -= packet {
		select {
		case b.way <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := sleep(ctx, time.Duration(min(n, packet))*time.Second/time.Duration(rate))
		<-b.way
		if err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *bucket) Delete(ctx context.Context, key string) error {
	b.mu.Lock()
	before := b.before
	b.mu.Unlock()
	if before != nil {
		if err := before(ctx, key, nil); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, there := b.objects[key]; there {
		b.removed = append(b.removed, key)
	}
	delete(b.objects, key)
	b.look()
	return nil
}

// needed returns what a playlist names, written without the queue's own reader.
func needed(key, text string) []string {
	var all []string
	gap := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "#EXT-X-GAP":
			gap = true
		case strings.HasPrefix(line, "#EXT-X-MAP:") || strings.HasPrefix(line, "#EXT-X-MEDIA:"):
			_, uri, _ := strings.Cut(line, `URI="`)
			uri, _, _ = strings.Cut(uri, `"`)
			all = append(all, path.Join(path.Dir(key), uri))
		case line != "" && line[0] != '#':
			if !gap {
				all = append(all, path.Join(path.Dir(key), line))
			}
			gap = false
		}
	}
	return all
}

func (b *bucket) look() {
	for key, text := range b.objects {
		if !isPlaylist(key) || b.blind {
			continue
		}
		for _, uri := range needed(key, string(text)) {
			if _, there := b.objects[uri]; !there {
				b.t.Errorf("S10: at %s %s names %s, which is not there", time.Now().Format("15:04:05.000"), key, uri)
			}
		}
	}
}

func (b *bucket) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *bucket) text(key string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.objects[key])
}

func (b *bucket) keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

// verdict is what the observer has to say at the end.
func (b *bucket) verdict() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, c := range b.checkers {
		for i, v := range c.Violations() {
			if b.jumps && v.Item == "L18" && strings.Contains(v.Text, "jumps") {
				continue
			}
			if i < 5 {
				b.t.Errorf("%s: %v", key, v)
			}
		}
	}
}

// end returns the last media sequence number that a playlist in the bucket
// offers, and how many gaps it has.
func (b *bucket) end(key string) (msn, gaps int) {
	text := b.text(key)
	first, count := 0, 0
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "#EXT-X-MEDIA-SEQUENCE:"):
			_, _ = fmt.Sscanf(line, "#EXT-X-MEDIA-SEQUENCE:%d", &first)
		case strings.HasPrefix(line, "#EXTINF"):
			count++
		case line == "#EXT-X-GAP\n":
			gaps++
		}
	}
	return first + count - 1, gaps
}

// show puts what a packager puts: two renditions, an init segment each, a
// segment each every two seconds, and deletes what has left the window.
type show struct {
	t     *testing.T
	sink  storage.Sink
	name  string
	id    string // of the presentation
	size  int    // bytes of a video segment
	media map[string]*hls.Media
	msn   int
	late  []doomed
	begun time.Time
}

type doomed struct {
	key string
	at  time.Time
}

func newShow(t *testing.T, sink storage.Sink, name string) *show {
	return newShowOf(t, sink, name, "m1")
}

func newLongShow(t *testing.T, sink storage.Sink, name string, window time.Duration) *show {
	return newAnyShow(t, &show{sink: sink, name: name, id: "m1"}, window)
}

func newShowOf(t *testing.T, sink storage.Sink, name, id string) *show {
	return newAnyShow(t, &show{sink: sink, name: name, id: id}, window)
}

func newAnyShow(t *testing.T, s *show, window time.Duration) *show {
	s.t, s.size, s.media, s.begun = t, 1500, map[string]*hls.Media{}, time.Now()
	for _, rendition := range []string{"video", "audio"} {
		m := hls.NewMedia(hls.Config{Target: target, Window: window})
		s.media[rendition] = m
		key := s.prefix(rendition) + "init-1.mp4"
		s.put(storage.Object{Key: key, Kind: storage.Init, Body: storage.Body{[]byte("init")}})
		if err := m.SetInit("init-1.mp4"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *show) prefix(rendition string) string { return s.name + "/" + s.id + "/" + rendition + "/" }

func (s *show) put(o storage.Object) {
	o.Modified = time.Now()
	began := time.Now()
	if err := s.sink.Put(s.t.Context(), o); err != nil && !errors.Is(err, storage.ErrFull) {
		s.t.Errorf("put %s: %v", o.Key, err)
	}
	if time.Since(began) > 0 {
		s.t.Errorf("the publisher waited %v", time.Since(began))
	}
}

func (s *show) delete(key string) {
	if err := s.sink.Delete(s.t.Context(), key); err != nil {
		s.t.Errorf("delete %s: %v", key, err)
	}
}

// content returns what a segment holds: its own key, again and again.
func content(key string, size int) storage.Body {
	return storage.Body{bytes.Repeat([]byte(key), size/len(key)+1)[:size]}
}

// segment makes the next segment of both renditions.
func (s *show) segment() {
	for rendition, size := range map[string]int{"video": s.size, "audio": s.size / 20} {
		m, name := s.media[rendition], fmt.Sprintf("s%08d.m4s", s.msn)
		s.put(storage.Object{Key: s.prefix(rendition) + name, Kind: storage.Segment, Body: content(s.prefix(rendition)+name, size)})
		m.SetTime(time.Unix(0, 0).Add(time.Duration(s.msn) * target))
		removed, err := m.CloseSegment(hls.Segment{URI: name, Duration: target})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, gone := range removed.Segments {
			s.late = append(s.late, doomed{s.prefix(rendition) + gone.URI, time.Now().Add(2 * target)})
		}
		s.list(rendition, false)
	}
	s.msn++
	if s.msn == 1 {
		s.put(storage.Object{Key: s.name + "/index.m3u8", Kind: storage.Multivariant, Body: storage.Body{[]byte(
			"#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"A\",URI=\"" + s.id + "/audio/index.m3u8\"\n" +
				"#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\n" + s.id + "/video/index.m3u8\n")}})
	}
	for len(s.late) > 0 && !s.late[0].at.After(time.Now()) {
		s.delete(s.late[0].key)
		s.late = s.late[1:]
	}
}

func (s *show) list(rendition string, ended bool) {
	s.put(storage.Object{
		Key: s.prefix(rendition) + "index.m3u8", Kind: storage.Playlist, Body: s.media[rendition].Plain(),
		Position: storage.Position{MSN: uint64(s.msn + 1), Target: target, Ended: ended},
	})
}

// play makes segments for so long, each when it is due.
func (s *show) play(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(target)
		s.segment()
	}
	time.Sleep(time.Millisecond) // not at the same instant as what the queue does
}

func (s *show) end() {
	for rendition, m := range s.media {
		if err := m.End(); err != nil {
			s.t.Error(err)
		}
		s.list(rendition, true)
	}
}

// erase deletes everything, as the packager does when a stream is over.
func (s *show) erase() {
	s.delete(s.name + "/index.m3u8")
	for rendition := range s.media {
		s.delete(s.prefix(rendition) + "index.m3u8")
	}
	s.eraseMedia()
}

func (s *show) eraseMedia() {
	for rendition := range s.media {
		s.delete(s.prefix(rendition) + "init-1.mp4")
		for n := range s.msn {
			s.delete(fmt.Sprintf("%ss%08d.m4s", s.prefix(rendition), n))
		}
	}
}

func queueConfig() storage.QueueConfig {
	return storage.QueueConfig{Names: hls.Names, Gap: hls.Gap}
}

// start runs a queue; stop ends it.
func startQueue(t *testing.T, q *storage.Queue) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// caughtUp holds that the bucket has what was made, give or take so many
// segments, and as many gaps.
func caughtUp(t *testing.T, b *bucket, s *show, behind, gaps int) {
	t.Helper()
	for rendition := range s.media {
		msn, got := b.end(s.prefix(rendition) + "index.m3u8")
		if msn < s.msn-1-behind || got > gaps {
			t.Errorf("%s ends at %d with %d gaps, want %d with at most %d", rendition, msn, got, s.msn-1, gaps)
		}
	}
}

func TestQueueKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		b.before = func(ctx context.Context, key string, _ *storage.Object) error {
			return sleep(ctx, time.Duration(len(key)*37%11)*20*time.Millisecond) // each key its own time
		}
		q := storage.NewQueue(b, queueConfig())
		defer startQueue(t, q)()
		s := newShow(t, q, "show")
		s.play(3 * time.Minute)
		time.Sleep(time.Second)
		caughtUp(t, b, s, 0, 0)
		if b.text("show/index.m3u8") == "" {
			t.Error("no multivariant playlist")
		}
		s.end()
		if err := q.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		for rendition := range s.media { // specs S16
			if text := b.text(s.prefix(rendition) + "index.m3u8"); !strings.HasSuffix(text, "#EXT-X-ENDLIST\n") {
				t.Errorf("%s is not ended:\n%s", rendition, text)
			}
		}
		b.verdict()
		if got := q.Health(); got.State != storage.Working || got.Objects != 0 || got.Bytes != 0 || got.Error != "" {
			t.Errorf("health %+v", got)
		}
		if m := q.Metrics(); m.Lost.Load() != 0 || m.Failures.Load() != 0 || m.Stored.Load() != uint64(2+2*s.msn) {
			t.Errorf("lost %d, failed %d, stored %d", m.Lost.Load(), m.Failures.Load(), m.Stored.Load())
		}
		// 60 s window: what left it, and its time, is gone.
		if n := len(b.keys()); n > 3+2+2*(30+8) {
			t.Errorf("%d objects are left in the bucket", n)
		}
		s.erase()
		time.Sleep(5 * time.Minute)
		if left := b.keys(); len(left) != 0 {
			t.Errorf("left in the bucket: %q", left)
		}
	})
}

var errDown = errors.New("503 slow down")

// outages are the ways in which a bucket is not there.
func outages() map[string]func(context.Context, string, *storage.Object) error {
	return map[string]func(context.Context, string, *storage.Object) error{
		"refuses": func(context.Context, string, *storage.Object) error { return errDown },
		"hangs": func(ctx context.Context, _ string, _ *storage.Object) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"answers 503 late": func(ctx context.Context, _ string, _ *storage.Object) error {
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
			return errDown
		},
		"rejects the credentials": func(context.Context, string, *storage.Object) error {
			return storage.Permanent(errDown)
		},
		lostAnswers: nil, // it does what it is asked, and nobody learns of it
	}
}

const lostAnswers = "loses its answers"

// fail makes the bucket fail in one of these ways.
func (b *bucket) fail(name string) {
	b.set(func() {
		b.before = outages()[name]
		if name == lostAnswers {
			b.after = func(string) error { return errDown }
		}
	})
}

// heal ends that.
func (b *bucket) heal(before func(context.Context, string, *storage.Object) error) {
	b.set(func() { b.before, b.after = before, nil })
}

// An outage as long as the window allows is caught up with completely; nobody
// else notices it.
func TestQueueCatchesUpAfterAnOutage(t *testing.T) {
	for name := range outages() {
		for _, long := range []time.Duration{time.Second, 30 * time.Second, 10 * time.Minute} {
			for _, again := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s for %v, retry %t", name, long, again), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := newBucket(t)
						if again {
							policy := storage.Policy{Kinds: storage.Init | storage.Segment, Attempts: 2}
							queueOutage(t, b, storage.Retry(b, policy), name, long)
							return
						}
						queueOutage(t, b, b, name, long)
					})
				})
			}
		}
	}
}

func queueOutage(t *testing.T, b *bucket, sink storage.Sink, name string, long time.Duration) {
	slow := func(ctx context.Context, _ string, _ *storage.Object) error { return sleep(ctx, 50*time.Millisecond) }
	b.before = slow
	var lines bytes.Buffer
	cfg := queueConfig()
	cfg.Logger = slog.New(slog.NewTextHandler(&lines, nil))
	q := storage.NewQueue(sink, cfg)
	defer startQueue(t, q)()
	s := newShow(t, q, "show")
	s.play(90 * time.Second)
	caughtUp(t, b, s, 1, 0)

	b.set(func() { b.jumps = long > window })
	b.fail(name)
	s.play(long)
	state := storage.Down
	if name == "rejects the credentials" {
		state = storage.Refused
		b.set(func() { b.lag = time.Minute }) // a pause is longer than the window's end
	}
	if h := q.Health(); long > 10*time.Second {
		if h.State != state || h.Error == "" || h.Failing < long-20*time.Second || h.Objects == 0 || h.Oldest == 0 {
			t.Errorf("health in the outage: %+v", h)
		}
		if h.Objects > 2*(30+4) { // what has left the window is not kept
			t.Errorf("%d objects wait", h.Objects)
		}
	}
	b.heal(slow)
	if state == storage.Refused {
		s.play(10 * time.Second) // so long is a pause before it is tried again
	}
	s.play(20 * time.Second)
	excused := uint64(0)
	if name == "hangs" && long == time.Second && sink == storage.Sink(b) {
		excused = 2
	}
	caughtUp(t, b, s, 1, int(excused))
	if h := q.Health(); h.Failing != 0 || h.State == storage.Down || h.State == storage.Refused {
		t.Errorf("health after the outage: %+v", h)
	}
	// A call that hangs for two target durations costs its segment (specs S14); one
	// that is tried again after one does not.
	if lost := q.Metrics().Lost.Load(); long < window && lost > excused {
		t.Errorf("%d segments lost", lost)
	}
	s.play(2 * time.Minute)
	caughtUp(t, b, s, 1, 0)
	if h := q.Health(); h.State != storage.Working {
		t.Errorf("health long after the outage: %+v", h)
	}
	b.verdict()
	words := map[storage.State]string{storage.Down: "takes nothing", storage.Refused: "check its credentials"}[state]
	if n := strings.Count(lines.String(), words); n > 1 || n == 0 && long > 10*time.Second {
		t.Errorf("said %d times that nothing gets through:\n%s", n, lines.String())
	}
	s.end()
	s.erase()
	time.Sleep(10 * time.Minute)
	if left := b.keys(); len(left) != 0 {
		t.Errorf("left in the bucket: %q", left)
	}
}

// A line below real time for a while: when it is quick again all is caught up, and
// gaps leave with the window.
func TestQueueCatchesUpAfterASlowLine(t *testing.T) {
	for _, long := range []time.Duration{time.Second, 30 * time.Second, 10 * time.Minute} {
		t.Run(long.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBucket(t)
				b.lag = time.Minute
				q := storage.NewQueue(b, queueConfig())
				defer startQueue(t, q)()
				s := newShow(t, q, "show")
				s.size = 1_500_000
				s.play(90 * time.Second)
				caughtUp(t, b, s, 0, 0)
				b.set(func() { b.rate = s.size * 63 / 200 }) // six tenths of what comes
				s.play(long)
				if h := q.Health(); long > time.Minute && h.State != storage.Behind {
					t.Errorf("health on a slow line: %+v", h)
				}
				b.set(func() { b.rate = 0 })
				s.play(10 * time.Second)
				caughtUp(t, b, s, 0, int(min(long, window)/target)*2/3+3)
				s.play(2 * time.Minute)
				caughtUp(t, b, s, 0, 0)
				if h := q.Health(); h.State != storage.Working || h.Objects != 0 {
					t.Errorf("health long after: %+v", h)
				}
				b.verdict()
			})
		})
	}
}

// A line that is too thin for the stream costs some segments, not all, and the
// playlist stays close to the live edge (specs S12, S14).
func TestQueueOverALineBelowRealTime(t *testing.T) {
	for _, share := range []float64{0.9, 0.7, 0.6} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBucket(t)
				s0 := 1_500_000
				b.rate = int(share * float64(s0) * 1.05 / target.Seconds())
				q := storage.NewQueue(b, queueConfig())
				defer startQueue(t, q)()
				s := newShow(t, q, "show")
				s.size = s0
				s.play(time.Minute)
				worst, gaps := 0, 0
				for range 60 {
					s.play(target)
					msn, g := b.end("show/m1/video/index.m3u8")
					worst, gaps = max(worst, s.msn-1-msn), g
				}
				if worst > 4 {
					t.Errorf("the playlist is %d segments behind", worst)
				}
				// 30 segments are in the window.
				if least, most := int(30*(1-share)*0.6), int(30*(1-share)*1.6)+3; gaps < least || gaps > most {
					t.Errorf("%d gaps of 30, want %d to %d", gaps, least, most)
				}
				if h := q.Health(); h.State != storage.Behind {
					t.Errorf("health %+v", h)
				}
				b.verdict()
			})
		})
	}
}

// specs S12: a segment that is not taken becomes a gap in every later playlist,
// and stays one.
func TestQueueASegmentThatIsNotTakenBecomesAGap(t *testing.T) {
	for name, failure := range map[string]error{"fails": errDown, "is refused": storage.Permanent(errDown)} {
		for _, heals := range []time.Duration{5 * time.Second, time.Hour} {
			t.Run(fmt.Sprintf("%s, heals after %v", name, heals), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBucket(t)
					begin := time.Now()
					const poison = "show/m1/video/s00000005.m4s"
					b.before = func(_ context.Context, key string, o *storage.Object) error {
						if key == poison && o != nil && time.Since(begin) < heals+12*time.Second {
							return failure
						}
						return nil
					}
					q := storage.NewQueue(b, queueConfig())
					defer startQueue(t, q)()
					s := newShow(t, q, "show")
					s.play(20 * time.Second)
					caughtUp(t, b, s, 0, 1)
					if text := b.text("show/m1/video/index.m3u8"); !strings.Contains(text, "#EXT-X-GAP\n#EXTINF:2.00000,\ns00000005.m4s\n") || strings.Count(text, "#EXT-X-GAP") != 1 {
						t.Errorf("no gap:\n%s", text)
					}
					if text := b.text("show/m1/audio/index.m3u8"); strings.Contains(text, "GAP") {
						t.Errorf("a gap in the other rendition:\n%s", text)
					}
					s.play(40 * time.Second)
					caughtUp(t, b, s, 0, 1)
					if text := b.text("show/m1/video/index.m3u8"); !strings.Contains(text, "#EXT-X-GAP\n#EXTINF:2.00000,\ns00000005.m4s\n") {
						t.Errorf("the gap is gone:\n%s", text)
					}
					s.play(time.Minute)
					caughtUp(t, b, s, 0, 0)
					if h := q.Health(); h.Missing != 0 {
						t.Errorf("%d files are still known to be missing", h.Missing)
					}
					b.verdict()
				})
			})
		}
	}
}

// specs S13: a playlist that fails is tried again with the newest body.
func TestQueueTriesPlaylistsAgainWithTheNewestBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		var bodies []int
		down := false
		b.before = func(_ context.Context, key string, o *storage.Object) error {
			if key == "show/m1/video/index.m3u8" && o != nil {
				b.mu.Lock()
				defer b.mu.Unlock()
				bodies = append(bodies, int(o.Position.MSN))
				if down {
					return errDown
				}
			}
			return nil
		}
		q := storage.NewQueue(b, queueConfig())
		defer startQueue(t, q)()
		s := newShow(t, q, "show")
		s.play(10 * time.Second)
		b.set(func() { down = true })
		s.play(20 * time.Second)
		if h := q.Health(); h.State != storage.Behind || h.Error == "" || h.Objects != 0 { // specs S13
			t.Errorf("health while a playlist fails: %+v", h)
		}
		b.set(func() { down = false; bodies = nil })
		s.play(6 * time.Second)
		var seen []int
		b.set(func() { seen = slices.Clone(bodies) })
		if len(seen) == 0 || seen[0] < s.msn-3 || !slices.IsSorted(seen) {
			t.Errorf("bodies %v, the newest is %d", seen, s.msn)
		}
		caughtUp(t, b, s, 0, 0)
		if lost := q.Metrics().Lost.Load(); lost != 0 {
			t.Errorf("%d lost", lost)
		}
		b.verdict()
	})
}

// The answer to a PUT gets lost: it was stored, and is stored again.
func TestQueueSurvivesLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		n := 0
		b.after = func(string) error {
			n++
			if n%3 == 0 {
				return errDown
			}
			return nil
		}
		q := storage.NewQueue(b, queueConfig())
		defer startQueue(t, q)()
		s := newShow(t, q, "show")
		s.play(2 * time.Minute)
		caughtUp(t, b, s, 1, 0)
		if lost := q.Metrics().Lost.Load(); lost != 0 {
			t.Errorf("%d lost", lost)
		}
		s.end()
		s.erase()
		time.Sleep(5 * time.Minute)
		if left := b.keys(); len(left) != 0 {
			t.Errorf("left in the bucket: %q", left)
		}
		b.verdict()
	})
}

// Credentials that are refused are not tried all the time, and work when they
// are mended.
func TestQueueWithRefusedCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		refused := fmt.Errorf("put: %w", storage.Permanent(errors.New("the access key is not known")))
		var calls atomic.Int64
		b.before = func(context.Context, string, *storage.Object) error { calls.Add(1); return refused }
		var lines bytes.Buffer
		cfg := queueConfig()
		cfg.Logger = slog.New(slog.NewTextHandler(&lines, nil))
		q := storage.NewQueue(storage.Retry(b, storage.Policy{}), cfg)
		defer startQueue(t, q)()
		s := newShow(t, q, "show")
		s.play(5 * time.Minute)
		if h := q.Health(); h.State != storage.Refused || !strings.Contains(h.Error, "access key") {
			t.Errorf("health %+v", h)
		}
		if calls.Load() > 30 {
			t.Errorf("tried %d times in 5 minutes", calls.Load())
		}
		if n := strings.Count(lines.String(), "check its credentials"); n != 1 {
			t.Errorf("said %d times what to check:\n%s", n, &lines)
		}
		b.set(func() {
			b.before = nil
			b.lag = time.Minute // what left the live window meanwhile is never seen
		})
		s.play(time.Minute)
		caughtUp(t, b, s, 0, 0)
		b.verdict()
	})
}

// specs S19: some stores take one write a second of one key.
func TestQueueWritesAPlaylistAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		cfg := queueConfig()
		cfg.PlaylistEvery = time.Second
		q := storage.NewQueue(b, cfg)
		defer startQueue(t, q)()
		const key = "show/m1/video/index.m3u8"
		for n := range 100 {
			if err := q.Put(t.Context(), storage.Object{Key: key, Kind: storage.Playlist, Body: storage.Body{fmt.Appendf(nil, "#EXTM3U\n#%d\n", n)}}); err != nil {
				t.Error(err)
			}
			time.Sleep(130 * time.Millisecond)
		}
		if err := q.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if !strings.Contains(b.text(key), "#99\n") {
			t.Errorf("the newest body did not win:\n%s", b.text(key))
		}
		for i, at := range b.written[key][1:] {
			if d := at.Sub(b.written[key][i]); d < time.Second {
				t.Errorf("written again after %v", d)
			}
		}
		if n := len(b.written[key]); n < 10 || n > 14 {
			t.Errorf("written %d times in 13 s", n)
		}
	})
}

// Memory is bounded: beyond it the oldest segments are lost, and the playlist
// says so.
func TestQueueIsBounded(t *testing.T) {
	for name, cfg := range map[string]storage.QueueConfig{
		"bytes": {MaxBytes: 5 * 1575}, "objects": {MaxObjects: 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBucket(t)
				cfg.Names, cfg.Gap = hls.Names, hls.Gap
				q := storage.NewQueue(b, cfg)
				defer startQueue(t, q)()
				s := newShow(t, q, "show")
				s.play(20 * time.Second)
				b.set(func() { b.before = outages()["refuses"] })
				for range 15 {
					s.play(target)
					if h := q.Health(); h.Bytes > 5*1575 || h.Objects > 10 {
						t.Errorf("health %+v", h)
					}
				}
				b.set(func() { b.before = nil })
				s.play(20 * time.Second)
				msn, gaps := b.end("show/m1/video/index.m3u8")
				if msn != s.msn-1 || gaps < 8 || gaps > 12 {
					t.Errorf("ends at %d of %d with %d gaps", msn, s.msn-1, gaps)
				}
				b.verdict()
			})
		})
	}
}

// While nothing runs, Put still never waits; what is too much is missing later.
func TestQueueThatDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		cfg := queueConfig()
		cfg.MaxObjects = 9
		q := storage.NewQueue(b, cfg)
		s := newShow(t, q, "show") // two init segments
		s.segment()
		full := 0
		for n := range 20 {
			err := q.Put(t.Context(), storage.Object{Key: fmt.Sprintf("other/s%d", n), Kind: storage.Segment})
			if errors.Is(err, storage.ErrFull) {
				full++
			}
		}
		if full != 18 {
			t.Errorf("%d refused, want 18", full)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := q.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drained: %v", err)
		}
		defer startQueue(t, q)()
		s.play(30 * time.Second)
		caughtUp(t, b, s, 0, 0)
		b.verdict()
	})
}

func TestQueueRefusesKeysThatNameNothing(t *testing.T) {
	q := storage.NewQueue(newBucket(t), storage.QueueConfig{})
	if err := q.Put(t.Context(), storage.Object{Key: "../a"}); !errors.Is(err, storage.ErrKey) {
		t.Errorf("put: %v", err)
	}
	if err := q.Delete(t.Context(), "../a"); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// specs S14: one stream that is slow does not hold up another.
func TestQueueStreamsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		b.before = func(ctx context.Context, key string, _ *storage.Object) error {
			if strings.HasPrefix(key, "slow/") {
				return sleep(ctx, 3900*time.Millisecond)
			}
			return nil
		}
		cfg := queueConfig()
		cfg.Workers, cfg.PerStream = 4, 2
		q := storage.NewQueue(b, cfg)
		defer startQueue(t, q)()
		slow, quick := newShow(t, q, "slow"), newShow(t, q, "quick")
		worst := 0
		for range 60 {
			time.Sleep(target)
			slow.segment()
			quick.segment()
			time.Sleep(time.Millisecond)
			msn, _ := b.end("quick/m1/video/index.m3u8")
			worst = max(worst, quick.msn-1-msn)
		}
		if worst > 2 {
			t.Errorf("the quick stream was %d segments behind", worst)
		}
		if _, gaps := b.end("quick/m1/video/index.m3u8"); gaps > 0 {
			t.Errorf("the quick stream has %d gaps", gaps)
		}
		b.verdict()
	})
}

// specs S15: a file goes when no visible playlist names it, and some time after.
func TestQueueDeletesWhatNoVisiblePlaylistNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		cfg := queueConfig()
		cfg.Linger = 7 * time.Second
		q := storage.NewQueue(b, cfg)
		defer startQueue(t, q)()
		playlist := func(text string) {
			if err := q.Put(t.Context(), storage.Object{Key: "a/index.m3u8", Kind: storage.Playlist, Body: storage.Body{[]byte(text)}}); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		for _, key := range []string{"a/s1", "a/s2"} {
			if err := q.Put(t.Context(), storage.Object{Key: key, Kind: storage.Segment, Body: storage.Body{[]byte("x")}}); err != nil {
				t.Error(err)
			}
		}
		playlist("#EXTM3U\n#EXTINF:2,\ns1\n#EXTINF:2,\ns2\n")
		if err := q.Delete(t.Context(), "a/s1"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if b.text("a/s1") == "" {
			t.Fatal("a file that a playlist names was deleted")
		}
		playlist("#EXTM3U\n#EXTINF:2,\ns2\n")
		time.Sleep(7*time.Second - time.Millisecond)
		if b.text("a/s1") == "" {
			t.Error("deleted at once")
		}
		time.Sleep(2 * time.Millisecond)
		if b.text("a/s1") != "" {
			t.Error("not deleted")
		}
		// Put again before it goes: it stays.
		playlist("#EXTM3U\n")
		if err := q.Delete(t.Context(), "a/s2"); err != nil {
			t.Error(err)
		}
		if err := q.Put(t.Context(), storage.Object{Key: "a/s2", Kind: storage.Segment, Body: storage.Body{[]byte("new")}}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if b.text("a/s2") != "new" {
			t.Errorf("a/s2 holds %q", b.text("a/s2"))
		}
	})
}

// A deletion that fails is tried some times and then left behind.
func TestQueueDeletionsThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		var tries atomic.Int64
		b.before = func(_ context.Context, _ string, o *storage.Object) error {
			if o == nil {
				tries.Add(1)
				return errDown
			}
			return nil
		}
		q := storage.NewQueue(b, queueConfig())
		defer startQueue(t, q)()
		s := newShow(t, q, "show")
		s.play(20 * time.Second)
		if err := q.Delete(t.Context(), "other/s1"); err != nil {
			t.Error(err)
		}
		s.play(2 * time.Minute)
		if q.Metrics().LeftBehind.Load() == 0 || tries.Load() < 5 {
			t.Errorf("%d left behind after %d tries", q.Metrics().LeftBehind.Load(), tries.Load())
		}
		caughtUp(t, b, s, 0, 0)
		b.verdict()
	})
}

// drained is a Queue whose calls return when they are done, so that the suite
// can look.
type drained struct {
	*storage.Queue
	b *bucket
}

func (d drained) Put(ctx context.Context, o storage.Object) error {
	if err := d.Queue.Put(ctx, o); err != nil {
		return err
	}
	return d.Drain(ctx)
}

func (d drained) Delete(ctx context.Context, key string) error {
	if err := d.Queue.Delete(ctx, key); err != nil {
		return err
	}
	for { // a Drain does not wait for what lingers
		d.b.mu.Lock()
		_, there := d.b.objects[key]
		d.b.mu.Unlock()
		if !there {
			return d.Drain(ctx)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func TestQueueIsASink(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.Sink, storagetest.Read) {
		b := newBucket(t)
		b.blind = true
		q := storage.NewQueue(storage.Retry(b, storage.Policy{}), storage.QueueConfig{Linger: time.Nanosecond})
		t.Cleanup(startQueue(t, q))
		return drained{q, b}, func(_ context.Context, key string) ([]byte, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			content, ok := b.objects[key]
			if !ok {
				return nil, storage.ErrNotFound
			}
			return content, nil
		}
	})
}

// BenchmarkQueue is what a queue costs for a segment, its playlist, and the
// deletion of an old segment.
func BenchmarkQueue(b *testing.B) {
	for name, listed := range map[string]int{"one minute": 30, "six hours": 10_800} {
		b.Run(name, func(b *testing.B) {
			var text []byte
			for n := range listed {
				text = fmt.Appendf(text, "#EXT-X-PROGRAM-DATE-TIME:2026-11-20T12:00:00.000Z\n#EXTINF:2.00000,\ns%08d.m4s\n", n)
			}
			q := storage.NewQueue(nothing{}, queueConfig())
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- q.Run(ctx) }()
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				n++
				_ = q.Put(ctx, storage.Object{Key: fmt.Sprintf("show/m1/video/t%d", n), Kind: storage.Segment, Body: storage.Body{text[:100]}})
				_ = q.Put(ctx, storage.Object{Key: "show/m1/video/index.m3u8", Kind: storage.Playlist, Body: storage.Body{text}})
				_ = q.Delete(ctx, fmt.Sprintf("show/m1/video/t%d", n-20))
				if err := q.Drain(ctx); err != nil {
					b.Fatal(err)
				}
			}
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

type nothing struct{}

func (nothing) Put(context.Context, storage.Object) error { return nil }
func (nothing) Delete(context.Context, string) error      { return nil }

// Parts are wanted for a moment only: they wait for no segment, go when their time has passed,
// also while nothing gets through, and nobody calls them lost.
func TestQueueParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		b.blind = true
		refuses := false
		b.before = func(ctx context.Context, key string, _ *storage.Object) error {
			switch {
			case refuses:
				return errors.New("503")
			case strings.Contains(key, "/s"):
				return sleep(ctx, 3*time.Second)
			}
			return sleep(ctx, 400*time.Millisecond)
		}
		cfg := queueConfig()
		cfg.PartLife, cfg.Deadline = time.Second, time.Minute
		q := storage.NewQueue(b, cfg)
		defer startQueue(t, q)()
		put := func(kind storage.Kind, name string) {
			o := storage.Object{Key: "show/m1/video/" + name, Kind: kind, Body: storage.Body{[]byte(name)}}
			if err := q.Put(t.Context(), o); err != nil {
				t.Error(err)
			}
		}
		put(storage.Segment, "s1.m4s")
		put(storage.Segment, "s2.m4s")
		for n := range 6 {
			put(storage.Part, fmt.Sprintf("p%d.m4s", n))
			time.Sleep(200 * time.Millisecond)
		}
		time.Sleep(250 * time.Millisecond)
		if got := b.keys(); len(got) != 6 {
			t.Errorf("stored beside a segment: %v", got)
		}
		time.Sleep(6 * time.Second)
		b.set(func() { refuses = true })
		for n := range 6 {
			put(storage.Part, fmt.Sprintf("q%d.m4s", n))
		}
		time.Sleep(10 * time.Second)
		if h, m := q.Health(), q.Metrics(); h.Objects != 0 || h.Missing != 0 || m.Dropped.Load() != 6 || m.Lost.Load() != 0 {
			t.Errorf("%+v, %d dropped, %d lost", h, m.Dropped.Load(), m.Lost.Load())
		}
	})
}
