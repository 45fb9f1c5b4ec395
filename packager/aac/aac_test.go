//go:build !noaac

package aac_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"github.com/whipcast/whipcast/packager/aac"
)

// sound is left and right at 48 kHz.
type sound [2][]float64

func (s sound) cut(from, to int) sound { return sound{s[0][from:to], s[1][from:to]} }

// decode lets ffmpeg decode a file to stereo. Nothing is left out at the start.
func decode(t *testing.T, file []byte, format string) sound {
	t.Helper()
	channels := 2
	if i := bytes.Index(file, []byte("OpusHead")); i >= 0 {
		channels = int(file[i+9]) // ffmpeg would attenuate mono if it made stereo of it
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-loglevel", "error",
		"-flags2", "+skip_manual", "-f", format, "-i", "-", "-ac", strconv.Itoa(channels), "-ar", "48000", "-f", "f32le", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(file), &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("ffmpeg: %v\n%s", err, errs.String())
	}
	raw := out.Bytes()
	var s sound
	for i := 0; i+4*channels <= len(raw); i += 4 * channels {
		for c := range 2 {
			at := i + 4*(c%channels)
			s[c] = append(s[c], float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[at:]))))
		}
	}
	return s
}

// heard decodes the frames, which must stand on the grid from start on. Index i of
// the result is time start+i. The first 1024 samples lack their overlap.
func heard(t *testing.T, start int64, frames []aac.Frame) sound {
	t.Helper()
	var adts []byte
	for i, f := range frames {
		if want := start + int64(i)*aac.FrameTicks; f.At != want {
			t.Fatalf("frame %d is at %d, want %d", i, f.At, want)
		}
		n := len(f.Data) + 7
		adts = append(adts, 0xff, 0xf1, 1<<6|3<<2, 2<<6|byte(n>>11), byte(n>>3), byte(n)<<5|0x1f, 0xfc)
		adts = append(adts, f.Data...)
	}
	s := decode(t, adts, "aac")
	if len(s[0]) != len(frames)*aac.FrameTicks {
		t.Fatalf("%d samples of %d frames", len(s[0]), len(frames))
	}
	return s
}

// original decodes a file of testdata without the pre-skip, as RTP would.
func original(t *testing.T, name string) sound {
	t.Helper()
	return decode(t, file(t, name), "ogg")
}

