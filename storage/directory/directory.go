// Package directory keeps Objects as files of a folder.
//
//	Put ──▶ folder/show/m1/video/.s00000001.m4s.k3v9~ ──rename──▶ folder/show/m1/video/s00000001.m4s
//
// A web server that shares the folder never sees half a file: a new one gets
// its name when it is whole. No key reaches a file outside of the folder, also
// not over symbolic links. The folder belongs to one Sink at a time.
package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/whipcast/whipcast/storage"
)

// Sync says which files are forced to the disk before they get their name.
type Sync uint8

// What is synchronised. In every case readers see whole files, also after the
// process was killed; the choice is about a machine that loses power.
const (
	// SyncPlaylists is the default: no playlist is ever found empty. The newest
	// media may be: its writing is left to the system.
	SyncPlaylists Sync = iota
	// SyncNone is for what is worth nothing after a restart.
	SyncNone
	// SyncAll synchronises every file and its folder: what a playlist names is
	// there whenever the machine comes back. It costs two writes to the disk for
	// each file.
	SyncAll
)

// Config says how files are written. The zero Config is good.
type Config struct {
	Sync Sync
}

// Sink is a storage.Sink over a folder. All methods may be called from any
// goroutine.
type Sink struct {
	root *os.Root
	sync Sync
}

// Open returns a Sink over the folder of that name, and makes the folder when
// there is none. Close the Sink.
func Open(folder string, cfg Config) (*Sink, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	return &Sink{root: root, sync: cfg.Sync}, nil
}

// Close gives the folder back. The files stay.
func (s *Sink) Close() error { return s.root.Close() }

// Put implements storage.Sink. A key that storage.CheckKey refuses is refused
// with its error. The context is looked at between the pieces of the body: the
// system's calls themselves cannot be cut short.
func (s *Sink) Put(ctx context.Context, o storage.Object) error {
	if err := s.put(ctx, o); err != nil {
		return fmt.Errorf("put %s: %w", o.Key, err)
	}
	return nil
}

func (s *Sink) put(ctx context.Context, o storage.Object) error {
	if err := begin(ctx, o.Key); err != nil {
		return err
	}
	folder, name := path.Split(o.Key)
	temporary := folder + temporaryName(name)
	f, err := s.create(folder, temporary)
	if err != nil {
		return err
	}
	err = errors.Join(s.write(ctx, f, o), f.Close())
	if err == nil {
		err = s.root.Rename(temporary, o.Key)
	}
	if err != nil {
		err = errors.Join(err, s.root.Remove(temporary))
		s.prune(folder)
		return err
	}
	if s.sync == SyncAll {
		return s.syncFolder(folder)
	}
	return nil
}

// begin says whether an Object of this key may be worked on.
func begin(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return storage.CheckKey(key)
}

// Temporary names are no keys: they begin with a dot.
const temporarySuffix = "~"

func temporaryName(name string) string { return "." + name + "." + rand.Text()[:8] + temporarySuffix }

func isTemporary(name string) bool {
	return strings.HasPrefix(name, ".") && strings.HasSuffix(name, temporarySuffix)
}

