package testclip

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"os/exec"
	"strconv"
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

func TestClipFile(t *testing.T) {
	if len(file) > 1_000_000 {
		t.Errorf("clip.mp4 has %d bytes, more than 1 MB", len(file))
	}
	clip := load(t)
	if got, want := len(clip.units), VideoFrames+AudioPackets; got != want {
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
	flashes, codes := decodePictures(t)
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
func decodePictures(t *testing.T) (flashes []time.Duration, codes []int) {
	t.Helper()
	const w, h = Width / 8, Height / 8
	pixels := run(t, file, "-i", "-", "-map", "0:v", "-vf", "scale="+strconv.Itoa(w)+":"+strconv.Itoa(h)+":flags=area", "-pix_fmt", "gray", "-f", "rawvideo", "-")
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
	raw := run(t, file, "-flags2", "+skip_manual", "-i", "-", "-map", "0:a", "-ac", "1", "-f", "s16le", "-")
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

func run(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "ffmpeg", append([]string{"-hide_banner", "-loglevel", "error"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.Reader(bytes.NewReader(stdin)), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("ffmpeg %v: %v\n%s", args, err, errs.String())
	}
	if errs.Len() > 0 {
		t.Errorf("ffmpeg %v says: %s", args, errs.String())
	}
	return out.Bytes()
}
