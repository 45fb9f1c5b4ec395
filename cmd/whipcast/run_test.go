package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is what a command writes, readable while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// waitFor returns what follows word on its line, as soon as the line is there.
func (o *output) waitFor(t *testing.T, word string) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, rest, found := strings.Cut(o.String(), word); found && strings.Contains(rest, "\n") {
			line, _, _ := strings.Cut(rest, "\n")
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("no %q in 20 s:\n%s", word, o)
	return ""
}

// execution is a run of the program inside the test.
type execution struct {
	out, err output
	cancel   context.CancelFunc
	done     chan error
}

// start runs the program until the test's end.
func start(t *testing.T, environ []string, args ...string) *execution {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	e := &execution{cancel: cancel, done: make(chan error, 1)}
	go func() { e.done <- run(ctx, args, stdio{out: &e.out, err: &e.err}, environ) }()
	t.Cleanup(func() {
		cancel()
		<-e.done
		if t.Failed() {
			t.Logf("%v wrote:\n%s\n%s", args, &e.out, &e.err)
		}
	})
	return e
}

// stop ends the program as a signal does and returns how long it took, and its error.
func (e *execution) stop() (time.Duration, error) {
	began := time.Now()
	e.cancel()
	err := <-e.done
	e.done <- err
	return time.Since(began), err
}

// settings returns an environment for a gateway with free ports on loopback.
func settings(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{
		"WHIPCAST_HTTP_ADDRESS=127.0.0.1:0", "WHIPCAST_ADMIN_ADDRESS=127.0.0.1:0", "WHIPCAST_MEDIA_ADDRESS=127.0.0.1:0",
		"WHIPCAST_DATA_DIR=" + filepath.Join(t.TempDir(), "data"),
	}, more...)
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args     string
		code     int
		out, err string // beginnings or parts
	}{
		{"", 2, "", "no command; see whipcast help"},
		{"help", 0, "Usage: whipcast COMMAND", ""},
		{"--help", 0, "  serve      run the gateway\n", ""},
		{"help help", 0, "Usage: whipcast COMMAND", ""},
		{"help serve", 0, "--http.address :8080\n", ""},
		{"serve -h", 0, "Usage: whipcast serve [--config FILE]", ""},
		{"demo --help", 0, "Run the gateway with a built-in test source", ""},
		{"help publish", 0, "--url WHIP_URL", ""},
		{"help nothing", 2, "", `unknown command "nothing"; see whipcast help`},
		{"sevre", 2, "", `unknown command "sevre"; see whipcast help`},
		{"help token", 0, "whipcast token --publish STREAM | --play STREAM | --admin [--ttl 1h]", ""},
		{"token", 2, "", "token needs one of --publish STREAM, --play STREAM, --admin, --revoke TOKEN and --rotate; see whipcast help"},
		{"token --play a --rotate", 2, "", "token needs one of --publish STREAM, --play STREAM, --admin, --revoke TOKEN and --rotate; see whipcast help"},
		{"token --play a --publish b", 2, "", "token --publish and --play are for the same streams; make two tokens; see whipcast help"},
		{"token --play a/b", 2, "", `token: "a/b" is no pattern of streams; use a name, or the beginning of names and *; see whipcast help`},
		{"token --play a --ttl 0s", 2, "", "token --ttl 0s: use more than 0 and at most 8784h0m0s; see whipcast help"},
		{"token --play a --ttl 9000h", 2, "", "token --ttl 9000h0m0s: use more than 0 and at most 8784h0m0s; see whipcast help"},
		{"token --key a", 2, "", "token --key needs --publish STREAM, --play STREAM or --admin as well; see whipcast help"},
		{"token --key a --rotate", 2, "", "token --key makes a key: it cannot be joined with --revoke or --rotate; see whipcast help"},
		{"token --key a* --play b", 2, "", "token --key: name it with 1 to 64 letters, digits and . _ -; see whipcast help"},
		{"version", 0, "whipcast ", ""},
		{"--version", 0, "whipcast ", ""},
		{"version x", 2, "", `version takes no argument, not "x"; see whipcast help`},
		{"serve x", 2, "", `serve takes no argument, not "x"; see whipcast help`},
		{"serve --nothing", 2, "", "serve: flag provided but not defined: -nothing; see whipcast help"},
		{"serve --config", 2, "", "serve: flag needs an argument: -config; see whipcast help"},
		{"serve --config /nonexistent.yaml", 1, "", "read configuration: open /nonexistent.yaml: no such file or directory; check --config"},
		{"serve --hls.part 9s", 1, "", `--hls.part: hls.part = "9s": too long; use 200ms to 5s`},
		{"demo --hls.part=2s", 1, "", `--hls.part: hls.part = "2s": longer than half of hls.segment (2s); set it to 1s or less`},
		{"publish", 2, "", "publish needs --url WHIP_URL; see whipcast help"},
		{"publish --url ftp://x", 1, "", `WHIP URL "ftp://x" is not usable: write it like https://example.com/whip/name`},
		{"publish --simulcast", 2, "", "publish needs --url WHIP_URL; see whipcast help"},
		{"publish --nothing", 2, "", "publish: flag provided but not defined: -nothing; see whipcast help"},
		{"help clip", 0, "Usage: whipcast clip STREAM FROM TO", ""},
		{"clip", 2, "", "clip needs STREAM FROM TO, not 0 arguments; see whipcast help"},
		{"clip show -5m now more", 2, "", "clip needs STREAM FROM TO, not 4 arguments; see whipcast help"},
		{"clip ../show -5m now", 2, "", `clip: "../show" is no name of a stream; see whipcast help`},
		{"clip show -5m now --name a/b", 2, "", `clip: "a/b" is no name: use letters, digits and - . _, at most 64; see whipcast help`},
		{"clip --storage two show -5m now", 2, "", `clip: invalid value "two" for flag -storage: write the number of an entry of storage, from 1; see whipcast help`},
		{"clip --storage 1 show -5m now", 2, "", "clip: --storage 1: the configuration has 0 entries; see whipcast help"},
		{"clip show noon now", 2, "", `clip: time "noon" is none: write 2026-11-20T18:00:00Z, now, -5m for five minutes ago, or 00:10:00 for ten minutes after the begin; see whipcast help`},
		{"clip show -5m now --nothing 1", 2, "", "clip: flag provided but not defined: -nothing; see whipcast help"},
		{"clip show -5m now", 1, "", "storage = \"\": no place keeps media longer than the live window; set keep of an entry to forever, or to a time such as 24h"},
		{"demo --help", 0, "\n  --simulcast   the test source sends its picture in three sizes\n", ""},
		{"serve --simulcast", 2, "", "serve: flag provided but not defined: -simulcast; see whipcast help"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var out, logs bytes.Buffer
			err := run(t.Context(), strings.Fields(tt.args), stdio{out: &out, err: &logs}, nil)
			if got := exitCode(err); got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
			}
			if !strings.Contains(out.String(), tt.out) {
				t.Errorf("output %q, want it to have %q", &out, tt.out)
			}
			if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("error:\n got %v\nwant %s", err, tt.err)
			}
		})
	}
}

