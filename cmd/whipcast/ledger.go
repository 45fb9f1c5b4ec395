package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/whipcast/whipcast/stream"
)

const (
	// ledgerFolder is the folder in the data directory that has what streams must
	// remember over a restart.
	ledgerFolder = "streams"
	ledgerSuffix = ".log"
	// maxLedger bounds what is read of one stream: a six hour window has some ten
	// megabytes.
	maxLedger = 256 << 20
)

// ledger is a packager.Ledger of one file a stream. It does not wait for the disk:
// a process that is killed loses nothing, a machine that loses power the newest
// seconds.
type ledger struct{ folder string }

func openLedger(data string) (ledger, error) {
	l := ledger{folder: filepath.Join(data, ledgerFolder)}
	if err := os.MkdirAll(l.folder, 0o700); err != nil {
		return l, fmt.Errorf("open folder of stream states: %w", err)
	}
	return l, nil
}

func (l ledger) path(name string) string { return filepath.Join(l.folder, name+ledgerSuffix) }

// streams returns the names of all that is remembered.
func (l ledger) streams() ([]string, error) {
	files, err := os.ReadDir(l.folder)
	if err != nil {
		return nil, fmt.Errorf("list stream states: %w", err)
	}
	var names []string
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ledgerSuffix)
		if ok && stream.ValidName(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// Load implements packager.Ledger.
func (l ledger) Load(_ context.Context, name string) ([][]byte, error) {
	info, err := os.Stat(l.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > maxLedger {
		err = fmt.Errorf("it has %d bytes", info.Size())
	}
	var content []byte
	if err == nil {
		content, err = os.ReadFile(l.path(name))
	}
	if err != nil {
		return nil, fmt.Errorf("read state of %s: %w", name, err)
	}
	content = bytes.TrimSuffix(content, []byte("\n"))
	if len(content) == 0 {
		return nil, nil
	}
	return bytes.Split(content, []byte("\n")), nil
}

// Begin implements packager.Ledger. The file is replaced at once: a reader finds
// the old one or the new one.
func (l ledger) Begin(_ context.Context, name string, line []byte) error {
	temporary := l.path(name) + ".new"
	err := os.WriteFile(temporary, append(bytes.Clone(line), '\n'), 0o600)
	if err == nil {
		err = os.Rename(temporary, l.path(name))
	}
	if err != nil {
		return fmt.Errorf("write state of %s: %w", name, err)
	}
	return nil
}

// Append implements packager.Ledger.
func (l ledger) Append(_ context.Context, name string, line []byte) error {
	file, err := os.OpenFile(l.path(name), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write state of %s: %w", name, err)
	}
	_, err = file.Write(append(bytes.Clone(line), '\n'))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write state of %s: %w", name, err)
	}
	return nil
}

// Forget implements packager.Ledger.
func (l ledger) Forget(_ context.Context, name string) error {
	if err := os.Remove(l.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove state of %s: %w", name, err)
	}
	return nil
}
