package fault_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/fault"
)

// ask sends a request as a sink does, to see what really comes back.
func ask(t *testing.T, secured *tls.Config, url string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: secured, ResponseHeaderTimeout: 100 * time.Millisecond}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err == nil {
		_ = answer.Body.Close()
	}
	return err
}

// listen starts a server that does no HTTP.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func TestRealServers(t *testing.T) {
	quiet := func(s *httptest.Server) *httptest.Server {
		s.Config.ErrorLog = nil
		return s
	}
	hang := make(chan struct{})
	plain := quiet(httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang })))
	secure := quiet(httptest.NewTLSServer(http.NotFoundHandler()))
	defer secure.Close()
	defer plain.Close()
	defer close(hang)
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	wants := quiet(httptest.NewUnstartedServer(http.NotFoundHandler()))
	wants.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	wants.StartTLS()
	defer wants.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	reset := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	noise := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, "220 mail.example.org ESMTP\r\n")
		_, _ = io.Copy(io.Discard, c)
	})

	for _, tt := range []struct {
		name    string
		tls     *tls.Config
		url     string
		step    fault.Step
		says    string
		advises string
	}{
		{"refused", nil, closed.URL, fault.Connect, "connection refused: nothing listens at " + closed.Listener.Addr().String(), "start the server"},
		{"no answer", nil, plain.URL, fault.Answer, "no answer in time", "look at the server"},
		{"unknown authority", nil, secure.URL, fault.Secure, "an authority that this machine does not know", "add the authority"},
		{"another name", &tls.Config{RootCAs: pool, ServerName: "s3.test"}, secure.URL, fault.Secure, "is for example.com, *.example.com, 127.0.0.1 and 1 more, not for s3.test", "use a name"},
		{"expired", &tls.Config{RootCAs: pool, Time: func() time.Time { return secure.Certificate().NotAfter.AddDate(1, 0, 0) }}, secure.URL, fault.Secure, "the server's certificate is good from", "renew"},
		{"TLS to plain HTTP", nil, strings.Replace(plain.URL, "http:", "https:", 1), fault.Secure, "speaks plain HTTP", "write http://"},
		{"no certificate of this side", &tls.Config{RootCAs: pool, InsecureSkipVerify: true}, wants.URL, fault.Secure, "wants a certificate of this side", "give the certificate"},
		{"reset", nil, "http://" + reset, fault.Answer, "closed the connection", "wants https"},
		{"no HTTP", nil, "http://" + noise, fault.Answer, "no HTTP server", "correct the port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := ask(t, tt.tls, tt.url)
			got, step := fault.Network(err)
			if step != tt.step || !strings.Contains(got.Cause, tt.says) || !strings.Contains(got.Remedy, tt.advises) {
				t.Errorf("%v: step %d, %+v; want step %d, %q, %q", err, step, got, tt.step, tt.says, tt.advises)
			}
		})
	}
}

func TestNetwork(t *testing.T) {
	dial := func(err error) error {
		return fmt.Errorf("get x: %w", &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}, Err: err})
	}
	for _, tt := range []struct {
		err  error
		step fault.Step
		want string
	}{
		{&net.DNSError{Name: "s3.test", IsNotFound: true}, fault.Name, "the name s3.test does not exist"},
		{dial(&net.DNSError{Name: "s3.test", IsTimeout: true}), fault.Name, "the name s3.test cannot be resolved now"},
		{dial(context.DeadlineExceeded), fault.Connect, "no connection to 192.0.2.1:443 in time"},
		{dial(syscall.ENETUNREACH), fault.Connect, "no way to 192.0.2.1:443"},
		{dial(syscall.EMFILE), fault.Connect, "no connection to 192.0.2.1:443"},
		{x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, fault.Unknown, ""},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}}, fault.Secure, "the server's certificate is not good"},
		{tls.AlertError(40), fault.Secure, "the server ends TLS: handshake failure"},
		{errors.New("net/http: TLS handshake timeout"), fault.Secure, "no TLS handshake in time"},
		{context.DeadlineExceeded, fault.Answer, "no answer in time"},
		{errors.New("something else"), fault.Unknown, ""},
		{nil, fault.Unknown, ""},
	} {
		got, step := fault.Network(tt.err)
		if step != tt.step || got.Cause != tt.want || (got.Remedy == "") != (tt.want == "") {
			t.Errorf("%v: step %d, %+v; want step %d, %q", tt.err, step, got, tt.step, tt.want)
		}
	}
}

func TestFile(t *testing.T) {
	at := func(err error) error {
		return fmt.Errorf("put a: %w", &fs.PathError{Op: "open", Path: "/srv/hls", Err: err})
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{at(syscall.ENOSPC), "the disk is full"},
		{at(syscall.EDQUOT), "this user's share of the disk is used up"},
		{at(syscall.EROFS), "the file system is read-only"},
		{at(syscall.EACCES), "this user may not use /srv/hls"},
		{at(syscall.ENOTDIR), "/srv/hls is in the way: a file where a folder must be"},
		{at(syscall.ENOENT), "/srv/hls is not there"},
		{at(syscall.EIO), "the disk does not work: input/output error"},
		{syscall.ENOSPC, "the disk is full"},
		{errors.New("x"), ""},
		{nil, ""},
	} {
		got, ok := fault.File(tt.err)
		if got.Cause != tt.want || ok != (tt.want != "") || ok && got.Remedy == "" {
			t.Errorf("%v: %+v, %t; want %q", tt.err, got, ok, tt.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		20*time.Minute + 1400*time.Millisecond:               "20m",
		90 * time.Minute:                                     "1h30m",
		2 * time.Hour:                                        "2h",
		2*time.Second + 512*time.Millisecond:                 "2.5s",
		2 * time.Minute:                                      "2m",
		2*time.Minute + 3*time.Second + 26*time.Millisecond:  "2m3s",
		1234 * time.Microsecond:                              "1ms",
		26*time.Hour + 30*time.Minute - 100*time.Millisecond: "26h30m",
	} {
		if got := fault.Span(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}
