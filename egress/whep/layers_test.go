package whep

import (
	"context"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// projector publishes a picture in several Layers at once: each with numbers
// and timestamps of its own. A payload holds its picture's number, its Layer
// and its place in the picture.
type projector struct {
	stream  *stream.Stream
	session *stream.Session
	layers  []*projection // the best one first
	picture int
	start   time.Time
	twins   bool // all layers have one picture
}

type projection struct {
	layer     stream.Layer
	perFrame  int // packets a picture
	size      int // bytes a packet
	key       int // a keyframe has so many times the packets
	seq       uint16
	base      uint32
	every     int // pictures between keyframes
	silent    bool
	wantsKey  atomic.Bool
	keyframes int
}

const perSecond = 30

func newProjector(t testing.TB, s *stream.Stream, layers ...*projection) *projector {
	t.Helper()
	p := &projector{stream: s, layers: layers, start: time.Now()}
	var all []stream.Layer
	for i, l := range layers {
		l.layer.Codec = video.Codec
		l.layer.ID.Kind = stream.Video
		l.layer.OnRequest = true
		l.base, l.seq = uint32(i)*1_000_000_007+4_294_900_000, uint16(65_000+i*300)
		all = append(all, l.layer)
	}
	x, err := s.Publish(stream.Offer{Principal: "host", Layers: all})
	if err != nil {
		t.Fatal(err)
	}
	p.session = x
	return p
}

func three() []*projection {
	return []*projection{
		{layer: stream.Layer{ID: stream.LayerID{RID: "f"}}, perFrame: 7, size: 1150, key: 4, every: 60},
		{layer: stream.Layer{ID: stream.LayerID{RID: "h"}}, perFrame: 2, size: 1100, key: 4, every: 60},
		{layer: stream.Layer{ID: stream.LayerID{RID: "q"}}, perFrame: 1, size: 700, key: 4, every: 60},
	}
}

// frame sends one picture of every Layer, the smallest first.
func (p *projector) frame() {
	if p.twins && slices.ContainsFunc(p.layers, func(l *projection) bool { return l.wantsKey.Load() }) {
		for _, l := range p.layers {
			l.wantsKey.Store(true)
		}
	}
	for i, l := range slices.Backward(p.layers) {
		if l.silent {
			continue
		}
		key := p.picture%l.every == 0 || l.wantsKey.Load()
		n := l.perFrame
		if key {
			n *= l.key
			l.wantsKey.Store(false)
			l.keyframes++
		}
		now := time.Now()
		for j := range n {
			b := make([]byte, l.size)
			b[0] = nal(key)
			binary.BigEndian.PutUint32(b[1:], uint32(p.picture))
			b[5], b[6], b[7] = byte(i), byte(j), byte(n)
			p.session.Write(l.layer.ID, stream.Packet{
				Arrival: now, Sequence: l.seq, Timestamp: l.base + uint32(p.picture)*3000, Marker: j == n-1, Payload: b,
			})
			l.seq++
		}
	}
	p.picture++
}

// report sends the sender reports of all Layers: they tell of one clock.
func (p *projector) report() {
	for _, l := range p.layers {
		media := time.Duration(p.picture) * time.Second / perSecond
		clock := uint64(3_900_000_000+media/time.Second)<<32 | uint64(media%time.Second)<<32/uint64(time.Second)
		p.session.Report(l.layer.ID, clock, l.base+uint32(p.picture)*3000, time.Now())
	}
}

// film sends pictures for d.
func (p *projector) film(d time.Duration) {
	for range int(d * perSecond / time.Second) {
		if p.picture%perSecond == 1 {
			p.report()
		}
		p.frame()
		time.Sleep(time.Second / perSecond)
	}
}

func pictureOf(b []byte) uint32 { return binary.BigEndian.Uint32(b[1:]) }

// checkSwitches fails unless the packets are one continuous sequence whose
// Layer changes at keyframes only, without a picture left out, and whose
// timestamps follow the pictures. It returns the Layers in their order.
func checkSwitches(t *testing.T, packets []rtp.Packet) []int {
	t.Helper()
	var layers []int
	if len(packets) == 0 {
		t.Fatal("nothing arrived")
	}
	origin := packets[0].Timestamp - pictureOf(packets[0].Payload)*3000
	for i, p := range packets {
		layer := int(p.Payload[5])
		if len(layers) == 0 || layers[len(layers)-1] != layer {
			layers = append(layers, layer)
			if p.Payload[0] != idr || p.Payload[6] != 0 {
				t.Errorf("layer %d begins with packet %d of NAL unit %#x", layer, p.Payload[6], p.Payload[0])
			}
		}
		if p.SSRC != 4711 {
			t.Fatalf("SSRC %d", p.SSRC)
		}
		if i == 0 {
			continue
		}
		before := packets[i-1]
		if p.SequenceNumber != before.SequenceNumber+1 {
			t.Fatalf("number %d follows %d", p.SequenceNumber, before.SequenceNumber)
		}
		if int32(p.Timestamp-before.Timestamp) < 0 {
			t.Errorf("the timestamp goes back by %d", before.Timestamp-p.Timestamp)
		}
		least := 0
		if p.Payload[5] != before.Payload[5] {
			least = -1 // the lanes of two Layers may be a picture apart
		}
		if step := int(pictureOf(p.Payload)) - int(pictureOf(before.Payload)); step < least || step > 1 {
			t.Errorf("picture %d follows %d", pictureOf(p.Payload), pictureOf(before.Payload))
		}
		// One picture off is what a change within a picture costs, for a while.
		if off := int32(p.Timestamp - origin - pictureOf(p.Payload)*3000); off < -100 || off > 3200 {
			t.Fatalf("packet %d: the timestamp is off by %d units", i, off)
		}
	}
	return layers
}

func TestVanishedLayerIsReplaced(t *testing.T) { // specs E38, R43
	for _, reported := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newStream(t)
			p := newProjector(t, s, three()...)
			m := &Metrics{}
			th := newTheatre(t, s, Config{Metrics: m})
			defer th.close()
			play := func(d time.Duration) {
				for range int(d / time.Second) {
					if reported {
						p.film(time.Second)
						continue
					}
					for range perSecond {
						p.frame()
						time.Sleep(time.Second / perSecond)
					}
				}
			}
			p.frame()
			synctest.Wait()
			track, screen, _ := th.seat(rtc.Video)
			play(5 * time.Second)
			p.layers[0].silent = true
			play(6 * time.Second)
			p.layers[0].silent = false
			p.layers[0].wantsKey.Store(true)
			play(6 * time.Second)
			synctest.Wait()
			packets := screen.seen()
			var layers []int
			gap := 0
			for i, q := range packets { // the time without pictures is a hole of its own
				if i > 0 && int(pictureOf(q.Payload))-int(pictureOf(packets[i-1].Payload)) > 1 {
					gap = int(pictureOf(q.Payload)) - int(pictureOf(packets[i-1].Payload))
					layers = append(layers, checkSwitches(t, packets[:i])...)
					if off := int32(q.Timestamp-packets[i-1].Timestamp) - int32(gap)*3000; off < -3200 || off > 3200 {
						t.Errorf("the timestamp after the hole is off by %d units", off)
					}
					layers = append(layers, checkSwitches(t, packets[i:])...)
				}
			}
			if len(layers) != 3 || layers[0] != 0 || layers[1] != 1 || layers[2] != 0 {
				t.Errorf("layers %v, want 0 1 0", layers)
			}
			if gap > 4*perSecond {
				t.Errorf("no picture for %d pictures", gap)
			}
			if m.Ups.Load() != 1 || m.Downs.Load() != 1 {
				t.Errorf("%d up, %d down, want one each", m.Ups.Load(), m.Downs.Load())
			}
			if n := len(th.lanes); n != 1 || th.laneOf(track).layer.RID != "f" {
				t.Errorf("%d lanes are left, want one of f", n)
			}
		})
	}
}

