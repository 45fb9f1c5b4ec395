// Package storagetest says in tests what every storage.Sink must do.
//
// A sink's own test calls Run with a function that opens an empty sink:
//
//	func TestSink(t *testing.T) {
//		storagetest.Run(t, func(t *testing.T) (storage.Sink, storagetest.Read) { … })
//	}
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/storage"
)

// Read returns the content that a sink keeps under a key, or
// storage.ErrNotFound. It looks where the sink's users look: into the
// directory, the bucket, the store.
type Read func(ctx context.Context, key string) ([]byte, error)

// Open returns an empty sink and a way to look into it. What it started it
// stops with t.Cleanup.
type Open func(t *testing.T) (storage.Sink, Read)

// Run tests a sink. Every part of the contract is a subtest with a sink of its
// own.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, opened)
	}{
		{"an object is kept whole, whatever its kind", kinds},
		{"a body of many pieces is one content", pieces},
		{"an empty body is kept", empty},
		{"keys do not touch each other", keys},
		{"a playlist is replaced", replace},
		{"put twice is put once", putTwice},
		{"delete removes", remove},
		{"deleting twice, or the unknown, is success", removeUnknown},
		{"put after delete is kept", again},
		{"what is there is known, where the sink can tell", has},
		{"a swap obeys its condition, where the sink has one", swap},
		{"one of many swaps wins", race},
		{"an ended context is an error and changes nothing", ended},
		{"a deadline is obeyed", deadline},
		{"concurrent use", concurrent},
		{"a reader never sees half an object", torn},
	} {
		t.Run(test.name, func(t *testing.T) {
			sink, read := open(t)
			test.run(t, opened{sink, read})
		})
	}
}

// opened is a sink under test.
type opened struct {
	sink storage.Sink
	read Read
}

func object(key string, kind storage.Kind, content ...string) storage.Object {
	o := storage.Object{Key: key, Kind: kind, Type: "video/mp4", Modified: time.Unix(1_700_000_000, 0)}
	if kind&(storage.Playlist|storage.LowLatency|storage.Multivariant) != 0 {
		o.Type = "application/vnd.apple.mpegurl"
	}
	for _, piece := range content {
		o.Body = append(o.Body, []byte(piece))
	}
	return o
}

func (s opened) put(t *testing.T, o storage.Object) {
	t.Helper()
	if err := s.sink.Put(t.Context(), o); err != nil {
		t.Fatalf("put %s: %v", o.Key, err)
	}
}

func (s opened) delete(t *testing.T, key string) {
	t.Helper()
	if err := s.sink.Delete(t.Context(), key); err != nil {
		t.Fatalf("delete %s: %v", key, err)
	}
}

func (s opened) want(t *testing.T, key, content string) {
	t.Helper()
	got, err := s.read(t.Context(), key)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	if string(got) != content {
		t.Fatalf("%s holds %.60q, want %.60q", key, got, content)
	}
}

func (s opened) wantNone(t *testing.T, key string) {
	t.Helper()
	if got, err := s.read(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("read %s: %.60q, %v; want ErrNotFound", key, got, err)
	}
}

func kinds(t *testing.T, s opened) {
	for i, kind := range []storage.Kind{
		storage.Init, storage.Part, storage.Segment, storage.Playlist, storage.LowLatency, storage.Multivariant,
	} {
		key := fmt.Sprintf("show/m1abc/video/file%d", i)
		s.put(t, object(key, kind, "content of ", key))
		s.want(t, key, "content of "+key)
	}
}

func pieces(t *testing.T, s opened) {
	var all []string
	var content bytes.Buffer
	for i := range 300 { // more than one writev takes at once on some systems
		piece := string(bytes.Repeat([]byte{byte(i)}, i*7%1500)) // some are empty
		all = append(all, piece)
		content.WriteString(piece)
	}
	o := object("show/m1abc/video/s00000001.m4s", storage.Segment, all...)
	s.put(t, o)
	s.want(t, o.Key, content.String())
	if o.Body.Len() != content.Len() || !bytes.Equal(o.Body.Bytes(), content.Bytes()) {
		t.Error("the sink changed the body that it was given")
	}
}

func empty(t *testing.T, s opened) {
	s.put(t, object("show/m1abc/video/p0000000001.m4s", storage.Part))
	s.want(t, "show/m1abc/video/p0000000001.m4s", "")
}

