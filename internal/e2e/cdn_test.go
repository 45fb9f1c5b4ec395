package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// caches are the proxies that configs has recipes for.
var caches = []struct {
	name  string
	start func(t *testing.T, origin string) string // returns its address
	joins bool                                     // held requests become one, whose answer is kept and says how old it is
}{
	{"varnish", startVarnish, true},
	{"nginx", func(t *testing.T, origin string) string { return startNginx(t, origin, nil) }, false},
}

// recipe writes a configuration of ours to a file, as it is but for what a user
// must fill in: pairs of old and new text, each there once.
func recipe(t *testing.T, name string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../configs", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if n := bytes.Count(text, []byte(pairs[i])); n != 1 {
			t.Fatalf("%s: %q is there %d times, want once", name, pairs[i], n)
		}
		text = bytes.ReplaceAll(text, []byte(pairs[i]), []byte(pairs[i+1]))
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, text, 0o644); err != nil { //nolint:gosec // the proxy may run as another user
		t.Fatal(err)
	}
	return file
}

func startVarnish(t *testing.T, origin string) string {
	t.Helper()
	host, port, _ := strings.Cut(origin, ":")
	vcl := recipe(t, "varnish.vcl", `.host = "127.0.0.1"`, `.host = "`+host+`"`, `.port = "8080"`, `.port = "`+port+`"`)
	address := freePort(t)
	p := launch(t, nil, "/usr/sbin/varnishd", "-F", "-j", "none", "-n", filepath.Join(t.TempDir(), "varnish"),
		"-a", address, "-T", "none", "-f", vcl, "-s", "malloc,256M", "-p", "thread_pool_min=500")
	return answers(t, p, address)
}

// startNginx also says where its log is, if log is not nil.
func startNginx(t *testing.T, origin string, log *string) string {
	t.Helper()
	address, dir := freePort(t), t.TempDir()
	site := recipe(t, "nginx.conf", "server 127.0.0.1:8080;", "server "+origin+";", "listen 80;", "listen "+address+";",
		"/var/cache/nginx/whipcast", filepath.Join(dir, "cache"))
	// One process, so that whoever ends it ends all of it. As another user it
	// could not read its folder.
	whole := fmt.Sprintf("daemon off; master_process off; pid %s/pid; error_log stderr warn;\n", dir)
	if os.Geteuid() == 0 {
		whole += "user root;\n"
	}
	whole += "events { worker_connections 16384; }\nhttp {\n\taccess_log off;\n"
	if log != nil {
		*log = filepath.Join(dir, "log")
		whole = strings.Replace(whole, "access_log off", "log_format cached '$upstream_cache_status $request_uri';\n\taccess_log "+*log+" cached", 1)
	}
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		whole += fmt.Sprintf("\t%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	file := filepath.Join(dir, "whole.conf")
	if err := os.WriteFile(file, []byte(whole+"\tinclude "+site+";\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return answers(t, launch(t, nil, "/usr/sbin/nginx", "-e", "stderr", "-p", dir, "-c", file), address)
}

// answers waits until a program answers HTTP, whatever it says.
func answers(t *testing.T, p *program, address string) string {
	t.Helper()
	until(t, 30*time.Second, p.name+" answers", func() bool {
		select {
		case <-p.done:
			t.Fatalf("%s ended: %v\n%s", p.name, p.err, p.out)
		default:
		}
		_, err := get(t.Context(), "http://"+address+"/hls/none/index.m3u8")
		return err == nil
	})
	return address
}

// tally stands between a cache and its origin and counts what is asked.
type tally struct {
	address string

	mu    sync.Mutex
	asked map[string]int // below mu; by method and target, as "GET /hls/…"
}

func newTally(t *testing.T, origin string) *tally {
	t.Helper()
	y := &tally{asked: make(map[string]int)}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: origin})
	transport := &http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true}
	proxy.Transport = transport
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) } // as if it were not there
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		y.mu.Lock()
		y.asked[r.Method+" "+r.RequestURI]++
		y.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	y.address = strings.TrimPrefix(server.URL, "http://")
	return y
}

