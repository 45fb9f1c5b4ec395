package httpput_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/httpput"
	"github.com/whipcast/whipcast/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a small WebDAV server: a file is there when its body came whole.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	files   map[string][]byte
	fields  map[string]http.Header
	folders map[string]bool // nil: they come by themselves
	lacks   int             // status where there is no folder; 0: 409
	calls   []string
	refuse  func(r *http.Request) int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, r.Method+" "+r.URL.RequestURI())
	status := http.StatusNoContent
	folder := r.URL.Path[:strings.LastIndexByte(r.URL.Path, '/')+1]
	switch {
	case s.refuse != nil && s.refuse(r) != 0:
		status = s.refuse(r)
	case err != nil:
		return
	case r.Method == "MKCOL" && s.folders[r.URL.Path]:
		status = http.StatusMethodNotAllowed
	case r.Method == "MKCOL":
		s.folders[r.URL.Path] = true
		status = http.StatusCreated
	case r.Method == http.MethodPut && s.folders != nil && !s.folders[folder]:
		status = max(s.lacks, http.StatusConflict)
	case r.Method == http.MethodPut && (r.ContentLength < 0 || r.TransferEncoding != nil):
		status = http.StatusLengthRequired
	case r.Method == http.MethodPut && s.missed(r):
		status = http.StatusPreconditionFailed
	case r.Method == http.MethodPut:
		s.files[r.URL.Path], s.fields[r.URL.Path] = content, r.Header
		w.Header().Set("ETag", tag(content))
		status = http.StatusCreated
	case r.Method == http.MethodGet && s.files[r.URL.Path] != nil:
		w.Header().Set("Content-Type", s.fields[r.URL.Path].Get("Content-Type"))
		w.Header().Set("ETag", tag(s.files[r.URL.Path]))
		w.Header().Set("Last-Modified", "Fri, 20 Nov 2026 12:00:00 GMT")
		if strings.HasSuffix(r.URL.Path, "/writer.json") {
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		}
		_, _ = w.Write(s.files[r.URL.Path])
		return
	case s.files[r.URL.Path] == nil:
		status = http.StatusNotFound
	case r.Method == http.MethodDelete:
		delete(s.files, r.URL.Path)
	}
	w.WriteHeader(status)
}

// missed says that a request's condition is not met.
func (s *server) missed(r *http.Request) bool {
	content, there := s.files[r.URL.Path]
	match := r.Header.Get("If-Match")
	return r.Header.Get("If-None-Match") == "*" && there || match != "" && (!there || match != tag(content))
}

func tag(content []byte) string { return fmt.Sprintf("\"%x\"", content) }

func serve(t *testing.T, start func(*httptest.Server)) *server {
	s := &server{files: map[string][]byte{}, fields: map[string]http.Header{}}
	s.Server = httptest.NewUnstartedServer(s)
	start(s.Server)
	t.Cleanup(s.Close)
	return s
}

func plain(s *httptest.Server) { s.Start() }

func open(t *testing.T, cfg httpput.Config) *httpput.Sink {
	t.Helper()
	s, err := httpput.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func segment(key string) storage.Object {
	return storage.Object{Key: key, Kind: storage.Segment, Type: "video/mp4", Body: storage.Body{[]byte("con"), []byte("tent")}}
}

func TestSinkIsASink(t *testing.T) {
	for name, lacks := range map[string]int{
		"folders by themselves": 0, "folders by MKCOL": http.StatusConflict, "folders by MKCOL, as nginx": http.StatusInternalServerError,
	} {
		t.Run(name, func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) (storage.Sink, storagetest.Read) {
				s := serve(t, plain)
				if lacks != 0 {
					s.folders, s.lacks = map[string]bool{"/live/": true}, lacks
				}
				sink := open(t, httpput.Config{URL: s.URL + "/live/", MakeFolders: lacks != 0})
				return sink, func(_ context.Context, key string) ([]byte, error) {
					s.mu.Lock()
					defer s.mu.Unlock()
					content, ok := s.files["/live/"+key]
					if !ok {
						return nil, storage.ErrNotFound
					}
					return content, nil
				}
			})
		})
	}
}

// specs S21, S29: type, freshness and length of every object.
func TestFields(t *testing.T) {
	s := serve(t, plain)
	sink := open(t, httpput.Config{
		URL: s.URL + "/in", Kept: time.Minute,
		Fields: map[string]storage.Secret{"Authorization": "Bearer s3cret", "X-Origin": "a"},
	})
	playlist := storage.Object{
		Key: "show/index.m3u8", Kind: storage.Playlist, Type: "application/vnd.apple.mpegurl", Body: storage.Body{[]byte("#EXTM3U\n")},
		Position: storage.Position{Target: 4 * time.Second}, Encoding: "gzip",
	}
	for _, o := range []storage.Object{segment("show/s1.m4s"), playlist} {
		if err := sink.Put(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		got := s.fields["/in/"+o.Key]
		for name, want := range map[string]string{
			"Content-Type": o.Type, "Content-Encoding": o.Encoding, "Cache-Control": storage.CacheControl(o, time.Minute), "Authorization": "Bearer s3cret", "X-Origin": "a",
		} {
			if got.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", o.Key, name, got.Get(name), want)
			}
		}
	}
	if string(s.files["/in/show/s1.m4s"]) != "content" {
		t.Errorf("stored %q", s.files["/in/show/s1.m4s"])
	}
}

