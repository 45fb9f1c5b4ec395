package packager

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keyPicture is a VP9 key frame in one packet, as far as a packager looks into
// it (RFC 9628 §4.2, VP9 bitstream §6.2).
func keyPicture(width, height int) []byte {
	b := make([]byte, 8000)
	bits := uint64(1)<<37 | uint64(width-1)<<20 | uint64(height-1)<<4 // colour space 1, limited range
	copy(b, []byte{0x08 | 0x04, 0x82, 0x49, 0x83, 0x42})
	for i := range 5 {
		b[5+i] = byte(bits >> (32 - 8*i))
	}
	return b
}

// interPicture is one that is predicted from others.
func interPicture() []byte {
	b := make([]byte, 2000)
	b[0], b[1] = 0x40|0x08|0x04, 0x86
	return b
}

// camera publishes synthetic media at a steady pace.
type camera struct {
	x             *stream.Session
	gop           int // frames; 0: key frames only on request
	width, height int
	rid           string
	every         func() time.Duration // between frames
	video, audio  bool
	audioFrom     time.Duration
	audioUntil    time.Duration
	slip          time.Duration // by how much its clock of the audio was set back
	skew          time.Duration // how much later than the video the audio arrives
	report        time.Duration // when the first sender reports are sent; 0: never
	captured      time.Duration // how long ago, by our clock, they say a picture was captured; 0: by another clock
	stamped       time.Duration // and how long ago its capture times do; 0: there are none
	// Bases of the RTP clocks: near the wrap (specs R9).
	videoBase, audioBase uint32
	seq, audioSeq        uint16
	asked                chan struct{}
}

func newCamera(x *stream.Session) *camera {
	return &camera{
		x: x, gop: 30, width: 1280, height: 720, video: true, audio: true, audioUntil: math.MaxInt64,
		every:     func() time.Duration { return 33333334 * time.Nanosecond },
		videoBase: 0xffffff00, audioBase: 0xfffffe00, seq: 65530, audioSeq: 65000,
		asked: make(chan struct{}, 1),
	}
}

// heed answers requests for key frames until the session ends.
func (c *camera) heed() {
	for {
		if _, err := c.x.KeyframeRequest(context.Background()); err != nil {
			return
		}
		select {
		case c.asked <- struct{}{}:
		default:
		}
	}
}

// ntp is an arbitrary sender's clock.
func ntp(d time.Duration) uint64 {
	d += 1000 * time.Hour
	return uint64(d/time.Second)<<32 | uint64(d%time.Second)<<32/uint64(time.Second)
}

// run publishes for so long; the media clock starts at from.
func (c *camera) run(from, length time.Duration) {
	begin := time.Now()
	video, audio := from, from
	frames := 0
	reported := time.Duration(-1)
	for now := from; now < from+length; now = min(video, audio) {
		time.Sleep(time.Until(begin.Add(now - from)))
		elapsed := now - from
		if c.report > 0 && elapsed >= c.report && elapsed-reported >= time.Second {
			reported = elapsed
			sender := ntp(now)
			if c.captured != 0 {
				at := latency.Since1900(time.Now().Add(-c.captured))
				sender = uint64(at/time.Second)<<32 | uint64(at%time.Second)<<32/uint64(time.Second)
			}
			c.x.Report(stream.LayerID{Kind: stream.Video}, sender, c.videoBase+uint32(toTicks(now, 90000)), time.Now())
			if c.stamped != 0 {
				at := latency.Since1900(time.Now().Add(-c.stamped))
				c.x.Captured(stream.LayerID{Kind: stream.Video}, stream.Report{
					NTP: uint64(at/time.Second)<<32 | uint64(at%time.Second)<<32/uint64(time.Second), RTP: c.videoBase + uint32(toTicks(now, 90000)), Arrival: time.Now(),
				}, 1)
			}
			// The audio of the same instant has been under way for longer.
			c.x.Report(stream.LayerID{Kind: stream.Audio}, sender, c.audioBase+uint32(toTicks(now-c.slip, 48000)), time.Now())
		}
		if !c.video {
			video = math.MaxInt64
		} else if video <= now {
			key := frames == 0 || c.gop > 0 && frames%c.gop == 0
			select {
			case <-c.asked:
				key = key || c.gop == 0
			default:
			}
			payload := interPicture()
			if key {
				payload = keyPicture(c.width, c.height)
			}
			c.seq++
			c.x.Write(stream.LayerID{Kind: stream.Video, RID: c.rid}, stream.Packet{
				Arrival: time.Now(), Timestamp: c.videoBase + uint32(toTicks(video, 90000)), Sequence: c.seq,
				Marker: true, Payload: stamp(payload, 12, video),
			})
			frames++
			video += c.every()
		}
		if !c.audio {
			audio = math.MaxInt64
		} else if audio <= now {
			if at := audio - from; at >= c.audioFrom && at < c.audioUntil {
				c.audioSeq++
				c.x.Write(stream.LayerID{Kind: stream.Audio}, stream.Packet{
					Arrival: time.Now(), Timestamp: c.audioBase + uint32(toTicks(audio-c.skew-c.slip, 48000)), Sequence: c.audioSeq,
					Marker: true, Payload: stamp(append(make([]byte, 0, 9), 0xfc, 0, 0, 0, 0, 0, 0, 0, 0), 1, audio-c.skew),
				})
			}
			audio += 20 * time.Millisecond
		}
	}
}