// TestLayersOfAnotherPublisher: E15 the next publisher has other Layers.
func TestLayersOfAnotherPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		p := newProjector(t, s, three()...)
		th := newTheatre(t, s, Config{Workers: 2, Shard: 2})
		defer th.close()
		p.film(time.Second)
		var screens []*screen
		for range 5 {
			_, screen, _ := th.seat(rtc.Video)
			screens = append(screens, screen)
		}
		p.film(2 * time.Second)
		next := newCamera(t, s, video)
		next.film(2 * time.Second)
		again := newProjector(t, s, three()...)
		again.film(2 * time.Second)
		synctest.Wait()
		for i, screen := range screens {
			packets := screen.seen()
			for j, p := range packets[1:] {
				if p.SequenceNumber != packets[j].SequenceNumber+1 || int32(p.Timestamp-packets[j].Timestamp) < 0 {
					t.Fatalf("viewer %d: %v follows %v", i, p.Header, packets[j].Header)
				}
			}
			last := packets[len(packets)-1]
			if int(pictureOf(last.Payload)) != again.picture-1 || last.Payload[5] != 0 {
				t.Errorf("viewer %d: the last picture is %d of layer %d", i, pictureOf(last.Payload), last.Payload[5])
			}
			if err := screen.ended(); err != nil {
				t.Errorf("viewer %d was ended: %v", i, err)
			}
		}
		if n := len(th.lanes); n != 2 {
			t.Errorf("%d lanes, want 2", n)
		}
	})
}

