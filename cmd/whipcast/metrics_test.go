package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/stream"
)

// promtool runs it. It comes with Debian's package prometheus (make deps).
func promtool(t *testing.T, input string, args ...string) {
	t.Helper()
	command := exec.Command("promtool", args...)
	command.Stdin = strings.NewReader(input)
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// scrape starts a gateway with a place for storage, a publisher, an HLS viewer and
// a player's report, and returns its metrics.
func scrape(t *testing.T) string {
	t.Helper()
	place := `WHIPCAST_STORAGE=[{type: directory, path: "` + t.TempDir() + `", keep: 24h}]`
	pull := `WHIPCAST_RTSP_PULL=[{stream: door, url: "rtsp://127.0.0.1:1/door"}]`                // nobody is there
	hook := `WHIPCAST_WEBHOOKS=[{url: "http://127.0.0.1:1/events", secret: ` + hookSecret + `}]` // nor there
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_LOG_FORMAT=json", "WHIPCAST_RTSP_ADDRESS=127.0.0.1:0", "WHIPCAST_MEDIA_TURN_ADDRESS=127.0.0.1:0", place, pull, hook), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	metrics := gateway.out.waitFor(t, "Metrics")
	c := client(t, nil)
	publisher := start(t, nil, "publish", "--url", base+"/whip/secret-name", "--token", token)
	playlist := playlistURL(t, c, base, "secret-name")
	eventually(t, c, playlist, func(r reply) bool { return strings.Contains(r.body, "#EXT-X-PART:") })
	body := fmt.Sprintf(`{"playing":%d,"stalls":1,"buffer":1.2}`, time.Now().Add(-2*time.Second).UnixMilli())
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/streams/secret-name/latency", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Errorf("report: %s", response.Status)
	}
	one := eventually(t, c, base+"/v1/streams/secret-name", func(r reply) bool { return strings.Contains(r.body, `"capture"`) })
	for _, hop := range []string{`"capture"`, `"package"`, `"first_fetch"`, `"fetch"`, `"player"`} {
		if !strings.Contains(one.body, hop) {
			t.Errorf("the API tells nothing of %s: %s", hop, one.body)
		}
	}
	if _, err := publisher.stop(); err != nil {
		t.Error(err)
	}
	text := eventually(t, c, metrics, func(r reply) bool {
		return strings.Contains(r.body, `whipcast_rtc_ended_sessions_total{protocol="whip",reason="deleted"} 1`)
	}).body
	summary := ""
	for line := range strings.Lines(gateway.err.String()) {
		if strings.Contains(line, `"session ended"`) {
			summary = line
		}
	}
	for _, want := range []string{`"protocol":"whip"`, `"duration":`, `"reason":`, `"codec":"H264"`, `"bytes":`, `"lost":`, `"keyframe_distance":`} {
		if !strings.Contains(summary, want) {
			t.Errorf("the session's last line lacks %s: %s", want, summary)
		}
	}
	return text
}

// names returns the names of all series of a scrape.
func names(text string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(text) {
		if name := regexp.MustCompile(`^[a-z_0-9]+`).FindString(line); name != "" {
			all[name] = true
		}
	}
	return all
}

// TestMetrics: the metrics are well formed, tell of all hops and name no stream;
// the dashboard, the alert rules and the documents name nothing else than what a
// gateway has, and the documents all of it.
func TestMetrics(t *testing.T) {
	text := scrape(t)
	promtool(t, text, "check", "metrics")
	for _, secret := range []string{"secret-name", token, "127.0.0.1"} { // specs X35
		if strings.Contains(text, secret) {
			t.Errorf("metrics tell %s", secret)
		}
	}
	for _, want := range []string{
		`whipcast_latency_seconds_count{hop="player"} 1`, `whipcast_player_stalls_total 1`, `whipcast_player_reports_total{origin="beacon"} 1`,
		`whipcast_rtc_sessions{protocol="whip"} 0`, `whipcast_stream_publishers_total 1`, `whipcast_storage_up{storage="directory-1"} 1`,
		`whipcast_doctor_findings{code="packet-loss"} `, `whipcast_hls_requests_total{kind="playlist",status="5xx"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	for _, hop := range []string{"capture", "package", "first_fetch", "fetch"} {
		if n := regexp.MustCompile(`whipcast_latency_seconds_count{hop="` + hop + `"} (\d+)`).FindStringSubmatch(text); n == nil || n[1] == "0" {
			t.Errorf("hop %s was not measured", hop)
		}
	}

	there := names(text)
	there["up"] = true // Prometheus' own
	named := regexp.MustCompile(`\b(whipcast|process|go|up)(_[a-z0-9_]+)?\b`)
	for _, path := range []string{"prometheus/alerts.yaml", "grafana/whipcast.json"} {
		for _, expression := range expressions(t, filepath.Join("../../deploy", path)) {
			expression = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expression, "")
			for _, name := range named.FindAllString(expression, -1) {
				if !there[name] {
					t.Errorf("%s: there is no %s in %s", path, name, expression)
				}
			}
		}
	}
	document, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	whipcast := regexp.MustCompile("whipcast_[a-z0-9_]+")
	family := regexp.MustCompile(`(?m)^# TYPE (whipcast_\S+)`)
	told := whipcast.FindAllString(string(document), -1)
	for _, match := range family.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(told, match[1]) {
			t.Errorf("docs/metrics.md does not tell of %s", match[1])
		}
	}
	for _, name := range told {
		if !there[name] && !there[name+"_count"] && !strings.HasPrefix(name, "whipcast_hybrid_") {
			t.Errorf("docs/metrics.md tells of %s, which there is not", name)
		}
	}
}

