package hls

import (
	"strings"
	"testing"
)

func TestPath(t *testing.T) {
	const v = "m1abc/video/"
	long := strings.Repeat("a", 64)
	for _, test := range []struct {
		path string
		want target
	}{
		{"/hls/show/index.m3u8", target{key: "show/index.m3u8", stream: "show", playlist: true}},
		{"/hls/a.b-c_D9/index.m3u8", target{key: "a.b-c_D9/index.m3u8", stream: "a.b-c_D9", playlist: true}},
		{"/hls/show/" + v + "index.m3u8", target{"show/" + v + "index.m3u8", "show", "show/" + v, true, false}},
		{"/hls/show/" + v + "init-0123abcd.mp4", target{"show/" + v + "init-0123abcd.mp4", "show", "show/" + v, false, false}},
		{"/hls/show/" + v + "s00000001.m4s", target{"show/" + v + "s00000001.m4s", "show", "show/" + v, false, false}},
		// X11: with a token.
		{"/hls/~a.b-c/show/index.m3u8", target{key: "show/index.m3u8", stream: "show", playlist: true, token: true}},
		{"/hls/~/show/index.m3u8", target{key: "show/index.m3u8", stream: "show", playlist: true, token: true}},
		{"/hls/~a\nb/show/" + v + "s1.m4s", target{"show/" + v + "s1.m4s", "show", "show/" + v, false, true}},
		{"/hls/" + long + "/index.m3u8", target{key: long + "/index.m3u8", stream: long, playlist: true}},
	} {
		got, ok := parsePath(test.path)
		if !ok || got != test.want {
			t.Errorf("%s: %+v, %t; want %+v", test.path, got, ok, test.want)
		}
	}
	for _, path := range badPaths() {
		if got, ok := parsePath(path); ok {
			t.Errorf("X7: %q is %+v", path, got)
		}
	}
}

func badPaths() []string {
	return []string{
		"", "/", "/hls", "/hls/", "/hls//index.m3u8", "/hls/index.m3u8", "/hls/show", "/hls/show/", "/hls/show/master.m3u8",
		"/HLS/show/index.m3u8", "hls/show/index.m3u8", "/hls/show/index.m3u8/", "/hls//show/index.m3u8",
		"/hls/../index.m3u8", "/hls/show/../index.m3u8", "/hls/show/./video/index.m3u8", "/hls/.show/index.m3u8",
		"/hls/show/../../video/index.m3u8", "/hls/show/m1/../index.m3u8", "/hls/show/m1/video/..", "/hls/show/m1/video/.m4s",
		"/hls/sh\"ow/index.m3u8", "/hls/sh'ow/index.m3u8", "/hls/sh\now/index.m3u8", "/hls/sh\row/index.m3u8", "/hls/sh\x00w/index.m3u8",
		"/hls/sh ow/index.m3u8", "/hls/sh\\ow/index.m3u8", "/hls/sh%2fow/index.m3u8", "/hls/shöw/index.m3u8", "/hls/sh#w/index.m3u8",
		"/hls/show/m1/index.m3u8", "/hls/show/m1/video/x/index.m3u8", "/hls/show/m1/video/", "/hls/show/m1//index.m3u8",
		"/hls/show/m1/video/s1.ts", "/hls/show/m1/video/s1", "/hls/show/m1/video/s1.m4s.tmp", "/hls/show/m1/video/s1.M4S",
		"/hls/" + strings.Repeat("a", 65) + "/index.m3u8", "/hls/_show/index.m3u8", "/hls/-show/index.m3u8",
		"/hls/~show", "/hls/~", "/hls/~a/~b/show/index.m3u8", "/hls/~a/", "/hls/~a/index.m3u8", "/hls/~a//index.m3u8", "/hls/show/~a/index.m3u8",
	}
}

