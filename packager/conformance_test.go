package packager

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// shoot publishes one picture.
func shoot(x *stream.Session, seq uint16, timestamp uint32, payload []byte) {
	x.Write(stream.LayerID{Kind: stream.Video}, stream.Packet{
		Arrival: time.Now(), Timestamp: timestamp, Sequence: seq, Marker: true, Payload: payload,
	})
}

// speak publishes 20 ms of sound.
func speak(x *stream.Session, seq uint16, timestamp uint32, captured time.Duration) {
	payload := stamp(append(make([]byte, 0, 9), 0xfc, 0, 0, 0, 0, 0, 0, 0, 0), 1, captured)
	x.Write(stream.LayerID{Kind: stream.Audio}, stream.Packet{
		Arrival: time.Now(), Timestamp: timestamp, Sequence: seq, Marker: true, Payload: payload,
	})
}

// TestAudioClockDrifts: the microphone's clock is 0.05 % fast or slow for 6
// minutes, which is 180 ms; sender reports tell (R12, R52). Nothing is ever cut
// for it, and the picture is left alone.
func TestAudioClockDrifts(t *testing.T) {
	for _, tt := range []struct {
		name string
		rate float64
	}{{"fast", 1.0005}, {"slow", 0.9995}} {
		t.Run(tt.name, func(t *testing.T) {
			const length = 6 * time.Minute
			b := scenario(t, Config{Window: 20 * time.Second}, func(t *testing.T, b *bench) {
				x := b.publish(t, video("VP9"), audio())
				begin := time.Now()
				var picture, sound time.Duration // of capture
				var pictures, sounds uint32
				for now := time.Duration(0); now < length; now = min(picture, sound) {
					time.Sleep(time.Until(begin.Add(now)))
					if picture <= now {
						payload := interPicture()
						if pictures%20 == 0 {
							payload = keyPicture(640, 360)
						}
						shoot(x, uint16(pictures), uint32(toTicks(picture, videoRate)), stamp(payload, 12, picture))
						pictures++
						picture = time.Duration(pictures) * 100 * time.Millisecond
					}
					if sound <= now {
						speak(x, uint16(sounds), sounds*960, sound)
						if sounds%50 == 0 {
							x.Report(stream.LayerID{Kind: stream.Audio}, ntp(sound), sounds*960, time.Now())
							x.Report(stream.LayerID{Kind: stream.Video}, ntp(sound), uint32(toTicks(sound, videoRate)), time.Now())
						}
						sounds++
						sound = time.Duration(float64(sounds) * float64(20*time.Millisecond) / tt.rate)
					}
				}
				x.Close(nil)
				b.stop(t)
			})
			if off := b.lag(t, "audio", opusRate) - b.lag(t, "video", videoRate); off.Abs() > 40*time.Millisecond {
				t.Errorf("R12: sound is %v after the picture at the end, want at most 40 ms", off)
			}
			for _, name := range []string{"video", "audio"} {
				runs := b.sink.content(t, name)
				if len(runs) != 1 {
					t.Fatalf("%d runs of %s, want 1", len(runs), name)
				}
				runs[0].continuity(t, 0)
			}
			if n := b.pack.Metrics().Dropped.Load(); n > 0 {
				t.Errorf("%d units were dropped", n)
			}
			if n := b.tags(t, "video", "#EXTINF"); n < 10 { // it went on to the end
				t.Errorf("%d segments are listed", n)
			}
		})
	}
}

// TestPartsKeepComing: with a steady publisher a version with a new part
// appears at most PART-TARGET after the one before, of each rendition, and one
// with a new segment at most 1.5 target durations after (L38).
func TestPartsKeepComing(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, onRequest(video("VP9")), audio()))
		c.gop, c.report = 0, time.Millisecond
		go c.heed()
		c.run(0, 20*time.Second)
		c.x.Close(nil)
		b.stop(t)
	})
	for _, name := range []string{"video", "audio"} {
		var part, segment time.Time
		msn, parts := uint64(0), -1
		for _, o := range b.sink.history {
			if o.Kind != storage.LowLatency || !strings.Contains(o.Key, "/"+name+"/") || o.Position.Ended {
				continue
			}
			if o.Position.MSN > msn || part.IsZero() {
				if d := o.Modified.Sub(segment); !segment.IsZero() && d > 3*time.Second {
					t.Errorf("L38: segment %d of %s came after %v", o.Position.MSN, name, d)
				}
				segment = o.Modified
			}
			if o.Position.MSN > msn || o.Position.Parts > parts {
				if d := o.Modified.Sub(part); !part.IsZero() && d > 535*time.Millisecond { // and one frame of jitter
					t.Errorf("L38: part %d of segment %d of %s came after %v", o.Position.Parts, o.Position.MSN, name, d)
				}
				part = o.Modified
			}
			msn, parts = o.Position.MSN, o.Position.Parts
		}
	}
}

