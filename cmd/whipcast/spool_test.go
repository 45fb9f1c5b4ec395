package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/storage"
)

// What an earlier start left in the spool is gone, also that of places which
// there are no more; nothing else in the data directory is touched.
func TestSpoolIsEmptiedAtStart(t *testing.T) {
	config := configs.Default()
	config.DataDir = t.TempDir()
	left := []string{"spool/directory-1/5", "spool/s3-7/1", "publish-token"}
	for _, name := range left {
		name = filepath.Join(config.DataDir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int64{0, 1 << 20} {
		config.Storage = []configs.Storage{{Type: "directory", Path: t.TempDir(), Memory: 1 << 20, Spool: size}}
		all, err := openPlaces(t.Context(), config, storage.Tee(), nil, telling{slog.New(slog.DiscardHandler), &spans{}})
		if err != nil {
			t.Fatal(err)
		}
		all.close()
	}
	for i, name := range left {
		if _, err := os.Stat(filepath.Join(config.DataDir, name)); (err == nil) != (i == 2) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A folder that cannot be used is a warning, not the end.
func TestSpoolThatCannotBeOpened(t *testing.T) {
	config := configs.Default()
	config.DataDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(config.DataDir, spoolFolder), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config.Storage = []configs.Storage{{Type: "directory", Path: t.TempDir(), Memory: 1 << 20, Spool: 1 << 20}}
	var lines bytes.Buffer
	all, err := openPlaces(t.Context(), config, storage.Tee(), nil, telling{slog.New(slog.NewTextHandler(&lines, nil)), &spans{}})
	if err != nil {
		t.Fatal(err)
	}
	all.close()
	if !strings.Contains(lines.String(), "memory only") || !strings.Contains(lines.String(), "storage=directory-1") {
		t.Errorf("said:\n%s", &lines)
	}
}
