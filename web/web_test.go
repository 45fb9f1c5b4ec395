package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func bundle(t *testing.T) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{".gitkeep": {}}
	for _, page := range []string{"home", "publish", "watch", "seat", "guest", "control", "frame", "missing"} {
		files[page+".html"] = &fstest.MapFile{Data: []byte("<!doctype html><title>" + page + "</title>")}
	}
	script := []byte(strings.Repeat("console.log('hello');\n", 100))
	var small bytes.Buffer
	zip := gzip.NewWriter(&small)
	if _, err := zip.Write(script); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	files["assets/watch-abc.js"] = &fstest.MapFile{Data: script}
	files["assets/watch-abc.js.gz"] = &fstest.MapFile{Data: small.Bytes()}
	files["assets/page-abc.css"] = &fstest.MapFile{Data: []byte("a{}")}
	files["embed.js"] = &fstest.MapFile{Data: script}
	files["embed.js.gz"] = &fstest.MapFile{Data: small.Bytes()}
	files["embed-hls.js"] = &fstest.MapFile{Data: []byte("export {}")}
	files["assets/icon-abc.svg"] = &fstest.MapFile{Data: []byte("<svg/>")}
	return files
}

func serve(t *testing.T, files fstest.MapFS) http.Handler {
	t.Helper()
	name := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	h, err := Handler(Config{Files: files, ValidName: name.MatchString})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ask(h http.Handler, method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", http.NoBody)
	r.URL.Path = path // as a client may send it, not as a parser would clean it
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPages(t *testing.T) {
	h := serve(t, bundle(t))
	for path, want := range map[string]string{
		"/":                "home",
		"/publish/demo":    "publish",
		"/watch/demo":      "watch",
		"/seat/demo":       "seat",
		"/seat/stage.left": "guest",
		"/control/stage":   "control",
		"/embed/demo":      "frame",
	} {
		r := ask(h, http.MethodGet, path)
		if r.Code != http.StatusOK || !strings.Contains(r.Body.String(), "<title>"+want) {
			t.Errorf("GET %s: status %d, want the page %s", path, r.Code, want)
		}
		for name, value := range map[string]string{
			"Content-Type":           "text/html; charset=utf-8",
			"Cache-Control":          "no-cache",
			"X-Content-Type-Options": "nosniff",     // X12
			"Referrer-Policy":        "no-referrer", // X4
		} {
			if got := r.Header().Get(name); got != value {
				t.Errorf("GET %s: %s is %q, want %q", path, name, got, value)
			}
		}
		devices := "camera=(), microphone=(), display-capture=()"
		if want == "publish" || want == "guest" {
			devices = "camera=(self), microphone=(self), display-capture=(self)"
		}
		if got := r.Header().Get("Permissions-Policy"); got != devices {
			t.Errorf("GET %s: Permissions-Policy is %q, want %q", path, got, devices)
		}
	}
}

// X12: the bundled pages carry a policy that lets nothing foreign and nothing
// inline run.
func TestContentSecurityPolicy(t *testing.T) {
	h := serve(t, bundle(t))
	for _, path := range []string{"/", "/publish/a", "/watch/a", "/seat/a", "/nothing", "/assets/watch-abc.js"} {
		policy := ask(h, http.MethodGet, path).Header().Get("Content-Security-Policy")
		directives := make(map[string]string)
		for directive := range strings.SplitSeq(policy, "; ") {
			name, value, _ := strings.Cut(directive, " ")
			directives[name] = value
		}
		for name, want := range map[string]string{
			"default-src":     "'none'",
			"script-src":      "'self'",
			"style-src":       "'self'",
			"connect-src":     "'self'",
			"media-src":       "'self' blob: data:",
			"base-uri":        "'none'",
			"frame-ancestors": "'none'",
		} {
			if directives[name] != want {
				t.Errorf("GET %s: %s is %q, want %q", path, name, directives[name], want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("GET %s: the policy %q lets too much through", path, policy)
		}
	}
}

// One page may stand in frames of other pages, and none of the others.
func TestFrames(t *testing.T) {
	h := serve(t, bundle(t))
	for path, want := range map[string]string{"/embed/demo": "frame-ancestors *", "/watch/demo": "frame-ancestors 'none'", "/embed/..": "frame-ancestors 'none'"} {
		header := ask(h, http.MethodGet, path).Header()
		if policy := header.Get("Content-Security-Policy"); !strings.Contains(policy+";", want+";") {
			t.Errorf("GET %s: the policy %q has no %q", path, policy, want)
		}
		if header.Get("X-Frame-Options") != "" {
			t.Errorf("GET %s: X-Frame-Options is for old browsers, and frame-ancestors says it", path)
		}
	}
}

// Pages of other origins import the modules, which are kept for a short while, and the
// assets that they name.
func TestModules(t *testing.T) {
	h := serve(t, bundle(t))
	for path, kept := range map[string]string{
		"/embed.js": "public, max-age=300, stale-while-revalidate=86400", "/embed-hls.js": "public, max-age=300, stale-while-revalidate=86400",
		"/assets/watch-abc.js": "public, max-age=31536000, immutable",
	} {
		r := ask(h, http.MethodGet, path, "Origin", "https://elsewhere.example")
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin":  "*",
			"Cross-Origin-Resource-Policy": "cross-origin",
			"Content-Type":                 "text/javascript; charset=utf-8",
			"Cache-Control":                kept,
		} {
			if got := r.Header().Get(name); got != want {
				t.Errorf("GET %s: %s is %q, want %q", path, name, got, want)
			}
		}
		tag := r.Header().Get("ETag")
		if r.Code != http.StatusOK || tag == "" || ask(h, http.MethodGet, path, "If-None-Match", tag).Code != http.StatusNotModified {
			t.Errorf("GET %s: status %d with the tag %q, and again with that tag %d", path, r.Code, tag, ask(h, http.MethodGet, path, "If-None-Match", tag).Code)
		}
	}
	if got := ask(h, http.MethodGet, "/embed/demo").Header().Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("a page may be read from elsewhere: %q", got)
	}
	bare := serve(t, fstest.MapFS{".gitkeep": {}})
	if r := ask(bare, http.MethodGet, "/embed.js"); r.Code != http.StatusServiceUnavailable || r.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a module that was not built: status %d, headers %v", r.Code, r.Header())
	}
}

// Media may come from another origin; nothing else may (docs/adr/0009).
func TestMediaOrigins(t *testing.T) {
	h, err := Handler(Config{Files: bundle(t), MediaOrigins: []string{"https://cdn.example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	policy := ask(h, http.MethodGet, "/watch/a").Header().Get("Content-Security-Policy")
	for _, want := range []string{"connect-src 'self' https://cdn.example.org;", "media-src 'self' https://cdn.example.org blob: data:;"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q has no %q", policy, want)
		}
	}
	if n := strings.Count(policy, "cdn.example.org"); n != 2 {
		t.Errorf("the policy %q names the other origin %d times", policy, n)
	}
}

// A gateway that is emptied sends sessions to its peer, where pages must be let go.
func TestPeer(t *testing.T) {
	h, err := Handler(Config{Files: bundle(t), MediaOrigins: []string{"https://cdn.example.org"}, Peer: "https://b.example.org:8443"})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/publish/a", "/seat/a", "/embed/a"} {
		policy := ask(h, http.MethodGet, path).Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "connect-src 'self' https://cdn.example.org https://b.example.org:8443;") {
			t.Errorf("GET %s: the policy %q lets no session go to the peer", path, policy)
		}
		if n := strings.Count(policy, "b.example.org"); n != 1 {
			t.Errorf("GET %s: the policy %q names the peer %d times", path, policy, n)
		}
	}
}

// X7: a name that no stream can have is answered without saying it again.
func TestBadNamesAreNotReflected(t *testing.T) {
	h := serve(t, bundle(t))
	for _, name := range []string{
		`"><script>alert(1)</script>`, "..", "../..", ".hidden", "a/b", "a\r\nX-Evil: 1", "a\x00", "'", "-a",
		strings.Repeat("a", 65), "ä", " ", "",
	} {
		for _, page := range []string{"publish", "watch", "seat"} {
			r := ask(h, http.MethodGet, "/"+page+"/"+name)
			body := r.Body.String()
			if r.Code != http.StatusNotFound || body != "<!doctype html><title>missing</title>" {
				t.Errorf("GET /%s/%q: status %d, body %q", page, name, r.Code, body)
			}
			for header, values := range r.Header() {
				if len(name) > 3 && strings.Contains(strings.Join(values, ","), name) {
					t.Errorf("GET /%s/%q: header %s repeats the name", page, name, header)
				}
			}
		}
	}
}

func TestUnknownPaths(t *testing.T) {
	h := serve(t, bundle(t))
	for _, path := range []string{
		"/x", "/watch", "/watch/", "//", "", "/home.html", "/control/", "/control/a/b", "/watch/a/b", "/.gitkeep", "/../web.go",
		"/assets", "/assets/", "/assets/../home.html", "/assets/nothing.js", "/assets/watch-abc.js.gz", "/assets/.gitkeep",
	} {
		r := ask(h, http.MethodGet, path)
		if r.Code != http.StatusNotFound {
			t.Errorf("GET %s: status %d, want 404", path, r.Code)
		}
		if got := r.Header().Get("Cache-Control"); strings.Contains(got, "max-age") {
			t.Errorf("GET %s: a 404 must not be kept, got Cache-Control %q", path, got)
		}
		if r.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("GET %s: no nosniff", path)
		}
	}
}

