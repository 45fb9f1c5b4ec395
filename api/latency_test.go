package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stream"
)

// audience is a Server that players report to.
type audience struct {
	book    *latency.Book
	figures *latency.Stream
	hub     *stream.Hub
	server  *api.Server
	handler http.Handler
}

func newAudience(t *testing.T, cfg api.Config) audience {
	t.Helper()
	a := audience{book: latency.NewBook(), hub: stream.NewHub(stream.Config{})}
	if _, err := a.hub.Stream("show"); err != nil {
		t.Fatal(err)
	}
	figures, end := a.book.Open("show")
	t.Cleanup(end)
	cfg.Latency, a.figures = a.book, figures
	a.server = api.New(cfg, a.hub, authority(t, "open"))
	pages := named("pages")
	a.handler = a.server.Public(api.Routes{WHIP: pages, WHEP: pages, Session: pages, HLS: pages, Pages: pages})
	return a
}

func (a audience) report(method, path, body string) answer {
	r := httptest.NewRequest(method, "http://example.com"+path, strings.NewReader(body))
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

const beacon = "/v1/streams/show/latency"

// TestReports: what a player reports counts within its bounds, and what it says of
// the time is judged by our clock.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(behind time.Duration) string {
			return fmt.Sprintf(`{"playing":%d}`, time.Now().Add(-behind).UnixMilli())
		}
		for _, tt := range []struct {
			body          string
			status        int
			least, most   float64 // of the latency; 0: none
			stalls        uint64
			buffered, due bool
		}{
			{body: at(2 * time.Second), status: 204, least: 2, most: 2},
			{body: at(-300 * time.Millisecond), status: 204, least: 0, most: 0, due: true}, // program date-time was corrected
			{body: at(-time.Minute), status: 204},                                          // cannot be
			{body: at(3 * time.Hour), status: 204, least: 120, most: 120},
			{body: `{"latency":2.5,"stalls":3,"buffer":1.5,"other":{}}`, status: 204, least: 2.5, most: 2.5, stalls: 3, buffered: true},
			{body: `{"latency":-1,"stalls":-7,"buffer":-1}`, status: 204},
			{body: `{"latency":1e300,"stalls":1e300}`, status: 204, least: 120, most: 120, stalls: 100},
			{body: `{}`, status: 204},
			{body: ``, status: 400},
			{body: `{"latency":"2"}`, status: 400},
			{body: `[1]`, status: 400},
			{body: `{"latency":1e400}`, status: 400},
			{body: `{"x":"` + strings.Repeat("x", 1024) + `"}`, status: 413},
		} {
			a := newAudience(t, api.Config{})
			got := a.report(http.MethodPost, beacon, tt.body)
			if got.status != tt.status {
				t.Errorf("%.60s: status %d, want %d", tt.body, got.status, tt.status)
			}
			l := a.book.Total(latency.Player)
			if want := tt.least > 0 || tt.due; l.Sum < tt.least || l.Sum > tt.most || (l.Count() > 0) != want {
				t.Errorf("%.60s: %d latencies of %v s, want %v to %v", tt.body, l.Count(), l.Sum, tt.least, tt.most)
			}
			if a.book.Stalls() != tt.stalls || (a.book.Buffer().Count() > 0) != tt.buffered {
				t.Errorf("%.60s: %d stalls, %d buffers", tt.body, a.book.Stalls(), a.book.Buffer().Count())
			}
			if refused := a.server.RefusedReports(); (refused > 0) != (tt.status != 204) {
				t.Errorf("%.60s: %d refused", tt.body, refused)
			}
		}
	})
}

