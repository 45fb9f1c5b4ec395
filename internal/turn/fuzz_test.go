package turn

import (
	"bufio"
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/turn/v5"
)

// silent is a connection that only gives bytes.
type silent struct {
	net.Conn

	bytes.Reader
}

func (s *silent) Read(b []byte) (int, error)      { return s.Reader.Read(b) }
func (s *silent) SetReadDeadline(time.Time) error { return nil }

// FuzzRead: whatever a stream holds, each message is whole, within the limit and not
// empty, and the stream ends.
func FuzzRead(f *testing.F) {
	cookie := []byte{0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	f.Add(append([]byte{0, 1, 0, 0}, cookie...))
	f.Add(append([]byte{0, 1, 0xff, 0xec}, cookie...)) // 0 in 16 bits
	f.Add([]byte{0x40, 0, 0, 1, 7, 0, 0, 0, 0x4f, 0xff, 0, 0})
	f.Add([]byte{0x40, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, stream []byte) {
		s := &silent{}
		s.Reset(stream)
		c := &conn{Conn: s, reader: bufio.NewReader(s)}
		b := make([]byte, inbound)
		for left := len(stream); ; {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if left -= n; n < 4 || n >= inbound || n%4 != 0 && b[0]>>6 == 1 || left < 0 {
				t.Fatalf("a message of %d bytes, %d are left", n, left)
			}
		}
	})
}

// FuzzUsername: what is taken for credentials of ours is what Credentials makes.
func FuzzUsername(f *testing.F) {
	for _, seed := range []string{"1700000000:alice", "1700000000", ":", "-5:x", "99999999999999999999:a", "1:a:b", "+1:a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, username string) {
		until, user, ok := parseUsername(username)
		if !ok {
			return
		}
		again, _ := Credentials("s", user, until)
		if u, v, ok := parseUsername(again); !ok || v != user || !u.Equal(until) {
			t.Errorf("%q is %v and %q, and again %v and %q", username, until, user, u, v)
		}
	})
}

// TestRelayAllocatesNothing: the way of each packet through a relay of ours.
func TestRelayAllocatesNothing(t *testing.T) {
	media, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = media.Close() }()
	outer := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), media.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	s, err := New(t.Context(), Config{Address: "127.0.0.1:0", Secret: "s", Peers: []Peer{{
		Local: media.LocalAddr().(*net.UDPAddr).AddrPort(), Advertised: []netip.Addr{netip.MustParseAddr("203.0.113.8"), outer.Addr()},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	relay, _, err := generator{s}.AllocatePacketConn(turn.AllocateListenerConfig{Network: "udp4", UserID: "anna"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = relay.Close() }()
	to, b := net.UDPAddrFromAddrPort(outer), make([]byte, 100)
	var from net.Addr
	n := testing.AllocsPerRun(100, func() {
		if _, err := relay.WriteTo(b, to); err != nil {
			t.Fatal(err)
		}
		_, at, err := media.ReadFromUDPAddrPort(b)
		if err == nil {
			_, err = media.WriteToUDPAddrPort(b, at)
		}
		if err == nil {
			_, from, err = relay.ReadFrom(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations a packet and its answer", n)
	}
	if from.String() != outer.String() {
		t.Errorf("the answer is from %v, want the name %v that it was sent to", from, outer)
	}
}
