package mix_test

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/whipcast/whipcast/stage/mix"
	"github.com/whipcast/whipcast/stream"
)

// TestTones finds the tone of each of four seats in what comes out, and no other.
func TestTones(t *testing.T) {
	hz := []float64{440, 620, 1000, 1510}
	var senders []*sender
	for i, f := range hz {
		senders = append(senders, &sender{
			name: strconv.Itoa(i), sound: tone(f, 0.1), first: uint32(i) * 0x55555555,
			jitter: 8 * time.Millisecond, from: time.Duration(i) * 7 * time.Millisecond,
		})
	}
	s := newStudio(t, senders...)
	s.open("0", "1", "2", "3")
	s.run(2 * time.Second)
	sound := s.heard(s.out)
	if len(sound) < 95*frame {
		t.Fatalf("%d samples of 2 s", len(sound))
	}
	late := sound[len(sound)-rate:]
	for _, f := range hz {
		if a := strength(late, f); math.Abs(20*math.Log10(a/0.1)) > 0.5 {
			t.Errorf("the tone of %.0f Hz has %.4f, want 0.1", f, a)
		}
	}
	if a := strength(late, 800); a > 0.001 {
		t.Errorf("a tone of 800 Hz has %.4f, want none", a)
	}
	if st := s.mixer.Stats(); st.Mixed < 95 || st.Passed > 0 || st.Late > 0 {
		t.Errorf("%+v", st)
	}
}

// TestPass lets the packets of one seat through as they are.
func TestPass(t *testing.T) {
	x := &sender{name: "host", sound: tone(440, 0.3), first: 0xffffff00, swap: true}
	s := newStudio(t, x)
	s.open("host")
	s.run(2 * time.Second)
	if name, ok := s.mixer.Passing(); !ok || name != "host" {
		t.Fatalf("passing: %q, %v", name, ok)
	}
	if len(s.out) < 98 {
		t.Fatalf("%d packets in 2 s", len(s.out))
	}
	first := -1
	for i, p := range s.out {
		if first < 0 && bytes.Equal(p.Payload, x.all[0]) {
			first = i
		}
		if first < 0 {
			continue
		}
		n := int(p.Sequence - s.out[first].Sequence)
		if !bytes.Equal(p.Payload, x.all[n]) || p.Timestamp-s.out[first].Timestamp != uint32(n*frame) {
			t.Fatalf("packet %d is not number %d of the seat", i, n)
		}
		if made := time.Duration(n) * 20 * time.Millisecond; s.when[i]-made > 25*time.Millisecond {
			t.Errorf("packet %d comes out %v late", n, s.when[i]-made)
		}
	}
	if st := s.mixer.Stats(); first < 0 || first > 5 || st.Passed < 97 {
		t.Errorf("goes through from packet %d on: %+v", first, st)
	}
}

// TestSwitch opens a second seat and closes it: the first one's tone goes on without a
// gap, a click, or a jump of its phase.
func TestSwitch(t *testing.T) {
	host := &sender{name: "host", sound: tone(440, 0.3)}
	guest := &sender{name: "guest", sound: tone(1000, 0), from: 3 * time.Millisecond}
	s := newStudio(t, host, guest)
	s.open("host")
	s.run(2 * time.Second)
	s.open("guest")
	s.run(2 * time.Second)
	if _, ok := s.mixer.Passing(); ok {
		t.Fatal("one of two seats goes through")
	}
	s.mixer.Close("guest")
	s.run(7 * time.Second)
	if name, ok := s.mixer.Passing(); !ok || name != "host" {
		t.Fatal("the seat that is left does not go through")
	}
	st := s.mixer.Stats()
	t.Logf("%+v", st)
	sound := s.heard(s.out)[rate/2:]
	for from := 0; from+4800 <= len(sound); from += 4800 {
		if a := strength(sound[from:from+4800], 440); math.Abs(20*math.Log10(a/0.3)) > 1 {
			t.Errorf("from %d on the tone has %.3f, want 0.3", from, a)
		}
	}
	clean := 0.3 * 2 * math.Pi * 440 / rate * (2 * math.Pi * 440 / rate)
	for from := 0; from+960 <= len(sound); from += 960 {
		if r := roughest(sound[from : from+960]); r > 6*clean {
			t.Logf("roughest of packet %d is %.5f, %.5f of the tone", from/960, r, clean)
		}
	}
	if r := roughest(sound); r > 40*clean {
		t.Errorf("roughest is %.5f, %.5f of the tone", r, clean)
	}
	if st.Switches != 3 {
		t.Errorf("%d switches, want 3", st.Switches)
	}
}

