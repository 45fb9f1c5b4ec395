package configs

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// key is one row of the table of keys: how it is called, read, written, checked.
type key struct {
	name   string
	secret bool
	list   bool
	nested bool // a list of groups of keys
	// parse checks text and, when it is good, stores it. The error says cause
	// and remedy.
	parse func(text string) *Error
	text  func() string
}

// set stores text, or says why not.
func (k key) set(text string) error {
	err := k.parse(text)
	if err == nil {
		return nil
	}
	err.Key, err.Value = k.name, text
	if k.secret {
		err.Value = "(not shown)"
	}
	return err
}

// check is set for a value that is already there.
func (k key) check(text string) error { return k.set(text) }

// variable returns the name of the environment variable.
func (k key) variable() string {
	return "WHIPCAST_" + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// keys returns the table, bound to c. The order is that of whipcast.yaml.
func (c *Config) keys() []key {
	return []key{
		{name: "data_dir", parse: folder(&c.DataDir), text: text(&c.DataDir)},
		{name: "log.level", parse: oneOf(&c.Log.Level, "debug", "info", "warn", "error"), text: text(&c.Log.Level)},
		{name: "log.format", parse: oneOf(&c.Log.Format, "text", "json"), text: text(&c.Log.Format)},
		{name: "http.address", parse: address(&c.HTTP.Address), text: text(&c.HTTP.Address)},
		{name: "http.tls.certificate", parse: path(&c.HTTP.TLS.Certificate), text: text(&c.HTTP.TLS.Certificate)},
		{name: "http.tls.key", parse: path(&c.HTTP.TLS.Key), text: text(&c.HTTP.TLS.Key)},
		{name: "http.tls.acme_host", parse: hostName(&c.HTTP.TLS.ACMEHost), text: text(&c.HTTP.TLS.ACMEHost)},
		{name: "http.proxies", list: true, parse: networks(&c.HTTP.Proxies), text: joined(&c.HTTP.Proxies)},
		{name: "media.address", parse: address(&c.Media.Address), text: text(&c.Media.Address)},
		{name: "media.public_ips", list: true, parse: addresses(&c.Media.PublicIPs), text: joined(&c.Media.PublicIPs)},
		{name: "media.turn.address", parse: optional(address(&c.Media.TURN.Address), &c.Media.TURN.Address), text: text(&c.Media.TURN.Address)},
		{name: "media.turn.tls_address", parse: optional(address(&c.Media.TURN.TLSAddress), &c.Media.TURN.TLSAddress), text: text(&c.Media.TURN.TLSAddress)},
		{name: "media.turn.servers", secret: true, nested: true, parse: iceServers(&c.Media.TURN.Servers), text: iceServersText(&c.Media.TURN.Servers)},
		{name: "admin.address", parse: address(&c.Admin.Address), text: text(&c.Admin.Address)},
		{name: "rtsp.address", parse: optional(address(&c.RTSP.Address), &c.RTSP.Address), text: text(&c.RTSP.Address)},
		{name: "rtsp.tls_address", parse: optional(address(&c.RTSP.TLSAddress), &c.RTSP.TLSAddress), text: text(&c.RTSP.TLSAddress)},
		{name: "rtsp.pull", secret: true, nested: true, parse: pulls(&c.RTSP.Pull), text: pulled(&c.RTSP.Pull)},
		{name: "auth.publish_token", secret: true, parse: token(&c.Auth.PublishToken), text: text(&c.Auth.PublishToken)},
		{name: "auth.watch", parse: oneOf(&c.Auth.Watch, "open", "token"), text: text(&c.Auth.Watch)},
		{name: "auth.keys", secret: true, nested: true, parse: authKeys(&c.Auth.Keys), text: authKeysText(&c.Auth.Keys)},
		{name: "auth.jwks", nested: true, parse: jwks(&c.Auth.JWKS), text: jwksText(&c.Auth.JWKS)},
		{name: "auth.webhook", secret: true, nested: true, parse: webhook(&c.Auth.Webhook), text: webhookText(&c.Auth.Webhook)},
		{name: "hls.segment", parse: duration(&c.HLS.Segment, 500*time.Millisecond, 10*time.Second), text: span(&c.HLS.Segment)},
		{name: "hls.part", parse: duration(&c.HLS.Part, 200*time.Millisecond, 5*time.Second), text: span(&c.HLS.Part)},
		{name: "hls.window", parse: duration(&c.HLS.Window, 1500*time.Millisecond, 24*time.Hour), text: span(&c.HLS.Window)},
		{name: "hls.memory", parse: size(&c.HLS.Memory, 16<<20, 1<<40), text: amount(&c.HLS.Memory)},
		{name: "hls.audio", parse: oneOf(&c.HLS.Audio, "both", "opus", "aac"), text: text(&c.HLS.Audio)},
		{name: "hls.grace", parse: duration(&c.HLS.Grace, 100*time.Millisecond, time.Hour), text: span(&c.HLS.Grace)},
		{name: "storage", secret: true, nested: true, parse: storages(&c.Storage), text: listed(&c.Storage)},
		{name: "webhooks", secret: true, nested: true, parse: hooks(&c.Webhooks), text: hooksText(&c.Webhooks)},
		{name: "limits.streams", parse: count(&c.Limits.Streams, 10_000), text: number(&c.Limits.Streams)},
		{name: "limits.sessions", parse: count(&c.Limits.Sessions, 1_000_000), text: number(&c.Limits.Sessions)},
		{name: "limits.viewers", parse: count(&c.Limits.Viewers, 1_000_000), text: number(&c.Limits.Viewers)},
		{name: "limits.address", parse: count(&c.Limits.Address, 1_000_000), text: number(&c.Limits.Address)},
		{name: "limits.token", parse: count(&c.Limits.Token, 1_000_000), text: number(&c.Limits.Token)},
		{name: "limits.requests", parse: count(&c.Limits.Requests, 1_000_000), text: number(&c.Limits.Requests)},
		{name: "limits.bitrate", parse: count(&c.Limits.Bitrate, 10_000), text: number(&c.Limits.Bitrate)},
		{name: "drain.peer", parse: origin(&c.Drain.Peer), text: text(&c.Drain.Peer)},
		{name: "drain.deadline", parse: duration(&c.Drain.Deadline, time.Second, 24*time.Hour), text: span(&c.Drain.Deadline)},
	}
}

// Usage returns a line for each key: its flag and its default, in the order of
// whipcast.yaml.
func Usage() []string {
	c := Default()
	var lines []string
	for _, k := range c.keys() {
		line := "--" + k.name
		if d := k.text(); d != "" {
			line += " " + d
		}
		lines = append(lines, line)
	}
	return lines
}

// Keys returns the names of all keys, in the order of whipcast.yaml.
func Keys() []string {
	c := Default()
	var names []string
	for _, k := range c.keys() {
		names = append(names, k.name)
	}
	return names
}

func text(at *string) func() string { return func() string { return *at } }

func span(at *time.Duration) func() string { return func() string { return short(*at) } }

func number(at *int) func() string { return func() string { return strconv.Itoa(*at) } }

func amount(at *int64) func() string { return func() string { return binary(*at) } }

func joined[T fmt.Stringer](at *[]T) func() string {
	return func() string {
		var all []string
		for _, each := range *at {
			all = append(all, each.String())
		}
		return strings.Join(all, ",")
	}
}

// short writes a duration without the zeros of time.Duration: 1m, not 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func folder(at *string) func(string) *Error {
	return func(s string) *Error {
		if s == "" {
			return &Error{Cause: "empty", Remedy: "name a folder, such as ./data"}
		}
		return path(at)(s)
	}
}

