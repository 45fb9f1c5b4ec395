package packager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/whipcast/whipcast/packager/fmp4"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// ranges returns the date ranges of the newest playlist, line by line.
func (b *bench) ranges(t *testing.T, kind storage.Kind, name string) (lines []string) {
	t.Helper()
	o, ok := b.sink.last(kind, "/"+name+"/")
	if !ok {
		t.Fatalf("no playlist of %s", name)
	}
	for line := range strings.Lines(string(o.Body.Bytes())) {
		if strings.HasPrefix(line, "#EXT-X-DATERANGE:") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// equal checks that all renditions have the same date ranges, with these IDs
// (specs L90).
func (b *bench) equal(t *testing.T, names []string, ids ...string) {
	t.Helper()
	first := b.ranges(t, storage.LowLatency, names[0])
	for _, name := range names[1:] {
		if got := b.ranges(t, storage.LowLatency, name); !slices.Equal(got, first) {
			t.Errorf("L90: %s has\n%s\n%s has\n%s", names[0], strings.Join(first, "\n"), name, strings.Join(got, "\n"))
		}
	}
	var got []string
	for _, line := range first {
		id, _, _ := strings.Cut(strings.TrimPrefix(line, `#EXT-X-DATERANGE:ID="`), `"`)
		got = append(got, id)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("date ranges %v, want %v", got, ids)
	}
}

// must fails the test unless what was asked was done.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// wants fails the test unless err is of that kind.
func wants(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error %v, want %v", err, kind)
	}
}

var spliceOut, spliceIn = []byte{0xfc, 0x30, 1}, []byte{0xfc, 0x30, 2}

// start publishes in the background; the returned function waits for its end.
func (h *house) start(t *testing.T, length time.Duration) func() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.run(t, length)
	}()
	return func() { <-done }
}

// TestMarks: date ranges are the same in all renditions, also in those that come
// late, and go when their time has left the playlist (L30, L31, L90, L110).
func TestMarks(t *testing.T) {
	names := []string{"video", "video-2", "video-3", "audio"}
	floors := studio()
	floors[0].off = [][2]time.Duration{{0, 8 * time.Second}} // joins when ranges are listed
	scenario(t, Config{Window: 12 * time.Second}, func(t *testing.T, b *bench) {
		ctx, mark := t.Context(), func(d hls.DateRange) error { return b.pack.Mark(t.Context(), "show", d) }
		h := b.build(t, floors)
		wait := h.start(t, 45*time.Second)
		begin := time.Now()
		time.Sleep(5 * time.Second)
		wants(t, b.pack.Mark(ctx, "other", hls.Marker("x", "", time.Time{})), ErrUnknown)
		must(t, mark(hls.Marker("goal", "com.example.goal", time.Time{}, hls.Attribute{Name: "X-TEAM", Text: "home"})))
		must(t, mark(hls.SpliceOut("ad", time.Time{}, 4*time.Second, spliceOut)))
		b.equal(t, names[1:], "goal", "ad")
		edge := b.edge(t, "video-2")
		if d := edge.Sub(b.starts(t, "goal")); d < -600*time.Millisecond || d > 200*time.Millisecond { // the open part is not listed
			t.Errorf("a marker without a time is %v before the playlist's end", d)
		}

		// What was said cannot be changed, in any rendition.
		wants(t, mark(hls.DateRange{ID: "goal", Class: "com.example.foul"}), hls.ErrDateRangeConflict)
		wants(t, mark(hls.DateRange{ID: "bad id\n"}), hls.ErrDateRange)
		wants(t, mark(hls.SpliceIn("nothing", time.Time{}, spliceIn)), hls.ErrDateRange)
		wants(t, b.pack.RemoveMark(ctx, "show", "nothing"), hls.ErrDateRange)
		b.equal(t, names[1:], "goal", "ad")

		time.Sleep(4 * time.Second)
		wants(t, b.pack.RemoveMark(ctx, "show", "goal"), hls.ErrDateRangeConflict)
		must(t, mark(hls.SpliceIn("ad", time.Time{}, spliceIn)))
		later := hls.Interstitial{ID: "break", Start: begin.Add(20 * time.Second), AssetURI: "https://ads.example.com/a.m3u8", SnapOut: true}
		d, err := later.DateRange()
		must(t, err)
		must(t, mark(d))
		soon := hls.Marker("soon", "", begin.Add(time.Hour))
		must(t, mark(soon))
		time.Sleep(time.Second)
		b.equal(t, names, "goal", "ad", "ad", "break", "soon") // the late one, too
		must(t, b.pack.RemoveMark(ctx, "show", "soon"))
		wants(t, mark(soon), hls.ErrDateRangeConflict) // L31: never the same ID
		b.equal(t, names, "goal", "ad", "ad", "break")

		time.Sleep(5 * time.Second) // 15 s: the instant at 5 s is still listed
		b.equal(t, names, "goal", "ad", "ad", "break")
		time.Sleep(6 * time.Second) // the window has left it
		b.equal(t, names, "ad", "ad", "break")
		time.Sleep(5 * time.Second)
		b.equal(t, names, "break")
		if got := b.ranges(t, storage.Playlist, "audio"); len(got) != 1 {
			t.Errorf("the plain playlist has %v", got)
		}
		time.Sleep(12 * time.Second)
		b.equal(t, names)
		wait()
		h.x.Close(nil)
		time.Sleep(100 * time.Millisecond)
		b.stop(t)
		wants(t, mark(soon), ErrUnknown)
	})
}