// TestReplace closes the seat that goes through, alone or as another one opens: sound
// goes on at once, without a click.
func TestReplace(t *testing.T) {
	for _, other := range []bool{false, true} {
		s := newStudio(t, &sender{name: "a", sound: tone(440, 0.3)}, &sender{name: "b", sound: tone(620, 0.3)})
		s.open("a")
		s.run(2 * time.Second)
		s.mixer.Close("a")
		if other {
			s.open("b")
		}
		s.run(time.Second)
		sound := s.heard(s.out)
		if n := len(sound); n < 3*rate-rate/10 {
			t.Errorf("%.2f s of 3 s", float64(n)/rate)
		}
		late := sound[len(sound)-rate/2:]
		if a := strength(late, 440); a > 0.001 {
			t.Errorf("the closed seat has %.4f", a)
		}
		if a := strength(late, 620); other && math.Abs(a-0.3) > 0.01 {
			t.Errorf("the open seat has %.3f", a)
		}
		if r := roughest(sound[rate:]); r > 0.005 { // a tone has 0.002
			t.Errorf("roughest is %.4f", r)
		}
		if s.mixer.Open("a") != nil || s.mixer.Open("b") != nil {
			t.Error("seats do not open again")
		}
	}
}

// TestOpen opens as many seats as can be, and writes to one that is not.
func TestOpen(t *testing.T) {
	m, err := mix.New(mix.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Tick(time.Unix(1, 0), nil); len(got) != 0 {
		t.Errorf("%d packets before a seat is open", len(got))
	}
	for i := range mix.MostSeats {
		for range 2 {
			if err := m.Open(strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.Open("more"); !errors.Is(err, mix.ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	m.Write("more", stream.Packet{})
	if st := m.Stats(); st.Refused != 1 || st.Packets != 0 {
		t.Errorf("%+v", st)
	}
	for i := range mix.MostSeats {
		m.Close(strconv.Itoa(i))
	}
	out := m.Tick(time.Unix(2, 0), nil)
	out = m.Tick(time.Unix(2, 5e8), out)
	if err := m.Open("more"); err != nil {
		t.Errorf("%v after all have closed", err)
	}
	for i, p := range out {
		if !bytes.Equal(p.Payload, []byte{0xfc, 0xff, 0xfe}) || p.Timestamp != uint32(i*frame) {
			t.Fatalf("packet %d is %x at %d, want silence", i, p.Payload, p.Timestamp)
		}
	}
	if len(out) != 26 {
		t.Errorf("%d packets in half a second", len(out))
	}
	for i := range 3 * mix.MostSeats { // nobody calls Tick
		if err := m.Open("other" + strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
		m.Close("other" + strconv.Itoa(i))
	}
	for _, rate := range []int{-1, 1, 47999, 600000} {
		if _, err := mix.New(mix.Config{Bitrate: rate}); !errors.Is(err, mix.ErrBitrate) {
			t.Errorf("bit rate %d: %v, want ErrBitrate", rate, err)
		}
	}
}

// TestClock hears when a beep comes out, and asks which instant that is on the clock of
// its sender: while it goes through, while it is mixed, and after both changes.
func TestClock(t *testing.T) {
	const ntp = 3_900_000_000 << 32
	beeps := func(i int) float64 { // each second, 100 ms
		if i%rate < rate/10 {
			return tone(1000, 0.5)(i)
		}
		return 0
	}
	host := &sender{name: "host", sound: beeps, first: 0xfffff000}
	guest := &sender{name: "guest", sound: tone(300, 0), first: 77, ppm: 100}
	s := newStudio(t, host, guest)
	reports := map[uint32]stream.Report{} // by packet time
	s.every = func() {
		if n := host.sent; n > 0 {
			s.mixer.Report("host", stream.Report{NTP: ntp + uint64(n)*frame<<32/rate, RTP: host.first + uint32(n*frame)})
		}
		if r, ok := s.mixer.Clock("host"); ok {
			reports[r.RTP] = r
		}
	}
	if _, ok := s.mixer.Clock("nobody"); ok {
		t.Error("a seat that is not open has a clock")
	}
	s.open("host")
	s.run(3 * time.Second)
	s.open("guest")
	s.run(3 * time.Second)
	s.mixer.Close("guest")
	s.run(8 * time.Second)
	if st := s.mixer.Stats(); st.Switches != 3 {
		t.Fatalf("%+v", st)
	}
	sound := s.heard(s.out)
	var last stream.Report
	quiet, found := 0, 0
	for i, v := range sound {
		at := s.out[0].Timestamp + uint32(i)
		if r, ok := reports[at]; ok {
			last = r
		}
		if math.Abs(v) < 0.05 {
			quiet++
			continue
		}
		if quiet > rate/2 && last.NTP > 0 {
			found++
			made := last.NTP + uint64(int64(int32(at-last.RTP))*(1<<32)/rate) - ntp
			// Samples of the sender's, less the delay of its encoder and of the tone's first edge.
			off := math.Mod(float64(made)/(1<<32)*rate+rate/2, rate) - rate/2 - 120
			if math.Abs(off) > 0.005*rate {
				t.Errorf("beep %d, at %.2f s, is %.1f ms off", found, float64(i)/rate, off/rate*1000)
			}
		}
		quiet = 0
	}
	if found < 10 {
		t.Errorf("%d beeps", found)
	}
}

// TestReports gives reports before the packets of their Source, and asks after each.
func TestReports(t *testing.T) {
	m, err := mix.New(mix.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Open("a"); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1, 0)
	write := func(source *stream.Source, timestamp uint32) {
		m.Tick(now, nil)
		m.Write("a", stream.Packet{Source: source, Arrival: now, Timestamp: timestamp, Payload: []byte{0xfc, 0xff, 0xfe}})
		m.Tick(now, nil)
		now = now.Add(20 * time.Millisecond)
	}
	for i, report := range []bool{true, false, true} {
		source, base := &stream.Source{}, uint32(i)*1e6
		if report {
			m.Report("a", stream.Report{NTP: 1 << 32, RTP: base, Arrival: now})
		}
		now = now.Add(time.Millisecond)
		write(source, base)
		write(source, base+frame)
		if _, ok := m.Clock("a"); ok != report {
			t.Errorf("source %d: its clock is known: %v", i, ok)
		}
	}
}

// TestLevels tells who speaks.
func TestLevels(t *testing.T) {
	s := newStudio(t,
		&sender{name: "loud", sound: func(i int) float64 { return tone(500, 0.3)(i) * float64(min(i/rate, 1)) }},
		&sender{name: "mute", sound: tone(700, 0)})
	s.open("loud", "mute")
	s.mixer.Gain("loud", 0) // what is muted is measured, too
	s.run(2 * time.Second)
	if rms, speaking := s.mixer.Level("loud"); !speaking || math.Abs(float64(rms)+13.5) > 0.5 {
		t.Errorf("the loud seat has %.1f dBFS, speaking is %v", rms, speaking)
	}
	if rms, speaking := s.mixer.Level("mute"); speaking || rms > -80 {
		t.Errorf("the silent seat has %.1f dBFS, speaking is %v", rms, speaking)
	}
	if rms, speaking := s.mixer.Level("nobody"); speaking || rms != mix.Floor {
		t.Errorf("a seat that is not open has %.1f dBFS, speaking is %v", rms, speaking)
	}
	if a := strength(s.heard(s.out)[rate:], 500); a > 1e-4 {
		t.Errorf("the muted tone has %.5f", a)
	}
	s.mixer.Gain("loud", 0.5)
	s.run(time.Second)
	sound := s.heard(s.out)
	if a := strength(sound[len(sound)-rate/2:], 500); math.Abs(a-0.15) > 0.005 {
		t.Errorf("at half its level the tone has %.3f, want 0.15", a)
	}
}

// TestLoud adds seats that are too loud together: nothing is clipped.
func TestLoud(t *testing.T) {
	s := newStudio(t, &sender{name: "a", sound: tone(300, 0.8)}, &sender{name: "b", sound: tone(417, 0.8)}, &sender{name: "c", sound: tone(593, 0.8)})
	s.open("a", "b", "c")
	s.run(2 * time.Second)
	sound := s.heard(s.out)
	peak := 0.0
	for _, v := range sound {
		peak = max(peak, math.Abs(v))
	}
	if peak > 0.95 || peak < 0.7 { // the encoder adds a little
		t.Errorf("the peak is %.3f", peak)
	}
}

// TestSources replaces a seat's publisher, and lets one end: the sound goes on.
func TestSources(t *testing.T) {
	s := newStudio(t,
		&sender{name: "host", sound: tone(440, 0.3), source: &stream.Source{}, until: 2 * time.Second},
		&sender{name: "host", sound: tone(880, 0.3), source: &stream.Source{}, from: 2100 * time.Millisecond, until: 4 * time.Second, first: 1 << 31})
	s.open("host")
	s.run(6 * time.Second)
	sound := s.heard(s.out)
	if len(sound) < 5*rate+rate/2 {
		t.Errorf("%.2f s of 6 s", float64(len(sound))/rate)
	}
	for _, c := range []struct {
		from, to time.Duration
		hz, want float64
	}{
		{500 * time.Millisecond, 1900 * time.Millisecond, 440, 0.3},
		{2500 * time.Millisecond, 3700 * time.Millisecond, 880, 0.3},
		{2500 * time.Millisecond, 3700 * time.Millisecond, 440, 0},
		{4500 * time.Millisecond, 5500 * time.Millisecond, 880, 0},
	} {
		piece := sound[int(c.from*rate/time.Second):int(c.to*rate/time.Second)]
		if a := strength(piece, c.hz); math.Abs(a-c.want) > 0.02 {
			t.Errorf("from %v to %v %.0f Hz have %.3f, want %.1f", c.from, c.to, c.hz, a, c.want)
		}
	}
	if st := s.mixer.Stats(); st.Jumps != 0 {
		t.Errorf("%+v", st)
	}
}

// TestGap drives the Mixer too seldom: it makes up for half a second, and no more.
func TestGap(t *testing.T) {
	m, err := mix.New(mix.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Open("a"); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1, 0)
	n := len(m.Tick(now, nil))
	n += len(m.Tick(now.Add(time.Minute), nil))
	n += len(m.Tick(now.Add(time.Minute+20*time.Millisecond), nil))
	if st := m.Stats(); n != 27 || st.Skipped != 3001-26 {
		t.Errorf("%d packets, %+v", n, st)
	}
}

// TestStarved does not call Tick for two seconds, in which packets wait at the door as
// they do in a process that is stopped: timestamps go on with the time that passed, the
// clock stands for the same instants, and all seats are heard again at once.
func TestStarved(t *testing.T) {
	const ntp = 3_900_000_000 << 32
	a := &sender{name: "a", sound: tone(440, 0.2), first: 0xffff0000, from: 3 * time.Millisecond}
	b := &sender{name: "b", sound: tone(1000, 0.2), first: 77}
	s := newStudio(t, a, b)
	s.open("a", "b")
	s.every = func() {
		if n := a.sent; n > 0 {
			s.mixer.Report("a", stream.Report{NTP: ntp + uint64(n)*frame<<32/rate, RTP: a.first + uint32(n*frame)})
		}
	}
	s.run(2 * time.Second)
	before, _ := s.mixer.Clock("a")
	n := len(s.out)
	s.stop(2 * time.Second)
	s.run(20 * time.Millisecond)
	after, ok := s.mixer.Clock("a")
	media := time.Duration(int32(after.RTP-before.RTP)) * time.Second / rate
	wall := time.Duration(after.NTP-before.NTP) * time.Second >> 32
	// Late packets may hold a seat back by a fifth of a second.
	if !ok || (media-wall).Abs() > 220*time.Millisecond || (media-2*time.Second).Abs() > 60*time.Millisecond {
		t.Errorf("over a pause of 2 s the clock goes on by %v of media and %v", media, wall)
	}
	s.run(time.Second)
	gaps := 0
	for i := n; i < len(s.out); i++ {
		if s.out[i].Sequence != s.out[i-1].Sequence+1 {
			t.Errorf("packet %d follows %d: none was lost", s.out[i].Sequence, s.out[i-1].Sequence)
		}
		if s.out[i].Timestamp != s.out[i-1].Timestamp+frame {
			gaps++
			if !s.out[i].Marker {
				t.Error("the packet after the pause has no marker (RFC 3551 4.1)")
			}
		}
	}
	if st := s.mixer.Stats(); gaps != 1 || st.Skipped < 70 || st.Skipped > 80 || st.Jumps > 0 {
		t.Errorf("%d gaps, %+v", gaps, st)
	}
	late := s.heard(s.out[len(s.out)-40:])
	for _, hz := range []float64{440, 1000} {
		if got := strength(late, hz); math.Abs(got-0.2) > 0.02 {
			t.Errorf("%.0f Hz have %.3f after the pause, want 0.2", hz, got)
		}
	}
}

// TestBack has a seat's timestamps go back, as of a sender that begins anew under its old
// name: it is heard again soon, wherever they are then, alone and beside another one.
func TestBack(t *testing.T) {
	for _, others := range []int{0, 1} {
		for _, back := range []uint32{2 * rate, 10 * rate, 3600 * rate} {
			a := &sender{name: "a", sound: tone(440, 0.2), first: 3601 * rate, loss: 0.02, swap: others > 0}
			s := newStudio(t, a, &sender{name: "b", sound: tone(1000, 0.2)})
			s.open([]string{"a", "b"}[:1+others]...)
			s.run(2 * time.Second)
			a.first -= back
			s.run(3 * time.Second)
			sound := s.heard(s.out[len(s.out)-60:])
			name := time.Duration(back) * time.Second / rate
			if got := strength(sound[len(sound)-rate:], 440); math.Abs(got-0.2) > 0.02 {
				t.Errorf("%d others, %v back: the seat has %.3f, want 0.2", others, name, got)
			}
			if st := s.mixer.Stats(); st.Jumps > 1 || st.Late > 60 {
				t.Errorf("%d others, %v back: %+v", others, name, st)
			}
			media, wall := s.out[len(s.out)-1].Timestamp-s.out[0].Timestamp, s.when[len(s.when)-1]-s.when[0]
			if off := time.Duration(media)*time.Second/rate - wall; off.Abs() > 100*time.Millisecond {
				t.Errorf("%d others, %v back: the output is off by %v", others, name, off)
			}
		}
	}
}

// TestReopen closes a seat that is muted and opens it again before a Tick: nothing of
// before stays, and it is heard.
func TestReopen(t *testing.T) {
	s := newStudio(t, &sender{name: "a", sound: tone(440, 0.2)}, &sender{name: "b", sound: tone(1000, 0.2)})
	s.open("a", "b")
	s.mixer.Gain("a", 0)
	s.run(500 * time.Millisecond)
	s.mixer.Close("a")
	s.open("a")
	s.run(time.Second)
	sound := s.heard(s.out)
	if got := strength(sound[len(sound)-rate/2:], 440); math.Abs(got-0.2) > 0.02 {
		t.Errorf("who comes back has %.3f, want 0.2", got)
	}
}

// TestAllocations mixes without any, but for the memory of what comes out.
func TestAllocations(t *testing.T) {
	s := newStudio(t, &sender{name: "a", sound: tone(300, 0.3)}, &sender{name: "b", sound: tone(417, 0.3)})
	s.open("a", "b")
	s.run(500 * time.Millisecond)
	now := s.epoch.Add(s.now)
	out := make([]stream.Packet, 0, 10)
	if n := testing.AllocsPerRun(100, func() {
		now = now.Add(20 * time.Millisecond)
		out = s.mixer.Tick(now, out[:0])
	}); n > 0.1 {
		t.Errorf("%.2f allocations a step", n)
	}
}

// FuzzWrite writes broken packets between sound ones, with any numbers. What comes out
// must be whole.
func FuzzWrite(f *testing.F) {
	f.Add([]byte{}, []byte{0xff}, uint32(960), uint16(1))
	f.Add([]byte{0xfc, 0xff, 0xfe}, []byte{0x4b, 0x41}, uint32(1<<31), uint16(9))
	f.Add([]byte{0x0b, 0x82, 1, 2, 3}, []byte{0xf8}, uint32(100), uint16(60000))
	f.Fuzz(func(t *testing.T, a, b []byte, times uint32, order uint16) {
		x := &sender{name: "a", sound: tone(440, 0.3)}
		s := newStudio(t, x, &sender{name: "b", sound: tone(620, 0.3)})
		s.open("a")
		n := uint32(0)
		s.every = func() {
			n++
			if n%3 == 0 {
				s.mixer.Write("a", stream.Packet{
					Arrival: s.epoch.Add(s.now), Timestamp: n * times, Sequence: uint16(n) * order, Payload: [][]byte{a, b}[n/3%2],
				})
			}
			if n == 20 {
				s.open("b")
			}
			if n == 40 {
				s.mixer.Close("b")
			}
		}
		s.run(300 * time.Millisecond)
		for i := 1; i < len(s.out); i++ {
			// What goes through is as it came; what is encoded has one frame.
			if p := s.out[i].Payload; len(p) > 1276 && !bytes.Equal(p, a) && !bytes.Equal(p, b) {
				t.Fatalf("packet %d has %d bytes", i, len(s.out[i].Payload))
			}
		}
		for _, name := range []string{"a", "b"} {
			if rms, _ := s.mixer.Level(name); !(rms >= mix.Floor && rms < 30) {
				t.Fatalf("level of %s is %g", name, rms)
			}
			s.mixer.Clock(name)
		}
	})
}
