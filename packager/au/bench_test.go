package au_test

import (
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/au"
)

// broadcast makes a second of 720p at 30 pictures and 2.5 Mb/s: 25 packets for
// the keyframe and 9 for each other picture, with 1160 bytes each.
func broadcast() []au.Packet {
	var packets []au.Packet
	add := func(timestamp uint32, marker bool, payload []byte) {
		packets = append(packets, au.Packet{
			Arrival: time.Unix(0, int64(timestamp)*1e9/90000), Timestamp: timestamp, Sequence: uint16(len(packets)),
			Marker: marker, Payload: payload,
		})
	}
	body := make([]byte, 1160)
	for picture := range 30 {
		timestamp := uint32(picture) * 3000
		nal, count := nals()["p"], 9
		if picture == 0 {
			add(timestamp, false, stap(nals()["sps"], nals()["pps"]))
			nal, count = nals()["idr"], 25
		}
		for i := range count {
			payload := append([]byte{28, nal[0] & 0x1f}, body...)
			if i == 0 {
				payload[1] |= 0x80
				copy(payload[2:], nal[1:])
			}
			if i == count-1 {
				payload[1] |= 0x40
			}
			add(timestamp, i == count-1, payload)
		}
	}
	return packets
}

// BenchmarkAssemble measures a second of video, again and again.
func BenchmarkAssemble(b *testing.B) {
	packets := broadcast()
	a := assembler(b, "H264", au.Config{})
	var units []au.Unit
	b.ReportAllocs()
	count := 0
	for range b.N {
		for i := range packets {
			p := &packets[i]
			units = a.Push(*p, units[:0])
			count += len(units)
			p.Sequence += uint16(len(packets))
			p.Timestamp += 90000
			p.Arrival = p.Arrival.Add(time.Second)
		}
	}
	if count != b.N*30 {
		b.Fatalf("%d units of %d, %+v", count, b.N*30, a.Stats())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(packets)), "ns/packet")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(count), "ns/unit")
}

// TestAllocations: one a unit, none a packet.
func TestAllocations(t *testing.T) {
	packets := broadcast()
	for _, lossy := range []bool{false, true} {
		a := assembler(t, "H264", au.Config{})
		var units []au.Unit
		second := func() {
			for i := range packets {
				p := &packets[i]
				if !lossy || i%50 != 40 {
					units = a.Push(*p, units[:0])
				}
				p.Sequence += uint16(len(packets))
				p.Timestamp += 90000
				p.Arrival = p.Arrival.Add(time.Second)
			}
		}
		for range 3 {
			second()
		}
		if got := testing.AllocsPerRun(20, second); got > 30 {
			t.Errorf("lossy %v: %v allocations for 30 units of %d packets", lossy, got, len(packets))
		}
	}
}
