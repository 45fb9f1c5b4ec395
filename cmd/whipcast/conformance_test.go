package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestServerLimits: X25 each server bounds what a connection may take.
func TestServerLimits(t *testing.T) {
	for _, key := range []string{"http.address", "admin.address"} {
		s, err := newServer(t.Context(), key, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := s.configure(http.NotFoundHandler(), nil, slog.New(slog.DiscardHandler))
		if h.ReadHeaderTimeout <= 0 || h.ReadHeaderTimeout > 10*time.Second {
			t.Errorf("%s: headers may take %v", key, h.ReadHeaderTimeout)
		}
		if h.IdleTimeout <= 0 || h.IdleTimeout > 5*time.Minute {
			t.Errorf("%s: connections may idle for %v", key, h.IdleTimeout)
		}
		if h.MaxHeaderBytes <= 0 || h.MaxHeaderBytes > 64<<10 {
			t.Errorf("%s: headers may have %d bytes", key, h.MaxHeaderBytes)
		}
		if h.HTTP2 == nil || h.HTTP2.MaxConcurrentStreams <= 0 || h.HTTP2.MaxConcurrentStreams > 1000 {
			t.Errorf("%s: HTTP/2 streams are not bounded", key)
		}
		_ = s.listener.Close()
	}
}

// raw sends bytes as they are and returns the status line and the header.
func raw(t *testing.T, address, request string) (status, header string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(conn)
	for n := 0; lines.Scan() && lines.Text() != ""; n++ {
		if n == 0 {
			status = lines.Text()
			continue
		}
		header += lines.Text() + "\n"
	}
	return status, header
}

// TestNoRedirects: W68, L100 whatever a path looks like, nobody is sent elsewhere,
// and nothing of a path comes back as a header (X7).
func TestNoRedirects(t *testing.T) {
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token), "serve")
	address := strings.TrimPrefix(strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/"), "http://")
	for _, path := range []string{
		"/whip", "/whip/", "/whip//a", "/whip/a/", "/whip/a/../b", "/whip/./a", "//whip/a", "/whep/a//", "/session/../whip/a",
		"/hls//a/index.m3u8", "/hls/a/../b/index.m3u8", "/watch/../whip/a", "/watch/a/", "/assets", "/assets/..", "/v1", "/v1/",
		"/whip/a%0d%0aX-Evil:1", "/hls/a%0d%0aX-Evil:1/index.m3u8", "/watch/a%0d%0aX-Evil:1", "/session/a%0d%0aX-Evil:1", "/%2e%2e/whip/a",
	} {
		for _, method := range []string{"GET", "POST", "OPTIONS", "PATCH", "DELETE"} {
			status, header := raw(t, address, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: gateway.example\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, path, token))
			// Without npm's build the pages answer 503.
			if !strings.HasPrefix(status, "HTTP/1.1 ") || strings.HasPrefix(status, "HTTP/1.1 3") || strings.HasPrefix(status, "HTTP/1.1 500") {
				t.Errorf("%s %s: %q", method, path, status)
			}
			if strings.Contains(header, "X-Evil") || strings.Contains("\n"+header, "\nLocation:") {
				t.Errorf("%s %s:\n%s", method, path, header)
			}
		}
	}
}

// TestViewersWithoutPublisher: E13, E11 over the whole gateway: unknown is 404,
// known but offline 409 with Retry-After. So are the program of a stage, and its seats
// to who may watch them, before they begin.
func TestViewersWithoutPublisher(t *testing.T) {
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_HLS_GRACE=30s"), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	c := client(t, nil)
	ask := func(method, path, kind, body string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", kind)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode, response.Header.Get("Retry-After")
	}
	watch := func() (int, string) { return ask(http.MethodPost, "/whep/test", "application/sdp", "v=0\r\n") }
	if status, again := watch(); status != http.StatusNotFound || again != "" {
		t.Errorf("unknown: %d, Retry-After %q", status, again)
	}
	ask(http.MethodPut, "/v1/stages/show", "application/json", "{}")
	ask(http.MethodPost, "/v1/stages/show/seats", "application/json", `{"seat":"ann"}`)
	for path, want := range map[string]int{"/whep/show": http.StatusConflict, "/whep/show.ann": http.StatusConflict, "/whep/show.bob": http.StatusNotFound} {
		if status, again := ask(http.MethodPost, path, "application/sdp", "v=0\r\n"); status != want || (again != "") != (want == http.StatusConflict) {
			t.Errorf("%s: %d, Retry-After %q, want %d", path, status, again, want)
		}
	}
	publisher := start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	playlistURL(t, c, base, "test")
	if _, err := publisher.stop(); err != nil {
		t.Error(err)
	}
	status, again := watch()
	for limit := time.Now().Add(10 * time.Second); status == http.StatusBadRequest && time.Now().Before(limit); status, again = watch() {
		time.Sleep(20 * time.Millisecond) // still live: the offer is looked at, and is none
	}
	if status != http.StatusConflict || again == "" {
		t.Errorf("offline: %d, Retry-After %q", status, again)
	}
}
