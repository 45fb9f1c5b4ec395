package outbound_test

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestGuards: where requests may go, by who named the server (specs X29).
func TestGuards(t *testing.T) {
	for _, tt := range []struct {
		address        string
		strict, chosen bool
	}{
		{"203.0.112.7:443", true, true},
		{"8.8.8.8:80", true, true},
		{"8.8.8.8:8443", true, true},
		{"8.8.8.8:25", false, true},
		{"[2606:4700::1]:443", true, true},
		{"127.0.0.1:443", false, true},
		{"[::1]:443", false, true},
		{"10.0.0.1:443", false, true},
		{"172.16.0.1:443", false, true},
		{"192.168.1.1:443", false, true},
		{"[fd12::1]:443", false, true},
		{"100.64.0.1:443", false, true},
		{"[::ffff:10.0.0.1]:443", false, true},
		{"[64:ff9b::a00:1]:443", false, true},
		{"198.18.0.1:443", false, true},
		{"[2002:a00:1::]:443", false, true},
		{"0.0.0.0:443", false, false},
		{"[::]:443", false, false},
		{"224.0.0.1:443", false, false},
		{"[ff02::1]:443", false, false},
		{"255.255.255.255:443", false, false},
		{"169.254.0.1:443", false, false},
		{"[fe80::1]:443", false, false},
		{"[fe80::1%eth0]:443", false, false},
		{"169.254.169.254:80", false, false},
		{"[::ffff:169.254.169.254]:80", false, false},
		{"[64:ff9b::a9fe:a9fe]:80", false, false},
		{"[fd00:ec2::254]:80", false, false},
		{"100.100.100.200:80", false, false},
		{"168.63.129.16:80", false, false},
		{"not an address", false, false},
	} {
		for name, guard := range map[string]outbound.Guard{"strict": outbound.Strict, "chosen": outbound.Chosen("hooks.example.org")} {
			want := map[string]bool{"strict": tt.strict, "chosen": tt.chosen}[name]
			err := guard(t.Context(), "tcp", tt.address, nil)
			if want != (err == nil) || err != nil && !errors.Is(err, outbound.ErrForbidden) {
				t.Errorf("%s to %s: %v", name, tt.address, err)
			}
		}
	}
}

// TestAddressThatIsMeant: an operator may name a link-local address, but no
// metadata service.
func TestAddressThatIsMeant(t *testing.T) {
	for host, want := range map[string]bool{
		"169.254.7.7": true, "fe80::7": true, "169.254.169.254": false, "::ffff:169.254.169.254": false, "fd00:ec2::254": false,
	} {
		address := netip.AddrPortFrom(netip.MustParseAddr(host), 80).String()
		if err := outbound.Chosen(host)(t.Context(), "tcp", address, nil); want != (err == nil) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := outbound.Chosen("169.254.7.7")(t.Context(), "tcp", "169.254.7.8:80", nil); err == nil {
		t.Error("another link-local address than the one that is meant")
	}
}

// TestClient: a name that resolves to this machine is stopped at the dial, a redirect
// is not followed, no proxy is asked (specs X29, X30).
func TestClient(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	var seen []string
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.Path)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer at.Close()
	where, err := url.Parse(at.URL)
	if err != nil {
		t.Fatal(err)
	}
	name := "http://localhost:" + where.Port() + "/hook"
	post := func(guard outbound.Guard) (int, error) {
		client := outbound.NewClient(outbound.Config{Time: 10 * time.Second, Calls: 2, Guard: guard})
		defer client.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, name, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode, response.Body.Close()
	}
	if _, err := post(outbound.Strict); !errors.Is(err, outbound.ErrForbidden) {
		t.Errorf("strict: %v", err)
	}
	if status, err := post(outbound.Chosen("localhost")); err != nil || status != http.StatusTemporaryRedirect {
		t.Errorf("chosen: %d, %v", status, err)
	}
	if strings.Join(seen, " ") != "/hook" {
		t.Errorf("asked for %q", seen)
	}
}

// TestSign: the vector of Standard Webhooks' own libraries.
func TestSign(t *testing.T) {
	const key = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || string(outbound.Secret("whsec_"+key)) != string(raw) || string(outbound.Secret("plain")) != "plain" {
		t.Errorf("secret %q, %v", outbound.Secret("whsec_"+key), err)
	}
	h := http.Header{}
	outbound.Sign(h, raw, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if got := h.Get("webhook-signature"); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %s", got)
	}
	if h.Get("webhook-id") != "msg_p5jXN8AQM9LWM0D4loKWxJek" || h.Get("webhook-timestamp") != "1614265330" {
		t.Errorf("fields %v", h)
	}
}

// TestPublic: what is an address of the public Internet (specs X29).
func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"93.184.216.34": true, "2606:4700::1111": true, "8.8.8.8": true,
		"127.0.0.1": false, "127.9.9.9": false, "0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "100.127.255.255": false, "192.0.0.1": false, "198.18.0.1": false, "224.0.0.1": false,
		"239.255.255.250": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fe80::1": false, "fc00::1": false, "fd00:ec2::254": false, "ff02::1": false, "fec0::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:8.8.8.8": true, "::127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2001::1": false,
	} {
		if got := outbound.Public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
	if outbound.Public(netip.Addr{}) || outbound.Public(netip.MustParseAddr("fe80::1%eth0")) {
		t.Error("no address, or one of a link, is public")
	}
}
