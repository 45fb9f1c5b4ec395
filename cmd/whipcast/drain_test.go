//go:build unix

package main

import (
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whipcast/whipcast/configs"
)

// post sends a POST that no redirect follows.
func post(t *testing.T, url string) (status int, header http.Header) {
	t.Helper()
	c := client(t, nil)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("v=0"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/sdp")
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode, response.Header
}

// ended waits until a program has ended by itself.
func (e *execution) ended(t *testing.T) {
	t.Helper()
	select {
	case err := <-e.done:
		e.done <- err
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the gateway does not end")
	}
}

// TestDrain: after SIGUSR1 the gateway is not ready, says to the operator who is still
// there, sends new publishers and viewers away, lets the publisher go on, and ends by
// itself when that one ends, or at the deadline.
func TestDrain(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings []string
		status   int
		header   string // of the answer to new sessions
		value    string
		leaves   bool   // the publisher ends by itself
		log      string // that the gateway writes
	}{
		{
			"the publisher ends",
			[]string{"WHIPCAST_DRAIN_PEER=https://b.example.org"},
			http.StatusTemporaryRedirect, "Location", "https://b.example.org/whip/other?token=x", true, "drained",
		},
		{
			"the deadline comes",
			[]string{"WHIPCAST_DRAIN_DEADLINE=6s"},
			http.StatusServiceUnavailable, "Retry-After", "10", false, "gateway is drained",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gateway := start(t, settings(t, append(tt.settings, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_HLS_SEGMENT=500ms", "WHIPCAST_HLS_PART=200ms")...), "serve")
			base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
			admin := strings.TrimSuffix(gateway.out.waitFor(t, "Metrics"), "/metrics")
			c := client(t, nil)
			eventually(t, c, base+"/readyz", func(r reply) bool { return r.status == http.StatusOK })
			publisher := start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
			playlist := playlistURL(t, c, base, "test")

			if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			public := eventually(t, c, base+"/readyz", func(r reply) bool { return r.status == http.StatusServiceUnavailable })
			if strings.Contains(public.body, "test") || !strings.Contains(public.body, "draining") {
				t.Errorf("the public is told %s", public.body)
			}
			if r := get(t.Context(), c, admin+"/readyz", ""); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "published: test") || !strings.Contains(r.body, "1 streams are published") {
				t.Errorf("the operator is told %d %s", r.status, r.body)
			}
			if r := get(t.Context(), c, admin+"/healthz", ""); r.status != http.StatusOK {
				t.Errorf("healthz: %d", r.status)
			}
			for _, door := range []string{"/whip/other", "/whep/test"} {
				status, header := post(t, base+door+"?token=x")
				want := strings.Replace(tt.value, "/whip/other", door, 1)
				if status != tt.status || header.Get(tt.header) != want {
					t.Errorf("POST %s: %d, %s %q", door, status, tt.header, header.Get(tt.header))
				}
			}
			before := get(t.Context(), c, playlist, "").body
			eventually(t, c, playlist, func(r reply) bool { return r.status == http.StatusOK && r.body != before })

			if tt.leaves {
				if _, err := publisher.stop(); err != nil {
					t.Errorf("the publisher: %v", err)
				}
			}
			gateway.ended(t)
			if log := gateway.err.String(); !strings.Contains(log, tt.log) || !strings.Contains(log, "drain waits for publishers") || !strings.Contains(log, "stopped") ||
				strings.Contains(log, "deadline of the drain has come") == tt.leaves {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// TestDrainOfNobody: a gateway without publishers stops soon after drain.
func TestDrainOfNobody(t *testing.T) {
	config, err := configs.Load("", settings(t, "WHIPCAST_HLS_SEGMENT=500ms", "WHIPCAST_HLS_PART=200ms"))
	if err != nil {
		t.Fatal(err)
	}
	var logs output
	g, err := openGateway(t.Context(), config, &logs)
	if err != nil {
		t.Fatal(err)
	}
	g.drain()
	g.drain()
	if err := g.run(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(logs.String(), "drained") {
		t.Errorf("log: %s", &logs)
	}
}

// TestDrainByAPI: the API drains as SIGUSR1 does, says how it stands, changes where
// sessions go, takes it back, and is refused once it is too late.
func TestDrainByAPI(t *testing.T) {
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_HLS_SEGMENT=500ms", "WHIPCAST_HLS_PART=200ms"), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	c := client(t, nil)
	ready := func(status int) {
		t.Helper()
		eventually(t, c, base+"/readyz", func(r reply) bool { return r.status == status })
	}
	ready(http.StatusOK)
	order := func(method, path, body string, status int, has string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			request.Header.Set("Content-Type", "application/json")
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != status || !strings.Contains(string(text), has) {
			t.Errorf("%s %s %s: %d %s %v", method, path, body, response.StatusCode, text, err)
		}
	}
	ask := func(method, body string, status int, has string) {
		t.Helper()
		order(method, "/v1/drain", body, status, has)
	}
	publisher := start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	playlistURL(t, c, base, "test")
	order(http.MethodPut, "/v1/stages/talk", `{}`, http.StatusOK, `"talk"`)

	ask(http.MethodGet, "", http.StatusOK, `"draining":false`)
	ask(http.MethodDelete, "", http.StatusConflict, "not-draining")
	ask(http.MethodPost, `{"to":"https://b.example.org/path"}`, http.StatusUnprocessableEntity, "more than scheme")
	ask(http.MethodPost, "", http.StatusAccepted, `"published":["test"]`)
	ready(http.StatusServiceUnavailable)
	if status, header := post(t, base+"/whip/other"); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("without a peer: %d %v", status, header)
	}
	ask(http.MethodPost, `{"to":"https://b.example.org","deadline":3600}`, http.StatusAccepted, `"to":"https://b.example.org"`)
	if status, header := post(t, base+"/whip/other"); status != http.StatusTemporaryRedirect || header.Get("Location") != "https://b.example.org/whip/other" {
		t.Errorf("with a peer: %d %v", status, header)
	}
	for _, door := range []string{"/whip/talk.ann", "/whep/talk.ann", "/whep/talk"} { // who is on a stage, or watches one, finds it here only
		if status, _ := post(t, base+door); status < http.StatusBadRequest || status >= http.StatusInternalServerError {
			t.Errorf("POST %s: %d, a stage does not move", door, status)
		}
	}
	ask(http.MethodDelete, "", http.StatusNoContent, "")
	ready(http.StatusOK)
	if status, _ := post(t, base+"/whip/other"); status != http.StatusBadRequest && status != http.StatusUnprocessableEntity {
		t.Errorf("after it was taken back, an offer without media: %d", status)
	}
	ask(http.MethodPost, `{"deadline":0}`, http.StatusAccepted, `"draining":true`)
	gateway.ended(t)
	if log := gateway.err.String(); !strings.Contains(log, "taken back") || !strings.Contains(log, "deadline of the drain has come") || !strings.Contains(log, "drained") {
		t.Errorf("log: %s", log)
	}
	_, _ = publisher.stop() // it was ended: whatever it says
}
