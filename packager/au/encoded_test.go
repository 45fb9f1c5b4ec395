package au_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtph265"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/packager/au"
)

// coded is one access unit as an encoder made it.
type coded struct {
	pts, dts int64
	key      bool
	nals     [][]byte
}

// encode makes two seconds of video, with times in 1/90000 s.
func encode(t *testing.T, codec string, options ...string) []coded {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "clip.mp4")
	ffmpeg(t, append(append([]string{"-f", "lavfi", "-i", "testsrc2=size=192x112:rate=30", "-t", "2", "-c:v", codec, "-preset", "ultrafast"},
		options...), "-video_track_timescale", "90000", file)...)
	filter := map[string]string{"libx264": "h264_mp4toannexb", "libx265": "hevc_mp4toannexb"}[codec]
	raw := filepath.Join(dir, "raw")
	list := ffmpeg(t, "-copyts", "-i", file, "-map", "0:v", "-c", "copy", "-bsf:v", filter, "-f", "framecrc", "-",
		"-map", "0:v", "-c", "copy", "-bsf:v", filter, "-f", "data", raw)
	stream, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	var units []coded
	for line := range strings.Lines(string(list)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, ",")
		number := func(i int) int64 {
			v, err := strconv.ParseInt(strings.TrimSpace(fields[i]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		size := number(4)
		var nals h264.AnnexB
		if err := nals.Unmarshal(stream[:size]); err != nil {
			t.Fatal(err)
		}
		stream = stream[size:]
		key := slices.ContainsFunc(nals, func(nal []byte) bool {
			if codec == "libx264" {
				return nal[0]&0x1f == 5
			}
			return nal[0]>>1 >= 16 && nal[0]>>1 <= 21
		})
		units = append(units, coded{dts: number(1), pts: number(2), key: key, nals: nals})
	}
	if len(stream) > 0 || len(units) != 60 {
		t.Fatalf("%d access units, %d bytes left", len(units), len(stream))
	}
	return units
}

func ffmpeg(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffmpeg %v: %v", args, err)
	}
	return out
}

// packetize makes RTP of access units. Times and numbers wrap early, R9.
func packetize(t *testing.T, codec string, units []coded) []au.Packet {
	t.Helper()
	first := uint16(65535)
	ssrc := uint32(1)
	var encodeUnit func([][]byte) ([]*rtp.Packet, error)
	switch codec {
	case "H264":
		e := &rtph264.Encoder{PayloadType: 96, SSRC: &ssrc, InitialSequenceNumber: &first, PayloadMaxSize: 400, PacketizationMode: 1}
		if err := e.Init(); err != nil {
			t.Fatal(err)
		}
		encodeUnit = e.Encode
	case "H265":
		e := &rtph265.Encoder{PayloadType: 96, SSRC: &ssrc, InitialSequenceNumber: &first, PayloadMaxSize: 400}
		if err := e.Init(); err != nil {
			t.Fatal(err)
		}
		encodeUnit = e.Encode
	}
	var packets []au.Packet
	for _, u := range units {
		list, err := encodeUnit(u.nals)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			packets = append(packets, au.Packet{
				Arrival:   time.Unix(0, u.dts*1e9/90000),
				Timestamp: uint32(0xffffff00 + u.pts), Sequence: p.SequenceNumber, Marker: p.Marker, Payload: p.Payload,
			})
		}
	}
	return packets
}