// stamp writes the time of capture into a payload.
func stamp(payload []byte, at int, captured time.Duration) []byte {
	binary.BigEndian.PutUint64(payload[at:], uint64(captured))
	return payload
}

// lag returns how much later than it was captured the last frame of a rendition
// is presented.
func (b *bench) lag(t *testing.T, name string, rate int64) time.Duration {
	t.Helper()
	runs := b.sink.content(t, name)
	f, err := mp4.DecodeFile(bytes.NewReader(runs[len(runs)-1].file))
	if err != nil {
		t.Fatal(err)
	}
	lag := time.Duration(math.MinInt64)
	for _, segment := range f.Segments {
		for _, fragment := range segment.Fragments {
			samples, err := fragment.GetFullSamples(f.Init.Moov.Mvex.Trex)
			if err != nil {
				t.Fatal(err)
			}
			for _, sample := range samples {
				if len(sample.Data) == 3 {
					continue // silence
				}
				at := map[string]int{"video": 11, "audio": 1}[name]
				lag = fromTicks(int64(sample.DecodeTime), rate) - time.Duration(binary.BigEndian.Uint64(sample.Data[at:]))
			}
		}
	}
	return lag
}

func onRequest(l stream.Layer) stream.Layer {
	l.OnRequest = true
	return l
}

