package stage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deck is a Mixer for tests: it passes on who was opened first, numbered on, and fills
// the rest of the time with silence.
type deck struct {
	open     []string
	muted    map[string]bool
	sequence uint16
	at       uint32
	due      time.Time
	pending  []stream.Packet
	ticks    []time.Time
	written  map[string]stream.Packet // the newest of each seat
	reports  map[string]stream.Report
	lag      time.Duration // how far it says to be behind
	shift    uint32        // of timestamps
	levels   map[string]float32
	refuses  string
}

func newDeck() *deck {
	return &deck{muted: map[string]bool{}, reports: map[string]stream.Report{}, levels: map[string]float32{}, written: map[string]stream.Packet{}}
}

func (d *deck) Open(seat string) error {
	if seat == d.refuses {
		return ErrFull
	}
	if !slices.Contains(d.open, seat) {
		d.open = append(d.open, seat)
	}
	return nil
}

func (d *deck) Close(seat string) {
	d.open = slices.DeleteFunc(d.open, func(s string) bool { return s == seat })
}
func (d *deck) Gain(seat string, gain float32)      { d.muted[seat] = gain == 0 }
func (d *deck) Report(seat string, r stream.Report) { d.reports[seat] = r }
func (d *deck) Write(seat string, p stream.Packet) {
	d.written[seat] = p
	if len(d.open) > 0 && d.open[0] == seat {
		d.pending = append(d.pending, p)
	}
}

func (d *deck) Clock(seat string) (stream.Report, bool) {
	r, ok := d.reports[seat]
	r.RTP += d.shift
	r.RTP += uint32(d.lag/time.Second*48000) + uint32(d.lag%time.Second*48000/time.Second)
	return r, ok
}

func (d *deck) Level(seat string) (float32, bool) {
	l, ok := d.levels[seat]
	if !ok {
		return -120, false
	}
	return l, l > -40
}

func (d *deck) Tick(now time.Time, out []stream.Packet) []stream.Packet {
	d.ticks = append(d.ticks, now)
	for ; len(d.pending) > 0; d.pending = d.pending[1:] {
		d.shift = d.at + 960 - d.pending[0].Timestamp
		out = append(out, d.next(now, d.pending[0].Payload))
		d.due = now.Add(40 * time.Millisecond)
	}
	for d.due.IsZero() || !now.Before(d.due) {
		out = append(out, d.next(now, []byte{0xf8, 0xff, 0xfe}))
		if d.due.IsZero() {
			d.due = now
		}
		d.due = d.due.Add(20 * time.Millisecond)
	}
	return out
}

func (d *deck) next(now time.Time, payload []byte) stream.Packet {
	d.sequence++
	d.at += 960
	return stream.Packet{Arrival: now, Sequence: d.sequence, Timestamp: d.at, Marker: true, Payload: payload}
}

// camera publishes a seat: 25 pictures a second of three packets, and sound. Each
// payload tells who it is of, the number of the picture, and the packet of it.
type camera struct {
	name  string
	gop   int  // pictures between keyframes
	asked bool // keyframes come when asked for
	rids  []string
	dead  map[string]bool // layers without packets
	gone  map[string]span // and those that have none for some time
	rate  int             // of so many pictures one is sent, for a screen that hardly changes; 0: of each
}

// span is a time since the camera began.
type span struct{ from, until time.Duration }

// sends reports whether a layer has packets now.
func (c camera) sends(rid string, at time.Duration) bool {
	g, ok := c.gone[rid]
	return !c.dead[rid] && (!ok || at < g.from || at >= g.until)
}

const pictureEvery = 40 * time.Millisecond

