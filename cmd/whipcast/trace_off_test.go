//go:build !otel

package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestWithoutTraces: the usual program has nothing of OpenTelemetry, which would make
// it two fifths larger.
func TestWithoutTraces(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil || !strings.Contains(string(out), "github.com/whipcast/whipcast/api/webhook") {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "go.opentelemetry.io/") || strings.HasPrefix(line, "google.golang.org/grpc") {
			t.Errorf("the program has %s", line)
		}
	}
}