// edge is the program date-time of a playlist's end.
func (b *bench) edge(t *testing.T, name string) time.Time {
	t.Helper()
	o, _ := b.sink.last(storage.LowLatency, "/"+name+"/")
	return outline(t, o).end
}

// starts is the START-DATE of a date range.
func (b *bench) starts(t *testing.T, id string) time.Time {
	t.Helper()
	for _, line := range b.ranges(t, storage.LowLatency, "audio") {
		if strings.Contains(line, `ID="`+id+`"`) {
			_, after, _ := strings.Cut(line, `START-DATE="`)
			text, _, _ := strings.Cut(after, `"`)
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
	}
	t.Fatalf("no date range %s", id)
	return time.Time{}
}

// TestMarksStay: ranges outlive the publisher, and what is open goes on in the
// presentation that follows when the tracks change (L31, L90, L110).
func TestMarksStay(t *testing.T) {
	scenario(t, Config{Window: 30 * time.Second}, func(t *testing.T, b *bench) {
		mark := func(d hls.DateRange) error { return b.pack.Mark(t.Context(), "show", d) }
		synctest.Wait() // it runs
		wants(t, mark(hls.Marker("early", "", time.Time{})), ErrIdle)
		c := newCamera(b.publish(t, video("VP9"), audio()))
		go c.run(0, 5*time.Second)
		time.Sleep(4 * time.Second)
		must(t, mark(hls.Marker("goal", "", time.Time{})))
		must(t, mark(hls.SpliceOut("ad", time.Time{}, 0, spliceOut)))
		time.Sleep(1100 * time.Millisecond)
		c.x.Close(nil)
		time.Sleep(3 * time.Second) // nobody publishes
		must(t, mark(hls.Marker("pause", "", time.Time{})))
		time.Sleep(4 * time.Second)
		d := newCamera(b.publish(t, video("VP9"), audio()))
		d.run(0, 5*time.Second)
		both := []string{"video", "audio"}
		b.equal(t, both, "goal", "ad", "pause")
		d.x.Close(nil)
		time.Sleep(time.Second)

		e := newCamera(b.publish(t, audio()))
		e.video = false
		go e.run(0, 6*time.Second)
		time.Sleep(3 * time.Second)
		b.equal(t, []string{"audio"}, "ad")
		must(t, mark(hls.SpliceIn("ad", time.Time{}, spliceIn)))
		b.equal(t, []string{"audio"}, "ad", "ad")
		time.Sleep(4 * time.Second)
		e.x.Close(nil)
		b.stop(t)
	})
}

// TestMarksOverRestart: the program is killed right after a range was listed, and
// started again (L31, L90).
func TestMarksOverRestart(t *testing.T) {
	names := []string{"video", "video-2", "video-3", "audio"}
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Ledger: newNotebook()}
		first := setUp(t, cfg)
		h := first.build(t, studio())
		wait := h.start(t, 9300*time.Millisecond)
		time.Sleep(5 * time.Second)
		gone := hls.Marker("gone", "", time.Now().Add(time.Hour))
		must(t, first.pack.Mark(t.Context(), "show", gone))
		must(t, first.pack.RemoveMark(t.Context(), "show", "gone"))
		wait()
		must(t, first.pack.Mark(t.Context(), "show", hls.SpliceOut("ad", time.Time{}, 0, spliceOut)))
		must(t, first.pack.Send(t.Context(), "show", Metadata{Label: "x", Text: "before"}))
		time.Sleep(time.Second)
		second := first.restarted(t, cfg, (*notebook).copied)
		h.x.Close(nil)
		time.Sleep(2 * time.Second)
		h = second.build(t, studio())
		wait = h.start(t, 7*time.Second)
		time.Sleep(3 * time.Second)
		second.equal(t, names, "ad")
		wants(t, second.pack.Mark(t.Context(), "show", gone), hls.ErrDateRangeConflict)
		must(t, second.pack.Mark(t.Context(), "show", hls.SpliceIn("ad", time.Time{}, spliceIn)))
		must(t, second.pack.Send(t.Context(), "show", Metadata{Label: "x", Text: "after"}))
		second.equal(t, names, "ad", "ad")
		wait()
		h.x.Close(nil)
		time.Sleep(100 * time.Millisecond)
		second.cancel()
		<-second.done
		second.check(t)
		before, after := first.events(t, "video"), second.events(t, "video")
		if len(before) != 1 || len(after) != 1 || before[0].id >= after[0].id {
			t.Errorf("events %v before and %v after, want one each, with rising IDs", before, after)
		}
	})
}

