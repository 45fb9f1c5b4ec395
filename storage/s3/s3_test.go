package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
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
	answer func(w http.ResponseWriter) // instead of all else
	calls  int
	deaf   bool          // it heeds no conditions
	age    time.Duration // of a lease
}

// tag is an entity tag as S3 has it.
func tag(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
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
	if s.answer != nil {
		s.answer(w)
		return
	}
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
	case r.Method == http.MethodPut && !s.deaf && r.Header.Get("If-Match") != "" && s.files[key] == nil:
		status, code = http.StatusNotFound, "NoSuchKey"
	case r.Method == http.MethodPut && !s.deaf && (r.Header.Get("If-None-Match") == "*" && s.files[key] != nil ||
		r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != tag(s.files[key])):
		status, code = http.StatusPreconditionFailed, "PreconditionFailed"
	case r.Method == http.MethodPut:
		s.files[key], s.fields[key] = content, r.Header
		w.Header().Set("ETag", tag(content))
		status = http.StatusOK
	case r.Method == http.MethodDelete:
		delete(s.files, key)
		status = http.StatusNoContent
	case s.files[key] == nil:
		status, code = http.StatusNotFound, "NoSuchKey"
	default:
		w.Header().Set("Content-Type", s.fields[key].Get("Content-Type"))
		w.Header().Set("Last-Modified", "Fri, 20 Nov 2026 12:00:00 GMT")
		if strings.HasSuffix(key, "/writer.json") {
			w.Header().Set("Last-Modified", time.Now().UTC().Add(-s.age).Format(http.TimeFormat))
		}
		w.Header().Set("ETag", tag(s.files[key]))
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

// What real stores answer, and what an operator reads. The bodies are those of
// AWS's documentation and of versitygw.
func TestErrorsInWords(t *testing.T) {
	s := serve(t)
	sink := open(t, s.config())
	const xml = `<?xml version="1.0" encoding="UTF-8"?>` + "\n<Error>%s<RequestId>id-of-request</RequestId><HostId>host-id</HostId></Error>"
	ahead, behind := http.Header{}, http.Header{}
	ahead.Set("Date", time.Now().Add(-20*time.Minute).UTC().Format(http.TimeFormat))
	behind.Set("Date", time.Now().Add(90*time.Minute).UTC().Format(http.TimeFormat))
	page := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	for _, tt := range []struct {
		name   string
		status int
		fields http.Header
		body   string
		cause  string
		remedy string
	}{
		{
			"wrong bucket", 404, nil, fmt.Sprintf(xml, "<Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message><BucketName>media</BucketName>"),
			"there is no such bucket (NoSuchBucket, status 404)", "make the bucket, or correct its name or the endpoint",
		},
		{
			"wrong access key", 403, nil, fmt.Sprintf(xml, "<Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id you provided does not exist in our records.</Message><AWSAccessKeyId>AKTEST</AWSAccessKeyId>"),
			"the store does not know this access key (InvalidAccessKeyId, status 403)", "correct the access key",
		},
		{
			"wrong access key, of versitygw", 404, nil, fmt.Sprintf(xml, "<Code>XAdminUserNotFound</Code><Message>No user exists with the provided access key ID.</Message>"),
			"the store does not know this access key (XAdminUserNotFound, status 404)", "correct the access key",
		},
		{
			"wrong secret key", 403, nil, fmt.Sprintf(xml, "<Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match.</Message><StringToSign>AWS4-HMAC-SHA256 hunter2hunter2hunter2</StringToSign>"),
			"the secret key is not that of the access key (SignatureDoesNotMatch, status 403)", "correct the secret key",
		},
		{
			"wrong region, in the text", 400, nil, fmt.Sprintf(xml, "<Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region 'eu-test-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region>"),
			"the bucket is in region eu-west-1 (AuthorizationHeaderMalformed, status 400)", "correct the region: set it to eu-west-1",
		},
		{
			"wrong region, without a word of which", 400, nil, fmt.Sprintf(xml, "<Code>AuthorizationHeaderMalformed</Code><Message>no; expecting <![CDATA['<b>']]></Message>"),
			"the bucket is in another region (AuthorizationHeaderMalformed, status 400)", "correct the region",
		},
		{
			"wrong region, moved", 301,
			http.Header{"X-Amz-Bucket-Region": {"ap-south-1"}},
			fmt.Sprintf(xml, "<Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be addressed using the specified endpoint.</Message><Endpoint>media.s3.amazonaws.com</Endpoint>"),
			"the bucket is in region ap-south-1 (PermanentRedirect, status 301)", "correct the region: set it to ap-south-1",
		},
		{
			"the clock is ahead", 403, ahead, fmt.Sprintf(xml, "<Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the current time is too large.</Message><MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds>"),
			"this machine's clock is 20m ahead of the store's (RequestTimeTooSkewed, status 403)", "set this machine's clock",
		},
		{
			"the clock is behind", 403, behind, fmt.Sprintf(xml, "<Code>RequestTimeTooSkewed</Code>"),
			"this machine's clock is 1h30m behind the store's (RequestTimeTooSkewed, status 403)", "set this machine's clock",
		},
		{
			"no permission", 403, nil, fmt.Sprintf(xml, "<Code>AccessDenied</Code><Message>Access Denied</Message>"),
			"these credentials may not put objects there (AccessDenied, status 403)", "allow these credentials to put, get and delete objects in the bucket",
		},
		{
			"expired", 400, nil, fmt.Sprintf(xml, "<Code>ExpiredToken</Code><Message>The provided token has expired.</Message>"),
			"the session token is not good any more (ExpiredToken, status 400)", "correct the access key: get new credentials",
		},
		{
			"ACLs", 400, nil, fmt.Sprintf(xml, "<Code>AccessControlListNotSupported</Code><Message>The bucket does not allow ACLs</Message>"),
			"the bucket takes no ACLs (AccessControlListNotSupported, status 400)", "leave the ACL out",
		},
		{
			"too much", 503, nil, fmt.Sprintf(xml, "<Code>SlowDown</Code><Message>Please reduce your request rate.</Message>"),
			"the store takes no more requests for now (SlowDown, status 503)", "",
		},
		{
			"a web server", 404, page, "<!DOCTYPE html><html><body>Not Found</body></html>",
			"the endpoint answers with a web page: it is no S3 endpoint (status 404)", "correct the endpoint: it may be that of the store's web console",
		},
		{"a proxy", 403, http.Header{"Content-Type": {"text/plain"}}, "no", "status 403", "correct the credentials, or allow them to use the bucket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.mu.Lock()
			s.answer = func(w http.ResponseWriter) {
				maps.Copy(w.Header(), tt.fields)
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}
			s.mu.Unlock()
			err := sink.Put(t.Context(), segment("a/s1"))
			e, ok := errors.AsType[*s3.Error](err)
			if !ok || e.Cause() != tt.cause || e.Remedy() != tt.remedy {
				t.Fatalf("%v:\n got %q, %q\nwant %q, %q", err, e.Cause(), e.Remedy(), tt.cause, tt.remedy)
			}
			for _, hidden := range []string{secretKey, "id-of-request", "host-id", "\n", "<"} {
				if strings.Contains(err.Error(), hidden) {
					t.Errorf("%q shows %q", err, hidden)
				}
			}
		})
	}
}

