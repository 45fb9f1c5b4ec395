package e2e

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/whipcast/whipcast/storage/s3"
)

// inBucket are the settings of a gateway that stores there.
func inBucket(address string) []string {
	return []string{
		"WHIPCAST_STORAGE=[{type: s3, endpoint: 'http://" + address + "', bucket: " + s3Bucket + ", region: us-east-1, prefix: live, " +
			"path_style: true, access_key: " + s3Access + ", secret_key: " + s3Secret + "}]", "WHIPCAST_HLS_WINDOW=60s",
	}
}

// kill ends a gateway as kill -9 does.
func (g *gateway) kill(t *testing.T) {
	t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-g.done
}

// stored returns the text of an object, "" if there is none.
func stored(t *testing.T, sink *s3.Sink, key string) string {
	t.Helper()
	o, err := sink.Get(t.Context(), key)
	if err != nil {
		return ""
	}
	return string(o.Body.Bytes())
}

// mediaPlaylists returns the media playlists that a stream's bucket offers.
func mediaPlaylists(t *testing.T, sink *s3.Sink, name string) (keys []string) {
	t.Helper()
	for _, uri := range uris(stored(t, sink, name+"/index.m3u8")) {
		keys = append(keys, path.Join(name, uri))
	}
	return keys
}

// TestHandOver: the gateway is killed in the middle of a stream and started again
// with the same data directory. In the bucket the presentation goes on: at every
// instant all that is listed can be read (S10), what was lost with the process is a
// gap (S12), no number goes back and no line changes (S17, L18, L35, L41), the
// segments of before are still listed, and there is one discontinuity (L24).
func TestHandOver(t *testing.T) {
	server := startS3(t)
	sink := openS3(t, server)
	g := serveWith(t, plainBinary, inBucket(server)...)
	publisher := publish(t, g.url("/whip/show"))
	w := observe(t, s3URL(server, "live"), "show", 100*time.Millisecond)
	until(t, 60*time.Second, "the bucket has a stream", func() bool { return w.newest.Load() >= 8 })

	before, begins := map[string][]string{}, map[string]int{}
	for _, key := range mediaPlaylists(t, sink, "show") {
		begins[key], before[key] = segments(stored(t, sink, key))
	}
	last := w.newest.Load()
	g.kill(t)
	began := time.Now()
	g = startAgain(t, g, inBucket(server)...)
	until(t, 30*time.Second, "the publisher is back", func() bool { return strings.Count(publisher.out.String(), "publishing") == 2 })
	back := w.newest.Load()
	until(t, 30*time.Second, "the bucket goes on", func() bool { return w.newest.Load() >= back+3 })
	t.Logf("segment %d → %d in %v, %d gaps", last, w.newest.Load(), time.Since(began).Round(time.Millisecond), w.gaps.Load())

	if len(before) < 2 {
		t.Fatalf("playlists %v", before)
	}
	for key, names := range before {
		text := stored(t, sink, key)
		first, now := segments(text)
		if first != begins[key] {
			t.Errorf("L18: %s begins at %d, want %d as before", key, first, begins[key])
		}
		for _, name := range names {
			if name != "" && !slices.Contains(now, name) {
				t.Errorf("S17: %s does not list %s any more:\n%s", key, name, text)
			}
		}
		if n := strings.Count(text, "#EXT-X-DISCONTINUITY\n"); n != 1 {
			t.Errorf("L24: %s has %d discontinuities:\n%s", key, n, text)
		}
		if n := strings.Count(text, "#EXT-X-GAP\n"); n > 2 {
			t.Errorf("S12: %s has %d gaps:\n%s", key, n, text)
		}
	}
	if err := g.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
	w.verdict(50)
}

