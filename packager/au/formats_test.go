package au_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/packager/au"
)

// formatTest pushes payloads of one unit each, or of several if m is missing.
type formatTest struct {
	name     string
	payloads []string // "m" ends a unit; "loss" skips a number; else hexadecimal digits with spaces
	want     []string // "key" if it is one, and the sample in hexadecimal
	stats    au.Stats // without Packets, Units, Keyframes and Reordered
}

func (tt *formatTest) run(t *testing.T, codec string) {
	t.Helper()
	a := assembler(t, codec, au.Config{})
	var units []au.Unit
	p := au.Packet{Sequence: 65534}
	for _, text := range tt.payloads {
		if text == "loss" {
			p.Sequence++
			continue
		}
		p.Payload, p.Marker = nil, false
		if digits, ok := strings.CutPrefix(text, "m "); ok {
			p.Marker = true
			text = digits
		}
		if _, err := fmt.Sscanf(strings.ReplaceAll(text, " ", ""), "%x", &p.Payload); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		units = a.Push(p, units)
		p.Sequence++
		if p.Marker {
			p.Timestamp += 3000
		}
	}
	units = a.Flush(units)
	got := make([]string, 0, len(units))
	for _, u := range units {
		key := ""
		if u.Key {
			key = "key "
		}
		got = append(got, fmt.Sprintf("%s% x", key, u.Data))
	}
	if !slices.Equal(got, tt.want) {
		t.Errorf("got  %q\nwant %q", got, tt.want)
	}
	check(t, units)
	stats := a.Stats()
	stats.Packets, stats.Units, stats.Keyframes, stats.Reordered = 0, 0, 0, 0
	if stats != tt.stats {
		t.Errorf("got  %+v\nwant %+v", stats, tt.stats)
	}
}

// TestAV1: aggregation headers, OBU sizes, keyframes, R23.
func TestAV1(t *testing.T) {
	const (
		sequence = "08 00 00 00 0c c4 ff 67 00 68 02" // without a size field
		stored   = "0a 0a 00 00 00 0c c4 ff 67 00 68 02"
	)
	tests := []formatTest{
		{
			name:     "one packet, W=2",
			payloads: []string{"m 28 0b" + sequence + "30 10 aa bb", "m 10 30 30 cc"},
			want:     []string{"key " + stored + " 32 03 10 aa bb", "32 02 30 cc"},
		},
		{
			name:     "one packet, a length for each",
			payloads: []string{"m 08 0b" + sequence + "04 30 10 aa bb"},
			want:     []string{"key " + stored + " 32 03 10 aa bb"},
		},
		{
			name:     "sizes are there already; delimiter, padding and tile list go",
			payloads: []string{"m 08 02 12 00 0c" + stored + "05 32 03 10 aa bb 02 78 01 02 40 01"},
			want:     []string{"key " + stored + " 32 03 10 aa bb"},
		},
		{
			name:     "fragments, the header alone in the first",
			payloads: []string{"68 0b" + sequence + "30", "d0 10 aa", "m 90 bb cc"},
			want:     []string{"key " + stored + " 32 04 10 aa bb cc"},
		},
		{
			name:     "a fragment ends and an OBU follows",
			payloads: []string{"68 0b" + sequence + "18 10", "m a0 01 aa 20 bb"},
			want:     []string{"key " + stored + " 1a 02 10 aa 22 01 bb"},
		},
		{
			name:     "a large OBU has a size of two bytes",
			payloads: []string{"m 28 0b" + sequence + "30 10" + strings.Repeat("aa", 200)},
			want:     []string{"key " + stored + " 32 c9 01 10" + strings.Repeat(" aa", 200)},
		},
		{
			name:     "temporal layers have an extension, spatial ones go",
			payloads: []string{"m 08 0b" + sequence + "04 34 20 10 aa 04 34 08 10 bb"},
			want:     []string{"key " + stored + " 36 20 02 10 aa"},
		},
		{
			name: "nothing before a keyframe with sequence header that is shown",
			payloads: []string{
				"m 10 30 10 aa", "m 28 0b" + sequence + "30 30 aa", "m 28 0b" + sequence + "30 00 aa",
				"m 28 0b" + sequence + "30 10 aa", "m 10 30 10 aa",
			},
			want:  []string{"key " + stored + " 32 02 10 aa", "32 02 10 aa"},
			stats: au.Stats{Discarded: 3},
		},
		{
			name: "another sequence header without a keyframe",
			payloads: []string{
				"m 28 0b" + sequence + "30 10 aa", "m 28 0b" + strings.Replace(sequence, "68", "78", 1) + "30 30 aa",
				"m 10 30 30 aa", "m 28 0b" + sequence + "30 10 aa",
			},
			want:  []string{"key " + stored + " 32 02 10 aa", "key " + stored + " 32 02 10 aa"},
			stats: au.Stats{Discarded: 2},
		},
		{
			name: "loss inside, at the beginning and at the end",
			payloads: []string{
				"m 28 0b" + sequence + "30 10 aa",
				"50 30 30", "loss", "m 90 bb",
				"loss", "m 90 bb",
				"loss", "m 10 20 bb",
				"50 30 30", "loss", "m 10 30 30 cc",
				"m 10 30 30 dd",
			},
			want:  []string{"key " + stored + " 32 02 10 aa", "32 02 30 dd"},
			stats: au.Stats{Lost: 4, Damaged: 4},
		},
		{
			name: "malformed",
			payloads: []string{
				"m 28 0b" + sequence + "30 10 aa",
				"m 10",                      // nothing
				"m 00 05 30",                // cut off
				"m 00 00",                   // no element
				"m 00 80 80 80",             // an endless length
				"m 20 02 30 30",             // only one of two
				"m 90 aa",                   // continues nothing
				"m 10 b0 30",                // forbidden bit
				"m 10 32 7f 30",             // larger than its element
				"m 10 34",                   // no extension
				"50 30 30",                  // to be continued
				"m 10 30 30",                // but is not
				"m 10 30 30 aa",             // good
				"m 50 30 30",                // not complete at the end
				"m 10 38 30 aa",             // redundant header: nothing to show
				"m 10 30 30 bb",             // good
				"m 30 01 30 01 30 30 30 01", // good: W=3
			},
			want: []string{
				"key " + stored + " 32 02 10 aa", "32 02 30 aa", "32 02 30 bb",
				"32 00 32 00 32 02 30 01",
			},
			stats: au.Stats{BadPayloads: 5, Damaged: 11},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, "AV1") })
	}
}

