package stream_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The layers that most tests publish.
var (
	video = stream.Layer{
		ID:    stream.LayerID{Kind: stream.Video},
		Codec: stream.Codec{Name: "H264", ClockRate: 90000},
	}
	audio = stream.Layer{
		ID:    stream.LayerID{Kind: stream.Audio},
		Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2},
	}
)

// source writes pictures of packets with rising numbers.
type source struct {
	session   *stream.Session
	seq       uint16
	timestamp uint32
}

const perPicture = 3

// picture writes an ordinary picture of three slices.
func (s *source) picture() { s.pictureOf([]byte{0x61, 1}) }

// keyframe writes a picture whose IDR slice comes after parameter sets.
func (s *source) keyframe() { s.pictureOf([]byte{0x65, 1}) }

func (s *source) pictureOf(second []byte) {
	s.timestamp += 3000
	for i := range perPicture {
		payload := []byte{0x61, 1}
		if i == 1 {
			payload = second
		}
		s.write(payload, i == perPicture-1)
	}
}

func (s *source) write(payload []byte, marker bool) {
	s.session.Write(video.ID, stream.Packet{
		Arrival: time.Now(), Sequence: s.seq, Timestamp: s.timestamp, Marker: marker, Payload: payload,
	})
	s.seq++
}

func newStream(t testing.TB) *stream.Stream {
	t.Helper()
	s, err := stream.NewHub(stream.Config{}).Stream("show")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func publish(t testing.TB, s *stream.Stream, principal string, layers ...stream.Layer) *source {
	t.Helper()
	x, err := s.Publish(stream.Offer{Principal: principal, Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	return &source{session: x, seq: 65530}
}

func subscribe(t testing.TB, s *stream.Stream, id stream.LayerID) *stream.Subscription {
	t.Helper()
	b, err := s.Subscribe(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// read returns the sequence numbers of one batch, or the error.
func read(t testing.TB, b *stream.Subscription) ([]uint16, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	into := make([]stream.Packet, 64)
	n, err := b.Read(ctx, into)
	var got []uint16
	for _, p := range into[:n] {
		got = append(got, p.Sequence)
	}
	return got, err
}

func TestReadBeginsAtTheNewestKeyframe(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	early := subscribe(t, s, video.ID)
	src.picture()  // 65530: nobody can decode it
	src.keyframe() // 65533
	src.picture()  // 0
	src.keyframe() // 3
	src.picture()  // 6
	late := subscribe(t, s, video.ID)
	for name, b := range map[string]*stream.Subscription{"before": early, "after": late} {
		got, err := read(t, b)
		if err != nil || len(got) != 6 || got[0] != 3 {
			t.Errorf("subscribed %s the pictures: got %v, %v; want the 6 packets from 3 on", name, got, err)
		}
	}
	if _, err := read(t, late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read past the end: got %v, want to wait for the context", err)
	}
}

func TestKeyframeFlagStandsOnTheFirstPacketOfThePicture(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	src.keyframe()
	into := make([]stream.Packet, 8)
	n, err := subscribe(t, s, video.ID).Read(t.Context(), into)
	if err != nil || n != perPicture {
		t.Fatalf("got %d, %v", n, err)
	}
	for i, p := range into[:n] {
		if p.Keyframe != (i == 0) {
			t.Errorf("packet %d: Keyframe is %v", i, p.Keyframe)
		}
	}
}

func TestReaderAwakeInTheMiddleOfAKeyframeGetsAllOfIt(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	b := subscribe(t, s, video.ID)
	src.timestamp = 1
	src.write([]byte{0x67, 1}, false) // parameter sets come first, and are not the IDR
	if got, err := read(t, b); err == nil {
		t.Fatalf("got %v before any keyframe", got)
	}
	src.write([]byte{0x65, 1}, true)
	if got, err := read(t, b); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v; want the parameter sets too", got, err)
	}
}

func TestDuplicatesAreDropped(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	b := subscribe(t, s, video.ID)
	src.keyframe()
	src.seq -= 2 // a browser probes the network with old packets
	src.write([]byte{0x65, 1}, false)
	src.write([]byte{0x61, 2}, true)
	got, err := read(t, b)
	if err != nil || len(got) != perPicture {
		t.Errorf("got %v, %v; want each packet once", got, err)
	}
	if c := s.State().Sources[0].Counters(); c.Duplicates != 2 || c.Packets != perPicture {
		t.Errorf("counters: %+v", c)
	}
}

func TestLaggedOnceThenTheNewestKeyframe(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	b := subscribe(t, s, video.ID)
	src.keyframe()
	for range 1000 {
		src.picture()
	}
	src.keyframe()
	want := src.seq - perPicture
	src.picture()
	if _, err := read(t, b); !errors.Is(err, stream.ErrLagged) {
		t.Fatalf("got %v, want ErrLagged", err)
	}
	got, err := read(t, b)
	if err != nil || got[0] != want {
		t.Errorf("got %v, %v; want to go on at %d", got, err, want)
	}
}

func TestPublisherLeavesAndReturns(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video, audio)
	b := subscribe(t, s, video.ID)
	src.keyframe()
	src.session.Close(nil)
	src.keyframe() // too late
	if got, err := read(t, b); err != nil || len(got) != perPicture {
		t.Fatalf("last packets: %v, %v", got, err)
	}
	if _, err := read(t, b); !errors.Is(err, stream.ErrOffline) {
		t.Fatalf("got %v, want ErrOffline after the last packet", err)
	}
	if _, err := read(t, b); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want ErrOffline only once", err)
	}
	if st := s.State(); st.Live || st.Epoch != 1 || len(st.Sources) != 2 {
		t.Errorf("state after leaving: %+v", st)
	}
	again := publish(t, s, "host", video)
	again.picture()
	again.keyframe()
	into := make([]stream.Packet, 8)
	n, err := b.Read(t.Context(), into)
	if err != nil || n != perPicture || into[0].Source.Epoch != 2 || !into[0].Keyframe {
		t.Errorf("got %d packets, %v; want the new epoch from its keyframe on", n, err)
	}
}

func TestTakeOver(t *testing.T) {
	s := newStream(t)
	first := publish(t, s, "host", video)
	b := subscribe(t, s, video.ID)
	first.keyframe()
	if got, err := read(t, b); err != nil || len(got) != perPicture {
		t.Fatalf("got %v, %v", got, err)
	}
	first.picture() // not read yet when the other one comes
	if _, err := s.Publish(stream.Offer{Principal: "stranger", Layers: []stream.Layer{video}}); !errors.Is(err, stream.ErrBusy) {
		t.Fatalf("another principal: got %v, want ErrBusy", err)
	}
	second := publish(t, s, "host", video)
	<-first.session.Done()
	if err := first.session.Err(); !errors.Is(err, stream.ErrTakenOver) {
		t.Errorf("old session ended with %v", err)
	}
	first.keyframe()         // must not reach anybody
	first.session.Close(nil) // must not end the new one
	second.keyframe()
	into := make([]stream.Packet, 64)
	var epochs []uint64
	for range 2 {
		n, err := b.Read(t.Context(), into)
		if err != nil || n != perPicture {
			t.Fatalf("got %d, %v", n, err)
		}
		epochs = append(epochs, into[0].Source.Epoch)
	}
	if epochs[0] != 1 || epochs[1] != 2 {
		t.Errorf("epochs %v, want 1 and 2", epochs)
	}
	if !s.State().Live {
		t.Error("closing the old session ended the new one")
	}
}

func TestWakesOnceAPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		src := publish(t, s, "host", video)
		b := subscribe(t, s, video.ID)
		batches := make(chan int, 100)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(batches)
			into := make([]stream.Packet, 64)
			for {
				n, err := b.Read(ctx, into)
				if err != nil {
					return
				}
				batches <- n
			}
		}()
		synctest.Wait() // it reads
		src.keyframe()
		synctest.Wait()
		for range 4 {
			src.timestamp += 3000
			for i := range 10 {
				src.write([]byte{0x61, 1}, i == 9)
				synctest.Wait() // the reader had every chance to wake
			}
		}
		src.timestamp += 3000 // a picture whose marker is lost
		src.write([]byte{0x61, 1}, false)
		synctest.Wait()
		src.timestamp += 3000
		src.write([]byte{0x61, 1}, false)
		synctest.Wait()
		src.write([]byte{0x61, 1}, false)
		time.Sleep(6 * time.Millisecond) // a slow picture is not held back
		src.write([]byte{0x61, 1}, false)
		synctest.Wait()
		cancel()
		var got []int
		for n := range batches {
			got = append(got, n)
		}
		want := []int{3, 10, 10, 10, 10, 2, 2}
		if len(got) != len(want) {
			t.Fatalf("batches %v, want %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("batches %v, want %v", got, want)
			}
		}
	})
}

