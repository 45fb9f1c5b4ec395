package packager

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// clockwork publishes pictures and sound whose clocks do not go as ours. Each
// picture and each sound tells when it was captured.
type clockwork struct {
	fps, gop     int
	packet       time.Duration // of Opus: 20 ms, 60 ms or 120 ms
	video, sound float64       // ppm that the media clocks are fast
	skew         time.Duration // how much later than the picture the sound arrives
	rids         []string      // of the video layers; all of them have the same clock
	videoBase    uint32
	audioBase    uint32
	sequence     uint16
	// report changes the sender reports of each second; nil: none are sent.
	report func(id stream.LayerID, at time.Duration, r stream.Report) (stream.Report, bool)
}

func honest(_ stream.LayerID, _ time.Duration, r stream.Report) (stream.Report, bool) { return r, true }

// run publishes for so long, as our clock counts it.
func (c *clockwork) run(x *stream.Session, length time.Duration) {
	if c.rids == nil {
		c.rids = []string{""}
	}
	paced := func(d time.Duration, ppm float64) time.Duration { return d + time.Duration(float64(d)*ppm/1e6) }
	var toc byte = 0xfc // 20 ms
	switch c.packet {
	case 60 * time.Millisecond:
		toc = 0x1c
	case 120 * time.Millisecond:
		toc = 0x1d
	}
	begin := time.Now()
	pictures, sounds, reports := 0, 0, 1
	for {
		picture := time.Duration(pictures) * time.Second / time.Duration(c.fps)
		sound := paced(time.Duration(sounds)*c.packet, -c.sound)
		report := time.Duration(reports) * time.Second
		now := min(picture, sound+c.skew, report)
		if now >= length {
			return
		}
		time.Sleep(time.Until(begin.Add(now)))
		switch now {
		case picture:
			payload := interPicture()[:64]
			if pictures%c.gop == 0 {
				payload = keyPicture(640, 360)[:64]
			}
			for _, rid := range c.rids {
				x.Write(stream.LayerID{Kind: stream.Video, RID: rid}, stream.Packet{
					Arrival: time.Now(), Timestamp: c.videoBase + uint32(toTicks(paced(picture, c.video), videoRate)),
					Sequence: c.sequence + uint16(pictures), Marker: true, Payload: stamp(bytes.Clone(payload), 12, picture),
				})
			}
			pictures++
		case sound + c.skew:
			x.Write(stream.LayerID{Kind: stream.Audio}, stream.Packet{
				Arrival: time.Now(), Timestamp: c.audioBase + uint32(toTicks(time.Duration(sounds)*c.packet, opusRate)),
				Sequence: c.sequence + uint16(sounds), Marker: true,
				Payload: stamp([]byte{toc, 0, 0, 0, 0, 0, 0, 0, 0}, 1, sound),
			})
			sounds++
		default:
			reports++
			c.tell(x, now, uint32(toTicks(paced(now, c.video), videoRate)), uint32(toTicks(paced(now, c.sound), opusRate)))
		}
	}
}

// tell sends the sender reports of an instant.
func (c *clockwork) tell(x *stream.Session, now time.Duration, video, sound uint32) {
	if c.report == nil {
		return
	}
	ids := []stream.LayerID{{Kind: stream.Audio}}
	for _, rid := range c.rids {
		ids = append(ids, stream.LayerID{Kind: stream.Video, RID: rid})
	}
	for _, id := range ids {
		r := stream.Report{NTP: ntp(now), RTP: c.videoBase + video}
		if id.Kind == stream.Audio {
			r.RTP = c.audioBase + sound
		}
		if r, ok := c.report(id, now, r); ok {
			x.Report(id, r.NTP, r.RTP, time.Now())
		}
	}
}

// moment is what a segment's first frame tells: its time in the presentation, its
// date, and when it was captured.
type moment struct {
	msn          uint64
	at, captured time.Duration
	date         time.Time
	silence      int // frames in the segment
}