func (c camera) run(ctx context.Context, hub *stream.Hub) error {
	s, err := hub.Stream(c.name)
	if err != nil {
		return err
	}
	if c.rids == nil {
		c.rids = []string{""}
	}
	o := stream.Offer{Principal: c.name}
	for _, rid := range c.rids {
		o.Layers = append(o.Layers, stream.Layer{ID: stream.LayerID{Kind: stream.Video, RID: rid}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}, OnRequest: c.asked})
	}
	audio := stream.LayerID{Kind: stream.Audio}
	o.Layers = append(o.Layers, stream.Layer{ID: audio, Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2}})
	x, err := s.Publish(o)
	if err != nil {
		return err
	}
	defer x.Close(nil)
	var wants sync.Map
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() {
		for {
			id, err := x.KeyframeRequest(ctx)
			if err != nil {
				return
			}
			wants.Store(id, true)
		}
	})
	begun := time.Now()
	// Clocks of seats have nothing in common.
	sequence, at := uint16(len(c.name)*20000), uint32(len(c.name))*1e9
	for n := range uint32(1 << 20) {
		now := time.Now()
		for _, o := range o.Layers {
			id := o.ID
			if id.Kind == stream.Video && !c.sends(id.RID, time.Since(begun)) {
				wants.Store(id, true) // an encoder that begins again does so with a keyframe
				continue
			}
			if id.Kind == stream.Audio {
				for i := range uint32(2) {
					x.Write(id, stream.Packet{Arrival: now, Sequence: uint16(2*n + i), Timestamp: (2*n + i) * 960, Marker: true, Payload: []byte(c.name)})
				}
				continue
			}
			if n%uint32(max(c.rate, 1)) != 0 {
				continue
			}
			_, key := wants.LoadAndDelete(id)
			key = key && c.asked || n%uint32(c.gop) == 0
			for i := range uint16(3) {
				kind := byte(0x41)
				if key {
					kind = 0x65
				}
				payload := binary.BigEndian.AppendUint32([]byte{kind}, n)
				payload = append(payload, byte(i))
				payload = append(payload, c.name+id.RID...)
				x.Write(id, stream.Packet{Arrival: now, Sequence: sequence + uint16(3*n) + i, Timestamp: at + n*3600, Marker: i == 2, Payload: payload})
			}
		}
		if n%25 == 0 {
			instant := uint64(now.Unix())<<32 | uint64(len(c.name))<<20
			for _, o := range o.Layers {
				if o.ID.Kind == stream.Video {
					x.Report(o.ID, instant, at+n*3600, now)
				} else {
					x.Report(o.ID, instant, 2*n*960, now)
				}
			}
		}
		if err := pause(ctx, pictureEvery); err != nil {
			return nil
		}
	}
	return nil
}

// seen is one packet of the program's picture.
type seen struct {
	epoch  uint64
	who    string
	number uint32
	part   byte
	key    bool
	first  bool // of what the Subscription marks as a keyframe
	at     time.Time
}

// audience records a program.
type audience struct {
	mu      sync.Mutex
	picture []seen          // below mu
	sound   []stream.Packet // below mu
}

func (a *audience) watch(ctx context.Context, hub *stream.Hub, name string, id stream.LayerID) error {
	s, err := hub.Stream(name)
	if err != nil {
		return err
	}
	b, err := s.Subscribe(id)
	if err != nil {
		return err
	}
	defer b.Close()
	into := make([]stream.Packet, 64)
	for {
		n, err := b.Read(ctx, into)
		if errors.Is(err, stream.ErrLagged) || errors.Is(err, stream.ErrOffline) {
			continue
		}
		if err != nil {
			return nil
		}
		a.mu.Lock()
		for _, p := range into[:n] {
			if id.Kind == stream.Audio {
				a.sound = append(a.sound, p)
				continue
			}
			a.picture = append(a.picture, seen{
				p.Source.Epoch, string(p.Payload[6:]), binary.BigEndian.Uint32(p.Payload[1:]), p.Payload[5], p.Payload[0] == 0x65, p.Keyframe, time.Now(),
			})
		}
		a.mu.Unlock()
	}
}

// studio is a program with cameras and an audience, in virtual time.
type studio struct {
	t        *testing.T
	hub      *stream.Hub
	program  *Program
	deck     *deck
	audience audience
	ctx      context.Context //nolint:containedctx // that of the test's cameras
	all      *sync.WaitGroup
	started  time.Time
}

// produce runs play in virtual time, and ends everything after it.
func produce(t *testing.T, play func(s *studio)) *studio {
	var s *studio
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hub := stream.NewHub(stream.Config{})
		s = &studio{t: t, hub: hub, deck: newDeck(), ctx: ctx, all: &sync.WaitGroup{}, started: time.Now()}
		s.program = NewProgram(hub, "show", s.deck, nil)
		s.start(func() error { return s.program.Run(ctx) })
		s.start(func() error { return s.audience.watch(ctx, hub, "show", stream.LayerID{Kind: stream.Video}) })
		s.start(func() error { return s.audience.watch(ctx, hub, "show", stream.LayerID{Kind: stream.Audio}) })
		play(s)
		cancel()
		s.all.Wait()
	})
	return s
}