func transcoder(t testing.TB) *aac.Transcoder {
	t.Helper()
	tr, err := aac.New(aac.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// transcode sends the packets of a file from start on, for the given time at most.
func transcode(t *testing.T, name string, start, length int64) []aac.Frame {
	t.Helper()
	tr := transcoder(t)
	var out []aac.Frame
	at := start
	for _, p := range packets(t, name) {
		if at-start < length {
			out = tr.Add(at, ticks(p), p, out)
			at += ticks(p)
		}
	}
	if s := tr.Stats(); s.Undecodable+s.Late+s.Concealed+s.Failed != 0 {
		t.Errorf("%s: %+v, want no fault", name, s)
	}
	if missing := at - start - int64(len(out))*aac.FrameTicks; missing >= aac.Latency {
		t.Errorf("%s: %d samples have not come out, want less than %d", name, missing, aac.Latency)
	}
	return tr.Flush(out)
}

// ratio returns the signal to noise ratio in dB.
func ratio(want, got []float64) float64 {
	signal, noise := 0.0, 1e-20
	for i := range min(len(want), len(got)) {
		signal += want[i] * want[i]
		noise += (want[i] - got[i]) * (want[i] - got[i])
	}
	return 10 * math.Log10(signal/noise)
}

func level(s []float64) float64 {
	sum := 0.0
	for _, v := range s {
		sum += v * v
	}
	return math.Sqrt(sum / float64(max(len(s), 1)))
}

// shift returns by how many samples got is later than want, at most 50: less than a
// period of the tones. 100 ms of them tell it.
func shift(want, got []float64) int {
	best, found := math.Inf(-1), 0
	want = want[:min(len(want), 4900)]
	for d := -50; d <= 50; d++ {
		sum := 0.0
		for i := 50; i < min(len(want), len(got))-50; i++ {
			sum += want[i] * got[i+d]
		}
		if sum > best {
			best, found = sum, d
		}
	}
	return found
}

// TestConfig names the stream AAC-LC, 48 kHz, stereo (specs L88: mp4a.40.2).
func TestConfig(t *testing.T) {
	if got, want := transcoder(t).Config(), []byte{0x11, 0x90}; !bytes.HasPrefix(got, want) {
		t.Errorf("the AudioSpecificConfig is %x, want it to begin with %x", got, want)
	}
	for _, rate := range []int{-1, 1, 600000} {
		if _, err := aac.New(aac.Config{Bitrate: rate}); !errors.Is(err, aac.ErrBitrate) {
			t.Errorf("bit rate %d: %v, want ErrBitrate", rate, err)
		}
	}
}

// TestQuality compares what is heard with the Opus original as ffmpeg decodes it:
// time, level, noise, and each channel in its place (specs R45, R46, R51, S36).
func TestQuality(t *testing.T) {
	for _, c := range []struct {
		name  string
		least float64 // dB
	}{
		{"sine", 40}, {"music", 22}, {"mono", 50}, {"short", 50}, {"hybrid", 21}, {"silk", 21}, {"silk60", 21},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const start, length = 123456789, 20000
			want := original(t, c.name)
			got := heard(t, start, transcode(t, c.name, start, length))
			if n := len(got[0]); n < length-aac.FrameTicks || n > length+2880 {
				t.Errorf("%d samples of %d come out", n, length)
			}
			n := len(got[0])
			want, got = want.cut(4800, n), got.cut(4800, n)
			for ch := range 2 {
				// Decoders differ by 2 samples in how they resample SILK.
				if d := shift(want[ch], got[ch]); d < -2 || d > 2 {
					t.Errorf("channel %d is %d samples late", ch, d)
				}
				snr := ratio(want[ch], got[ch])
				t.Logf("channel %d: %.1f dB", ch, snr)
				if snr < c.least {
					t.Errorf("channel %d: %.1f dB of noise ratio, want %.0f", ch, snr, c.least)
				}
				if g := level(got[ch]) / level(want[ch]); g < 0.9 || g > 1.1 {
					t.Errorf("channel %d: level times %.2f", ch, g)
				}
			}
		})
	}
}

// onsets returns where sound begins after at least 200 ms of quiet.
func onsets(s []float64) []int {
	var found []int
	quiet := aac.Rate
	for i, v := range s {
		if math.Abs(v) < 0.1 {
			quiet++
			continue
		}
		if quiet > aac.Rate/5 {
			found = append(found, i)
		}
		quiet = 0
	}
	return found
}

// TestLipSync measures when each beep is heard (specs R51: 20 ms; here 2 ms).
func TestLipSync(t *testing.T) {
	want := onsets(original(t, "beep")[0])
	got := onsets(heard(t, 0, transcode(t, "beep", 0, 80*960))[0])
	if len(want) != 6 || len(got) != 4 {
		t.Fatalf("beeps at %d, originally at %d; want the first 4 of 6", got, want)
	}
	for i := range got {
		limit := 96
		if i == 0 { // it is in the first frame, which has no overlap and fades in
			limit = 10 * 48
		}
		if off := got[i] - want[i]; off > limit || off < -limit {
			t.Errorf("beep %d is heard at %d instead of %d", i, got[i], want[i])
		}
	}
	t.Logf("%d, originally %d", got, want)
}

