package hls

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestDirectives(t *testing.T) {
	for _, test := range []struct {
		item, query string
		want        directives
		err         error
	}{
		{"L60", "", directives{}, nil},
		{"L60", "_HLS_msn=5", directives{hasMSN: true, msn: 5}, nil},
		{"L60", "_HLS_msn=5&_HLS_part=0", directives{hasMSN: true, msn: 5, hasPart: true}, nil},
		{"L99: the order means nothing", "_HLS_part=3&_HLS_msn=5", directives{hasMSN: true, msn: 5, hasPart: true, part: 3}, nil},
		{"L60: zero", "_HLS_msn=0&_HLS_part=0", directives{hasMSN: true, hasPart: true}, nil},
		{"L60: the largest", "_HLS_msn=18446744073709551615", directives{hasMSN: true, msn: 1<<64 - 1}, nil},
		{"L64: overflow", "_HLS_msn=18446744073709551616", directives{}, errInteger},
		{"L64: overflow", "_HLS_msn=1&_HLS_part=99999999999999999999999", directives{}, errInteger},
		{"L64: negative", "_HLS_msn=-1", directives{}, errInteger},
		{"L64: sign", "_HLS_msn=+1", directives{}, errInteger},
		{"L64: sign as a space", "_HLS_msn=%2B1", directives{}, errInteger},
		{"L64: fraction", "_HLS_msn=1.5", directives{}, errInteger},
		{"L64: hexadecimal", "_HLS_msn=0x10", directives{}, errInteger},
		{"L64: underscore", "_HLS_msn=1_0", directives{}, errInteger},
		{"L64: space", "_HLS_msn=%201", directives{}, errInteger},
		{"L64: empty", "_HLS_msn=", directives{}, errInteger},
		{"L64: no value", "_HLS_msn", directives{}, errInteger},
		{"L64: word", "_HLS_msn=1&_HLS_part=last", directives{}, errInteger},
		{"L64: duplicate", "_HLS_msn=1&_HLS_msn=1", directives{}, errTwice},
		{"L64: duplicate", "_HLS_msn=1&_HLS_part=1&x=y&_HLS_part=1", directives{}, errTwice},
		{"L64: duplicate", "_HLS_skip=YES&_HLS_skip=YES", directives{}, errTwice},
		{"L64: part alone", "_HLS_part=1", directives{}, errPart},
		{"L67", "_HLS_skip=YES", directives{skip: skipSegments}, nil},
		{"L67", "_HLS_skip=v2", directives{skip: skipDates}, nil},
		{"L67: other values are ignored", "_HLS_skip=yes", directives{}, nil},
		{"L67: other values are ignored", "_HLS_skip=V2", directives{}, nil},
		{"L67: other values are ignored", "_HLS_skip=v3", directives{}, nil},
		{"L67: other values are ignored", "_HLS_skip=", directives{}, nil},
		{"L70: unknown", "_HLS_msn=7&_HLS_future=-1&_HLS_future=2&token=abc%20&=&&;x", directives{hasMSN: true, msn: 7}, nil},
		{"L70: case counts", "_hls_msn=x&_HLS_MSN=y", directives{}, nil},
	} {
		t.Run(test.item+" "+test.query, func(t *testing.T) {
			got, err := parseDirectives(test.query)
			if got != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %+v, %v; want %+v, %v", got, err, test.want, test.err)
			}
		})
	}
}

func FuzzDirectives(f *testing.F) {
	for _, seed := range []string{
		"", "_HLS_msn=5&_HLS_part=3&_HLS_skip=YES", "_HLS_msn=18446744073709551616", "_HLS_part=1", "a=b&_HLS_msn=1&_HLS_msn=2",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		d, err := parseDirectives(query)
		if err != nil {
			if d != (directives{}) {
				t.Fatalf("%q: an error, and %+v", query, d)
			}
			return
		}
		if d.hasPart && !d.hasMSN || d.msn > 0 && !d.hasMSN || d.part > 0 && !d.hasPart {
			t.Fatalf("%q: %+v", query, d)
		}
		// What is unknown changes nothing (specs L70).
		if more, err := parseDirectives(query + "&token=x&_HLS_other=1"); err != nil || more != d {
			t.Fatalf("%q: %+v, but with other parameters %+v, %v", query, d, more, err)
		}
		// A parser that decodes finds the same, if there is nothing to decode.
		if strings.ContainsAny(query, "%+;") {
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if d.hasMSN != values.Has("_HLS_msn") || d.hasPart != values.Has("_HLS_part") {
			t.Fatalf("%q: %+v, but the query has %v", query, d, values)
		}
		want := map[string]skip{"YES": skipSegments, "v2": skipDates}[values.Get("_HLS_skip")]
		if d.skip != want {
			t.Fatalf("%q: %+v, but _HLS_skip is %q", query, d, values.Get("_HLS_skip"))
		}
	})
}
