package whep_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/sdp/v3"

	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// TestOneKindOfBoth: E9 who offers to receive one kind of a stream that has both
// gets that one, and the other's packets cost nothing.
func TestOneKindOfBoth(t *testing.T) {
	g := newGateway(t, whep.Config{})
	x := g.publish("live", video, audio)
	f := &film{}
	stop := f.run(x, 65000, 0xFFFFFF00)
	defer stop()
	done := make(chan struct{})
	defer func() { <-done }()
	end := make(chan struct{})
	defer close(end)
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for seq := uint16(0); ; seq++ {
			x.Write(audio.ID, stream.Packet{Arrival: time.Now(), Sequence: seq, Timestamp: uint32(seq) * 960, Payload: []byte{0xfc, 0xff, 0xfe}})
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	listener := g.watch("live", recvAudio)
	watcher := g.watch("live", recvVideo)
	until(t, "each gets its kind", func() bool { return len(listener.seen("audio")) > 20 && len(watcher.seen("video")) > 20 })
	if n, m := len(listener.seen("video")), len(watcher.seen("audio")); n+m > 0 {
		t.Errorf("%d packets of video and %d of audio that nobody asked for", n, m)
	}
	for _, v := range []*viewer{listener, watcher} {
		var answer sdp.SessionDescription
		if err := answer.UnmarshalString(v.pc.RemoteDescription().SDP); err != nil {
			t.Fatal(err)
		}
		if len(answer.MediaDescriptions) != 1 {
			t.Errorf("%d sections answered, 1 offered", len(answer.MediaDescriptions))
		}
	}
}

// TestNoOracle: E13, X1 who may not watch learns nothing of which streams exist
// or are live.
func TestNoOracle(t *testing.T) {
	g := newGatewayWith(t, whep.Config{}, rtc.RegistryConfig{Watch: func(*http.Request, string) (rtc.Caller, error) {
		return rtc.Caller{}, problem.Problem{Status: http.StatusUnauthorized, Title: "No access", Detail: "send a token"}
	}})
	g.publish("live", video, audio)
	g.publish("offline", video).Close(nil)
	var first response
	for i, name := range []string{"live", "offline", "unknown"} {
		for _, body := range []string{read(t, "gst/01-POST.sdp"), "no offer"} {
			res := g.do(http.MethodPost, whep.Prefix+name, "application/sdp", body)
			if res.code != http.StatusUnauthorized || !strings.HasPrefix(res.header.Get("WWW-Authenticate"), "Bearer") || res.header.Get("Retry-After") != "" {
				t.Errorf("%s: %d, WWW-Authenticate %q, Retry-After %q", name, res.code, res.header.Get("WWW-Authenticate"), res.header.Get("Retry-After"))
			}
			if i == 0 {
				first = res
			} else if res.body != first.body {
				t.Errorf("%s: %s, but for a live stream %s", name, res.body, first.body)
			}
		}
	}
	if n := g.metrics.Sessions.Load(); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

// TestBFramesPassAsTheyAre: E23 pictures whose timestamps go back, as B-frames
// do, keep their order and their distances for who is there, who is warned. Who comes
// later is refused with the reason.
func TestBFramesPassAsTheyAre(t *testing.T) {
	g := newGateway(t, whep.Config{})
	x := g.publish("live", video)
	var sent []uint32
	write := func(seq int, key bool, timestamp uint32) {
		payload := []byte{0x61, 0, 0, 0, byte(seq), 0}
		if key {
			payload[0] = 0x65
		}
		x.Write(video.ID, stream.Packet{Arrival: time.Now(), Sequence: uint16(seq), Timestamp: timestamp, Marker: true, Payload: payload})
		sent = append(sent, timestamp)
	}
	v := g.watch("live", recvVideo)
	until(t, "the viewer is there", func() bool { return g.metrics.Viewers.Load() == 1 })
	l := g.listen(v.resource + "/events")
	base := uint32(0xFFFFF000) // wraps
	for i := range 40 {        // I P B P B …: each P before the B that is shown first
		shown := uint32(i)
		if i > 0 {
			shown = uint32(i + 1 - 2*((i+1)%2))
		}
		write(i, i == 0, base+shown*3000)
		time.Sleep(5 * time.Millisecond)
	}
	until(t, "all pictures arrive", func() bool { return len(v.seen("video")) == len(sent) })
	got := v.seen("video")
	for i, p := range got {
		if p.Timestamp-got[0].Timestamp != sent[i]-sent[0] || p.SequenceNumber != got[0].SequenceNumber+uint16(i) {
			t.Fatalf("picture %d: timestamp +%d, want +%d; number +%d", i, int32(p.Timestamp-got[0].Timestamp), int32(sent[i]-sent[0]), p.SequenceNumber-got[0].SequenceNumber)
		}
	}
	until(t, "the viewer is warned", func() bool { return len(l.events("warning")) == 1 })
	if told := l.events("warning")[0].data; !strings.Contains(told, `"code":"b-frames"`) || !strings.Contains(told, "HLS") {
		t.Errorf("the warning: %s", told)
	}
	if late := g.listen(v.resource + "/events"); late.code == http.StatusOK {
		until(t, "who listens later is warned, too", func() bool { return len(late.events("warning")) == 1 })
	}
	res := g.do(http.MethodPost, whep.Prefix+"live", "application/sdp", read(t, "gst/01-POST.sdp"))
	if res.code != http.StatusUnprocessableEntity || !strings.Contains(res.body, "B-frames") || !strings.Contains(res.body, `"code":"b-frames"`) {
		t.Errorf("another viewer of B-frames: %d %s", res.code, res.body)
	}
}

// TestAAC: AAC is left out beside video, which WebRTC has, and alone there is
// nothing to watch.
func TestAAC(t *testing.T) {
	g := newGateway(t, whep.Config{})
	aac := stream.Layer{ID: audio.ID, Codec: stream.Codec{Name: "AAC", ClockRate: 44100, Channels: 2, Fmtp: "config=1210"}}
	g.publish("sound", aac)
	res := g.do(http.MethodPost, whep.Prefix+"sound", "application/sdp", read(t, "gst/01-POST.sdp"))
	if res.code != http.StatusUnprocessableEntity || !strings.Contains(res.body, "AAC") || !strings.Contains(res.body, `"code":"aac"`) {
		t.Errorf("AAC alone: %d %s", res.code, res.body)
	}
	x := g.publish("both", video, aac)
	v := g.watch("both", recvVideo, recvAudio)
	until(t, "the viewer is there", func() bool { return g.metrics.Viewers.Load() == 1 })
	l := g.listen(v.resource + "/events")
	until(t, "the viewer is warned that there is no sound", func() bool { return len(l.events("warning")) == 1 })
	for i := range 20 {
		x.Write(aac.ID, stream.Packet{Arrival: time.Now(), Sequence: uint16(i), Timestamp: uint32(i) * 1024, Marker: true, Payload: []byte{0, 16, 0, 8, 1}})
		x.Write(video.ID, stream.Packet{Arrival: time.Now(), Sequence: uint16(i), Timestamp: uint32(i) * 3000, Marker: true, Payload: []byte{0x65, byte(i)}})
		time.Sleep(5 * time.Millisecond)
	}
	until(t, "the video arrives", func() bool { return len(v.seen("video")) >= 19 })
	if n := len(v.seen("audio")); n != 0 {
		t.Errorf("%d packets of AAC were sent as Opus", n)
	}
}
