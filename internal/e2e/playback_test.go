package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The test source's marks: see internal/testclip.
const (
	flashBox  = "crop=320:240:960:0"
	markEvery = time.Second
)

// TestPlayback publishes the test source by WHIP over a good and a bad network,
// plays the low-latency HLS with the probe, and measures what came out.
func TestPlayback(t *testing.T) {
	for _, tt := range []struct {
		name string
		net  weather
	}{
		{"good network", weather{}},
		{"5 % loss and reordering", weather{loss: 0.05, reorder: 0.05, delay: 15 * time.Millisecond}}, // R29
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := serve(t, "WHIPCAST_HLS_WINDOW=30s")
			r := newRelay(t, g, tt.net)
			publish(t, r.url+"/whip/show")
			begin := time.Now()
			p := newProbe(g)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			playlists := p.start(ctx, t, "show")
			if len(playlists) != 3 {
				t.Fatalf("media playlists: %v, want video, AAC and Opus", playlists)
			}
			t.Logf("first playlist %v after the publisher's start", time.Since(begin).Round(time.Millisecond))
			follow, stop := context.WithTimeout(ctx, 22*time.Second)
			defer stop()
			p.play(follow, playlists)
			p.verdict(t)
			for _, uri := range playlists {
				t.Logf("%s: %d versions", uri, p.checker.Versions(uri))
				if n := p.checker.Versions(uri); n < 30 {
					t.Errorf("%s: only %d versions in 22 s", uri, n)
				}
			}
			if p.deltas == 0 {
				t.Error("no delta update was compared") // L68
			}
			video, audio := pair(t, playlists)
			offsets := measure(t, p.joined(video), p.joined(audio))
			worst := max(offsets[0].Abs(), offsets[len(offsets)-1].Abs())
			if tt.net.loss > 0 { // lost sound is silence, which moves single marks; the median shows the clocks
				worst = offsets[len(offsets)/2].Abs()
			}
			if worst > 40*time.Millisecond {
				t.Errorf("sound and picture are up to %v apart, at most 40 ms are allowed: %v", worst, offsets)
			}
			if tt.net.loss == 0 { // R51: the coded sound is as true
				coded := measure(t, p.joined(video), p.joined(strings.Replace(audio, "/audio/", "/aac/", 1)))
				if d := (coded[len(coded)/2] - offsets[len(offsets)/2]).Abs(); d > 20*time.Millisecond {
					t.Errorf("AAC is %v beside Opus, at most 20 ms are allowed", d)
				}
			}
			if tt.net.loss > 0 && (r.dropped.Load() == 0 || r.shuffled.Load() == 0) {
				t.Error("the network was not bad")
			}
			t.Logf("relay: %d datagrams passed, %d dropped, %d reordered", r.passed.Load(), r.dropped.Load(), r.shuffled.Load())
			if tt.net.loss == 0 {
				decodeLive(t, g.url("/hls/show/index.m3u8"))
			}
		})
	}
}

func pair(t *testing.T, playlists []string) (video, audio string) {
	t.Helper()
	for _, uri := range playlists {
		switch {
		case strings.Contains(uri, "/video"):
			video = uri
		case strings.Contains(uri, "/audio"):
			audio = uri
		}
	}
	if video == "" || audio == "" {
		t.Fatalf("no video and audio among %v", playlists)
	}
	return video, audio
}

// measure decodes the produced segments and returns by how much each beep comes
// after its flash, sorted: R52.
func measure(t *testing.T, video, audio []byte) []time.Duration {
	t.Helper()
	dir := t.TempDir()
	v, a := filepath.Join(dir, "video.mp4"), filepath.Join(dir, "audio.mp4")
	for name, b := range map[string][]byte{v: video, a: audio} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flashes, frames := flashTimes(t, v)
	beeps := beepTimes(t, a)
	if len(flashes) < 10 || len(beeps) < 10 {
		t.Fatalf("%d flashes and %d beeps in the segments, want 10 or more", len(flashes), len(beeps))
	}
	var offsets []time.Duration
	for _, f := range flashes {
		for _, b := range beeps {
			if (f - b).Abs() < markEvery/2 {
				offsets = append(offsets, b-f)
			}
		}
	}
	slices.Sort(offsets)
	t.Logf("%d frames; sound − picture: min %v, median %v, max %v over %d marks", frames,
		offsets[0], offsets[len(offsets)/2], offsets[len(offsets)-1], len(offsets))
	if len(offsets) < 10 {
		t.Fatalf("only %d flashes have a beep near them", len(offsets))
	}
	return offsets
}

