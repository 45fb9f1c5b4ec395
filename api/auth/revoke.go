package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Revocation takes back what was granted. Exactly one of the three is given.
type Revocation struct {
	Token string `json:"token,omitempty"` // a Grant's ID, such as that of a token or "key:NAME"
	// Principal takes back all that it got up to now. Tokens that are made later count.
	Principal string `json:"principal,omitempty"`
	// Stream takes back all tokens that were made up to now, for this stream. Keys of
	// the configuration stay.
	Stream string `json:"stream,omitempty"`

	At    time.Time `json:"at"`
	Until time.Time `json:"until"` // what it takes back has expired by then
}

// ErrRevocation says that a Revocation makes no sense.
var ErrRevocation = errors.New("cannot be revoked")

// check reports whether a Revocation makes sense.
func (r Revocation) check() error {
	given := 0
	for _, text := range []string{r.Token, r.Principal, r.Stream} {
		if len(text) > 512 {
			return fmt.Errorf("%w: longer than 512 bytes", ErrRevocation)
		}
		if text != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return fmt.Errorf("%w: name a token, a principal or a stream", ErrRevocation)
	case r.Token == ownerID || r.Principal == ownerID:
		return fmt.Errorf("%w: the publish token is changed in auth.publish_token, by a restart", ErrRevocation)
	}
	return nil
}

// maxRevoked is how many revocations are kept.
const maxRevoked = 100_000

// revoked are all revocations, to look up. It is immutable.
type revoked struct {
	tokens, principals, streams map[string]time.Time // when
	count                       int                  // of the list that it is of
}

// covers reports whether a grant is taken back for a stream. What was issued in the
// second of the revocation is, too: tokens tell no shorter time.
func (r *revoked) covers(g Grant, stream string) bool {
	if _, ok := r.tokens[g.ID]; ok && g.ID != "" {
		return true
	}
	if at, ok := r.principals[g.Principal]; ok && !g.Issued.After(at) {
		return true
	}
	at, ok := r.streams[stream]
	return ok && !g.Issued.IsZero() && !g.Issued.After(at)
}

// collect makes the table of a list, without what is over.
func collect(all []Revocation, now time.Time) *revoked {
	r := &revoked{tokens: map[string]time.Time{}, principals: map[string]time.Time{}, streams: map[string]time.Time{}, count: len(all)}
	for _, one := range all {
		if !now.Before(one.Until) {
			continue
		}
		for _, place := range []struct {
			in   map[string]time.Time
			name string
		}{{r.tokens, one.Token}, {r.principals, one.Principal}, {r.streams, one.Stream}} {
			if place.name != "" && one.At.After(place.in[place.name]) {
				place.in[place.name] = one.At
			}
		}
	}
	return r
}

// The files in the data directory.
const (
	keysFile    = "signing_keys.json" // a JSON Web Key Set; the first one signs
	revokedFile = "revoked.jsonl"     // a Revocation a line; only appended to while a gateway runs
)

// Folder is where signing keys and revocations are kept: the data directory. The
// gateway and whipcast token both use it, at the same time.
type Folder string

func (f Folder) path(name string) string { return filepath.Join(string(f), name) }

// Keyring reads the signing keys; without a file there are none.
func (f Folder) Keyring() (*Keyring, error) {
	text, err := os.ReadFile(f.path(keysFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ParseKeyring([]byte(`{"keys":[]}`))
	}
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	k, err := ParseKeyring(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(keysFile), err)
	}
	return k, nil
}

// SigningKeyring reads the signing keys, and makes the first one if none can sign.
func (f Folder) SigningKeyring() (*Keyring, error) {
	k, err := f.Keyring()
	if err != nil || k.sign != nil {
		return k, err
	}
	return f.Rotate()
}

