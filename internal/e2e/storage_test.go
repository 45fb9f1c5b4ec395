package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/whipcast/whipcast/storage/s3"
)

const (
	// s3Server is a real S3 server, built from its module.
	s3Server = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
	s3Access = "e2e-access"
	s3Secret = "e2e-secret-0123456789"
	s3Bucket = "media"
)

// buildS3 builds the S3 server once for all tests.
var buildS3 = sync.OnceValues(func() (string, error) {
	dir := filepath.Dir(plainBinary)
	build := exec.Command("go", "install", s3Server)
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod", "CGO_ENABLED=0")
	build.Dir = dir
	out, err := build.CombinedOutput()
	return tail(string(out), 2000), err
})

// launchS3 starts a real S3 server with an empty bucket, and returns its address
// and a way to talk to it.
func launchS3(t testing.TB, flags ...string) (string, *awss3.Client) {
	t.Helper()
	if out, err := buildS3(); err != nil {
		t.Fatalf("build %s: %v\n%s", s3Server, err, out)
	}
	address := freePort(t)
	launch(t, []string{"ROOT_ACCESS_KEY=" + s3Access, "ROOT_SECRET_KEY=" + s3Secret}, filepath.Join(filepath.Dir(plainBinary), "versitygw"),
		append(append([]string{"--port", address, "--quiet", "posix"}, flags...), t.TempDir())...)
	api := bucketAPI(address)
	until(t, 30*time.Second, "the S3 server takes a bucket", func() bool {
		_, err := api.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String(s3Bucket)})
		return err == nil
	})
	return address, api
}

// bucketAPI talks to the S3 server at an address.
func bucketAPI(address string) *awss3.Client {
	return awss3.New(awss3.Options{
		BaseEndpoint: aws.String("http://" + address), UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(s3Access, s3Secret, ""),
	})
}

// startS3 starts a real S3 server with an empty bucket that everybody may read,
// also pages of other origins (specs S31), and returns its address.
func startS3(t testing.TB) string {
	t.Helper()
	address, api := launchS3(t, "--sidecar", t.TempDir())
	bucket := aws.String(s3Bucket)
	if _, err := api.PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String(
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::` + s3Bucket + `/*"}]}`,
	)}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.PutBucketCors(t.Context(), &awss3.PutBucketCorsInput{Bucket: bucket, CORSConfiguration: &types.CORSConfiguration{
		CORSRules: []types.CORSRule{{AllowedOrigins: []string{"*"}, AllowedMethods: []string{"GET", "HEAD"}}},
	}}); err != nil {
		t.Fatal(err)
	}
	return address
}

func openS3(t testing.TB, address string) *s3.Sink {
	t.Helper()
	sink, err := s3.Open(t.Context(), s3.Config{
		Endpoint: "http://" + address, Region: "us-east-1", Bucket: s3Bucket, Prefix: "live", PathStyle: true,
		AccessKey: s3Access, SecretKey: s3Secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

// s3URL is where everybody reads what has a prefix.
func s3URL(server, prefix string) string { return "http://" + server + "/" + s3Bucket + "/" + prefix }

// s3Entry is a place in a gateway's configuration.
func s3Entry(address, prefix, more string) string {
	return "{type: s3, endpoint: 'http://" + address + "', bucket: " + s3Bucket + ", region: us-east-1, prefix: " + prefix +
		", path_style: true, access_key: " + s3Access + ", secret_key: " + s3Secret + more + "}"
}

// TestS3: a stream goes into a real S3 server over a line with random delays,
// resets, errors, half answers and silence. At every instant everything that is
// listed can be read and nothing that was said changes (specs S10–S12); hls.js in
// Chromium plays straight from the server (specs S31) all the time.
func TestS3(t *testing.T) {
	const faults = 45 * time.Second
	server := startS3(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	line := newBadProxy(t, server)
	line.seed(seed)
	g := serveWith(t, plainBinary, "WHIPCAST_STORAGE=["+s3Entry(line.address, "live", "")+"]", "WHIPCAST_HLS_WINDOW=30s") // the browser needs the cores
	source := publish(t, g.url("/whip/show"))
	w := observe(t, s3URL(server, "live"), "show", 200*time.Millisecond)
	until(t, 60*time.Second, "the bucket has a stream", func() bool { return w.newest.Load() >= 3 })
	a := newAudience(t)
	a.open(t, order{Name: "bucket", Kind: "hls", URL: s3URL(server, "live/show/index.m3u8")})
	a.settle(t)

	began, before := time.Now(), w.newest.Load()
	line.set(t, wild)
	time.Sleep(faults)
	line.set(t, noFault)
	healed := time.Now()
	want := before + int64(faults/(2*time.Second))
	until(t, 30*time.Second, "the bucket is caught up", func() bool { return w.newest.Load() >= want })
	gaps := w.gaps.Load()
	time.Sleep(15 * time.Second)
	v := a.report(t)["bucket"]
	t.Logf("%d gaps; played %.1f s of %v of faults, %.1f s of 15 s after them, %d stalls, errors: %s",
		gaps, v.played(began, healed), faults, v.played(healed, healed.Add(15*time.Second)), v.stalls(began), v.errors())
	for _, found := range v.faults(began) {
		t.Error("hls.js from the bucket:", found)
	}
	if v.played(began, healed) < faults.Seconds()/2 {
		t.Errorf("the picture stood still: %.1f s were played in %v of faults", v.played(began, healed), faults)
	}
	if _, ok := v.resumes(healed); !ok {
		t.Error("the picture does not go on after the faults")
	}
	words, faulty := line.summary()
	t.Logf("faults: %s; %v calls failed for the queue", words, metric(t, g, `whipcast_storage_failures_total{storage="s3-1"}`))
	if faulty < 20 {
		t.Errorf("only %d faults", faulty)
	}
	if gaps > 7 { // of fifteen
		t.Errorf("%d gaps in the window", gaps)
	}
	if err := source.stop(t); err != nil {
		t.Errorf("the publisher ended with %v", err)
	}
	if err := g.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
	w.verdict(50)
	w.pause()
	layout := regexp.MustCompile(`^show/(index\.m3u8|[0-9a-z]+/(video|aac|audio)/(init-[0-9a-f]{8}\.mp4|s[0-9]{8}\.m4s))$`)
	for key := range w.read {
		if !layout.MatchString(key) {
			t.Errorf("S28: %s has no place in the layout", key)
		}
	}
	if strings.Contains(g.out.String(), s3Secret) {
		t.Error("the secret key is in the log (X4)")
	}
}
