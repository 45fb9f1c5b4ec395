package hls

import (
	"time"

	"github.com/whipcast/whipcast/storage"
)

// readySegment reports whether a request with _HLS_msn alone can be answered:
// segment msn or a later one is listed and complete (specs L60). A playlist
// that has ended answers everything (specs L63).
func readySegment(p storage.Position, msn uint64) bool {
	return p.Ended || p.MSN > msn
}

// readyPart reports whether a request with _HLS_msn and _HLS_part can be
// answered: that part or a later one is listed (specs L60). A part beyond the
// last one of a closed segment is part 0 of the next segment (specs L61).
func readyPart(p storage.Position, msn, part uint64) bool {
	switch {
	case p.Ended:
		return true
	case p.MSN < msn:
		return false
	case p.MSN == msn:
		return part < uint64(max(p.Parts, 0))
	case p.MSN-1 == msn && part >= uint64(max(p.LastParts, 0)):
		return p.Parts > 0
	}
	return true
}

// ready reports whether d can be answered from a playlist at p. Without parts
// in the playlist _HLS_part means nothing.
func (d directives) ready(p storage.Position) bool {
	switch {
	case !d.hasMSN:
		return true
	case d.hasPart && p.Part > 0:
		return readyPart(p, d.msn, d.part)
	}
	return readySegment(p, d.msn)
}

// tooFar reports whether d asks for what no player that follows the playlist
// can expect: a segment more than two past the last complete one, or a part
// past the Advance Part Limit (specs L65).
func (d directives) tooFar(p storage.Position) bool {
	switch {
	case !d.hasMSN || p.Ended || d.msn < p.MSN:
		return false
	case d.msn-p.MSN > 1: // the last complete one is p.MSN-1
		return true
	case !d.hasPart || p.Part <= 0:
		return false
	case d.msn == p.MSN:
		listed := uint64(max(p.Parts, 0))
		return d.part >= listed && d.part-listed >= advanceParts(p.Part)
	}
	return d.part >= advanceParts(p.Part)
}

// advanceParts is the Advance Part Limit: three, or as many as fill three
// seconds if parts are shorter than one (rfc8216bis §6.2.5.2).
func advanceParts(part time.Duration) uint64 {
	if part >= time.Second {
		return 3
	}
	return uint64((3*time.Second + part - 1) / part)
}