func TestMethods(t *testing.T) {
	h := serve(t, bundle(t))
	for _, path := range []string{"/", "/watch/demo", "/assets/watch-abc.js", "/nothing"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "BREW"} {
			r := ask(h, method, path)
			if r.Code != http.StatusMethodNotAllowed || r.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: status %d, Allow %q", method, path, r.Code, r.Header().Get("Allow"))
			}
		}
		get, head := ask(h, http.MethodGet, path), ask(h, http.MethodHead, path)
		if head.Code != get.Code || head.Body.Len() != 0 {
			t.Errorf("HEAD %s: status %d with a body, want %d without", path, head.Code, get.Code)
		}
		for name := range get.Header() {
			if get.Header().Get(name) != head.Header().Get(name) {
				t.Errorf("HEAD %s: %s is %q, GET has %q", path, name, head.Header().Get(name), get.Header().Get(name))
			}
		}
	}
}

func TestAssets(t *testing.T) {
	files := bundle(t)
	h := serve(t, files)
	const path = "/assets/watch-abc.js"
	for _, c := range []struct {
		name, accept string
		gzip         bool
	}{
		{"nothing said", "", false},
		{"a browser", "gzip, deflate, br, zstd", true},
		{"case", "GZIP;q=1.0", true},
		{"refused", "gzip;q=0, br", false},
		{"refused with spaces", "gzip; q=0.000", false},
		{"anything", "*", true},
		{"anything but gzip", "*;q=0.5, gzip;q=0", false},
		{"gzip but nothing else", "*;q=0, gzip", true},
		{"another", "br", false},
		{"nonsense weight", "gzip;q=banana", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ask(h, http.MethodGet, path, "Accept-Encoding", c.accept)
			if got := r.Header().Get("Content-Encoding") == "gzip"; got != c.gzip {
				t.Fatalf("gzip is %v, want %v", got, c.gzip)
			}
			var body io.Reader = r.Body
			if c.gzip {
				zip, err := gzip.NewReader(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				body = zip
			}
			got, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(got, files["assets/watch-abc.js"].Data) {
				t.Errorf("other bytes than the file's (%v)", err)
			}
			if r.Header().Get("Vary") != "Accept-Encoding" {
				t.Errorf("Vary is %q", r.Header().Get("Vary"))
			}
			if got := r.Header().Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
				t.Errorf("Cache-Control is %q", got)
			}
		})
	}
	for path, want := range map[string]string{
		path:                   "text/javascript; charset=utf-8",
		"/assets/page-abc.css": "text/css; charset=utf-8",
		"/assets/icon-abc.svg": "image/svg+xml",
	} {
		if got := ask(h, http.MethodGet, path).Header().Get("Content-Type"); got != want {
			t.Errorf("%s: Content-Type %q, want %q", path, got, want)
		}
	}
}

