package storage

import "context"

// Holder is a Sink that can tell whether it has an Object.
type Holder interface {
	// Has says whether there is an Object of this key. An error says that it is not
	// known: no answer, or not allowed to look.
	Has(ctx context.Context, key string) (bool, error)
}
