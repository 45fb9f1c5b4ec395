package packager

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/whipcast/whipcast/packager/aac"
	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// configOf is the AudioSpecificConfig of AAC-LC with two channels.
func configOf(rate int) string {
	index := map[int]int{48000: 3, 44100: 4, 32000: 5, 16000: 8, 8000: 11}[rate]
	return fmt.Sprintf("%04x", 2<<11|index<<7|2<<3)
}

// passing is a Layer of audio that comes as AAC.
func passing(rate int) stream.Layer {
	return stream.Layer{ID: stream.LayerID{Kind: stream.Audio}, Codec: stream.Codec{
		Name: "AAC", ClockRate: uint32(rate), Channels: 2, Fmtp: "config=" + configOf(rate) + ";sizelength=13;indexlength=3;indexdeltalength=3",
	}}
}

// passer publishes pictures, if video is there, and AAC.
type passer struct {
	x      *stream.Session
	rate   int
	video  bool
	leave  func(frame int) bool // frames of sound that are not sent
	report bool
}

// run publishes for so long, in real time of the bubble.
func (d *passer) run(length time.Duration) {
	const videoBase, audioBase = 0xffffff00, 0xfffffe00
	begin := time.Now()
	pictures, frames, sent := 0, 0, 0
	pictureAt := func() time.Duration { return time.Duration(pictures) * time.Second / 30 }
	frameAt := func() time.Duration {
		return time.Duration(frames*au.FrameAAC) * time.Second / time.Duration(d.rate)
	}
	for now := time.Duration(0); now < length; now = min(pictureAt(), frameAt()) {
		time.Sleep(time.Until(begin.Add(now)))
		if d.video && pictureAt() <= now {
			payload := interPicture()
			if pictures%60 == 0 {
				payload = keyPicture(1280, 720)
			}
			d.x.Write(stream.LayerID{Kind: stream.Video}, stream.Packet{
				Arrival: time.Now(), Timestamp: videoBase + uint32(pictures*3000), Sequence: uint16(65500 + pictures), Marker: true,
				Payload: stamp(payload, 12, now),
			})
			if d.report && pictures%30 == 0 {
				d.x.Report(stream.LayerID{Kind: stream.Video}, ntp(now), videoBase+uint32(pictures*3000), time.Now())
			}
		}
		if !d.video || pictureAt() <= now {
			pictures++
		}
		if frameAt() > now {
			continue
		}
		if d.leave == nil || !d.leave(frames) {
			frame := stamp(append(aac.Silence(2), make([]byte, 12)...), 8, now)
			payload := append([]byte{0, 16, byte(len(frame) >> 5), byte(len(frame) << 3)}, frame...)
			d.x.Write(stream.LayerID{Kind: stream.Audio}, stream.Packet{
				Arrival: time.Now(), Timestamp: audioBase + uint32(frames*au.FrameAAC), Sequence: uint16(65530 + sent), Marker: true, Payload: payload,
			})
			sent++
			if d.report && frames%40 == 0 {
				d.x.Report(stream.LayerID{Kind: stream.Audio}, ntp(now), audioBase+uint32(frames*au.FrameAAC), time.Now())
			}
		}
		frames++
	}
}

// heard is what a listener of the AAC rendition gets.
type heard struct {
	frames, silent int
	first, last    time.Duration // of capture, of the frames that are not silence
	lag            [2]time.Duration
	rate, channels int
}

// heard reads the AAC rendition's newest run: all frames must follow each other.
func (b *bench) heard(t *testing.T) heard {
	t.Helper()
	runs := b.sink.content(t, "aac")
	f, err := mp4.DecodeFile(bytes.NewReader(runs[len(runs)-1].file))
	if err != nil {
		t.Fatal(err)
	}
	var h heard
	entry := f.Init.Moov.Trak.Mdia.Minf.Stbl.Stsd.Mp4a
	h.rate, h.channels = int(entry.SampleRate), int(entry.ChannelCount)
	if scale := f.Init.Moov.Trak.Mdia.Mdhd.Timescale; scale != opusRate {
		t.Errorf("timescale %d", scale)
	}
	next := uint64(0)
	for _, segment := range f.Segments {
		for _, fragment := range segment.Fragments {
			samples, err := fragment.GetFullSamples(f.Init.Moov.Mvex.Trex)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range samples {
				if next > 0 && s.DecodeTime != next {
					t.Errorf("L5: a frame at %d, want %d", s.DecodeTime, next)
				}
				next = s.DecodeTime + uint64(s.Dur)
				h.frames++
				if bytes.Equal(s.Data, aac.Silence(h.channels)) {
					h.silent++
					continue
				}
				captured := time.Duration(binary.BigEndian.Uint64(s.Data[8:]))
				lag := fromTicks(int64(s.DecodeTime), opusRate) - captured
				if h.frames-h.silent == 1 {
					h.first, h.lag[0] = captured, lag
				}
				h.last, h.lag[1] = captured, lag
			}
		}
	}
	return h
}

