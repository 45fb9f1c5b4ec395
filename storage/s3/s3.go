// Package s3 keeps Objects in a bucket of an S3 store: AWS, or one that speaks
// its protocol, such as R2, MinIO, Ceph or versitygw.
//
// The bucket's key is the Sink's prefix, a slash, and the Object's key. Each
// Object has the Content-Type and Cache-Control that players and CDNs need
// (specs S29). A Put is one request with a known length; it is whole or not
// there (specs S20, S21). Only this package knows the AWS SDK.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"

	"github.com/whipcast/whipcast/storage"
)

// Config says which bucket, and how. Bucket is needed, Endpoint for every store
// but AWS.
type Config struct {
	Endpoint string // URL without a path; "": AWS's of the region
	Region   string // "": as the environment says, else us-east-1
	Bucket   string
	Prefix   string // of all keys, without slashes at its ends
	// PathStyle puts the bucket into the path rather than the host name: most
	// stores but AWS want that.
	PathStyle bool

	// AccessKey and SecretKey are the credentials. Both empty: those that the SDK
	// finds, in the environment, AWS's files, or the machine's role.
	AccessKey    string
	SecretKey    storage.Secret
	SessionToken storage.Secret

	ACL             string // canned ACL of each Object, such as public-read; "": the bucket's
	Encryption      string // server side: AES256, aws:kms; "": the bucket's
	EncryptionKey   string // of aws:kms; "": the account's
	UnsignedPayload bool   // does not hash bodies: less work, refused by few stores; only over HTTPS

	// Kept is how long media stays available at least, for Cache-Control; 0: it is
	// never deleted.
	Kept time.Duration
}

// Sink is a storage.Sink over a bucket. All methods may be called from any
// goroutine. It tries again a little, for what heals at once; put a
// storage.Retry before it.
type Sink struct {
	cfg Config
	api *s3.Client
}

// maxRead bounds what Get reads.
const maxRead = 1 << 30

// Open returns a Sink. It checks the Config and asks nobody: a wrong bucket, key
// or region shows with the first call.
func Open(ctx context.Context, cfg Config) (*Sink, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", cfg.Bucket, err)
	}
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(transport()),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 3, 250*time.Millisecond })
		}),
		// Checksums in trailers and in answers are AWS's own: other stores refuse or
		// break them.
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
		config.WithLogger(logging.Nop{}),
	}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	if cfg.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(cfg.AccessKey, string(cfg.SecretKey), string(cfg.SessionToken))))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: load AWS configuration: %w", cfg.Bucket, err)
	}
	if loaded.Region == "" {
		loaded.Region = "us-east-1"
	}
	api := s3.NewFromConfig(loaded, func(o *s3.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
		o.UsePathStyle = cfg.PathStyle
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	return &Sink{cfg: cfg, api: api}, nil
}

func (c *Config) check() error {
	if c.Bucket == "" {
		return errors.New("no name is given")
	}
	if c.Prefix != "" {
		if err := storage.CheckKey(c.Prefix); err != nil {
			return fmt.Errorf("prefix: %w", err)
		}
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return errors.New("give both the access key and the secret key, or none")
	}
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("the endpoint is not a URL such as https://s3.example.org")
	case u.User != nil || u.RawQuery != "":
		return errors.New("the endpoint has credentials or a query: give the keys for themselves")
	case c.UnsignedPayload && u.Scheme != "https":
		return errors.New("payloads must be signed where the endpoint is not https")
	}
	return nil
}

// transport keeps a connection for each of the many calls under way.
func transport() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTimeout(time.Minute).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 512, 256
		t.ResponseHeaderTimeout = 3 * time.Second
		t.WriteBufferSize = 64 << 10
	})
}

// URL returns where the bucket is, without credentials.
func (s *Sink) URL() string {
	endpoint := s.cfg.Endpoint
	if endpoint == "" {
		endpoint = "https://s3." + s.api.Options().Region + ".amazonaws.com"
		if strings.HasPrefix(s.api.Options().Region, "cn-") {
			endpoint += ".cn"
		}
	}
	u, err := url.Parse(endpoint) // was checked
	if err != nil {
		return endpoint
	}
	if s.cfg.PathStyle || strings.Contains(s.cfg.Bucket, ".") && u.Scheme == "https" {
		return u.JoinPath(s.cfg.Bucket).String()
	}
	u.Host = s.cfg.Bucket + "." + u.Host
	return u.JoinPath("/").String()
}