// tags counts the lines of the last playlist with parts that begin so.
func (b *bench) tags(t *testing.T, name, prefix string) (n int) {
	t.Helper()
	o, ok := b.sink.last(storage.LowLatency, "/"+name+"/")
	if !ok {
		t.Fatalf("no playlist of %s", name)
	}
	for line := range strings.Lines(string(o.Body.Bytes())) {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// presentations returns the directories in the order of their begin.
func (b *bench) presentations() (ids []string) {
	for _, o := range b.sink.history {
		if id := strings.Split(o.Key, "/")[1]; id != playlist && (len(ids) == 0 || ids[len(ids)-1] != id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// both checks that video and audio have the same segments and discontinuities
// (specs L24, L94), and that no playlist was ever ahead of the other by more
// than a part (specs L92), and that time never goes back (specs L5, L26).
func (b *bench) both(t *testing.T) {
	t.Helper()
	video, _ := b.sink.last(storage.LowLatency, "/video/")
	audio, _ := b.sink.last(storage.LowLatency, "/audio/")
	v, a := outline(t, video), outline(t, audio)
	if strings.Join(v.shape, " ") != strings.Join(a.shape, " ") {
		t.Errorf("L24: the renditions differ:\nvideo %v\naudio %v", v.shape, a.shape)
	}
	for i := range min(len(v.dates), len(a.dates)) {
		if d := v.dates[i].Sub(a.dates[i]).Abs(); d > 130*time.Millisecond {
			t.Errorf("L94: segment %d begins at %v, of the audio at %v", i, v.dates[i], a.dates[i])
		}
	}
	for _, dates := range [][]time.Time{v.dates, a.dates} {
		for i := 1; i < len(dates); i++ {
			if dates[i].Before(dates[i-1]) {
				t.Errorf("L26: date goes back from %v to %v", dates[i-1], dates[i])
			}
		}
	}
}

// form is what outline sees in a playlist.
type form struct {
	shape []string // MSN and DISC
	dates []time.Time
	end   time.Time // of the last part
}

func outline(t *testing.T, o storage.Object) form {
	t.Helper()
	var f form
	msn := 0
	for line := range strings.Lines(string(o.Body.Bytes())) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#EXT-X-MEDIA-SEQUENCE:"):
			msn = int(number(t, strings.TrimPrefix(line, "#EXT-X-MEDIA-SEQUENCE:")))
		case line == "#EXT-X-DISCONTINUITY":
			f.shape = append(f.shape, "DISC")
		case strings.HasPrefix(line, "#EXT-X-PROGRAM-DATE-TIME:"):
			at, err := time.Parse("2006-01-02T15:04:05.000Z", strings.TrimPrefix(line, "#EXT-X-PROGRAM-DATE-TIME:"))
			if err != nil {
				t.Fatal(err)
			}
			f.dates, f.end = append(f.dates, at), at
		case strings.HasPrefix(line, "#EXT-X-PART:"):
			d := number(t, strings.TrimPrefix(strings.Split(line, ",")[0], "#EXT-X-PART:DURATION="))
			f.end = f.end.Add(time.Duration(d * float64(time.Second)))
		case strings.HasPrefix(line, "s0"):
			f.shape = append(f.shape, fmt.Sprint(msn))
			msn++
		}
	}
	return f
}

// inStep checks that at no time one rendition was ahead of the other by more
// than a part (specs L92), but for what is put at the same instant.
func (b *bench) inStep(t *testing.T, most time.Duration) {
	t.Helper()
	ends := map[string]time.Time{}
	worst := time.Duration(0)
	for i, o := range b.sink.history {
		if o.Kind == storage.LowLatency {
			ends[filepath.Dir(o.Key)] = outline(t, o).end
		}
		if i+1 < len(b.sink.history) && b.sink.history[i+1].Modified.Equal(o.Modified) || len(ends) < 2 {
			continue
		}
		var all []time.Time
		for _, end := range ends {
			all = append(all, end)
		}
		worst = max(worst, all[0].Sub(all[1]).Abs())
	}
	if worst > most {
		t.Errorf("L92: renditions were %v apart, want at most %v", worst, most)
	}
}

// scenario runs body in a bubble and checks the result.
func scenario(t *testing.T, cfg Config, body func(t *testing.T, b *bench)) *bench {
	t.Helper()
	var b *bench
	synctest.Test(t, func(t *testing.T) {
		b = setUp(t, cfg)
		body(t, b)
	})
	if t.Failed() {
		display(t, b)
	}
	return b
}

func TestFixedRate(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.report = time.Millisecond
		c.run(0, 10*time.Second)
		c.x.Close(nil)
		b.stop(t)
	})
	b.both(t)
	b.inStep(t, 550*time.Millisecond)
	if got := b.tags(t, "video", "#EXTINF:2.00000,"); got != 5 {
		t.Errorf("%d segments of 2 s, want 5", got)
	}
	if got := b.tags(t, "video", "#EXT-X-DISCONTINUITY\n") + b.tags(t, "audio", "#EXT-X-DISCONTINUITY\n"); got != 0 {
		t.Errorf("%d discontinuities, want none", got)
	}
	o, _ := b.sink.last(storage.Multivariant, "")
	for _, want := range []string{ // L74, L75, L76, L78
		`CODECS="vp09.00.40.08,Opus"`, "RESOLUTION=1280x720", "FRAME-RATE=30.000", "VIDEO-RANGE=SDR", `AUDIO="audio"`, `CHANNELS="2"`,
	} {
		if !strings.Contains(string(o.Body.Bytes()), want) {
			t.Errorf("the multivariant playlist has no %s:\n%s", want, o.Body.Bytes())
		}
	}
	for name, hole := range map[string]int64{"video": 0, "audio": 0} {
		runs := b.sink.content(t, name)
		if len(runs) != 1 {
			t.Fatalf("%d runs of %s, want 1", len(runs), name)
		}
		if s := runs[0].continuity(t, hole); s.from != 0 { // R10
			t.Errorf("%s begins at %d, want 0", name, s.from)
		}
	}
}

// TestFirstPart: how long after the first packet the stream can be played.
func TestFirstPart(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, onRequest(video("VP9")), audio()))
		c.gop, c.report = 0, time.Millisecond
		go c.heed()
		begin := time.Now()
		go func() {
			c.run(0, 5*time.Second)
			c.x.Close(nil)
		}()
		time.Sleep(600 * time.Millisecond)
		o, ok := b.sink.last(storage.Multivariant, "")
		if !ok {
			t.Errorf("no multivariant playlist within 600 ms")
		} else if d := o.Modified.Sub(begin); d > 600*time.Millisecond {
			t.Errorf("multivariant playlist after %v", d)
		}
		<-c.x.Done()
		time.Sleep(time.Second)
		b.stop(t)
	})
	b.both(t)
	b.inStep(t, 550*time.Millisecond)
	// R33: key frames come when the segment is due.
	for line := range strings.Lines(b.text(t, "video")) {
		if d, ok := strings.CutPrefix(line, "#EXTINF:"); ok {
			if f := number(t, strings.TrimSuffix(strings.TrimSpace(d), ",")); f > 2.2 {
				t.Errorf("segment of %v s, want about 2", f)
			}
		}
	}
}

func (b *bench) text(t *testing.T, name string) string {
	t.Helper()
	o, ok := b.sink.last(storage.LowLatency, "/"+name+"/")
	if !ok {
		t.Fatalf("no playlist of %s", name)
	}
	return string(o.Body.Bytes())
}

// TestGrace: a publisher that does not come back ends the presentation after
// the grace time (L33); its objects stay as long as they must, and then go
// (L40, L102); Run returns.
func TestGrace(t *testing.T) {
	scenario(t, Config{Grace: 20 * time.Second, Window: 10 * time.Second}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 6*time.Second)
		c.x.Close(nil)
		time.Sleep(19 * time.Second)
		if strings.Contains(b.text(t, "video"), "ENDLIST") {
			t.Errorf("ENDLIST before the grace time was over")
		}
		// The last picture stands still, in real time.
		if n := b.pack.Metrics().Stills.Load(); n < 35 || n > 38 {
			t.Errorf("L33, L38: %d parts with a still picture in 19 s", n)
		}
		if gaps := b.gaps(t, "video"); len(gaps) > 0 {
			t.Errorf("segments %v have no media", gaps)
		}
		time.Sleep(700 * time.Millisecond)
		hint, _ := b.sink.last(storage.LowLatency, "/video/")
		time.Sleep(1300 * time.Millisecond)
		for _, name := range []string{"video", "audio"} {
			if !strings.Contains(b.text(t, name), "#EXT-X-ENDLIST") || b.tags(t, name, "#EXT-X-PRELOAD-HINT") > 0 {
				t.Errorf("L32: %s does not end as it should", name)
			}
		}
		if _, ok := b.sink.gone(hint.Position.Hint); !ok {
			t.Errorf("L32: who waits for %s is not released", hint.Position.Hint)
		}
		if err := <-b.done; err != nil {
			t.Fatal(err)
		}
		if kept := b.sink.kept(); len(kept) > 0 {
			t.Errorf("objects were left over: %v", kept)
		}
		for _, o := range b.sink.history {
			at, _ := b.sink.gone(o.Key)
			if gone := at.Sub(o.Modified); o.Kind == storage.Segment && gone < 12*time.Second {
				t.Errorf("L40: %s was deleted after %v", o.Key, gone)
			}
		}
		b.check(t)
	})
}

