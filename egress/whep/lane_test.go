package whep

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// What the tests publish.
var (
	video = stream.Layer{
		ID:    stream.LayerID{Kind: stream.Video},
		Codec: stream.Codec{Name: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1;profile-level-id=42e01f"},
	}
	audio = stream.Layer{
		ID:    stream.LayerID{Kind: stream.Audio},
		Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2},
	}
)

// screen is a viewer's end: it notes what arrives. It is the session and the
// writer of a track.
type screen struct {
	mu      sync.Mutex
	packets []rtp.Packet
	reports []*rtcp.SenderReport
	reason  error
	block   time.Duration
	err     error
}

func (s *screen) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	s.mu.Lock()
	block, err := s.block, s.err
	s.packets = append(s.packets, rtp.Packet{Header: h.Clone(), Payload: payload})
	s.mu.Unlock()
	time.Sleep(block)
	return len(payload), err
}

func (s *screen) Write(b []byte) (int, error) { return len(b), nil }

func (s *screen) End(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == nil {
		s.reason = reason
	}
}

func (s *screen) WriteRTCP(packets []rtcp.Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := rtcp.Marshal(packets)
	if err != nil {
		return err
	}
	if packets, err = rtcp.Unmarshal(b); err != nil {
		return err
	}
	for _, p := range packets {
		if sr, ok := p.(*rtcp.SenderReport); ok {
			s.reports = append(s.reports, sr)
		}
	}
	return nil
}

func (s *screen) seen() []rtp.Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]rtp.Packet(nil), s.packets...)
}

func (s *screen) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// camera publishes numbered packets.
type camera struct {
	session   *stream.Session
	seq       uint16
	timestamp uint32
	count     uint32 // of packets; each payload holds its own
}

const perPicture = 4

// The first bytes of H.264 NAL units.
const idr, slice = 0x65, 0x61

func nal(key bool) byte { //nolint:revive // it is a conversion
	if key {
		return idr
	}
	return slice
}