// TestEncoded: what encoders make comes out as it was, with decoding times that
// a decoder can work by, R9, R13, R23.
func TestEncoded(t *testing.T) {
	x265 := func(params string) []string { return []string{"-x265-params", "log-level=error:" + params} }
	tests := []struct {
		name, codec, encoder string
		options              []string
		reorders             bool
	}{
		{"h264 without B-frames", "H264", "libx264", []string{"-g", "30", "-bf", "0"}, false},
		{"h264 baseline", "H264", "libx264", []string{"-g", "30", "-profile:v", "baseline"}, false},
		{"h264 one B-frame", "H264", "libx264", []string{"-g", "30", "-bf", "1", "-x264-params", "b-adapt=0"}, true},
		{"h264 B-pyramid", "H264", "libx264", []string{"-g", "30", "-bf", "7", "-x264-params", "b-adapt=0:b-pyramid=normal"}, true},
		{"h264 slices", "H264", "libx264", []string{"-g", "30", "-bf", "2", "-slices", "3"}, true},
		{"h265 without B-frames", "H265", "libx265", x265("keyint=30:bframes=0"), false},
		{"h265 B-pyramid", "H265", "libx265", x265("keyint=30:bframes=4:b-adapt=0:open-gop=0"), true},
		{"h265 open GOP", "H265", "libx265", x265("keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0:open-gop=1"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := encode(t, tt.encoder, tt.options...)
			got, stats := assemble(t, tt.codec, au.Config{}, packetize(t, tt.codec, want))
			if len(got) != len(want) || stats.Damaged+stats.BadPayloads+stats.Lost+stats.Disordered+stats.Restarts+stats.BadParams > 0 {
				t.Fatalf("%d units of %d, %+v", len(got), len(want), stats)
			}
			reorders := false
			for i, u := range got {
				w := want[i]
				if u.PTS != 0xffffff00+w.pts || u.Key != w.key || u.Gap || u.Params != got[0].Params {
					t.Fatalf("unit %d: PTS %d, key %v, gap %v; want %d, %v", i, u.PTS, u.Key, u.Gap, w.pts, w.key)
				}
				if !bytes.Equal(u.Data, sample(tt.codec, w.nals)) {
					t.Fatalf("unit %d: wrong data", i)
				}
				if u.DTS > u.PTS || u.PTS-u.DTS > 90000 {
					t.Errorf("unit %d: DTS %d for PTS %d", i, u.DTS, u.PTS)
				}
				// The encoder's decoding times, up to a constant, as soon as the
				// invented ones of the beginning are through.
				if i > 20 && u.DTS-got[20].DTS != w.dts-want[20].dts {
					t.Errorf("unit %d: DTS %d after unit 20, want %d", i, u.DTS-got[20].DTS, w.dts-want[20].dts)
				}
				reorders = reorders || u.PTS != u.DTS
			}
			if reorders != tt.reorders {
				t.Errorf("reorders: %v", reorders)
			}
			if p := got[0].Params; p.Width != 192 || p.Height != 112 || p.Depth != 8 {
				t.Errorf("%+v", p)
			}
			if n := decode(t, got); n != len(got) {
				t.Errorf("%d pictures of %d", n, len(got))
			}
		})
	}
}

// sample writes the NAL units that belong in a sample.
func sample(codec string, nals [][]byte) []byte {
	var out []byte
	for _, nal := range nals {
		kind := nal[0] & 0x1f
		drop := kind >= 7
		if codec == "H265" {
			kind = nal[0] >> 1
			drop = kind >= 32 && kind <= 38
		}
		if !drop {
			out = append(out, byte(len(nal)>>24), byte(len(nal)>>16), byte(len(nal)>>8), byte(len(nal)))
			out = append(out, nal...)
		}
	}
	return out
}

// TestOpenGOP: pictures before a leading CRA in time, that refer to pictures
// before it in the stream, are dropped, R23.
func TestOpenGOP(t *testing.T) {
	units := encode(t, "libx265", "-x265-params",
		"log-level=error:keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0:open-gop=1:repeat-headers=1")
	second := 0
	for i, u := range units[1:] {
		if u.key {
			second = i + 1
			break
		}
	}
	rasl := 0
	for _, u := range units[second:] {
		for _, nal := range u.nals {
			if k := nal[0] >> 1; k == 8 || k == 9 {
				rasl++
				break
			}
		}
	}
	got, stats := assemble(t, "H265", au.Config{}, packetize(t, "H265", units[second:]))
	if rasl < 4 {
		t.Fatalf("the encoder made %d RASL pictures", rasl)
	}
	kept := len(units) - second - len(got)
	if kept == 0 || kept >= rasl || uint64(kept) != stats.Discarded {
		t.Errorf("%d dropped, %+v; only those of the first CRA should be", kept, stats)
	}
	if got[1].PTS < got[0].PTS {
		t.Error("a picture before the leading CRA came out")
	}
	if n := decode(t, got); n != len(got) {
		t.Errorf("%d pictures of %d", n, len(got))
	}
}

