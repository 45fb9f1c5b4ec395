package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/internal/testclip"
)

// BenchmarkViewers measures what a WHEP viewer of 720p30 at 2.5 Mb/s and Opus,
// some 355 packets a second, costs the gateway: processor and memory as the
// difference between 50 and 150 viewers over 10 s, how long a picture takes from
// the publisher to 100 viewers, and how soon the first picture, a keyframe, is
// there. Publisher and viewers are another process, this one, and do not count.
//
// BENCH_AGAINST names another build of the program, to be measured
// beside this one.
func BenchmarkViewers(b *testing.B) {
	builds := []struct{ name, path string }{{"this", plainBinary}}
	if other := os.Getenv("BENCH_AGAINST"); other != "" {
		builds = append(builds, struct{ name, path string }{"other", other})
	}
	for _, build := range builds {
		b.Run(build.name, func(b *testing.B) {
			for b.Loop() {
				measureViewers(b, build.path)
			}
		})
	}
}

func measureViewers(b *testing.B, build string) {
	const few, middle, many, window = 50, 100, 150, 10 * time.Second
	// A short window, so that media in memory does not grow while viewers join.
	g := serveWith(b, build, "WHIPCAST_HLS_AUDIO=opus", "WHIPCAST_HLS_WINDOW=12s")
	h := startHost(b, g)
	waitLive(b, g.url("/hls/bench/index.m3u8"))
	var all []*spectator
	add := func(until int) {
		for len(all) < until {
			all = append(all, joinSpectator(b, g))
			time.Sleep(110 * time.Millisecond) // one address may POST 10 times a second
		}
		time.Sleep(time.Second) // bursts are over
	}
	add(few)
	low := costOver(b, g, window)
	add(middle)
	from := time.Now()
	for _, s := range all {
		s.record()
	}
	time.Sleep(window)
	delays, lost := h.delays(all, from, time.Now().Add(-200*time.Millisecond))
	add(many)
	high := costOver(b, g, window)

	b.ReportMetric(100*(high.share-low.share)/float64(many-few), "%core/viewer")
	b.ReportMetric((high.memory-low.memory)/float64(many-few)/(1<<10), "KB/viewer")
	b.ReportMetric((high.waits-low.waits)/float64(many-few), "waits/s/viewer")
	b.ReportMetric(millis(quantile(delays, 0.5)), "ms-p50")
	b.ReportMetric(millis(quantile(delays, 0.99)), "ms-p99")
	b.ReportMetric(100*lost, "%lost")
	var keys, joins []time.Duration
	for _, s := range all {
		keys, joins = append(keys, s.key), append(joins, s.join)
	}
	b.ReportMetric(millis(quantile(keys, 0.5)), "key-ms-p50")
	b.ReportMetric(millis(quantile(keys, 0.95)), "key-ms-p95")
	b.ReportMetric(millis(quantile(joins, 0.5)), "join-ms-p50")
	for _, s := range all {
		s.leave(b)
	}
	h.stop()
	if err := g.stop(b); err != nil {
		b.Error(err)
	}
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return -1
	}
	slices.Sort(all)
	return all[int(math.Ceil(q*float64(len(all))))-1]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// shot is a picture that was sent or received whole.
type shot struct {
	timestamp uint32
	at        time.Time
}

// host publishes pictures and notes when.
type host struct {
	stop context.CancelFunc // and waits

	mu    sync.Mutex
	shots []shot // below mu
}

func startHost(b *testing.B, g *gateway) *host {
	b.Helper()
	clip, err := testclip.Load()
	if err != nil {
		b.Fatal(err)
	}
	video, err1 := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeH264, ClockRate: 90000,
		SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
	}, "video", "bench")
	audio, err2 := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "bench")
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	remote := rtctest.New(b, rtctest.Options{Token: token}, func(pc *webrtc.PeerConnection) error {
		for _, track := range []webrtc.TrackLocal{video, audio} {
			if _, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
				return err
			}
		}
		return nil
	})
	remote.Connect(b, g.url("/whip/bench"))
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	h := &host{stop: func() { cancel(); wg.Wait() }}
	wg.Go(func() { h.play(ctx, clip.Loop(), video, audio) })
	b.Cleanup(h.stop)
	return h
}

