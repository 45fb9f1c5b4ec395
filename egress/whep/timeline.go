package whep

import (
	"time"

	"github.com/whipcast/whipcast/stream"
)

const (
	// followShift is how slowly a timeline without sender reports follows later
	// arrivals: 1/2^followShift of the difference a picture. Earlier ones are
	// followed at once: the network can only add delay.
	followShift = 9
	// jump is how far a packet's arrival may be from its place on the timeline
	// before the timeline begins anew (specs R11).
	jump = 10 * time.Second
	// doubt is how far the sender's clock may move against the arrivals before
	// its zero is measured anew.
	doubt = 2 * time.Second
	// driftShift is how slowly the drift between the sender's clock and ours is
	// followed.
	driftShift = 10
)

// timeline says when the media of one Source was captured, on our clock. It is
// pure. Audio and video of one Epoch share a zero, so that they are in step.
type timeline struct {
	source *stream.Source
	rate   uint32

	set  bool
	at   time.Time // when
	unit uint32    // this RTP timestamp was captured
}

// zero relates the clock of a publisher's sender reports to ours, once for all
// Layers of an Epoch (specs R1, R2, R4).
type zero struct {
	epoch  uint64
	theirs time.Duration // as Report.Time gives it
	ours   time.Time
}

// observe takes the arrival of a picture's first packet.
func (l *timeline) observe(arrival time.Time, timestamp uint32) {
	if !l.set {
		l.set, l.at, l.unit = true, arrival, timestamp
		return
	}
	expected := l.time(timestamp)
	switch off := arrival.Sub(expected); {
	case off.Abs() > jump || off < 0:
		expected = arrival
	default:
		expected = expected.Add(off >> followShift)
	}
	l.at, l.unit = expected, timestamp
}

// report takes the newest sender report of the Source and returns the zero to
// use from now on.
func (l *timeline) report(r stream.Report, z zero) zero {
	theirs := r.Time(r.RTP, l.rate)
	if z.epoch != l.source.Epoch {
		z = zero{epoch: l.source.Epoch, theirs: theirs, ours: r.Arrival}
	}
	at := z.ours.Add(theirs - z.theirs)
	switch off := r.Arrival.Sub(at); {
	case off.Abs() > doubt: // the sender's clock was set
		z.theirs, z.ours = theirs, r.Arrival
		at = r.Arrival
	default: // it drifts
		z.ours = z.ours.Add(off >> driftShift)
	}
	l.set, l.at, l.unit = true, at, r.RTP
	return z
}

// time returns when the media with this RTP timestamp was captured.
func (l *timeline) time(timestamp uint32) time.Time {
	return l.at.Add(time.Duration(int64(int32(timestamp-l.unit)) * int64(time.Second) / int64(l.rate)))
}

// timestamp returns the RTP timestamp of media captured at t.
func (l *timeline) timestamp(t time.Time) uint32 {
	return l.unit + uint32(units(t.Sub(l.at), l.rate))
}

// units converts a duration into RTP timestamp units.
func units(d time.Duration, rate uint32) int64 {
	return int64(d/time.Second)*int64(rate) + int64(d%time.Second)*int64(rate)/int64(time.Second)
}

// ntp returns t as an NTP timestamp: seconds since 1900 in 32.32 fixed point
// (RFC 3550 §4).
func ntp(t time.Time) uint64 {
	const since1900 = 2208988800
	return uint64(t.Unix()+since1900)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}