// TestPortInUse: each of the three ports, when taken, ends the start with one
// line that names key, value and remedy.
// TestSignalsThatComeTwice: the second half of a pair does not kill what the
// first one ends in good order.
func TestSignalsThatComeTwice(t *testing.T) {
	ctx, stop := untilSignal(t.Context())
	defer stop()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := self.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		time.Sleep(20 * time.Millisecond) // a signal that kills does so now
	}
}

func TestPortInUse(t *testing.T) {
	for _, key := range []string{"http.address", "admin.address", "media.address"} {
		t.Run(key, func(t *testing.T) {
			var lc net.ListenConfig
			taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer taken.Close()
			address := taken.Addr().String()
			variable := "WHIPCAST_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_")) + "="
			var logs bytes.Buffer
			err = run(t.Context(), []string{"serve"}, stdio{out: &logs, err: &logs}, append(settings(t), variable+address))
			want := fmt.Sprintf("%s = %q: another program uses this port; stop it, or choose another port with --%s", key, address, key)
			if err == nil || err.Error() != want {
				t.Errorf("error:\n got %v\nwant %s", err, want)
			}
		})
	}
}

func TestForeignAddress(t *testing.T) {
	var logs bytes.Buffer
	err := run(t.Context(), []string{"serve", "--http.address", "192.0.2.99:0"}, stdio{out: &logs, err: &logs}, settings(t))
	want := `http.address = "192.0.2.99:0": this machine has no such address; name one of its own, or none for all`
	if err == nil || err.Error() != want {
		t.Errorf("error:\n got %v\nwant %s", err, want)
	}
}

func TestPublicIPOfAnotherFamily(t *testing.T) {
	var logs bytes.Buffer
	err := run(t.Context(), []string{"serve", "--media.public_ips", "2001:db8::9"}, stdio{out: &logs, err: &logs}, settings(t))
	want := `media.public_ips = "[2001:db8::9]": 2001:db8::9 cannot be advertised: no local address of that family is bound; remove the address, or bind one of its family by media.address`
	if err == nil || err.Error() != want {
		t.Errorf("error:\n got %v\nwant %s", err, want)
	}
}

