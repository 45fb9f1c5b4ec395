package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// rtspURL returns the URL of a stream with the token as password.
func rtspURL(address, stream string) string {
	return "rtsp://any:" + token + "@" + address + "/" + stream
}

// rtspPort returns a loopback address whose TCP port is free, and the pair of UDP
// ports that goes with it.
func rtspPort(t testing.TB) string {
	t.Helper()
	for range 50 {
		address := freePort(t)
		host, text, _ := net.SplitHostPort(address)
		port, _ := strconv.Atoi(text)
		port += port % 2
		free := true
		for _, udp := range []int{port, port + 1} {
			c, err := net.ListenPacket("udp", net.JoinHostPort(host, strconv.Itoa(udp)))
			if free = free && err == nil; err == nil {
				_ = c.Close()
			}
		}
		if free {
			return address
		}
	}
	t.Fatal("no free ports")
	return ""
}

// encoder publishes pictures and sound by RTSP until the test ends.
func encoder(t testing.TB, player, url, transport string, sound ...string) *program {
	t.Helper()
	if player == "gstreamer" {
		return launch(t, nil, "gst-launch-1.0", "-q",
			"rtspclientsink", "name=s", "location="+url, "protocols="+transport, "latency=200",
			"videotestsrc", "is-live=true", "!", "video/x-raw,width=320,height=180,framerate=30/1", "!",
			"openh264enc", "gop-size=30", "complexity=low", "!", "h264parse", "!", "s.",
			"audiotestsrc", "is-live=true", "!", "audio/x-raw,rate=48000,channels=2", "!", "opusenc", "!", "s.")
	}
	args := []string{
		"-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30",
		"-f", "lavfi", "-i", "sine=440:r=48000", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "30", "-b:v", "400k",
	}
	if len(sound) == 0 {
		sound = []string{"-bf", "0", "-c:a", "libopus", "-b:a", "64k", "-ac", "2"}
	}
	args = append(append(args, sound...), "-f", "rtsp", "-rtsp_transport", transport, url)
	return launch(t, nil, "ffmpeg", args...)
}

// waitHLS waits until a stream can be played.
func waitHLS(t testing.TB, g *gateway, stream string) {
	t.Helper()
	until(t, 40*time.Second, stream+" can be played", func() bool {
		got, err := get(t.Context(), g.url("/hls/"+stream+"/index.m3u8"))
		return err == nil && got.status == http.StatusOK
	})
}

// playRTSP lets a player decode some pictures of a stream; any word of error is a
// failure.
func playRTSP(t *testing.T, player, url, transport string) {
	t.Helper()
	if player == "gstreamer" {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		// It ends with status 0 when so many pictures were decoded.
		cmd := exec.CommandContext(ctx, "gst-launch-1.0", "-q", "rtspsrc", "location="+url, "protocols="+transport, "!",
			"rtph264depay", "!", "h264parse", "!", "avdec_h264", "!", "fakesink", "num-buffers=60")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("gstreamer plays %s over %s: %v\n%s", url, transport, err, tail(string(out), 2000))
		}
		return
	}
	out := tool(t, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-rtsp_transport", transport, "-i", url, "-t", "3",
		"-map", "0:v", "-map", "0:a", "-f", "framemd5", "-")
	if video, audio := bytes.Count(out, []byte("\n0,")), bytes.Count(out, []byte("\n1,")); video < 60 || audio < 60 {
		t.Errorf("ffmpeg decoded %d pictures and %d frames of sound of %s over %s", video, audio, url, transport)
	}
}

// TestRTSPPublishersAndPlayers: Debian's FFmpeg and GStreamer publish and play over
// both transports, each what the others publish.
func TestRTSPPublishersAndPlayers(t *testing.T) {
	address := rtspPort(t)
	g := serve(t, "WHIPCAST_RTSP_ADDRESS="+address, "WHIPCAST_AUTH_WATCH=token")
	for _, publisher := range []string{"ffmpeg", "gstreamer"} {
		for _, in := range []string{"tcp", "udp"} {
			t.Run(publisher+" publishes over "+in, func(t *testing.T) {
				stream := publisher + "-" + in
				p := encoder(t, publisher, rtspURL(address, stream), in)
				until(t, 30*time.Second, stream+" is live", func() bool { return g.packets(t, stream) > 50 })
				for _, player := range []string{"ffmpeg", "gstreamer"} {
					for _, out := range []string{"tcp", "udp"} {
						playRTSP(t, player, rtspURL(address, stream), out)
					}
				}
				if out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "rtsp://"+address+"/"+stream).CombinedOutput(); err == nil || !strings.Contains(string(out), "401") {
					t.Errorf("played without a token: %v %s", err, out)
				}
				_ = p.cmd.Process.Kill()
				<-p.done
			})
		}
	}
	if strings.Contains(g.out.String(), token) {
		t.Error("the token is in the log")
	}
}

