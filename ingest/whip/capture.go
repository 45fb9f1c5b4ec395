package whip

import (
	"encoding/binary"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/stream"
)

// parseCaptureTime reads the header extension abs-capture-time (specs R6): when the
// first sample of the packet was captured, as a 32.32 NTP timestamp, on the clock that
// the sender's reports use. Of 16 bytes the latter eight say how far the clock of the
// capture is ahead of that one: a mixer, or a relay, has media of others. It is pure.
func parseCaptureTime(b []byte) (ntp uint64, ok bool) {
	switch len(b) {
	case 8:
		ntp = binary.BigEndian.Uint64(b)
	case 16:
		ntp = binary.BigEndian.Uint64(b) - binary.BigEndian.Uint64(b[8:])
	}
	return ntp, ntp != 0
}

// captureTime returns the capture time that came with a packet, if one did, and the
// SSRC of the capture system. id is that of the extension; 0: it was not negotiated.
func captureTime(header *rtp.Header, id uint8, arrival time.Time) (at stream.Report, owner uint32, ok bool) {
	if id == 0 {
		return at, 0, false
	}
	ntp, ok := parseCaptureTime(header.GetExtension(id))
	if !ok {
		return at, 0, false
	}
	owner = header.SSRC
	if len(header.CSRC) > 0 { // a mixer's packet: the first one is whose capture it is
		owner = header.CSRC[0]
	}
	return stream.Report{NTP: ntp, RTP: header.Timestamp, Arrival: arrival}, owner, true
}
