package s3

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Error is a failure of a store, in one line. errors.Is and errors.As see the
// cause inside.
type Error struct {
	Bucket string
	Code   string // of S3, such as NoSuchBucket; "" if there was no answer
	Status int    // of HTTP; 0 if there was no answer

	cause error
}

// Error returns the bucket, what the store said, and what to do about it.
func (e *Error) Error() string {
	s := "bucket " + e.Bucket + ": "
	switch {
	case e.Code != "" && e.Status > 0:
		s += fmt.Sprintf("%s (status %d)", e.Code, e.Status)
	case e.Status > 0:
		s += fmt.Sprintf("status %d", e.Status)
	default:
		s += network(e.cause)
	}
	if remedy := e.remedy(); remedy != "" {
		s += ": " + remedy
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// remedy says what to do.
func (e *Error) remedy() string {
	switch e.Code {
	case "NoSuchBucket":
		return "make the bucket, or correct its name or the endpoint"
	case "InvalidAccessKeyId", "InvalidToken", "ExpiredToken":
		return "correct the access key"
	case "SignatureDoesNotMatch":
		return "correct the secret key"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return "correct the region"
	case "RequestTimeTooSkewed", "RequestExpired":
		return "set this machine's clock"
	case "AccessDenied", "AllAccessDisabled", "AccountProblem":
		return "allow these credentials to put, get and delete objects in the bucket"
	case "AccessControlListNotSupported":
		return "the bucket takes no ACLs: leave the ACL out"
	}
	switch e.Status {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		return "correct the region or the endpoint"
	case http.StatusUnauthorized, http.StatusForbidden:
		return "correct the credentials, or allow them to use the bucket"
	case http.StatusNotFound:
		return "correct the bucket or the endpoint"
	}
	return ""
}

// permanent says that trying again mends nothing. What is the client's fault by
// its status may still be an accident on the way.
func (e *Error) permanent() bool {
	if slices.Contains([]string{
		"RequestTimeout", "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "SlowDown", "Throttling",
		"ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "OperationAborted",
	}, e.Code) {
		return false
	}
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusNotImplemented:
		return true
	}
	return e.Status >= 300 && e.Status < 500
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

func status(err error) int {
	if e, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return e.HTTPStatusCode()
	}
	return 0
}

// network says in short why there was no answer.
func network(err error) string {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*url.Error](err); ok && e.Timeout() {
		return "no answer in time"
	} else if ok {
		return e.Err.Error()
	}
	if e, ok := errors.AsType[*smithy.OperationError](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}
