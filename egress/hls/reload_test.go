package hls_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/egress/hls"
	"github.com/whipcast/whipcast/storage"
)

// L54: the promise of CAN-BLOCK-RELOAD=YES is the tests of L60 to L72 below.

func TestReload(t *testing.T) {
	type step = storage.Position
	for _, test := range []struct {
		name  string
		query string
		at    step
		held  []step // the request stays held at each of these
		then  step   // and is answered at this one
	}{
		{"L60 msn is there", "_HLS_msn=9", position(10, 0, 5), nil, step{}},
		{"L60 msn is long past", "_HLS_msn=0", position(10, 0, 5), nil, step{}},
		{
			"L60 msn is open: a part is not enough", "_HLS_msn=10", position(10, 0, 5),
			[]step{position(10, 1, 5), position(10, 5, 5)},
			position(11, 0, 5),
		},
		{
			"L60 msn is two past the last", "_HLS_msn=11", position(10, 0, 5),
			[]step{position(10, 5, 5), position(11, 0, 5)},
			position(12, 0, 5),
		},
		{"L60 part is there", "_HLS_msn=10&_HLS_part=1", position(10, 2, 5), nil, step{}},
		{"L60 part is next", "_HLS_msn=10&_HLS_part=2", position(10, 2, 5), nil, position(10, 3, 5)},
		{
			"L60 part is the one after", "_HLS_msn=10&_HLS_part=3", position(10, 2, 5),
			[]step{position(10, 3, 5)},
			position(10, 4, 5),
		},
		{"L60 anything later will do", "_HLS_msn=10&_HLS_part=3", position(10, 2, 5), nil, position(12, 0, 5)},
		{"L60 part of a closed segment", "_HLS_msn=9&_HLS_part=4", position(10, 0, 5), nil, step{}},
		{"L61 beyond the last part of a closed segment", "_HLS_msn=9&_HLS_part=5", position(10, 0, 5), nil, position(10, 1, 5)},
		{"L61 far beyond", "_HLS_msn=9&_HLS_part=4000000000", position(10, 0, 5), nil, position(10, 1, 5)},
		{"L61 beyond, of a segment before that", "_HLS_msn=8&_HLS_part=99", position(10, 0, 5), nil, step{}},
		{
			"L61 it closes with fewer parts", "_HLS_msn=10&_HLS_part=4", position(10, 3, 5),
			[]step{position(11, 0, 3)},
			position(11, 1, 3),
		},
		{"L61 it closes with just enough", "_HLS_msn=10&_HLS_part=4", position(10, 3, 5), nil, position(11, 0, 5)},
		{"L61 part 0 of the next segment", "_HLS_msn=11&_HLS_part=0", position(10, 3, 5), []step{position(11, 0, 4)}, position(11, 1, 4)},
		{"L62 rolled off", "_HLS_msn=1&_HLS_part=0", position(10, 2, 5), nil, step{}},
		{"L63 the end releases msn", "_HLS_msn=11", position(10, 2, 5), nil, ended(position(10, 0, 2))},
		{"L63 the end releases part", "_HLS_msn=10&_HLS_part=4", position(10, 2, 5), nil, ended(position(11, 0, 3))},
		{"L99 sorted otherwise", "_HLS_part=2&_HLS_msn=10", position(10, 2, 5), nil, position(10, 3, 5)},
		{"L70 unknown parameters", "token=x&_HLS_part=2&_HLS_more=-1&_HLS_msn=10", position(10, 2, 5), nil, position(10, 3, 5)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hls.Config{})
			w.put(playlist(test.at))
			reply := w.later(live + "?" + test.query)
			if test.then == (step{}) {
				w.want(<-reply, http.StatusOK, text(test.at))
				return
			}
			w.held(1)
			for _, p := range test.held {
				w.put(playlist(p))
				w.held(1)
				select {
				case a := <-reply:
					t.Fatalf("answered at %+v: %d %q", p, a.status, a.body)
				case <-time.After(10 * time.Millisecond):
				}
			}
			w.put(playlist(test.then))
			w.want(<-reply, http.StatusOK, text(test.then)) // L62: the whole playlist
			w.held(0)
		})
	}
}

func TestL54PlaylistWithoutPartsBlocksToo(t *testing.T) {
	w := newWorld(t, hls.Config{})
	p := storage.Position{MSN: 10, Target: 2 * time.Second}
	plain := func(p storage.Position) storage.Object {
		o := playlist(p)
		o.Kind, o.Delta = storage.Playlist, nil
		return o
	}
	w.put(plain(p))
	reply := w.later(live + "?_HLS_msn=10&_HLS_part=3")
	w.held(1)
	p.MSN = 11
	w.put(plain(p))
	w.want(<-reply, http.StatusOK, text(p))
}