// told is an event as a player finds it.
type told struct {
	id   uint32
	at   time.Duration
	text string // the tag
}

// events returns the events of all parts of a rendition. Each must lie in the
// part that has it.
func (b *bench) events(t *testing.T, name string) (all []told) {
	t.Helper()
	timescale := uint32(0)
	for _, o := range b.sink.history {
		if !strings.Contains(o.Key, "/"+name+"/") || o.Kind != storage.Part && o.Kind != storage.Init {
			continue
		}
		f, err := mp4.DecodeFile(bytes.NewReader(o.Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if o.Kind == storage.Init {
			timescale = f.Init.Moov.Trak.Mdia.Mdhd.Timescale
			continue
		}
		fragment := f.Segments[0].Fragments[0]
		begin := fragment.Moof.Traf.Tfdt.BaseMediaDecodeTime()
		end := begin
		for _, s := range fragment.Moof.Traf.Trun.Samples {
			if s.Dur == 0 {
				s.Dur = fragment.Moof.Traf.Tfhd.DefaultSampleDuration
			}
			end += uint64(s.Dur)
		}
		for _, e := range emsgs(t, o.Body.Bytes()) {
			if e.TimeScale != timescale || e.PresentationTime < begin || e.PresentationTime >= end {
				t.Errorf("%s: event at %d/%d in a part from %d to %d", o.Key, e.PresentationTime, e.TimeScale, begin, end)
			}
			all = append(all, told{e.ID, fromTicks(int64(e.PresentationTime), int64(e.TimeScale)), string(e.MessageData)})
		}
	}
	return all
}

// emsgs reads the boxes in front of the moof.
func emsgs(t *testing.T, part []byte) (all []*mp4.EmsgBox) {
	t.Helper()
	r := bytes.NewReader(part)
	for at := uint64(0); r.Len() > 0; {
		box, err := mp4.DecodeBox(at, r)
		if err != nil {
			t.Fatal(err)
		}
		at += box.Size()
		if e, ok := box.(*mp4.EmsgBox); ok {
			all = append(all, e)
		}
	}
	return all
}

// TestSend: messages are in all renditions at the same time with the same ID, each
// once, in the part of its time, at segment borders too.
func TestSend(t *testing.T) {
	for name, floors := range map[string]func() []*floor{"studio": studio, "browser": browser} {
		t.Run(name, func(t *testing.T) {
			names, cfg := []string{"video", "video-2", "video-3", "audio"}, Config{}
			if name == "browser" { // AAC costs time
				names, cfg.Audio = append(names, "aac"), Both
			}
			var captured []time.Duration
			b := scenario(t, cfg, func(t *testing.T, b *bench) {
				h := b.build(t, floors())
				wait := h.start(t, 14*time.Second)
				time.Sleep(5 * time.Second) // all layers are there
				zero := b.zero(t)
				for i := range 70 { // through several segments
					m := Metadata{Label: "chat", Text: fmt.Sprint(i)}
					if i%2 == 1 {
						m.Bytes, m.At = []byte{byte(i)}, time.Now()
					}
					must(t, b.pack.Send(t.Context(), "show", m))
					captured = append(captured, time.Since(zero))
					time.Sleep(97 * time.Millisecond)
				}
				wait()
				h.x.Close(nil)
				time.Sleep(100 * time.Millisecond)
				b.stop(t)
			})
			b.level(t, names...)
			first := b.events(t, names[0])
			if len(first) != len(captured) {
				t.Fatalf("%d events, want %d", len(first), len(captured))
			}
			ids := map[uint32]bool{}
			for i, e := range first {
				ids[e.id] = true
				if d := e.at - captured[i]; d < -150*time.Millisecond || d > 600*time.Millisecond {
					t.Errorf("event %d is %v beside its time", i, d)
				}
			}
			if len(ids) != len(first) {
				t.Errorf("%d IDs of %d events", len(ids), len(first))
			}
			for _, name := range names[1:] {
				if got := b.events(t, name); !slices.Equal(got, first) {
					t.Errorf("%s has other events:\n%v\nwant\n%v", name, got, first)
				}
			}
			tag, err := fmp4.ID3(fmp4.ID3Text("chat", "0"))
			if err != nil || first[0].text != string(tag) {
				t.Errorf("got %q, want %q", first[0].text, tag)
			}
		})
	}
}

// zero is the program date-time of presentation time 0.
func (b *bench) zero(t *testing.T) time.Time {
	t.Helper()
	o, _ := b.sink.last(storage.LowLatency, "/audio/")
	f := outline(t, o)
	if !strings.Contains(string(o.Body.Bytes()), "#EXT-X-MEDIA-SEQUENCE:1\n") {
		t.Fatal("the first segment has left")
	}
	return f.dates[0]
}

// TestSendAt: a message waits for its time, what is late is due at once, and what
// cannot be is refused.
func TestSendAt(t *testing.T) {
	var zero time.Time
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		send := func(m Metadata) error { return b.pack.Send(t.Context(), "show", m) }
		synctest.Wait() // it runs
		wants(t, send(Metadata{Label: "x", Text: "early"}), ErrIdle)
		c := newCamera(b.publish(t, video("VP9"), audio()))
		go c.run(0, 10*time.Second)
		time.Sleep(3 * time.Second)
		zero = b.zero(t)
		must(t, send(Metadata{Label: "x", Text: "b", At: zero.Add(6 * time.Second)})) // a boundary
		must(t, send(Metadata{Label: "x", Text: "a", At: zero.Add(4321 * time.Millisecond)}))
		must(t, send(Metadata{Label: "x", Text: "late", At: zero.Add(-time.Hour)}))
		wants(t, send(Metadata{Label: "x", Text: "far", At: zero.Add(time.Hour)}), ErrMetadata)
		wants(t, send(Metadata{Label: "x", Text: "zero\x00"}), fmp4.ErrID3)
		wants(t, send(Metadata{Bytes: []byte{1}}), fmp4.ErrID3)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.pack.Send(over, "show", Metadata{}); err != nil {
			wants(t, err, context.Canceled)
		}
		for range mostEvents - 3 {
			if err := send(Metadata{Label: "x", Text: "flood", At: zero.Add(8 * time.Second)}); err != nil {
				wants(t, err, ErrMetadata)
			}
		}
		wants(t, send(Metadata{Label: "x", Text: "flood", At: zero.Add(8 * time.Second)}), ErrMetadata)
		time.Sleep(8 * time.Second)
		c.x.Close(nil)
		b.stop(t)
	})
	b.both(t)
	video := b.events(t, "video")
	if audio := b.events(t, "audio"); !slices.Equal(video, audio) {
		t.Errorf("the renditions have other events:\n%v\n%v", video, audio)
	}
	at := map[string]time.Duration{}
	for _, e := range video {
		at[e.text[len(e.text)-4:]] = e.at
	}
	want := map[string]time.Duration{"\x03x\x00a": 4321 * time.Millisecond, "\x03x\x00b": 6 * time.Second}
	for _, text := range slices.Sorted(maps.Keys(want)) {
		if at[text] != want[text] {
			t.Errorf("%q is at %v, want %v", text, at[text], want[text])
		}
	}
	if late := at["late"]; late < 2*time.Second || late > 3600*time.Millisecond {
		t.Errorf("what is late is at %v, want the open part at 3 s", late)
	}
}

