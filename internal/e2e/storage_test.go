package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/whipcast/whipcast/internal/hlscheck"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/s3"
)

const (
	// s3Server is a real S3 server, built from its module.
	s3Server = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
	s3Access = "e2e-access"
	s3Secret = "e2e-secret-0123456789"
	s3Bucket = "media"
)

// startS3 builds and starts a real S3 server with an empty bucket, and returns
// its address.
func startS3(t *testing.T) string {
	t.Helper()
	bin, data := t.TempDir(), t.TempDir()
	build := exec.Command("go", "install", s3Server)
	build.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=-mod=mod", "CGO_ENABLED=0")
	build.Dir = bin
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", s3Server, err, tail(string(out), 2000))
	}
	address := freePort(t)
	launch(t, []string{"ROOT_ACCESS_KEY=" + s3Access, "ROOT_SECRET_KEY=" + s3Secret}, filepath.Join(bin, "versitygw"),
		"--port", address, "--quiet", "posix", "--nometa", data)
	api := awss3.New(awss3.Options{
		BaseEndpoint: aws.String("http://" + address), UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(s3Access, s3Secret, ""),
	})
	until(t, 30*time.Second, "the S3 server takes a bucket", func() bool {
		_, err := api.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String(s3Bucket)})
		return err == nil
	})
	return address
}

func openS3(t *testing.T, address string) *s3.Sink {
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

// fault is what a badProxy does to connections.
type fault int32

const (
	noFault    fault = iota
	reset            // every connection is cut at once
	swallow          // what is sent vanishes, and nothing comes back
	unwilling        // every request gets status 503
	halfAnswer       // the answer breaks off after its first bytes
	late             // every answer comes 300 ms late
)

// badProxy is a TCP proxy with faults.
type badProxy struct {
	address string
	fault   atomic.Int32
}

func newBadProxy(t *testing.T, target string) *badProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &badProxy{address: l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.carry(ctx, c, target) })
		}
	})
	return p
}

func (p *badProxy) is(f fault) bool { return fault(p.fault.Load()) == f }

// carry joins two connections, until one ends or a fault ends both.
func (p *badProxy) carry(ctx context.Context, in net.Conn, target string) {
	defer in.Close()
	if p.is(reset) {
		_ = in.(*net.TCPConn).SetLinger(0)
		return
	}
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer out.Close()
	end := context.AfterFunc(ctx, func() {
		_ = in.Close()
		_ = out.Close()
	})
	defer end()
	var both sync.WaitGroup
	both.Go(func() {
		defer out.Close()
		pass(in, func(b []byte) bool { return p.ask(in, out, b) })
	})
	both.Go(func() {
		defer in.Close()
		pass(out, func(b []byte) bool { return p.answer(in, b) })
	})
	both.Wait()
}

// pass reads until the end, or until to returns false.
func pass(from net.Conn, to func(b []byte) bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !to(buf[:n]) || err != nil {
			return
		}
	}
}

