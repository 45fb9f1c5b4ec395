package webhook

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, path string) (*journal, []*entry) {
	t.Helper()
	j, left, err := openJournal(path, maxJournal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.close() })
	return j, left
}

func someEntry(n uint64) *entry {
	return &entry{Number: n, ID: "msg_x", At: time.Unix(1000, 0), Stream: "show", Body: json.RawMessage(`{"type":"a<b"}`)}
}

// TestJournal: what is not over is there after a restart, in order, whatever the last
// line is.
func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.log")
	j, left := open(t, path)
	if len(left) != 0 {
		t.Fatalf("a new one has %v", left)
	}
	for n := range uint64(4) {
		if err := j.begin(someEntry(n + 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.end(someEntry(2)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		if err := os.WriteFile(path, whole[:len(whole)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again, left := open(t, path)
		want := readLines(whole[:bytes.LastIndexByte(whole[:len(whole)-cut], '\n')+1])
		if len(left) != len(want) {
			t.Fatalf("cut by %d: %s, want %d", cut, numbers(left), len(want))
		}
		if cut == 0 && (numbers(left) != "1 3 4" || string(left[0].Body) != `{"type":"a<b"}` || left[0].Stream != "show") {
			t.Errorf("%s, %+v", numbers(left), left[0])
		}
		if cut%7 != 0 { // what is written behind a cut is read
			continue
		}
		if err := again.begin(someEntry(9)); err != nil {
			t.Fatal(err)
		}
		if _, left := open(t, path); len(left) != len(want)+1 || left[len(left)-1].Number != 9 {
			t.Fatalf("cut by %d, then one more: %s", cut, numbers(left))
		}
	}
}

// TestJournalStaysSmall: what is over goes from the file.
func TestJournalStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.log")
	j, _ := open(t, path)
	for n := range uint64(3000) {
		e := someEntry(n + 1)
		if err := j.begin(e); err != nil {
			t.Fatal(err)
		}
		if n >= 20 {
			if err := j.end(someEntry(n - 19)); err != nil {
				t.Fatal(err)
			}
		}
		if j.size > 2*slack {
			t.Fatalf("%d bytes after %d events", j.size, n)
		}
	}
	if _, left := open(t, path); len(left) != 20 {
		t.Errorf("%s are left", numbers(left))
	}
}

// TestJournalComesBack: while the disk takes nothing all is remembered, and written
// when it takes something again.
func TestJournalComesBack(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "gone")
	j, _ := open(t, filepath.Join(folder, "j.log"))
	for n := range uint64(3) {
		if err := j.begin(someEntry(n + 1)); err == nil || !strings.HasPrefix(err.Error(), "write webhook journal: ") {
			t.Fatalf("error %v", err)
		}
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.end(someEntry(1)); err != nil {
		t.Fatal(err)
	}
	if _, left := open(t, j.path); numbers(left) != "2 3" {
		t.Errorf("%s are there", numbers(left))
	}
	if info, err := os.Stat(j.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// FuzzJournal: whatever the file has, what is read can be sent, and is the same when
// it is written and read again.
func FuzzJournal(f *testing.F) {
	line, err := json.Marshal(someEntry(7))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(line, '\n'))
	f.Add([]byte(string(line) + "\n{\"n\":7}\n" + string(line[:20])))
	f.Add([]byte("\n\n{}\n{\"n\":1,\"id\":\"a\\nb\",\"at\":\"2026-01-01T00:00:00Z\",\"body\":{}}\n\xff"))
	f.Add([]byte("{\"n\":18446744073709551615,\"id\":\"x\",\"at\":\"2026-01-01T00:00:00Z\",\"body\":null}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		live := readLines(content)
		var text bytes.Buffer
		for n, e := range live {
			if n != e.Number || strings.ContainsAny(e.ID, "\r\n") || e.ID == "" || !json.Valid(e.Body) || len(e.Body) > maxBody {
				t.Errorf("entry %+v", e)
			}
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(append(line, '\n'))
		}
		again := readLines(text.Bytes())
		for n, e := range live {
			if again[n] == nil || !again[n].At.Equal(e.At) || again[n].ID != e.ID || again[n].Stream != e.Stream {
				t.Errorf("%+v became %+v", e, again[n])
			}
		}
	})
}
