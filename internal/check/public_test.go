package check_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/internal/check"
)

// Viewers read what was stored behind the public URL: reachable, of the right
// type, from pages of other hosts, and cached as it was stored (specs S29).
func TestPublicRead(t *testing.T) {
	alone(t)
	const ok = "ok: viewers can read it: media type, CORS and Cache-Control are right"
	for _, tt := range []struct {
		name   string
		change func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
		want   []string
	}{
		{"works", nil, []string{ok}},
		{"one origin", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
			return false
		}, []string{ok}},
		{"elsewhere", func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true }, []string{
			"failed: what was stored is not at URL (status 404) → correct public_url: it must lead to what prefix or path or url names",
		}},
		{"not public", func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true }, []string{
			"failed: viewers may not read at URL (status 403) → let everybody read there: by a policy of the bucket, or by the CDN's own credentials",
		}},
		{"broken", func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }, []string{
			"failed: URL answers with status 502 → correct public_url, or look at the CDN",
		}},
		{"a web page", func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = io.WriteString(w, "<html>")
			return true
		}, []string{"failed: something else is at URL → correct public_url: it must lead to what prefix or path or url names"}},
		{"another type", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			return false
		}, []string{`warning: viewers get application/vnd.apple.mpegurl as "text/plain; charset=utf-8" → let the place and the CDN keep the Content-Type: players look at it`}},
		{"no CORS", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Access-Control-Allow-Origin", "")
			return false
		}, []string{"warning: there is no Access-Control-Allow-Origin: players in pages of other hosts cannot read it → allow GET and HEAD from all origins in the CORS settings of the bucket or of the CDN"}},
		{"other caching", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Cache-Control", "max-age=86400")
			return false
		}, []string{`warning: stored with Cache-Control "public, max-age=3600", viewers get "max-age=86400" → let the place and the CDN keep Cache-Control: live playlists must not be kept for long`}},
		{"errors are kept", func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, ".none") {
				return false
			}
			w.Header().Set("Cache-Control", "public, max-age=300, s-maxage=60")
			w.WriteHeader(http.StatusNotFound)
			return true
		}, []string{ok, "warning: that a file is not there is kept for 1m: who asks a moment too early waits for so long → let the CDN keep errors for a second at most"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t)
			cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					t.Error("viewers have no credentials")
				}
				s.mu.Lock()
				text, stored := s.files[strings.Replace(r.URL.Path, "/show/", "/media/live/", 1)]
				s.mu.Unlock()
				w.Header().Set("Access-Control-Allow-Origin", "*")
				w.Header().Set("Content-Type", "application/vnd.apple.mpegurl")
				w.Header().Set("Cache-Control", "public, max-age=3600")
				switch {
				case tt.change != nil && tt.change(w, r):
				case stored:
					_, _ = io.WriteString(w, text)
				default:
					w.Header().Set("Cache-Control", "max-age=1")
					w.WriteHeader(http.StatusNotFound)
				}
			}))
			defer cdn.Close()
			p := bucket(t, s.URL)
			p.Public = cdn.URL + "/show"
			var found []check.Finding
			for _, f := range p.Check(t.Context()) {
				if f.Name == "s3-1 public" {
					found = append(found, f)
				}
			}
			for i := range tt.want {
				tt.want[i] = "s3-1 public: " + strings.Replace(tt.want[i], "URL", p.Public, 1)
			}
			want(t, found, tt.want...)
			if len(s.files) > 0 {
				t.Errorf("left %v", s.files)
			}
		})
	}
	p := bucket(t, serve(t).URL)
	p.Public = "http://127.0.0.1:1/show"
	if f := p.Check(t.Context())[4]; f.State != check.Failed || f.Cause != "connection refused: nothing listens at 127.0.0.1:1" {
		t.Errorf("nobody there: %+v", f)
	}
}
