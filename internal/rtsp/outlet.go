package rtsp

import (
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// Outlet sends to one viewer. Its methods may be called from any goroutine.
type Outlet struct {
	stream  *gortsplib.ServerStream
	session *gortsplib.ServerSession
	full    atomic.Uint64 // packets that had no room in the queue
}

// Medias are those of the description that the viewer has set up.
func (o *Outlet) Medias() []*description.Media { return o.session.Medias() }

// Send queues a packet, whose SSRC is set here. It never waits. False says that it
// was dropped: the viewer's connection is too slow.
func (o *Outlet) Send(m *description.Media, p *rtp.Packet) bool {
	before := o.full.Load()
	err := o.stream.WritePacketRTPWithNTP(m, p, time.Time{})
	return err == nil && o.full.Load() == before
}

// Report queues an RTCP packet. If it has no room, the next one will.
func (o *Outlet) Report(m *description.Media, p rtcp.Packet) { _ = o.stream.WritePacketRTCP(m, p) }

// SSRC is that of all packets of a media.
func (o *Outlet) SSRC(m *description.Media) uint32 {
	return o.stream.Stats().Medias[m].Formats[m.Formats[0]].LocalSSRC
}
