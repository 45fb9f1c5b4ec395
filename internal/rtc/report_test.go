package rtc

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestReport: from what is known to words and a remedy.
func TestReport(t *testing.T) {
	addr := netip.MustParseAddr
	var (
		docker  = []netip.Addr{addr("172.17.0.2")}
		public  = []netip.Addr{addr("9.9.9.9")}
		outside = addr("8.8.4.4")
		names   = []string{"- 1 udp - 5e0ba5d6-0a5e-4bc9-a8b1-3a5e5d1d2a10.local 50000 typ host"}
		some    = []string{"- 1 udp - 10.0.0.5 50000 typ host", "- 1 udp - 10.0.0.6 50000 typ host", "- 1 udp - 8.8.4.4 50000 typ srflx", "- 1 tcp - 10.0.0.5 9 typ host"}
		silent  = pair{local: "172.17.0.2 port 8100", remote: "its own address, private", sent: 7}
		heard   = pair{local: "172.17.0.2 port 8100", remote: "address that was seen", sent: 7, received: 5}
		good    = pair{local: "172.17.0.2 port 8100", remote: "address that was seen", sent: 7, answered: 7, received: 5, succeeded: true}
	)
	for name, tt := range map[string]struct {
		f             facts
		words, remedy string // their beginnings
	}{
		"container": {
			facts{course: never, advertised: docker, from: outside, heard: some, pairs: []pair{silent}},
			"advertised 172.17.0.2, which the client cannot reach: it comes from another network", "set media.public_ips to the address",
		},
		"behind a proxy, names only": {
			facts{course: never, advertised: docker, from: addr("172.17.0.1"), heard: names},
			"advertised 172.17.0.2, and nothing came there; the client offered mDNS names only", "if others reach this machine by another address, as behind NAT or in a container, set media.public_ips; else open UDP and TCP port 8100",
		},
		"firewall": {
			facts{course: never, advertised: public, publicIPs: true, from: outside, heard: some, pairs: []pair{silent}},
			"advertised 9.9.9.9, and nothing came there, by UDP or TCP", "open UDP and TCP port 8100 in the firewalls before this machine, and forward both on its router; is media.public_ips right?; a client whose network blocks both needs media.turn",
		},
		"own public address, no candidates": {
			facts{course: never, advertised: public, from: outside},
			"advertised 9.9.9.9, and nothing came there, by UDP or TCP; the client offered no address", "open UDP and TCP port 8100 in the firewalls before this machine, and forward both on its router; a client",
		},
		"TURN does not help": {
			facts{course: never, advertised: public, from: outside, heard: some, servers: true},
			"advertised 9.9.9.9, and nothing came there, by UDP, TCP or TURN", "open UDP and TCP port 8100 in the firewalls before this machine, and forward both on its router; and the ports of the TURN servers",
		},
		"one way":     {facts{course: never, advertised: public, from: outside, heard: some, pairs: []pair{silent, heard}}, "its packets come, but ours do not reach it", "let answers out: UDP from port 8100"},
		"DTLS":        {facts{course: never, advertised: public, from: outside, heard: some, pairs: []pair{good}}, "packets went both ways, but the other side did not finish DTLS", "try another program"},
		"forgotten":   {facts{course: never, advertised: docker, from: outside, blind: true}, "advertised 172.17.0.2, and no pair of addresses worked", "open UDP and TCP port 8100"},
		"on the way":  {facts{course: under, advertised: public}, "not connected yet", ""},
		"UDP":         {facts{course: arrived, way: byUDP, advertised: public, pairs: []pair{good}}, "connected directly by UDP", ""},
		"TCP":         {facts{course: arrived, way: byTCP, advertised: public}, "connected by TCP: UDP is blocked", "open UDP port 8100"},
		"TURN":        {facts{course: arrived, way: byRelay, advertised: public}, "relayed by TURN", ""},
		"lost":        {facts{course: vanished, way: byUDP, advertised: public}, "it was connected directly by UDP, then nothing came", "its network went away or changed"},
		"lost by TCP": {facts{course: vanished, way: byTCP, advertised: public}, "it was connected by TCP, then nothing came", "its network"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.f.port, tt.f.tcp = 8100, true
			r := tt.f.report()
			if !strings.HasPrefix(r.Words, tt.words) || !strings.HasPrefix(r.Remedy, tt.remedy) || (tt.remedy == "") != (r.Remedy == "") {
				t.Errorf("%q; %q", r.Words, r.Remedy)
			}
			if len(r.Advertised) != 2 || r.Advertised[0] != "udp "+tt.f.advertised[0].String()+":8100" || len(r.Tried) != len(tt.f.pairs) {
				t.Errorf("advertised %q, tried %q", r.Advertised, r.Tried)
			}
			// X16: where the other side is in its own network is told to nobody.
			for _, text := range append(slices.Concat(r.Offered, r.Tried), r.Words, r.Remedy) {
				if strings.Contains(text, "10.0.0.") || strings.ContainsAny(text, "\n") {
					t.Errorf("%q", text)
				}
			}
		})
	}
	if got, want := (facts{heard: some}).offered(), []string{"2 × its own address, private", "1 × address outside of its NAT", "1 × its own address, private, TCP"}; !slices.Equal(got, want) {
		t.Errorf("offered %q, want %q", got, want)
	}
	for line, want := range map[string]string{
		"": "unreadable", "1 1 udp 1 a.example.org 9 typ host": "name", "1 1 udp 1 9.9.9.9 9 typ relay": "address of a relay",
		"1 1 udp 1 9.9.9.9 9 typ odd": "unknown kind", "1 1 UDP 1 fd00::1 9 typ host": "its own address, private", "1 1 udp 1 x.LOCAL 9 typ host": "mDNS name",
	} {
		if got := kindOfCandidate(line); got != want {
			t.Errorf("%q is %q, want %q", line, got, want)
		}
	}
	for p, want := range map[pair]string{
		silent: "udp 172.17.0.2 port 8100 and its own address, private: no packet came (7 checks sent, 0 received)",
		heard:  "udp 172.17.0.2 port 8100 and address that was seen: its checks came, ours were not answered (7 checks sent, 5 received)",
		good:   "udp 172.17.0.2 port 8100 and address that was seen: works (7 checks sent, 5 received)",
		{tcp: true, local: "a", remote: "b", answered: 1}: "tcp a and b: works, but was not chosen (0 checks sent, 0 received)",
		{local: "a", remote: "b"}:                         "udp a and b: not checked yet (0 checks sent, 0 received)",
	} {
		if got := p.words(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestHear: candidates are kept once, those of no use to us too, and not without end.
func TestHear(t *testing.T) {
	var all []string
	for _, line := range []string{
		"1 1 udp 2113937151 10.0.0.5 50000 typ host generation 0", "candidate:2 1 udp 7 10.0.0.5 50000 typ host", "1 2 udp 1 10.0.0.5 50001 typ host",
		"1 1 udp 1 x.local 50000 typ host", "short", "1 1 udp 1 10.0.0.7 1 typ " + strings.Repeat("x", 600),
	} {
		all = hear(all, line)
	}
	if len(all) != 2 {
		t.Errorf("%q", all)
	}
	for i := range 1000 {
		all = hear(all, "1 1 udp 1 10.0.1."+string(rune('0'+i%10))+" "+strings.Repeat("1", i%97+1)+" typ host")
	}
	if len(all) != maxCandidates {
		t.Errorf("%d candidates, want %d", len(all), maxCandidates)
	}
}

// FuzzCandidate: whatever a candidate is, it has a kind of one line that does not tell an
// address.
func FuzzCandidate(f *testing.F) {
	for _, seed := range []string{"1 1 udp 1 10.0.0.5 9 typ host", "1 1 tcp 1 x.local 9 typ srflx raddr 1.2.3.4", "a b c d e f g h", "candidate:1 1 udp 1 ::ffff:10.0.0.1 9 typ relay"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, one := range append(hear(nil, line), line) {
			kind := kindOfCandidate(one)
			if fields := strings.Fields(one); kind == "" || strings.ContainsAny(kind, "\r\n") || len(fields) > 4 && len(fields[4]) > 6 && strings.Contains(kind, fields[4]) && fields[4] != "unreadable" {
				t.Errorf("%q is %q", one, kind)
			}
		}
	})
}
