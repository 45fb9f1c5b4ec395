package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A stream is stored in each place as plain HLS while it is served live, and
// ended there when the gateway stops; a place that fails is told of.
func TestStorage(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "hls")
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token,
		`WHIPCAST_STORAGE=[{type: directory, path: "`+folder+`"}, {type: httpput, url: "http://me:hunter2hunter2@127.0.0.1:1/live", memory: 1MiB}]`), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	admin := strings.TrimSuffix(gateway.out.waitFor(t, "Metrics"), "/metrics")
	c := client(t, nil)
	start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	playlistURL(t, c, base, "test") // it is live

	var text []byte
	eventually(t, c, base+"/readyz", func(r reply) bool {
		text, _ = os.ReadFile(filepath.Join(folder, "test", "index.m3u8"))
		return len(text) > 0
	})
	var media string
	for line := range strings.Lines(string(text)) {
		if line[0] != '#' && strings.Contains(line, "video") {
			media = filepath.Join(folder, "test", filepath.FromSlash(strings.TrimSpace(line)))
		}
	}
	plain := func() string {
		text, err := os.ReadFile(media)
		if err != nil {
			t.Fatalf("the multivariant playlist names %s: %v", media, err)
		}
		return string(text)
	}
	if text := plain(); !strings.Contains(text, "#EXTINF") || strings.Contains(text, "#EXT-X-PART") || strings.Contains(text, "CAN-BLOCK-RELOAD") {
		t.Errorf("not plain HLS (S7):\n%s", text)
	}
	for line := range strings.Lines(plain()) {
		if line[0] == '#' {
			continue
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(media), strings.TrimSpace(line))); err != nil {
			t.Errorf("S10: %v", err)
		}
	}

	r := eventually(t, c, admin+"/readyz", func(r reply) bool { return strings.Contains(r.body, "httpput-2: down") })
	if r.status != http.StatusOK || !strings.Contains(r.body, "storage directory-1: working") || !strings.Contains(r.body, "refused") {
		t.Errorf("readyz: %d\n%s", r.status, r.body)
	}
	if r := get(t.Context(), c, base+"/readyz", ""); strings.Contains(r.body, "storage") {
		t.Errorf("the public address tells of storage: %s", r.body)
	}
	r = get(t.Context(), c, admin+"/metrics", "")
	for _, want := range []string{`whipcast_storage_up{storage="directory-1"} 1`, `whipcast_storage_up{storage="httpput-2"} 0`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	eventually(t, c, admin+"/metrics", func(r reply) bool { // what waits for the other place is more than 1 MiB soon
		return strings.Contains(r.body, `whipcast_storage_spool_bytes{storage="httpput-2"}`) && !strings.Contains(r.body, `whipcast_storage_spool_bytes{storage="httpput-2"} 0`)
	})
	if _, err := gateway.stop(); err != nil {
		t.Error(err)
	}
	for _, said := range []string{gateway.err.String(), gateway.out.String(), r.body} {
		if strings.Contains(said, "hunter2") {
			t.Errorf("a password was written (X4):\n%s", said)
		}
	}
}

func TestStorageThatCannotBeOpened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := start(t, settings(t, `WHIPCAST_STORAGE=[{type: directory, path: "`+file+`"}]`), "serve")
	err := <-e.done
	e.done <- err
	if err == nil || !strings.Contains(err.Error(), "directory-1") || !strings.Contains(err.Error(), "correct entry 1") {
		t.Errorf("error %v", err)
	}
}