// TestReportsNameNothing: a report of what is not there leaves nothing behind.
func TestReportsNameNothing(t *testing.T) {
	a := newAudience(t, api.Config{})
	for path, status := range map[string]int{
		"/v1/streams/gone/latency":      404,
		"/v1/streams/a/b/latency":       404,
		"/v1/streams//latency":          404,
		"/v1/streams/..%2fshow/latency": 404,
		beacon:                          204,
	} {
		if got := a.report(http.MethodPost, path, `{"latency":1}`); got.status != status {
			t.Errorf("%s: %d, want %d", path, got.status, status)
		}
	}
	if a.book.Find("gone") != nil || a.book.Total(latency.Player).Count() != 1 {
		t.Error("what is not there was counted")
	}
}

// TestReportsAreLimited: one address cannot report more than a hundred times at once, and
// a stranger is still heard.
func TestReportsAreLimited(t *testing.T) { // specs X23
	address := netip.MustParseAddr("192.0.2.1")
	a := newAudience(t, api.Config{Client: func(*http.Request) netip.Addr { return address }})
	taken := 0
	var last answer
	for range 200 {
		if last = a.report(http.MethodPost, beacon, `{"latency":1}`); last.status == http.StatusNoContent {
			taken++
		}
	}
	if taken < 100 || taken > 110 || last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" {
		t.Errorf("%d taken, then %d", taken, last.status)
	}
	for i := range 20 {
		address = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		if got := a.report(http.MethodPost, beacon, `{"latency":1}`); got.status == http.StatusNoContent {
			return
		}
	}
	t.Error("nobody else is heard")
}

// TestReportsOfViewersOnly: who may not watch does not report; other pages may, if
// they may watch (specs X9, X10).
func TestReportsOfViewersOnly(t *testing.T) {
	a := newAudience(t, api.Config{Watch: func(r *http.Request, name string) error {
		if r.Header.Get("Authorization") == "" || name != "show" {
			return problem.Problem{Status: http.StatusUnauthorized, Title: "token needed", Detail: "d"}
		}
		return nil
	}})
	got := a.report(http.MethodPost, beacon, `{"latency":1}`)
	if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" || got.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("got %d %v", got.status, got.header)
	}
	if got := a.report(http.MethodOptions, beacon, ""); got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Methods") != "POST" {
		t.Errorf("preflight: %d %v", got.status, got.header)
	}
	if got := a.report(http.MethodGet, beacon, ""); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("GET: %d %v", got.status, got.header)
	}
}

// TestLatencyOfAStream: the API tells what is known of each hop, and no more.
func TestLatencyOfAStream(t *testing.T) {
	a := newAudience(t, api.Config{})
	now := time.Now()
	for range 95 {
		a.figures.Observe(latency.Package, 550*time.Millisecond, now)
	}
	for range 5 {
		a.figures.Observe(latency.Package, 3*time.Second, now)
	}
	got := call(a.handler, http.MethodGet, "/v1/streams/show", "Bearer "+token)
	var body struct {
		Latency map[string]struct {
			P50, P95 float64
			Samples  uint64
		}
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatal(err)
	}
	hop := body.Latency["package"]
	if len(body.Latency) != 1 || hop.Samples != 100 || hop.P50 < 0.5 || hop.P50 > 0.6 || hop.P95 < 0.5 || hop.P95 > 0.6 {
		t.Errorf("got %s", got.body)
	}
	if list := call(a.handler, http.MethodGet, "/v1/streams", "Bearer "+token); strings.Contains(list.body, "latency") {
		t.Errorf("the list of all streams tells it, too: %s", list.body)
	}
}

// Whatever comes, the figures stay in bounds.
func FuzzBeacon(f *testing.F) {
	for _, body := range []string{`{"playing":1,"latency":2,"stalls":3,"buffer":4}`, `{"latency":1e308}`, `{"playing":-1e308}`, `null`, `{"stalls":-0.5}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		report, ok := api.ParseBeacon(body, time.Unix(1_800_000_000, 0))
		if !ok {
			return
		}
		if report.Latency < -1 || report.Latency > latency.Longest || report.Buffer < -1 || report.Buffer > latency.Longest ||
			report.Stalls < 0 || report.Stalls > 1000 {
			t.Errorf("report %+v", report)
		}
	})
}
