package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// imageUser is the user that the image runs as.
const imageUser = 65532

// image is what a Dockerfile says of its last stage, and how that stage's program
// is built.
type image struct {
	build []string          // the go command
	env   []string          // of the last stage
	files map[string]string // COPY of the last stage: from → to
	line  map[string]string // other instructions of the last stage
}

func readDockerfile(t *testing.T) image {
	t.Helper()
	content, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(content), "\\\n", " ")
	_, last, found := strings.Cut(text[strings.LastIndex(text, "\nFROM "):], "\n")
	im := image{files: map[string]string{}, line: map[string]string{}}
	if base, _, _ := strings.Cut(last, "\n"); !found || base != "FROM scratch" {
		t.Fatalf("the image stands on %q: this test knows what is in an empty one only", base)
	}
	if build := regexp.MustCompile(`RUN CGO_ENABLED=0 (go build [^&]*)`).FindStringSubmatch(text); build != nil {
		im.build = fields(build[1])
	}
	for line := range strings.Lines(last) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "COPY":
			var names []string
			for f := range strings.FieldsSeq(rest) {
				if !strings.HasPrefix(f, "--") {
					names = append(names, f)
				}
			}
			im.files[names[0]] = names[1]
		case "ENV":
			im.env = append(im.env, rest)
		case "", "#":
		default:
			im.line[verb] = rest
		}
	}
	return im
}

// fields splits a command line at spaces that are not in double quotes.
func fields(line string) []string {
	var all []string
	for i, piece := range strings.Split(line, `"`) {
		if i%2 == 0 {
			all = append(all, strings.Fields(piece)...)
		} else {
			all = append(all, piece)
		}
	}
	return all
}

// words returns the words of an instruction in the exec form.
func words(instruction string) []string {
	_, list, _ := strings.Cut(instruction, "[")
	list, _, _ = strings.Cut(list, "]")
	var all []string
	for w := range strings.SplitSeq(list, ",") {
		all = append(all, strings.Trim(strings.TrimSpace(w), `"`))
	}
	return all
}

// TestImage builds what the Dockerfile builds, with its own command, puts together
// the files that the image consists of, and runs it there as the image would:
// nothing else to be seen, no rights, a read-only program. There is no container
// engine here; chroot and another user take its place, for which the test must be
// root.
func TestImage(t *testing.T) {
	im := readDockerfile(t)
	made, err := exec.Command("make", "-n", "-C", "../..", "build", "VERSION=$${VERSION}").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`go build (.*)-o bin/whipcast`).FindStringSubmatch(string(made))
	got := strings.Replace(strings.Join(im.build, " "), "-tags goaac_simd ", "", 1) // the Makefile has it in GOFLAGS
	if want == nil || strings.ReplaceAll(got, "-o /whipcast ./cmd/whipcast", "") != "go build "+strings.ReplaceAll(want[1], `"`, "") {
		t.Errorf("the image is built by\n%s\nand the release by\n%s", got, made)
	}
	if os.Geteuid() != 0 {
		t.Fatal("chroot needs root: run it as root, as CI does")
	}

	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil { // others than root go in
		t.Fatal(err)
	}
	for from, to := range im.files {
		to = filepath.Join(root, to)
		switch from {
		case "/whipcast":
			args := strings.Split(strings.ReplaceAll(strings.Join(im.build[1:], "\x00"), "/whipcast\x00./cmd", to+"\x00./cmd"), "\x00")
			build := exec.Command(im.build[0], args...)
			build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", build.Args, err, out)
			}
		case "/data":
			if err := os.Mkdir(to, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(to, imageUser, imageUser); err != nil {
				t.Fatal(err)
			}
		case "/etc/ssl/certs/ca-certificates.crt":
			content, err := os.ReadFile(from)
			if err == nil {
				err = os.MkdirAll(to, 0o755)
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(to, filepath.Base(from)), content, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("the image has %s, which this test does not know", from)
		}
	}

	ports := []string{freePort(t), freePort(t), freePort(t)}
	env := append(im.env, "WHIPCAST_HTTP_ADDRESS="+ports[0], "WHIPCAST_ADMIN_ADDRESS="+ports[1], "WHIPCAST_MEDIA_ADDRESS="+ports[2])
	inside := func(command ...string) *exec.Cmd {
		c := exec.Command(command[0], command[1:]...)
		c.Env, c.Dir = env, "/"
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: imageUser, Gid: imageUser}}
		return c
	}
	if im.line["USER"] != "65532:65532" || im.line["STOPSIGNAL"] != "SIGTERM" {
		t.Errorf("USER %s, STOPSIGNAL %s", im.line["USER"], im.line["STOPSIGNAL"])
	}
	gateway := inside(append(words(im.line["ENTRYPOINT"]), words(im.line["CMD"])...)...)
	log := &output{}
	gateway.Stdout, gateway.Stderr = log, log
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- gateway.Wait() }()
	t.Cleanup(func() {
		_ = gateway.Process.Kill()
		if t.Failed() {
			t.Log(log)
		}
	})
	health := words(im.line["HEALTHCHECK"][strings.Index(im.line["HEALTHCHECK"], "CMD "):])
	until(t, 20*time.Second, "the image's health check says ok", func() bool { return inside(health...).Run() == nil })
	if err := gateway.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the stop: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not stop")
	}
	if inside(health...).Run() == nil {
		t.Error("the health check says ok of a gateway that is gone")
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path != filepath.Join(root, "whipcast") &&
			!strings.HasPrefix(path, filepath.Join(root, "data")+"/") && !strings.HasPrefix(path, filepath.Join(root, "etc")+"/") {
			t.Errorf("it wrote %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "data", "publish_token")); err != nil {
		t.Errorf("the token is not in the volume: %v", err)
	}
}
