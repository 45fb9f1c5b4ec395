// Package configs is the only reader of the outside: the configuration file and
// the environment.
//
// A Config is made of defaults, then the file, then WHIPCAST_ variables, then
// command line flags; each overrides what was before. The zero configuration,
// no file and no variable, runs a working gateway. Only cmd imports the package.
//
//	Default ──▶ whipcast.yaml ──▶ WHIPCAST_… ──▶ flags ──▶ Validate ──▶ Config
//
// Invariant: every error is one line that names where the value came from, the
// key, the value and the remedy.
package configs

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Config is all that an operator can choose. whipcast.yaml explains each key.
type Config struct {
	DataDir  string
	Log      Log
	HTTP     HTTP
	Media    Media
	Admin    Admin
	RTSP     RTSP
	Auth     Auth
	HLS      HLS
	Storage  []Storage
	Webhooks []Hook
	Limits   Limits
	Drain    Drain
}

// Log says what is logged, and how.
type Log struct {
	Level  string // "debug", "info", "warn" or "error"
	Format string // "text" or "json"
}

// HTTP is the public server: WHIP, WHEP, HLS, pages, API.
type HTTP struct {
	Address string // TCP host:port
	TLS     TLS
	Proxies []netip.Prefix // whose forwarding headers count
}

// TLS names the files of a certificate, or the host that gets one by ACME.
type TLS struct {
	Certificate string // PEM, the whole chain; with Key, or neither
	Key         string // PEM
	ACMEHost    string // DNS name; empty: no ACME
}

// On says whether the public address speaks TLS.
func (t TLS) On() bool { return t.Certificate != "" || t.ACMEHost != "" }

// Media is all WebRTC media.
type Media struct {
	Address   string       // UDP and TCP host:port
	PublicIPs []netip.Addr // advertised instead of the local ones when not empty
	TURN      TURN
}

// TURN is the way for those who reach media.address neither by UDP nor by TCP.
type TURN struct {
	Address    string // UDP and TCP host:port of our own server; empty: off
	TLSAddress string // TCP host:port of it, by TLS; empty: off
	Servers    []ICEServer
}

// Admin is the server that is never public: metrics, health, pprof.
type Admin struct {
	Address string // TCP host:port
}

// RTSP is the server for cameras, encoders and players that do not speak WebRTC,
// and what is fetched from such servers.
type RTSP struct {
	Address    string // TCP host:port; UDP on the same number and the next; empty: off
	TLSAddress string // TCP host:port of RTSPS; empty: off
	Pull       []Pull
}

// Auth says who may do what.
type Auth struct {
	PublishToken string  // generated at the first start when empty
	Watch        string  // "open" or "token"
	Keys         []Key   // static keys
	JWKS         JWKS    // no Issuer: none
	Webhook      Webhook // no URL: none
}

// HLS is how a stream is cut, and how long it is kept.
type HLS struct {
	Segment time.Duration // wanted length of a segment
	Part    time.Duration // longest part
	Window  time.Duration // how much can be rewound
	Memory  int64         // bytes of it that stay in RAM
	Grace   time.Duration // from the publisher's end to the stream's end
	Audio   string        // "both", "opus" or "aac"
}

// Limits keep one gateway usable whatever comes in.
type Limits struct {
	Streams  int // names that exist at once
	Sessions int // publishers and WHEP viewers at once, of all streams
	Viewers  int // WHEP viewers at once, of one stream
	Address  int // sessions at once, of one address
	Token    int // sessions at once, of one token
	Requests int // a second, of one address
	Bitrate  int // Mb/s of one publisher
}

// Drain is how a gateway is emptied before it stops.
type Drain struct {
	Peer     string        // base URL of the gateway that takes over; empty: none
	Deadline time.Duration // when publishers that are still there are ended
}

// Default returns the configuration of a start without file and variables.
func Default() Config {
	return Config{
		DataDir: "./data",
		Log:     Log{Level: "info", Format: "text"},
		HTTP:    HTTP{Address: ":8080"},
		Media:   Media{Address: ":8100"},
		Admin:   Admin{Address: "127.0.0.1:8081"},
		Auth:    Auth{Watch: "open"},
		HLS: HLS{
			Segment: 2 * time.Second, Part: 500 * time.Millisecond, Window: time.Minute, Memory: 256 << 20, Grace: time.Minute, Audio: "both",
		},
		Limits: Limits{Streams: 100, Sessions: 4000, Viewers: 1000, Address: 500, Token: 1000, Requests: 2000, Bitrate: 50},
		Drain:  Drain{Deadline: time.Hour},
	}
}

// Error says what is wrong with one value. It is one line.
type Error struct {
	Where  string // file:line, the variable's name, the flag, or empty
	Key    string // as in the file, such as "hls.part"; empty when no key is concerned
	Value  string // as it was written; "(not shown)" when it is secret
	Cause  string
	Remedy string
}

