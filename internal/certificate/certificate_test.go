package certificate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/acme"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer signs certificates.
type issuer struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{key, cert}
}

func (i issuer) sign(t *testing.T, public any, names ...string) []byte {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, DNSNames: names, NotBefore: i.cert.NotBefore, NotAfter: time.Now().Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, i.cert, public, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// files writes a new pair to two files, the certificate first.
func (i issuer) files(t *testing.T, cfg Config, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cfg.Certificate, "CERTIFICATE", i.sign(t, &key.PublicKey, name))
	write(t, cfg.Key, "PRIVATE KEY", secret)
}

func write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func shown(t *testing.T, s *Source) string {
	t.Helper()
	pair, err := s.TLS().GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.DNSNames[0]
}

// TestReload: changed files count within ten seconds; broken ones leave the former
// certificate, and are said to be broken once.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority, dir := newIssuer(t), t.TempDir()
		var text strings.Builder
		var guard sync.Mutex
		logs := func() string {
			guard.Lock()
			defer guard.Unlock()
			return text.String()
		}
		cfg := Config{
			Certificate: filepath.Join(dir, "c.pem"), Key: filepath.Join(dir, "k.pem"),
			Logger: slog.New(slog.NewTextHandler(lockedWriter{&guard, &text}, nil)),
		}
		if _, err := Open(cfg); err == nil {
			t.Error("opened without files")
		}
		authority.files(t, cfg, "one.example.org")
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		wait := func() {
			time.Sleep(3 * pollFiles)
			synctest.Wait() // Run waits for its timer: the test has what it wrote
		}
		wait()
		if got := shown(t, s); got != "one.example.org" || logs() != "" {
			t.Errorf("unchanged files: %s shown, logged %s", got, logs())
		}
		authority.files(t, cfg, "two.example.org")
		wait()
		if got := shown(t, s); got != "two.example.org" {
			t.Errorf("%s after the change", got)
		}
		if pair, ok := s.Current(); !ok || end(&pair).Before(time.Now()) {
			t.Error("no current certificate")
		}

		for i, broken := range []func() error{
			func() error { return os.WriteFile(cfg.Key, []byte("no key"), 0o600) },
			func() error { return os.Remove(cfg.Certificate) },
		} {
			if err := broken(); err != nil {
				t.Fatal(err)
			}
			wait()
			if got := shown(t, s); got != "two.example.org" {
				t.Errorf("%s with broken files", got)
			}
			if n := strings.Count(logs(), "level=WARN"); n != i+1 {
				t.Errorf("%d warnings, want %d: %s", n, i+1, logs())
			}
		}
		authority.files(t, cfg, "three.example.org")
		wait()
		if got := shown(t, s); got != "three.example.org" {
			t.Errorf("%s after the repair", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// authority is an ACME server (RFC 8555) that checks what it certifies by TLS on the
// applicant's port (RFC 8737), as a real one does on port 443.
type authority struct {
	issuer issuer
	at     string // where it finds the host
	url    string

	mu     sync.Mutex
	thumb  string            // below mu: of the account's key
	valid  bool              // below mu: the challenge was met
	leaf   []byte            // below mu
	orders int               // below mu
	reject bool              // below mu
	tell   func(text string) // below mu
}

func b64(s string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(s) // what does not decode is found by its reader
	return b
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Replay-Nonce", rand.Text())
	reply := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	var request struct{ Protected, Payload string }
	_ = json.NewDecoder(r.Body).Decode(&request) // a GET has none
	state := func() string {
		switch {
		case a.leaf != nil:
			return "valid"
		case a.valid:
			return "ready"
		}
		return "pending"
	}
	order := func() map[string]any {
		return map[string]any{
			"status": state(), "authorizations": []string{a.url + "/authz"}, "finalize": a.url + "/finalize", "certificate": a.url + "/cert",
			"identifiers": []map[string]string{{"type": "dns", "value": "live.example.org"}},
		}
	}
	challenge := func() map[string]any {
		s := "pending"
		if a.valid {
			s = "valid"
		}
		return map[string]any{"type": "tls-alpn-01", "url": a.url + "/challenge", "token": "token", "status": s}
	}
	switch r.URL.Path {
	case "/directory":
		reply(http.StatusOK, map[string]string{"newNonce": a.url + "/nonce", "newAccount": a.url + "/account", "newOrder": a.url + "/order", "revokeCert": a.url + "/revoke"})
	case "/nonce":
	case "/account":
		var header struct {
			JWK struct{ X, Y string } `json:"jwk"`
		}
		_ = json.Unmarshal(b64(request.Protected), &header)
		point := append(append([]byte{4}, b64(header.JWK.X)...), b64(header.JWK.Y)...)
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err == nil {
			a.thumb, err = acme.JWKThumbprint(key)
		}
		if err != nil {
			a.tell(err.Error())
		}
		w.Header().Set("Location", a.url+"/account/1")
		reply(http.StatusCreated, map[string]string{"status": "valid"})
	case "/order":
		a.orders++
		if a.reject {
			reply(http.StatusForbidden, map[string]string{"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not this host"})
			return
		}
		w.Header().Set("Location", a.url+"/order/1")
		reply(http.StatusCreated, order())
	case "/order/1":
		reply(http.StatusOK, order())
	case "/authz":
		s := "pending"
		if a.valid {
			s = "valid"
		}
		reply(http.StatusOK, map[string]any{"status": s, "identifier": map[string]string{"type": "dns", "value": "live.example.org"}, "challenges": []any{challenge()}})
	case "/challenge":
		if err := a.validate(r.Context()); err != nil {
			a.tell("tls-alpn-01: " + err.Error())
		} else {
			a.valid = true
		}
		reply(http.StatusOK, challenge())
	case "/finalize":
		var body struct{ CSR string }
		_ = json.Unmarshal(b64(request.Payload), &body)
		csr, err := x509.ParseCertificateRequest(b64(body.CSR))
		if err != nil || !a.valid {
			a.tell(fmt.Sprint("finalize: ", err, a.valid))
			reply(http.StatusForbidden, nil)
			return
		}
		serial := big.NewInt(time.Now().UnixNano())
		a.leaf, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: serial, DNSNames: csr.DNSNames, NotBefore: a.issuer.cert.NotBefore, NotAfter: time.Now().Add(90 * 24 * time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, a.issuer.cert, csr.PublicKey, a.issuer.key)
		if err != nil {
			a.tell(err.Error())
		}
		w.Header().Set("Location", a.url+"/order/1")
		reply(http.StatusOK, order())
	case "/cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: a.leaf})
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: a.issuer.cert.Raw})
	default:
		reply(http.StatusNotFound, nil)
	}
}