func (s *studio) start(run func() error) {
	s.all.Go(func() {
		if err := run(); err != nil {
			s.t.Error(err)
		}
	})
}

// shoot begins a camera, and returns what ends it.
func (s *studio) shoot(c camera) context.CancelFunc {
	ctx, cancel := context.WithCancel(s.ctx)
	s.start(func() error { return c.run(ctx, s.hub) })
	return cancel
}

func (s *studio) air(picture string, sounds ...string) {
	l := Lineup{Picture: picture}
	for _, seat := range sounds {
		l.Sounds = append(l.Sounds, Sound{Seat: seat})
	}
	s.program.Set(l)
}

// cuts describes the Epochs of what the audience saw, and checks the rules of a cut:
// each Epoch is one seat's, begins with the first packet of a keyframe, has whole
// pictures in their order with none left out, and no packet of the one before follows.
func (s *studio) cuts() string { return s.audience.cuts(s.t) }

func (a *audience) cuts(t *testing.T) string {
	t.Helper()
	var epochs []string
	var last seen
	for i, p := range a.picture {
		switch {
		case i == 0 || p.epoch != last.epoch:
			if !p.key || p.part != 0 || !p.first {
				t.Errorf("epoch %d begins with packet %d of picture %d of %s, no keyframe", p.epoch, p.part, p.number, p.who)
			}
			if i > 0 && last.part != 2 {
				t.Errorf("epoch %d ends within picture %d of %s", last.epoch, last.number, last.who)
			}
			if p.epoch < last.epoch {
				t.Errorf("epoch %d after %d", p.epoch, last.epoch)
			}
			epochs = append(epochs, p.who)
		case p.who != last.who:
			t.Errorf("epoch %d has pictures of %s and %s", p.epoch, last.who, p.who)
		case p.part == 0 && p.number != last.number+1, p.part > 0 && (p.number != last.number || p.part != last.part+1):
			t.Errorf("%s: packet %d of picture %d follows packet %d of picture %d", p.who, p.part, p.number, last.part, last.number)
		}
		last = p
	}
	return strings.Join(epochs, " ")
}

// longestPause returns the longest time between two pictures that the audience saw.
func (s *studio) longestPause() time.Duration {
	var longest time.Duration
	for i := 1; i < len(s.audience.picture); i++ {
		longest = max(longest, s.audience.picture[i].at.Sub(s.audience.picture[i-1].at))
	}
	return longest
}

// heard checks that the sound has one sequence over all Epochs, without a hole, with
// timestamps that rise by each packet's length, and never a pause.
func (s *studio) heard() {
	s.t.Helper()
	all := s.audience.sound
	if len(all) == 0 {
		s.t.Error("no sound")
		return
	}
	for i := 1; i < len(all); i++ {
		if all[i].Sequence != all[i-1].Sequence+1 || all[i].Timestamp != all[i-1].Timestamp+960 {
			s.t.Errorf("sound: %d at %d follows %d at %d", all[i].Sequence, all[i].Timestamp, all[i-1].Sequence, all[i-1].Timestamp)
		}
		if pause := all[i].Arrival.Sub(all[i-1].Arrival); pause > 60*time.Millisecond {
			s.t.Errorf("sound: nothing for %v", pause)
		}
	}
}

// TestCut: cuts between two browsers and one OBS are exact, each one Epoch; the old
// picture goes on until the new one is there, and sound all the time.
func TestCut(t *testing.T) {
	var status []string
	s := produce(t, func(s *studio) {
		s.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		s.shoot(camera{name: "show.bob", gop: 10000, asked: true})
		s.shoot(camera{name: "show.obs", gop: 100}) // 4 s
		note := func() {
			st := s.program.Status()
			status = append(status, fmt.Sprintf("%v/%s/%s/%s", st.Live, st.Picture, st.Cutting, st.Error))
		}
		time.Sleep(2 * time.Second)
		s.air("ann", "ann")
		time.Sleep(3 * time.Second)
		note()
		s.air("bob", "ann", "bob")
		time.Sleep(3500 * time.Millisecond)
		note()
		s.air("obs", "ann", "bob", "obs")
		time.Sleep(100 * time.Millisecond)
		note()
		time.Sleep(5 * time.Second)
		note()
		s.air("ann", "ann")
		time.Sleep(2 * time.Second)
	})
	if got, want := s.cuts(), "show.ann show.bob show.obs show.ann"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := strings.Join(status, " "), "true/ann// true/bob// true/bob/obs/ true/obs//"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if longest := s.longestPause(); longest > 2*pictureEvery {
		t.Errorf("no picture for %v", longest)
	}
	s.heard()
}

