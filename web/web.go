// Package web serves the pages that a browser opens: the list of streams, and
// one page each to publish, to watch and to sit in; and what pages elsewhere
// use: a frame with a picture, and the module /embed.js.
//
// The pages are static: they are built from src/ into dist/ (make build), and
// embedded. Nothing of a request is ever written into a page; the script reads
// the stream's name from the address bar. All talk with the gateway goes over
// the same public endpoints that any other client uses.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/whipcast/whipcast/internal/problem"
)

// dist holds the built pages. A fresh checkout has only .gitkeep in it.
//
//go:embed all:dist
var dist embed.FS

// Config says what Handler serves. The zero value works.
type Config struct {
	// Files is the built bundle: home.html and the other pages beside a folder
	// assets. nil: the embedded one.
	Files fs.FS
	// ValidName says whether a stream may have this name; the pages of others
	// answer 404. nil: every name without a slash passes.
	ValidName func(name string) bool
	// MediaOrigins are other origins that the pages may read media from, each like
	// "https://cdn.example.org".
	MediaOrigins []string
	// Peer is the origin of the gateway that sessions are sent to when this one is
	// emptied: the pages may talk to it. Empty: none.
	Peer string
}

// Handler serves /, /publish/{stream}, /watch/{stream}, /seat/{stream},
// /seat/{stage}.{seat}, /control/{stage}, /embed/{stream}, /embed.js, /embed-hls.js and /assets/…, to GET and HEAD. It reads all files once, here; requests then
// share them. Without a built bundle every page says how to build it (503).
// The error is that of reading the files.
func Handler(cfg Config) (http.Handler, error) {
	files := cfg.Files
	if files == nil {
		sub, err := fs.Sub(dist, "dist")
		if err != nil {
			return nil, fmt.Errorf("open embedded pages: %w", err)
		}
		files = sub
	}
	valid := cfg.ValidName
	if valid == nil {
		valid = func(string) bool { return true }
	}
	loaded, err := load(files)
	if err != nil {
		return nil, fmt.Errorf("load pages: %w", err)
	}
	p := policy{media: strings.Join(append([]string{"'self'"}, cfg.MediaOrigins...), " ")}
	p.connect = p.media
	if cfg.Peer != "" && !slices.Contains(cfg.MediaOrigins, cfg.Peer) {
		p.connect += " " + cfg.Peer
	}
	return &handler{files: loaded, valid: valid, policy: p}, nil
}

// A file is one embedded file, ready to be sent. Immutable after load.
type file struct {
	plain, gzip       []byte // gzip: nil where it saves nothing
	plainTag, gzipTag string // entity tags; they differ, as the bytes do (RFC 9110 §8.8.3)
	mediaType         string
}

type handler struct {
	files map[string]*file // by path in the bundle
	valid func(string) bool
	policy
}

// policy is what pages may read, as in a Content-Security-Policy.
type policy struct {
	media   string // by media elements
	connect string // by scripts
}

// load reads every file of the bundle; "x.gz" becomes the gzip form of "x".
func load(files fs.FS) (map[string]*file, error) {
	loaded := make(map[string]*file)
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || strings.HasSuffix(name, ".gz") || strings.HasPrefix(path.Base(name), ".") {
			return nil
		}
		f, err := read(files, name)
		if err != nil {
			return err
		}
		loaded[name] = f
		return nil
	})
	return loaded, err
}

func read(files fs.FS, name string) (*file, error) {
	plain, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	small, err := fs.ReadFile(files, name+".gz")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s.gz: %w", name, err)
	}
	sum := sha256.Sum256(plain)
	tag := hex.EncodeToString(sum[:8])
	return &file{
		plain: plain, gzip: small,
		plainTag: `"` + tag + `"`, gzipTag: `"` + tag + `-gzip"`,
		mediaType: mediaType(name),
	}, nil
}

// mediaType does not ask the system's tables first: they differ between
// machines, and a script with a wrong type does not run under nosniff.
func mediaType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	if known := mime.TypeByExtension(path.Ext(name)); known != "" {
		return known
	}
	return "application/octet-stream"
}

// ServeHTTP is called from many goroutines.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		problem.Problem{
			Status: http.StatusMethodNotAllowed,
			Title:  "method not allowed",
			Detail: "pages can only be read: use GET",
		}.Write(w)
		return
	}
	if name, ok := strings.CutPrefix(r.URL.Path, "/assets/"); ok {
		h.serveAsset(w, r, name)
		return
	}
	if module := r.URL.Path; module == "/embed.js" || module == "/embed-hls.js" {
		h.serveModule(w, r, module[1:])
		return
	}
	name := h.page(r.URL.Path)
	f := h.files[name+".html"]
	if f == nil {
		notBuilt(w)
		return
	}
	secure(w.Header(), name, h.policy)
	w.Header().Set("Cache-Control", "no-cache") // a new release shows at once; the tag makes it cheap
	status := http.StatusOK
	if name == "missing" {
		status = http.StatusNotFound
	}
	f.send(w, r, status)
}

