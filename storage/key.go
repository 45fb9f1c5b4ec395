package storage

import (
	"errors"
	"fmt"
	"strings"
)

// ErrKey says that a key cannot name an Object. It stays so however often it is
// tried.
var ErrKey = errors.New("key is not valid")

const (
	maxKey  = 1000 // bytes: S3 takes 1,024 with its prefix
	maxName = 200  // bytes between slashes: file systems take 255
)

// CheckKey returns an ErrKey that says what is wrong with a key, or nil.
//
// A key is a path of names with a slash between them. A name has letters,
// digits and - . _ only, and begins with none of the dots: so a key is the same
// in a folder, in a bucket and in a URL, and never leaves what it is put in.
func CheckKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("%w: %d bytes are too many, %d are the most", ErrKey, len(key), maxKey)
	}
	for name := range strings.SplitSeq(key, "/") {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: a name between slashes is empty", ErrKey)
	case name[0] == '.':
		return fmt.Errorf("%w: %.50q begins with a dot", ErrKey, name)
	case len(name) > maxName:
		return fmt.Errorf("%w: %.50q… has %d bytes, %d are the most", ErrKey, name, len(name), maxName)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return fmt.Errorf("%w: %.50q has a character other than letters, digits and - . _", ErrKey, name)
		}
	}
	return nil
}