// TestCutTakes: a browser's picture is there within 500 ms of virtual time.
func TestCutTakes(t *testing.T) {
	var asked time.Time
	s := produce(t, func(s *studio) {
		s.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		s.shoot(camera{name: "show.bob", gop: 10000, asked: true})
		time.Sleep(2 * time.Second)
		s.air("ann", "ann")
		time.Sleep(3 * time.Second)
		asked = time.Now()
		s.air("bob", "ann")
		time.Sleep(time.Second)
	})
	for _, p := range s.audience.picture {
		if p.who == "show.bob" {
			if took := p.at.Sub(asked); took > 500*time.Millisecond {
				t.Errorf("%v", took)
			}
			return
		}
	}
	t.Error("no picture of bob")
}

// TestLag: while the sound is behind, a new picture waits for it, and the old one stands
// still so long: the Epochs have the sound of their pictures. No picture of the new one
// is left out, and one that is gone meanwhile leaves the old one to go on.
func TestLag(t *testing.T) {
	var asked time.Time
	s := produce(t, func(s *studio) {
		s.deck.lag = 200 * time.Millisecond
		s.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		end := s.shoot(camera{name: "show.bob", gop: 10000, asked: true})
		time.Sleep(3 * time.Second)
		s.air("ann", "ann")
		time.Sleep(3 * time.Second)
		s.air("bob", "ann")
		time.Sleep(3 * time.Second)
		s.air("ann", "ann")
		time.Sleep(3 * time.Second)
		asked = time.Now()
		s.air("bob", "ann")
		for s.program.holds() == 0 {
			time.Sleep(time.Millisecond)
		}
		end()
		time.Sleep(3 * time.Second)
	})
	if got, want := s.cuts(), "show.ann show.bob show.ann show.ann"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if longest := s.longestPause(); longest < 3*pictureEvery || longest > 1500*time.Millisecond {
		t.Errorf("no picture for %v", longest)
	}
	if last := s.audience.picture[len(s.audience.picture)-1]; last.at.Sub(asked) < 2*time.Second {
		t.Error("the old picture does not go on")
	}
	s.heard()
}

// TestSlide: who shows a screen that hardly changes has a picture a second. The program
// is cut to it with its first keyframe, and the old picture stands still no longer than
// the sound is behind.
func TestSlide(t *testing.T) {
	for _, rids := range [][]string{nil, {"h", "l"}} {
		s := produce(t, func(s *studio) {
			s.deck.lag = 200 * time.Millisecond
			s.shoot(camera{name: "show.ann", gop: 10000, asked: true})
			s.shoot(camera{name: "show.bob", gop: 10000, asked: true, rate: 25, rids: rids})
			time.Sleep(3 * time.Second)
			s.air("ann", "ann")
			time.Sleep(3 * time.Second)
			s.air("bob", "ann", "bob")
			time.Sleep(2500 * time.Millisecond)
			if st := s.program.Status(); st.Picture != "bob" || st.Cutting != "" {
				s.t.Errorf("%v: %+v", rids, st)
			}
			s.air("ann", "ann", "bob")
			time.Sleep(time.Second)
		})
		var ann []seen
		for _, p := range s.audience.picture {
			if p.who == "show.ann" {
				ann = append(ann, p)
			}
		}
		for i := 1; i < len(ann); i++ {
			if pause := ann[i].at.Sub(ann[i-1].at); ann[i].epoch == ann[i-1].epoch && pause > 2*pictureEvery {
				t.Errorf("%v: ann stands still for %v", rids, pause)
			}
		}
		s.heard()
	}
}

// holds returns how many packets wait for their sound.
func (p *Program) holds() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted == nil {
		return 0
	}
	n := 0
	for _, t := range p.wanted.takes {
		n += len(t.held)
	}
	return n
}

