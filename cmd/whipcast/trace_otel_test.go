//go:build otel

package main

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collected are the spans that a collector got, each as name and attributes.
type collected struct {
	mu    sync.Mutex
	spans map[string]string // below mu: name: attributes of the newest
	about string            // below mu
}

func (c *collected) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var from io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		from, _ = gzip.NewReader(r.Body)
	}
	body, _ := io.ReadAll(from)
	var request collector.ExportTraceServiceRequest
	if r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &request) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		c.about = resource.GetResource().String()
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans[span.GetName()] = span.String()
			}
		}
	}
}

func (c *collected) get(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans[name]
}

// TestTraces: a gateway that is built with the tag otel sends spans of what it does to
// the collector of OTEL_EXPORTER_OTLP_ENDPOINT, without secrets.
func TestTraces(t *testing.T) {
	c := &collected{spans: map[string]string{}}
	server := httptest.NewServer(c)
	defer server.Close()
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer hook.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
	t.Setenv("OTEL_SERVICE_NAME", "studio-gateway")
	bucket := filepath.Join(t.TempDir(), "bucket")
	if err := os.Mkdir(bucket, 0o700); err != nil {
		t.Fatal(err)
	}
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_HLS_SEGMENT=500ms", "WHIPCAST_HLS_PART=200ms",
		"WHIPCAST_STORAGE=[{type: directory, path: "+bucket+"}]",
		"WHIPCAST_WEBHOOKS=[{url: '"+hook.URL+"/hunter2', secret: whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==}]"), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	web := client(t, nil)
	publisher := start(t, nil, "publish", "--url", base+"/whip/show", "--token", token)
	playlistURL(t, web, base, "show")
	get(t.Context(), web, base+"/v1/streams/show?limit=hunter2", token)
	get(t.Context(), web, base+"/v1/streams/nobody/clips", token)
	if _, err := publisher.stop(); err != nil {
		t.Error(err)
	}
	wanted := map[string]string{
		"POST /whip/{stream}":          `"whipcast.stream"`,
		"DELETE /session/{session}":    `"/session/{session}"`,
		"GET /v1/streams/{name}":       `"http.response.status_code"`,
		"GET /v1/streams/{name}/clips": `"nobody"`,
		"storage put":                  `"whipcast.storage"`,
		"webhook":                      `"whipcast.webhook_id"`,
		"whip session":                 `"ended by DELETE"`,
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		missing := ""
		for name, has := range wanted {
			if !strings.Contains(c.get(name), has) {
				missing += name + ": " + c.get(name) + "\n"
			}
		}
		if missing == "" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not there:\n%s", missing)
		}
	}
	if _, err := gateway.stop(); err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !strings.Contains(c.about, "studio-gateway") {
		t.Errorf("the resource is %s", c.about)
	}
	for name, span := range c.spans {
		if strings.Contains(span, "hunter2") || strings.Contains(span, token) {
			t.Errorf("a secret is in %s: %s", name, span)
		}
	}
}

// TestTracesAreOff: without a collector that is wanted nothing is made.
func TestTracesAreOff(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	s, err := openSpans(t.Context(), nil)
	if err != nil || s.provider != nil || s.calls() != nil || s.tasks(nil) != nil {
		t.Errorf("%+v, %v", s, err)
	}
	if err := s.close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRoutes: names of spans are few, and have nothing that names a session.
func TestRoutes(t *testing.T) {
	for in, want := range map[string]string{
		"POST /whip/show?token=x":           "/whip/{stream} show",
		"GET /whip/show":                    " ",
		"POST /whep/show":                   "/whep/{stream} show",
		"PATCH /session/pSECRET":            "/session/{session} ",
		"GET /hls/show/index.m3u8":          " ",
		"GET /v1/events":                    " ",
		"POST /v1/streams/show/latency":     " ",
		"OPTIONS /v1/streams":               " ",
		"GET /v1/streams":                   "/v1/streams ",
		"DELETE /v1/sessions/pX":            "/v1/sessions/{name} ",
		"DELETE /v1/streams/show/markers/m": "/v1/streams/{name}/markers/{name} show",
		"PUT /v1/sources/door":              "/v1/sources/{name} door",
	} {
		method, path, _ := strings.Cut(in, " ")
		route, stream := routeOf(httptest.NewRequest(method, path, http.NoBody))
		if route+" "+stream != want {
			t.Errorf("%s: %q %q, want %q", in, route, stream, want)
		}
	}
}
