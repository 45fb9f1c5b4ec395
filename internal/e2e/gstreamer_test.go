package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// What GStreamer is told to send, and to watch: docs/gstreamer.md has the same.
const (
	gstreamerH264 = "videotestsrc is-live=true ! video/x-raw,width=640,height=360,framerate=30/1 ! videoconvert ! " +
		"x264enc tune=zerolatency speed-preset=ultrafast bitrate=1000 key-int-max=60 ! video/x-h264,profile=constrained-baseline ! " +
		"rtph264pay config-interval=-1 aggregate-mode=zero-latency pt=96 ! application/x-rtp,media=video,encoding-name=H264,payload=96"
	gstreamerVP8  = "videotestsrc is-live=true ! vp8enc deadline=1 ! rtpvp8pay pt=96 ! application/x-rtp,media=video,encoding-name=VP8,payload=96"
	gstreamerOpus = "audiotestsrc is-live=true ! audioconvert ! audioresample ! opusenc ! " +
		"rtpopuspay pt=100 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=100"
)

// gstreamerClip returns what sends the test source's clip, whose flashes and beeps tell
// how sound and picture stand to one another.
func gstreamerClip(t *testing.T) (video, audio string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clip.mp4")
	tool(t, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-stream_loop", "5", "-i", "../testclip/clip.mp4", "-c", "copy", file)
	return "filesrc location=" + file + " ! qtdemux name=clip clip.video_0 ! queue ! h264parse ! identity sync=true ! " +
			"rtph264pay config-interval=-1 aggregate-mode=zero-latency pt=96 ! application/x-rtp,media=video,encoding-name=H264,payload=96",
		"clip.audio_0 ! queue ! identity sync=true ! rtpopuspay pt=100 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=100"
}

// whipClient runs Debian's simple-whip-client, which is GStreamer's webrtcbin.
func whipClient(t *testing.T, url, video, audio string, more ...string) *program {
	t.Helper()
	library := filepath.Join(t.TempDir(), "libgupnp-igd-1.0.so.4")
	tool(t, "cc", "-shared", "-fPIC", "-o", library, "gstreamer/igd.c")
	args := append([]string{"--url", url, "--token", token, "--video", video, "--audio", audio, "--disable-colors"}, more...)
	return launch(t, []string{"LD_LIBRARY_PATH=" + filepath.Dir(library)}, "whip-client", args...)
}

// end interrupts the program, as Ctrl-C does, and waits until it has ended.
func (p *program) end(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not end", p.name)
	}
}

// TestGStreamerGuide: docs/gstreamer.md has the pipelines and caps that the tests run.
func TestGStreamerGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/gstreamer.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append([]string{gstreamerH264, gstreamerOpus}, gstreamerFull...) {
		if !strings.Contains(string(guide), `"`+want+`"`) {
			t.Errorf("docs/gstreamer.md lacks %s", want)
		}
	}
}

// TestGStreamerPublishes: Debian's simple-whip-client publishes H264 and Opus: the
// audience gets correct HLS, a WHEP viewer pictures and sound, and it leaves by DELETE.
// It comes back by the TURN server that it is told of, with all candidates in its
// offer. VP8 is refused in words.
func TestGStreamerPublishes(t *testing.T) {
	media := freePort(t)
	_, port, _ := net.SplitHostPort(media)
	_, turn, _ := net.SplitHostPort(freePort(t))
	// libnice has no loopback candidates: what it sends goes from and to the machine's own address.
	g := serve(t, "WHIPCAST_MEDIA_ADDRESS=:"+port, "WHIPCAST_MEDIA_TURN_ADDRESS=:"+turn)
	clip, sound := gstreamerClip(t)
	first := whipClient(t, g.url("/whip/show"), clip, sound)
	waitHLS(t, g, "show")
	p := newProbe(g)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	playlists := p.start(ctx, t, "show")
	follow, stop := context.WithCancel(ctx)
	played := make(chan struct{})
	go func() {
		defer close(played)
		p.play(follow, playlists)
	}()
	video, audio := pionViewer(t, g.url("/whep/show"))
	until(t, 20*time.Second, "a WHEP viewer gets pictures and sound", func() bool { return video.Load() > 60 && audio.Load() > 100 })
	inStep(t, p, playlists)

	first.end(t)
	until(t, 10*time.Second, "the publisher left by DELETE", func() bool { return strings.Contains(g.out.String(), "ended by DELETE") })
	second := whipClient(t, g.url("/whip/show"), gstreamerH264, gstreamerOpus, "--no-trickle", "--follow-link", "--force-turn")
	before := video.Load()
	until(t, 30*time.Second, "it is back, and the viewer goes on", func() bool { return video.Load() > before+60 })
	if state := string(g.api(t, "/v1/streams/show")); !strings.Contains(state, `"epoch":2`) || !strings.Contains(state, "relayed by TURN") {
		t.Errorf("the stream after the return: %s", state)
	}
	until(t, 20*time.Second, "every playlist has a discontinuity and goes on after it", func() bool {
		for _, uri := range playlists {
			got, err := get(ctx, g.url("/hls/"+uri))
			_, after, found := strings.Cut(string(got.body), "#EXT-X-DISCONTINUITY\n")
			if err != nil || !found || strings.Count(after, "#EXTINF") < 2 {
				return false
			}
		}
		return true
	})
	stop()
	<-played
	p.verdict(t)
	second.end(t)

	refused := whipClient(t, g.url("/whip/other"), gstreamerVP8, gstreamerOpus)
	until(t, 20*time.Second, "VP8 is refused", func() bool { return strings.Contains(refused.out.String(), "422") })
	if strings.Contains(g.out.String(), token) {
		t.Error("the log has the token")
	}
}

