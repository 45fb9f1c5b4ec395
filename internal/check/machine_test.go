package check_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/check"
)

func TestClock(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		sent  time.Duration // this machine's clock, after the server's Date
		took  time.Duration
		signs bool
		want  string
	}{
		{"the same second", 500 * time.Millisecond, 100 * time.Millisecond, true, "ok: this machine's clock and the server's agree"},
		{"as far as a Date tells", 1900 * time.Millisecond, 0, true, "ok: this machine's clock and the server's agree"},
		{"a slow answer", -2 * time.Second, 4 * time.Second, true, "ok: this machine's clock and the server's agree"},
		{"ahead", 4 * time.Second, 0, true, "warning: this machine's clock is 3s ahead of the server's"},
		{"behind", -3 * time.Second, time.Second, true, "warning: this machine's clock is 2s behind the server's"},
		{"far ahead", 20 * time.Minute, 0, true, "failed: this machine's clock is 20m ahead of the server's"},
		{"far behind", -20 * time.Minute, 0, true, "failed: this machine's clock is 20m behind the server's"},
		{"far behind, nothing is signed", -20 * time.Minute, 0, false, "warning: this machine's clock is 20m behind the server's"},
	} {
		f := check.Clock("clock", at, at.Add(tt.sent), at.Add(tt.sent+tt.took), tt.signs)
		if got := f.State.String() + ": " + f.Cause; got != tt.want || (f.Remedy == "") != (f.State == check.OK) {
			t.Errorf("%s: %s (%s), want %s", tt.name, got, f.Remedy, tt.want)
		}
	}
}

