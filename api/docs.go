package api

import (
	_ "embed" // the page
	"net/http"
)

//go:embed docs/page.html
var docsPage []byte

//go:embed docs/page.js
var docsScript []byte

//go:embed docs/page.css
var docsStyle []byte

// document answers for the description of the API and the page that shows it. It is the
// same of each gateway, so everybody may read it. The page asks no other server for
// anything, nor can it.
func (s *Server) document(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	var body []byte
	switch r.URL.Path {
	case "/openapi.json":
		h.Set("Content-Type", "application/openapi+json")
		h.Set("Access-Control-Allow-Origin", "*")
		body = s.router.doc
	case "/docs":
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		body = docsPage
	case "/docs/page.js":
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		body = docsScript
	case "/docs/page.css":
		h.Set("Content-Type", "text/css; charset=utf-8")
		body = docsStyle
	default:
		refuse(w, r, Refuse(NoResource, "the description is at /docs and /openapi.json"))
		return
	}
	_, _ = w.Write(body)
}
