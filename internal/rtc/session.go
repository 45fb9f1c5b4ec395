package rtc

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// Session is one PeerConnection and its resource at /session/{id}. It is made
// by Registry.Open, and then either started or discarded. All methods may be
// called from any goroutine unless they say otherwise.
type Session struct {
	registry *Registry
	opening  Opening
	id       string
	since    time.Time
	pc       *webrtc.PeerConnection
	log      *slog.Logger
	answer   string // until it is sent; the POST's goroutine has it
	senders  []*webrtc.RTPSender

	tracks    chan Track    // from OnTrack
	channels  chan *Channel // from OnDataChannel, with room for all
	opened    atomic.Int32  // how many there were
	connected chan struct{} // closed once ICE and DTLS are done
	done      chan struct{} // closed when nothing of the Session is left
	wg        sync.WaitGroup

	told    atomic.Bool           // of TURN servers
	hearers hearers               // of RTCP
	secrets secrets               // of the DTLS handshake
	route   atomic.Pointer[route] // how packets go out without Pion; nil: they do not
	looking looking               // for another selected pair

	routing  sync.Mutex
	ice      *webrtc.ICETransport // below routing: nil unless we send
	seal     *seal                // below routing: nil before the first route
	unsealed bool                 // below routing: there are no keys, route stays nil

	patch *resource // the state that PATCHes change
	gone  bool      // below registry.mu: its place was given back

	cancel context.CancelCauseFunc // of run's context
	launch func(run func(ctx context.Context) error)

	mu     sync.Mutex
	reason error       // below mu: why it ends
	notes  []slog.Attr // below mu: for the log line at the end
	cause  Report      // below mu: if it could not connect or was lost
	way    way         // below mu: how media goes
	wayAt  time.Time   // below mu: since when
	heard  []string    // below mu: candidates of the other side, used or not
	pairs  []pair      // below mu: as they were when they were looked at last
	gaveUp bool        // below mu: ICE or DTLS failed
}

// Start registers the Session's URL and runs run on a goroutine of its own. The
// Session ends when run returns; run must return soon after its context ends,
// whose cause is the reason (one of the errors of this package). If it panics, the
// Session ends with ErrFault. Call it once.
func (x *Session) Start(run func(ctx context.Context) error) {
	x.registry.register(x)
	x.launch(run)
}

// Discard gives back everything of a Session that was not started.
func (x *Session) Discard() {
	x.End(ErrDeleted)
	x.close()
	x.release()
}

// Go runs f on a goroutine that the Session waits for at its end, after it
// closed the PeerConnection. So f may block in Track.Read or Track.ReadRTCP:
// they fail then. If f panics, the Session ends with ErrFault.
// Call it from run, or from such an f.
func (x *Session) Go(f func()) { x.wg.Go(x.guard(f)) }

// End ends the Session. It returns at once; the first reason stays.
func (x *Session) End(reason error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.reason != nil {
		return
	}
	x.reason = reason
	x.registry.ended.Put(x.id[:shownID], ending{x.id, x.opening.Stream, x.opening.Principal, reason})
	x.cancel(reason)
}

// Err returns the reason for which the Session ended, nil before.
func (x *Session) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.reason
}

// Connected is closed once ICE and DTLS are done: media flows from here on.
func (x *Session) Connected() <-chan struct{} { return x.connected }

// Done is closed when nothing of the Session is left: no goroutine, no slot.
func (x *Session) Done() <-chan struct{} { return x.done }

// Tracks delivers the incoming tracks of a Receive Session, each as its first
// packet arrives. It is never closed.
func (x *Session) Tracks() <-chan Track { return x.tracks }

// WriteRTCP sends RTCP packets, which may be a compound. It fails before the
// Session is connected and after its end.
func (x *Session) WriteRTCP(packets []rtcp.Packet) error { return x.pc.WriteRTCP(packets) }

// Log returns a logger that carries the stream and the session.
func (x *Session) Log() *slog.Logger { return x.log }

// Note adds attributes to the one log line that is written when the Session
// ends.
func (x *Session) Note(attrs ...slog.Attr) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.notes = append(x.notes, attrs...)
}
