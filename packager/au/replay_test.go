package au_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/packager/au"
)

// recordings are what real clients sent, in testdata.
func recordings() []recording {
	return []recording{
		{name: "obs-h264", codec: "H264", width: 640, height: 360},
		{name: "ffmpeg-h264", codec: "H264", width: 640, height: 360},
		{name: "chromium-h264", codec: "H264", width: 320, height: 180},
		{name: "chromium-h264-q", codec: "H264", width: 240, height: 134},
		{name: "chromium-vp9", codec: "VP9", width: 320, height: 180, changes: 1},
		{name: "chromium-av1", codec: "AV1", width: 640, height: 360},
		{name: "obs-opus", codec: "Opus"},
	}
}

type recording struct {
	name, codec   string
	width, height int // at the start
	changes       int // of the Params; Chromium adapts the size to the network, R19
}

// load returns the packets of a recording as they arrived, duplicates and all.
func (r recording) load(tb testing.TB) []au.Packet {
	tb.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", r.name+".rtpdump"))
	if err != nil {
		tb.Fatal(err)
	}
	_, dump, ok := bytes.Cut(file, []byte("\n")) // "#!rtpplay1.0 address/port"
	if !ok {
		tb.Fatal("no rtpdump file")
	}
	start := time.Unix(1_000_000, 0)
	var packets []au.Packet
	for dump = dump[16:]; len(dump) > 0; {
		size := binary.BigEndian.Uint16(dump)
		offset := time.Duration(binary.BigEndian.Uint32(dump[4:])) * time.Millisecond
		var p rtp.Packet
		if err := p.Unmarshal(dump[8:size]); err != nil {
			tb.Fatal(err)
		}
		dump = dump[size:]
		packets = append(packets, au.Packet{
			Arrival: start.Add(offset), Timestamp: p.Timestamp, Sequence: p.SequenceNumber,
			Marker: p.Marker, Payload: p.Payload,
		})
	}
	return packets
}

