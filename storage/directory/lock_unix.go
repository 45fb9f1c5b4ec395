//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package directory

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock of an open folder, unless somebody has it: another
// process, on another machine too where the file system is shared.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR):
		return false, nil
	case errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.ENOSYS):
		return false, errors.ErrUnsupported
	}
	return false, os.NewSyscallError("flock", err)
}
