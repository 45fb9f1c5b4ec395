//go:build noaac

package aac

// newEncoder has nothing to make: the build leaves the LGPL encoder out.
func newEncoder(int) (encoder, error) { return nil, ErrUnavailable }
