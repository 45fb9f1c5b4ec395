package rtc_test

import (
	"net/http"
	"testing"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// TestPatchRate: X15, X23 a flood of PATCHes is refused with 429, and costs the
// session nothing.
func TestPatchRate(t *testing.T) {
	h := open(t, rtc.Config{}, rtc.RegistryConfig{})
	x := remote(t, rtctest.Options{})
	x.Connect(t, h.server.URL+"/whip/live")
	taken, refused := 0, 0
	for range 100 {
		res, _ := rtctest.Token("").Do(t, http.MethodPatch, x.URL, rtctest.Credentials(x.Offer), "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", x.ETag)
		switch res.StatusCode {
		case http.StatusNoContent:
			taken++
		case http.StatusTooManyRequests:
			refused++
			if res.Header.Get("Retry-After") == "" || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("429 with Retry-After %q, Content-Type %q", res.Header.Get("Retry-After"), res.Header.Get("Content-Type"))
			}
		default:
			t.Fatalf("PATCH: %s", res.Status)
		}
	}
	if taken < 30 || refused < 10 {
		t.Errorf("of 100 PATCHes at once %d were taken and %d refused, want 30 or more and 10 or more", taken, refused)
	}
	if res, _ := rtctest.Token("").Do(t, http.MethodGet, x.URL, ""); res.StatusCode != http.StatusNoContent {
		t.Errorf("the session after the flood: %s", res.Status)
	}
}