// TestReorderLoss: decoding times survive lost pictures, R13, R27.
func TestReorderLoss(t *testing.T) {
	for _, codec := range []string{"H264", "H265"} {
		t.Run(codec, func(t *testing.T) {
			encoder := map[string]string{"H264": "libx264", "H265": "libx265"}[codec]
			params := map[string]string{"H264": "-x264-params", "H265": "-x265-params"}[codec]
			packets := packetize(t, codec, encode(t, encoder, params, "log-level=error:keyint=30:bframes=3:b-adapt=0"))
			for drop := range packets {
				if drop%7 != 0 {
					continue
				}
				rest := append(append([]au.Packet(nil), packets[:drop]...), packets[min(drop+40, len(packets)):]...)
				got, _ := assemble(t, codec, au.Config{}, rest)
				for i, u := range got {
					if u.PTS-u.DTS > 90000 || u.DTS-u.PTS > 9000 {
						t.Fatalf("without packets %d to %d: unit %d has DTS %d for PTS %d", drop, drop+40, i, u.DTS, u.PTS)
					}
				}
			}
		})
	}
}

// TestStampedInDecodingOrder: a sender that stamps B-frames with decoding times
// is found out, and its pictures are shown as they come, R13.
func TestStampedInDecodingOrder(t *testing.T) {
	units := encode(t, "libx264", "-g", "30", "-bf", "3", "-x264-params", "b-adapt=0")
	for i := range units {
		units[i].pts = units[i].dts
	}
	got, stats := assemble(t, "H264", au.Config{}, packetize(t, "H264", units))
	if stats.Disordered == 0 || len(got) != len(units) {
		t.Fatalf("%d units, %+v", len(got), stats)
	}
	for i, u := range got[10:] {
		if u.DTS != u.PTS {
			t.Fatalf("unit %d: DTS %d for PTS %d", i+10, u.DTS, u.PTS)
		}
	}
}

func ExampleAssembler() {
	a, err := au.New("Opus", au.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	silence := []byte{0xf8, 0xff, 0xfe}
	var units []au.Unit
	for i := range 3 {
		units = a.Push(au.Packet{Sequence: uint16(65535 + i), Timestamp: uint32(i * 960), Payload: silence}, units[:0])
		for _, u := range units {
			fmt.Println(u.PTS, u.Duration, len(u.Data))
		}
	}
	// Output:
	// 0 960 3
	// 960 960 3
	// 1920 960 3
}

// TestLooks: pixel aspect ratio and colour come from the parameter sets, R24.
func TestLooks(t *testing.T) {
	for _, codec := range []string{"H264", "H265"} {
		t.Run(codec, func(t *testing.T) {
			encoder := map[string]string{"H264": "libx264", "H265": "libx265"}[codec]
			params := map[string]string{"H264": "-x264-params", "H265": "-x265-params"}[codec]
			look := map[string]string{"H264": "fullrange=on:", "H265": "range=full:"}[codec] +
				"colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
			units, _ := assemble(t, codec, au.Config{}, packetize(t, codec, encode(t, encoder,
				"-vf", "setsar=40/33", params, "log-level=error:bframes=0:"+look)))
			p := units[0].Params
			if p.SARWidth != 40 || p.SARHeight != 33 || p.Primaries != 9 || p.Transfer != 16 || p.Matrix != 9 || !p.FullRange {
				t.Errorf("%+v", p)
			}
		})
	}
}