// ask passes a piece of a request on, as the present fault allows.
func (p *badProxy) ask(in, out net.Conn, b []byte) bool {
	switch fault(p.fault.Load()) {
	case reset:
		return false
	case swallow:
		return true
	case unwilling:
		_, _ = io.WriteString(in, "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return false
	default:
		_, err := out.Write(b)
		return err == nil
	}
}

// answer passes a piece of an answer on, as the present fault allows.
func (p *badProxy) answer(in net.Conn, b []byte) bool {
	switch fault(p.fault.Load()) {
	case reset:
		return false
	case swallow:
		return true
	case halfAnswer:
		_, _ = in.Write(b[:min(len(b), 20)])
		return false
	case late:
		time.Sleep(300 * time.Millisecond)
	}
	_, err := in.Write(b)
	return err == nil
}

// bucketWatch polls a stream's playlists in a bucket all the time, and fails on
// each URI that is listed and not there (specs S10), besides what hlscheck finds.
type bucketWatch struct {
	t      *testing.T
	sink   *s3.Sink
	check  hlscheck.Checker
	polls  atomic.Int64
	newest atomic.Int64 // media sequence number of the newest video segment
	gaps   atomic.Int64
	ended  atomic.Bool
}

func watchBucket(t *testing.T, sink *s3.Sink, name string) *bucketWatch {
	w := &bucketWatch{t: t, sink: sink, check: hlscheck.Checker{Static: true}}
	w.newest.Store(-1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			w.poll(ctx, name+"/index.m3u8")
			time.Sleep(100 * time.Millisecond)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

func (w *bucketWatch) poll(ctx context.Context, key string) {
	text, ok := w.read(ctx, key, true)
	if !ok {
		return
	}
	w.polls.Add(1)
	for _, media := range uris(text) {
		media = path.Join(path.Dir(key), media)
		text, ok := w.read(ctx, media, false)
		if !ok {
			continue
		}
		w.check.Media(media, time.Now(), []byte(text))
		for _, uri := range uris(text) {
			w.read(ctx, path.Join(path.Dir(media), uri), false)
		}
		if strings.Contains(media, "video") {
			first, count := int64(0), int64(0)
			for line := range strings.Lines(text) {
				if number, ok := strings.CutPrefix(line, "#EXT-X-MEDIA-SEQUENCE:"); ok {
					first = atoi(w.t, strings.TrimSpace(number))
				}
				if strings.HasPrefix(line, "#EXTINF:") {
					count++
				}
			}
			w.newest.Store(first + count - 1)
			w.gaps.Store(int64(strings.Count(text, "#EXT-X-GAP\n")))
			w.ended.Store(strings.Contains(text, "#EXT-X-ENDLIST"))
		}
	}
}

func atoi(t *testing.T, digits string) int64 {
	n := int64(0)
	for _, d := range digits {
		if d < '0' || d > '9' {
			t.Errorf("%q is no number", digits)
			return 0
		}
		n = 10*n + int64(d-'0')
	}
	return n
}

func (w *bucketWatch) read(ctx context.Context, key string, mayMiss bool) (string, bool) {
	o, err := w.sink.Get(ctx, key)
	switch {
	case err == nil:
		return string(o.Body.Bytes()), true
	case ctx.Err() != nil || mayMiss && errors.Is(err, storage.ErrNotFound):
	default:
		w.t.Errorf("S10: %v", err)
	}
	return "", false
}

// uris returns what a playlist offers.
func uris(text string) []string {
	var all []string
	gap := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "#EXT-X-GAP":
			gap = true
		case strings.HasPrefix(line, "#EXT-X-MAP:") || strings.HasPrefix(line, "#EXT-X-MEDIA:"):
			_, uri, _ := strings.Cut(line, `URI="`)
			uri, _, _ = strings.Cut(uri, `"`)
			all = append(all, uri)
		case line != "" && line[0] != '#':
			if !gap {
				all = append(all, line)
			}
			gap = false
		}
	}
	return all
}

// TestS3: a stream goes into a real S3 server over a line that refuses, swallows,
// answers 503, breaks off and is late. At every instant everything that is
// listed can be read (specs S10–S12); what an outage held up is caught up with.
func TestS3(t *testing.T) {
	server := startS3(t)
	line := newBadProxy(t, server)
	g := serve(t, "WHIPCAST_STORAGE=[{type: s3, endpoint: 'http://"+line.address+"', bucket: "+s3Bucket+", region: us-east-1, prefix: live, "+
		"path_style: true, access_key: "+s3Access+", secret_key: "+s3Secret+"}]", "WHIPCAST_HLS_WINDOW=30s")
	publish(t, g.url("/whip/show"))
	w := watchBucket(t, openS3(t, server), "show")
	until(t, 60*time.Second, "the bucket has a stream", func() bool { return w.newest.Load() >= 3 })

	for _, f := range []struct {
		name  string
		fault fault
		long  time.Duration
	}{
		{"cuts connections", reset, 5 * time.Second},
		{"swallows everything", swallow, 10 * time.Second},
		{"answers 503", unwilling, 5 * time.Second},
		{"breaks answers off", halfAnswer, 5 * time.Second},
		{"is late", late, 10 * time.Second},
	} {
		before := w.newest.Load()
		line.fault.Store(int32(f.fault))
		time.Sleep(f.long)
		line.fault.Store(int32(noFault))
		until(t, 30*time.Second, "the bucket is caught up after a line that "+f.name, func() bool {
			return w.newest.Load() >= before+int64(f.long/(2*time.Second))
		})
		t.Logf("line %s for %v: segment %d → %d, %d gaps", f.name, f.long, before, w.newest.Load(), w.gaps.Load())
	}
	if w.gaps.Load() > 6 { // of about fifteen: what was on its way when the line swallowed it
		t.Errorf("%d gaps in the window", w.gaps.Load())
	}
	res, err := get(t.Context(), "http://"+g.admin+"/readyz")
	if err != nil || !strings.Contains(string(res.body), "storage s3-1: ") {
		t.Errorf("readyz: %v\n%s", err, res.body)
	}
	if err := g.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
	for i, v := range w.check.Violations() {
		if i < 10 {
			t.Error(v)
		}
	}
	if w.polls.Load() < 100 {
		t.Errorf("looked %d times", w.polls.Load())
	}
	if strings.Contains(g.out.String(), s3Secret) {
		t.Error("the secret key is in the log (X4)")
	}
}
