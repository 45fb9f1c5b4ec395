package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/whipcast/whipcast/configs"
)

// tokenFile is the name of the publish token's file in the data directory.
const tokenFile = "publish_token"

// secret is the publish token and where it comes from.
type secret struct {
	token string
	path  string // of the file that keeps it; empty when it is configured
	fresh bool   // made by this start
}

// publishToken returns the token that is kept in the data directory, or makes
// one there. The directory is made when it is missing. The error is one line
// that names data_dir.
func publishToken(dir string) (secret, error) {
	path := filepath.Join(dir, tokenFile)
	fail := func(err error, remedy string) (secret, error) {
		return secret{}, &configs.Error{Key: "data_dir", Value: dir, Cause: err.Error(), Remedy: remedy}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err, "name a folder that this user may make, or set auth.publish_token")
	}
	kept, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
	switch {
	case err == nil && strings.TrimSpace(string(kept)) != "":
		return secret{token: strings.TrimSpace(string(kept)), path: path}, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fail(err, "let this user read it, or set auth.publish_token")
	}
	token := rand.Text() // at least 128 bits
	if err := writeSecret(path, token); err != nil {
		return fail(err, "name a folder that this user may write to, or set auth.publish_token")
	}
	return secret{token: token, path: path, fresh: true}, nil
}

// writeSecret writes a file that only its owner may read. It is there as a whole
// or not at all, whenever the machine stops.
func writeSecret(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+tokenFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
