package hlscheck_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

// initSegment returns an init segment of a track with 90,000 ticks a second.
func initSegment(t *testing.T) []byte {
	t.Helper()
	init := mp4.CreateEmptyInit()
	init.AddEmptyTrack(90000, "video", "und")
	var b bytes.Buffer
	if err := init.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// mediaSegment returns a segment of four samples that begins at decode.
func mediaSegment(t *testing.T, decode uint64, each, flags uint32) []byte {
	t.Helper()
	fragment, err := mp4.CreateFragment(1, mp4.DefaultTrakID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		fragment.AddFullSample(mp4.FullSample{
			Sample:     mp4.NewSample(flags, each, 1, 0),
			DecodeTime: decode + uint64(i)*uint64(each), Data: []byte{1},
		})
	}
	segment := mp4.NewMediaSegment()
	segment.AddFragment(fragment)
	var b bytes.Buffer
	if err := segment.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestMediaBytes(t *testing.T) { // L5, L6, L17
	const half = 45000
	for _, tt := range []struct {
		name, item string
		second     []byte
	}{
		{"good", "", mediaSegment(t, 4*half, half, mp4.SyncSampleFlags)},
		{"a hole in time", "L5", mediaSegment(t, 5*half, half, mp4.SyncSampleFlags)},
		{"time goes back", "L5", mediaSegment(t, 0, half, mp4.SyncSampleFlags)},
		{"no sync sample first", "L6", mediaSegment(t, 4*half, half, mp4.NonSyncSampleFlags)},
		{"shorter than listed", "L17", mediaSegment(t, 4*half, half/2, mp4.SyncSampleFlags)},
		{"not MP4", "L2", []byte("nonsense")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c hlscheck.Checker
			c.Media(videoURI, time.Time{}, []byte(version(1)))
			c.File("show/p1/video/init-a1b2c3d4.mp4", initSegment(t))
			c.File("show/p1/video/s00000041.m4s", mediaSegment(t, 0, half, mp4.SyncSampleFlags))
			c.File("show/p1/video/s00000042.m4s", tt.second)
			c.CheckFiles()
			switch got := items(&c); {
			case tt.item == "" && len(got) > 0:
				t.Error(c.Violations())
			case tt.item != "" && !slices.Contains(got, tt.item):
				t.Errorf("want %s, got %v", tt.item, c.Violations())
			}
		})
	}
}

func TestReportsAreTrue(t *testing.T) { // L58
	audio := strings.NewReplacer("../audio", "../video", "s000000", "a000000").Replace(version(1))
	const second = time.Second
	for _, tt := range []struct {
		name, first, second, item string
		lag                       time.Duration
	}{
		{"true", "LAST-MSN=44,LAST-PART=0", "LAST-MSN=44,LAST-PART=0", "", 0},
		{"a part that is not there", "LAST-MSN=43,LAST-PART=4", "LAST-MSN=44,LAST-PART=0", "L58", 0},
		{"a part that is not there yet", "LAST-MSN=44,LAST-PART=0", "LAST-MSN=44,LAST-PART=2", "L58", 0},
		{"a part that never was, seen late", "LAST-MSN=43,LAST-PART=4", "LAST-MSN=44,LAST-PART=0", "L58", second},
		{"a part that nobody waited for to be seen", "LAST-MSN=44,LAST-PART=0", "LAST-MSN=44,LAST-PART=2", "", second},
		{"goes back", "LAST-MSN=44,LAST-PART=0", "LAST-MSN=43,LAST-PART=3", "L58", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := hlscheck.Checker{Lag: tt.lag}
			c.Media(audioURI, time.Time{}, []byte(audio))
			c.Media(videoURI, time.Time{}, []byte(strings.Replace(version(1), "LAST-MSN=44,LAST-PART=0", tt.first, 1)))
			c.Media(videoURI, time.Time{}, []byte(strings.Replace(version(2), "LAST-MSN=44,LAST-PART=0", tt.second, 1)))
			c.CheckFiles()
			if got := slices.Contains(items(&c), "L58"); got != (tt.item != "") {
				t.Errorf("got %v", c.Violations())
			}
		})
	}
}

func TestAudioRenditions(t *testing.T) { // L47, L94
	multivariant := `#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="opus",NAME="Opus",DEFAULT=YES,CHANNELS="2",URI="p1/audio/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=3000000,AVERAGE-BANDWIDTH=2500000,CODECS="avc1.42c01f,Opus",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO="opus"
p1/video/index.m3u8
`
	audio := strings.NewReplacer("../audio", "../video", "12:00:04.000Z", "12:00:04.100Z").Replace(version(1))
	var c hlscheck.Checker
	c.Multivariant("show/index.m3u8", []byte(multivariant))
	c.Media(videoURI, time.Time{}, []byte(version(1)))
	c.Media(audioURI, time.Time{}, []byte(audio))
	for _, want := range []string{"L47", "L94"} {
		if !slices.Contains(items(&c), want) {
			t.Errorf("want %s, got %v", want, c.Violations())
		}
	}
}
