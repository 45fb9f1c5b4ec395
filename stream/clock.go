package stream

import "time"

// clock keeps the newest believable sender report of one Source. It is pure.
type clock struct {
	rate     uint32 // RTP units per second
	last     Report
	valid    bool
	rejected Report // newest report that contradicted last
	doubts   int    // how many in a row contradicted last but agreed with one another
	newest   uint32 // RTP timestamp of the newest packet
	known    bool   // there was a packet
}

// Limits of a believable report (specs R4).
const (
	reportReach  = 30 * time.Second // how far a report may be from the newest packet
	reportJump   = time.Second      // how far NTP and RTP may disagree between two reports
	reportDrift  = 0.01             // how far the implied clock rate may be off
	reportBase   = 5 * time.Second  // over which time the rate is judged
	reportDoubts = 3                // so many contradicting reports in a row are the truth
	ntpFraction  = 1 << 32          // units per second of an NTP timestamp
)

// saw notes the RTP timestamp of a packet.
func (c *clock) saw(timestamp uint32) {
	if !c.known || int32(timestamp-c.newest) > 0 {
		c.newest, c.known = timestamp, true
	}
}

// accept takes r if it is believable, and reports whether it is.
func (c *clock) accept(r Report) bool {
	if r.NTP == 0 || c.rate == 0 {
		return false
	}
	if c.known && c.signed(r.RTP-c.newest).Abs() > reportReach {
		return false // libdatachannel sends RTP timestamp 0 for layers it does not report
	}
	if c.valid && !c.agrees(c.last, r) {
		if c.doubts > 0 && !c.agrees(c.rejected, r) {
			c.doubts = 0
		}
		c.doubts++
		c.rejected = r
		if c.doubts < reportDoubts {
			return false
		}
	}
	c.last, c.valid, c.doubts = r, true, 0
	return true
}

// agrees reports whether b continues the clock of a.
func (c *clock) agrees(a, b Report) bool {
	wall := ntpDuration(int64(b.NTP - a.NTP))
	media := c.signed(b.RTP - a.RTP)
	off := (wall - media).Abs()
	if off > reportJump {
		return false
	}
	return media.Abs() < reportBase || float64(off) <= reportDrift*float64(media.Abs())
}

// signed converts a difference of RTP timestamps, which may be negative.
func (c *clock) signed(diff uint32) time.Duration {
	return time.Duration(int64(int32(diff)) * int64(time.Second) / int64(c.rate))
}

// ntpDuration converts a difference of 32.32 NTP timestamps.
func ntpDuration(diff int64) time.Duration {
	seconds, fraction := diff>>32, diff&(ntpFraction-1)
	return time.Duration(seconds)*time.Second + time.Duration(fraction*int64(time.Second)>>32)
}

// Time maps an RTP timestamp of the same Source to the sender's clock, as a
// duration since the sender's NTP zero of this Report's era. Only differences
// between results of the same sender mean anything (specs R1, R4).
func (r Report) Time(rtp, clockRate uint32) time.Duration {
	base := time.Duration(r.NTP>>32)*time.Second + time.Duration((r.NTP&(ntpFraction-1))*uint64(time.Second)>>32)
	return base + time.Duration(int64(int32(rtp-r.RTP))*int64(time.Second)/int64(clockRate))
}
