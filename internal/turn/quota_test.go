package turn

import (
	"fmt"
	"net/netip"
	"testing"
)

// TestQuotaOfAnAddress: those behind one address have a quarter of the relays at most,
// by however many credentials; a proxy on this machine stands for many.
func TestQuotaOfAnAddress(t *testing.T) {
	for from, want := range map[string]int{"203.0.113.7": 10, "2001:db8::1": 10, "127.0.0.1": 40} {
		s, err := New(t.Context(), Config{Address: "127.0.0.1:0", Secret: "s", MaxRelays: 40})
		if err != nil {
			t.Fatal(err)
		}
		address := netip.MustParseAddr(from)
		var held []*relay
		for i := range 50 {
			user, at := identified(identity(fmt.Sprint("user", i), address))
			r := &relay{server: s, user: user, from: at, at: netip.AddrPortFrom(address, uint16(i+1))}
			if ok := s.quota(identity(user, at), "", nil); ok != (s.take(r) == nil) {
				t.Fatalf("%s: what is said and what is done differ at relay %d", from, i)
			} else if ok {
				held = append(held, r)
			}
		}
		if len(held) != want {
			t.Errorf("%s has %d relays of 40, want %d", from, len(held), want)
		}
		for _, r := range held {
			s.give(r)
		}
		if len(s.users) != 0 || len(s.addresses) != 0 {
			t.Errorf("%s: %d users and %d addresses are left", from, len(s.users), len(s.addresses))
		}
		s.Close()
	}
}