func assembler(tb testing.TB, codec string, cfg au.Config) *au.Assembler {
	tb.Helper()
	a, err := au.New(codec, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// assemble pushes all packets and flushes.
func assemble(tb testing.TB, codec string, cfg au.Config, packets []au.Packet) ([]au.Unit, au.Stats) {
	tb.Helper()
	a := assembler(tb, codec, cfg)
	var units []au.Unit
	for _, p := range packets {
		units = a.Push(p, units)
	}
	units = a.Flush(units)
	check(tb, units)
	return units, a.Stats()
}

// check tests what must be true of any output.
func check(tb testing.TB, units []au.Unit) {
	tb.Helper()
	for i, u := range units {
		switch {
		case u.Params == nil:
			tb.Fatalf("unit %d has no Params", i)
		case len(u.Data) == 0 || len(u.Data) != cap(u.Data):
			tb.Fatalf("unit %d: %d bytes in %d", i, len(u.Data), cap(u.Data))
		case i == 0 && (!u.Key || u.Gap || u.Restart):
			tb.Fatalf("first unit: key %v, gap %v, restart %v", u.Key, u.Gap, u.Restart)
		case i > 0 && u.DTS <= units[i-1].DTS:
			tb.Fatalf("unit %d: DTS %d after %d", i, u.DTS, units[i-1].DTS)
		case i > 0 && u.Params != units[i-1].Params && !u.Key:
			tb.Fatalf("unit %d: Params changed without a keyframe", i)
		case i > 0 && u.Params != units[i-1].Params && reflect.DeepEqual(u.Params, units[i-1].Params):
			tb.Fatalf("unit %d: a new pointer to the same Params", i)
		}
	}
}

// TestRecordings: nothing is lost of what real clients send, R15, R17, R18, R21.
func TestRecordings(t *testing.T) {
	for _, r := range recordings() {
		t.Run(r.name, func(t *testing.T) {
			packets := r.load(t)
			units, stats := assemble(t, r.codec, au.Config{}, packets)
			t.Logf("%d packets, %d units, %+v", len(packets), len(units), stats)
			want := timestamps(packets)
			changes := 0
			for i, u := range units {
				if !want[uint32(u.PTS)] {
					t.Errorf("unit %d: no packet with timestamp %d", i, uint32(u.PTS))
				}
				delete(want, uint32(u.PTS))
				if i > 0 && u.Params != units[i-1].Params {
					changes++
				}
				if u.DTS != u.PTS || u.Gap || u.Restart {
					t.Errorf("unit %d: DTS-PTS %d, gap %v, restart %v", i, u.DTS-u.PTS, u.Gap, u.Restart)
				}
			}
			if stats.Damaged+stats.BadPayloads+stats.BadParams+stats.Lost+stats.Disordered > 0 {
				t.Errorf("%+v", stats)
			}
			// The recording may begin in the middle of a GOP and end in the middle
			// of a picture.
			if missing := uint64(len(want)); missing > stats.Discarded+1 {
				t.Errorf("%d timestamps have no unit, %d were discarded", missing, stats.Discarded)
			}
			if changes != r.changes {
				t.Errorf("the parameters changed %d times, want %d", changes, r.changes)
			}
			if p := units[0].Params; p.Width != r.width || p.Height != r.height || p.Codec != r.codec {
				t.Errorf("%+v", p)
			}
		})
	}
}

// timestamps returns those of the packets with media.
func timestamps(packets []au.Packet) map[uint32]bool {
	all := make(map[uint32]bool)
	for _, p := range packets {
		if len(p.Payload) > 0 {
			all[p.Timestamp] = true
		}
	}
	return all
}

// TestDisorder: reordered and repeated packets make no difference, R29.
func TestDisorder(t *testing.T) {
	for _, r := range recordings() {
		t.Run(r.name, func(t *testing.T) {
			packets := r.load(t)
			want, _ := assemble(t, r.codec, au.Config{}, packets)
			random := rand.New(rand.NewPCG(1, 2))
			got, stats := assemble(t, r.codec, au.Config{}, shuffle(repeat(packets, random), random))
			if stats.Reordered == 0 || stats.Duplicates == 0 || stats.Lost > 0 {
				t.Errorf("%+v", stats)
			}
			same(t, got, want)
		})
	}
}

// repeat duplicates a tenth of the packets.
func repeat(packets []au.Packet, random *rand.Rand) []au.Packet {
	var all []au.Packet
	for _, p := range packets {
		all = append(all, p)
		if random.IntN(10) == 0 {
			all = append(all, p)
		}
	}
	return all
}

// shuffle mixes each five packets, but not the very first: where the numbers
// begin is known from it.
func shuffle(packets []au.Packet, random *rand.Rand) []au.Packet {
	for i := 1; i < len(packets); i += 5 {
		group := packets[i:min(i+5, len(packets))]
		random.Shuffle(len(group), func(a, b int) { group[a], group[b] = group[b], group[a] })
	}
	return packets
}

func same(t *testing.T, got, want []au.Unit) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d units, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].PTS != want[i].PTS || got[i].Key != want[i].Key || !bytes.Equal(got[i].Data, want[i].Data) {
			t.Fatalf("unit %d differs: PTS %d, want %d", i, got[i].PTS, want[i].PTS)
		}
	}
}