// Error returns the line: where, key, value, cause, remedy.
func (e *Error) Error() string {
	s := e.Cause
	if e.Key != "" {
		s = fmt.Sprintf("%s = %q: %s", e.Key, e.Value, s)
	}
	if e.Where != "" {
		s = e.Where + ": " + s
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Validate checks each value and how they fit together. The error is an *Error
// without Where.
func (c Config) Validate() error {
	for _, k := range c.keys() {
		if err := k.check(k.text()); err != nil {
			return err
		}
	}
	for _, rule := range []func(Config) *Error{checkTLS, checkPorts, checkRTSP, checkTURN, checkHLS} {
		if err := rule(c); err != nil {
			return err
		}
	}
	return nil
}

func checkTLS(c Config) *Error {
	given, missing := c.HTTP.TLS.Certificate, c.HTTP.TLS.Key
	if host := c.HTTP.TLS.ACMEHost; host != "" && given+missing != "" {
		return &Error{
			Key: "http.tls.acme_host", Value: host, Cause: "http.tls.certificate or http.tls.key is set, too",
			Remedy: "set one of the two: a certificate of your own, or one by ACME",
		}
	}
	key, other := "http.tls.certificate", "http.tls.key"
	if missing != "" {
		given, missing = missing, given
		key, other = other, key
	}
	if given != "" && missing == "" {
		return &Error{Key: key, Value: given, Cause: other + " is not set", Remedy: "set both or none"}
	}
	return nil
}

// checkPorts finds listeners that cannot both get their port. HTTP, admin and
// WebRTC's ICE-TCP are all TCP.
func checkPorts(c Config) *Error {
	listeners := []struct{ key, address string }{
		{"http.address", c.HTTP.Address},
		{"media.address", c.Media.Address},
		{"admin.address", c.Admin.Address},
		{"rtsp.address", c.RTSP.Address},
		{"rtsp.tls_address", c.RTSP.TLSAddress},
		{"media.turn.address", c.Media.TURN.Address},
		{"media.turn.tls_address", c.Media.TURN.TLSAddress},
	}
	for i, a := range listeners {
		for _, b := range listeners[:i] {
			if a.address == "" || b.address == "" {
				continue
			}
			if clash(a.address, b.address) {
				return &Error{Key: a.key, Value: a.address, Cause: fmt.Sprintf("%s has the same port (%s)", b.key, b.address), Remedy: "give each its own port"}
			}
		}
	}
	return nil
}

// checkRTSP finds what RTSP needs besides: a certificate, and UDP ports that WebRTC
// does not have.
func checkRTSP(c Config) *Error {
	if c.RTSP.TLSAddress != "" && !c.HTTP.TLS.On() {
		return &Error{
			Key: "rtsp.tls_address", Value: c.RTSP.TLSAddress, Cause: "http.tls.certificate is not set",
			Remedy: "set http.tls.certificate and http.tls.key, which RTSPS shows, too",
		}
	}
	host, port, _ := splitAddress(c.RTSP.Address)
	if c.RTSP.Address == "" || port == 0 {
		return nil
	}
	rtp := port + port&1
	for _, udp := range []uint64{rtp, rtp + 1} {
		a := net.JoinHostPort(host, strconv.FormatUint(udp, 10))
		if udp > 65535 || clash(a, c.Media.Address) {
			return &Error{
				Key: "rtsp.address", Value: c.RTSP.Address, Cause: fmt.Sprintf("it needs the UDP ports %d and %d, and media.address is %s", rtp, rtp+1, c.Media.Address),
				Remedy: "choose another port",
			}
		}
		if turn := c.Media.TURN.Address; turn != "" && clash(a, turn) {
			return &Error{
				Key: "media.turn.address", Value: turn, Cause: fmt.Sprintf("rtsp.address needs the UDP ports %d and %d", rtp, rtp+1),
				Remedy: "choose another port",
			}
		}
	}
	return nil
}

// clash says whether two addresses that were checked before share a port.
func clash(a, b string) bool {
	hostA, portA, _ := splitAddress(a)
	hostB, portB, _ := splitAddress(b)
	return portA == portB && portA != 0 && (hostA == hostB || everywhere(hostA) || everywhere(hostB))
}

func everywhere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

func checkHLS(c Config) *Error {
	h := c.HLS
	if h.Part > h.Segment/2 {
		return &Error{
			Key: "hls.part", Value: h.Part.String(), Cause: fmt.Sprintf("longer than half of hls.segment (%v)", h.Segment),
			Remedy: fmt.Sprintf("set it to %v or less", h.Segment/2),
		}
	}
	if h.Window < 3*h.Segment {
		return &Error{
			Key: "hls.window", Value: h.Window.String(), Cause: fmt.Sprintf("shorter than three segments of hls.segment (%v)", h.Segment),
			Remedy: fmt.Sprintf("set it to %v or more", 3*h.Segment),
		}
	}
	return nil
}
