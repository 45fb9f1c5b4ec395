package rtc

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/pion/webrtc/v4"
)

// ErrEnded says that the operator has ended the Session.
var ErrEnded = errors.New("ended by the operator")

// shownID is how many characters of a Session's id are shown: enough to tell Sessions
// apart, and so few that nobody guesses the rest, which is a secret (specs X2). Logs
// show the first seven of them.
const shownID = 10

// Summary is what an operator may see of a Session.
type Summary struct {
	ID        string // the beginning of the id: the whole one is a secret
	Direction Direction
	Stream    string
	Principal string
	Since     time.Time
	Connected bool
}

// Statistics are the totals of a Session's connection.
type Statistics struct {
	BytesSent, BytesReceived     uint64 // payload of UDP or TCP
	PacketsSent, PacketsReceived uint64
	RoundTrip                    time.Duration // of the last check of connectivity; 0: not known
	Local, Remote                string        // kinds of the candidates in use: "host", "srflx", "prflx" or "relay"; "" before
	Transport                    string        // "udp" or "tcp"; "" before
	Adaptation                   *Adaptation   // of a viewer of video; nil else
}

// Adaptation tells how a viewer's layer was chosen so far.
type Adaptation struct {
	Layer     string // RID of what is sent; "" without simulcast
	Estimate  int    // bits a second that the network is known to carry; 0: not known
	Ups       uint64 // changes to a better layer
	Downs     uint64 // and to a lesser one
	Probes    uint64 // tries whether the network carries more
	Automatic bool   // the viewer did not choose
}

// Adaptive is a track of Opening.Tracks that adapts to the viewer's network.
// Adaptation may be called from any goroutine; nil says that it does not.
type Adaptive interface{ Adaptation() *Adaptation }

// Sessions returns all that have not ended, by their IDs.
func (g *Registry) Sessions() []Summary {
	var all []Summary
	for _, x := range g.all() {
		if x.Err() == nil {
			all = append(all, x.summary())
		}
	}
	slices.SortFunc(all, func(a, b Summary) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Session returns the one of a Summary's ID with its Statistics; false if there is none.
func (g *Registry) Session(id string) (Summary, Statistics, bool) {
	x := g.shown(id)
	if x == nil {
		return Summary{}, Statistics{}, false
	}
	return x.summary(), x.statistics(), true
}

// End ends the Session of a Summary's ID with ErrEnded; false if there is none.
func (g *Registry) End(id string) bool {
	x := g.shown(id)
	if x == nil {
		return false
	}
	x.End(ErrEnded)
	return true
}

// Report returns how the Session of a Summary's ID is connected; false if there is none.
func (g *Registry) Report(id string) (Report, bool) {
	x := g.shown(id)
	if x == nil {
		return Report{}, false
	}
	return x.report(), true
}

// Reason returns why the Session of a Summary's ID ended; "" while it has not, and once
// as many others as there may be have ended since.
func (g *Registry) Reason(id string) string {
	if e := g.ended.Get(id); e.reason != nil {
		return e.reason.Error()
	}
	return ""
}

func (g *Registry) shown(id string) *Session {
	for _, x := range g.all() {
		if x.id[:shownID] == id && x.Err() == nil {
			return x
		}
	}
	return nil
}

func (x *Session) summary() Summary {
	s := Summary{
		ID: x.id[:shownID], Direction: x.opening.Direction, Stream: x.opening.Stream, Principal: x.opening.Principal, Since: x.since,
	}
	select {
	case <-x.connected:
		s.Connected = true
	default:
	}
	return s
}

// statistics are those of the pair of candidates in use.
func (x *Session) statistics() Statistics {
	var s Statistics
	for _, track := range x.opening.Tracks {
		if a, ok := track.(Adaptive); ok && s.Adaptation == nil {
			s.Adaptation = a.Adaptation()
		}
	}
	report := x.pc.GetStats()
	for _, one := range report {
		pair, ok := one.(webrtc.ICECandidatePairStats)
		if !ok || !pair.Nominated {
			continue
		}
		s.BytesSent += pair.BytesSent
		s.BytesReceived += pair.BytesReceived
		s.PacketsSent += uint64(pair.PacketsSent)
		s.PacketsReceived += uint64(pair.PacketsReceived)
		s.RoundTrip = max(s.RoundTrip, time.Duration(pair.CurrentRoundTripTime*float64(time.Second)))
		if local, ok := report[pair.LocalCandidateID].(webrtc.ICECandidateStats); ok {
			s.Local, s.Transport = local.CandidateType.String(), local.Protocol
		}
		if remote, ok := report[pair.RemoteCandidateID].(webrtc.ICECandidateStats); ok {
			s.Remote = remote.CandidateType.String()
		}
	}
	return s
}
