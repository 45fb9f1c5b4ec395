package storage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

// shelves is a bucket that can tell what it has.
type shelves struct {
	*bucket
	has  func(ctx context.Context, key string) error // asked before
	asks int
}

func (s *shelves) Has(ctx context.Context, key string) (bool, error) {
	s.set(func() { s.asks++ })
	if s.has != nil {
		if err := s.has(ctx, key); err != nil {
			return false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there := s.objects[key]
	return there, nil
}

// goOn lets a show go on in a new queue, as the packager does after a restart.
func (s *show) goOn(sink storage.Sink) {
	s.sink = sink
	for rendition, m := range s.media {
		s.put(storage.Object{Key: s.prefix(rendition) + "init-1.mp4", Kind: storage.Init, Body: storage.Body{[]byte("init")}})
		for _, l := range m.State().Segments {
			if !l.Gap {
				s.put(storage.Object{Key: s.prefix(rendition) + l.URI, Kind: storage.Held})
			}
		}
	}
}

// After a restart playlists list what the bucket has, and as missing what never
// arrived, or cannot be asked for (specs S10, S12, S17).
func TestQueueGoesOnAfterARestart(t *testing.T) {
	broken := func(context.Context, string) error { return errors.New("status 503") }
	for name, tt := range map[string]struct {
		has        func(ctx context.Context, key string) error
		blind      bool // the sink cannot tell
		gaps, most int
		first      time.Duration // until the first playlist of the new run
	}{
		"it can tell":          {gaps: 4, most: 4, first: 100 * time.Millisecond},
		"it takes its time":    {has: func(ctx context.Context, _ string) error { return sleep(ctx, 200*time.Millisecond) }, gaps: 4, most: 4, first: time.Second},
		"it fails for a while": {has: failUntil(time.Second), gaps: 4, most: 4, first: 6 * time.Second},
		"it never answers":     {has: broken, gaps: 30, most: 30, first: 6 * time.Second},
		"it cannot be asked":   {has: func(context.Context, string) error { return storage.Permanent(errors.New("status 403")) }, gaps: 30, most: 30, first: 100 * time.Millisecond},
		"it cannot tell":       {blind: true, gaps: 30, most: 30, first: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBucket(t)
				q := storage.NewQueue(b, queueConfig())
				stop := startQueue(t, q)
				s := newShow(t, q, "show")
				s.play(time.Minute)
				b.set(func() { // nothing arrives any more, and then the program is killed
					b.before = func(context.Context, string, *storage.Object) error { return errors.New("reset") }
				})
				s.play(8 * time.Second)
				stop()
				b.set(func() { b.before = nil })
				written := len(b.written["show/m1/video/index.m3u8"])

				var sink storage.Sink = &shelves{bucket: b, has: tt.has}
				if tt.blind {
					sink = b
				}
				q = storage.NewQueue(storage.Only(storage.Retry(sink, storage.Policy{Attempts: 1}), ^storage.Kind(0)), queueConfig())
				defer startQueue(t, q)()
				s.goOn(q)
				began := time.Now()
				s.play(6 * time.Second)
				time.Sleep(6 * time.Second)
				_, gaps := b.end("show/m1/video/index.m3u8")
				if gaps < tt.gaps-4 || gaps > tt.most || tt.most < 10 && gaps != tt.gaps {
					t.Errorf("%d gaps, want %d", gaps, tt.gaps)
				}
				if at := b.written["show/m1/video/index.m3u8"][written].Sub(began); at > tt.first+2*time.Second {
					t.Errorf("the first playlist of the new run came after %v", at)
				}
			})
		})
	}
}

func failUntil(d time.Duration) func(context.Context, string) error {
	var end time.Time
	return func(context.Context, string) error {
		if end.IsZero() {
			end = time.Now().Add(d)
		}
		if time.Now().Before(end) {
			return errors.New("status 503")
		}
		return nil
	}
}

