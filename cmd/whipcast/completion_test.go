package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/configs"
)

// TestCompletion has a real bash complete by the script that is printed.
func TestCompletion(t *testing.T) {
	shell := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"completion"}, args...), stdio{out: &out, err: io.Discard}, nil)
		return out.String(), err
	}
	text, err := shell("bash")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "completion")
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	complete := func(words ...string) []string {
		t.Helper()
		bash := exec.Command("bash", append([]string{"-uc", `source "$0"; COMP_WORDS=(whipcast "$@"); COMP_CWORD=$#; _whipcast; echo "${COMPREPLY[@]}"`, script}, words...)...)
		bash.Dir = filepath.Dir(script)
		out, err := bash.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", words, err, out)
		}
		return strings.Fields(string(out))
	}
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	if got := complete(""); !slices.Equal(got, append([]string{"help"}, names...)) {
		t.Errorf("commands: %v", got)
	}
	if got := complete("ser"); !slices.Equal(got, []string{"serve"}) {
		t.Errorf("ser becomes %v", got)
	}
	serve := complete("serve", "--")
	for _, key := range append(configs.Keys(), "config", "help") {
		if !slices.Contains(serve, "--"+key) {
			t.Errorf("serve does not know --%s", key)
		}
	}
	if got := complete("publish", "--u"); !slices.Equal(got, []string{"--url"}) {
		t.Errorf("publish --u becomes %v", got)
	}
	if got := complete("serve", "--config", "comp"); !slices.Equal(got, []string{"completion"}) {
		t.Errorf("a file becomes %v", got)
	}
	for name, want := range map[string]string{"zsh": "#compdef whipcast", "fish": "complete -c whipcast", "--help": "Usage: whipcast completion"} {
		if text, err := shell(name); err != nil || !strings.HasPrefix(text, want) {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	for _, args := range [][]string{{}, {"powershell"}, {"bash", "zsh"}} {
		if text, err := shell(args...); exitCode(err) != 2 || text != "" {
			t.Errorf("completion %v: %q, %v", args, text, err)
		}
	}
}
