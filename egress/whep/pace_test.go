package whep

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

func TestPaceStep(t *testing.T) {
	for _, tt := range []struct {
		name           string
		usual, packets int
		want           int
	}{
		{"small at once", 1, 20, 20},
		{"usual at once", 9, 9, 9},
		{"usual of a rich stream at once", 70, 130, 130},
		{"keyframe, a train at a time", 9, 45, 10},
		{"as much as the network carries all the time", 25, 100, 30},
		{"in so many steps at most", 9, 200, 30},
		{"of a rich stream", 70, 700, 90},
		{"nothing is known yet", 0, 45, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pace{usual: float64(tt.usual)}
			got := p.step(tt.packets)
			if got != tt.want {
				t.Errorf("%d packets, usually %d: step %d, want %d", tt.packets, tt.usual, got, tt.want)
			}
			if steps := (tt.packets + got - 1) / got; steps > paceSteps {
				t.Errorf("%d steps, want at most %d", steps, paceSteps)
			}
		})
	}
}

// TestPaceKnowsTheUsual: pictures that come in pieces count once, and a keyframe
// now and then does not make keyframes usual.
func TestPaceKnowsTheUsual(t *testing.T) {
	var p pace
	for i := range 300 {
		packets := make([]stream.Packet, 10)
		if i%30 == 0 {
			packets = make([]stream.Packet, 100)
		}
		packets[len(packets)-1].Marker = true
		half := len(packets) / 2
		p.observe(packets[:half])
		p.observe(packets[half:])
	}
	if p.usual < 10 || p.usual > 15 {
		t.Errorf("usually %.1f packets, want about 13", p.usual)
	}
}

// landing is a packet that was sent to one of several viewers.
type landing struct {
	viewer int
	at     time.Duration
	packet rtp.Packet
}

// hall notes what is sent to several viewers, in its order.
type hall struct {
	begin time.Time
	took  time.Duration // each packet

	mu  sync.Mutex
	all []landing
}

func (h *hall) reset(took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begin, h.took, h.all = time.Now(), took, nil
}

// chair is one viewer's writer.
type chair struct {
	*hall

	viewer int
}

func (c chair) Write(b []byte) (int, error) { return len(b), nil }

func (c chair) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	c.mu.Lock()
	took := c.took
	c.all = append(c.all, landing{c.viewer, time.Since(c.begin), rtp.Packet{Header: h.Clone(), Payload: payload}})
	c.mu.Unlock()
	time.Sleep(took)
	return len(payload), nil
}

// large writes a picture of so many packets at once.
func (c *camera) large(nal byte, packets int) {
	now := time.Now()
	for i := range packets {
		c.session.Write(video.ID, stream.Packet{
			Arrival: now, Sequence: c.seq, Timestamp: c.timestamp, Marker: i == packets-1, Payload: c.payload(nal),
		})
		c.seq++
	}
	c.timestamp += 3000
}

// premiere has some viewers on one lane, and a stream whose usual picture is small.
func premiere(t *testing.T, viewers int) (*theatre, *camera, *hall) {
	t.Helper()
	s := newStream(t)
	cam := newCamera(t, s, video)
	th := newTheatre(t, s, Config{Workers: 1})
	h := &hall{begin: time.Now()}
	cam.film(200 * time.Millisecond)
	for i := range viewers {
		track := newTestTrack(rtc.Video, &screen{}, th.metrics)
		track.bind(chair{h, i}, 4711, 0)
		sub, err := s.Subscribe(video.ID)
		if err != nil {
			t.Fatal(err)
		}
		track.place(sub)
		track.burst(t.Context())
		if err := th.join(track, video.ID); err != nil {
			t.Fatal(err)
		}
	}
	cam.film(time.Second)
	synctest.Wait()
	return th, cam, h
}

// TestKeyframesGoRound: of a large picture all viewers get a train before anybody
// gets the next one, nobody gets more than a train a millisecond, and all is there
// within paceSteps.
func TestKeyframesGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const viewers, packets = 5, 73
		th, cam, h := premiere(t, viewers)
		defer th.close()
		h.reset(0)
		first := cam.count
		cam.large(idr, packets)
		time.Sleep(time.Second / 30)
		synctest.Wait()
		if len(h.all) != viewers*packets {
			t.Fatalf("%d packets, want %d", len(h.all), viewers*packets)
		}
		var got [viewers]int
		for i, l := range h.all {
			n := int(count(l.packet.Payload) - first)
			if n != got[l.viewer] {
				t.Fatalf("viewer %d got packet %d after %d", l.viewer, n, got[l.viewer]-1)
			}
			got[l.viewer]++
			for v, has := range got {
				if has < n/turnSize*turnSize {
					t.Fatalf("landing %d: viewer %d gets packet %d while viewer %d has %d", i, l.viewer, n, v, has)
				}
			}
			if want := time.Duration(n/turnSize) * paceStep; l.at != want {
				t.Fatalf("packet %d at %v, want %v", n, l.at, want)
			}
		}
		if last := h.all[len(h.all)-1].at; last >= paceSteps*paceStep {
			t.Errorf("the picture took %v", last)
		}
	})
}

