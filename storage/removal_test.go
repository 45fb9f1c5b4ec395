package storage_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage"
)

// When a stream is over nothing vanishes that something visible names, in whatever
// order the deletions come: the multivariant playlist goes before the media
// playlists, these before their media (specs S10, S15). The bucket itself looks
// after every change.
func TestQueueDeletesFromTheTop(t *testing.T) {
	for name, order := range map[string][]string{
		"as the packager does": {"index.m3u8", "m1/video/index.m3u8", "m1/audio/index.m3u8", "media"},
		"the other way round":  {"media", "m1/audio/index.m3u8", "m1/video/index.m3u8", "index.m3u8"},
		"mixed":                {"m1/video/index.m3u8", "media", "index.m3u8", "m1/audio/index.m3u8"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBucket(t)
				b.before = func(ctx context.Context, key string, _ *storage.Object) error {
					return sleep(ctx, time.Duration(len(key)*37%11)*20*time.Millisecond)
				}
				cfg := queueConfig()
				cfg.Linger = 7 * time.Second
				q := storage.NewQueue(b, cfg)
				defer startQueue(t, q)()
				s := newShow(t, q, "show")
				s.play(20 * time.Second)
				s.end()
				for _, what := range order {
					time.Sleep(time.Minute)
					if what == "media" {
						s.eraseMedia()
						continue
					}
					s.delete("show/" + what)
				}
				time.Sleep(time.Minute)
				if left := b.keys(); len(left) != 0 {
					t.Errorf("left in the bucket: %q", left)
				}
				if b.removed[0] != "show/index.m3u8" {
					t.Errorf("%s went first", b.removed[0])
				}
				b.verdict()
			})
		})
	}
}

// The next presentation of a stream replaces the multivariant playlist: only then
// may the former one's playlists go, and what they name after them.
func TestQueueDeletesAPresentationWhenTheNextIsVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		held := false
		b.before = func(_ context.Context, key string, o *storage.Object) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if held && key == "show/index.m3u8" && o != nil {
				return errDown
			}
			return nil
		}
		q := storage.NewQueue(b, queueConfig())
		defer startQueue(t, q)()
		s := newShow(t, q, "show")
		s.play(20 * time.Second)
		s.end()
		b.set(func() { held = true })
		put := func(key string, kind storage.Kind, text string) {
			s.put(storage.Object{Key: key, Kind: kind, Body: storage.Body{[]byte(text)}, Position: storage.Position{Target: target}})
		}
		put("show/m2/video/init-2.mp4", storage.Init, "init")
		put("show/m2/video/s00000000.m4s", storage.Segment, "media")
		put("show/m2/video/index.m3u8", storage.Playlist, "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"init-2.mp4\"\n#EXTINF:2,\ns00000000.m4s\n")
		put("show/index.m3u8", storage.Multivariant, "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nm2/video/index.m3u8\n")
		for rendition := range s.media {
			s.delete(s.prefix(rendition) + "index.m3u8")
		}
		s.eraseMedia()
		time.Sleep(5 * time.Minute)
		if b.text("show/m1/video/index.m3u8") == "" || b.text("show/m1/video/s00000003.m4s") == "" {
			t.Error("deleted while the multivariant playlist names it")
		}
		b.set(func() { held = false })
		time.Sleep(time.Minute)
		for _, key := range b.keys() {
			if strings.HasPrefix(key, "show/m1/") {
				t.Errorf("%s is left", key)
			}
		}
		if !strings.Contains(b.text("show/index.m3u8"), "m2/video") {
			t.Error("the next presentation is not visible")
		}
	})
}

// A playlist that cannot be deleted stays, and what it names stays with it, until
// it can.
func TestQueueKeepsWhatAPlaylistNamesThatCannotBeDeleted(t *testing.T) {
	for name, failure := range map[string]error{"fails": errDown, "is refused": storage.Permanent(errDown)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBucket(t)
				stuck := true
				b.before = func(_ context.Context, key string, o *storage.Object) error {
					b.mu.Lock()
					defer b.mu.Unlock()
					if stuck && key == "show/index.m3u8" && o == nil {
						return failure
					}
					return nil
				}
				q := storage.NewQueue(b, queueConfig())
				defer startQueue(t, q)()
				s := newShow(t, q, "show")
				s.play(20 * time.Second)
				s.end()
				s.erase()
				time.Sleep(time.Hour)
				if b.text("show/m1/video/index.m3u8") == "" || b.text("show/m1/video/s00000003.m4s") == "" {
					t.Error("deleted while the multivariant playlist names it")
				}
				if left := q.Metrics().LeftBehind.Load(); left == 0 {
					t.Error("it is not counted")
				}
				b.set(func() { stuck = false })
				time.Sleep(10 * time.Minute)
				if left := b.keys(); len(left) != 0 {
					t.Errorf("left in the bucket: %q", left)
				}
				b.verdict()
			})
		})
	}
}
