package au_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/au"
)

// NAL units for scripts. The slices are only as good as their first bits.
func nals() map[string][]byte {
	return map[string][]byte{
		"sps":      {0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x5a, 0x80, 0x80, 0x80, 0xa0, 0, 0, 3, 0, 0x20, 0, 0, 7, 0x91, 0xe2, 0xc5, 0xd4},
		"sps2":     {0x67, 0x42, 0xc0, 0x15, 0x8c, 0x8d, 0x40, 0xa0, 0xcb, 0xcf, 0x37, 0x01, 0x0d, 0x01, 0x07, 0x84, 0x42, 0x35, 0},
		"pps":      {0x68, 0xce, 0x3c, 0x80},
		"pps1":     {0x68, 0x5c, 0xe3, 0xc8}, // id 1
		"pps'":     {0x68, 0xce, 0x38, 0x80}, // id 0, other bytes
		"huge":     bitString("01100111 01000010 11000000 00110011 1 1 011 010 0" + strings.Repeat(" 000000000000 1 000000000000", 2) + " 1 1 0 0 1"),
		"idr":      {0x65, 0x88, 0x80, 1, 2, 3, 4},
		"idr+":     {0x65, 0x42, 0x20, 5, 6}, // a further slice
		"idr1":     {0x65, 0x88, 0x40, 7},    // refers to PPS 1
		"p":        {0x41, 0x9a, 0x01, 8, 9},
		"p+":       {0x41, 0x46, 0x80, 7},
		"p1":       {0x41, 0x99, 0x00, 6},
		"sei":      {0x06, 0x05, 0x02, 1, 2, 0x80},
		"recovery": {0x06, 0x06, 0x01, 0xc4, 0x80},
		"aud":      {0x09, 0x10},
		"filler":   {0x0c, 0xff, 0xff, 0x80},
		"eos":      {0x0a},
	}
}