func newCamera(t testing.TB, s *stream.Stream, layers ...stream.Layer) *camera {
	t.Helper()
	x, err := s.Publish(stream.Offer{Principal: "host", Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	return &camera{session: x, seq: uint16(rand.Uint32()), timestamp: rand.Uint32()}
}

// payload begins like a slice of H.264 and holds the packet's count.
func (c *camera) payload(nal byte) []byte {
	b := make([]byte, 60)
	b[0] = nal
	binary.BigEndian.PutUint32(b[1:], c.count)
	c.count++
	return b
}

func count(p []byte) uint32 { return binary.BigEndian.Uint32(p[1:]) }

func (c *camera) picture(nal byte) {
	now := time.Now()
	for i := range perPicture {
		c.session.Write(video.ID, stream.Packet{
			Arrival: now, Sequence: c.seq, Timestamp: c.timestamp, Marker: i == perPicture-1, Payload: c.payload(nal),
		})
		c.seq++
	}
	c.timestamp += 3000
}

// film sends 30 pictures a second for d, every 30th a keyframe.
func (c *camera) film(d time.Duration) {
	for i := range int(d * 30 / time.Second) {
		c.picture(nal(i%30 == 0))
		time.Sleep(time.Second / 30)
	}
}

// theatre is an audience whose lanes run until the test ends.
type theatre struct {
	*audience
	t      testing.TB
	wg     sync.WaitGroup
	cancel context.CancelFunc
}

func newTheatre(t testing.TB, s *stream.Stream, cfg Config) *theatre {
	cfg = cfg.withDefaults()
	th := &theatre{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	th.cancel = cancel
	th.audience = newAudience(s, &cfg, func(run func(context.Context)) error {
		th.wg.Go(func() { run(ctx) })
		return nil
	})
	th.wg.Go(func() { th.run(ctx) })
	return th
}

func (th *theatre) close() {
	th.cancel()
	th.wg.Wait()
}

// TestStart: what is to run waits for Run and runs in it; after Run it fails.
// No viewer's context can keep a lane that others are on from running.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{}, stream.NewHub(stream.Config{}), rtc.NewRegistry(nil, rtc.RegistryConfig{}))
		ran := make(chan context.Context, 1)
		started := make(chan error, 1)
		go func() { started <- s.start(func(ctx context.Context) { ran <- ctx; <-ctx.Done() }) }()
		synctest.Wait()
		if len(started) != 0 || len(ran) != 0 {
			t.Fatal("started before Run")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		if life := <-ran; life.Err() != nil || len(ended) != 0 {
			t.Error("the lane's context is not Run's")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := s.start(func(context.Context) { t.Error("run after Run") }); !errors.Is(err, errStopped) {
			t.Errorf("start after Run: %v", err)
		}
	})
}

// seat makes a viewer of one kind, and lets it join.
func (th *theatre) seat(kind rtc.Kind) (*track, *screen, *lane) {
	th.t.Helper()
	return th.seatAt(kind, nil)
}

// seatAt makes a viewer whose media goes to a network with feedback, unless that is nil.
func (th *theatre) seatAt(kind rtc.Kind, n *network) (*track, *screen, *lane) {
	th.t.Helper()
	s := &screen{}
	t := newTestTrack(kind, s, th.metrics)
	if n != nil {
		t.bind(n, 4711, 3)
	}
	layer := th.layer(t)
	if kind == rtc.Video {
		sub, err := th.stream.Subscribe(layer)
		if err != nil {
			th.t.Fatal(err)
		}
		t.place(sub)
		t.burst(th.t.Context())
	}
	if err := th.join(t, layer); err != nil {
		th.t.Fatal(err)
	}
	return t, s, th.laneOf(t)
}

func (th *theatre) laneOf(t *track) *lane {
	th.mu.Lock()
	defer th.mu.Unlock()
	return t.home
}

func newTestTrack(kind rtc.Kind, s *screen, m *Metrics) *track {
	codec := rtc.Codec{Name: "H264", ClockRate: 90000, Fmtp: video.Codec.Fmtp, PayloadType: 108}
	if kind == rtc.Audio {
		codec = rtc.Codec{Name: "Opus", ClockRate: 48000, Channels: 2, PayloadType: 111}
	}
	t := newTrack(rtc.Section{Kind: kind, Codec: codec}, "show", m)
	t.session = s
	t.bind(s, 4711, 0)
	return t
}

func newStream(t testing.TB) *stream.Stream {
	t.Helper()
	s, err := stream.NewHub(stream.Config{}).Stream("show")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkWhole fails unless the packets are all there, in order, once each, from a
// keyframe on, under numbers without a hole.
func checkWhole(t *testing.T, packets []rtp.Packet) {
	t.Helper()
	if len(packets) == 0 {
		t.Error("nothing arrived")
		return
	}
	if packets[0].Payload[0] != 0x65 {
		t.Errorf("begins with NAL unit %#x, want a keyframe", packets[0].Payload[0])
	}
	for i, p := range packets[1:] {
		if before := packets[i]; count(p.Payload) != count(before.Payload)+1 || p.SequenceNumber != before.SequenceNumber+1 {
			t.Errorf("packet %d (number %d) follows %d (number %d)",
				count(p.Payload), p.SequenceNumber, count(before.Payload), before.SequenceNumber)
			return
		}
		if int32(p.Timestamp-packets[i].Timestamp) < 0 {
			t.Errorf("the timestamp goes back at packet %d", i+1)
		}
	}
}

// TestFirstNumber holds that a viewer that loses the first packets is not past the first
// wrap of the numbers by then (RFC 3711 §3.3.1): it could open nothing any more.
func TestFirstNumber(t *testing.T) {
	highest := uint16(0)
	for range 1000 {
		tr := newTrack(rtc.Section{Kind: rtc.Video}, "live", new(Metrics))
		tr.rewriter.begin(7, 0, 0)
		first, ok := tr.rewriter.rewrite(7, 0, 1)
		if !ok || first >= 1<<15 {
			t.Fatalf("the first number is %d (%v), want less than half of all", first, ok)
		}
		highest = max(highest, first)
	}
	if highest < 1<<14 {
		t.Errorf("of 1000 first numbers the highest is %d: they are not random", highest)
	}
}

func TestJoinWithoutGapOrDuplicate(t *testing.T) { // E16: from the cached pictures
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		th := newTheatre(t, s, Config{Shard: 7, Workers: 3})
		defer th.close()
		var filming sync.WaitGroup
		filming.Go(func() { cam.film(6 * time.Second) })
		var mu sync.Mutex
		var screens []*screen
		var firsts []time.Duration
		var joins sync.WaitGroup
		for i := range 40 {
			joins.Go(func() {
				time.Sleep(50*time.Millisecond + time.Duration(i)*97*time.Millisecond)
				begin := time.Now()
				track, screen, _ := th.seat(rtc.Video)
				_ = track
				took := time.Since(begin)
				mu.Lock()
				defer mu.Unlock()
				screens, firsts = append(screens, screen), append(firsts, took)
			})
		}
		joins.Wait()
		filming.Wait()
		synctest.Wait()
		for i, screen := range screens {
			packets := screen.seen()
			checkWhole(t, packets)
			if len(packets) > 0 && count(packets[len(packets)-1].Payload) != cam.count-1 {
				t.Errorf("viewer %d: the last packet is %d of %d", i, count(packets[len(packets)-1].Payload), cam.count-1)
			}
			if firsts[i] > 50*time.Millisecond {
				t.Errorf("viewer %d had the cached pictures after %v", i, firsts[i])
			}
		}
	})
}

func TestCachedPicturesArePushedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		cam.film(990 * time.Millisecond)
		th := newTheatre(t, s, Config{})
		defer th.close()
		_, screen, _ := th.seat(rtc.Video)
		before := screen.seen()
		span := before[len(before)-1].Timestamp - before[0].Timestamp
		if want := uint32(28 * 3000 / 16); span < want-100 || span > want+100 {
			t.Errorf("29 cached pictures span %d units, want about %d", span, want)
		}
		cam.film(500 * time.Millisecond)
		synctest.Wait()
		packets := screen.seen()
		checkWhole(t, packets)
		tail := packets[len(packets)-10*perPicture:]
		if got := tail[len(tail)-1].Timestamp - tail[0].Timestamp; got != 9*3000 {
			t.Errorf("ten live pictures span %d units, want %d", got, 9*3000)
		}
	})
}

