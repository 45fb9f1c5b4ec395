package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestObserver: the observer sees what it is there for.
func TestObserver(t *testing.T) {
	playlist := func(first string, segments ...string) string {
		return "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:" + first + "\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2.00000,\n" +
			strings.Join(segments, "\n#EXTINF:2.00000,\n") + "\n"
	}
	begin := playlist("7", "s7.m4s", "s8.m4s")
	for name, tt := range map[string]struct {
		next string // version of the playlist
		gone string // file
		want string // "": all is well
	}{
		"goes on":                 {next: playlist("8", "s8.m4s", "s9.m4s")},
		"a gap that is not there": {next: playlist("8", "s8.m4s") + "#EXT-X-GAP\n#EXTINF:2.00000,\ns10.m4s\n"},
		"names what is not there": {next: playlist("8", "s8.m4s", "s10.m4s"), want: "lists what cannot be read"},
		"names what went":         {next: begin, gone: "s7.m4s", want: "lists what cannot be read"},
		"has lost its init":       {next: begin, gone: "init.mp4", want: "lists what cannot be read"},
		"goes back":               {next: playlist("6", "s6.m4s", "s7.m4s"), want: "media sequence number 6 after 7"},
		"loses its end":           {next: playlist("7", "s7.m4s"), want: "ends at 7 after 8"},
		"changes a name":          {next: playlist("7", "s7.m4s", "s9.m4s"), want: "the lines of segment 8 changed"},
		"makes a gap of a file":   {next: playlist("7", "s7.m4s") + "#EXT-X-GAP\n#EXTINF:2.00000,\ns8.m4s\n", want: "the lines of segment 8 changed"},
		"is gone":                 {next: "", want: "status 404"},
		"lists an empty file":     {next: playlist("8", "s8.m4s", "empty.m4s"), want: "empty.m4s is empty"},
		"has another type":        {next: playlist("8", "s8.m4s", "text.txt"), want: "S29"},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			files := map[string]string{
				"/live/show/index.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nm1/video/index.m3u8\n", "/live/show/m1/video/index.m3u8": begin,
				"/live/show/m1/video/empty.m4s": "",
			}
			for _, file := range []string{"init.mp4", "s6.m4s", "s7.m4s", "s8.m4s", "s9.m4s", "text.txt"} {
				files["/live/show/m1/video/"+file] = "media"
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				text, ok := files[r.URL.Path]
				kind, fresh := "video/mp4", "public, max-age=60, immutable"
				switch {
				case !ok:
					w.WriteHeader(http.StatusNotFound)
					return
				case strings.HasSuffix(r.URL.Path, ".m3u8"):
					kind, fresh = "application/vnd.apple.mpegurl", "public, max-age=1"
				case strings.HasSuffix(r.URL.Path, ".txt"):
					kind = "text/plain"
				}
				w.Header().Set("Content-Type", kind)
				w.Header().Set("Cache-Control", fresh)
				_, _ = w.Write([]byte(text))
			}))
			defer server.Close()
			w := observe(t, server.URL+"/live", "show", time.Hour)
			w.look.Lock() // it has looked once, or will
			defer w.look.Unlock()
			if err := w.poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			files["/live/show/m1/video/index.m3u8"] = tt.next
			if tt.next == "" {
				delete(files, "/live/show/m1/video/index.m3u8")
			}
			delete(files, "/live/show/m1/video/"+tt.gone)
			mu.Unlock()
			err := w.poll(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("sees %v, want %q", err, tt.want)
			}
			w.away = true
		})
	}
}
