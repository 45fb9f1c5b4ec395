//go:build linux || darwin

package check

import "golang.org/x/sys/unix"

// room returns how many bytes can be written below a folder.
func room(folder string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil //nolint:gosec // sizes are not negative
}
