package whep

import (
	"encoding/binary"

	"github.com/pion/rtcp"
)

// RTCP that comes and goes all the time is read and written here without
// allocations: receiver reports (RFC 3550 §6.4.2) and sender reports with the CNAME
// (§6.4.1, §6.5).

const (
	receiverReport = 201 // RTCP packet type
	reportHead     = 8   // bytes of a receiver report before its blocks
	reportBlock    = 24  // bytes of one
	senderSize     = 28  // of a sender report without blocks
	maxCNAME       = 255 // bytes
)

// compound is the RTCP packet of a track's sender reports. It is used again for
// each.
type compound struct {
	bytes   rtcp.RawPacket
	packets [1]rtcp.Packet // bytes
}

func newCompound(cname string) *compound {
	cname = cname[:min(len(cname), maxCNAME)]
	chunk := roundUp(4+2+len(cname)+1, 4) // SSRC, item, and its end
	b := make([]byte, senderSize+4+chunk)
	b[0], b[1], b[3] = 2<<6, 200, senderSize/4-1
	d := b[senderSize:]
	d[0], d[1] = 2<<6|1, 202
	binary.BigEndian.PutUint16(d[2:], uint16(chunk/4)) //nolint:gosec // at most 66
	d[8], d[9] = 1, uint8(len(cname))                  //nolint:gosec // at most maxCNAME
	copy(d[10:], cname)
	c := &compound{bytes: b}
	c.packets[0] = &c.bytes
	return c
}

// with returns the packet with a report. It is valid until the next call.
func (c *compound) with(r rtcp.SenderReport) []rtcp.Packet {
	b := c.bytes
	binary.BigEndian.PutUint32(b[4:], r.SSRC)
	binary.BigEndian.PutUint64(b[8:], r.NTPTime)
	binary.BigEndian.PutUint32(b[16:], r.RTPTime)
	binary.BigEndian.PutUint32(b[20:], r.PacketCount)
	binary.BigEndian.PutUint32(b[24:], r.OctetCount)
	binary.BigEndian.PutUint32(b[senderSize+4:], r.SSRC)
	return c.packets[:]
}

// readReceiverReport reads a receiver report, whole with its header, and calls take
// for each block. False says that it is malformed.
func readReceiverReport(b []byte, blocks int, take func(rtcp.ReceptionReport)) bool {
	if len(b) < reportHead+blocks*reportBlock {
		return false
	}
	for b = b[reportHead:]; blocks > 0; blocks-- {
		take(rtcp.ReceptionReport{
			SSRC:               binary.BigEndian.Uint32(b),
			FractionLost:       b[4],
			TotalLost:          binary.BigEndian.Uint32(b[4:]) & 0xffffff,
			LastSequenceNumber: binary.BigEndian.Uint32(b[8:]),
			Jitter:             binary.BigEndian.Uint32(b[12:]),
			LastSenderReport:   binary.BigEndian.Uint32(b[16:]),
			Delay:              binary.BigEndian.Uint32(b[20:]),
		})
		b = b[reportBlock:]
	}
	return true
}