// inStep waits for enough HLS of the clip, and checks that its sound and picture belong
// together.
func inStep(t *testing.T, p *probe, playlists []string) {
	t.Helper()
	of := func(rendition string) string {
		i := slices.IndexFunc(playlists, func(uri string) bool { return strings.Contains(uri, rendition) })
		if i < 0 {
			t.Fatalf("media playlists %v, want one of %s", playlists, rendition)
		}
		return playlists[i]
	}
	video := of("/video/")
	for _, rendition := range []string{"/audio/", "/aac/"} {
		audio := of(rendition)
		until(t, 40*time.Second, "twenty seconds of HLS", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return min(len(p.order[video]), len(p.order[audio])) >= 10 // of 2 s
		})
		offsets := measure(t, p.joined(video), p.joined(audio))
		if middle := offsets[len(offsets)/2]; middle.Abs() > 80*time.Millisecond {
			t.Errorf("%s: sound and picture are %v apart: %v", rendition, middle, offsets)
		}
	}
}

// pionViewer watches, and counts the packets of both tracks.
func pionViewer(t *testing.T, url string) (video, audio *atomic.Int64) {
	t.Helper()
	video, audio = &atomic.Int64{}, &atomic.Int64{}
	setting := func(s *webrtc.SettingEngine) { s.SetIPFilter(func(ip net.IP) bool { return !ip.IsLinkLocalUnicast() }) }
	x := rtctest.New(t, rtctest.Options{Token: token, Setting: setting}, func(pc *webrtc.PeerConnection) error {
		pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
			count := video
			if track.Kind() == webrtc.RTPCodecTypeAudio {
				count = audio
			}
			for {
				if _, _, err := track.ReadRTP(); err != nil {
					return
				}
				count.Add(1)
			}
		})
		for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
			if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
				return err
			}
		}
		return nil
	})
	x.Connect(t, url)
	return video, audio
}

// What GStreamer's WHEP viewers offer: in full, and as little as their documentation shows.
var (
	gstreamerFull = []string{
		"application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000,packetization-mode=(string)1,profile-level-id=(string)42e01f",
		"application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,encoding-params=(string)2",
	}
	gstreamerPlain = []string{
		"application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000",
		"application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000",
	}
)

// gstreamerSaw is what gstreamer/whep.py tells, GStreamer's webrtcbin as a WHEP viewer.
type gstreamerSaw struct {
	Session  string  // its URL
	Layer    string  // the URL of the extension
	Pictures int     // that were decoded
	Size     [2]int  // of the newest one
	Back     int     // of how many the time went back: GStreamer moves it when a sender report comes
	Gap      float64 // the longest time between two of them since the line before, seconds
	Sound    int     // frames that were decoded
	Loud     int     // the loudest sample since the line before
	Deleted  int     // status of the DELETE
	Error    string
}