func path(at *string) func(string) *Error {
	return func(s string) *Error {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
			return &Error{Cause: "has a control character", Remedy: "name a path on one line"}
		}
		*at = s
		return nil
	}
}

func oneOf(at *string, words ...string) func(string) *Error {
	return func(s string) *Error {
		if !slices.Contains(words, s) {
			return &Error{Cause: "unknown word", Remedy: "use " + strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]}
		}
		*at = s
		return nil
	}
}

func address(at *string) func(string) *Error {
	return func(s string) *Error {
		if _, _, err := splitAddress(s); err != nil {
			return err
		}
		*at = s
		return nil
	}
}

// optional lets a value be empty.
func optional(parse func(string) *Error, at *string) func(string) *Error {
	return func(s string) *Error {
		if s == "" {
			*at = ""
			return nil
		}
		return parse(s)
	}
}

// splitAddress reads host:port. The host may be empty, an IP address or a name;
// the port may be 0: any free one.
func splitAddress(s string) (string, uint64, *Error) {
	const remedy = "write host:port, such as :8080 or 127.0.0.1:8080"
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, &Error{Cause: "not an address", Remedy: remedy}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, &Error{Cause: "the port is no number from 0 to 65535", Remedy: remedy}
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || strings.ContainsRune("/\\\"'", r) }) {
		return "", 0, &Error{Cause: "the host is neither an IP address nor a name", Remedy: remedy}
	}
	return host, number, nil
}