// TestReturn: the publisher comes back within the grace time: one discontinuity
// in every rendition, and numbers and times go on (L22, L24, L33, R7).
func TestReturn(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 5*time.Second)
		c.x.Close(nil)
		time.Sleep(7 * time.Second)
		d := newCamera(b.publish(t, video("VP9"), audio()))
		d.videoBase, d.audioBase = 77, 1<<31
		d.run(0, 5*time.Second)
		d.x.Close(nil)
		time.Sleep(time.Second)
		b.stop(t)
	})
	b.both(t)
	for _, name := range []string{"video", "audio"} {
		if n := b.tags(t, name, "#EXT-X-DISCONTINUITY\n"); n != 1 {
			t.Errorf("L24: %d discontinuities in %s, want 1", n, name)
		}
		runs := b.sink.content(t, name)
		if len(runs) != 2 {
			t.Fatalf("%d runs of %s, want 2", len(runs), name)
		}
		rate := map[string]int64{"video": 90000, "audio": 48000}[name]
		first, second := runs[0].continuity(t, 0), runs[1].continuity(t, 0)
		if gap := fromTicks(second.from-first.to, rate); gap < 0 || gap > 25*time.Millisecond {
			t.Errorf("L5: %s goes on %v after its end, want at once", name, gap)
		}
		if at := fromTicks(second.from, rate); at < 11900*time.Millisecond || at > 12100*time.Millisecond {
			t.Errorf("R7: %s goes on at %v, want 12 s", name, at)
		}
	}
	if len(b.presentations()) != 1 {
		t.Errorf("presentations %v, want one", b.presentations())
	}
	if maps := strings.Count(b.text(t, "video"), "#EXT-X-MAP"); maps != 2 {
		t.Errorf("L22: %d maps, want one at the beginning and one after the discontinuity", maps)
	}
}

// TestTakeOver: a new session of the same publisher takes over at once.
func TestTakeOver(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		go c.run(0, 30*time.Second)
		time.Sleep(5 * time.Second)
		d := newCamera(b.publish(t, video("VP9"), audio()))
		d.run(0, 5*time.Second)
		d.x.Close(nil)
		time.Sleep(30 * time.Second)
		b.stop(t)
	})
	b.both(t)
	if n := b.tags(t, "audio", "#EXT-X-DISCONTINUITY\n"); n != 1 {
		t.Errorf("L24: %d discontinuities, want 1", n)
	}
}

// TestParams: the picture's size changes (R18, R19, L21–L23).
func TestParams(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 5*time.Second)
		c.width, c.height = 640, 360
		c.run(5*time.Second, 5*time.Second)
		c.x.Close(nil)
		time.Sleep(time.Second)
		b.stop(t)
	})
	b.both(t)
	for _, name := range []string{"video", "audio"} {
		if n := b.tags(t, name, "#EXT-X-DISCONTINUITY\n"); n != 1 {
			t.Errorf("L24: %d discontinuities in %s, want 1", n, name)
		}
	}
	inits := map[string]int{}
	for _, o := range b.sink.history {
		if o.Kind == storage.Init {
			inits[strings.Split(o.Key, "/")[2]]++
		}
	}
	if inits["video"] != 2 || inits["audio"] != 1 {
		t.Errorf("L22: init segments %v, want 2 of the video and 1 of the audio", inits)
	}
	// The time line goes on: nothing was lost.
	runs := b.sink.content(t, "video")
	if a, z := runs[0].continuity(t, 0), runs[1].continuity(t, 0); a.to != z.from {
		t.Errorf("L5: the first run ends at %d, the second begins at %d", a.to, z.from)
	}
}

// TestTracksChange: another set of tracks needs another presentation (L34).
func TestTracksChange(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9")))
		c.audio = false
		c.run(0, 4*time.Second)
		c.x.Close(nil)
		d := newCamera(b.publish(t, video("VP9"), audio()))
		d.run(0, 4*time.Second)
		d.x.Close(nil)
		time.Sleep(time.Second)
		b.stop(t)
	})
	if ids := b.presentations(); len(ids) != 2 || ids[0] >= ids[1] {
		t.Fatalf("presentations %v, want two, rising", ids)
	}
	old, _ := b.sink.last(storage.LowLatency, b.presentations()[0])
	if !old.Position.Ended {
		t.Errorf("the first presentation was not ended")
	}
}

