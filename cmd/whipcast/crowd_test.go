package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/ingest/whip"
)

// TestCrowd: X23 requests of one address are limited, whatever they are for; other
// addresses and this machine's are not.
func TestCrowd(t *testing.T) {
	served := 0
	all := newCrowd(10)
	handler := all.limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	ask := func(method, from string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/hls/live/index.m3u8", http.NoBody)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	refused := 0
	for i := range 200 {
		w := ask([]string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete}[i%4], "192.0.2.1:5")
		if w.Code == http.StatusTooManyRequests {
			refused++
			if w.Header().Get("Retry-After") != "1" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("429 with %v", w.Header())
			}
		}
	}
	if refused < 150 || served != 200-refused || all.refused.Load() != uint64(refused) {
		t.Errorf("%d of 200 refused, %d served, %d counted", refused, served, all.refused.Load())
	}
	for _, from := range []string{"192.0.2.2:5", "[2001:db8::1]:5"} {
		if w := ask(http.MethodGet, from); w.Code != http.StatusOK {
			t.Errorf("%s: %d", from, w.Code)
		}
	}
	for range 200 {
		if w := ask(http.MethodGet, "[::1]:5"); w.Code != http.StatusOK {
			t.Fatalf("loopback: %d", w.Code)
		}
	}
}

// TestLimitsDocument: X23, X24 each limit that is counted is in the table of
// docs/operations.md, and each of the table is counted.
func TestLimitsDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{"drain": true} // below the table
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, " | ")
		if name, ok := strings.CutPrefix(cells[min(2, len(cells)-1)], "`"); ok && len(cells) == 4 && name != "limit`" {
			documented[strings.TrimSuffix(name, "`")] = true
		}
	}
	config, err := configs.Load("", settings(t))
	if err != nil {
		t.Fatal(err)
	}
	g, err := openGateway(t.Context(), config, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	counted := map[string]bool{}
	for _, m := range g.refusals(newCrowd(1), &whep.Metrics{}, &whip.Metrics{}) {
		counted[m.Labels["limit"]] = true
	}
	for name := range counted {
		if !documented[name] {
			t.Errorf("%s is in no row", name)
		}
	}
	for name := range documented {
		if !counted[name] {
			t.Errorf("%s is not counted", name)
		}
	}
}
