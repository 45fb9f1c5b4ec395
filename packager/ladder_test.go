package packager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// floor is one layer of a simulcast camera.
type floor struct {
	rid           string
	width, height int
	base          uint32        // of its RTP clock
	delay         time.Duration // how much later than others it arrives
	gop           int           // frames between key frames; 0: on request only
	phase         int           // the first of them
	off           [][2]time.Duration
	size          func(at time.Duration) (width, height int)

	seq    uint16
	silent bool
	want   bool
	shown  [2]int
}

// sends reports whether the layer has media at a time.
func (f *floor) sends(at time.Duration) bool {
	return !slices.ContainsFunc(f.off, func(o [2]time.Duration) bool { return at >= o[0] && at < o[1] })
}

// house publishes a simulcast of synthetic pictures, 30 a second, and audio.
type house struct {
	x       *stream.Session
	floors  []*floor
	reports bool
}

// browser is like Chromium: random clocks, key frames on request, and the best
// layers come last.
func browser() []*floor {
	return []*floor{
		{rid: "f", width: 1280, height: 720, base: 0xfffff000, delay: 30 * time.Millisecond, off: [][2]time.Duration{{0, 133 * time.Millisecond}}},
		{rid: "h", width: 640, height: 360, base: 77777777, delay: 10 * time.Millisecond, off: [][2]time.Duration{{0, 133 * time.Millisecond}}},
		{rid: "q", width: 320, height: 180, base: 1 << 31},
	}
}

// studio is like OBS: one clock, key frames each second whatever is asked.
func studio() []*floor {
	return []*floor{
		{rid: "0", width: 1280, height: 720, base: 5000, delay: 20 * time.Millisecond, gop: 30},
		{rid: "1", width: 640, height: 360, base: 5000, gop: 30},
		{rid: "2", width: 320, height: 180, base: 5000, gop: 30},
	}
}

func (b *bench) build(t testing.TB, floors []*floor) *house {
	t.Helper()
	layers := make([]stream.Layer, 0, 4)
	for _, f := range floors {
		l := video("VP9")
		l.ID.RID = f.rid
		l.OnRequest = f.gop == 0
		layers = append(layers, l)
	}
	h := &house{x: b.publish(t, append(layers, audio())...), floors: floors, reports: floors[0].gop == 0}
	return h
}

// heed notes the requests for key frames: a browser answers all layers together
// at its next picture.
func (h *house) heed(ctx context.Context, asked chan<- string) {
	for {
		id, err := h.x.KeyframeRequest(ctx)
		if err != nil {
			return
		}
		asked <- id.RID
	}
}

// run publishes so much.
func (h *house) run(t testing.TB, length time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := make(chan string, 16)
	go h.heed(ctx, asked)
	begin := time.Now()
	sound := uint16(0)
	for i := 0; ; i++ {
		at := time.Duration(i) * time.Second / 30
		if at >= length {
			return
		}
		time.Sleep(time.Until(begin.Add(at - time.Millisecond)))
		synctest.Wait() // an encoder answers all layers together
		for len(asked) > 0 {
			rid := <-asked
			for _, f := range h.floors {
				f.want = f.want || f.rid == rid
			}
		}
		time.Sleep(time.Until(begin.Add(at)))
		for ; time.Duration(sound)*20*time.Millisecond <= at; sound++ {
			speak(h.x, sound, uint32(sound)*960, time.Duration(sound)*20*time.Millisecond)
		}
		if h.reports && i%30 == 5 {
			h.x.Report(stream.LayerID{Kind: stream.Audio}, ntp(at), uint32(toTicks(at, 48000)), time.Now())
		}
		for _, f := range h.floors {
			h.picture(f, i, at)
		}
	}
}

// picture sends one of a layer, later by its delay.
func (h *house) picture(f *floor, i int, at time.Duration) {
	id := stream.LayerID{Kind: stream.Video, RID: f.rid}
	if !f.sends(at) {
		f.silent = true
		return
	}
	if h.reports && i%30 == 5 {
		h.x.Report(id, ntp(at), f.base+uint32(toTicks(at, videoRate)), time.Now())
	}
	width, height := f.width, f.height
	if f.size != nil {
		width, height = f.size(at)
	}
	size := [2]int{width, height}
	key := i == 0 || f.silent || f.want && f.gop == 0 || f.gop > 0 && i%f.gop == f.phase || size != f.shown
	f.silent, f.shown = false, size
	payload := interPicture()
	if key {
		f.want = false
		payload = keyPicture(width, height)
	}
	f.seq++
	p := stream.Packet{
		Timestamp: f.base + uint32(toTicks(at, videoRate)), Sequence: f.seq, Marker: true,
		Payload: stamp(payload, 12, at),
	}
	send := func() {
		p.Arrival = time.Now()
		h.x.Write(id, p)
	}
	if f.delay == 0 {
		send()
		return
	}
	time.AfterFunc(f.delay, send)
}

