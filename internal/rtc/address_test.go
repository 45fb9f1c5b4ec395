package rtc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func addrs(s string) []netip.Addr {
	var all []netip.Addr
	for f := range strings.FieldsSeq(s) {
		all = append(all, netip.MustParseAddr(f))
	}
	return all
}

// TestPlan: X16 which sockets there are, and what they are advertised as.
func TestPlan(t *testing.T) {
	const machine = "127.0.0.1 ::1 10.0.0.5 172.17.0.1 fe80::1 fd00::5"
	for _, tt := range []struct {
		name, bind, local, public, source string
		want                              string
	}{
		{"everything but loopback and link-local", "", machine, "", "", "10.0.0.5=10.0.0.5 172.17.0.1=172.17.0.1 fd00::5=fd00::5"},
		{"IPv4 only", "0.0.0.0", machine, "", "", "10.0.0.5=10.0.0.5 172.17.0.1=172.17.0.1"},
		{"loopback where nothing else exists", "", "127.0.0.1 ::1", "", "", "127.0.0.1=127.0.0.1 ::1=::1"},
		{"one address", "10.0.0.5", machine, "", "", "10.0.0.5=10.0.0.5"},
		{"loopback", "127.0.0.1", machine, "", "", "127.0.0.1=127.0.0.1"},
		{"a public address behind NAT: only the socket that packets leave from", "", machine, "203.0.113.9", "10.0.0.5", "10.0.0.5=203.0.113.9"},
		{"a public address of our own", "", machine + " 203.0.113.9", "203.0.113.9", "10.0.0.5", "203.0.113.9=203.0.113.9"},
		{"two families", "", machine, "203.0.113.9 2001:db8::9", "", "10.0.0.5=203.0.113.9 fd00::5=2001:db8::9"},
		{"two public addresses on one socket", "10.0.0.5", machine, "203.0.113.9 203.0.113.10", "", "10.0.0.5=203.0.113.9,203.0.113.10"},
		{"no address of that family", "10.0.0.5", machine, "2001:db8::9", "", "error"},
		{"no address at all", "0.0.0.0", "::1 fd00::5", "", "", "error"},
	} {
		var bind netip.Addr
		if tt.bind != "" {
			bind = netip.MustParseAddr(tt.bind)
		}
		plans, err := plan(bind, addrs(tt.local), addrs(tt.public), func(netip.Addr) netip.Addr {
			if tt.source == "" {
				return netip.Addr{}
			}
			return netip.MustParseAddr(tt.source)
		})
		var got []string
		for _, b := range plans {
			got = append(got, fmt.Sprint(b.local, "=", strings.Join(strings.Fields(strings.Trim(fmt.Sprint(b.advertise), "[]")), ",")))
		}
		if err != nil {
			got = []string{"error"}
			if errors.Is(err, ErrPublicIPs) != (tt.public != "") {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.name, got, err, tt.want)
		}
	}
}

// TestSourceFilter: whoever has the credentials is answered also at a private
// address, unless nobody can be there.
func TestSourceFilter(t *testing.T) {
	const nobody = "169.254.169.254 fe80::1 224.0.0.1 ff02::1 0.0.0.0 :: 255.255.255.255"
	for _, tt := range []struct{ local, allowed, refused string }{
		{"172.17.0.2", "8.8.8.8 172.17.0.1 10.0.2.2 ::ffff:10.0.2.2 fd00::1", nobody + " 127.0.0.1 ::1"},
		{"127.0.0.1", "127.0.0.1 ::1 8.8.8.8", nobody},
	} {
		allowed := sourceFilter([]binding{{netip.MustParseAddr(tt.local), addrs("203.0.114.9")}})
		for _, a := range addrs(tt.allowed) {
			if !allowed(a) {
				t.Errorf("at %s: %s is refused", tt.local, a)
			}
		}
		for _, a := range addrs(tt.refused) {
			if allowed(a) {
				t.Errorf("at %s: %s is allowed", tt.local, a)
			}
		}
	}
}

// TestChecked: X13 no check goes to a private address that the other side names.
func TestChecked(t *testing.T) {
	e := &Engine{bindings: []binding{{netip.MustParseAddr("172.17.0.2"), addrs("203.0.114.9")}}}
	const private, public = "1 1 udp 1 10.0.0.1 5000 typ host", "2 1 udp 1 8.8.8.8 5000 typ srflx"
	if got := e.checked([]string{private, public}); !slices.Equal(got, []string{public}) {
		t.Errorf("checked %q", got)
	}
}

