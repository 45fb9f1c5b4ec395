package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
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

	"github.com/whipcast/whipcast/internal/hlscheck"
)

// caches are the proxies that configs has recipes for.
var caches = []struct {
	name  string
	start func(t *testing.T, origin string) string // returns its address
	joins bool                                     // held requests become one; playlists are kept and say how old they are
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
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
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
// playlist any number of times if the cache does not keep those.
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
				`^(GET|HEAD) /hls/[^?]+/index\.m3u8(\?_HLS_msn=[0-9]+(&_HLS_part=[0-9]+)?(&_HLS_skip=YES)?)?$`,
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
	if after, _ := c.origin.count("^GET " + regexp.QuoteMeta(c.playlist) + "$"); c.joins && after > before+3 {
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
	if c.joins && r.header.Get("X-Cache") != "HIT" {
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

// TestCacheOutage: what caches make of a gateway that dies while requests are
// held, is away, and comes back: no old playlist, an error that scripts can read
// and that is forgotten after a second. And they wait for a slow one (specs S33).
func TestCacheOutage(t *testing.T) {
	for _, cache := range caches {
		t.Run(cache.name, func(t *testing.T) {
			t.Parallel()
			g := serveWith(t, plainBinary)
			publish(t, g.url("/whip/show"))
			playlist, _ := pair(t, newProbe(g).start(t.Context(), t, "show"))
			c := &cached{T: t, base: "http://" + cache.start(t, g.address), playlist: "/hls/" + playlist}
			msn, _ := c.next()
			held := make(chan reply, 1)
			go func() {
				got, _ := get(t.Context(), fmt.Sprintf("%s%s?_HLS_msn=%d", c.base, c.playlist, msn+1)) // two seconds away or more
				held <- got
			}()
			time.Sleep(200 * time.Millisecond)
			_ = g.cmd.Process.Kill()
			<-g.done
			if got := <-held; got.status < 500 {
				t.Errorf("the held request: status %d, want an error", got.status)
			}
			time.Sleep(2100 * time.Millisecond) // a playlist may be kept for a second
			for range 2 {
				c.wants(visit(t, "GET", c.base+c.playlist), "without a gateway", 503,
					"Access-Control-Allow-Origin", "*", "Cache-Control", "public, max-age=1", "Retry-After", "1")
			}
			g = startAgain(t, g)
			until(t, 30*time.Second, "the gateway has the stream again", func() bool {
				return visit(t, "GET", g.url(c.playlist)).status == http.StatusOK
			})
			time.Sleep(1100 * time.Millisecond)
			c.wants(visit(t, "GET", c.base+c.playlist), "with a gateway again", 200)

			asked := 0
			slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.RawQuery, "_HLS_msn") {
					asked++
					time.Sleep(7 * time.Second) // three target durations and more
				}
				_, _ = io.WriteString(w, "#EXTM3U\n")
			}))
			defer slow.Close()
			c.wants(visit(t, "GET", "http://"+cache.start(t, strings.TrimPrefix(slow.URL, "http://"))+c.playlist+"?_HLS_msn=7"), "held for long", 200)
			if asked != 1 {
				t.Errorf("a request that is held for long was sent %d times", asked)
			}
		})
	}
}

// liar is a cache that does things wrong.
type liar struct {
	strips bool // it drops queries
	keeps  bool // it keeps what came without a query for five seconds
	tells  bool // it says so by Age

	mu   sync.Mutex
	kept map[string]*keptAnswer // below mu, by path
}

type keptAnswer struct {
	reply

	at time.Time
}

