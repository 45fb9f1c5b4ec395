package forwarded

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// TestTrust: X34 headers count from trusted proxies only, and only what these wrote.
func TestTrust(t *testing.T) {
	proxies := prefixes("10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1/32")
	for _, tt := range []struct {
		name, peer           string
		headers              []string // name, value
		client, scheme, host string
	}{
		{"no header", "10.0.0.1:5", nil, "10.0.0.1:5", "http", "gateway"},
		{"stranger's headers", "192.0.2.9:5", []string{"X-Forwarded-For", "203.0.113.1", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil"}, "192.0.2.9:5", "http", "gateway"},
		{"one proxy", "10.0.0.1:5", []string{"X-Forwarded-For", "203.0.113.1", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "live.example.org"}, "203.0.113.1:0", "https", "live.example.org"},
		{"forged left end", "10.0.0.1:5", []string{"X-Forwarded-For", "1.2.3.4, 203.0.113.1"}, "203.0.113.1:0", "http", "gateway"},
		{"forged proxy address", "10.0.0.1:5", []string{"X-Forwarded-For", "1.2.3.4, 10.9.9.9, 203.0.113.1, 10.0.0.2"}, "203.0.113.1:0", "http", "gateway"},
		{"two lines", "10.0.0.1:5", []string{"X-Forwarded-For", "1.2.3.4, 203.0.113.1", "X-Forwarded-For", "10.0.0.2,10.0.0.3"}, "203.0.113.1:0", "http", "gateway"},
		{"only proxies", "10.0.0.1:5", []string{"X-Forwarded-For", "10.0.0.7, 10.0.0.2"}, "10.0.0.7:0", "http", "gateway"},
		{"with ports", "[2001:db8:1::1]:5", []string{"X-Forwarded-For", "[2001:db8:2::7]:443, 10.0.0.2:80"}, "[2001:db8:2::7]:0", "http", "gateway"},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:5", []string{"X-Forwarded-For", "::ffff:203.0.113.1"}, "203.0.113.1:0", "http", "gateway"},
		{"garbage", "10.0.0.1:5", []string{"X-Forwarded-For", "203.0.113.1, unknown"}, "10.0.0.1:5", "http", "gateway"},
		{"garbage behind a proxy", "10.0.0.1:5", []string{"X-Forwarded-For", "203.0.113.1, unknown, 10.0.0.2"}, "10.0.0.2:0", "http", "gateway"},
		{"empty", "10.0.0.1:5", []string{"X-Forwarded-For", "", "X-Forwarded-Host", "", "X-Forwarded-Proto", ""}, "10.0.0.1:5", "http", "gateway"},
		{"trailing comma", "10.0.0.1:5", []string{"X-Forwarded-For", "203.0.113.1,"}, "10.0.0.1:5", "http", "gateway"},
		{"list of hosts", "10.0.0.1:5", []string{"X-Forwarded-Host", "evil, live.example.org:8443", "X-Forwarded-Proto", "http, HTTPS"}, "10.0.0.1:5", "https", "live.example.org:8443"},
		{"host with a path", "10.0.0.1:5", []string{"X-Forwarded-Host", "evil/path", "X-Forwarded-Proto", "javascript"}, "10.0.0.1:5", "http", "gateway"},
		{"Forwarded is not read", "10.0.0.1:5", []string{"Forwarded", "for=203.0.113.1;host=evil"}, "10.0.0.1:5", "http", "gateway"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/x", http.NoBody)
			r.RemoteAddr, r.Host = tt.peer, "gateway"
			for i := 0; i < len(tt.headers); i += 2 {
				r.Header.Add(tt.headers[i], tt.headers[i+1])
			}
			var got *http.Request
			Trust(proxies, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r })).ServeHTTP(httptest.NewRecorder(), r)
			if got.RemoteAddr != tt.client || got.URL.Scheme != tt.scheme || got.Host != tt.host {
				t.Errorf("got %s %s://%s, want %s %s://%s", got.RemoteAddr, got.URL.Scheme, got.Host, tt.client, tt.scheme, tt.host)
			}
			for name := range got.Header {
				if strings.Contains(name, "Forwarded") {
					t.Errorf("%s reaches the handler", name)
				}
			}
		})
	}
}

// TestNobodyTrusted: without proxies the connection says all.
func TestNobodyTrusted(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/x", http.NoBody)
	r.RemoteAddr, r.TLS = "127.0.0.1:5", &tls.ConnectionState{}
	r.Header.Set("X-Forwarded-For", "203.0.113.1")
	r.Header.Set("X-Forwarded-Proto", "http")
	Trust(nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.RemoteAddr != "127.0.0.1:5" || r.URL.Scheme != "https" {
			t.Errorf("got %s, %s", r.RemoteAddr, r.URL.Scheme)
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
}

// FuzzClient: whatever the header says, an address that no trusted proxy wrote never
// counts: the result is one of the entries right of the first that is no proxy, or that one.
func FuzzClient(f *testing.F) {
	for _, seed := range []string{"", ",", "1.2.3.4", "1.2.3.4, 10.0.0.1", "[::1]:5,10.0.0.1", "a,,b", "10.0.0.1,10.0.0.2"} {
		f.Add(seed)
	}
	proxies := prefixes("10.0.0.0/8")
	f.Fuzz(func(t *testing.T, header string) {
		const honest = "203.0.113.77"
		if got := client(proxies, []string{header + "," + honest + ", 10.0.0.2"}); got.String() != honest {
			t.Errorf("%q before the client's address makes it %v", header, got)
		}
		client(proxies, []string{header, header})
	})
}
