package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const token = "e2e-token-0123456789abcdef"

// raceBinary is the gateway's program with the race detector, plainBinary
// without it; both are built once for all tests.
var raceBinary, plainBinary string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "whipcast-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	raceBinary, plainBinary = filepath.Join(dir, "whipcast-race"), filepath.Join(dir, "whipcast")
	for _, args := range [][]string{{"-race", "-o", raceBinary}, {"-o", plainBinary}} {
		build := exec.Command("go", append(append([]string{"build"}, args...), "../../cmd/whipcast")...)
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the gateway:", err)
			return 1
		}
	}
	return m.Run()
}

// output collects what a program prints, for the log of a failed test.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// program is one running child process.
type program struct {
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	err  error // valid when done is closed
}

// launch starts a program; the test's end kills it if it still runs, and shows
// its output when the test failed.
func launch(t testing.TB, env []string, name string, args ...string) *program {
	t.Helper()
	p := &program{name: filepath.Base(name) + " " + args[0], cmd: exec.Command(name, args...), out: &output{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.name, tail(p.out.String(), 6000))
		}
		if strings.Contains(p.out.String(), "WARNING: DATA RACE") {
			t.Errorf("%s has a data race:\n%s", p.name, tail(p.out.String(), 20000))
		}
	})
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// stop asks the program to end and returns how it ended.
func (p *program) stop(t testing.TB) error {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stop %s: %v", p.name, err)
	}
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not stop:\n%s", p.name, p.out)
	}
	return p.err
}

// gateway is one running gateway on ports of its own.
type gateway struct {
	*program

	address string // of HTTP
	media   string // of UDP and TCP media
	admin   string
	data    string // data directory
}

// serve starts a gateway; settings are more WHIPCAST_… variables.
func serve(t testing.TB, settings ...string) *gateway {
	t.Helper()
	return serveWith(t, raceBinary, settings...)
}

// serveWith starts a gateway from a given binary.
func serveWith(t testing.TB, path string, settings ...string) *gateway {
	t.Helper()
	g := &gateway{address: freePort(t), media: freePort(t), admin: freePort(t), data: t.TempDir()}
	env := append([]string{
		"WHIPCAST_HTTP_ADDRESS=" + g.address,
		"WHIPCAST_MEDIA_ADDRESS=" + g.media,
		"WHIPCAST_ADMIN_ADDRESS=" + g.admin,
		"WHIPCAST_DATA_DIR=" + g.data,
		"WHIPCAST_AUTH_PUBLISH_TOKEN=" + token,
	}, settings...)
	g.program = launch(t, env, path, "serve")
	until(t, 20*time.Second, "the gateway is ready", func() bool {
		select {
		case <-g.done:
			t.Fatalf("the gateway ended: %v\n%s", g.err, g.out)
		default:
		}
		res, err := http.Get(g.url("/readyz"))
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return g
}

func (g *gateway) url(path string) string { return "http://" + g.address + path }

// publish runs the program's own test source against a WHIP URL.
func publish(t *testing.T, url string) *program {
	t.Helper()
	return launch(t, nil, plainBinary, "publish", "--url", url, "--token", token)
}

// freePort returns a loopback address whose port is free for UDP and TCP.
func freePort(t testing.TB) string {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		u, err := net.ListenPacket("udp", address)
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// until polls a condition; it fails the test with the words when time is up.
func until(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// reply is a whole HTTP answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// get fetches a URL within the context.
func get(ctx context.Context, url string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return reply{}, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, body}, err
}
