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
	for _, rate := range []int{-1, 1, 47999, 600000} {
		if _, err := mix.New(mix.Config{Bitrate: rate}); !errors.Is(err, mix.ErrBitrate) {
			t.Errorf("bit rate %d: %v, want ErrBitrate", rate, err)
		}
	}
}