// count returns how many requests had a target that matches, and how many
// different ones there were.
func (y *tally) count(pattern string) (requests, targets int) {
	match := regexp.MustCompile(pattern)
	y.mu.Lock()
	defer y.mu.Unlock()
	for target, n := range y.asked {
		if match.MatchString(target) {
			requests += n
			targets++
		}
	}
	return requests, targets
}

// others returns what was asked and matches none of the patterns.
func (y *tally) others(patterns ...string) []string {
	match := regexp.MustCompile(strings.Join(patterns, "|"))
	var found []string
	y.mu.Lock()
	defer y.mu.Unlock()
	for target := range y.asked {
		if !match.MatchString(target) {
			found = append(found, target)
		}
	}
	return found
}

// visit asks as a player does; headers are pairs of name and value.
func visit(t *testing.T, method, url string, headers ...string) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return reply{res.StatusCode, res.Header, body}
}

// cached is a live stream behind a cache.
type cached struct {
	*testing.T

	base     string // URL of the cache
	origin   *tally
	playlist string // path of the video's media playlist
	joins    bool
}

// next returns the directives for the version that comes next.
func (c *cached) next() (msn, part int) {
	return edge(string(visit(c.T, "GET", c.base+c.playlist).body))
}

// wants fails the test if a header of an answer is another one.
func (c *cached) wants(r reply, what string, status int, pairs ...string) {
	c.Helper()
	if r.status != status {
		c.Errorf("%s: status %d, want %d: %.100s", what, r.status, status, r.body)
	}
	for i := 0; i < len(pairs); i += 2 {
		if got := r.header.Get(pairs[i]); got != pairs[i+1] {
			c.Errorf("%s: %s %q, want %q", what, pairs[i], got, pairs[i+1])
		}
	}
}

// once fails the test unless the origin was asked for something once, or for a
// held request any number of times if the cache does not join those.
func (c *cached) once(what, pattern string) {
	c.Helper()
	if !c.joins && strings.Contains(pattern, "_HLS_msn") {
		return
	}
	if n, _ := c.origin.count(pattern); n != 1 {
		c.Errorf("%s: %d requests at the origin, want 1", what, n)
	}
}

// TestCacheRules: the recipes for caches do what docs/cdn.md says, request by
// request (specs L98, L99, L103, S29 to S34).
func TestCacheRules(t *testing.T) {
	g := serve(t)
	publish(t, g.url("/whip/show"))
	locked := serve(t, "WHIPCAST_AUTH_WATCH=token")
	publish(t, locked.url("/whip/show"))
	playlists := newProbe(g).start(t.Context(), t, "show")
	playlist, _ := pair(t, playlists)
	for _, cache := range caches {
		t.Run(cache.name, func(t *testing.T) {
			y := newTally(t, g.address)
			c := &cached{T: t, base: "http://" + cache.start(t, y.address), origin: y, playlist: "/hls/" + playlist, joins: cache.joins}
			c.media()
			c.spelling()
			c.encodings()
			c.lifetimes()
			c.failures()
			c.browsers()
			if junk := y.others(
				`^GET /hls/none/index\.m3u8$`, `^GET /hls/[a-z]+/index\.m3u8$`, `^GET /hls/[^?]+\.(m4s|mp4)$`, `^(OPTIONS|POST) `, `^GET /watch/show\?x=1$`,
				`^GET /hls/[^?]+/index\.m3u8(\?_HLS_msn=[0-9]+(&_HLS_part=[0-9]+)?(&_HLS_skip=YES)?)?$`,
				`^GET .*\?token=secret&a=b$`,
			); len(junk) > 0 {
				t.Errorf("the origin was asked %q", junk)
			}
			private(t, cache.start(t, locked.address))
		})
	}
}

