package testclip

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T) *Clip {
	t.Helper()
	clip, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return clip
}

func ladder(t *testing.T) *Clip {
	t.Helper()
	clip, err := LoadLadder()
	if err != nil {
		t.Fatal(err)
	}
	return clip
}

func TestClipFile(t *testing.T) {
	if size := len(file) + len(half) + len(quarter); size > 1_000_000 {
		t.Errorf("the clip's files have %d bytes, more than 1 MB", size)
	}
	checkUnits(t, load(t), 1)
	checkUnits(t, ladder(t), len(Ladder()))
}

func checkUnits(t *testing.T, clip *Clip, layers int) {
	t.Helper()
	if got, want := len(clip.units), layers*VideoFrames+AudioPackets; got != want {
		t.Fatalf("%d units, want %d", got, want)
	}
	for i, u := range clip.units {
		if !u.Video {
			// RFC 6716 §3.1: bits 3-7 of the first byte say 20 ms (CELT: 3 of 4; hybrid: 1 of 2), bit 2
			// says stereo, bits 0-1 say one frame a packet.
			if config := u.Data[0] >> 3; u.Data[0]&3 != 0 || (config >= 16 && config%4 != 3) || (config >= 12 && config < 16 && config%2 != 1) {
				t.Fatalf("unit %d: Opus configuration byte %#x is not one frame of 20 ms", i, u.Data[0])
			}
			continue
		}
		var kinds []byte
		for _, nal := range bytes.Split(u.Data, []byte{0, 0, 0, 1})[1:] {
			kinds = append(kinds, nal[0]&0x1f)
		}
		if slices, rest := 1, kinds; len(rest) == 0 || bytes.Count(kinds, []byte{1})+bytes.Count(kinds, []byte{5}) != slices || kinds[len(kinds)-1] > 5 {
			t.Fatalf("unit %d: NAL units %v, want one slice, and all others before it", i, kinds)
		}
		if has := bytes.ContainsRune(kinds, 5); has != u.Key {
			t.Fatalf("unit %d: NAL units %v, want an IDR picture: %v", i, kinds, u.Key)
		}
		if u.Key && (kinds[0] != 7 || kinds[1] != 8) {
			t.Fatalf("unit %d: keyframe begins with NAL units %v, want SPS and PPS", i, kinds)
		}
	}
}

func TestLoopIsSeamless(t *testing.T) {
	loop := load(t).Loop()
	var video, audio int64
	last := time.Duration(-1)
	for range 3*(VideoFrames+AudioPackets) + 7 {
		u := loop.Next()
		if u.Time() < last {
			t.Fatalf("media time falls from %v to %v", last, u.Time())
		}
		last = u.Time()
		next, step := &audio, int64(PacketTicks)
		if u.Video {
			next, step = &video, VideoClock/FrameRate
		}
		if u.Ticks != *next {
			t.Fatalf("unit of video=%v at %d ticks, want %d", u.Video, u.Ticks, *next)
		}
		*next += step
	}
	if last < 30*time.Second {
		t.Errorf("three loops end at %v, want 30 s", last)
	}
}

// TestLadder: pictures of one time are there in all layers, the best first,
// keyframes together; each second of a layer has its bitrate.
func TestLadder(t *testing.T) {
	layers := Ladder()
	loop := ladder(t).Loop()
	bits := make([]int, len(layers))
	next, pictures := 0, 0
	var at Unit
	for range len(layers)*VideoFrames + AudioPackets {
		u := loop.Next()
		if !u.Video {
			if u.Layer != 0 {
				t.Fatalf("sound in layer %d", u.Layer)
			}
			continue
		}
		if u.Layer != next {
			t.Fatalf("picture of layer %d at %v, want layer %d", u.Layer, u.Time(), next)
		}
		if next == 0 {
			at = u
		}
		if u.Ticks != at.Ticks || u.Key != at.Key {
			t.Fatalf("layer %d: %d ticks, key %v; layer 0: %d ticks, key %v", u.Layer, u.Ticks, u.Key, at.Ticks, at.Key)
		}
		bits[u.Layer] += 8 * len(u.Data)
		if next++; next < len(layers) {
			continue
		}
		next = 0
		if pictures++; pictures%FramesPerGOP == 0 {
			for i, layer := range layers {
				if off := layer.Bitrate - bits[i]; off < 0 || off > layer.Bitrate/100 {
					t.Errorf("layer %d has %d bits in a second, want %d or 1 %% less", i, bits[i], layer.Bitrate)
				}
			}
			clear(bits)
		}
	}
	if pictures != VideoFrames {
		t.Errorf("%d pictures, want %d", pictures, VideoFrames)
	}
}

// TestLadderDecodes: filler and all, each layer is a stream that ffmpeg decodes
// without a word, and shows the same pictures.
func TestLadderDecodes(t *testing.T) {
	clip := ladder(t)
	for i, layer := range Ladder() {
		var stream []byte
		for _, u := range clip.units {
			if u.Video && u.Layer == i {
				stream = append(stream, u.Data...)
			}
		}
		flashes, codes := decodePictures(t, stream, "-f", "h264", "-framerate", strconv.Itoa(FrameRate))
		if len(flashes) != int(Period/MarkEvery) {
			t.Errorf("layer %d: %d flashes", i, len(flashes))
		}
		for frame, code := range codes {
			if frame != code {
				t.Errorf("layer %d: frame %d bears the number %d", i, frame, code)
			}
		}
		size := strings.TrimSpace(string(run(t, "ffprobe", stream, "-f", "h264", "-select_streams", "v", "-show_entries", "stream=width,height,has_b_frames", "-of", "csv=p=0", "-")))
		if want := fmt.Sprintf("%d,%d,0", layer.Width, layer.Height); size != want {
			t.Errorf("layer %d: width, height and B-frames %s, want %s", i, size, want)
		}
	}
}

