package fmp4

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/Eyevinn/mp4ff/hevc"

	"github.com/whipcast/whipcast/packager/au"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCodecs(t *testing.T) {
	h264 := func(sps string) au.Params {
		return au.Params{Codec: "H264", SPS: [][]byte{unhex(t, sps)}}
	}
	h265 := func(sps string) au.Params {
		return au.Params{Codec: "H265", SPS: [][]byte{unhex(t, sps)}}
	}
	av1 := func(obu string) au.Params {
		return au.Params{Codec: "AV1", SequenceHeader: unhex(t, obu)}
	}
	for _, tt := range []struct {
		name string
		p    au.Params
		want string
	}{
		{"L84 high", h264("6764001facd9"), "avc1.64001f"},
		{"L84 constrained baseline, from the SPS, not from fmtp", h264("6742c01eda02"), "avc1.42c01e"},
		{"L84 main", h264("674d401f"), "avc1.4d401f"},
		{"L84 too short", h264("6764"), ""},
		{"L84 none", au.Params{Codec: "H264"}, ""},
		{"L85 main, with emulation prevention", h265("420101" + "01" + "6000000300" + "b0000003000003" + "00" + "5d"), "hvc1.1.6.L93.B0"},
		{"L85 all constraint bytes", h265("420101" + "01" + "6000000300" + "b0a1b2c3d4e5" + "5d"), "hvc1.1.6.L93.B0.A1.B2.C3.D4.E5"},
		{"L85 main 10, high tier", h265("420101" + "22" + "2000000300" + "90a00000030000" + "99"), "hvc1.2.4.H153.90.A0"},
		{"L85 profile space", h265("420101" + "41" + "6000000300" + "b0000003000003" + "00" + "5d"), "hvc1.A1.6.L93.B0"},
		{"L85 no constraints", h265("420101" + "01" + "60000001" + "0000030000030000" + "5d"), "hvc1.1.80000006.L93.0"},
		{"L85 too short", h265("4201010160"), ""},
		{"L86 main, level 4.0, 8 bits", av1("0a0b00000042627fb380340100"), "av01.0.08M.08"},
		{"L86 level 5.1, high tier", av1("0a0b0000006e627fb380340100"), "av01.0.13H.08"},
		{"L86 garbage", av1("0a02ff"), ""},
		{"L87", au.Params{Codec: "VP9", Level: 31, Depth: 8}, "vp09.00.31.08"},
		{"L87 profile 2, 10 bits", au.Params{Codec: "VP9", Profile: 2, Level: 41, Depth: 10}, "vp09.02.41.10"},
		{"L87 level from 180p", au.Params{Codec: "VP9", Width: 320, Height: 180}, "vp09.00.11.08"},
		{"L87 level from 720p", au.Params{Codec: "VP9", Width: 1280, Height: 720}, "vp09.00.31.08"},
		{"L87 level from 1080p", au.Params{Codec: "VP9", Width: 1920, Height: 1080}, "vp09.00.41.08"},
		{"L87 level from 4K", au.Params{Codec: "VP9", Width: 3840, Height: 2160}, "vp09.00.51.08"},
		{"L87 level from 8K", au.Params{Codec: "VP9", Width: 7680, Height: 4320}, "vp09.00.61.08"},
		{"L88", au.Params{Codec: "AAC"}, "mp4a.40.2"},
		{"L89", au.Params{Codec: "Opus"}, "Opus"},
		{"unknown", au.Params{Codec: "VP8"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Codecs(&tt.p); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What the recorded encoders are called; for HEVC mp4ff must agree.
func TestCodecsOfRecordings(t *testing.T) {
	want := map[string]string{
		"aac": "mp4a.40.2", "chromium-av1": "av01.0.01M.08", "chromium-h264": "avc1.42c015",
		"chromium-opus": "Opus", "chromium-vp9": "vp09.00.11.08", "obs-h264": "avc1.42c01e", "x265": "hvc1.1.6.L60.90",
	}
	for _, r := range recordings(t) {
		if got := Codecs(r.params); got != want[r.name] {
			t.Errorf("%s: got %q, want %q", r.name, got, want[r.name])
		}
		if r.params.Codec != "H265" {
			continue
		}
		sps, err := hevc.ParseSPSNALUnit(r.params.SPS[0])
		if err != nil {
			t.Fatal(err)
		}
		if oracle := hevc.CodecString("hvc1", sps); oracle != want[r.name] {
			t.Errorf("%s: mp4ff says %q", r.name, oracle)
		}
	}
}

// Parameter sets come from publishers: whatever they hold, Init returns, and
// what it accepts has a CODECS string.
func FuzzInit(f *testing.F) {
	for _, r := range recordings(f) {
		switch r.params.Codec {
		case "H264", "H265":
			f.Add(r.params.Codec, r.params.SPS[0])
		case "AV1":
			f.Add(r.params.Codec, r.params.SequenceHeader)
		}
	}
	f.Fuzz(func(t *testing.T, codec string, data []byte) {
		p := &au.Params{
			Codec: codec, SPS: [][]byte{data}, PPS: [][]byte{data}, VPS: [][]byte{data},
			SequenceHeader: data, Width: 640, Height: 360, SampleRate: 48000, Channels: 2,
		}
		file, err := Init(p, 90000)
		if err == nil && (len(file) == 0 || Codecs(p) == "") {
			t.Errorf("accepted, but %d bytes and codecs %q", len(file), Codecs(p))
		}
	})
}