// TestPassed: audio that comes as AAC is the AAC rendition, frame by frame, at the
// times it was captured at, with the video's segments; there is no Opus.
func TestPassed(t *testing.T) {
	for _, rate := range []int{48000, 44100, 16000, 8000} {
		for _, choice := range []Sound{Both, Opus, AAC} {
			if choice != Both && rate != 44100 {
				continue
			}
			t.Run(fmt.Sprint(rate, " ", choice), func(t *testing.T) {
				b := scenario(t, Config{Audio: choice}, func(t *testing.T, b *bench) {
					b.frame = time.Duration(au.FrameAAC)*time.Second/time.Duration(rate) + time.Millisecond
					d := &passer{x: b.publish(t, video("VP9"), passing(rate)), rate: rate, video: true, report: true}
					d.run(12 * time.Second)
					d.x.Close(nil)
					b.stop(t)
				})
				master := b.master(t)
				if !strings.Contains(master, ",mp4a.40.2\"") || strings.Contains(master, "Opus") || strings.Count(master, "#EXT-X-STREAM-INF") != 1 {
					t.Errorf("the multivariant playlist:\n%s", master)
				}
				h := b.heard(t)
				if want := 11 * rate / au.FrameAAC; h.frames < want || h.rate != rate || h.channels != 2 {
					t.Errorf("%+v, want %d frames at least", h, want)
				}
				if silent := h.silent * au.FrameAAC / rate; silent > 0 { // but what fills the last segment
					t.Errorf("%d s of silence in sound without holes", silent)
				}
				if h.lag[0].Abs() > 3*time.Millisecond || h.lag[1].Abs() > 3*time.Millisecond {
					t.Errorf("R52: %v late at first, %v at the end", h.lag[0], h.lag[1])
				}
				v, a := b.outlines(t, "video"), b.outlines(t, "aac")
				if strings.Join(v.shape, " ") != strings.Join(a.shape, " ") {
					t.Errorf("L24: the renditions differ:\nvideo %v\naac   %v", v.shape, a.shape)
				}
			})
		}
	}
}

func (b *bench) outlines(t *testing.T, name string) form {
	t.Helper()
	o, ok := b.sink.last(storage.LowLatency, "/"+name+"/")
	if !ok {
		t.Fatalf("no playlist of %s", name)
	}
	return outline(t, o)
}

// TestPassedHoles: what is missing is silence of the same configuration (R47, R48),
// and what comes after it is as true as before.
func TestPassedHoles(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		d := &passer{x: b.publish(t, video("VP9"), passing(44100)), rate: 44100, video: true, report: true}
		d.leave = func(frame int) bool { return frame == 50 || frame >= 100 && frame < 160 || frame >= 300 }
		d.run(12 * time.Second)
		d.x.Close(nil)
		b.stop(t)
	})
	h := b.heard(t)
	if sounds := h.frames - h.silent; sounds < 235 || sounds > 239 || h.silent < 61+200 {
		t.Errorf("%d frames of sound and %d of silence", sounds, h.silent)
	}
	if d := h.lag[1] - h.lag[0]; d.Abs() > 15*time.Millisecond {
		t.Errorf("the sound is %v off after the holes", d)
	}
}

// TestPassedAlone: AAC without video is a presentation of its own.
func TestPassedAlone(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		d := &passer{x: b.publish(t, passing(44100)), rate: 44100}
		d.run(10 * time.Second)
		d.x.Close(nil)
		b.stop(t)
	})
	if h := b.heard(t); h.frames < 400 || h.rate != 44100 || (h.lag[1]-h.lag[0]).Abs() > 3*time.Millisecond {
		t.Errorf("%+v", h)
	}
	if master := b.master(t); !strings.Contains(master, `CODECS="mp4a.40.2"`) || strings.Contains(master, "Opus") {
		t.Errorf("the multivariant playlist:\n%s", master)
	}
}

// TestPassedPublishersChange: another configuration of AAC is a discontinuity and
// another init segment; Opus is another presentation, and back (ADR 10).
func TestPassedPublishersChange(t *testing.T) {
	b := scenario(t, Config{Audio: Both}, func(t *testing.T, b *bench) {
		for i, rate := range []int{44100, 48000, 0, 44100} {
			if rate == 0 {
				c := newCamera(b.publish(t, video("VP9"), audio()))
				c.gop = 60
				c.run(0, 6*time.Second)
				c.x.Close(nil)
			} else {
				d := &passer{x: b.publish(t, video("VP9"), passing(rate)), rate: rate, video: true, report: i%2 == 0}
				d.run(6 * time.Second)
				d.x.Close(nil)
			}
			time.Sleep(300 * time.Millisecond)
			if i == 1 {
				a, _ := b.sink.last(storage.LowLatency, "/aac/")
				text := string(a.Body.Bytes())
				if strings.Count(text, "#EXT-X-DISCONTINUITY\n") != 1 || strings.Count(text, "#EXT-X-MAP") != 2 {
					t.Errorf("another configuration:\n%s", text)
				}
			}
		}
		b.stop(t)
	})
	if n := len(b.presentations()); n != 3 {
		t.Errorf("%d presentations, want AAC, Opus and AAC again", n)
	}
}

// TestPassedRestart: a presentation of AAC goes on after a restart of the program.
func TestPassedRestart(t *testing.T) {
	var first, second *bench
	cfg := Config{Ledger: newNotebook()}
	synctest.Test(t, func(t *testing.T) {
		first = setUp(t, cfg)
		d := &passer{x: first.publish(t, video("VP9"), passing(44100)), rate: 44100, video: true}
		d.run(7300 * time.Millisecond)
		second = first.restarted(t, cfg, func(n *notebook) *notebook { return n.copied() })
		d.x.Close(nil)
		time.Sleep(2 * time.Second)
		d = &passer{x: second.publish(t, video("VP9"), passing(44100)), rate: 44100, video: true}
		d.run(7 * time.Second)
		d.x.Close(nil)
		time.Sleep(100 * time.Millisecond)
		second.cancel()
		<-second.done
		second.check(t)
	})
	if a, b := first.presentations(), second.presentations(); len(a) != 1 || len(b) != 1 || a[0] != b[0] {
		t.Errorf("presentations %v and then %v, want one", a, b)
	}
	if n := second.tags(t, "aac", "#EXT-X-DISCONTINUITY\n"); n != 1 {
		t.Errorf("L24: %d discontinuities, want 1", n)
	}
}
