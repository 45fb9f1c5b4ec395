// Package httpput keeps Objects on an HTTP server: the ingest of a CDN, or a
// WebDAV server such as nginx or Apache.
//
//	PUT    {URL}/{key}   with Content-Type, Cache-Control, Content-Length and the configured fields
//	DELETE {URL}/{key}
//
// An Object has one request with a known length: nothing is sent in chunks of
// unknown number, which some servers refuse. Redirects are not followed.
package httpput

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/whipcast/whipcast/internal/fault"
	"github.com/whipcast/whipcast/storage"
)

// Config says which server, and how. URL is needed.
type Config struct {
	URL string // what keys are put behind; it may have a user and a password
	// Fields are set in every request, such as Authorization. Their values are not
	// shown.
	Fields map[string]storage.Secret
	// Certificate and Key are PEM files that this side shows; both or none.
	Certificate, Key string
	// Authority is a PEM file with the certificates that the server's is checked
	// by; "": the system's.
	Authority string
	// MakeFolders makes folders by MKCOL when a PUT says that there is none (RFC
	// 4918 §9.7.1). Most servers make them by themselves.
	MakeFolders bool
	// NoDelete leaves deleting to the server.
	NoDelete bool
	// Kept is how long media stays available at least, for Cache-Control; 0: it is
	// never deleted.
	Kept time.Duration
}

// Sink is a storage.Sink over an HTTP server. All methods may be called from any
// goroutine. It tries nothing again: put a storage.Retry before it.
type Sink struct {
	cfg    Config
	base   *url.URL // without user and query
	user   *url.Userinfo
	query  string
	tls    *tls.Config
	client *http.Client
}

// Open returns a Sink. It reads the files that cfg names, and asks nobody.
func Open(cfg Config) (*Sink, error) {
	s, err := open(cfg)
	if err != nil {
		return nil, fmt.Errorf("open HTTP storage: %w", err)
	}
	return s, nil
}

func open(cfg Config) (*Sink, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "" {
		return nil, errors.New("the URL is not one such as https://ingest.example.org/live") // it may have a secret
	}
	s := &Sink{cfg: cfg, user: u.User, query: u.RawQuery}
	s.base = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(u.Path, "/")}
	secured, err := secure(cfg)
	if err != nil {
		return nil, err
	}
	s.tls = secured
	s.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: secured, ForceAttemptHTTP2: true,
			MaxIdleConns: 512, MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 5 * time.Second, WriteBufferSize: 64 << 10,
		},
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

func secure(cfg Config) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if (cfg.Certificate == "") != (cfg.Key == "") {
		return nil, errors.New("give both the certificate and its key, or none")
	}
	if cfg.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(cfg.Certificate, cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if cfg.Authority != "" {
		text, err := os.ReadFile(cfg.Authority)
		if err != nil {
			return nil, fmt.Errorf("read authority: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read authority %s: no certificate in it", cfg.Authority)
		}
	}
	return c, nil
}

// Close closes connections that are not in use.
func (s *Sink) Close() { s.client.CloseIdleConnections() }

// Put implements storage.Sink. What trying again cannot mend is marked by
// storage.Permanent.
func (s *Sink) Put(ctx context.Context, o storage.Object) error {
	err := storage.CheckKey(o.Key)
	if err == nil {
		err = s.put(ctx, o)
	}
	if e, ok := errors.AsType[*Error](err); ok && s.cfg.MakeFolders && mayLackFolder(e.Status) {
		if err = s.makeFolders(ctx, path.Dir(o.Key)); err == nil {
			err = s.put(ctx, o)
		}
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", o.Key, err)
	}
	return nil
}

// mayLackFolder says that a PUT may have failed because there is no folder: 409
// (RFC 4918 §9.7.1), or 500, which nginx answers.
func mayLackFolder(status int) bool {
	return status == http.StatusConflict || status == http.StatusInternalServerError
}

func (s *Sink) put(ctx context.Context, o storage.Object) error {
	r, err := s.upload(ctx, o)
	if err != nil {
		return err
	}
	return s.do(r)
}

