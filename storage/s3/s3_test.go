package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/s3"
	"github.com/whipcast/whipcast/storage/storagetest"
)

// The SDK keeps connections; nobody can close them but the server's end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const (
	accessKey = "AKTEST"
	secretKey = "hunter2hunter2hunter2"
	region    = "eu-test-1"
	bucket    = "media"
)

// store is a small S3 server that checks signatures, written from the
// documentation of AWS Signature Version 4 with the SDK's signer.
type store struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	files  map[string][]byte
	fields map[string]http.Header
	refuse func(r *http.Request) (int, string)
	calls  int
}

func serve(t *testing.T) *store {
	s := &store{t: t, files: map[string][]byte{}, fields: map[string]http.Header{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	status, code := 0, ""
	if s.refuse != nil {
		status, code = s.refuse(r)
	}
	key, inside := strings.CutPrefix(r.URL.Path, "/"+bucket+"/")
	switch {
	case status != 0:
	case err != nil:
		return
	case !inside:
		status, code = http.StatusNotFound, "NoSuchBucket"
	case !s.signed(r, content):
		status, code = http.StatusForbidden, "SignatureDoesNotMatch"
	case r.Method == http.MethodPut && (r.ContentLength < 0 || r.TransferEncoding != nil || strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked")):
		status, code = http.StatusLengthRequired, "MissingContentLength"
	case r.Method == http.MethodPut:
		s.files[key], s.fields[key] = content, r.Header
		status = http.StatusOK
	case r.Method == http.MethodDelete:
		delete(s.files, key)
		status = http.StatusNoContent
	case s.files[key] == nil:
		status, code = http.StatusNotFound, "NoSuchKey"
	default:
		w.Header().Set("Content-Type", s.fields[key].Get("Content-Type"))
		w.Header().Set("Last-Modified", "Fri, 20 Nov 2026 12:00:00 GMT")
		_, _ = w.Write(s.files[key])
		return
	}
	w.WriteHeader(status)
	if code != "" {
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message><RequestId>id-of-request</RequestId></Error>", code)
	}
}

// signed says whether the signature is right, for the body that came.
func (s *store) signed(r *http.Request, content []byte) bool {
	given := r.Header.Get("Authorization")
	sum := sha256.Sum256(content)
	hash := r.Header.Get("X-Amz-Content-Sha256")
	if hash != hex.EncodeToString(sum[:]) {
		return false
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || !strings.Contains(given, accessKey+"/"+at.Format("20060102")+"/"+region+"/s3/aws4_request") {
		return false
	}
	_, list, _ := strings.Cut(given, "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(content))
	if err != nil {
		return false
	}
	for name := range strings.SplitSeq(list, ";") {
		if name != "host" && name != "content-length" {
			again.Header.Set(name, r.Header.Get(name))
		}
	}
	err = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).SignHTTP(r.Context(),
		aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, again, hash, "s3", region, at)
	return err == nil && again.Header.Get("Authorization") == given
}

func (s *store) config() s3.Config {
	return s3.Config{
		Endpoint: s.URL, Region: region, Bucket: bucket, Prefix: "live/a", PathStyle: true,
		AccessKey: accessKey, SecretKey: secretKey,
	}
}

func open(t *testing.T, cfg s3.Config) *s3.Sink {
	t.Helper()
	// Nothing of this machine's own configuration.
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	s, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func segment(key string) storage.Object {
	return storage.Object{Key: key, Kind: storage.Segment, Type: "video/mp4", Body: storage.Body{[]byte("con"), nil, []byte("tent")}}
}

func TestSinkIsASink(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.Sink, storagetest.Read) {
		s := serve(t)
		return open(t, s.config()), func(_ context.Context, key string) ([]byte, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			content, ok := s.files["live/a/"+key]
			if !ok {
				return nil, storage.ErrNotFound
			}
			return content, nil
		}
	})
}

func TestWhatGetReadsIsASink(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.Sink, storagetest.Read) {
		s := serve(t)
		sink := open(t, s.config())
		return sink, func(ctx context.Context, key string) ([]byte, error) {
			o, err := sink.Get(ctx, key)
			return o.Body.Bytes(), err
		}
	})
}

// specs S21, S29: type, freshness and length of every object, and what the
// configuration adds. No checksum of AWS's own that other stores refuse.
func TestFields(t *testing.T) {
	s := serve(t)
	cfg := s.config()
	cfg.ACL, cfg.Encryption, cfg.EncryptionKey, cfg.Kept = "public-read", "aws:kms", "key-1", time.Minute
	sink := open(t, cfg)
	playlist := storage.Object{
		Key: "show/index.m3u8", Kind: storage.Playlist, Type: "application/vnd.apple.mpegurl", Body: storage.Body{[]byte("#EXTM3U\n")},
		Position: storage.Position{Target: 4 * time.Second}, Encoding: "gzip",
	}
	for _, o := range []storage.Object{segment("show/s1.m4s"), playlist} {
		if err := sink.Put(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		got := s.fields["live/a/"+o.Key]
		for name, want := range map[string]string{
			"Content-Type": o.Type, "Content-Encoding": o.Encoding, "Cache-Control": storage.CacheControl(o, time.Minute),
			"X-Amz-Acl": "public-read", "X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "key-1",
			"X-Amz-Checksum-Crc32": "", "X-Amz-Sdk-Checksum-Algorithm": "", "X-Amz-Trailer": "",
		} {
			if got.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", o.Key, name, got.Get(name), want)
			}
		}
	}
	if string(s.files["live/a/show/s1.m4s"]) != "content" {
		t.Errorf("stored %q", s.files["live/a/show/s1.m4s"])
	}
	o, err := sink.Get(t.Context(), "show/s1.m4s")
	if err != nil || o.Type != "video/mp4" || !o.Modified.Equal(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestErrors(t *testing.T) {
	s := serve(t)
	sink := open(t, s.config())
	for code, want := range map[string]struct {
		status    int
		permanent bool
		says      string
	}{
		"NoSuchBucket":                 {404, true, "make the bucket"},
		"InvalidAccessKeyId":           {403, true, "correct the access key"},
		"SignatureDoesNotMatch":        {403, true, "correct the secret key"},
		"AuthorizationHeaderMalformed": {400, true, "correct the region"},
		"PermanentRedirect":            {301, true, "correct the region"},
		"RequestTimeTooSkewed":         {403, true, "set this machine's clock"},
		"AccessDenied":                 {403, true, "allow these credentials"},
		"InvalidArgument":              {400, true, "status 400"},
		"RequestTimeout":               {400, false, "status 400"},
		"SlowDown":                     {503, false, "status 503"},
		"TooManyRequests":              {429, false, "status 429"},
		"InternalError":                {500, false, "status 500"},
		"":                             {502, false, "status 502"},
	} {
		s.mu.Lock()
		s.refuse = func(*http.Request) (int, string) { return want.status, code }
		s.mu.Unlock()
		err := sink.Put(t.Context(), segment("a/s1"))
		e, ok := errors.AsType[*s3.Error](err)
		if !ok || e.Status != want.status || storage.IsPermanent(err) != want.permanent {
			t.Errorf("%s: %v, permanent %t, want %t", code, err, storage.IsPermanent(err), want.permanent)
			continue
		}
		for _, part := range []string{"put a/s1", "bucket media", code, want.says} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", code, err, part)
			}
		}
		if strings.Contains(err.Error(), secretKey) || strings.Contains(err.Error(), "id-of-request") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q says too much", code, err)
		}
	}
}

