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

// reference decodes with libopus, by way of FFmpeg.
func reference(t *testing.T, channels int, packets [][]byte) []float32 {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-loglevel", "error",
		"-flags2", "+skip_manual", "-c:a", "libopus", "-f", "ogg", "-i", "-",
		"-ac", strconv.Itoa(channels), "-f", "f32le", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(ogg(channels, packets)), &out, &errs
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
		theirs := reference(t, ch, packets)
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
