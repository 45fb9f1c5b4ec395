package stream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// TestWaitingReadersLearnOfTheEnd: a Read that waits returns as soon as its
// publisher leaves, and when the Stream is removed.
func TestWaitingReadersLearnOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := stream.NewHub(stream.Config{})
		s, err := hub.Stream("show")
		if err != nil {
			t.Fatal(err)
		}
		_, version, _ := hub.Changes(t.Context(), 0)
		src := publish(t, s, "host", video)
		b := subscribe(t, s, video.ID)
		ended := make(chan error, 2)
		go func() {
			for range 2 {
				_, err := b.Read(t.Context(), make([]stream.Packet, 8))
				ended <- err
			}
		}()
		synctest.Wait()
		src.session.Close(nil)
		synctest.Wait()
		if len(ended) != 1 || !errors.Is(<-ended, stream.ErrOffline) {
			t.Fatal("a waiting reader did not learn that the publisher left")
		}
		if !hub.Remove(s) {
			t.Fatal("not removed")
		}
		synctest.Wait()
		if len(ended) != 1 || !errors.Is(<-ended, io.EOF) {
			t.Error("a waiting reader did not learn that the stream was removed")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if all, _, err := hub.Changes(ctx, version); err != nil || len(all) != 0 {
			t.Errorf("changes after the removal: %v, %v", all, err)
		}
	})
}

// TestOfflineIsToldToThoseWhoWereThere: not to who comes later, and not when the
// next publisher is there already.
func TestOfflineIsToldToThoseWhoWereThere(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	old := subscribe(t, s, video.ID)
	src.session.Close(nil)
	late := subscribe(t, s, video.ID)
	if _, err := read(t, late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who came after the end: %v", err)
	}
	publish(t, s, "host", video)
	if _, err := read(t, old); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who reads while the next publisher is there: %v", err)
	}
}

// TestAudioWakesAtOnce: audio has no markers that say where a picture ends.
func TestAudioWakesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		x := publish(t, s, "host", audio).session
		b := subscribe(t, s, audio.ID)
		got := make(chan int, 1)
		go func() {
			n, _ := b.Read(t.Context(), make([]stream.Packet, 8))
			got <- n
		}()
		synctest.Wait()
		x.Write(audio.ID, stream.Packet{Arrival: time.Now(), Payload: []byte{1}})
		synctest.Wait()
		if len(got) == 0 {
			x.Close(nil)
			t.Error("one packet of audio wakes nobody")
		}
		<-got
	})
}

// TestKeyframeOfManyPackets: all parameter sets before the first slice belong to
// it, and further slices of it begin none.
func TestKeyframeOfManyPackets(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	src.picture() // 65530 to 65532
	src.timestamp += 3000
	for i, nal := range []byte{0x67, 0x68, 0x06, 0x65, 0x65, 0x65} {
		src.write([]byte{nal, 1}, i == 5)
	}
	into := make([]stream.Packet, 8)
	n, err := subscribe(t, s, video.ID).Read(t.Context(), into)
	if err != nil || n != 6 || into[0].Sequence != 65533 {
		t.Fatalf("%d packets from %d on, %v; want 6 from 65533 on", n, into[0].Sequence, err)
	}
	for i, p := range into[:n] {
		if p.Keyframe != (i == 0) {
			t.Errorf("packet %d: Keyframe is %v", i, p.Keyframe)
		}
	}
}

// TestKeyframeThatLeftTheRing: who joins late in a long group of pictures waits
// for the next keyframe.
func TestKeyframeThatLeftTheRing(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	src.keyframe()
	for range 1000 {
		src.picture()
	}
	b := subscribe(t, s, video.ID)
	if got, err := read(t, b); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v; want to wait", got, err)
	}
	src.keyframe()
	if got, err := read(t, b); err != nil || len(got) != perPicture {
		t.Errorf("got %v, %v; want the new keyframe", got, err)
	}
}