// heard reads what the viewer has told, the newest of each.
func heard(t *testing.T, viewer *program) (all gstreamerSaw) {
	t.Helper()
	for line := range strings.Lines(viewer.out.String()) {
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}\n") {
			continue
		}
		last := all
		if err := json.Unmarshal([]byte(line), &all); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all.Loud, all.Gap = max(all.Loud, last.Loud), max(all.Gap, last.Gap)
	}
	return all
}

// watchGStreamer starts a viewer and waits until it has some pictures and sound.
func watchGStreamer(t *testing.T, url string, caps []string) (*program, gstreamerSaw) {
	t.Helper()
	viewer := launch(t, nil, "/usr/bin/python3", append([]string{"gstreamer/whep.py", url, token}, caps...)...)
	saw := shows(t, viewer, 0, "GStreamer shows "+url)
	if saw.Session == "" || saw.Layer == "" {
		t.Errorf("the viewer was told %+v", saw)
	}
	return viewer, saw
}

// shows waits until a viewer has decoded some more than so many pictures.
func shows(t *testing.T, viewer *program, pictures int, what string) (saw gstreamerSaw) {
	t.Helper()
	sound := heard(t, viewer).Sound
	until(t, 30*time.Second, what, func() bool {
		saw = heard(t, viewer)
		if saw.Error != "" {
			t.Fatalf("%s: %s", what, saw.Error)
		}
		return saw.Pictures >= pictures+45 && saw.Sound >= sound+45
	})
	if saw.Loud < 1000 {
		t.Errorf("%s: the loudest sample is %d", what, saw.Loud)
	}
	t.Logf("%s: %+v", what, saw)
	return saw
}

// leaves ends a viewer, and with it its session.
func leaves(t *testing.T, viewer *program) {
	t.Helper()
	viewer.end(t)
	if saw := heard(t, viewer); saw.Deleted != http.StatusOK || viewer.err != nil {
		t.Errorf("the viewer's end: status %d, %v", saw.Deleted, viewer.err)
	}
}

// TestGStreamerWatches: GStreamer's webrtcbin as a WHEP viewer shows what comes by WHIP,
// over the publisher's return, the layers of simulcast that it asks for, and what comes
// by RTSP. Its offers name the packetization and the channels, or as little as possible.
func TestGStreamerWatches(t *testing.T) {
	address := rtspPort(t)
	g := serve(t, "WHIPCAST_AUTH_WATCH=token", "WHIPCAST_RTSP_ADDRESS="+address)
	first := publish(t, g.url("/whip/show"))
	launch(t, nil, plainBinary, "publish", "--url", g.url("/whip/three"), "--token", token, "--simulcast")
	encoder(t, "ffmpeg", rtspURL(address, "door"), "tcp")
	for _, stream := range []string{"show", "three", "door"} {
		until(t, 30*time.Second, stream+" is live", func() bool { return g.packets(t, stream) > 200 })
	}

	viewer, saw := watchGStreamer(t, g.url("/whep/show"), gstreamerFull)
	if saw.Size != [2]int{1280, 720} {
		t.Errorf("the pictures are %v", saw.Size)
	}
	_ = first.cmd.Process.Kill()
	<-first.done
	time.Sleep(2 * time.Second)
	publish(t, g.url("/whip/show"))
	until(t, 20*time.Second, "the publisher is back", func() bool { return strings.Contains(string(g.api(t, "/v1/streams/show")), `"epoch":2`) })
	shows(t, viewer, heard(t, viewer).Pictures, "GStreamer goes on after the publisher's return")
	leaves(t, viewer)

	viewer, saw = watchGStreamer(t, g.url("/whep/three"), gstreamerPlain)
	for _, rid := range []string{"2", "0"} {
		res, body := rtctest.Token(token).Do(t, http.MethodPost, saw.Layer, `{"rid":"`+rid+`"}`, "Content-Type", "application/json")
		if res.StatusCode != http.StatusOK {
			t.Fatalf("layer %s: %s %s", rid, res.Status, body)
		}
		want := map[string]int{"0": 720, "2": 180}[rid]
		until(t, 20*time.Second, "GStreamer shows layer "+rid, func() bool { return heard(t, viewer).Size[1] == want })
	}
	leaves(t, viewer)

	viewer, _ = watchGStreamer(t, g.url("/whep/door"), gstreamerPlain)
	leaves(t, viewer)
	if state := string(g.api(t, "/v1/streams")); !strings.Contains(state, `"whep":0`) || strings.Contains(state, `"whep":1`) {
		t.Errorf("viewers are left: %s", state)
	}
}
