package whep_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// guest is a player with data channels.
type guest struct {
	*viewer
	channels map[string]*webrtc.DataChannel

	mu   sync.Mutex
	open int
	got  map[string][]string // messages by the label of their channel; bytes begin with "0x"
}

// invite connects a player with data channels of these labels.
func (g *gateway) invite(name string, labels ...string) *guest {
	g.t.Helper()
	v := newPlayer(g.t, recvVideo)
	x := &guest{viewer: v, channels: map[string]*webrtc.DataChannel{}, got: map[string][]string{}}
	for _, label := range labels {
		c, err := v.pc.CreateDataChannel(label, nil)
		if err != nil {
			g.t.Fatal(err)
		}
		x.channels[label] = c
		c.OnOpen(func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.open++
		})
		c.OnMessage(func(m webrtc.DataChannelMessage) {
			x.mu.Lock()
			defer x.mu.Unlock()
			text := string(m.Data)
			if !m.IsString {
				text = "0x" + text
			}
			x.got[label] = append(x.got[label], text)
		})
	}
	res := g.do(http.MethodPost, whep.Prefix+name, "application/sdp", v.offer())
	if res.code != http.StatusCreated {
		g.t.Fatalf("POST: %d: %s", res.code, res.body)
	}
	if !strings.Contains(res.body, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel") {
		g.t.Errorf("answer:\n%s", res.body)
	}
	v.resource = res.header.Get("Location")
	if err := v.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: res.body}); err != nil {
		g.t.Fatal(err)
	}
	until(g.t, "the data channels open", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.open == len(labels)
	})
	return x
}

func (x *guest) messages(label string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.got[label])
}

// TestMessages: what the API and the publisher say reaches all viewers with a data
// channel as it is, by the channel of its label, else by the first one; what viewers
// say reaches nobody, and media flows beside.
func TestMessages(t *testing.T) {
	g := newGateway(t, whep.Config{})
	x := g.publish("live", video)
	if err := x.Note(stream.Note{Arrival: time.Now(), Label: "chat", Text: true, Payload: []byte("before")}); err != nil {
		t.Fatal(err)
	}
	f := &film{}
	defer f.run(x, 0, 0)()
	one, two := g.invite("live", "any"), g.invite("live", "score", "chat")
	g.watch("live", recvVideo) // without
	until(t, "three channels", func() bool { return g.metrics.Channels.Load() == 3 })

	g.server.Tell("live", whep.Message{Label: "score", Text: true, Payload: []byte(`{"home": 1}`)})
	until(t, "all get it", func() bool {
		return slices.Equal(one.messages("any"), []string{`{"home": 1}`}) && slices.Equal(two.messages("score"), []string{`{"home": 1}`})
	})
	if err := x.Note(stream.Note{Arrival: time.Now(), Label: "chat", Text: true, Payload: []byte("Grüße")}); err != nil {
		t.Fatal(err)
	}
	until(t, "all hear the publisher", func() bool {
		return len(one.messages("any")) == 2 && slices.Equal(two.messages("chat"), []string{"Grüße"})
	})
	g.server.Tell("live", whep.Message{Label: "unheard of", Payload: []byte{1, 2}})
	g.server.Tell("nowhere", whep.Message{Payload: []byte("x")})
	until(t, "bytes stay bytes", func() bool { return len(one.messages("any")) == 3 && len(two.messages("score")) == 2 })
	if got := two.messages("score")[1]; got != "0x\x01\x02" {
		t.Errorf("the second message is %q", got)
	}

	due := time.Now().Add(300 * time.Millisecond)
	g.server.Tell("live", whep.Message{Label: "chat", Text: true, Payload: []byte("later"), At: due})
	g.server.Tell("live", whep.Message{Label: "chat", Text: true, Payload: []byte("now")})
	until(t, "what is due later comes later", func() bool { return slices.Equal(two.messages("chat"), []string{"Grüße", "now", "later"}) })
	if time.Now().Before(due) {
		t.Error("it came before its time")
	}

	if err := one.channels["any"].SendText("said by a viewer"); err != nil {
		t.Fatal(err)
	}
	dropped := g.metrics.MessagesDropped.Load()
	g.server.Tell("live", whep.Message{Payload: make([]byte, rtc.MaxMessage+1)})
	if n := g.metrics.MessagesDropped.Load() - dropped; n != 2 {
		t.Errorf("a message that is too long is dropped for %d viewers", n)
	}
	before := len(one.seen("video"))
	until(t, "media goes on", func() bool { return len(one.seen("video")) > before+50 })
	if err := two.channels["chat"].Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "a channel is closed", func() bool { return g.metrics.Channels.Load() == 2 })
	g.server.Tell("live", whep.Message{Label: "chat", Text: true, Payload: []byte("end")})
	until(t, "the other channel gets what its had", func() bool { all := two.messages("score"); return all[len(all)-1] == "end" })
	for _, m := range append(one.messages("any"), two.messages("score")...) {
		if m == "said by a viewer" || m == "before" {
			t.Errorf("a viewer got %q", m)
		}
	}
	g.do(http.MethodDelete, one.resource, "", "")
	g.do(http.MethodDelete, two.resource, "", "")
	until(t, "no channel is left", func() bool { return g.metrics.Channels.Load() == 0 })
}

// A viewer whose network takes nothing more loses messages; nobody waits for it.
func TestSlowViewerLosesMessages(t *testing.T) {
	g := newGateway(t, whep.Config{})
	g.publish("live", video)
	slow := g.invite("live", "a")
	until(t, "the channel is open", func() bool { return g.metrics.Channels.Load() == 1 })
	slow.channels["a"].OnMessage(func(webrtc.DataChannelMessage) { <-t.Context().Done() })
	message := whep.Message{Text: true, Payload: make([]byte, rtc.MaxMessage)}
	for range 2000 { // 32 MB: much more than either side keeps
		g.server.Tell("live", message)
	}
	if sent, dropped := g.metrics.MessagesSent.Load(), g.metrics.MessagesDropped.Load(); sent+dropped != 2000 || dropped == 0 || sent == 0 {
		t.Errorf("%d sent, %d dropped", sent, dropped)
	}
}
