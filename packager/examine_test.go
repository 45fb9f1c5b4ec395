package packager

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/stream"
)

// codes returns what is found of a Layer.
func (b *bench) codes(id stream.LayerID) (codes []doctor.Code) {
	for _, f := range b.pack.Findings("show", id) {
		codes = append(codes, f.Code)
	}
	return codes
}

// told counts the log lines of a finding of a Layer.
func (b *bench) told(message string, code doctor.Code, layer string) (n int) {
	for line := range strings.Lines(b.logs.String()) {
		if strings.Contains(line, message) && strings.Contains(line, "finding="+string(code)+" ") &&
			strings.Contains(line+" ", "layer="+layer) {
			n++
		}
	}
	return n
}

// TestFindings: what is wrong is logged once when it begins and once when it
// ends, and can be read meanwhile: until the publisher leaves, and of the next one
// only what is its own.
func TestFindings(t *testing.T) {
	picture, sound := stream.LayerID{Kind: stream.Video}, stream.LayerID{Kind: stream.Audio}
	scenario(t, Config{Grace: 10 * time.Second}, func(t *testing.T, b *bench) {
		x := b.publish(t, onRequest(video("VP9")), audio())
		c := newCamera(x)
		c.run(0, 30*time.Second)
		for _, id := range []stream.LayerID{picture, sound} {
			if !slices.Contains(b.codes(id), doctor.NoSenderReports) {
				t.Errorf("%s: found %v", layerName(id), b.codes(id))
			}
			if n := b.told("publisher examined", doctor.NoSenderReports, layerName(id)); n != 1 {
				t.Errorf("%s: told %d times", layerName(id), n)
			}
		}
		if w, h := b.pack.Size("show", picture); w != 1280 || h != 720 {
			t.Errorf("pictures of %d x %d", w, h)
		}
		if w, h := b.pack.Size("show", sound); w != 0 || h != 0 {
			t.Errorf("sound of %d x %d", w, h)
		}
		first := b.pack.Findings("show", sound)
		c.report = time.Millisecond
		c.run(30*time.Second, 20*time.Second)
		if slices.Contains(b.codes(picture), doctor.NoSenderReports) {
			t.Errorf("there are reports, found %v", b.codes(picture))
		}
		if n := b.told("publisher recovered", doctor.NoSenderReports, "video"); n != 1 {
			t.Errorf("told %d times that it is over", n)
		}
		// What is silent stays so; its number grows.
		for _, f := range b.pack.Findings("show", sound) {
			i := slices.IndexFunc(first, func(o doctor.Finding) bool { return o.Code == f.Code })
			if f.Code == doctor.Silence && (i < 0 || f.Value < first[i].Value+10) {
				t.Errorf("silence of %v s, before %+v", f.Value, first)
			}
		}
		if len(b.codes(sound)) == 0 {
			t.Error("no silence was found")
		}
		x.Close(nil)
		synctest.Wait()
		if left := append(b.codes(picture), b.codes(sound)...); len(left) > 0 {
			t.Errorf("the publisher left, found %v", left)
		}
		y := b.publish(t, onRequest(video("VP9")), audio())
		c = newCamera(y)
		c.run(0, 5*time.Second)
		if found := append(b.codes(picture), b.codes(sound)...); len(found) > 0 {
			t.Errorf("a new publisher of 5 s, found %v", found)
		}
		y.Close(nil)
		if err := <-b.done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if n := len(b.pack.boards.of); n > 0 {
			t.Errorf("%d boards are left", n)
		}
		b.check(t)
	})
}

// TestFindingsOfLayers: each Layer has its own (R43), and what is not packaged has
// none: it is not heard of any more.
func TestFindingsOfLayers(t *testing.T) {
	scenario(t, Config{}, func(t *testing.T, b *bench) {
		floors := browser()
		h := b.build(t, floors)
		floors[0].off = append(floors[0].off, [2]time.Duration{5 * time.Second, time.Hour})
		h.run(t, 30*time.Second)
		var dead []string
		for _, f := range floors {
			if slices.Contains(b.codes(stream.LayerID{Kind: stream.Video, RID: f.rid}), doctor.LayerDead) {
				dead = append(dead, f.rid)
			}
		}
		if fmt.Sprint(dead) != fmt.Sprintf("[%s]", floors[0].rid) {
			t.Errorf("layers %q are dead, want %q alone", dead, floors[0].rid)
		}
		b.cancel()
		<-b.done
	})
}

