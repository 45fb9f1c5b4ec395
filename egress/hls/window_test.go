package hls_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/egress/hls"
	playlists "github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

// sixHours is the newest version of a playlist of 10,800 segments, with parts of
// 200 ms, an SCTE-35 break or marker in it here and there, and the last one just
// now.
func sixHours(t testing.TB, ranges int) storage.Object {
	t.Helper()
	ok := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	const segment, part = 2 * time.Second, 200 * time.Millisecond
	m := playlists.NewMedia(playlists.Config{Target: segment, Part: part, Window: 6 * time.Hour, Skip: true})
	at := time.Date(2026, 11, 20, 6, 0, 0, 0, time.UTC)
	ok(m.SetInit("init-a1b2c3d4.mp4"))
	section := bytes.Repeat([]byte{0xfc, 0x30, 0x21}, 10)
	for n := range 10_800 {
		m.SetTime(at)
		if n >= 10_790 {
			for i := range 10 {
				ok(m.AddPart(playlists.Part{URI: fmt.Sprintf("p%010d.m4s", 10*n+i), Duration: part, Independent: i == 0}))
			}
		}
		_, err := m.CloseSegment(playlists.Segment{URI: fmt.Sprintf("s%08d.m4s", n), Duration: segment})
		ok(err)
		at = at.Add(segment)
		if ranges > 0 && n%(10_800/ranges) == 10_800/ranges-1 {
			ok(m.SetDateRange(playlists.SpliceOut(fmt.Sprintf("splice-%08X", n), at, 30*time.Second, section)))
		}
	}
	for i := range 9 {
		ok(m.AddPart(playlists.Part{URI: fmt.Sprintf("p%010d.m4s", 108_000+i), Duration: part, Independent: i == 0}))
	}
	ok(m.SetHint("p0000108009.m4s", ""))
	ok(m.SetReports([]playlists.Report{{URI: "../audio/index.m3u8", MSN: 10_800, Part: 8}}))
	full, delta, dates := m.LowLatency()
	p := m.Position()
	return storage.Object{
		Key: directory + "index.m3u8", Kind: storage.LowLatency, Type: mpegURL, Body: full, Delta: delta, DeltaDates: dates,
		Position: storage.Position{MSN: p.MSN, Parts: p.Parts, LastParts: p.LastParts, Target: segment, Part: part},
	}
}

// A delta update of six hours is at most 25 KB on the wire, as every player asks
// for it: with gzip, or with v2. Only YES without gzip carries 200 date ranges
// in full.
func TestDeltaUpdateOfSixHoursIsSmall(t *testing.T) {
	const most = 25_000
	for _, ranges := range []int{0, 200} {
		t.Run(fmt.Sprintf("%d date ranges", ranges), func(t *testing.T) {
			w := newWorld(t, hls.Config{})
			w.put(sixHours(t, ranges))
			whole := w.get(live)
			if n := strings.Count(whole.body, "#EXTINF:"); n != 10_800 {
				t.Fatalf("%d segments", n)
			}
			if n := strings.Count(whole.body, "#EXT-X-DATERANGE:"); n != ranges {
				t.Fatalf("%d date ranges", n)
			}
			for _, skip := range []string{"YES", "v2"} {
				plain := w.get(live+"?_HLS_skip="+skip, "Accept-Encoding: identity")
				zipped := w.get(live + "?_HLS_skip=" + skip)
				if plain.status != http.StatusOK || zipped.header.Get("Content-Encoding") != "gzip" {
					t.Fatalf("status %d, encoding %q", plain.status, zipped.header.Get("Content-Encoding"))
				}
				if zipped.body != plain.body || plain.length != int64(len(plain.body)) {
					t.Errorf("_HLS_skip=%s: with gzip it says something else", skip)
				}
				left := strings.Count(plain.body, "#EXT-X-DATERANGE:")
				t.Logf("_HLS_skip=%s: %d bytes, with gzip %d, %d date ranges; the whole playlist has %d", skip, len(plain.body), zipped.length, left, len(whole.body))
				tag := map[string]string{"YES": "10793\n", "v2": "10793,RECENTLY-REMOVED-DATERANGES=\"\"\n"}[skip]
				if !strings.Contains(plain.body, "#EXT-X-SKIP:SKIPPED-SEGMENTS="+tag) {
					t.Errorf("_HLS_skip=%s: %.300s", skip, plain.body)
				}
				if skip == "v2" && left > 1 || skip == "YES" && left != ranges {
					t.Errorf("L69: _HLS_skip=%s has %d of %d date ranges", skip, left, ranges)
				}
				if zipped.length > most {
					t.Errorf("_HLS_skip=%s: %d bytes with gzip, the most is %d", skip, zipped.length, most)
				}
				if len(plain.body) > most && (skip == "v2" || ranges == 0) {
					t.Errorf("_HLS_skip=%s: %d bytes without gzip, the most is %d", skip, len(plain.body), most)
				}
			}
		})
	}
}
