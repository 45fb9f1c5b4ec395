package storage_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage"
)

// TestQueueSettles: what comes after all media of a presentation can wait for
// that, whatever other streams do (specs S16).
func TestQueueSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		b.blind = true
		held := make(chan struct{})
		b.before = func(ctx context.Context, key string, _ *storage.Object) error {
			switch {
			case strings.HasPrefix(key, "stuck/"):
				<-ctx.Done()
				return ctx.Err()
			case key == "show/m1/video/s1.m4s":
				<-held
			}
			return nil
		}
		q := storage.NewQueue(b, storage.QueueConfig{Timeout: time.Hour})
		defer startQueue(t, q)()
		for _, key := range []string{"stuck/m1/video/s1.m4s", "show/m1/video/s1.m4s"} {
			if err := q.Put(t.Context(), storage.Object{Key: key, Kind: storage.Segment, Body: storage.Body{[]byte("x")}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Settle(t.Context(), "other/"); err != nil {
			t.Errorf("a stream that has nothing: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := q.Settle(ctx, "show/m1/"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while a segment is under way: %v", err)
		}
		close(held)
		if err := q.Settle(t.Context(), "show/m1/"); err != nil || b.puts["show/m1/video/s1.m4s"] != 1 {
			t.Errorf("then: %v, %d puts", err, b.puts["show/m1/video/s1.m4s"])
		}
	})
}

// TestQueueKeeps: media of a place that keeps stays when it leaves the live
// window, playlists go; what was not stored by then is given up.
func TestQueueKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		cfg := queueConfig()
		cfg.Keeps = func(key string) bool { return !isPlaylist(key) }
		q := storage.NewQueue(b, cfg)
		defer startQueue(t, q)()
		s := newShow(t, q, "show")
		s.play(3 * time.Minute)
		caughtUp(t, b, s, 0, 0)
		s.end()
		if err := q.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		b.verdict()
		s.erase()
		time.Sleep(5 * time.Minute)
		left := b.keys()
		if want := 2 + 2*s.msn; len(left) != want {
			t.Errorf("%d objects are left, want all %d of media", len(left), want)
		}
		for _, key := range left {
			if isPlaylist(key) {
				t.Errorf("%s is left", key)
			}
		}
		b.before = func(context.Context, string, *storage.Object) error { return errDown }
		if err := q.Put(t.Context(), storage.Object{Key: "show/m2/video/s1.m4s", Kind: storage.Segment, Body: storage.Body{[]byte("x")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := q.Delete(t.Context(), "show/m2/video/s1.m4s"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second) // its call may have been under way
		if h := q.Health(); h.Objects != 0 {
			t.Errorf("%d objects wait still", h.Objects)
		}
	})
}
