package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/directory"
)

// shelf is a storage place as a web server shows it.
type shelf struct {
	name string
	base string
	get  func(ctx context.Context, key string) (storage.Object, error)
}

func newShelf(t *testing.T, name string, get func(ctx context.Context, key string) (storage.Object, error)) shelf {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o, err := get(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		if strings.HasSuffix(r.URL.Path, ".m3u8") {
			w.Header().Set("Content-Type", "application/vnd.apple.mpegurl")
		} else {
			w.Header().Set("Content-Type", "video/mp4")
		}
		_, _ = w.Write(o.Body.Bytes())
	}))
	t.Cleanup(s.Close)
	return shelf{name, s.URL + "/", get}
}

func (s shelf) text(t *testing.T, key string) string {
	t.Helper()
	o, err := s.get(t.Context(), key)
	if errors.Is(err, storage.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(o.Body.Bytes())
}

var extinf = regexp.MustCompile(`(?m)^#EXTINF:([0-9.]+),`)

// vod holds that a multivariant playlist and what it names are VOD playlists over
// files that are there, that FFmpeg decodes all of it without a word, and that it
// lasts as long as the segments together. It returns that, and the media playlist
// of the video.
func (s shelf) vod(t *testing.T, key string) (time.Duration, string) {
	t.Helper()
	index := s.text(t, key)
	var check hlscheck.Checker
	check.Static = true
	video := ""
	for _, uri := range uris(index) {
		name := path.Join(path.Dir(key), uri)
		text := s.text(t, name)
		check.Media(name, time.Now(), []byte(text))
		if !strings.Contains(text, "#EXT-X-PLAYLIST-TYPE:VOD\n") || !strings.HasSuffix(text, "#EXT-X-ENDLIST\n") {
			t.Errorf("S16: %s is no VOD playlist:\n%s", name, text)
		}
		for _, uri := range uris(text) {
			if _, err := s.get(t.Context(), path.Join(path.Dir(name), uri)); err != nil {
				t.Errorf("S10: %s in %s: %v", name, s.name, err)
			}
		}
		if strings.Contains(uri, "video") {
			video = text
		}
	}
	for _, v := range check.Violations() {
		t.Error(v)
	}
	if video == "" {
		t.Fatalf("%s in %s names no video:\n%s", key, s.name, index)
	}
	var sum time.Duration
	for _, m := range extinf.FindAllStringSubmatch(video, -1) {
		seconds, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(seconds * float64(time.Second))
	}
	out := string(tool(t, "ffmpeg", "-hide_banner", "-loglevel", "error", "-i", s.base+key, "-map", "0:v:0", "-map", "0:a:0", "-f", "framecrc", "-"))
	pictures, sounds := frames(t, out, 0), frames(t, out, 1)
	// The last picture may stand still for a part and the frame that ends it: the
	// publisher was away (ADR 6).
	const part, frame = 500*time.Millisecond + time.Second/30 + time.Millisecond, 1024 * time.Second / 48000
	last := pictures.last - pictures.first
	if sum-last <= 0 || sum-last > part || (sounds.end-sounds.first-sum).Abs() > frame {
		t.Errorf("%s in %s: FFmpeg decodes pictures up to %v and %v of sound, the segments last %v", key, s.name, last, sounds.end-sounds.first, sum)
	}
	if longest := max(pictures.longest, sounds.longest); longest > part {
		t.Errorf("%s in %s: nothing is decoded for %v", key, s.name, longest)
	}
	t.Logf("%s in %s: %d segments, %v; %d pictures up to %v; sound %v", key, s.name, strings.Count(video, "#EXTINF"), sum, pictures.count, last, sounds.end-sounds.first)
	return sum, video
}

// decoded is what FFmpeg's framecrc output says of a stream.
type decoded struct {
	first, last, end time.Duration // begin of the first and the last frame, and its end
	longest          time.Duration // from one frame's begin to the next
	count            int
}

func frames(t *testing.T, text string, stream int) decoded {
	t.Helper()
	var d decoded
	var num, den int64
	at := func(ticks int64) time.Duration {
		return time.Duration(float64(ticks) * float64(num) / float64(den) * float64(time.Second))
	}
	for line := range strings.Lines(text) {
		if after, ok := strings.CutPrefix(line, fmt.Sprintf("#tb %d: ", stream)); ok {
			if _, err := fmt.Sscanf(after, "%d/%d", &num, &den); err != nil {
				t.Fatal(err)
			}
		}
		if line[0] == '#' {
			continue
		}
		var in, dts, pts, duration int64
		if _, err := fmt.Sscanf(strings.ReplaceAll(line, ",", " "), "%d %d %d %d", &in, &dts, &pts, &duration); err != nil {
			t.Fatalf("ffmpeg says %q: %v", line, err)
		}
		if in != int64(stream) {
			continue
		}
		if d.count == 0 {
			d.first, d.last = at(pts), at(pts)
		}
		d.longest = max(d.longest, at(pts)-d.last)
		d.last, d.end = at(pts), at(pts+duration)
		d.count++
	}
	if d.count == 0 {
		t.Fatalf("ffmpeg decodes nothing of stream %d:\n%s", stream, tail(text, 500))
	}
	return d
}

// clip runs whipcast clip beside a gateway, and returns what it says.
func clip(t *testing.T, g *gateway, env []string, args ...string) (string, error) {
	t.Helper()
	p := launch(t, append([]string{"WHIPCAST_DATA_DIR=" + g.data}, env...), plainBinary, append([]string{"clip"}, args...)...)
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		t.Fatalf("whipcast clip %v does not end:\n%s", args, p.out)
	}
	return p.out.String(), p.err
}

