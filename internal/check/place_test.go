package check_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whipcast/whipcast/internal/check"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/directory"
	"github.com/whipcast/whipcast/storage/httpput"
	"github.com/whipcast/whipcast/storage/s3"
)

const secret = "hunter2hunter2hunter2"

// store is a server that keeps files by PUT, GET and DELETE: as S3 without a look
// at signatures, and as WebDAV.
type store struct {
	*httptest.Server
	mu     sync.Mutex
	files  map[string]string
	types  map[string]string
	calls  []string
	date   time.Duration // how far its clock is ahead
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func serve(t *testing.T) *store {
	s := &store{files: map[string]string{}, types: map[string]string{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, r.Method+" "+r.URL.Path)
	w.Header().Set("Date", time.Now().Add(s.date).UTC().Format(http.TimeFormat))
	path := r.URL.Path
	switch {
	case err != nil || s.answer != nil && s.answer(w, r):
	case r.Method == http.MethodPut:
		s.files[path], s.types[path] = string(content), r.Header.Get("Content-Type")
	case r.Method == http.MethodDelete:
		delete(s.files, path)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet && s.files[path] != "":
		w.Header().Set("Content-Type", s.types[path])
		_, _ = io.WriteString(w, s.files[path])
	case r.Method == http.MethodGet:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
	default:
		w.WriteHeader(http.StatusForbidden) // HEAD without a signature
	}
}

// refuse answers requests of these methods as S3 does.
func refuse(methods string, status int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(methods, r.Method) {
			return false
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error>`+body+"<RequestId>id-of-request</RequestId></Error>")
		return true
	}
}

// alone keeps the machine's own credentials and proxies out.
func alone(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_REGION": "",
	} {
		t.Setenv(name, value)
	}
}

func bucket(t *testing.T, endpoint string) check.Place {
	t.Helper()
	sink, err := s3.Open(t.Context(), s3.Config{
		Endpoint: endpoint, Region: "eu-test-1", Bucket: "media", Prefix: "live", PathStyle: true, AccessKey: "AKTEST", SecretKey: secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	return check.Place{Name: "s3-1", Sink: sink, Read: sink.Get, MustRead: true, URL: sink.URL(), Signs: true}
}

// told returns findings as lines, and looks that nothing secret is in them.
func told(t *testing.T, found []check.Finding) []string {
	t.Helper()
	var lines []string
	for _, f := range found {
		line := f.Name + ": " + f.State.String() + ": " + f.Cause
		if f.Remedy != "" {
			line += " → " + f.Remedy
		}
		for _, hidden := range []string{secret, "id-of-request", "\n"} {
			if strings.Contains(line, hidden) {
				t.Errorf("%q shows %q", line, hidden)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func want(t *testing.T, found []check.Finding, lines ...string) {
	t.Helper()
	if diff := cmp.Diff(lines, told(t, found)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestABucketThatWorks(t *testing.T) {
	alone(t)
	s := serve(t)
	want(t, bucket(t, s.URL).Check(t.Context()),
		"s3-1 connection: ok: "+s.Listener.Addr().String()+", not encrypted",
		"s3-1 clock: ok: this machine's clock and the server's agree",
		"s3-1 write: ok: a file can be stored", "s3-1 read: ok: it comes back as it was stored", "s3-1 delete: ok: it can be deleted")
	if len(s.files) != 0 || len(s.calls) != 4 || !strings.HasPrefix(s.calls[1], "PUT /media/live/whipcast-check/") {
		t.Errorf("left %v after %q", s.files, s.calls)
	}
	s.calls = nil
	want(t, bucket(t, s.URL).Touch(t.Context()), "s3-1 write: ok: a file can be stored", "s3-1 delete: ok: it can be deleted")
	if len(s.files) != 0 || len(s.calls) != 2 { // what a start may cost
		t.Errorf("left %v after %q", s.files, s.calls)
	}
}

// Each error of S3, where it shows: the words are the store's own.
func TestABucketThatRefuses(t *testing.T) {
	alone(t)
	const write, read, remove = "s3-1 write: failed: ", "s3-1 read: warning: ", "s3-1 delete: failed: "
	for _, tt := range []struct {
		name    string
		methods string
		status  int
		body    string
		want    string
	}{
		{"wrong bucket", "PUT GET DELETE", 404, "<Code>NoSuchBucket</Code>", write + "there is no such bucket (NoSuchBucket, status 404) → make the bucket, or correct its name or the endpoint"},
		{"wrong access key", "PUT", 403, "<Code>InvalidAccessKeyId</Code>", write + "the store does not know this access key (InvalidAccessKeyId, status 403) → correct the access key"},
		{"wrong secret", "PUT", 403, "<Code>SignatureDoesNotMatch</Code>", write + "the secret key is not that of the access key (SignatureDoesNotMatch, status 403) → correct the secret key"},
		{"wrong region", "PUT", 400, "<Code>AuthorizationHeaderMalformed</Code><Message>the region 'eu-test-1' is wrong; expecting 'eu-west-1'</Message>", write + "the bucket is in region eu-west-1 (AuthorizationHeaderMalformed, status 400) → correct the region: set it to eu-west-1"},
		{"clock", "PUT", 403, "<Code>RequestTimeTooSkewed</Code>", write + "this machine's clock is 20m behind the store's (RequestTimeTooSkewed, status 403) → set this machine's clock"},
		{"no put", "PUT", 403, "<Code>AccessDenied</Code>", write + "these credentials may not put objects there (AccessDenied, status 403) → allow these credentials to put, get and delete objects in the bucket"},
		{"no get", "GET", 403, "<Code>AccessDenied</Code>", read + "these credentials may not get objects there (AccessDenied, status 403) → allow these credentials to put, get and delete objects in the bucket"},
		{"no delete", "DELETE", 403, "<Code>AccessDenied</Code>", remove + "these credentials may not delete objects there (AccessDenied, status 403); KEY stays there → allow these credentials to put, get and delete objects in the bucket"},
		{"gone at once", "GET", 404, "<Code>NoSuchKey</Code>", "s3-1 read: failed: what was stored a moment ago is not there → look at what stands before the store: a cache, a proxy, a rule that deletes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t)
			if tt.name == "clock" {
				s.date = 20*time.Minute + 5*time.Second
			}
			s.answer = refuse(tt.methods, tt.status, tt.body)
			var bad []check.Finding
			for _, f := range bucket(t, s.URL).Check(t.Context()) {
				if f.Name == "s3-1 clock" {
					if (f.State == check.Failed) != (s.date != 0) || s.date != 0 && f.Cause != "this machine's clock is 20m behind the server's" {
						t.Errorf("%+v", f)
					}
				} else if f.State != check.OK {
					bad = append(bad, f)
				}
			}
			key := ""
			for path := range s.files {
				key = strings.TrimPrefix(path, "/media/live/")
			}
			want(t, bad, strings.Replace(tt.want, "KEY", key, 1))
		})
	}
}

func TestAnEndpointThatIsNoStore(t *testing.T) {
	alone(t)
	s := serve(t)
	const page = "<!DOCTYPE html><html><body>Welcome</body></html>"
	s.answer = func(w http.ResponseWriter, _ *http.Request) bool { // says yes to everything
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, page)
		return true
	}
	found := bucket(t, s.URL).Check(t.Context())
	want(t, found[3:4], "s3-1 read: failed: 64 bytes were stored, 48 others come back → look whether this is the store itself: a web server or a proxy may answer for it")
	s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = io.WriteString(w, page)
		return true
	}
	found = bucket(t, s.URL).Check(t.Context())
	want(t, found[2:], "s3-1 write: failed: the endpoint answers with a web page: it is no S3 endpoint (status 405) → correct the endpoint: it may be that of the store's web console")
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			s.types[r.URL.Path] = "binary/octet-stream"
		}
		return false
	}
	found = bucket(t, s.URL).Check(t.Context())
	want(t, found[3:4], "s3-1 read: warning: stored as application/vnd.apple.mpegurl, it comes back as binary/octet-stream → let the place keep the Content-Type: players look at it")
}

// Without a connection nothing else is tried.
func TestNoWayToAPlace(t *testing.T) {
	alone(t)
	s := serve(t)
	secured := httptest.NewUnstartedServer(s)
	secured.Config.ErrorLog = log.New(io.Discard, "", 0)
	secured.StartTLS()
	defer secured.Close()
	const rest = "s3-1 write: skipped: there is no connection"
	for url, line := range map[string]string{
		"http://127.0.0.1:1": "connection refused: nothing listens at 127.0.0.1:1 → start the server, or correct host and port",
		secured.URL:          "the server's certificate is signed by an authority that this machine does not know → add the authority's certificate to those of this machine, or correct the server's chain",
		strings.Replace(s.URL, "http:", "https:", 1): "the server speaks plain HTTP there, no TLS → write http:// rather than https://, or correct the port",
	} {
		want(t, bucket(t, url).Check(t.Context()), "s3-1 connection: failed: "+line, rest)
	}
	if len(s.calls) > 0 {
		t.Errorf("calls %q", s.calls)
	}
	hosted := bucket(t, "http://s3.invalid")
	hosted.URL, hosted.ByHost = "http://media.s3.invalid/", true
	if f := hosted.Check(t.Context())[0]; f.State != check.Failed || !strings.HasPrefix(f.Cause, "the name media.s3.invalid ") || f.Remedy != "set path_style: true, or correct the endpoint" {
		t.Errorf("a store without names for buckets: %+v", f)
	}
	p := bucket(t, secured.URL)
	p.TLS = secured.Client().Transport.(*http.Transport).TLSClientConfig
	found := p.Check(t.Context())
	if f := found[0]; f.State != check.OK || !strings.Contains(f.Cause, ", TLS 1.3, its certificate is good until 20") {
		t.Errorf("%+v", f)
	}
}

func TestAServerThatTakesPUT(t *testing.T) {
	alone(t)
	for _, tt := range []struct {
		name   string
		change func(*httpput.Config)
		answer func(http.ResponseWriter, *http.Request) bool
		want   []string // after connection and clock
	}{
		{"works", nil, nil, []string{"httpput-1 write: ok: a file can be stored", "httpput-1 read: ok: it comes back as it was stored", "httpput-1 delete: ok: it can be deleted"}},
		{"gives nothing", nil, refuse("GET", 405, ""), []string{
			"httpput-1 write: ok: a file can be stored",
			"httpput-1 read: skipped: the server takes files and gives none: the server takes no GET there (status 405 Method Not Allowed)", "httpput-1 delete: ok: it can be deleted",
		}},
		{"wrong credentials", nil, refuse("PUT", 401, ""), []string{
			"httpput-1 write: failed: the server wants other credentials (status 401 Unauthorized) → correct the credentials: user and password in the URL, or the headers",
		}},
		{"no folders", nil, refuse("PUT", 409, ""), []string{
			"httpput-1 write: failed: the server makes no folders by itself (status 409 Conflict) → set make_folders: true, or let the server make them",
		}},
		{"no DELETE", nil, refuse("DELETE", 405, ""), []string{
			"httpput-1 write: ok: a file can be stored", "httpput-1 read: ok: it comes back as it was stored",
			"httpput-1 delete: failed: the server takes no DELETE there (status 405 Method Not Allowed); KEY stays there → allow it in the server's configuration, or correct the URL, or set no_delete: true where the server itself deletes",
		}},
		{"deletes itself", func(c *httpput.Config) { c.NoDelete = true }, nil, []string{
			"httpput-1 write: ok: a file can be stored", "httpput-1 read: ok: it comes back as it was stored",
			"httpput-1 delete: skipped: no_delete is set: whipcast-check/probe.m3u8 stays there",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t)
			s.answer = tt.answer
			cfg := httpput.Config{URL: strings.Replace(s.URL, "//", "//me:"+secret+"@", 1) + "/live?signature=" + secret}
			if tt.change != nil {
				tt.change(&cfg)
			}
			sink, err := httpput.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer sink.Close()
			p := check.Place{Name: "httpput-1", Sink: sink, Read: sink.Get, Keeps: cfg.NoDelete, URL: sink.URL(), TLS: sink.TLS()}
			found := p.Check(t.Context())
			for path := range s.files {
				for i := range tt.want {
					tt.want[i] = strings.Replace(tt.want[i], "KEY", strings.TrimPrefix(path, "/live/"), 1)
				}
			}
			want(t, found[2:], tt.want...)
		})
	}
}

func TestAFolder(t *testing.T) {
	folder := t.TempDir()
	sink, err := directory.Open(folder, directory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	p := check.Place{Name: "directory-1", Sink: sink, Read: sink.Get, MustRead: true, Folder: folder}
	want(t, p.Check(t.Context())[1:], "directory-1 write: ok: a file can be stored", "directory-1 read: ok: it comes back as it was stored", "directory-1 delete: ok: it can be deleted")
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if err := os.WriteFile(filepath.Join(folder, "whipcast-check"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	found := p.Check(t.Context())
	if f := found[1]; f.State != check.Failed || !strings.Contains(f.Cause, "a file where a folder must be") {
		t.Errorf("%+v", f)
	}
}

// slow is a sink whose PUT works and whose DELETE waits for ever.
type slow struct{ deleted chan<- error }

func (slow) Put(context.Context, storage.Object) error { return nil }

func (s slow) Delete(ctx context.Context, _ string) error {
	<-ctx.Done()
	s.deleted <- ctx.Err()
	return ctx.Err()
}

// A stop is not held up by a place that does not answer, and the file is
// deleted if there is time for it.
func TestTouchEndsSoonAfterItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		deleted := make(chan error, 1)
		began := time.Now()
		found := check.Place{Name: "x-1", Sink: slow{deleted}}.Touch(ctx)
		if err := <-deleted; !errors.Is(err, context.Canceled) || found[1].State != check.Failed || time.Since(began) != 2*time.Second {
			t.Errorf("after %v: %v, %+v", time.Since(began), err, found)
		}
	})
}

// headers answers as a server of that name.
func headers(server string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		if server != "" {
			w.Header().Set("Server", server)
		}
		w.WriteHeader(http.StatusOK)
		return true
	}
}

// secure starts a server of that name with TLS and returns its address.
func secure(t *testing.T, server string) string {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { headers(server)(w, r) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