func TestKeyframeRequestsAreCoalesced(t *testing.T) { // E16
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		src := publish(t, s, "host", video)
		a, b := subscribe(t, s, video.ID), subscribe(t, s, video.ID)
		begin := time.Now()
		ask := func() time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			id, err := src.session.KeyframeRequest(ctx)
			if err != nil {
				return -1
			}
			if id != video.ID {
				t.Errorf("request for %v", id)
			}
			return time.Since(begin)
		}
		a.RequestKeyframe()
		b.RequestKeyframe()
		if at := ask(); at != 0 {
			t.Errorf("first request after %v, want at once", at)
		}
		a.RequestKeyframe()
		if at := ask(); at != 500*time.Millisecond {
			t.Errorf("second request after %v, want 500ms", at)
		}
		a.RequestKeyframe()
		src.keyframe() // it came by itself
		if at := ask(); at != -1 {
			t.Errorf("request after %v although a keyframe had come", at)
		}
		a.RequestKeyframe()
		src.session.Close(io.ErrUnexpectedEOF)
		src.session.Close(nil)
		if _, err := src.session.KeyframeRequest(t.Context()); err == nil {
			_, err = src.session.KeyframeRequest(t.Context())
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %v, want the session's first reason", err)
			}
		}
		a.RequestKeyframe() // nobody is there: nothing happens
	})
}