// ladder runs a simulcast and checks what comes out.
func ladder(t *testing.T, cfg Config, floors []*floor, length time.Duration) *bench {
	t.Helper()
	return scenario(t, cfg, func(t *testing.T, b *bench) {
		h := b.build(t, floors)
		h.run(t, length)
		time.Sleep(100 * time.Millisecond)
		h.x.Close(nil)
		time.Sleep(200 * time.Millisecond)
		b.stop(t)
	})
}

// level checks that all renditions of the last presentation have the same media
// sequence numbers and discontinuities, and that the layers' segments begin at
// the same instant (specs L24, L91, L94).
func (b *bench) level(t *testing.T, names ...string) {
	t.Helper()
	first, ok := b.sink.last(storage.Playlist, "/"+names[0]+"/")
	if !ok {
		t.Fatalf("no playlist of %s", names[0])
	}
	want := outline(t, first)
	for _, name := range names[1:] {
		o, ok := b.sink.last(storage.Playlist, "/"+name+"/")
		if !ok {
			t.Fatalf("no playlist of %s", name)
		}
		got := outline(t, o)
		if strings.Join(got.shape, " ") != strings.Join(want.shape, " ") {
			t.Errorf("L24: the renditions differ:\n%s %v\n%s %v", names[0], want.shape, name, got.shape)
			continue
		}
		most := time.Millisecond
		if !strings.HasPrefix(name, "video") {
			most = 70 * time.Millisecond // a frame, and what AAC frames are beside them
		}
		for i := range got.dates {
			if d := got.dates[i].Sub(want.dates[i]).Abs(); d > most {
				t.Errorf("L91, L94: segment %d of %s begins %v beside that of %s", i, name, d, names[0])
			}
		}
	}
}

// gaps returns the numbers of the listed segments without media.
func (b *bench) gaps(t *testing.T, name string) (all []int) {
	t.Helper()
	o, ok := b.sink.last(storage.Playlist, "/"+name+"/")
	if !ok {
		t.Fatalf("no playlist of %s", name)
	}
	n, gap := 0, false
	for line := range strings.Lines(string(o.Body.Bytes())) {
		switch {
		case line == "#EXT-X-GAP\n":
			gap = true
		case line[0] == 's':
			if gap {
				all = append(all, n)
			}
			gap = false
			n++
		}
	}
	return all
}

func (b *bench) master(t *testing.T) string {
	t.Helper()
	o, ok := b.sink.last(storage.Multivariant, "")
	if !ok {
		t.Fatal("no multivariant playlist")
	}
	return string(o.Body.Bytes())
}

// TestLadder: a simulcast becomes one variant a layer, with a shared audio group,
// cut at the same instants (W78, R39, R40, R41, R44, L74–L78, L90, L91, L94).
func TestLadder(t *testing.T) {
	for name, floors := range map[string]func() []*floor{"browser": browser, "studio": studio} {
		t.Run(name, func(t *testing.T) {
			both := name == "browser" // AAC costs time
			cfg, audios, variants := Config{}, []string{"audio"}, 3
			wants := []string{`AUDIO="audio"`, "Opus"}
			if both {
				cfg.Audio, audios, variants = Both, append(audios, "aac"), 6
				wants = append(wants, `AUDIO="aac"`, "vp09.00.40.08,mp4a.40.2")
			}
			b := ladder(t, cfg, floors(), 12*time.Second)
			b.level(t, append([]string{"video", "video-2", "video-3"}, audios...)...)
			for _, name := range []string{"video", "video-2", "video-3"} {
				if gaps := b.gaps(t, name); len(gaps) > 0 {
					t.Errorf("segments %v of %s have no media", gaps, name)
				}
				if n := b.tags(t, name, "#EXT-X-DISCONTINUITY\n"); n > 0 {
					t.Errorf("%d discontinuities in %s", n, name)
				}
				runs := b.sink.content(t, name)
				if s := runs[0].continuity(t, 0); s.samples < 340 {
					t.Errorf("%d frames of %s, want 12 s at 30 a second", s.samples, name)
				}
			}
			text := b.master(t)
			for _, want := range append(wants,
				"RESOLUTION=1280x720", "RESOLUTION=640x360", "RESOLUTION=320x180", "SCORE=3", "SCORE=1", "FRAME-RATE=30.000",
			) {
				if !strings.Contains(text, want) {
					t.Errorf("the multivariant playlist has no %s:\n%s", want, text)
				}
			}
			if n := strings.Count(text, "#EXT-X-STREAM-INF"); n != variants {
				t.Errorf("%d variants, want %d:\n%s", n, variants, text)
			}
			if n := strings.Count(text, "SCORE="); n != variants { // L76
				t.Errorf("%d scores, want one on each variant:\n%s", n, text)
			}
			if both && strings.Index(text, `AUDIO="aac"`) > strings.Index(text, `AUDIO="audio"`) {
				t.Errorf("S36: AAC does not come first:\n%s", text)
			}
		})
	}
}