// moments reads all segments that were ever put. Samples tell when they were
// captured from the given byte on.
func (b *bench) moments(t *testing.T, name string) []moment {
	t.Helper()
	rate, stamped := int64(videoRate), 11
	if name == "audio" {
		rate, stamped = opusRate, 1
	}
	var init []byte
	segments := map[string][]byte{}
	var all []moment
	for _, o := range b.sink.history {
		if !strings.Contains(o.Key, "/"+name+"/") {
			continue
		}
		switch o.Kind {
		case storage.Init:
			init = o.Body.Bytes()
		case storage.Segment:
			segments[o.Key] = o.Body.Bytes()
		case storage.Playlist:
			lines := strings.Split(strings.TrimSpace(string(o.Body.Bytes())), "\n")
			last := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "s0") })
			for i, l := range lines {
				if strings.HasPrefix(l, "s0") {
					last = i
				}
			}
			body := segments[filepath.Dir(o.Key)+"/"+lines[last]]
			if body == nil || len(all) > 0 && all[len(all)-1].msn == o.Position.MSN {
				continue
			}
			m := moment{msn: o.Position.MSN, date: outline(t, o).dates[strings.Count(strings.Join(lines[:last], "\n"), "#EXT-X-PROGRAM-DATE-TIME")-1]}
			f, err := mp4.DecodeFile(bytes.NewReader(append(bytes.Clone(init), body...)))
			if err != nil {
				t.Fatal(err)
			}
			first := true
			for _, fragment := range f.Segments[0].Fragments {
				samples, err := fragment.GetFullSamples(f.Init.Moov.Mvex.Trex)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range samples {
					if len(s.Data) == 3 {
						m.silence++
						continue
					}
					if first {
						first = false
						m.at = fromTicks(s.PresentationTime(), rate)
						m.captured = time.Duration(binary.BigEndian.Uint64(s.Data[stamped:]))
					}
				}
			}
			all = append(all, m)
		}
	}
	return all
}

// TestDriftForAnHour: the clocks of camera and microphone are 200 ppm off ours, in
// different directions, for an hour: 720 ms each. Pictures and sounds stay within
// 40 ms of each other, dates within 250 ms of our clock, and nothing is made up,
// dropped or broken for it (R3, R7, R8, R12, R52, L5, L25, L26, L90).
func TestDriftForAnHour(t *testing.T) {
	for _, tt := range []struct {
		name         string
		video, sound float64
		report       func(stream.LayerID, time.Duration, stream.Report) (stream.Report, bool)
	}{
		{"slow pictures, fast sound, reports", -200, 200, honest},
		{"fast pictures, slow sound, no reports", 200, -200, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var begin time.Time
			c := &clockwork{fps: 2, gop: 8, packet: 120 * time.Millisecond, video: tt.video, sound: tt.sound, report: tt.report}
			b := scenario(t, Config{Window: 20 * time.Second, Segment: 4 * time.Second, Part: time.Second}, func(t *testing.T, b *bench) {
				begin, b.frame = time.Now(), c.packet
				x := b.publish(t, video("VP9"), audio())
				c.run(x, time.Hour)
				time.Sleep(200 * time.Millisecond)
				x.Close(nil)
				b.stop(t)
			})
			b.checkDrift(t, begin)
			m := b.pack.Metrics()
			if m.Discontinuities.Load()+m.GapParts.Load()+m.Dropped.Load()+m.Silence.Load() > 0 || m.Presentations.Load() != 1 {
				t.Errorf("%d discontinuities, %d parts without media, %d units dropped, %d frames of silence, %d presentations",
					m.Discontinuities.Load(), m.GapParts.Load(), m.Dropped.Load(), m.Silence.Load(), m.Presentations.Load())
			}
			if n, d := m.Reanchored.Load(), m.Drift.Load(); n != 3 || d < 590 || d > 640 {
				t.Errorf("R8: corrected %d times by %d ms in all, want 3 times by 200", n, d)
			}
		})
	}
}