// What playlists of an earlier run name is not known: nothing of theirs is deleted
// before another one is visible, and what left the window is deleted then (S15).
func TestQueueDeletesWhatAnEarlierRunLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		q := storage.NewQueue(b, queueConfig())
		stop := startQueue(t, q)
		s := newShow(t, q, "show")
		s.play(40 * time.Second)
		stop()
		b.set(func() {
			b.before = func(_ context.Context, key string, o *storage.Object) error {
				if o != nil && isPlaylist(key) {
					return errors.New("status 503")
				}
				return nil
			}
		})
		q = storage.NewQueue(&shelves{bucket: b}, queueConfig())
		defer startQueue(t, q)()
		s.goOn(q)
		first := s.prefix("video") + "s00000000.m4s"
		s.play(2 * time.Second)
		s.delete(first) // too early
		s.play(40 * time.Second)
		if b.text(first) == "" {
			t.Error("S15: deleted while the visible playlist names it")
		}
		b.set(func() { b.before = nil })
		s.play(time.Minute)
		if b.text(first) != "" {
			t.Error("S15: stays for ever")
		}
		b.verdict()
	})
}

// Six hours of segments are looked for in seconds, while new ones are stored.
func TestQueueLooksForALongWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		b.blind = true
		sink := &shelves{bucket: b, has: func(ctx context.Context, _ string) error { return sleep(ctx, 30*time.Millisecond) }}
		q := storage.NewQueue(sink, queueConfig())
		defer startQueue(t, q)()
		m := hls.NewMedia(hls.Config{Target: target, Window: 6 * time.Hour})
		if err := m.SetInit("init-1.mp4"); err != nil {
			t.Fatal(err)
		}
		const prefix, segments = "show/m1/video/", 10_800
		put := func(o storage.Object) {
			if err := q.Put(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		put(storage.Object{Key: prefix + "init-1.mp4", Kind: storage.Init, Body: storage.Body{[]byte("init")}})
		for n := range segments {
			name := fmt.Sprintf("s%08d.m4s", n)
			if _, err := m.CloseSegment(hls.Segment{URI: name, Duration: target}); err != nil {
				t.Fatal(err)
			}
			if n%100 > 0 { // one in a hundred is not there
				b.set(func() { b.objects[prefix+name] = []byte("media") })
			}
			put(storage.Object{Key: prefix + name, Kind: storage.Held})
		}
		put(storage.Object{Key: prefix + "index.m3u8", Kind: storage.Playlist, Body: m.Plain(), Position: storage.Position{Target: target}})
		put(storage.Object{Key: prefix + "new.m4s", Kind: storage.Segment, Body: storage.Body{[]byte("media")}})
		time.Sleep(time.Second)
		if b.text(prefix+"new.m4s") == "" {
			t.Error("a new segment waits for them")
		}
		time.Sleep(14 * time.Second)
		text := b.text(prefix + "index.m3u8")
		if gaps := strings.Count(text, "#EXT-X-GAP\n"); gaps != segments/100 || sink.asks != segments {
			t.Errorf("%d gaps after %d questions, want %d", gaps, sink.asks, segments/100)
		}
	})
}

// The wrappers pass the question on.
func TestHas(t *testing.T) {
	b := &shelves{bucket: newBucket(t)}
	b.objects["a"] = []byte{}
	silent := struct{ storage.Sink }{b}
	for name, tt := range map[string]struct {
		sink storage.Sink
		a, b bool
		err  error
	}{
		"sink":       {b, true, false, nil},
		"only":       {storage.Only(b, storage.Init), true, false, nil},
		"gzip":       {storage.Gzip(b), true, false, nil},
		"retry":      {storage.Retry(b, storage.Policy{}), true, false, nil},
		"tee":        {storage.Tee(b, b), true, false, nil},
		"tee of two": {storage.Tee(b, &shelves{bucket: newBucket(t)}), false, false, nil},
		"no holder":  {storage.Retry(storage.Only(storage.Gzip(storage.Tee(b, silent)), storage.Init), storage.Policy{}), false, false, errors.ErrUnsupported},
	} {
		for key, want := range map[string]bool{"a": tt.a, "b": tt.b} {
			if tt.err != nil && key == "b" {
				continue
			}
			if has, err := storage.Has(t.Context(), tt.sink, key); has != want || !errors.Is(err, tt.err) {
				t.Errorf("%s has %s: %v, %v; want %v, %v", name, key, has, err, want, tt.err)
			}
		}
	}
}