// TestCameraOff: the picture stops for 7 s, the sound goes on, and so do the
// playlists: with segments without media where there is no picture (R28, L24, L27).
func TestCameraOff(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		x := b.publish(t, onRequest(video("VP9")), audio())
		begin := time.Now()
		seq := uint16(0)
		for i := range 20 * 50 {
			at := time.Duration(i) * 20 * time.Millisecond
			time.Sleep(time.Until(begin.Add(at)))
			speak(x, uint16(i), uint32(i*960), at)
			if off := at > 5*time.Second && at < 12*time.Second; i%2 == 0 && !off {
				payload := interPicture()
				if i%50 == 0 {
					payload = keyPicture(640, 360)
				}
				seq++
				shoot(x, seq, uint32(toTicks(at, videoRate)), stamp(payload, 12, at))
			}
		}
		x.Close(nil)
		b.stop(t)
	})
	b.both(t)
	if n := b.pack.Metrics().Stills.Load(); n < 8 || n > 16 {
		t.Errorf("%d parts with a still picture, want some 6 s of 500 ms", n)
	}
	for name, hole := range map[string]int64{"video": videoRate, "audio": 0} {
		if n := b.tags(t, name, "#EXT-X-DISCONTINUITY\n"); n != 0 {
			t.Errorf("L24: %d discontinuities in %s, want none", n, name)
		}
		if gaps := b.gaps(t, name); len(gaps) > 0 {
			t.Errorf("R28: segments %v of %s have no media", gaps, name)
		}
		runs := b.sink.content(t, name)
		if len(runs) != 1 {
			t.Fatalf("%d runs of %s, want 1", len(runs), name)
		}
		runs[0].continuity(t, hole)
	}
}

// TestSizeChangesWithLateSound: the picture's size changes while the sound comes
// 200 ms later than the picture of the same instant. No sound is lost for it
// (R19, L5).
func TestSizeChangesWithLateSound(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.skew, c.report = 200*time.Millisecond, time.Millisecond
		for i, width := range []int{1280, 960, 640, 1280} {
			c.width = width
			c.run(time.Duration(i)*3*time.Second, 3*time.Second)
		}
		c.x.Close(nil)
		b.stop(t)
	})
	b.both(t)
	runs := b.sink.content(t, "audio")
	if len(runs) != 4 {
		t.Fatalf("%d runs, want 4", len(runs))
	}
	at := int64(0)
	for i := range runs {
		s := runs[i].continuity(t, 0)
		if i > 0 && s.from != at {
			t.Errorf("L5: run %d begins at %d, the one before ends at %d", i, s.from, at)
		}
		at = s.to
	}
	if n := b.pack.Metrics().Dropped.Load(); n > 12 { // before the first picture
		t.Errorf("%d units were dropped", n)
	}
}