func TestAudioOnly(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, audio()))
		c.video = false
		c.run(0, 10*time.Second)
		c.x.Close(nil)
		time.Sleep(time.Second)
		b.stop(t)
	})
	if n := b.tags(t, "audio", "#EXTINF:2.00000,"); n != 5 {
		t.Errorf("%d segments of 2 s, want 5", n)
	}
	o, _ := b.sink.last(storage.Multivariant, "")
	if text := string(o.Body.Bytes()); !strings.Contains(text, `CODECS="Opus"`) || strings.Contains(text, "EXT-X-MEDIA") {
		t.Errorf("multivariant playlist of audio alone:\n%s", text)
	}
}

// TestAudioOnlyOutage: audio alone pauses for 300 ms, 1.2 s and 20 s.
func TestAudioOnlyOutage(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, audio()))
		c.video = false
		at := time.Duration(0)
		for _, pause := range []time.Duration{300 * time.Millisecond, 1200 * time.Millisecond, 20 * time.Second, 0} {
			c.run(at, 3*time.Second)
			time.Sleep(pause)
			at += 3*time.Second + pause
		}
		c.x.Close(nil)
		time.Sleep(time.Second)
		b.stop(t)
	})
	if n := b.tags(t, "audio", "#EXT-X-DISCONTINUITY\n"); n != 1 { // R11
		t.Errorf("%d discontinuities, want 1 after 20 s", n)
	}
	if gaps := b.gaps(t, "audio"); len(gaps) > 0 {
		t.Errorf("L27: segments %v have no media, want silence", gaps)
	}
	runs := b.sink.content(t, "audio")
	if len(runs) != 2 {
		t.Fatalf("%d runs, want 2", len(runs))
	}
	first, second := runs[0].continuity(t, opusRate), runs[1].continuity(t, 0)
	if gap := fromTicks(second.from-first.to, opusRate); gap < 0 || gap > 10*time.Millisecond {
		t.Errorf("%v between the runs, want none", gap)
	}
}

func TestVideoOnly(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9")))
		c.audio = false
		c.run(0, 10*time.Second)
		c.x.Close(nil)
		time.Sleep(time.Second)
		b.stop(t)
	})
	if n := b.tags(t, "video", "#EXTINF:2.00000,"); n != 5 {
		t.Errorf("%d segments of 2 s, want 5", n)
	}
	if n := b.tags(t, "video", "#EXT-X-RENDITION-REPORT"); n != 0 {
		t.Errorf("%d rendition reports, want none", n)
	}
}

// TestSilence: the audio comes late, stops, comes back, or never comes (R47).
func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		name        string
		from, until time.Duration
	}{
		{"late", 3 * time.Second, math.MaxInt64},
		{"stops", 0, 3 * time.Second},
		{"between", 2 * time.Second, 4 * time.Second},
		{"never", time.Hour, math.MaxInt64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := scenario(t, Config{}, func(t *testing.T, b *bench) {
				c := newCamera(b.publish(t, video("VP9"), audio()))
				c.audioFrom, c.audioUntil = tt.from, tt.until
				c.run(0, 8*time.Second)
				c.x.Close(nil)
				time.Sleep(time.Second)
				b.stop(t)
			})
			b.both(t)
			b.inStep(t, 1100*time.Millisecond)
			runs := b.sink.content(t, "audio")
			if len(runs) != 1 {
				t.Fatalf("%d runs, want 1", len(runs))
			}
			if s := runs[0].continuity(t, 0); s.from != 0 || fromTicks(s.to, opusRate) < 7900*time.Millisecond {
				t.Errorf("audio from %d to %d, want all of 8 s", s.from, s.to)
			}
		})
	}
}

// TestSync: the audio arrives 80 or 250 ms later than the video of the same
// instant. Sender reports tell, soon or late (R1, R3, R52).
func TestSync(t *testing.T) {
	for _, tt := range []struct {
		name         string
		skew, report time.Duration
	}{
		{"none", 0, time.Millisecond},
		{"reports at once", 80 * time.Millisecond, time.Millisecond},
		{"late, slewed", 80 * time.Millisecond, 3 * time.Second},
		{"late, stepped", 250 * time.Millisecond, 3 * time.Second},
		{"late, stepped back", -250 * time.Millisecond, 3 * time.Second},
		{"late, slewed back", -80 * time.Millisecond, 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var off time.Duration
			b := scenario(t, Config{}, func(t *testing.T, b *bench) {
				c := newCamera(b.publish(t, video("VP9"), audio()))
				c.skew, c.report = tt.skew, tt.report
				c.run(0, 8*time.Second)
				c.x.Close(nil)
				time.Sleep(time.Second)
				b.stop(t)
			})
			b.both(t)
			for _, run := range b.sink.content(t, "audio") {
				run.continuity(t, 0)
			}
			off = b.lag(t, "audio", opusRate) - b.lag(t, "video", videoRate)
			if off.Abs() > 40*time.Millisecond {
				t.Errorf("R52: audio and video are %v apart at the end, want at most 40 ms", off)
			}
		})
	}
}

