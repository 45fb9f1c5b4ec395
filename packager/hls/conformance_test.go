package hls_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
	"github.com/whipcast/whipcast/packager/hls"
)

// Two minutes of a live playlist with date ranges of each kind and a restart, as
// the project's checker sees it: every version, and every delta update of both
// kinds (specs L30, L31, L35, L53, L67 to L69, L110).
func TestDateRangesConform(t *testing.T) {
	const uri, part = "/show/1/video/index.m3u8", 500 * time.Millisecond
	var checker hlscheck.Checker
	cfg := hls.Config{Target: 2 * time.Second, Part: part, Window: 30 * time.Second, Skip: true}
	m := hls.NewMedia(cfg)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(m.SetInit("init-a1b2c3d4.mp4"))
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	section := []byte{0xfc, 0x30, 0x11}
	deltas, counter := 0, 0
	publish := func() {
		ok(m.SetHint(fmt.Sprintf("p%010d.m4s", counter), ""))
		full, delta, dates := m.LowLatency()
		text := bytes.Join(full, nil)
		checker.Media(uri, at, text)
		if delta != nil {
			checker.Delta(uri, text, bytes.Join(delta, nil))
			checker.Delta(uri, text, bytes.Join(dates, nil))
			deltas++
		}
	}
	ranges := func(n int) {
		switch n % 6 {
		case 0:
			ok(m.SetDateRange(hls.Marker(fmt.Sprint("marker-", n), "com.example.goal", at)))
		case 1:
			ok(m.SetDateRange(hls.SpliceOut(fmt.Sprint("break-", n), at, 8*time.Second, section)))
			ad := hls.Interstitial{ID: fmt.Sprint("ad-", n), Start: at.Add(20 * time.Second), Duration: new(5 * time.Second), AssetURI: "https://example.com/ad.m3u8"}
			d, err := ad.DateRange()
			ok(err)
			ok(m.SetDateRange(d))
		case 3:
			ok(m.SetDateRange(hls.SpliceIn(fmt.Sprint("break-", n-2), at, section)))
		case 4:
			ok(m.SetDateRange(hls.DateRange{ID: fmt.Sprint("chapter-", n), Class: "com.example.chapter", Start: at, EndOnNext: true}))
			ok(m.RemoveDateRange(fmt.Sprint("ad-", n-3)))
		}
	}
	for n := range 60 {
		m.SetTime(at)
		for i := range 4 {
			ok(m.AddPart(hls.Part{URI: fmt.Sprintf("p%010d.m4s", counter), Duration: part, Independent: i == 0}))
			counter++
			at = at.Add(part)
			if i == 2 {
				ranges(n)
			}
			if i < 3 {
				publish()
			}
		}
		_, err := m.CloseSegment(hls.Segment{URI: fmt.Sprintf("s%08d.m4s", n), Duration: 2 * time.Second})
		ok(err)
		publish()
		if n == 40 {
			restored, err := hls.Restore(cfg, m.State())
			ok(err)
			m = restored
			m.Discontinuity()
		}
	}
	for _, v := range checker.Violations() {
		t.Error(v)
	}
	if n := checker.Versions(uri); n != 240 || deltas < 200 {
		t.Errorf("%d versions and %d delta updates were checked", n, deltas)
	}
}
