package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/storage/directory"
	"github.com/whipcast/whipcast/storage/memory"
)

// windowFolder is the folder in the data directory that has the media which
// memory has no room for.
const windowFolder = "dvr"

// maxKeys is how many files the window may have: a hundred hours of one stream
// with four qualities.
const maxKeys = 1 << 20

// window is what viewers can rewind: the newest media in memory, the rest in a
// folder.
type window struct {
	store  *memory.Store
	folder *directory.Sink // nil: it cannot be used, everything stays in memory
}

// openWindow makes the window, and empties its folder: playlists live in memory,
// so nothing names what an earlier start has left. A folder that cannot be used
// is a warning: short windows need none.
func openWindow(ctx context.Context, config configs.Config, log *slog.Logger) (window, error) {
	path := filepath.Join(config.DataDir, windowFolder)
	folder, err := emptyFolder(ctx, config.DataDir, path)
	if ctx.Err() != nil {
		return window{}, ctx.Err()
	}
	if err != nil {
		log.WarnContext(ctx, "all media stays in memory, whatever hls.memory says: the folder for older media cannot be used; let this user write to data_dir",
			"folder", path, "error", err)
		return window{store: memory.New(memory.Config{})}, nil
	}
	return window{folder: folder, store: memory.New(memory.Config{
		MaxKeys: maxKeys, Budget: config.HLS.Memory, Below: folder, Logger: log,
	})}, nil
}

func emptyFolder(ctx context.Context, data, path string) (*directory.Sink, error) {
	if err := os.MkdirAll(data, 0o700); err != nil { // it holds secrets, too
		return nil, err
	}
	folder, err := directory.Open(path, directory.Config{Sync: directory.SyncNone})
	if err != nil {
		return nil, err
	}
	if err := folder.Sweep(ctx, func(string) bool { return false }); err != nil {
		_ = folder.Close()
		return nil, err
	}
	return folder, nil
}

// close gives the folder back. The store must not run any more.
func (w window) close() error {
	if w.folder == nil {
		return nil
	}
	return w.folder.Close()
}