// create makes a file and the folders above it. A Delete that runs now may take
// a folder away while it is empty, so it is tried again.
func (s *Sink) create(folder, name string) (*os.File, error) {
	const tries = 20
	for n := 1; ; n++ {
		f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || folder == "" || n == tries {
			return f, err
		}
		err = s.root.MkdirAll(strings.TrimSuffix(folder, "/"), 0o755)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
}

func (s *Sink) write(ctx context.Context, f *os.File, o storage.Object) error {
	for _, piece := range o.Body {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := f.Write(piece); err != nil {
			return err
		}
	}
	const playlists = storage.Playlist | storage.LowLatency | storage.Multivariant
	if s.sync == SyncAll || s.sync == SyncPlaylists && o.Kind&playlists != 0 {
		return f.Sync()
	}
	return ctx.Err()
}

func (s *Sink) syncFolder(folder string) error {
	f, err := s.root.Open(path.Clean(folder))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Delete implements storage.Sink. Folders that become empty go, too, but for
// the Sink's own.
func (s *Sink) Delete(ctx context.Context, key string) error {
	err := begin(ctx, key)
	if err == nil {
		err = s.root.Remove(key)
	}
	switch {
	case err == nil:
		s.prune(path.Dir(key))
		return nil
	case missing(err) || errors.Is(err, storage.ErrKey): // nothing has such a key
		return nil
	}
	return fmt.Errorf("delete %s: %w", key, err)
}

// prune removes a folder and those above it as far as they are empty. That one
// is not empty is no error.
func (s *Sink) prune(folder string) {
	for folder = path.Clean(folder); folder != "." && folder != "/"; folder = path.Dir(folder) {
		if s.root.Remove(folder) != nil {
			return
		}
	}
}

// Get returns the Object of that key, read whole: its content and when that was
// stored. A folder keeps neither Kind nor Type. Without such a file the error is
// storage.ErrNotFound.
func (s *Sink) Get(ctx context.Context, key string) (storage.Object, error) {
	o, err := s.get(ctx, key)
	if missing(err) || errors.Is(err, storage.ErrKey) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return storage.Object{}, fmt.Errorf("get %s: %w", key, err)
	}
	return o, nil
}

func (s *Sink) get(ctx context.Context, key string) (storage.Object, error) {
	if err := begin(ctx, key); err != nil {
		return storage.Object{}, err
	}
	f, err := s.root.Open(key)
	if err != nil {
		return storage.Object{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	about, err := f.Stat()
	if err != nil {
		return storage.Object{}, err
	}
	if !about.Mode().IsRegular() {
		return storage.Object{}, fs.ErrNotExist
	}
	content := make([]byte, about.Size())
	if _, err := io.ReadFull(f, content); err != nil {
		return storage.Object{}, err
	}
	return storage.Object{Key: key, Body: storage.Body{content}, Modified: about.ModTime()}, nil
}

// Has implements storage.Holder.
func (s *Sink) Has(ctx context.Context, key string) (bool, error) {
	err := begin(ctx, key)
	var about fs.FileInfo
	if err == nil {
		about, err = s.root.Stat(key)
	}
	switch {
	case err == nil:
		return about.Mode().IsRegular(), nil
	case missing(err) || errors.Is(err, storage.ErrKey): // nothing has such a key
		return false, nil
	}
	return false, fmt.Errorf("look for %s: %w", key, err)
}

// missing says that there is no file of a name, also because a folder has the
// name, or a file that of a folder.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || noFile(err)
}

// Sweep removes what must not be there at a start: temporary files that a
// killed process left, and the files whose key keep refuses. With keep nil all
// others stay. Files that no key names are left alone.
func (s *Sink) Sweep(ctx context.Context, keep func(key string) bool) error {
	var failed []error
	drop := func(name string) {
		if err := s.root.Remove(name); err != nil && !missing(err) {
			failed = append(failed, err)
			return
		}
		s.prune(path.Dir(name))
	}
	err := s.walk(ctx, func(name string) {
		switch {
		case isTemporary(path.Base(name)):
			drop(name)
		case keep != nil && storage.CheckKey(name) == nil && !keep(name):
			drop(name)
		}
	})
	if err = errors.Join(append(failed, err)...); err != nil {
		return fmt.Errorf("sweep folder: %w", err)
	}
	return nil
}

// List returns the keys of all Objects whose key begins with prefix, sorted by
// name within each folder.
func (s *Sink) List(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	err := s.walk(ctx, func(name string) {
		if strings.HasPrefix(name, prefix) && storage.CheckKey(name) == nil {
			keys = append(keys, name)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list folder: %w", err)
	}
	return keys, nil
}

// walk calls visit for every file. What goes meanwhile is no error.
func (s *Sink) walk(ctx context.Context, visit func(name string)) error {
	return fs.WalkDir(s.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && missing(err):
			return nil
		case err != nil:
			return err
		case entry.Type().IsRegular():
			visit(name)
		}
		return nil
	})
}
