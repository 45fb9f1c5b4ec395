package rtc

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pion/rtp"
)

// lonely is a Sending to a socket that nobody reads.
func lonely(t testing.TB) *Sending {
	t.Helper()
	listen := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	key, err := newSeal(make([]byte, keySize), make([]byte, saltSize))
	if err != nil {
		t.Fatal(err)
	}
	from := newSocket(listen())
	t.Cleanup(func() { _ = from.close() })
	way := new(atomic.Pointer[route])
	way.Store(&route{&path{socket: from, to: listen().LocalAddr().(*net.UDPAddr).AddrPort()}, key})
	s := &Sending{route: way, trains: &sync.Pool{New: func() any { return new(Train) }}, ssrc: 1}
	s.order = order{begun: true}
	return s
}

// picture sends a picture of ten packets.
func picture(t testing.TB, s *Sending, header *rtp.Header, payload []byte) {
	train := s.Begin()
	for range 10 {
		if err := train.Add(header, payload); err != nil {
			t.Fatal(err)
		}
		header.SequenceNumber++
	}
	if err := train.End(); err != nil {
		t.Fatal(err)
	}
	s.order.told = s.order.newest // there is no Pion
}

// TestSendingAllocates nothing, however many packets there are.
func TestSendingAllocates(t *testing.T) {
	s, header, payload := lonely(t), &rtp.Header{Version: 2, SSRC: 1}, make([]byte, 1180)
	if err := header.SetExtension(1, []byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	// A collection of garbage may empty the pool: less than one in ten packets.
	if n := testing.AllocsPerRun(200, func() { picture(t, s, header, payload) }); n > 1 {
		t.Errorf("%v allocations a picture of ten packets", n)
	}
}

// BenchmarkSending is one picture of ten packets to one viewer, sealed and given
// to the kernel: in one call, and packet by packet.
func BenchmarkSending(b *testing.B) {
	for _, way := range []string{"train", "single"} {
		b.Run(way, func(b *testing.B) {
			s, header, payload := lonely(b), &rtp.Header{Version: 2, SSRC: 1}, make([]byte, 1180)
			s.route.Load().path.plain.Store(way == "single")
			b.ReportAllocs()
			b.SetBytes(int64(10 * len(payload)))
			for b.Loop() {
				picture(b, s, header, payload)
			}
		})
	}
}