// TestFence: two gateways with the same stream, bucket and prefix. The second is
// refused in words while it serves its own viewers, changes nothing in the bucket,
// and takes over after the first was killed (S18).
func TestFence(t *testing.T) {
	for name, conditional := range map[string]bool{"conditional PUT": true, "no conditional PUT": false} {
		t.Run(name, func(t *testing.T) {
			var server string
			if conditional {
				server = startS3(t)
			} else { // a server without metadata ignores conditions, and does not know who may read
				server, _ = launchS3(t, "--nometa")
			}
			sink := openS3(t, server)
			newest := func() int {
				for _, key := range mediaPlaylists(t, sink, "show") {
					if strings.Contains(key, "/video/") {
						first, names := segments(stored(t, sink, key))
						return first + len(names) - 1
					}
				}
				return -1
			}
			a := serveWith(t, plainBinary, inBucket(server)...)
			publish(t, a.url("/whip/show"))
			until(t, 60*time.Second, "the bucket has a stream", func() bool { return newest() >= 3 })
			var w *observer
			if conditional {
				w = observe(t, s3URL(server, "live"), "show", 100*time.Millisecond)
			}
			if strings.Contains(a.out.String(), "no conditional PUT") == conditional {
				t.Errorf("the first says:\n%s", a.out)
			}

			b := serveWith(t, plainBinary, inBucket(server)...)
			publish(t, b.url("/whip/show"))
			own := presentationOf(t, b)
			detail := func() string {
				res, err := get(t.Context(), "http://"+b.admin+"/readyz")
				if err != nil {
					return err.Error()
				}
				return string(res.body)
			}
			until(t, 20*time.Second, "the second is refused in words", func() bool {
				return strings.Contains(detail(), "stream show is being written by gateway ")
			})
			t.Log(detail())
			if text := detail(); !strings.Contains(text, "taken over when that has been silent for 30s") || !strings.Contains(text, "prefix") {
				t.Errorf("readyz of the second:\n%s", text)
			}
			if metrics, err := get(t.Context(), "http://"+b.admin+"/metrics"); err != nil || !strings.Contains(string(metrics.body), `whipcast_storage_fenced_streams{storage="s3-1"} 1`) {
				t.Errorf("metrics of the second: %v", err)
			}
			before := newest()
			time.Sleep(10 * time.Second)
			if now := newest(); now < before+4 {
				t.Errorf("the first went from %d to %d in 10 s", before, now)
			}
			if keys := list(t, server); slices.ContainsFunc(keys, func(key string) bool { return strings.Contains(key, "/"+own+"/") }) {
				t.Errorf("S18: the second has written: %v", keys)
			}
			if !strings.Contains(b.out.String(), "written by another gateway") {
				t.Errorf("the second says:\n%s", b.out)
			}

			a.kill(t)
			killed := time.Now()
			until(t, 60*time.Second, "the second takes over", func() bool { return strings.Contains(stored(t, sink, "show/index.m3u8"), own+"/") })
			after := time.Since(killed)
			t.Logf("taken over after %v", after.Round(time.Millisecond))
			if after < 15*time.Second {
				t.Errorf("taken over after %v: the first may have been alive", after)
			}
			until(t, 20*time.Second, "it says no more", func() bool { return !strings.Contains(detail(), "is being written by") })
			if err := b.stop(t); err != nil {
				t.Errorf("stop: %v", err)
			}
			if text := stored(t, sink, "show/writer.json"); !strings.Contains(text, `"ended":true`) {
				t.Errorf("the lease after a stop: %s", text)
			}
			if w != nil {
				w.verdict(50)
			}
		})
	}
}

// presentationOf returns the presentation that a gateway serves.
func presentationOf(t *testing.T, g *gateway) (id string) {
	t.Helper()
	until(t, 30*time.Second, "the stream is live", func() bool {
		got, err := get(t.Context(), g.url("/hls/show/index.m3u8"))
		if err != nil || got.status != http.StatusOK {
			return false
		}
		all := uris(string(got.body))
		if len(all) == 0 {
			return false
		}
		id, _, _ = strings.Cut(all[0], "/")
		return true
	})
	return id
}

// list returns all keys of the bucket.
func list(t *testing.T, address string) (keys []string) {
	t.Helper()
	pages := awss3.NewListObjectsV2Paginator(bucketAPI(address), &awss3.ListObjectsV2Input{Bucket: aws.String(s3Bucket)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			keys = append(keys, aws.ToString(o.Key))
		}
	}
	return keys
}