// packets returns how many packets came of a stream, 0 while it is not live.
func (g *gateway) packets(t testing.TB, stream string) (n uint64) {
	t.Helper()
	var state struct {
		Layers []struct{ Packets uint64 }
	}
	if err := json.Unmarshal(g.api(t, "/v1/streams/"+stream), &state); err != nil {
		t.Fatal(err)
	}
	for _, l := range state.Layers {
		n += l.Packets
	}
	return n
}

// api reads from the control API.
func (g *gateway) api(t testing.TB, path string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url(path), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestRTSPToHLS: H264 with B-frames and AAC come out as low-latency HLS without
// coding, which FFmpeg decodes cleanly, hls.js plays, and in which sound and
// picture belong together. The publisher is killed and comes back: the time line
// is unbroken.
func TestRTSPToHLS(t *testing.T) {
	address := rtspPort(t)
	g := serveWith(t, plainBinary, "WHIPCAST_RTSP_ADDRESS="+address, "WHIPCAST_HLS_WINDOW=2m")
	publish := func(transport string) *program { // B-frames, and the marks of the test source
		return launch(t, nil, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", "../testclip/clip.mp4",
			"-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "60", "-sc_threshold", "0", "-b:v", "1500k",
			"-c:a", "aac", "-ar", "44100", "-b:a", "128k", "-f", "rtsp", "-rtsp_transport", transport, rtspURL(address, "show"))
	}
	first := publish("udp")
	p := newProbe(g)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	playlists := p.start(ctx, t, "show")
	if len(playlists) != 2 || !strings.Contains(strings.Join(playlists, " "), "/aac/") {
		t.Fatalf("media playlists: %v, want video and AAC", playlists)
	}
	follow, stop := context.WithCancel(ctx)
	played := make(chan struct{})
	go func() {
		defer close(played)
		p.play(follow, playlists)
	}()
	a := newAudience(t)
	a.open(t, order{Name: "hls", Kind: "hls", URL: g.url("/hls/show/index.m3u8")})
	time.Sleep(16 * time.Second)
	out := tool(t, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-live_start_index", "-3", "-i", g.url("/hls/show/index.m3u8"), "-t", "4",
		"-map", "0:v", "-map", "0:a", "-f", "framemd5", "-")
	if n := bytes.Count(out, []byte("\n0,")); n < 90 {
		t.Errorf("ffmpeg decoded %d pictures in 4 s, want 90 or more", n)
	}
	var video, audio string
	for _, uri := range playlists {
		if strings.Contains(uri, "/aac/") {
			audio = uri
		} else {
			video = uri
		}
	}
	offsets := measure(t, p.joined(video), p.joined(audio))
	if middle := offsets[len(offsets)/2]; middle.Abs() > 40*time.Millisecond {
		t.Errorf("sound and picture are %v apart, at most 40 ms are allowed: %v", middle, offsets)
	}
	left := time.Now()
	_ = first.cmd.Process.Kill()
	<-first.done
	time.Sleep(3 * time.Second)
	publish("tcp")
	until(t, 30*time.Second, "every playlist has a discontinuity and goes on after it", func() bool {
		for _, uri := range playlists {
			got, err := get(ctx, g.url("/hls/"+uri))
			_, after, found := strings.Cut(string(got.body), "#EXT-X-DISCONTINUITY\n")
			if err != nil || !found || strings.Count(after, "#EXTINF") < 3 {
				return false
			}
		}
		return true
	})
	back := time.Now()
	time.Sleep(5 * time.Second)
	stop()
	<-played
	p.verdict(t)
	for _, uri := range playlists {
		got, err := get(ctx, g.url("/hls/"+uri))
		if n := strings.Count(string(got.body), "#EXT-X-DISCONTINUITY\n"); err != nil || n != 1 {
			t.Errorf("%s has %d discontinuities, want 1 (%v)", uri, n, err)
		}
	}
	v := a.report(t)["hls"]
	if before, since := v.played(time.Time{}, left), v.played(back, time.Now()); before < 4 || since < 1 {
		t.Errorf("hls.js played %.1f s before the publisher was killed and %.1f s after it came back; %s", before, since, v.errors())
	}
	findings := string(g.api(t, "/v1/streams/show"))
	for _, want := range []string{"b-frames"} {
		if !strings.Contains(findings, want) {
			t.Errorf("the doctor does not say %s: %s", want, findings)
		}
	}
}

// TestRTSPOut: a stream that is published by WHIP is recorded by FFmpeg over both
// transports; sound and picture belong together.
func TestRTSPOut(t *testing.T) {
	address := rtspPort(t)
	g := serve(t, "WHIPCAST_RTSP_ADDRESS="+address)
	publish(t, g.url("/whip/show"))
	waitHLS(t, g, "show")
	for _, transport := range []string{"tcp", "udp"} {
		file := filepath.Join(t.TempDir(), "show.mkv")
		tool(t, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-rtsp_transport", transport, "-i", "rtsp://"+address+"/show",
			"-t", "15", "-c", "copy", file)
		flashes, frames := flashTimes(t, file)
		sound := filepath.Join(t.TempDir(), "sound.mka")
		tool(t, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-copyts", "-i", file, "-map", "0:a", "-c", "copy", "-copyts", sound)
		beeps := beepTimes(t, sound)
		if frames < 400 || len(flashes) < 10 || len(beeps) < 10 {
			t.Fatalf("%s: %d pictures, %d flashes, %d beeps in 15 s", transport, frames, len(flashes), len(beeps))
		}
		apart := 0
		for _, f := range flashes[1:] {
			near := false
			for _, b := range beeps {
				near = near || (b-f).Abs() <= 40*time.Millisecond
			}
			if !near {
				apart++
			}
		}
		if apart > 1 { // the sound may begin after the first picture
			t.Errorf("%s: %d of %d flashes have no beep within 40 ms; flashes %v, beeps %v", transport, apart, len(flashes), flashes, beeps)
		}
	}
}

// TestRTSPPull: streams of another server are fetched, always and on demand. The
// server is killed and comes back: the time line of the stream is unbroken.
func TestRTSPPull(t *testing.T) {
	const cameraToken = "camera-token-0123456789"
	address := rtspPort(t)
	camera := func() *gateway {
		return serveWith(t, plainBinary, "WHIPCAST_RTSP_ADDRESS="+address, "WHIPCAST_AUTH_WATCH=token", "WHIPCAST_AUTH_PUBLISH_TOKEN="+cameraToken)
	}
	url := strings.Replace(rtspURL(address, "door"), token, cameraToken, 1)
	sound := []string{"-bf", "0", "-c:a", "aac", "-ac", "1", "-ar", "16000", "-b:a", "32k"}
	first := camera()
	encoder(t, "ffmpeg", url, "tcp", sound...)
	g := serve(t, fmt.Sprintf("WHIPCAST_RTSP_PULL=[{stream: door, url: '%s', transport: tcp}, {stream: asked, url: '%s', on_demand: true}, {stream: wrong, url: '%s'}]",
		url, url, strings.Replace(url, cameraToken, "a-wrong-password", 1)))
	p := newProbe(g)
	p.checker.Frame = 65 * time.Millisecond // of AAC with 16 kHz
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	playlists := p.start(ctx, t, "door")
	follow, stop := context.WithCancel(ctx)
	played := make(chan struct{})
	go func() {
		defer close(played)
		p.play(follow, playlists)
	}()
	if sources := string(g.api(t, "/v1/sources")); !strings.Contains(sources, `"stream":"asked","state":"waiting"`) || !strings.Contains(sources, "401") {
		t.Errorf("sources before anybody asked: %s", sources)
	}
	if got, err := get(ctx, g.url("/hls/asked/index.m3u8")); err != nil || got.status != http.StatusOK {
		t.Errorf("the first request for a stream that is fetched on demand: %d %v %s", got.status, err, got.body)
	}
	time.Sleep(3 * time.Second)
	_ = first.cmd.Process.Kill()
	<-first.done
	time.Sleep(2 * time.Second)
	camera()
	encoder(t, "ffmpeg", url, "udp", sound...)
	until(t, 60*time.Second, "every playlist has a discontinuity and goes on after it", func() bool {
		for _, uri := range playlists {
			got, err := get(ctx, g.url("/hls/"+uri))
			_, after, found := strings.Cut(string(got.body), "#EXT-X-DISCONTINUITY\n")
			if err != nil || !found || strings.Count(after, "#EXTINF") < 3 {
				return false
			}
		}
		return true
	})
	stop()
	<-played
	p.verdict(t)
	log := g.out.String()
	for _, secret := range []string{cameraToken, "a-wrong-password"} {
		if strings.Contains(log, secret) || strings.Contains(string(g.api(t, "/v1/sources")), secret) {
			t.Errorf("%q is in the log or the API", secret)
		}
	}
}
