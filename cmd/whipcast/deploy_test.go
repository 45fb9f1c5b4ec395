package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/whipcast/whipcast/configs"
)

// documents reads all documents of a YAML file.
func documents(t *testing.T, path string) []map[string]any {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	for {
		var one map[string]any
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, one)
	}
}

// at walks down maps.
func at(t *testing.T, node any, path ...string) any {
	t.Helper()
	for _, name := range path {
		group, ok := node.(map[string]any)
		if !ok || group[name] == nil {
			t.Fatalf("no %s in %v", name, node)
		}
		node = group[name]
	}
	return node
}

// TestCompose: the gateway starts with the settings that compose.yaml gives it.
func TestCompose(t *testing.T) {
	file := documents(t, "../../compose.yaml")[0]
	service := at(t, file, "services", "whipcast")
	variable := regexp.MustCompile(`\$\{\w+(:[-?]([^}]*))?\}`)
	environ := []string{"PATH=/bin"}
	for name, value := range at(t, service, "environment").(map[string]any) {
		text := variable.ReplaceAllStringFunc(value.(string), func(s string) string {
			if strings.Contains(s, ":?") {
				return "192.0.2.10"
			}
			return variable.FindStringSubmatch(s)[2]
		})
		environ = append(environ, name+"="+text)
	}
	config, err := configs.Load("", environ)
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Media.PublicIPs) != 1 || len(config.Storage) != 1 || config.Auth.PublishToken != "change-me-please" {
		t.Errorf("settings: %+v", config)
	}
	bucket := config.Storage[0]
	s3 := at(t, file, "services", "s3", "environment").(map[string]any)
	if bucket.AccessKey != s3["ROOT_ACCESS_KEY"] || bucket.SecretKey != s3["ROOT_SECRET_KEY"] {
		t.Error("the gateway and the S3 server have different keys")
	}
	ports := at(t, service, "ports").([]any)
	for _, want := range []string{"8080:8080", "8100:8100/udp", "8100:8100/tcp"} {
		found := false
		for _, p := range ports {
			found = found || p == want
		}
		if !found {
			t.Errorf("port %s is not open: %v", want, ports)
		}
	}
}

// TestKubernetes: the configuration in the manifests is valid, and what they refer
// to is there.
func TestKubernetes(t *testing.T) {
	all := map[string]map[string]any{}
	for _, d := range documents(t, "../../deploy/kubernetes/whipcast.yaml") {
		all[d["kind"].(string)] = d
	}
	path := filepath.Join(t.TempDir(), "whipcast.yaml")
	if err := os.WriteFile(path, []byte(at(t, all["ConfigMap"], "data", "whipcast.yaml").(string)), 0o600); err != nil {
		t.Fatal(err)
	}
	var environ []string
	for name, value := range at(t, all["Secret"], "stringData").(map[string]any) {
		environ = append(environ, name+"="+value.(string))
	}
	config, err := configs.Load(path, environ)
	if err != nil {
		t.Fatal(err)
	}
	pod := at(t, all["StatefulSet"], "spec", "template", "spec")
	container := at(t, pod, "containers").([]any)[0]
	mounts := map[string]bool{}
	for _, m := range at(t, container, "volumeMounts").([]any) {
		mounts[at(t, m, "mountPath").(string)] = true
	}
	if !mounts[config.DataDir] || !mounts["/etc/whipcast"] {
		t.Errorf("mounts %v lack data_dir %s or the configuration", mounts, config.DataDir)
	}
	if at(t, container, "securityContext", "readOnlyRootFilesystem") != true || at(t, pod, "securityContext", "runAsNonRoot") != true {
		t.Error("the container may write to its own files, or is root")
	}
}

// TestSystemd: systemd understands the unit, and finds it well closed.
func TestSystemd(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/systemd/whipcast.service")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "whipcast.service")
	// The program is not installed where the unit wants it.
	if err := os.WriteFile(path, []byte(strings.Replace(string(unit), "/usr/local/bin/whipcast", "/bin/true", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", "--man=no", path},
		{"security", "--offline=yes", "--threshold=20", "--no-pager", path}, // tenths; above 40 is "medium"
	} {
		out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
	for w := range strings.FieldsSeq(string(unit)) {
		if command, ok := strings.CutPrefix(w, "ExecStart="); ok && command != "/usr/local/bin/whipcast" {
			t.Errorf("it starts %s", command)
		}
	}
	if !strings.Contains(string(unit), "Environment=WHIPCAST_DATA_DIR=/var/lib/whipcast\n") || !strings.Contains(string(unit), "StateDirectory=whipcast\n") {
		t.Error("data_dir is not the unit's state directory")
	}
}
