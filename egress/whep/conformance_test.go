package whep_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
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

// items names the tests of each item of WHEP. What is not a server's, or was chosen not
// to be done, says why instead.
func items() map[string]string {
	return map[string]string{
		"E1": "TestStatusTable", "E2": "TestStatusTable TestRecordedPlayers",
		"E3": "no counter-offers are made (E6): TestNoCounterOffer", "E4": "no counter-offers are made: PATCH looks at its type, TestSessionResource",
		"E5": "TestSessionResource", "E6": "TestStatusTable TestNoCounterOffer", "E7": "TestStatusTable TestRecordedOffers",
		"E8": "TestRecordedOffers TestChoose", "E9": "TestOneKindOfBoth TestRecordedOffers TestKindThatIsPublishedLater", "E10": "TestStatusTable",
		"E11": "TestStatusTable", "E12": "a player's", "E13": "TestStatusTable TestNoOracle",
		"E14": "not chosen: a viewer of nothing gets 409 (E11)",
		"E15": "TestPublisherReturnsToTheSameViewers TestGraceClosesTheConnection TestCodecChange TestPlays TestEvents",
		"E16": "TestKeyframeRequests TestRecordedMediaArrives TestCachedPicturesArePushedTogether",
		"E17": "TestDeleteEndsTheSession TestStatusTable TestSessionResource", "E18": "TestSessionResource",
		"E19": "TestRecordedOffers TestOneStreamAndBundle", "E20": "TestDrainedEndpoint TestNoOracle TestTooManyViewers",
		"E21": "TestExtensionsAreLinked", "E22": "TestStereo", "E23": "TestBFramesPassAsTheyAre TestWarnings",
		"E24": "TestExtensionsAreLinked", "E25": "TestEventStreamStatus TestParseEvents TestEvents", "E26": "TestEventStreamStatus TestParseEvents",
		"E27": "TestEventData TestEvents", "E28": "TestEventStreamStatus TestHeartbeat", "E29": "TestEvents", "E30": "TestEventData TestEvents TestLayerChoice",
		"E31": "TestDrainSendsViewersAway TestShutdownTellsViewers TestCodecChange", "E32": "TestHeartbeat TestEvents",
		"E33": "TestEventStreamCredentials", "E34": "TestEventStreamStatus TestHeartbeat", "E35": "TestExtensionsAreLinked",
		"E36": "TestLayerChoice TestChoice", "E37": "TestLayerChoice TestChoice", "E38": "TestRewriter",
		"E39": "what it does is done: GET of the linked URL (TestEventStreamCredentials), encodingId (TestChoice)",
	}
}

// TestItems: every item of WHEP, E1 to E39, has a test that there is, or a reason.
func TestItems(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"*_test.go", "../../internal/rtc/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no test files %s: %v", pattern, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(b)
		}
	}
	all := items()
	for n := 1; n <= 39; n++ {
		item := fmt.Sprintf("E%d", n)
		if all[item] == "" {
			t.Errorf("%s has neither test nor reason", item)
		}
		for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(all[item], -1) {
			if !strings.Contains(source.String(), "\nfunc "+name+"(") {
				t.Errorf("%s: there is no %s", item, name)
			}
		}
	}
}

// TestNoCounterOffer: E3, E6 what cannot be answered is refused in words, never with 406.
func TestNoCounterOffer(t *testing.T) {
	g := newGateway(t, whep.Config{})
	g.publish("live", stream.Layer{ID: video.ID, Codec: stream.Codec{Name: "AV1", ClockRate: 90000}})
	res := g.do(http.MethodPost, whep.Prefix+"live", "application/sdp", read(t, "gst/01-POST.sdp"))
	if res.code != http.StatusUnprocessableEntity || res.header.Get("Content-Type") != "application/problem+json" || res.header.Get("Location") != "" {
		t.Errorf("%d, %s, Location %q", res.code, res.header.Get("Content-Type"), res.header.Get("Location"))
	}
}