// TestRecut: who is cut to and back before its keyframe came leaves no trace, and a cut
// to the seat that has the picture does nothing.
func TestRecut(t *testing.T) {
	s := produce(t, func(s *studio) {
		s.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		s.shoot(camera{name: "show.obs", gop: 500})
		time.Sleep(time.Second)
		s.air("ann", "ann")
		time.Sleep(time.Second)
		s.air("obs", "ann")
		time.Sleep(time.Second)
		s.air("ann", "ann")
		time.Sleep(time.Second)
		s.air("ann", "ann", "obs")
		time.Sleep(20 * time.Second)
	})
	if got, want := s.cuts(), "show.ann"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s.heard()
}

// TestReturn: a seat that reconnects has its picture again, in a new Epoch.
func TestReturn(t *testing.T) {
	s := produce(t, func(s *studio) {
		end := s.shoot(camera{name: "show.ann", gop: 50, asked: true})
		s.air("ann", "ann")
		time.Sleep(2 * time.Second)
		end()
		time.Sleep(3 * time.Second)
		s.shoot(camera{name: "show.ann", gop: 50, asked: true})
		time.Sleep(2 * time.Second)
	})
	if got, want := s.cuts(), "show.ann show.ann"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s.heard()
}

// TestReturnMeanwhile: who has the picture reconnects while a cut to another one waits
// for its keyframe: the other one is waited for still, and the status says so.
func TestReturnMeanwhile(t *testing.T) {
	s := produce(t, func(s *studio) {
		end := s.shoot(camera{name: "show.ann", gop: 50, asked: true})
		s.shoot(camera{name: "show.obs", gop: 250}) // 10 s
		time.Sleep(time.Second)
		s.air("ann", "ann")
		time.Sleep(time.Second)
		s.air("obs", "ann")
		for range 2 {
			time.Sleep(time.Second)
			if st := s.program.Status(); st.Picture != "ann" || st.Cutting != "obs" {
				s.t.Errorf("%+v", st)
			}
			end()
			end = s.shoot(camera{name: "show.ann", gop: 50, asked: true})
		}
		time.Sleep(8 * time.Second)
		if st := s.program.Status(); st.Picture != "obs" || st.Cutting != "" {
			s.t.Errorf("%+v", st)
		}
	})
	if got, want := s.cuts(), "show.ann show.ann show.ann show.obs"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s.heard()
}