// TestSlew lets the soundtrack correct its offset while beeps play (specs R3, R51).
func TestSlew(t *testing.T) {
	const per, n = 960, 80
	for _, c := range []struct{ each, times int }{{240, 1}, {240, 20}, {-240, 20}} {
		t.Run(fmt.Sprintf("%d×%d", c.times, c.each), func(t *testing.T) {
			t.Parallel()
			tr := transcoder(t)
			var out []aac.Frame
			var at int64
			for i, p := range packets(t, "beep")[:n] {
				d := int64(per)
				if i >= 30 && i < 30+c.times { // from 0.6 s on
					d += int64(c.each)
				}
				out = tr.Add(at, d, p, out)
				at += d
			}
			got := onsets(heard(t, 0, tr.Flush(out))[0])
			want := onsets(original(t, "beep")[0])
			if len(got) != 4 {
				t.Fatalf("beeps at %d", got)
			}
			for i := range got {
				limit, off := 96, 0
				if i == 0 { // in the first frame, which fades in
					limit = 10 * 48
				}
				if i > 1 { // the corrections end at 1 s at the latest
					limit, off = 20*48, c.each*c.times
				}
				if i > 2 {
					limit = 12 * 48
				}
				if d := got[i] - want[i] - off; d > limit || d < -limit {
					t.Errorf("beep %d is %d samples off, want at most %d", i, d, limit)
				}
			}
			if s := tr.Stats(); s.Late != 0 {
				t.Errorf("%+v, want nothing late", s)
			}
		})
	}
}

// roughest returns the largest second difference after the first 100 ms.
func roughest(s sound) float64 {
	most := 0.0
	for _, x := range s {
		for i := 4802; i < len(x); i++ {
			most = max(most, math.Abs(x[i]-2*x[i-1]+x[i-2]))
		}
	}
	return most
}

// lossy transcodes 700 ms with one packet lost.
func lossy(t *testing.T, name string, lose func(tr *aac.Transcoder, at, ticks int64, out []aac.Frame) []aac.Frame) sound {
	t.Helper()
	tr := transcoder(t)
	var out []aac.Frame
	var at int64
	for i, p := range packets(t, name)[:35] {
		if i == 20 {
			out = lose(tr, at, ticks(p), out)
		} else {
			out = tr.Add(at, ticks(p), p, out)
		}
		at += ticks(p)
	}
	return heard(t, 0, tr.Flush(out))
}

// TestLoss loses a packet in three ways: reported, not reported, and
// broken. No click may be heard where silence instead would click (specs R48).
func TestLoss(t *testing.T) {
	ways := map[string]func(tr *aac.Transcoder, at, ticks int64, out []aac.Frame) []aac.Frame{
		"reported": func(tr *aac.Transcoder, at, ticks int64, out []aac.Frame) []aac.Frame {
			return tr.Conceal(at, ticks, out)
		},
		"unreported": func(_ *aac.Transcoder, _, _ int64, out []aac.Frame) []aac.Frame { return out },
		"broken": func(tr *aac.Transcoder, at, ticks int64, out []aac.Frame) []aac.Frame {
			return tr.Add(at, ticks, []byte{0xff}, out)
		},
	}
	for _, name := range []string{"sine", "silk"} {
		whole := heard(t, 0, transcode(t, name, 0, 35*960))
		clean := roughest(whole)
		for way, lose := range ways {
			if name != "sine" && way != "reported" {
				continue
			}
			t.Run(name+" "+way, func(t *testing.T) {
				t.Parallel()
				got := lossy(t, name, lose)
				if r := roughest(got); r > 2*clean {
					t.Errorf("the roughest place is %.4f; %.4f without loss", r, clean)
				} else {
					t.Logf("the roughest place is %.4f; %.4f without loss", r, clean)
				}
				// The lost packet, 20 ms from 400 ms on, is not a dip.
				if name == "sine" {
					hole := level(got[0][20*960 : 21*960])
					if was := level(whole[0][20*960 : 21*960]); hole < was/2 {
						t.Errorf("level %.3f in the hole, %.3f in the original", hole, was)
					}
				}
			})
		}
	}
}

