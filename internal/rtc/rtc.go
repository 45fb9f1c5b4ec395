// Package rtc is Pion set up once, and the session resource that WHIP and WHEP
// share (RFC 9725, draft-ietf-wish-whep).
//
// An Engine owns the one UDP and the one TCP socket of all WebRTC media. A
// Registry owns the sessions: it answers HTTP at /session/{id} and at the two
// endpoints. ingest/whip and egress/whep say what to accept and what to do with
// the media. The package knows nothing of streams.
//
//	POST ──▶ Registry.Endpoint ──▶ Accept (whip or whep)
//	                                 │ CheckOffer     pure: offer ──▶ Offer, or a Problem
//	                                 │ Registry.Open  PeerConnection and answer
//	                                 ▼
//	         201 ◀── Session.Start(run)   run ends ──▶ everything of the Session ends
//
// Invariant: Pion's callbacks become channels here and nowhere else; every way
// of ending a Session runs one idempotent path.
package rtc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// ErrPublicIPs says that Config.PublicIPs does not fit this machine.
var ErrPublicIPs = errors.New("cannot be advertised")

// Reasons for which a Session ends. What run returned is one, too.
var (
	// ErrDeleted says that the other side asked for the end by DELETE.
	ErrDeleted = errors.New("ended by DELETE")
	// ErrGone says that the other side closed DTLS (RFC 9725 §4.2).
	ErrGone = errors.New("closed by the other side")
	// ErrLost says that consent expired: nothing came for 30 s (RFC 7675).
	ErrLost = errors.New("connection lost")
	// ErrNeverConnected says that ICE and DTLS did not finish in time (specs W66).
	ErrNeverConnected = errors.New("never connected")
	// ErrRevoked says that the permission for the Session was taken back.
	ErrRevoked = errors.New("permission revoked")
	// ErrShutdown says that the gateway stops.
	// ErrTakenOver says that a newer session of the same publisher has replaced it.
	ErrTakenOver = errors.New("taken over by a newer session of the same publisher")
	ErrShutdown  = errors.New("gateway stops")
)

// Direction says which way the media flows.
type Direction uint8

// The directions of a Session.
const (
	Receive Direction = iota + 1 // WHIP: we receive
	Send                         // WHEP: we send
)

// Kind says what a media section carries.
type Kind uint8

// The kinds of a media section.
const (
	Audio Kind = iota + 1
	Video
	Messages // data channels (RFC 8841)
)

// Config of an Engine. The zero value works: all local addresses, any port.
type Config struct {
	Address       string       // of UDP and TCP, such as ":8100" or "127.0.0.1:8100"; port 0 picks one
	PublicIPs     []netip.Addr // if set, exactly these are advertised instead of local addresses (specs X16)
	DisableTCP    bool         // no ICE-TCP
	ReceiveBuffer int          // bytes asked for each UDP socket, default 8 MiB
	Logger        *slog.Logger // nil: nothing is logged
}

// Authorize decides whether a request may publish to or watch a stream, and
// says who asks. The error is a problem.Problem (401, 403, 404, or 503 while it
// cannot be decided).
type Authorize func(r *http.Request, stream string) (Caller, error)

// Caller is who asks.
type Caller struct {
	Principal string // who may PATCH, DELETE and take over
	Many      bool   // many share the Principal: MaxPerPrincipal does not count it
	// Address is the other side's, of IPv6 its /64 network. The endpoint sets it.
	Address netip.Addr
	// Revoked reports whether the permission has been taken back since. It must not
	// wait, and may be called from any goroutine. nil: never.
	Revoked func() bool
}

// ICEServer is one STUN or TURN server named to clients by a Link header
// (RFC 9725 §4.6). No field may hold a comma or semicolon (specs W72).
type ICEServer struct {
	URL        string // stun:…, turn:… or turns:…
	Username   string
	Credential string
}

// RegistryConfig of a Registry. The zero value works and lets everybody in.
type RegistryConfig struct {
	Publish, Watch Authorize // nil: everybody may, as principal ""
	MaxSessions    int       // default 4,000; a tenth of it is not for viewers
	MaxPending     int       // sessions not connected yet, default 500; as MaxSessions
	// Sessions of one address, default 500; of loopback as many as may be.
	MaxPerAddress   int
	MaxPerPrincipal int           // sessions of one principal, default 1,000
	PendingTimeout  time.Duration // from POST to connected, default 15 s
	PostRate        float64       // POSTs a second from one address, default 10
	PostBurst       int           // POSTs at once from one address, default 100
	// POSTs of one principal that may do what they ask for: default 20 a second, 200
	// at once.
	TokenRate  float64
	TokenBurst int
	// The same of all, publishers and viewers apart: default 200 a second, 2,000 at once.
	TotalRate  float64
	TotalBurst int
	Strict     bool // a PATCH needs If-Match (428 without); otherwise it may be left out (specs W40)
	// ICEServers returns what the other side is told: a user of credentials is a
	// Session, or a request that has none. It must not wait. nil: none.
	ICEServers func(r *http.Request, user string) []ICEServer
	// Relayed reports whether media from an address comes through a relay of ours, for
	// the Reports. It must not wait. nil: none does.
	Relayed func(from netip.AddrPort) bool
	Logger  *slog.Logger // nil: nothing is logged
}

