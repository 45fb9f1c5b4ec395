package au_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/au"
)

// stereo is AAC-LC, 44.1 kHz, two channels.
const stereo = "config=1210;indexdeltalength=3;indexlength=3;mode=AAC-hbr;sizelength=13"

// aacPacket is an RTP payload of whole frames (RFC 3640 §3.3.6).
func aacPacket(frames ...[]byte) []byte {
	b := []byte{0, byte(len(frames) * 16)}
	for _, f := range frames {
		b = append(b, byte(len(f)>>5), byte(len(f)<<3))
	}
	return append(b, bytes.Join(frames, nil)...)
}

// aacPart is an RTP payload with a part of a frame of the given size.
func aacPart(size int, part []byte) []byte {
	return append([]byte{0, 16, byte(size >> 5), byte(size << 3)}, part...)
}

// TestAAC: packets of one frame, of several, and of parts of one come out as the
// frames, with times that follow each other.
func TestAAC(t *testing.T) {
	big := bytes.Repeat([]byte{0xab}, 700)
	for name, tt := range map[string]struct {
		packets [][]byte // all 1024 samples apart but where times says
		marks   []bool
		times   []uint32
		want    []string
		pts     []int64
		bad     uint64
	}{
		"one each": {
			packets: [][]byte{aacPacket([]byte("one")), aacPacket([]byte("two"))}, times: []uint32{0, 1024},
			want: []string{"one", "two"}, pts: []int64{0, 1024},
		},
		"several": {
			packets: [][]byte{aacPacket([]byte("one"), []byte("two"), []byte("three")), aacPacket([]byte("four"))}, times: []uint32{0, 3072},
			want: []string{"one", "two", "three", "four"}, pts: []int64{0, 1024, 2048, 3072},
		},
		"parts": {
			packets: [][]byte{aacPart(700, big[:300]), aacPart(700, big[300:600]), aacPart(700, big[600:]), aacPacket([]byte("two"))},
			times:   []uint32{0, 0, 0, 1024},
			marks:   []bool{false, false, true, true}, want: []string{string(big), "two"}, pts: []int64{0, 1024},
		},
		"a part is missing": {
			packets: [][]byte{aacPart(700, big[:300]), aacPacket([]byte("two"))}, times: []uint32{0, 1024},
			marks: []bool{false, true}, want: []string{"two"}, pts: []int64{1024},
		},
		"parts of different sizes": {
			packets: [][]byte{aacPart(700, big[:300]), aacPart(701, big[300:]), aacPacket([]byte("two"))}, times: []uint32{0, 0, 1024},
			marks: []bool{false, true, true}, want: []string{"two"}, pts: []int64{1024}, bad: 1,
		},
		"interleaved": {
			packets: [][]byte{{0, 16, 0, 3<<3 | 1, 1, 2, 3}, aacPacket([]byte("two"))}, times: []uint32{0, 1024},
			want: []string{"two"}, pts: []int64{1024},
		},
		"malformed": {
			packets: [][]byte{{0, 15, 0, 24, 1, 2, 3}, {0, 0, 1, 2}, {0}, {255, 240, 1, 1, 1}, aacPacket([]byte("two"))},
			times:   []uint32{0, 1024, 2048, 3072, 4096}, want: []string{"two"}, pts: []int64{4096}, bad: 4,
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := au.New("AAC", au.Config{Fmtp: stereo, ClockRate: 44100})
			if err != nil {
				t.Fatal(err)
			}
			var units []au.Unit
			now := time.Now()
			for i, payload := range tt.packets {
				mark := tt.marks == nil || tt.marks[i]
				units = a.Push(au.Packet{Arrival: now, Sequence: uint16(65534 + i), Timestamp: tt.times[i], Marker: mark, Payload: payload}, units)
			}
			units = a.Flush(units)
			var got []string
			var pts []int64
			for _, u := range units {
				got = append(got, string(u.Data))
				pts = append(pts, u.PTS)
				if u.Duration != au.FrameAAC || !u.Key || u.DTS != u.PTS || u.Params.SampleRate != 44100 || u.Params.Channels != 2 {
					t.Errorf("unit %+v", u)
				}
			}
			if !slices.Equal(got, tt.want) || !slices.Equal(pts, tt.pts) {
				t.Errorf("got %.40q at %v, want %.40q at %v", got, pts, tt.want, tt.pts)
			}
			if bad := a.Stats().BadPayloads; tt.bad > 0 && bad != tt.bad {
				t.Errorf("%d bad payloads, want %d", bad, tt.bad)
			}
		})
	}
}

// TestAACParameters: what is not AAC-LC of a usual kind is refused in words.
func TestAACParameters(t *testing.T) {
	for fmtp, want := range map[string]string{
		stereo:                  "",
		"config=1408":           "", // 16 kHz, mono
		"config=1588":           "", // 8 kHz, mono
		"CONFIG=11b0":           "", // 48 kHz, 5.1
		"":                      "no config",
		"config=xy":             "no config",
		"config=":               "no config",
		"config=12":             "read AAC config",
		"config=0a10":           "unsupported object type", // Main
		"config=2b11880000":     "AAC-LC",                  // explicit SBR
		"config=1214":           "960",
		"config=1200":           "channels",
		"config=1010":           "96000", // 96 kHz
		"config=ffffffffffffff": "AAC",
	} {
		p, err := au.AAC(fmtp)
		switch {
		case want == "" && (err != nil || p.Codec != "AAC" || len(p.Config) == 0):
			t.Errorf("%q: %v", fmtp, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %s", fmtp, err, want)
		}
	}
	if _, err := au.New("AAC", au.Config{}); err == nil {
		t.Error("AAC without parameters was taken")
	}
}

func FuzzAAC(f *testing.F) {
	f.Add(lines(aacPacket([]byte("one")), aacPacket([]byte("two"), []byte("three")), aacPart(700, []byte("begin")), aacPart(700, []byte("end"))))
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, "AAC", b) })
}

func FuzzAACParameters(f *testing.F) {
	f.Add(stereo)
	f.Add("config=2b11880000")
	f.Fuzz(func(t *testing.T, fmtp string) {
		p, err := au.AAC(fmtp)
		if err == nil && (p.SampleRate <= 0 || p.SampleRate > 48000 || p.Channels < 1 || p.Channels > 8 || len(p.Config) == 0) {
			t.Errorf("%q gives %+v", fmtp, p)
		}
	})
}