// validate asks the host for the challenge's certificate (RFC 8737 §3).
func (a *authority) validate(ctx context.Context) error {
	dialer := tls.Dialer{Config: &tls.Config{ServerName: "live.example.org", NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}} //nolint:gosec // the challenge is what is looked at
	conn, err := dialer.DialContext(ctx, "tcp", a.at)
	if err != nil {
		return err
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	sum := sha256.Sum256([]byte("token." + a.thumb))
	want, err := asn1.Marshal(sum[:])
	if err != nil {
		return err
	}
	for _, e := range state.PeerCertificates[0].Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) && string(e.Value) == string(want) && state.NegotiatedProtocol == "acme-tls/1" {
			return nil
		}
	}
	return fmt.Errorf("protocol %q, no proof for %s", state.NegotiatedProtocol, a.thumb)
}

// TestACME: naming a host gets a certificate, proved on the server's own port, before
// anybody connects; it is kept over a restart; only that host has one.
func TestACME(t *testing.T) {
	ca := &authority{issuer: newIssuer(t), tell: func(text string) { t.Error(text) }}
	web := httptest.NewServer(ca)
	defer web.Close()
	ca.url = web.URL
	var logs strings.Builder
	var guard sync.Mutex
	cache := filepath.Join(t.TempDir(), "acme")
	serve := func() (*Source, string, func()) {
		s, err := Open(Config{
			Host: "live.example.org", Cache: cache, Directory: web.URL + "/directory",
			Logger: slog.New(slog.NewTextHandler(lockedWriter{&guard, &logs}, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{TLSConfig: s.TLS(), ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _ = server.ServeTLS(l, "", "") })
		all.Go(func() { _ = s.Run(ctx) })
		return s, l.Addr().String(), func() {
			cancel()
			_ = server.Close()
			all.Wait()
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.issuer.cert)
	dial := func(at, name string) (tls.ConnectionState, error) {
		dialer := tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: roots, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}}
		conn, err := dialer.DialContext(t.Context(), "tcp", at)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState(), nil
	}

	ca.mu.Lock() // until its listener is known
	s, at, stop := serve()
	ca.at = at
	ca.mu.Unlock()
	for range 500 {
		if _, ok := s.Current(); ok {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if pair, ok := s.Current(); !ok || end(&pair).IsZero() {
		t.Fatalf("no certificate: %s", logs.String())
	}
	state, err := dial(at, "live.example.org")
	if err != nil || state.NegotiatedProtocol != "h2" {
		t.Errorf("handshake: %v, %q", err, state.NegotiatedProtocol)
	}
	if _, err := dial(at, "other.example.org"); err == nil {
		t.Error("another host has a certificate, too")
	}
	stop()
	if about, err := os.Stat(cache); err != nil || about.Mode().Perm() != 0o700 {
		t.Errorf("cache: %v, %v", about, err)
	}

	_, at, stop = serve() // from the cache
	if _, err := dial(at, "live.example.org"); err != nil {
		t.Error(err)
	}
	stop()
	ca.mu.Lock()
	orders := ca.orders
	ca.mu.Unlock()
	if orders != 1 {
		t.Errorf("%d orders, want 1: the second start has the first's certificate", orders)
	}
	guard.Lock()
	defer guard.Unlock()
	if strings.Contains(logs.String(), "level=WARN") || !strings.Contains(logs.String(), "certificate from the authority") {
		t.Errorf("log: %s", logs.String())
	}
}

// TestNoACME: an authority that refuses, or does not answer, is said in the log, and
// keeps nobody from stopping.
func TestNoACME(t *testing.T) {
	asked := make(chan struct{}, 10)
	silent := make(chan struct{})
	ca := &authority{issuer: newIssuer(t), reject: true, tell: func(text string) { t.Error(text) }}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/silent") {
			asked <- struct{}{}
			<-silent
			return
		}
		ca.ServeHTTP(w, r)
	}))
	defer web.Close()
	defer close(silent)
	ca.url = web.URL
	var logs strings.Builder
	open := func(directory string) *Source {
		s, err := Open(Config{Host: "live.example.org", Cache: t.TempDir(), Directory: directory, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(web.URL + "/directory")
	if again := s.obtain(t.Context()); again != retryACME {
		t.Errorf("again in %v", again)
	}
	if _, ok := s.Current(); ok {
		t.Error("a certificate from nowhere")
	}
	if !strings.Contains(logs.String(), "TCP port 443") || !strings.Contains(logs.String(), "not this host") {
		t.Errorf("log: %s", logs.String())
	}
	s.line.cut()

	s = open(web.URL + "/silent")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-asked
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *strings.Builder
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}
