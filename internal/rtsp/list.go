package rtsp

import (
	"cmp"
	"crypto/rand"
	"slices"
	"time"
)

// Summary is what an operator may see of a session.
type Summary struct {
	ID        string // names it; no secret
	Publishes bool   // else it watches
	Stream    string
	Principal string
	Since     time.Time
}

// Statistics are the totals of a session.
type Statistics struct {
	BytesSent, BytesReceived     uint64
	PacketsSent, PacketsReceived uint64 // of RTP
	Transport                    string // "udp" or "tcp"
}

// newID returns what names a session. Others' begin with other letters.
func newID() string { return "r" + rand.Text()[:9] }

// Sessions returns all that publish or play, by their IDs.
func (s *Server) Sessions() []Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Summary, 0, len(s.running))
	for x := range s.running {
		all = append(all, x.summary())
	}
	slices.SortFunc(all, func(a, b Summary) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func (x *session) summary() Summary {
	return Summary{ID: x.id, Publishes: x.kind == publishing, Stream: x.request.Stream, Principal: x.request.Principal, Since: x.begun}
}

// Session returns the one of an ID with its Statistics; false if there is none.
func (s *Server) Session(id string) (Summary, Statistics, bool) {
	x := s.find(id)
	if x == nil {
		return Summary{}, Statistics{}, false
	}
	counted := x.wire.Stats()
	return x.summary(), Statistics{
		BytesSent: counted.OutboundBytes, BytesReceived: counted.InboundBytes,
		PacketsSent: counted.OutboundRTPPackets, PacketsReceived: counted.InboundRTPPackets,
		Transport: transportOf(x.wire),
	}, true
}

// End ends the session of an ID with ErrEnded; false if there is none.
func (s *Server) End(id string) bool {
	x := s.find(id)
	if x == nil {
		return false
	}
	x.stop(ErrEnded)
	return true
}

// EndPublishers ends all that publish with ErrDrained. It does not wait.
func (s *Server) EndPublishers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := range s.running {
		if x.kind == publishing {
			x.stop(ErrDrained)
		}
	}
}

// Reason returns why the session of an ID ended; "" while it has not, and once as many
// others as there may be have ended since.
func (s *Server) Reason(id string) string { return s.reasons.Get(id) }

func (s *Server) find(id string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := range s.running {
		if x.id == id {
			return x
		}
	}
	return nil
}

// stop ends what runs.
func (x *session) stop(reason error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cancel != nil {
		x.cancel(reason)
	}
}