// checkDrift checks all segments of a bench whose clocks drift.
func (b *bench) checkDrift(t *testing.T, begin time.Time) {
	t.Helper()
	pictures, sounds := b.moments(t, "video"), b.moments(t, "audio")
	if len(pictures) < 890 || len(pictures) != len(sounds) {
		t.Fatalf("%d segments of video, %d of audio, want an hour of 4 s", len(pictures), len(sounds))
	}
	apart, late := time.Duration(0), time.Duration(0)
	for i := range pictures {
		v, a := pictures[i], sounds[i]
		apart = max(apart, ((a.at - a.captured) - (v.at - v.captured)).Abs())
		late = max(late, v.date.Sub(begin.Add(v.captured)).Abs())
		if a.silence+v.silence > 0 {
			t.Fatalf("silence in segment %d", v.msn)
		}
		// L25, L90: date and media time are the same distance apart in both.
		if d := v.date.Add(-v.at).Sub(a.date.Add(-a.at)).Abs(); d > 2*time.Millisecond || v.msn != a.msn {
			t.Errorf("L25: segment %d: dates of the renditions are %v apart", v.msn, d)
		}
	}
	t.Logf("sound and picture %v apart at most, date %v off the clock", apart, late)
	if apart > 40*time.Millisecond {
		t.Errorf("R52: sound and picture are %v apart, want 40 ms at most", apart)
	}
	if late > 250*time.Millisecond {
		t.Errorf("R8: dates are %v off the clock", late)
	}
}

// TestReports: sound arrives 80 ms after the picture of the same instant. Reports
// that can be believed tell so, what is wrong with others does no harm (R1, R4, R5).
func TestReports(t *testing.T) {
	second := func(ntp uint64, d time.Duration) uint64 { return ntp + uint64(int64(d.Seconds()*(1<<32))) }
	for _, tt := range []struct {
		name   string
		rids   []string
		told   bool // the reports tell the truth, and enough of it
		report func(stream.LayerID, time.Duration, stream.Report) (stream.Report, bool)
	}{
		{"none", nil, false, nil},
		{"honest", nil, true, honest},
		{"zero NTP", nil, false, func(_ stream.LayerID, _ time.Duration, r stream.Report) (stream.Report, bool) {
			return stream.Report{RTP: r.RTP}, true
		}},
		{"RTP timestamp 0 for the video", nil, false, func(id stream.LayerID, _ time.Duration, r stream.Report) (stream.Report, bool) {
			if id.Kind == stream.Video {
				r.RTP = 0
			}
			return r, true
		}},
		{"the sender's clock is its uptime", nil, true, func(_ stream.LayerID, at time.Duration, r stream.Report) (stream.Report, bool) {
			r.NTP = second(41<<32, at)
			return r, true
		}},
		{"uptime since 1970", nil, true, func(_ stream.LayerID, at time.Duration, r stream.Report) (stream.Report, bool) {
			r.NTP = second(2_208_988_841<<32, at)
			return r, true
		}},
		{"the sender's clock jumps by an hour", nil, true, func(_ stream.LayerID, at time.Duration, r stream.Report) (stream.Report, bool) {
			if at > 12*time.Second {
				r.NTP = second(r.NTP, time.Hour)
			}
			return r, true
		}},
		{"and by 2 s, for the video alone, for some seconds", nil, true, func(id stream.LayerID, at time.Duration, r stream.Report) (stream.Report, bool) {
			if at > 8*time.Second && at < 14*time.Second && id.Kind == stream.Video {
				r.NTP = second(r.NTP, 2*time.Second)
			}
			return r, true
		}},
		{"late", nil, true, func(_ stream.LayerID, at time.Duration, r stream.Report) (stream.Report, bool) {
			return r, at > 10*time.Second
		}},
		{"for the first layer only", []string{"0", "1", "2"}, true, func(id stream.LayerID, _ time.Duration, r stream.Report) (stream.Report, bool) {
			return r, id.RID == "0" || id.Kind == stream.Audio
		}},
		{"0 for all layers but one", []string{"0", "1", "2"}, true, func(id stream.LayerID, _ time.Duration, r stream.Report) (stream.Report, bool) {
			if id.RID == "0" || id.RID == "2" {
				r.RTP = 0
			}
			return r, true
		}},
		{"ten seconds beside the truth", nil, false, func(id stream.LayerID, _ time.Duration, r stream.Report) (stream.Report, bool) {
			if id.Kind == stream.Video {
				r.NTP = second(r.NTP, 10*time.Second)
			}
			return r, true
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &clockwork{
				fps: 10, gop: 20, packet: 20 * time.Millisecond, skew: 80 * time.Millisecond, rids: tt.rids, report: tt.report,
				videoBase: 9000, audioBase: 777,
			}
			b := scenario(t, Config{}, func(t *testing.T, b *bench) {
				layers := []stream.Layer{audio()}
				for _, rid := range append(tt.rids, "")[:max(len(tt.rids), 1)] {
					l := video("VP9")
					l.ID.RID = rid
					layers = append(layers, l)
				}
				x := b.publish(t, layers...)
				c.run(x, 24*time.Second)
				x.Close(nil)
				b.stop(t)
			})
			pictures, sounds := b.moments(t, "video"), b.moments(t, "audio")
			last := len(pictures) - 1
			off := (sounds[last].at - sounds[last].captured) - (pictures[last].at - pictures[last].captured)
			if tt.told && off.Abs() > 10*time.Millisecond || !tt.told && (off-c.skew).Abs() > 10*time.Millisecond {
				t.Errorf("sound is %v after the picture", off)
			}
			if tt.name == "late" {
				return
			}
			first := (sounds[0].at - sounds[0].captured) - (pictures[0].at - pictures[0].captured)
			if (first-off).Abs() > 70*time.Millisecond && tt.rids != nil {
				t.Errorf("R3: it was %v at first", first)
			}
		})
	}
}