// TestLayerVanishes: a layer falls silent for some seconds and comes back: gaps in
// its rendition alone, nothing else happens (R43, L24, L27, W82).
func TestLayerVanishes(t *testing.T) {
	names := []string{"video", "video-2", "video-3"}
	for _, kind := range []string{"browser", "studio"} {
		for gone := range names {
			t.Run(fmt.Sprint(kind, " ", names[gone]), func(t *testing.T) {
				floors := map[string]func() []*floor{"browser": browser, "studio": studio}[kind]()
				floors[gone].off = append(floors[gone].off, [2]time.Duration{5 * time.Second, 12 * time.Second})
				b := ladder(t, Config{}, floors, 20*time.Second)
				b.level(t, append(names, "audio")...)
				for i, name := range names {
					gaps := b.gaps(t, name)
					if i == gone && (len(gaps) < 2 || len(gaps) > 4) || i != gone && len(gaps) > 0 {
						t.Errorf("segments %v of %s have no media", gaps, name)
					}
					if n := b.tags(t, name, "#EXT-X-DISCONTINUITY\n"); n > 0 {
						t.Errorf("%d discontinuities in %s, want none", n, name)
					}
				}
				if ids := b.presentations(); len(ids) != 1 {
					t.Errorf("presentations %v, want one", ids)
				}
			})
		}
	}
}

// TestLayerComesLate: a layer that turns up later joins with a new multivariant
// playlist; its playlist is as long as the others (R43, L90).
func TestLayerComesLate(t *testing.T) {
	floors := browser()
	floors[0].off = [][2]time.Duration{{0, 7 * time.Second}}
	b := ladder(t, Config{}, floors, 16*time.Second)
	b.level(t, "video", "video-2", "video-3", "audio")
	if gaps := b.gaps(t, "video"); len(gaps) < 3 || gaps[0] != 0 {
		t.Errorf("segments %v have no media, want those of the first 7 s", gaps)
	}
	var rows []int
	for _, o := range b.sink.history {
		if o.Kind == storage.Multivariant {
			rows = append(rows, strings.Count(string(o.Body.Bytes()), "#EXT-X-STREAM-INF"))
		}
	}
	if rows[0] != 2 || rows[len(rows)-1] != 3 {
		t.Errorf("multivariant playlists with %v variants, want 2, then 3", rows)
	}
	if n := b.tags(t, "video-2", "#EXT-X-DISCONTINUITY\n"); n > 0 {
		t.Errorf("%d discontinuities, want none", n)
	}
}

// TestLayersOutOfStep: encoders with different key frame intervals cannot be
// aligned: the best layer is left, with a warning (R42).
func TestLayersOutOfStep(t *testing.T) {
	floors := studio()
	floors[0].gop, floors[1].gop, floors[2].gop = 60, 47, 53
	floors[1].phase, floors[2].phase = 7, 11
	b := ladder(t, Config{}, floors, 20*time.Second)
	if n := strings.Count(b.master(t), "#EXT-X-STREAM-INF"); n != 1 || !strings.Contains(b.master(t), "1280x720") {
		t.Errorf("not the best layer alone:\n%s", b.master(t))
	}
	if n := strings.Count(b.logs.String(), "give all layers the same key frame interval"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, b.logs)
	}
	if gaps := b.gaps(t, "video"); len(gaps) > 0 && gaps[len(gaps)-1] > mostMisses+1 {
		t.Errorf("segments %v have no media, want none once it is alone", gaps)
	}
}

// TestLayersDrift: a browser whose layers never have their key frames together
// falls back, too (R42).
func TestLayersDrift(t *testing.T) {
	floors := browser()
	for i, f := range floors {
		f.gop, f.phase = 60, i*13
	}
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		h := b.build(t, floors)
		h.x.Close(nil)
		layers := make([]stream.Layer, 0, 4)
		for _, f := range floors {
			l := onRequest(video("VP9"))
			l.ID.RID = f.rid
			layers = append(layers, l)
		}
		h.x = b.publish(t, append(layers, audio())...)
		h.run(t, 30*time.Second)
		h.x.Close(nil)
		b.stop(t)
	})
	if n := strings.Count(b.master(t), "#EXT-X-STREAM-INF"); n != 1 {
		t.Errorf("%d variants, want the best one alone:\n%s", n, b.master(t))
	}
	if n := strings.Count(b.logs.String(), "give all layers the same key frame interval"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, b.logs)
	}
}

