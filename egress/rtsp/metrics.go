package rtsp

import "sync/atomic"

// Metrics count all viewers. They may be read from any goroutine.
type Metrics struct {
	Viewers atomic.Int64  // that play now
	Packets atomic.Uint64 // queued for viewers
	Skips   atomic.Uint64 // times that a viewer was too slow and went on later
}
