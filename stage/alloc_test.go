package stage

import (
	"testing"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// TestAllocations: a picture goes through a program without any.
func TestAllocations(t *testing.T) {
	hub := stream.NewHub(stream.Config{})
	p := NewProgram(hub, "show", newDeck(), nil)
	s := &shot{seat: "ann", cancel: func() {}}
	source := &stream.Source{Layer: stream.Layer{ID: stream.LayerID{Kind: stream.Video}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}}}
	t1 := &take{shot: s, source: source}
	s.takes, p.wanted, p.rungs = []*take{t1}, s, 3 // all fed by this one
	payload := []byte{0x65, 1, 2, 3}
	packets := make([]stream.Packet, 10)
	sequence, at, now := uint16(0), uint32(0), time.Now()
	picture := func() {
		for i := range packets {
			packets[i] = stream.Packet{Source: source, Arrival: now, Sequence: sequence, Timestamp: at, Marker: i == len(packets)-1, Payload: payload}
			sequence++
		}
		at += 3000
		p.take(t1, packets)
	}
	picture()
	if !p.Status().Live {
		t.Fatal("the program has no picture")
	}
	if n := testing.AllocsPerRun(1000, picture); n > 0 {
		t.Errorf("%v allocations a picture", n)
	}
	p.finish()
}
