package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/whipcast/whipcast/internal/fault"
)

// Private looks whether a file is for its owner only. One that is not there is
// none to worry about: then there is no Finding.
func Private(name, path string) []Finding {
	about, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		f := words(err)
		return []Finding{{name, Failed, f.Cause, f.Remedy}}
	}
	switch mode := about.Mode().Perm(); {
	case mode&0o007 != 0:
		return []Finding{{
			name, Warning, fmt.Sprintf("%s has a secret, and every user of this machine can read it (mode %#o)", path, mode), "chmod 600 " + path,
		}}
	default:
		return []Finding{{Name: name, Cause: path + " is for its owner only"}}
	}
}

// Writable looks whether files can be made in a folder, or the folder itself if
// it is not there yet. Nothing is left behind.
func Writable(name, folder string) Finding {
	_, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		above := existing(folder)
		if f := Writable(name, above); f.State != OK {
			f.Cause = folder + " is not there and cannot be made: " + f.Cause
			return f
		}
		return Finding{Name: name, Cause: folder + " is made by the first start"}
	}
	if err == nil {
		err = try(folder)
	}
	if err != nil {
		f := words(err)
		return Finding{name, Failed, f.Cause, f.Remedy}
	}
	return Finding{Name: name, Cause: folder + " can be written to"}
}

// existing returns the nearest folder above a path that is there.
func existing(path string) string {
	for {
		above := filepath.Dir(path)
		if _, err := os.Stat(above); err == nil || above == path {
			return above
		}
		path = above
	}
}

func try(folder string) error {
	f, err := os.CreateTemp(folder, ".whipcast-check-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString("x")
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// roomWarns is how much room there should be for an hour of a few streams.
const roomWarns = 1 << 30

// FreeSpace looks how much room the disk of a folder has.
func FreeSpace(name, folder string) Finding {
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		folder = existing(folder)
	}
	free, err := room(folder)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return Finding{Name: name, State: Skipped, Cause: "not known on this system"}
	case err != nil:
		f := words(err)
		return Finding{name, Failed, f.Cause, f.Remedy}
	}
	return roomFinding(name, folder, free)
}

func roomFinding(name, folder string, free uint64) Finding {
	f := Finding{Name: name, Cause: size(free) + " are free in " + folder}
	if free < roomWarns {
		f.State, f.Remedy = Warning, "make room: a stream of 6 Mb/s needs 2.7 GB an hour"
	}
	return f
}

func size(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// Buffer looks whether the kernel gives a socket the receive buffer that a
// gateway asks for.
func Buffer(name string, got, wanted int, err error) Finding {
	switch {
	case err != nil:
		f := fault.Fault{Cause: err.Error()}
		return Finding{name, Warning, f.Cause, ""}
	case got < wanted/2:
		return Finding{
			name, Warning, fmt.Sprintf("the kernel gives %d KiB of %d: bursts of many publishers lose packets", got>>10, wanted>>10),
			fmt.Sprintf("sysctl -w net.core.rmem_max=%d, and the same in /etc/sysctl.d", wanted),
		}
	}
	return Finding{Name: name, Cause: fmt.Sprintf("%d KiB", got>>10)}
}
