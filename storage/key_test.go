package storage_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/storage"
)

func TestCheckKey(t *testing.T) {
	for _, key := range []string{
		"a", "index.m3u8", "show/index.m3u8", "a.b/m1/video/init-0a1b2c3d.mp4", "A-b_c/m1/audio/p0000000001.m4s", "a..b", "a.", "-", "_",
		strings.Repeat("a", 200), strings.Repeat("abc/", 249) + "a",
	} {
		if err := storage.CheckKey(key); err != nil {
			t.Errorf("%.60q: %v", key, err)
		}
	}
	for key, want := range map[string]string{
		"":                         "empty",
		"/":                        "empty",
		"/etc/passwd":              "empty",
		"a/":                       "empty",
		"a//b":                     "empty",
		".":                        "dot",
		"..":                       "dot",
		"../b":                     "dot",
		"a/../../b":                "dot",
		"a/.b":                     "dot",
		"a b":                      "character",
		"a\x00":                    "character",
		"a\n":                      "character",
		"a\\..\\b":                 "character",
		"C:a":                      "character",
		"a%2fb":                    "character",
		"ä":                        "character",
		"a?b":                      "character",
		"a~":                       "character",
		strings.Repeat("a", 201):   "200",
		strings.Repeat("ab/", 340): "1000",
	} {
		err := storage.CheckKey(key)
		if !errors.Is(err, storage.ErrKey) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want an ErrKey with %q", key, err, want)
		}
	}
}