// TestNothingComes: what is true of the publisher as a whole is said once, and
// once that it is over, however many layers there are (R30).
func TestNothingComes(t *testing.T) {
	scenario(t, Config{}, func(t *testing.T, b *bench) {
		floors := studio()
		h := b.build(t, floors)
		h.run(t, 5*time.Second)
		time.Sleep(10 * time.Second)
		for _, f := range floors {
			if found := b.codes(stream.LayerID{Kind: stream.Video, RID: f.rid}); !slices.Equal(found, []doctor.Code{doctor.NoPackets}) {
				t.Errorf("video %s: found %v", f.rid, found)
			}
		}
		for i := range 6 * 30 {
			for _, f := range floors {
				f.base += 15 * 90000 * uint32(1-min(i, 1))
				h.picture(f, i, time.Duration(i)*time.Second/30)
			}
			speak(h.x, uint16(750+i), uint32(750+i)*960, time.Duration(750+i)*20*time.Millisecond)
			time.Sleep(time.Second / 30)
		}
		for _, message := range []string{"publisher examined", "publisher recovered"} {
			if n := b.told(message, doctor.NoPackets, ""); n != 1 {
				t.Errorf("%q %d times, want 1", message, n)
			}
		}
		b.cancel()
		<-b.done
	})
}

// checkup is a ward with one patient, beside its log.
func checkup(layer stream.Layer) (*ward, *stream.Source, *bytes.Buffer) {
	var log bytes.Buffer
	w := &ward{log: slog.New(slog.NewTextHandler(&log, nil)), board: &board{}}
	source := &stream.Source{Epoch: 1, Layer: layer}
	w.enroll(stream.State{Version: 1, Live: true, Epoch: 1, Sources: []*stream.Source{source}},
		map[stream.LayerID]*pump{layer.ID: nil}, 2*time.Second)
	return w, source, &log
}

// TestBFramesAreToldOf: E23, R13 once for each publisher.
func TestBFramesAreToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, source, log := checkup(video("H264"))
		for i := range int64(30 * 30) {
			time.Sleep(time.Second / 30)
			u := au.Unit{Arrival: time.Now(), DTS: i * 3000, PTS: (i + 1) * 3000, Key: i%30 == 0, Data: make([]byte, 1000)}
			if i%3 > 0 { // the second is shown before the first
				u.PTS += 3000 * (1 - 2*(i%3-1))
			}
			w.take(&event{source: source, units: []au.Unit{u}, seen: sight{at: u.Arrival, stats: au.Stats{Packets: uint64(i)}}})
			if i%30 == 0 {
				w.look(time.Now())
			}
		}
		if n := strings.Count(log.String(), "finding=b-frames "); n != 1 || !strings.Contains(log.String(), "set B-frames to 0") {
			t.Errorf("told %d times:\n%s", n, log)
		}
	})
}

// TestExamineAllocates nothing by the unit or the second while nothing changes.
func TestExamineAllocates(t *testing.T) {
	w, source, _ := checkup(video("VP9"))
	now, i := time.Now(), int64(0)
	units := []au.Unit{{Key: true, Data: make([]byte, 5000)}}
	e := &event{source: source, units: units}
	second := func() {
		for range 30 {
			i++
			now = now.Add(time.Second / 30)
			units[0].Arrival, units[0].PTS, units[0].DTS = now, i*3000, i*3000
			e.seen = sight{at: now, stats: au.Stats{Packets: uint64(i)}}
			w.take(e)
		}
		w.patients[0].exam.SenderReport(now)
		w.ask(now)
		w.look(now)
	}
	second()
	if n := testing.AllocsPerRun(20, second); n > 0 {
		t.Errorf("%v allocations a second", n)
	}
}

// TestSoundIsHeard: what is decoded for the AAC rendition tells silence also where
// the packets are as large as those of a voice.
func TestSoundIsHeard(t *testing.T) {
	// A CELT frame without content, padded to 26 kb/s (RFC 6716 §3.2.5).
	quiet := append([]byte{0xff, 0x41, 60, 0xff, 0xfe}, make([]byte, 60)...)
	for choice, want := range map[Sound]bool{Both: true, Opus: false} {
		scenario(t, Config{Audio: choice}, func(t *testing.T, b *bench) {
			x := b.publish(t, audio())
			for i := range 25 * 50 {
				x.Write(stream.LayerID{Kind: stream.Audio}, stream.Packet{
					Arrival: time.Now(), Timestamp: uint32(i * 960), Sequence: uint16(i), Marker: true, Payload: quiet,
				})
				time.Sleep(20 * time.Millisecond)
			}
			found := b.codes(stream.LayerID{Kind: stream.Audio})
			if slices.Contains(found, doctor.Silence) != want {
				t.Errorf("%s: found %v", choice, found)
			}
			b.cancel()
			<-b.done
		})
	}
}

// BenchmarkExamine: an iteration is a second of pictures with its look.
func BenchmarkExamine(b *testing.B) {
	w, source, _ := checkup(video("VP9"))
	now, i := time.Now(), int64(0)
	units := []au.Unit{{Data: make([]byte, 10_000)}}
	b.ReportAllocs()
	for b.Loop() {
		for range 30 {
			i++
			now = now.Add(time.Second / 30)
			units[0].Key = i%60 == 0
			units[0].Arrival, units[0].PTS, units[0].DTS = now, i*3000, i*3000
			w.take(&event{source: source, units: units, seen: sight{at: now, stats: au.Stats{Packets: uint64(i)}}})
		}
		w.patients[0].exam.SenderReport(now)
		w.look(now)
	}
}