// TestBindErrors: whatever the system says, it is one line with a remedy.
func TestBindErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("listen: %w", syscall.EACCES), `k = "a": ports below 1024 are for privileged programs; choose a higher port, or give the program CAP_NET_BIND_SERVICE`},
		{fmt.Errorf("listen: %w", &net.DNSError{Err: "no such host", Name: "x"}), `k = "a": the host's name cannot be resolved; write its IP address, or none for all`},
		{errors.Join(errors.New("one"), errors.New("two")), `k = "a": one; two; choose another address`},
	} {
		if got := bindError("k", "a", tt.err); got.Error() != tt.want {
			t.Errorf("bindError(%v):\n got %v\nwant %s", tt.err, got, tt.want)
		}
	}
}

// TestOpenAdmin: an admin address that others may reach is warned of (X35).
func TestOpenAdmin(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1:0": false, ":0": true} {
		e := start(t, append(settings(t), "WHIPCAST_ADMIN_ADDRESS="+address), "serve")
		e.err.waitFor(t, "msg=ready")
		if _, err := e.stop(); err != nil {
			t.Error(err)
		}
		if got := strings.Contains(e.err.String(), "level=WARN"); got != want {
			t.Errorf("admin.address %s: warned %v, want %v", address, got, want)
		}
	}
}

// TestToken: the first start makes the token, readable by its owner only, and
// prints it; later ones keep it and say where it is.
func TestToken(t *testing.T) {
	environ := settings(t)
	dir := strings.TrimPrefix(environ[len(environ)-1], "WHIPCAST_DATA_DIR=")
	var tokens []string
	for i := range 2 {
		e := start(t, environ, "serve")
		e.err.waitFor(t, "msg=ready")
		kept, err := os.ReadFile(filepath.Join(dir, "publish_token"))
		if err != nil {
			t.Fatal(err)
		}
		token := strings.TrimSpace(string(kept))
		tokens = append(tokens, token)
		if printed := strings.Contains(e.out.String(), token); printed != (i == 0) {
			t.Errorf("start %d: token printed: %v", i+1, printed)
		}
		if !strings.Contains(e.out.String(), filepath.Join(dir, "publish_token")) {
			t.Errorf("start %d does not say where the token is:\n%s", i+1, &e.out)
		}
		if took, err := e.stop(); err != nil || took > 5*time.Second {
			t.Errorf("start %d stopped with %v after %v", i+1, err, took)
		}
		if strings.Contains(e.err.String(), token) {
			t.Errorf("start %d: the token is in the log (X4)", i+1)
		}
	}
	if tokens[0] != tokens[1] || len(tokens[0]) < 26 { // 26 letters of base32 are 130 bits
		t.Errorf("tokens %q, want one of 128 bits or more, kept", tokens)
	}
	for name, want := range map[string]os.FileMode{"": 0o700, "publish_token": 0o600, "dvr": 0o755, "streams": 0o700} {
		stat, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := stat.Mode().Perm(); got != want {
			t.Errorf("mode of data directory's %q is %v, want %v", name, got, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 3 {
		t.Errorf("data directory has %v (%v), want only the token and the folders for media and states", left, err)
	}
}

func TestTokenThatCannotBeKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := publishToken(file)
	if want := `data_dir = "` + file + `": mkdir ` + file + `: not a directory; name a folder that this user may make, or set auth.publish_token`; err == nil || err.Error() != want {
		t.Errorf("error:\n got %v\nwant %s", err, want)
	}
	// A file that was left empty by a machine that stopped is no token.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, tokenFile), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if made, err := publishToken(dir); err != nil || !made.fresh || made.token == "" {
		t.Errorf("%+v, error %v; want a new token", made, err)
	}
}

func TestTasks(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		run  func(ctx context.Context) error
		want string
	}{
		{"fails", func(context.Context) error { return broken }, "part: broken"},
		{"ends by itself", func(context.Context) error { return nil }, "part ended by itself"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, fail := context.WithCancelCause(t.Context())
			parts := startTasks(t.Context(), fail, task{"part", tt.run})
			<-ctx.Done()
			if got := failure(ctx); got == nil || got.Error() != tt.want {
				t.Errorf("failure %v, want %s", got, tt.want)
			}
			if err := parts.stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("is stuck", func(t *testing.T) {
		release := make(chan struct{})
		_, fail := context.WithCancelCause(t.Context())
		parts := startTasks(t.Context(), fail,
			task{"good part", func(ctx context.Context) error { <-ctx.Done(); return nil }},
			task{"stuck part", func(context.Context) error { <-release; return nil }})
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := parts.stop(short); err == nil || err.Error() != "did not stop in time: stuck part" {
			t.Errorf("stop: %v, want the name of the part", err)
		}
		close(release)
		if err := parts.stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
