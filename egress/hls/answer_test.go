package hls_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/egress/hls"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/memory"
)

func firstHop(r *http.Request) netip.Addr {
	address, _ := netip.ParseAddr(r.Header.Get("X-Client"))
	return address
}

func TestL57X28HintedPart(t *testing.T) {
	w := newWorld(t, hls.Config{})
	p := position(10, 2, 5)
	part := strings.TrimPrefix(p.Hint, directory)
	content := []string{strings.Repeat("moof", 100), strings.Repeat("mdat", 50_000)}

	t.Run("not hinted: 404 at once", func(t *testing.T) {
		w := *w
		w.t = t
		w.problem(w.get("/hls/"+p.Hint), http.StatusNotFound) // no playlist yet
		w.put(playlist(p))
		for _, name := range []string{"p0000000053.m4s", "p0000000001.m4s", "p9999999999.m4s", "s00000010.m4s", "init-00000000.mp4"} {
			begin := time.Now()
			a := w.get("/hls/" + directory + name)
			w.problem(a, http.StatusNotFound)
			if a.header.Get("Cache-Control") != "public, max-age=1" || time.Since(begin) > time.Second {
				t.Errorf("%s: Cache-Control %q after %v", name, a.header.Get("Cache-Control"), time.Since(begin))
			}
		}
		w.problem(w.get("/hls/show/m1abc/audio/"+part), http.StatusNotFound) // the hint of another rendition
	})
	t.Run("hinted: held until all of it is there", func(t *testing.T) {
		w := *w
		w.t = t
		replies := []<-chan answer{w.later("/hls/" + p.Hint), w.later("/hls/" + p.Hint), w.later("/hls/"+p.Hint, "Range: bytes=400-407")}
		w.held(3)
		w.put(media(part, storage.Part, content...))
		w.want(<-replies[0], http.StatusOK, strings.Join(content, ""))
		w.want(<-replies[1], http.StatusOK, strings.Join(content, ""))
		w.want(<-replies[2], http.StatusPartialContent, "mdatmdat")
		w.held(0)
	})
	t.Run("there: answered at once", func(t *testing.T) {
		w := *w
		w.t = t
		w.want(w.get("/hls/"+p.Hint), http.StatusOK, strings.Join(content, ""))
	})
	t.Run("hinted and given up: 404", func(t *testing.T) {
		w := *w
		w.t = t
		p := position(10, 3, 5)
		w.put(playlist(p))
		reply := w.later("/hls/" + p.Hint)
		w.held(1)
		w.put(playlist(ended(position(10, 3, 5))))
		w.remove(p.Hint)
		w.problem(<-reply, http.StatusNotFound)
		w.problem(w.get("/hls/"+p.Hint), http.StatusNotFound)
	})
}