func TestL63EndIgnoresEveryDirective(t *testing.T) {
	w := newWorld(t, hls.Config{})
	p := ended(position(10, 0, 5))
	w.put(playlist(p))
	for _, query := range []string{
		"_HLS_msn=10", "_HLS_msn=18446744073709551616", "_HLS_part=1", "_HLS_msn=-1", "_HLS_skip=YES", "_HLS_msn=3&_HLS_msn=3",
		"_HLS_msn=99&_HLS_part=99&_HLS_skip=v2",
	} {
		w.want(w.get(live+"?"+query), http.StatusOK, text(p))
	}
}

func TestL64L65BadDirectivesAreRefusedAtOnce(t *testing.T) {
	w := newWorld(t, hls.Config{})
	w.put(playlist(position(10, 2, 5)))
	for item, queries := range map[string][]string{
		"L64": {
			"_HLS_part=1", "_HLS_msn=", "_HLS_msn=x", "_HLS_msn=-1", "_HLS_msn=+1", "_HLS_msn=1.0", "_HLS_msn=%31", "_HLS_msn=1&_HLS_msn=1",
			"_HLS_msn=10&_HLS_part=x", "_HLS_msn=10&_HLS_part=-1", "_HLS_msn=10&_HLS_part=1&_HLS_part=1", "_HLS_skip=YES&_HLS_skip=YES",
			"_HLS_msn=10&_HLS_part=18446744073709551616",
		},
		"X27": {"_HLS_msn=18446744073709551616", "_HLS_msn=18446744073709551615", "_HLS_msn=18446744073709551615&_HLS_part=18446744073709551615"},
		"L65": {"_HLS_msn=12", "_HLS_msn=12&_HLS_part=0", "_HLS_msn=10&_HLS_part=17", "_HLS_msn=11&_HLS_part=15"},
	} {
		for _, query := range queries {
			t.Run(item+" "+query, func(t *testing.T) {
				begin := time.Now()
				w := *w
				w.t = t
				w.problem(w.get(live+"?"+query), http.StatusBadRequest)
				if took := time.Since(begin); took > time.Second {
					t.Errorf("took %v", took)
				}
			})
		}
	}
}