func keys(t *testing.T, s opened) {
	names := []string{"a/m1/video/index.m3u8", "a/index.m3u8", "a.b/index.m3u8", "a-b_c/m1/audio/index.m3u8", "A/index.m3u8"}
	for _, key := range names {
		s.put(t, object(key, storage.Multivariant, key))
	}
	for _, key := range names {
		s.want(t, key, key)
	}
	s.delete(t, "a/index.m3u8")
	s.wantNone(t, "a/index.m3u8")
	s.want(t, "a/m1/video/index.m3u8", "a/m1/video/index.m3u8")
}

func replace(t *testing.T, s opened) {
	const key = "show/m1abc/video/index.m3u8"
	for _, content := range []string{"first version, a long one", "second", "third one", ""} {
		s.put(t, object(key, storage.Playlist, content))
		s.want(t, key, content)
	}
}

func putTwice(t *testing.T, s opened) {
	o := object("show/m1abc/video/s00000001.m4s", storage.Segment, "same")
	s.put(t, o)
	s.put(t, o)
	s.want(t, o.Key, "same")
	s.delete(t, o.Key)
	s.wantNone(t, o.Key)
}

func remove(t *testing.T, s opened) {
	o := object("show/m1abc/video/s00000001.m4s", storage.Segment, "x")
	s.put(t, o)
	s.delete(t, o.Key)
	s.wantNone(t, o.Key)
}

func removeUnknown(t *testing.T, s opened) {
	s.delete(t, "show/m1abc/video/never.m4s")
	s.delete(t, "nobody/index.m3u8")
	o := object("show/m1abc/video/s00000001.m4s", storage.Segment, "x")
	s.put(t, o)
	s.delete(t, o.Key)
	s.delete(t, o.Key)
	s.wantNone(t, o.Key)
}

func again(t *testing.T, s opened) {
	o := object("show/index.m3u8", storage.Multivariant, "one")
	s.put(t, o)
	s.delete(t, o.Key)
	s.put(t, object(o.Key, storage.Multivariant, "two"))
	s.want(t, o.Key, "two")
}

func has(t *testing.T, s opened) {
	holder, ok := s.sink.(storage.Holder)
	if !ok {
		return
	}
	want := func(key string, want bool) {
		t.Helper()
		if got, err := holder.Has(t.Context(), key); err != nil || got != want {
			t.Errorf("has %s: %v, %v, want %v", key, got, err, want)
		}
	}
	o := object("show/m1abc/video/s00000001.m4s", storage.Segment, "x")
	if _, err := holder.Has(t.Context(), o.Key); errors.Is(err, errors.ErrUnsupported) { // a wrapper of one that cannot
		return
	}
	want(o.Key, false)
	s.put(t, o)
	want(o.Key, true)
	want("show/m1abc/video/s00000002.m4s", false)
	want("show/m1abc/video", false)
	want("nobody/index.m3u8", false)
	want("../show", false)
	s.delete(t, o.Key)
	want(o.Key, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := holder.Has(ctx, o.Key); !errors.Is(err, context.Canceled) {
		t.Errorf("has, context ended: %v", err)
	}
}

const leaseKey = "show/writer.json"

// swapper returns the sink as a storage.Swapper, and nil if it has no condition.
func (s opened) swapper(t *testing.T) storage.Swapper {
	t.Helper()
	swapper, ok := s.sink.(storage.Swapper)
	if !ok {
		return nil
	}
	_, err := swapper.Load(t.Context(), leaseKey)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil
	case !errors.Is(err, storage.ErrNotFound):
		t.Errorf("load what is not there: %v, want ErrNotFound", err)
	}
	return swapper
}

// swap puts a content in the place of a version, and returns the new one.
func (s opened) swap(t *testing.T, content, version string) string {
	t.Helper()
	swapper := s.sink.(storage.Swapper)
	tag, err := swapper.Swap(t.Context(), object(leaseKey, storage.Lease, content), version)
	if err != nil {
		t.Fatalf("swap %q for %s: %v", version, content, err)
	}
	now, err := swapper.Load(t.Context(), leaseKey)
	if err != nil || string(now.Body.Bytes()) != content || now.Tag == "" || tag != "" && now.Tag != tag {
		t.Fatalf("after a swap: %q, version %q, %v; want %q, version %q", now.Body.Bytes(), now.Tag, err, content, tag)
	}
	if now.Age > time.Hour {
		t.Errorf("it is %v old at once", now.Age)
	}
	return now.Tag
}

// wantChanged holds that a swap is refused.
func (s opened) wantChanged(t *testing.T, version string) {
	t.Helper()
	if _, err := s.sink.(storage.Swapper).Swap(t.Context(), object(leaseKey, storage.Lease, "wrong"), version); !errors.Is(err, storage.ErrChanged) {
		t.Errorf("swap with version %q: %v, want ErrChanged", version, err)
	}
}