// TestS29 is the table of specs S29, row by row.
func TestS29(t *testing.T) {
	long := func(p storage.Position) storage.Position {
		p.Target = 7 * time.Second
		return p
	}
	two := ended(position(20, 0, 5))
	for name, authorize := range map[string]hls.Authorize{
		"public":  nil,
		"private": func(*http.Request, string) (string, error) { return "viewer", nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, hls.Config{Authorize: authorize})
			live7, short, over := playlist(long(position(10, 2, 5))), playlist(position(10, 2, 5)), playlist(two)
			short.Key, over.Key = "show/m1abc/short/index.m3u8", "show/m1abc/over/index.m3u8"
			plain := live7
			plain.Key, plain.Kind, plain.Delta = "show/m1abc/plain/index.m3u8", storage.Playlist, nil
			sound := media("s00000009.m4s", storage.Segment, "x")
			sound.Key, sound.Type = "show/m1abc/audio/s00000009.m4s", "audio/mp4"
			w.put(live7, short, over, plain, multivariant(), sound, media("init-0123abcd.mp4", storage.Init, "x"),
				media("s00000009.m4s", storage.Segment, "x"), media("p0000000050.m4s", storage.Part, "x"))
			for _, row := range []struct {
				path, contentType, cache, priority string
			}{
				{"/hls/show/index.m3u8", mpegURL, "max-age=2", "u=1"},
				{"/hls/show/m1abc/plain/index.m3u8", mpegURL, "max-age=3", "u=1"},
				{live, mpegURL, "max-age=3", "u=1"},
				{live + "?_HLS_skip=YES", mpegURL, "max-age=3", "u=1"},
				{live + "?_HLS_msn=9", mpegURL, "max-age=42", "u=1"},
				{live + "?_HLS_msn=9&_HLS_part=1&_HLS_skip=YES", mpegURL, "max-age=42", "u=1"},
				{"/hls/show/m1abc/short/index.m3u8", mpegURL, "max-age=1", "u=1"},
				{"/hls/show/m1abc/short/index.m3u8?_HLS_msn=9", mpegURL, "max-age=6", "u=1"},
				{"/hls/show/m1abc/over/index.m3u8", mpegURL, "max-age=3600", "u=1"},
				{"/hls/show/m1abc/over/index.m3u8?_HLS_msn=99", mpegURL, "max-age=3600", "u=1"},
				{"/hls/" + directory + "init-0123abcd.mp4", "video/mp4", "max-age=31536000, immutable", "u=3"},
				{"/hls/" + directory + "s00000009.m4s", "video/mp4", "max-age=31536000, immutable", "u=3"},
				{"/hls/" + directory + "p0000000050.m4s", "video/mp4", "max-age=31536000, immutable", "u=3"},
				{"/hls/show/m1abc/audio/s00000009.m4s", "audio/mp4", "max-age=31536000, immutable", "u=3"},
				{"/hls/" + directory + "s00000099.m4s", "application/problem+json", "max-age=1", ""},
				{"/hls/nobody/index.m3u8", "application/problem+json", "max-age=1", ""},
				{live + "?_HLS_part=1", "application/problem+json", "max-age=1", ""},
			} {
				a := w.get(row.path)
				if got, want := a.header.Get("Cache-Control"), name+", "+row.cache; got != want {
					t.Errorf("L98 %s: Cache-Control %q, want %q", row.path, got, want)
				}
				if got := a.header.Get("Content-Type"); got != row.contentType {
					t.Errorf("L101 %s: Content-Type %q, want %q", row.path, got, row.contentType)
				}
				if got := a.header.Get("Priority"); got != row.priority {
					t.Errorf("L96 %s: Priority %q, want %q", row.path, got, row.priority)
				}
				if a.length <= 0 {
					t.Errorf("%s: no Content-Length", row.path)
				}
				if a.header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("X12 %s: no nosniff", row.path)
				}
				if a.header.Get("Age") != "" {
					t.Errorf("L97 %s: Age is for caches", row.path)
				}
			}
		})
	}
}

func TestL95S30Gzip(t *testing.T) {
	w := startWorld(t, hls.Config{}, servers()["HTTP/2"])
	p := position(10, 2, 5)
	w.put(playlist(p), multivariant(), media("s00000009.m4s", storage.Segment, strings.Repeat("a", 10_000)))
	for accept, want := range map[string]string{
		"gzip, deflate, br": "gzip", "*": "gzip", "identity": "", "gzip;q=0": "", "br": "", "gzip;q=0.1, identity": "gzip",
	} {
		a := w.get(live, "Accept-Encoding: "+accept)
		w.want(a, http.StatusOK, text(p))
		if a.header.Get("Content-Encoding") != want || a.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: Content-Encoding %q, Vary %q", accept, a.header.Get("Content-Encoding"), a.header.Get("Vary"))
		}
		if packed := a.length < int64(len(text(p))); packed != (want == "gzip") || a.proto != 2 {
			t.Errorf("%s: %d bytes by HTTP/%d", accept, a.length, a.proto)
		}
	}
	if a := w.get("/hls/show/index.m3u8"); a.header.Get("Content-Encoding") != "gzip" {
		t.Error("multivariant playlist not compressed")
	}
	if a := w.get("/hls/" + directory + "s00000009.m4s"); a.header.Get("Content-Encoding") != "" || a.length != 10_000 {
		t.Error("media is not for compressing")
	}
	tiny := multivariant()
	tiny.Body = storage.Body{[]byte("#EXTM3U\n")}
	w.put(tiny)
	if a := w.get("/hls/show/index.m3u8"); a.header.Get("Content-Encoding") != "" || a.body != "#EXTM3U\n" {
		t.Errorf("what grows by compression is sent as it is: %+v", a)
	}
}

