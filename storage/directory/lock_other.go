//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package directory

import (
	"errors"
	"os"
)

// tryLock says that there is no lock.
func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
