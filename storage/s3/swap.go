package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/whipcast/whipcast/storage"
)

// Swap implements storage.Swapper, by If-Match and If-None-Match (specs S18). Not
// every store heeds them. The Object has no ACL of its own: it is nobody else's
// business.
func (s *Sink) Swap(ctx context.Context, o storage.Object, version string) (string, error) {
	if err := begin(ctx, o.Key); err != nil {
		return "", fmt.Errorf("swap %s: %w", o.Key, err)
	}
	if version != "" && version[0] != '"' { // it is no entity tag
		return "", fmt.Errorf("swap %s: %w", o.Key, errors.ErrUnsupported)
	}
	in := s.input(&o)
	in.ACL = ""
	if version == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = &version
	}
	out, err := s.api.PutObject(ctx, in, s.unsigned)
	switch {
	case err == nil:
		return aws.ToString(out.ETag), nil
	case status(err) == http.StatusPreconditionFailed,
		status(err) == http.StatusNotFound && version != "" && isMissing(err), // it is gone
		code(err) == "ConditionalRequestConflict":                             // somebody else is at it just now
		return "", fmt.Errorf("swap %s: %w", o.Key, storage.ErrChanged)
	}
	return "", s.failure(ctx, "swap", o.Key, err)
}

// Load implements storage.Swapper.
func (s *Sink) Load(ctx context.Context, key string) (storage.Version, error) {
	if err := begin(ctx, key); err != nil {
		return storage.Version{}, fmt.Errorf("load %s: %w", key, err)
	}
	out, err := s.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: s.name(key)})
	if isMissing(err) {
		return storage.Version{}, fmt.Errorf("load %s: %w", key, storage.ErrNotFound)
	}
	if err != nil {
		return storage.Version{}, s.failure(ctx, "load", key, err)
	}
	defer out.Body.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(out.Body, maxRead))
	if err != nil {
		return storage.Version{}, s.failure(ctx, "load", key, err)
	}
	v := storage.Version{
		Object: storage.Object{Key: key, Type: aws.ToString(out.ContentType), Body: storage.Body{content}, Modified: aws.ToTime(out.LastModified)},
		Tag:    aws.ToString(out.ETag), Age: -1,
	}
	if v.Tag == "" { // then no condition is possible
		sum := sha256.Sum256(content)
		v.Tag = hex.EncodeToString(sum[:])
	}
	if answer, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response); ok && out.LastModified != nil {
		if now, err := http.ParseTime(answer.Header.Get("Date")); err == nil { // the store's clock, not ours
			v.Age = max(now.Sub(*out.LastModified), 0)
		}
	}
	return v, nil
}

var _ storage.Swapper = (*Sink)(nil)
