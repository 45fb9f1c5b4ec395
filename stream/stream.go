// Package stream is the centre of the gateway: named channels of RTP packets.
//
// A Stream exists before, between and after its publishers. One Session at a
// time writes packets into it; any number of Subscriptions read them, each with
// a cursor of its own in one Layer's ring. The package knows RTP and nothing
// else: no WebRTC, no HTTP, no files.
//
//	Session.Write ──▶ ring of the Layer ──▶ Subscription.Read   (packager)
//	                                    └─▶ Subscription.Read   (WHEP viewers)
//
// Invariant: Write never blocks and allocates nothing; a slow subscriber lags
// alone.
package stream

import (
	"errors"
	"time"
)

// Errors of this package.
var (
	// ErrBusy is returned by Publish while another principal publishes.
	ErrBusy = errors.New("stream has another publisher")
	// ErrTakenOver is the reason of a Session that a newer one of the same principal replaced.
	ErrTakenOver = errors.New("taken over by a newer session of the same publisher")
	// ErrClosed is the reason of a Session that was closed without any other reason.
	ErrClosed = errors.New("session closed")
	// ErrLagged is returned once by Read when the reader was overtaken by the
	// writer; the next Read goes on at the newest keyframe.
	ErrLagged = errors.New("reader lagged behind and skips to the next keyframe")
	// ErrOffline is returned once by Read after the last packet of a Source
	// whose publisher left; the next Read waits for the next publisher.
	ErrOffline = errors.New("publisher left")
	// ErrLayers is returned by Publish for an empty, repeated or unbounded list of layers.
	ErrLayers = errors.New("bad list of layers")
)

// Kind says whether a Layer is audio or video.
type Kind uint8

// The kinds of a Layer.
const (
	Audio Kind = iota + 1
	Video
)

// LayerID names one RTP sequence of a Stream: the audio, the only video, or one
// simulcast encoding of the video, named by its RID (RFC 8851).
type LayerID struct {
	Kind Kind
	RID  string // empty unless simulcast
}

// Codec says what the packets of a Layer carry.
type Codec struct {
	Name      string // "H264", "H265", "AV1", "VP9", "Opus" or "AAC" (RFC 3640, mode AAC-hbr)
	ClockRate uint32 // RTP timestamp units per second
	Channels  int    // audio only
	Fmtp      string // format parameters as negotiated, may be empty
}

// Layer describes one published Layer.
type Layer struct {
	ID    LayerID
	Codec Codec
	// OnRequest says that the publisher is expected to send a keyframe when
	// asked for one. OBS and FFmpeg do not (specs R34).
	OnRequest bool
}

// Offer is what a publisher brings.
type Offer struct {
	// Principal says who publishes: the same principal takes over its own older
	// session, another one gets ErrBusy.
	Principal string
	Layers    []Layer // 1 to 8, each ID once; best video layer first
}

// State is an immutable picture of a Stream.
type State struct {
	Version uint64    // rises by each change
	Live    bool      // a publisher is there
	Epoch   uint64    // of the present or, when not live, the last publisher; 0 before the first
	Sources []*Source // what feeds the layers in this Epoch, in the order of the Offer
	Since   time.Time // of the last change of Live or Epoch
	Left    error     // why the newest of the publishers that are gone left; nil: none did
}

// Packet is one RTP packet. It is immutable once written.
type Packet struct {
	Source    *Source   // what it came from; set by Write
	Arrival   time.Time // when it was received, with monotonic reading
	Timestamp uint32    // RTP timestamp
	Sequence  uint16    // RTP sequence number
	Marker    bool
	Keyframe  bool   // first packet in the ring of a picture that is a keyframe; set by Write
	Payload   []byte // without header, extensions and padding; may be empty (padding only). The ring keeps it: never reuse it
}

// Report is one RTCP sender report (RFC 3550 §6.4.1) that passed the checks.
type Report struct {
	NTP     uint64    // sender's clock, 32.32 fixed point; relative use only
	RTP     uint32    // the RTP timestamp of the same instant
	Arrival time.Time // when it was received
}
