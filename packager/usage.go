package packager

import (
	"time"

	"github.com/whipcast/whipcast/stream"
)

// usage measures how much of the allowed bit rate a publisher uses. It is pure, and for
// one goroutine.
type usage struct {
	limit float64 // bits a second; 0: none

	of   *stream.Source // the first one of the publisher that is measured
	past [6]count       // the newest at next-1: about one a second
	next int
}

// count is what had come at an instant.
type count struct {
	at    time.Time
	bytes uint64
}

// share returns the percentage over the last five looks, 0 before it is known.
func (u *usage) share(now time.Time, patients []*patient) float64 {
	if u.limit <= 0 {
		return 0
	}
	if first := patients[0].source; u.of != first {
		*u = usage{limit: u.limit, of: first}
	}
	is := count{at: now}
	for _, p := range patients {
		is.bytes += p.source.Counters().Bytes
	}
	was := u.past[u.next]
	u.past[u.next] = is
	u.next = (u.next + 1) % len(u.past)
	if was.at.IsZero() || is.bytes < was.bytes || !now.After(was.at) {
		return 0
	}
	return 100 * 8 * float64(is.bytes-was.bytes) / now.Sub(was.at).Seconds() / u.limit
}
