package hls

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

// everything is a playlist that uses all there is: parts, hints, reports, delta
// updates, gaps, discontinuities, date ranges.
func everything(t *testing.T) *live {
	t.Helper()
	l := newLive(t, time.Minute)
	l.dateRanges(t, 3)
	l.media.Discontinuity()
	if err := l.media.SetInit("init-e5f60718.mp4"); err != nil {
		t.Fatal(err)
	}
	l.media.SetTime(l.at)
	if _, err := l.media.CloseSegment(Segment{URI: "lost.m4s", Duration: time.Second, Gap: true}); err != nil {
		t.Fatal(err)
	}
	l.segment(t)
	l.part(t)
	l.part(t)
	if err := l.media.SetHint("p9999999999.m4s", "init-next.mp4"); err != nil {
		t.Fatal(err)
	}
	return l
}

// Specs S7: what goes to storage has only the tags of plain HLS.
func TestS7PlainHasNoTagOfLowLatency(t *testing.T) {
	l := everything(t)
	full, delta, dates := l.media.LowLatency()
	low := string(bytes.Join(slices.Concat(full, delta, dates), nil))
	for _, tag := range []string{"SERVER-CONTROL", "PART-INF", "PART", "PRELOAD-HINT:TYPE=PART", "PRELOAD-HINT:TYPE=MAP", "RENDITION-REPORT", "SKIP"} {
		if !strings.Contains(low, "#EXT-X-"+tag) {
			t.Fatalf("the low-latency playlist has no %s: nothing is shown", tag)
		}
	}
	plain := []string{
		"#EXTM3U", "#EXT-X-VERSION", "#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-DISCONTINUITY-SEQUENCE",
		"#EXT-X-DATERANGE", "#EXT-X-MAP", "#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-DISCONTINUITY", "#EXT-X-GAP", "#EXTINF", "#EXT-X-ENDLIST",
	}
	seen := map[string]bool{}
	check := func() {
		for _, line := range lines(l.media.Plain()) {
			name, _, _ := strings.Cut(line, ":")
			if line[0] == '#' && !slices.Contains(plain, name) {
				t.Errorf("S7: %s", line)
			}
			seen[name] = true
		}
	}
	check()
	l.close(t)
	if err := l.media.End(); err != nil {
		t.Fatal(err)
	}
	check()
	for _, name := range plain {
		if !seen[name] {
			t.Errorf("%s was not tried", name)
		}
	}
}

// Specs S8: both kinds name the same segments and initialization segments, by
// relative URIs, so that either can be served from elsewhere.
func TestS8BothKindsNameTheSameFiles(t *testing.T) {
	l := everything(t)
	full, _, _ := l.media.LowLatency()
	files := func(pieces [][]byte) (named []string) {
		for _, s := range parse(t, pieces).segments {
			if s.complete() {
				named = append(named, s.init, s.tail[len(s.tail)-1])
			}
		}
		return named
	}
	if low, plain := files(full), files(l.media.Plain()); !slices.Equal(low, plain) || len(low) < 60 {
		t.Errorf("S8: %q and %q", low, plain)
	}
	for _, file := range files(l.media.Plain()) {
		if strings.Contains(file, "://") || strings.HasPrefix(file, "/") {
			t.Errorf("S8: %s is not relative", file)
		}
	}
}

// Specs S9: a playlist for storage names no part, whole or hinted at, and is the
// same until the next segment: it is written once a segment (specs S19).
func TestS9PlainKnowsNoParts(t *testing.T) {
	l := everything(t)
	before := bytes.Join(l.media.Plain(), nil)
	for range 5 {
		l.part(t)
		full, _, _ := l.media.LowLatency()
		for _, line := range lines(full) {
			name := attribute(line, "URI")
			if strings.HasPrefix(line, "#EXT-X-P") && name != "" && bytes.Contains(before, []byte(name)) {
				t.Errorf("S9: %s is named in the playlist for storage", name)
			}
		}
		if now := bytes.Join(l.media.Plain(), nil); !bytes.Equal(before, now) {
			t.Errorf("S9, S19: a part changed the playlist for storage")
		}
	}
	l.close(t)
	if now := bytes.Join(l.media.Plain(), nil); bytes.Equal(before, now) || bytes.Contains(now, []byte("\"p0")) {
		t.Error("S9: a segment did not change the playlist for storage, or brought its parts")
	}
	// Without parts there is no other kind.
	m := NewMedia(Config{Target: time.Second, Skip: true})
	if full, delta, dates := m.LowLatency(); full != nil || delta != nil || dates != nil {
		t.Error("S9: a low-latency playlist without parts")
	}
}
