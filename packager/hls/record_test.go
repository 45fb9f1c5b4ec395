package hls_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
)

func TestEntryLine(t *testing.T) {
	for _, tt := range []struct {
		line   string
		change func(e *hls.Entry)
	}{
		{"s video 42 200000 500000 s00000042.m4s init-1.mp4 1800000084000 -\n", nil},
		{"s video 42 196667 500000 s00000042-1.m4s init-1.mp4 1800000084000 d\n", func(e *hls.Entry) {
			e.Duration, e.URI, e.Discontinuity = 1966_670*time.Microsecond, "s00000042-1.m4s", true
		}},
		{"s aac 42 200000 0 s00000042.m4s init-1.mp4 - g\n", func(e *hls.Entry) {
			e.Rendition, e.Bytes, e.Gap, e.Time = "aac", 0, true, time.Time{}
		}},
		{"s video 42 200000 500000 s00000042.m4s init-1.mp4 1800000084000 dg\n", func(e *hls.Entry) { e.Gap, e.Discontinuity = true, true }},
	} {
		e := entry(42, tt.change)
		line := hls.AppendEntry(nil, e)
		if string(line) != tt.line {
			t.Errorf("got  %swant %s", line, tt.line)
		}
		got, err := hls.ParseEntry(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%s: read %+v, %v, want %+v", line, got, err, e)
		}
	}
}

func TestDamagedLines(t *testing.T) {
	for _, line := range []string{
		"", "s", "s video 42 200000 500000 s00000042.m4s init-1.mp4 17500000840", // cut off
		"s video 42 200000 500000 s00000042.m4s init-1.mp4 1800000084000 - torn",
		"s video -1 200000 500000 s00000042.m4s init-1.mp4 1800000084000 -",
		"s video 42 0 500000 s00000042.m4s init-1.mp4 1800000084000 -",
		"s video 42 200000 -5 s00000042.m4s init-1.mp4 1800000084000 -",
		"s video 42 99999999999 5 s00000042.m4s init-1.mp4 1800000084000 -",
		"s ../video 42 200000 500000 s00000042.m4s init-1.mp4 1800000084000 -",
		"s video 42 200000 500000 ../s00000042.m4s init-1.mp4 1800000084000 -",
		"s video 42 200000 500000 s00000042.m4s #init-1.mp4 1800000084000 -",
		"s video 42 200000 500000 s00000042.m4s init-1.mp4 9999999999999999 -",
		"s video 42 200000 500000 s00000042.m4s init-1.mp4 1800000084000 x",
	} {
		if e, err := hls.ParseEntry([]byte(line)); !errors.Is(err, hls.ErrRecord) {
			t.Errorf("%q: %+v, %v", line, e, err)
		}
	}
	for _, line := range []string{
		"{", `{"rendition":"video"}`, `{"rendition":"video","target":2000000000,"codecs":"a\"b"}`, `{"rendition":"a/b","target":2000000000,"codecs":"x"}`,
		`{"rendition":"video","target":2000000000,"codecs":"x","width":-1}`, `{"rendition":"video","target":2000000000,"codecs":"x","videoRange":"a"}`,
	} {
		if d, err := hls.ParseDescription([]byte(line)); !errors.Is(err, hls.ErrRecord) {
			t.Errorf("%q: %+v, %v", line, d, err)
		}
	}
}

// FuzzRecord: whatever a file has is refused or can be written again, and listed.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("s video 42 200000 500000 s00000042.m4s init-1.mp4 1800000084000 dg"))
	f.Add([]byte(`{"rendition":"video","target":2000000000,"codecs":"avc1.64001f","width":1280,"height":720,"frameRate":30,"videoRange":"SDR"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if d, err := hls.ParseDescription(line); err == nil {
			again, err := hls.AppendDescription(nil, d)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := hls.ParseDescription(bytes.TrimSuffix(again, []byte("\n"))); err != nil || got != d {
				t.Fatalf("%q: %+v, %v, want %+v", again, got, err, d)
			}
			if _, err := (hls.Replay{}).Multivariant([]hls.Stored{{Description: d, URI: "x"}}); err != nil {
				t.Fatal(err)
			}
		}
		e, err := hls.ParseEntry(line)
		if err != nil {
			return
		}
		again := hls.AppendEntry(nil, e)
		if got, err := hls.ParseEntry(bytes.TrimSuffix(again, []byte("\n"))); err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%q: %+v, %v, want %+v", again, got, err, e)
		}
		text, err := hls.Replay{Target: time.Hour}.Media([]hls.Listed{e.Listed})
		if (err == nil) == e.Gap {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}
