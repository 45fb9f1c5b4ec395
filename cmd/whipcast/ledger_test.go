package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestLedger(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	l, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	if lines, err := l.Load(ctx, "show"); err != nil || lines != nil {
		t.Errorf("got %q, %v of a stream that nothing is known of", lines, err)
	}
	if err := l.Forget(ctx, "show"); err != nil {
		t.Errorf("forget what is not there: %v", err)
	}
	if err := l.Append(ctx, "show", []byte("x")); err == nil {
		t.Error("a line was added to a log that was not begun")
	}
	for _, line := range []string{"one", "two"} { // the second replaces the first
		if err := l.Begin(ctx, "show", []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Append(ctx, "show", []byte("three")); err != nil {
		t.Fatal(err)
	}
	lines, err := l.Load(ctx, "show")
	if err != nil || !slices.EqualFunc(lines, []string{"two", "three"}, func(a []byte, b string) bool { return bytes.Equal(a, []byte(b)) }) {
		t.Errorf("got %q, %v", lines, err)
	}
	if stat, err := os.Stat(filepath.Join(dir, ledgerFolder, "show.log")); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("file %v, %v: want mode 0600", stat, err)
	}
	for _, name := range []string{"show.log.new", "..log", "other.txt"} {
		if err := os.WriteFile(filepath.Join(dir, ledgerFolder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := l.streams(); err != nil || !slices.Equal(names, []string{"show"}) {
		t.Errorf("streams %v, %v, want show alone", names, err)
	}
	if err := l.Forget(ctx, "show"); err != nil {
		t.Fatal(err)
	}
	if names, err := l.streams(); err != nil || len(names) > 0 {
		t.Errorf("streams %v, %v after it was forgotten", names, err)
	}
}