// Without an answer, the words are about the way to the store.
func TestNoAnswerInWords(t *testing.T) {
	s := serve(t)
	secure := httptest.NewUnstartedServer(s)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	for _, tt := range []struct {
		name   string
		change func(*s3.Config)
		cause  string
		remedy string
	}{
		{"no such host", func(c *s3.Config) { c.Endpoint = "http://s3.invalid" }, "the name s3.invalid ", "DNS"},
		{"a bucket by host", func(c *s3.Config) { c.Endpoint, c.PathStyle = "http://s3.invalid", false }, "the name media.s3.invalid ", "set path_style: true, or correct the endpoint"},
		{"refused", func(c *s3.Config) { c.Endpoint = "http://127.0.0.1:1" }, "connection refused: nothing listens at 127.0.0.1:1", "start the server, or correct host and port"},
		{"no TLS there", func(c *s3.Config) { c.Endpoint = strings.Replace(s.URL, "http:", "https:", 1) }, "the server speaks plain HTTP there, no TLS", "write http:// rather than https://, or correct the port"},
		{"unknown authority", func(c *s3.Config) { c.Endpoint = secure.URL }, "signed by an authority that this machine does not know", "add the authority's certificate"},
		{"no credentials", func(c *s3.Config) { c.AccessKey, c.SecretKey = "", "" }, "no credentials are configured", "set access_key and secret_key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := s.config()
			tt.change(&cfg)
			for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
				t.Setenv(name, "")
			}
			err := open(t, cfg).Put(t.Context(), segment("a/s1"))
			e, ok := errors.AsType[*s3.Error](err)
			if !ok || !strings.Contains(e.Cause(), tt.cause) || !strings.Contains(e.Remedy(), tt.remedy) {
				t.Errorf("%v: want %q, %q", err, tt.cause, tt.remedy)
			}
			if strings.Contains(err.Error(), secretKey) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q says too much", err)
			}
		})
	}
}