// media is kept, in whole and in ranges, whatever the query.
func (c *cached) media() {
	segment := ""
	until(c.T, 20*time.Second, "a segment is listed", func() bool {
		for _, uri := range uris(string(visit(c.T, "GET", c.base+c.playlist).body)) {
			if strings.HasPrefix(uri, "s") {
				segment = path.Dir(c.playlist) + "/" + uri
			}
		}
		return segment != ""
	})
	whole := visit(c.T, "GET", c.base+segment)
	length := strconv.Itoa(len(whole.body))
	c.wants(whole, "segment", 200, "Content-Type", "video/mp4", "Cache-Control", "public, max-age=31536000, immutable", "X-Cache", "MISS",
		"Access-Control-Allow-Origin", "*", "Content-Length", length)
	c.wants(visit(c.T, "GET", c.base+segment+"?viewer=7"), "segment with a query", 200, "X-Cache", "HIT", "Content-Length", length)
	part := visit(c.T, "GET", c.base+segment, "Range", "bytes=100-299")
	c.wants(part, "range", 206, "Content-Range", "bytes 100-299/"+length, "X-Cache", "HIT")
	if !bytes.Equal(part.body, whole.body[100:300]) {
		c.Error("a range has other bytes than the whole")
	}
	c.wants(visit(c.T, "HEAD", c.base+segment), "HEAD", 200, "Content-Length", length, "X-Cache", "HIT")
	c.wants(visit(c.T, "GET", c.base+segment, "Range", "bytes=99999999-"), "range beyond the end", 416)
	c.once("segment", regexp.QuoteMeta(segment))
}

// spelling: one question reaches the origin in one form, whatever is around it.
func (c *cached) spelling() {
	msn, part := c.next()
	want := fmt.Sprintf("%s?_HLS_msn=%d&_HLS_part=%d&_HLS_skip=YES", c.playlist, msn, part)
	for _, query := range []string{
		"_HLS_msn=%d&_HLS_part=%d&_HLS_skip=YES", "_HLS_skip=YES&_HLS_part=%[2]d&_HLS_msn=%[1]d",
		"viewer=7&_HLS_msn=00%d&session=a_HLS_msn=3&_HLS_part=0%d&_HLS_skip=YES&_HLS_push=1",
	} {
		c.wants(visit(c.T, "GET", c.base+c.playlist+"?"+fmt.Sprintf(query, msn, part)), query, 200)
	}
	c.once("three spellings", "^GET "+regexp.QuoteMeta(want)+"$")
	if _, forms := c.origin.count("^GET " + regexp.QuoteMeta(want)); forms != 1 {
		c.Errorf("three spellings reached the origin in %d forms", forms)
	}
	before, _ := c.origin.count("^GET " + regexp.QuoteMeta(c.playlist) + "$")
	for i := range 20 {
		c.wants(visit(c.T, "GET", fmt.Sprintf("%s%s?junk%d=%d", c.base, c.playlist, i, i)), "junk", 200)
	}
	if after, _ := c.origin.count("^GET " + regexp.QuoteMeta(c.playlist) + "$"); after > before+3 {
		c.Errorf("20 requests with junk made %d at the origin", after-before)
	}
	c.wants(visit(c.T, "GET", c.base+"/watch/show?x=1"), "a page", 200)
	// A token goes through, with all that it came with.
	c.wants(visit(c.T, "GET", c.base+c.playlist+"?token=secret&a=b"), "token", 200)
	c.wants(visit(c.T, "GET", c.base+c.playlist+"?token=secret&a=b"), "token", 200)
	if n, _ := c.origin.count(`token=secret&a=b$`); n != 2 {
		c.Errorf("2 requests with a token made %d at the origin", n)
	}
}

// encodings: one version is fetched once, whatever a player can decompress.
func (c *cached) encodings() {
	msn, part := c.next()
	target := fmt.Sprintf("%s?_HLS_msn=%d&_HLS_part=%d", c.playlist, msn, part)
	plain := visit(c.T, "GET", c.base+target)
	c.wants(plain, "identity", 200, "Content-Encoding", "")
	if !bytes.HasPrefix(plain.body, []byte("#EXTM3U\n")) {
		c.Errorf("identity: %.20q", plain.body)
	}
	for _, accept := range []string{"gzip, deflate, br, zstd", "gzip", "br;q=1, gzip;q=0.5"} {
		r := visit(c.T, "GET", c.base+target, "Accept-Encoding", accept)
		c.wants(r, accept, 200, "Content-Encoding", "gzip", "Vary", "Accept-Encoding", "Content-Type", "application/vnd.apple.mpegurl")
		unzip, err := gzip.NewReader(bytes.NewReader(r.body))
		if err != nil {
			c.Fatal(err)
		}
		if text, err := io.ReadAll(unzip); err != nil || !bytes.Equal(text, plain.body) {
			c.Errorf("%s: another text, %v", accept, err)
		}
	}
	c.wants(visit(c.T, "GET", c.base+target, "Accept-Encoding", "gzip;q=0, br"), "no gzip", 200, "Content-Encoding", "")
	c.wants(visit(c.T, "HEAD", c.base+target), "HEAD of a playlist", 200)
	c.once("one version", "^GET "+regexp.QuoteMeta(target)+"$")
}