// bitString packs zeros and ones, and fills up with zeros.
func bitString(s string) []byte {
	s = strings.ReplaceAll(s, " ", "")
	b := make([]byte, (len(s)+7)/8)
	for i, c := range s {
		if c == '1' {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	return b
}

// stap aggregates NAL units, RFC 6184 §5.7.1.
func stap(list ...[]byte) []byte {
	b := []byte{24}
	for _, nal := range list {
		b = append(append(b, byte(len(nal)>>8), byte(len(nal))), nal...)
	}
	return b
}

// fua fragments a NAL unit in pieces of n bytes, RFC 6184 §5.8.
func fua(nal []byte, n int) [][]byte {
	var list [][]byte
	pieces := slices.Collect(slices.Chunk(nal[1:], n))
	for i, piece := range pieces {
		head := nal[0] & 0x1f
		if i == 0 {
			head |= 0x80
		}
		if i == len(pieces)-1 {
			head |= 0x40
		}
		list = append(list, append([]byte{nal[0]&0xe0 | 28, head}, piece...))
	}
	return list
}

// script reads packets from lines, one packet each:
//
//	SEQUENCE TIMESTAMP [m] [@MILLISECONDS] CONTENT
//
// CONTENT is a NAL unit's name, "stap:NAME,NAME", "fu:NAME/PART" with PART
// counted from 1 in pieces of 3 bytes, "empty", or "x" and hexadecimal digits.
// "advance @MILLISECONDS" calls Advance, "flush" calls Flush. The answer has a
// line for each Unit: PTS, the words key, gap and restart, the number of the
// Params, and the NAL units.
func script(t *testing.T, a *au.Assembler, text string) string {
	t.Helper()
	var (
		units []au.Unit
		out   strings.Builder
		now   time.Duration
	)
	epoch := time.Unix(1000, 0)
	params := make(map[*au.Params]int)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if i := slices.IndexFunc(fields, func(f string) bool { return f[0] == '@' }); i >= 0 {
			var ms int
			if _, err := fmt.Sscanf(fields[i], "@%d", &ms); err != nil {
				t.Fatal(line)
			}
			now = time.Duration(ms) * time.Millisecond
			fields = slices.Delete(fields, i, i+1)
		}
		switch fields[0] {
		case "advance":
			units = a.Advance(epoch.Add(now), units[:0])
		case "flush":
			units = a.Flush(units[:0])
		default:
			p := au.Packet{Arrival: epoch.Add(now)}
			var ts int64
			if _, err := fmt.Sscan(fields[0]+" "+fields[1], &p.Sequence, &ts); err != nil {
				t.Fatal(line)
			}
			p.Timestamp = uint32(ts)
			p.Marker = fields[2] == "m"
			p.Payload = content(t, fields[len(fields)-1])
			units = a.Push(p, units[:0])
		}
		for _, u := range units {
			if params[u.Params] == 0 {
				params[u.Params] = len(params) + 1
			}
			fmt.Fprintf(&out, "%d", u.PTS)
			for _, w := range []struct {
				on   bool
				word string
			}{{u.Key, " key"}, {u.Gap, " gap"}, {u.Restart, " restart"}} {
				if w.on {
					out.WriteString(w.word)
				}
			}
			fmt.Fprintf(&out, " %d %s\n", params[u.Params], names(t, u.Data))
		}
	}
	return out.String()
}

func content(t *testing.T, text string) []byte {
	t.Helper()
	named := func(name string) []byte {
		nal, ok := nals()[name]
		if !ok {
			t.Fatalf("no NAL unit %q", name)
		}
		return nal
	}
	if text == "empty" {
		return nil
	}
	if list, ok := strings.CutPrefix(text, "stap:"); ok {
		var all [][]byte
		for name := range strings.SplitSeq(list, ",") {
			all = append(all, named(name))
		}
		return stap(all...)
	}
	if part, ok := strings.CutPrefix(text, "fu:"); ok {
		name, number, _ := strings.Cut(part, "/")
		return fua(named(name), 3)[number[0]-'1']
	}
	if digits, ok := strings.CutPrefix(text, "x"); ok {
		var b []byte
		if _, err := fmt.Sscanf(digits, "%x", &b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	return named(text)
}

// names tells which NAL units are in a sample.
func names(t *testing.T, data []byte) string {
	t.Helper()
	var list []string
	for len(data) > 0 {
		n := int(data[0])<<24 | int(data[1])<<16 | int(data[2])<<8 | int(data[3])
		nal := data[4 : 4+n]
		data = data[4+n:]
		found := fmt.Sprintf("%x", nal)
		for name, b := range nals() {
			if bytes.Equal(b, nal) {
				found = name
			}
		}
		list = append(list, found)
	}
	return strings.Join(list, ",")
}

func trim(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func TestScripts(t *testing.T) {
	tests := []struct {
		name   string
		config au.Config
		in     string
		want   string
		stats  au.Stats // without Packets, Units, Keyframes and Reordered
	}{
		{
			name: "R15 single NAL units, STAP-A and FU-A; R17 what is kept",
			in: `1 0 aud
			     2 0 sps
			     3 0 pps
			     4 0 sei
			     5 0 fu:idr/1
			     6 0 fu:idr/2
			     7 0 m idr+
			     8 3000 m stap:aud,sei,p,filler,eos
			     9 6000 m p`,
			want: `0 key 1 sei,idr,idr+
			       3000 1 sei,p
			       6000 1 p`,
		},
		{
			name: "R15 a new timestamp ends a unit",
			in: `1 0 stap:sps,pps,idr
			     2 3000 p
			     3 6000 p
			     flush`,
			want: `0 key 1 idr
			       3000 1 p
			       6000 1 p`,
		},
		{
			name: "flush ends nothing that a marker should have ended",
			in: `1 0 m stap:sps,pps,idr
			     2 3000 p
			     flush`,
			want:  `0 key 1 idr`,
			stats: au.Stats{Damaged: 1},
		},
		{
			name: "R17 no unit without a picture; R21 parameter sets ahead of the picture, in fragments",
			in: `1 0 fu:sps/1
			     2 0 fu:sps/2
			     3 0 fu:sps/3
			     4 0 fu:sps/4
			     5 0 fu:sps/5
			     6 0 fu:sps/6
			     7 0 fu:sps/7
			     8 0 fu:sps/8
			     9 0 m fu:sps/9
			     10 10 m pps
			     11 20 m sei
			     12 30 m idr
			     13 40 m stap:aud,sei
			     14 50 m p`,
			want: `30 key 1 idr
			       50 1 p`,
		},
		{
			name: "R21 nothing before parameter sets and keyframe",
			in: `1 0 m p
			     2 1 m idr
			     3 2 m sps
			     4 3 m idr
			     5 4 m pps
			     6 5 m p
			     7 6 m idr
			     8 7 m p`,
			want: `6 key 1 idr
			       7 1 p`,
			stats: au.Stats{Discarded: 4},
		},
		{
			name: "R9 numbers and timestamps wrap",
			in: `65535 4294967290 m stap:sps,pps,idr
			     0 3000 m p
			     1 6000 m p`,
			want: `4294967290 key 1 idr
			       4294970296 1 p
			       4294973296 1 p`,
		},
		{
			name: "R29 disorder and duplicates",
			in: `1 0 m stap:sps,pps,idr
			     4 6000 m p
			     3 3000 m p+
			     3 3000 m p+
			     2 3000 p
			     2 3000 p
			     1 0 m stap:sps,pps,idr
			     4 6000 m p`,
			want: `0 key 1 idr
			       3000 1 p,p+
			       6000 1 p`,
			stats: au.Stats{Duplicates: 4},
		},
		{
			name: "R25 a missing packet is waited for until a later one is 250 ms old",
			in: `1 0 m @0 stap:sps,pps,idr
			     3 6000 m @33 p
			     4 9000 m @282 p
			     2 3000 m @282 p
			     6 15000 m @300 p
			     7 18000 m @549 p
			     8 21000 m @550 p
			     5 12000 m @560 p`,
			want: `0 key 1 idr
			       3000 1 p
			       6000 1 p
			       9000 1 p
			       15000 gap 1 p
			       18000 1 p
			       21000 1 p`,
			stats: au.Stats{Lost: 1, Late: 1},
		},
		{
			name:   "R25 the wait is configurable, and Advance ends it",
			config: au.Config{Reorder: 40 * time.Millisecond},
			in: `1 0 m @0 stap:sps,pps,idr
			     3 6000 m @33 p
			     advance @72
			     advance @73
			     2 3000 m @74 p
			     2 3000 m @75 p`,
			want: `0 key 1 idr
			       6000 gap 1 p`,
			stats: au.Stats{Lost: 1, Late: 1, Duplicates: 1},
		},
		{
			name:   "R29 not more packets than allowed wait",
			config: au.Config{MaxReorder: 2},
			in: `1 0 m stap:sps,pps,idr
			     3 6000 m p
			     4 9000 m p
			     5 12000 m p`,
			want: `0 key 1 idr
			       6000 gap 1 p
			       9000 1 p
			       12000 1 p`,
			stats: au.Stats{Lost: 1},
		},
		{
			name: "R27 tolerant: only the damaged unit is dropped",
			in: `1 0 m stap:sps,pps,idr
			     2 3000 fu:p/1
			     4 6000 m p
			     5 9000 m p
			     advance @250
			     6 12000 m p
			     flush`,
			want: `0 key 1 idr
			       6000 gap 1 p
			       9000 1 p
			       12000 1 p`,
			stats: au.Stats{Lost: 1, Damaged: 1},
		},
		{
			name:   "R27 strict: nothing before the next keyframe",
			config: au.Config{Strict: true},
			in: `1 0 m stap:sps,pps,idr
			     2 3000 fu:p/1
			     4 6000 m p
			     advance @250
			     5 9000 m stap:sps,pps,idr
			     6 12000 m p`,
			want: `0 key 1 idr
			       9000 key gap 1 idr
			       12000 1 p`,
			stats: au.Stats{Lost: 1, Damaged: 1, Discarded: 1},
		},
		{
			name: "R27 the lost beginning of a unit",
			in: `1 0 m stap:sps,pps,idr
			     3 3000 m p+
			     advance @250
			     4 6000 m p
			     6 9000 m fu:p/2
			     advance @500
			     7 12000 m p`,
			want: `0 key 1 idr
			       6000 gap 1 p
			       12000 gap 1 p`,
			stats: au.Stats{Lost: 2, Damaged: 2},
		},
		{
			name: "R27 a keyframe whose parameter sets may be lost",
			in: `1 0 m stap:sps,pps,idr
			     3 3000 m idr
			     advance @250
			     4 6000 m stap:sps,pps,idr`,
			want: `0 key 1 idr
			       6000 key gap 1 idr`,
			stats: au.Stats{Lost: 1, Damaged: 1},
		},
		{
			name: "padding only consumes a number",
			in: `1 0 m stap:sps,pps,idr
			     2 3000 p
			     3 3000 empty
			     4 3000 m p+
			     5 3000 m empty
			     6 6000 m p`,
			want: `0 key 1 idr
			       3000 1 p,p+
			       6000 1 p`,
		},
		{
			name: "R18 only other bytes are other parameters",
			in: `1 0 m stap:sps,pps,idr
			     2 1 m stap:sps,pps,idr
			     3 2 m stap:sps,pps,pps1,idr
			     4 3 m stap:sps,pps,idr1
			     5 4 m p1
			     6 5 m stap:sps,pps,idr
			     7 6 m stap:sps2,pps,idr
			     8 7 m p
			     9 8 m stap:sps2,pps',idr
			     10 9 m stap:sps,pps,idr`,
			want: `0 key 1 idr
			       1 key 1 idr
			       2 key 1 idr
			       3 key 2 idr1
			       4 2 p1
			       5 key 2 idr
			       6 key 3 idr
			       7 3 p
			       8 key 4 idr
			       9 key 5 idr`,
		},
		{
			name: "R19 parameters change at a keyframe only",
			in: `1 0 m stap:sps,pps,idr
			     2 1 m stap:pps1,p
			     3 2 m p1
			     4 3 m p
			     5 4 m idr
			     6 5 m p1
			     7 6 m stap:pps',p
			     8 7 m idr`,
			want: `0 key 1 idr
			       1 1 p
			       4 key gap 2 idr
			       5 2 p1
			       7 key gap 3 idr`,
			stats: au.Stats{Discarded: 3},
		},
		{
			name: "R11 the clock jumps ahead, with continuing numbers",
			in: `1 0 m stap:sps,pps,idr
			     2 900000 m p
			     3 1800001 m p
			     4 1803001 m idr
			     5 1806001 m p`,
			want: `0 key 1 idr
			       900000 1 p
			       1803001 key restart 1 idr
			       1806001 1 p`,
			stats: au.Stats{Restarts: 1, Discarded: 1},
		},
		{
			name: "R11 the clock jumps back: what comes out still rises",
			in: `1 1000000 m stap:sps,pps,idr
			     2 1003000 m p
			     3 910000 m idr
			     4 913000 m p`,
			want: `1000000 key 1 idr
			       1003000 1 p
			       4295877296 key restart 1 idr
			       4295880296 1 p`,
			stats: au.Stats{Restarts: 1},
		},
		{
			name: "R13 timestamps go back where no picture can",
			in: `1 9000 m stap:sps,pps,idr
			     2 12000 m p
			     3 9000 m p
			     4 15000 m p`,
			want: `9000 key 1 idr
			       12000 1 p
			       12001 1 p
			       15000 1 p`,
			stats: au.Stats{Disordered: 1},
		},
		{
			name: "R11 a long outage is a loss, not a jump",
			in: `1 0 m @0 stap:sps,pps,idr
			     9000 1350000 m @15000 p
			     advance @15250`,
			want: `0 key 1 idr
			       1350000 gap 1 p`,
			stats: au.Stats{Lost: 8998},
		},
		{
			name: "the numbers begin anew",
			in: `50000 900000000 m stap:sps,pps,idr
			     50001 900003000 m p
			     30000 5000 m stap:sps,pps,idr
			     30001 8000 m p
			     30002 11000 m p`,
			want: `900000000 key 1 idr
			       900003000 1 p
			       4294972296 key gap restart 1 idr
			       4294975296 1 p
			       4294978296 1 p`,
			stats: au.Stats{Restarts: 1},
		},
		{
			name: "old packets in sequence are not a new numbering",
			in: `20000 900000 m stap:sps,pps,idr
			     100 810000 m p
			     101 810000 m p
			     102 813000 m p
			     20001 903000 m p`,
			want: `900000 key 1 idr
			       903000 1 p`,
			stats: au.Stats{Late: 3},
		},
		{
			name: "R38 intra refresh",
			in: `1 0 m stap:sps,pps,recovery,p
			     2 1 m stap:sei,p
			     3 2 m stap:recovery,p`,
			stats: au.Stats{Discarded: 3, RecoveryPoints: 2},
		},
		{
			name: "a picture of 64k by 64k is refused",
			in: `1 0 m stap:huge,pps,idr
			     2 1 m p
			     3 2 m stap:sps,pps,idr`,
			want:  `2 key 1 idr`,
			stats: au.Stats{BadParams: 1, Discarded: 2},
		},
		{
			name: "malformed payloads",
			in: `1 0 m stap:sps,pps,idr
			     2 1 m x180005
			     3 2 m x18000541
			     4 3 m x1c05aa
			     5 4 m x1c
			     6 5 m x19000141
			     7 6 m x00
			     8 7 m x1f
			     9 8 m x1a0000
			     10 9 p
			     11 9 m fu:p/2
			     12 10 m x180000
			     13 11 m p
			     14 12 fu:p/1
			     15 12 m p
			     16 13 m x41
			     17 14 m x4100000000
			     18 15 m p`,
			want: `0 key 1 idr
			       11 gap 1 p
			       15 gap 1 p`,
			// An aggregate of an empty unit is no picture, and not malformed. Slices
			// that are cut off are damaged, not bad payloads; and so are fragments
			// without a beginning while something is missing anyway.
			stats: au.Stats{BadPayloads: 8, Damaged: 12},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := assembler(t, "H264", tt.config)
			if got, want := script(t, a, tt.in), trim(tt.want); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			got := a.Stats()
			got.Packets, got.Units, got.Keyframes, got.Reordered = 0, 0, 0, 0
			if got != tt.stats {
				t.Errorf("got  %+v\nwant %+v", got, tt.stats)
			}
		})
	}
}

// TestNeedKeyframe follows NeedKeyframe through a life, R21, R27, R38.
func TestNeedKeyframe(t *testing.T) {
	a := assembler(t, "H264", au.Config{Strict: true})
	for _, step := range []struct {
		in   string
		want bool
	}{
		{"1 0 m p", true},
		{"2 1 m stap:sps,pps,idr", false},
		{"3 2 m p", false},
		{"5 3 m p", false}, // still waits for the packet
		{"advance @250", true},
		{"6 4 m p", true},
		{"7 5 m stap:sps,pps,idr", false},
		{"8 2000000 m p", true},
		{"9 2000001 m stap:sps,pps,idr", false},
	} {
		script(t, a, step.in)
		if a.NeedKeyframe() != step.want {
			t.Fatalf("after %q: %v", step.in, a.NeedKeyframe())
		}
	}
	if a := assembler(t, "Opus", au.Config{}); a.NeedKeyframe() {
		t.Error("audio waits for a keyframe")
	}
	refresh := assembler(t, "H264", au.Config{})
	script(t, refresh, "1 0 m stap:sps,pps,recovery,p")
	if !refresh.Stats().IntraRefresh() || a.Stats().IntraRefresh() {
		t.Error("intra refresh not told from keyframes")
	}
}

// TestSprop: parameter sets of the SDP serve until others come in band, R22.
func TestSprop(t *testing.T) {
	n := nals()
	text := func(list ...string) string {
		var all []string
		for _, name := range list {
			all = append(all, base64.StdEncoding.EncodeToString(n[name]))
		}
		return "packetization-mode=1; sprop-parameter-sets=" + strings.Join(all, ",") + ";profile-level-id=42e01f"
	}
	a := assembler(t, "H264", au.Config{Fmtp: text("sps2", "pps", "pps1")})
	got := script(t, a, `1 0 m idr
		2 1 m p
		3 2 m stap:sps,pps,idr
		4 3 m idr`)
	want := "0 key 1 idr\n1 1 p\n2 key 2 idr\n3 key 2 idr\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	units := a.Push(au.Packet{Sequence: 5, Timestamp: 4, Marker: true, Payload: n["idr"]}, nil)
	if p := units[0].Params; len(p.SPS) != 1 || len(p.PPS) != 1 || !bytes.Equal(p.SPS[0], n["sps"]) || p.Width != 640 {
		t.Errorf("%+v; what came in band should have replaced all of the SDP", p)
	}
	broken := assembler(t, "H264", au.Config{Fmtp: "sprop-parameter-sets=,%%%,Zw==,aA==," + base64.StdEncoding.EncodeToString(n["huge"])})
	if s := broken.Stats(); s.BadParams != 3 {
		t.Errorf("%+v", s)
	}
}

func TestParamsH264(t *testing.T) {
	// The parameters that OBS sends: BT.709 in its VUI, R24.
	a := assembler(t, "H264", au.Config{})
	units := a.Push(au.Packet{Sequence: 1, Marker: true, Payload: stap(nals()["sps"], nals()["pps"], nals()["idr"])}, nil)
	p := units[0].Params
	if p.Codec != "H264" || p.Profile != 66 || p.Level != 30 || p.Width != 640 || p.Height != 360 || p.SARWidth != 1 || p.SARHeight != 1 ||
		p.Primaries != 1 || p.Transfer != 1 || p.Matrix != 1 || p.FullRange {
		t.Errorf("%+v", p)
	}
}

// TestNoDelay: a unit comes out of the call that brings its marker.
func TestNoDelay(t *testing.T) {
	a := assembler(t, "H264", au.Config{})
	for i := range 100 {
		p := au.Packet{Sequence: uint16(i), Timestamp: uint32(i) * 3000, Marker: true, Payload: nals()["p"]}
		if i == 0 {
			p.Payload = stap(nals()["sps"], nals()["pps"], nals()["idr"])
		}
		if units := a.Push(p, nil); len(units) != 1 || units[0].PTS != int64(p.Timestamp) {
			t.Fatalf("packet %d: %v", i, units)
		}
	}
}

// TestMaxUnit: a unit that is too large is dropped, and memory stays bounded.
func TestMaxUnit(t *testing.T) {
	a := assembler(t, "H264", au.Config{MaxUnit: 1000})
	big := append(bytes.Clone(nals()["p"]), make([]byte, 600)...)
	script(t, a, "1 0 m stap:sps,pps,idr")
	var units []au.Unit
	for i := range 10 {
		units = a.Push(au.Packet{Sequence: uint16(2 + i), Timestamp: 3000, Marker: i == 9, Payload: big}, units)
	}
	units = a.Push(au.Packet{Sequence: 12, Timestamp: 6000, Marker: true, Payload: big}, units)
	if len(units) != 1 || units[0].PTS != 6000 || !units[0].Gap || a.Stats().Damaged != 1 {
		t.Errorf("%d units, %+v", len(units), a.Stats())
	}
}

func TestCodecs(t *testing.T) {
	if _, err := au.New("VP8", au.Config{}); err == nil || !strings.Contains(err.Error(), "VP8") {
		t.Error(err)
	}
}

// TestOpus: durations come from the packets, R45.
func TestOpus(t *testing.T) {
	tests := []struct {
		name    string
		payload []byte
		want    int64 // 0 is refused
	}{
		{"CELT 20 ms", []byte{0xf8, 0xff, 0xfe}, 960},
		{"CELT 2.5 ms", []byte{0xe0, 1}, 120},
		{"SILK 60 ms", []byte{0x18, 1}, 2880},
		{"two frames", []byte{0xf9, 1, 2}, 1920},
		{"two frames of different size", []byte{0xfa, 1, 2}, 1920},
		{"three frames", []byte{0xfb, 0x03, 1}, 2880},
		{"120 ms", []byte{0xfb, 0x06, 1}, 5760},
		{"140 ms", []byte{0xfb, 0x07, 1}, 0},
		{"no frames", []byte{0xfb, 0x00, 1}, 0},
		{"cut off", []byte{0xfb}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := assembler(t, "Opus", au.Config{})
			units := a.Push(au.Packet{Sequence: 9, Timestamp: 100, Payload: tt.payload}, nil)
			if tt.want == 0 {
				if len(units) != 0 || a.Stats().BadPayloads != 1 || a.Stats().Damaged != 1 {
					t.Errorf("%v, %+v", units, a.Stats())
				}
				return
			}
			if len(units) != 1 || units[0].Duration != tt.want || !units[0].Key || !bytes.Equal(units[0].Data, tt.payload) {
				t.Fatalf("%+v", units)
			}
			if p := units[0].Params; p.SampleRate != 48000 || p.Channels != 2 {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestOpusTime: what would go back in time is dropped, a gap and a jump are
// announced, R11, R48.
func TestOpusTime(t *testing.T) {
	a := assembler(t, "Opus", au.Config{})
	var units []au.Unit
	for _, p := range []struct {
		sequence  uint16
		timestamp uint32
		ms        int
	}{{1, 0, 0}, {2, 960, 20}, {3, 960, 40}, {5, 3840, 60}, {6, 4800, 310}, {7, 3000000, 330}} {
		units = a.Push(au.Packet{
			Sequence: p.sequence, Timestamp: p.timestamp, Payload: []byte{0xf8, 1},
			Arrival: time.Unix(0, 0).Add(time.Duration(p.ms) * time.Millisecond),
		}, units)
	}
	var got strings.Builder
	for _, u := range units {
		fmt.Fprintln(&got, u.PTS, u.Gap, u.Restart)
	}
	want := "0 false false\n960 false false\n3840 true false\n4800 false false\n3000000 false true\n"
	if got.String() != want || a.Stats().Discarded != 1 {
		t.Errorf("got\n%swant\n%s%+v", got.String(), want, a.Stats())
	}
}

// TestGarbage: a stream of rubbish yields nothing, is counted, and takes no memory.
func TestGarbage(t *testing.T) {
	for _, codec := range []string{"H264", "H265", "AV1", "VP9", "Opus"} {
		t.Run(codec, func(t *testing.T) {
			a := assembler(t, codec, au.Config{})
			huge := stap(nals()["huge"], nals()["pps"], nals()["idr"])
			rubbish := bytes.Repeat([]byte{0xff}, 1200)
			var units []au.Unit
			i := 0
			push := func() {
				p := au.Packet{Sequence: uint16(i), Timestamp: uint32(i) * 3000, Marker: i%2 == 0, Payload: rubbish}
				if i%3 == 0 {
					p.Payload = huge
				}
				if i%5 == 0 { // never within reach
					p.Sequence += 20000
				}
				p.Arrival = time.Unix(int64(i)/100, 0)
				units = a.Push(p, units[:0])
				i++
			}
			for range 5000 {
				push()
			}
			// Rubbish may cost a parse, but must not be kept.
			if got := testing.AllocsPerRun(5000, push); got > 10 {
				t.Errorf("%v allocations a packet", got)
			}
			s := a.Stats()
			if codec != "Opus" && s.Units > 0 || s.Damaged+s.Discarded == 0 || s.Packets > math.MaxUint32 {
				t.Errorf("%+v", s)
			}
			if codec == "H264" && s.BadParams == 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}