// TestSlip: the sender's microphone stands still for a while, and its clock with it. The
// sound is heard again soon: long before its reports, which contradict those of before,
// are believed (R4), or without any.
func TestSlip(t *testing.T) {
	for _, report := range []time.Duration{0, time.Millisecond} {
		t.Run(report.String(), func(t *testing.T) {
			const stood = 1500 * time.Millisecond
			b := scenario(t, Config{}, func(t *testing.T, b *bench) {
				c := newCamera(b.publish(t, video("VP9"), audio()))
				c.report = report
				c.run(0, 6*time.Second)
				c.slip, c.audioFrom = stood, stood
				before := b.pack.Metrics().Silence.Load()
				c.run(6*time.Second, 9*time.Second)
				made := b.pack.Metrics().Silence.Load() - before
				if made < 60 || made > 150 {
					t.Errorf("%d frames of silence in 9 s after a pause of 75", made)
				}
				c.x.Close(nil)
				time.Sleep(time.Second)
				b.stop(t)
			})
			b.both(t)
			for _, run := range b.sink.content(t, "audio") {
				run.continuity(t, 0)
			}
			if off := b.lag(t, "audio", opusRate) - b.lag(t, "video", videoRate); off.Abs() > 100*time.Millisecond {
				t.Errorf("R52: audio and video are %v apart at the end, want at most 100 ms", off)
			}
		})
	}
}

// TestBehind: sound that is a quarter of a second behind the picture, as its reports say,
// has a hole. It is heard again soon after, though silence in a hole is less behind.
func TestBehind(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.report, c.skew = time.Millisecond, 250*time.Millisecond
		c.run(0, 6*time.Second)
		c.audioFrom = 700 * time.Millisecond
		before := b.pack.Metrics().Silence.Load()
		c.run(6*time.Second, 9*time.Second)
		if made := b.pack.Metrics().Silence.Load() - before; made < 30 || made > 130 {
			t.Errorf("%d frames of silence in 9 s with a hole of 35", made)
		}
		c.x.Close(nil)
		time.Sleep(time.Second)
		b.stop(t)
	})
	b.both(t)
	for _, run := range b.sink.content(t, "audio") {
		run.continuity(t, 0)
	}
	if off := b.lag(t, "audio", opusRate) - b.lag(t, "video", videoRate); off.Abs() > 40*time.Millisecond {
		t.Errorf("R52: audio and video are %v apart at the end, want at most 40 ms", off)
	}
}

// TestStall: packets stop for a while, the session stays (R30, R31, L38).
func TestStall(t *testing.T) {
	for _, tt := range []struct {
		pause  time.Duration
		stills int // parts with a still picture, at least
		breaks int // the clock has jumped by more than 10 s (R11)
	}{
		{200 * time.Millisecond, 0, 0},
		{800 * time.Millisecond, 0, 0},
		{5 * time.Second, 4, 0},
		{30 * time.Second, 52, 1},
	} {
		t.Run(tt.pause.String(), func(t *testing.T) {
			b := scenario(t, Config{}, func(t *testing.T, b *bench) {
				c := newCamera(b.publish(t, onRequest(video("VP9")), audio()))
				c.gop = 0
				go c.heed()
				c.run(0, 4500*time.Millisecond)
				time.Sleep(tt.pause)
				c.run(4500*time.Millisecond+tt.pause, 4500*time.Millisecond)
				c.x.Close(nil)
				time.Sleep(time.Second)
				b.stop(t)
			})
			b.both(t)
			if n := b.tags(t, "video", "#EXT-X-DISCONTINUITY\n"); n != tt.breaks {
				t.Errorf("%d discontinuities, want %d", n, tt.breaks)
			}
			if n := int(b.pack.Metrics().Stills.Load()); n < tt.stills || tt.stills == 0 && n > 3 {
				t.Errorf("L27: %d parts with a still picture, want at least %d", n, tt.stills)
			}
			if gaps := b.gaps(t, "video"); len(gaps) > 0 {
				t.Errorf("L27: segments %v have no media", gaps)
			}
		})
	}
}

// TestLongerGOP: the distance of key frames grows beyond what the presentation
// allows (R36): it ends, and one with a longer target begins.
func TestLongerGOP(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.gop = 60
		c.run(0, 8*time.Second)
		c.gop = 240
		c.run(8*time.Second, 40*time.Second)
		c.x.Close(nil)
		time.Sleep(time.Second)
		b.stop(t)
	})
	ids := b.presentations()
	if len(ids) != 2 {
		t.Fatalf("presentations %v, want two", ids)
	}
	first, _ := b.sink.last(storage.LowLatency, ids[0])
	second, _ := b.sink.last(storage.LowLatency, ids[1])
	if first.Position.Target != 2*time.Second || !first.Position.Ended || second.Position.Target != 8*time.Second {
		t.Errorf("targets %v (ended: %v) and %v, want 2 s and 8 s", first.Position.Target, first.Position.Ended, second.Position.Target)
	}
	if o, _ := b.sink.last(storage.Multivariant, ""); !strings.Contains(string(o.Body.Bytes()), ids[1]) {
		t.Errorf("the multivariant playlist does not name %s", ids[1])
	}
	if n := strings.Count(b.text(t, "video"), "#EXT-X-DISCONTINUITY\n"); n != 0 {
		t.Errorf("%d discontinuities in the new presentation, want none", n)
	}
	if !strings.Contains(b.logs.String(), "set the key frame interval to 1-2 s") {
		t.Errorf("no warning: %s", b.logs)
	}
}