// TestHostile: what a publisher may do to hurt (X24). Whatever it is, playlists
// conform, and what is kept is bounded.
func TestHostile(t *testing.T) {
	const length = 12 * time.Second
	for _, tt := range []struct {
		name  string
		every time.Duration
		send  func(i int, now time.Duration) (timestamp uint32, payload []byte)
	}{
		{"every picture is a key frame", 10 * time.Millisecond, func(_ int, now time.Duration) (uint32, []byte) {
			return uint32(toTicks(now, videoRate)), keyPicture(640, 360)
		}},
		{"timestamps rise by 1 unit", 10 * time.Millisecond, func(i int, _ time.Duration) (uint32, []byte) {
			return uint32(i), keyPicture(640, 360)
		}},
		{"timestamps stand still", 10 * time.Millisecond, func(int, time.Duration) (uint32, []byte) {
			return 7, keyPicture(640, 360)
		}},
		{"timestamps run 10 times too fast", 10 * time.Millisecond, func(_ int, now time.Duration) (uint32, []byte) {
			return uint32(10 * toTicks(now, videoRate)), keyPicture(640, 360)
		}},
		{"timestamps run backwards", 10 * time.Millisecond, func(_ int, now time.Duration) (uint32, []byte) {
			return uint32(math.MaxUint32 - toTicks(now, videoRate)), keyPicture(640, 360)
		}},
		{"timestamps are random", 10 * time.Millisecond, func(i int, _ time.Duration) (uint32, []byte) {
			return uint32(i) * 2654435761, keyPicture(640, 360)
		}},
		{"2,000 pictures a second", 500 * time.Microsecond, func(i int, now time.Duration) (uint32, []byte) {
			if i%2000 == 0 {
				return uint32(toTicks(now, videoRate)), keyPicture(640, 360)
			}
			return uint32(toTicks(now, videoRate)), interPicture()
		}},
		{"another size each picture", 100 * time.Millisecond, func(i int, now time.Duration) (uint32, []byte) {
			return uint32(toTicks(now, videoRate)), keyPicture(16+i%4000, 360)
		}},
		{"no second key frame", 10 * time.Millisecond, func(i int, now time.Duration) (uint32, []byte) {
			if i == 0 {
				return 0, keyPicture(640, 360)
			}
			return uint32(toTicks(now, videoRate)), interPicture()
		}},
		{"64k by 64k", 10 * time.Millisecond, func(_ int, now time.Duration) (uint32, []byte) {
			return uint32(toTicks(now, videoRate)), keyPicture(1<<16, 1<<16)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			scenario(t, Config{Window: 6 * time.Second}, func(t *testing.T, b *bench) {
				x := b.publish(t, video("VP9"), audio())
				begin, spoken := time.Now(), time.Duration(0)
				for i := 0; ; i++ {
					now := time.Duration(i) * tt.every
					if now >= length {
						break
					}
					time.Sleep(time.Until(begin.Add(now)))
					timestamp, payload := tt.send(i, now)
					shoot(x, uint16(i), timestamp, payload)
					for ; spoken <= now; spoken += 20 * time.Millisecond {
						speak(x, uint16(spoken/(20*time.Millisecond)), uint32(toTicks(spoken, opusRate)), spoken)
					}
				}
				bounded(t, b)
				x.Close(nil)
				b.stop(t)
			})
		})
	}
}

// bounded fails if more is kept than 12 s of media can need.
func bounded(t *testing.T, b *bench) {
	t.Helper()
	b.sink.mu.Lock()
	defer b.sink.mu.Unlock()
	objects, bytes, text := 0, 0, 0
	for _, o := range b.sink.now {
		objects++
		bytes += o.Body.Len()
		if o.Kind == storage.LowLatency {
			text = max(text, o.Body.Len())
		}
	}
	t.Logf("%d objects of %d kB, playlist of %d bytes, %d presentations, %d discontinuities",
		objects, bytes>>10, text, b.pack.Metrics().Presentations.Load(), b.pack.Metrics().Discontinuities.Load())
	if objects > 5000 || text > 64<<10 {
		t.Errorf("X24: %d objects are kept, the playlist has %d bytes", objects, text)
	}
}

// TestSoundWaitsNotForever: sound that waits for a picture is bounded (X24).
func TestSoundWaitsNotForever(t *testing.T) {
	for _, open := range []bool{false, true} {
		f := follower{part: opusRate / 2}
		if open {
			f.turns(0, &cut{begins: true})
			f.push(sound{ticks: 960})
			if v := f.next(); v != openSegment {
				t.Fatalf("verb %d, want a segment", v)
			}
		}
		for i := range int64(100_000) {
			f.push(sound{at: i * 960, ticks: 960})
		}
		if n := len(f.queue); n > 16*50 {
			t.Errorf("segment open %v: %d frames wait, want 16 s at most", open, n)
		}
	}
}