// TestReplay: the gateway is killed in the middle of a stream and goes on; when the
// stream has ended, a folder and an S3 server have a replay of all of it that
// FFmpeg plays to its end (S10, S16, S17). Clips are made while it runs, and after.
func TestReplay(t *testing.T) {
	server, folder := startS3(t), filepath.Join(t.TempDir(), "hls")
	settings := []string{
		"WHIPCAST_STORAGE=[{type: directory, path: '" + folder + "', replay: true}, {type: s3, endpoint: 'http://" + server + "', bucket: " + s3Bucket +
			", region: us-east-1, prefix: live, path_style: true, access_key: " + s3Access + ", secret_key: " + s3Secret + ", replay: true, keep: 24h}]",
		"WHIPCAST_HLS_WINDOW=10s", "WHIPCAST_HLS_GRACE=15s",
	}
	g := serveWith(t, plainBinary, settings...)
	publisher := publish(t, g.url("/whip/show"))
	sink, err := directory.Open(folder, directory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	shelves := []shelf{newShelf(t, "directory-1", sink.Get), newShelf(t, "s3-2", openS3(t, server).Get)}

	until(t, 90*time.Second, "the stream is longer than its live window", func() bool {
		return media(t, shelves[0]) >= 8
	})
	out, err := clip(t, g, settings, "show", "-12s", "now", "--name", "goal")
	if err != nil || strings.Count(out, "\n  from ") != 2 || strings.Contains(out, s3Secret) {
		t.Errorf("clip of what goes on: %v\n%s", err, out)
	}
	for _, s := range shelves {
		if sum, _ := s.vod(t, "show/clips/goal/index.m3u8"); sum < 8*time.Second || sum > 18*time.Second {
			t.Errorf("the clip in %s lasts %v", s.name, sum)
		}
	}

	if err := g.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-g.done
	g = startAgain(t, g, settings...)
	until(t, 60*time.Second, "the publisher is back", func() bool { return strings.Count(publisher.out.String(), "publishing") == 2 })
	before := media(t, shelves[0])
	until(t, 60*time.Second, "the stream goes on", func() bool { return media(t, shelves[0]) >= before+5 })
	if err := publisher.stop(t); err != nil {
		t.Errorf("stop the publisher: %v", err)
	}
	until(t, 90*time.Second, "both places have a replay", func() bool {
		return shelves[0].text(t, "show/replay.m3u8") != "" && shelves[1].text(t, "show/replay.m3u8") != ""
	})
	for _, s := range shelves {
		sum, video := s.vod(t, "show/replay.m3u8")
		if !strings.Contains(video, "#EXT-X-MEDIA-SEQUENCE:1\n") || !strings.Contains(video, "#EXT-X-DISCONTINUITY\n") || sum < time.Duration(before+5)*2*time.Second {
			t.Errorf("%s: the replay lasts %v, and is not all of the stream:\n%s", s.name, sum, video)
		}
		if n := strings.Count(video, "#EXT-X-GAP\n"); n > 2 { // what was on its way when it was killed
			t.Errorf("%s: %d gaps", s.name, n)
		}
	}

	out, err = clip(t, g, settings, "show", "00:00:05", "00:00:11.5", "--storage", "2")
	if err != nil || !strings.Contains(out, "s3-2: http://"+server+"/"+s3Bucket+"/live/show/clips/") || strings.Contains(out, "directory-1") {
		t.Fatalf("clip of what has ended: %v\n%s", err, out)
	}
	key := regexp.MustCompile(`show/clips/[^/]+/index\.m3u8`).FindString(out)
	if sum, video := shelves[1].vod(t, key); sum < 6500*time.Millisecond || sum > 12*time.Second || !strings.Contains(video, "#EXT-X-START:TIME-OFFSET=") {
		t.Errorf("the clip lasts %v:\n%s", sum, video)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"other", "-5m", "now"}, "nothing is recorded of this stream"},
		{[]string{"show", "now", "-5m"}, "is not before"},
		{[]string{"show", "2020-01-01T00:00:00Z", "2020-01-01T00:01:00Z"}, "there is some from"},
		{[]string{"show", "00:00:05", "00:00:06", "--name", "goal"}, "exists"},
	} {
		if out, err := clip(t, g, settings, tt.args...); err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("clip %v: %v\n%s", tt.args, err, out)
		}
	}
	_ = g.stop(t)
	if entries, err := os.ReadDir(filepath.Join(g.data, "replay", "show")); err != nil || len(entries) != 1 {
		t.Errorf("records: %v, %v", entries, err)
	}
}

// media returns how many video segments a place has.
func media(t *testing.T, s shelf) int {
	t.Helper()
	for _, uri := range uris(s.text(t, "show/index.m3u8")) {
		if !strings.Contains(uri, "/video/") {
			continue
		}
		text := s.text(t, path.Join("show", uri))
		first := regexp.MustCompile(`#EXT-X-MEDIA-SEQUENCE:(\d+)`).FindStringSubmatch(text)
		if first != nil {
			return int(atoi(t, first[1])) + strings.Count(text, "#EXTINF")
		}
	}
	return 0
}