// Rotate puts a new signing key in front of the others.
func (f Folder) Rotate() (*Keyring, error) {
	k, err := f.Keyring()
	if err != nil {
		return nil, err
	}
	text, err := k.rotated()
	if err != nil {
		return nil, err
	}
	if err := f.replace(keysFile, text); err != nil {
		return nil, fmt.Errorf("keep signing keys: %w", err)
	}
	return f.Keyring()
}

// Revocations reads all that are not over. A last line that is not complete yet is
// left for the next time.
func (f Folder) Revocations(now time.Time) ([]Revocation, error) {
	text, err := os.ReadFile(f.path(revokedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read revocations: %w", err)
	}
	all, err := readRevocations(text, now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(revokedFile), err)
	}
	return all, nil
}

func readRevocations(text []byte, now time.Time) ([]Revocation, error) {
	var all []Revocation
	n := 0
	for line := range bytes.Lines(text) {
		n++
		whole := bytes.HasSuffix(line, []byte("\n"))
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var r Revocation
		err := json.Unmarshal(line, &r)
		if err == nil {
			err = r.check()
		}
		switch {
		case err != nil && !whole:
		case err != nil:
			return nil, fmt.Errorf("line %d is no revocation; remove it", n)
		case now.Before(r.Until):
			all = append(all, r)
		}
	}
	if len(all) > maxRevoked {
		return nil, fmt.Errorf("%d revocations, at most %d are kept; revoke a principal or rotate the signing keys", len(all), maxRevoked)
	}
	return all, nil
}

// Append adds a Revocation. A running gateway sees it within a second or two.
func (f Folder) Append(r Revocation) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	// A gateway that starts may replace the file just now (see compact): then what was
	// written into the former one is written again.
	for range 5 {
		here, err := f.append(line)
		if err != nil {
			return fmt.Errorf("keep revocation: %w", err)
		}
		if here {
			return nil
		}
	}
	return errors.New("keep revocation: the file is replaced again and again")
}

// append adds a line, and reports whether the file is still the one of that name.
func (f Folder) append(line []byte) (bool, error) {
	file, err := os.OpenFile(f.path(revokedFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return false, err
	}
	text := append(bytes.Clone(line), '\n')
	if cut, err := incomplete(file); err != nil {
		return false, errors.Join(err, file.Close())
	} else if cut {
		text = append([]byte{'\n'}, text...)
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync()); err != nil {
		return false, errors.Join(err, file.Close())
	}
	mine, err := file.Stat()
	if err = errors.Join(err, file.Close(), f.give(revokedFile)); err != nil {
		return false, err
	}
	now, err := os.Stat(f.path(revokedFile))
	if err != nil {
		return false, err
	}
	return os.SameFile(mine, now), nil
}

// incomplete reports whether a file ends within a line.
func incomplete(file *os.File) (bool, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return false, err
	}
	last := make([]byte, 1)
	_, err = file.ReadAt(last, size-1)
	return last[0] != '\n', err
}

// compact removes what is over, if that is most of the file.
func (f Folder) compact(now time.Time) error {
	text, err := os.ReadFile(f.path(revokedFile))
	if err != nil || bytes.Count(text, []byte("\n")) < 1000 {
		return nil //nolint:nilerr // no file, or one that Revocations has complained of
	}
	all, err := readRevocations(text, now)
	if err != nil || 2*len(all) > bytes.Count(text, []byte("\n")) {
		return err
	}
	var b strings.Builder
	for _, r := range all {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	return f.replace(revokedFile, []byte(b.String()))
}

// replace writes a file that only its owner may read. It is there as a whole or not
// at all, whenever the machine stops.
func (f Folder) replace(name string, text []byte) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(string(f), "."+name+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), f.path(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return f.give(name)
}

// state tells versions of a file apart.
func (f Folder) state(name string) string {
	s, err := os.Stat(f.path(name))
	if err != nil {
		return "none"
	}
	return fmt.Sprint(s.Size(), s.ModTime().UnixNano())
}
