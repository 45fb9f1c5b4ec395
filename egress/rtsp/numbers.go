package rtsp

import (
	"sync"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// numbers maps sequence numbers and timestamps of Sources to those of one viewer,
// whose go on whatever happens to the publisher. It is pure.
type numbers struct {
	offset uint16 // added to sequence numbers
	shift  uint32 // added to timestamps
	last   uint16 // sequence number last given
	begun  bool
	resume bool // the next packet follows the last one, whatever its number

	at     uint32    // timestamp that was sent last
	atTime time.Time // and its time
}

// begin goes over to a Source, whose first packet is of the given time.
func (n *numbers) begin(sequence uint16, timestamp uint32, at time.Time, rate uint32) {
	if n.begun {
		passed := max(at.Sub(n.atTime), time.Millisecond)
		n.shift = n.at + uint32(int64(passed)*int64(rate)/int64(time.Second)) - timestamp //nolint:gosec // wraps on purpose
	}
	n.offset = n.last + 1 - sequence
	n.begun = true
}

// cut lets the next packet follow the last one: those between are not sent.
func (n *numbers) cut() { n.resume = true }

// leave leaves out one packet.
func (n *numbers) leave() { n.offset-- }

// sequence returns the number of a packet that is sent.
func (n *numbers) sequence(sequence uint16) uint16 {
	if n.resume {
		n.offset, n.resume = n.last+1-sequence, false
	}
	out := sequence + n.offset
	if int16(out-n.last) > 0 { //nolint:gosec // wraps on purpose
		n.last = out
	}
	return out
}

func (n *numbers) timestamp(timestamp uint32) uint32 { return timestamp + n.shift }

// sent notes the time of a packet.
func (n *numbers) sent(timestamp uint32, at time.Time) {
	n.at, n.atTime = n.timestamp(timestamp), at
}

// anchor is a timestamp of a Source and when it came.
type anchor struct {
	arrival   time.Time
	timestamp uint32
}

// clock tells when the packets of all medias of a viewer belong, on one clock: by
// the publisher's sender reports, before there are any by arrival. It may be used
// from any goroutine.
type clock struct {
	mu    sync.Mutex
	epoch uint64    // below mu, as what follows
	zero  time.Time // of the publisher's clock, on ours
}

// at returns the time of a timestamp.
func (c *clock) at(source *stream.Source, first anchor, timestamp uint32) time.Time {
	rate := source.Layer.Codec.ClockRate
	report, ok := source.Report()
	if !ok {
		return first.arrival.Add(span(timestamp-first.timestamp, rate))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != source.Epoch {
		c.epoch = source.Epoch
		c.zero = report.Arrival.Add(-report.Time(report.RTP, rate))
	}
	return c.zero.Add(report.Time(timestamp, rate))
}

// span converts a difference of RTP timestamps, which may be negative.
func span(diff, rate uint32) time.Duration {
	return time.Duration(int64(int32(diff)) * int64(time.Second) / int64(rate)) //nolint:gosec // wraps on purpose
}

// ntp converts a time to the 32.32 format of sender reports (RFC 3550 §4).
func ntp(t time.Time) uint64 {
	const epoch = 2208988800 // seconds from 1900 to 1970
	seconds := uint64(t.Unix() + epoch)
	return seconds<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second) //nolint:gosec // after 1970
}
