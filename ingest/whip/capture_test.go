package whip

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/stream"
)

const second = uint64(1) << 32 // in 32.32 NTP format

func TestParseCaptureTime(t *testing.T) {
	at := 3_900_000_000*second + second/2
	ahead := func(offset uint64) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, at), offset)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want uint64
	}{
		{"R6 short form", ahead(0)[:8], at},
		{"R6 no offset", ahead(0), at},
		{"R6 the capture's clock is ahead", ahead(3 * second), at - 3*second},
		{"R6 it is behind", ahead(^uint64(0) - second/4 + 1), at + second/4},
		{"none", nil, 0},
		{"zero", make([]byte, 8), 0},
		{"cut short", ahead(0)[:7], 0},
		{"between", ahead(0)[:12], 0},
		{"too long", append(ahead(0), 0), 0},
	} {
		got, ok := parseCaptureTime(tt.data)
		if got != tt.want || ok != (tt.want != 0) {
			t.Errorf("%s: %d %v, want %d", tt.name, got, ok, tt.want)
		}
	}
}

// FuzzCaptureTime: X26 whatever the extension has, what is read is what Pion reads.
func FuzzCaptureTime(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte("0123456789abcdef"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := parseCaptureTime(data)
		if !ok {
			return
		}
		var want rtp.AbsCaptureTimeExtension
		if err := want.Unmarshal(data); err != nil {
			t.Fatal(err)
		}
		if want.EstimatedCaptureClockOffset != nil {
			want.Timestamp -= uint64(*want.EstimatedCaptureClockOffset)
		}
		if got != want.Timestamp {
			t.Fatalf("%d, Pion reads %d", got, want.Timestamp)
		}
	})
}

// TestOwners: R6 the capture system of a mixer's packet is its first contributor.
func TestOwners(t *testing.T) {
	for i, tt := range []struct {
		csrc    []uint32
		stamped bool
		id      uint8
		owner   uint32
	}{
		{nil, false, 5, 0},
		{nil, true, 5, 7},
		{nil, true, 0, 0},
		{nil, true, 4, 0},
		{[]uint32{9, 8}, true, 5, 9},
		{[]uint32{8}, false, 5, 0},
	} {
		h := rtp.Header{Version: 2, SSRC: 7, CSRC: tt.csrc, Timestamp: uint32(i)}
		if tt.stamped {
			if err := h.SetExtension(5, binary.BigEndian.AppendUint64(nil, second)); err != nil {
				t.Fatal(err)
			}
		}
		r, owner, ok := captureTime(&h, tt.id, time.Time{})
		if owner != tt.owner || ok != (tt.owner != 0) || ok && (r.NTP != second || r.RTP != uint32(i)) {
			t.Errorf("packet %d: %+v %d %v", i, r, owner, ok)
		}
		if n := testing.AllocsPerRun(10, func() { _, _, _ = captureTime(&h, tt.id, time.Time{}) }); n != 0 {
			t.Errorf("packet %d: %v allocations", i, n)
		}
	}
}

// TestCaptureTime: R6 the extension is in the answer if, and with the number that, it is
// in the offer; its times reach the Source, and packets without it lie between.
func TestCaptureTime(t *testing.T) {
	const uri = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	x := newSending(t, rtctest.Options{})
	if strings.Contains(x.Offer, uri) {
		t.Fatal("the offer has it by itself")
	}
	x.Offer = strings.Replace(x.Offer, "a=rtcp-mux\r\n", "a=rtcp-mux\r\na=extmap:9/sendonly "+uri+"\r\n", 1) // of the first section
	x.Connect(t, g.endpoint("live"))
	if n := strings.Count(x.Answer, "a=extmap:9 "+uri); n != 1 {
		t.Errorf("%d times in the answer:\n%s", n, x.Answer)
	}
	kind := stream.LayerID{Kind: stream.Audio}
	if strings.HasPrefix(x.Offer[strings.Index(x.Offer, "m="):], "m=video") {
		kind.Kind = stream.Video
	}
	track, rate := x.audio, uint32(48000)
	if kind.Kind == stream.Video {
		track, rate = x.video, 90000
	}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for i := range uint32(10_000) {
			p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(i), Timestamp: i * rate / 100, Marker: true}, Payload: []byte{0x65, 1, 2, 3}}
			if i%10 == 0 { // 100 s into the era, and then in time with the media
				_ = p.SetExtension(9, binary.BigEndian.AppendUint64(nil, 100*second+uint64(i)*second/100))
			}
			if err := track.WriteRTP(p); err != nil {
				return
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-done:
				return
			}
		}
	}()
	defer func() { close(done); <-stopped }()
	s, _ := g.hub.Lookup("live")
	for _, source := range s.State().Sources {
		if source.Layer.ID.Kind != kind.Kind {
			continue
		}
		for {
			at, ok := source.CaptureTime(rate / 2) // 500 ms into the media
			if ok {
				if off := at - 100*time.Second - 500*time.Millisecond; off.Abs() > time.Millisecond {
					t.Errorf("captured at %v", at)
				}
				break
			}
			select {
			case <-t.Context().Done():
				t.Fatal("no capture time")
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}
