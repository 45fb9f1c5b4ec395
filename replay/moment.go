package replay

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Moment is a time in a stream: a date, or an offset into a presentation.
type Moment struct {
	at     time.Time
	offset time.Duration
	inside bool // offset counts
}

// At returns the Moment of a date.
func At(t time.Time) Moment { return Moment{at: t} }

// After returns the Moment that is so far in the newest presentation that has
// ended, or in that which goes on if none has.
func After(d time.Duration) Moment { return Moment{offset: d, inside: true} }

// ParseMoment reads what people write: an RFC 3339 date, "now", "-5m" or "now-5m"
// for five minutes ago, and "00:10:00" for ten minutes after the begin.
func ParseMoment(text string, now time.Time) (Moment, error) {
	ago, relative := strings.CutPrefix(text, "now")
	switch {
	case relative && ago == "":
		return At(now), nil
	case strings.HasPrefix(ago, "-"):
		if d, err := time.ParseDuration(ago); err == nil {
			return At(now.Add(d)), nil
		}
	case strings.Count(text, ":") >= 1 && !strings.ContainsAny(text, "Tt "):
		if d, ok := parseClock(text); ok {
			return After(d), nil
		}
	default:
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return At(t), nil
		}
	}
	return Moment{}, fmt.Errorf("time %q is none: write 2026-11-20T18:00:00Z, now, -5m for five minutes ago, or 00:10:00 for ten minutes after the begin", text)
}

// parseClock reads hours, minutes and seconds, or the last two.
func parseClock(text string) (time.Duration, bool) {
	parts := strings.Split(text, ":")
	if len(parts) > 3 {
		return 0, false
	}
	var sum time.Duration
	for i, part := range parts {
		last := i == len(parts)-1
		n, err := strconv.ParseFloat(part, 64)
		if err != nil || !(n >= 0 && n < 1e6) || i > 0 && n >= 60 || strings.ContainsAny(part, "eExX+_") || !last && strings.Contains(part, ".") {
			return 0, false
		}
		sum = sum*60 + time.Duration(n*float64(time.Second))
	}
	return sum.Round(time.Millisecond), true
}
