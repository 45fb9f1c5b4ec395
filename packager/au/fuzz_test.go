package au_test

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/au"
)

func FuzzH264(f *testing.F) {
	n := nals()
	f.Add(lines(stap(n["sps"], n["pps"], n["idr"]), n["p"], fua(n["p"], 2)[0], n["recovery"], n["huge"]))
	seed(f, "chromium-h264-q", "obs-h264")
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, "H264", b) })
}

func FuzzH265(f *testing.F) {
	var payloads [][]byte
	for _, text := range []string{ // x265: sets, and the beginnings of three pictures with B-frames
		"40010c01ffff01600000030090000003000003003c959009",
		"42010101600000030090000003000003003ca01820716595912930bc05a020000003002000000303c1",
		"4401c073c189", "2801ac2120b9f8a8", "0201d0195e204041", "6201810201e04497", "620141828484", "600100034601500003020901",
	} {
		payload, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		payloads = append(payloads, payload)
	}
	f.Add(lines(payloads...))
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, "H265", b) })
}

func FuzzAV1(f *testing.F) {
	seed(f, "chromium-av1")
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, "AV1", b) })
}

func FuzzVP9(f *testing.F) {
	seed(f, "chromium-vp9")
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, "VP9", b) })
}

func FuzzOpus(f *testing.F) {
	seed(f, "obs-opus")
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, "Opus", b) })
}

// seed adds the beginnings of recordings.
func seed(f *testing.F, names ...string) {
	f.Helper()
	for _, name := range names {
		var payloads [][]byte
		for _, p := range (recording{name: name}).load(f)[:8] {
			payloads = append(payloads, p.Payload[:min(len(p.Payload), 200)])
		}
		f.Add(lines(payloads...))
	}
}

// lines writes payloads with a length and flags before each, as fuzz reads them.
func lines(payloads ...[]byte) []byte {
	var b []byte
	for _, p := range payloads {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))|0x8000), p...)
	}
	return b
}

// fuzz pushes payloads in order. Of the two bytes of length the first bit is the
// marker, the second says that a packet is lost.
func fuzz(t *testing.T, codec string, b []byte) {
	t.Helper()
	cfg := au.Config{MaxUnit: 1 << 16, Fmtp: "sprop-parameter-sets=" + string(b[:min(len(b), 8)])}
	if codec == "AAC" {
		cfg.Fmtp = stereo
	}
	a := assembler(t, codec, cfg)
	p := au.Packet{Sequence: 65530, Timestamp: 1<<32 - 3000}
	var units []au.Unit
	for len(b) >= 2 {
		head := binary.BigEndian.Uint16(b)
		n := min(int(head&0x0fff), len(b)-2)
		p.Payload, p.Marker = b[2:2+n], head&0x8000 != 0
		b = b[2+n:]
		if head&0x4000 != 0 {
			p.Sequence++
			p.Arrival = p.Arrival.Add(time.Second)
		}
		units = a.Push(p, units)
		p.Sequence++
		if p.Marker {
			p.Timestamp += 3000
		}
	}
	units = a.Flush(units)
	sound(t, codec, units)
}

// sound tests what must be true of the output for any input.
func sound(t *testing.T, codec string, units []au.Unit) {
	t.Helper()
	check(t, units)
	for i, u := range units {
		if u.Params.Codec != codec || len(u.Data) > 1<<17 {
			t.Fatalf("unit %d: %s, %d bytes", i, u.Params.Codec, len(u.Data))
		}
		if codec == "Opus" && (u.Duration <= 0 || u.Duration > 5760) {
			t.Fatalf("unit %d: duration %d", i, u.Duration)
		}
		if codec == "AAC" && (u.Duration != au.FrameAAC || len(u.Data) == 0 || len(u.Data) >= 1<<13) {
			t.Fatalf("unit %d: duration %d, %d bytes", i, u.Duration, len(u.Data))
		}
		if codec != "Opus" && codec != "AAC" && (u.Params.Width <= 0 || u.Params.Width > 8192 || u.Params.Height <= 0 || u.Params.Height > 8192) {
			t.Fatalf("unit %d: %dx%d", i, u.Params.Width, u.Params.Height)
		}
		if codec != "H264" && codec != "H265" {
			continue
		}
		if len(u.Params.SPS) != 1 || len(u.Params.PPS) == 0 {
			t.Fatalf("unit %d: %+v", i, u.Params)
		}
		for b := u.Data; len(b) > 0; {
			n := int(binary.BigEndian.Uint32(b))
			if n == 0 || n > len(b)-4 {
				t.Fatalf("unit %d: a NAL unit of %d bytes in %d", i, n, len(b)-4)
			}
			b = b[4+n:]
		}
	}
}

// FuzzAssembler mixes packets of a recording, and calls in between, as the input
// says. Whatever comes out must be as it was sent.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, uint8(0))
	f.Add([]byte{0, 2, 1, 1, 4, 255, 6, 5, 254, 7, 8}, uint8(1))
	f.Add(slices.Repeat([]byte{0, 10, 253, 20}, 40), uint8(3))
	names := []recording{
		{name: "obs-h264", codec: "H264"},
		{name: "chromium-h264", codec: "H264"},
		{name: "chromium-vp9", codec: "VP9"},
		{name: "chromium-av1", codec: "AV1"},
		{name: "obs-opus", codec: "Opus"},
	}
	packets := make([][]au.Packet, len(names))
	sent := make([]map[int64]string, len(names))
	for i, r := range names {
		packets[i] = r.load(f)
		sent[i] = make(map[int64]string)
		units, _ := assemble(f, r.codec, au.Config{}, packets[i])
		for _, u := range units {
			sent[i][u.PTS] = string(u.Data)
		}
	}
	f.Fuzz(func(t *testing.T, order []byte, choice uint8) {
		i := int(choice>>1) % len(names)
		a := assembler(t, names[i].codec, au.Config{Strict: choice&1 != 0, Reorder: 100 * time.Millisecond, MaxReorder: 20})
		var units []au.Unit
		at := 0
		for _, b := range order {
			switch b {
			case 255:
				units = a.Advance(packets[i][at].Arrival.Add(time.Second), units)
			case 254:
				at = min(at+7, len(packets[i])-1)
			default: // one of the next, or of the last ones
				at = min(max(at+int(b%16)-4, 0), len(packets[i])-1)
				units = a.Push(packets[i][at], units)
			}
		}
		units = a.Flush(units)
		for n, u := range units {
			// A lost SEI message before the first slice cannot be noticed.
			if want, ok := sent[i][u.PTS]; ok && !strings.HasSuffix(want, string(u.Data)) {
				t.Fatalf("unit %d at %d is not what was sent", n, u.PTS)
			}
		}
		if a.Stats().Restarts == 0 {
			sound(t, names[i].codec, units)
		}
	})
}