// TestBindable: an address that cannot be bound yet does not end the start.
func TestBindable(t *testing.T) {
	got := bindable(addrs("192.0.2.99 127.0.0.1"), slog.New(slog.DiscardHandler))
	if want := addrs("127.0.0.1"); !slices.Equal(got, want) {
		t.Errorf("bindable %v, want %v", got, want)
	}
}

// TestRemoteFilter: X13.
func TestRemoteFilter(t *testing.T) {
	for _, tt := range []struct{ name, advertised, allowed, refused string }{
		{
			"public", "203.0.114.9",
			"8.8.8.8 2606:4700::1",
			"127.0.0.1 ::1 10.0.0.1 192.168.1.1 172.16.0.1 100.64.0.1 169.254.169.254 fe80::1 fd00::1 0.0.0.0 :: 224.0.0.1 ff02::1 255.255.255.255 ::ffff:10.0.0.1 64:ff9b::a00:1 0.1.2.3 240.0.0.1",
		},
		{"LAN", "192.168.1.5", "8.8.8.8 10.0.0.1 fd00::1 100.64.0.1", "127.0.0.1 ::1 169.254.169.254 fe80::1 224.0.0.1 0.0.0.0"},
		{"loopback", "127.0.0.1", "127.0.0.1 ::1 10.0.0.1 8.8.8.8", "169.254.169.254 224.0.0.1"},
	} {
		allowed := remoteFilter([]binding{{advertise: addrs(tt.advertised)}})
		for _, a := range addrs(tt.allowed) {
			if !allowed(a) {
				t.Errorf("%s: %s is refused", tt.name, a)
			}
		}
		for _, a := range addrs(tt.refused) {
			if allowed(a) {
				t.Errorf("%s: %s is allowed", tt.name, a)
			}
		}
	}
}

func TestParseAddress(t *testing.T) {
	for _, tt := range []struct {
		in, bind string
		port     int
		bad      bool
	}{
		{in: ":8100", bind: "invalid IP", port: 8100},
		{in: "", bind: "invalid IP"},
		{in: "127.0.0.1:8100", bind: "127.0.0.1", port: 8100},
		{in: "[::1]:8100", bind: "::1", port: 8100},
		{in: "0.0.0.0:1", bind: "0.0.0.0", port: 1},
		{in: "8100", bad: true},
		{in: ":99999", bad: true},
		{in: "127.0.0.1:x", bad: true},
	} {
		bind, port, err := parseAddress(tt.in)
		if tt.bad {
			if err == nil || !strings.Contains(err.Error(), "media.address") {
				t.Errorf("%q: error %v, want one that names media.address", tt.in, err)
			}
			continue
		}
		if err != nil || bind.String() != tt.bind || port != tt.port {
			t.Errorf("%q: %v %d %v", tt.in, bind, port, err)
		}
	}
}

// TestEngine: one port for UDP and TCP, a clear error when it is taken, and
// nothing left after Close.
func TestEngine(t *testing.T) {
	e, err := New(Config{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", e.Port())
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatalf("TCP on UDP's port: %v", err)
	}
	_ = conn.Close()
	if second, err := New(Config{Address: address}); err == nil || !strings.Contains(err.Error(), "media.address "+address) {
		_ = second.Close()
		t.Errorf("the same port twice: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	again, err := New(Config{Address: address, DisableTCP: true})
	if err != nil {
		t.Fatalf("the port after Close: %v", err)
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address); err == nil {
		_ = conn.Close()
		t.Error("TCP listens although it is off")
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestReceiveBuffer: R57 the kernel is asked, and what it gives is known.
func TestReceiveBuffer(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	small, err := receiveBufferOf(conn, 64<<10)
	if err != nil || small < 64<<10 {
		t.Errorf("asked for 64 KiB, got %d, %v", small, err)
	}
	if big, err := receiveBufferOf(conn, receiveBuffer); err != nil || big <= small {
		t.Errorf("asked for %d, got %d, %v", receiveBuffer, big, err)
	}
	_ = conn.Close()
	if _, err := receiveBufferOf(conn, receiveBuffer); err == nil {
		t.Error("no error for a closed socket")
	}
}

// TestCertificate: X18, and it lasts longer than the process.
func TestCertificate(t *testing.T) {
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	if until := time.Until(cert.Expires()); until < 5*365*24*time.Hour {
		t.Errorf("the certificate expires in %v", until)
	}
}