func TestAStoreThatIsNotThere(t *testing.T) {
	s := serve(t)
	sink := open(t, s.config())
	s.Close()
	err := sink.Put(t.Context(), segment("a/s1"))
	if err == nil || storage.IsPermanent(err) || strings.Contains(err.Error(), secretKey) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
	t.Log(err)
}

func TestWrongSecret(t *testing.T) {
	s := serve(t)
	cfg := s.config()
	cfg.SecretKey = "another"
	err := open(t, cfg).Put(t.Context(), segment("a/s1"))
	if !storage.IsPermanent(err) || !strings.Contains(err.Error(), "secret key") || strings.Contains(err.Error(), "another") {
		t.Errorf("error %v", err)
	}
}

func TestCredentialsOfTheEnvironment(t *testing.T) {
	s := serve(t)
	cfg := s.config()
	cfg.AccessKey, cfg.SecretKey, cfg.Region = "", "", ""
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	t.Setenv("AWS_REGION", region)
	if err := open(t, cfg).Put(t.Context(), segment("a/s1")); err != nil {
		t.Error(err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*s3.Config){
		"no name":           func(c *s3.Config) { c.Bucket = "" },
		"prefix":            func(c *s3.Config) { c.Prefix = "/a" },
		"both":              func(c *s3.Config) { c.SecretKey = "" },
		"not a URL such as": func(c *s3.Config) { c.Endpoint = "s3.example.org" },
		"has credentials":   func(c *s3.Config) { c.Endpoint = "https://a:hunter2hunter2hunter2@s3.example.org" },
		"must be signed":    func(c *s3.Config) { c.UnsignedPayload = true },
	} {
		cfg := s3.Config{Endpoint: "http://127.0.0.1:1", Bucket: bucket, AccessKey: accessKey, SecretKey: secretKey}
		change(&cfg)
		if _, err := s3.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secretKey) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if text := fmt.Sprintf("%+v", s3.Config{SecretKey: secretKey, SessionToken: secretKey}); strings.Contains(text, secretKey) {
		t.Errorf("shown: %s", text)
	}
}

// BenchmarkPut is what one PUT costs, this small server included.
func BenchmarkPut(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	for _, size := range []int{2_000, 125_000, 1_500_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			sink, err := s3.Open(b.Context(), s3.Config{
				Endpoint: server.URL, Region: region, Bucket: bucket, PathStyle: true, AccessKey: accessKey, SecretKey: secretKey,
			})
			if err != nil {
				b.Fatal(err)
			}
			o := segment("a/s1")
			o.Body = storage.Body{make([]byte, size/2), make([]byte, size/2)}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := sink.Put(b.Context(), o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
