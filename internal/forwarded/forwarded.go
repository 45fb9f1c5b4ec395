// Package forwarded tells who a request comes from when proxies are in between
// (specs X34, W19).
//
// Anybody can write X-Forwarded-For. So it counts only if the connection comes from
// a proxy that the operator trusts, and only as far as trusted proxies wrote it:
// it is read from its right end.
//
//	client ──▶ proxy A ──▶ proxy B ──▶ gateway
//	           X-Forwarded-For: whatever the client wrote, client, A
//	                                                       └─ the right-most that is no proxy
package forwarded

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Trust returns a handler that gives next the request as its client made it: with
// the client's address as RemoteAddr, the host that it asked as Host, and the
// scheme, http or https, as URL.Scheme. Without proxies, next sees what the
// connection says. Forwarding headers do not reach next.
func Trust(proxies []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Scheme = "http"
		if r.TLS != nil {
			r.URL.Scheme = "https"
		}
		if len(proxies) > 0 && trusted(proxies, address(r.RemoteAddr)) {
			apply(proxies, r)
		}
		for _, name := range names() {
			delete(r.Header, name)
		}
		next.ServeHTTP(w, r)
	})
}

// names are the headers, as net/http writes them.
func names() [4]string {
	return [...]string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"}
}

// apply takes the headers of a trusted proxy.
func apply(proxies []netip.Prefix, r *http.Request) {
	if a := client(proxies, r.Header["X-Forwarded-For"]); a.IsValid() {
		r.RemoteAddr = netip.AddrPortFrom(a, 0).String()
	}
	if scheme := strings.ToLower(last(r.Header["X-Forwarded-Proto"])); scheme == "http" || scheme == "https" {
		r.URL.Scheme = scheme
	}
	if host := last(r.Header["X-Forwarded-Host"]); validHost(host) {
		r.Host = host
	}
}

// client returns the right-most address that is no trusted proxy; if all are, the
// left-most. What cannot be read ends the walk: nobody trusted wrote what is left
// of it. The zero address says that there is none.
func client(proxies []netip.Prefix, lines []string) netip.Addr {
	var found netip.Addr
	for _, line := range slices.Backward(lines) {
		for line != "" || !found.IsValid() {
			at := strings.LastIndexByte(line, ',')
			a := address(strings.TrimSpace(line[at+1:]))
			if !a.IsValid() {
				return found
			}
			found = a
			if !trusted(proxies, a) {
				return found
			}
			if at < 0 {
				break
			}
			line = line[:at]
		}
	}
	return found
}

func trusted(proxies []netip.Prefix, a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// address reads an IP address with or without port; the zero address if it is none.
func address(s string) netip.Addr {
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		with, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}
		}
		a = with.Addr()
	}
	return a.Unmap().WithZone("")
}

// last returns what the nearest proxy wrote of a list.
func last(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	line := lines[len(lines)-1]
	return strings.TrimSpace(line[strings.LastIndexByte(line, ',')+1:])
}

// validHost says whether a host, with or without port, can stand in a URL.
func validHost(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._:[]", r)
	})
}
