//go:build unix

package auth

import (
	"os"
	"syscall"
)

// give makes a file belong to whom the folder belongs to: who runs whipcast token
// may be root, while the gateway is not.
func (f Folder) give(name string) error {
	folder, err := os.Stat(string(f))
	if err != nil {
		return err
	}
	owner, ok := folder.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(f.path(name), int(owner.Uid), int(owner.Gid))
}