// TestLoss: with 5 % of the packets lost only whole units come out, and their
// timestamps stay true, R27, R29.
func TestLoss(t *testing.T) {
	for _, r := range recordings() {
		for _, strict := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/strict=%v", r.name, strict), func(t *testing.T) {
				packets := r.load(t)
				whole := make(map[uint32]au.Unit)
				all, _ := assemble(t, r.codec, au.Config{}, packets)
				for _, u := range all {
					whole[uint32(u.PTS)] = u
				}
				random := rand.New(rand.NewPCG(3, 4))
				var rest []au.Packet
				hit := make(map[uint32]bool)
				for _, p := range packets {
					if random.IntN(20) == 0 {
						hit[p.Timestamp] = true
						continue
					}
					rest = append(rest, p)
				}
				got, stats := assemble(t, r.codec, au.Config{Strict: strict}, shuffle(rest, random))
				t.Logf("%d of %d units, %+v", len(got), len(all), stats)
				if stats.Lost == 0 || len(got) == 0 {
					t.Fatalf("%+v", stats)
				}
				for i, u := range got {
					w, ok := whole[uint32(u.PTS)]
					if !ok || !bytes.Equal(u.Data, w.Data) || u.Key != w.Key {
						t.Fatalf("unit %d at %d is not what was sent", i, u.PTS)
					}
					if i > 0 && strict && r.codec != "Opus" && u.Gap && !u.Key {
						t.Errorf("unit %d: after a gap, but no keyframe", i)
					}
				}
				// Every picture that a gap hides must be announced by Gap.
				position := make(map[uint32]int)
				for i, u := range all {
					position[uint32(u.PTS)] = i
				}
				for i := 1; i < len(got); i++ {
					skipped := position[uint32(got[i].PTS)] - position[uint32(got[i-1].PTS)] - 1
					if skipped > 0 && !got[i].Gap {
						t.Errorf("unit %d follows a gap of %d silently", i, skipped)
					}
				}
				if !strict && r.codec == "Opus" && len(got)+len(hit) < len(all) {
					t.Errorf("%d units and %d losses of %d", len(got), len(hit), len(all))
				}
			})
		}
	}
}

// TestDecodes: FFmpeg decodes what comes out without complaint.
func TestDecodes(t *testing.T) {
	for _, r := range recordings() {
		if r.codec == "Opus" {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			units, _ := assemble(t, r.codec, au.Config{}, r.load(t))
			frames := decode(t, units)
			if frames != len(units) {
				t.Errorf("%d pictures of %d units", frames, len(units))
			}
		})
	}
}

// decode returns how many pictures FFmpeg makes of the units. It fails the test
// if FFmpeg has anything to complain of.
func decode(t *testing.T, units []au.Unit) int {
	t.Helper()
	format, stream := elementary(units)
	input := filepath.Join(t.TempDir(), "stream")
	if err := os.WriteFile(input, stream, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-f", format, "-i", input,
		"-fps_mode", "passthrough", "-f", "framehash", "-")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("ffmpeg: %v\n%s", err, complaints.String())
	}
	frames := 0
	size := fmt.Sprintf("#dimensions 0: %dx%d\n", units[0].Params.Width, units[0].Params.Height)
	if !strings.Contains(string(out), size) {
		t.Errorf("no %q in %.300s", size, out)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "#") {
			frames++
		}
	}
	return frames
}

// elementary writes the units as FFmpeg's raw format for the codec.
func elementary(units []au.Unit) (format string, stream []byte) {
	p := units[0].Params
	switch p.Codec {
	case "H264", "H265":
		for _, u := range units {
			if u.Key {
				for _, set := range [][][]byte{u.Params.VPS, u.Params.SPS, u.Params.PPS} {
					for _, nal := range set {
						stream = append(append(stream, 0, 0, 0, 1), nal...)
					}
				}
			}
			for b := u.Data; len(b) > 0; {
				n := binary.BigEndian.Uint32(b)
				stream = append(append(stream, 0, 0, 0, 1), b[4:4+n]...)
				b = b[4+n:]
			}
		}
		return map[string]string{"H264": "h264", "H265": "hevc"}[p.Codec], stream
	default:
		fourCC := map[string]string{"VP9": "VP90", "AV1": "AV01"}[p.Codec]
		stream = append([]byte("DKIF\x00\x00\x20\x00"), fourCC...)
		stream = binary.LittleEndian.AppendUint16(stream, uint16(p.Width))
		stream = binary.LittleEndian.AppendUint16(stream, uint16(p.Height))
		stream = binary.LittleEndian.AppendUint32(stream, 90000)
		stream = binary.LittleEndian.AppendUint32(stream, 1)
		stream = binary.LittleEndian.AppendUint64(stream, uint64(len(units)))
		for _, u := range units {
			data := u.Data
			if p.Codec == "AV1" { // IVF wants the temporal delimiter back
				data = append([]byte{0x12, 0}, data...)
			}
			stream = binary.LittleEndian.AppendUint32(stream, uint32(len(data)))
			stream = binary.LittleEndian.AppendUint64(stream, uint64(u.PTS-units[0].PTS))
			stream = append(stream, data...)
		}
		return "ivf", stream
	}
}