// Codec is a codec as negotiated, or as wanted.
type Codec struct {
	Name        string // "H264", "H265", "AV1", "VP9" or "Opus"
	ClockRate   uint32
	Channels    int    // audio only
	Fmtp        string // format parameters
	PayloadType uint8  // as negotiated; 0 in Rules
}

// Rules say what CheckOffer accepts.
type Rules struct {
	Direction Direction
	// Codecs in order of preference. One codec a section is chosen: the first of
	// these that the section offers. nil: H264, H265, AV1, VP9 and Opus. For a
	// viewer these are the codecs of the live publisher, Fmtp included.
	Codecs []Codec
}

// Section is one accepted media section of an Offer.
type Section struct {
	MID   string
	Kind  Kind
	Codec Codec // none of Messages
	// RIDs of the simulcast layers, the best one first; empty without simulcast.
	RIDs []string
	// Feedback that is agreed on for the codec (RFC 4585, RFC 5104). A viewer gets
	// TransportCC for its video, or else REMB.
	TransportCC, NACK, PLI, FIR, REMB bool
	// CaptureTime is the ID of the header extension abs-capture-time of a publisher's
	// packets; 0 without.
	CaptureTime uint8
}

// Offer is an offer that passed CheckOffer. It is immutable.
type Offer struct {
	Sections []Section // at most one of each kind, in the order of the offer

	direction   Direction
	credentials credentials // of the other side
	candidates  []string    // of the other side, without "candidate:"
	heard       []string    // the same and those of no use to us
	normals     []normal    // as Sections
	bundled     bool        // the offer had a BUNDLE group
	mixed, lite bool        // extmap-allow-mixed, ice-lite
}

// Request is a POST to an endpoint that passed all checks of HTTP.
type Request struct {
	Caller // who asks, from Authorize

	Stream string // a valid name
	Target string // path and query as they came: what to send elsewhere (Draining.Target)
	Body   []byte // of type application/sdp, not empty, at most 64 KiB
}

// Accept makes a started Session of a POST. An error that is a problem.Problem
// is sent as it is, any other as 500. It is called on the request's goroutine
// and must leave nothing behind when it fails (specs W12).
type Accept func(ctx context.Context, q Request) (*Session, error)

// EndpointConfig of an endpoint.
type EndpointConfig struct {
	Direction Direction
	Prefix    string                 // path before the stream's name, "/whip/" or "/whep/"
	ValidName func(name string) bool // stream.ValidName
	Accept    Accept
	// Extensions of the Sessions that Accept makes. An endpoint of the same
	// direction that is made later replaces them.
	Extensions []Extension
}

// Opening is what Registry.Open needs.
type Opening struct {
	Caller // of the Request

	Direction Direction
	Stream    string // for authorisation of later requests, and for logs
	Offer     *Offer
	// Tracks to send, at most one of each kind that the Offer has. A section
	// without a track stays silent. Their StreamID must be the same (specs E19). A
	// Hearer gets the RTCP about it.
	Tracks []webrtc.TrackLocal
}

// Track is one incoming RTP sequence: the audio, the only video, or one
// simulcast layer. Read is for one goroutine; it fails when the
// Session ends. So does ReadRTCP.
type Track struct {
	*webrtc.TrackRemote
	Kind Kind

	receiver *webrtc.RTPReceiver
}

// ReadRTCP waits for the next RTCP packets about this track (sender reports,
// BYE) and returns them unmarshalled. It is for one goroutine.
func (t Track) ReadRTCP() ([]rtcp.Packet, error) {
	var packets []rtcp.Packet
	var err error
	if t.RID() != "" {
		packets, _, err = t.receiver.ReadSimulcastRTCP(t.RID())
	} else {
		packets, _, err = t.receiver.ReadRTCP()
	}
	return packets, err
}

// The rest of the exported API, in short:
//
//	New(Config) (*Engine, error)                        opens the sockets
//	(*Engine) Close() error                             closes them; end the Registry first
//	(*Engine) Port() int                                UDP and TCP port
//	NewRegistry(*Engine, RegistryConfig) *Registry
//	(*Registry) Run(ctx) error                          waits for ctx, then ends all Sessions with ErrShutdown and waits for them
//	(*Registry) Sweep()                                 ends the Sessions whose Caller was revoked
//	(*Registry) ServeHTTP                               mount at /session/{id}
//	(*Registry) Endpoint(EndpointConfig) http.Handler   mount at /whip/{stream}, /whep/{stream}: all but the POST's inside
//	(*Registry) Open(ctx, Opening) (*Session, error)    PeerConnection and answer; errors are Problems (503, 400, 422)
//	CheckOffer(body, Rules) (*Offer, error)             pure; errors are Problems (400, 422)
//	(*Session) …                                        session.go