// upload returns the request that puts an Object.
func (s *Sink) upload(ctx context.Context, o storage.Object) (*http.Request, error) {
	r, err := s.request(ctx, http.MethodPut, o.Key)
	if err != nil {
		return nil, err
	}
	r.ContentLength = int64(o.Body.Len())
	r.Body = http.NoBody
	if r.ContentLength > 0 {
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(o.Body.Reader()), nil }
		r.Body, _ = r.GetBody() // it never fails
	}
	if o.Type != "" {
		r.Header.Set("Content-Type", o.Type)
	}
	if o.Encoding != "" {
		r.Header.Set("Content-Encoding", o.Encoding)
	}
	r.Header.Set("Cache-Control", storage.CacheControl(o, s.cfg.Kept))
	return r, nil
}

// makeFolders makes a folder and those above it, from the top. What is there
// answers with status 405 (RFC 4918 §9.3.1).
func (s *Sink) makeFolders(ctx context.Context, folder string) error {
	for at := range len(folder) + 1 {
		if at < len(folder) && folder[at] != '/' {
			continue
		}
		made := folder[:at] + "/"
		r, err := s.request(ctx, "MKCOL", made)
		if err == nil {
			err = s.do(r)
		}
		if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Status != http.StatusMethodNotAllowed) {
			return fmt.Errorf("make folder %s: %w", made, err)
		}
	}
	return nil
}

// Delete implements storage.Sink.
func (s *Sink) Delete(ctx context.Context, key string) error {
	err := ctx.Err()
	if err == nil && !s.cfg.NoDelete && isKey(key) { // nothing has another key
		err = s.delete(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

func (s *Sink) delete(ctx context.Context, key string) error {
	r, err := s.request(ctx, http.MethodDelete, key)
	if err == nil {
		err = s.do(r)
	}
	if e, ok := errors.AsType[*Error](err); ok && (e.Status == http.StatusNotFound || e.Status == http.StatusGone) {
		return nil
	}
	return err
}

func isKey(key string) bool { return storage.CheckKey(key) == nil }

// Has implements storage.Holder, by a HEAD request: not every server that takes
// PUT answers it.
func (s *Sink) Has(ctx context.Context, key string) (bool, error) {
	err := ctx.Err()
	switch {
	case err == nil && !isKey(key): // nothing has such a key
		return false, nil
	case err == nil:
		var r *http.Request
		if r, err = s.request(ctx, http.MethodHead, key); err == nil {
			err = s.do(r)
		}
	}
	if e, ok := errors.AsType[*Error](err); ok && (e.Status == http.StatusNotFound || e.Status == http.StatusGone) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", key, err)
	}
	return true, nil
}

// Get returns the file of that key. Few servers that take PUT also give files:
// the error says so by its Status. Without such a file it is storage.ErrNotFound.
func (s *Sink) Get(ctx context.Context, key string) (storage.Object, error) {
	o, err := s.get(ctx, key)
	if e, ok := errors.AsType[*Error](err); ok && (e.Status == http.StatusNotFound || e.Status == http.StatusGone) || errors.Is(err, storage.ErrKey) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return storage.Object{}, fmt.Errorf("get %s: %w", key, err)
	}
	return o, nil
}

// maxRead bounds what Get reads.
const maxRead = 1 << 30

func (s *Sink) get(ctx context.Context, key string) (storage.Object, error) {
	if err := storage.CheckKey(key); err != nil {
		return storage.Object{}, err
	}
	r, err := s.request(ctx, http.MethodGet, key)
	if err != nil {
		return storage.Object{}, err
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return storage.Object{}, s.failure(ctx, err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	if answer.StatusCode != http.StatusOK {
		return storage.Object{}, &Error{Host: s.base.Host, Status: answer.StatusCode, method: r.Method}
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxRead))
	if err != nil {
		return storage.Object{}, s.failure(ctx, err)
	}
	o := storage.Object{Key: key, Type: answer.Header.Get("Content-Type"), Body: storage.Body{content}}
	if at, err := http.ParseTime(answer.Header.Get("Last-Modified")); err == nil {
		o.Modified = at
	}
	return o, nil
}

// URL returns what keys are put behind, without user, password and query.
func (s *Sink) URL() string { return s.base.String() }

// TLS returns how this side secures its connections; do not change it.
func (s *Sink) TLS() *tls.Config { return s.tls }

// request makes a request without a body. CheckKey has made sure that the key
// needs no escaping.
func (s *Sink) request(ctx context.Context, method, key string) (*http.Request, error) {
	u := *s.base
	u.Path += "/" + key
	u.RawQuery = s.query
	r, err := http.NewRequestWithContext(ctx, method, u.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make request to %s: %w", u.Host, err)
	}
	for name, value := range s.cfg.Fields {
		r.Header.Set(name, string(value))
	}
	if password, set := s.user.Password(); s.user != nil && set {
		r.SetBasicAuth(s.user.Username(), password)
	}
	return r, nil
}

// do sends a request and reads the answer to its end, so that the connection
// can be used again.
func (s *Sink) do(r *http.Request) error {
	_, _, err := s.exchange(r, 0)
	return err
}

// failure makes an error of one that the HTTP client returned. Its own has the
// URL, which may have a secret.
func (s *Sink) failure(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	failed := &Error{Host: s.base.Host, cause: err}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return storage.Permanent(failed)
	}
	return failed
}

// Error is a failure of a server, in one line without the path and the query of
// its URL.
type Error struct {
	Host   string
	Status int // of HTTP; 0 if there was no answer

	method string
	cause  error
}

// Error returns the host, what is wrong, and what to do about it.
func (e *Error) Error() string {
	s := e.Host + ": " + e.Cause()
	if remedy := e.Remedy(); remedy != "" {
		s += "; " + remedy
	}
	return s
}

// Cause says what is wrong, in plain words.
func (e *Error) Cause() string {
	if e.Status == 0 {
		if f, step := fault.Network(e.cause); step != fault.Unknown {
			return f.Cause
		}
		return e.cause.Error()
	}
	said := strings.TrimSpace(fmt.Sprintf("status %d %s", e.Status, http.StatusText(e.Status)))
	if words := e.words().Cause; words != "" {
		return words + " (" + said + ")"
	}
	return said
}

// Remedy says what to do, "" where nobody knows.
func (e *Error) Remedy() string {
	if e.Status != 0 {
		return e.words().Remedy
	}
	f, _ := fault.Network(e.cause)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](e.cause); ok {
		return "name the authority's certificate with authority, or correct the server's chain"
	}
	return f.Remedy
}

