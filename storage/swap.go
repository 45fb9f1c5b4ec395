package storage

import (
	"context"
	"errors"
	"time"
)

// ErrChanged says that an Object was not swapped: somebody else has changed it.
var ErrChanged = errors.New("object has another version")

// Swapper is a store with a conditional PUT (RFC 9110 §13.1.1, §13.1.2). Its
// methods may be called from any goroutine.
type Swapper interface {
	// Swap stores o if what is stored under its key has that version, "" if nothing
	// is, and returns the new version; "" if the store does not tell. Otherwise the
	// error is ErrChanged. After any other error it may have been stored. A store may
	// ignore the condition: try a wrong one.
	Swap(ctx context.Context, o Object, version string) (string, error)
	// Load returns what is stored under a key, else ErrNotFound.
	Load(ctx context.Context, key string) (Version, error)
}

// Version is an Object as it is stored now.
type Version struct {
	Object
	Tag string // never "", another one whenever the content is another
	// Age is how long it has been so by the store's own clock; negative: the store
	// does not tell.
	Age time.Duration
}
