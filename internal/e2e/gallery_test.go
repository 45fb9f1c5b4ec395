package e2e

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
	"golang.org/x/sys/unix"

	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// lookEvery is how often a gallery's sockets are read. It is much less than a
// socket's buffer lasts.
const lookEvery = 4 * time.Millisecond

// gallery reads the sockets of all spectators from one goroutine, which looks
// at each every lookEvery. Nobody waits at a socket. On loopback the sender's
// system call does the receiver's half as well, and waking a reader for every
// packet would be most of it: work that a network's other end does, not a gateway.
// When a packet arrived the kernel notes.
type gallery struct {
	mu     sync.Mutex
	taps   []*tap // below mu
	buffer [2048]byte
	notes  [64]byte
}

// openGallery reads until the benchmark ends.
func openGallery(b *testing.B) *gallery {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	g := &gallery{}
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				g.look()
			case <-ctx.Done():
				return
			}
		}
	})
	b.Cleanup(func() { cancel(); wg.Wait() })
	return g
}

func (g *gallery) look() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taps = slices.DeleteFunc(g.taps, func(t *tap) bool { return !t.drain(g.buffer[:], g.notes[:]) })
}

// tap returns another socket.
func (g *gallery) tap(b *testing.B) *tap {
	b.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	err1 := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	err2 := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	err3 := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	name, err4 := unix.Getsockname(fd)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		b.Fatal(err1, err2, err3, err4)
	}
	t := &tap{
		fd: fd, local: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port},
		rest: make(chan foreign, 256), closed: make(chan struct{}), first: make(chan struct{}),
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taps = append(g.taps, t)
	return t
}

// tap is a socket that keeps media for itself; what else comes, Pion's mux reads.
type tap struct {
	local     *net.UDPAddr
	rest      chan foreign
	closed    chan struct{}
	first     chan struct{} // closed at the first whole picture
	firstAt   time.Time     // valid then
	recording atomic.Bool

	life sync.RWMutex
	fd   int // below life; -1 when closed

	mu  sync.Mutex
	got []shot // below mu
}

type foreign struct {
	bytes []byte
	from  netip.AddrPort
}

// drain takes all that has come. False says that the tap is closed.
func (t *tap) drain(b, notes []byte) bool {
	t.life.RLock()
	defer t.life.RUnlock()
	for t.fd >= 0 {
		n, noted, _, from, err := unix.Recvmsg(t.fd, b, notes, unix.MSG_DONTWAIT)
		if err != nil {
			return true // nothing more now; ICE notices what is worse
		}
		if n >= 12 && b[0]>>6 == 2 && (b[1] < 192 || b[1] > 223) { // RFC 7983, RFC 5761
			if b[1]&0x80 != 0 { // a picture's last packet
				t.whole(binary.BigEndian.Uint32(b[4:]), arrival(notes[:noted]))
			}
			continue
		}
		a := from.(*unix.SockaddrInet4)
		select {
		case t.rest <- foreign{slices.Clone(b[:n]), netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))}:
		default: // it is lost, as by a full buffer
		}
	}
	return false
}

// arrival returns when the kernel got a packet.
func arrival(notes []byte) time.Time {
	all, err := unix.ParseSocketControlMessage(notes)
	if err != nil || len(all) != 1 || len(all[0].Data) < 16 {
		return time.Time{}
	}
	return time.Unix(int64(binary.NativeEndian.Uint64(all[0].Data)), int64(binary.NativeEndian.Uint64(all[0].Data[8:]))) // a timespec of 64 bits
}

func (t *tap) whole(timestamp uint32, at time.Time) {
	if t.firstAt.IsZero() {
		t.firstAt = at
		close(t.first)
	}
	if t.recording.Load() {
		t.mu.Lock()
		t.got = append(t.got, shot{timestamp, at})
		t.mu.Unlock()
	}
}

// take returns what was recorded, and forgets it.
func (t *tap) take() []shot {
	t.mu.Lock()
	defer t.mu.Unlock()
	got := t.got
	t.got = nil
	return got
}

// ReadFromAddrPort is what Pion's mux reads by.
func (t *tap) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-t.rest:
		return copy(b, d.bytes), d.from, nil
	case <-t.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// WriteToAddrPort is what Pion's mux writes by.
func (t *tap) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	t.life.RLock()
	defer t.life.RUnlock()
	if t.fd < 0 {
		return 0, net.ErrClosed
	}
	return len(b), unix.Sendto(t.fd, b, 0, &unix.SockaddrInet4{Addr: to.Addr().Unmap().As4(), Port: int(to.Port())})
}

// ReadFrom, WriteTo and the deadlines make it a net.PacketConn.
func (t *tap) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := t.ReadFromAddrPort(b)
	return n, net.UDPAddrFromAddrPort(from), err
}

func (t *tap) WriteTo(b []byte, to net.Addr) (int, error) {
	return t.WriteToAddrPort(b, to.(*net.UDPAddr).AddrPort())
}
func (t *tap) LocalAddr() net.Addr              { return t.local }
func (t *tap) SetDeadline(time.Time) error      { return nil }
func (t *tap) SetReadDeadline(time.Time) error  { return nil }
func (t *tap) SetWriteDeadline(time.Time) error { return nil }

// Close may be called twice.
func (t *tap) Close() error {
	t.life.Lock()
	defer t.life.Unlock()
	if t.fd < 0 {
		return nil
	}
	close(t.closed)
	fd := t.fd
	t.fd = -1
	return unix.Close(fd)
}

// spectator is a viewer whose packets end at its socket: only what keeps the
// connection goes on to Pion.
type spectator struct {
	remote *rtctest.Remote
	tap    *tap
	key    time.Duration // from connected to the first whole picture
	join   time.Duration // from the POST to it
}

// join adds a spectator.
func (g *gallery) join(b *testing.B, gateway *gateway) *spectator {
	b.Helper()
	t := g.tap(b)
	silent := logging.DefaultLoggerFactory{Writer: io.Discard}
	remote := rtctest.New(b, rtctest.Options{Setting: func(s *webrtc.SettingEngine) {
		s.SetICEUDPMux(ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: t, Logger: silent.NewLogger("mux")}))
		s.SetICETimeouts(5*time.Second, 25*time.Second, 2500*time.Millisecond) // checks as often as browsers'
	}}, func(pc *webrtc.PeerConnection) error {
		for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
			if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
				return err
			}
		}
		return nil
	})
	posted := time.Now()
	remote.Connect(b, gateway.url("/whep/bench"))
	connected := time.Now()
	rtctest.Wait(b, t.first, "picture")
	return &spectator{remote: remote, tap: t, key: max(t.firstAt.Sub(connected), 0), join: t.firstAt.Sub(posted)}
}

func (s *spectator) leave(b *testing.B) {
	if err := s.remote.PC.GracefulClose(); err != nil {
		b.Error(err)
	}
	_ = s.tap.Close() // the mux may have
}
