package hls

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/whipcast/whipcast/internal/problem"
)

func TestClientAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:1234":                "192.0.2.1",
		"[::ffff:192.0.2.1]:80":         "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:443":    "2001:db8:1:2::",
		"[fe80::1%eth0]:443":            "fe80::",
		"127.0.0.1:5":                   "",
		"[::1]:5":                       "",
		"[::ffff:127.0.0.1]:5":          "",
		"@":                             "",
		"":                              "",
		"192.0.2.1":                     "",
		"[2001:db8:1:2:ffff::]:1":       "2001:db8:1:2::",
		"[64:ff9b::192.0.2.1]:1":        "64:ff9b::",
		"255.255.255.255:65535":         "255.255.255.255",
		"[2001:db8:1:2::1%25zone]:8080": "2001:db8:1:2::",
	} {
		got := ""
		if address := clientAddress(remote); address.IsValid() {
			got = address.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", remote, got, want)
		}
	}
}

// What enters and leaves must add up, or the caps would close for ever.
func TestGateForgetsWhoLeft(t *testing.T) {
	g := newGate(Config{MaxHeld: 3, MaxHeldPerStream: 2, MaxHeldPerClient: 2})
	status := func(err error) int {
		p, ok := err.(problem.Problem) //nolint:errorlint // it is returned as it is
		if !ok {
			return 0
		}
		return p.Status
	}
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for range 3 {
		holds := []*hold{{stream: "a", client: one}, {stream: "a", client: other}, {stream: "b", client: one}}
		if err := g.enter(holds[0]); err != nil {
			t.Fatal(err)
		}
		if err := g.enter(holds[1]); err != nil {
			t.Fatal(err)
		}
		if got := status(g.enter(&hold{stream: "a"})); got != http.StatusServiceUnavailable {
			t.Errorf("stream is full: %d", got)
		}
		if err := g.enter(holds[2]); err != nil {
			t.Fatal(err)
		}
		if got := status(g.enter(&hold{stream: "c"})); got != http.StatusServiceUnavailable {
			t.Errorf("all is full: %d", got)
		}
		g.leave(holds[1])
		if got := status(g.enter(&hold{stream: "c", client: one})); got != http.StatusTooManyRequests {
			t.Errorf("client is full: %d", got)
		}
		g.leave(holds[0])
		g.leave(holds[2])
		if len(g.held)+len(g.streams)+len(g.clients) != 0 {
			t.Fatalf("left behind: %v %v %v", g.held, g.streams, g.clients)
		}
	}
}