func addresses(at *[]netip.Addr) func(string) *Error {
	const most = 16
	return func(s string) *Error {
		var all []netip.Addr
		for word := range strings.SplitSeq(s, ",") {
			word = strings.TrimSpace(word)
			if word == "" && strings.TrimSpace(s) == "" {
				continue // an empty list
			}
			ip, err := netip.ParseAddr(word)
			if err != nil || ip.Zone() != "" {
				return &Error{Cause: fmt.Sprintf("%q is no IP address", word), Remedy: "list IP addresses, such as [203.0.113.7, 2001:db8::7]"}
			}
			if ip.IsUnspecified() || ip.IsMulticast() {
				return &Error{Cause: fmt.Sprintf("%s cannot be reached by anybody", ip), Remedy: "list the addresses that others reach this machine by"}
			}
			if slices.Contains(all, ip) {
				return &Error{Cause: fmt.Sprintf("%s is listed twice", ip), Remedy: "list it once"}
			}
			all = append(all, ip)
		}
		if len(all) > most {
			return &Error{Cause: fmt.Sprintf("%d addresses", len(all)), Remedy: fmt.Sprintf("list at most %d", most)}
		}
		*at = all
		return nil
	}
}

// networks reads a list of IP networks; an address alone is one.
func networks(at *[]netip.Prefix) func(string) *Error {
	const most = 256
	return func(s string) *Error {
		var all []netip.Prefix
		for word := range strings.SplitSeq(s, ",") {
			word = strings.TrimSpace(word)
			if word == "" && strings.TrimSpace(s) == "" {
				continue // an empty list
			}
			network, err := netip.ParsePrefix(word)
			if err != nil {
				ip, err := netip.ParseAddr(word)
				if err != nil || ip.Zone() != "" {
					return &Error{Cause: fmt.Sprintf("%q is no IP network", word), Remedy: "list networks or addresses, such as [10.0.0.0/8, 2001:db8::7]"}
				}
				network = netip.PrefixFrom(ip, ip.BitLen())
			}
			if network.Addr().Is4In6() {
				return &Error{Cause: fmt.Sprintf("%s is IPv4 written as IPv6", word), Remedy: "write it as IPv4, such as 10.0.0.0/8"}
			}
			if network.Bits() == 0 {
				return &Error{Cause: fmt.Sprintf("%s is everybody, who could write any address", word), Remedy: "list the networks of your proxies only"}
			}
			all = append(all, network.Masked())
		}
		if len(all) > most {
			return &Error{Cause: fmt.Sprintf("%d networks", len(all)), Remedy: fmt.Sprintf("list at most %d", most)}
		}
		*at = all
		return nil
	}
}

// ParseOrigin reads a base URL of another gateway: scheme, host and port. The empty
// one is none.
func ParseOrigin(s string) (string, error) {
	var at string
	if err := origin(&at)(s); err != nil {
		return "", err
	}
	return at, nil
}

