package stream

import "time"

// clock keeps the newest believable sender report of one Source. It is pure.
type clock struct {
	rate    uint32 // RTP units per second
	trusted chain
	doubted chain  // reports that contradicted trusted, but not one another
	strange int    // reports in a row whose media did not go as the time did
	proofs  bool   // no report is believed any more but by reportProof
	newest  uint32 // RTP timestamp of the newest packet
	known   bool   // there was a packet
}

// chain is a run of reports that agree with one another.
type chain struct {
	base, last Report // the rate is judged from base on
	count      int
	judged     bool // the rate was, and was right
}

// Limits of a believable report (specs R4). Both of its clocks are the sender's,
// so networks do not matter; senders that pair the time of sending with the
// timestamp of a picture are off by what encoding takes.
const (
	reportReach  = 30 * time.Second       // how far a report may be from the newest packet
	reportJump   = 500 * time.Millisecond // how far NTP and RTP may disagree between two reports
	reportDrift  = 0.01                   // how far the implied clock rate may be off
	reportJitter = 50 * time.Millisecond  // and how much of that is jitter
	reportBase   = 5 * time.Second        // over which time the rate is judged, at least
	reportRebase = 30 * time.Second       // and at most
	reportDoubts = 3                      // so many contradicting reports in a row
	reportProof  = 10 * time.Second       // over that time are the truth
	reportOdd    = 2                      // so many that tell of another pace in a row disprove what was not judged
	reportZero   = 100 * time.Millisecond // how far packets may be from RTP timestamp 0 to believe in it
	ntpFraction  = 1 << 32                // units per second of an NTP timestamp
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
		return false
	}
	if r.RTP == 0 && (!c.known || c.signed(c.newest).Abs() > reportZero) {
		return false // libdatachannel reports on layers that it knows nothing of (specs R5)
	}
	if !c.proofs && c.extend(&c.trusted, r) {
		c.doubted, c.strange = chain{}, 0
		return true
	}
	c.disprove(r)
	if !c.extend(&c.doubted, r) {
		c.doubted = chain{base: r, last: r, count: 1}
	}
	if wall, _ := c.between(c.doubted.base, r); c.doubted.count < reportDoubts || wall < reportProof {
		return false
	}
	c.trusted, c.doubted, c.strange, c.proofs = c.doubted, chain{}, 0, false
	return true
}

// believed returns the newest report that is believed, if there is one. While a first
// odd report may disprove it, it is not: the other track's report may be of another
// instant.
func (c *clock) believed() (Report, bool) {
	return c.trusted.last, c.trusted.count > 0 && c.strange == 0
}

// disprove forgets the first reports of a sender if those after them tell of media at
// another pace than the time's, of which the first ones were as wrong: those of
// GStreamer 1.22's webrtcbin go twice as fast as its packets. A sender whose clock was
// set is another case: its time does not go as ours.
func (c *clock) disprove(r Report) {
	if c.trusted.count == 0 || c.trusted.judged {
		return
	}
	wall, media := c.between(c.trusted.last, r)
	passed := r.Arrival.Sub(c.trusted.last.Arrival)
	if (wall-passed).Abs() > reportJump || (wall-media).Abs() <= reportJump {
		c.strange = 0
		return
	}
	if c.strange++; c.strange >= reportOdd {
		c.trusted, c.strange, c.proofs = chain{}, 0, true
	}
}

// extend adds r to a chain unless r contradicts it: its clocks have not gone the
// same way since the report before, or not at the same pace for a while.
func (c *clock) extend(k *chain, r Report) bool {
	if k.count == 0 {
		*k = chain{base: r, last: r, count: 1}
		return true
	}
	wall, media := c.between(k.last, r)
	if (wall - media).Abs() > reportJump {
		return false
	}
	wall, media = c.between(k.base, r)
	length := max(wall, media)
	off := (wall - media).Abs() - reportJitter
	if length >= reportBase && float64(off) > reportDrift*float64(length) {
		return false
	}
	k.judged = k.judged || length >= reportBase
	if length >= reportRebase {
		k.base = k.last
	}
	k.last = r
	k.count++
	return true
}

// between returns what passed between two reports on the sender's clock and on
// that of its media.
func (c *clock) between(a, b Report) (wall, media time.Duration) {
	return ntpDuration(int64(b.NTP - a.NTP)), c.signed(b.RTP - a.RTP)
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
