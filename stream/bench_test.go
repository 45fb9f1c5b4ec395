package stream_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// BenchmarkWrite measures one packet into a ring that nobody reads.
func BenchmarkWrite(b *testing.B) {
	src := publish(b, newStream(b), "host", video)
	payload := make([]byte, 1200)
	payload[0] = 0x61
	b.ReportAllocs()
	now := time.Now()
	for i := range b.N {
		src.session.Write(video.ID, stream.Packet{
			Arrival: now, Sequence: uint16(i), Timestamp: uint32(i / 10 * 3000), Marker: i%10 == 9, Payload: payload,
		})
	}
}

// BenchmarkFanOut measures a picture of ten packets, written and read by all.
func BenchmarkFanOut(b *testing.B) {
	for _, readers := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			s := newStream(b)
			src := publish(b, s, "host", video)
			payload := make([]byte, 1200)
			payload[0] = 0x65
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			read := make(chan struct{}, readers)
			for range readers {
				sub := subscribe(b, s, video.ID)
				wg.Go(func() {
					into := make([]stream.Packet, 64)
					seen := 0
					for {
						n, err := sub.Read(ctx, into)
						if err != nil {
							return
						}
						for seen += n; seen >= 10; seen -= 10 {
							read <- struct{}{}
						}
					}
				})
			}
			b.ReportAllocs()
			b.ResetTimer()
			seq := uint16(0)
			for i := range b.N {
				now := time.Now()
				for j := range 10 {
					src.session.Write(video.ID, stream.Packet{
						Arrival: now, Sequence: seq, Timestamp: uint32(i * 3000), Marker: j == 9, Payload: payload,
					})
					seq++
				}
				for range readers {
					<-read
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10/float64(readers), "ns/packet/reader")
			cancel()
			wg.Wait()
		})
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	src := publish(t, newStream(t), "host", video)
	payload := []byte{0x65, 1}
	now := time.Now()
	i := 0
	if got := testing.AllocsPerRun(5000, func() {
		src.session.Write(video.ID, stream.Packet{Arrival: now, Sequence: uint16(i), Timestamp: uint32(i / 3), Marker: i%3 == 0, Payload: payload})
		i++
	}); got != 0 {
		t.Errorf("%v allocations a packet", got)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	s := newStream(t)
	src := publish(t, s, "host", video)
	b := subscribe(t, s, video.ID)
	into := make([]stream.Packet, 16)
	src.keyframe()
	if got := testing.AllocsPerRun(2000, func() {
		src.session.Write(video.ID, stream.Packet{Sequence: src.seq, Timestamp: src.timestamp, Marker: true, Payload: into[0].Payload})
		src.seq++
		src.timestamp += 3000
		if _, err := b.Read(t.Context(), into); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("%v allocations a read", got)
	}
}