func (l *liar) start(t *testing.T, origin string) string {
	l.kept = make(map[string]*keptAnswer)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Scheme, r.URL.Host = "http", origin
		if l.strips {
			r.URL.RawQuery = ""
		}
		a, err := l.answer(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		maps.Copy(w.Header(), a.header)
		w.Header().Del("Date") // its own
		if l.tells {
			w.Header().Set("Age", strconv.Itoa(int(time.Since(a.at).Seconds())))
		}
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func (l *liar) answer(r *http.Request) (*keptAnswer, error) {
	keep := l.keeps && r.URL.RawQuery == "" && strings.Contains(r.URL.Path, "/video/index.m3u8")
	if keep {
		l.mu.Lock()
		defer l.mu.Unlock()
		if a := l.kept[r.URL.Path]; a != nil && time.Since(a.at) < 5*time.Second {
			return a, nil
		}
	}
	got, err := get(r.Context(), r.URL.String())
	a := &keptAnswer{got, time.Now()}
	if keep && err == nil {
		l.kept[r.URL.Path] = a
	}
	return a, err
}

// TestCacheThatLies: who watches a stream through a cache notices that it drops
// delivery directives, or gives out old playlists and does not say so (specs
// S35); nothing is said of caches that do it right.
func TestCacheThatLies(t *testing.T) {
	g := serve(t)
	publish(t, g.url("/whip/show"))
	playlists := newProbe(g).start(t.Context(), t, "show")
	playlist, _ := pair(t, playlists)
	for _, tt := range []struct {
		name  string
		start func(t *testing.T, origin string) string
		want  string
	}{
		{"drops queries", (&liar{strips: true}).start, "S35"},
		{"old without Age", (&liar{keeps: true}).start, "S35"},
		{"old with Age", (&liar{keeps: true, tells: true}).start, ""},
		{"varnish", caches[0].start, ""},
		{"nginx", caches[1].start, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			found := monitor(t, "http://"+tt.start(t, g.address)+"/hls/", playlist)
			t.Logf("%q", found)
			if tt.want == "" && len(found) > 0 {
				t.Errorf("found %q", found)
			}
			if tt.want != "" && (len(found) == 0 || !strings.HasPrefix(found[0], tt.want+":")) {
				t.Errorf("found %q, want %s", found, tt.want)
			}
		})
	}
}

// monitor reloads a playlist for some seconds, now held and now not, and returns
// what is wrong with the answers.
func monitor(t *testing.T, base, uri string) []string {
	t.Helper()
	var c hlscheck.Checker
	query := ""
	for range 24 {
		for _, q := range []string{query, ""} {
			asked := time.Now()
			got := visit(t, "GET", base+uri+"?"+q)
			if got.status != http.StatusOK {
				t.Fatalf("%s?%s: status %d", uri, q, got.status)
			}
			c.Answer(uri, hlscheck.Answer{Query: q, Header: got.header, Asked: asked, Came: time.Now()}, got.body)
			if q == query {
				msn, part := edge(string(got.body))
				query = fmt.Sprintf("_HLS_msn=%d&_HLS_part=%d", msn, part)
			}
		}
	}
	var found []string
	for _, v := range c.Violations() {
		found = append(found, v.String())
	}
	return found
}

// TestBrowserCaches: hls.js plays low latency through the caches as it does from
// the gateway beside it: as smoothly, and as near to live.
func TestBrowserCaches(t *testing.T) {
	g := serveWith(t, plainBinary) // the browser needs the cores
	decide(t, func(run string) []string { return playCached(t, g, run) })
}

func playCached(t *testing.T, g *gateway, stream string) []string {
	t.Helper()
	path := "/hls/" + stream + "/index.m3u8"
	source := launch(t, nil, plainBinary, "publish", "--simulcast", "--url", g.url("/whip/"+stream), "--token", token)
	until(t, 30*time.Second, "the stream has three layers", func() bool {
		got, err := get(t.Context(), g.url(path))
		return err == nil && got.status == http.StatusOK && strings.Count(string(got.body), "RESOLUTION=") >= 3
	})
	time.Sleep(6 * time.Second) // players find the window that they want
	a := newAudience(t)
	small := map[string]any{"capLevelToPlayerSize": true} // decoding costs little
	a.open(t, order{Name: "gateway", Kind: "hls", URL: g.url(path), Config: small})
	for _, cache := range caches {
		a.open(t, order{Name: cache.name, Kind: "hls", URL: "http://" + cache.start(t, g.address) + path, Config: small})
	}
	a.settle(t)
	time.Sleep(4 * time.Second)
	begin := time.Now()
	time.Sleep(15 * time.Second)
	end := time.Now()
	seen := a.report(t)
	if err := source.stop(t); err != nil {
		t.Errorf("the publisher ended with %v", err)
	}
	var missed []string
	direct := seen["gateway"]
	for name, v := range seen {
		behind, played, stalls := v.behind(begin), v.played(begin, end), v.stalls(begin)
		t.Logf("%-8s %.2f s behind the publisher, %.1f s of %.1f s played, %d stalls; %s", name, behind, played, end.Sub(begin).Seconds(), stalls, v.errors())
		miss := func(ok bool, format string, args ...any) {
			if !ok {
				missed = append(missed, name+": "+fmt.Sprintf(format, args...))
			}
		}
		for _, fault := range v.faults(begin) {
			miss(false, "%s", fault)
		}
		// The players share what the machine has, and so what it lacks.
		miss(stalls <= direct.stalls(begin)+1, "%d stalls, without a cache %d", stalls, direct.stalls(begin))
		miss(played > 5 && played > 0.7*direct.played(begin, end), "%.1f s played, without a cache %.1f s", played, direct.played(begin, end))
		miss(behind > 0 && behind < direct.behind(begin)+2, "%.2f s behind the publisher, without a cache %.2f s", behind, direct.behind(begin))
	}
	return missed
}