// TestOneStreamAndBundle: E19 one audio and one video at most, bundled, with RTCP on the
// port of RTP.
func TestOneStreamAndBundle(t *testing.T) {
	g := newGateway(t, whep.Config{})
	g.publish("live", video, audio)
	offer := newPlayer(t, recvVideo, recvAudio).offer()
	sections := strings.SplitAfter(strings.ReplaceAll(offer, "\r\nm=", "\r\n\x00m="), "\x00")
	twice := strings.ReplaceAll(strings.Join([]string{sections[0], sections[1], strings.ReplaceAll(sections[1], "a=mid:0", "a=mid:1")}, ""), "\x00", "")
	for name, tt := range map[string]struct{ offer, detail string }{
		"two videos":       {twice, "more than one video"},
		"no bundle":        {strings.Replace(offer, "a=group:BUNDLE 0 1", "a=group:BUNDLE 0", 1), "BUNDLE"},
		"RTCP on its own":  {strings.ReplaceAll(offer, "a=rtcp-mux\r\n", ""), "rtcp-mux"},
		"two mids":         {strings.ReplaceAll(offer, "a=mid:1", "a=mid:0"), "a=mid"},
		"messages alone":   {sections[0][:len(sections[0])-1] + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=sctp-port:5000\r\n", "data channels only"},
		"old data channel": {offer + "m=application 9 DTLS/SCTP 5000\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\n", "webrtc-datachannel"},
	} {
		res := g.do(http.MethodPost, whep.Prefix+"live", "application/sdp", tt.offer)
		if res.code != http.StatusUnprocessableEntity || !strings.Contains(res.body, tt.detail) {
			t.Errorf("%s: %d: %s", name, res.code, res.body)
		}
	}
	res := g.do(http.MethodPost, whep.Prefix+"live", "application/sdp", offer)
	if res.code != http.StatusCreated {
		t.Fatalf("%d: %s", res.code, res.body)
	}
	checkAnswer(t, res.body, "102")
}

// TestDrainedEndpoint: E20 who comes to a gateway that drains is sent elsewhere by 307,
// or told by 503 when to come again.
func TestDrainedEndpoint(t *testing.T) {
	g := newGateway(t, whep.Config{})
	g.publish("live", video)
	g.rtc.Drain(rtc.Draining{RetryAfter: 7 * time.Second})
	offer := read(t, "gst/01-POST.sdp")
	if res := g.do(http.MethodPost, whep.Prefix+"live", "application/sdp", offer); res.code != http.StatusServiceUnavailable || res.header.Get("Retry-After") != "7" {
		t.Errorf("without a peer: %d, Retry-After %q", res.code, res.header.Get("Retry-After"))
	}
	other := newGateway(t, whep.Config{})
	other.publish("live", video)
	g.rtc.Drain(rtc.Draining{To: other.url})
	// net/http follows 307 with the same method and body, as players do.
	if res := g.do(http.MethodPost, whep.Prefix+"live", "application/sdp", offer); res.code != http.StatusCreated || other.metrics.Sessions.Load() != 1 {
		t.Errorf("with a peer: %d: %s", res.code, res.body)
	}
}

// TestStereo: E22 the answer says that stereo is sent, and the packets are as published,
// whatever the offer asks for.
func TestStereo(t *testing.T) {
	g := newGateway(t, whep.Config{})
	g.publish("live", audio)
	for _, change := range []string{"useinbandfec=1", "useinbandfec=1;stereo=0", "useinbandfec=1;stereo=1"} {
		offer := strings.ReplaceAll(newPlayer(t, recvAudio).offer(), "useinbandfec=1", change)
		res := g.do(http.MethodPost, whep.Prefix+"live", "application/sdp", offer)
		if res.code != http.StatusCreated || !strings.Contains(res.body, "sprop-stereo=1") || !strings.Contains(res.body, "opus/48000/2") {
			t.Errorf("%s: %d: %s", change, res.code, res.body)
		}
	}
}