// play sends a Loop by the wall clock.
func (h *host) play(ctx context.Context, loop *testclip.Loop, video, audio *webrtc.TrackLocalStaticRTP) {
	const picture = 2_500_000 / 8 / 30
	begin := time.Now()
	var payloader codecs.H264Payloader
	var sequence [2]uint16
	for ctx.Err() == nil {
		u := loop.Next()
		select {
		case <-time.After(time.Until(begin.Add(u.Time()))):
		case <-ctx.Done():
			return
		}
		lane, track, payloads := 1, audio, [][]byte{u.Data}
		if u.Video {
			padded := u.Data
			if missing := picture - len(padded); missing > 0 {
				padded = append(slices.Clip(padded), bytes.Repeat([]byte{0x55}, missing)...)
			}
			lane, track, payloads = 0, video, payloader.Payload(1180, padded)
			h.mu.Lock()
			h.shots = append(h.shots, shot{uint32(u.Ticks), time.Now()})
			h.mu.Unlock()
		}
		for i, payload := range payloads {
			_ = track.WriteRTP(&rtp.Packet{ // what fails is lost
				Header:  rtp.Header{Version: 2, Marker: u.Video && i == len(payloads)-1, SequenceNumber: sequence[lane], Timestamp: uint32(u.Ticks)},
				Payload: payload,
			})
			sequence[lane]++
		}
	}
}

// delays returns how long the pictures sent between two times took to each
// spectator, and the share of pictures that did not come.
func (h *host) delays(all []*spectator, from, to time.Time) (delays []time.Duration, lost float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sent := map[uint32]time.Time{}
	for _, s := range h.shots {
		if s.at.After(from) && s.at.Before(to) {
			sent[s.timestamp] = s.at
		}
	}
	for _, v := range all {
		got := v.shots()
		shift := h.shift(got)
		for _, s := range got {
			if at, ok := sent[s.timestamp-shift]; ok {
				delays = append(delays, s.at.Sub(at))
			}
		}
	}
	return delays, 1 - float64(len(delays))/float64(len(sent)*len(all))
}

// shift returns by how much a viewer's timestamps differ from the host's: what
// most pictures say when each is taken for the newest one sent. h.mu is held.
func (h *host) shift(got []shot) uint32 {
	votes, best := map[uint32]int{}, uint32(0)
	for _, s := range got {
		i, _ := slices.BinarySearchFunc(h.shots, s.at, func(e shot, at time.Time) int { return e.at.Compare(at) })
		if i == 0 {
			continue
		}
		d := s.timestamp - h.shots[i-1].timestamp
		if votes[d]++; votes[d] > votes[best] {
			best = d
		}
	}
	return best
}

// spectator is a viewer whose packets end at its socket: only what keeps the
// connection goes on to Pion.
type spectator struct {
	remote *rtctest.Remote
	tap    *tap
	key    time.Duration // from connected to the first whole picture
	join   time.Duration // from the POST to it
}

func joinSpectator(b *testing.B, g *gateway) *spectator {
	b.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	if err := conn.SetReadBuffer(1 << 20); err != nil {
		b.Fatal(err)
	}
	t := &tap{UDPConn: conn, first: make(chan struct{})}
	silent := logging.DefaultLoggerFactory{Writer: io.Discard}
	remote := rtctest.New(b, rtctest.Options{Setting: func(s *webrtc.SettingEngine) {
		s.SetICEUDPMux(ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: t, Logger: silent.NewLogger("mux")}))
	}}, func(pc *webrtc.PeerConnection) error {
		for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
			if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
				return err
			}
		}
		return nil
	})
	posted := time.Now()
	remote.Connect(b, g.url("/whep/bench"))
	connected := time.Now()
	rtctest.Wait(b, t.first, "picture")
	at := time.Unix(0, t.firstAt)
	return &spectator{remote: remote, tap: t, key: max(at.Sub(connected), 0), join: at.Sub(posted)}
}

func (s *spectator) record() { s.tap.recording.Store(true) }

func (s *spectator) shots() []shot {
	s.tap.mu.Lock()
	defer s.tap.mu.Unlock()
	return slices.Clone(s.tap.got)
}

func (s *spectator) leave(b *testing.B) {
	if err := s.remote.PC.GracefulClose(); err != nil {
		b.Error(err)
	}
	_ = s.tap.Close() // the mux may have
}

// tap is a socket that keeps media for itself.
type tap struct {
	*net.UDPConn
	first     chan struct{} // closed at the first whole picture
	firstAt   int64         // valid then; Unix nanoseconds
	recording atomic.Bool

	mu  sync.Mutex
	got []shot // below mu
}

// ReadFromAddrPort is what Pion's mux reads by.
func (t *tap) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := t.ReadFromUDPAddrPort(b)
		if err != nil || n < 12 || b[0]>>6 != 2 || b[1] >= 192 && b[1] <= 223 { // RFC 7983, RFC 5761
			return n, from, err
		}
		if b[1]&0x80 != 0 { // a picture's last packet
			t.whole(binary.BigEndian.Uint32(b[4:]))
		}
	}
}

// WriteToAddrPort is what Pion's mux writes by.
func (t *tap) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return t.WriteToUDPAddrPort(b, to)
}

func (t *tap) whole(timestamp uint32) {
	now := time.Now()
	if t.firstAt == 0 {
		t.firstAt = now.UnixNano()
		close(t.first)
	}
	if t.recording.Load() {
		t.mu.Lock()
		t.got = append(t.got, shot{timestamp, now})
		t.mu.Unlock()
	}
}