func FuzzPath(f *testing.F) {
	for _, seed := range badPaths() {
		f.Add(seed)
	}
	f.Add("/hls/show/index.m3u8")
	f.Add("/hls/~to.k-en/show/index.m3u8")
	f.Add("/hls/show/m1abc/video/p0000000001.m4s")
	f.Fuzz(func(t *testing.T, path string) {
		got, ok := parsePath(path)
		if !ok {
			if got != (target{}) {
				t.Fatalf("%q: refused, and %+v", path, got)
			}
			return
		}
		if !strings.HasSuffix(path, "/"+got.key) || got.token != strings.HasPrefix(path, "/hls/~") || !got.token && "/hls/"+got.key != path {
			t.Fatalf("%q: %+v", path, got)
		}
		if strings.Trim(got.key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/") != "" ||
			strings.Contains(got.key, "..") && strings.Contains("/"+got.key, "/..") || strings.Contains(got.key, "//") {
			t.Fatalf("%q: unsafe key", path)
		}
		elements := strings.Split(got.key, "/")
		if elements[0] != got.stream || got.playlist != (elements[len(elements)-1] == "index.m3u8") {
			t.Fatalf("%q: %+v", path, got)
		}
		switch len(elements) {
		case 2:
			if got.directory != "" || !got.playlist {
				t.Fatalf("%q: %+v", path, got)
			}
		case 4:
			if got.directory != strings.Join(elements[:3], "/")+"/" {
				t.Fatalf("%q: %+v", path, got)
			}
		default:
			t.Fatalf("%q: %+v", path, got)
		}
	})
}

func TestAcceptsGzip(t *testing.T) {
	for field, want := range map[string]bool{
		"gzip": true, "gzip, deflate, br, zstd": true, "deflate,GZIP": true, "x-gzip": true, "*": true, "br;q=1, gzip;q=0.001": true,
		"gzip ; q=1.0": true, "*;q=0, gzip": true, "gzip;q=0.5, *;q=0": true, "": false, "identity": false, "br, deflate": false,
		"gzip;q=0": false, "gzip; q=0.000": false, "gzip;Q=0.": false, "*;q=0": false, "gzip;q=0, *": false, "*, gzip;q=0": false,
		"gzipped": false, "identity, *;q=0.0": false,
	} {
		if got := acceptsGzip([]string{field}); got != want {
			t.Errorf("S30: %q: %t", field, got)
		}
	}
	if !acceptsGzip([]string{"br", "gzip"}) || acceptsGzip(nil) {
		t.Error("S30: several fields, or none")
	}
}

func TestRange(t *testing.T) {
	for _, test := range []struct {
		field     string
		from, end int
		want      verdict
	}{
		{"bytes=0-0", 0, 1, within},
		{"bytes=0-", 0, 100, within},
		{"bytes=10-19", 10, 20, within},
		{"bytes= 10-19 ", 10, 20, within},
		{"bytes=90-1000", 90, 100, within},
		{"bytes=99-", 99, 100, within},
		{"bytes=-1", 99, 100, within},
		{"bytes=-1000", 0, 100, within},
		{"bytes=0-9223372036854775807", 0, 100, within},
		{"bytes=0-99999999999999999999", 0, 100, within},
		{"bytes=100-", 0, 0, beyond},
		{"bytes=99999999999999999999-", 0, 0, beyond},
		{"bytes=-0", 0, 0, beyond},
		{"bytes=5-4", 0, 100, whole},
		{"bytes=0-1,5-6", 0, 100, whole},
		{"bytes=a-b", 0, 100, whole},
		{"bytes=--1", 0, 100, whole},
		{"bytes=+1-2", 0, 100, whole},
		{"bytes=-", 0, 100, whole},
		{"bytes=", 0, 100, whole},
		{"seconds=0-1", 0, 100, whole},
		{"0-1", 0, 100, whole},
	} {
		from, end, got := parseRange(test.field, 100)
		if from != test.from || end != test.end || got != test.want {
			t.Errorf("S34: %q: %d, %d, %d", test.field, from, end, got)
		}
	}
}

func FuzzRange(f *testing.F) {
	f.Add("bytes=10-19", 100)
	f.Add("bytes=-99999999999999999999", 0)
	f.Fuzz(func(t *testing.T, field string, size int) {
		if size < 0 {
			return
		}
		from, end, v := parseRange(field, size)
		ok := false
		switch v {
		case whole:
			ok = from == 0 && end == size
		case within:
			ok = 0 <= from && from < end && end <= size
		case beyond:
			ok = from == 0 && end == 0
		}
		if !ok {
			t.Fatalf("%q of %d: %d, %d, %d", field, size, from, end, v)
		}
	})
}

func TestQueryToken(t *testing.T) {
	for query, want := range map[string]string{
		"":                                    "",
		"token=abc":                           "abc",
		"a=b&token=a.B-9_~&c=d":               "a.B-9_~",
		"token=":                              "",
		"xtoken=abc":                          "",
		"token=a%2Fb":                         "", // what a path would not keep stays where it is
		"token=a/../../b":                     "",
		"token=a%0d%0aSet-Cookie":             "",
		"token=\u00e4":                        "",
		"token=a+b":                           "",
		"_HLS_msn=1&token=first&token=second": "first",
	} {
		if got := queryToken(query); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}