// name returns the key in the bucket.
func (s *Sink) name(key string) *string {
	if s.cfg.Prefix != "" {
		key = s.cfg.Prefix + "/" + key
	}
	return &key
}

// Put implements storage.Sink. What trying again cannot mend is marked by
// storage.Permanent.
func (s *Sink) Put(ctx context.Context, o storage.Object) error {
	if err := begin(ctx, o.Key); err != nil {
		return fmt.Errorf("put %s: %w", o.Key, err)
	}
	in := s.input(&o)
	if _, err := s.api.PutObject(ctx, in, s.unsigned); err != nil {
		return s.failure(ctx, "put", o.Key, err)
	}
	return nil
}

// input is the request that puts an Object.
func (s *Sink) input(o *storage.Object) *s3.PutObjectInput {
	length, control := int64(o.Body.Len()), storage.CacheControl(*o, s.cfg.Kept)
	in := &s3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: s.name(o.Key),
		Body: o.Body.Reader(), ContentLength: &length, CacheControl: &control,
		ACL: types.ObjectCannedACL(s.cfg.ACL), ServerSideEncryption: types.ServerSideEncryption(s.cfg.Encryption),
	}
	if o.Type != "" {
		in.ContentType = &o.Type
	}
	if o.Encoding != "" {
		in.ContentEncoding = &o.Encoding
	}
	if s.cfg.EncryptionKey != "" {
		in.SSEKMSKeyId = &s.cfg.EncryptionKey
	}
	return in
}

// unsigned leaves the body out of the signature where that is wanted.
func (s *Sink) unsigned(o *s3.Options) {
	if s.cfg.UnsignedPayload {
		o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	}
}

// Delete implements storage.Sink.
func (s *Sink) Delete(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		if errors.Is(err, storage.ErrKey) { // nothing has such a key
			return nil
		}
		return fmt.Errorf("delete %s: %w", key, err)
	}
	_, err := s.api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: s.name(key)})
	if err != nil && !isMissing(err) {
		return s.failure(ctx, "delete", key, err)
	}
	return nil
}

// Get returns the Object of that key: its content, its media type and when it
// was stored. Without one the error is storage.ErrNotFound.
func (s *Sink) Get(ctx context.Context, key string) (storage.Object, error) {
	if err := begin(ctx, key); err != nil {
		return storage.Object{}, fmt.Errorf("get %s: %w", key, err)
	}
	out, err := s.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: s.name(key)})
	if isMissing(err) {
		return storage.Object{}, fmt.Errorf("get %s: %w", key, storage.ErrNotFound)
	}
	if err != nil {
		return storage.Object{}, s.failure(ctx, "get", key, err)
	}
	defer out.Body.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(out.Body, maxRead))
	if err != nil {
		return storage.Object{}, s.failure(ctx, "get", key, err)
	}
	return storage.Object{
		Key: key, Type: aws.ToString(out.ContentType), Body: storage.Body{content}, Modified: aws.ToTime(out.LastModified),
	}, nil
}

// Has implements storage.Holder. Credentials that may not list the bucket are
// told neither yes nor no of what is not there (specs S20): that is an error.
func (s *Sink) Has(ctx context.Context, key string) (bool, error) {
	if err := begin(ctx, key); err != nil {
		if errors.Is(err, storage.ErrKey) { // nothing has such a key
			return false, nil
		}
		return false, fmt.Errorf("look for %s: %w", key, err)
	}
	_, err := s.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: s.name(key)})
	switch {
	case err == nil:
		return true, nil
	case status(err) == http.StatusNotFound: // an answer to HEAD has no code
		return false, nil
	}
	return false, s.failure(ctx, "look for", key, err)
}

func begin(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return storage.CheckKey(key)
}

func isMissing(err error) bool { return code(err) == "NoSuchKey" }

// failure makes one line of an error of the SDK: what, where, why, and what to
// do. The SDK's own text is left out: it has identifiers of the request, and may
// have more.
func (s *Sink) failure(ctx context.Context, verb, key string, err error) error {
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("%s %s: %w", verb, key, ended)
	}
	failed := &Error{
		Bucket: s.cfg.Bucket, Code: code(err), Status: status(err),
		verb: verb, host: s.cfg.Endpoint != "" && !s.cfg.PathStyle, cause: err,
	}
	failed.answered()
	err = failed
	if failed.permanent() {
		err = storage.Permanent(failed)
	}
	return fmt.Errorf("%s %s: %w", verb, strings.TrimPrefix(key, "/"), err)
}
