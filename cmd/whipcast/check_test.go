package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whipcast/whipcast/internal/check"
)

// ran is what a command left behind.
type ran struct {
	code     int
	out, err string
}

func checked(t *testing.T, environ []string, args ...string) ran {
	t.Helper()
	var out, logs strings.Builder
	err := run(t.Context(), append([]string{"check"}, args...), stdio{out: &out, err: &logs}, environ)
	r := ran{code: exitCode(err), out: out.String(), err: logs.String()}
	if err != nil {
		r.err += err.Error()
	}
	for _, hidden := range []string{token, "hunter2"} {
		if strings.Contains(r.out+r.err, hidden) {
			t.Errorf("a secret is shown (X4):\n%s\n%s", r.out, r.err)
		}
	}
	return r
}

// plain replaces what differs from machine to machine.
func plain(text string, pairs ...string) string {
	for _, rule := range [][2]string{
		{`any free port, such as \d+`, "any free port, such as PORT"},
		{`(?m)^  \w+ +UDP buffer .*\n( +→ .*\n)?`, "  …        UDP buffer           …\n"},
		{`[\d.]+ [GM]iB are free`, "N GiB are free"},
	} {
		text = regexp.MustCompile(rule[0]).ReplaceAllString(text, rule[1])
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func TestCheckOutput(t *testing.T) {
	folder := t.TempDir()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	r := checked(t, settings(t, "WHIPCAST_DATA_DIR="+filepath.Join(folder, "data"), "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_AUTH_WATCH=token",
		`WHIPCAST_STORAGE=[{type: directory, path: "`+filepath.Join(folder, "hls")+`"}, {type: httpput, url: "http://me:hunter2hunter2@127.0.0.1:1/live"}]`),
		"--stun", "stun.invalid")
	const want = `  ok       configuration        defaults and environment
  ok       data_dir             DIR/data is made by the first start
  ok       data_dir space       N GiB are free in DIR
  ok       auth.publish_token   a token of 18 characters
  warning  auth.watch           token: watching needs the token, but not at the places of storage: whoever reaches those can watch
                                → keep the places private, or let the CDN before them check who watches
  ok       http.address         127.0.0.1:0 is free
  skipped  http.tls             no certificate is configured: HTTP is not encrypted, and browsers give no camera
                                → set http.tls.certificate and http.tls.key, or put a proxy that ends TLS in front
  ok       admin.address        127.0.0.1:0 is free
  ok       media.address        127.0.0.1:0 is any free port, such as PORT
  ok       media addresses      browsers are told [127.0.0.1], for this machine itself only, as media.address is
  …        UDP buffer           …
  failed   media from outside   stun.invalid: the name stun.invalid DNS
  ok       directory-1 space    N GiB are free in DIR/hls
  ok       directory-1 write    a file can be stored
  ok       directory-1 read     it comes back as it was stored
  ok       directory-1 delete   it can be deleted
  failed   httpput-2 connection connection refused: nothing listens at 127.0.0.1:1
                                → start the server, or correct host and port
  skipped  httpput-2 write      there is no connection

2 failed, 1 warning, 12 ok, 2 skipped
`
	got := regexp.MustCompile(`(name stun.invalid) .*\n +→ .*\n`).ReplaceAllString(plain(r.out, folder, "DIR"), "$1 DNS\n")
	got = regexp.MustCompile(`(?m)^2 failed, .*`).ReplaceAllString(got, "2 failed, 1 warning, 12 ok, 2 skipped") // the buffer may be one of them
	if diff := cmp.Diff(want, got); diff != "" || r.code != 1 {
		t.Errorf("exit code %d (-want +got):\n%s", r.code, diff)
	}
	if left, err := os.ReadDir(filepath.Join(folder, "hls")); err != nil || len(left) > 0 {
		t.Errorf("left in the place: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(folder, "data")); err == nil {
		t.Error("data_dir was made")
	}
}

func TestCheckExitCodes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "w.yaml")
	if err := os.WriteFile(file, []byte("log: {level: debug}\nauth: {publish_token: "+token+"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		more []string
		args string
		code int
		says string
	}{
		{"all is fine", nil, "", 0, "\n0 failed, "},
		{"a warning", []string{"WHIPCAST_AUTH_PUBLISH_TOKEN=changemechangeme"}, "", 0, "as examples do: it can be guessed"},
		{"a secret that all can read", nil, "--config " + file, 0, file + " has a secret, and every user of this machine can read it (mode 0644)"},
		{"a foreign address", nil, "--http.address 192.0.2.99:0", 1, "192.0.2.99:0: this machine has no such address\n"},
		{"a public IP of another family", nil, "--media.public_ips 2001:db8::9", 1, "no local address of that family is bound"},
		{"no certificate", nil, "--http.tls.certificate /nonexistent.pem --http.tls.key /nonexistent.key", 1, "name PEM files that belong together"},
		{"a place that cannot be opened", []string{"WHIPCAST_STORAGE=[{type: directory, path: " + file + "}]"}, "", 1, "failed   directory-1          "},
		{"a wrong value", nil, "--hls.part 9s", 2, "failed   configuration        --hls.part: hls.part = \"9s\": too long\n" + strings.Repeat(" ", 32) + "→ use 200ms to 5s\n"},
		{"no such file", nil, "--config /nonexistent.yaml", 2, "open /nonexistent.yaml: no such file or directory"},
		{"usage", nil, "x", 2, `check takes no argument, not "x"; see whipcast help`},
		{"a flag that is none", nil, "--nothing", 2, "flag provided but not defined: -nothing"},
		{"no STUN server", nil, "--stun=", 2, "name one to 4 servers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := checked(t, settings(t, tt.more...), strings.Fields(tt.args)...)
			if r.code != tt.code || !strings.Contains(r.out+r.err, tt.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", r.code, tt.code, tt.says, r.out, r.err)
			}
		})
	}
}

func TestCheckJSON(t *testing.T) {
	for name, tt := range map[string]struct {
		args  []string
		code  int
		state check.State
		first check.Finding
	}{
		"fine":   {nil, 0, check.OK, check.Finding{Name: "configuration", Cause: "defaults and environment"}},
		"failed": {[]string{"--http.address", "192.0.2.99:0"}, 1, check.Failed, check.Finding{Name: "configuration", Cause: "defaults and environment"}},
		"unusable": {[]string{"--hls.part", "9s"}, 2, check.Failed, check.Finding{
			Name: "configuration", State: check.Failed, Cause: `--hls.part: hls.part = "9s": too long`, Remedy: "use 200ms to 5s",
		}},
	} {
		r := checked(t, settings(t), append([]string{"--json"}, tt.args...)...)
		var got struct {
			State    check.State
			Findings []check.Finding
		}
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != tt.code || (got.State == check.Failed) != (tt.state == check.Failed) || len(got.Findings) == 0 || got.Findings[0] != tt.first {
			t.Errorf("%s: exit code %d, %v:\n%s", name, r.code, err, r.out)
		}
	}
}

func TestCheckHelp(t *testing.T) {
	r := checked(t, nil, "--help")
	for _, want := range []string{
		"Usage: whipcast check [--config FILE] [--KEY VALUE …] [--stun HOST:PORT] [--json]\n", "\n  --json   ", "\n  --stun HOST:PORT   ", "0 if all is fine or only warnings",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
}

// Where a gateway runs, its ports are no failure; where another program runs,
// they are.
func TestCheckBesideAGateway(t *testing.T) {
	fixed := settings(t)
	for i, key := range []string{"HTTP", "ADMIN", "MEDIA"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		fixed[i] = "WHIPCAST_" + key + "_ADDRESS=" + l.Addr().String()
		l.Close()
	}
	folder := filepath.Join(t.TempDir(), "hls")
	fixed = append(fixed, `WHIPCAST_STORAGE=[{type: directory, path: "`+folder+`"}]`)
	gateway := start(t, fixed, "serve")
	gateway.err.waitFor(t, "msg=ready")
	half := filepath.Join(folder, ".s1.m4s.ABCDEFGH~") // what the gateway writes just now
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := checked(t, fixed)
	if n := strings.Count(r.out, "is running here already"); n != 3 || r.code != 0 {
		t.Errorf("exit code %d:\n%s", r.code, r.out)
	}
	if _, err := os.Stat(half); err != nil {
		t.Errorf("the check has swept the gateway's folder: %v", err)
	}
	if _, err := gateway.stop(); err != nil {
		t.Error(err)
	}

	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Server", "nginx/1.22.1") }))
	defer other.Close()
	address := other.Listener.Addr().String()
	r = checked(t, settings(t), "--http.address", address)
	if want := address + `: another program uses this port (it calls itself "nginx/1.22.1")` + "\n" + strings.Repeat(" ", 32) + "→ stop it, or choose another port with --http.address\n"; !strings.Contains(r.out, want) || r.code != 1 {
		t.Errorf("exit code %d, want %q:\n%s", r.code, want, r.out)
	}
	r = checked(t, settings(t), "--media.address", address)
	if !strings.Contains(r.out, "failed   media.address        "+address+": another program uses this port\n") || r.code != 1 {
		t.Errorf("exit code %d:\n%s", r.code, r.out)
	}
}

// A start says in a line each what it finds, and starts.
func TestStartLooksAround(t *testing.T) {
	file := filepath.Join(t.TempDir(), "w.yaml")
	if err := os.WriteFile(file, []byte("storage: [{type: httpput, url: 'http://me:hunter2hunter2@127.0.0.1:1/live'}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN=changemechangeme", "WHIPCAST_LOG_FORMAT=json"), "serve", "--config", file)
	e.err.waitFor(t, `"about":"auth.publish_token"`)
	line := e.err.waitFor(t, `"about":"httpput-1 write"`)
	if !strings.Contains(line, "connection refused: nothing listens at 127.0.0.1:1") || !strings.Contains(line, `"remedy":"start the server, or correct host and port"`) {
		t.Errorf("line %s", line)
	}
	e.err.waitFor(t, `"msg":"ready"`)
	if _, err := e.stop(); err != nil {
		t.Error(err)
	}
	if said := e.err.String(); strings.Contains(said, "hunter2") || strings.Contains(said, "changeme") {
		t.Errorf("a secret is shown (X4):\n%s", said)
	}
}