// TestOneUnit: a picture's slice is one NAL unit, filler and all, and its last one.
func TestOneUnit(t *testing.T) {
	for _, u := range ladder(t).units {
		if !u.Video {
			continue
		}
		slices, last := 0, byte(0)
		for _, nal := range bytes.Split(u.Data, []byte{0, 0, 0, 1})[1:] {
			if last = nal[0] & 31; last == 1 || last == 5 {
				slices++
			}
			if bytes.Contains(nal, []byte{0, 0, 0}) || bytes.Contains(nal, []byte{0, 0, 1}) || nal[len(nal)-1] == 0 {
				t.Fatalf("layer %d, picture at %v: a unit of type %d holds a start code or ends in zero", u.Layer, u.Time(), last)
			}
		}
		if slices != 1 || last != 1 && last != 5 {
			t.Fatalf("layer %d, picture at %v: %d slices, the last unit has type %d", u.Layer, u.Time(), slices, last)
		}
	}
}

func TestLoopSkip(t *testing.T) {
	for _, tt := range []struct {
		to, want time.Duration
	}{
		{0, 0},
		{time.Nanosecond, time.Second},
		{2500 * time.Millisecond, 3 * time.Second},
		{9500 * time.Millisecond, 10 * time.Second},
		{time.Hour, time.Hour},
	} {
		loop := load(t).Loop()
		loop.Skip(tt.to)
		if u := loop.Next(); u.Time() != tt.want || !u.Key || !u.Video {
			t.Errorf("after Skip(%v): unit at %v, key %v, video %v; want a keyframe at %v", tt.to, u.Time(), u.Key, u.Video, tt.want)
		}
		before := loop.Next().Time()
		loop.Skip(0)
		if u := loop.Next(); u.Time() < before {
			t.Errorf("Skip(0) after Skip(%v) went back to %v", tt.to, u.Time())
		}
	}
}

// TestFlashAndBeepCoincide decodes the clip by ffmpeg and measures both marks.
// The sound is decoded as from RTP: without leaving out the pre-skip.
func TestFlashAndBeepCoincide(t *testing.T) {
	flashes, codes := decodePictures(t, file)
	beeps := onsets(decodeSound(t))
	want := int(Period / MarkEvery)
	if len(flashes) != want || len(beeps) != want {
		t.Fatalf("%d flashes at %v and %d beeps at %v, want %d each", len(flashes), flashes, len(beeps), beeps, want)
	}
	for i := range flashes {
		at := time.Duration(i) * MarkEvery
		if flashes[i] != at {
			t.Errorf("flash %d at %v, want %v", i, flashes[i], at)
		}
		if off := beeps[i] - at; off.Abs() > 5*time.Millisecond {
			t.Errorf("beep %d is %v off its flash, want at most 5 ms", i, off)
		}
	}
	for i, code := range codes {
		if i != code {
			t.Errorf("frame %d bears the number %d", i, code)
		}
	}
}

// decodePictures returns when the flash box turns white, and each frame's number.
func decodePictures(t *testing.T, stream []byte, format ...string) (flashes []time.Duration, codes []int) {
	t.Helper()
	const w, h = Width / 8, Height / 8
	pixels := run(t, "ffmpeg", stream, append(format, "-i", "-", "-map", "0:v", "-vf", "scale="+strconv.Itoa(w)+":"+strconv.Itoa(h)+":flags=area", "-pix_fmt", "gray", "-f", "rawvideo", "-")...)
	if len(pixels) != VideoFrames*w*h {
		t.Fatalf("%d bytes of pictures, want %d frames", len(pixels), VideoFrames)
	}
	lit := func(frame, x, y int) bool { return pixels[frame*w*h+y/8*w+x/8] > 128 }
	was := false
	for frame := range VideoFrames {
		is := lit(frame, FlashX+FlashWidth/2, FlashY+FlashHeight/2)
		if is && !was {
			flashes = append(flashes, time.Duration(frame)*time.Second/FrameRate)
		}
		if into := frame % FrameRate; is != (into < int(MarkLength*FrameRate/time.Second)) {
			t.Errorf("frame %d: flash is %v", frame, is)
		}
		was = is
		code := 0
		for bit := range CodeBits {
			if lit(frame, CodeX+(CodeBits-1-bit)*CodeStep+CodeSize/2, CodeY+CodeSize/2) {
				code |= 1 << bit
			}
		}
		codes = append(codes, code)
	}
	return flashes, codes
}

func decodeSound(t *testing.T) []int16 {
	t.Helper()
	raw := run(t, "ffmpeg", file, "-flags2", "+skip_manual", "-i", "-", "-map", "0:a", "-ac", "1", "-f", "s16le", "-")
	if want := AudioPackets * PacketTicks * 2; len(raw) != want {
		t.Fatalf("%d bytes of sound, want %d", len(raw), want)
	}
	samples := make([]int16, len(raw)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	return samples
}

// onsets returns when the sound begins after at least 200 ms of silence.
func onsets(samples []int16) []time.Duration {
	var found []time.Duration
	quiet := math.MaxInt32
	for i, s := range samples {
		if s > -2000 && s < 2000 {
			quiet++
			continue
		}
		if quiet > AudioClock/5 {
			found = append(found, time.Duration(i)*time.Second/AudioClock)
		}
		quiet = 0
	}
	return found
}

func run(t *testing.T, program string, stdin []byte, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-hide_banner", "-loglevel", "error"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.Reader(bytes.NewReader(stdin)), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, errs.String())
	}
	if errs.Len() > 0 {
		t.Errorf("%s %v says: %s", program, args, errs.String())
	}
	return out.Bytes()
}