// TestOneWishIsOneRequest: a wish is passed on once, however long the keyframe
// takes, and only video has keyframes.
func TestOneWishIsOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		x := publish(t, s, "host", video, audio).session
		subscribe(t, s, audio.ID).RequestKeyframe()
		subscribe(t, s, video.ID).RequestKeyframe()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if id, err := x.KeyframeRequest(ctx); err != nil || id != video.ID {
			t.Errorf("first request: %v, %v", id, err)
		}
		if id, err := x.KeyframeRequest(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second request: %v, %v", id, err)
		}
	})
}

// TestLayersAreBounded: strange names of layers take no memory without limit.
func TestLayersAreBounded(t *testing.T) {
	s := newStream(t)
	for i := range 100 {
		b, err := s.Subscribe(stream.LayerID{Kind: stream.Video, RID: string(rune('a' + i))})
		if err == nil {
			b.Close()
			continue
		}
		if !errors.Is(err, stream.ErrLayers) || i < 8 {
			t.Errorf("layer %d: %v", i, err)
		}
		return
	}
	t.Error("100 layers of one stream")
}

// TestReordered: R13 B-frames are known by their timestamps; what the network
// reorders, and a clock that jumps, are none.
func TestReordered(t *testing.T) {
	type packet struct {
		sequence  uint16
		timestamp uint32
	}
	for name, tt := range map[string]struct {
		packets []packet
		want    bool
	}{
		"in order":      {[]packet{{1, 0}, {2, 0}, {3, 3000}, {4, 6000}}, false},
		"B-frames":      {[]packet{{1, 0}, {2, 6000}, {3, 3000}, {4, 12000}, {5, 9000}}, true},
		"wrap":          {[]packet{{0xfffe, 0xffffff00}, {0xffff, 6000}, {0, 3000}, {1, 12000}, {2, 9000}}, true},
		"one only":      {[]packet{{1, 0}, {2, 6000}, {3, 3000}, {4, 9000}}, false},
		"network":       {[]packet{{1, 0}, {3, 6000}, {2, 3000}, {5, 12000}, {4, 9000}, {7, 18000}, {6, 15000}}, false},
		"clock jumps":   {[]packet{{1, 900000}, {2, 0}, {3, 900000}, {4, 0}}, false},
		"packets of it": {[]packet{{1, 0}, {2, 6000}, {3, 3000}, {4, 3000}, {5, 3000}, {6, 9000}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := stream.NewHub(stream.Config{}).Stream("live")
			if err != nil {
				t.Fatal(err)
			}
			x, err := s.Publish(stream.Offer{Layers: []stream.Layer{video}})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range tt.packets {
				x.Write(video.ID, stream.Packet{Arrival: time.Now(), Sequence: p.sequence, Timestamp: p.timestamp, Payload: []byte{0x61}})
			}
			if got := s.State().Sources[0].Reordered(); got != tt.want {
				t.Errorf("reordered: %v, want %v", got, tt.want)
			}
		})
	}
}

// TestRingsAreBounded: layers that a publisher calls something else each time leave
// nothing behind, but for those that are still read; and too many of these are refused,
// with the publisher that is there untouched (specs X23).
func TestRingsAreBounded(t *testing.T) {
	s := newStream(t)
	named := func(n int) []stream.Layer {
		layers := make([]stream.Layer, 8)
		for i := range layers {
			layers[i] = video
			layers[i].ID.RID = fmt.Sprint("r", n, ".", i)
		}
		return layers
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for n := range 100 {
		publish(t, s, "host", named(n)...)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("100 offers of 8 new layers take %d MB", grown>>20)
	}
	for n := range 3 {
		x := publish(t, s, "host", named(n)...)
		for _, l := range named(n) {
			subscribe(t, s, l.ID)
		}
		x.session.Close(nil)
	}
	kept := publish(t, s, "host", video)
	subscribe(t, s, video.ID)
	if _, err := s.Publish(stream.Offer{Principal: "host", Layers: named(200)}); !errors.Is(err, stream.ErrLayers) {
		t.Fatalf("25 layers that are read and 8 more: %v, want ErrLayers", err)
	}
	if err := kept.session.Err(); err != nil {
		t.Errorf("the publisher was lost to an offer that was refused: %v", err)
	}
}
