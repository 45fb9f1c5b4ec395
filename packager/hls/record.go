package hls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ErrRecord says that a line is none of a record. It is from outside: a file may
// be cut off or damaged.
var ErrRecord = errors.New("line of the record is not valid")

const (
	maxRecordLine = 4 << 10
	maxDuration   = time.Hour
)

// Entry is a line of a presentation's record: a segment of one rendition.
type Entry struct {
	Rendition string // its directory, such as video-2
	MSN       uint64
	Bytes     int64
	Listed
}

// Description is the other line of a record: what a rendition is. It comes before
// the first segment, and again when something has changed.
type Description struct {
	Rendition  string        `json:"rendition"`
	Target     time.Duration `json:"target"` // EXT-X-TARGETDURATION
	Codecs     string        `json:"codecs"` // RFC 6381
	Width      int           `json:"width,omitempty"`
	Height     int           `json:"height,omitempty"`
	FrameRate  float64       `json:"frameRate,omitempty"`
	VideoRange string        `json:"videoRange,omitempty"` // SDR, HLG or PQ
	Channels   int           `json:"channels,omitempty"`   // of audio; 0: it is video
}

// AppendEntry appends the line of e, with its end:
//
//	s video 42 200000 312500 s00000042.m4s init-a1b2c3d4.mp4 1763740000000 -
//
// Fields are rendition, media sequence number, duration in 10 µs, bytes, name,
// name of the initialization segment, program date-time in Unix milliseconds (- if
// it is not known), and - or what holds: d, a discontinuity precedes it; g, it has no
// media.
func AppendEntry(b []byte, e Entry) []byte {
	b = append(b, "s "...)
	b = append(append(b, e.Rendition...), ' ')
	b = append(strconv.AppendUint(b, e.MSN, 10), ' ')
	b = append(strconv.AppendInt(b, grains(e.Duration), 10), ' ')
	b = append(strconv.AppendInt(b, e.Bytes, 10), ' ')
	b = append(append(b, e.URI...), ' ')
	b = append(append(b, e.Init...), ' ')
	if e.Time.IsZero() {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, e.Time.UnixMilli(), 10)
	}
	b = append(b, ' ')
	if e.Discontinuity {
		b = append(b, 'd')
	}
	if e.Gap {
		b = append(b, 'g')
	}
	if !e.Discontinuity && !e.Gap {
		b = append(b, '-')
	}
	return append(b, '\n')
}

// AppendDescription appends the line of d, with its end.
func AppendDescription(b []byte, d Description) ([]byte, error) {
	line, err := json.Marshal(d)
	if err != nil {
		return b, fmt.Errorf("describe %s: %w", d.Rendition, err)
	}
	return append(append(b, line...), '\n'), nil
}

// IsDescription says whether a line of a record is a Description rather than an
// Entry. It need not be valid.
func IsDescription(line []byte) bool { return len(line) > 0 && line[0] == '{' }

// ParseDescription reads a line that AppendDescription has written, without its end.
func ParseDescription(line []byte) (Description, error) {
	var d Description
	if len(line) > maxRecordLine {
		return d, fmt.Errorf("%w: %d bytes", ErrRecord, len(line))
	}
	if err := json.Unmarshal(line, &d); err != nil {
		return d, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	colours := map[string]bool{"": true, "SDR": true, "HLG": true, "PQ": true}[d.VideoRange]
	sizes := d.Width >= 0 && d.Height >= 0 && d.Channels >= 0 && d.FrameRate >= 0 && d.FrameRate < 1e6
	switch {
	case !isName(d.Rendition):
		return d, fmt.Errorf("%w: rendition %.50q", ErrRecord, d.Rendition)
	case d.Target <= 0 || d.Target > maxDuration:
		return d, fmt.Errorf("%w: target duration %v", ErrRecord, d.Target)
	case d.Codecs == "" || checkQuoted("codecs", d.Codecs) != nil:
		return d, fmt.Errorf("%w: codecs %.50q", ErrRecord, d.Codecs)
	case !sizes || !colours:
		return d, fmt.Errorf("%w: %.200q", ErrRecord, line)
	}
	return d, nil
}

// ParseEntry reads a line that AppendEntry has written, without its end.
func ParseEntry(line []byte) (Entry, error) {
	var e Entry
	fields := bytes.Split(line, []byte{' '})
	if len(line) > maxRecordLine || len(fields) != 9 || string(fields[0]) != "s" {
		return e, fmt.Errorf("%w: %.80q", ErrRecord, line)
	}
	e.Rendition, e.URI, e.Init = string(fields[1]), string(fields[5]), string(fields[6])
	if err := e.numbers(fields); err != nil {
		return e, err
	}
	switch string(fields[8]) {
	case "-":
	case "d":
		e.Discontinuity = true
	case "g":
		e.Gap = true
	case "dg":
		e.Discontinuity, e.Gap = true, true
	default:
		return e, fmt.Errorf("%w: marks %.20q", ErrRecord, fields[8])
	}
	if !isName(e.Rendition) || !isName(e.URI) || !isName(e.Init) || checkTime(e.Time) != nil {
		return e, fmt.Errorf("%w: a name or a time is not valid", ErrRecord)
	}
	return e, nil
}

// numbers reads the fields that are numbers.
func (e *Entry) numbers(fields [][]byte) error {
	var errs [4]error
	var duration, at int64
	e.MSN, errs[0] = strconv.ParseUint(string(fields[2]), 10, 63)
	duration, errs[1] = strconv.ParseInt(string(fields[3]), 10, 64)
	e.Bytes, errs[2] = strconv.ParseInt(string(fields[4]), 10, 64)
	if string(fields[7]) != "-" {
		at, errs[3] = strconv.ParseInt(string(fields[7]), 10, 64)
		e.Time = time.UnixMilli(at).UTC()
	}
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if duration <= 0 || duration > int64(maxDuration/grain) || e.Bytes < 0 || e.MSN > most {
		return fmt.Errorf("%w: a number is out of range", ErrRecord)
	}
	e.Duration = time.Duration(duration) * grain
	return nil
}

// isName says whether s can be one name of a key: letters, digits and - . _ only,
// no dot at its begin.
func isName(s string) bool {
	if s == "" || len(s) > 200 || s[0] == '.' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}