// TestSilence goes from sound to the soundtrack's silence and back (specs R47).
func TestSilence(t *testing.T) {
	for _, name := range []string{"sine", "silk"} {
		t.Run(name, func(t *testing.T) {
			tr := transcoder(t)
			var out []aac.Frame
			for i, p := range packets(t, name)[:45] {
				if i >= 10 && i < 30 {
					p = silent()
				}
				out = tr.Add(int64(i)*960, 960, p, out)
			}
			got := heard(t, 0, tr.Flush(out))
			if l := level(got[0][15*960 : 29*960]); l > 1e-3 {
				t.Errorf("level %.5f in the silence", l)
			}
			if l := level(got[0][34*960 : 44*960]); l < 0.01 {
				t.Errorf("level %.5f after it", l)
			}
		})
	}
}

// window returns the window sequence of a unit's first channel: 0 long, 1 long to
// short, 2 short, 3 short to long (ISO/IEC 14496-3 §4.4.2.1, §4.4.2.7).
func window(unit []byte) uint32 {
	bits := binary.BigEndian.Uint32(unit)
	if bits>>24&1 == 1 { // after 3 bits of type and 4 of name: common_window
		return bits >> 21 & 3
	}
	return bits >> 13 & 3 // after global_gain
}

// follows tells whether window b may come after window a: both must slope alike.
func follows(a, b uint32) bool {
	fromShort, intoShort := b == 2 || b == 3, a == 1 || a == 2
	return fromShort == intoShort
}

// TestSilenceTakesNoEncoding cuts silence of every length and place into sound. What
// is heard is what an encoder makes that gets each frame, but for what is well below its
// noise: nothing of the sound around is lost, and nothing is heard twice.
func TestSilenceTakesNoEncoding(t *testing.T) {
	for _, c := range []struct {
		name              string
		before, n, silent int // packets, packets, frames at least
	}{
		{"sine", 9, 3, 0},
		{"sine", 8, 10, 3},
		{"beep", 1, 9, 3},
		{"beep", 4, 9, 3},
		{"music", 8, 24, 16},
		{"silk", 8, 11, 4},
	} {
		t.Run(fmt.Sprintf("%s %d and %d", c.name, c.before, c.n), func(t *testing.T) {
			t.Parallel()
			sound := packets(t, c.name)
			in := slices.Clone(sound[:c.before])
			for range c.n {
				in = append(in, silent())
			}
			in = append(in, sound[24:30]...)
			tr := transcoder(t)
			var out []aac.Frame
			for i, p := range in {
				out = tr.Add(int64(i)*960, 960, p, out)
			}
			if n := int(tr.Stats().Silent); n < c.silent || n > c.n && c.name != "beep" {
				t.Errorf("%d frames took no encoding, want %d", n, c.silent)
			}
			var each []aac.Frame
			for i, unit := range aac.EveryFrame(in) {
				each = append(each, aac.Frame{At: int64(i) * aac.FrameTicks, Data: unit})
			}
			if len(out) != len(each) {
				t.Fatalf("%d frames, want %d", len(out), len(each))
			}
			for i := range out[1:] {
				if a, b := window(out[i].Data), window(out[i+1].Data); !follows(a, b) {
					t.Errorf("frame %d: window %d follows window %d", i+1, b, a)
				}
			}
			want, got := heard(t, 0, each), heard(t, 0, out)
			for ch := range 2 {
				if snr := ratio(want[ch], got[ch]); snr < 30 {
					t.Errorf("channel %d: %.1f dB between both, want 30", ch, snr)
				}
			}
		})
	}
}

// TestSilenceFromTheStart begins with silence, in which a new encoder settles.
func TestSilenceFromTheStart(t *testing.T) {
	tr := transcoder(t)
	var out []aac.Frame
	for i := range int64(30) {
		out = tr.Add(i*960, 960, silent(), out)
	}
	if s := tr.Stats(); s.Silent < 20 {
		t.Errorf("%d frames took no encoding, want most of 28", s.Silent)
	}
	for i, p := range packets(t, "sine")[:20] {
		out = tr.Add(int64(30+i)*960, 960, p, out)
	}
	got := heard(t, 0, tr.Flush(out))
	if l := level(got[0][:29*960]); l > 1e-4 {
		t.Errorf("level %.5f in the silence", l)
	}
	if l := level(got[0][32*960 : 48*960]); l < 0.2 {
		t.Errorf("level %.5f after it", l)
	}
}