// expressions returns all PromQL of a dashboard or of a file of rules.
func expressions(t *testing.T, path string) []string {
	t.Helper()
	var all []string
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			for key, child := range node {
				if text, ok := child.(string); ok && (key == "expr" || key == "query" && strings.Contains(text, "(")) {
					all = append(all, text)
				}
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		}
	}
	if strings.HasSuffix(path, ".json") {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var root any
		if err := json.Unmarshal(content, &root); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		walk(root)
	} else {
		walk(documents(t, path)[0])
	}
	if len(all) < 10 {
		t.Fatalf("%s has %d expressions", path, len(all))
	}
	return all
}

// TestAlerts: the rules do what their tests say, each has one, and each names a
// section of the runbook, which has no others.
func TestAlerts(t *testing.T) {
	promtool(t, "", "check", "rules", "../../deploy/prometheus/alerts.yaml")
	promtool(t, "", "test", "rules", "../../deploy/prometheus/alerts_test.yaml")
	tests, err := os.ReadFile("../../deploy/prometheus/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(runbook), -1)
	rules := 0
	for _, group := range at(t, documents(t, "../../deploy/prometheus/alerts.yaml")[0], "groups").([]any) {
		for _, rule := range at(t, group, "rules").([]any) {
			rules++
			name := at(t, rule, "alert").(string)
			if !slices.ContainsFunc(sections, func(s []string) bool { return s[1] == name }) {
				t.Errorf("docs/runbook.md has no section %s", name)
			}
			if got, want := at(t, rule, "annotations", "runbook"), "docs/runbook.md#"+strings.ToLower(name); got != want {
				t.Errorf("%s: runbook is %v, want %s", name, got, want)
			}
			if bytes.Count(tests, []byte("alertname: "+name+"}")) == 0 || bytes.Count(tests, []byte("alertname: "+name+"\n")) == 0 {
				t.Errorf("%s has no test that it fires, and that it does not", name)
			}
			if severity := at(t, rule, "labels", "severity"); severity != "page" && severity != "ticket" {
				t.Errorf("%s: severity %v", name, severity)
			}
		}
	}
	if len(sections) != rules {
		t.Errorf("docs/runbook.md has %d sections for %d alerts", len(sections), rules)
	}
}

// TestScrapeCostsLittle: what a scrape costs hangs on how many metrics there are,
// hardly on how many streams.
func TestScrapeCostsLittle(t *testing.T) {
	cost := func(streams int) float64 {
		ask := crowded(t, streams)
		return testing.AllocsPerRun(3, ask)
	}
	if few, many := cost(1), cost(100); many > 1.2*few {
		t.Errorf("%v allocations with 100 streams, %v with one", many, few)
	}
}

func BenchmarkScrape(b *testing.B) {
	for _, streams := range []int{1, 100} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			ask := crowded(b, streams)
			b.ReportAllocs()
			for b.Loop() {
				ask()
			}
		})
	}
}

// crowded returns a scrape of a gateway with so many published streams.
func crowded(t testing.TB, streams int) func() {
	t.Helper()
	config, err := configs.Load("", []string{
		"WHIPCAST_HTTP_ADDRESS=127.0.0.1:0", "WHIPCAST_ADMIN_ADDRESS=127.0.0.1:0", "WHIPCAST_MEDIA_ADDRESS=127.0.0.1:0",
		"WHIPCAST_DATA_DIR=" + t.TempDir(), "WHIPCAST_AUTH_PUBLISH_TOKEN=" + token,
	})
	if err != nil {
		t.Fatal(err)
	}
	g, err := openGateway(t.Context(), config, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	for i := range streams {
		s, err := g.hub.Stream(fmt.Sprintf("show-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Publish(stream.Offer{Layers: []stream.Layer{
			{ID: stream.LayerID{Kind: stream.Video}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}},
			{ID: stream.LayerID{Kind: stream.Audio}, Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2}},
		}}); err != nil {
			t.Fatal(err)
		}
		figures, end := g.latency.Open(s.Name())
		t.Cleanup(end)
		figures.Observe(latency.Fetch, time.Second, time.Now())
	}
	request := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	return func() {
		w := httptest.NewRecorder()
		g.admin.http.Handler.ServeHTTP(w, request)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), fmt.Sprintf("whipcast_stream_live %d\n", streams)) {
			t.Fatalf("scrape: %d\n%s", w.Code, w.Body)
		}
	}
}
