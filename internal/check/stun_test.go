package check_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/whipcast/whipcast/internal/check"
)

func udp(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// stunServer answers each request by what reply makes of it; nil is silence.
func stunServer(t *testing.T, reply func(m *stun.Message, from *net.UDPAddr, n int) *stun.Message) string {
	t.Helper()
	conn := udp(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for count := 1; ; count++ {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			m := &stun.Message{Raw: append([]byte(nil), buf[:n]...)}
			if err := m.Decode(); err != nil || m.Type != stun.BindingRequest {
				t.Errorf("no request: %v, %v", err, m.Type)
				return
			}
			_, _ = conn.WriteToUDP([]byte("noise"), from)
			if answer := reply(m, from, count); answer != nil {
				_, _ = conn.WriteToUDP(answer.Raw, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

func binding(m *stun.Message, at *net.UDPAddr) *stun.Message {
	return stun.MustBuild(m, stun.BindingSuccess, &stun.XORMappedAddress{IP: at.IP, Port: at.Port})
}

func TestAskSTUN(t *testing.T) {
	seen := &net.UDPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 40123}
	for _, tt := range []struct {
		name  string
		reply func(m *stun.Message, from *net.UDPAddr, n int) *stun.Message
		want  string
		err   string
	}{
		{"answers", func(m *stun.Message, _ *net.UDPAddr, _ int) *stun.Message { return binding(m, seen) }, "203.0.113.7:40123", ""},
		{"the first request is lost", func(m *stun.Message, _ *net.UDPAddr, n int) *stun.Message {
			if n == 1 {
				return nil
			}
			return binding(m, seen)
		}, "203.0.113.7:40123", ""},
		{"an old server", func(m *stun.Message, _ *net.UDPAddr, _ int) *stun.Message {
			return stun.MustBuild(m, stun.BindingSuccess, &stun.MappedAddress{IP: seen.IP, Port: seen.Port})
		}, "203.0.113.7:40123", ""},
		{"refuses", func(m *stun.Message, _ *net.UDPAddr, _ int) *stun.Message {
			return stun.MustBuild(m, stun.BindingError, stun.CodeTryAlternate)
		}, "", "the server refuses"},
		{"no address", func(m *stun.Message, _ *net.UDPAddr, _ int) *stun.Message {
			return stun.MustBuild(m, stun.BindingSuccess)
		}, "", "has no address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := check.AskSTUN(t.Context(), udp(t), []string{stunServer(t, tt.reply)})[0]
			if tt.err == "" && (got.Err != nil || got.Address.String() != tt.want) || tt.err != "" && (got.Err == nil || !strings.Contains(got.Err.Error(), tt.err)) {
				t.Errorf("%+v, want %s %s", got, tt.want, tt.err)
			}
		})
	}
}

func TestSTUNThatCannotBeAsked(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	silent := stunServer(t, func(*stun.Message, *net.UDPAddr, int) *stun.Message { return nil })
	for _, m := range check.AskSTUN(ctx, udp(t), []string{silent}) {
		if m.Err == nil {
			t.Errorf("%+v", m)
		}
	}
	for _, m := range check.AskSTUN(t.Context(), udp(t), []string{":3478", "127.0.0.1:stun", "127.0.0.1:0", "127.0.0.1:99999", "[::1]:3478", ""}) {
		if m.Err == nil {
			t.Errorf("%+v", m)
		}
	}
}

func TestReach(t *testing.T) {
	const port = 8100
	own, nat := netip.MustParseAddr("192.168.1.5"), netip.MustParseAddrPort("203.0.113.7:8100")
	here := check.Socket{Port: port, Media: true, Advertised: []netip.Addr{own}}
	public := check.Socket{Port: port, Media: true, Advertised: []netip.Addr{nat.Addr()}, PublicIPs: true}
	const name = "media from outside: "
	for _, tt := range []struct {
		name    string
		socket  check.Socket
		answers []check.Mapped
		want    []string
	}{
		{"no server", here, nil, []string{name + "skipped: no STUN server is given → --stun HOST:PORT asks one by which address it sees this machine"}},
		{"own address", here, []check.Mapped{{"a", netip.AddrPortFrom(own, port), nil}}, []string{name + "ok: a sees this machine as 192.168.1.5, its own address"}},
		{"as configured", public, []check.Mapped{{"a", nat, nil}}, []string{name + "ok: a sees this machine as 203.0.113.7, as media.public_ips says"}},
		{"NAT", here, []check.Mapped{{"a", nat, nil}}, []string{name + "warning: a sees this machine as 203.0.113.7, behind a NAT: browsers elsewhere are told [192.168.1.5] → set media.public_ips: [203.0.113.7] and forward UDP and TCP port 8100 to this machine"}},
		{"wrong public_ips", public, []check.Mapped{{"a", netip.MustParseAddrPort("198.51.100.1:8100"), nil}}, []string{name + "warning: a sees this machine as 198.51.100.1, which is not in media.public_ips [203.0.113.7] → set media.public_ips: [198.51.100.1], if publishers and viewers come by that address"}},
		{"another port", public, []check.Mapped{{"a", netip.MustParseAddrPort("203.0.113.7:40000"), nil}}, []string{name + "warning: a sees this machine as 203.0.113.7, and port 8100 as 40000: a NAT changes it → forward UDP and TCP port 8100 to this machine"}},
		{"symmetric", public, []check.Mapped{{"a", nat, nil}, {"b", netip.MustParseAddrPort("203.0.113.7:40000"), nil}}, []string{
			name + "ok: a sees this machine as 203.0.113.7, as media.public_ips says",
			name + "warning: b sees this machine as 203.0.113.7, and port 8100 as 40000: a NAT changes it → forward UDP and TCP port 8100 to this machine",
			name + "warning: a sees port 8100 and b sees 40000: a symmetric NAT, which gives each remote side another port → forward UDP and TCP port 8100 on the router to this machine",
		}},
		{"no such host", here, []check.Mapped{{"x.invalid", netip.AddrPort{}, &net.DNSError{Name: "x.invalid", IsNotFound: true}}}, []string{
			name + "failed: x.invalid: the name x.invalid does not exist → correct the host's name, or this machine's DNS",
		}},
		{"something else", here, []check.Mapped{{"x", netip.AddrPort{}, errors.New("not HOST:PORT")}}, []string{name + "failed: x: not HOST:PORT → ask another server: --stun HOST:PORT"}},
	} {
		t.Run(tt.name, func(t *testing.T) { want(t, check.Reach("media from outside", tt.socket, tt.answers), tt.want...) })
	}
}

// No answer at all is said as what it is: UDP that does not come through.
func TestSilence(t *testing.T) {
	silent := stunServer(t, func(*stun.Message, *net.UDPAddr, int) *stun.Message { return nil })
	found := check.Reach("media from outside", check.Socket{}, check.AskSTUN(t.Context(), udp(t), []string{silent}))
	want(t, found, "media from outside: failed: "+silent+": no answer: UDP does not get out, or does not come back → open UDP in the firewall, or ask another server")
}

func FuzzSTUN(f *testing.F) {
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	f.Add(binding(request, &net.UDPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 1}).Raw)
	f.Add(stun.MustBuild(request, stun.BindingError, stun.CodeBadRequest).Raw)
	f.Add([]byte("noise"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		at, mine, err := check.ParseSTUN(packet, request.TransactionID)
		if at.IsValid() && (!mine || err != nil || at.Port() == 0) || !at.IsValid() && mine && err == nil {
			t.Errorf("%v, %t, %v", at, mine, err)
		}
	})
}