func TestL66HeldForThreeTargetDurations(t *testing.T) {
	t.Parallel()
	// X25: the server's time-out for writing is shorter than the wait.
	w := startWorld(t, hls.Config{}, func(s *httptest.Server) {
		s.Config.WriteTimeout = 500 * time.Millisecond
		s.Start()
	})
	w.put(playlist(position(10, 2, 5)))
	begin := time.Now()
	part := w.later("/hls/" + position(10, 2, 5).Hint)
	a := w.get(live + "?_HLS_msn=10&_HLS_part=2")
	if took := time.Since(begin); took < 2900*time.Millisecond || took > 4*time.Second {
		t.Errorf("held for %v, want 3s", took)
	}
	for _, a := range []answer{a, <-part} { // L57 for the part
		w.problem(a, http.StatusServiceUnavailable)
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
	w.held(0)
}

func TestL67DeltaUpdates(t *testing.T) {
	w := newWorld(t, hls.Config{})
	p := position(10, 2, 5)
	w.put(playlist(p))
	for query, want := range map[string]string{
		"":                                      text(p),
		"?_HLS_skip=YES":                        deltaText(p),
		"?_HLS_skip=v2":                         deltaText(p),
		"?_HLS_skip=NO":                         text(p), // L67: other values are ignored
		"?_HLS_skip=yes":                        text(p),
		"?_HLS_skip":                            text(p),
		"?_HLS_msn=9&_HLS_skip=YES":             deltaText(p),
		"?_HLS_msn=10&_HLS_part=1&_HLS_skip=v2": deltaText(p),
	} {
		w.want(w.get(live+query), http.StatusOK, want)
	}
	reply := w.later(live + "?_HLS_msn=10&_HLS_part=2&_HLS_skip=YES")
	w.held(1)
	w.put(playlist(position(10, 3, 5)))
	w.want(<-reply, http.StatusOK, deltaText(position(10, 3, 5)))

	short := position(5, 0, 5) // nothing to skip
	w.put(playlist(short))
	w.want(w.get(live+"?_HLS_skip=YES"), http.StatusOK, text(short))
}

// Specs L69: v2 is answered with the delta update that also skips date ranges,
// where there is one; YES never is, and a playlist that has ended is whole.
func TestL69DeltaUpdatesOfDateRanges(t *testing.T) {
	w := newWorld(t, hls.Config{})
	p := position(10, 2, 5)
	o := playlist(p)
	two := "#EXTM3U\n#EXT-X-VERSION:10\n" + deltaText(p)[8:]
	o.DeltaDates = storage.Body{[]byte(two)}
	w.put(o)
	for range 2 {
		for query, want := range map[string]string{
			"":                                       text(p),
			"?_HLS_skip=YES":                         deltaText(p),
			"?_HLS_skip=v2":                          two,
			"?_HLS_skip=v3":                          text(p),
			"?_HLS_msn=9&_HLS_skip=v2":               two,
			"?_HLS_skip=YES&_HLS_msn=10&_HLS_part=1": deltaText(p),
		} {
			w.want(w.get(live+query), http.StatusOK, want)
		}
	}
	if n := w.handler.Stats().Prepared; n != 3 {
		t.Errorf("L72: %d texts prepared, want 3", n)
	}
	// A reader that is held gets the one it asked for, of the version that came.
	reply := w.later(live + "?_HLS_msn=10&_HLS_part=2&_HLS_skip=v2")
	w.held(1)
	next := playlist(position(10, 3, 5))
	next.DeltaDates = storage.Body{[]byte("#EXTM3U\n#next\n")}
	w.put(next)
	w.want(<-reply, http.StatusOK, "#EXTM3U\n#next\n")
	// Another update of the same playlist is another version.
	next.DeltaDates = storage.Body{[]byte("#EXTM3U\n#other\n")}
	w.put(next)
	w.want(w.get(live+"?_HLS_skip=v2"), http.StatusOK, "#EXTM3U\n#other\n")

	over := ended(position(11, 0, 5))
	last := playlist(over)
	last.Delta, last.DeltaDates = next.Delta, next.DeltaDates
	w.put(last)
	w.want(w.get(live+"?_HLS_skip=v2"), http.StatusOK, text(over))
}

func TestL70UnknownParametersNeverChangeTheContent(t *testing.T) {
	w := newWorld(t, hls.Config{})
	p := position(10, 2, 5)
	w.put(playlist(p), multivariant(), media("s00000009.m4s", storage.Segment, "segment"))
	for _, query := range []string{"?a=b", "?_HLS_other=1", "?token=" + strings.Repeat("x", 2000), "?%zz;&&=&%00", "?"} {
		w.want(w.get(live+query), http.StatusOK, text(p))
		w.want(w.get("/hls/show/index.m3u8"+query), http.StatusOK, string(multivariant().Body.Bytes()))
		w.want(w.get("/hls/"+directory+"s00000009.m4s"+query), http.StatusOK, "segment")
	}
	w.problem(w.get(live+"?"+strings.Repeat("x", 4097)), http.StatusRequestURITooLong)
	if n := w.handler.Stats().Prepared; n != 2 {
		t.Errorf("X27: %d texts prepared for 2 playlists", n)
	}
}

func TestL71HeadBehavesLikeGet(t *testing.T) {
	w := newWorld(t, hls.Config{})
	p := position(10, 2, 5)
	w.put(playlist(p), media("s00000009.m4s", storage.Segment, "seg", "ment"))
	for _, path := range []string{live, live + "?_HLS_msn=9", "/hls/" + directory + "s00000009.m4s", "/hls/" + directory + "none.m4s", live + "?_HLS_part=1"} {
		get, head := w.get(path), w.ask(t.Context(), http.MethodHead, path)
		get.header.Del("Date")
		head.header.Del("Date")
		if head.status != get.status || head.body != "" || head.length != get.length || head.length <= 0 {
			t.Errorf("%s: HEAD %d with %d of %d bytes, GET %d with %d", path, head.status, len(head.body), head.length, get.status, get.length)
		}
		for name := range get.header {
			if head.header.Get(name) != get.header.Get(name) {
				t.Errorf("%s: %s: HEAD %q, GET %q", path, name, head.header.Get(name), get.header.Get(name))
			}
		}
	}
	answers := make(chan answer, 1)
	go func() { answers <- w.ask(t.Context(), http.MethodHead, live+"?_HLS_msn=10") }()
	w.held(1) // it blocks too, and not for ever
	w.put(playlist(position(11, 0, 5)))
	if a := <-answers; a.status != http.StatusOK || a.body != "" || a.length <= 0 {
		t.Errorf("held HEAD: %+v", a)
	}
}

func TestL72DisconnectFreesTheWaitAtOnce(t *testing.T) {
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, hls.Config{}, start)
			p := position(10, 2, 5)
			w.put(playlist(p))
			w.get("/hls/nobody/index.m3u8")
			ctx, cancel := context.WithCancel(t.Context())
			gone := make(chan answer, 20)
			for range 10 {
				go func() { gone <- w.ask(ctx, http.MethodGet, live+"?_HLS_msn=10") }()
				go func() { gone <- w.ask(ctx, http.MethodGet, "/hls/"+p.Hint) }()
			}
			w.held(20)
			begin := time.Now()
			cancel()
			w.held(0)
			if took := time.Since(begin); took > time.Second {
				t.Errorf("freed after %v", took)
			}
			for range 20 {
				<-gone
			}
			if n := w.store.Waiting(p.Hint); n != 0 {
				t.Errorf("%d still wait for the part", n)
			}
		})
	}
}