func TestL97TheSameQuestionHasTheSameAnswer(t *testing.T) {
	w := newWorld(t, hls.Config{})
	w.put(playlist(position(10, 2, 5)))
	path := live + "?_HLS_msn=10&_HLS_part=2"
	first, second := w.later(path), w.later(path)
	w.held(2)
	w.put(playlist(position(10, 3, 5)))
	one, other := <-first, <-second
	third := w.get(path)
	for _, a := range []answer{one, other, third} {
		a.header.Del("Date")
		if a.body != one.body || fmt.Sprint(a.header) != fmt.Sprint(one.header) {
			t.Errorf("%v %q, and %v %q", one.header, one.body, a.header, a.body)
		}
	}
	if one.header.Get("Set-Cookie") != "" || one.header.Get("Cache-Control") != "public, max-age=6" {
		t.Errorf("a shared cache cannot coalesce: %v", one.header)
	}
}

func TestL93LastModified(t *testing.T) {
	w := newWorld(t, hls.Config{})
	w.put(playlist(position(10, 2, 5)))
	const want = "Fri, 15 Jan 2027 08:00:00 GMT"
	if got := w.get(live).header.Get("Last-Modified"); got != want {
		t.Errorf("Last-Modified %q, want %q", got, want)
	}
	// A playlist changes within a second: no 304 by date.
	w.want(w.get(live, "If-Modified-Since: "+want), http.StatusOK, text(position(10, 2, 5)))
}

func TestL36NewestPlaylistIsServed(t *testing.T) {
	w := newWorld(t, hls.Config{})
	for msn := uint64(10); msn < 40; msn++ {
		for parts := range 3 {
			p := position(msn, parts, 3)
			w.put(playlist(p))
			w.want(w.get(live), http.StatusOK, text(p))
		}
	}
	if n := w.handler.Stats().Prepared; n != 90 {
		t.Errorf("%d renderings of 90 versions", n)
	}
}

func TestL100NoRedirects(t *testing.T) {
	w := newWorld(t, hls.Config{})
	w.put(playlist(position(10, 2, 5)), multivariant())
	for _, path := range []string{
		"/hls/show", "/hls/show/", "/hls//show/index.m3u8", "/hls/show/./index.m3u8", "/hls/show/index.m3u8/", "/hls/x/../show/index.m3u8",
	} {
		w.problem(w.get(path), http.StatusNotFound)
	}
}

func TestL102RemovedPresentation(t *testing.T) {
	w := newWorld(t, hls.Config{})
	w.put(playlist(position(10, 2, 5)), multivariant(), media("s00000009.m4s", storage.Segment, "segment"))
	w.want(w.get(live), http.StatusOK, text(position(10, 2, 5)))
	held := w.later(live + "?_HLS_msn=10")
	w.held(1)
	w.remove(directory + "index.m3u8")
	w.remove("show/index.m3u8")
	w.problem(<-held, http.StatusNotFound)
	w.problem(w.get(live), http.StatusNotFound)
	w.problem(w.get(live+"?_HLS_msn=10"), http.StatusNotFound)
	w.problem(w.get("/hls/show/index.m3u8"), http.StatusNotFound)
	w.want(w.get("/hls/"+directory+"s00000009.m4s"), http.StatusOK, "segment")
	// The next presentation of the stream is found at once.
	w.put(multivariant())
	w.want(w.get("/hls/show/index.m3u8"), http.StatusOK, string(multivariant().Body.Bytes()))
}

