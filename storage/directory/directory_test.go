package directory_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/directory"
	"github.com/whipcast/whipcast/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, folder string, cfg directory.Config) *directory.Sink {
	t.Helper()
	s, err := directory.Open(folder, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSinkIsASink(t *testing.T) {
	for name, sync := range map[string]directory.Sync{
		"none": directory.SyncNone, "playlists": directory.SyncPlaylists, "all": directory.SyncAll,
	} {
		t.Run(name, func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) (storage.Sink, storagetest.Read) {
				folder := t.TempDir()
				return open(t, folder, directory.Config{Sync: sync}), func(_ context.Context, key string) ([]byte, error) {
					content, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(key)))
					if errors.Is(err, fs.ErrNotExist) {
						err = storage.ErrNotFound
					}
					return content, err
				}
			})
		})
	}
}

// Get is held to the same rules as a file in the folder.
func TestWhatGetReadsIsASink(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.Sink, storagetest.Read) {
		s := open(t, t.TempDir(), directory.Config{})
		return s, func(ctx context.Context, key string) ([]byte, error) {
			o, err := s.Get(ctx, key)
			return o.Body.Bytes(), err
		}
	})
}

func object(key, content string) storage.Object {
	return storage.Object{Key: key, Kind: storage.Segment, Type: "video/mp4", Body: storage.Body{[]byte(content)}}
}

func put(t *testing.T, s storage.Sink, key, content string) {
	t.Helper()
	if err := s.Put(t.Context(), object(key, content)); err != nil {
		t.Fatal(err)
	}
}

// files returns everything below a folder, folders with a slash at the end.
func files(t *testing.T, folder string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == folder {
			return err
		}
		rel, err := filepath.Rel(folder, name)
		if entry.IsDir() {
			rel += "/"
		}
		all = append(all, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantFiles(t *testing.T, folder string, want ...string) {
	t.Helper()
	if got := files(t, folder); !slices.Equal(got, want) {
		t.Errorf("folder holds %q, want %q", got, want)
	}
}

func TestNoKeyLeavesTheFolder(t *testing.T) {
	outer := t.TempDir()
	secret := filepath.Join(outer, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(outer, "files")
	s := open(t, folder, directory.Config{})
	for _, key := range []string{
		"../secret", "a/../../secret", secret, "./../secret", "..", ".", "", "/", "a//b", ".hidden", "a/.s.m4s.abc~", "a b", "a\x00b", `..\secret`,
	} {
		if err := s.Put(t.Context(), object(key, "x")); !errors.Is(err, storage.ErrKey) {
			t.Errorf("put %q: %v, want ErrKey", key, err)
		}
		if o, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("get %q: %q, %v, want ErrNotFound", key, o.Body, err)
		}
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	wantFiles(t, outer, "files/", "secret")
}

func TestASymbolicLinkLeadsNowhere(t *testing.T) {
	outer, folder := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outer, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outer, filepath.Join(folder, "show")); err != nil {
		t.Fatal(err)
	}
	s := open(t, folder, directory.Config{})
	if o, err := s.Get(t.Context(), "show/secret"); err == nil {
		t.Errorf("read %q through the link", o.Body)
	}
	if err := s.Put(t.Context(), object("show/new", "x")); err == nil {
		t.Error("wrote through the link")
	}
	if err := s.Delete(t.Context(), "show/secret"); err == nil {
		t.Error("deleted through the link")
	}
	wantFiles(t, outer, "secret")
}

func TestDeleteTakesEmptyFoldersAlong(t *testing.T) {
	folder := t.TempDir()
	s := open(t, folder, directory.Config{})
	put(t, s, "show/m1/video/s1.m4s", "x")
	put(t, s, "show/m1/video/s2.m4s", "x")
	put(t, s, "show/m2/s1.m4s", "x")
	put(t, s, "top", "x")
	remove := func(key string) {
		t.Helper()
		if err := s.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
	remove("show/m1/video/s1.m4s")
	remove("show/m1") // no Object
	remove("top/of")  // neither
	wantFiles(t, folder, "show/", "show/m1/", "show/m1/video/", "show/m1/video/s2.m4s", "show/m2/", "show/m2/s1.m4s", "top")
	remove("show/m1/video/s2.m4s")
	wantFiles(t, folder, "show/", "show/m2/", "show/m2/s1.m4s", "top")
	remove("show/m2/s1.m4s")
	remove("top")
	wantFiles(t, folder)
	put(t, s, "again", "x") // the folder itself is still there
}

func TestAFailedPutLeavesNothing(t *testing.T) {
	folder := t.TempDir()
	s := open(t, folder, directory.Config{})
	put(t, s, "show/taken/s1.m4s", "x")
	if err := s.Put(t.Context(), object("show/taken", "x")); err == nil {
		t.Error("a file took the place of a folder")
	}
	if err := s.Put(t.Context(), object("show/taken/s1.m4s/below", "x")); err == nil {
		t.Error("a folder took the place of a file")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, object("show/m1/s2.m4s", "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	wantFiles(t, folder, "show/", "show/taken/", "show/taken/s1.m4s")
}

func TestGetKeepsContentAndTime(t *testing.T) {
	s := open(t, t.TempDir(), directory.Config{})
	o := object("show/s1.m4s", "first ")
	o.Body = append(o.Body, nil, []byte("second"))
	if err := s.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(t.Context(), o.Key)
	if err != nil || got.Key != o.Key || string(got.Body.Bytes()) != "first second" || got.Modified.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := s.Get(t.Context(), "show"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a folder: %v, want ErrNotFound", err)
	}
	if _, err := s.Get(t.Context(), "show/s1.m4s/below"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("below a file: %v, want ErrNotFound", err)
	}
}

func TestSweepAtAStart(t *testing.T) {
	folder := t.TempDir()
	s := open(t, folder, directory.Config{})
	put(t, s, "show/m1/video/s1.m4s", "x")
	put(t, s, "show/m2/video/s1.m4s", "x")
	put(t, s, "other/s1.m4s", "x")
	for _, name := range []string{"show/m1/video/.s2.m4s.ABCDEFGH~", "other/.s2.m4s.ABCDEFGH~", "other/.htaccess", "not a key"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.List(t.Context(), "show/")
	if want := []string{"show/m1/video/s1.m4s", "show/m2/video/s1.m4s"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("list: %q, %v, want %q", got, err, want)
	}
	if err := s.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, folder, "not a key", "other/", "other/.htaccess", "other/s1.m4s",
		"show/", "show/m1/", "show/m1/video/", "show/m1/video/s1.m4s", "show/m2/", "show/m2/video/", "show/m2/video/s1.m4s")
	if err := s.Sweep(t.Context(), func(key string) bool { return strings.HasPrefix(key, "show/m2/") }); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, folder, "not a key", "other/", "other/.htaccess", "show/", "show/m2/", "show/m2/video/", "show/m2/video/s1.m4s")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Sweep(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
}

// Writers and deleters that share folders do not take them from each other.
func TestFoldersComeAndGoUnderManyHands(t *testing.T) {
	folder := t.TempDir()
	s := open(t, folder, directory.Config{Sync: directory.SyncNone})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			key := fmt.Sprintf("show/m1/video/s%d.m4s", i)
			for range 100 {
				if err := s.Put(t.Context(), object(key, "x")); err != nil {
					t.Error(err)
				}
				if err := s.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantFiles(t, folder)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := directory.Open(file, directory.Config{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file in the place of the folder: %v", err)
	}
}
