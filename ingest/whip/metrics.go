package whip

import "sync/atomic"

// Metrics counts what the package does. The zero value works; it may be read at any
// time.
type Metrics struct {
	Cut          atomic.Uint64 // publishers that sent more than they may
	CaptureTimes atomic.Uint64 // packets that told when they were captured
}