// flashTimes returns the presentation times at which the flash begins.
func flashTimes(t *testing.T, file string) (begins []time.Duration, frames int) {
	t.Helper()
	out := tool(t, "ffprobe", "-v", "error", "-f", "lavfi", "-i", "movie="+file+","+flashBox+",signalstats",
		"-show_entries", "frame=pts_time:frame_tags=lavfi.signalstats.YAVG", "-of", "csv=p=0")
	lit := true // a flash that is cut at the beginning does not count
	for line := range strings.Lines(string(out)) {
		at, luma, ok := strings.Cut(strings.TrimSpace(line), ",")
		seconds, err1 := strconv.ParseFloat(at, 64)
		y, err2 := strconv.ParseFloat(luma, 64)
		if !ok || err1 != nil || err2 != nil {
			t.Fatalf("ffprobe says %q", line)
		}
		frames++
		if y > 140 && !lit {
			begins = append(begins, time.Duration(seconds*float64(time.Second)))
		}
		lit = y > 140
	}
	return begins, frames
}

// beepTimes returns the presentation times at which the beep begins.
func beepTimes(t *testing.T, file string) []time.Duration {
	t.Helper()
	first := tool(t, "ffprobe", "-v", "error", "-show_entries", "packet=pts_time", "-read_intervals", "%+#1", "-of", "csv=p=0", file)
	line, _, _ := strings.Cut(string(first), "\n")
	start, err := strconv.ParseFloat(strings.Trim(line, ", \r"), 64)
	if err != nil {
		t.Fatalf("ffprobe says %q", first)
	}
	raw := tool(t, "ffmpeg", "-hide_banner", "-loglevel", "error", "-flags2", "+skip_manual", "-i", file, "-ac", "1", "-ar", "48000", "-f", "s16le", "-")
	var begins []time.Duration
	quiet := 0
	for i := 0; i+1 < len(raw); i += 2 {
		s := int16(binary.LittleEndian.Uint16(raw[i:]))
		if s > -2000 && s < 2000 {
			quiet++
			continue
		}
		if quiet > 48000/5 {
			begins = append(begins, time.Duration(start*float64(time.Second))+time.Duration(i/2)*time.Second/48000)
		}
		quiet = 0
	}
	return begins
}

// decodeLive lets FFmpeg play the live stream; any word of error is a failure.
func decodeLive(t *testing.T, url string) {
	t.Helper()
	out := tool(t, "ffmpeg", "-hide_banner", "-loglevel", "error", "-live_start_index", "-3", "-i", url, "-t", "4",
		"-map", "0:v", "-map", "0:a", "-f", "framemd5", "-")
	if n := bytes.Count(out, []byte("\n0,")); n < 90 {
		t.Errorf("ffmpeg decoded %d pictures in 4 s, want 90 or more", n)
	}
	info := string(tool(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height,sample_rate", "-of", "csv=p=0", url))
	for _, want := range []string{"h264,1280,720", "opus,48000"} {
		if !strings.Contains(info, want) {
			t.Errorf("ffprobe says %q, want %s", info, want)
		}
	}
}

// tool runs a program, fails on an error or on anything written to its standard
// error, and returns its standard output.
func tool(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, tail(errs.String(), 3000))
	}
	if errs.Len() > 0 {
		t.Errorf("%s %v says:\n%s", name, args, tail(errs.String(), 3000))
	}
	return out.Bytes()
}

// TestGracefulStop: SIGTERM ends sessions, closes the last segment, releases held
// requests, and the program ends with status 0. The next start goes on with the
// playlists, so they do not end.
func TestGracefulStop(t *testing.T) {
	g := serve(t)
	source := publish(t, g.url("/whip/show"))
	p := newProbe(g)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	playlists := p.start(ctx, t, "show")
	played := make(chan struct{})
	go func() {
		defer close(played)
		p.play(ctx, playlists)
	}()
	time.Sleep(6 * time.Second)
	held := make(chan string, 1)
	go func() { // a request that nothing will answer but the stop
		got, err := get(ctx, g.url("/hls/"+playlists[0]+"?_HLS_msn=5&_HLS_part=0"))
		held <- fmt.Sprint(got.status, err)
	}()
	begin := time.Now()
	if err := g.stop(t); err != nil {
		t.Errorf("the gateway ended with %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the stop took %v, at most 5 s are allowed", took)
	}
	select {
	case <-held:
	case <-time.After(5 * time.Second):
		t.Error("a held request was not released")
	}
	cancel()
	<-played
	p.mu.Lock()
	for _, uri := range playlists {
		if p.ended[uri] { // L34: the next start goes on
			t.Errorf("%s has EXT-X-ENDLIST", uri)
		}
	}
	p.errors = nil // requests that came after the stop may fail
	p.mu.Unlock()
	p.verdict(t)
	if err := source.stop(t); err != nil {
		t.Errorf("the test source ended with %v", err)
	}
}