// lifetimes: whoever gets an old playlist is told how old it is, or gets none;
// errors are over after a second.
func (c *cached) lifetimes() {
	msn, part := c.next()
	target := fmt.Sprintf("%s?_HLS_msn=%d&_HLS_part=%d", c.playlist, msn, part)
	missing := path.Dir(c.playlist) + "/p9999999999.m4s"
	first := visit(c.T, "GET", c.base+target)
	c.wants(first, "held", 200)
	for range 3 {
		c.wants(visit(c.T, "GET", c.base+missing), "a part that is not there", 404, "Cache-Control", "public, max-age=1", "Access-Control-Allow-Origin", "*")
	}
	errors, _ := c.origin.count(regexp.QuoteMeta(missing))
	time.Sleep(2100 * time.Millisecond)
	later := visit(c.T, "GET", c.base+target)
	age, _ := strconv.Atoi(later.header.Get("Age"))
	same := bytes.Equal(first.body, later.body)
	if c.joins && (age < 2 || !same) {
		c.Errorf("after 2.1 s: Age %d, the same playlist %v; want 2 or 3 of a kept one", age, same)
	}
	if !c.joins && same {
		c.Error("after 2.1 s the playlist is still kept, and nothing tells how old it is")
	}
	if c.joins && errors != 1 {
		c.Errorf("an error asked for three times made %d requests", errors)
	}
	visit(c.T, "GET", c.base+missing)
	if n, _ := c.origin.count(regexp.QuoteMeta(missing)); n != errors+1 {
		c.Errorf("after 2.1 s an error is still kept: %d requests", n)
	}
}

// failures of who asks are told as the origin does.
func (c *cached) failures() {
	c.wants(visit(c.T, "GET", c.base+c.playlist+"?_HLS_msn=99999"), "too far ahead", 400, "Access-Control-Allow-Origin", "*", "Cache-Control", "public, max-age=1")
	c.wants(visit(c.T, "GET", c.base+"/hls/nobody/index.m3u8"), "no stream", 404, "Access-Control-Allow-Origin", "*", "Cache-Control", "public, max-age=1")
	c.wants(visit(c.T, "POST", c.base+c.playlist), "POST", 405)
}

// browsers: what pages of other origins need.
func (c *cached) browsers() {
	r := visit(c.T, "OPTIONS", c.base+c.playlist, "Origin", "https://example.org", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "range")
	c.wants(r, "preflight", 204, "Access-Control-Allow-Origin", "*", "Access-Control-Allow-Methods", "GET, HEAD, OPTIONS", "Access-Control-Allow-Headers", "Authorization, Range")
	for range 2 { // the second one from the cache
		r = visit(c.T, "GET", c.base+c.playlist, "Origin", "https://example.org", "Cookie", "a=b")
		c.wants(r, "playlist for a page", 200, "Access-Control-Allow-Origin", "*", "Access-Control-Expose-Headers", "Age, Date, Content-Length, Content-Range")
	}
	if r.header.Get("X-Cache") != "HIT" {
		c.Errorf("a cookie keeps a playlist out of the cache: %s", r.header.Get("X-Cache"))
	}
}

// private: what one viewer may see does not stay for the next one.
func private(t *testing.T, address string) {
	t.Helper()
	c := &cached{T: t}
	url := "http://" + address + "/hls/show/index.m3u8"
	until(t, 30*time.Second, "the locked stream is live", func() bool {
		return visit(t, "GET", url, "Authorization", "Bearer "+token).status == http.StatusOK
	})
	for range 2 {
		c.wants(visit(t, "GET", url), "without a token", 401, "Cache-Control", "no-store")
		c.wants(visit(t, "GET", url, "Authorization", "Bearer "+token), "with one", 200, "Cache-Control", "private, max-age=2")
	}
}
