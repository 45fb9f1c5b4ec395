package hls_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
	"github.com/whipcast/whipcast/packager/hls"
)

func entry(msn int, change func(e *hls.Entry)) hls.Entry {
	e := hls.Entry{Rendition: "video", MSN: uint64(msn), Bytes: 500_000, Listed: hls.Listed{
		Segment: hls.Segment{URI: fmt.Sprintf("s%08d.m4s", msn), Duration: 2 * time.Second},
		Init:    "init-1.mp4", Time: time.Unix(1_800_000_000, 0).Add(time.Duration(msn) * 2 * time.Second).UTC(),
	}}
	if change != nil {
		change(&e)
	}
	return e
}

// replayed is a playlist of segments with all that can happen.
func replayed(t *testing.T, how hls.Replay) string {
	t.Helper()
	var list []hls.Listed
	for msn := range 5 {
		e := entry(msn, func(e *hls.Entry) {
			switch msn {
			case 0:
				e.Discontinuity = true // what was before is not listed
			case 1:
				e.Duration = 1966_670 * time.Microsecond
			case 2:
				e.Gap = true
			case 3:
				e.Discontinuity, e.Init = true, "init-2.mp4"
			case 4:
				e.Init = "init-3.mp4"
			}
		})
		list = append(list, e.Listed)
	}
	text, err := how.Media(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReplayMedia: a VOD playlist has the right tags in the right places (L16,
// L17, L21, L22, L25, L27, L32, S16).
func TestReplayMedia(t *testing.T) {
	const want = `#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-START:TIME-OFFSET=1.25,PRECISE=YES
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="../../m1/video/init-1.mp4"
#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:00:00.000Z
#EXTINF:2.00000,
../../m1/video/s00000000.m4s
#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:00:02.000Z
#EXTINF:1.96667,
../../m1/video/s00000001.m4s
#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:00:04.000Z
#EXT-X-GAP
#EXTINF:2.00000,
../../m1/video/s00000002.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="../../m1/video/init-2.mp4"
#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:00:06.000Z
#EXTINF:2.00000,
../../m1/video/s00000003.m4s
#EXT-X-MAP:URI="../../m1/video/init-3.mp4"
#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:00:08.000Z
#EXTINF:2.00000,
../../m1/video/s00000004.m4s
#EXT-X-ENDLIST
`
	got := replayed(t, hls.Replay{Target: 2 * time.Second, First: 7, Folder: "../../m1/video/", Start: 1250 * time.Millisecond})
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var check hlscheck.Checker
	check.Static = true
	check.Media("show/m1/video/replay.m3u8", time.Unix(1_800_000_100, 0), []byte(replayed(t, hls.Replay{Target: 2 * time.Second})))
	for _, v := range check.Violations() {
		t.Error(v)
	}
	var named []string
	hls.Names([]byte(got), func(uri []byte, _ int) bool {
		named = append(named, string(uri))
		return true
	})
	if len(named) != 4+3 { // the gap need not be there
		t.Errorf("S10: the playlist names %q", named)
	}
}

// TestReplayRefuses: what breaks a rule is not written.
func TestReplayRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(e *hls.Entry)
		want   error
	}{
		"too long":   {func(e *hls.Entry) { e.Duration = 2500 * time.Millisecond }, hls.ErrDuration},
		"no time":    {func(e *hls.Entry) { e.Duration = 0 }, hls.ErrDuration},
		"no init":    {func(e *hls.Entry) { e.Init = "" }, hls.ErrNoInit},
		"only a gap": {func(e *hls.Entry) { e.Gap = true }, hls.ErrEmpty},
	} {
		list := []hls.Listed{entry(0, tt.change).Listed}
		if name != "only a gap" {
			list = append([]hls.Listed{entry(0, nil).Listed}, list...)
		}
		if text, err := (hls.Replay{Target: 2 * time.Second}).Media(list); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

// TestReplayMultivariant: the peaks of what is played together are added (L74), and
// AAC comes first (S38).
func TestReplayMultivariant(t *testing.T) {
	video := func(name string, width int, peak float64) hls.Stored {
		return hls.Stored{Description: hls.Description{
			Rendition: name, Target: 2 * time.Second, Codecs: "avc1.64001f", Width: width, Height: width * 9 / 16, FrameRate: 30, VideoRange: "SDR",
		}, URI: name + "/replay.m3u8", Peak: peak, Average: peak / 2}
	}
	sound := func(name, codecs string) hls.Stored {
		return hls.Stored{Description: hls.Description{
			Rendition: name, Target: 2 * time.Second, Codecs: codecs, Channels: 2,
		}, URI: name + "/replay.m3u8", Peak: 128_000.4, Average: 100_000}
	}
	text, err := hls.Replay{Start: time.Second}.Multivariant([]hls.Stored{
		video("video-2", 640, 800_000), video("video", 1280, 2_000_000), sound("audio", "Opus"), sound("aac", "mp4a.40.2"),
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `#EXTM3U
#EXT-X-START:TIME-OFFSET=1,PRECISE=YES
#EXT-X-VERSION:4
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="aac/replay.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="audio/replay.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2128001,AVERAGE-BANDWIDTH=1100000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=30.000,VIDEO-RANGE=SDR,AUDIO="aac",SCORE=2
video/replay.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=928001,AVERAGE-BANDWIDTH=500000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=640x360,FRAME-RATE=30.000,VIDEO-RANGE=SDR,AUDIO="aac",SCORE=1
video-2/replay.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2128001,AVERAGE-BANDWIDTH=1100000,CODECS="avc1.64001f,Opus",RESOLUTION=1280x720,FRAME-RATE=30.000,VIDEO-RANGE=SDR,AUDIO="audio",SCORE=2
video/replay.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=928001,AVERAGE-BANDWIDTH=500000,CODECS="avc1.64001f,Opus",RESOLUTION=640x360,FRAME-RATE=30.000,VIDEO-RANGE=SDR,AUDIO="audio",SCORE=1
video-2/replay.m3u8
`
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	text, err = hls.Replay{}.Multivariant([]hls.Stored{sound("audio", "Opus"), sound("aac", "mp4a.40.2")})
	if err != nil || strings.Count(string(text), "#EXT-X-STREAM-INF") != 2 || strings.Contains(string(text), "EXT-X-MEDIA:") ||
		strings.Index(string(text), "mp4a") > strings.Index(string(text), "Opus") {
		t.Errorf("sound alone: %v\n%s", err, text)
	}
}

// TestMeasure: the highest rate is that of a segment, the mean that of all (L74).
func TestMeasure(t *testing.T) {
	var m hls.Measure
	m.Add(250_000, 2*time.Second)
	m.Add(500_000, 2*time.Second)
	m.Add(10_000, 10*time.Millisecond) // says nothing
	peak, average := m.Rates()
	if peak != 2_000_000 || average < 1_500_000 || average > 1_520_000 {
		t.Errorf("peak %v, average %v", peak, average)
	}
}
