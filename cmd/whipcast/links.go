package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/whipcast/whipcast/configs"
)

// links are the addresses that people are told.
type links struct {
	version  string
	base     string // for a browser on this machine
	others   string // for other machines; empty when there is no such address
	loopback string // for the demo's publisher
	admin    string
	media    string
	turn     string // ports; empty without
	rtsp     string // for programs on this machine; empty without
	secret   secret
	closed   bool // watching needs the token
}

func (g *gateway) links() links {
	l := reach(g.config, strconv.Itoa(g.public.port()))
	l.version, l.secret = buildVersion(), g.secret
	l.closed = g.config.Auth.Watch == "token"
	l.admin = "http://" + g.admin.listener.Addr().String()
	l.media = "UDP and TCP port " + strconv.Itoa(g.engine.Port())
	l.turn = g.relays.ports()
	if scheme, port := g.rtsp.port(g.config.RTSP); port != 0 {
		l.rtsp = scheme + net.JoinHostPort("localhost", strconv.Itoa(port)) + "/NAME"
	}
	return l
}

// configuredPort returns the port of HTTP, PORT if it is any free one.
func configuredPort(config configs.Config) string {
	_, port, _ := net.SplitHostPort(config.HTTP.Address)
	if port == "0" {
		return "PORT"
	}
	return port
}

// reach returns links with the addresses by which the gateway's HTTP is reached.
func reach(config configs.Config, port string) links {
	scheme := "http://"
	if config.HTTP.TLS.On() {
		scheme = "https://"
	}
	host, _, _ := net.SplitHostPort(config.HTTP.Address)
	if name := config.HTTP.TLS.ACMEHost; name != "" {
		host = name // the certificate is for no other
	}
	l := links{base: scheme + net.JoinHostPort(host, port)}
	l.loopback = l.base
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		l.base = scheme + net.JoinHostPort("localhost", port)
		l.loopback = scheme + net.JoinHostPort("127.0.0.1", port)
		if own := ownAddress(); own != "" {
			l.others = scheme + net.JoinHostPort(own, port)
		}
	}
	return l
}

// ownAddress returns an IPv4 address that other machines may reach this one by.
func ownAddress() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().Is4() && prefix.Addr().IsGlobalUnicast() {
			return prefix.Addr().String()
		}
	}
	return ""
}

// fragment hands the token to a page. Browsers send no fragment to any server,
// so it gets into no log (specs X4).
func (l links) fragment() string {
	return "#token=" + strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(l.secret.token)
}

// watchFragment is fragment for the pages that only need it while watching is
// closed.
func (l links) watchFragment() string {
	if !l.closed {
		return ""
	}
	return l.fragment()
}

func (l links) writeServe(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Whipcast %s\n\n", l.version)
	row := l.rows(&b)
	row("Home", l.base+"/")
	row("WHIP", l.base+"/whip/NAME")
	l.writeOthers(row)
	switch {
	case l.secret.fresh:
		row("Publish token", l.secret.token)
		row("", "made by this first start and kept in "+l.secret.path)
	case l.secret.path != "":
		row("Publish token", "in "+l.secret.path)
	default:
		row("Publish token", "as configured by auth.publish_token")
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (l links) writeDemo(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Whipcast %s: demo\n\n", l.version)
	row := l.rows(&b)
	row("Watch", l.base+"/watch/"+demoStream+l.watchFragment())
	row("", "low-latency HLS, for any number of viewers")
	row("Seat", l.base+"/seat/"+demoStream+l.watchFragment())
	row("", "WHEP, below a second")
	row("Publish", l.base+"/publish/camera"+l.fragment())
	row("", "your camera, from a browser on this machine")
	row("Home", l.base+"/"+l.fragment())
	row("", "what is live, and how to publish")
	row("HLS", l.base+"/hls/"+demoStream+"/index.m3u8")
	row("", "for players such as VLC and Safari")
	b.WriteString("\n")
	row("OBS", "Settings, Stream, Service: WHIP")
	row("Server", l.base+"/whip/obs")
	row("Bearer Token", l.secret.token)
	row("", "then watch it at "+l.base+"/watch/obs"+l.watchFragment())
	b.WriteString("\n")
	l.writeOthers(row)
	b.WriteString("\nCtrl-C ends it.\n\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (l links) writeOthers(row func(name, value string)) {
	if l.others != "" {
		row("Elsewhere", l.others+"/")
		row("", "the same, for other machines")
	}
	row("Media", l.media)
	if l.turn != "" {
		row("TURN", l.turn)
	}
	if l.rtsp != "" {
		row("RTSP", l.rtsp)
	}
	row("Metrics", l.admin+"/metrics")
}

func (l links) rows(b *strings.Builder) func(name, value string) {
	return func(name, value string) { fmt.Fprintf(b, "  %-14s %s\n", name, value) }
}
