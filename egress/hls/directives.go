package hls

import (
	"errors"
	"strconv"
	"strings"
)

// What a query can have wrong. The texts are for the viewer.
var (
	errTwice   = errors.New("a delivery directive is given twice")
	errInteger = errors.New("_HLS_msn and _HLS_part must be decimal integers of at most 64 bits")
	errPart    = errors.New("_HLS_part needs _HLS_msn")
)

// skip says what a delta update may leave out.
type skip uint8

const (
	skipNothing  skip = iota // the whole playlist
	skipSegments             // _HLS_skip=YES
	skipDates                // _HLS_skip=v2: segments and date ranges
)

// directives are the delivery directives of a media playlist request
// (rfc8216bis §6.2.5).
type directives struct {
	hasMSN  bool
	hasPart bool // only with hasMSN
	skip    skip
	msn     uint64
	part    uint64

	visibility visibility // of the answer: not from the query
}

// parseDirectives reads a raw query. All parameters but the three directives
// are ignored, those that begin with _HLS_ included (specs L70). Directives are
// never percent-encoded by players, so an encoded number is no number.
func parseDirectives(query string) (directives, error) {
	var (
		d       directives
		hasSkip bool
		err     error
	)
	for more := query != ""; more; {
		var pair string
		pair, query, more = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case "_HLS_msn":
			err = integer(value, &d.msn, &d.hasMSN)
		case "_HLS_part":
			err = integer(value, &d.part, &d.hasPart)
		case "_HLS_skip":
			if hasSkip {
				err = errTwice
			}
			hasSkip = true
			d.skip = parseSkip(value)
		}
		if err != nil {
			return directives{}, err
		}
	}
	if d.hasPart && !d.hasMSN {
		return directives{}, errPart
	}
	return d, nil
}

// parseSkip reads the value of _HLS_skip. Others are ignored (specs L67).
func parseSkip(value string) skip {
	switch value {
	case "YES":
		return skipSegments
	case "v2":
		return skipDates
	}
	return skipNothing
}

// integer reads one number that may be given once.
func integer(text string, into *uint64, given *bool) error {
	if *given {
		return errTwice
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return errInteger
	}
	*into, *given = n, true
	return nil
}
