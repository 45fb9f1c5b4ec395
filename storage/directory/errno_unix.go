//go:build unix

package directory

import (
	"errors"
	"syscall"
)

// noFile says that a part of a path is a file, or that its end is a folder.
func noFile(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTEMPTY)
}