// TestProgramIsCut: a stage's program has the same Layers over cuts, all fed by one where
// a seat has no more. Who is on the smallest one, since its network carries no other,
// stays there over cuts, and goes up when it can; its session goes on.
func TestProgramIsCut(t *testing.T) {
	n := newNetwork(400_000, 0)
	watchThree(t, n, func(w *watched) {
		one := func() []*projection { // packets of one and the same picture
			all := three()
			for _, l := range all {
				l.perFrame, l.size, l.key = 1, 1000, 4
			}
			return all
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		cut := func(layers []*projection) {
			next := newProjector(t, w.projector.stream, layers...)
			next.picture, next.twins = w.projector.picture, layers[0].perFrame == layers[1].perFrame
			for _, l := range layers {
				l.wantsKey.Store(true)
			}
			w.projector = next
			go next.obey(ctx)
		}
		w.projector.film(10 * time.Second)
		first := time.Now()
		for range 3 {
			cut(one())
			w.projector.film(4 * time.Second)
			cut(three())
			w.projector.film(4 * time.Second)
		}
		synctest.Wait()
		if after, changes := n.settled(2, first, time.Now()); after > 0 || changes > 0 {
			t.Errorf("%d changes over cuts, want none: the smallest layer all the time", changes)
		}
		var longest time.Duration
		for i, s := range n.shows[1:] {
			if s.at.After(first) {
				longest = max(longest, s.at.Sub(n.shows[i].at))
			}
		}
		if longest > 500*time.Millisecond {
			t.Errorf("no picture for %v at a cut", longest)
		}
		n.set(5_000_000)
		from := time.Now()
		w.projector.film(30 * time.Second)
		synctest.Wait()
		if after, _ := n.settled(0, from, time.Now()); after > 20*time.Second {
			t.Errorf("the best layer after %v on a fast link", after)
		}
	})
}

func TestLadderFigures(t *testing.T) { // specs E30
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		p := newProjector(t, s, three()...)
		th := newTheatre(t, s, Config{})
		defer th.close()
		p.layers[1].silent = true
		p.film(5 * time.Second)
		synctest.Wait()
		th.mu.Lock()
		got := th.ladder.layers()
		th.mu.Unlock()
		if len(got) != 3 || got[0].RID != "f" || got[1].RID != "h" || got[2].RID != "q" {
			t.Fatalf("layers %+v", got)
		}
		for i, want := range []int{7 * (1150 + overhead) * 30 * 8 * 105 / 100, 0, (700 + overhead) * 30 * 8 * 105 / 100} {
			if got[i].Bitrate < want*90/100 || got[i].Bitrate > want*110/100 {
				t.Errorf("layer %d: %+v, want about %d b/s", i, got[i], want)
			}
		}
	})
}

// TestChosenLayer: specs E36 what a viewer chooses wins over what its network
// carries; without a choice the gateway chooses again.
func TestChosenLayer(t *testing.T) {
	n := newNetwork(5_000_000, 0)
	watchThree(t, n, func(w *watched) {
		w.track.wish = &wish{}
		shows := func(choice Choice, want int, what string) {
			t.Helper()
			w.track.wish.set(choice)
			from := time.Now()
			w.projector.film(6 * time.Second)
			synctest.Wait()
			if after, _ := n.settled(want, from, time.Now()); after > 4*time.Second {
				t.Errorf("%s: layer %d, want %d", what, n.layer, want)
			}
		}
		shows(Choice{}, 0, "automatic")
		shows(Choice{RID: "q"}, 2, "the smallest")
		shows(Choice{RID: "h"}, 1, "the middle one")
		shows(Choice{MaxHeight: 360}, 1, "half the height")
		shows(Choice{MaxWidth: 300}, 2, "less than there is")
		shows(Choice{RID: "another publisher's"}, 0, "a layer that is not there")
		w.projector.layers[1].silent = true
		shows(Choice{RID: "h"}, 0, "a layer that is silent")
		n.set(600_000)
		shows(Choice{RID: "f"}, 0, "the best one on a slow link")
		if a := w.track.Adaptation(); a.Layer != "f" || a.Automatic || a.Ups == 0 || a.Downs == 0 {
			t.Errorf("adaptation %+v", a)
		}
		shows(Choice{}, 2, "automatic on a slow link")
		if a := w.track.Adaptation(); a.Layer != "q" || !a.Automatic || a.Estimate > 700_000 {
			t.Errorf("adaptation %+v", a)
		}
	})
}