// TestLayersRescale: the sizes of the layers change, of all together as Chromium
// does, or of one alone: one discontinuity in every rendition (R19, R20, L21, L24).
func TestLayersRescale(t *testing.T) {
	change := func(f *floor) {
		w, h := f.width, f.height
		f.size = func(at time.Duration) (int, int) {
			if at < 7*time.Second {
				return w, h
			}
			return w * 3 / 4, h * 3 / 4
		}
	}
	for name, which := range map[string][]int{"all": {0, 1, 2}, "the best": {0}, "the smallest": {2}} {
		t.Run(name, func(t *testing.T) {
			floors := browser()
			for _, i := range which {
				change(floors[i])
			}
			b := ladder(t, Config{}, floors, 14*time.Second)
			names := []string{"video", "video-2", "video-3", "audio"}
			b.level(t, names...)
			for _, name := range names {
				if n := b.tags(t, name, "#EXT-X-DISCONTINUITY\n"); n != 1 {
					t.Errorf("L24: %d discontinuities in %s, want 1", n, name)
				}
			}
			for i, name := range names[:3] {
				inits := map[string]bool{}
				for _, o := range b.sink.history {
					if o.Kind == storage.Init && strings.Contains(o.Key, "/"+name+"/") {
						inits[o.Key] = true
					}
				}
				want := 1
				if slices.Contains(which, i) {
					want = 2
				}
				if len(inits) != want {
					t.Errorf("L22: %d init segments of %s, want %d", len(inits), name, want)
				}
				if gaps := b.gaps(t, name); len(gaps) > 1 {
					t.Errorf("segments %v of %s have no media", gaps, name)
				}
			}
		})
	}
}

// TestLadderReturns: the publisher of a simulcast drops and returns, with as many
// layers, fewer, or one: the same playlists go on (L33, L24, R18).
func TestLadderReturns(t *testing.T) {
	for _, layers := range []int{3, 2, 1} {
		t.Run(fmt.Sprint(layers), func(t *testing.T) {
			b := scenario(t, Config{}, func(t *testing.T, b *bench) {
				h := b.build(t, browser())
				h.run(t, 5*time.Second)
				h.x.Close(nil)
				time.Sleep(7 * time.Second)
				h = b.build(t, browser()[:layers])
				h.run(t, 7*time.Second)
				h.x.Close(nil)
				time.Sleep(200 * time.Millisecond)
				b.stop(t)
			})
			names := []string{"video", "video-2", "video-3", "audio"}
			b.level(t, names...)
			for i, name := range names {
				if n := b.tags(t, name, "#EXT-X-DISCONTINUITY\n"); n != 1 {
					t.Errorf("L24: %d discontinuities in %s, want 1", n, name)
				}
				if gaps := b.gaps(t, name); i < layers && len(gaps) > 5 {
					t.Errorf("segments %v of %s have no media", gaps, name)
				}
			}
			if ids := b.presentations(); len(ids) != 1 {
				t.Errorf("presentations %v, want one", ids)
			}
		})
	}
}

// TestRecordedSimulcasts: what Chromium and OBS sent becomes a ladder that FFmpeg
// decodes (R5, R40, R41).
func TestRecordedSimulcasts(t *testing.T) {
	for name, rids := range map[string][]string{"chromium-h264": {"f", "h", "q"}, "obs-h264": {"0", "1", "2"}} {
		t.Run(name, func(t *testing.T) {
			var all []packet
			for _, rid := range append(rids, "audio") {
				for _, p := range recording(t, name+"-simulcast-"+rid) {
					if rid != "audio" {
						p.rid = rid
					}
					all = append(all, p)
				}
			}
			slices.SortStableFunc(all, func(a, b packet) int { return int(a.after - b.after) })
			var b *bench
			synctest.Test(t, func(t *testing.T) {
				b = setUp(t, Config{})
				var layers []stream.Layer
				for _, rid := range rids {
					l := video("H264")
					l.ID.RID, l.OnRequest = rid, name == "chromium-h264"
					layers = append(layers, l)
				}
				x := b.publish(t, append(layers, audio())...)
				send(x, all)
				x.Close(nil)
				time.Sleep(200 * time.Millisecond)
				b.stop(t)
			})
			names := []string{"video", "video-2", "video-3"}
			b.level(t, append(names, "audio")...)
			for _, name := range names {
				// OBS' media ran at half speed: its last segment is what is missing then.
				if gaps := b.gaps(t, name); len(gaps) > 0 && gaps[0] < 2 {
					t.Errorf("segments %v of %s have no media", gaps, name)
				}
				for _, run := range b.sink.content(t, name) {
					run.decode(t)
				}
			}
			if n := strings.Count(b.master(t), "#EXT-X-STREAM-INF"); n != 3 {
				t.Errorf("%d variants, want 3:\n%s", n, b.master(t))
			}
			if t.Failed() {
				display(t, b)
			}
		})
	}
}