func TestS34Ranges(t *testing.T) {
	w := newWorld(t, hls.Config{})
	w.put(playlist(position(10, 2, 5)), media("s00000009.m4s", storage.Segment, "0123", "", "456", "789"))
	segment := "/hls/" + directory + "s00000009.m4s"
	for _, test := range []struct {
		field, body, content string
		status               int
	}{
		{"bytes=0-3", "0123", "bytes 0-3/10", http.StatusPartialContent},
		{"bytes=2-7", "234567", "bytes 2-7/10", http.StatusPartialContent},
		{"bytes=7-", "789", "bytes 7-9/10", http.StatusPartialContent},
		{"bytes=-2", "89", "bytes 8-9/10", http.StatusPartialContent},
		{"bytes=5-99", "56789", "bytes 5-9/10", http.StatusPartialContent},
		{"bytes=0-1,4-5", "0123456789", "", http.StatusOK},
		{"nonsense", "0123456789", "", http.StatusOK},
	} {
		a := w.get(segment, "Range: "+test.field)
		w.want(a, test.status, test.body)
		if a.header.Get("Content-Range") != test.content || a.length != int64(len(test.body)) || a.header.Get("Accept-Ranges") != "bytes" {
			t.Errorf("%s: %v", test.field, a.header)
		}
		if a.header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", test.field, a.header.Get("Cache-Control"))
		}
	}
	a := w.get(segment, "Range: bytes=10-")
	w.problem(a, http.StatusRequestedRangeNotSatisfiable)
	if a.header.Get("Content-Range") != "bytes */10" {
		t.Errorf("Content-Range %q", a.header.Get("Content-Range"))
	}
	w.want(w.get(segment, "Range: bytes=0-3", `If-Range: "tag"`), http.StatusOK, "0123456789")
	w.want(w.get(live, "Range: bytes=0-3"), http.StatusOK, text(position(10, 2, 5)))
}

func TestCORS(t *testing.T) {
	open := newWorld(t, hls.Config{})
	open.put(playlist(position(10, 2, 5)))
	list := newWorld(t, hls.Config{Origins: []string{"https://a.example", "https://b.example"}})
	list.put(playlist(position(10, 2, 5)))
	const exposed = "Age, Date, Content-Length, Content-Range"

	for _, path := range []string{live, "/hls/" + directory + "none.m4s", live + "?_HLS_part=1"} {
		a := open.get(path, "Origin: https://any.example")
		if a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Access-Control-Expose-Headers") != exposed {
			t.Errorf("L103, X10 %s: %v", path, a.header)
		}
		if a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("X9 %s: credentials", path)
		}
		a = list.get(path, "Origin: https://b.example")
		if a.header.Get("Access-Control-Allow-Origin") != "https://b.example" || !strings.Contains(a.header.Get("Vary"), "Origin") {
			t.Errorf("X9 %s: %v", path, a.header)
		}
		for _, fields := range [][]string{{"Origin: https://c.example"}, {"Origin: https://a.example.evil"}, {"Origin: null"}, nil} {
			a = list.get(path, fields...)
			if a.header.Get("Access-Control-Allow-Origin") != "" || !strings.Contains(a.header.Get("Vary"), "Origin") {
				t.Errorf("X9 %s with %s: %v", path, fields, a.header)
			}
		}
	}
	if vary := list.get(live).header.Get("Vary"); vary != "Accept-Encoding, Origin" {
		t.Errorf("Vary %q", vary)
	}
}

func TestX8PreflightIsOpenAndCheap(t *testing.T) {
	gets, asked := 0, 0
	handler := hls.New(hls.Config{Authorize: func(*http.Request, string) (string, error) {
		asked++
		return "", problem.Problem{Status: http.StatusUnauthorized, Title: "No", Detail: "No."}
	}}, counted{memory.New(memory.Config{}), &gets})
	server := httptest.NewServer(handler)
	defer server.Close()
	for _, path := range []string{"/hls/show/index.m3u8", live, "/hls/" + directory + "s00000001.m4s"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://a.example")
		r.Header.Set("Access-Control-Request-Method", "GET")
		r.Header.Set("Access-Control-Request-Headers", "authorization, range")
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		h := response.Header
		if response.StatusCode != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != "*" ||
			h.Get("Access-Control-Allow-Headers") != "Authorization, Range" || h.Get("Access-Control-Allow-Methods") != "GET, HEAD, OPTIONS" ||
			h.Get("Access-Control-Max-Age") == "" {
			t.Errorf("X8, X10: %d %v", response.StatusCode, h)
		}
	}
	if gets != 0 || asked != 0 {
		t.Errorf("%d reads of the store, %d authorizations", gets, asked)
	}
}