// origin reads the URL of a server: scheme, host and port.
func origin(at *string) func(string) *Error {
	return func(s string) *Error {
		const remedy = "write one such as https://b.example.org"
		if s == "" {
			*at = ""
			return nil
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
			return &Error{Cause: "not a URL", Remedy: remedy}
		}
		if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return &Error{Cause: "more than scheme, host and port", Remedy: remedy}
		}
		*at = u.Scheme + "://" + u.Host
		return nil
	}
}

// hostName reads a DNS name that an authority can certify.
func hostName(at *string) func(string) *Error {
	return func(s string) *Error {
		const remedy = "write the name that browsers reach this machine by, such as live.example.org"
		name := strings.ToLower(s)
		odd := strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
		})
		if odd || len(name) > 253 || strings.Contains(name, "..") {
			return &Error{Cause: "not a DNS name", Remedy: remedy + "; names in other scripts as xn--…"}
		}
		if _, err := netip.ParseAddr(name); err == nil {
			return &Error{Cause: "an address, which gets no certificate", Remedy: remedy}
		}
		if name != "" && !strings.Contains(strings.Trim(name, "."), ".") || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			return &Error{Cause: "not a name of the public DNS", Remedy: remedy}
		}
		*at = name
		return nil
	}
}

func token(at *string) func(string) *Error {
	const least, most = 8, 256
	return func(s string) *Error {
		// RFC 6750 §2.1: what a bearer token is made of.
		odd := strings.ContainsFunc(strings.TrimRight(s, "="), func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/", r)
		})
		if odd {
			return &Error{Cause: "has a character that no bearer token may have", Remedy: "use letters, digits and - . _ ~ + /"}
		}
		if s != "" && (len(s) < least || len(s) > most) {
			return &Error{Cause: fmt.Sprintf("%d characters", len(s)), Remedy: fmt.Sprintf("use %d to %d, or leave it empty to have one made", least, most)}
		}
		*at = s
		return nil
	}
}

func duration(at *time.Duration, least, most time.Duration) func(string) *Error {
	return func(s string) *Error {
		remedy := fmt.Sprintf("use %s to %s", short(least), short(most))
		d, err := time.ParseDuration(s)
		if err != nil {
			return &Error{Cause: "not a duration", Remedy: "write a number and a unit, such as 500ms, 2s or 1m; " + remedy}
		}
		if d < least {
			return &Error{Cause: "too short", Remedy: remedy}
		}
		if d > most {
			return &Error{Cause: "too long", Remedy: remedy}
		}
		*at = d
		return nil
	}
}

// units are what sizes are written in, the largest first.
func units() []struct {
	name  string
	bytes int64
} {
	return []struct {
		name  string
		bytes int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

// binary writes a size in the largest unit that fits.
func binary(n int64) string {
	for _, u := range units() {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// size reads a whole number and a unit of 1024: 256MiB.
func size(at *int64, least, most int64) func(string) *Error {
	return func(s string) *Error {
		remedy := fmt.Sprintf("use %s to %s", binary(least), binary(most))
		number, unit := s, int64(1)
		for _, u := range units() {
			if rest, ok := strings.CutSuffix(s, u.name); ok {
				number, unit = strings.TrimSpace(rest), u.bytes
				break
			}
		}
		n, err := strconv.ParseInt(number, 10, 64)
		switch {
		case err != nil || n < 0:
			return &Error{Cause: "not a size", Remedy: "write a whole number and a unit, such as 256MiB or 2GiB; " + remedy}
		case n > most/unit:
			return &Error{Cause: "too large", Remedy: remedy}
		case n*unit < least:
			return &Error{Cause: "too small", Remedy: remedy}
		}
		*at = n * unit
		return nil
	}
}

func count(at *int, most int) func(string) *Error {
	return func(s string) *Error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > most {
			return &Error{Cause: "no number in range", Remedy: fmt.Sprintf("use 1 to %d", most)}
		}
		*at = n
		return nil
	}
}
