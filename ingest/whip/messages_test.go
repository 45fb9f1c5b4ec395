package whip

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/stream"
)

// messages is a section of data channels for the transport of an offer.
func messages(offer string) string {
	section := "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n"
	var seen []string
	for line := range strings.Lines(offer) {
		name, _, _ := strings.Cut(line, ":")
		if slices.Contains([]string{"a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup"}, name) && !slices.Contains(seen, name) {
			section += line
			seen = append(seen, name)
		}
	}
	return section
}

// TestMessages: what a publisher says in data channels becomes the Stream's notes;
// what is too much is dropped, and the media goes on.
func TestMessages(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	opened := make(chan string, 8)
	channels := map[string]*webrtc.DataChannel{}
	var audio *webrtc.TrackLocalStaticRTP
	x := rtctest.New(t, rtctest.Options{Token: "secret"}, func(pc *webrtc.PeerConnection) error {
		var err error
		audio, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "live")
		if err != nil {
			return err
		}
		if _, err := pc.AddTransceiverFromTrack(audio, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
			return err
		}
		for _, label := range []string{"chat", "score", "", "loose"} {
			unordered := label == "score"
			ordered := !unordered
			c, err := pc.CreateDataChannel(label, &webrtc.DataChannelInit{Ordered: &ordered})
			if err != nil {
				return err
			}
			channels[label] = c
			c.OnOpen(func() { opened <- label })
		}
		return nil
	})
	x.Connect(t, g.endpoint("live"))
	if !strings.Contains(x.Answer, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel") || !strings.Contains(x.Answer, "a=max-message-size:16384") {
		t.Errorf("answer:\n%s", x.Answer)
	}
	for range channels {
		select {
		case <-opened:
		case <-time.After(10 * time.Second):
			t.Fatal("data channels do not open")
		}
	}
	fifth, err := x.PC.CreateDataChannel("fifth", nil)
	if err != nil {
		t.Fatal(err)
	}
	isOpen := make(chan struct{})
	fifth.OnOpen(func() { close(isOpen) })
	rtctest.Wait(t, isOpen, "the fifth data channel")
	// It is closed, which the client may hear late; what counts is that nobody hears
	// what it says: each note below is the one that is expected.
	_ = fifth.SendText("unheard")
	s, err := g.hub.Stream("live")
	if err != nil {
		t.Fatal(err)
	}
	seen := uint64(0)
	next := func() stream.Note {
		t.Helper()
		notes, now, err := s.Notes(t.Context(), seen)
		if err != nil || len(notes) != 1 {
			t.Fatalf("%d notes and %v, want one", len(notes), err)
		}
		seen = now
		return notes[0]
	}
	say := func(label, text string) {
		t.Helper()
		if err := channels[label].SendText(text); err != nil {
			t.Fatal(err)
		}
	}
	say("chat", "Grüße")
	if n := next(); n.Label != "chat" || !n.Text || string(n.Payload) != "Grüße" || n.Epoch != s.State().Epoch || time.Since(n.Arrival) > time.Minute {
		t.Errorf("got %+v", n)
	}
	if err := channels["score"].Send([]byte{0, 1, 255}); err != nil {
		t.Fatal(err)
	}
	if n := next(); n.Label != "score" || n.Text || !bytes.Equal(n.Payload, []byte{0, 1, 255}) {
		t.Errorf("got %+v", n)
	}
	long := strings.Repeat("x", rtc.MaxMessage)
	say("", long)
	if n := next(); n.Label != "" || string(n.Payload) != long {
		t.Errorf("got %d bytes in %q", len(n.Payload), n.Label)
	}
	if err := channels["chat"].SendText(long + "x"); err == nil {
		t.Error("a longer message than the answer allows was sent")
	}
	for range 100 { // the rate is limited; the session goes on
		say("chat", "flood")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { play(ctx, audio, recorded(t, "audio.rtpdump")) })
	g.expect(t, "live", stream.LayerID{Kind: stream.Audio}, 5)
	cancel()
	wg.Wait()
	notes, _, err := s.Notes(t.Context(), seen)
	if err != nil || len(notes) == 0 || len(notes) > 60 {
		t.Errorf("%d notes of 100 and %v, want those of a second or two", len(notes), err)
	}
}
