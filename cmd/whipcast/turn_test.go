package main

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/internal/turn"
)

// TestICEServers: which servers who asks is told, and by which names.
func TestICEServers(t *testing.T) {
	media := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("192.0.2.8")}
	plain := func(hosts ...string) []string {
		var all []string
		for _, h := range hosts {
			all = append(all, "turn:"+h+"?transport=udp", "turn:"+h+"?transport=tcp")
		}
		return all
	}
	for name, c := range map[string]struct {
		relays relays
		asked  string
		want   []string
	}{
		"media's addresses":           {relays{}, "live.example.org", append(plain("192.0.2.7:PORT", "[2001:db8::7]:PORT"), "turns:live.example.org:TLS?transport=tcp")},
		"by a port":                   {relays{}, "live.example.org:8443", append(plain("192.0.2.7:PORT", "[2001:db8::7]:PORT"), "turns:live.example.org:TLS?transport=tcp")},
		"by an address":               {relays{}, "[2001:db8::7]:8443", append(plain("192.0.2.7:PORT", "[2001:db8::7]:PORT"), "turns:[2001:db8::7]:TLS?transport=tcp")},
		"no name":                     {relays{}, `x">;y`, plain("192.0.2.7:PORT", "[2001:db8::7]:PORT")},
		"the certificate's":           {relays{host: "acme.example.org"}, "live", append(plain("192.0.2.7:PORT", "[2001:db8::7]:PORT"), "turns:acme.example.org:TLS?transport=tcp")},
		"its own names":               {relays{config: configs.Media{TURN: configs.TURN{Address: "192.0.2.8:3478", TLSAddress: "turn.example.org:443"}}}, "live", append(plain("192.0.2.8:PORT"), "turns:turn.example.org:TLS?transport=tcp")},
		"outer address":               {relays{config: configs.Media{PublicIPs: media, TURN: configs.TURN{Address: "10.0.0.1:3478"}}}, "live", append(plain("192.0.2.7:PORT"), "turns:live:TLS?transport=tcp")},
		"all addresses of one family": {relays{config: configs.Media{TURN: configs.TURN{Address: "0.0.0.0:3478"}}}, "live", append(plain("192.0.2.7:PORT"), "turns:live:TLS?transport=tcp")},
	} {
		t.Run(name, func(t *testing.T) {
			own, err := turn.New(t.Context(), turn.Config{Address: "127.0.0.1:0", TLSAddress: "127.0.0.1:0", TLS: &tls.Config{MinVersion: tls.VersionTLS12}, Secret: "s", Peers: []turn.Peer{{
				Local: netip.MustParseAddrPort("127.0.0.1:9"), Advertised: media[:1],
			}}})
			if err != nil {
				t.Fatal(err)
			}
			defer own.Close()
			c.relays.own, c.relays.told = own, media
			for i, url := range c.want {
				c.want[i] = strings.NewReplacer("PORT", strconv.Itoa(own.Port()), "TLS", strconv.Itoa(own.TLSPort())).Replace(url)
			}
			if got := c.relays.urls(c.asked); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	l := relays{config: configs.Media{TURN: configs.TURN{Servers: []configs.ICEServer{
		{URL: "stun:s"}, {URL: "turn:t", Secret: "s3cret"}, {URL: "turn:u", Username: "u", Credential: "p"},
	}}}}
	got := l.servers(&http.Request{}, "pAbc")
	if len(got) != 3 || got[0].Username != "" || got[2].Username != "u" || got[2].Credential != "p" {
		t.Fatalf("%v", got)
	}
	if expiry, user, _ := strings.Cut(got[1].Username, ":"); user != "pAbc" || len(expiry) != 10 || len(got[1].Credential) != 28 {
		t.Errorf("%v is not time-limited", got[1])
	}
}
