package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/egress/hls"
	"github.com/whipcast/whipcast/storage"
)

func windowConfig(folder string) (configs.Config, *output) {
	config := configs.Default()
	config.DataDir, config.HLS.Memory = folder, 1<<20
	return config, new(output)
}

// A viewer who rewinds gets what memory has no room for, ranges included, while
// the memory stays within hls.memory.
func TestRewindingBeyondMemory(t *testing.T) {
	config, logs := windowConfig(filepath.Join(t.TempDir(), "data"))
	w, err := openWindow(t.Context(), config, newLog(config.Log, logs))
	if err != nil {
		t.Fatal(err)
	}
	kept := startTasks(t.Context(), func(err error) { t.Error(err) }, task{"window", w.store.Run})
	origin := httptest.NewServer(hls.New(hls.Config{}, w.store))
	defer origin.Close()

	const segments, size = 40, 100_000
	for n := range segments {
		o := storage.Object{
			Key: fmt.Sprintf("show/m1/video/s%08d.m4s", n), Kind: storage.Segment, Type: "video/mp4",
			Body: storage.Body{bytes.Repeat([]byte{byte('A' + n)}, size)},
		}
		if err := w.store.Put(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); w.store.Metrics().Resident.Load() > 1<<20 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	if got := w.store.Metrics().Resident.Load(); got > 1<<20 {
		t.Errorf("%d bytes of media in memory", got)
	}
	for n := range segments {
		url := fmt.Sprintf("%s/hls/show/m1/video/s%08d.m4s", origin.URL, n)
		r := get(t.Context(), origin.Client(), url, "")
		if r.status != http.StatusOK || r.body != strings.Repeat(string(rune('A'+n)), size) || r.header.Get("Content-Type") != "video/mp4" {
			t.Errorf("segment %d: status %d, %d bytes", n, r.status, len(r.body))
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, origin.URL+"/hls/show/m1/video/s00000000.m4s", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Range", "bytes=10-19")
	response, err := origin.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusPartialContent || response.ContentLength != 10 {
		t.Errorf("a range: status %d, %d bytes", response.StatusCode, response.ContentLength)
	}

	if err := kept.stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(config.DataDir, "dvr/show/m1/video/*"))
	if err != nil || len(left) == 0 {
		t.Fatalf("nothing was moved to the folder: %v", err)
	}

	// Nothing names it after a start.
	w, err = openWindow(t.Context(), config, newLog(config.Log, logs))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if left, err := os.ReadDir(filepath.Join(config.DataDir, "dvr")); err != nil || len(left) != 0 {
		t.Errorf("after a start the folder has %v, %v", left, err)
	}
	if logs.String() != "" {
		t.Errorf("said %s", logs)
	}
}

// Short windows need no folder: one that cannot be used ends no start.
func TestAFolderThatCannotBeUsedIsAWarning(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config, logs := windowConfig(file)
	w, err := openWindow(t.Context(), config, newLog(config.Log, logs))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for n := range 3 {
		o := storage.Object{Key: fmt.Sprintf("show/s%d.m4s", n), Kind: storage.Segment, Body: storage.Body{make([]byte, 1<<20)}}
		if err := w.store.Put(t.Context(), o); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.store.Get(t.Context(), "show/s0.m4s", nil); err != nil {
		t.Error(err)
	}
	if text := logs.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "data_dir") || !strings.Contains(text, file) {
		t.Errorf("said %s", text)
	}
}
