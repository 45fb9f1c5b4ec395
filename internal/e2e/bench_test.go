package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/testsource"
)

// BenchmarkPublishers measures what the gateway's process costs for each
// publisher of 720p30 at 2.5 Mb/s and Opus, some 355 packets a second, from the
// datagram to the stored part: the difference between 2 and 12 publishers over
// 10 s. The sources run in another process and do not count.
func BenchmarkPublishers(b *testing.B) {
	g := serveWith(b, plainBinary)
	ctx, cancel := context.WithCancel(b.Context())
	var sources sync.WaitGroup
	defer sources.Wait()
	defer cancel()
	began := 0
	add := func(until int) {
		for ; began < until; began++ {
			source := testsource.Config{URL: g.url(fmt.Sprintf("/whip/bench%d", began)), Token: token, PictureBytes: 2_500_000 / 8 / 30}
			sources.Go(func() { _ = testsource.Run(ctx, source) })
		}
		for i := range began {
			waitLive(b, g.url(fmt.Sprintf("/hls/bench%d/index.m3u8", i)))
		}
	}
	const few, many, window = 2, 12, 10 * time.Second
	for b.Loop() {
		add(few)
		low := costOver(b, g, window)
		add(many)
		high := costOver(b, g, window)
		b.ReportMetric(100*(high.share-low.share)/float64(many-few), "%core/publisher")
		b.ReportMetric((high.waits-low.waits)/float64(many-few), "waits/s/publisher")
		b.ReportMetric((high.memory-low.memory)/float64(many-few)/(1<<20), "MB/publisher")
	}
}

func waitLive(b *testing.B, url string) {
	b.Helper()
	until(b, 20*time.Second, "the stream is live", func() bool {
		res, err := http.Get(url)
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// cost is what the gateway's process takes.
type cost struct {
	share  float64 // of a core
	waits  float64 // of its threads, a second
	memory float64 // resident, in bytes
}

// costOver returns what the gateway takes over a time.
func costOver(b *testing.B, g *gateway, window time.Duration) cost {
	b.Helper()
	before, waits, began := ticks(b, g), waited(b, g), time.Now()
	time.Sleep(window)
	used := float64(ticks(b, g)-before) / 100 // USER_HZ is 100 on Linux
	passed := time.Since(began).Seconds()
	return cost{share: used / passed, waits: float64(waited(b, g)-waits) / passed, memory: float64(resident(b, g))}
}

// waited returns how often the threads of the gateway's process have waited.
func waited(b *testing.B, g *gateway) int {
	b.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", g.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		b.Fatalf("no threads: %v", err)
	}
	sum := 0
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		n, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			b.Fatal(err)
		}
		sum += n
	}
	return sum
}

// resident returns the resident memory of the gateway's process in bytes.
func resident(t testing.TB, g *gateway) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", g.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(status))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// ticks returns the processor time that the gateway's process has used.
func ticks(b *testing.B, g *gateway) int {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest) // from state, field 3, on
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatalf("stat: %s", stat)
	}
	return user + system
}

// BenchmarkPulledSources measures what the gateway's process costs for each of 20
// streams of 720p30 at 2.5 Mb/s that it fetches by RTSP over TCP, from the packet to
// the stored part: once with Opus, which is coded to AAC, too, as of other
// publishers, and once with AAC, which is not coded. Their server runs in another
// process and does not count.
func BenchmarkPulledSources(b *testing.B) {
	const count, window = 20, 10 * time.Second
	for _, sound := range []string{"opus", "aac"} {
		b.Run(sound, func(b *testing.B) {
			address := rtspPort(b)
			camera := serveWith(b, plainBinary, "WHIPCAST_RTSP_ADDRESS="+address)
			ctx, cancel := context.WithCancel(b.Context())
			var sources sync.WaitGroup
			defer sources.Wait()
			defer cancel()
			if sound == "opus" {
				sources.Go(func() {
					_ = testsource.Run(ctx, testsource.Config{URL: camera.url("/whip/door"), Token: token, PictureBytes: 2_500_000 / 8 / 30})
				})
			} else {
				file := filepath.Join(b.TempDir(), "door.mp4")
				film := exec.CommandContext(ctx, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=30",
					"-f", "lavfi", "-i", "sine=440:r=48000", "-t", "10", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "60", "-b:v", "2500k",
					"-x264-params", "nal-hrd=cbr:filler=1", "-maxrate", "2500k", "-minrate", "2500k", "-bufsize", "2500k",
					"-c:a", "aac", "-b:a", "128k", "-ac", "2", file)
				if out, err := film.CombinedOutput(); err != nil {
					b.Fatalf("ffmpeg: %v %s", err, out)
				}
				launch(b, nil, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", file, "-c", "copy",
					"-f", "rtsp", "-rtsp_transport", "tcp", rtspURL(address, "door"))
			}
			waitLive(b, camera.url("/hls/door/index.m3u8"))
			var pulls []string
			for i := range count {
				pulls = append(pulls, fmt.Sprintf("{stream: pulled%d, url: 'rtsp://%s/door', transport: tcp}", i, address))
			}
			for b.Loop() {
				g := serveWith(b, plainBinary, "WHIPCAST_RTSP_PULL=["+strings.Join(pulls, ",")+"]")
				for i := range count {
					waitLive(b, g.url(fmt.Sprintf("/hls/pulled%d/index.m3u8", i)))
				}
				c := costOver(b, g, window)
				b.ReportMetric(100*c.share/count, "%core/source")
				b.ReportMetric(c.waits/count, "waits/s/source")
				b.ReportMetric(c.memory/count/(1<<20), "MB/source")
				if err := g.stop(b); err != nil {
					b.Error(err)
				}
			}
		})
	}
}
