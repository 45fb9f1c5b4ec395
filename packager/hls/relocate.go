package hls

import (
	"bytes"
	"slices"
	"strconv"
	"time"
)

// Relocation says how a playlist's text becomes that of an origin whose media is
// at another place (docs/adr/0009). What it does not name stays as it is, byte for byte.
type Relocation struct {
	// Prefix returns what stands before the URI of a file that is at the other
	// place; "" for one that the origin serves itself. A segment that is nowhere gets
	// EXT-X-GAP (specs L27).
	Prefix func(uri []byte) (prefix string, nowhere bool)
	// Report returns the last part that another rendition's playlist lists as it
	// can be read now (specs L58); part is negative if it has none. Without listed
	// there is no report. nil: reports stay.
	Report func(uri []byte) (msn uint64, part int, listed bool)
	// Block gives a playlist without parts CAN-BLOCK-RELOAD, and HOLD-BACK, which
	// is then 3 × EXT-X-TARGETDURATION (specs L52, L54).
	Block bool
	// Late is how much later than others a part may be listed: so much longer is
	// PART-HOLD-BACK (specs L51).
	Late time.Duration
}

// isGap is the mark of a segment that is a gap already.
const isGap = -2

// Apply returns the text changed. Preload hints are left out: a hinted URI must be
// the one that is listed later (specs L56), and nobody at the other place holds a
// request for what is not there yet (L57). It is safe with any text.
func (r Relocation) Apply(text []byte) []byte {
	out := make([]byte, 0, len(text)+len(text)/2+128)
	control, mark := r.Block, -1
	for len(text) > 0 {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line = text[:end+1]
		}
		text = text[len(line):]
		switch {
		case len(bytes.TrimRight(line, "\r\n")) == 0:
			out = append(out, line...)
		case line[0] != '#':
			out = r.segment(out, line, mark)
			mark = -1
		case bytes.HasPrefix(line, []byte("#EXTINF:")):
			if mark != isGap {
				mark = len(out)
			}
			out = append(out, line...)
		case bytes.HasPrefix(line, []byte("#EXT-X-GAP")):
			mark = isGap
			out = append(out, line...)
		case control && bytes.HasPrefix(line, []byte("#EXT-X-TARGETDURATION:")):
			out, control = block(append(out, line...), line), false
		default:
			out = r.tag(out, line)
		}
	}
	return out
}

// tag appends a tag that says nothing of how it goes on.
func (r Relocation) tag(out, line []byte) []byte {
	switch {
	case bytes.HasPrefix(line, []byte("#EXT-X-PART:")), bytes.HasPrefix(line, []byte("#EXT-X-MAP:")):
		return r.move(out, line)
	case bytes.HasPrefix(line, []byte("#EXT-X-PRELOAD-HINT:")):
		return out
	case r.Late > 0 && bytes.HasPrefix(line, []byte("#EXT-X-SERVER-CONTROL:")):
		return holdBack(out, line, r.Late)
	case r.Report != nil && bytes.HasPrefix(line, []byte("#EXT-X-RENDITION-REPORT:")):
		return r.report(out, line)
	}
	return append(out, line...)
}

// segment appends the URI of a segment. mark is where EXT-X-GAP can be put in;
// negative if it is there, or cannot.
func (r Relocation) segment(out, line []byte, mark int) []byte {
	prefix, nowhere := r.Prefix(bytes.TrimRight(line, "\r\n"))
	if nowhere && mark >= 0 {
		out = slices.Insert(out, mark, []byte(Gap)...)
	}
	return append(append(out, prefix...), line...)
}

// uriOf returns where a tag's URI stands in its line, -1 if it has none.
func uriOf(line []byte) (from, to int) {
	colon := bytes.IndexByte(line, ':') + 1
	from, to = quotedAttribute(line[colon:], "URI")
	if from < 0 {
		return -1, -1
	}
	return colon + from, colon + to
}

// move appends a tag whose URI may be of the other place.
func (r Relocation) move(out, line []byte) []byte {
	from, to := uriOf(line)
	if from < 0 {
		return append(out, line...)
	}
	prefix, _ := r.Prefix(line[from:to])
	out = append(append(out, line[:from]...), prefix...)
	return append(out, line[from:]...)
}

// report appends a rendition report of what can be read.
func (r Relocation) report(out, line []byte) []byte {
	from, to := uriOf(line)
	if from < 0 {
		return out
	}
	msn, part, listed := r.Report(line[from:to])
	if !listed {
		return out
	}
	return appendReport(out, string(line[from:to]), msn, part)
}

// holdBack appends EXT-X-SERVER-CONTROL with a longer PART-HOLD-BACK.
func holdBack(out, line []byte, by time.Duration) []byte {
	const name = "PART-HOLD-BACK="
	from := bytes.Index(line, []byte(name))
	if from < 0 {
		return append(out, line...)
	}
	from += len(name)
	to := from
	for to < len(line) && (line[to] == '.' || '0' <= line[to] && line[to] <= '9') {
		to++
	}
	seconds, err := strconv.ParseFloat(string(line[from:to]), 64)
	if err != nil || seconds > time.Hour.Seconds() {
		return append(out, line...)
	}
	out = appendShort(append(out, line[:from]...), grainsUp(time.Duration(seconds*float64(time.Second)).Round(grain)+by))
	return append(out, line[to:]...)
}

// block appends EXT-X-SERVER-CONTROL behind a line with EXT-X-TARGETDURATION.
func block(out, line []byte) []byte {
	_, value, _ := bytes.Cut(line, []byte(":"))
	target, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 32)
	if err != nil || line[len(line)-1] != '\n' {
		return out
	}
	out = append(out, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK="...)
	return append(strconv.AppendInt(out, 3*target, 10), '\n')
}
