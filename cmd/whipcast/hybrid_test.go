package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The gateway's playlists name media where viewers read it, in both modes, and do so
// at once after a restart; the place itself gets plain HLS (specs S9).
func TestHybrid(t *testing.T) {
	for _, serve := range []string{"parts", "segments"} {
		t.Run(serve, func(t *testing.T) {
			t.Parallel()
			hybridMode(t, serve)
		})
	}
}

func hybridMode(t *testing.T, serve string) {
	const public = "http://cdn.example.org:8000/live/"
	folder := filepath.Join(t.TempDir(), "hls")
	env := settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_HLS_PART=1s", "WHIPCAST_HLS_WINDOW=30s",
		`WHIPCAST_STORAGE=[{type: directory, path: "`+folder+`", sync: none, serve: `+serve+`, public_url: "`+public+`"}]`)
	gateway := start(t, env, "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	admin := strings.TrimSuffix(gateway.out.waitFor(t, "Metrics"), "/metrics")
	c := client(t, nil)
	publisher := start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	media := playlistURL(t, c, base, "test")
	tag := map[string]string{"parts": "#EXT-X-PART:", "segments": "CAN-BLOCK-RELOAD=YES,HOLD-BACK=6"}[serve]
	r := eventually(t, c, media, func(r reply) bool { return strings.Contains(r.body, tag) && strings.Contains(r.body, "#EXTINF") })
	if n := stored(t, r.body, public, folder); n == 0 {
		t.Errorf("nothing is named at the place:\n%s", r.body)
	}
	if strings.Contains(r.body, "PRELOAD-HINT") || serve == "segments" && strings.Contains(r.body, "PART") {
		t.Errorf("L56, S7:\n%s", r.body)
	}
	plain, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(strings.TrimPrefix(media, base+"/hls/"))))
	if err != nil || strings.Contains(string(plain), "PART") || strings.Contains(string(plain), "BLOCK") || strings.Contains(string(plain), public) {
		t.Errorf("S9: %v\n%s", err, plain)
	}
	if r := get(t.Context(), c, admin+"/readyz", ""); !strings.Contains(r.body, "viewers read from it ") {
		t.Errorf("readyz: %s", r.body)
	}
	r = get(t.Context(), c, admin+"/metrics", "")
	for _, want := range []string{"placed_files_total", "kept_files_total", "playlists_total", "wait_seconds_total", "fallen_renditions"} {
		if !strings.Contains(r.body, "whipcast_hybrid_"+want+`{storage="directory-1"} `) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if policy := get(t.Context(), c, base+"/watch/test", "").header.Get("Content-Security-Policy"); !strings.Contains(policy, "connect-src 'self' http://cdn.example.org:8000;") {
		t.Errorf("the watch page may not read media: %s", policy)
	}
	if _, err := gateway.stop(); err != nil {
		t.Error(err)
	}
	_, _ = publisher.stop()

	again := start(t, env, "serve")
	base2 := strings.TrimSuffix(again.out.waitFor(t, "Home"), "/")
	r = get(t.Context(), c, base2+strings.TrimPrefix(media, base), "")
	if r.status != http.StatusOK || stored(t, r.body, public, folder) == 0 {
		t.Errorf("at once after a restart: %d\n%s", r.status, r.body)
	}
	if _, err := again.stop(); err != nil {
		t.Error(err)
	}
}

// stored counts the files that a playlist names at a place; each must be there.
func stored(t *testing.T, text, public, folder string) int {
	t.Helper()
	n := 0
	for piece := range strings.SplitSeq(text, public) {
		if n++; n == 1 {
			continue // before the first one
		}
		name := piece[:strings.IndexAny(piece, "\"\n")]
		if _, err := os.Stat(filepath.Join(folder, filepath.FromSlash(name))); err != nil {
			t.Errorf("S10: %v", err)
		}
	}
	return n - 1
}