// TestVariableRate: 5 to 60 frames a second (L43, L44 through the whole chain).
func TestVariableRate(t *testing.T) {
	for _, slowest := range []int{20, 5, 2, 1} {
		t.Run(fmt.Sprint(slowest), func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			b := scenario(t, Config{}, func(t *testing.T, b *bench) {
				c := newCamera(b.publish(t, onRequest(video("VP9")), audio()))
				c.gop = 0
				c.every = func() time.Duration {
					return time.Second/60 + time.Duration(random.Int64N(int64(time.Second)/int64(slowest)))
				}
				go c.heed()
				c.run(0, 30*time.Second)
				c.x.Close(nil)
				time.Sleep(time.Second)
				b.stop(t)
			})
			b.both(t)
		})
	}
}

// TestStop: a graceful stop closes the last segment and ends the playlists.
func TestStop(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		go c.run(0, 10*time.Second)
		time.Sleep(5100 * time.Millisecond)
		begin := time.Now()
		b.stop(t)
		if d := time.Since(begin); d > 0 {
			t.Errorf("the stop took %v", d)
		}
		c.x.Close(nil)
		time.Sleep(10 * time.Second)
	})
	for _, name := range []string{"video", "audio"} {
		if !strings.Contains(b.text(t, name), "#EXT-X-ENDLIST") {
			t.Errorf("%s has no ENDLIST", name)
		}
	}
}

// TestRemoved: a stream that is taken out of the hub ends at once.
func TestRemoved(t *testing.T) {
	scenario(t, Config{Window: 6 * time.Second}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 4*time.Second)
		c.x.Close(nil)
		if !b.hub.Remove(b.stream) {
			t.Fatal("not removed")
		}
		time.Sleep(time.Second)
		if !strings.Contains(b.text(t, "audio"), "#EXT-X-ENDLIST") {
			t.Errorf("no ENDLIST")
		}
		if err := <-b.done; err != nil {
			t.Fatal(err)
		}
	})
}

// TestSinkFails: what the storage does not take is counted, and nobody else
// suffers.
func TestSinkFails(t *testing.T) {
	scenario(t, Config{}, func(t *testing.T, b *bench) {
		b.sink.fail = errors.New("disk full")
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 4*time.Second)
		c.x.Close(nil)
		b.cancel()
		<-b.done
		if n := strings.Count(b.logs.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors logged, want 1:\n%s", n, b.logs)
		}
		if b.pack.Metrics().SinkErrors.Load() < 10 {
			t.Errorf("%d errors counted", b.pack.Metrics().SinkErrors.Load())
		}
	})
}

// TestWindow: what leaves the window is deleted, not too early (L40, L49), and
// memory does not grow.
func TestWindow(t *testing.T) {
	scenario(t, Config{Window: 12 * time.Second}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 2*time.Minute)
		objects := b.sink.kept()
		if objects[storage.Segment] > 20 || objects[storage.Part] > 130 {
			t.Errorf("%v objects are kept for a window of 12 s", objects)
		}
		c.x.Close(nil)
		b.stop(t)
	})
}

// TestNoKeyframe: a publisher that begins in the middle is asked for a key frame
// until one comes, and a person is told (R21, R33).
func TestNoKeyframe(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		x := b.publish(t, onRequest(video("VP9")))
		var asked atomic.Int64
		go func() {
			for {
				if _, err := x.KeyframeRequest(t.Context()); err != nil {
					return
				}
				asked.Add(1)
			}
		}()
		for i := range 12 * 30 {
			x.Write(stream.LayerID{Kind: stream.Video}, stream.Packet{
				Arrival: time.Now(), Timestamp: uint32(i * 3000), Sequence: uint16(i), Marker: true, Payload: interPicture(),
			})
			time.Sleep(time.Second / 30)
		}
		if n := asked.Load(); n < 10 || n > 25 {
			t.Errorf("asked %d times in 12 s", n)
		}
		c := newCamera(x)
		c.audio, c.videoBase, c.seq = false, 12*30*3000, 12*30
		c.run(0, 4*time.Second)
		x.Close(nil)
		b.stop(t)
	})
	if n := strings.Count(b.logs.String(), "finding=no-keyframe"); n != 2 { // and once that one came
		t.Errorf("told %d times, want 2: %s", n, b.logs)
	}
	if n := b.tags(t, "video", "#EXTINF"); n != 2 {
		t.Errorf("%d segments, want 2", n)
	}
}