// TestPublisherReturns: a reconnect keeps playlists, numbers and viewers.
func TestPublisherReturns(t *testing.T) {
	g := serve(t)
	p := newProbe(g)
	first := publish(t, g.url("/whip/show"))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	playlists := p.start(ctx, t, "show")
	follow, stop := context.WithCancel(ctx)
	played := make(chan struct{})
	go func() {
		defer close(played)
		p.play(follow, playlists)
	}()
	time.Sleep(5 * time.Second)
	if err := first.stop(t); err != nil {
		t.Error(err)
	}
	time.Sleep(2 * time.Second)
	publish(t, g.url("/whip/show"))
	until(t, 15*time.Second, "every playlist has a discontinuity and goes on after it", func() bool {
		for _, uri := range playlists {
			got, err := get(ctx, g.url("/hls/"+uri))
			_, after, found := strings.Cut(string(got.body), "#EXT-X-DISCONTINUITY\n")
			if err != nil || !found || strings.Count(after, "#EXTINF") < 2 {
				return false
			}
		}
		return true
	})
	for _, uri := range playlists {
		got, err := get(ctx, g.url("/hls/"+uri))
		if err != nil {
			t.Fatal(err)
		}
		body := got.body
		if n := strings.Count(string(body), "#EXT-X-DISCONTINUITY\n"); n != 1 {
			t.Errorf("%s has %d discontinuities, want 1\n%s", uri, n, body)
		}
		if n := strings.Count(string(body), "#EXT-X-MAP"); n > 2 {
			t.Errorf("%s has %d maps\n%s", uri, n, body)
		}
	}
	stop()
	<-played
	p.verdict(t)
}

// TestBadInput: each request gets a clear problem document; a publisher and its
// viewers do not notice.
func TestBadInput(t *testing.T) {
	g := serve(t)
	publish(t, g.url("/whip/show"))
	p := newProbe(g)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	playlists := p.start(ctx, t, "show")
	follow, stop := context.WithCancel(ctx)
	played := make(chan struct{})
	go func() {
		defer close(played)
		p.play(follow, playlists)
	}()
	requests := badRequests(playlists[0])
	for _, r := range requests {
		r.send(ctx, t, g)
	}
	before := resident(t, g)
	for range 20 {
		for _, r := range requests {
			r.send(ctx, t, g)
		}
	}
	after := resident(t, g)
	t.Logf("resident memory after %d bad requests: %d MiB, before: %d MiB", 20*len(requests), after>>20, before>>20)
	if after > before+64<<20 { // 20 bodies of 10 MB, and a few seconds of media under the race detector
		t.Errorf("memory grew from %d MiB to %d MiB", before>>20, after>>20)
	}
	time.Sleep(3 * time.Second)
	stop()
	<-played
	p.verdict(t)
}

// badRequest is one request that must be refused with a problem document.
type badRequest struct {
	name, method, path, kind, body string
	want                           []int
}

func badRequests(playlist string) []badRequest {
	const sdp, fragment = "application/sdp", "application/trickle-ice-sdpfrag"
	candidates := strings.Repeat("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", 100_000)
	return []badRequest{
		{"malformed SDP", "POST", "/whip/x", sdp, "v=0 nonsense", []int{400}},
		{"empty SDP", "POST", "/whip/x", sdp, "", []int{400}},
		{"10 MB of SDP", "POST", "/whip/x", sdp, strings.Repeat("a", 10<<20), []int{413}},
		{"wrong type", "POST", "/whip/x", "text/plain", "v=0", []int{415}},
		{"unknown session", "PATCH", "/session/nobody", fragment, "a=ice-ufrag:x", []int{401, 404}},
		{"100,000 candidates", "PATCH", "/session/nobody", fragment, candidates, []int{401, 404, 413}},
		{"delete of nothing", "DELETE", "/session/nobody", "", "", []int{401, 404}},
		{"whep of nothing", "POST", "/whep/never", sdp, "v=0", []int{400, 404}},
		{"huge MSN", "GET", "/hls/" + playlist + "?_HLS_msn=18446744073709551616", "", "", []int{400}},
		{"far MSN", "GET", "/hls/" + playlist + "?_HLS_msn=18446744073709551615", "", "", []int{400}},
		{"part alone", "GET", "/hls/" + playlist + "?_HLS_part=1", "", "", []int{400}},
		{"name with dots", "POST", "/whip/..%2f..%2fetc", sdp, "v=0", []int{400, 404, 422}},
		{"name with a quote", "POST", "/whip/a%22b", sdp, "v=0", []int{400, 404, 422}},
		{"name with a newline", "POST", "/whip/a%0ab", sdp, "v=0", []int{400, 404, 422}},
		{"file outside", "GET", "/hls/show/..%2f..%2fpublish_token", "", "", []int{400, 404}},
		{"unknown part", "GET", "/hls/" + strings.TrimSuffix(playlist, "index.m3u8") + "p9999999999.m4s", "", "", []int{404}},
	}
}

// send checks the answer. 429 is right too once a limit is reached (X23).
func (r badRequest) send(ctx context.Context, t *testing.T, g *gateway) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, r.method, g.url(r.path), strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Errorf("%s: %v", r.name, err)
		return
	}
	_ = res.Body.Close()
	if !slices.Contains(r.want, res.StatusCode) && res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("%s: status %d, want one of %v", r.name, res.StatusCode, r.want)
	}
	if kind := res.Header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("%s: status %d with Content-Type %q, want a problem document", r.name, res.StatusCode, kind)
	}
}
