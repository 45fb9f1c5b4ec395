//go:build !unix

package directory

// noFile says that a part of a path is a file: elsewhere that is
// fs.ErrNotExist.
func noFile(error) bool { return false }