func TestX11Authorize(t *testing.T) {
	tokens := map[string]int{"Bearer good": http.StatusOK, "": http.StatusUnauthorized, "Bearer other": http.StatusForbidden}
	w := newWorld(t, hls.Config{Authorize: func(r *http.Request, stream string) (string, error) {
		status := tokens[r.Header.Get("Authorization")]
		if r.URL.Query().Get("token") == "good" { // a signed URL
			status = http.StatusOK
		}
		if status == http.StatusOK {
			return stream, nil
		}
		return "", problem.Problem{Status: status, Title: "Not allowed", Detail: "Bring a token for this stream."}
	}})
	p := position(10, 2, 5)
	w.put(playlist(p), multivariant(), media("s00000009.m4s", storage.Segment, "segment"))
	paths := []string{"/hls/show/index.m3u8", live, live + "?_HLS_msn=10", "/hls/" + directory + "s00000009.m4s", "/hls/" + p.Hint, "/hls/nobody/index.m3u8"}
	for _, path := range paths {
		for token, status := range tokens {
			if status == http.StatusOK {
				continue
			}
			a := w.get(path, "Authorization: "+token)
			w.problem(a, status)
			if a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: Cache-Control %q", path, a.header.Get("Cache-Control"))
			}
			if challenge := a.header.Get("Www-Authenticate") != ""; challenge != (status == http.StatusUnauthorized) {
				t.Errorf("%s: %d, and WWW-Authenticate is %t", path, status, challenge)
			}
			// X1: nobody learns which streams exist.
			if unknown := w.get("/hls/unknown/index.m3u8", "Authorization: "+token); unknown.body != a.body || unknown.status != a.status {
				t.Errorf("%s: %q, but for an unknown stream %q", path, a.body, unknown.body)
			}
		}
	}
	w.held(0)
	for _, path := range []string{live, "/hls/" + directory + "s00000009.m4s"} {
		for _, a := range []answer{w.get(path, "Authorization: Bearer good"), w.get(path + "?token=good")} {
			if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Cache-Control"), "private, ") {
				t.Errorf("%s: %d, Cache-Control %q", path, a.status, a.header.Get("Cache-Control"))
			}
		}
	}
	w.want(w.get(live, "Authorization: Bearer good"), http.StatusOK, text(p))
}

// TestX11PathToken: relative URLs keep a token of the path, so the query form of the
// first playlist leads there; shared caches may keep what is found only with the token.
func TestX11PathToken(t *testing.T) {
	w := newWorld(t, hls.Config{Authorize: func(r *http.Request, stream string) (string, error) {
		if strings.Contains(r.RequestURI, "good") || r.Header.Get("Authorization") == "Bearer good" {
			return stream, nil
		}
		return "", problem.Problem{Status: http.StatusUnauthorized, Title: "Not allowed", Detail: "Bring a token."}
	}})
	p := position(10, 2, 5)
	w.put(playlist(p), multivariant(), media("s00000009.m4s", storage.Segment, "segment"))
	segment := "/hls/" + directory + "s00000009.m4s"
	under := func(path string) string { return "/hls/~good/" + strings.TrimPrefix(path, "/hls/") }
	for _, row := range []struct {
		path, header, cache, location string
		status                        int
	}{
		{"/hls/show/index.m3u8", "Bearer good", "private, max-age=2", "", 200},
		{"/hls/show/index.m3u8?token=good", "", "no-store", "/hls/~good/show/index.m3u8", 302},
		{under("/hls/show/index.m3u8"), "", "public, max-age=2", "", 200},
		{under("/hls/show/index.m3u8") + "?token=bad", "", "public, max-age=2", "", 200},
		{live + "?token=good", "", "private, max-age=1", "", 200},
		{under(live), "", "public, max-age=1", "", 200},
		{under(live) + "?_HLS_msn=9", "", "public, max-age=6", "", 200},
		{under(segment), "", "public, max-age=31536000, immutable", "", 200},
		{segment + "?token=good", "", "private, max-age=31536000, immutable", "", 200},
		{"/hls/~bad/show/index.m3u8", "", "no-store", "", 401},
		{"/hls/show/index.m3u8?token=bad", "", "no-store", "", 401},
		{under("/hls/nobody/index.m3u8"), "", "private, max-age=1", "", 404},
	} {
		a := w.get(row.path, "Authorization: "+row.header)
		if a.status != row.status || a.header.Get("Cache-Control") != row.cache || a.header.Get("Location") != row.location {
			t.Errorf("%s: %d, Cache-Control %q, Location %q; want %d, %q, %q",
				row.path, a.status, a.header.Get("Cache-Control"), a.header.Get("Location"), row.status, row.cache, row.location)
		}
		if a.header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("X4: %s: Referrer-Policy %q", row.path, a.header.Get("Referrer-Policy"))
		}
	}
	open := newWorld(t, hls.Config{}) // there, a token means nothing and does no harm
	open.put(playlist(p), multivariant())
	for _, path := range []string{"/hls/~any/show/index.m3u8", "/hls/show/index.m3u8?token=any"} {
		if a := open.get(path); a.status != http.StatusOK || a.header.Get("Cache-Control") != "public, max-age=2" {
			t.Errorf("%s: %d, %q", path, a.status, a.header.Get("Cache-Control"))
		}
	}
}