// TestWraps: the timestamps of picture and sound wrap in the middle of an Epoch,
// and so do their sequence numbers (R9).
func TestWraps(t *testing.T) {
	c := &clockwork{
		fps: 30, gop: 60, packet: 20 * time.Millisecond, report: honest,
		videoBase: 1<<32 - 7*90000 - 1, audioBase: 1<<32 - 9*48000 - 7, sequence: 65536 - 250,
	}
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		x := b.publish(t, video("VP9"), audio())
		c.run(x, 20*time.Second)
		time.Sleep(200 * time.Millisecond) // the last ones too
		x.Close(nil)
		b.stop(t)
	})
	b.both(t)
	for name, samples := range map[string]int64{"video": 599, "audio": 999} {
		runs := b.sink.content(t, name)
		if len(runs) != 1 {
			t.Fatalf("%d runs of %s, want 1", len(runs), name)
		}
		if s := runs[0].continuity(t, 0); s.from != 0 || s.samples < samples {
			t.Errorf("%d samples of %s from %d, want %d", s.samples, name, s.from, samples)
		}
	}
	for _, m := range append(b.moments(t, "video"), b.moments(t, "audio")...) {
		if d := (m.at - m.captured).Abs(); d > time.Millisecond || m.silence > 0 {
			t.Errorf("segment %d is %v beside its time, %d frames of silence", m.msn, d, m.silence)
		}
	}
}

