package s3

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/whipcast/whipcast/internal/fault"
)

// Error is a failure of a store, in one line. errors.Is and errors.As see the
// cause inside.
type Error struct {
	Bucket string
	Code   string // of S3, such as NoSuchBucket; "" if there was no answer
	Status int    // of HTTP; 0 if there was no answer
	Region string // that the store says the bucket is in; "" if it does not say
	// Skew is how far this machine's clock is ahead of the store's, where that is
	// what is wrong; 0 otherwise.
	Skew time.Duration

	verb  string // "put", "get", "delete"
	page  bool   // the answer is a web page
	host  bool   // the bucket is part of the host's name, at an endpoint that is configured
	cause error
}

// Error returns the bucket, what is wrong, and what to do about it.
func (e *Error) Error() string {
	s := "bucket " + e.Bucket + ": " + e.Cause()
	if remedy := e.Remedy(); remedy != "" {
		s += "; " + remedy
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Cause says what is wrong, in plain words, with what the store said behind it.
func (e *Error) Cause() string {
	words := e.explain().Cause
	if e.Status == 0 {
		return words
	}
	said := fmt.Sprintf("status %d", e.Status)
	if e.Code != "" {
		said = e.Code + ", " + said
	}
	if words == "" {
		return said
	}
	return words + " (" + said + ")"
}

// Remedy says what to do, "" where nobody knows.
func (e *Error) Remedy() string { return e.explain().Remedy }

func (e *Error) explain() fault.Fault {
	switch {
	case e.Status == 0:
		return e.network()
	case e.page:
		return fault.Fault{
			Cause:  "the endpoint answers with a web page: it is no S3 endpoint",
			Remedy: "correct the endpoint: it may be that of the store's web console",
		}
	case wrongRegion(e.Code) && e.Region != "":
		return fault.Fault{Cause: "the bucket is in region " + e.Region, Remedy: "correct the region: set it to " + e.Region}
	case wrongRegion(e.Code):
		return fault.Fault{Cause: "the bucket is in another region", Remedy: "correct the region"}
	case e.Code == "RequestTimeTooSkewed" && e.Skew != 0:
		return fault.Fault{Cause: "this machine's clock is " + ahead(e.Skew) + " the store's", Remedy: "set this machine's clock"}
	case e.Code == "NoSuchBucket" && e.host:
		return fault.Fault{
			Cause: "there is no such bucket", Remedy: "make the bucket, or correct its name or the endpoint, or set path_style: true",
		}
	}
	if f, known := codes(e.verb)[e.Code]; known {
		return f
	}
	return fault.Fault{Remedy: remedy(e.Status)}
}

// ahead says how far a clock is before another one, or behind.
func ahead(skew time.Duration) string {
	if skew < 0 {
		return fault.Span(-skew) + " behind"
	}
	return fault.Span(skew) + " ahead of"
}

// wrongRegion says whether a code is about the region. Which one that is says
// the field Region, or nobody.
func wrongRegion(code string) bool {
	return slices.Contains([]string{
		"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion",
	}, code)
}

// codes are the errors of S3 that an operator can do something about.
func codes(verb string) map[string]fault.Fault {
	var (
		denied = fault.Fault{
			Cause: "these credentials may not " + verb + " objects there", Remedy: "allow these credentials to put, get and delete objects in the bucket",
		}
		noKey   = fault.Fault{Cause: "the store does not know this access key", Remedy: "correct the access key"}
		expired = fault.Fault{Cause: "the session token is not good any more", Remedy: "correct the access key: get new credentials"}
		clock   = fault.Fault{Cause: "this machine's clock differs from the store's", Remedy: "set this machine's clock"}
		busy    = fault.Fault{Cause: "the store takes no more requests for now"}
	)
	return map[string]fault.Fault{
		"NoSuchBucket":          {Cause: "there is no such bucket", Remedy: "make the bucket, or correct its name or the endpoint"},
		"InvalidBucketName":     {Cause: "no bucket can have this name", Remedy: "correct the bucket's name"},
		"SignatureDoesNotMatch": {Cause: "the secret key is not that of the access key", Remedy: "correct the secret key"},
		"InvalidAccessKeyId":    noKey, "XAdminUserNotFound": noKey, // versitygw's
		"InvalidToken": expired, "ExpiredToken": expired,
		"RequestTimeTooSkewed": clock, "RequestExpired": clock,
		"AccessDenied": denied, "AllAccessDisabled": denied, "AccountProblem": denied,
		"AccessControlListNotSupported": {Cause: "the bucket takes no ACLs", Remedy: "leave the ACL out"},
		"SlowDown":                      busy, "Throttling": busy, "ThrottlingException": busy, "RequestLimitExceeded": busy, "TooManyRequests": busy,
	}
}

// remedy says what to do where only the status is known.
func remedy(status int) string {
	switch status {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		return "correct the region or the endpoint"
	case http.StatusUnauthorized, http.StatusForbidden:
		return "correct the credentials, or allow them to use the bucket"
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return "correct the bucket or the endpoint"
	}
	return ""
}

// network says why there was no answer.
func (e *Error) network() fault.Fault {
	text := e.cause.Error()
	if strings.Contains(text, "get credentials") || strings.Contains(text, "retrieve credentials") {
		return fault.Fault{
			Cause:  "no credentials are configured, and this machine has none",
			Remedy: "set access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
		}
	}
	f, step := fault.Network(e.cause)
	_, certificate := errors.AsType[x509.HostnameError](e.cause)
	switch {
	case e.host && (step == fault.Name || certificate): // a store that does not know buckets by host
		f.Remedy = "set path_style: true, or correct the endpoint"
	case step == fault.Unknown:
		f.Cause = short(e.cause)
	}
	return f
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

// code returns the code that the store gave, "" for one that the SDK makes of
// the status.
func code(err error) string {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return ""
	}
	_, known := codes("")[e.ErrorCode()]
	if !known && e.ErrorCode() == strings.ReplaceAll(http.StatusText(status(err)), " ", "") {
		return ""
	}
	return e.ErrorCode()
}

func status(err error) int {
	if e, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return e.HTTPStatusCode()
	}
	return 0
}

// short leaves out what the SDK says around an error: it has identifiers of the
// request, and may have more.
func short(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err.Error()
	}
	if e, ok := errors.AsType[*smithy.OperationError](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// answered reads from the answer what its code does not say: the region, the
// store's time, and whether it is a web page.
func (e *Error) answered() {
	if said, ok := errors.AsType[smithy.APIError](e.cause); ok && wrongRegion(e.Code) {
		e.Region = expected(said.ErrorMessage())
	}
	r, ok := errors.AsType[*awshttp.ResponseError](e.cause)
	if !ok || r.Response == nil || r.Response.Response == nil {
		return
	}
	fields := r.Response.Header
	if region := fields.Get("X-Amz-Bucket-Region"); validRegion(region) {
		e.Region = region
	}
	kind, _, _ := strings.Cut(fields.Get("Content-Type"), ";")
	e.page = strings.TrimSpace(kind) == "text/html"
	if at, err := http.ParseTime(fields.Get("Date")); err == nil && e.Code == "RequestTimeTooSkewed" {
		e.Skew = time.Since(at)
	}
}

// expected returns the region that the text of an error names as the right one,
// "" if it does not: "the region 'us-east-1' is wrong; expecting 'eu-west-1'".
func expected(text string) string {
	_, text, _ = strings.Cut(text, "expecting ")
	if text == "" {
		return ""
	}
	quote := text[:1]
	region, _, _ := strings.Cut(text[1:], quote)
	if strings.Contains("'\"`", quote) && validRegion(region) {
		return region
	}
	return ""
}

// validRegion says whether a text of the other side can be shown as a region.
func validRegion(s string) bool {
	const most = 40
	if s == "" || len(s) > most {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' })
}