func TestUserAndQueryOfTheURL(t *testing.T) {
	s := serve(t, plain)
	s.refuse = func(r *http.Request) int {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "pa ss" || r.URL.Query().Get("token") != "s3cret" {
			return http.StatusUnauthorized
		}
		return 0
	}
	host := strings.TrimPrefix(s.URL, "http://")
	sink := open(t, httpput.Config{URL: "http://me:pa%20ss@" + host + "/in?token=s3cret"})
	if err := sink.Put(t.Context(), segment("a/s1")); err != nil {
		t.Error(err)
	}
	for _, broken := range []int{http.StatusForbidden, http.StatusBadGateway} {
		s.mu.Lock()
		s.refuse = func(*http.Request) int { return broken }
		s.mu.Unlock()
		if err := sink.Put(t.Context(), segment("a/s1")); err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "ss@") {
			t.Errorf("error %v", err)
		}
	}
	s.Close()
	if err := sink.Put(t.Context(), segment("a/s1")); err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "ss@") || storage.IsPermanent(err) {
		t.Errorf("no server: %v", err)
	}
}

func TestStatus(t *testing.T) {
	s := serve(t, plain)
	sink := open(t, httpput.Config{URL: s.URL})
	for status, want := range map[int]struct {
		permanent bool
		says      string
	}{
		http.StatusMovedPermanently:    {true, "correct the URL"},
		http.StatusTemporaryRedirect:   {true, "correct the URL"},
		http.StatusBadRequest:          {true, "status 400"},
		http.StatusUnauthorized:        {true, "correct the credentials"},
		http.StatusForbidden:           {true, "correct the credentials"},
		http.StatusNotFound:            {true, "correct the URL"},
		http.StatusMethodNotAllowed:    {true, "takes no PUT"},
		http.StatusConflict:            {false, "makes no folders"},
		http.StatusRequestTimeout:      {false, "status 408"},
		http.StatusTooManyRequests:     {false, "status 429"},
		http.StatusInternalServerError: {false, "status 500"},
		http.StatusNotImplemented:      {true, "status 501"},
		http.StatusServiceUnavailable:  {false, "status 503"},
		http.StatusInsufficientStorage: {false, "status 507"},
	} {
		s.mu.Lock()
		s.refuse = func(*http.Request) int { return status }
		s.mu.Unlock()
		err := sink.Put(t.Context(), segment("a/s1"))
		if e, ok := errors.AsType[*httpput.Error](err); !ok || e.Status != status || storage.IsPermanent(err) != want.permanent || !strings.Contains(err.Error(), want.says) || !strings.Contains(err.Error(), "put a/s1") {
			t.Errorf("status %d: %v, permanent %t; want %t and %q", status, err, storage.IsPermanent(err), want.permanent, want.says)
		}
	}
	s.mu.Lock()
	s.refuse = func(*http.Request) int { return http.StatusGone }
	s.mu.Unlock()
	if err := sink.Delete(t.Context(), "a/s1"); err != nil {
		t.Errorf("delete what is gone: %v", err)
	}
}

// What an operator reads, of a PUT and of a DELETE.
func TestErrorsInWords(t *testing.T) {
	s := serve(t, plain)
	host := strings.TrimPrefix(s.URL, "http://")
	sink := open(t, httpput.Config{URL: s.URL + "/live?signature=hunter2hunter2"})
	for _, tt := range []struct {
		status int
		put    string
		remove string
	}{
		{
			401, "the server wants other credentials (status 401 Unauthorized); correct the credentials: user and password in the URL, or the headers",
			"the server wants other credentials (status 401 Unauthorized); correct the credentials: user and password in the URL, or the headers",
		},
		{
			403, "the server forbids PUT (status 403 Forbidden); correct the credentials, or allow them to put and delete files there",
			"the server forbids DELETE (status 403 Forbidden); correct the credentials, or allow them to put and delete files there, or set no_delete: true where the server itself deletes",
		},
		{404, "there is no such place (status 404 Not Found); correct the URL", ""},
		{
			405, "the server takes no PUT there (status 405 Method Not Allowed); allow it in the server's configuration, or correct the URL",
			"the server takes no DELETE there (status 405 Method Not Allowed); allow it in the server's configuration, or correct the URL, or set no_delete: true where the server itself deletes",
		},
		{
			409, "the server makes no folders by itself (status 409 Conflict); set make_folders: true, or let the server make them",
			"the server makes no folders by itself (status 409 Conflict); set make_folders: true, or let the server make them",
		},
		{
			413, "the server takes no file of that size (status 413 Request Entity Too Large); raise the server's limit of a request's body",
			"the server takes no file of that size (status 413 Request Entity Too Large); raise the server's limit of a request's body",
		},
		{307, "the server sends us elsewhere (status 307 Temporary Redirect); correct the URL: write the one that it leads to", "the server sends us elsewhere (status 307 Temporary Redirect); correct the URL: write the one that it leads to"},
		{429, "the server takes no more requests for now (status 429 Too Many Requests)", "the server takes no more requests for now (status 429 Too Many Requests)"},
		{507, "the server's disk is full (status 507 Insufficient Storage); make room there", "the server's disk is full (status 507 Insufficient Storage); make room there"},
		{502, "status 502 Bad Gateway", "status 502 Bad Gateway"},
	} {
		s.mu.Lock()
		s.refuse = func(*http.Request) int { return tt.status }
		s.mu.Unlock()
		for call, err := range map[string]error{
			"put a/s1: " + host + ": " + tt.put:       sink.Put(t.Context(), segment("a/s1")),
			"delete a/s1: " + host + ": " + tt.remove: sink.Delete(t.Context(), "a/s1"),
		} {
			if err == nil && tt.remove == "" && strings.HasPrefix(call, "delete") {
				continue // what is not there is deleted
			}
			if err == nil || err.Error() != call {
				t.Errorf("status %d:\n got %v\nwant %s", tt.status, err, call)
			}
		}
	}
}

