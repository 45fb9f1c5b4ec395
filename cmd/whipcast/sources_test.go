package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSourcesByAPI: an admin has streams fetched from elsewhere, over restarts, from
// public addresses only (specs X29); what is wrong is said, and passwords never.
func TestSourcesByAPI(t *testing.T) {
	environ := settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_RTSP_PULL=[{stream: door, url: 'rtsp://127.0.0.1:1/x'}]", "WHIPCAST_LIMITS_STREAMS=2")
	var data string
	for _, each := range environ {
		if folder, ok := strings.CutPrefix(each, "WHIPCAST_DATA_DIR="); ok {
			data = folder
		}
	}
	c := client(t, nil)
	var base string
	ask := func(method, path, credential, body string) reply {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+credential)
		response, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return reply{response.StatusCode, response.Proto, response.Header, string(text), err}
	}
	const camera = `{"url": "rtsp://me:hunter2hunter2@127.0.0.1:8554/stream"}`

	gateway := start(t, environ, "serve")
	base = strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	eventually(t, c, base+"/readyz", func(r reply) bool { return r.status == http.StatusOK })
	if r := ask(http.MethodPut, "/v1/sources/yard", token, camera); r.status != http.StatusNoContent {
		t.Fatalf("PUT: %+v", r)
	}
	forbidden := func(r reply) bool {
		return strings.Contains(r.body, `"stream":"yard","state":"failing"`) && strings.Contains(r.body, "address is not allowed for a source")
	}
	eventually(t, c, base+"/v1/sources", forbidden)
	if r := ask(http.MethodPut, "/v1/sources/attic", token, `{"url": "rtsps://camera.example.org/x", "on_demand": true, "fingerprint": "ab"}`); r.status != http.StatusNoContent {
		t.Errorf("PUT: %+v", r)
	}
	eventually(t, c, base+"/v1/sources", func(r reply) bool { return strings.Contains(r.body, `"stream":"attic","state":"waiting"`) })
	for _, row := range []struct {
		method, path, credential, body string
		status                         int
	}{
		{http.MethodPut, "/v1/sources/door", token, camera, http.StatusConflict},
		{http.MethodDelete, "/v1/sources/door", token, "", http.StatusConflict},
		{http.MethodPut, "/v1/sources/third", token, camera, http.StatusConflict}, // limits.streams
		{http.MethodPut, "/v1/sources/yard", token, `{"url": "http://example.org/hunter2hunter2"}`, http.StatusUnprocessableEntity},
		{http.MethodPut, "/v1/sources/yard", token, `{"url": 7}`, http.StatusUnprocessableEntity},
		{http.MethodPut, "/v1/sources/yard", token, `{"url": "rtsp://x/", "more": true}`, http.StatusUnprocessableEntity},
		{http.MethodPut, "/v1/sources/yard", token, camera + camera, http.StatusBadRequest},
		{http.MethodPut, "/v1/sources/yard", token, `{"url": "` + strings.Repeat("a", 10<<10) + `"}`, http.StatusUnprocessableEntity},
		{http.MethodPut, "/v1/sources/..", token, camera, http.StatusNotFound},
		{http.MethodPut, "/v1/sources/a%2fb", token, camera, http.StatusNotFound},
		{http.MethodPut, "/v1/sources/yard", "wrong", camera, http.StatusUnauthorized},
		{http.MethodDelete, "/v1/sources/yard", "wrong", "", http.StatusUnauthorized},
		{http.MethodDelete, "/v1/sources/nobody", token, "", http.StatusNotFound},
		{http.MethodPost, "/v1/sources/yard", token, camera, http.StatusMethodNotAllowed},
		{http.MethodGet, "/v1/sources/yard", token, "", http.StatusMethodNotAllowed},
	} {
		if r := ask(row.method, row.path, row.credential, row.body); r.status != row.status || strings.Contains(r.body, "hunter2") {
			t.Errorf("%s %s %.60s: %d %s", row.method, row.path, row.body, r.status, r.body)
		}
	}
	file := filepath.Join(data, sourcesFile)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", file, info, err)
	}
	if _, err := gateway.stop(); err != nil {
		t.Fatal(err)
	}

	again := start(t, environ, "serve")
	base = strings.TrimSuffix(again.out.waitFor(t, "Home"), "/")
	eventually(t, c, base+"/v1/sources", forbidden)
	for _, path := range []string{"/v1/sources/yard", "/v1/sources/attic"} {
		if r := ask(http.MethodDelete, path, token, ""); r.status != http.StatusNoContent {
			t.Errorf("DELETE %s: %+v", path, r)
		}
	}
	if r := ask(http.MethodGet, "/v1/sources", token, ""); strings.Contains(r.body, "yard") || !strings.Contains(r.body, "door") {
		t.Errorf("after the removal: %s", r.body)
	}
	if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), "hunter2") {
		t.Errorf("%s still has it: %v", file, err)
	}
	if _, err := again.stop(); err != nil {
		t.Fatal(err)
	}
	if all := gateway.out.String() + gateway.err.String() + again.err.String(); strings.Contains(all, "hunter2") {
		t.Errorf("a password was logged:\n%s", all)
	}
}

// TestUnreadableSources: a file of sources that cannot be read is put aside, as it is.
func TestUnreadableSources(t *testing.T) {
	path := filepath.Join(t.TempDir(), sourcesFile)
	const broken = `{"yard": {"url": "rtsp`
	if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSources(nil, nil, filepath.Dir(path), 10)
	if err := s.load(); err == nil || !strings.Contains(err.Error(), path+".unreadable") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if err := s.save(nil); err != nil {
		t.Error(err)
	}
	if kept, err := os.ReadFile(path + ".unreadable"); err != nil || string(kept) != broken {
		t.Errorf("%q is kept, %v", kept, err)
	}
	if err := s.load(); err != nil {
		t.Errorf("the next start: %v", err)
	}
}
