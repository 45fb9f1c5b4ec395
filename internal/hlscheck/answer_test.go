package hlscheck_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

// TestAnswers: what caches on the way do wrong is named (specs L60, L93, L97, S35).
func TestAnswers(t *testing.T) {
	const uri = "show/p1/video/index.m3u8"
	start := noon()
	type answer struct {
		query  string
		parts  int
		asked  time.Duration
		age    string
		frozen time.Duration // Last-Modified before Date
	}
	held := func(part string) string { return "_HLS_msn=44&_HLS_part=" + part } // of version's open segment
	for _, tt := range []struct {
		name    string
		answers []answer
		want    []string
	}{
		{"in order", []answer{{query: "", parts: 1}, {query: held("1"), parts: 2, asked: time.Second}}, nil},
		{"more than asked for", []answer{{query: held("0"), parts: 2}}, nil},
		{"the query is dropped", []answer{{query: "", parts: 1}, {query: held("1"), parts: 1, asked: time.Second}}, []string{"S35"}},
		{"complete by _HLS_msn alone", []answer{{query: "_HLS_msn=43", parts: 1}}, nil},
		{"a part after the last one", []answer{{query: "_HLS_msn=43&_HLS_part=4", parts: 1}}, nil},
		{"a segment that is not complete", []answer{{query: "_HLS_msn=44", parts: 2}}, []string{"S35"}},
		{"old without Age", []answer{{parts: 2}, {parts: 1, asked: 2500 * time.Millisecond}}, []string{"S35"}},
		{"old with a lesser Age", []answer{{parts: 2}, {parts: 1, asked: 4500 * time.Millisecond, age: "3"}}, []string{"S35"}},
		{"old with Age", []answer{{parts: 2}, {parts: 1, asked: 2500 * time.Millisecond, age: "2"}}, nil},
		{"old for less than a second", []answer{{parts: 2}, {parts: 1, asked: 900 * time.Millisecond}}, nil},
		{"Age that is none", []answer{{parts: 1, age: "soon"}}, []string{"L97"}},
		{"not changed for long", []answer{{parts: 1, frozen: time.Minute}}, []string{"L93"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c hlscheck.Checker
			for _, a := range tt.answers {
				at := start.Add(a.asked)
				h := http.Header{"Date": {at.Format(http.TimeFormat)}, "Last-Modified": {at.Add(-a.frozen).Format(http.TimeFormat)}}
				if a.age != "" {
					h.Set("Age", a.age)
				}
				c.Answer(uri, hlscheck.Answer{Query: a.query, Header: h, Asked: at, Came: at.Add(time.Millisecond)}, []byte(version(a.parts)))
			}
			if got := items(&c); !slices.Equal(got, tt.want) {
				t.Errorf("violations %v, want %v: %v", got, tt.want, c.Violations())
			}
		})
	}
}