func TestPublisherReturns(t *testing.T) { // E15
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		th := newTheatre(t, s, Config{})
		defer th.close()
		cam.film(200 * time.Millisecond)
		_, screen, _ := th.seat(rtc.Video)
		cam.film(time.Second)
		cam.session.Close(io.ErrUnexpectedEOF)
		synctest.Wait()
		before := screen.seen()
		time.Sleep(20 * time.Second)
		again := newCamera(t, s, video)
		again.count = cam.count
		again.film(time.Second)
		synctest.Wait()
		packets := screen.seen()
		checkWhole(t, packets)
		last, first := before[len(before)-1], packets[len(before)]
		passed := time.Duration(first.Timestamp-last.Timestamp) * time.Second / 90000
		if want := 20*time.Second + time.Second/30; (passed - want).Abs() > 2*time.Millisecond {
			t.Errorf("the timestamp advanced by %v, want %v", passed, want)
		}
		if err := screen.ended(); err != nil {
			t.Errorf("the viewer was ended: %v", err)
		}
	})
}

func TestTakeOverChangesTheLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		high := video
		high.ID.RID = "h"
		s := newStream(t)
		cam := newCamera(t, s, video)
		th := newTheatre(t, s, Config{})
		defer th.close()
		cam.film(200 * time.Millisecond)
		_, screen, _ := th.seat(rtc.Video)
		cam.film(200 * time.Millisecond)
		x, err := s.Publish(stream.Offer{Principal: "host", Layers: []stream.Layer{high}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range uint16(4) {
			x.Write(high.ID, stream.Packet{
				Arrival: time.Now(), Sequence: i, Marker: true, Timestamp: uint32(i) * 3000, Payload: cam.payload(nal(i == 0)),
			})
		}
		synctest.Wait()
		packets := screen.seen()
		checkWhole(t, packets)
		if got := count(packets[len(packets)-1].Payload); got != cam.count-1 {
			t.Errorf("last packet %d, want %d", got, cam.count-1)
		}
	})
}