func TestConditional(t *testing.T) {
	h := serve(t, bundle(t))
	for _, path := range []string{"/watch/demo", "/assets/watch-abc.js"} {
		plain := ask(h, http.MethodGet, path).Header().Get("ETag")
		if !strings.HasPrefix(plain, `"`) || !strings.HasSuffix(plain, `"`) {
			t.Fatalf("%s: ETag %q is not a strong tag", path, plain)
		}
		for value, want := range map[string]int{
			plain:                      http.StatusNotModified,
			"W/" + plain:               http.StatusNotModified,
			`"other", ` + plain:        http.StatusNotModified,
			"*":                        http.StatusNotModified,
			`"other"`:                  http.StatusOK,
			strings.Trim(plain, `"`):   http.StatusOK,
			"":                         http.StatusOK,
			plain[:len(plain)-1] + `x`: http.StatusOK,
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				r := ask(h, method, path, "If-None-Match", value)
				if r.Code != want {
					t.Errorf("%s %s with If-None-Match %s: status %d, want %d", method, path, value, r.Code, want)
				}
				if r.Code != http.StatusNotModified {
					continue
				}
				if r.Header().Get("ETag") != plain || r.Header().Get("Cache-Control") == "" || r.Body.String() != "" {
					t.Errorf("%s %s: a 304 has ETag and Cache-Control and no body, got %v", method, path, r.Header())
				}
			}
		}
	}
	zipped := ask(h, http.MethodGet, "/assets/watch-abc.js", "Accept-Encoding", "gzip").Header().Get("ETag")
	if plain := ask(h, http.MethodGet, "/assets/watch-abc.js").Header().Get("ETag"); plain == zipped {
		t.Error("plain and gzip bytes share a strong ETag")
	}
	r := ask(h, http.MethodGet, "/assets/watch-abc.js", "Accept-Encoding", "gzip", "If-None-Match", zipped)
	if r.Code != http.StatusNotModified {
		t.Errorf("gzip tag: status %d, want 304", r.Code)
	}
	if r := ask(h, http.MethodGet, "/nothing", "If-None-Match", "*"); r.Code != http.StatusNotFound {
		t.Errorf("a missing page: status %d, want 404", r.Code)
	}
}

