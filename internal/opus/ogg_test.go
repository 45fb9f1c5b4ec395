package opus_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os/exec"
	"strconv"
	"testing"

	"github.com/whipcast/whipcast/internal/opus"
)

// ogg writes packets as a file (RFC 3533, RFC 7845), without pre-skip.
func ogg(channels int, packets [][]byte) []byte {
	var table [256]uint32
	for i := range table {
		r := uint32(i) << 24
		for range 8 {
			r = r<<1 ^ (r >> 31 * 0x04c11db7)
		}
		table[i] = r
	}
	var file []byte
	granule := uint64(0)
	page := func(n int, flags byte, packet []byte) {
		p := append([]byte("OggS\x00"), flags)
		p = binary.LittleEndian.AppendUint64(p, granule)
		p = binary.LittleEndian.AppendUint32(p, 1)
		p = binary.LittleEndian.AppendUint32(p, uint32(n))
		p = append(p, 0, 0, 0, 0, byte(len(packet)/255+1))
		p = append(p, bytes.Repeat([]byte{255}, len(packet)/255)...)
		p = append(append(p, byte(len(packet)%255)), packet...)
		crc := uint32(0)
		for _, b := range p {
			crc = crc<<8 ^ table[byte(crc>>24)^b]
		}
		binary.LittleEndian.PutUint32(p[22:], crc)
		file = append(file, p...)
	}
	head := append([]byte("OpusHead\x01"), byte(channels), 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0)
	page(0, 2, head)
	page(1, 0, append([]byte("OpusTags\x01\x00\x00\x00x"), 0, 0, 0, 0))
	for i, p := range packets {
		granule += opus.FrameSamples
		page(i+2, byte(number(i == len(packets)-1))<<2, p)
	}
	return file
}

// decodeOgg decodes a file with libopus, by way of FFmpeg.
func decodeOgg(t *testing.T, channels int, file []byte, flags ...string) []float32 {
	t.Helper()
	var out, errs bytes.Buffer
	args := append([]string{"-hide_banner", "-loglevel", "error"}, flags...)
	args = append(args, "-c:a", "libopus", "-f", "ogg", "-i", "-", "-ac", strconv.Itoa(channels), "-f", "f32le", "-")
	cmd := exec.CommandContext(t.Context(), "ffmpeg", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(file), &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("ffmpeg: %v\n%s", err, errs.String())
	}
	var pcm []float32
	for raw := out.Bytes(); len(raw) >= 4; raw = raw[4:] {
		pcm = append(pcm, math.Float32frombits(binary.LittleEndian.Uint32(raw)))
	}
	return pcm
}

// TestReference compares pion's decoder with the reference's, sample by sample: what
// one of them makes of our packets is no accident.
func TestReference(t *testing.T) {
	burst := noise(9, 0.2)
	s := sum(voice(noise(3, 1)), left(tone(3000, 0.1)), func(i, c int) float64 {
		if i%14400 > 300 {
			return 0
		}
		return burst(i, c)
	})
	s = scaled(s, 0.4) // FFmpeg clips
	for ch := 1; ch <= 2; ch++ {
		e, err := opus.NewEncoder(opus.Config{Channels: ch, Bitrate: ch * 56000})
		if err != nil {
			t.Fatal(err)
		}
		d := newDecoder(t, ch)
		var packets [][]byte
		var ours []float32
		for f := range 100 {
			p := e.Encode(nil, s.pcm(ch, f*opus.FrameSamples, opus.FrameSamples))
			packets = append(packets, p)
			ours = append(ours, d.decode(t, p)...)
		}
		theirs := decodeOgg(t, ch, ogg(ch, packets), "-flags2", "+skip_manual")
		if len(theirs) != len(ours) {
			t.Fatalf("%d samples, want %d", len(theirs), len(ours))
		}
		worst := 0.0
		for i, v := range ours {
			worst = max(worst, math.Abs(float64(v-theirs[i])))
		}
		t.Logf("%d channels: samples differ by at most %.6f", ch, worst)
		if worst > 2.0/32768 { // FFmpeg gets 16 bits
			t.Errorf("%d channels: samples differ by up to %.6f", ch, worst)
		}
	}
}

// TestRival compares with the reference's encoder at the same constant bit rate.
func TestRival(t *testing.T) {
	const frames, kb = 100, "112k"
	for _, c := range []struct {
		name string
		s    signal
	}{{"sweep", sweep}, {"voice", voice(noise(3, 1))}, {"music", music}, {"noise", noise(1, 0.1)}} {
		var raw []byte
		pcm := c.s.pcm(2, 0, frames*opus.FrameSamples)
		for _, v := range pcm {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		var file, errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-loglevel", "error",
			"-f", "f32le", "-ar", "48000", "-ac", "2", "-i", "-",
			"-c:a", "libopus", "-vbr", "off", "-b:a", kb, "-f", "ogg", "-")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(raw), &file, &errs
		if err := cmd.Run(); err != nil || errs.Len() > 0 {
			t.Fatalf("ffmpeg: %v\n%s", err, errs.String())
		}
		theirs := decodeOgg(t, 2, file.Bytes())
		_, ours := through(t, opus.Config{Channels: 2, Bitrate: 112000}, c.s, frames)
		from, to := 9600, min(len(theirs), len(ours))-9600
		rival, _ := ratio(pcm[from:to], theirs[from:to])
		snr, _ := ratio(pcm[from:to], ours[from:to])
		t.Logf("%s: %.1f dB; libopus %.1f dB", c.name, snr, rival)
		if snr < rival-4 {
			t.Errorf("%s: %.1f dB; libopus %.1f dB", c.name, snr, rival)
		}
	}
}
