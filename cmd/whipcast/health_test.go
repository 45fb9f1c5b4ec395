package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	ask := func(admin string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), []string{"health"}, stdio{out: &out, err: io.Discard}, []string{"WHIPCAST_ADMIN_ADDRESS=" + admin})
		return out.String(), err
	}
	g := start(t, settings(t), "serve")
	admin := strings.TrimSuffix(strings.TrimPrefix(g.out.waitFor(t, "Metrics"), "http://"), "/metrics")
	g.err.waitFor(t, "msg=ready")
	if out, err := ask(admin); err != nil || !strings.HasPrefix(out, "ok") {
		t.Errorf("a gateway that is ready: %q, %v", out, err)
	}
	if _, err := g.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(admin); exitCode(err) != 1 || !strings.Contains(err.Error(), "is the gateway running") {
		t.Errorf("a gateway that is gone: %v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	if _, err := ask(l.Addr().String()); exitCode(err) != 1 || !strings.Contains(err.Error(), "not ready: stopping") {
		t.Errorf("a gateway that stops: %v", err)
	}
	if _, err := ask("nonsense"); err == nil {
		t.Error("a wrong address is taken")
	}
}

func TestLocal(t *testing.T) {
	for address, want := range map[string]string{
		":8081": "127.0.0.1:8081", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1", "10.0.0.1:2": "10.0.0.1:2", "localhost:3": "localhost:3",
	} {
		if got, err := local(address); got != want || err != nil {
			t.Errorf("%s: %s, %v", address, got, err)
		}
	}
}