func swap(t *testing.T, s opened) {
	swapper := s.swapper(t)
	if swapper == nil {
		return
	}
	s.wantChanged(t, `"00000000000000000000000000000000"`)
	first := s.swap(t, "one", "")
	s.wantChanged(t, "")
	second := s.swap(t, "two", first)
	s.wantChanged(t, first)
	s.put(t, object(leaseKey, storage.Lease, "three"))
	s.wantChanged(t, second)
	s.want(t, leaseKey, "three")
	s.delete(t, leaseKey)
	s.wantChanged(t, second)
	s.wantNone(t, leaseKey)
	s.swap(t, "four", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := swapper.Swap(ctx, object(leaseKey, storage.Lease, "late"), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("swap, context ended: %v", err)
	}
	if _, err := swapper.Load(ctx, leaseKey); !errors.Is(err, context.Canceled) {
		t.Errorf("load, context ended: %v", err)
	}
	s.want(t, leaseKey, "four")
}

func race(t *testing.T, s opened) {
	swapper := s.swapper(t)
	if swapper == nil {
		return
	}
	version := ""
	for round := range 5 {
		var wg sync.WaitGroup
		won := make(chan string, 8)
		for i := range 8 {
			wg.Go(func() {
				content := fmt.Sprintf("%d of round %d", i, round)
				_, err := swapper.Swap(t.Context(), object(leaseKey, storage.Lease, content), version)
				if err == nil {
					won <- content
				} else if !errors.Is(err, storage.ErrChanged) {
					t.Errorf("swap: %v", err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d of 8 swaps won", len(won))
		}
		s.want(t, leaseKey, <-won)
		now, err := swapper.Load(t.Context(), leaseKey)
		if err != nil {
			t.Fatal(err)
		}
		version = now.Tag
	}
}

func ended(t *testing.T, s opened) {
	kept := object("show/index.m3u8", storage.Multivariant, "kept")
	s.put(t, kept)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.sink.Put(ctx, object(kept.Key, storage.Multivariant, "new")); !errors.Is(err, context.Canceled) {
		t.Errorf("put with an ended context: %v, want context.Canceled", err)
	}
	if err := s.sink.Put(ctx, object("show/m1/video/new.m4s", storage.Segment, "new")); !errors.Is(err, context.Canceled) {
		t.Errorf("put with an ended context: %v, want context.Canceled", err)
	}
	if err := s.sink.Delete(ctx, kept.Key); !errors.Is(err, context.Canceled) {
		t.Errorf("delete with an ended context: %v, want context.Canceled", err)
	}
	s.want(t, kept.Key, "kept")
	s.wantNone(t, "show/m1/video/new.m4s")
}

func deadline(t *testing.T, s opened) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	err := s.sink.Put(ctx, object("show/index.m3u8", storage.Multivariant, "late"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("put after the deadline: %v, want context.DeadlineExceeded", err)
	}
}

func concurrent(t *testing.T, s opened) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			own := fmt.Sprintf("show/m1abc/r%d/s00000001.m4s", i)
			for n := range 10 {
				for _, o := range []storage.Object{
					object(own, storage.Segment, strconv.Itoa(n)),
					object("show/m1abc/shared/index.m3u8", storage.Playlist, "version ", strconv.Itoa(n)),
				} {
					if err := s.sink.Put(t.Context(), o); err != nil {
						t.Errorf("put %s: %v", o.Key, err)
					}
				}
				if err := s.sink.Delete(t.Context(), "show/m1abc/shared/p0000000001.m4s"); err != nil {
					t.Errorf("delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for i := range 8 {
		s.want(t, fmt.Sprintf("show/m1abc/r%d/s00000001.m4s", i), "9")
	}
	s.want(t, "show/m1abc/shared/index.m3u8", "version 9")
}

func torn(t *testing.T, s opened) {
	const key = "show/m1abc/video/index.m3u8"
	version := func(n int) storage.Object {
		line := string(bytes.Repeat([]byte{byte('a' + n)}, 4000))
		return object(key, storage.Playlist, line, line, line)
	}
	s.put(t, version(0))
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range 20 {
			if err := s.sink.Put(t.Context(), version(n)); err != nil {
				t.Errorf("put: %v", err)
			}
		}
	})
	for range 20 {
		got, err := s.read(t.Context(), key)
		if err != nil {
			t.Errorf("read while it is replaced: %v", err)
		} else if len(got) != 12_000 || bytes.Count(got, got[:1]) != len(got) {
			t.Errorf("read half an object: %d bytes, from %q to %q", len(got), got[0], got[len(got)-1])
		}
	}
	wg.Wait()
}
