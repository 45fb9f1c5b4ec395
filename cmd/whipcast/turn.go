package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/turn"
)

// relays are the STUN and TURN servers that clients are told, our own among them. The
// zero value has none.
type relays struct {
	config configs.Media
	host   string       // that certificates are got for; "": none
	own    *turn.Server // nil: off
	secret string       // of our own, made anew by each start: sessions end with it, too
	told   []netip.Addr
}

// openTURN takes the ports of our own TURN server, if there is one.
func (g *gateway) openTURN(ctx context.Context) error {
	c := g.config.Media.TURN
	g.relays = relays{config: g.config.Media, host: g.config.HTTP.TLS.ACMEHost, secret: rand.Text(), told: g.engine.Advertised()}
	if c.Address == "" && c.TLSAddress == "" {
		return nil
	}
	var err error
	g.relays.own, err = turn.New(ctx, turn.Config{
		Address: c.Address, TLSAddress: c.TLSAddress, TLS: secure(g.tls), Secret: g.relays.secret, Peers: peersOf(g.engine.Sockets()), Logger: g.log,
	})
	if e, ok := errors.AsType[*turn.AddressError](err); ok {
		key := "media.turn.address"
		if e.Address == c.TLSAddress {
			key = "media.turn.tls_address"
		}
		return bindError(key, e.Address, e.Err)
	}
	if err != nil {
		return fmt.Errorf("open TURN: %w", err)
	}
	return nil
}

// tasks are those of our own server. Sessions end before it, so that they can say so.
func (l relays) tasks() []task {
	if l.own == nil {
		return nil
	}
	return []task{{"TURN", l.own.Run}}
}

func peersOf(sockets []rtc.Socket) []turn.Peer {
	var all []turn.Peer
	for _, s := range sockets {
		all = append(all, turn.Peer{Local: s.Local, Advertised: s.Advertised})
	}
	return all
}

// servers returns what who asks is told, with credentials for a user. The plain ways
// come first: OBS takes no others (specs W72).
func (l relays) servers(r *http.Request, user string) []rtc.ICEServer {
	until := time.Now().Add(turn.TTL)
	username, credential := turn.Credentials(l.secret, user, until)
	var all []rtc.ICEServer
	for _, url := range l.urls(r.Host) {
		all = append(all, rtc.ICEServer{URL: url, Username: username, Credential: credential})
	}
	for _, s := range l.config.TURN.Servers {
		one := rtc.ICEServer{URL: s.URL, Username: s.Username, Credential: s.Credential}
		if s.Secret != "" {
			one.Username, one.Credential = turn.Credentials(s.Secret, user, until)
		}
		all = append(all, one)
	}
	return all
}

// urls are those of our own server. asked is where the request was sent to.
func (l relays) urls(asked string) []string {
	if l.own == nil {
		return nil
	}
	var all []string
	if port := l.own.Port(); port != 0 {
		for _, host := range l.plainHosts() {
			at := net.JoinHostPort(host, fmt.Sprint(port))
			all = append(all, "turn:"+at+"?transport=udp", "turn:"+at+"?transport=tcp")
		}
	}
	if host := l.secureHost(asked); l.own.TLSPort() != 0 && host != "" {
		all = append(all, "turns:"+net.JoinHostPort(host, fmt.Sprint(l.own.TLSPort()))+"?transport=tcp")
	}
	return all
}

// plainHosts are where UDP and TCP are to be reached: what media.turn.address names,
// else the first address of each family that media has.
func (l relays) plainHosts() []string {
	host, _, _ := net.SplitHostPort(l.config.TURN.Address) // was checked
	bound, err := netip.ParseAddr(host)
	if host != "" && len(l.config.PublicIPs) == 0 && (err != nil || !bound.IsUnspecified()) {
		return []string{host}
	}
	var all []string
	for _, four := range []bool{true, false} {
		if bound.Is4() && !four {
			continue
		}
		if i := slices.IndexFunc(l.told, func(a netip.Addr) bool { return a.Is4() == four }); i >= 0 {
			all = append(all, l.told[i].String())
		}
	}
	return all
}

// secureHost is a name that the certificate has: of media.turn.tls_address, of ACME,
// or the one that the request came by.
func (l relays) secureHost(asked string) string {
	if host, _, err := net.SplitHostPort(l.config.TURN.TLSAddress); err == nil && host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return host
		}
	}
	if l.host != "" {
		return l.host
	}
	host, _, err := net.SplitHostPort(asked)
	if err != nil {
		host = strings.Trim(asked, "[]")
	}
	if _, err := netip.ParseAddr(host); err == nil || hostOnly(host) {
		return host
	}
	return ""
}

// hostOnly says whether a text that somebody sent is a name and nothing else.
func hostOnly(s string) bool {
	return s != "" && len(s) < 254 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
}

// ports says in words by which our own server is reached; "" if it is off.
func (l relays) ports() string {
	if l.own == nil {
		return ""
	}
	var all []string
	if port := l.own.Port(); port != 0 {
		all = append(all, fmt.Sprintf("UDP and TCP port %d", port))
	}
	if port := l.own.TLSPort(); port != 0 {
		all = append(all, fmt.Sprintf("TLS port %d", port))
	}
	return strings.Join(all, ", ")
}

// relayed reports whether media from an address comes through our own server.
func (l relays) relayed(from netip.AddrPort) bool { return l.own != nil && l.own.Relayed(from) }

// metrics are those of our own server: none if it is off.
func (l relays) metrics() []api.Metric {
	if l.own == nil {
		return nil
	}
	const (
		refused = "whipcast_turn_refused_total"
		help    = "Requests refused, and packets dropped that were not for our own media or from it."
	)
	m := l.own.Metrics()
	list := []api.Metric{
		{Name: "whipcast_turn_relays", Help: "Relays that there are.", Read: func() float64 { return float64(m.Relays.Load()) }},
		total("whipcast_turn_relays_total", "Relays opened.", &m.Opened),
	}
	for _, row := range []struct {
		name, help, label, value string
		at                       *atomic.Uint64
	}{
		{refused, help, "reason", "credentials", &m.Credentials},
		{refused, help, "reason", "quota", &m.Quota},
		{refused, help, "reason", "stranger", &m.Strangers},
		{"whipcast_turn_bytes_total", "Media that was relayed.", "direction", "in", &m.In},
		{"whipcast_turn_bytes_total", "Media that was relayed.", "direction", "out", &m.Out},
	} {
		one := total(row.name, row.help, row.at)
		one.Labels = map[string]string{row.label: row.value}
		list = append(list, one)
	}
	connections := api.Total(refused, help, l.own.RefusedTCP)
	connections.Labels = map[string]string{"reason": "connections"}
	return append(list, connections)
}
