package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/storage/directory"
)

// A gateway is the same as long as it has its data directory, and another one
// with another; without a place that asks for it there is no such file.
func TestIdentity(t *testing.T) {
	var logs bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logs, nil))
	config := configs.Default()
	config.DataDir = filepath.Join(t.TempDir(), "data")
	path := filepath.Join(config.DataDir, identityFile)
	if me := identity(config, log); me != (self{}) {
		t.Errorf("without storage it is %v", me)
	}
	config.Storage = []configs.Storage{{Type: "httpput"}, {Type: "directory", Fence: true}}
	first := identity(config, log)
	if again := identity(config, log); again != first || len(first.id) < 8 || first.host == "" {
		t.Errorf("%v, and then %v", first, again)
	}
	about, err := os.Stat(path)
	if err != nil || about.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", about, err)
	}
	if err := os.WriteFile(path, []byte("a b\nc"), 0o600); err != nil { // damaged
		t.Fatal(err)
	}
	if other := identity(config, log); other.id == first.id || strings.ContainsAny(other.id, " \n") {
		t.Errorf("damaged: %v", other)
	}
	if logs.Len() > 0 {
		t.Errorf("log: %s", &logs)
	}
	config.DataDir = filepath.Join(path, "x") // no folder
	if me := identity(config, log); me.id == "" || !strings.Contains(logs.String(), "data_dir") {
		t.Errorf("without a data directory: %v, %s", me, &logs)
	}
	sink, err := directory.Open(t.TempDir(), directory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if f := first.fence(config.Storage[0], sink); f != nil {
		t.Errorf("a place that wants none: %v", f)
	}
	if f := first.fence(config.Storage[1], sink); f == nil || f.Gateway != first.id || f.Host != first.host {
		t.Errorf("fence: %+v", f)
	}
}