// certificate makes one, signed by itself or by an authority.
func certificate(t *testing.T, from, to time.Time, by string, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "live"}, NotBefore: from, NotAfter: to, DNSNames: names}
	parent := of
	if by != "itself" {
		parent = &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: by}}
	}
	der, err := x509.CreateCertificate(rand.Reader, of, parent, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestCertificate(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	chained := certificate(t, now.Add(-day), now.Add(90*day), "authority", "live.example.org", "a.example.org", "b.example.org", "c.example.org", "d.example.org", "e.example.org")
	chained.Certificate = append(chained.Certificate, chained.Certificate[0])
	for _, tt := range []struct {
		pair tls.Certificate
		want string
	}{
		{chained, "ok: for live.example.org, a.example.org, b.example.org, c.example.org, d.example.org, 1 more, until 2027-02-19"},
		{certificate(t, now.Add(-day), now.Add(90*day), "authority", "live.example.org"), "warning: for live.example.org, until 2027-02-19: its chain is not in the file: some players refuse it"},
		{certificate(t, now.Add(-day), now.Add(90*day), "itself", "live.example.org"), "warning: for live.example.org, until 2027-02-19: it is signed by itself: browsers and players refuse it unless they are told to"},
		{certificate(t, now.Add(-day), now.Add(13*day+time.Hour), "authority", "live.example.org"), "warning: for live.example.org, until 2026-12-04: it expires in 13 days"},
		{certificate(t, now.Add(-9*day), now.Add(-day), "authority", "live.example.org"), "failed: for live.example.org, until 2026-11-20: it has expired"},
		{certificate(t, now.Add(day), now.Add(90*day), "authority", "live.example.org"), "failed: for live.example.org, until 2027-02-19: it is good only from 2026-11-22 12:00:00 UTC"},
		{certificate(t, now.Add(-day), now.Add(90*day), "authority"), "failed: for no name, until 2027-02-19: browsers refuse a certificate without names (subjectAltName)"},
		{tls.Certificate{Certificate: [][]byte{{1}}}, "failed: the certificate cannot be read"},
	} {
		f := check.Certificate("http.tls", tt.pair, now)
		if got := f.State.String() + ": " + f.Cause; got != tt.want || (f.Remedy == "") != (f.State == check.OK) {
			t.Errorf("got %s (%s)\nwant %s", got, f.Remedy, tt.want)
		}
	}
}

func TestToken(t *testing.T) {
	for token, want := range map[string]string{
		"":                           "very few different",
		"aaaaaaaaaaaaaaaaaaaa":       "very few different",
		"abcdefgh":                   "8 characters",
		"changeme-changeme-changeme": "as examples do",
		"Secret-of-the-whole-team":   "as examples do",
		"HXKQ2ZP4VN7RTW3YBD5MJ6CAEF": "a token of 26 characters",
	} {
		f := check.Token("auth.publish_token", token)
		if !strings.Contains(f.Cause, want) || (f.State == check.OK) != strings.HasPrefix(want, "a token of") || token != "" && strings.Contains(f.Cause, token) {
			t.Errorf("%s: %+v, want %s", token, f, want)
		}
	}
}

func TestFiles(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "publish_token")
	if found := check.Private("publish token", path); len(found) != 0 {
		t.Errorf("a file that is not there: %+v", found)
	}
	for mode, state := range map[os.FileMode]check.State{0o600: check.OK, 0o640: check.OK, 0o644: check.Warning} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if found := check.Private("publish token", path); len(found) != 1 || found[0].State != state {
			t.Errorf("mode %o: %+v", mode, found)
		}
	}
	for _, tt := range []struct{ folder, want string }{
		{folder, "ok: " + folder + " can be written to"},
		{filepath.Join(folder, "a", "b"), "ok: " + filepath.Join(folder, "a", "b") + " is made by the first start"},
		{path, "failed: "},
		{filepath.Join(path, "below"), "failed: "},
	} {
		f := check.Writable("data_dir", tt.folder)
		if got := f.State.String() + ": " + f.Cause; !strings.HasPrefix(got, tt.want) || strings.Contains(got, "\n") {
			t.Errorf("%s: %s, want %s", tt.folder, got, tt.want)
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	if f := check.FreeSpace("data_dir", filepath.Join(folder, "a", "b")); !strings.Contains(f.Cause, "are free in "+folder) {
		t.Errorf("%+v", f)
	}
}

func TestBuffer(t *testing.T) {
	for _, tt := range []struct {
		got, wanted int
		err         error
		want        string
	}{
		{8 << 20, 8 << 20, nil, "ok: 8192 KiB"},
		{4 << 20, 8 << 20, nil, "ok: 4096 KiB"},
		{208 << 10, 8 << 20, nil, "warning: the kernel gives 208 KiB of 8192: bursts of many publishers lose packets → sysctl -w net.core.rmem_max=8388608, and the same in /etc/sysctl.d"},
		{0, 8 << 20, errors.New("set SO_RCVBUF: no"), "warning: set SO_RCVBUF: no"},
	} {
		f := check.Buffer("UDP buffer", tt.got, tt.wanted, tt.err)
		want(t, []check.Finding{f}, "UDP buffer: "+tt.want)
	}
}

func ips(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, s := range texts {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func TestAdvertised(t *testing.T) {
	const remedy = " → set media.public_ips to the address that publishers and viewers reach this machine by"
	docker := map[netip.Addr]string{netip.MustParseAddr("172.17.0.1"): "docker0", netip.MustParseAddr("192.168.1.5"): "eth0"}
	for _, tt := range []struct {
		told []netip.Addr
		s    check.Surroundings
		want string
	}{
		{ips("203.0.113.7"), check.Surroundings{}, "ok: browsers are told [203.0.113.7]"},
		{ips("203.0.113.7"), check.Surroundings{PublicIPs: true, Container: true}, "ok: browsers are told [203.0.113.7] (media.public_ips)"},
		{ips("192.168.1.5"), check.Surroundings{Interfaces: docker}, "ok: browsers are told [192.168.1.5], for private networks only"},
		{ips("192.168.1.5", "172.17.0.1"), check.Surroundings{Interfaces: docker}, "warning: browsers are told [192.168.1.5, 172.17.0.1]: [172.17.0.1] is of docker0, which only containers of this machine reach; connecting takes longer for it" + remedy},
		{ips("172.17.0.2"), check.Surroundings{Container: true}, "warning: browsers are told [172.17.0.2]: this is a container, nobody outside of its host reaches that" + remedy},
		{ips("127.0.0.1"), check.Surroundings{Loopback: true}, "ok: browsers are told [127.0.0.1], for this machine itself only, as media.address is"},
		{ips("127.0.0.1", "::1"), check.Surroundings{}, "warning: browsers are told [127.0.0.1, ::1]: only this machine itself reaches that" + remedy},
		{nil, check.Surroundings{}, "failed: there is no address that browsers could be told" + remedy},
	} {
		want(t, []check.Finding{check.Advertised("media addresses", tt.told, tt.s)}, "media addresses: "+tt.want)
	}
	names, err := check.Interfaces()
	if err != nil || names[netip.MustParseAddr("127.0.0.1")] == "" {
		t.Errorf("interfaces %v, %v", names, err)
	}
}

// Whoever has a port is asked who it is; who says nothing is a stranger.
func TestAsk(t *testing.T) {
	for server, gateway := range map[string]bool{"whipcast": true, "nginx/1.22.1": false, "": false} {
		s := serve(t)
		s.answer = headers(server)
		at := s.Listener.Addr().String()
		if got := check.Ask(t.Context(), at); got.Gateway != gateway || got.Server != server {
			t.Errorf("%q: %+v", server, got)
		}
		_, port, _ := net.SplitHostPort(at)
		if got := check.Ask(t.Context(), ":"+port); got.Gateway != gateway || got.Server != server {
			t.Errorf("%q, any address: %+v", server, got)
		}
	}
	if got := check.Ask(t.Context(), "127.0.0.1:1"); got != (check.Neighbour{}) {
		t.Errorf("nobody: %+v", got)
	}
	secured := secure(t, "whipcast")
	if got := check.Ask(t.Context(), secured); !got.Gateway {
		t.Errorf("with TLS: %+v", got)
	}
}