// TestJoiningViewerFollowsTheLayer is the rare case of a publisher that changes
// while a viewer waits for its first keyframe.
func TestJoiningViewerFollowsTheLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		high := video
		high.ID.RID = "h"
		s := newStream(t)
		cam := newCamera(t, s, video)
		th := newTheatre(t, s, Config{})
		defer th.close()
		_, screen, _ := th.seat(rtc.Video) // no keyframe has come yet
		cam.picture(slice)
		synctest.Wait()
		x, err := s.Publish(stream.Offer{Principal: "host", Layers: []stream.Layer{high}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range uint16(4) {
			x.Write(high.ID, stream.Packet{
				Arrival: time.Now(), Sequence: i, Marker: true, Timestamp: uint32(i) * 3000, Payload: cam.payload(nal(i == 0)),
			})
			synctest.Wait()
			time.Sleep(time.Second / 30)
		}
		packets := screen.seen()
		checkWhole(t, packets)
		if got := count(packets[len(packets)-1].Payload); got != cam.count-1 {
			t.Errorf("last packet %d, want %d", got, cam.count-1)
		}
	})
}

func TestKindThatIsPublishedLater(t *testing.T) { // E9
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		newCamera(t, s, audio)
		th := newTheatre(t, s, Config{})
		defer th.close()
		track, screen, _ := th.seat(rtc.Video)
		track.optional = true
		av1 := stream.Layer{ID: video.ID, Codec: stream.Codec{Name: "AV1", ClockRate: 90000}}
		x, err := s.Publish(stream.Offer{Principal: "host", Layers: []stream.Layer{av1}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint16(3) {
			x.Write(av1.ID, stream.Packet{Arrival: time.Now(), Sequence: i, Marker: true, Payload: []byte{0x08, 0x0a, 1}})
			synctest.Wait()
		}
		if err := screen.ended(); err != nil || len(screen.seen()) > 0 {
			t.Fatalf("%d packets in another codec, ended: %v; want silence", len(screen.seen()), err)
		}
		cam := newCamera(t, s, video)
		cam.film(time.Second)
		synctest.Wait()
		checkWhole(t, screen.seen())
	})
}

func TestPlays(t *testing.T) { // E8, E15
	h264 := func(fmtp string) stream.Codec { return stream.Codec{Name: "H264", ClockRate: 90000, Fmtp: fmtp} }
	named := func(name, fmtp string) stream.Codec { return stream.Codec{Name: name, ClockRate: 90000, Fmtp: fmtp} }
	for _, tt := range []struct {
		name                string
		negotiated, sources stream.Codec
		want                bool
	}{
		{"same", h264("packetization-mode=1;profile-level-id=42e01f"), h264("profile-level-id=42e01f; packetization-mode=1"), true},
		{"another profile: the parameter sets tell", h264("packetization-mode=1;profile-level-id=42e01f"), h264("packetization-mode=1;profile-level-id=640028"), true},
		{"mode 0 to mode 1", h264("packetization-mode=1"), h264(""), true},
		{"mode 1 to mode 0", h264("packetization-mode=0"), h264("packetization-mode=1"), false},
		{"letter case", named("h264", ""), h264(""), true},
		{"another codec", h264(""), named("H265", ""), false},
		{"another clock", h264(""), stream.Codec{Name: "H264", ClockRate: 48000}, false},
		{"VP9 default profile", named("VP9", ""), named("VP9", "profile-id=0"), true},
		{"VP9 profile 2", named("VP9", "profile-id=0"), named("VP9", "profile-id=2"), false},
		{"AV1 level", named("AV1", "level-idx=5;profile=0"), named("AV1", "level-idx=8"), true},
		{"AV1 profile", named("AV1", "profile=0"), named("AV1", "profile=1"), false},
		{"H265 profile", named("H265", "profile-id=2"), named("H265", ""), false},
		{"Opus", named("opus", "stereo=1"), named("Opus", ""), true},
	} {
		got := plays(rtc.Codec{Name: tt.negotiated.Name, ClockRate: tt.negotiated.ClockRate, Fmtp: tt.negotiated.Fmtp}, tt.sources)
		if got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}

func TestRepeatsAreBounded(t *testing.T) {
	var r repeats
	now := time.Now()
	allowed := 0
	for i := range 2000 {
		if r.allow(uint16(i), now) > 0 {
			allowed++
		}
	}
	if allowed != repeatsBurst {
		t.Errorf("%d at once, want %d", allowed, repeatsBurst)
	}
	for i := range 4000 { // asked for twice as fast as allowed, for 4 s
		if r.allow(uint16(i), now.Add(time.Duration(i)*time.Millisecond)) > 0 {
			allowed++
		}
	}
	if most := repeatsBurst + 4*repeatsSecond; allowed > most || allowed < most-10 {
		t.Errorf("%d in 4 s, want %d", allowed, most)
	}
}

func TestPublisherReturnsWithAnotherCodec(t *testing.T) { // E15
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		th := newTheatre(t, s, Config{})
		defer th.close()
		cam.film(200 * time.Millisecond)
		_, screen, _ := th.seat(rtc.Video)
		cam.film(200 * time.Millisecond)
		av1 := stream.Layer{ID: video.ID, Codec: stream.Codec{Name: "AV1", ClockRate: 90000}}
		x, err := s.Publish(stream.Offer{Principal: "host", Layers: []stream.Layer{av1}})
		if err != nil {
			t.Fatal(err)
		}
		x.Write(av1.ID, stream.Packet{Arrival: time.Now(), Marker: true, Payload: []byte{0x08, 0x0a, 1}})
		synctest.Wait()
		if err := screen.ended(); !errors.Is(err, errCodec) {
			t.Errorf("ended with %v, want errCodec", err)
		}
	})
}

