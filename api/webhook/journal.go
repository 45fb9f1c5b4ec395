package webhook

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// journal is the file of what is on its way to one receiver: a line of JSON for each
// event, and one with its number alone when it is over. It does not wait for the
// disk: a process that is killed loses nothing, a machine that loses power the newest
// seconds. It is for one goroutine.
type journal struct {
	path string
	file *os.File // nil: what was written is not all there
	size int64
	live map[uint64]*entry
	most int64 // bytes that are read
}

const (
	slack   = 64 << 10 // bytes of a file that is never written anew
	maxLine = 2*maxBody + 1024
)

// openJournal returns the journal of a path, and what is on its way, in order. What
// cannot be read is left out: a line that was cut off when the machine stopped.
func openJournal(path string, most int64) (*journal, []*entry, error) {
	j := &journal{path: path, most: most}
	f, err := os.Open(path) //nolint:gosec // in data_dir
	if errors.Is(err, fs.ErrNotExist) {
		j.live = map[uint64]*entry{}
		return j, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open webhook journal: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(f, j.most))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, nil, fmt.Errorf("read webhook journal: %w", err)
	}
	j.live = readLines(content)
	return j, j.sorted(), nil
}

// readLines returns what is on its way by the lines of a journal.
func readLines(content []byte) map[uint64]*entry {
	live := map[uint64]*entry{}
	for line := range bytes.Lines(content) {
		var e entry
		if len(line) > maxLine || line[len(line)-1] != '\n' || json.Unmarshal(line, &e) != nil {
			continue
		}
		switch {
		case len(e.Body) == 0:
			delete(live, e.Number)
		case !usable(e):
		default:
			live[e.Number] = &e
		}
	}
	return live
}

// usable says whether an entry that was read can be sent.
func usable(e entry) bool {
	plain := func(r rune) bool { return r > ' ' && r < 0x7f }
	for _, r := range e.ID {
		if !plain(r) {
			return false
		}
	}
	return e.ID != "" && len(e.ID) <= 128 && len(e.Body) <= maxBody && !e.At.IsZero() && e.Number > 0 && e.Number < 1<<62
}

func (j *journal) sorted() []*entry {
	all := make([]*entry, 0, len(j.live))
	for _, e := range j.live {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.Number, b.Number) })
	return all
}

// begin notes an event.
func (j *journal) begin(e *entry) error {
	j.live[e.Number] = e
	return j.write(*e)
}

// end notes that an event is over.
func (j *journal) end(e *entry) error {
	delete(j.live, e.Number)
	return j.write(entry{Number: e.Number})
}

// write adds a line, or writes the file anew: when half of it is over, and when an
// earlier line could not be written.
func (j *journal) write(e entry) error {
	if j.file == nil || j.size > slack && j.size > 2*j.liveBytes() {
		return j.rewrite()
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write webhook journal: %w", err)
	}
	n, err := j.file.Write(append(line, '\n'))
	j.size += int64(n)
	if err != nil {
		_ = j.close()
		return fmt.Errorf("write webhook journal: %w", err)
	}
	return nil
}

func (j *journal) liveBytes() int64 {
	var n int64
	for _, e := range j.live {
		n += int64(len(e.Body)) + 256 // the rest of its line
	}
	return n
}

// rewrite writes a file of what is on its way, in place of the old one.
func (j *journal) rewrite() error {
	_ = j.close()
	fail := func(err error) error {
		return errors.Join(fmt.Errorf("write webhook journal: %w", err), remove(j.path+".new"))
	}
	f, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // in data_dir
	if err != nil {
		return fmt.Errorf("write webhook journal: %w", err)
	}
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	lines.SetEscapeHTML(false)
	for _, e := range j.sorted() {
		err = errors.Join(err, lines.Encode(e))
	}
	if err == nil {
		_, err = f.Write(text.Bytes())
	}
	if err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err != nil {
		return fail(errors.Join(err, f.Close()))
	}
	j.file, j.size = f, int64(text.Len())
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
