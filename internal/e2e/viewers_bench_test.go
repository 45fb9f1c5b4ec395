package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/internal/testclip"
)

// BenchmarkViewers measures what a WHEP viewer of 720p30 at 2.5 Mb/s and Opus,
// some 355 packets a second, costs the gateway. 10, 100 and 300 viewers watch for
// 10 s each:
//
//   - processor and resident memory of the process, in all and for each viewer
//     more than at the step before
//   - allocations for each packet sent, all else that the process does included
//   - how long a picture takes from the publisher to the viewers' sockets, and how
//     many never come
//   - how soon after connecting, and after the POST, the first picture, a keyframe,
//     is there
//
// Publisher and viewers are another process, this one, and do not count; a gallery
// says how they are kept out. What the kernel does on loopback to put a packet into
// the receiver's buffer does count. The stream runs for a while before, until its
// media in memory does not grow any more.
//
// BENCH_AGAINST names another build of the program, to be measured
// beside this one. A build takes two minutes.
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

// taking is what the gateway takes with so many viewers.
type taking struct {
	cost

	viewers          int
	mallocs, packets float64 // a second
}

func measureViewers(b *testing.B, build string) {
	const window = 10 * time.Second
	// A short window, so that media in memory does not grow while viewers join.
	g := serveWith(b, build, "WHIPCAST_HLS_AUDIO=opus", "WHIPCAST_HLS_WINDOW=12s")
	h := startHost(b, g)
	waitLive(b, g.url("/hls/bench/index.m3u8"))
	time.Sleep(30 * time.Second) // the window, and what must stay after it
	seats := openGallery(b)
	var all []*spectator
	var before taking
	for _, viewers := range []int{10, 100, 300} {
		for len(all) < viewers {
			all = append(all, seats.join(b, g))
			time.Sleep(105 * time.Millisecond) // one address may POST 10 times a second
		}
		time.Sleep(2 * time.Second) // bursts are over
		for _, s := range all {
			s.tap.recording.Store(true)
		}
		from := time.Now()
		now := takenOver(b, g, viewers, window)
		delays, lost := h.delays(all, from, time.Now().Add(-200*time.Millisecond))
		report := func(value float64, unit string) { b.ReportMetric(value, fmt.Sprintf("%s@%d", unit, viewers)) }
		report(100*now.share, "%core")
		report(now.memory/(1<<20), "MB")
		report(now.mallocs/now.packets, "allocs/packet")
		report(millis(quantile(delays, 0.5)), "ms-p50")
		report(millis(quantile(delays, 0.99)), "ms-p99")
		report(100*lost, "%lost")
		if more := float64(viewers - before.viewers); before.viewers > 0 {
			report(100*(now.share-before.share)/more, "%core/viewer")
			report((now.memory-before.memory)/more/(1<<10), "KB/viewer")
			report((now.waits-before.waits)/more, "waits/s/viewer")
		}
		before = now
	}
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

// takenOver returns what the gateway takes over a time.
func takenOver(b *testing.B, g *gateway, viewers int, window time.Duration) taking {
	b.Helper()
	mallocs, packets, began := gauge(b, g, "go_memstats_mallocs_total"), gauge(b, g, "whipcast_whep_packets_total"), time.Now()
	c := taking{cost: costOver(b, g, window), viewers: viewers}
	passed := time.Since(began).Seconds()
	c.mallocs = (gauge(b, g, "go_memstats_mallocs_total") - mallocs) / passed
	c.packets = (gauge(b, g, "whipcast_whep_packets_total") - packets) / passed
	return c
}

// gauge returns a metric without labels.
func gauge(b *testing.B, g *gateway, name string) float64 {
	b.Helper()
	all, err := get(b.Context(), "http://"+g.admin+"/metrics")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, found := strings.Cut("\n"+string(all.body), "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(line, 64)
	if !found || err != nil {
		b.Fatalf("no metric %s: %v", name, err)
	}
	return value
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
		got := v.tap.take()
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
