package stage

import (
	"strconv"
	"testing"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// passing returns what passes a picture of ten packets on to so many rungs, fed by one layer.
func passing(rungs int) (p *Program, picture func()) {
	p = NewProgram(stream.NewHub(stream.Config{}), "show", newDeck(), nil)
	p.Set(Lineup{Picture: "ann", Sounds: []Sound{{Seat: "ann"}}})
	s := &shot{seat: "ann", cancel: func() {}}
	source := &stream.Source{Layer: stream.Layer{ID: stream.LayerID{Kind: stream.Video}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}}}
	t1 := &take{shot: s, source: source}
	s.takes, p.wanted, p.rungs = []*take{t1}, s, rungs
	payload := []byte{0x65, 1, 2, 3}
	packets := make([]stream.Packet, 10)
	sequence, at, now := uint16(0), uint32(0), time.Now()
	return p, func() {
		for i := range packets {
			packets[i] = stream.Packet{Source: source, Arrival: now, Sequence: sequence, Timestamp: at, Marker: i == len(packets)-1, Payload: payload}
			sequence++
		}
		at += 3000
		p.take(t1, packets)
	}
}

// TestAllocations: a picture goes through a program without any.
func TestAllocations(t *testing.T) {
	for _, rungs := range []int{1, mostRungs} {
		p, picture := passing(rungs)
		picture()
		if !p.Status().Live {
			t.Fatal("the program has no picture")
		}
		if n := testing.AllocsPerRun(1000, picture); n > 0 {
			t.Errorf("%v allocations a picture with %d rungs", n, rungs)
		}
		p.finish()
	}
}

func BenchmarkPicture(b *testing.B) {
	for _, rungs := range []int{1, 3} {
		b.Run(strconv.Itoa(rungs), func(b *testing.B) {
			p, picture := passing(rungs)
			b.ReportAllocs()
			for b.Loop() {
				picture()
			}
			p.finish()
		})
	}
}