func TestGraceEndsViewers(t *testing.T) { // E15
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		th := newTheatre(t, s, Config{Grace: 30 * time.Second})
		defer th.close()
		cam.film(200 * time.Millisecond)
		_, screen, _ := th.seat(rtc.Video)
		th.enter(screen)
		cam.session.Close(nil)
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if err := screen.ended(); err != nil {
			t.Errorf("ended after 29 s: %v", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := screen.ended(); err == nil {
			t.Error("not ended after the grace time")
		}
	})
}

func TestLaggingLaneSkipsToAKeyframe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		m := &Metrics{}
		th := newTheatre(t, s, Config{Shard: 1, Workers: 2, Metrics: m})
		defer th.close()
		cam.film(200 * time.Millisecond)
		_, slow, _ := th.seat(rtc.Video)
		_, other, _ := th.seat(rtc.Video)
		cam.film(time.Second)
		slow.mu.Lock()
		slow.block = 20 * time.Second // longer than the ring
		slow.mu.Unlock()
		cam.picture(slice)
		time.Sleep(time.Second / 30)
		synctest.Wait()
		slow.mu.Lock()
		slow.block = 0
		slow.mu.Unlock()
		cam.film(25 * time.Second)
		synctest.Wait()
		checkWhole(t, other.seen())
		if err := other.ended(); err != nil {
			t.Errorf("the other viewer was ended: %v", err)
		}
		if err := slow.ended(); err != nil {
			t.Errorf("the viewer that was blocked once was ended: %v", err)
		}
		if m.Lags.Load() != 1 {
			t.Errorf("%d lags, want 1", m.Lags.Load())
		}
		packets := slow.seen()
		jumps := 0
		for i, p := range packets[1:] {
			if p.SequenceNumber != packets[i].SequenceNumber+1 {
				t.Fatalf("a hole before number %d", p.SequenceNumber)
			}
			if count(p.Payload) != count(packets[i].Payload)+1 {
				if jumps++; p.Payload[0] != 0x65 {
					t.Errorf("goes on at NAL unit %#x, want a keyframe", p.Payload[0])
				}
			}
		}
		if jumps != 1 {
			t.Errorf("%d jumps, want 1", jumps)
		}
	})
}

func TestBlockedViewerIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		th := newTheatre(t, s, Config{Workers: 1})
		defer th.close()
		cam.film(200 * time.Millisecond)
		blocked, slow, _ := th.seat(rtc.Video)
		_, good, _ := th.seat(rtc.Video)
		slow.mu.Lock()
		slow.block = maxBlocked
		slow.mu.Unlock()
		begin := time.Now()
		for slow.ended() == nil && time.Since(begin) < time.Hour {
			cam.film(time.Second)
		}
		th.leave(blocked) // as its session does
		if err := slow.ended(); !errors.Is(err, errSlow) {
			t.Errorf("ended with %v, want errSlow", err)
		}
		cam.film(5 * time.Minute) // the lane catches up
		synctest.Wait()
		if packets := good.seen(); count(packets[len(packets)-1].Payload) != cam.count-1 {
			t.Errorf("the other viewer of the lane got %d of %d, after %v", count(packets[len(packets)-1].Payload), cam.count, time.Since(begin))
		}
		if err := good.ended(); err != nil {
			t.Errorf("the other viewer was ended: %v", err)
		}
	})
}

func TestFailingViewerIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		th := newTheatre(t, s, Config{})
		defer th.close()
		cam.film(200 * time.Millisecond)
		_, bad, _ := th.seat(rtc.Video)
		_, flaky, _ := th.seat(rtc.Video)
		_, good, _ := th.seat(rtc.Video)
		for s, err := range map[*screen]error{bad: io.ErrClosedPipe, flaky: io.ErrShortWrite} {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
		cam.film(time.Second)
		synctest.Wait()
		checkWhole(t, good.seen())
		if err := bad.ended(); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("closed viewer: %v", err)
		}
		if err := flaky.ended(); err != nil {
			t.Errorf("ended after one second of errors: %v", err)
		}
		cam.film(4 * time.Second)
		synctest.Wait()
		if err := flaky.ended(); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("viewer that fails for long: %v", err)
		}
	})
}

func TestSenderReportsBringAudioAndVideoInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video, audio)
		th := newTheatre(t, s, Config{})
		defer th.close()
		_, pictures, _ := th.seat(rtc.Video)
		_, sound, _ := th.seat(rtc.Audio)
		// Both begin to be captured at the same instant; video arrives 80 ms later.
		start := time.Now()
		videoBase, audioBase := cam.timestamp, uint32(0xFFFFF000)
		reports := func(now time.Duration) {
			clock := uint64(3_900_000_000+now/time.Second)<<32 | uint64(now%time.Second)<<32/uint64(time.Second)
			cam.session.Report(video.ID, clock, videoBase+uint32(units(now, 90000)), time.Now())
			cam.session.Report(audio.ID, clock, audioBase+uint32(units(now, 48000)), time.Now())
		}
		for i := range 200 { // 4 s of 20 ms
			now := time.Duration(i) * 20 * time.Millisecond
			cam.session.Write(audio.ID, stream.Packet{
				Arrival: time.Now(), Sequence: uint16(i), Timestamp: audioBase + uint32(i)*960, Payload: []byte{1},
			})
			if at := now - 80*time.Millisecond; at >= 0 && at%(100*time.Millisecond) == 0 {
				cam.session.Write(video.ID, stream.Packet{
					Arrival: time.Now(), Sequence: uint16(i), Timestamp: videoBase + uint32(units(at, 90000)), Marker: true,
					Payload: cam.payload(nal(i < 10)),
				})
			}
			if i%50 == 10 {
				reports(now)
			}
			synctest.Wait()
			time.Sleep(20 * time.Millisecond)
		}
		captured := func(s *screen, rate uint32, first uint32) time.Duration {
			if len(s.reports) < 4 {
				t.Fatalf("%d sender reports in 4 s", len(s.reports))
			}
			r := s.reports[len(s.reports)-1]
			if r.PacketCount == 0 || r.OctetCount == 0 || r.SSRC != 4711 {
				t.Errorf("report %+v", r)
			}
			at := time.Unix(int64(r.NTPTime>>32)-2208988800, int64(r.NTPTime&0xffffffff)*int64(time.Second)>>32)
			return at.Sub(start) - time.Duration(int32(r.RTPTime-first))*time.Second/time.Duration(rate)
		}
		v := captured(pictures, 90000, pictures.packets[0].Timestamp)
		a := captured(sound, 48000, sound.packets[0].Timestamp)
		if off := (v - a).Abs(); off > time.Millisecond {
			t.Errorf("first picture captured at %v, first sound at %v: %v apart", v, a, off)
		}
	})
}