// TestVP9: payload descriptors and frame headers, R23.
func TestVP9(t *testing.T) {
	const (
		key   = "82 49 83 42 40 27 f0 16 70"
		inter = "86 01 02"
	)
	tests := []formatTest{
		{
			name:     "bare descriptor",
			payloads: []string{"m 0c" + key, "m 4c" + inter},
			want:     []string{"key " + key, inter},
		},
		{
			name:     "fragments",
			payloads: []string{"08" + key, "00 aa", "m 04 bb", "48 86 01", "m 44 02"},
			want:     []string{"key " + key + " aa bb", inter},
		},
		{
			name: "picture ids, layers, references, structure",
			payloads: []string{
				"m 8e 7f 08 01 04 01" + key,         // 7-bit id, structure with one picture
				"m ce ff ff 10 00 01 00 02" + inter, // 15-bit id, structure with a size
				"m ec 81 00 00 11" + inter,          // layer indices with TL0PICIDX
				"m dc 05 03 03 04" + inter,          // flexible, three references
				"m 5c 02" + inter,                   // flexible, one reference
			},
			want: []string{"key " + key, inter, inter, inter, inter},
		},
		{
			name:     "one spatial layer",
			payloads: []string{"2c 00 00" + key, "m 2c 02 00" + key, "6c 00 01" + inter, "m 6c 02 01" + inter},
			want:     []string{"key " + key, inter},
		},
		{
			name:     "shows an existing frame",
			payloads: []string{"m 0c" + key, "m 4c 89"},
			want:     []string{"key " + key, "89"},
		},
		{
			name:     "another size is another set of parameters, none before a keyframe",
			payloads: []string{"m 4c" + inter, "m 0c" + key, "m 0c 82 49 83 42 40 13 f0 0b 30"},
			want:     []string{"key " + key, "key 82 49 83 42 40 13 f0 0b 30"},
			stats:    au.Stats{Discarded: 1},
		},
		{
			name:     "64k by 64k is refused",
			payloads: []string{"m 0c 82 49 83 42 4f ff ff ff f0"},
			stats:    au.Stats{Discarded: 1, BadParams: 1},
		},
		{
			name: "loss",
			payloads: []string{
				"m 0c" + key,
				"48 86", "loss", "m 44 02",
				"loss", "m 44 02",
				"48 86", "loss", "m 4c" + inter,
				"m 4c" + inter,
			},
			want:  []string{"key " + key, inter},
			stats: au.Stats{Lost: 3, Damaged: 3},
		},
		{
			name: "malformed",
			payloads: []string{
				"m 0c" + key,
				"m 4c",             // nothing
				"m cc 80",          // cut off
				"m 44 aa",          // no beginning
				"m 4e f8 00 00",    // structure cut off
				"m 0c 82 49 83",    // header cut off
				"m 4c 00 00",       // no VP9
				"48 86", "m 48 86", // begins twice
				"m 48 86",          // no end
				"4c 86", "m 4c 86", // two frames
				"m 4c" + inter, // good
			},
			want:  []string{"key " + key, inter},
			stats: au.Stats{BadPayloads: 4, Damaged: 9},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, "VP9") })
	}
}

