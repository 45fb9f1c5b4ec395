package problem_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/problem"
)

func TestWrite(t *testing.T) { // W7
	w := httptest.NewRecorder()
	w.Header().Set("Access-Control-Allow-Origin", "*")
	p := problem.Problem{Status: http.StatusConflict, Title: "nothing is live", Detail: "wait \"a\" while", RetryAfter: 1500 * time.Millisecond}
	p.Write(w)
	for name, want := range map[string]string{
		"Content-Type": "application/problem+json", "Retry-After": "2",
		"X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": "*",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var got struct {
		Title, Detail string
		Code          string
		Status        int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusConflict || got.Status != w.Code || got.Title != p.Title || got.Detail != p.Detail || got.Code != "nothing-is-live" {
		t.Errorf("status %d, body %+v", w.Code, got)
	}
	if p.Code = "not-live"; p.Document().Code != "not-live" {
		t.Errorf("code %q", p.Document().Code)
	}
	if p.Error() != "nothing is live: wait \"a\" while" {
		t.Errorf("Error() = %q", p.Error())
	}
}
