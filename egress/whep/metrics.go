package whep

import "sync/atomic"

// Metrics counts what the package does. The zero value works; it may be read
// at any time.
type Metrics struct {
	Viewers          atomic.Int64  // connected now
	Sessions         atomic.Uint64 // accepted
	Refused          atomic.Uint64 // by MaxViewers
	Packets          atomic.Uint64 // sent, without retransmits
	Bytes            atomic.Uint64 // of payload, without retransmits
	NACKs            atomic.Uint64 // sequence numbers asked for again
	Retransmits      atomic.Uint64 // and sent again
	KeyframeRequests atomic.Uint64 // of viewers and for viewers
	Lags             atomic.Uint64 // a worker was overtaken by the publisher
	WriteErrors      atomic.Uint64 // trains that could not be sent
	Malformed        atomic.Uint64 // RTCP that could not be parsed
	EventStreams     atomic.Int64  // open now
	EventsSent       atomic.Uint64
	EventsDropped    atomic.Uint64 // a newer one of its kind came first, or nobody read them
	Channels         atomic.Int64  // data channels open now
	MessagesSent     atomic.Uint64 // by data channels
	MessagesDropped  atomic.Uint64 // for slow viewers, too long, or too many that are not due
	Ups, Downs       atomic.Uint64 // viewers that changed to a better or a lesser Layer
	Probes           atomic.Uint64 // tries whether a network carries more
	Padding          atomic.Uint64 // packets without media that were sent for them
}