// TestLongPresentation: after 27 hours times do not fit in 33 bits of 90 kHz any
// more, and after 24 h 51 min of sound not in 32 bits: tfdt has 64 (R9, L5).
func TestLongPresentation(t *testing.T) {
	const age = 27 * time.Hour
	ctx := t.Context()
	sink := newRecorder()
	r := &runner{cfg: Config{Audio: Opus}.withDefaults(), log: slog.New(slog.DiscardHandler), metrics: &Metrics{}}
	r.out = outlet{sink: sink, log: r.log, metrics: r.metrics}
	r.present = newPresentation(r, "show", 2*time.Second, tracks{video: true, audio: true})
	begin := time.Now()
	r.present.time.zero = begin.Add(-age)
	err := r.present.begin(ctx, opening{at: begin, videos: 1, audio: true, sync: func(_ int, offset int64) alignment {
		return alignment{offset: toTicks(fromTicks(offset, videoRate), opusRate), sure: true}
	}})
	if err != nil {
		t.Fatal(err)
	}
	params := &au.Params{Codec: "VP9", Width: 640, Height: 360, Depth: 8}
	for i := range int64(500) {
		now := begin.Add(time.Duration(i) * 20 * time.Millisecond)
		if i%2 == 0 {
			u := &au.Unit{PTS: i * 1800, DTS: i * 1800, Arrival: now, Key: i%100 == 0, Params: params, Data: []byte("picture")}
			if err := r.present.video(ctx, 0, u); err != nil {
				t.Fatal(err)
			}
		}
		u := &au.Unit{PTS: i * 960, DTS: i * 960, Duration: 960, Arrival: now, Key: true, Data: []byte("some sound")}
		if err := r.present.sounding(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.present.end(ctx); err != nil {
		t.Fatal(err)
	}
	for name, rate := range map[string]int64{"video": videoRate, "audio": opusRate} {
		runs := sink.content(t, name)
		s := runs[0].continuity(t, 0)
		if at := fromTicks(s.from, rate); len(runs) != 1 || at != age || fromTicks(s.to, rate) != age+10*time.Second {
			t.Errorf("%d runs of %s, from %v to %v, want %v and 10 s", len(runs), name, at, fromTicks(s.to, rate), age)
		}
		o, _ := sink.last(storage.LowLatency, "/"+name+"/")
		if d := outline(t, o).dates[0].Sub(begin).Abs(); d > time.Millisecond {
			t.Errorf("R7: %s is dated %v beside its arrival", name, d)
		}
	}
}

// TestSoundWithoutPictureDrifts: a microphone alone whose clock is slow: dates
// follow ours (R8, R12).
func TestSoundWithoutPictureDrifts(t *testing.T) {
	for _, ppm := range []float64{-500, 500} {
		t.Run(fmt.Sprint(ppm), func(t *testing.T) {
			var begin time.Time
			c := &clockwork{fps: 1, gop: 1, packet: 60 * time.Millisecond, sound: ppm}
			b := scenario(t, Config{Window: 20 * time.Second, Segment: 4 * time.Second, Part: time.Second}, func(t *testing.T, b *bench) {
				begin = time.Now()
				x := b.publish(t, audio())
				c.run(x, 10*time.Minute)
				x.Close(nil)
				b.stop(t)
			})
			for _, m := range b.moments(t, "audio") {
				if d := m.date.Sub(begin.Add(m.captured)).Abs(); d > 250*time.Millisecond || m.silence > 0 {
					t.Fatalf("R8: segment %d is dated %v off the clock, %d frames of silence", m.msn, d, m.silence)
				}
			}
			if n := b.pack.Metrics().Reanchored.Load(); n != 1 || b.pack.Metrics().Dropped.Load() > 0 {
				t.Errorf("corrected %d times, want once", n)
			}
		})
	}
}

// TestDriftOfTheTranscodedSound: AAC follows the same soundtrack: what is slewed for
// a microphone that is 0.5 % fast or slow leaves its grid whole (R12, R51, L5).
func TestDriftOfTheTranscodedSound(t *testing.T) {
	for _, ppm := range []float64{-5000, 5000} {
		t.Run(fmt.Sprint(ppm), func(t *testing.T) {
			c := &clockwork{fps: 10, gop: 20, packet: 20 * time.Millisecond, sound: ppm, report: honest}
			b := scenario(t, Config{Audio: Both}, func(t *testing.T, b *bench) {
				x := b.publish(t, video("VP9"), audio())
				c.run(x, 20*time.Second)
				time.Sleep(200 * time.Millisecond)
				x.Close(nil)
				b.stop(t)
			})
			b.level(t, "video", "audio", "aac")
			runs, picture := b.sink.content(t, "aac"), b.sink.content(t, "video")
			if len(runs) != 1 || len(picture) != 1 {
				t.Fatalf("%d runs of AAC, %d of video, want 1", len(runs), len(picture))
			}
			a, v := runs[0].continuity(t, 0), picture[0].continuity(t, 0)
			if d := fromTicks(a.to, opusRate) - fromTicks(v.to, videoRate); d.Abs() > 70*time.Millisecond {
				t.Errorf("AAC ends %v after the picture", d)
			}
			if a.to-a.from != a.samples*1024 {
				t.Errorf("L5: %d samples of AAC take %d ticks", a.samples, a.to-a.from)
			}
			if m := b.pack.Metrics(); m.Dropped.Load() > 0 || m.Silence.Load() > 2 { // at the very end
				t.Errorf("%d units dropped, %d frames of silence", m.Dropped.Load(), m.Silence.Load())
			}
		})
	}
}
