package hls

import "bytes"

// Gap is the line that says that the segment below it has no media
// (rfc8216bis §4.4.4.7).
const Gap = "#EXT-X-GAP\n"

// Names calls yield for each file that a playlist names and that has to be
// there, in the order of the text, until yield returns false: the URIs of
// segments, of parts, of initialization segments, of renditions and variants.
// Hints, reports on other renditions, and segments and parts that are gaps
// already need not be there.
//
// mark is where Gap can be put in to say that a segment is not there, -1 where
// it cannot. The text may be any text: what is no playlist names nothing, or
// something that does not exist.
func Names(text []byte, yield func(uri []byte, mark int) bool) {
	mark, gap := -1, false
	for at := 0; at < len(text); {
		line := text[at:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end]
		}
		start := at
		at += len(line) + 1
		line = bytes.TrimSuffix(line, []byte("\r"))
		switch {
		case len(line) == 0:
		case line[0] != '#':
			if !gap && !yield(line, mark) {
				return
			}
			mark, gap = -1, false
		case bytes.HasPrefix(line, []byte("#EXTINF:")):
			mark = start
		case bytes.Equal(line, []byte("#EXT-X-GAP")):
			gap = true
		default:
			if uri := required(line); uri != nil && !yield(uri, -1) {
				return
			}
		}
	}
}

// required returns the URI of a tag that needs its file.
func required(line []byte) []byte {
	name, attributes, _ := bytes.Cut(line, []byte(":"))
	switch string(name) {
	case "#EXT-X-MAP", "#EXT-X-MEDIA", "#EXT-X-I-FRAME-STREAM-INF":
	case "#EXT-X-PART":
		if bytes.Contains(attributes, []byte("GAP=YES")) {
			return nil
		}
	default:
		return nil
	}
	from, to := quotedAttribute(attributes, "URI")
	if from < 0 {
		return nil
	}
	return attributes[from:to]
}

// quotedAttribute returns where the value of an attribute stands in a list, -1 if
// there is none.
func quotedAttribute(attributes []byte, wanted string) (from, to int) {
	whole := len(attributes)
	// A quoted string may have what looks like an attribute: skip them all.
	for len(attributes) > 0 {
		name, rest, _ := bytes.Cut(attributes, []byte("="))
		if quoted, ok := bytes.CutPrefix(rest, []byte(`"`)); ok {
			value, after, closed := bytes.Cut(quoted, []byte(`"`))
			if closed && string(name) == wanted {
				from = whole - len(quoted)
				return from, from + len(value)
			}
			attributes = bytes.TrimPrefix(after, []byte(","))
			continue
		}
		_, attributes, _ = bytes.Cut(rest, []byte(","))
	}
	return -1, -1
}
