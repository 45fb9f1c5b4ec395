// Package storage says what a file of a presentation is, and who keeps it.
//
// An Object is immutable once it was Put, except that a playlist's key is Put
// again with newer content. A Sink keeps Objects: memory for our own origin,
// later a directory, an S3 bucket, an HTTP server. The package knows neither
// HLS text nor RTP nor HTTP.
package storage

import (
	"context"
	"errors"
	"time"
)

// ErrNotFound says that no Object has this key, or that it never will.
var ErrNotFound = errors.New("object not found")

// Kind is a set of one or more kinds of Objects.
type Kind uint16

// The kinds.
const (
	Init         Kind = 1 << iota // initialization segment (EXT-X-MAP)
	Part                          // partial segment
	Segment                       // complete media segment
	Playlist                      // media playlist without parts: for buckets
	LowLatency                    // media playlist with parts: for an origin that can hold requests
	Multivariant                  // multivariant playlist
	// Held says that an earlier run of the program has stored the Object of that
	// key: this one has no Body. Only a Queue takes it; it finds out whether that is
	// true. Only keeps it from all others.
	Held
	// Lease says who writes a stream. Only a Queue with a Fence puts one, and no
	// cache may keep it.
	Lease
)

// Object is one file of a presentation. All its memory is immutable.
type Object struct {
	Key  string // slash-separated, made of safe characters only
	Kind Kind   // exactly one
	Type string // media type, as in a Content-Type header
	// Encoding is how Body is compressed, as in a Content-Encoding header; "": it
	// is not.
	Encoding string
	Body     Body
	// Delta is the playlist's delta update (rfc8216bis §6.2.5.1). Only with
	// Kind LowLatency; empty when there is nothing to skip.
	Delta Body
	// DeltaDates is the delta update that skips date ranges, too (_HLS_skip=v2).
	// Empty when the playlist does not offer it: then Delta is both.
	DeltaDates Body
	Position   Position  // playlists: where the playlist ends
	Modified   time.Time // when its content was made
}

// Position says what a playlist lists, so that an origin can tell whether a
// blocked request can be answered without reading playlist text.
type Position struct {
	// MSN is the media sequence number of the open segment: all segments before
	// it are listed and complete.
	MSN uint64
	// Parts is how many parts of segment MSN are listed.
	Parts int
	// LastParts is how many parts segment MSN-1 had when it was closed (0 when
	// there is no such segment).
	LastParts int
	Hint      string        // full key of the hinted next part; "" without one
	Ended     bool          // the playlist has EXT-X-ENDLIST
	Target    time.Duration // EXT-X-TARGETDURATION
	Part      time.Duration // PART-TARGET; 0 for a playlist without parts
}

// Sink keeps Objects. Both methods are safe for concurrent use and repeatable:
// doing the same thing twice is the same as doing it once.
type Sink interface {
	// Put stores o under o.Key, replacing what was there.
	Put(ctx context.Context, o Object) error
	// Delete removes the Object of that key. Deleting what is gone, or was never
	// there, is success; whoever waits for the key learns that it never comes.
	Delete(ctx context.Context, key string) error
}
