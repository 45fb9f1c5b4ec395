package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/storage/directory"
)

// spoolFolder is the folder in the data directory that has what waits for places
// that are slow or gone: a folder for each of them.
const spoolFolder = "spool"

// spools open the folder of each place.
type spools struct {
	data  string
	empty bool // what an earlier start left is gone
	log   *slog.Logger
}

// open returns the folder of a place, nil if it has none. What an earlier start
// left is removed: nothing names it. A folder that cannot be used is a warning:
// memory alone is the bound then.
func (s *spools) open(ctx context.Context, name string, entry configs.Storage) (*directory.Sink, error) {
	path := filepath.Join(s.data, spoolFolder)
	var folder *directory.Sink
	err := s.sweep(ctx, path)
	if err == nil && entry.Spool > 0 {
		path = filepath.Join(path, name)
		folder, err = directory.Open(path, directory.Config{Sync: directory.SyncNone})
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		s.log.WarnContext(ctx, "what waits for a place has memory only: the folder for more cannot be used; let this user write to data_dir",
			"storage", name, "folder", path, "error", err)
		return nil, nil //nolint:nilnil // it goes on without one
	}
	return folder, nil
}

// sweep empties the folder of all places, once.
func (s *spools) sweep(ctx context.Context, path string) error {
	if s.empty {
		return nil
	}
	all, err := emptyFolder(ctx, s.data, path)
	if err != nil {
		return err
	}
	s.empty = true
	return all.Close()
}
