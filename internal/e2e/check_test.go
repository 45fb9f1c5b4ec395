package e2e

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// check runs whipcast check with one bucket and returns its exit code and what it
// printed.
func check(t *testing.T, entry string, settings ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), plainBinary, "check")
	cmd.Env = append(os.Environ(), append([]string{
		"WHIPCAST_HTTP_ADDRESS=127.0.0.1:0", "WHIPCAST_ADMIN_ADDRESS=127.0.0.1:0", "WHIPCAST_MEDIA_ADDRESS=127.0.0.1:0",
		"WHIPCAST_DATA_DIR=" + t.TempDir(), "WHIPCAST_AUTH_PUBLISH_TOKEN=" + token, "WHIPCAST_STORAGE=[" + entry + "]",
	}, settings...)...)
	out, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	for _, secret := range []string{s3Secret, token, "another-secret"} {
		if strings.Contains(string(out), secret) {
			t.Errorf("a secret is shown (X4):\n%s", out)
		}
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// Against a real S3 server, each mistake of a configuration is told by its cause
// and its remedy, and the log of a gateway that runs with it says the same.
func TestCheckNamesTheCause(t *testing.T) {
	address := startS3(t)
	const good = "{type: s3, endpoint: http://ADDRESS, region: us-east-1, bucket: " + s3Bucket + ", prefix: live, path_style: true, access_key: " + s3Access + ", secret_key: " + s3Secret + "}"
	proxy := newBadProxy(t, address)
	silent := newBadProxy(t, address)
	silent.set(t, swallow)
	plain, _ := launchS3(t, "--nometa") // it keeps no types
	for _, tt := range []struct {
		name     string
		from, to string // what is changed
		code     int
		cause    string // after "s3-1 "
		remedy   string
	}{
		{"nothing", "", "", 0, "delete          it can be deleted", ""},
		{"bucket", "bucket: " + s3Bucket, "bucket: medium", 1, "write           there is no such bucket (NoSuchBucket, status 404)", "make the bucket, or correct its name or the endpoint"},
		{"access key", s3Access, "another-key", 1, "write           the store does not know this access key (XAdminUserNotFound, status 404)", "correct the access key"},
		{"secret key", s3Secret, "another-secret", 1, "write           the secret key is not that of the access key (SignatureDoesNotMatch, status 403)", "correct the secret key"},
		{"region", "us-east-1", "eu-central-1", 1, "write           the bucket is in region us-east-1 (AuthorizationHeaderMalformed, status 400)", "correct the region: set it to us-east-1"},
		{"host", "http://ADDRESS", "http://s3.invalid", 1, "connection      the name s3.invalid ", "DNS"},
		{"port", "http://ADDRESS", "http://127.0.0.1:1", 1, "connection      connection refused: nothing listens at 127.0.0.1:1", "start the server, or correct host and port"},
		{"https", "http://", "https://", 1, "connection      the server speaks plain HTTP there, no TLS", "write http:// rather than https://, or correct the port"},
		{"a server that hangs", "ADDRESS", silent.address, 1, "connection      no answer in time", "look at the server, and at the way to it"},
		{"through another port", "ADDRESS", proxy.address, 0, "delete          it can be deleted", ""},
		{"a server without types", "ADDRESS", plain, 0, "read            stored as application/vnd.apple.mpegurl, it comes back as text/plain; charset=utf-8", "let the place keep the Content-Type"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out := check(t, strings.Replace(strings.Replace(good, tt.from, tt.to, 1), "ADDRESS", address, 1), "AWS_EC2_METADATA_DISABLED=true")
			_, after, found := strings.Cut(out, "s3-1 "+tt.cause)
			remedy, _, _ := strings.Cut(strings.ReplaceAll(after, "\n"+strings.Repeat(" ", 32), " "), "\n")
			if code != tt.code || !found || !strings.Contains(remedy, tt.remedy) {
				t.Errorf("exit code %d, want %d, %q and %q:\n%s", code, tt.code, tt.cause, tt.remedy, out)
			}
		})
	}

	api := awss3.New(awss3.Options{
		BaseEndpoint: aws.String("http://" + address), UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(s3Access, s3Secret, ""),
	})
	left, err := api.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: aws.String(s3Bucket)})
	if err != nil || len(left.Contents) > 0 {
		t.Errorf("left in the bucket: %v, %v", left.Contents, err)
	}

	t.Run("beside a gateway", func(t *testing.T) {
		wrong := "[" + strings.Replace(strings.Replace(good, "us-east-1", "eu-central-1", 1), "ADDRESS", address, 1) + "]"
		g := serveWith(t, plainBinary, "WHIPCAST_STORAGE="+wrong, "AWS_EC2_METADATA_DISABLED=true")
		until(t, 20*time.Second, "the start tells of the region", func() bool {
			return strings.Contains(g.out.String(), "set it to us-east-1")
		})
		code, out := check(t, strings.Replace(good, "ADDRESS", address, 1),
			"WHIPCAST_HTTP_ADDRESS="+g.address, "WHIPCAST_ADMIN_ADDRESS="+g.admin, "WHIPCAST_MEDIA_ADDRESS="+g.media)
		if n := strings.Count(out, "is running here already"); code != 0 || n != 3 {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		if strings.Contains(g.out.String(), s3Secret) {
			t.Errorf("the log shows a secret:\n%s", g.out)
		}
	})
}
