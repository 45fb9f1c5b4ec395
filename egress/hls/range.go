package hls

import (
	"strconv"
	"strings"
)

// verdict says what a Range field asks for.
type verdict uint8

const (
	whole  verdict = iota // everything: the field is malformed, has another unit or several ranges
	within                // one range
	beyond                // nothing: the file is shorter
)

// parseRange reads a Range field for a file of that size (RFC 9110 §14.1.2).
// It returns the first byte and the one after the last. A server may ignore
// Range; we do so for several ranges, which no player needs.
func parseRange(field string, size int) (from, end int, v verdict) {
	ranges, ok := strings.CutPrefix(field, "bytes=")
	if !ok {
		return 0, size, whole
	}
	first, last, ok := strings.Cut(strings.TrimSpace(ranges), "-")
	if !ok || first == "" && last == "" {
		return 0, size, whole
	}
	if first == "" { // the last so many bytes
		n, ok := position(last)
		switch {
		case !ok:
			return 0, size, whole
		case n == 0 || size == 0:
			return 0, 0, beyond
		}
		return max(size-n, 0), size, within
	}
	from, ok = position(first)
	end = size
	if ok && last != "" {
		var to int
		to, ok = position(last)
		ok = ok && to >= from
		end = min(size, max(to, to+1)) // to+1 may overflow
	}
	switch {
	case !ok:
		return 0, size, whole
	case from >= size:
		return 0, 0, beyond
	}
	return from, end, within
}

// position reads a byte position. One too large for an int is past every file.
func position(digits string) (int, bool) {
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return int(^uint(0) >> 1), true
	}
	return n, true
}
