package hls

import (
	"net/http"
	"strings"
	"time"

	"github.com/whipcast/whipcast/internal/latency"
)

// Common Media Client Data (CTA-5004): what players tell with their requests, in
// headers or in the query's parameter CMCD. Of it we take
//
//	bl   media loaded ahead, ms              br   bit rate of what is asked for, kbit/s
//	bs   it stood still since the last one   ltc  from the origin to the screen, ms (version 2)
//	su   it starts: its buffer says nothing  sid its session, which tells players apart
//
// All else is skipped. Nothing of it names anything in metrics.

// maxCMCD is how much is read of one header or parameter, in bytes.
const maxCMCD = 1024

// clientData is what a player told. Numbers are -1 if it did not.
type clientData struct {
	buffer, bitrate, latency int64
	session                  uint64 // a hash of its name; 0 if it did not
	starved, startup, any    bool
}

// parseCMCD adds what one text tells: key=value pairs and lone keys between
// commas. Values may be quoted, or be lists in parentheses (version 2), of which
// the highest number counts. It allocates nothing.
func (d *clientData) parse(text string) {
	if len(text) > maxCMCD {
		text = text[:maxCMCD]
	}
	for text != "" {
		end := pairEnd(text)
		pair := strings.Trim(text[:end], " \t")
		text = text[min(end+1, len(text)):]
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "bl":
			d.number(&d.buffer, value)
		case "br":
			d.number(&d.bitrate, value)
		case "ltc":
			d.number(&d.latency, value)
		case "bs":
			d.truth(&d.starved, pair[len(key):])
		case "sid":
			d.session = hashOf(value)
		case "su":
			d.truth(&d.startup, pair[len(key):])
		}
	}
}

// hashOf hashes a text (FNV-1a). It is never 0.
func hashOf(text string) uint64 {
	hash := uint64(0xcbf29ce484222325)
	for i := range len(text) {
		hash = (hash ^ uint64(text[i])) * 0x100000001b3
	}
	return max(hash, 1)
}

// pairEnd is where a pair ends: at a comma outside of quotes and parentheses.
func pairEnd(text string) int {
	quoted, depth := false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth = max(depth-1, 0)
		case c == ',' && depth == 0:
			return i
		}
	}
	return len(text)
}

// mostNumber bounds what a number can be.
const mostNumber = 1_000_000_000_000

// number reads a decimal number, or the highest of a list.
func (d *clientData) number(into *int64, value string) {
	value = strings.TrimSuffix(strings.TrimPrefix(value, "("), ")")
	for more := true; more; {
		var item string
		item, value, more = strings.Cut(value, " ")
		item, _, _ = strings.Cut(item, ";") // parameters of the item
		item, _, _ = strings.Cut(item, ".") // decimals
		if n, ok := decimal(item); ok && n > *into {
			*into, d.any = n, true
		}
	}
}

func decimal(text string) (int64, bool) {
	if text == "" || len(text) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(text) {
		c := text[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return min(n, mostNumber), true
}

// truth reads what follows a key whose value is a truth: a lone key is true.
func (d *clientData) truth(into *bool, rest string) {
	if rest == "" || rest == "=?1" || rest == "=true" {
		*into, d.any = true, true
	}
}

// clientDataOf reads what came with a request.
func clientDataOf(r *http.Request) clientData {
	d := clientData{buffer: -1, bitrate: -1, latency: -1}
	for _, name := range [...]string{"Cmcd-Request", "Cmcd-Object", "Cmcd-Status", "Cmcd-Session"} {
		if field := r.Header[name]; len(field) > 0 {
			d.parse(field[0])
		}
	}
	for query, more := r.URL.RawQuery, true; more; {
		var pair string
		pair, query, more = strings.Cut(query, "&")
		if value, ok := strings.CutPrefix(pair, "CMCD="); ok {
			var plain [maxCMCD]byte
			d.parse(string(unescape(plain[:0], value)))
			break
		}
	}
	return d
}

// unescape decodes a percent-encoded text as far as it fits. What is no escape
// stays as it is.
func unescape(into []byte, text string) []byte {
	for i := 0; i < len(text) && len(into) < cap(into); i++ {
		c := text[i]
		if c == '%' && i+2 < len(text) {
			high, ok := hexDigit(text[i+1])
			low, ok2 := hexDigit(text[i+2])
			if ok && ok2 {
				c = high<<4 | low
				i += 2
			}
		}
		into = append(into, c)
	}
	return into
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// report makes of it what a Book takes.
func (d clientData) report() latency.Report {
	report := latency.Report{Origin: latency.CMCD, Latency: -1, Buffer: -1, Bitrate: max(d.bitrate, 0) * 1000}
	if d.latency >= 0 {
		report.Latency = time.Duration(min(d.latency, int64(latency.Longest/time.Millisecond))) * time.Millisecond
	}
	if d.buffer >= 0 && !d.startup {
		report.Buffer = time.Duration(min(d.buffer, int64(latency.Longest/time.Millisecond))) * time.Millisecond
	}
	if d.starved {
		report.Stalls = 1
	}
	return report
}

// listen takes what a player tells with a request for media; with playlists it
// tells the same again.
func (h *Handler) listen(r *http.Request, t target) {
	if h.cfg.Latency == nil || t.playlist {
		return
	}
	if d := clientDataOf(r); d.any {
		h.cfg.Latency.Find(t.stream).Report(d.report(), time.Now())
	}
}