// TestDTX: an encoder with discontinuous transmission sends packets that are only
// their first byte, or one more, in pauses (specs R47). They fade out, to silence.
func TestDTX(t *testing.T) {
	for _, name := range []string{"hybrid", "silk60"} {
		tr := transcoder(t)
		var out []aac.Frame
		var at, from, to int64
		all := packets(t, name)
		for i := 0; at < 48000; i++ {
			p := all[i]
			if at > 14400 && at < 33600 {
				p = p[:1+i%2]
				if from == 0 {
					from = at
				}
				to = at + ticks(p)
			}
			out = tr.Add(at, ticks(p), p, out)
			at += ticks(p)
		}
		s := tr.Stats()
		got := heard(t, 0, tr.Flush(out))
		if most := level(got[0]); most < 0.01 || most > 0.5 {
			t.Errorf("%s: level %.2f", name, most)
		}
		if l := level(got[0][from+5*aac.FrameTicks : to-aac.FrameTicks]); l > 1e-5 {
			t.Errorf("%s: level %.6f in the pause", name, l)
		}
		if s.Undecodable != 0 || s.Concealed != uint64(to-from) || s.Silent == 0 {
			t.Errorf("%s: %+v, want %d concealed", name, s, to-from)
		}
	}
}

// TestReset: after a discontinuity nothing of before is heard, and the bytes are
// those of a new Transcoder (specs R51).
func TestReset(t *testing.T) {
	want := transcode(t, "sine", 5000, 20*960)
	tr := transcoder(t)
	var out []aac.Frame
	for i, p := range packets(t, "silk")[:17] {
		out = tr.Add(int64(i)*960, 960, p, out)
	}
	tr.Reset()
	out = out[:0]
	at := int64(5000)
	for _, p := range packets(t, "sine")[:20] {
		out = tr.Add(at, 960, p, out)
		at += 960
	}
	out = tr.Flush(out)
	if len(out) != len(want) {
		t.Fatalf("%d frames, want %d", len(out), len(want))
	}
	for i := range out {
		if out[i].At != want[i].At || !bytes.Equal(out[i].Data, want[i].Data) {
			t.Fatalf("frame %d differs from that of a new Transcoder", i)
		}
	}
	if more := tr.Flush(nil); len(more) != 0 {
		t.Errorf("a second Flush makes %d frames", len(more))
	}
}

// TestModes goes through all modes and both channel counts in one stream.
func TestModes(t *testing.T) {
	tr := transcoder(t)
	var out []aac.Frame
	var at int64
	for i := range 10 {
		for _, name := range []string{"sine", "silk", "hybrid", "mono", "silk60", "beep", "short"} {
			p := packets(t, name)[i]
			out = tr.Add(at, ticks(p), p, out)
			at += ticks(p)
		}
	}
	got := heard(t, 0, tr.Flush(out))
	if s := tr.Stats(); s.Undecodable+s.Late+s.Failed != 0 {
		t.Errorf("%+v, want no fault", s)
	}
	if l := level(got[0]); l < 0.02 || l > 0.4 {
		t.Errorf("level %.3f", l)
	}
}

// TestAllocations: one a frame, its bytes.
func TestAllocations(t *testing.T) {
	tr := transcoder(t)
	sound := packets(t, "sine")
	out := make([]aac.Frame, 0, 8)
	var at int64
	next := 0
	frames := 0
	run := func() {
		for range 16 { // 15 frames
			out = tr.Add(at, 960, sound[next], out[:0])
			frames += len(out)
			at += 960
			next = (next + 1) % len(sound)
		}
	}
	for range 2 {
		run()
	}
	if n := testing.AllocsPerRun(1, run) / 15; n > 1.2 {
		t.Errorf("%.2f allocations a frame, want 1", n)
	}
}