func TestParamsVP9(t *testing.T) {
	tests := []struct {
		name, header string
		want         au.Params
	}{
		{
			"profile 0, BT.709", "82 49 83 42 40 27 f0 16 70",
			au.Params{Codec: "VP9", Level: 30, Depth: 8, Subsampling: 1, Width: 640, Height: 360, Primaries: 1, Transfer: 1, Matrix: 1},
		},
		{
			// Profile 1, BT.601 in full range, neither subsampled.
			"profile 1, 4:4:4", "a2 49 83 42 30 02 7e 01 66",
			au.Params{Codec: "VP9", Profile: 1, Level: 20, Depth: 8, Subsampling: 3, Width: 320, Height: 180, Primaries: 6, Transfer: 6, Matrix: 6, FullRange: true},
		},
		{
			// Profile 2, 10 bits, BT.2020.
			"profile 2, 10 bits", "92 49 83 42 50 3b f8 21 b8",
			au.Params{Codec: "VP9", Profile: 2, Level: 41, Depth: 10, Subsampling: 1, Width: 1920, Height: 1080, Primaries: 9, Transfer: 14, Matrix: 9},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var payload []byte
			if _, err := fmt.Sscanf("0c"+strings.ReplaceAll(tt.header, " ", ""), "%x", &payload); err != nil {
				t.Fatal(err)
			}
			units := assembler(t, "VP9", au.Config{}).Push(au.Packet{Marker: true, Payload: payload}, nil)
			tt.want.SARWidth, tt.want.SARHeight = 1, 1
			if len(units) != 1 || fmt.Sprintf("%+v", *units[0].Params) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("got  %+v\nwant %+v", *units[0].Params, tt.want)
			}
		})
	}
}

// TestH265: payload structures of RFC 7798 and what is kept, R17, R23.
func TestH265(t *testing.T) {
	all := encode(t, "libx265", "-x265-params", "log-level=error:keyint=30:bframes=0")
	sets := func(u coded) (sets, rest [][]byte) {
		for _, nal := range u.nals {
			if k := nal[0] >> 1; k >= 32 && k <= 34 {
				sets = append(sets, nal)
			} else {
				rest = append(rest, nal)
			}
		}
		return sets, rest
	}
	params, picture := sets(all[0])
	if len(params) != 3 {
		t.Fatalf("%d parameter sets", len(params))
	}
	hex := func(head string, nal []byte) string { return head + fmt.Sprintf("%x", nal) }
	ap := hex("60 01", nil)
	for _, nal := range append(slices.Clone(params), picture...) {
		ap += fmt.Sprintf("%04x%x", len(nal), nal)
	}
	_, next := sets(all[1])
	p := next[len(next)-1]
	key := fmt.Sprintf("key % x", sample("H265", picture))
	inter := fmt.Sprintf("% x", sample("H265", [][]byte{p}))
	half := len(p) / 2
	tests := []formatTest{
		{
			name:     "single NAL units, aggregation, fragments",
			payloads: []string{"m " + ap, hex("m ", p), hex("62 01 81", p[2:half]), hex("m 62 01 41", p[half:])},
			want:     []string{key, inter, inter},
		},
		{
			name:     "delimiters, filler and higher layers go",
			payloads: []string{"m " + ap, "46 01 50", "4c 01 ff 80", "02 09 80", hex("m ", p)},
			want:     []string{key, inter},
		},
		{
			name:     "loss",
			payloads: []string{"m " + ap, hex("62 01 81", p[2:half]), "loss", hex("m 62 01 41", p[half:]), "loss", hex("m 62 01 41", p[half:]), hex("m ", p)},
			want:     []string{key, inter},
			stats:    au.Stats{Lost: 2, Damaged: 2},
		},
		{
			name:     "malformed",
			payloads: []string{"m " + ap, "m 02", "m 60 01 00 09 02", "m 62 01 41 00", "m 64 01 00 00", "m 62 01 81 00", "m 02 01 00", hex("m ", p)},
			want:     []string{key, inter},
			stats:    au.Stats{BadPayloads: 3, Damaged: 6},
		},
		{
			name:     "without parameter sets",
			payloads: []string{hex("m ", picture[len(picture)-1]), hex("m ", p)},
			stats:    au.Stats{Discarded: 2},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, "H265") })
	}
	t.Run("R22 parameter sets of the SDP", func(t *testing.T) {
		text := base64.StdEncoding.EncodeToString
		a := assembler(t, "H265", au.Config{
			Fmtp: "sprop-vps=" + text(params[0]) + ";sprop-sps=" + text(params[1]) + "; sprop-pps=" + text(params[2]),
		})
		units := a.Push(au.Packet{Marker: true, Payload: picture[len(picture)-1]}, nil)
		if len(units) != 1 || !bytes.Equal(units[0].Params.VPS[0], params[0]) || !bytes.Equal(units[0].Params.SPS[0], params[1]) ||
			!bytes.Equal(units[0].Params.PPS[0], params[2]) {
			t.Errorf("%+v", units)
		}
	})
	t.Run("a picture of 64k by 64k is refused", func(t *testing.T) {
		a := assembler(t, "H265", au.Config{})
		// Profile, tier and level; id 0; 4:2:0; two sizes of 65536.
		sps := bitString("01000010 00000001 00000001" + strings.Repeat("0", 96) + "1 010" +
			strings.Repeat("0000000000000000 1 0000000000000001", 2) + "0 1 1 1 1" + strings.Repeat("1", 40))
		a.Push(au.Packet{Marker: true, Payload: sps}, nil)
		if s := a.Stats(); s.BadParams != 1 {
			t.Errorf("%+v", s)
		}
	})
}
