package hls

import (
	"fmt"
	"strconv"
	"time"
)

// grain is what durations are printed in: five decimals.
const grain = 10 * time.Microsecond

// grains rounds d to the nearest printed value.
func grains(d time.Duration) int64 { return int64((d + grain/2) / grain) }

// grainsUp rounds d up to a printed value.
func grainsUp(d time.Duration) int64 { return int64((d + grain - 1) / grain) }

// appendSeconds appends n grains as seconds with five decimals, the form of
// EXTINF and of a part's DURATION.
func appendSeconds(b []byte, n int64) []byte {
	const unit = int64(time.Second / grain)
	b = strconv.AppendInt(b, n/unit, 10)
	b = append(b, '.')
	fraction := n % unit
	for digit := unit / 10; digit > 0; digit /= 10 {
		b = append(b, byte('0'+fraction/digit%10))
	}
	return b
}

// appendShort appends n grains as seconds without needless zeros, the form of
// what stands in a header.
func appendShort(b []byte, n int64) []byte {
	b = appendSeconds(b, n)
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	if b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	return b
}

// dateForm is how dates are printed (specs L25).
const dateForm = "2006-01-02T15:04:05.000Z"

// appendTime appends an EXT-X-PROGRAM-DATE-TIME line (specs L25).
func appendTime(b []byte, t time.Time) []byte {
	b = append(b, "#EXT-X-PROGRAM-DATE-TIME:"...)
	b = t.UTC().AppendFormat(b, dateForm)
	return append(b, '\n')
}

// appendQuoted appends ,NAME="value" as it stands in an attribute list.
func appendQuoted(b []byte, name, value string) []byte {
	b = append(b, ',')
	b = append(b, name...)
	b = append(b, '=', '"')
	b = append(b, value...)
	return append(b, '"')
}

// checkQuoted says whether value may stand in a quoted string (§4.2): no
// quotation mark, no control characters.
func checkQuoted(name, value string) error {
	for _, r := range value {
		if r == '"' || r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\ufffd' {
			return fmt.Errorf("check %s %q: character %q cannot stand in a playlist", name, value, r)
		}
	}
	return nil
}

// checkURI says whether uri may stand in a playlist: in quotes, and alone in a
// line, where it must not look like a tag (§4.1).
func checkURI(uri string) error {
	if uri == "" || uri[0] == '#' {
		return fmt.Errorf("check URI %q: it is empty or looks like a tag", uri)
	}
	for _, r := range uri {
		if r == '"' || r <= 0x20 || r >= 0x7f {
			return fmt.Errorf("check URI %q: character %q cannot stand in a playlist", uri, r)
		}
	}
	return nil
}