func TestURL(t *testing.T) {
	for _, tt := range []struct {
		change func(*s3.Config)
		want   string
	}{
		{func(*s3.Config) {}, "http://s3.test:9000/media"},
		{func(c *s3.Config) { c.PathStyle = false }, "http://media.s3.test:9000/"},
		{func(c *s3.Config) { c.Endpoint, c.PathStyle = "", false }, "https://media.s3.eu-test-1.amazonaws.com/"},
		{func(c *s3.Config) { c.Endpoint, c.PathStyle, c.Region = "", true, "cn-north-1" }, "https://s3.cn-north-1.amazonaws.com.cn/media"},
		{func(c *s3.Config) { c.Endpoint, c.PathStyle, c.Bucket = "", false, "a.b" }, "https://s3.eu-test-1.amazonaws.com/a.b"},
	} {
		cfg := s3.Config{Endpoint: "http://s3.test:9000", Region: region, Bucket: bucket, PathStyle: true, AccessKey: accessKey, SecretKey: secretKey}
		tt.change(&cfg)
		if got := open(t, cfg).URL(); got != tt.want {
			t.Errorf("URL %s, want %s", got, tt.want)
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

// A lease has no ACL of its own, is kept by no cache, and is as old as the store says.
func TestLease(t *testing.T) {
	store := serve(t)
	store.age = 45 * time.Second
	cfg := store.config()
	cfg.ACL = "public-read"
	s := open(t, cfg)
	o := storage.Object{Key: "show/writer.json", Kind: storage.Lease, Type: "application/json", Body: storage.Body{[]byte("{}")}}
	if _, err := s.Swap(t.Context(), o, ""); err != nil {
		t.Fatal(err)
	}
	fields := store.fields["live/a/show/writer.json"]
	if fields.Get("X-Amz-Acl") != "" || fields.Get("Cache-Control") != "no-store" {
		t.Errorf("ACL %q, Cache-Control %q", fields.Get("X-Amz-Acl"), fields.Get("Cache-Control"))
	}
	v, err := s.Load(t.Context(), o.Key)
	if err != nil || v.Age < 44*time.Second || v.Age > 60*time.Second {
		t.Errorf("%v old, %v", v.Age, err)
	}
	store.deaf = true
	if _, err := s.Swap(t.Context(), o, ""); err != nil {
		t.Errorf("a store without conditions: %v", err)
	}
}