// A program compiled before its pages were built says what to do.
func TestNotBuilt(t *testing.T) {
	h := serve(t, fstest.MapFS{".gitkeep": {}})
	for _, path := range []string{"/", "/watch/demo", "/nothing"} {
		r := ask(h, http.MethodGet, path)
		if r.Code != http.StatusServiceUnavailable || !strings.Contains(r.Body.String(), "make build") {
			t.Errorf("GET %s: status %d, want 503 that names make build", path, r.Code)
		}
		if r.Header().Get("Cache-Control") != "no-store" || r.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("GET %s: headers %v", path, r.Header())
		}
	}
}

// The bundle as it is compiled in: with pages, all that they name is there and
// nothing is inline or foreign; without, the handler still works.
func TestEmbedded(t *testing.T) {
	h, err := Handler(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dist.Open("dist/home.html"); err != nil {
		if r := ask(h, http.MethodGet, "/"); r.Code != http.StatusServiceUnavailable {
			t.Errorf("without a bundle: status %d, want 503", r.Code)
		}
		return
	}
	named := regexp.MustCompile(`(?:src|href)="([^"]*)"`)
	inline := regexp.MustCompile(`<style|<script(?:[^>]*)>[^<]|\sstyle=|\son\w+=`)
	if module := ask(h, http.MethodGet, "/embed.js", "Accept-Encoding", "gzip"); module.Code != http.StatusOK || module.Body.Len() > 25_000 {
		t.Errorf("GET /embed.js: status %d, %d bytes; at most 25,000 are wanted in every page that has a player", module.Code, module.Body.Len())
	}
	big := regexp.MustCompile(`'\.(/assets/[^']+)'`).FindStringSubmatch(ask(h, http.MethodGet, "/embed-hls.js").Body.String())
	if big == nil || ask(h, http.MethodGet, big[1]).Code != http.StatusOK {
		t.Errorf("GET /embed-hls.js: names %q, which is not there", big)
	}
	for _, path := range []string{"/", "/publish/demo", "/watch/demo", "/seat/demo", "/seat/demo.anna", "/control/demo", "/embed/demo", "/missing"} {
		body := ask(h, http.MethodGet, path).Body.String()
		if found := inline.FindString(body); found != "" {
			t.Errorf("GET %s: %q would be stopped by the policy", path, found)
		}
		assets := 0
		for _, match := range named.FindAllStringSubmatch(body, -1) {
			target := match[1]
			if target == "/" {
				continue
			}
			assets++
			if !strings.HasPrefix(target, "/assets/") {
				t.Errorf("GET %s: names %s, which is not ours", path, target)
			} else if r := ask(h, http.MethodGet, target); r.Code != http.StatusOK {
				t.Errorf("GET %s: names %s, which answers %d", path, target, r.Code)
			}
		}
		if assets < 2 {
			t.Errorf("GET %s: names %d assets, want style and icon at least", path, assets)
		}
	}
}