func TestX7BadNamesNeverReachTheStore(t *testing.T) {
	gets := 0
	server := httptest.NewServer(hls.New(hls.Config{}, counted{memory.New(memory.Config{}), &gets}))
	defer server.Close()
	for _, path := range []string{
		"/hls/%2e%2e/index.m3u8", "/hls/../index.m3u8", "/hls/show/../../../etc/passwd", "/hls/a%2fb/index.m3u8", "/hls/a%5cb/index.m3u8",
		"/hls/a%22b/index.m3u8", "/hls/a%0ab/index.m3u8", "/hls/a%0d%0aSet-Cookie:x/index.m3u8", "/hls/a%00/index.m3u8", "/hls/a'b/index.m3u8",
		"/hls/%61/index.m3u8", "/hls/show/m1/video/%2e%2e%2fs1.m4s", "/hls/show/m1/video/s1%2em4s", "/hls/show/m1/video/s1.ts",
		"/hls/" + strings.Repeat("a", 65) + "/index.m3u8", "/hls/caf%C3%A9/index.m3u8", "/hls/show/index.m3u8%00", "/hls/show/m1/video/index.m3u8;x=1",
	} {
		w := &world{t: t, server: server, client: server.Client()}
		a := w.get(path)
		w.problem(a, http.StatusNotFound)
		if strings.Contains(a.body, "passwd") || strings.Contains(a.body, "Set-Cookie") || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s is echoed: %q", path, a.body)
		}
	}
	if gets != 0 {
		t.Errorf("%d reads of the store", gets)
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	w := newWorld(t, hls.Config{})
	w.put(playlist(position(10, 2, 5)))
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, "PROPFIND"} {
		a := w.ask(t.Context(), method, live)
		w.problem(a, http.StatusMethodNotAllowed)
		if a.header.Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: Allow %q", method, a.header.Get("Allow"))
		}
	}
	w.want(w.get(live), http.StatusOK, text(position(10, 2, 5)))
}

func TestCloseReleasesHeldRequests(t *testing.T) {
	w := newWorld(t, hls.Config{})
	p := position(10, 2, 5)
	w.put(playlist(p))
	replies := []<-chan answer{w.later(live + "?_HLS_msn=10"), w.later("/hls/" + p.Hint)}
	w.held(2)
	w.handler.Close()
	for _, reply := range replies {
		a := <-reply
		w.problem(a, http.StatusServiceUnavailable)
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	w.held(0)
	w.problem(w.get(live+"?_HLS_msn=10"), http.StatusServiceUnavailable) // no more is held
	w.want(w.get(live), http.StatusOK, text(p))                          // the rest goes on
	w.handler.Close()
}

func TestTheServersContextReleasesHeldRequests(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := startWorld(t, hls.Config{}, func(s *httptest.Server) {
		s.Config.BaseContext = func(net.Listener) context.Context { return ctx }
		s.Start()
	})
	w.put(playlist(position(10, 2, 5)))
	reply := w.later(live + "?_HLS_msn=10")
	w.held(1)
	cancel()
	w.problem(<-reply, http.StatusServiceUnavailable)
	w.held(0)
}
