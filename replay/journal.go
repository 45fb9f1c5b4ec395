package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// fileLines is how many lines one file of a journal has, about.
	fileLines = 16384
	// maxFiles bounds a journal: the oldest file goes when there is one more.
	maxFiles = 128
	// maxLine bounds a line: what is longer is damaged.
	maxLine = 8 << 10
)

// journal is a log in files of bounded size: path.00000.log, path.00001.log, …
// It does not wait for the disk: a process that is killed loses nothing.
type journal struct {
	path string

	mu    sync.Mutex
	known bool // below mu, as are the others
	file  int  // the newest
	lines int  // in it
}

func journalFile(path string, n int) string { return fmt.Sprintf("%s.%05d.log", path, n) }

// journalFiles returns the numbers of the files that there are, oldest first.
func journalFiles(path string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []int
	for _, e := range entries { // sorted by name
		digits, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		digits, log := strings.CutSuffix(digits, ".log")
		if n, err := strconv.Atoi(digits); ok && log && err == nil && n >= 0 {
			all = append(all, n)
		}
	}
	return all, nil
}

// append adds whole lines. A new file begins with what head returns, if any. It
// says whether the oldest file had to go.
func (j *journal) append(lines []byte, head func() []byte) (dropped bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.known {
		if err := j.learn(); err != nil {
			return false, err
		}
	}
	if j.lines >= fileLines {
		j.file, j.lines = j.file+1, 0
		if head != nil {
			lines = append(head(), lines...)
		}
		if j.file >= maxFiles {
			dropped = os.Remove(journalFile(j.path, j.file-maxFiles)) == nil
		}
	}
	f, err := os.OpenFile(journalFile(j.path, j.file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return dropped, err
	}
	_, err = f.Write(lines)
	if err = errors.Join(err, f.Close()); err != nil {
		j.known = false // there may be half a line
		return dropped, err
	}
	j.lines += bytes.Count(lines, []byte{'\n'})
	return dropped, nil
}

// learn finds where the journal ends. Half a line is ended so that it is none.
func (j *journal) learn() error {
	all, err := journalFiles(j.path)
	if err != nil || len(all) == 0 {
		j.known = err == nil
		return err
	}
	j.file, j.lines = all[len(all)-1], 0
	content, err := os.ReadFile(journalFile(j.path, j.file)) // some megabytes at most
	if err != nil {
		return err
	}
	j.lines = bytes.Count(content, []byte{'\n'})
	if len(content) > 0 && content[len(content)-1] != '\n' {
		f, err := os.OpenFile(journalFile(j.path, j.file), os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteString(" torn\n")
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		j.lines++
	}
	j.known = true
	return nil
}

// errStop ends readJournal without an error.
var errStop = errors.New("enough")

// readJournal calls visit for each whole line, without its end, until it returns
// errStop or another error. The line is valid until visit returns. A file that goes meanwhile is empty.
func readJournal(path string, visit func(line []byte) error) error {
	all, err := journalFiles(path)
	for _, n := range all {
		if err == nil {
			err = readLines(journalFile(path, n), visit)
		}
	}
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func readLines(path string, visit func(line []byte) error) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	r := bufio.NewReaderSize(f, maxLine)
	long := false
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
			continue
		case errors.Is(err, io.EOF): // what is left was cut off
			return nil
		case err != nil:
			return err
		}
		if !long {
			if err := visit(line[:len(line)-1]); err != nil {
				return err
			}
		}
		long = false
	}
}

// remove removes a file that may not be there.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// write replaces a file at once.
func write(path string, content []byte) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	err := os.WriteFile(temporary, content, 0o600)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	return err
}

func writeTime(path string, at time.Time) error {
	return write(path, []byte(at.UTC().Format(time.RFC3339Nano)+"\n"))
}

// readTime reads what writeTime wrote: the zero time if there is no such file.
func readTime(path string) (time.Time, error) {
	content, err := read(path)
	if len(content) == 0 || err != nil {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(content)))
	if err != nil { // damaged: when it was written is as good
		about, statErr := os.Stat(path)
		if statErr != nil {
			return time.Time{}, statErr
		}
		return about.ModTime(), nil
	}
	return at, nil
}

// read returns a small file's content, nothing if there is none.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(f, 1<<20))
}