// TestUsualPicturesGoAtOnce: no pause in what a stream has all the time.
func TestUsualPicturesGoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const viewers, packets, pictures = 3, 45, 100
		th, cam, h := premiere(t, viewers)
		defer th.close()
		for range pictures {
			h.reset(0)
			cam.large(slice, packets)
			time.Sleep(time.Second / 30)
		}
		synctest.Wait()
		if len(h.all) != viewers*packets {
			t.Fatalf("%d packets, want %d", len(h.all), viewers*packets)
		}
		for _, l := range h.all {
			if l.at != 0 {
				t.Fatalf("packet at %v of a picture of the usual size", l.at)
			}
		}
	})
}

// TestBusyLaneMakesNoPauses: where sending takes as long as the steps, nothing is
// added to it, and the last viewer's first packet waits for one turn of the others.
func TestBusyLaneMakesNoPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const viewers, packets, took = 4, 60, 50 * time.Microsecond
		th, cam, h := premiere(t, viewers)
		defer th.close()
		h.reset(took)
		cam.large(idr, packets)
		time.Sleep(time.Second / 30)
		synctest.Wait()
		if last := h.all[len(h.all)-1].at; len(h.all) != viewers*packets || last != (viewers*packets-1)*took {
			t.Errorf("%d packets within %v, want %d in %v", len(h.all), last, viewers*packets, (viewers*packets-1)*took)
		}
		for _, l := range h.all {
			if l.viewer == viewers-1 {
				if want := (viewers - 1) * turnSize * took; l.at != want {
					t.Errorf("the last viewer's first packet at %v, want %v", l.at, want)
				}
				break
			}
		}
	})
}

// TestPacedPicturesStayWhole: pictures of all sizes, viewers who join meanwhile,
// and a lane that ends in the midst of one.
func TestPacedPicturesStayWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		cam := newCamera(t, s, video)
		m := &Metrics{}
		th := newTheatre(t, s, Config{Workers: 2, Shard: 3, Metrics: m})
		defer th.close()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := i%10 == 0
				cam.large(nal(key), 1+(i*37)%19+map[bool]int{true: 60 + i*13%700}[key])
				time.Sleep(time.Second / 30)
			}
		})
		var screens []*screen
		var tracks []*track
		for i := range 12 {
			time.Sleep(time.Duration(i*7) * time.Millisecond)
			track, screen, _ := th.seat(rtc.Video)
			screens, tracks = append(screens, screen), append(tracks, track)
			if i%3 == 2 {
				time.Sleep(time.Millisecond)
				th.leave(tracks[i-1])
			}
		}
		time.Sleep(2 * time.Second)
		cancel()
		wg.Wait()
		time.Sleep(time.Second / 30)
		synctest.Wait()
		for i, s := range screens {
			packets := s.seen()
			checkWhole(t, packets)
			if left := i%3 == 1; !left && count(packets[len(packets)-1].Payload) != cam.count-1 {
				t.Errorf("viewer %d got %d of %d", i, count(packets[len(packets)-1].Payload), cam.count-1)
			}
		}
		if m.Lags.Load() != 0 {
			t.Errorf("%d lags", m.Lags.Load())
		}
	})
}

// TestArrivalsAreNoBurst: the keyframe that a viewer changes to another Layer by
// comes in turns, too.
func TestArrivalsAreNoBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		layers := three()[:2]
		layers[0].key = 8 // 56 packets
		p := newProjector(t, s, layers...)
		th := newTheatre(t, s, Config{Workers: 1})
		defer th.close()
		p.film(100 * time.Millisecond)
		h := &hall{begin: time.Now()}
		track := newTestTrack(rtc.Video, &screen{}, th.metrics)
		track.bind(chair{h, 0}, 4711, 0)
		var w wish
		w.set(Choice{RID: layers[1].layer.ID.RID})
		track.wish = &w
		sub, err := s.Subscribe(layers[1].layer.ID)
		if err != nil {
			t.Fatal(err)
		}
		track.place(sub)
		track.burst(t.Context())
		if err := th.join(track, layers[1].layer.ID); err != nil {
			t.Fatal(err)
		}
		p.film(time.Second)
		w.set(Choice{RID: layers[0].layer.ID.RID})
		p.film(200 * time.Millisecond) // the lane asks, and waits
		synctest.Wait()
		if got := h.all[len(h.all)-1].packet.Payload[5]; got != 1 {
			t.Fatalf("layer %d before the keyframe of the other one", got)
		}
		h.reset(0)
		layers[0].wantsKey.Store(true)
		p.film(500 * time.Millisecond)
		synctest.Wait()
		var packets []rtp.Packet
		each := map[time.Duration]int{}
		keyframe := 0
		for _, l := range h.all {
			if len(packets) == 0 && l.packet.Payload[5] == 1 {
				continue // its last lane was faster
			}
			packets = append(packets, l.packet)
			if l.packet.Payload[0] == idr {
				keyframe++
				each[l.at]++
			}
		}
		if got := checkSwitches(t, packets); len(got) != 1 || got[0] != 0 {
			t.Errorf("layers %v", got)
		}
		if want := layers[0].perFrame * layers[0].key; keyframe != want {
			t.Errorf("%d packets of the keyframe, want %d", keyframe, want)
		}
		for at, n := range each {
			if n > 2*turnSize { // it may be a turn late, and makes up for that with the last one
				t.Errorf("%d packets of the keyframe at %v, want at most %d", n, at, 2*turnSize)
			}
		}
	})
}