// servers are the ways to serve that matter: HTTP/1.1, and HTTP/2 over TLS.
func servers() map[string]func(*httptest.Server) {
	return map[string]func(*httptest.Server){
		"HTTP/1.1": func(s *httptest.Server) { s.Start() },
		"HTTP/2": func(s *httptest.Server) {
			s.EnableHTTP2 = true
			s.StartTLS()
		},
	}
}

// L72 over real connections; for 10,000 see TestL72OneRenderingForAll.
func TestL72BroadcastOverHTTP2(t *testing.T) {
	const readers = 200
	w := startWorld(t, hls.Config{}, servers()["HTTP/2"])
	w.put(playlist(position(10, 2, 5)))
	w.get("/hls/nobody/index.m3u8") // a connection for all: no herd of handshakes
	answers := make(chan answer, readers)
	for range readers {
		go func() { answers <- w.ask(t.Context(), http.MethodGet, live+"?_HLS_msn=10&_HLS_part=2") }()
	}
	w.held(readers)
	w.put(playlist(position(10, 3, 5)))
	for range readers {
		a := <-answers
		w.want(a, http.StatusOK, text(position(10, 3, 5)))
		if a.proto != 2 {
			t.Fatalf("L95: HTTP/%d", a.proto)
		}
	}
	if n := w.handler.Stats().Prepared; n != 1 {
		t.Errorf("%d renderings, want 1", n)
	}
}

func TestL73HeldRequestsAreCapped(t *testing.T) {
	other := strings.ReplaceAll(live, "show", "other")
	for name, test := range map[string]struct {
		cfg    hls.Config
		path   string // refused once two are held
		status int
		free   string // still held then
	}{
		"in all":     {hls.Config{MaxHeld: 2}, other + "?_HLS_msn=10", http.StatusServiceUnavailable, ""},
		"per stream": {hls.Config{MaxHeldPerStream: 2}, live + "?_HLS_msn=10", http.StatusServiceUnavailable, other + "?_HLS_msn=10"},
		"per client": {hls.Config{MaxHeldPerClient: 2, Client: firstHop}, other + "?_HLS_msn=10", http.StatusTooManyRequests, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.cfg)
			o := playlist(position(10, 2, 5))
			w.put(o)
			o.Key = strings.Replace(o.Key, "show", "other", 1)
			w.put(o)
			first := w.later(live+"?_HLS_msn=10", "X-Client: 192.0.2.1")
			second := w.later(live+"?_HLS_msn=11", "X-Client: 192.0.2.1")
			w.held(2)
			a := w.get(test.path, "X-Client: 192.0.2.1")
			w.problem(a, test.status)
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			if test.status == http.StatusTooManyRequests && a.header.Get("Cache-Control") != "no-store" {
				t.Error("another client could get this from a cache")
			}
			// What needs no wait is still served.
			w.want(w.get(live), http.StatusOK, text(position(10, 2, 5)))
			free := test.free
			if free == "" {
				free = live + "?_HLS_msn=10"
			}
			w.put(playlist(position(12, 0, 5)))
			<-first
			<-second
			w.held(0)
			if test.free != "" {
				third := w.later(free)
				w.held(1)
				o.Position, o.Body = position(11, 0, 5), storage.Body{[]byte("x")}
				w.put(o)
				w.want(<-third, http.StatusOK, "x")
			}
		})
	}
}