// TestSendWithoutLayer: a layer that comes late or was away has no old messages.
func TestSendWithoutLayer(t *testing.T) {
	floors := studio()
	floors[0].off = [][2]time.Duration{{0, 9 * time.Second}}
	floors[1].off = [][2]time.Duration{{4 * time.Second, 18 * time.Second}}
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		h := b.build(t, floors)
		wait := h.start(t, 24*time.Second)
		time.Sleep(4500 * time.Millisecond)
		for range 34 {
			must(t, b.pack.Send(t.Context(), "show", Metadata{Label: "x", Text: "y"}))
			time.Sleep(500 * time.Millisecond)
		}
		wait()
		h.x.Close(nil)
		time.Sleep(100 * time.Millisecond)
		b.stop(t)
	})
	whole := b.events(t, "video-3")
	if len(whole) != 34 {
		t.Fatalf("%d events, want 34", len(whole))
	}
	late := b.events(t, "video")
	if n := len(late); n < 20 || n > 26 || !slices.Equal(late, whole[34-n:]) {
		t.Errorf("the late layer has %d of %d events, want those since it came", len(late), len(whole))
	}
}

// TestNoEvents: a part without messages costs nothing.
func TestNoEvents(t *testing.T) {
	r := &rendition{rate: videoRate}
	if n := testing.AllocsPerRun(100, func() {
		if r.due(1000) != nil {
			t.Error("events from nowhere")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNotes: what the publisher sends beside the media comes out with it, from the
// first moment on.
func TestNotes(t *testing.T) {
	b := scenario(t, Config{}, func(t *testing.T, b *bench) {
		x := b.publish(t, video("VP9"), audio())
		note := func(label string, text bool, payload string) {
			n := stream.Note{Arrival: time.Now(), Label: label, Text: text, Payload: []byte(payload)}
			must(t, x.Note(n))
		}
		note("chat", true, "first") // before any picture
		c := newCamera(x)
		go c.run(0, 8*time.Second)
		time.Sleep(1500 * time.Millisecond)
		note("", true, "second") // the units are held: the distance of key frames is not known
		time.Sleep(3 * time.Second)
		note("a\tb", false, "third")
		note("b", false, "")
		note("chat", true, "no \xff text")
		time.Sleep(4 * time.Second)
		x.Close(nil)
		b.stop(t)
	})
	b.both(t)
	tag := func(f fmp4.ID3Frame) string {
		text, err := fmp4.ID3(f)
		must(t, err)
		return string(text)
	}
	for _, name := range []string{"video", "audio"} {
		got := b.events(t, name)
		for i, want := range []told{
			{at: 0, text: tag(fmp4.ID3Text("chat", "first"))},
			{at: 1500 * time.Millisecond, text: tag(fmp4.ID3Text("whipcast", "second"))},
			{at: 4500 * time.Millisecond, text: tag(fmp4.ID3Private("whipcast", []byte("third")))},
			{at: 4500 * time.Millisecond, text: tag(fmp4.ID3Private("b", nil))},
		} {
			if len(got) != 4 || (got[i].at-want.at).Abs() > 40*time.Millisecond || got[i].text != want.text {
				t.Errorf("%s: event %d of %v, want %v", name, i, got, want)
			}
		}
	}
	if m := b.pack.Metrics(); m.Messages.Load() != 4 || m.MessagesDropped.Load() != 1 {
		t.Errorf("%d messages, %d dropped", m.Messages.Load(), m.MessagesDropped.Load())
	}
}