// words are what a status means to whoever puts files there.
func (e *Error) words() fault.Fault {
	switch e.Status {
	case http.StatusUnauthorized:
		return fault.Fault{Cause: "the server wants other credentials", Remedy: "correct the credentials: user and password in the URL, or the headers"}
	case http.StatusForbidden:
		return fault.Fault{Cause: "the server forbids " + e.method, Remedy: "correct the credentials, or allow them to put and delete files there" + e.orLeave()}
	case http.StatusNotFound, http.StatusGone:
		return fault.Fault{Cause: "there is no such place", Remedy: "correct the URL"}
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return fault.Fault{Cause: "the server takes no " + e.method + " there", Remedy: "allow it in the server's configuration, or correct the URL" + e.orLeave()}
	case http.StatusConflict:
		return fault.Fault{Cause: "the server makes no folders by itself", Remedy: "set make_folders: true, or let the server make them"}
	case http.StatusRequestEntityTooLarge:
		return fault.Fault{Cause: "the server takes no file of that size", Remedy: "raise the server's limit of a request's body"}
	case http.StatusTooManyRequests:
		return fault.Fault{Cause: "the server takes no more requests for now"}
	case http.StatusInsufficientStorage:
		return fault.Fault{Cause: "the server's disk is full", Remedy: "make room there"}
	}
	if e.Status >= 300 && e.Status < 400 {
		return fault.Fault{Cause: "the server sends us elsewhere", Remedy: "correct the URL: write the one that it leads to"}
	}
	return fault.Fault{}
}

// orLeave is the other way out where files cannot be deleted.
func (e *Error) orLeave() string {
	if e.method == http.MethodDelete {
		return ", or set no_delete: true where the server itself deletes"
	}
	return ""
}

// Unwrap returns the cause, nil if there was an answer.
func (e *Error) Unwrap() error { return e.cause }

// permanent says that trying again mends nothing.
func (e *Error) permanent() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusNotImplemented:
		return true
	}
	return e.Status >= 300 && e.Status < 500
}