func TestNACK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		m := &Metrics{}
		th := newTheatre(t, s, Config{Metrics: m})
		defer th.close()
		cam.film(200 * time.Millisecond)
		track, screen, _ := th.seat(rtc.Video)
		cam.film(time.Second)
		synctest.Wait()
		packets := screen.seen()
		ask := func(ssrc uint32, first uint16, mask rtcp.PacketBitmap) []rtp.Packet {
			b, err := (&rtcp.TransportLayerNack{MediaSSRC: ssrc, Nacks: []rtcp.NackPair{{PacketID: first, LostPackets: mask}}}).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			before := len(screen.seen())
			track.handle(b, time.Now(), track.wire())
			return screen.seen()[before:]
		}
		for _, i := range []int{0, 8, 30, len(packets) - 10} { // from the burst and from the lane
			got := ask(4711, packets[i].SequenceNumber, 0b101)
			if len(got) != 3 {
				t.Fatalf("asked for 3 packets at %d, got %d", i, len(got))
			}
			for j, k := range []int{i, i + 1, i + 3} {
				want := packets[k]
				if got[j].SequenceNumber != want.SequenceNumber || got[j].Timestamp != want.Timestamp ||
					got[j].Marker != want.Marker || count(got[j].Payload) != count(want.Payload) {
					t.Errorf("packet %d came back as %v, was %v", k, got[j].Header, want.Header)
				}
			}
		}
		if got := ask(4712, packets[5].SequenceNumber, 0); len(got) != 0 {
			t.Error("answered for another SSRC")
		}
		if got := ask(4711, packets[len(packets)-1].SequenceNumber+5, 0); len(got) != 0 {
			t.Error("answered for a number that was not sent yet")
		}
		for range 50 { // the same packet over and over
			time.Sleep(20 * time.Millisecond)
			ask(4711, packets[9].SequenceNumber, 0)
		}
		total := 0
		for _, p := range screen.seen() {
			if p.SequenceNumber == packets[9].SequenceNumber {
				total++
			}
		}
		if total != 1+repeatsOfOne {
			t.Errorf("one packet was sent %d times, want %d", total, 1+repeatsOfOne)
		}
		time.Sleep(time.Second)
		before := m.Retransmits.Load()
		for i := range 40 { // and everything at once
			ask(4711, packets[0].SequenceNumber+uint16(i*17), 0xffff)
		}
		if n := m.Retransmits.Load() - before; n > repeatsBurst {
			t.Errorf("%d retransmits at once", n)
		}
	})
}

func TestNACKAfterAnotherSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		th := newTheatre(t, s, Config{})
		defer th.close()
		cam.film(200 * time.Millisecond)
		track, screen, _ := th.seat(rtc.Video)
		ask := func(p rtp.Packet) []rtp.Packet {
			before := len(screen.seen())
			track.answer([]rtcp.NackPair{{PacketID: p.SequenceNumber}}, time.Now(), track.wire())
			return screen.seen()[before:]
		}
		cam.film(time.Second)
		old := screen.seen()
		again := newCamera(t, s, video)
		again.seq, again.count = cam.seq-40, cam.count // some of its numbers were used before
		again.film(time.Second)
		synctest.Wait()
		packets := screen.seen()
		if got := ask(packets[len(packets)-5]); len(got) != 1 || count(got[0].Payload) != count(packets[len(packets)-5].Payload) {
			t.Errorf("a packet of the new source: got %d", len(got))
		}
		if got := ask(old[len(old)-5]); len(got) != 0 {
			t.Errorf("a packet of the old source: got number %d again", got[0].SequenceNumber)
		}
		// The reader is ahead of the track: what it finds is another source's.
		th.leave(track)
		ahead, err := s.Subscribe(video.ID)
		if err != nil {
			t.Fatal(err)
		}
		defer ahead.Close()
		third := newCamera(t, s, video)
		third.seq = again.seq - 40
		for range 20 {
			third.picture(idr)
		}
		if _, err := ahead.Read(t.Context(), make([]stream.Packet, 64)); err != nil {
			t.Fatal(err)
		}
		track.ring = ahead
		if got := ask(packets[len(packets)-6]); len(got) != 0 {
			t.Errorf("answered with another source's packet %d", count(got[0].Payload))
		}
	})
}

func TestKeyframeRequests(t *testing.T) { // E16
	synctest.Test(t, func(t *testing.T) {
		onRequest := video
		onRequest.OnRequest = true
		s := newStream(t)
		cam := newCamera(t, s, onRequest)
		asked := func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := cam.session.KeyframeRequest(ctx)
			return err == nil
		}
		th := newTheatre(t, s, Config{})
		defer th.close()
		track, _, _ := th.seat(rtc.Video)
		if !asked() {
			t.Error("no request although no keyframe is cached")
		}
		cam.picture(idr)
		synctest.Wait()
		th.seat(rtc.Video)
		if asked() {
			t.Error("a request although a fresh keyframe is cached")
		}
		for range 90 {
			cam.picture(slice)
			time.Sleep(time.Second / 30)
		}
		th.seat(rtc.Video)
		if !asked() {
			t.Error("no request although the cached keyframe is old")
		}
		for name, p := range map[string]rtcp.Packet{
			"PLI": &rtcp.PictureLossIndication{MediaSSRC: 4711},
			"FIR": &rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: 4711}}},
		} {
			b, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			track.handle(b, time.Now(), track.wire())
			if !asked() {
				t.Errorf("%s was not passed on", name)
			}
			time.Sleep(pleaLeast)
		}
	})
}

func TestPaddingIsNotPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		th := newTheatre(t, s, Config{})
		defer th.close()
		_, screen, _ := th.seat(rtc.Video)
		for i := range 30 {
			cam.picture(nal(i == 0))
			cam.session.Write(video.ID, stream.Packet{Arrival: time.Now(), Sequence: cam.seq, Timestamp: cam.timestamp - 3000})
			cam.seq++
			time.Sleep(time.Second / 30)
		}
		synctest.Wait()
		checkWhole(t, screen.seen())
	})
}

func TestLanesAreFilledInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		newCamera(t, s, audio)
		th := newTheatre(t, s, Config{Shard: 2, Workers: 2})
		defer th.close()
		type member struct {
			lane  *lane
			track *track
		}
		var all []member
		for range 8 {
			track, _, l := th.seat(rtc.Audio)
			all = append(all, member{l, track})
		}
		if n := len(th.lanes); n != 2 {
			t.Fatalf("%d lanes, want 2", n)
		}
		for _, l := range th.lanes {
			if n := len(l.members()); n != 4 {
				t.Errorf("%d viewers on a lane, want 4", n)
			}
		}
		for _, m := range all {
			th.leave(m.track)
		}
		if n := len(th.lanes); n != 0 {
			t.Errorf("%d lanes are left", n)
		}
		synctest.Wait()
	})
}

func FuzzRTCP(f *testing.F) {
	for _, p := range []rtcp.Packet{
		&rtcp.TransportLayerNack{MediaSSRC: 4711, Nacks: []rtcp.NackPair{{PacketID: 1, LostPackets: 0xffff}}},
		&rtcp.PictureLossIndication{MediaSSRC: 4711},
		&rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: 4711}}},
		&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: 4711}}},
		&rtcp.Goodbye{Sources: []uint32{1}},
	} {
		b, err := p.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := newStream(f)
	cam := newCamera(f, s, video)
	cam.picture(idr)
	m := &Metrics{}
	screen := &screen{}
	track := newTestTrack(rtc.Video, screen, m)
	sub, err := s.Subscribe(video.ID)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(sub.Close)
	track.place(sub)
	track.burst(f.Context())
	w := track.wire()
	f.Fuzz(func(t *testing.T, b []byte) {
		screen.packets = nil
		track.handle(b, time.Now(), w)
		if n := len(screen.packets); n > repeatsBurst {
			t.Errorf("%d packets for one datagram", n)
		}
	})
}

// nowhere takes packets and keeps none.
type nowhere struct{}

func (nowhere) WriteRTP(_ *rtp.Header, payload []byte) (int, error) { return len(payload), nil }
func (nowhere) Write(b []byte) (int, error)                         { return len(b), nil }

// BenchmarkFanOut measures one packet for one of 100 viewers, without what Pion
// costs.
func BenchmarkFanOut(b *testing.B) {
	const viewers, packets = 100, 12
	source := &stream.Source{Epoch: 1, Layer: video}
	l := &lane{kind: stream.Video, audience: &audience{}, metrics: &Metrics{}}
	for range viewers {
		t := newTestTrack(rtc.Video, &screen{}, l.metrics)
		t.bind(nowhere{}, 1, 3)
		t.feeder = l
		l.add(t)
	}
	read := make([]stream.Packet, packets)
	seq := uint16(0)
	payload := make([]byte, 1200)
	f := newFeeding(b.Context(), l)
	round := func() {
		for i := range read {
			read[i] = stream.Packet{
				Source: source, Arrival: time.Now(), Sequence: seq, Timestamp: uint32(seq) / packets * 3000, Payload: payload,
			}
			seq++
		}
		l.deliver(b.Context(), f, read)
	}
	round()
	for _, t := range l.members() {
		t.nextSR = time.Now().Add(time.Hour) // reports are once a second, not once a packet
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		round()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/viewers/packets, "ns/packet/viewer")
}
