package rtsp

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/limit"
	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/stream"
)

// TestBitrate: X24 a publisher that sends 100 Mb/s where 1 is allowed is cut off with
// a reason; one that sends as it may is not.
func TestBitrate(t *testing.T) {
	for name, each := range map[string]int{"fair": 1000, "flood": 125_000} { // bytes in 10 ms
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var cut atomic.Uint64
				in := New(Config{MaxBitrate: 1e6, Cut: &cut}, stream.NewHub(stream.Config{}))
				video := media("video", &format.H264{PayloadTyp: 96, PacketizationMode: 1, SPS: []byte{0x67, 1}, PPS: []byte{0x68, 1}})
				var r recording
				run, err := in.Record(rtsp.Request{Stream: "door", Caller: rtsp.Caller{Principal: "a"}}, &description.Session{Medias: []*description.Media{video}}, &r)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				ended := make(chan error, 1)
				go func() {
					_, err := run(ctx)
					ended <- err
				}()
				for sequence := range uint16(1500) {
					payload := make([]byte, each)
					payload[0] = 0x41
					r.packet(video, video.Formats[0], &rtp.Packet{Header: rtp.Header{PayloadType: 96, SequenceNumber: sequence, Marker: true}, Payload: payload})
					time.Sleep(10 * time.Millisecond)
				}
				cancel()
				err = <-ended
				if flood := name == "flood"; errors.Is(err, limit.ErrBitrate) != flood || (cut.Load() == 1) != flood {
					t.Errorf("ended with %v, %d cut", err, cut.Load())
				}
			})
		})
	}
}
