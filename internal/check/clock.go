package check

import (
	"time"

	"github.com/whipcast/whipcast/internal/fault"
)

const (
	clockWarns = time.Second
	clockFails = 5 * time.Minute // S3 refuses what is 15 minutes off
)

// Clock compares this machine's clock with the Date of an answer to a request
// that was sent and answered then. A Date has whole seconds, cut off. Only where
// requests are signed with the time a wrong clock is a failure.
func Clock(name string, date, sent, received time.Time, signs bool) Finding {
	// The server's clock showed something from date to date+1s, at a moment from
	// sent to received.
	ahead, behind := sent.Sub(date.Add(time.Second)), date.Sub(received)
	off, word := ahead, " ahead of"
	if behind > ahead {
		off, word = behind, " behind"
	}
	f := Finding{Name: name}
	switch {
	case off <= clockWarns:
		f.Cause = "this machine's clock and the server's agree"
		return f
	case off > clockFails && signs:
		f.State = Failed
	default:
		f.State = Warning
	}
	f.Cause = "this machine's clock is " + fault.Span(off) + word + " the server's"
	f.Remedy = "set this machine's clock: let NTP do it (timedatectl set-ntp true)"
	return f
}
