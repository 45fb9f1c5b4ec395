package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/configs"
)

// TestProxies: X34, X23 behind a trusted proxy each client has limits of its own;
// without one, what clients write of themselves changes nothing.
func TestProxies(t *testing.T) {
	for _, tt := range []struct {
		name, proxies string
		other         int // status of another client's request
	}{
		{"trusted", "127.0.0.1", http.StatusUnauthorized},
		{"not trusted", "192.0.2.0/24", http.StatusTooManyRequests},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_HTTP_PROXIES="+tt.proxies), "serve")
			base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
			c := client(t, nil)
			eventually(t, c, base+"/readyz", func(r reply) bool { return r.status == http.StatusOK })
			post := func(from string) int {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/whip/test", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("X-Forwarded-For", "198.51.100.1, "+from)
				response, err := c.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				return response.StatusCode
			}
			limited := 0
			for range 400 {
				if post("203.0.113.1") == http.StatusTooManyRequests {
					limited++
				}
			}
			if limited < 50 {
				t.Errorf("%d of 400 requests at once were refused", limited)
			}
			if got := post("203.0.113.2"); got != tt.other {
				t.Errorf("another client: %d, want %d", got, tt.other)
			}
		})
	}
}

// TestCertificateChanges: a renewed certificate is shown without a restart.
func TestCertificateChanges(t *testing.T) {
	certificate, key := newCertificate(t)
	gateway := start(t, settings(t, "WHIPCAST_HTTP_TLS_CERTIFICATE="+certificate, "WHIPCAST_HTTP_TLS_KEY="+key), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	next, nextKey := newCertificate(t)
	for from, to := range map[string]string{next: certificate, nextKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	want, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(want.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	c := client(t, func(tr *http.Transport) {
		tr.DisableKeepAlives = true
		tr.TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: "gateway.example", MinVersion: tls.VersionTLS12}
	})
	r := eventually(t, c, base+"/readyz", func(r reply) bool { return r.status == http.StatusOK })
	if r.header.Get("Strict-Transport-Security") != "" {
		t.Error("HSTS for a host that may not be ours (X33)")
	}
}

// TestStrictTransport: X33 browsers keep to TLS on the host that is ours by name.
func TestStrictTransport(t *testing.T) {
	handler := front(configs.HTTP{TLS: configs.TLS{ACMEHost: "live.example.org"}}, newCrowd(10), http.NotFoundHandler())
	for name, want := range map[string]string{"live.example.org": secureFor, "": "", "other.example.org": ""} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.TLS = &tls.ConnectionState{ServerName: name}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if got := w.Header().Get("Strict-Transport-Security"); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// TestACMEWords: what is known of ACME without asking is said before anybody waits.
func TestACMEWords(t *testing.T) {
	if f := acme("live.example.org", ":8080"); !strings.Contains(f.Cause, "TCP port 443") || f.Remedy == "" {
		t.Errorf("port 8080: %+v", f)
	}
	if f := acme("live.example.org", ":443"); f.Remedy != "" {
		t.Errorf("port 443: %+v", f)
	}
	var out strings.Builder
	err := run(t.Context(), []string{"demo", "--http.tls.acme_host", "live.example.org"}, stdio{out: &out, err: &out}, settings(t))
	if err == nil || !strings.Contains(err.Error(), "use whipcast serve") {
		t.Errorf("demo with ACME: %v", err)
	}
	config := configs.Default()
	config.DataDir, config.HTTP.TLS.ACMEHost = t.TempDir(), "live.example.org"
	g := &gateway{config: config}
	if source, err := openCertificate(config, nil); err != nil || source == nil {
		t.Fatalf("%v, %v", source, err)
	} else if g.tls = source; g.certificate() != nil {
		t.Error("a certificate before anybody gave one")
	}
}
