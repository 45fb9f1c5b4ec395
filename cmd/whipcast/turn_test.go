package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// TestCheckTURN: the ports of our own server are looked at, and the servers of others
// are tried with the credentials that clients get; a start warns of those that fail.
func TestCheckTURN(t *testing.T) {
	const secret = "hunter2hunter2hunter2"
	server, err := turn.New(t.Context(), turn.Config{Address: "127.0.0.1:0", Secret: secret, Peers: []turn.Peer{{
		Local: netip.MustParseAddrPort("127.0.0.1:9"), Advertised: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(server.Port()))
	others := func(entries ...string) string {
		return "WHIPCAST_MEDIA_TURN_SERVERS=[" + strings.Join(entries, ", ") + "]"
	}
	good := `{url: "turn:` + at + `?transport=udp", secret: ` + secret + `}`
	tcp := `{url: "turn:` + at + `?transport=tcp", secret: ` + secret + `}`
	wrong := `{url: "turn:` + at + `", secret: hunter2}`
	fixed := `{url: "turn:localhost:` + strconv.Itoa(server.Port()) + `?transport=tcp", username: u, credential: hunter2}`
	r := checked(t, settings(t, "WHIPCAST_MEDIA_TURN_ADDRESS=127.0.0.1:0", others(good, tcp, `{url: "stun:`+at+`"}`)))
	for _, want := range []string{
		"ok       media.turn.address   127.0.0.1:0 is free, UDP and TCP\n",
		"ok       media.turn.servers   turn:" + at + "?transport=udp gives a relay\n", "ok       media.turn.servers   turn:" + at + "?transport=tcp gives a relay\n",
		"ok       media.turn.servers   stun:" + at + " answers\n",
	} {
		if !strings.Contains(r.out, want) || r.code != 0 {
			t.Errorf("exit code %d, want %q:\n%s", r.code, want, r.out)
		}
	}
	r = checked(t, settings(t, "WHIPCAST_MEDIA_TURN_ADDRESS="+at, others(wrong, fixed)))
	for _, want := range []string{
		"failed   media.turn.address   " + at + ": another program uses this port\n",
		"it refuses credentials that are made with the secret (400)\n", "?transport=tcp: it refuses the credentials (400)\n",
	} {
		if !strings.Contains(r.out, want) || r.code != 1 {
			t.Errorf("exit code %d, want %q:\n%s", r.code, want, r.out)
		}
	}
	e := start(t, settings(t, others(wrong)), "serve")
	e.err.waitFor(t, "it refuses credentials that are made with the secret")
	if _, err := e.stop(); err != nil {
		t.Error(err)
	}
	if strings.Contains(e.err.String()+e.out.String(), "hunter2") {
		t.Errorf("a secret is shown: %s", e.err.String())
	}
}

// TestTURNName: browsers are told a name by which the certificate must be known.
func TestTURNName(t *testing.T) {
	certificate, key := newCertificate(t)
	s := subject{config: configs.Default()}
	s.config.HTTP.TLS = configs.TLS{Certificate: certificate, Key: key}
	for address, want := range map[string]int{":443": 0, "192.0.2.1:443": 0, "gateway.example:443": 0, "turn.example.org:443": 1} {
		if got := s.turnName(address); len(got) != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	s.config.HTTP.TLS = configs.TLS{ACMEHost: "live.example.org"}
	for address, want := range map[string]int{":443": 0, "Live.example.org:443": 0, "turn.example.org:443": 1} {
		if got := s.turnName(address); len(got) != want {
			t.Errorf("ACME, %s: %v", address, got)
		}
	}
}