func TestLookupForNACK(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	b := subscribe(t, s, video.ID)
	if _, ok := b.Lookup(0); ok {
		t.Error("found a packet before anything was read")
	}
	src.keyframe()
	if _, err := read(t, b); err != nil {
		t.Fatal(err)
	}
	if p, ok := b.Lookup(65531); !ok || p.Sequence != 65531 || p.Payload[0] != 0x65 {
		t.Errorf("got %+v, %v", p, ok)
	}
	for range 1000 {
		src.picture()
	}
	if _, ok := b.Lookup(65531); ok {
		t.Error("found a packet that left the ring")
	}
}

func TestAudioBeginsAtTheNewestPacket(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", audio)
	for i := range 700 {
		src.session.Write(audio.ID, stream.Packet{Arrival: time.Now(), Sequence: uint16(i), Payload: []byte{1}})
	}
	got, err := read(t, subscribe(t, s, audio.ID))
	if err != nil || len(got) != 1 || got[0] != 699 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestStateAndHub(t *testing.T) {
	h := stream.NewHub(stream.Config{MaxStreams: 2})
	all, version, err := h.Changes(t.Context(), 1<<40)
	if err != nil || len(all) != 0 {
		t.Fatal(all, err)
	}
	s, err := h.Stream("a")
	if err != nil {
		t.Fatal(err)
	}
	if all, _, err = h.Changes(t.Context(), version); err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	if same, _ := h.Stream("a"); same != s {
		t.Error("a second stream of the same name")
	}
	if _, err := h.Stream("b"); err != nil {
		t.Error(err)
	}
	if _, err := h.Stream("c"); !errors.Is(err, stream.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if n := h.Totals().Refused.Load(); n != 1 {
		t.Errorf("%d refusals are counted, want 1", n)
	}
	if _, ok := h.Lookup("c"); ok {
		t.Error("Lookup created a stream")
	}
	src := publish(t, s, "host", video)
	if h.Remove(s) {
		t.Error("removed a stream that has a publisher")
	}
	b := subscribe(t, s, audio.ID)
	src.session.Close(nil)
	for range 2 {
		if !h.Remove(s) {
			t.Error("not removed")
		}
	}
	if _, err := read(t, b); !errors.Is(err, io.EOF) {
		t.Errorf("reader of a removed stream: %v, want EOF", err)
	}
	if _, err := s.Publish(stream.Offer{Layers: []stream.Layer{video}}); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("publish to a removed stream: %v", err)
	}
	if again, _ := h.Stream("a"); again == s {
		t.Error("the removed stream came back")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Wait(ctx, 1<<40); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
}

func TestCloseEndsAWaitingRead(t *testing.T) {
	b := subscribe(t, newStream(t), video.ID)
	done := make(chan error)
	go func() {
		_, err := b.Read(t.Context(), make([]stream.Packet, 1))
		done <- err
	}()
	b.Close()
	b.Close()
	if err := <-done; !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func TestBadOffers(t *testing.T) {
	s := newStream(t)
	many := make([]stream.Layer, 9)
	for i := range many {
		many[i] = video
		many[i].ID.RID = string(rune('a' + i))
	}
	for name, layers := range map[string][]stream.Layer{
		"none": nil, "twice": {video, video}, "many": many, "no clock": {{ID: video.ID}}, "no kind": {{Codec: video.Codec}},
	} {
		if _, err := s.Publish(stream.Offer{Layers: layers}); !errors.Is(err, stream.ErrLayers) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if s.State().Epoch != 0 {
		t.Error("a bad offer began an epoch")
	}
}

func TestValidName(t *testing.T) { // X7
	for name, want := range map[string]bool{
		"show": true, "a.b-c_9": true, strings.Repeat("x", 64): true,
		"": false, "..": false, "a..b": false, ".a": false, "-a": false, "a/b": false, "a%2fb": false,
		"a\nb": false, `a"b`: false, strings.Repeat("x", 65): false, "ü": false, "a b": false,
	} {
		if got := stream.ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}

func TestConcurrentReadersSeeEveryPacketInOrder(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	const pictures, readers = 500, 8
	got := make(chan int, readers)
	for range readers {
		b := subscribe(t, s, video.ID)
		go func() {
			into := make([]stream.Packet, 16)
			total := 0
			next, known := uint16(0), false
			for total < pictures*perPicture {
				n, err := b.Read(t.Context(), into)
				if err != nil {
					break
				}
				for _, p := range into[:n] {
					if known && p.Sequence != next {
						t.Errorf("got %d, want %d", p.Sequence, next)
					}
					next, known = p.Sequence+1, true
				}
				total += n
			}
			got <- total
		}()
	}
	for i := range pictures {
		if i == 0 {
			src.keyframe()
		} else {
			src.picture()
		}
	}
	for range readers {
		if n := <-got; n != pictures*perPicture {
			t.Errorf("read %d packets", n)
		}
	}
}