// TestCodecChange: a recorded OBS follows a VP9 camera: one discontinuity, a new
// init segment, and the multivariant playlist says so (L21, L22, R20).
func TestCodecChange(t *testing.T) {
	packets := recording(t, "obs-h264")
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 4*time.Second)
		c.x.Close(nil)
		time.Sleep(time.Second)
		x := b.publish(t, video("H264"), audio())
		send(x, packets)
		x.Close(nil)
		time.Sleep(time.Second)
		b.stop(t)
	})
	b.both(t)
	if n := b.tags(t, "audio", "#EXT-X-DISCONTINUITY\n"); n != 1 {
		t.Errorf("%d discontinuities, want 1", n)
	}
	runs := b.sink.content(t, "video")
	runs[len(runs)-1].decode(t)
	if o, _ := b.sink.last(storage.Multivariant, ""); !strings.Contains(string(o.Body.Bytes()), "avc1.") {
		t.Errorf("the multivariant playlist is that of the old codec:\n%s", o.Body.Bytes())
	}
}

// TestClockJump: the publisher's clock jumps by an hour (R11).
func TestClockJump(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 4*time.Second)
		c.run(time.Hour, 4*time.Second)
		c.x.Close(nil)
		b.stop(t)
	})
	b.both(t)
	for _, name := range []string{"video", "audio"} {
		runs := b.sink.content(t, name)
		if len(runs) != 2 {
			t.Fatalf("%d runs of %s, want 2", len(runs), name)
		}
		rate := map[string]int64{"video": 90000, "audio": 48000}[name]
		first, second := runs[0].continuity(t, 0), runs[1].continuity(t, 0)
		if gap := fromTicks(second.from-first.to, rate); gap < 0 || gap > time.Second {
			t.Errorf("L5: %s goes on %v after its end, want at once", name, gap)
		}
	}
}

// TestLoss: 5 % of the packets are lost and 5 % come 100 ms late (R29). What
// comes out conforms, and is complete but for the lost pictures.
func TestLoss(t *testing.T) {
	for _, name := range []string{"obs-h264", "chromium-h264"} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, 4))
			var packets []packet
			for _, p := range recording(t, name) {
				switch random.IntN(20) {
				case 0:
					continue
				case 1:
					p.after += 100 * time.Millisecond
				}
				packets = append(packets, p)
			}
			slices.SortStableFunc(packets, func(a, b packet) int { return int(a.after - b.after) })
			b := scenario(t, Config{}, func(t *testing.T, b *bench) {
				layer := video("H264")
				layer.OnRequest = name == "chromium-h264"
				x := b.publish(t, layer, audio())
				send(x, packets)
				x.Close(nil)
				time.Sleep(time.Second)
				b.stop(t)
			})
			b.both(t)
			if b.pack.Metrics().Lost.Load() == 0 || b.pack.Metrics().Damaged.Load() == 0 {
				t.Errorf("no loss was counted")
			}
		})
	}
}

// TestOtherLayers: the next publisher has other layers; the old one's is not
// read any more.
func TestOtherLayers(t *testing.T) {
	layer := func(rid string) stream.Layer {
		l := video("VP9")
		l.ID.RID = rid
		return l
	}
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		c := newCamera(b.publish(t, layer("h"), audio()))
		c.rid = "h"
		c.run(0, 4*time.Second)
		c.x.Close(nil)
		time.Sleep(time.Second)
		x := b.publish(t, layer("f"), layer("h"), audio())
		low := newCamera(x)
		low.rid, low.audio, low.width, low.height = "h", false, 640, 360
		go low.run(0, 4*time.Second)
		d := newCamera(x)
		d.rid = "f"
		d.run(0, 4*time.Second)
		x.Close(nil)
		b.stop(t)
	})
	b.both(t)
	if n := b.tags(t, "video", "#EXT-X-DISCONTINUITY\n"); n != 1 {
		t.Errorf("%d discontinuities, want 1", n)
	}
	if n := b.pack.Metrics().Dropped.Load(); n > 60 {
		t.Errorf("%d units dropped: the other layer is still read", n)
	}
	if o, _ := b.sink.last(storage.Multivariant, ""); !strings.Contains(string(o.Body.Bytes()), "1280x720") {
		t.Errorf("not the best layer:\n%s", o.Body.Bytes())
	}
}

// TestFail: what cannot be packaged is given up, and its files go.
func TestFail(t *testing.T) {
	ctx := t.Context()
	sink := newRecorder()
	r := &runner{cfg: Config{}.withDefaults(), log: slog.New(slog.DiscardHandler), metrics: &Metrics{}}
	r.out = outlet{sink: sink, log: r.log, metrics: r.metrics}
	r.present = newPresentation(r, "show", 2*time.Second, tracks{audio: true})
	for i := range 300 {
		u := &au.Unit{PTS: int64(i) * 960, DTS: int64(i) * 960, Duration: 960, Arrival: time.Now(), Key: true, Data: []byte{0xfc}}
		if i == 0 {
			if err := r.present.begin(ctx, opening{first: u.DTS, at: u.Arrival}); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.pass(ctx, &epoch{}, 0, u); err != nil {
			t.Fatal(err)
		}
	}
	r.fail(ctx, errors.New("unreadable"))
	if o, _ := sink.last(storage.LowLatency, "/audio/"); !o.Position.Ended {
		t.Errorf("the playlist does not end")
	}
	for _, key := range r.shelf.due(time.Now().Add(time.Hour)) {
		r.out.remove(ctx, key)
	}
	if kept := sink.kept(); len(kept) > 0 {
		t.Errorf("objects were left over: %v", kept)
	}
}