// TestRest: without a picture the sound goes on; without anybody the program ends, and
// begins again.
func TestRest(t *testing.T) {
	s := produce(t, func(s *studio) {
		s.shoot(camera{name: "show.ann", gop: 50, asked: true})
		time.Sleep(time.Second)
		s.air("ann", "ann")
		time.Sleep(2 * time.Second)
		s.air("", "ann")
		time.Sleep(2 * time.Second)
		if st := s.program.Status(); !st.Live || st.Picture != "" {
			s.t.Errorf("at rest: %+v", st)
		}
		n := len(s.sounds())
		time.Sleep(time.Second)
		if now := len(s.sounds()); now < n+45 {
			s.t.Errorf("%d packets of sound in a second", now-n)
		}
		s.air("", []string{}...)
		time.Sleep(time.Second)
		from, ok := s.hub.Lookup("show")
		if st := s.program.Status(); st.Live || !ok || from.State().Live {
			s.t.Errorf("without anybody: %+v", st)
		}
		s.air("ann", "ann")
		time.Sleep(2 * time.Second)
		if st := s.program.Status(); !st.Live || st.Picture != "ann" || st.Cuts != 2 {
			s.t.Errorf("again: %+v", st)
		}
	})
	if got, want := s.cuts(), "show.ann show.ann"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestOver: a keyframe that comes when the program has just ended begins no other one.
func TestOver(t *testing.T) {
	hub := stream.NewHub(stream.Config{})
	p := NewProgram(hub, "show", newDeck(), nil)
	seat, err := hub.Stream("show.ann")
	if err != nil {
		t.Fatal(err)
	}
	id := stream.LayerID{Kind: stream.Video}
	x, err := seat.Publish(stream.Offer{Layers: []stream.Layer{{ID: id, Codec: stream.Codec{Name: "H264", ClockRate: 90000}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close(nil)
	from, err := seat.Subscribe(id)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	source := seat.State().Sources[0]
	s := &shot{seat: "ann", cancel: func() {}, opened: time.Now()}
	s.takes = []*take{{shot: s, from: from, source: source}}
	p.wanted = s
	for _, on := range []bool{false, true} {
		if on {
			p.Set(Lineup{Picture: "ann", Sounds: []Sound{{Seat: "ann"}}})
		}
		p.take(s.takes[0], []stream.Packet{{Source: source, Marker: true, Payload: []byte{0x65, 0, 0, 0, 0, 0}}})
		if p.Status().Live != on {
			t.Errorf("somebody on air %v, the program is live %v", on, !on)
		}
	}
}

func (s *studio) sounds() []stream.Packet {
	s.audience.mu.Lock()
	defer s.audience.mu.Unlock()
	return slices.Clone(s.audience.sound)
}

// TestClocks: sender reports go with the picture, and the sound's are on its clock.
func TestClocks(t *testing.T) {
	produce(t, func(s *studio) {
		s.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		s.shoot(camera{name: "show.robert", gop: 10000, asked: true})
		time.Sleep(2500 * time.Millisecond)
		for _, who := range []string{"ann", "robert", "ann"} {
			s.air(who, "ann", "robert")
			time.Sleep(2700 * time.Millisecond)
			from, _ := s.hub.Lookup("show")
			seat, _ := s.hub.Lookup("show." + who)
			want, ok := seat.State().Sources[0].Report()
			if !ok {
				s.t.Fatal("no report of the seat")
			}
			sources := from.State().Sources
			picture, ok := sources[0].Report()
			sound, ok2 := sources[1].Report()
			if !ok || !ok2 || picture.NTP != want.NTP || picture.RTP != want.RTP {
				s.t.Errorf("%s: picture %v %v, want %v; sound %v %v", who, picture, ok, want, sound, ok2)
			}
			if sound.NTP&0xfff00000 != uint64(len("show."+who))<<20 {
				s.t.Errorf("%s: the sound's report %x is on another clock", who, sound.NTP)
			}
		}
	})
}

// TestBusy: while somebody else publishes the program's stream, the status says so.
func TestBusy(t *testing.T) {
	s := produce(t, func(s *studio) {
		end := s.shoot(camera{name: "show", gop: 50, asked: true})
		s.shoot(camera{name: "show.ann", gop: 10000, asked: true})
		time.Sleep(time.Second)
		s.air("ann", "ann")
		time.Sleep(2 * time.Second)
		if st := s.program.Status(); st.Live || !strings.Contains(st.Error, "somebody else") {
			s.t.Errorf("%+v", st)
		}
		end()
		time.Sleep(2 * time.Second)
		if st := s.program.Status(); !st.Live || st.Error != "" {
			s.t.Errorf("%+v", st)
		}
	})
	if got, want := s.cuts(), "show show.ann"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestCatchUp: sound that is made much too late waits for what came meanwhile, and all
// is as before then.
func TestCatchUp(t *testing.T) {
	s := produce(t, func(s *studio) {
		s.shoot(camera{name: "show.ann", gop: 50, asked: true})
		time.Sleep(time.Second)
		s.air("ann", "ann")
		begun := time.Now()
		for _, by := range []time.Duration{lateBy, time.Second} {
			time.Sleep(time.Second + 5*time.Millisecond - time.Since(begun)%time.Second)
			s.program.mu.Lock()
			n := len(s.deck.ticks)
			s.program.made = time.Now().Add(-by)
			s.program.mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			s.program.mu.Lock()
			first := s.deck.ticks[n].Sub(begun)
			more := len(s.deck.ticks) - n
			s.program.mu.Unlock()
			if first%tickEvery != catchUp || more < 4 {
				s.t.Errorf("%v late, sound is made %v after a beat, and %d times in 100 ms", by, first%tickEvery, more)
			}
		}
		time.Sleep(time.Second)
	})
	s.heard()
}

// TestMutedReturn: a seat that is muted gets another publisher, which takes over, comes
// later, or fills a new Stream of that name. The mixer has its sound within 100 ms each
// time, and it stays muted until it is not any more.
func TestMutedReturn(t *testing.T) {
	produce(t, func(s *studio) {
		ann := camera{name: "show.ann", gop: 50, asked: true}
		end := s.shoot(ann)
		s.program.Set(Lineup{Sounds: []Sound{{Seat: "bob"}, {Seat: "ann", Muted: true}}})
		time.Sleep(time.Second)
		heard := func(how string) {
			s.t.Helper()
			from, ok := s.hub.Lookup(ann.name)
			if !ok {
				s.t.Fatal("no stream of ann")
			}
			s.program.mu.Lock()
			defer s.program.mu.Unlock()
			last := s.deck.written["ann"]
			if want := from.State().Sources[1]; last.Source != want || time.Since(last.Arrival) > pictureEvery || !s.deck.muted["ann"] {
				s.t.Errorf("%s: a packet of %v, %v ago, muted %v", how, last.Source == want, time.Since(last.Arrival), s.deck.muted["ann"])
			}
		}
		heard("first")
		end2 := s.shoot(ann) // while the other one is still there
		time.Sleep(100 * time.Millisecond)
		heard("taken over")
		end()
		time.Sleep(time.Second)
		heard("the old one lingers no more")
		end2()
		time.Sleep(5 * time.Second)
		end = s.shoot(ann)
		time.Sleep(100 * time.Millisecond)
		heard("back")
		end()
		time.Sleep(time.Second)
		if from, ok := s.hub.Lookup(ann.name); !ok || !s.hub.Remove(from) {
			s.t.Error("the stream is not removed")
		}
		time.Sleep(time.Second)
		s.shoot(ann)
		time.Sleep(100 * time.Millisecond)
		heard("another stream")
		s.program.Set(Lineup{Sounds: []Sound{{Seat: "bob"}, {Seat: "ann"}}})
		time.Sleep(20 * time.Millisecond)
		s.program.mu.Lock()
		defer s.program.mu.Unlock()
		if s.deck.muted["ann"] {
			s.t.Error("ann stays muted")
		}
	})
}

// TestMute: who is muted is told to the mixer, and who leaves is closed there.
func TestMute(t *testing.T) {
	produce(t, func(s *studio) {
		s.program.Set(Lineup{Sounds: []Sound{{Seat: "ann"}, {Seat: "bob", Muted: true}}})
		time.Sleep(time.Second)
		s.program.mu.Lock()
		if got := fmt.Sprint(s.deck.open, s.deck.muted["ann"], s.deck.muted["bob"]); got != "[ann bob] false true" {
			s.t.Errorf("got %s", got)
		}
		s.program.mu.Unlock()
		s.program.Set(Lineup{Sounds: []Sound{{Seat: "bob"}}})
		time.Sleep(time.Second)
		s.program.mu.Lock()
		if got := fmt.Sprint(s.deck.open, s.deck.muted["bob"]); got != "[bob] false" {
			s.t.Errorf("got %s", got)
		}
		s.program.mu.Unlock()
	})
}

// TestWords: why the audience sees no picture that moves, and why a cut waits.
func TestWords(t *testing.T) {
	produce(t, func(s *studio) {
		says := func(rest, why string) {
			t.Helper()
			time.Sleep(2 * time.Second)
			st := s.program.Status()
			if !strings.HasPrefix(st.Rest, rest) || (st.Rest == "") != (rest == "") || !strings.HasPrefix(st.Error, why) || (st.Error == "") != (why == "") {
				t.Errorf("got %q, %q, want %q, %q", st.Rest, st.Error, rest, why)
			}
		}
		ann := camera{name: "show.ann", gop: 10000, asked: true}
		end := s.shoot(ann)
		s.shoot(camera{name: "show.bob", gop: 50, rids: []string{}}) // sound alone
		says("", "")
		s.air("", "ann", "bob")
		says("the program begins with a picture", "")
		s.air("bob", "ann", "bob")
		says("", "this seat has no picture")
		s.air("ann", "ann", "bob")
		says("", "")
		s.air("bob", "ann", "bob")
		says("", "this seat has no picture")
		if st := s.program.Status(); !st.Live || st.Picture != "ann" || st.Cutting != "bob" {
			t.Errorf("%+v", st)
		}
		s.air("ann", "ann", "bob")
		says("", "")
		s.air("", "bob")
		says("nobody has the picture", "")
		s.air("ann", "ann")
		says("", "")
		end()
		says("who has the picture is not there", "")
		end = s.shoot(camera{name: "show.ann", gop: 50, rids: []string{}})
		says("who has the picture is not there", "this seat has no picture")
		end()
		s.shoot(ann)
		says("", "")
		s.air("carl", "ann")
		says("", "this seat is not there")
		s.shoot(camera{name: "show.carl", gop: 10000, asked: true})
		says("", "")
		s.air("", []string{}...)
		says("", "")
	})
}
