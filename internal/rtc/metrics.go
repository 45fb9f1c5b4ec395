package rtc

import (
	"errors"
	"sync/atomic"
)

// Metrics counts the started Sessions of one Direction. Any goroutine may read
// them.
type Metrics struct {
	Started atomic.Uint64
	ended   [ends]atomic.Uint64
}

// end is why a Session ended, as metrics tell it: few words, whatever happens.
type end int

const (
	endDeleted end = iota
	endClosed
	endLost
	endNeverConnected
	endShutdown
	endFault
	endOther // taken over, refused later, failed
	ends
)

func endOf(reason error) end {
	for e, is := range [...]error{ErrDeleted, ErrGone, ErrLost, ErrNeverConnected, ErrShutdown, ErrFault} {
		if errors.Is(reason, is) {
			return end(e)
		}
	}
	return endOther
}

// Ended calls yield with each reason for which Sessions end, and with how many
// did so far.
func (m *Metrics) Ended(yield func(reason string, n uint64)) {
	for e, name := range [ends]string{"deleted", "closed", "lost", "never_connected", "shutdown", "fault", "other"} {
		yield(name, m.ended[e].Load())
	}
}

// Open returns how many Sessions there are.
func (m *Metrics) Open() int64 {
	var ended uint64
	for e := range m.ended {
		ended += m.ended[e].Load()
	}
	return int64(m.Started.Load() - ended) //nolint:gosec // a few thousand
}

// Metrics returns the counts of one Direction.
func (g *Registry) Metrics(d Direction) *Metrics {
	if d == Send {
		return &g.sending
	}
	return &g.receiving
}

// protocol names what the Sessions of a Direction speak, for logs.
func (d Direction) protocol() string {
	if d == Send {
		return "whep"
	}
	return "whip"
}