// page maps an URL path to a page of the bundle.
func (h *handler) page(urlPath string) string {
	if urlPath == "/" {
		return "home"
	}
	page, stream, found := strings.Cut(strings.TrimPrefix(urlPath, "/"), "/")
	if !found || stream == "" || strings.Contains(stream, "/") || !h.valid(stream) {
		return "missing"
	}
	switch page {
	case "publish", "watch", "control":
		return page
	case "seat":
		if strings.Contains(stream, ".") { // of a stage: STAGE.SEAT
			return "guest"
		}
		return page
	case "embed":
		return "frame"
	}
	return "missing"
}

// serveAsset sends a file whose name changes with its content.
func (h *handler) serveAsset(w http.ResponseWriter, r *http.Request, name string) {
	f := h.files["assets/"+name]
	if f == nil {
		w.Header().Set("Cache-Control", "no-store")
		problem.Problem{
			Status: http.StatusNotFound,
			Title:  "no such file",
			Detail: "the page that asked for it is of another release: reload the page",
		}.Write(w)
		return
	}
	secure(w.Header(), "", h.policy)
	open(w.Header())
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	f.send(w, r, http.StatusOK)
}

// serveModule sends a module for pages elsewhere, whose address stays. It is
// kept for a short while, and then asked for by its tag.
func (h *handler) serveModule(w http.ResponseWriter, r *http.Request, name string) {
	f := h.files[name]
	if f == nil {
		open(w.Header()) // a page elsewhere may read why
		notBuilt(w)
		return
	}
	secure(w.Header(), "", h.policy)
	open(w.Header())
	w.Header().Set("Cache-Control", "public, max-age=300, stale-while-revalidate=86400")
	f.send(w, r, http.StatusOK)
}

// open lets pages of any origin use a file. It is the same for everyone.
func open(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
}

// send writes the file in the form that the client accepts, or 304 where the
// client has it already (RFC 9110 §13.1.2). A 404 page is always sent.
func (f *file) send(w http.ResponseWriter, r *http.Request, status int) {
	body, tag := f.plain, f.plainTag
	h := w.Header()
	h.Set("Content-Type", f.mediaType)
	if f.gzip != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Values("Accept-Encoding")) {
			body, tag = f.gzip, f.gzipTag
			h.Set("Content-Encoding", "gzip")
		}
	}
	if status == http.StatusOK {
		h.Set("ETag", tag)
		if matches(r.Header.Values("If-None-Match"), tag) {
			h.Del("Content-Type")
			h.Del("Content-Encoding")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// secure sets what limits a page (specs X4, X12). page is "" for an asset, p what it
// may read.
func secure(h http.Header, page string, p policy) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	// One page is made for frames: it has nothing that could be pressed by mistake.
	ancestors := "'none'"
	if page == "frame" {
		ancestors = "*"
	}
	// media and connect are all that the pages do; blob: is MediaSource's way
	// into a video element, data: hls.js's empty track for timed metadata. No
	// inline script or style.
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
		"media-src "+p.media+" blob: data:; connect-src "+p.connect+"; base-uri 'none'; form-action 'self'; frame-ancestors "+ancestors+"; "+
		"require-trusted-types-for 'script'")
	devices := "()"
	if page == "publish" || page == "guest" {
		devices = "(self)"
	}
	h.Set("Permissions-Policy", "camera="+devices+", microphone="+devices+", display-capture="+devices)
}

func notBuilt(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	problem.Problem{
		Status: http.StatusServiceUnavailable,
		Title:  "pages not built",
		Detail: "this binary was compiled without its web pages: run `make build` (or `npm ci && npm run build` in web/) " +
			"and compile again; WHIP, WHEP, HLS and the API work without them",
	}.Write(w)
}

// acceptsGzip reads Accept-Encoding (RFC 9110 §12.5.3): a word on gzip itself
// counts more than one on *, and q=0 is a refusal.
func acceptsGzip(values []string) bool {
	others := false
	for element := range elements(values) {
		coding, params, _ := strings.Cut(element, ";")
		weight, weighed := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(params), " ", ""), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		accepted := !weighed || (err == nil && q > 0)
		switch coding = strings.TrimSpace(coding); {
		case strings.EqualFold(coding, "gzip"):
			return accepted
		case coding == "*":
			others = accepted
		}
	}
	return others
}

// matches compares weakly, as If-None-Match demands.
func matches(values []string, tag string) bool {
	for element := range elements(values) {
		if element == "*" || strings.TrimPrefix(element, "W/") == tag {
			return true
		}
	}
	return false
}

// elements yields the elements of a comma-separated header; none of the
// headers read here carries a comma inside an element that could match.
func elements(values []string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, value := range values {
			for element := range strings.SplitSeq(value, ",") {
				if !yield(strings.TrimSpace(element)) {
					return
				}
			}
		}
	}
}