func TestGet(t *testing.T) {
	s := serve(t, plain)
	sink := open(t, httpput.Config{URL: s.URL + "/live"})
	if err := sink.Put(t.Context(), segment("a/s1")); err != nil {
		t.Fatal(err)
	}
	o, err := sink.Get(t.Context(), "a/s1")
	if err != nil || string(o.Body.Bytes()) != "content" || o.Type != "video/mp4" || !o.Modified.Equal(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, key := range []string{"a/s2", "../s1", ""} {
		if _, err := sink.Get(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v", key, err)
		}
	}
	s.mu.Lock()
	s.refuse = func(*http.Request) int { return http.StatusMethodNotAllowed }
	s.mu.Unlock()
	_, err = sink.Get(t.Context(), "a/s1")
	if e, ok := errors.AsType[*httpput.Error](err); !ok || e.Status != http.StatusMethodNotAllowed || !strings.Contains(err.Error(), "takes no GET") {
		t.Errorf("refused: %v", err)
	}
}

func TestServersThatBreakOff(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing": "", "half a header": "HTTP/1.1 20", "half a body": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, plain)
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				c, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, answer)
				_ = c.Close()
			})
			err := open(t, httpput.Config{URL: s.URL}).Put(t.Context(), segment("a/s1"))
			if err == nil || storage.IsPermanent(err) {
				t.Errorf("error %v, want one that may heal", err)
			}
		})
	}
}

func TestNoDelete(t *testing.T) {
	s := serve(t, plain)
	sink := open(t, httpput.Config{URL: s.URL, NoDelete: true})
	if err := sink.Delete(t.Context(), "a/s1"); err != nil || len(s.calls) != 0 {
		t.Errorf("%v, calls %q", err, s.calls)
	}
}

// certificate makes a certificate that is its own authority, and its files.
func certificate(t *testing.T) (tls.Certificate, string, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	shown := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	hidden := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	for i, text := range [][]byte{shown, hidden} {
		if err := os.WriteFile(files[i], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(shown, hidden)
	if err != nil {
		t.Fatal(err)
	}
	return pair, files[0], files[1]
}

func TestTLS(t *testing.T) {
	pair, file, key := certificate(t)
	s := serve(t, func(s *httptest.Server) {
		pool := x509.NewCertPool()
		parsed, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		pool.AddCert(parsed)
		s.TLS = &tls.Config{
			Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
		}
		s.StartTLS()
	})
	if err := open(t, httpput.Config{URL: s.URL, Authority: file, Certificate: file, Key: key}).Put(t.Context(), segment("a/s1")); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if err := open(t, httpput.Config{URL: s.URL, Authority: file}).Put(t.Context(), segment("a/s1")); err == nil {
		t.Error("without a certificate it was taken")
	}
	if err := open(t, httpput.Config{URL: s.URL}).Put(t.Context(), segment("a/s1")); !storage.IsPermanent(err) {
		t.Errorf("a server that nobody vouches for: %v, want a permanent error", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	_, file, _ := certificate(t)
	for want, cfg := range map[string]httpput.Config{
		"not one such as": {URL: "ftp://me:s3cret@x/"},
		"the URL is not":  {URL: ""},
		"the URL":         {URL: "http://s3cret:%zz@x"},
		"both":            {URL: "http://x", Certificate: file},
		"no certificate":  {URL: "http://x", Authority: os.DevNull},
		"no such file":    {URL: "http://x", Authority: filepath.Join(t.TempDir(), "none")},
		"certificate":     {URL: "http://x", Certificate: os.DevNull, Key: os.DevNull},
	} {
		if _, err := httpput.Open(cfg); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
	cfg := httpput.Config{Fields: map[string]storage.Secret{"Authorization": "s3cret"}}
	if text := fmt.Sprintf("%+v %#v", cfg, cfg); strings.Contains(text, "s3cret") {
		t.Errorf("shown: %s", text)
	}
}
